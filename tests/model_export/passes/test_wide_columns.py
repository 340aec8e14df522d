"""Weights of several bits as wide column groups: what they add up to, and when they are chosen."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.model_export.networks import compile_network, random_codes, reference_run
from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.image.folder import load_image, write_image
from tritforge.model_export.memory.placement import place
from tritforge.model_export.network import ColumnGroup, Layer, Network, Tensor
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.fold import fold_candidates, fold_input
from tritforge.model_export.passes.quantize import effective_groups, partial_bounds, quantize
from tritforge.model_export.passes.term_planes import signed_digits
from tritforge.model_export.passes.wide_columns import choose_columns
from tritforge.sim.golden import GoldenModel
from tritforge.sim.verify import verify

PLAIN = Config(
    rows=8,
    elements=4,
    accumulator_width=30,
    trit_depth=1 << 13,
    activation_depth=4096,
    program_depth=2048,
    row_depth=512,
)
WIDE = dataclasses.replace(PLAIN, multipliers=True)


def calibrated(module, shape, digits=8, seed=6):
    x = np.abs(np.random.default_rng(seed).normal(size=(6, *shape))).astype(np.float32)
    return calibrate(trace(module.eval(), shape, digits=digits), x)


def net(groups=1, seed=7):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(4, 12, 3, padding=1, groups=groups),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def weights(layer):
    return [one.weights for one in effective_groups(layer, integer=True)]


@pytest.mark.parametrize("rows", [4, 8, 16])
@pytest.mark.parametrize("groups", [1, 2])
def test_all_forms_are_the_same_integers(rows, groups, tmp_path):
    """Wide from planes, planes from wide again, memory contents of both, and an image of it."""
    plain, config = (dataclasses.replace(one, rows=rows) for one in (PLAIN, WIDE))
    network = calibrated(net(groups), (4, 6, 6))
    planes, wide = quantize(network, plain), quantize(network, config)
    assert not any(group.wide for layer in planes.layers for group in layer.groups)
    assert all(group.wide for layer in wide.layers for group in layer.groups)
    again = choose_columns(wide, plain)
    assert not any(group.wide for layer in again.layers for group in layer.groups)
    assert all(len(layer.groups) > 1 for layer in again.layers)
    for one, other, third in zip(planes.layers, wide.layers, again.layers, strict=True):
        ratio = one.accumulator_scale / other.accumulator_scale
        for first, second, same in zip(weights(one), weights(other), weights(third), strict=True):
            assert np.array_equal(second, same)
            assert np.array_equal(first * round(ratio * 64), second * 64)
    codes = random_codes(np.random.default_rng(8), wide, 0.7)
    expected = reference_run(wide, codes)
    golden = GoldenModel(wide).run_all(codes[None])
    assert all(np.array_equal(golden[name][0], values) for name, values in expected.items())
    folder = write_image(tmp_path / "image", CompiledNetwork(wide, compile_network(wide, config)))
    image = load_image(folder)
    for one, other in zip(image.network.layers, wide.layers, strict=True):
        for group, same in zip(one.groups, other.groups, strict=True):
            assert group.wide and np.array_equal(group.trits, same.trits)
    assert {entry.form for layer in image.manifest.layers for entry in layer.groups} == {"weight"}
    result = verify(image, codes[None], backends=("memory",))
    assert [str(one.difference) for one in result.comparisons if one.difference is not None] == []


def test_planes_of_an_image_become_wide_for_another_configuration():
    """Quantized for hardware without multipliers, compiled for hardware with them."""
    planes = quantize(calibrated(net(), (4, 6, 6)), PLAIN)
    wide = choose_columns(planes, WIDE)
    assert all(group.wide for layer in wide.layers for group in layer.groups)
    for one, other in zip(planes.layers, wide.layers, strict=True):
        for first, second in zip(weights(one), weights(other), strict=True):
            assert np.array_equal(first, second)
        for name in ("accumulator_low", "accumulator_high"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        narrow, broad = partial_bounds(planes, one), partial_bounds(wide, other)
        assert (broad[0] >= narrow[0]).all() and (broad[1] <= narrow[1]).all()
    codes = random_codes(np.random.default_rng(3), wide, 0.7)
    assert np.array_equal(GoldenModel(planes).run(codes[None]), GoldenModel(wide).run(codes[None]))
    assert wide.layers[0].groups[0].step == pytest.approx(wide.layers[0].groups[0].wp)


def test_folding_keeps_wide_groups():
    torch.manual_seed(2)
    module = nn.Sequential(nn.Conv2d(3, 10, 5, stride=4, padding=2))
    network = quantize(calibrated(module, (3, 17, 17)), WIDE)
    folded = fold_input(network, fold_candidates(network)[-1])
    assert folded.tensors["input"].fold is not None and folded.layers[0].groups[0].wide
    codes = random_codes(np.random.default_rng(1), network, 0.7)[None]
    assert np.array_equal(GoldenModel(network).run(codes), GoldenModel(folded).run(codes))


@pytest.mark.parametrize("digits", [2, 3, 8, 9, 12])
def test_what_fits_a_byte_is_wide(digits):
    torch.manual_seed(digits)
    network = calibrated(nn.Sequential(nn.Conv2d(8, 16, 3, bias=False)), (8, 5, 5), digits)
    layer = quantize(network, dataclasses.replace(WIDE, coefficient_width=16)).layers[0]
    if digits == 2:
        assert layer.is_ternary
    elif digits > 8:
        assert len(layer.groups) > 4 and not any(group.wide for group in layer.groups)
    elif digits == 8:
        assert len(layer.groups) == 1 and layer.groups[0].wide and not layer.is_ternary
        assert np.abs(layer.groups[0].trits.astype(int)).max() == 127


def test_few_planes_stay_where_they_cost_less():
    """Weights of two planes: one pass of eight rows each, where wide columns take four passes."""
    rng = np.random.default_rng(5)
    module = nn.Sequential(nn.Conv2d(16, 32, 3, bias=False))
    integers = rng.choice([-3, -1, 1, 3, *[0] * 12], module[0].weight.shape)
    module[0].weight.data = torch.tensor(integers, dtype=torch.float32)
    network = calibrated(module, (16, 5, 5))
    assert len(network.layers[0].groups) == 2
    layer = quantize(network, WIDE).layers[0]
    assert not any(group.wide for group in layer.groups)
    few = dataclasses.replace(WIDE, elements=16)  # two rows an element: a pass is enough
    assert [group.wide for group in quantize(network, few).layers[0].groups] == [True]
    # and wide groups of another configuration become planes again
    wide = quantize(network, few)
    back = choose_columns(wide, WIDE)
    assert [group.wide for group in back.layers[0].groups] == [False] * 2
    assert np.array_equal(weights(back.layers[0])[0], weights(wide.layers[0])[0])


def test_planes_can_be_asked_for():
    network = calibrated(net(), (4, 6, 6))
    asked, plain = quantize(network, WIDE, planes=True), quantize(network, PLAIN)
    for one, other in zip(asked.layers, plain.layers, strict=True):
        assert len(one.groups) == len(other.groups)
        assert all(
            np.array_equal(first.trits, second.trits)
            for first, second in zip(one.groups, other.groups, strict=True)
        )


def test_wide_groups_need_multipliers():
    network = quantize(calibrated(net(), (4, 6, 6)), WIDE)
    with pytest.raises(ExportError, match=r"has columns of 8-bit weights, and .* no multipliers"):
        place(network, PLAIN)


def test_a_wide_group_has_one_weight():
    group = quantize(calibrated(net(), (4, 6, 6)), WIDE).layers[0].groups[0]
    with pytest.raises(ValueError, match="wide column group of tensor input has two weights"):
        dataclasses.replace(group, wn=2 * group.wp)


def test_wide_weights_beside_others_have_finer_coefficients():
    """Two steps in one layer: planes need a coefficient for every power of two, a wide group one
    for its step."""
    rng = np.random.default_rng(9)
    groups = []
    for channels, step in (((0, 3), 0.01), ((3, 6), 0.0037)):
        integers = rng.integers(-127, 128, (4, 3, 1, 1))
        groups += [
            ColumnGroup(
                "input",
                channels,
                (0, 4),
                digit,
                (1, 1),
                (1 << place) * step,
                (1 << place) * step,
                step=step,
            )
            for place, digit in enumerate(signed_digits(integers))
        ]
    layer = Layer("fc", "linear", "fc", 4, 1, 1, groups, np.ones(4), np.zeros(4), final=True)
    layer.weight_count = 24
    tensors = {"input": Tensor("input", 6, 1, 1, 1 / 255), "fc": Tensor("fc", 4, 1, 1, 0.1)}
    network = Network("two", "input", tensors, [layer])
    config = dataclasses.replace(WIDE, coefficient_width=12)
    errors = []
    for planes in (True, False):
        made = quantize(network, config, planes=planes).layers[0]
        assert len(made.groups) == (16 if planes else 2)
        assert "coefficients rounded by at most" in made.note
        units = [
            max(
                one.coefficient_plus / round(one.wp / one.step)
                for one in made.groups
                if one.channels == channels
            )
            for channels in ((0, 3), (3, 6))
        ]
        errors.append(abs(units[1] / units[0] - 0.37))
    assert errors[1] < 1e-4 < 1e-3 < errors[0]
