"""What an export says of speed, against what the cycle model counts."""

import dataclasses
import json

import pytest

from tests.tritforge.support import call, export_arguments
from tritforge.flows.export import export
from tritforge.flows.simulate import simulate
from tritforge.hw.presets import PRESETS
from tritforge.model_export.zoo.prepared import prepare


@pytest.fixture(scope="module")
def digits():
    return prepare("digits", None, 2)


@pytest.mark.compiles
@pytest.mark.parametrize("preset", ["ulx3s_85f", "alexnet", "tiny"])
def test_the_estimate_is_near_what_is_counted(digits, tmp_path, preset):
    made = export(
        None, digits.module, digits.images.samples, preset, tmp_path / "image", check=False
    )
    counted = simulate(made.image, digits.images.inputs, "cycle").verdict
    assert made.verdict.estimated and not counted.estimated
    assert made.verdict.dense_cycles == counted.dense_cycles
    assert made.verdict.cycles == pytest.approx(counted.cycles, rel=0.35)
    for one in (made.verdict, counted):
        assert sum(one.shares.values()) == pytest.approx(1)
        assert "bound by" in one.sentence
    assert made.image.manifest.extra["verdict"] == made.to_dict()["verdict"]
    assert made.to_dict()["verdict"]["sentence"] == made.verdict.sentence


def test_words_at_the_port_are_a_bound_too(digits, tmp_path):
    """A trit memory that holds a small part of the network: nothing else takes as long."""
    small = dataclasses.replace(PRESETS["ulx3s_85f"], name="small", trit_depth=64)
    made = export(
        None, digits.module, digits.images.samples, small, tmp_path / "image", check=False
    )
    schedule = made.image.memory.schedule
    words = max(schedule.port_words(small, range(len(schedule.passes))))
    assert made.verdict.shares["host port"] > 0
    assert made.verdict.cycles == pytest.approx(words)


def test_the_command_says_it(capsys, files):
    code, out, _ = call(capsys, *export_arguments(files, files / "image"))
    assert code == 0 and "\nspeed: slower than dense, about " in out
    code, out, _ = call(capsys, *export_arguments(files, files / "image"), "--json")
    assert code == 0 and json.loads(out)["verdict"]["estimated"]


@pytest.mark.compiles
def test_simulation_says_what_it_counted(capsys, exported, tmp_path):
    code, out, _ = call(
        capsys,
        *("simulate", exported / "image", "--input", exported / "x.npy"),
        *("--backend", "cycle", "-o", tmp_path / "run"),
    )
    assert code == 0 and "\nspeed: " in out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["verdict"]["sentence"] in out
    assert report["verdict"]["cycles"] == pytest.approx(report["total_cycles"] / report["images"])
    code, out, _ = call(
        capsys,
        *("simulate", exported / "image", "--input", exported / "x.npy"),
        *("--backend", "golden", "-o", tmp_path / "run", "--json"),
    )
    assert code == 0 and json.loads(out)["verdict"] is None
