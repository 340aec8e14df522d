"""Copies of models with hooks, wrappers, lazy layers; the model is never changed."""

import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tritforge.model_export.copying import (
    copy_model,
    refresh_weights,
    remove_wrappers,
    settle_lazy,
    uninitialized,
    unwrapped,
)
from tritforge.model_export.errors import ModelError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning"),
]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


X = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def first_layer(wrap):
    def make() -> nn.Module:
        model = net()
        wrap(model[0])
        return model

    return make


def with_a_cache() -> nn.Module:
    model = net()
    model.cached = {"last": [model[0].weight * 2]}  # computed with gradients
    return model


KINDS = {
    "weight_norm": first_layer(weight_norm),
    "spectral_norm": first_layer(spectral_norm),
    "pruned": first_layer(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)),
    "parametrized": first_layer(parametrizations.weight_norm),
    "hooked": first_layer(lambda layer: layer.register_forward_pre_hook(lambda m, a: a[0] * 2)),
    "cached": with_a_cache,
    "DataParallel": lambda: nn.DataParallel(net()),
    "script": lambda: torch.jit.script(net()),
    "trace": lambda: torch.jit.trace(net(), X),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(net().eval())),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_computes_the_same_and_shares_nothing(kind):
    model = KINDS[kind]().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(X)
    made = copy_model(model)
    assert torch.equal(made(X), expected)
    shared = {t.data_ptr() for t in model.parameters()} & {t.data_ptr() for t in made.parameters()}
    assert not shared
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert torch.equal(model(X), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_what_cannot_be_copied_is_named():
    model = net()
    model[3].lock = threading.Lock()
    with pytest.raises(ModelError, match=r"because of attribute lock of 3: TypeError: cannot pick"):
        copy_model(model)

    class Proud(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("I am\nunique")

    with pytest.raises(ModelError, match="because of its class Proud: RuntimeError: I am unique"):
        copy_model(Proud(2, 2))


def test_wrappers_outside_and_inside():
    inner = net()
    assert unwrapped(nn.DataParallel(torch.compile(inner))) is inner
    assert unwrapped(inner) is inner
    model = nn.Sequential(torch.compile(inner), nn.DataParallel(nn.Linear(3, 3)))
    remove_wrappers(model)
    assert type(model[0]) is nn.Sequential and type(model[1]) is nn.Linear


def test_weights_that_hooks_keep_are_computed_anew():
    for wrap in (weight_norm, spectral_norm, lambda m: prune.l1_unstructured(m, "weight", 0.5)):
        model = net()
        wrap(model[0])
        model.eval()(X)
        with torch.no_grad():
            for parameter in model[0].parameters():
                parameter.mul_(3)
        stale = model[0].weight.detach().clone()
        refresh_weights(model)
        weight = model[0].weight.clone()
        model(X)
        assert torch.equal(model[0].weight, weight)
        assert wrap is spectral_norm or not torch.equal(weight, stale)  # it divides by the scale


LAZY = [
    (nn.LazyLinear(3), (2, 5)),
    (nn.LazyConv1d(4, 3, groups=2), (2, 6, 8)),
    (nn.LazyConv2d(4, 3, groups=2, bias=False), (2, 6, 8, 8)),
    (nn.LazyConvTranspose2d(4, 3), (2, 5, 8, 8)),
    (nn.LazyBatchNorm1d(), (2, 5)),
    (nn.LazyBatchNorm2d(affine=False), (2, 5, 3, 3)),
    (nn.LazyInstanceNorm2d(affine=True), (2, 5, 3, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), LAZY)
def test_lazy_layers(layer, shape):
    model = nn.Sequential(copy_model(layer))
    kind = type(layer).__name__
    assert uninitialized(model) == [f"0 is a {kind} that has seen no input"]
    assert uninitialized(copy_model(model)) == uninitialized(model)
    settle_lazy(model)
    assert type(model[0]).__name__ == kind
    known = copy_model(model)
    known(torch.ones(shape))
    model.load_state_dict(known.state_dict())
    assert uninitialized(model) == []
    settle_lazy(model)
    assert type(model[0]) is type(known[0])
    x = torch.randn(shape)
    assert torch.equal(model.eval()(x), known.eval()(x))


def test_a_lazy_model_is_named_by_itself():
    assert uninitialized(nn.LazyLinear(2)) == ["the model is a LazyLinear that has seen no input"]
    assert uninitialized(net()) == []
