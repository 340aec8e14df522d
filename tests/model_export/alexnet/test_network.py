"""AlexNet: three topologies, drawn weights at published densities, checkpoints of the user's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.model_export.alexnet.densities import stages
from tritforge.model_export.alexnet.network import PUBLISHED, Provenance, alexnet
from tritforge.model_export.alexnet.photographs import (
    PREPROCESSING,
    PhotographError,
    calibration_images,
)
from tritforge.model_export.alexnet.topologies import TOPOLOGIES
from tritforge.model_export.errors import ModelError
from tritforge.model_export.formats.checkpoint import CheckpointError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.reference import FloatReference

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

NAMES = ("conv0", "conv1", "conv2", "conv3", "conv4", "fc0", "fc1", "fct")
TERNARY = NAMES[1:-1]
NORMS = {
    "conv1": "bn1",
    "conv2": "bn2",
    "conv3": "bn3",
    "conv4": "bn4",
    "fc0": "bnfc0",
    "fc1": "bnfc1",
}
#: Input channels, height and width, output channels, height and width, MACs of each layer.
SHAPES = {
    "alexnet_dorefa": [
        (3, 224, 96, 54, 120_932_352),
        (96, 54, 256, 54, 895_795_200),
        (256, 27, 384, 27, 644_972_544),
        (384, 14, 384, 14, 130_056_192),
        (384, 14, 256, 14, 86_704_128),
    ],
    "alexnet_krizhevsky": [
        (3, 227, 96, 55, 105_415_200),
        (96, 27, 256, 27, 223_948_800),
        (256, 13, 384, 13, 149_520_384),
        (384, 13, 384, 13, 112_140_288),
        (384, 13, 256, 13, 74_760_192),
    ],
    "alexnet_torchvision": [
        (3, 224, 64, 55, 70_276_800),
        (64, 27, 192, 27, 223_948_800),
        (192, 13, 384, 13, 112_140_288),
        (384, 13, 256, 13, 149_520_384),
        (256, 13, 256, 13, 99_680_256),
    ],
}
FULLY_CONNECTED = [(9216, 4096, 37_748_736), (4096, 4096, 16_777_216), (4096, 1000, 4_096_000)]
TOTALS = {
    "alexnet_dorefa": 1_937_082_368,
    "alexnet_krizhevsky": 724_406_816,
    "alexnet_torchvision": 714_188_480,
}


def noise(count: int = 3, size: int = 224) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 3, size, size)).astype(np.float32)


def narrow(topology: str = "alexnet_dorefa", **options: object) -> tuple[nn.Module, Provenance]:
    """A sixteenth of the width, calibrated on noise: fast."""
    images = noise(size=PREPROCESSING[topology].size)
    return alexnet(topology, divisor=16, **{"images": images, **options})


# ----- topologies


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_shapes_and_macs_of_every_layer(topology):
    with torch.device("meta"):
        model = TOPOLOGIES[topology]().eval()
        x = torch.zeros(1, 3, PREPROCESSING[topology].size, PREPROCESSING[topology].size)
    found = []

    def note(layer, args, output):
        pixels = output[0, 0].numel()
        sides = (args[0].shape[2], output.shape[2]) if output.dim() == 4 else ()
        assert not sides or (args[0].shape[3], output.shape[3]) == sides  # square
        shape = (
            zip((args[0].shape[1], output.shape[1]), sides, strict=True)
            if sides
            else [(args[0].shape[1],), (output.shape[1],)]
        )
        found.append((*(n for pair in shape for n in pair), layer.weight.numel() * pixels))

    for stage in stages(model):
        stage.layer.register_forward_hook(note)
    assert model(x).shape == (1, 1000)
    assert found == SHAPES[topology] + FULLY_CONNECTED
    assert sum(layer[-1] for layer in found) == TOTALS[topology]


def test_torchvisions_parameter_names():
    with torch.device("meta"):
        state = TOPOLOGIES["alexnet_torchvision"]().state_dict()
    assert {
        name: tuple(tensor.shape) for name, tensor in state.items() if name.endswith("weight")
    } == {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.weight": (192, 64, 5, 5),
        "features.6.weight": (384, 192, 3, 3),
        "features.8.weight": (256, 384, 3, 3),
        "features.10.weight": (256, 256, 3, 3),
        "classifier.1.weight": (4096, 9216),
        "classifier.4.weight": (4096, 4096),
        "classifier.6.weight": (1000, 4096),
    }
    assert len(state) == 16


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_export_reads_every_topology(topology):
    module, provenance = narrow(topology)
    size = PREPROCESSING[topology].size
    network = trace(module, (3, size, size), digits=16)
    assert [layer.mac_count for layer in network.layers] == [
        layer.macs for layer in provenance.layers
    ]
    assert [len({id(group.trits) for group in layer.groups}) > 2 for layer in network.layers] == [
        not layer.ternary for layer in provenance.layers
    ]
    x = noise(1, size)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    found = FloatReference(network).run(x).reshape(expected.shape)
    # batch norms set from three images divide by small deviations
    assert np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()


@pytest.mark.parametrize("divisor", [0, -1, 3, 64])
def test_widths_that_cannot_be_divided(divisor):
    with pytest.raises(ModelError, match=f"divisor {divisor} does not leave"):
        alexnet(divisor=divisor)


# ----- drawn


def test_drawn_weights_have_the_densities_of_the_paper():
    module, provenance = alexnet(divisor=4, images=noise(2))
    assert provenance.origin == "drawn" and "not trained" in provenance.statement
    assert [layer.paper for layer in provenance.layers] == [layer.paper for layer in PUBLISHED]
    assert [layer.ternary for layer in provenance.layers] == [False] + [True] * 6 + [False]
    for record, wanted, stage in zip(provenance.layers, PUBLISHED, stages(module), strict=True):
        density = (stage.layer.weight != 0).double().mean().item()
        assert record.density == pytest.approx(density)
        assert record.density_requested == wanted.density
        if wanted.density is not None:
            assert density == pytest.approx(wanted.density, abs=0.01)
            assert (record.wp, record.wn) == pytest.approx((wanted.wp, wanted.wn))
            assert stage.layer.weight.unique().tolist() == pytest.approx([-wanted.wn, 0, wanted.wp])
            rows = (stage.layer.weight.flatten(1) != 0).double().mean(1)
            assert rows.std() > 0.02


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_layer_inputs_have_the_densities_asked_for(topology):
    size = PREPROCESSING[topology].size
    _, provenance = narrow(topology, images=None)
    assert list(provenance.layers[0].input_density_of) == ["china.jpg", "flower.jpg"]
    for record, wanted in zip(provenance.layers[1:], PUBLISHED[1:], strict=True):
        assert record.input_density_requested == wanted.input_density
        # few channels: each photograph alone is met less well than at full width
        assert list(record.input_density_of.values()) == pytest.approx(
            [wanted.input_density] * 2, abs=0.08
        ), record
    assert calibration_images(topology, 2).shape == (2, 3, size, size)


def test_ternary_weights_without_batch_norm_keep_the_ratio():
    module, provenance = narrow("alexnet_torchvision")
    for record, wanted in zip(provenance.layers[1:-1], PUBLISHED[1:-1], strict=True):
        assert record.wp / record.wn == pytest.approx(wanted.wp / wanted.wn, rel=1e-5)
    with torch.no_grad():
        assert 0.01 < module(torch.from_numpy(noise(1))).std() < 10
    assert any("no batch norm" in note for note in provenance.notes)


def test_the_seed_decides_and_no_other():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, provenance = narrow(seed=3)
    assert torch.equal(before, torch.get_rng_state())
    same, again = narrow(seed=3)
    other, _ = narrow(seed=4)
    states = [model.state_dict() for model in (first, same, other)]
    assert all(tensor.equal(states[1][name]) for name, tensor in states[0].items())
    assert provenance == again and provenance.seed == 3
    assert not states[0]["fc1.weight"].equal(states[2]["fc1.weight"])


def test_the_record_is_json_and_says_that_nothing_was_trained():
    _, provenance = narrow()
    document = json.loads(json.dumps(provenance.to_json()))
    assert document["origin"] == "drawn" and len(document["layers"]) == 8
    assert document["calibration"] == "3 given images"
    text = str(provenance)
    assert text.splitlines()[0] == (
        "alexnet_dorefa with weights drawn at random (seed 0), not trained: its outputs mean "
        "nothing, its densities are the published ones"
    )
    assert re.search(
        r"conv1 \(conv2, ternary\): weights 2\d\.\d \[23\.0\], input [56]\d\.\d "
        r"\[60\.0\]$",
        text,
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"topology": "lenet"},
            ModelError,
            "no AlexNet topology 'lenet'; there are alexnet_dorefa",
        ),
        ({"seed": -1}, ModelError, "a seed must not be negative, as -1 is"),
        ({"threshold": 0.05}, ModelError, "a threshold goes with a checkpoint"),
        (
            {"images": np.zeros((2, 3, 227, 227))},
            ModelError,
            r"\(2, 3, 227, 227\); expected is "
            r"\(N, 3, 224, 224\)",
        ),
        ({"images": np.zeros((0, 3, 224, 224))}, ModelError, "expected is"),
        ({"images": np.full((1, 3, 224, 224), np.nan)}, ModelError, "must be finite numbers"),
        ({"images": np.full((1, 3, 224, 224), "a")}, ModelError, "must be finite numbers"),
        ({"images": noise(1), "photographs": ["x.jpg"]}, ModelError, "are both given"),
        ({"photographs": ["absent.jpg"]}, PhotographError, r"absent\.jpg cannot be read"),
        ({"photographs": []}, PhotographError, "at least one photograph"),
        ({"checkpoint": "absent.npz"}, CheckpointError, r"absent\.npz cannot be read"),
    ],
)
def test_arguments(options, error, match):
    with pytest.raises(error, match=match) as caught:
        alexnet(**{"divisor": 16, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_authors_topology_at_full_size():
    _, provenance = alexnet()
    assert sum(layer.weights for layer in provenance.layers) == 60_961_280
    for record in provenance.layers:
        if record.density_requested is not None:
            assert record.density == pytest.approx(record.density_requested, abs=0.002)
        if record.input_density_requested is not None:
            found = [record.input_density, *record.input_density_of.values()]
            assert found[1:] == pytest.approx([record.input_density_requested] * 2, abs=0.03)
            assert found[0] == pytest.approx(record.input_density_requested, abs=0.06)


@pytest.mark.slow
def test_memory_of_the_authors_topology():
    program = (
        "import resource\nfrom tritforge.model_export.alexnet.network import alexnet\n"
        "alexnet()\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(result.stdout) < 1_500_000  # kB


# ----- checkpoints


def authors_checkpoint(first_bias: bool = False) -> dict[str, np.ndarray]:
    """Names and layouts of the authors' code, a sixteenth of the width; latent weights."""
    rng = np.random.default_rng(7)
    with torch.device("meta"):
        model = TOPOLOGIES["alexnet_dorefa"](divisor=16, first_bias=first_bias)
    arrays = {}
    for stage in stages(model):
        shape = stage.layer.weight.shape
        order = (2, 3, 1, 0) if len(shape) == 4 else (1, 0)
        arrays[f"{stage.name}/W:0"] = rng.normal(size=[shape[n] for n in order])
        if stage.layer.bias is not None:
            arrays[f"{stage.name}/b:0"] = rng.normal(size=shape[0])
        if stage.name in NORMS:
            arrays[f"{stage.name}/Wp:0"] = np.array(rng.uniform(0.7, 0.9))
            arrays[f"{stage.name}/Wn:0"] = np.array(rng.uniform(1.1, 1.3))
            norm = NORMS[stage.name]
            for name in ("beta", "gamma", "mean/EMA", "variance/EMA"):
                arrays[f"{norm}/{name}:0"] = rng.uniform(0.5, 1.5, shape[0])
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def by_hand(arrays: dict[str, np.ndarray], x: np.ndarray, t: float) -> np.ndarray:
    """The network as the authors' code has it: images (N, H, W, C), features H, W, C."""
    x = torch.from_numpy(x)

    def weight(name):
        latent = torch.from_numpy(arrays[f"{name}/W:0"])
        if name not in NORMS:
            return latent
        delta = t * latent.abs().max()
        return (
            (latent > delta) * torch.from_numpy(arrays[f"{name}/Wp:0"])
            - (latent < -delta) * torch.from_numpy(arrays[f"{name}/Wn:0"])
        ).float()

    def norm(name, x, axis):
        beta, gamma, mean, variance = (
            torch.from_numpy(arrays[f"{NORMS[name]}/{part}:0"]).reshape(
                [-1 if n == axis else 1 for n in range(x.dim())]
            )
            for part in ("beta", "gamma", "mean/EMA", "variance/EMA")
        )
        return (x - mean) / (variance + 1e-4).sqrt() * gamma + beta

    def conv(name, x, **options):
        return nn.functional.conv2d(x, weight(name).permute(3, 2, 0, 1), **options)

    def same_pool(x):
        total = 2 * (-(-x.shape[2] // 2) - 1) + 3 - x.shape[2]
        before, after = total // 2, total - total // 2
        padded = nn.functional.pad(x, (before, after) * 2, value=-torch.inf)
        return nn.functional.max_pool2d(padded, 3, 2)

    bias = arrays.get("conv0/b:0")
    x = conv("conv0", x, stride=4, bias=None if bias is None else torch.from_numpy(bias)).relu()
    x = same_pool(norm("conv1", conv("conv1", x, padding=2, groups=2), 1)).relu()
    x = same_pool(norm("conv2", conv("conv2", x, padding=1), 1)).relu()
    x = norm("conv3", conv("conv3", x, padding=1, groups=2), 1).relu()
    x = norm("conv4", conv("conv4", x, padding=1, groups=2), 1)
    x = nn.functional.max_pool2d(x, 3, 2).relu().permute(0, 2, 3, 1).flatten(1)
    for name in ("fc0", "fc1"):
        x = norm(name, x @ weight(name), 1).relu()
    return (x @ weight("fct") + torch.from_numpy(arrays["fct/b:0"])).numpy()


@pytest.mark.parametrize("form", ["npz", "npy", "bare names"])
@pytest.mark.parametrize("first_bias", [False, True])
def test_a_checkpoint_of_the_authors_code(tmp_path, form, first_bias):
    arrays = authors_checkpoint(first_bias)
    stored = (
        arrays
        if form != "bare names"
        else {name.removesuffix(":0"): array for name, array in arrays.items()}
    )
    path = tmp_path / ("x.npy" if form == "npy" else "x.npz")
    if form == "npy":
        np.save(path, stored, allow_pickle=True)
    else:
        np.savez(path, **stored)
    module, provenance = narrow(checkpoint=path, threshold=0.049, images=noise(1))
    with torch.no_grad():
        found = module(torch.from_numpy(noise(2))).numpy()
    expected = by_hand(arrays, noise(2), 0.049)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert provenance.origin == "checkpoint" and provenance.seed is None
    assert provenance.checkpoint == path.name and len(provenance.sha256) == 64
    assert provenance.threshold == 0.049 and "checkpoint x.np" in str(provenance)
    for record in provenance.layers[1:-1]:
        assert record.density_requested is record.input_density_requested is None
        assert record.wp == arrays[f"{record.name}/Wp:0"]
        assert record.wn == arrays[f"{record.name}/Wn:0"]


def test_a_weight_at_the_threshold_does_not_spoil_a_layer(tmp_path):
    arrays = authors_checkpoint()
    latent = arrays["conv2/W:0"]
    latent.flat[:2] = [1.0, -1.0]
    latent /= np.abs(latent).max() / 4
    latent.flat[:2] = [2.0, -2.0]  # t * max |w|, exactly
    np.savez(tmp_path / "x.npz", **arrays)
    module, provenance = narrow(checkpoint=tmp_path / "x.npz", threshold=0.5, images=noise(1))
    assert len(module.conv2.weight.unique()) == 3
    assert any(
        note.startswith("2 weights of conv2 equal the threshold and are 0")
        for note in provenance.notes
    )


def test_a_state_dict_of_ternary_values(tmp_path):
    drawn, _ = narrow("alexnet_krizhevsky")
    torch.save({"state_dict": drawn.state_dict()}, tmp_path / "x.pth")
    module, provenance = narrow("alexnet_krizhevsky", checkpoint=tmp_path / "x.pth")
    for name, tensor in drawn.state_dict().items():
        assert tensor.equal(module.state_dict()[name]), name
    assert provenance.threshold is None and provenance.statement == (
        "alexnet_krizhevsky with the weights of checkpoint x.pth"
    )


def test_one_error_names_everything_that_does_not_fit(tmp_path):
    arrays = authors_checkpoint()
    del arrays["bn3/mean/EMA:0"], arrays["fct/b:0"], arrays["fc0/Wn:0"]
    arrays["conv9/W:0"] = np.zeros((1, 1, 2, 2), np.float32)
    arrays["conv2/W:0"] = arrays["conv2/W:0"][:, :, :-2]
    arrays["fc1/W:0"][0, 0] = np.nan
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(CheckpointError) as caught:
        narrow(checkpoint=tmp_path / "x.npz", threshold=0.05)
    assert str(caught.value) == (
        f"checkpoint {tmp_path / 'x.npz'} does not fit the model (tensors that do: 29 of 39): "
        f"missing bn3.running_mean, fct.bias, fc0.wn; unexpected conv9.weight; "
        f"of a wrong shape conv2.weight 24x14x3x3 instead of 24x16x3x3; NaN or infinite fc1.weight"
    )


def test_layers_that_should_be_ternary(tmp_path):
    arrays = authors_checkpoint()
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(
        CheckpointError,
        match=f"latent weights, Wp and Wn for {', '.join(TERNARY)}, but not the threshold",
    ):
        narrow(checkpoint=tmp_path / "x.npz")
    for name in ("conv3", "fc0"):
        del arrays[f"{name}/Wp:0"], arrays[f"{name}/Wn:0"]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(
        CheckpointError,
        match=r"x\.npz has weights of more than three values in "
        r"conv3, fc0; ternary values, or latent weights",
    ):
        narrow(checkpoint=tmp_path / "x.npz", threshold=0.05)


def test_one_magnitude_per_filter_is_ternary_too(tmp_path):
    drawn, _ = narrow()
    state = drawn.state_dict()
    weight = state["conv2.weight"]
    state["conv2.weight"] = weight.sign() * torch.linspace(0.5, 1, len(weight))[:, None, None, None]
    torch.save(state, tmp_path / "x.pt")
    _, provenance = narrow(checkpoint=tmp_path / "x.pt")
    assert provenance.layers[2].wp is provenance.layers[2].wn is None


def test_a_pickled_program_is_not_run(tmp_path):
    path, target = tmp_path / "x.npy", tmp_path / "made"

    class Evil:
        def __reduce__(self):
            return Path.mkdir, (target,)

    np.save(path, {"conv0/W:0": Evil()}, allow_pickle=True)
    with pytest.raises(CheckpointError, match="is refused: it asks for"):
        narrow(checkpoint=path)
    assert not target.exists()
