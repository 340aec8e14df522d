"""Networks of one conv with random trits, for what depends on its shape alone."""

import numpy as np

from tritforge.model_export.network import (
    ColumnGroup,
    Layer,
    Network,
    Pool,
    Requantization,
    Tensor,
)
from tritforge.model_export.passes.quantize import partial_bounds

__all__ = ["conv_network", "sparse_codes"]


def conv_network(
    rng, shape, rows, kernel, density, *, stride=1, padding=None, pool=None, planes=1
) -> Network:
    """A conv (rows; ``kernel`` x ``kernel``) on ``shape``, and a last layer that reads one pixel.

    ``pool`` is kernel and stride of a max-pool, ``density`` that of each of ``planes`` groups."""
    channels, height, width = shape
    padding = kernel // 2 if padding is None else padding
    out_height, out_width = (
        (size + 2 * padding - kernel) // stride + 1 for size in (height, width)
    )
    groups = [
        ColumnGroup(
            "input",
            (0, channels),
            (0, rows),
            np.where(
                rng.random((rows, channels, kernel, kernel)) < density,
                rng.choice(np.array([-1, 1], np.int8), (rows, channels, kernel, kernel)),
                np.int8(0),
            ),
            (kernel, kernel),
            1.0,
            1.0,
            (stride, stride),
            (padding, padding),
            coefficient_plus=plane + 1,
            coefficient_minus=plane + 1,
        )
        for plane in range(planes)
    ]
    made = None
    if pool is not None:
        size, step = pool
        made = Pool(
            (size, size),
            (step, step),
            (0, 0),
            (out_height - size) // step + 1,
            (out_width - size) // step + 1,
        )
    network = Network("thin", "input", {"input": Tensor("input", *shape, 1.0)}, [])
    _add(
        network,
        Layer(
            "conv",
            "conv",
            "hidden",
            rows,
            out_height,
            out_width,
            groups,
            np.ones(rows),
            np.zeros(rows),
            pool=made,
        ),
    )
    ones = np.ones((1, rows, 1, 1), np.int8)
    last = ColumnGroup(
        "hidden", (0, rows), (0, 1), ones, (1, 1), 1.0, 1.0, coefficient_plus=1, coefficient_minus=1
    )
    _add(
        network,
        Layer("last", "linear", "results", 1, 1, 1, [last], np.ones(1), np.zeros(1), final=True),
    )
    return network


def _add(network, layer):
    layer.accumulator_low, layer.accumulator_high = partial_bounds(network, layer)
    rows = layer.rows
    layer.requantization = Requantization(
        np.ones(rows, np.int64),
        np.full(rows, 0 if layer.final else 8),
        np.full(rows, 0 if layer.final else 4),
        -(1 << 31) if layer.final else 0,
        (1 << 31) - 1 if layer.final else 255,
    )
    network.layers.append(layer)
    height, width = (
        (layer.height, layer.width) if layer.pool is None else (layer.pool.height, layer.pool.width)
    )
    network.tensors[layer.output] = Tensor(layer.output, rows, height, width, 1.0)


def sparse_codes(rng, network, density):
    """Codes of the input, and the densities of its channels, drawn around ``density``."""
    shape = network.tensors["input"].shape
    channels = np.clip(rng.normal(density, 0.1, shape[0]), 0.05, 1)
    there = rng.random(shape) < channels[:, None, None]
    return np.where(there, rng.integers(1, 256, shape), 0), channels
