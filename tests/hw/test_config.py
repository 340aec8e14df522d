"""Configurations: every limit and its sentence, files, presets, identity."""

import dataclasses
import re

import pytest

from tritforge.hw.config import LIMITS, Config, ConfigError
from tritforge.hw.presets import PRESETS, load_config
from tritforge.hw.program import MEMORIES, memories, row_layout
from tritforge.hw.widths import COUNTER_SLOTS

#: What must go along with an extreme value so that nothing else is out of its limits.
COMPANIONS = {
    ("clusters", 1): {"drain_width": 1},
    ("drain_width", 16): {"clusters": 16, "elements": 16, "packet_words": 126},
    ("elements", 64): {"rows": 4},
    ("packet_words", 34): {},
    ("result_lanes", 16): {
        "clusters": 16,
        "elements": 16,
        "drain_width": 16,
        "packet_words": 126,
    },
    ("scan_width", 16): {},
}


@pytest.mark.parametrize("field", sorted(LIMITS))
def test_limits(field):
    low, high = LIMITS[field]
    for value in (low, high):
        companions = COMPANIONS.get((field, value), {})
        config = Config(**(companions | {field: value}))
        assert getattr(config, field) == value
    for value in (low - 1, high + 1, -5, 1 << 40):
        with pytest.raises(
            ConfigError,
            match=re.escape(
                f"configuration field {field} is {value}; it must be between {low} and {high}"
            ),
        ):
            Config(**{field: value})
    for value in (2.0, "4", None, True, [3]):
        with pytest.raises(
            ConfigError,
            match=re.escape(f"configuration field {field} must be an integer, not {value!r}"),
        ):
            Config(**{field: value})


@pytest.mark.parametrize(
    "field",
    [
        "shared_results",
        "skip_zero_weights",
        "skip_zero_activations",
        "gate_clocks",
        "row_merges",
    ],
)
def test_switches(field):
    assert getattr(Config(**{field: False}), field) is False
    for value in (0, 1, "false", None):
        with pytest.raises(
            ConfigError,
            match=re.escape(f"configuration field {field} must be true or false, not {value!r}"),
        ):
            Config(**{field: value})


@pytest.mark.parametrize("value", ["", None, 3])
def test_name(value):
    with pytest.raises(ConfigError, match="configuration field name must be a non-empty string"):
        Config(name=value)


@pytest.mark.parametrize("value", [3, 5, 6, 7])
def test_banks(value):
    with pytest.raises(ConfigError, match=f"banks is {value}; it must be 2, 4 or 8"):
        Config(banks=value)


def test_drain_width_divides():
    with pytest.raises(
        ConfigError, match=re.escape("drain_width is 3; it must divide elements (4)")
    ):
        Config(drain_width=3, clusters=3)
    with pytest.raises(
        ConfigError, match=re.escape("drain_width is 2; it must divide clusters (3)")
    ):
        Config(drain_width=2, clusters=3)
    assert Config(drain_width=2, elements=6, clusters=4).blocks == 3


def test_clusters_can_be_addressed():
    """A write to a trit memory names one of all sets' clusters in eight bits."""
    assert Config(sets=5, clusters=51).cluster_count == 255
    assert Config(sets=3, clusters=64).cluster_count == 192
    for sets, clusters in ((4, 64), (16, 16), (16, 64)):
        with pytest.raises(
            ConfigError,
            match=re.escape(
                f"configuration fields sets and clusters give {sets * clusters} clusters; "
                "at most 255 can be addressed"
            ),
        ):
            Config(sets=sets, clusters=clusters)


def test_memory_counts():
    config = Config(sets=3, clusters=5, elements=4)
    assert (config.cluster_count, config.adders) == (15, 60)
    assert {kind: config.memory_count(kind) for kind in MEMORIES} == {
        "program": 1,
        "trits": 15,
        "activations": 5,
        "rows": 1,
        "results": 1,
        "counters": 1,
        "tables": 1,
    }


def test_a_packet_holds_one_memory_word():
    # 64 elements of 32 rows: 4096 bits of trits are 128 words, with address and count 130.
    wide = {"elements": 64, "rows": 32}
    assert Config(**wide, packet_words=130).memory_chunks("trits") == 128
    with pytest.raises(
        ConfigError,
        match=re.escape("packet_words is 129; one memory word of this configuration needs 130"),
    ):
        Config(**wide, packet_words=129)


def test_derived_sizes():
    config = Config(clusters=4, elements=6, rows=5, drain_width=2, scan_width=5)
    assert (config.slots, config.blocks) == (30, 3)
    assert config.product_width == 18  # 8 bits by 10
    assert config.offset_width == 24 + 16
    assert config.coefficient_max == 511
    assert config.accumulator_max == 2**23 - 1
    assert config.memory_width("trits") == 60 and config.memory_chunks("trits") == 2
    assert config.memory_width("activations") == 40
    assert config.memory_chunks("activations") == 2
    assert config.row_entry_width % 32 == 0
    assert config.row_entry_width - 32 < row_layout(config).size <= config.row_entry_width
    assert config.memory_width("rows") == 2 * config.row_entry_width
    assert config.memory_width("results") == 64
    assert config.memory_depth("counters") == COUNTER_SLOTS * config.layer_count
    assert (config.memory_width("tables"), config.memory_depth("tables")) == (8, 0)
    assert Config(activation_tables=3).memory_depth("tables") == 3 * 256
    for kind in memories(config):
        assert config.memory_depth(kind) >= 1
        chunks = config.memory_chunks(kind)
        assert 32 * (chunks - 1) < config.memory_width(kind) <= 32 * chunks
    assert Config(coefficient_width=16).product_width == 24
    # The extreme product fits: -256 is beyond any 9-bit activation code in use.
    limit = 1 << (config.product_width - 1)
    assert -limit <= -128 * -512 < limit and -limit <= 255 * -512 < limit


def test_presets():
    assert list(PRESETS) == ["tiny", "icebreaker", "ulx3s_85f_ternary", "ulx3s_85f", "alexnet"]
    for name, config in PRESETS.items():
        assert config.name == name and load_config(name) is config
    assert PRESETS["tiny"] == Config(name="tiny")
    ulx3s = PRESETS["ulx3s_85f"]
    assert ulx3s.adders == 128
    # 208 block RAMs of 18 kbit; multipliers: elements, 2 for each cluster and lane of the drain
    bits = sum(
        ulx3s.memory_width(kind) * ulx3s.memory_depth(kind) * ulx3s.memory_count(kind)
        for kind in MEMORIES
    )
    assert bits < 208 * 18 * 1024
    scalers = 0 if ulx3s.logic_scalers else ulx3s.cluster_count
    assert ulx3s.adders + 2 * (scalers + ulx3s.drain_width) <= 156
    assert len({config.identity for config in PRESETS.values()}) == len(PRESETS)
    # the 1000 classes of ImageNet
    for name in ("ulx3s_85f_ternary", "ulx3s_85f", "alexnet"):
        assert PRESETS[name].results * PRESETS[name].result_depth >= 1000


def test_alexnet_preset():
    """Four sets of 8 x 16 adders; eight activation memories."""
    config = PRESETS["alexnet"]
    assert (config.sets, config.clusters, config.elements) == (4, 8, 16)
    assert (config.cluster_count, config.adders, config.slots) == (32, 512, 256)
    assert config.memory_count("trits") == 32 and config.memory_count("activations") == 8


def test_identity():
    config = Config()
    assert config.identity == dataclasses.replace(config, name="other").identity
    assert re.fullmatch("[0-9a-f]{64}", config.identity)
    assert config.identity_word == int(config.identity[:8], 16) < 1 << 32
    changed = {
        "sets": 2,
        "clusters": 4,
        "elements": 8,
        "rows": 5,
        "queue_depth": 5,
        "scan_width": 3,
        "coefficient_width": 9,
        "accumulator_width": 25,
        "banks": 4,
        "drain_width": 2,
        "multiplier_width": 17,
        "trit_depth": 2049,
        "activation_depth": 2049,
        "program_depth": 1025,
        "row_depth": 257,
        "result_depth": 1025,
        "layer_count": 17,
        "packet_words": 127,
        "window_count": 3,
        "memory_ports": 1,
        "register_stages": "few",
        "job_places": 2,
        "word_places": 4,
        "pixel_places": 4,
        "packet_places": 4,
        "response_places": 7,
        "shared_results": True,
        "unpack_trits": False,
        "skip_zero_weights": False,
        "skip_zero_activations": False,
        "gate_clocks": True,
        "activation_tables": 1,
        "multipliers": True,
        "row_merges": True,
        "write_back_sums": True,
        "logic_scalers": True,
        "result_lanes": 1,
        "group_places": 2,
    }
    assert set(changed) == {field.name for field in dataclasses.fields(Config)} - {"name"}
    identities = {
        dataclasses.replace(config, **{field: value}).identity for field, value in changed.items()
    }
    assert len(identities) == len(changed) and config.identity not in identities


def test_dictionary_and_back():
    config = Config(name="a", clusters=3, skip_zero_weights=False)
    assert Config.from_dict(config.to_dict()) == config
    with pytest.raises(
        ConfigError,
        match=r"a\.toml has unknown fields cluster, depth; known are "
        r"accumulator_width, activation_depth, activation_tables, banks, .*trit_d",
    ):
        Config.from_dict({"depth": 1, "cluster": 2}, "a.toml")


def test_multipliers():
    """Columns of 8-bit weights: a quarter of 4, 8 or 16 rows is 1, 2 or 4 bytes."""
    config = Config(coefficient_width=10, accumulator_width=28)
    assert (config.addend_width, config.quarter_rows) == (18, 0)
    for rows, quarter in ((4, 1), (8, 2), (16, 4)):
        config = Config(rows=rows, multipliers=True, accumulator_width=28)
        assert (config.addend_width, config.quarter_rows) == (26, quarter)
    assert Config(multipliers=True, accumulator_width=20).addend_width == 20
    for rows in (1, 2, 3, 5, 6, 7, 9, 12, 15, 17, 32):
        with pytest.raises(
            ConfigError,
            match=f"multipliers is true, but rows is {rows}; columns of 8-bit weights need 4, 8 or",
        ):
            Config(rows=rows, multipliers=True, packet_words=126)
    assert Config.from_dict(config.to_dict()) == config


def test_fields_that_came_later_are_left_out_where_they_are_off():
    """Hardware, images and builds of before have the identity that they had."""
    later = {"activation_tables", "multipliers", "write_back_sums"}
    assert not later & Config().to_dict().keys()
    assert PRESETS["tiny"].identity.startswith("284e6ea800a8d90e")
    config = Config(activation_tables=2)
    assert config.to_dict()["activation_tables"] == 2
    assert Config.from_dict(config.to_dict()) == config
    assert config.identity != Config().identity
    assert Config(write_back_sums=True).to_dict()["write_back_sums"] is True
    assert config.differences(Config()) == {"activation_tables": 2}
    assert Config().differences(config) == {"activation_tables": 0}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("single_port", "memory_ports, register_stages and shared_results"),
        ("short_queues", "job_places, word_places, pixel_places and packet_places"),
    ],
)
def test_fields_of_earlier_versions(tmp_path, name, fields):
    path = tmp_path / "old.toml"
    path.write_text(f"{name} = true\n")
    with pytest.raises(ConfigError, match=f"old.toml has field {name}, which is now {fields}$"):
        load_config(str(path))


def test_jobs_without_places_are_for_one_set():
    assert Config(job_places=0).sets == 1
    with pytest.raises(
        ConfigError,
        match="field job_places is 0, but sets is 2; jobs go straight to the walkers of one set",
    ):
        Config(sets=2, job_places=0)
    with pytest.raises(
        ConfigError,
        match="field job_places is 0, but group_places is 2; walkers take jobs straight from the "
        "records of one group",
    ):
        Config(group_places=2, job_places=0)


def test_a_slice_gets_no_more_than_a_word():
    config = Config(clusters=2, elements=8, drain_width=8, scan_width=4)
    assert (config.drain_classes, config.slice_values, config.blocks) == (2, 4, 1)
    with pytest.raises(
        ConfigError,
        match=re.escape(
            "drain_width is 8, so that a slice gets 4 activations at once; its words have "
            "scan_width (3)"
        ),
    ):
        dataclasses.replace(config, scan_width=3)


def test_no_more_results_than_lanes():
    assert Config().results == 1 and Config(drain_width=2, result_lanes=1).results == 1
    with pytest.raises(
        ConfigError,
        match=re.escape("result_lanes is 3; it must not be above drain_width (2)"),
    ):
        Config(drain_width=2, result_lanes=3)


def test_results_share_the_packet_buffer_one_at_a_time():
    with pytest.raises(
        ConfigError,
        match="shared_results is true, but drain_width is 2; a result shares the packet buffer",
    ):
        Config(drain_width=2, shared_results=True)


@pytest.mark.parametrize("value", ["many", 1, True, None, ["full"]])
def test_choices(value):
    with pytest.raises(
        ConfigError,
        match=re.escape(f"configuration field register_stages must be full or few, not {value!r}"),
    ):
        Config(register_stages=value)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().rows = 5


class TestLoad:
    def write(self, folder, text):
        path = folder / "mine.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def test_fields(self, tmp_path):
        path = self.write(tmp_path, "clusters = 3\nskip_zero_weights = false\n")
        assert load_config(path) == Config(name="mine", clusters=3, skip_zero_weights=False)

    def test_name(self, tmp_path):
        assert load_config(self.write(tmp_path, 'name = "other"')).name == "other"

    def test_empty_file_gives_the_defaults(self, tmp_path):
        assert load_config(self.write(tmp_path, "")) == Config(name="mine")

    def test_preset(self, tmp_path):
        path = self.write(tmp_path, 'preset = "ulx3s_85f"\nrows = 8\n')
        assert load_config(path) == dataclasses.replace(PRESETS["ulx3s_85f"], name="mine", rows=8)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('preset = "tinny"', r"starts from unknown preset 'tinny'; known are tiny, icebreaker"),
            ("preset = 3", r"starts from unknown preset 3; known are tiny"),
            ("preset = [1]", r"starts from unknown preset \[1\]; known are tiny"),
            ("clusters = ", r"mine\.toml is not TOML: "),
            ("clusters = 1\nclusters = 2", r"mine\.toml is not TOML: "),
            (b"\xff\xfe", r"mine\.toml is not TOML: "),
            ("clusters = " + 3000 * "[", r"mine\.toml is not TOML: "),
            ("clusters = " + 5000 * "1", r"mine\.toml is not TOML: "),
            ("lanes = 3", r"mine\.toml has unknown fields lanes; known are "),
            (
                "[clusters]\na = 1",
                r"configuration field clusters must be an integer, not \{'a': 1\}",
            ),
            ("clusters = 2.5", r"configuration field clusters must be an integer, not 2\.5"),
            ("clusters = 65", r"configuration field clusters is 65; it must be between 1 and 64"),
            ("skip_zero_weights = 1", r"skip_zero_weights must be true or false, not 1"),
        ],
    )
    def test_errors(self, tmp_path, text, message):
        with pytest.raises(ConfigError, match=message):
            load_config(self.write(tmp_path, text))

    def test_no_such_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"gone\.toml cannot be read: No such file"):
            load_config(str(tmp_path / "gone.toml"))

    def test_a_folder(self, tmp_path):
        (tmp_path / "x.toml").mkdir()
        with pytest.raises(ConfigError, match=r"x\.toml cannot be read: Is a directory"):
            load_config(str(tmp_path / "x.toml"))

    @pytest.mark.parametrize("name", ["tinny", "", "tiny.json"])
    def test_neither_preset_nor_file(self, name):
        with pytest.raises(
            ConfigError,
            match=re.escape(
                f"configuration {name!r} is neither a preset (tiny, icebreaker, ulx3s_85f"
            ),
        ):
            load_config(name)
