"""Compile-time pass: blocks of output pixels as rows, for layers of few rows.

A layer of 16 rows uses 16 of an array's 128 accumulators. With blocks of by x bx output pixels its
rows become (row, j, i): the array computes a whole block at a time, from one job and one reading
of the input::

    3x3 on 16 rows, blocks of 2x2 = 4x4 at stride 2 on 64 rows: 16 words for 4 pixels, not 36
    1x1 on 16 rows, blocks of 2x2 = 2x2 at stride 2 on 64 rows: 1 job for 4 pixels, not 4

Kernels are filled up with zero trits, which take trit memory and no time. Of a max-pool that rides
along, a block has whole windows; all rows that feed a pooled pixel but the first are merged.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.network import (
    Blocks,
    ColumnGroup,
    Layer,
    Network,
    Requantization,
    Window,
)

__all__ = ["allows_blocks", "blocks_of", "in_blocks", "layer_in_blocks"]

_Number = TypeVar("_Number", np.int64, np.float64)


def allows_blocks(layer: Layer, block: tuple[int, int], *, pooled: bool = False) -> bool:
    """Whether a layer can compute blocks of so many pixels: it is not the last, it has as many
    each way, and kernels follow a stride. A max-pool must have windows that neither overlap nor
    leave gaps, of which a block has whole ones; ``pooled``: whether it may have one. Where a layer
    adds to a tensor, each pixel must be in one block."""
    kernel = _pool_kernel(layer)
    return (
        not layer.final
        and layer.blocks is None
        and kernel is not None
        and (layer.pool is None or pooled)
        and all(
            size % own == 0 and size <= own * count
            for size, own, count in zip(block, kernel, layer.output_shape[1:], strict=True)
        )
        and (layer.addend is None or not (layer.height % block[0] or layer.width % block[1]))
        and all(group.windows == (None, None) for group in layer.groups)
    )


def blocks_of(layer: Layer, block: tuple[int, int]) -> Blocks:
    """The blocks of so many pixels that a layer computes; :func:`allows_blocks` says which."""
    kernel = _pool_kernel(layer)
    assert kernel is not None
    return Blocks(block, *layer.output_shape[1:], kernel)


def _pool_kernel(layer: Layer) -> tuple[int, int] | None:
    """Kernel of a layer's max-pool, 1x1 if it has none; None where its windows overlap, leave gaps
    or reach beyond the layer."""
    pool = layer.pool
    if pool is None:
        return 1, 1
    apart = pool.stride == pool.kernel and pool.padding == (0, 0)
    inside = all(
        count * kernel <= size
        for count, kernel, size in zip(
            (pool.height, pool.width), pool.kernel, (layer.height, layer.width), strict=True
        )
    )
    return pool.kernel if apart and inside else None


def in_blocks(network: Network, blocks: Mapping[str, tuple[int, int]]) -> Network:
    """The network with some layers in blocks of so many output pixels, by name.

    Precondition: :func:`allows_blocks`. The network is not changed. Every tensor keeps its
    integers.
    """
    layers = [
        layer_in_blocks(layer, blocks[layer.name]) if layer.name in blocks else layer
        for layer in network.layers
    ]
    return dataclasses.replace(network, layers=layers)


def layer_in_blocks(layer: Layer, block: tuple[int, int]) -> Layer:
    """A layer that computes blocks of output pixels; as it is where a block is one pixel."""
    if block == (1, 1):
        return layer
    blocks = blocks_of(layer, block)

    def each(values: NDArray[_Number]) -> NDArray[_Number]:
        return np.repeat(values, blocks.pixels)

    rule = layer.requantization
    return dataclasses.replace(
        layer,
        rows=layer.rows * blocks.pixels,
        height=blocks.count(0),
        width=blocks.count(1),
        groups=[_group(group, blocks) for group in layer.groups],
        gain=each(layer.gain),
        offset=each(layer.offset),
        accumulator_low=each(layer.accumulator_low),
        accumulator_high=each(layer.accumulator_high),
        requantization=None
        if rule is None
        else Requantization(
            each(rule.multiplier),
            each(rule.bias),
            each(rule.shift),
            rule.low,
            rule.high,
            rule.table,
        ),
        pool=None,
        blocks=blocks,
    )


@dataclasses.dataclass(frozen=True)
class _Axis:
    """What becomes of a kernel along one axis: rows of the new one, between which ``dilation``
    source rows lie, and those of them that output row j of a block reads, for every j."""

    kernel: int
    dilation: int
    rows: tuple[range, ...]


def _axis(kernel: int, stride: int, dilation: int, block: int) -> _Axis:
    # output row j of a block reads source rows j*stride + k*dilation
    step = math.gcd(stride if block > 1 else 0, dilation if kernel > 1 else 0) or 1
    reach = (kernel - 1) * dilation // step
    rows = tuple(
        range(j * stride // step, j * stride // step + reach + 1, max(1, dilation // step))
        for j in range(block)
    )
    return _Axis(rows[-1][-1] + 1, step, rows)


def _group(group: ColumnGroup, blocks: Blocks) -> ColumnGroup:
    axes = [
        _axis(kernel, stride, dilation, block)
        for kernel, stride, dilation, block in zip(
            group.kernel, group.stride, group.dilation, blocks.block, strict=True
        )
    ]
    rows, channels = group.trits.shape[:2]
    by, bx = blocks.block
    trits = np.zeros((rows, by, bx, channels, axes[0].kernel, axes[1].kernel), group.trits.dtype)
    for j, ys in enumerate(axes[0].rows):
        for i, xs in enumerate(axes[1].rows):
            # trits of one position that all share are those of every position
            trits[:, j, i, :, ys.start : ys.stop : ys.step, xs.start : xs.stop : xs.step] = (
                group.trits
            )
    windows: list[Window | None] = []
    for axis, divides in enumerate(blocks.divide):
        if divides:
            windows.append(None)
            continue
        first = blocks.origin(axis) * group.stride[axis] - group.padding[axis]
        count = len(first)
        windows.append(Window(tuple(first.tolist()), (0,) * count, (axes[axis].kernel,) * count))
    return dataclasses.replace(
        group,
        rows=(group.rows[0] * blocks.pixels, group.rows[1] * blocks.pixels),
        trits=trits.reshape(rows * by * bx, channels, axes[0].kernel, axes[1].kernel),
        kernel=(axes[0].kernel, axes[1].kernel),
        stride=(group.stride[0] * by, group.stride[1] * bx),
        dilation=(axes[0].dilation, axes[1].dilation),
        windows=(windows[0], windows[1]),
        shared=False,
    )
