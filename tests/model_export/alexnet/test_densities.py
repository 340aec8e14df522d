"""Densities of layer inputs: measured as the hardware counts them, and set."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.hw.presets import PRESETS
from tritforge.model_export.alexnet.densities import (
    input_densities,
    input_scales,
    set_input_densities,
    stages,
)
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.sim.golden import GoldenModel, quantize_input


def small_net(order: str = "norm pool relu") -> nn.Module:
    torch.manual_seed(0)
    after = {"norm": nn.BatchNorm2d(24), "relu": nn.ReLU(), "pool": nn.MaxPool2d(2)}
    return (
        nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, 12, 3),
                relu0=nn.ReLU(),
                conv1=nn.Conv2d(12, 24, 3, groups=2, bias=False),
                **{name: after[name] for name in order.split()},
                flatten=nn.Flatten(),
                fc0=nn.Linear(600, 64),
                relu2=nn.ReLU(),
                drop=nn.Dropout(),
                fc1=nn.Linear(64, 5),
            )
        )
        .eval()
        .requires_grad_(False)
    )


def images(count: int = 12) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (rng.normal(size=(count, 3, 14, 14)) * rng.uniform(0.5, 2, (count, 1, 1, 1))).astype(
        np.float32
    )


def test_stages():
    chain = stages(small_net())
    assert [stage.name for stage in chain] == ["conv0", "conv1", "fc0", "fc1"]
    assert [stage.norm is not None for stage in chain] == [False, True, False, False]
    assert [len(stage.pools) for stage in chain] == [0, 1, 0, 0]
    with pytest.raises(TypeError, match="1, a Sigmoid, has no place here"):
        stages(nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()))
    with pytest.raises(TypeError, match="0, a BatchNorm2d, precedes all weights"):
        stages(nn.Sequential(nn.BatchNorm2d(1), nn.Linear(1, 1)))


@pytest.mark.parametrize("order", ["norm pool relu", "norm relu pool", "pool norm relu"])
def test_wanted_densities_come_out_in_the_golden_model(order):
    model, x, wanted = small_net(order), images(), (0.6, 0.25, 0.35)
    scales = set_input_densities(model, x, wanted, concentration=7, rng=np.random.default_rng(0))
    assert scales == pytest.approx(input_scales(model, x), rel=0.03)
    shares = input_densities(model, x, scales)
    assert shares.shape == (12, 4)
    assert shares.mean(0)[1:] == pytest.approx(wanted, abs=0.02)
    network = quantize(calibrate(trace(model, (3, 14, 14)), x), PRESETS["ulx3s_85f"])
    codes = GoldenModel(network).run_all(
        quantize_input(x.astype(np.float64), network.tensors["input"])
    )
    for layer, share in zip(("input", "conv0", "conv1", "fc0"), shares.T, strict=True):
        golden = (codes[layer] != 0).mean((1, 2, 3))
        assert golden == pytest.approx(share, abs=0.03), layer
    channels = (codes["conv0"] != 0).mean((0, 2, 3))
    assert channels.std() > 0.05  # channels differ, by a beta distribution


def test_each_reference_has_the_density():
    x, wanted = images(), (0.6, 0.25, 0.35)
    spreads = {}
    for references in (0, 2):
        model = small_net()
        scales = set_input_densities(
            model, x, wanted, concentration=7, references=references, rng=np.random.default_rng(0)
        )
        shares = input_densities(model, x[:2], scales)[:, 1:]
        spreads[references] = np.abs(shares - wanted).max()
    assert spreads[2] < spreads[0] / 2  # these images differ more than photographs do


def test_a_first_layer_is_scaled_by_rows_and_others_stay_ternary():
    model, x = small_net(), images()
    model.fc0.weight.copy_(model.fc0.weight.sign() * 3)
    set_input_densities(model, x, (0.5, 0.5, 0.5), concentration=7, rng=np.random.default_rng(0))
    assert len(model.fc0.weight.abs().unique()) == 1
    sums = nn.functional.conv2d(torch.from_numpy(x), model.conv0.weight)
    # up to the rounding of the input to codes
    assert sums.std((0, 2, 3)).numpy() == pytest.approx(1, abs=0.02)


def test_a_row_that_never_changes_stays_off():
    model, x = small_net(), images()
    model.conv1.weight[3] = 0
    model.conv0.weight[1] = 0
    set_input_densities(model, x, (0.6, 0.25, 0.35), concentration=7, rng=np.random.default_rng(0))
    found = model[:2](torch.from_numpy(x))
    assert torch.isfinite(found).all() and found[:, 1].max() == 0
    assert model[:6](torch.from_numpy(x))[:, 3].max() == 0


def test_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="3 densities are needed"):
        set_input_densities(small_net(), images(), (0.5,), concentration=7, rng=rng)
    bare = nn.Sequential(nn.Conv2d(3, 2, 3, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 3)).eval()
    with pytest.raises(ValueError, match="0 has neither batch norm nor bias"):
        set_input_densities(bare.requires_grad_(False), images(), (0.5,), concentration=7, rng=rng)
