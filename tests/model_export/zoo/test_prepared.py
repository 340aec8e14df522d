"""Networks to be measured: trained where there are files, drawn with the stated densities where
there are none."""

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.model_export.errors import ExportError, ModelError
from tritforge.model_export.formats.checkpoint import distinct_values
from tritforge.model_export.zoo.images import VARIABLE, data_folder
from tritforge.model_export.zoo.prepared import PREPARED, prepare
from tritforge.model_export.zoo.weights import layers_with_weights, settle_norms

pytestmark = pytest.mark.long


def density(weight):
    return float((weight != 0).float().mean())


def inputs_of(module, images, kind):
    """What every module of a kind is given, by name."""
    found = {}
    hooks = [
        one.register_forward_pre_hook(lambda m, x, name=name: found.__setitem__(name, x[0]))
        for name, one in module.named_modules()
        if isinstance(one, kind)
    ]
    with torch.no_grad():
        module(torch.from_numpy(images))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("name", "share", "full"),
    [
        ("mnist", 0.40, ()),
        ("resnet20", 0.5, ("conv1", "linear")),
        ("resnet20_projected", 0.5, ("conv1", "linear")),
        ("squeezenet", 0.36, ("features.0", "classifier.1")),
        ("densenet", 0.62, ("features.conv0", "classifier")),
    ],
)
def test_without_files_networks_are_drawn(name, share, full):
    made = prepare(name, None, 2)
    assert made.origin.weights == "drawn" and "dense" in made.origin.statement
    assert len(made.images.inputs) == len(made.images.names) == 2
    layers = layers_with_weights(made.module)
    ternary = {key: one.weight for key, one in layers.items() if key not in full}
    assert set(full) < set(layers)
    for key in full:
        assert distinct_values(layers[key].weight, 3) is None
    for weight in ternary.values():
        assert len(distinct_values(weight, 3) or ()) == 3
    every = torch.cat([weight.flatten() for weight in ternary.values()])
    assert density(every) == pytest.approx(share, abs=0.03)
    again = prepare(name, None, 2)
    for one, other in zip(
        made.module.state_dict().values(), again.module.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_vgg7_has_the_densities_of_a_trained_one():
    made = prepare("vgg7", None, 1)
    layers = layers_with_weights(made.module)
    shares = [density(layer.weight) for layer in layers.values()]
    assert shares == pytest.approx([0.45, 0.23, 0.24, 0.25, 0.24, 0.25, 0.24, 0.42], abs=0.06)
    given = inputs_of(made.module, made.images.samples, nn.Conv2d | nn.Linear)
    for name in list(layers)[1:]:
        assert float((given[name] > 0).float().mean()) == pytest.approx(0.5, abs=0.08)


def test_densenet_has_the_wanted_activations():
    made = prepare("densenet", None, 1)
    given = inputs_of(made.module, made.images.samples, nn.Conv2d)
    shares = [float((x > 0).float().mean()) for name, x in given.items() if "conv0" not in name]
    assert np.mean(shares) == pytest.approx(0.41, abs=0.05)
    assert min(shares) > 0.1 and max(shares) < 0.68


def test_norms_settle_in_the_order_of_the_network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)
    ).requires_grad_(False)
    images = np.random.default_rng(0).standard_normal((4, 3, 9, 9)).astype(np.float32)
    settle_norms(model, images, {"1": 0.25}.get)
    given = inputs_of(model, images, nn.BatchNorm2d)
    for name, x in given.items():
        norm = model.get_submodule(name)
        assert torch.allclose(norm.running_mean, x.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(norm.running_var, x.var((0, 2, 3), correction=0), atol=1e-5)
    with torch.no_grad():
        active = model[:3](torch.from_numpy(images)) > 0
    assert float(active.float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(model[4].bias, torch.zeros(4))


def test_trained_weights_are_taken_where_they_are(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    data = data_folder()
    if data is None or not (data / "mnist_ttq_cnn.ckpt").is_file():
        pytest.skip("there is no folder shared/data with trained weights")
    origins = {name: prepare(name, data, 1).origin for name in ("mnist", "resnet20", "squeezenet")}
    assert origins["mnist"].weights == origins["squeezenet"].weights == "trained"
    assert origins["mnist"].images == "MNIST"
    assert origins["resnet20"].weights == "trained, ternarized"
    assert "resnet20.th" in origins["resnet20"].statement
    assert origins["resnet20"].images == "CIFAR-10"
    projected = prepare("resnet20_projected", data, 1)
    plain = prepare("resnet20", data, 1)
    own = layers_with_weights(projected.module)
    for name, layer in layers_with_weights(plain.module).items():
        assert torch.equal(layer.weight, own[name].weight)
    assert density(own["layer2.0.shortcut.0"].weight) == pytest.approx(0.5, abs=0.08)


def test_digits_are_as_shipped():
    made = prepare("digits", None, 3)
    assert made.origin.weights == "trained" and made.images.inputs.shape == (3, 1, 8, 8)
    assert density(made.module.get_submodule("conv2").weight) < 0.9


def test_the_folder_is_chosen_by_a_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv(VARIABLE, "")
    assert data_folder() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(ExportError, match="absent, which is no folder"):
        data_folder()
    (tmp_path / "cifar10_jpeg.zip").write_bytes(b"no zip")
    with pytest.raises(ExportError, match=r"cifar10_jpeg\.zip cannot be read"):
        prepare("resnet20", tmp_path, 1)


def test_an_unknown_network_is_refused():
    with pytest.raises(ModelError, match="no network 'lenet' to measure; there are alexnet_dorefa"):
        prepare("lenet", None)
    assert "mobilenet" in PREPARED
