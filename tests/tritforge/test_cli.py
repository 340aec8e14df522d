"""The command line: what it writes, what it prints, and how it refuses."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pytest
import torch

from tests.tritforge.support import call, export_arguments, pickle_bomb, refused, small_model
from tritforge.cli import cli
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import COUNTERS

PYTHON = [sys.executable, "-m", "tritforge.cli"]


def leftovers(folder, *allowed):
    return {entry.name for entry in folder.iterdir()} - {
        "small.pt",
        "models.py",
        "calibration.npy",
        "x.npy",
        "__pycache__",
        *allowed,
    }


# ----- help


def test_help_is_quick_and_lists_commands(capsys):
    code, out, err = call(capsys, "--help")
    assert code == 0 and err == ""
    for command in ("bench", "compare-logs", "demo", "export", "generate", "simulate", "verify"):
        assert command in out


def test_importing_does_not_wait_for_pytorch():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tritforge, tritforge.cli; sys.exit('torch' in sys.modules)",
        ],
        check=False,
    )
    assert done.returncode == 0


def test_help_lists_presets_and_zoo(capsys):
    _, out, _ = call(capsys, "generate", "--help")
    assert all(name in out for name in PRESETS)
    _, out, _ = call(capsys, "export", "--help")
    assert "zoo:digits" in out and "zoo:mnist" in out
    _, out, _ = call(capsys, "bench", "--help")
    assert "alexnet" in out


def commands(group):
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("command", list(commands(cli)), ids=lambda command: command.name)
def test_every_option_is_explained(command):
    assert command.help
    for option in command.params:
        if option.param_type_name == "option":
            assert option.help, f"{command.name} {option.name}"


def test_no_command_shows_help(capsys):
    code, _, err = call(capsys)
    assert code == 2 and "Usage:" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "No such command"),
        (["export"], "Missing argument"),
        (
            ["export", "x", "--model", "zoo:digits", "--config", "tiny", "-o", "i"],
            "Missing option '--calibrate'",
        ),
        (["export", "--drawn", "-1"], "-1"),
        (
            [
                "export",
                "--drawn",
                "0",
                "x",
                "--model",
                "zoo:alexnet_dorefa",
                "--config",
                "tiny",
                "-o",
                "i",
            ],
            "neither CHECKPOINT nor --threshold",
        ),
        (["bench", "alexnet", "--topology", "lenet"], "lenet"),
        (["simulate", "image"], "Missing option '--input'"),
        (["simulate", "image", "--input", "x", "--backend", "gpu", "-o", "r"], "gpu"),
        (["export", "--digits", "99", "x"], "99"),
    ],
)
def test_wrong_usage_is_one_sentence(capsys, arguments, words):
    assert words in refused(capsys, *arguments, code=2)


# ----- export


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
    for name, kind in (("with_lstm", "LSTM"), ("upsampling", "Upsample")):
        model = f"{files / 'models.py'}:{name}"
        torch.save(eval_model(files, name).state_dict(), files / "other.pt")
        said = refused(
            capsys,
            *export_arguments(
                files, files / "image", checkpoint=files / "other.pt", **{"--model": model}
            ),
        )
        assert kind in said and "Conv2d" in said
        assert not leftovers(files, "other.pt")


def eval_model(folder, name):
    from tritforge.model_export.zoo import load_model

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
    passes = json.loads((files / "image" / "manifest.json").read_text())["streaming"]["passes"]
    assert code == 0 and passes > 2 and f"streamed in {passes} passes" in out
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
        (np.zeros((3, 2, 4), np.float32), "shape (3, 2, 4)"),
        (np.zeros((3, 5, 4, 4), np.float32), "channels"),
        (np.full((3, 2, 4, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((3, 2, 4, 4), "x"), "must be numbers"),
    ],
)
def test_export_refuses_calibration(capsys, files, array, words):
    np.save(files / "calibration.npy", array)
    assert words in refused(capsys, *export_arguments(files, files / "image"))
    assert not leftovers(files)


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
    assert "refused" in said
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
    from tritforge.flows import network as flows

    monkeypatch.setattr(flows, "alexnet", functools.partial(flows.alexnet, divisor=16))
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


# ----- generate


def test_generate_writes_verilog_and_sidecar(capsys, tmp_path):
    code, out, err = call(capsys, "generate", "--config", "tiny", "-o", tmp_path / "v", "--json")
    assert code == 0 and err == ""
    document = json.loads(out)
    assert document["weight_multipliers"] == 2 * PRESETS["tiny"].clusters
    sidecar = json.loads((tmp_path / "v" / "accelerator.json").read_text())
    assert sidecar["identity"] == PRESETS["tiny"].identity
    assert "module accelerator" in (tmp_path / "v" / "accelerator.v").read_text()
    assert {entry.name for entry in tmp_path.iterdir()} == {"v"}
    assert call(capsys, "generate", "--config", "tiny", "-o", tmp_path / "v")[0] == 0


def test_generate_leaves_other_files_alone(capsys, tmp_path):
    (tmp_path / "accelerator.v").write_text("module accelerator; endmodule  // mine")
    said = refused(capsys, "generate", "--config", "tiny", "-o", tmp_path)
    assert "was not generated by tritforge" in said
    assert "mine" in (tmp_path / "accelerator.v").read_text()


def test_generate_refuses_a_configuration_outside_its_limits(capsys, tmp_path):
    (tmp_path / "odd.toml").write_text('preset = "tiny"\nrows = 99\n')
    said = refused(capsys, "generate", "--config", tmp_path / "odd.toml", "-o", tmp_path / "v")
    assert "rows is 99" in said
    assert not (tmp_path / "v").exists()


# ----- simulate


def simulate(capsys, exported, run, *more):
    return call(
        capsys, "simulate", exported / "image", "--input", exported / "x.npy", "-o", run, *more
    )


def test_simulate_golden(capsys, exported, tmp_path):
    code, out, err = simulate(capsys, exported, tmp_path / "run", "--backend", "golden", "--json")
    assert code == 0 and err == ""
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["total_cycles"] is None
    printed = json.loads(out)
    assert printed["layers"] == report["layers"]
    output = np.load(tmp_path / "run" / "output.npy", allow_pickle=False)
    assert output.shape == (3, 3) and output.dtype == np.int32
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("backend", ["rtl", "pysim", "cycle"])
def test_simulate_hardware(capsys, exported, tmp_path, backend):
    assert simulate(capsys, exported, tmp_path / "golden", "--backend", "golden")[0] == 0
    code, out, _ = simulate(capsys, exported, tmp_path / "run", "--backend", backend)
    assert code == 0
    assert "cycles an image" in out and "Loading is not included" in out and "50 MHz" in out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    np.testing.assert_array_equal(
        np.load(tmp_path / "run" / "output.npy"), np.load(tmp_path / "golden" / "output.npy")
    )
    assert report["images"] == 3 and report["backend"] == backend
    assert report["total_cycles"] == sum(report["cycles_per_image"]) > 0
    assert 0 < report["utilization"] < 1
    assert report["output"]["scale"] > 0
    for layer in report["layers"]:
        assert layer["cycles"] == sum(layer["cycles_per_image"]) > 0
        assert 0 < layer["utilization"] < 1
        assert set(layer["counters"]) == set(COUNTERS) - {"cycles"}
        assert min(layer["cluster_cycles"].values()) >= 0
        assert sum(layer["cluster_cycles"].values()) == report["clusters"] * layer["cycles"]
    assert {"total_cycles", "cycles", "utilization", "counters"} <= set(report["units"])


def test_simulate_one_layer(capsys, exported, tmp_path):
    names = [
        layer["name"]
        for layer in json.loads((exported / "image" / "manifest.json").read_text())["layers"]
    ]
    for name in names:
        outputs = []
        for backend in ("golden", "rtl"):
            code, _, _ = simulate(
                capsys, exported, tmp_path / backend, "--backend", backend, "--layer", name
            )
            assert code == 0
            outputs.append(np.load(tmp_path / backend / "output.npy"))
        np.testing.assert_array_equal(*outputs)
        report = json.loads((tmp_path / "rtl" / "report.json").read_text())
        assert [layer["name"] for layer in report["layers"]] == [name]
    assert "has no layer 'conv9'" in refused(
        capsys,
        "simulate",
        exported / "image",
        "--input",
        exported / "x.npy",
        "-o",
        tmp_path / "run",
        "--layer",
        "conv9",
    )
    assert not (tmp_path / "run").exists()


def test_simulate_takes_one_image_and_codes(capsys, exported, tmp_path):
    x = np.load(exported / "x.npy")
    np.save(tmp_path / "one.npy", x[0])
    scale = json.loads((exported / "image" / "manifest.json").read_text())["input"]["scale"]
    codes = np.clip(np.rint(x[:1].astype(np.float64) / scale), -128, 127).astype(np.int16)
    np.save(tmp_path / "codes.npy", codes)
    outputs = []
    for name in ("one", "codes"):
        code, _, err = call(
            capsys,
            "simulate",
            exported / "image",
            "--input",
            tmp_path / f"{name}.npy",
            "--backend",
            "golden",
            "-o",
            tmp_path / name,
        )
        assert code == 0, err
        outputs.append(np.load(tmp_path / name / "output.npy"))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 2, 4, 4), np.float32), "empty"),
        (np.zeros((1, 3, 4, 4), np.float32), "(images, 2, 4, 4)"),
        (np.full((1, 2, 4, 4), np.inf, np.float32), "infinite"),
        (np.full((1, 2, 4, 4), 300), "activation codes from 300"),
        (np.array(["a"]), "array of numbers"),
    ],
)
def test_simulate_refuses_input(capsys, exported, tmp_path, array, words):
    np.save(tmp_path / "x.npy", array)
    said = refused(
        capsys,
        "simulate",
        exported / "image",
        "--input",
        tmp_path / "x.npy",
        "-o",
        tmp_path / "run",
        "--backend",
        "golden",
    )
    assert words in said
    assert not (tmp_path / "run").exists()


def test_simulate_replaces_a_run_but_nothing_else(capsys, exported, tmp_path):
    for _ in range(2):
        assert simulate(capsys, exported, tmp_path / "run", "--backend", "golden")[0] == 0
    (tmp_path / "run" / "notes.txt").write_text("mine")
    said = refused(
        capsys,
        "simulate",
        exported / "image",
        "--input",
        exported / "x.npy",
        "-o",
        tmp_path / "run",
        "--backend",
        "golden",
    )
    assert "is left as it is" in said
    assert (tmp_path / "run" / "notes.txt").exists()


def test_another_configuration_is_refused(capsys, exported, tmp_path):
    for command in (["simulate", "-o", tmp_path / "run"], ["verify"]):
        said = refused(
            capsys,
            command[0],
            exported / "image",
            "--input",
            exported / "x.npy",
            "--config",
            "icebreaker",
            *command[1:],
        )
        assert "compiled for configuration tiny" in said and "icebreaker" in said


@pytest.mark.parametrize(
    "damage", ["truncate", "flip", "remove", "add", "foreign", "absent", "manifest"]
)
def test_damaged_images_are_refused(capsys, exported, tmp_path, damage):
    image = tmp_path / "image"
    shutil.copytree(exported / "image", image)
    trits = image / "trits.bin"
    raw = bytearray(trits.read_bytes())
    if damage == "truncate":
        trits.write_bytes(raw[:-1])
    elif damage == "flip":
        raw[len(raw) // 2] ^= 1
        trits.write_bytes(raw)
    elif damage == "remove":
        trits.unlink()
    elif damage == "add":
        (image / "more.bin").write_bytes(b"")
    elif damage == "foreign":
        (image / "manifest.json").write_text('{"format": "something else"}')
    elif damage == "manifest":
        text = (image / "manifest.json").read_text()
        (image / "manifest.json").write_text(text.replace('"network": "', '"network": "x', 1))
    else:
        shutil.rmtree(image)
    said = refused(capsys, "simulate", image, "--input", exported / "x.npy", "-o", tmp_path / "run")
    assert str(image) in said
    assert not (tmp_path / "run").exists()


def test_no_compiler_is_one_sentence(capsys, exported, tmp_path, monkeypatch):
    from tritforge.sim import native

    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "compiler", lambda: "/nonexistent/g++")
    said = refused(
        capsys,
        "simulate",
        exported / "image",
        "--input",
        exported / "x.npy",
        "-o",
        tmp_path / "run",
    )
    assert "g++" in said
    assert not (tmp_path / "run").exists()


# ----- event logs


@pytest.fixture
def one_image(exported, tmp_path):
    """A file with one input image."""
    np.save(tmp_path / "one.npy", np.load(exported / "x.npy")[0])
    return tmp_path / "one.npy"


def logged(capsys, exported, one_image, name, *more):
    """Simulate with backend ``name``; its log."""
    folder = one_image.parent
    return call(
        capsys,
        "simulate",
        exported / "image",
        "--input",
        one_image,
        "-o",
        folder / "run",
        "--backend",
        name,
        "--log",
        folder / f"{name}.log",
        *more,
    )


def test_logs_of_all_simulators_are_equal(capsys, exported, one_image, tmp_path):
    for name in ("cycle", "rtl", "pysim"):
        code, out, err = logged(capsys, exported, one_image, name)
        assert code == 0 and err == ""
        assert f"{name}.log: event log" in " ".join(out.split())
    for name in ("rtl", "pysim"):
        code, out, err = call(
            capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / f"{name}.log"
        )
        assert code == 0 and err == ""
        assert re.search(
            rf"cycle.log \(cycle\) and .*{name}.log \({name}\) are equal: "
            r"[\d,]+ records of 3 layers\n",
            out,
        )
    code, out, err = call(
        capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / "rtl.log", "--json"
    )
    document = json.loads(out)
    assert code == 0 and document["equal"] and document["difference"] is None
    assert document["first"]["configuration_identity"] == PRESETS["tiny"].identity
    manifest = json.loads((exported / "image" / "manifest.json").read_text())
    assert document["second"]["image_manifest_sha256"] == manifest["manifest_sha256"]
    lines = (tmp_path / "rtl.log").read_text().splitlines()
    assert document["records"] == len(lines) - 1
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "one.npy",
        "run",
        "cycle.log",
        "rtl.log",
        "pysim.log",
    }


def test_the_first_difference_between_logs_is_named(capsys, exported, one_image, tmp_path):
    for name in ("cycle", "rtl"):
        assert logged(capsys, exported, one_image, name, "--layer", "4")[0] == 0
    lines = (tmp_path / "rtl.log").read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if "pixel_drained" in line)
    record = json.loads(lines[number])
    lines[number] = json.dumps(record | {"time": record["time"] + 1})
    (tmp_path / "rtl.log").write_text("\n".join(lines))
    code, out, err = call(capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / "rtl.log")
    assert code == 1 and out == ""
    assert err == (
        f"tritforge: layer 4, cycle {record['time']:,}, record {number}: {tmp_path}/cycle.log has "
        f"pixel_drained (set 0, tile 0, pixel 0) in cycle {record['time']:,}, {tmp_path}/rtl.log "
        f"has pixel_drained (set 0, tile 0, pixel 0) in cycle {record['time'] + 1:,}\n"
    )
    code, out, err = call(
        capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / "rtl.log", "--json"
    )
    document = json.loads(out)
    assert code == 1 and not document["equal"] and document["difference"] in err


def test_logs_that_cannot_be_compared_are_refused(capsys, exported, one_image, tmp_path):
    assert logged(capsys, exported, one_image, "cycle")[0] == 0
    (tmp_path / "cycle.log").rename(tmp_path / "whole.log")
    assert logged(capsys, exported, one_image, "cycle", "--layer", "4")[0] == 0
    whole, alone = tmp_path / "whole.log", tmp_path / "cycle.log"
    assert "of layer all" in refused(capsys, "compare-logs", whole, alone)
    np.save(one_image, np.load(exported / "x.npy")[1])
    assert logged(capsys, exported, one_image, "cycle")[0] == 0
    assert "of input" in refused(capsys, "compare-logs", whole, alone)
    assert "No such file" in refused(capsys, "compare-logs", whole, tmp_path / "absent")
    said = refused(capsys, "compare-logs", whole, tmp_path / "run" / "report.json")
    assert "is not a tritforge event log" in said
    whole.write_bytes(whole.read_bytes()[:-100])
    assert "damaged" in refused(capsys, "compare-logs", whole, alone)


def test_logs_that_cannot_be_written_are_refused_before_anything_runs(
    capsys, exported, one_image, tmp_path, monkeypatch
):
    from tritforge.flows import network as network_module

    monkeypatch.setattr(network_module, "create", None)
    kept = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def said(*arguments, inputs=one_image):
        return refused(
            capsys,
            "simulate",
            exported / "image",
            "--input",
            inputs,
            "-o",
            tmp_path / "run",
            *arguments,
        )

    log = tmp_path / "a.log"
    assert "golden knows no clock cycles" in said("--backend", "golden", "--log", log)
    assert "of one input image, and 3 are given" in said("--log", log, inputs=exported / "x.npy")
    assert "is left as it is" in said("--log", one_image)
    assert "would lie in the run folder" in said("--log", tmp_path / "run" / "a.log")
    assert "which is a tritforge image" in said("--log", exported / "image" / "a.log")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == kept


# ----- verify


def test_verify_says_equal(capsys, exported):
    code, out, err = call(
        capsys, "verify", exported / "image", "--input", exported / "x.npy", "--json"
    )
    assert code == 0 and err == ""
    document = json.loads(out)
    assert document["equal"]
    assert [one["backend"] for one in document["comparisons"]] == ["memory", "rtl", "pysim"]
    assert all(one["equal"] for one in document["comparisons"])
    assert [one["images"] for one in document["comparisons"]] == [3, 3, 1]


def test_verify_names_the_first_difference(capsys, exported, monkeypatch):
    from tritforge.sim.backend import InterpreterBackend

    original = InterpreterBackend.capture

    def wrong(self, codes, progress=None):
        outputs = original(self, codes, progress)
        second = list(outputs)[1]
        outputs[second][0, 4, 0, 0] += 3
        return outputs

    monkeypatch.setattr(InterpreterBackend, "capture", wrong)
    code, out, err = call(
        capsys, "verify", exported / "image", "--input", exported / "x.npy", "--backend", "memory"
    )
    assert code == 1
    assert err.count("\n") == 1
    assert "row 4, pixel (y 0, x 0) of image 0" in err
    assert "row 4" in out


# ----- streams


def test_output_that_nobody_reads_is_no_error(exported, tmp_path):
    command = " ".join(
        [
            *PYTHON,
            "simulate",
            str(exported / "image"),
            "--input",
            str(exported / "x.npy"),
            "--backend",
            "golden",
            "-o",
            str(tmp_path / "run"),
            "--json",
        ]
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
