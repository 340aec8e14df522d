"""The demonstration ends with equal integers and pictures, or says what differs."""

import json

import numpy as np
import pytest

from tests.tritforge.support import call
from tritforge.cli import run
from tritforge.flows import demo, pictures
from tritforge.model_export.network import Network
from tritforge.sim.report import ReportError


@pytest.mark.compiles
def test_a_small_demo(capsys, tmp_path):
    output = tmp_path / "out"
    code, out, err = call(
        capsys,
        "demo",
        "-o",
        output,
        "--config",
        "tiny",
        "--images",
        "12",
        "--layers-of",
        "2",
        "--no-baseline",
    )
    assert code == 0 and err == ""
    for words in (
        "float model",
        "golden integer model",
        "RTL",
        "equal: the RTL gives",
        "12 images: all logits",
        "cycles",
        "MHz",
        "tritforge simulate",
        "wall time",
    ):
        assert words in out
    assert {entry.name for entry in output.iterdir()} == demo.CONTENTS - {
        "dense.toml",
        "dense_image",
        "dense_run",
    }
    assert {entry.name for entry in tmp_path.iterdir()} == {"out"}
    result = json.loads((output / "demo.json").read_text())
    assert result["equal"] and not result["differences"]
    assert result["accuracy"]["golden"] == result["accuracy"]["rtl"] > 0.9
    for name in ("kernels.png", "utilization.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    assert np.load(output / "run" / "output.npy").shape == (12, 10)

    # the commands that it prints work, with these names
    command = result["commands"]["cycles, logits"].split()
    assert run([*command[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["total_cycles"] == result["report"]["total_cycles"]
    assert again["image_manifest_sha256"] == result["report"]["image_manifest_sha256"]


@pytest.mark.compiles
def test_a_difference_is_told_and_fails(capsys, tmp_path, monkeypatch):
    from tritforge.sim.backend import RtlBackend

    original = RtlBackend.run

    def wrong(self, codes, layer=None, progress=None):
        simulation = original(self, codes, layer, progress)
        simulation.output[1, 0] += 1
        return simulation

    monkeypatch.setattr(RtlBackend, "run", wrong)
    monkeypatch.setattr(demo, "verify", lambda image, codes, **options: verified(image, codes))
    code, out, err = call(
        capsys, "demo", "-o", tmp_path / "out", "--config", "tiny", "--images", "3", "--no-baseline"
    )
    assert code == 1
    assert "logits of 1 of 3 images differ, first image 1" in err
    assert err.count("\n") == 1
    assert "DIFFERENT" in out


def verified(image, codes):
    from tritforge.sim.verify import verify

    return verify(image, codes[:1], backends=("memory",))


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ReportError, match="is not a tritforge demo"):
        demo.run(tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").exists()


def test_kernels_are_grey_black_and_white():
    trits = np.array([[[[0, 1, -1]]], [[[1, 1, 0]]]], np.int8)  # 2 rows, 1 channel, 1 x 3
    picture = pictures.kernel_mosaic(trits)
    assert picture.shape == (2 * 2 + 1, 3 + 1 + 1, 3)
    np.testing.assert_array_equal(picture[1, 1:4, 0], [0.5, 1, 0])
    np.testing.assert_array_equal(picture[3, 1:4, 2], [1, 1, 0.5])
    np.testing.assert_array_equal(picture[0], np.broadcast_to(pictures.GAP_COLOR, (5, 3)))
    assert pictures.ternary_layers(Network("empty", "x", {}, [])) == []


@pytest.mark.compiles
@pytest.mark.slow
def test_the_whole_demo(capsys, tmp_path):
    code, out, _ = call(capsys, "demo", "-o", tmp_path / "out", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["images"] == 360 and result["equal"]
    assert result["accuracy"]["rtl"] > 0.98
    assert result["baseline"]["equal"] and result["baseline"]["factor"] > 2
