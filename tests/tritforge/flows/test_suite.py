"""The suite on its smallest pairs: figures that follow from one another, and what is refused."""

import dataclasses
import json
import math

import pytest

from tests.tritforge.support import call, refused
from tritforge.flows import suite
from tritforge.flows.suite import PAIRS, SuiteError, choose, read_suite, run
from tritforge.flows.suite_result import CAUSES, SuiteResult, mean_speed_up
from tritforge.hw.presets import PRESETS
from tritforge.model_export.zoo.prepared import PREPARED
from tritforge.sim.report import ReportError
from tritforge.tables.suite import suite_parts


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished suite of two pairs on two processes: its folder, and what it returned."""
    folder = tmp_path_factory.mktemp("suite") / "out"
    told = []
    result = run(
        choose(["digits"]),
        folder,
        images=2,
        jobs=2,
        progress=lambda message, done: told.append((message, done)),
    )
    assert any(message.startswith("digits@alexnet: ") for message, _ in told)
    assert all(0 <= done <= 1 for _, done in told)
    return folder, result


def test_the_mean_is_of_nine_pairs():
    assert [pair.name for pair in PAIRS if pair.in_mean] == [
        "resnet20@ulx3s_85f",
        "mnist@ulx3s_85f",
        "squeezenet@ulx3s_85f",
        "alexnet_dorefa@alexnet",
        "vgg7@alexnet",
        "resnet18@alexnet",
        "resnet20@alexnet",
        "squeezenet@alexnet",
        "densenet@alexnet",
    ]
    assert {pair.network for pair in PAIRS} <= set(PREPARED)
    assert {pair.config for pair in PAIRS} <= set(PRESETS)
    assert len(set(PAIRS)) == len(PAIRS)
    assert set(suite.LONGEST) <= {pair.name for pair in PAIRS}


def test_pairs_are_chosen_by_name(tmp_path):
    assert choose() == list(PAIRS)
    assert [pair.name for pair in choose(["mnist"])] == ["mnist@ulx3s_85f", "mnist@alexnet"]
    assert all(pair.config == "ulx3s_85f" for pair in choose(["@ulx3s_85f"]))
    assert [pair.name for pair in choose(["digits@tiny", "digits@tiny"])] == ["digits@tiny"]
    assert choose(["@alexnet"], mean=True) == [
        pair for pair in PAIRS if pair.in_mean and pair.config == "alexnet"
    ]
    file = tmp_path / "mine.toml"
    file.write_text('preset = "ulx3s_85f"\nrows = 4\n')
    (one,) = choose(["resnet20@ulx3s_85f"], str(file))
    assert one.config == str(file) and one.in_mean and one.clock == 45.0
    (two,) = choose([f"resnet20@{file}"])
    assert two.config == str(file) and not two.in_mean


@pytest.mark.parametrize(
    ("only", "config", "mean", "said"),
    [
        (["lenet"], None, False, "there is no pair 'lenet'; there are resnet20@ulx3s_85f"),
        (["lenet@tiny"], None, False, "there is no network 'lenet' to measure"),
        (["digits@huge"], None, False, "'huge' is neither a preset"),
        (["digits"], "huge", False, "'huge' is neither a preset"),
        (["digits"], None, True, "none of digits is in the mean"),
    ],
)
def test_what_is_not_there_is_refused(only, config, mean, said):
    with pytest.raises(ValueError, match=said):
        choose(only, config, mean)
    assert issubclass(SuiteError, ValueError)


@pytest.mark.compiles
def test_figures_follow_from_one_another(finished):
    folder, result = finished
    assert {entry.name for entry in folder.iterdir()} == {"suite.json", "suite.png"}
    written = json.loads((folder / "suite.json").read_text())
    assert SuiteResult.from_json(written) == result
    assert result.unmeasured == () and result.mean_speed_up is None
    for one in result.pairs:
        config = PRESETS[one.config]
        assert one.weights == "trained" and len(one.images) == len(one.cycles_per_image) == 2
        assert one.cycles == pytest.approx(sum(one.cycles_per_image) / 2)
        assert one.cycles == pytest.approx(sum(layer.cycles for layer in one.layers))
        assert one.dense_cycles == pytest.approx(601_600 / config.adders)
        assert one.speed_up == pytest.approx(one.dense_cycles / one.cycles)
        assert 0 < one.least_cycles < one.cycles
        assert sum(one.by_kind.values()) == pytest.approx(1)
        assert set(one.by_kind) == {"conv", "linear"}
        assert list(one.causes) == list(CAUSES)
        assert sum(one.causes.values()) == pytest.approx(1)
        assert all(share >= 0 for share in one.causes.values())
        adds = sum(layer.counters["adds"] for layer in one.layers)
        assert one.utilization == pytest.approx(adds / one.cycles / config.adders)
        assert one.without_weights == 0
        worst = min(one.layers, key=lambda layer: layer.speed_up)
        assert one.worst_layer == worst.name and one.worst_speed_up == worst.speed_up
        assert one.frames_per_second == pytest.approx(one.clock_mhz * 1e6 / one.cycles)
        assert one.energy_uj is None and one.area_mm2 is None
        assert "bound by" in one.verdict
    assert [one.clock_mhz for one in result.pairs] == [45.0, 800]


@pytest.mark.compiles
def test_the_command_shows_tables_and_json(capsys, finished, tmp_path):
    arguments = ("bench", "suite", "--only", "digits@ulx3s_85f", "--images", "2", "--layers")
    code, out, _ = call(capsys, *arguments, "-o", tmp_path / "out")
    assert code == 0
    assert max(len(line) for line in out.splitlines() if "\u2500" in line) <= 120
    for words in ("digits@ulx3s_85f", "layers of digits", "trained with TTQ", "others, %"):
        assert words in out
    code, out, _ = call(capsys, *arguments[:-1], "--json")
    assert code == 0
    (one,) = json.loads(out)["pairs"]
    assert one["cycles"] == finished[1].pairs[0].cycles


@pytest.mark.compiles
def test_a_former_suite_is_shown_beside(capsys, finished, tmp_path):
    """Pairs are known by network and preset, whatever configuration took its place."""
    file = tmp_path / "mine.toml"
    file.write_text('preset = "ulx3s_85f"\nqueue_depth = 9\n')
    code, out, _ = call(
        capsys,
        *("bench", "suite", "--only", "digits@ulx3s_85f", "--images", "1"),
        *("--config", file, "--against", finished[0]),
    )
    assert code == 0 and "before" in out
    assert f"{finished[1].pairs[0].speed_up:.2f}" in out
    result = read_suite(finished[0])
    assert result == finished[1] and read_suite(finished[0] / "suite.json") == result
    first, second = (dataclasses.replace(one, in_mean=True) for one in result.pairs)
    both = dataclasses.replace(result, pairs=(first, second), mean_speed_up=0.5)
    mean = mean_speed_up([first, second])
    assert f"before {mean:.3f}" in str(suite_parts(both, None, former=both))
    one = dataclasses.replace(both, pairs=(first,))
    assert "before" not in str(suite_parts(both, None, former=one)[-2])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not JSON"),
        ("{}", "is not a tritforge suite"),
        ('{"format": "tritforge suite"}', "lacks 'tritforge'"),
    ],
)
def test_what_is_no_suite_is_refused(tmp_path, text, said):
    file = tmp_path / "suite.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_suite(file)


@pytest.mark.compiles
def test_what_does_not_fit_is_told(capsys, tmp_path):
    """A pair that cannot be compiled leaves the others; the command then fails."""
    (tmp_path / "small.toml").write_text('preset = "tiny"\nrow_depth = 2\nmemory_ports = 1\n')
    code, out, _ = call(
        capsys, "bench", "suite", "--only", f"digits@{tmp_path / 'small.toml'}", "--json"
    )
    assert code == 1
    document = json.loads(out)
    assert document["pairs"] == [] and "small" in document["unmeasured"][0]["error"]
    parts = suite_parts(SuiteResult.from_json(document), None)
    assert any("was not measured" in part for part in parts)


def test_another_folder_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    said = refused(capsys, "bench", "suite", "--only", "digits@tiny", "-o", tmp_path)
    assert "is not a tritforge suite; it is left as it is" in said
    with pytest.raises(ReportError):
        run(choose(["digits@tiny"]), tmp_path)


@pytest.mark.compiles
def test_the_mean_is_geometric(finished):
    pairs = [
        dataclasses.replace(one, in_mean=True, speed_up=value)
        for one, value in zip(finished[1].pairs, (0.5, 8.0), strict=True)
    ]
    assert mean_speed_up(pairs) == pytest.approx(math.sqrt(4.0))
