"""Layouts of what the memories hold: places that the documentation states, encoding, overflow."""

import pytest

from tritforge.hw.config import LIMITS, Config
from tritforge.hw.payloads import window
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import (
    COUNTERS,
    DESTINATION,
    GEOMETRY,
    GROUP,
    LAYER,
    LAYER_OPCODE,
    LAYER_WITH_SUMS,
    MEMORIES,
    MOST_WINDOWS,
    READABLE_MEMORIES,
    TILE,
    WRITABLE_MEMORIES,
    encode,
    encode_words,
    group_layout,
    layer_format,
    layer_layout,
    memories,
    record_words,
    row_layout,
    to_words,
)
from tritforge.hw.widths import COUNTER_SLOTS

RECORDS = {
    "layer": (LAYER, 6),
    "layer with sums": (LAYER_WITH_SUMS, 6),
    "tile": (TILE, 2),
    "group": (GROUP, 8),
    "geometry": (GEOMETRY, 2),
    "destination": (DESTINATION, 1),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_whole_words(name):
    layout, words = RECORDS[name]
    assert record_words(layout) == words and layout.size == 32 * words
    place = 0
    for _, field in layout:  # no gaps, no overlaps
        assert field.offset == place
        place += field.width


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_by_itself(name):
    """A field's extremes land in its bits, all of them, and in no others."""
    layout, words = RECORDS[name]
    for field_name, field in layout:
        ones = ((1 << field.width) - 1) << field.offset
        if getattr(field.shape, "signed", False):
            low, high = -(1 << (field.width - 1)), (1 << (field.width - 1)) - 1
            assert encode(layout, **{field_name: -1}) == ones
            assert encode(layout, **{field_name: low}) == 1 << (field.offset + field.width - 1)
        else:
            low, high = 0, (1 << field.width) - 1
            assert encode(layout, **{field_name: high}) == ones
        assert encode(layout, **{field_name: 0}) == 0
        for value in (low - 1, high + 1):
            with pytest.raises(
                OverflowError,
                match=(f"^{field_name} is {value}; it must be between {low} and {high}$"),
            ):
                encode(layout, **{field_name: value})
        assert encode_words(layout, **{field_name: high}) == to_words(
            encode(layout, **{field_name: high}), words
        )


def test_layer_opcode_is_the_lowest_byte():
    assert encode_words(LAYER, opcode=LAYER_OPCODE)[0] == 0xA1
    assert encode_words(LAYER, base=0x1234_5678)[-1] == 0x1234_5678


def test_hardware_with_sums_takes_bits_of_low():
    with_sums, without = layer_format(Config(write_back_sums=True)), layer_format(Config())
    assert without is LAYER
    fields = {name: field for name, field in with_sums if name in ("add", "stored_signed")}
    assert [field.offset - with_sums["low"].offset for field in fields.values()] == [12, 13]
    assert {name for name, _ in LAYER} < {name for name, _ in with_sums}
    for name, field in LAYER:
        assert with_sums[name].offset == field.offset
    for low in (-256, -128, 0):  # all that a clamp can be
        assert encode(with_sums, low=low) == encode(LAYER, low=low) & ~(
            0xF << LAYER["low"].offset + 12
        )


def test_hardware_without_tables_has_what_is_said_of_them_in_reserve():
    with_tables, without = layer_layout(Config(activation_tables=2)), layer_layout(Config())
    assert with_tables == LAYER and "look_up" not in dict(without)
    others = {name: field for name, field in LAYER if name in dict(without)}
    assert len(others) == len(dict(LAYER)) - 3
    assert {name: without[name] for name in others} == others
    assert (without["reserved_0"].offset, without["reserved_0"].width) == (9, 7)


def test_hardware_without_multipliers_has_what_is_said_of_wide_groups_in_reserve():
    wide, without = group_layout(Config(multipliers=True)), group_layout(Config())
    assert wide == GROUP and not {"wide", "quarter"} & set(dict(without))
    others = {name: field for name, field in GROUP if name in dict(without)}
    others.pop("reserved_0")
    assert len(others) == len(dict(GROUP)) - 3
    assert {name: without[name] for name in others} == others
    assert (without["reserved_0"].offset, without["reserved_0"].width) == (59, 5)


def test_a_layer_can_name_every_table():
    assert 1 << LAYER["table"].width == LIMITS["activation_tables"][1]


def test_fields_add_up():
    assert encode(GEOMETRY, offset=0x123456, count=0x9A, trit_offset=7) == 7 << 32 | 0x9A123456
    assert encode(DESTINATION, offset=1, count=2, fresh=3) == 3 << 24 | 2 << 16 | 1


def test_most_windows_fit_their_fields():
    """A count in a program is as wide as the hardware's: none above it that is 0 further on."""
    fields = [window(Config())[name] for name in ("count_x", "count_y", "fresh_x", "fresh_y")]
    fields += [DESTINATION["count"], DESTINATION["fresh"]]
    assert {(1 << field.width) - 1 for field in fields} == {MOST_WINDOWS}
    with pytest.raises(OverflowError, match="count is 16; it must be between 0 and 15"):
        encode(DESTINATION, count=MOST_WINDOWS + 1)


def test_unknown_field():
    with pytest.raises(KeyError):
        encode(LAYER, nothing=1)


@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
        Config(
            clusters=64,
            elements=64,
            rows=32,
            accumulator_width=32,
            multiplier_width=18,
            packet_words=4096,
        ),
    ],
)
def test_row_layout(config):
    layout = row_layout(config)
    assert layout["offset"].width == config.accumulator_width + config.multiplier_width
    assert layout["multiplier"].shape.signed and layout["offset"].shape.signed
    encode(
        layout,
        cluster=config.clusters - 1,
        lane=config.scan_width - 1,
        shift=63,
        enable=1,
        word=config.activation_depth - 1,
    )
    with pytest.raises(OverflowError, match="shift is 64; it must be between 0 and 63"):
        encode(layout, shift=64)


def test_to_words():
    assert to_words(0x1_0000_0002, 3) == [2, 1, 0]


def test_names():
    assert MEMORIES == (
        "program",
        "trits",
        "activations",
        "rows",
        "results",
        "counters",
        "tables",
    )
    assert memories(Config()) == {name: number for number, name in enumerate(MEMORIES[:-1])}
    assert memories(Config(activation_tables=1))["tables"] == 6
    for subset in (READABLE_MEMORIES, WRITABLE_MEMORIES):
        assert set(subset) <= set(MEMORIES)
    assert len(set(COUNTERS)) == len(COUNTERS) == COUNTER_SLOTS == 16
    assert COUNTERS[-1] == "cycles"
