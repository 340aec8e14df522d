"""Coefficients, bounds and requantization."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.network import ColumnGroup, Layer, Network, Pool, Tensor
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import effective_groups, partial_bounds, quantize
from tritforge.sim.golden import GoldenModel, quantize_input, requantize

TINY = PRESETS["tiny"]


def one_layer(
    trits,
    wp,
    wn,
    *,
    final=True,
    signed=False,
    gain=1.0,
    offset=0.0,
    scale=1 / 255,
    out_scale=0.1,
    low=None,
):
    """A linear layer of given trits (rows, inputs)."""
    trits = np.asarray(trits, np.int8)[:, :, None, None]
    rows, inputs = trits.shape[:2]
    layer = Layer(
        "fc",
        "linear",
        "fc",
        rows,
        1,
        1,
        [ColumnGroup("input", (0, inputs), (0, rows), trits, (1, 1), wp, wn)],
        np.broadcast_to(np.float64(gain), rows),
        np.broadcast_to(np.float64(offset), rows),
        low=low,
        final=final,
        weight_count=trits.size,
    )
    tensors = {
        "input": Tensor("input", inputs, 1, 1, scale, signed),
        "fc": Tensor("fc", rows, 1, 1, out_scale, low is None),
    }
    return Network("one", "input", tensors, [layer])


def export(model, shape, config=TINY, digits=8, count=8, positive=False):
    x = np.random.default_rng(5).normal(size=(count, *shape)).astype(np.float32)
    if positive:
        x = np.abs(x)
    return quantize(calibrate(trace(model.eval(), shape, digits=digits), x), config), x


def coefficient_unit(layer):
    """What stands for one step in all planes of a layer."""
    units = {
        coefficient / round(weight / group.step)
        for group in layer.groups
        for weight, coefficient in (
            (group.wp, group.coefficient_plus),
            (group.wn, group.coefficient_minus),
        )
        if coefficient
    }
    assert len(units) == 1
    return units.pop()


# ----- coefficients


def test_equal_weights_take_a_power_of_two():
    layer = quantize(one_layer([[1, -1, 0]], 0.7, 0.7), TINY).layers[0]
    group = layer.groups[0]
    assert (group.coefficient_plus, group.coefficient_minus) == (256, 256)
    assert layer.accumulator_scale * 256 == pytest.approx(0.7 / 255)


def test_unequal_weights_round_little():
    layer = quantize(one_layer([[1, -1, 0]], 0.723, -1.282), TINY).layers[0]
    group = layer.groups[0]
    assert group.coefficient_plus > 0 > group.coefficient_minus
    assert abs(group.coefficient_minus) <= TINY.coefficient_max
    assert group.coefficient_plus / group.coefficient_minus == pytest.approx(
        -0.723 / 1.282, abs=2e-3
    )
    assert "coefficients rounded by at most" in layer.note


def test_narrow_accumulators_lower_the_scale():
    trits = np.random.default_rng(0).integers(-1, 2, (16, 9216))
    network = one_layer(trits, 0.881, 1.122)
    narrow = quantize(network, Config(accumulator_width=24)).layers[0]
    wide = quantize(network, Config(accumulator_width=28)).layers[0]
    assert narrow.groups[0].coefficient_minus < 20 < 100 < wide.groups[0].coefficient_minus
    for layer, config in ((narrow, Config()), (wide, Config(accumulator_width=28))):
        assert layer.accumulator_high.max() <= config.accumulator_max
        assert layer.accumulator_low.min() >= -config.accumulator_max


def test_accumulators_that_cannot_fit():
    network = one_layer(np.ones((2, 9216)), 1.0, 1.0)
    with pytest.raises(
        ExportError,
        match=r"layer fc: its sums need accumulators of 23 bits .* "
        "accumulator_width 20",
    ):
        quantize(network, Config(accumulator_width=20))
    assert quantize(network, Config(accumulator_width=23)).layers[0].accumulator_high[0] == 2350080


def test_coefficients_that_cannot_fit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(
        ExportError,
        match=r"layer 1: its weights need coefficients of \d+ bits, .* "
        "coefficient_width 6; use fewer bits",
    ):
        export(model, (3, 2, 2), Config(coefficient_width=6))
    export(model, (3, 2, 2), Config(coefficient_width=6), digits=6)


@pytest.mark.parametrize("digits", [2, 5, 8])
@pytest.mark.parametrize("final", [False, True])
def test_planes_combine_exactly(digits, final):
    torch.manual_seed(digits)
    layers = [nn.Conv2d(3, 5, 3)] if final else [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1)]
    network, _ = export(nn.Sequential(*layers), (3, 6, 6), digits=digits)
    layer = network.layers[0]
    unit = coefficient_unit(layer)
    # added up, the integers are the rounded weights times one number
    weights = layers[0].weight.detach().numpy()
    largest = (1 << (digits - 1)) - 1
    magnitude = np.abs(weights).max(axis=None if final else (1, 2, 3), keepdims=True)
    expected = np.rint(weights / (magnitude / largest))
    assert np.array_equal(effective_groups(layer, integer=True)[0].weights, expected * unit)


def test_two_sources_share_one_unit():
    class Add(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1)

        def forward(self, x):
            return self.a(x) * 5 + self.b(x)

    network, _ = export(Add(), (2, 4, 4))
    layer = network.layers[-1]
    for group in layer.groups:
        stands_for = group.coefficient_plus * layer.accumulator_scale
        assert stands_for == pytest.approx(network.tensors[group.source].scale, rel=0.02)


# ----- bounds


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("wp", "wn"), [(0.9, 1.1), (-0.7, 0.3), (0.5, -0.6), (-0.5, -0.5)])
def test_bounds_are_reached(wp, wn, signed):
    rng = np.random.default_rng(7)
    trits = rng.integers(-1, 2, (6, 40))
    trits[2] = 0
    trits[3] = 1
    trits[4] = -1
    config = Config(accumulator_width=18, coefficient_width=10)
    network = quantize(one_layer(trits, wp, wn, signed=signed), config)
    layer, tensor = network.layers[0], network.tensors["input"]
    golden = GoldenModel(network)
    weights = effective_groups(layer, integer=True)[0].weights[:, :, 0, 0]
    for row in range(6):
        for end, codes in (
            (layer.accumulator_high, np.where(weights[row] > 0, tensor.high, tensor.low)),
            (layer.accumulator_low, np.where(weights[row] > 0, tensor.low, tensor.high)),
        ):
            result = golden.run_layer("fc", {"input": codes[None, :, None, None]})
            assert result.accumulators[0, row, 0, 0] == end[row]
            assert abs(end[row]) <= config.accumulator_max
    assert layer.accumulator_low[2] == layer.accumulator_high[2] == 0
    # the scale is as large as the accumulators allow, within what rounding well costs
    assert max(layer.accumulator_high.max(), -layer.accumulator_low.min()) > (
        config.accumulator_max // 4
    )


def test_bounds_of_a_convolution_are_reached():
    torch.manual_seed(0)
    network, _ = export(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1)), (2, 5, 5), positive=True)
    layer = network.layers[0]
    weights = effective_groups(layer, integer=True)[0].weights
    codes = np.zeros((1, 2, 5, 5), np.int64)
    codes[0, :, 1:4, 1:4] = 255 * (weights[3] > 0)
    accumulators = GoldenModel(network).run_all(codes, accumulators=True)["0.accumulators"]
    assert accumulators[0, 3, 2, 2] == layer.accumulator_high[3]
    assert accumulators.max() <= layer.accumulator_high.max()


def test_partial_sums_of_planes_fit_too():
    # 7 = 8 - 1: the plane of 8 alone reaches higher than the finished sum
    network = one_layer(np.ones((1, 64)), 8.0, 8.0)
    layer = network.layers[0]
    layer.groups = [
        dataclasses.replace(layer.groups[0], step=1.0),
        dataclasses.replace(
            layer.groups[0], trits=-layer.groups[0].trits, wp=1.0, wn=1.0, step=1.0
        ),
    ]
    for width in range(19, 24):
        found = quantize(network, Config(accumulator_width=width)).layers[0]
        assert found.groups[0].coefficient_plus == 8 * found.groups[1].coefficient_minus
        partial = 64 * 255 * found.groups[0].coefficient_plus
        assert found.accumulator_high[0] == partial * 7 // 8
        assert partial < 1 << (width - 1)
        assert partial_bounds(network, found)[1][0] == partial


def test_average_pool_counts_its_window():
    network, _ = export(
        nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1)), (3, 8, 8), positive=True
    )
    layer = network.layers[0]
    assert layer.accumulator_high[0] == 16 * 255 * layer.groups[0].coefficient_plus


# ----- requantization


def requantized(layer, acc):
    rows = layer.requantization
    return requantize(
        acc, rows.multiplier[:, None], rows.bias[:, None], rows.shift[:, None], rows.low, rows.high
    )


@pytest.mark.parametrize("low", [None, 0.0])
@pytest.mark.parametrize("multiplier_width", [8, 16, 18])
def test_requantization_stays_close_and_cannot_overflow(low, multiplier_width):
    rng = np.random.default_rng(9)
    trits = rng.integers(-1, 2, (64, 100))
    config = Config(multiplier_width=multiplier_width)
    gain = np.exp(rng.uniform(-9, 3, 64)) * rng.choice([-1, 1], 64)
    offset = np.exp(rng.uniform(-5, 6, 64)) * rng.choice([-1, 1], 64)
    gain[5] = offset[6] = 0
    offset[7] = 1e9
    trits[8] = 0
    network = quantize(
        one_layer(trits, 0.7, 0.9, final=False, gain=gain, offset=offset, low=low), config
    )
    layer, rows = network.layers[0], network.layers[0].requantization
    assert np.abs(rows.multiplier).max() < 1 << (multiplier_width - 1)
    assert 0 <= rows.shift.min() <= rows.shift.max() <= 63
    acc = np.stack(
        [
            rng.integers(low, high + 1, 500)
            for low, high in zip(layer.accumulator_low, layer.accumulator_high, strict=True)
        ]
    )
    acc[:, 0], acc[:, 1] = layer.accumulator_low, layer.accumulator_high
    half = 1 << rows.shift >> 1
    total = acc * rows.multiplier[:, None] + (rows.bias + half)[:, None]
    assert np.abs(total).max() < 1 << (config.offset_width - 1)
    real = (acc * layer.accumulator_scale * gain[:, None] + offset[:, None]) / 0.1
    expected = real.clip(rows.low, rows.high)
    tolerance = 0.51 + 300 / (1 << (multiplier_width - 1))
    # the multiplier's relative error acts on the product, which may be far from the clamp's range
    tolerance = tolerance + np.abs(real - offset[:, None] / 0.1) / (1 << (multiplier_width - 1))
    assert (np.abs(requantized(layer, acc) - expected) <= tolerance).all()


def test_gain_too_large():
    network = one_layer([[1, -1]], 1.0, 1.0, final=False, gain=1e9)
    with pytest.raises(ExportError, match=r"layer fc: row 0 has a gain of .* multiplier_width 16"):
        quantize(network, TINY)


def test_copies_are_exact():
    trits = np.eye(2, dtype=np.int8)[:, :, None, None]
    for config in (TINY, Config(multiplier_width=4)):
        for signed in (False, True):
            layer = Layer(
                "copy",
                "identity",
                "copy",
                2,
                1,
                256,
                [ColumnGroup("input", (0, 2), (0, 2), trits, (1, 1), 1.0, 1.0)],
                np.ones(2),
                np.zeros(2),
            )
            end = dataclasses.replace(
                layer,
                name="end",
                output="end",
                final=True,
                groups=[dataclasses.replace(layer.groups[0], source="copy")],
            )
            tensors = {
                name: Tensor(name, 2, 1, 256, 0.0371, signed) for name in ("input", "copy", "end")
            }
            network = quantize(Network("n", "input", tensors, [layer, end]), config)
            codes = (np.arange(256) - 128 * signed).reshape(1, 1, 1, 256).repeat(2, axis=1)
            result = GoldenModel(network).run_all(codes)
            assert np.array_equal(result["copy"], codes)
            scaled = result["end"] * network.final.result_scale
            assert np.allclose(scaled, codes * 0.0371)


# ----- the last layer


def test_final_with_one_gain():
    layer = quantize(
        one_layer([[1, -1], [0, 1]], 0.5, 0.5, gain=[2.0, 2.0], offset=[1.0, -3.0]), TINY
    ).layers[0]
    assert layer.requantization.multiplier.tolist() == [1, 1]
    assert layer.result_scale == pytest.approx(2 * layer.accumulator_scale)
    assert layer.requantization.bias * layer.result_scale == pytest.approx([1, -3], abs=1e-4)


@pytest.mark.parametrize("width", [24, 30])
def test_final_with_gains(width):
    rng = np.random.default_rng(3)
    gain = rng.normal(size=20)
    trits = rng.integers(-1, 2, (20, 64))
    network = quantize(
        one_layer(trits, 0.6, 0.8, gain=gain, offset=rng.normal(size=20)),
        Config(accumulator_width=width),
    )
    layer = network.layers[0]
    rows = layer.requantization
    reach = np.maximum(-layer.accumulator_low, layer.accumulator_high)
    assert (reach * np.abs(rows.multiplier) + np.abs(rows.bias)).max() < 1 << 31
    assert np.abs(rows.multiplier).max() >= 200
    x = rng.integers(0, 256, (10, 64))
    expected = (
        np.where(trits > 0, 0.6, np.where(trits < 0, -0.8, 0)) @ (x.T / 255) * gain[:, None]
        + layer.offset[:, None]
    )
    found = GoldenModel(network).run(x[:, :, None, None])[:, :, 0, 0].T * layer.result_scale
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_final_that_does_not_fit():
    network = one_layer([[1, 1], [1, -1]], 1e-6, 1e-6, offset=[1e6, 0.0])
    with pytest.raises(
        ExportError,
        match=r"layer fc: results of row 0 need \d+ bits, available are 32; "
        r"its bias is 1e\+06, its weights add at most 2e-06",
    ):
        quantize(network, TINY)


@pytest.mark.parametrize(
    ("trits", "options"),
    [
        ([[0, 0], [0, 0], [0, 0]], {}),
        ([[1, -1], [1, 1], [0, 1]], {"gain": [0.0, 0.0, 0.0]}),
        ([[1, -1], [0, 0], [0, 1]], {}),
        ([[1, -1], [0, 0], [0, 1]], {"gain": [1.0, 1e6, 0.5]}),
        ([[1, -1], [1, 1], [0, 1]], {"gain": [1.0, 0.0, 0.5]}),
        ([[1, -1], [1, 1], [0, 1]], {"offset": [1e3, -1e3, 2e2]}),
        ([[1, -1], [1, 1], [0, 1]], {"offset": [1e6, -1e6, 2e5]}),
        ([[1, -1], [1, 1], [0, 1]], {"offset": [1e12, -1e12, 1e12]}),
        ([[0, 0], [0, 0], [0, 0]], {"offset": [-4.595, -4.595, -4.595]}),
        ([[0, 0], [0, 0], [0, 0]], {"offset": [0.0, 0.0, 0.0]}),
    ],
)
def test_bias_of_a_last_layer(trits, options):
    """Whatever its size beside the sums: within rounding of the largest result."""
    options = {"offset": [0.1, -0.3, 0.5], "gain": [1.0, 1.0, 1.0], **options}
    network = quantize(one_layer(trits, 0.5, 0.7, **options), TINY)
    codes = np.random.default_rng(5).integers(0, 256, (20, 2, 1, 1))
    signs = np.array(trits)
    weights = np.where(signs > 0, 0.5, np.where(signs < 0, -0.7, 0))
    sums = (codes[:, :, 0, 0] / 255) @ weights.T
    expected = sums * np.array(options["gain"]) + np.array(options["offset"])
    found = GoldenModel(network).run(codes)[:, :, 0, 0] * network.final.result_scale
    assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max()


# ----- whole networks


def test_needs_scales():
    network = trace(nn.Sequential(nn.Conv2d(1, 1, 1)), (1, 2, 2))
    with pytest.raises(ExportError, match="tensor input has no scale; calibrate the network first"):
        quantize(network, TINY)


def test_the_network_given_is_not_changed():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    network = calibrate(trace(model, (2, 6, 6)), np.ones((1, 2, 6, 6)))
    quantize(network, TINY)
    assert all(
        layer.requantization is None and layer.accumulator_scale == 0 for layer in network.layers
    )
    assert all(group.coefficient_plus == 0 for layer in network.layers for group in layer.groups)


def test_all_zero_weights():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        model[0].weight[:] = 0
        model[2].weight[:] = 0
    network, x = export(model, (2, 6, 6))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    codes = np.zeros(x.shape, np.int64)
    found = GoldenModel(network).run(codes) * network.final.result_scale
    assert np.allclose(found, expected, rtol=1e-6)
    assert "its results are its bias" in network.final.note


@pytest.mark.parametrize("bias", [0.3, 40.0, -0.3])
def test_hidden_rows_of_zeros_keep_their_bias(bias):
    """A row of zeros, all rows of zeros, and a bias that is far larger than the sums."""
    for rows in (slice(0, 1), slice(None)):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
        with torch.no_grad():
            model[0].weight[rows] = 0
            model[0].bias[:] = bias
        network, x = export(model, (2, 6, 6))
        with torch.no_grad():
            expected = model(torch.from_numpy(x)).numpy()
        codes = quantize_input(x, network.tensors["input"])
        found = GoldenModel(network).run(codes) * network.final.result_scale
        assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


class Dead(nn.Module):
    """A sum of a live branch and of one that is zero for all inputs."""

    def __init__(self):
        super().__init__()
        self.live, self.dead, self.last = (nn.Conv2d(2, 2, 1) for _ in range(3))

    def forward(self, x):
        return self.last(torch.relu(self.live(x)) + torch.relu(self.dead(x)))


def test_a_dead_branch_costs_the_others_no_precision():
    torch.manual_seed(2)
    model = Dead()
    with torch.no_grad():
        model.dead.weight[:], model.dead.bias[:] = 0, -1
        model.live.weight *= 0.01
        model.live.bias *= 0.01
        model.last.bias[:] = 0
    network, x = export(model, (2, 6, 6))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    codes = quantize_input(x, network.tensors["input"])
    found = GoldenModel(network).run(codes) * network.final.result_scale
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_pool_is_part_of_its_layer():
    network, _ = export(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 2, 1)), (2, 8, 8)
    )
    assert network.layers[0].pool == Pool((3, 3), (2, 2), (1, 1), 3, 3)
