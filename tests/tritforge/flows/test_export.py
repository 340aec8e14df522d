"""Export with objects instead of names, and the checks between its passes."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import tritforge
from tests.tritforge.support import prepare, samples, small_model
from tritforge.cost.estimate import recompiled
from tritforge.flows.export import _Steps
from tritforge.flows.inputs import opened, read_inputs
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.errors import ExportError
from tritforge.model_export.image.folder import Image
from tritforge.model_export.memory.shaping import Shaping
from tritforge.sim.backend import InterpreterBackend
from tritforge.tables.export import export_parts


def test_export_from_objects_and_simulate(tmp_path):
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told = []
    made = tritforge.export(
        model.state_dict(),
        model,
        samples(),
        PRESETS["tiny"],
        tmp_path / "image",
        name="mine",
        progress=lambda step, done: told.append((step, done)),
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert made.image.network.name == "mine"
    # the preset adds nothing at write-back
    steps = [name for name in _Steps.NAMES if name != "fuse"]
    assert list(dict.fromkeys(name for name, _ in told)) == [*steps, "done"]
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1][1] == 1.0
    assert {step.name for step in made.steps if step.check} == {"trace", "quantize", "check"}
    x = samples()[:4]
    result = tritforge.simulate(made.image, x, "golden")
    assert result.output.shape == (4, 3, 1, 1)
    with torch.no_grad():
        real = model(torch.from_numpy(x)).numpy()
    scaled = result.output[:, :, 0, 0] * result.output_scale
    assert np.abs(scaled - real).max() < 0.05 * np.abs(real).max()
    single = tritforge.simulate(made.image, x[0], "golden")
    np.testing.assert_array_equal(single.output, result.output[:1])
    assert tritforge.verify(made.image, x, backends=["memory"]).equal
    loaded = tritforge.load_image(tmp_path / "image")
    assert isinstance(loaded, Image)
    assert opened(loaded, "tiny") is loaded
    with pytest.raises(tritforge.ImageError, match="compiled for configuration"):
        tritforge.simulate(loaded, x, "golden", config="icebreaker")


def test_strided_first_layer(tmp_path):
    """Its input is folded on the way to the chip; users see nothing of it but the note."""
    for way, block, kernel, channels in (
        ("stride", (4, 4), "2x2", 48),
        ("5x5", (5, 5), "1x1", 75),
    ):
        _check_folded(tmp_path / way, Shaping(way), block, kernel, channels)


def _check_folded(folder, shaping, block, kernel, channels):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 5, 4, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3)
        ).eval()
    calibration = np.random.default_rng(3).normal(size=(6, 3, 15, 17)).astype(np.float32)
    config = Config(trit_depth=8192, scan_width=4, packet_words=254)
    made = tritforge.export(None, model, calibration, config, folder, shaping=shaping)
    manifest = made.image.manifest
    assert manifest.input.shape == (3, 15, 17)
    assert manifest.input.fold.block == block
    assert f"computed as {kernel} on {channels} channels" in manifest.layers[0].note
    assert made.image.memory.tensors["input"].channels == channels
    assert made.image.network.tensors["input"].fold is None
    x = calibration[:2]
    assert tritforge.verify(made.image, x, backends=["memory"]).equal
    golden = tritforge.simulate(made.image, x, "golden").output
    with torch.no_grad():
        real = model(torch.from_numpy(x)).numpy()
    scaled = golden[:, :, 0, 0] * manifest.output.result_scale
    assert np.abs(scaled - real).max() < 0.03 * np.abs(real).max()
    codes = read_inputs(made.image, x[0]).codes
    one = tritforge.simulate(made.image, codes, "golden", codes=True).output
    np.testing.assert_array_equal(one, golden[:1])
    alone = tritforge.simulate(made.image, x[:1], "golden", layer="0").output
    with InterpreterBackend(made.image) as memory:
        np.testing.assert_array_equal(memory.run(codes, "0").output, alone)
    with pytest.raises(ExportError, match=r"expected is \(samples, 3, 15, 17\)"):
        tritforge.simulate(made.image, np.zeros((1, 48, 5, 5)), "golden")


def test_export_of_a_models_own_weights(tmp_path):
    made = tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "image")
    assert made.image.manifest.extra["checkpoint"] is None
    assert made.to_dict()["image"] == str(tmp_path / "image")


def test_checkpoint_paths_are_recorded_with_their_checksum(tmp_path):
    folder = prepare(tmp_path)
    made = tritforge.export(
        folder / "small.pt",
        f"{folder / 'models.py'}:small",
        folder / "calibration.npy",
        "tiny",
        folder / "image",
    )
    extra = made.image.manifest.extra
    assert extra["checkpoint"]["file"] == "small.pt"
    assert len(extra["checkpoint"]["sha256"]) == 64
    assert extra["digits"] == 8
    assert set(extra["checks"]) == {"trace", "quantize", "check"}


def test_weights_of_several_bits_take_the_form_that_costs_less(tmp_path):
    """Bytes where elements have multipliers, planes where not or where they are asked for; compiled
    anew for the other configuration they change, and the integers do not."""
    plain = Config(trit_depth=4096, activation_depth=1024, accumulator_width=28)
    config = dataclasses.replace(plain, name="wide", multipliers=True)
    made = {
        name: tritforge.export(
            None, small_model(), samples(), chosen, tmp_path / name, shaping=Shaping(planes=planes)
        )
        for name, chosen, planes in (
            ("planes", plain, False),
            ("wide", config, False),
            ("asked", config, True),
        )
    }
    for name, one in made.items():
        layers = one.image.manifest.layers
        assert [layer.ternary for layer in layers] == [False, True, False]
        form = "bytes in wide columns, " if name == "wide" else "sums of "
        assert all(form in layer.note for layer in layers if not layer.ternary)
        wide = [group.wide for layer in layers for group in layer.groups]
        assert any(wide) == (name == "wide")
        assert one.image.manifest.extra.get("planes", False) == (name == "asked")
    x = samples()[:4]
    assert tritforge.verify(made["wide"].image, x, backends=["memory"]).equal
    outputs = [tritforge.simulate(one.image, x, "golden").output for one in made.values()]
    assert np.array_equal(outputs[0], outputs[1]) and np.array_equal(outputs[0], outputs[2])
    codes = read_inputs(made["planes"].image, x).codes
    for name, other in (("planes", config), ("wide", plain)):
        image = made[name].image
        again = recompiled(image, other, codes)
        assert any(group.wide for layer in again.network.layers for group in layer.groups) == (
            name == "planes"
        )
        with InterpreterBackend(again) as memory:
            assert np.array_equal(memory.run(codes).output, outputs[0])


def test_nothing_is_rounded_silently(tmp_path):
    made = tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "image")
    layers = made.image.manifest.layers
    assert [layer.ternary for layer in layers] == [False, True, False]
    for layer in layers:
        assert layer.note.startswith("ternary" if layer.ternary else "8-bit weights as sums of")
        assert (layer.weight_error > 0) == ("rounded, largest error" in layer.note)
    table, *notes = export_parts(made.image.manifest)
    assert table.row_count == 3
    assert [note.partition(":")[0] for note in notes] == [layer.name for layer in layers]


def test_a_trailing_softmax_is_compared_too(tmp_path):
    model = nn.Sequential(small_model(), nn.Softmax(dim=1)).eval()
    made = tritforge.export(None, model, samples(), "tiny", tmp_path / "image")
    assert "agrees with the model" in made.steps[1].check
    assert "softmax" in made.image.network.final.note


def test_linear_networks_take_flat_samples(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    x = np.random.default_rng(0).random((9, 12), np.float32)
    image = tritforge.export(None, model, x, "tiny", tmp_path / "image").image
    assert tritforge.simulate(image, x, "golden").output.shape == (9, 4, 1, 1)
    assert tritforge.simulate(image, x[0], "golden").output.shape == (1, 4, 1, 1)
    assert tritforge.verify(image, x[:2], backends=["memory"]).equal


def test_configurations_are_exported_for_what_they_are(tmp_path):
    narrow = Config(name="narrow", accumulator_width=12)
    with pytest.raises(ExportError, match="accumulator_width 12"):
        tritforge.export(None, small_model(), samples(), narrow, tmp_path / "image")
    assert not list(tmp_path.iterdir())
