"""tritforge simulate: integers and cycles, and images and inputs that it refuses."""

import json
import shutil

import numpy as np
import pytest

from tests.tritforge.support import call, refused
from tritforge.hw.program import COUNTERS

pytestmark = pytest.mark.compiles


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
            *(["--codes"] if name == "codes" else []),
        )
        assert code == 0, err
        outputs.append(np.load(tmp_path / name / "output.npy"))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 2, 4, 4), np.float32), "empty"),
        (np.zeros((1, 3, 4, 4), np.float32), "(samples, 2, 4, 4)"),
        (np.zeros((1, 4, 4, 2), np.float32), "as x.transpose(0, 3, 1, 2) gives it"),
        (np.full((1, 2, 4, 4), np.inf, np.float32), "infinite"),
        (np.full((1, 2, 4, 4), 300), "activation codes from 300"),
        (np.zeros((1, 2, 4, 4)), "must be integers, not float64"),
        (np.array(["a"]), "array of real numbers"),
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
        *(["--codes"] if "codes" in words or "integers" in words else []),
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
