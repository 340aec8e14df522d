"""Networks of random names, saved under random wrappers: loaded right, or refused; never wrong."""

import random

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tritforge.model_export.errors import CheckpointError
from tritforge.model_export.formats.checkpoint import load_into

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")

NAMES = ["module", "_orig_mod", "model", "net", "0", "1", "conv", "weight_g", "features", "t", "wp"]
PARTS = [
    weight_norm,
    spectral_norm,
    parametrizations.weight_norm,
    parametrizations.spectral_norm,
    lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
]
X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


class Chain(nn.Module):
    """Its parts in turn, under any names."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.children():
            x = part(x)
        return x


def network(rng: random.Random, depth: int = 0) -> nn.Module:
    if depth and rng.random() < 0.5:
        layer = nn.Linear(6, 6, bias=rng.random() < 0.7)
        return layer if rng.random() < 0.8 else nn.Sequential(layer, nn.BatchNorm1d(6))
    if depth == 3:
        return nn.Linear(6, 6)
    names = rng.sample(NAMES, rng.randint(1, 3))
    return Chain({name: network(rng, depth + 1) for name in names})


def rewrapped(rng: random.Random, model: nn.Module, chance: float) -> nn.Module:
    """The same network with modules around some of its parts."""
    for name, child in list(model.named_children()):
        if isinstance(child, Chain | nn.Sequential | nn.Linear):
            setattr(model, name, rewrapped(rng, child, chance))
    if rng.random() < chance:
        return Chain({rng.choice(["module", "_orig_mod"]): model})
    return model


def built(seed: int, values: int) -> nn.Module:
    torch.manual_seed(values)
    model = network(random.Random(seed))
    with torch.no_grad():
        model.train()(X * values)
    return model


def in_parts(model: nn.Module, seed: int, chance: float) -> nn.Module:
    rng = random.Random(seed)
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and rng.random() < chance:
            rng.choice(PARTS)(module)
    with torch.no_grad():
        model.train()(X)
    return model.eval()


def agrees(loaded: nn.Module, right: nn.Module) -> bool:
    with torch.no_grad():
        return torch.allclose(loaded(X), right.eval()(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(50))
def test_own_state_dicts_fit(seed):
    right, model = (in_parts(built(seed, values), seed, 0.5) for values in (2, 3))
    assert agrees(load_into(model, right.state_dict()), right)
    prefixed = {f"any.{name}": tensor for name, tensor in right.state_dict().items()}
    assert agrees(load_into(model, prefixed), right)


@pytest.mark.parametrize("seed", range(50))
def test_wrappers_on_either_side(seed):
    rng = random.Random(seed)
    right = built(seed, 2)
    if seed % 2:
        in_parts(right, seed, 0.5)
    saved = rewrapped(rng, right, 0.3).eval()
    model = rewrapped(rng, built(seed, 3), 0.3)
    content: dict[str, object] = saved.state_dict()
    if seed % 3 == 0:
        content = {"epoch": 1, rng.choice(["state_dict", "net", "best"]): content}
    try:
        loaded = load_into(model, content)
    except CheckpointError as error:
        # names that differ in a wrapper alone, as the network's own parts may
        assert {"module", "_orig_mod"} & {p for n in right.state_dict() for p in n.split(".")}
        assert len(str(error)) < 300
    else:
        assert agrees(loaded, saved)
