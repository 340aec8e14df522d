"""tritforge export: what it writes, what it says became of weights, and what it refuses."""

import functools
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.tritforge.support import (
    PYTHON,
    call,
    export_arguments,
    leftovers,
    pickle_bomb,
    refused,
    samples,
    small_model,
    ternary_model,
)
from tritforge.model_export.model_file import load_model


def test_export_writes_an_image_and_says_what_became_of_weights(capsys, files):
    code, out, err = call(capsys, *export_arguments(files, files / "image"))
    assert code == 0 and err == ""
    assert "ternary" in out and "sums of" in out and "times smaller" in out
    assert "structure agrees with the model" in out
    assert "memory contents give the golden model's integers" in out
    manifest = json.loads((files / "image" / "manifest.json").read_text())
    assert manifest["extra"]["calibration"]["shape"] == [12, 2, 4, 4]
    assert leftovers(files) == {"image"}


def test_export_prints_json_alone(capsys, files):
    code, out, err = call(capsys, *export_arguments(files, files / "image"), "--json")
    assert code == 0 and err == ""
    document = json.loads(out)
    assert document["configuration"]["name"] == "tiny"
    assert [layer["kind"] for layer in document["layers"]] == ["conv", "conv", "linear"]
    assert {step["name"] for step in document["steps"]} >= {"trace", "calibrate", "quantize"}


def test_what_a_model_file_prints_goes_to_standard_error(capsys, files):
    text = (files / "models.py").read_text()
    (files / "models.py").write_text(
        f"print('loading')\n{text}\nclass Talking(nn.Flatten):\n"
        "    def forward(self, x):\n        import helper\n        return super().forward(x)\n"
        "def small():\n    return nn.Sequential(\n"
        "        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),\n"
        "        nn.Conv2d(5, 6, 2), nn.ReLU(), Talking(), nn.Linear(6, 3))\n"
    )
    (files / "helper.py").write_text("print('running')\n")
    code, out, err = call(capsys, *export_arguments(files, files / "image"), "--json")
    assert code == 0, err
    assert json.loads(out)["network"] == "small"
    assert err == "loading\nrunning\n"
    assert "helper" not in sys.modules


#: Prints by Python, by the system, by C, from a thread, and when the program ends.
LOUD = """
import atexit, ctypes, os, sys, threading

def say(what):
    print(what)
    os.write(1, what.encode())
    ctypes.CDLL(None).puts(what.encode())
    print(what, file=sys.__stdout__, flush=True)

say("loading")
atexit.register(say, "ending")
speaker = threading.Thread(target=say, args=("thread",))
speaker.start()
speaker.join()
"""


@pytest.mark.long
def test_standard_output_is_json_alone_whoever_prints(files):
    text = (files / "models.py").read_text()
    (files / "models.py").write_text(LOUD + text)
    arguments = [*PYTHON, *export_arguments(files, files / "image"), "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["network"] == "small"
    assert [done.stderr.count(word) for word in ("loading", "thread", "ending")] == [4, 4, 4]


def test_export_is_reproducible(capsys, files):
    for name in ("one", "two"):
        assert call(capsys, *export_arguments(files, files / name))[0] == 0
    for path in (files / "one").iterdir():
        assert path.read_bytes() == (files / "two" / path.name).read_bytes()


def test_export_replaces_an_image_but_nothing_else(capsys, files):
    assert call(capsys, *export_arguments(files, files / "image"))[0] == 0
    assert call(capsys, *export_arguments(files, files / "image"))[0] == 0
    (files / "mine").mkdir()
    (files / "mine" / "thesis.txt").write_text("years of work")
    said = refused(capsys, *export_arguments(files, files / "mine"))
    assert "is not a tritforge image" in said
    assert (files / "mine" / "thesis.txt").read_text() == "years of work"
    said = refused(capsys, *export_arguments(files, files / "x.npy"))
    assert "is not a tritforge image" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "absent.pt"}, "No such file"),
        ({"--model": "zoo:resnet"}, "has no network 'resnet'"),
        ({"--model": "small"}, "neither FILE.py:NAME nor zoo:NAME"),
        ({"--model": "zoo:mnist"}, "does not fit the model"),
        ({"--config": "huge"}, "neither a preset"),
        ({"--config": "absent.toml"}, "cannot be read"),
        ({"--calibrate": "absent.npy"}, "No such file"),
        ({"--threshold": 2}, "[0, 1)"),
        ({"--percentile": 10}, "above 50"),
        ({"--digits": 0}, "not ternary"),
    ],
)
def test_export_refuses(capsys, files, changes, words):
    assert words in refused(capsys, *export_arguments(files, files / "image", **changes))
    assert not leftovers(files)


def test_export_names_unsupported_layers(capsys, files):
    for name, kind in (
        ("with_lstm", "layer rnn (LSTM), models.py line"),
        ("normalized", "layer 1 (GroupNorm): group_norm is not supported"),
    ):
        model = f"{files / 'models.py'}:{name}"
        torch.save(eval_model(files, name).state_dict(), files / "other.pt")
        said = refused(
            capsys,
            *export_arguments(
                files, files / "image", checkpoint=files / "other.pt", **{"--model": model}
            ),
        )
        assert kind in said
        assert not leftovers(files, "other.pt")


def eval_model(folder, name):
    return load_model(f"{folder / 'models.py'}:{name}")


def test_export_names_the_memory_that_is_too_small(capsys, files):
    torch.save(eval_model(files, "Wide").state_dict(), files / "wide.pt")
    arguments = export_arguments(
        files,
        files / "image",
        checkpoint=files / "wide.pt",
        **{"--model": f"{files / 'models.py'}:Wide"},
    )
    said = refused(capsys, *arguments, "--resident")
    assert "memory is too small" in said and "needs" in said and "has" in said
    (files / "least.toml").write_text('preset = "tiny"\nactivation_depth = 16\n')
    arguments[arguments.index("tiny")] = str(files / "least.toml")
    said = refused(capsys, *arguments)
    assert "one output row of network Wide needs" in said and "has 16" in said
    assert leftovers(files, "wide.pt", "least.toml") == set()


@pytest.mark.compiles
def test_what_does_not_fit_is_streamed(capsys, files):
    torch.save(eval_model(files, "Wide").state_dict(), files / "wide.pt")
    code, out, _ = call(
        capsys,
        *export_arguments(
            files,
            files / "image",
            checkpoint=files / "wide.pt",
            **{"--model": f"{files / 'models.py'}:Wide"},
        ),
    )
    manifest = json.loads((files / "image" / "manifest.json").read_text())
    passes = manifest["streaming"]["passes"]
    assert code == 0 and passes > 2 and f"streamed in {passes} passes" in out
    for entry in manifest["memories"]:
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [entry["memory"]]]
        assert ("stays" in line) == entry["stays"] and f"{entry['needed']:,}" in line
    moved = out[out.index("what moves") :]
    for layer in manifest["streaming"]["layers"]:
        assert f"{layer['chip_words']:,}" in moved and layer["layer"] in moved
    assert "memory contents give the golden model's integers" in out
    outputs, reports = [], []
    for backend in ("golden", "cycle", "rtl"):
        code, out, _ = call(
            capsys,
            "simulate",
            files / "image",
            "--input",
            files / "x.npy",
            "-o",
            files / "run",
            "--backend",
            backend,
        )
        assert code == 0
        outputs.append(np.load(files / "run" / "output.npy"))
        reports.append(json.loads((files / "run" / "report.json").read_text()))
        assert ("through the host port, per image" in out) == (backend != "golden")
    assert "does not fit the memories at once" in out
    np.testing.assert_array_equal(outputs[1], outputs[0])
    np.testing.assert_array_equal(outputs[2], outputs[0])
    one, other = reports[1:]
    assert one["cycles_per_image"] == other["cycles_per_image"]
    assert one["layers"] == other["layers"]
    assert sum(layer["passes"] for layer in one["layers"]) == passes
    assert all(layer["sent_words"] > 0 for layer in one["layers"])
    assert (
        0 < sum(layer["counters"]["stall_refill"] for layer in one["layers"]) < one["total_cycles"]
    )
    code, out, _ = call(
        capsys,
        "verify",
        files / "image",
        "--input",
        files / "x.npy",
        "--backend",
        "memory",
        "--backend",
        "rtl",
    )
    assert code == 0 and out.count("equal") >= 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_export_refuses_weights_that_are_not_finite(capsys, files, value):
    state = small_model().state_dict()
    state["4.weight"][0, 0, 0, 0] = value
    torch.save(state, files / "small.pt")
    said = refused(capsys, *export_arguments(files, files / "image"))
    assert "NaN or infinite" in said and "4.weight" in said


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 2, 4, 4), np.float32), "empty"),
        (np.eye(80, dtype=np.float32).reshape(-1, 5, 4, 4), "channels"),
        (np.zeros((3, 2, 4, 4), np.float32), "calibration samples are all zero"),
        (np.full((3, 2, 4, 4), 1e-35), "calibration samples are no larger than 1e-35"),
        (np.full((3, 2, 4, 4), 1e300), "NaN or infinite in single precision"),
        (np.zeros(32), "shape (32,)"),
        (np.full((3, 2, 4, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((3, 2, 4, 4), "x"), "must be an array of real numbers"),
    ],
)
def test_export_refuses_calibration(capsys, files, array, words):
    np.save(files / "calibration.npy", array)
    assert words in refused(capsys, *export_arguments(files, files / "image"))
    assert not leftovers(files)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((4, 2, 4, 4), np.float32), "calibration samples are all 1"),
        (samples()[:1], "there is one calibration sample"),
        (samples()[[0, 0, 0]], "all 3 calibration samples are the same"),
    ],
)
def test_export_warns_of_calibration(capsys, files, array, words):
    np.save(files / "calibration.npy", array)
    code, out, err = call(capsys, *export_arguments(files, files / "image"), "--json")
    assert code == 0
    assert f"tritforge: warning: {words}: activation scales come from the samples' values" in err
    assert any(one.startswith(words) for one in json.loads(out)["warnings"])


@pytest.mark.parametrize(
    ("threshold", "options", "words"),
    [
        (0.3, ["--percentile", "100"], "--percentile 100 is the largest value"),
        (0.01, [], "98% of the trits of 4 are nonzero, which leaves next to nothing to skip"),
    ],
)
def test_export_warns_of_what_changes_nothing(capsys, files, threshold, options, words):
    torch.save(small_model(threshold=threshold).state_dict(), files / "small.pt")
    code, out, err = call(capsys, *export_arguments(files, files / "image"), *options)
    assert code == 0 and err.startswith(f"tritforge: warning: {words}") and err.count("\n") == 1
    assert words not in out


def test_digits_of_a_ternary_network(capsys, files):
    torch.save(ternary_model().state_dict(), files / "all.pt")
    arguments = export_arguments(
        files,
        files / "image",
        checkpoint=files / "all.pt",
        **{"--model": f"{files / 'models.py'}:all_ternary"},
    )
    assert call(capsys, *arguments)[::2] == (0, "")
    assert call(capsys, *arguments, "--digits", "0")[::2] == (0, "")
    code, _, err = call(capsys, *arguments, "--digits", "4")
    assert code == 0
    assert err == "tritforge: warning: all layers are ternary, so --digits changes nothing\n"


def test_weights_that_are_rounded_to_three_values(capsys, files):
    """Two bits are not without effect."""
    arguments = export_arguments(files, files / "image")
    assert call(capsys, *arguments, "--digits", "2", "--no-check")[::2] == (0, "")


def test_a_threshold_without_latent_weights(capsys, files):
    model = eval_model(files, "small")
    torch.save(model.state_dict(), files / "plain.pt")
    said = refused(
        capsys,
        *export_arguments(files, files / "image", checkpoint=files / "plain.pt"),
        "--threshold",
        "0.05",
    )
    assert "has Wp and Wn beside latent weights, so a threshold of 0.05 changes nothing" in said
    assert not leftovers(files, "plain.pt")


def test_export_shows_where_accuracy_is_lost(capsys, files):
    code, out, _ = call(capsys, *export_arguments(files, files / "image"))
    assert code == 0
    lines = out[out.index("what integers cost") :].splitlines()
    assert [line.split()[0] for line in lines[4:8]] == ["input", "0", "4", "7"]
    code, out, _ = call(capsys, *export_arguments(files, files / "image"), "--json")
    errors = json.loads(out)["extra"]["errors"]
    assert errors["samples"] == 12
    assert [one["name"] for one in errors["layers"]] == ["input", "0", "4", "7"]
    assert all(0 < one["rms"] < 0.05 for one in errors["layers"])
    code, out, _ = call(capsys, *export_arguments(files, files / "image"), "--no-check")
    assert code == 0 and "what integers cost" not in out


def test_export_refuses_object_arrays_and_damaged_files(capsys, files):
    np.save(files / "calibration.npy", np.array([{}], object))
    assert "refused" in refused(capsys, *export_arguments(files, files / "image"))
    (files / "calibration.npy").write_bytes(b"\x93NUMPY\x01\x00")
    refused(capsys, *export_arguments(files, files / "image"))
    np.savez(files / "calibration.npz", a=np.zeros(3))
    said = refused(
        capsys,
        *export_arguments(files, files / "image", **{"--calibrate": files / "calibration.npz"}),
    )
    assert "archive" in said


def test_a_pickle_runs_no_code(capsys, files):
    marker = files / "ran"
    bomb = pickle_bomb(files / "small.pt", marker)
    said = refused(capsys, *export_arguments(files, files / "image", checkpoint=bomb))
    assert "is a pickle of another kind than torch.save writes" in said
    assert not marker.exists()


def test_a_truncated_checkpoint_is_refused(capsys, files):
    raw = (files / "small.pt").read_bytes()
    (files / "small.pt").write_bytes(raw[: len(raw) // 2])
    assert "truncated" in refused(capsys, *export_arguments(files, files / "image"))


def test_an_interrupted_export_leaves_nothing(files):
    """The model file waits for the interrupt, as a long calibration would."""
    source = (files / "models.py").read_text()
    (files / "models.py").write_text(
        source + "\nimport pathlib, time\npathlib.Path(__file__).with_name('waiting').touch()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [*PYTHON, *export_arguments(files, files / "image")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not (files / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "" and err == "tritforge: interrupted; nothing was left behind\n"
    assert not leftovers(files, "waiting")


def test_an_export_interrupted_while_writing_leaves_nothing(capsys, files, monkeypatch):
    from tritforge.common import files as files_module

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(files_module, "_replace", interrupted)
    code, _, err = call(capsys, *export_arguments(files, files / "image"))
    assert code == 130 and err.count("\n") == 1
    assert not leftovers(files)


def test_export_of_drawn_weights_says_so(capsys, tmp_path, monkeypatch, quick_alexnet):
    from tritforge.flows import drawn

    monkeypatch.setattr(drawn, "alexnet", functools.partial(drawn.alexnet, divisor=16))
    code, out, err = call(
        capsys,
        "export",
        "--drawn",
        "3",
        "--model",
        "zoo:alexnet_dorefa",
        "--config",
        quick_alexnet,
        "-o",
        tmp_path / "image",
        "--no-check",
    )
    assert code == 0 and err == ""
    assert "drawn at random (seed 3), not trained" in out
    manifest = json.loads((tmp_path / "image" / "manifest.json").read_text())
    assert manifest["network"] == "alexnet_dorefa"
    assert manifest["extra"]["checkpoint"] is None
    provenance = manifest["extra"]["provenance"]
    assert provenance["origin"] == "drawn" and provenance["seed"] == 3
    assert len(provenance["layers"]) == 8


def test_only_alexnets_are_drawn(capsys, files):
    said = refused(
        capsys,
        "export",
        "--drawn",
        "0",
        "--model",
        "zoo:digits",
        "--config",
        "tiny",
        "-o",
        files / "image",
    )
    assert "zoo:alexnet_dorefa" in said and "not zoo:digits" in said
    assert not leftovers(files)
