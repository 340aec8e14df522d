"""Trained tensors as planes of trits."""

import numpy as np
import pytest

from tritforge.model_export.errors import ExportError
from tritforge.model_export.passes.weights import classify


def ternary(rng, wp, wn, shape=(6, 3, 3, 3)):
    trits = rng.integers(-1, 2, shape)
    return np.where(trits > 0, wp, np.where(trits < 0, -wn, 0)).astype(np.float32)


@pytest.mark.parametrize(
    ("wp", "wn"), [(0.9, 1.1), (-0.71154, -1.2), (0.5, 0.5), (0.5, -0.25), (-0.25, 0.5)]
)
def test_ternary_per_tensor(wp, wn):
    weight = ternary(np.random.default_rng(1), wp, wn)
    result = classify(weight, name="w", digits=0)
    assert len(result.planes) == 1
    assert result.error == 0
    assert np.array_equal(result.reconstruct().astype(np.float32), weight)
    plane = result.planes[0]
    assert {np.float32(plane.wp), np.float32(-plane.wn)} == {np.float32(wp), np.float32(-wn)}


def test_natural_signs():
    plane = classify(np.array([[0.5, -0.25, 0]], np.float32), name="w").planes[0]
    assert (plane.wp, plane.wn) == (0.5, 0.25)
    assert plane.trits.tolist() == [[1, -1, 0]]
    both_positive = classify(np.array([[0.5, 0.25, 0]], np.float32), name="w").planes[0]
    assert (both_positive.wp, both_positive.wn) == (0.5, -0.25)
    both_negative = classify(np.array([[-0.5, -0.25, 0]], np.float32), name="w").planes[0]
    assert (both_negative.wp, both_negative.wn) == (-0.25, 0.5)


@pytest.mark.parametrize(
    ("values", "wp", "note"),
    [
        ([0, 0, 0], 1.0, "all weights are zero"),
        ([0, 3, 3], 3.0, "ternary with one value"),
        ([0, -3, -3], 3.0, "ternary with one value"),
        ([2, -3, -3], 2.0, "binary"),
        ([2, -3, 0], 2.0, "ternary"),
    ],
)
def test_few_values(values, wp, note):
    result = classify(np.array([values], np.float32), name="w", digits=0)
    assert result.planes[0].wp == wp
    assert result.note == note
    assert result.reconstruct().tolist() == [values]


def test_ternary_per_filter():
    rng = np.random.default_rng(2)
    alpha = np.array([0.5, 0.7, 0.0, 1.3], np.float32)
    weight = alpha[:, None, None, None] * rng.integers(-1, 2, (4, 3, 3, 3)).astype(np.float32)
    result = classify(weight, name="w", digits=0)
    assert len(result.planes) == 1
    assert (result.planes[0].wp, result.planes[0].wn) == (1, 1)
    assert result.gain.astype(np.float32).tolist() == [0.5, np.float32(0.7), 1, np.float32(1.3)]
    assert np.array_equal(result.reconstruct().astype(np.float32), weight)


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("step", [0.25, 0.013, 3.7])
def test_exact_grid(step, per_tensor):
    integers = np.random.default_rng(3).integers(-127, 128, (8, 5, 3, 3))
    integers.flat[:4] = 127, 1, -127, 0
    result = classify((integers * step).astype(np.float32), name="w", per_tensor=per_tensor)
    assert result.error == 0
    assert "exact" in result.note
    assert np.allclose(result.reconstruct(), integers * step, rtol=1e-6, atol=0)
    assert (result.gain == 1).all()


def test_grid_per_row():
    rng = np.random.default_rng(4)
    integers = rng.integers(-127, 128, (5, 40))
    integers[:, 0] = 1
    integers[3] = 0
    steps = rng.uniform(0.01, 0.1, 5)
    result = classify((integers * steps[:, None]).astype(np.float32), name="w")
    assert "one step per filter" in result.note
    assert result.error == 0
    assert np.allclose(result.reconstruct(), integers * steps[:, None], rtol=1e-5)


@pytest.mark.parametrize(("digits", "per_tensor"), [(8, False), (8, True), (4, False), (10, True)])
def test_rounding_is_reported(digits, per_tensor):
    weight = np.random.default_rng(5).normal(size=(7, 4, 3, 3)).astype(np.float32)
    result = classify(weight, name="w", digits=digits, per_tensor=per_tensor)
    found = np.abs(result.reconstruct() - weight).max() / np.abs(weight).max()
    assert result.error == pytest.approx(found)
    assert 0 < found <= 0.51 / (2 ** (digits - 1) - 1)
    nonzero = sum(np.count_nonzero(plane.trits) for plane in result.planes) / weight.size
    assert (
        f"{digits}-bit weights as sums of {len(result.planes)} ternary planes "
        f"({nonzero:.2f} nonzero trits a weight)"
    ) in result.note
    assert f"{100 * found:.2g} %" in result.note
    assert (np.ptp(result.gain) == 0) == per_tensor
    for plane in result.planes:
        assert plane.trits.any()
        assert plane.step > 0
        for value in (plane.wp / plane.step, plane.wn / plane.step):
            assert value == pytest.approx(round(value), rel=1e-12)


def test_per_filter_with_unequal_values_is_rounded_and_said():
    rng = np.random.default_rng(6)
    weight = np.stack([ternary(rng, 0.5 + n / 7, 0.9 - n / 11, (3, 3, 3)) for n in range(4)])
    result = classify(weight, name="w")
    assert "rounded" in result.note
    with pytest.raises(ExportError, match=r"w is not ternary \(9 distinct values\)"):
        classify(weight, name="w", digits=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    weight = np.ones((2, 3), np.float32)
    weight[1, 2] = bad
    with pytest.raises(ExportError, match=r"tensor conv1\.weight has 1 values that are NaN"):
        classify(weight, name="conv1.weight")


@pytest.mark.parametrize("digits", [1, -1, 17])
def test_digits_out_of_range(digits):
    with pytest.raises(ExportError, match=r"0 \(refuse\) or 2 to 16 bits"):
        classify(np.ones((1, 1)), name="w", digits=digits)


def test_planes_share_the_largest_step():
    # 127 and 64 of a rounding step, then 4, 6 and 10 of a grid, whose step is 2
    rounded = np.array([[64, 127, -64, 0, 127, -127], [-127, -64, 0, 64, -64, 64]]) * 0.01
    planes = classify(rounded.astype(np.float32), name="w", per_tensor=True).planes
    assert [plane.step for plane in planes] == pytest.approx([0.01] * len(planes))
    grid = np.array([[4, 10, -4, -10, 6, 0]], np.float32)
    planes = classify(grid, name="w").planes
    assert [plane.step for plane in planes] == pytest.approx([2] * len(planes))


def test_ternary_weights_have_no_step():
    assert classify(np.array([[0.5, -0.5, 0]], np.float32), name="w").planes[0].step == 0
