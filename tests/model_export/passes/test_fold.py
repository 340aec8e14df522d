"""Folding the input changes no integer: on the golden model, the reference and memory contents."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.model_export.networks import compile_network, random_codes, reference_run
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.network import (
    ColumnGroup,
    Fold,
    Layer,
    Network,
    Requantization,
    Tensor,
    Window,
)
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.fold import (
    MOST_CHANNELS,
    fold_candidates,
    fold_input,
    space_to_depth,
)
from tritforge.model_export.passes.quantize import partial_bounds, quantize
from tritforge.model_export.reference import FloatReference
from tritforge.sim.golden import GoldenModel, quantize_input
from tritforge.sim.interpreter import Interpreter


def strided(rng, *, channels=None, groups=None):
    """A quantized network: one or two convs on the input, mostly strided, then a linear layer."""
    channels = int(rng.integers(1, 5)) if channels is None else channels
    tensor = Tensor("input", channels, 0, 0, 1.0, bool(rng.random() < 0.5))
    strides = tuple(int(rng.integers(2, 5)) for _ in range(2))
    chance = rng.random()
    if chance < 0.4:
        strides = (1, strides[1] if chance < 0.2 else 1)
    axes = []
    for stride in strides:
        kernel = int(rng.integers(stride, 13))
        padding = int(rng.integers(0, kernel))
        out = int(rng.integers(1, 6))
        after = int(rng.integers(0, kernel))
        size = max(1, (out - 1) * stride + kernel - padding - after + int(rng.integers(0, stride)))
        axes.append((size, kernel, stride, padding, out))
    tensor.height, tensor.width = axes[0][0], axes[1][0]
    rows = int(rng.integers(1, 9))
    height, width = axes[0][4], axes[1][4]
    column_groups = []
    kinds = groups or rng.choice(["plain", "digits", "two", "grouped"])
    sets = {
        "plain": [(0, rows, 0, channels, [(3, 5)])],
        "digits": [(0, rows, 0, channels, [(1, 1), (2, 2), (4, 4)])],
        "two": [(0, rows, 0, channels, [(3, 5)]), (rows // 2, rows, 0, channels, [(1, 2)])],
        "grouped": [
            (0, rows, 0, (channels + 1) // 2, [(2, 3)]),
            (0, rows, channels // 2, channels, [(-4, 1)]),
        ],
    }[str(kinds)]
    for number, (first, last, start, stop, pairs) in enumerate(sets):
        kernel, padding = [axis[1] for axis in axes], [axis[3] for axis in axes]
        stride = [axis[2] for axis in axes]
        if number and kinds == "two":  # another kernel and padding, sometimes another stride
            if rng.random() < 0.5:
                stride = [int(rng.integers(1, 5)) for _ in axes]
            kernel = [int(rng.integers(axis[2], 13)) for axis in axes]
            padding = [int(rng.integers(0, size)) for size in kernel]
        for pair in pairs:
            trits = rng.integers(-1, 2, (last - first, stop - start, *kernel)).astype(np.int8)
            column_groups.append(
                ColumnGroup(
                    "input",
                    (start, stop),
                    (first, last),
                    trits,
                    tuple(kernel),
                    float(pair[0]),
                    float(pair[1]),
                    tuple(stride),
                    tuple(padding),
                    coefficient_plus=pair[0],
                    coefficient_minus=pair[1],
                )
            )
    network = Network("strided", "input", {"input": tensor}, [])
    add_layer(
        network,
        Layer(
            "conv",
            "conv",
            "hidden",
            rows,
            height,
            width,
            column_groups,
            np.ones(rows),
            np.zeros(rows),
        ),
        rng,
    )
    trits = rng.integers(-1, 2, (4, rows, height, width)).astype(np.int8)
    group = ColumnGroup(
        "hidden",
        (0, rows),
        (0, 4),
        trits,
        (height, width),
        1.0,
        1.0,
        coefficient_plus=1,
        coefficient_minus=1,
    )
    add_layer(
        network,
        Layer("linear", "linear", "results", 4, 1, 1, [group], np.ones(4), np.zeros(4), final=True),
        rng,
    )
    return network


def add_layer(network, layer, rng):
    rows = layer.rows
    layer.accumulator_low, layer.accumulator_high = partial_bounds(network, layer)
    shift = 0 if layer.final else 6
    layer.requantization = Requantization(
        np.ones(rows, np.int64), rng.integers(-50, 50, rows), np.full(rows, shift), 0, 255
    )
    network.layers.append(layer)
    network.tensors[layer.output] = Tensor(layer.output, rows, layer.height, layer.width, 1.0)


def execute(network, config, codes):
    """Results of the memory contents."""
    memory = compile_network(network, config)
    machine = Interpreter(config, memory)
    machine.load(memory.tensors[network.input].base, memory.input_words(codes))
    np.testing.assert_array_equal(
        memory.tensor_from_words("input", memory.input_words(codes)), codes
    )
    machine.run(memory.layers[0].address, len(memory.layers))
    place = memory.results
    return memory.results_from_entries(machine.results[place.base : place.base + place.entries])


@pytest.mark.parametrize("seed", range(60))
def test_random_convs(seed):
    rng = np.random.default_rng(seed)
    network = strided(rng)
    before = [group.trits.copy() for group in network.layers[0].groups]
    codes = np.stack([random_codes(rng, network) for _ in range(2)])
    expected = GoldenModel(network).run_all(codes, accumulators=True)
    reference = reference_run(network, codes[0])["results"]
    folds = fold_candidates(network)
    assert len({(fold.block, fold.steps) for fold in folds}) == len(folds)
    for number in rng.permutation(len(folds))[:6]:
        folded = fold_input(network, folds[number])
        for group, trits in zip(network.layers[0].groups, before, strict=True):
            np.testing.assert_array_equal(group.trits, trits)
        tensor = folded.tensors["input"]
        assert tensor.fold is not None and tensor.shape == network.tensors["input"].shape
        assert tensor.channels == tensor.fold.folded_shape[0] > network.tensors["input"].channels
        assert folded.layers[0].nonzero_trits == network.layers[0].nonzero_trits
        assert fold_candidates(folded) == []
        found = GoldenModel(folded).run_all(codes, accumulators=True)
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        alone = GoldenModel(folded).run_layer("conv", {"input": codes})
        np.testing.assert_array_equal(alone.output, expected["hidden"])
        config = Config(
            clusters=int(rng.integers(1, 6)),
            scan_width=int(rng.integers(1, 5)),
            trit_depth=1 << 16,
            activation_depth=1 << 16,
            program_depth=1 << 14,
        )
        if seed < 20 and tensor.channels < 200:
            np.testing.assert_array_equal(execute(folded, config, codes[0]), reference)


def test_what_there_is_to_choose_from():
    """Single pixels, multiples of the stride and the whole kernel, each way."""
    network = one_conv(3, 32, 3, 1, 1, 32)
    assert [(fold.block, fold.steps) for fold in fold_candidates(network)] == [
        ((1, 2), (1, 1)),
        ((2, 1), (1, 1)),
        ((1, 3), (1, 1)),
        ((3, 1), (1, 1)),
        ((2, 2), (1, 1)),
        ((2, 3), (1, 1)),
        ((3, 2), (1, 1)),
        ((3, 3), (1, 1)),
    ]
    assert space_to_depth(network) is None
    strided_blocks = {fold.block for fold in fold_candidates(one_conv(3, 224, 11, 4, 2, 55))}
    assert {(4, 4), (8, 8), (11, 11), (1, 11), (11, 4)} <= strided_blocks
    assert (2, 2) not in strided_blocks


def one_conv(channels, size, kernel, stride, padding, out):
    """A square conv on a square input, with trits of 1."""
    group = ColumnGroup(
        "input",
        (0, channels),
        (0, 1),
        np.ones((1, channels, kernel, kernel), np.int8),
        (kernel, kernel),
        1.0,
        1.0,
        (stride, stride),
        (padding, padding),
    )
    return Network(
        "net",
        "input",
        {"input": Tensor("input", channels, size, size)},
        [Layer("conv", "conv", "out", 1, out, out, [group], np.ones(1), np.zeros(1))],
    )


def test_known_shapes():
    """The two usual first layers of AlexNet, and ResNet's, as space-to-depth."""
    for size, kernel, stride, padding, out, folded, rule in (
        (224, 12, 4, 0, 54, (48, 56, 56), (3, 0)),
        (224, 11, 4, 2, 55, (48, 57, 57), (3, 0)),
        (227, 11, 4, 0, 55, (48, 57, 57), (3, 0)),
        (224, 7, 2, 3, 112, (12, 112, 112), (4, 2)),
    ):
        network = one_conv(3, size, kernel, stride, padding, out)
        result = fold_input(network, space_to_depth(network))
        tensor = result.tensors["input"]
        assert (tensor.channels, tensor.height, tensor.width) == folded
        assert tensor.fold.block == (stride, stride) and tensor.fold.size is None
        made = result.layers[0].groups[0]
        assert made.kernel == (rule[0],) * 2 and made.padding == (rule[1],) * 2
        assert made.trits.shape == (1, folded[0], *made.kernel)


def test_unfolding():
    """Whole kernels as channels: a conv becomes one of 1x1, its padding part of the input."""
    for channels, size, kernel, stride, padding, out in (
        (3, 32, 3, 1, 1, 32),
        (1, 28, 5, 1, 0, 24),
        (3, 224, 7, 2, 3, 112),
    ):
        network = one_conv(channels, size, kernel, stride, padding, out)
        fold = fold_candidates(network)[-1]
        assert fold.block == (kernel, kernel) and fold.steps == (stride, stride)
        assert fold.folded_shape == (channels * kernel**2, out, out)
        (made,) = fold_input(network, fold).layers[0].groups
        assert made.kernel == made.stride == made.dilation == (1, 1) and made.padding == (0, 0)
    rows = next(fold for fold in fold_candidates(network) if fold.block == (4, 1))
    (made,) = fold_input(network, rows).layers[0].groups
    assert made.kernel == (2, 7) and made.dilation == (2, 1) and made.stride == (1, 2)


def test_one_output_pixel():
    """A linear layer on an image reads every pixel as a channel."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 7, 4), nn.ReLU(), nn.Linear(4, 3))
    samples = rng.random((5, 2, 5, 7)).astype(np.float32)
    network = quantize(calibrate(trace(model, (2, 5, 7), digits=4), samples), PRESETS["tiny"])
    folded = fold_input(network, space_to_depth(network))
    assert folded.tensors["input"].channels == 70 and folded.layers[0].groups[0].kernel == (1, 1)
    codes = quantize_input(samples, folded.tensors["input"])
    assert codes.shape == samples.shape
    np.testing.assert_array_equal(GoldenModel(folded).run(codes), GoldenModel(network).run(codes))


def test_real_numbers():
    """The pass may also run before calibration."""
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, 3, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    samples = rng.normal(size=(4, 3, 11, 10)).astype(np.float32)
    with torch.no_grad():
        model(torch.from_numpy(samples))
    network = trace(model, (3, 11, 10), digits=8)
    folded = fold_input(network, space_to_depth(network))
    assert folded.tensors["input"].fold is not None
    one, other = FloatReference(network).run_all(samples), FloatReference(folded).run_all(samples)
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, atol=1e-5)
    # its sums are in another order, so scales may differ in their last bit
    calibrated, expected = calibrate(folded, samples), calibrate(network, samples)
    for name, tensor in expected.tensors.items():
        assert calibrated.tensors[name].scale == pytest.approx(tensor.scale, rel=1e-6)
        assert calibrated.tensors[name].signed == tensor.signed
    same = dataclasses.replace(
        calibrated,
        tensors={
            name: dataclasses.replace(tensor, scale=expected.tensors[name].scale)
            for name, tensor in calibrated.tensors.items()
        },
    )
    codes = quantize_input(samples, expected.tensors["input"])
    np.testing.assert_array_equal(
        GoldenModel(quantize(same, PRESETS["tiny"])).run(codes),
        GoldenModel(quantize(expected, PRESETS["tiny"])).run(codes),
    )


def test_what_is_left_alone():
    rng = np.random.default_rng(2)
    network = strided(rng, channels=3, groups="plain")
    assert _folds(network)
    group = network.layers[0].groups[0]
    big = dataclasses.replace(network.tensors["input"], channels=MOST_CHANNELS + 1)
    assert not _folds(network, tensors={**network.tensors, "input": big})
    for change in (
        {"dilation": (2, 1)},
        {"shared": True},
        {"stride": (13, 13)},
        {"windows": (Window((0,) * 9, (0,) * 9, (1,) * 9), None)},
    ):
        other = dataclasses.replace(group, **change)
        assert not _folds(
            network,
            layers=[dataclasses.replace(network.layers[0], groups=[other], height=9, width=9)],
        )
    assert not _folds(network, layers=network.layers[1:])


def _folds(network, **changes):
    return bool(fold_candidates(dataclasses.replace(network, **changes)))


def test_apply_and_undo():
    fold = Fold(2, 5, 4, (3, 2), (1, 1))
    assert fold.shape == (2, 5, 4) and fold.folded_shape == (12, 2, 3)
    codes = np.arange(3 * 40).reshape(3, 2, 5, 4)
    folded = fold.apply(codes)
    for c, j, i, y, x in np.ndindex(2, 3, 2, 2, 3):
        row, column = 3 * y + j - 1, 2 * x + i - 1
        inside = 0 <= row < 5 and 0 <= column < 4
        expected = codes[:, c, row, column] if inside else 0
        np.testing.assert_array_equal(folded[:, (c * 3 + j) * 2 + i, y, x], expected)
    np.testing.assert_array_equal(fold.undo(folded), codes)
    square = Fold(3, 8, 8, (4, 4))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8))
    np.testing.assert_array_equal(
        square.apply(pixels), nn.functional.pixel_unshuffle(torch.from_numpy(pixels), 4).numpy()
    )


def test_windows_that_overlap():
    fold = Fold(2, 5, 6, (3, 3), (1, 1), (1, 2), (5, 3))
    assert fold.folded_shape == (18, 5, 3)
    codes = np.arange(1, 61).reshape(2, 5, 6)
    folded = fold.apply(codes)
    for c, j, i, y, x in np.ndindex(2, 3, 3, 5, 3):
        row, column = y + j - 1, 2 * x + i - 1
        inside = 0 <= row < 5 and 0 <= column < 6
        expected = codes[c, row, column] if inside else 0
        assert folded[(c * 3 + j) * 3 + i, y, x] == expected
    np.testing.assert_array_equal(fold.undo(folded), codes)
    # as few windows as hold all pixels
    assert dataclasses.replace(fold, size=None).folded_shape == (18, 4, 3)


@pytest.mark.parametrize("seed", range(50))
def test_undo_is_the_inverse(seed):
    rng = np.random.default_rng(seed)
    block, size = (tuple(rng.integers(1, top, 2).tolist()) for top in (6, 12))
    step = tuple(int(rng.integers(1, width + 1)) for width in block)
    front = tuple(int(rng.integers(0, width)) for width in block)
    fold = Fold(2, *size, block, front, step)
    more = tuple(
        int(rng.integers(least, -(-(length + before) // width) + 1))
        for least, length, before, width in zip(
            fold.folded_shape[1:], size, front, step, strict=True
        )
    )
    codes = rng.integers(-128, 128, (3, 2, *size))
    for one in (fold, dataclasses.replace(fold, size=more)):
        assert one.apply(codes).shape == (3, *one.folded_shape)
        np.testing.assert_array_equal(one.undo(one.apply(codes)), codes)


def test_errors():
    fold = Fold(2, 5, 4, (3, 2))
    with pytest.raises(ValueError, match=r"must have shape \(2, 5, 4\), not \(2, 4, 5\)"):
        fold.apply(np.zeros((2, 4, 5)))
    with pytest.raises(ValueError, match=r"must have shape \(12, 2, 2\), not \(2, 5, 4\)"):
        fold.undo(np.zeros((2, 5, 4)))
    for changes in (
        {"block": (0, 1)},
        {"padding": (3, 0)},
        {"padding": (0, -1)},
        {"height": 0},
        {"step": (4, 1)},
        {"step": (0, 1)},
        {"size": (1, 2)},
        {"size": (2, 3)},
    ):
        with pytest.raises(ValueError, match="is no fold"):
            dataclasses.replace(fold, **changes)
