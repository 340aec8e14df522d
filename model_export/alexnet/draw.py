"""Weights for a network that nobody trained: ternary ones of a given density, and others.

Densities vary from row to row and from input channel to input channel as they do in a trained
network, which decides how evenly rows can be dealt to processing elements and channels to
clusters.
"""

import math

import numpy as np
import torch
from torch import Tensor

from tritforge.model_export.alexnet.densities import spread

__all__ = [
    "CHANNEL_CONCENTRATION",
    "ROW_CONCENTRATION",
    "draw_filters",
    "draw_last",
    "draw_ternary",
]

#: Concentration of the beta distributions (variance = d * (1 - d) / (concentration + 1)) of the
#: densities of rows and of input channels: medians over the 24 ternary layers of a SqueezeNet
#: trained with TTQ (TropComplique/trained-ternary-quantization, MIT), binomial noise deducted.
ROW_CONCENTRATION = 95.0
CHANNEL_CONCENTRATION = 39.0
#: Weights drawn at a time; limits memory.
_BLOCK = 1 << 20


def draw_ternary(
    shape: tuple[int, ...],
    *,
    density: float,
    wp: float,
    wn: float,
    rng: np.random.Generator,
    groups: int = 1,
    positions: int = 1,
) -> Tensor:
    """Weights +wp, 0 or -wn, float32, of a conv or linear layer.

    A weight is nonzero with probability ``density`` times a factor of its row times a factor of
    its input channel, both from beta distributions with mean 1. Of the nonzero ones the share
    ``wn / (wp + wn)`` is positive, so that a row adds up to about zero: an assumption, since the
    authors' log does not give the share.

    Parameters
    ----------
    shape : (rows, channels, kernel height, kernel width) or (rows, features)
    density
        Share of nonzero weights.
    wp, wn
        Positive.
    groups
        Of a conv: each has its own input channels.
    positions
        Of a linear layer after a flatten: pixels per channel.
    """
    rows, channels = shape[0], shape[1] // positions
    inner = positions * math.prod(shape[2:])
    of_rows = torch.from_numpy(spread(density, ROW_CONCENTRATION, rows, rng)).float()
    of_channels = torch.from_numpy(
        spread(density, CHANNEL_CONCENTRATION, groups * channels, rng) / density
    ).float()
    of_channels = of_channels.reshape(groups, channels, 1)
    positive = wn / (wp + wn)
    plus, minus, zero = torch.tensor(wp), torch.tensor(-wn), torch.tensor(0.0)
    weights = torch.empty(rows, channels, inner)
    step = max(1, _BLOCK // (channels * inner))
    for group in range(groups):
        last = (group + 1) * rows // groups
        for n in range(group * rows // groups, last, step):
            some = slice(n, min(n + step, last))
            share = (of_rows[some, None, None] * of_channels[group]).clamp_(max=1)
            chance = torch.from_numpy(rng.random(weights[some].shape, np.float32))
            torch.where(
                chance < share * positive,
                plus,
                torch.where(chance >= 1 - share * (1 - positive), minus, zero),
                out=weights[some],
            )
    return weights.reshape(shape)


def draw_filters(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Normally distributed kernels (rows, channels, height, width), float32, each of mean zero.

    Without the mean a first layer answers to edges and texture rather than to brightness, as
    trained ones do. The standard deviation is 1 / sqrt(weights per row).
    """
    kernels = rng.standard_normal(shape, np.float32)
    kernels -= kernels.mean(axis=(2, 3), keepdims=True)
    kernels /= math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(kernels)


def draw_last(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Normally distributed weights (rows, features), float32, of deviation 1 / sqrt(features)."""
    weights = rng.standard_normal(shape, np.float32)
    weights /= math.sqrt(shape[1])
    return torch.from_numpy(weights)
