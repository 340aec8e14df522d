"""Accuracy, wherever samples are run, and options that go with nothing else on the line."""

import json

import numpy as np
import pytest
import torch

import tritforge
from tests.tritforge.support import call, export_arguments, refused, samples, small_model


def simulate(folder, run, *more):
    return ["simulate", folder / "image", "--input", folder / "x.npy", "-o", run, *more]


def test_a_run_says_its_accuracy(capsys, exported, tmp_path):
    golden = [*simulate(exported, tmp_path / "run", "--backend", "golden"), "--labels"]
    labels = tritforge.simulate(exported / "image", exported / "x.npy", "golden").output
    labels = labels[:, :, 0, 0].argmax(axis=1)
    for changed, accuracy in ((0, 1.0), (1, 2 / 3), (3, 0.0)):
        y = (labels + (np.arange(3) < changed)) % 3
        np.save(tmp_path / "y.npy", y)
        code, out, _ = call(capsys, *golden, tmp_path / "y.npy")
        assert code == 0
        assert f"Accuracy {accuracy:.2%}: {3 - changed} of 3 images." in out
        report = json.loads((tmp_path / "run" / "report.json").read_text())
        assert report["accuracy"] == pytest.approx(accuracy)
        result = tritforge.simulate(exported / "image", exported / "x.npy", "golden", labels=y)
        assert result.accuracy() == result.accuracy(y) == pytest.approx(accuracy)
    code, out, _ = call(capsys, *golden[:-1], "--json")
    assert code == 0 and json.loads(out)["accuracy"] is None


def test_labels_are_refused_before_anything_runs(capsys, exported, tmp_path):
    np.save(tmp_path / "y.npy", np.arange(4))
    command = simulate(exported, tmp_path / "run", "--labels", tmp_path / "y.npy")
    assert "there are 4 labels for 3 images" in refused(capsys, *command)
    np.save(tmp_path / "y.npy", np.arange(3))
    said = refused(capsys, *command, "--layer", "4")
    assert "labels go with the whole network, not with layer 4 alone" in said
    assert not (tmp_path / "run").exists()


def test_an_export_says_both_accuracies(capsys, files):
    with torch.no_grad():
        labels = small_model()(torch.from_numpy(samples())).argmax(dim=1).numpy()
    labels[0] = (labels[0] + 1) % 3
    np.save(files / "y.npy", labels)
    arguments = [*export_arguments(files, files / "image"), "--labels", files / "y.npy"]
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    said = "accuracy on 12 calibration samples: 91.67% in real numbers, 91.67% in integers"
    assert said in " ".join(out.split())
    code, out, _ = call(capsys, *arguments, "--json")
    expected = {"samples": 12, "real": pytest.approx(11 / 12), "integers": pytest.approx(11 / 12)}
    assert json.loads(out)["extra"]["accuracy"] == expected
    np.save(files / "y.npy", labels[:5])
    assert "there are 5 labels for 12 images" in refused(capsys, *arguments)


def test_options_that_go_with_another(capsys, exported, tmp_path):
    image, x = exported / "image", exported / "x.npy"
    for arguments, words in (
        (
            ["verify", image, "--input", x, "--backend", "memory", "--pysim-images", "2"],
            "--pysim-images goes with --backend pysim",
        ),
        (["report", tmp_path, "--codes"], "--codes goes with --input"),
        (["fit", image, "--board", "icebreaker", "--codes"], "--codes goes with --input"),
        (
            ["bench", "alexnet", "--checkpoint", "w.npz", "--seed", "3"],
            "--seed is of drawn weights",
        ),
        (
            [
                *("export", "--drawn", "0", "--model", "zoo:alexnet_dorefa", "--config", "alexnet"),
                *("--labels", "y.npy", "-o", tmp_path / "image"),
            ],
            "--labels goes with --calibrate",
        ),
    ):
        assert words in refused(capsys, *arguments, code=2)


def test_a_clock_without_cycles(capsys, exported, tmp_path):
    command = simulate(exported, tmp_path / "run", "--backend", "golden", "--clock", "10")
    code, _, err = call(capsys, *command)
    assert code == 0
    assert err == "tritforge: warning: backend golden has no cycles, so --clock changes nothing\n"


@pytest.mark.compiles
def test_a_clock_without_times(capsys, exported, tmp_path):
    command = simulate(exported, tmp_path / "run", "--backend", "cycle", "--clock", "10")
    assert call(capsys, *command)[::2] == (0, "")
    code, out, err = call(capsys, *command, "--json")
    assert code == 0
    assert json.loads(out)["warnings"] == [
        "JSON has cycles and no times, so --clock changes nothing"
    ]
    assert err.startswith("tritforge: warning: JSON has cycles")


@pytest.mark.compiles
def test_more_layers_than_images(capsys, tmp_path):
    command = ["demo", "-o", tmp_path / "demo", "--images", "2", "--no-baseline"]
    code, _, err = call(capsys, *command, "--layers-of", "4")
    assert code == 0
    assert (
        err
        == "tritforge: warning: --layers-of 4 is more than there are images: all 2 are compared\n"
    )


def test_what_is_clipped_is_said(capsys, exported, tmp_path):
    x = np.load(exported / "x.npy")
    np.save(tmp_path / "x.npy", x * 50)
    command = ["simulate", exported / "image", "--input", tmp_path / "x.npy"]
    command += ["--backend", "golden", "-o", tmp_path / "run"]
    code, out, err = call(capsys, *command)
    assert code == 0 and "% of the values are beyond the range that calibration set" in out
    assert err.count("\n") == 1 and "normalized as the calibration samples were?" in err
    code, out, err = call(capsys, *command, "--json")
    document = json.loads(out)
    assert [f"tritforge: warning: {one}\n" for one in document["warnings"]] == [err]
    assert document["input"]["clipped"] > 0.5 and not document["input"]["codes"]
    assert document["input"]["highest"] == pytest.approx(50 * x.max())
