"""Integers as sums of ternary planes."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.image.folder import load_image, write_image
from tritforge.model_export.memory.emit import emit
from tritforge.model_export.memory.placement import place
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import effective_groups, quantize
from tritforge.model_export.passes.term_planes import LARGEST_SEARCHED, signed_digits, term_planes
from tritforge.model_export.passes.weights import classify
from tritforge.sim.verify import verify


def total(planes, shape):
    result = np.zeros(shape, np.int64)
    for plane in planes:
        result += np.where(plane.trits > 0, plane.plus, 0)
        result -= np.where(plane.trits < 0, plane.minus, 0)
    return result


def count(trits):
    return sum(int(np.count_nonzero(plane)) for plane in trits)


def normal(rng, shape, deviation, most=127):
    return np.rint(rng.normal(size=shape) * deviation).clip(-most, most).astype(np.int64)


def cases():
    rng = np.random.default_rng(0)
    yield "normal", normal(rng, (96, 120), 40)
    yield "narrow", normal(rng, (300, 40), 12)
    yield "few rows", normal(rng, (3, 400), 30)
    yield "uniform", rng.integers(-127, 128, (40, 3, 5, 5))
    yield "every value", np.arange(-127, 128)[None]
    yield "shifted", normal(rng, (64, 50), 20) + 30
    yield "skew", np.rint(rng.exponential(15, (64, 50))).clip(0, 127).astype(np.int64) - 4
    yield "all negative", -rng.integers(1, 128, (30, 30))
    yield "extremes", rng.choice([-127, 127], (20, 20))
    yield "one extreme", np.concatenate([normal(rng, (50, 80), 2), np.full((1, 80), 127)])
    yield "one rare value", np.concatenate([np.full((10_000, 4), 64), [[-127, 1, 2, 3]]])
    yield "one value", np.full((5, 5), -77)
    yield "one weight", np.array([[100]])
    yield "few values", rng.choice([0, 3, 50, -51, 101, -102], (30, 30))
    for bits in range(2, 8):
        largest = (1 << (bits - 1)) - 1
        yield f"{bits} bits", rng.integers(-largest, largest + 1, (32, 40))
    yield "10 bits", rng.integers(-511, 512, (20, 30))
    yield "16 bits", rng.integers(-32767, 32768, (20, 30))


def test_signed_digits():
    values = np.arange(-300, 301)
    digits = signed_digits(values)
    assert np.array_equal(sum(2**j * d.astype(int) for j, d in enumerate(digits)), values)
    assert set(np.unique(digits)) == {-1, 0, 1}
    for one, other in itertools.pairwise(digits):
        assert not (one * other).any()
    assert len(signed_digits(np.zeros(3, np.int64))) == 1


@pytest.mark.parametrize(("name", "values"), list(cases()), ids=[name for name, _ in cases()])
def test_exact_and_never_more_than_canonical(name, values):
    planes = term_planes(values, 64)
    assert np.array_equal(total(planes, values.shape), values)
    digits = [digit for digit in signed_digits(values) if digit.any()]
    assert len(planes) <= len(digits)
    assert count(plane.trits for plane in planes) <= count(digits)
    largest = int(np.abs(values).max())
    for plane in planes:
        assert plane.trits.dtype == np.int8
        assert set(np.unique(plane.trits)) <= {-1, 0, 1}
        assert plane.trits.any()
        if largest <= LARGEST_SEARCHED:
            assert 0 < max(abs(plane.plus), abs(plane.minus)) <= largest
        else:
            assert plane.plus == plane.minus


@pytest.mark.parametrize(
    ("rows", "deviation", "most", "canonical"), [(96, 40, 2.09, 2.39), (300, 25, 1.87, 2.16)]
)
def test_fewer_trits_than_canonical(rows, deviation, most, canonical):
    values = normal(np.random.default_rng(1), (rows, 432), deviation)
    planes = term_planes(values, 64)
    assert len(planes) == 8
    assert count(plane.trits for plane in planes) / values.size < most
    assert count(signed_digits(values)) / values.size > canonical


def test_few_rows_get_few_planes():
    values = normal(np.random.default_rng(2), (512, 500), 30)
    sizes = [len(term_planes(values[:rows], 64)) for rows in (8, 64, 512)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == 8


def test_few_channels_get_few_planes():
    values = normal(np.random.default_rng(2), (128, 500), 30)
    narrow, wide = (term_planes(values, channels) for channels in (3, 48))
    assert len(narrow) < len(wide)
    assert count(plane.trits for plane in narrow) <= count(signed_digits(values))
    # a fold of 4 x 4 pixels makes 48 channels of 3
    weight = np.random.default_rng(9).normal(size=(128, 3, 12, 12)).astype(np.float32)
    assert len(classify(weight, name="w").planes) < len(
        classify(weight, name="w", stride=(4, 4)).planes
    )


@pytest.mark.parametrize("values", [[[-77, -77, 0]], [[3, -5, 0, 3]], [[0, 12, 30]]])
def test_what_one_plane_can_hold_takes_one(values):
    planes = term_planes(np.array(values), 64)
    assert len(planes) == 1
    assert np.array_equal(total(planes, np.shape(values)), values)


def test_zeros_need_no_plane():
    assert term_planes(np.zeros((3, 4), np.int64), 4) == []


def test_the_same_for_the_same_values():
    values = normal(np.random.default_rng(3), (32, 64), 35)
    planes = term_planes(values, 64)
    order = np.random.default_rng(4).permutation(values.size)
    again = term_planes(values.ravel()[order].reshape(values.shape), 64)
    assert [(one.plus, one.minus) for one in planes] == [(one.plus, one.minus) for one in again]
    for one, other in zip(planes, again, strict=True):
        assert np.array_equal(one.trits.ravel()[order], other.trits.ravel())


def test_planes_go_from_small_to_large():
    planes = term_planes(normal(np.random.default_rng(5), (64, 64), 35), 64)
    sizes = [max(abs(plane.plus), abs(plane.minus)) for plane in planes]
    assert sizes == sorted(sizes)


# ----- through the compiler


def make(module, shape, config, digits, seed=6):
    x = np.abs(np.random.default_rng(seed).normal(size=(6, *shape))).astype(np.float32)
    return quantize(calibrate(trace(module.eval(), shape, digits=digits), x), config)


@pytest.mark.parametrize("width", range(4, 17))
@pytest.mark.parametrize("digits", [3, 4, 6, 8])
def test_coefficients_are_exact_at_every_width(width, digits):
    torch.manual_seed(digits)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False))
    weight = module[0].weight.detach().numpy()
    largest = (1 << (digits - 1)) - 1
    config = Config(coefficient_width=width, accumulator_width=30)
    try:
        layer = make(module, (3, 5, 5), config, digits).layers[0]
    except ExportError as error:
        assert width < digits  # canonical digits would need one bit more
        assert f"coefficient_width {width}" in str(error)
        return
    expected = np.rint(weight / (np.abs(weight).max() / largest)).astype(np.int64)
    found = effective_groups(layer, integer=True)[0].weights
    unit = np.abs(found).max() // largest
    assert unit >= 1
    assert np.array_equal(found, unit * expected)
    for group in layer.groups:
        assert (
            max(abs(group.coefficient_plus), abs(group.coefficient_minus)) <= config.coefficient_max
        )


@pytest.mark.parametrize("groups", [1, 2])
def test_memory_contents_give_the_golden_integers(groups, tmp_path):
    torch.manual_seed(7)
    module = nn.Sequential(
        nn.Conv2d(4, 12, 3, padding=1, groups=groups),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 5),
    )
    config = Config(trit_depth=1 << 13, activation_depth=4096, program_depth=2048, row_depth=512)
    network = make(module, (4, 6, 6), config, 8)
    pairs = {
        (group.coefficient_plus, group.coefficient_minus)
        for layer in network.layers
        for group in layer.groups
    }
    assert any(plus != minus for plus, minus in pairs)
    write_image(
        tmp_path / "image", CompiledNetwork(network, emit(network, place(network, config), config))
    )
    codes = np.random.default_rng(8).integers(0, 256, (1, 4, 6, 6))
    result = verify(load_image(tmp_path / "image"), codes, backends=("memory",))
    assert [str(one.difference) for one in result.comparisons if one.difference is not None] == []
    assert len(result.comparisons) == 1
