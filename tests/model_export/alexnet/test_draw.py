"""Drawn weights: densities, their spread over rows and channels, seeds."""

import numpy as np
import pytest

from tritforge.model_export.alexnet.densities import spread
from tritforge.model_export.alexnet.draw import (
    CHANNEL_CONCENTRATION,
    ROW_CONCENTRATION,
    draw_filters,
    draw_last,
    draw_ternary,
)


def deviation(density: float, concentration: float) -> float:
    return (density * (1 - density) / (concentration + 1)) ** 0.5


@pytest.mark.parametrize(
    ("shape", "groups", "positions"),
    [((384, 128, 3, 3), 2, 1), ((512, 4096), 1, 1), ((512, 128 * 36), 1, 36)],
)
@pytest.mark.parametrize("density", [0.23, 0.43])
def test_densities_and_their_spread(shape, groups, positions, density):
    weight = draw_ternary(
        shape,
        density=density,
        wp=0.7,
        wn=1.3,
        rng=np.random.default_rng(1),
        groups=groups,
        positions=positions,
    )
    assert weight.shape == shape
    assert sorted(set(weight.unique().tolist())) == pytest.approx([-1.3, 0, 0.7])
    nonzero = (weight != 0).double().numpy()
    assert nonzero.mean() == pytest.approx(density, abs=0.004)
    assert nonzero.reshape(len(nonzero), -1).mean(1).std() == pytest.approx(
        deviation(density, ROW_CONCENTRATION), rel=0.15
    )
    assert (weight > 0).sum() / nonzero.sum() == pytest.approx(1.3 / 2.0, abs=0.01)
    channels = nonzero.reshape(groups, shape[0] // groups, shape[1] // positions, -1)
    assert channels.mean((1, 3)).std() == pytest.approx(
        deviation(density, CHANNEL_CONCENTRATION), rel=0.2
    )


def test_the_seed_decides():
    options = {"density": 0.3, "wp": 1.0, "wn": 1.0}
    first, same, other = (
        draw_ternary((8, 40), rng=np.random.default_rng(seed), **options) for seed in (1, 1, 2)
    )
    assert first.equal(same) and not first.equal(other)


def test_full_precision():
    kernels = draw_filters((8, 3, 12, 12), np.random.default_rng(0))
    assert kernels.mean((2, 3)).abs().max() < 1e-6
    assert kernels.std() == pytest.approx(432**-0.5, rel=0.05)
    assert draw_last((10, 400), np.random.default_rng(0)).std() == pytest.approx(0.05, rel=0.05)


def test_spread():
    values = spread(0.3, 7, 20_000, np.random.default_rng(0))
    assert values.mean() == pytest.approx(0.3) and values.min() >= 0 and values.max() <= 1
    assert values.std() == pytest.approx((0.21 / 8) ** 0.5, rel=0.05)
    for mean, concentration, match in (
        (0, 7, "mean density"),
        (1, 7, "mean density"),
        (0.5, 0, "concentration"),
    ):
        with pytest.raises(ValueError, match=match):
            spread(mean, concentration, 3, np.random.default_rng(0))
