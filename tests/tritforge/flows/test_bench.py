"""The benchmark: a narrowed AlexNet on a small configuration, with the figures of the real one."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image as Picture

from tests.tritforge.support import call, refused
from tritforge.flows import bench
from tritforge.sim.report import ReportError
from tritforge.tables.bench import bench_parts

pytestmark = pytest.mark.compiles

ARGUMENTS = ("--divisor", "16")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick_alexnet):
    """A finished benchmark, not to be changed: its folder, and what it returned."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    told = []
    result = bench.run(
        folder,
        config=str(quick_alexnet),
        divisor=16,
        clock=100.0,
        progress=lambda message, done: told.append((message, done)),
    )
    assert {"draw weights, set densities", "golden model", "backend cycle"} <= {
        message for message, _ in told
    }
    assert all(0 <= done <= 1 for _, done in told)
    return folder, result


def test_what_a_benchmark_holds(finished):
    folder, result = finished
    assert {entry.name for entry in folder.iterdir()} == bench.CONTENTS
    assert {entry.name for entry in folder.parent.iterdir()} == {folder.name}
    assert json.loads((folder / "bench.json").read_text()) == result
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "run" / "report.json").is_file()
    assert np.load(folder / "input.npy").shape == (3, 224, 224)
    assert result["provenance"]["origin"] == "drawn" and "not trained" in result["statement"]
    assert result["photograph"] == "china.jpg" and result["divisor"] == 16
    assert sum(result["seconds"].values()) == pytest.approx(2 * result["seconds"]["in all"])


def test_figures_of_layers_and_totals(finished):
    _, result = finished
    layers, totals, adders = result["layers"], result["totals"], result["adders"]
    assert adders == 64
    assert [layer["paper"] for layer in layers] == [
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "conv5",
        "fc1",
        "fc2",
        "fc3",
    ]
    assert [layer["ternary"] for layer in layers] == [False, *[True] * 6, False]
    for layer, record, one in zip(
        layers, result["provenance"]["layers"], result["report"]["layers"], strict=True
    ):
        assert layer["macs"] == record["macs"] == one["mac_count"]
        assert layer["weights"] == record["weights"]
        assert 0 < layer["lower_bound"] <= layer["cycles"] <= layer["weight_skipping"]["cycles"]
        assert layer["share_of_dense"] <= layer["weight_skipping"]["share_of_dense"]
        assert layer["share_of_dense"] == pytest.approx(layer["cycles"] * adders / layer["macs"])
        assert layer["speed_up"] == pytest.approx(1 / layer["share_of_dense"])
        assert layer["microseconds"] == layer["cycles"] / 100
        assert 0 < layer["utilization"] <= 1
        if layer["ternary"]:
            assert layer["trits_per_weight"] == pytest.approx(layer["weight_density"])
        else:
            assert 1 < layer["trits_per_weight"] < 4
    for layer in layers[1:]:
        assert layer["activation_density"] == pytest.approx(
            layer["activation_density_requested"], abs=0.1
        )
    assert totals["all layers"]["cycles"] == result["report"]["total_cycles"]
    assert totals["all layers"]["utilization"] == pytest.approx(result["report"]["utilization"])
    assert totals["ternary convs"]["cycles"] == sum(layer["cycles"] for layer in layers[1:5])
    assert totals["ternary layers"]["macs"] == sum(layer["macs"] for layer in layers[1:7])
    assert totals["ternary convs"]["weight_skipping"]["cycles"] == sum(
        layer["weight_skipping"]["cycles"] for layer in layers[1:5]
    )
    assert set(result["layers"][0]) & set(result["units"]) >= {
        "macs",
        "adds",
        "cycles",
        "lower_bound",
        "speed_up",
        "utilization",
        "weight_skipping",
    }


def test_tables_fit_and_say_what_is_what(capsys, finished, quick_alexnet, tmp_path):
    """The second run takes the image of the first; its command gives the same cycles."""
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    before = (folder / "image" / "manifest.json").read_bytes()
    code, out, err = call(
        capsys,
        "bench",
        "alexnet",
        *ARGUMENTS,
        "--config",
        quick_alexnet,
        "--clock",
        "100",
        "--out",
        folder,
    )
    assert code == 0 and err == ""
    assert out.startswith("DRAWN, NOT TRAINED: ")
    assert max(len(line) for line in out.splitlines() if "\u2500" in line) <= 120
    for words in (
        "NARROWED",
        "not AlexNet's cycles",
        "100 MHz",
        "port words",
        "not modelled",
        "weight skipping alone",
        "speed-up",
        "ternary convs",
        "imbalance",
        "wall time",
        "load the image of the run before",
    ):
        assert words in out
    assert (folder / "image" / "manifest.json").read_bytes() == before
    result = json.loads((folder / "bench.json").read_text())
    assert "export" not in result["seconds"]
    assert result["layers"] == finished[1]["layers"]
    assert result["provenance"] == finished[1]["provenance"]
    command = next(iter(result["commands"].values())).split()[1:]
    command[-1] = str(tmp_path / "run")
    code, out, _ = call(capsys, *command, "--json")
    assert code == 0
    assert json.loads(out)["layers"] == result["report"]["layers"]


def test_another_input_makes_another_image(finished, quick_alexnet, tmp_path):
    """A damaged image is made again; so is one of another seed, here on the golden model."""
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    (folder / "image" / "trits.bin").write_bytes(b"")
    rng = np.random.default_rng(0)
    Picture.fromarray(rng.integers(0, 256, (300, 280, 3), np.uint8)).save(tmp_path / "noise.png")
    result = bench.run(
        folder,
        config=str(quick_alexnet),
        backend="golden",
        divisor=16,
        seed=1,
        photograph=tmp_path / "noise.png",
    )
    assert "export" in result["seconds"]
    assert result["provenance"]["seed"] == 1 and result["photograph"] == "noise.png"
    assert result["totals"]["all layers"]["cycles"] is None
    assert all(
        layer["cycles"] is None and layer["weight_skipping"] is None for layer in result["layers"]
    )
    assert {entry.name for entry in folder.iterdir()} == bench.CONTENTS - {"bench.png"}
    parts = bench_parts(result, folder)
    assert sum(not isinstance(part, str) for part in parts) == 1
    assert any("integers only" in part for part in parts if isinstance(part, str))


def test_refusals(capsys, finished, quick_alexnet, tmp_path):
    arguments = ("bench", "alexnet", *ARGUMENTS, "--config", quick_alexnet, "--out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    said = refused(capsys, *arguments, tmp_path / "mine")
    assert "is not a tritforge benchmark; it is left as it is" in said
    out = tmp_path / "out"
    for more, words in (
        (("--photograph", tmp_path / "absent.jpg"), "absent.jpg cannot be read"),
        (("--checkpoint", tmp_path / "absent.npz"), "absent.npz"),
        (("--threshold", "0.05"), "a threshold goes with a checkpoint"),
        (("--divisor", "3"), "divisor 3 does not leave"),
    ):
        assert words in refused(capsys, *arguments, out, *more)
    said = refused(capsys, "bench", "alexnet", *ARGUMENTS, "--config", "tiny", "--out", out)
    assert "memory is too small" in said
    assert {entry.name for entry in tmp_path.iterdir()} == {"mine"}
    with pytest.raises(ReportError, match="is not a tritforge benchmark"):
        bench.run(tmp_path / "mine", config=str(quick_alexnet))


def test_an_interrupt_leaves_the_former_benchmark(
    capsys, finished, quick_alexnet, tmp_path, monkeypatch
):
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    before = (folder / "bench.json").read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "_weight_skipping", interrupted)
    code, out, err = call(
        capsys, "bench", "alexnet", *ARGUMENTS, "--config", quick_alexnet, "--out", folder
    )
    assert code == 130 and out == ""
    assert err == "tritforge: interrupted; nothing was left behind\n"
    assert (folder / "bench.json").read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"again"}
