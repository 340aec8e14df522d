"""Fourth pass: a strided conv on an image becomes a conv of stride 1 on many channels.

Channels are dealt to clusters, so a first layer on 3 channels would keep 3 clusters busy. With
blocks of s x s pixels folded into channels (space-to-depth, s the stride), kernel row k = s*ky + j
of the conv is row ky of a conv of stride 1 on the channels that hold row j of their blocks::

    12x12, stride 4, on 3x224x224             = 3x3, stride 1, on 48x56x56
    11x11, stride 4, padding 2, on 3x224x224  = 3x3, stride 1, on 48x57x57

Kernels are filled up with zero trits to whole blocks. The part of the padding that is no multiple
of s is baked into the folded input as zeros; the host folds inputs as it writes them.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.network import ColumnGroup, Fold, Layer, Network

__all__ = ["MOST_CHANNELS", "fold_input"]

#: Inputs of more channels are left alone. Filling kernels up to whole blocks costs broadcasts (3x3
#: stride 2: 16 positions for 9), which 8 or more clusters repay up to this many channels.
MOST_CHANNELS = 4


def fold_input(network: Network) -> Network:
    """Fold the network's input, where all that read it are strided convs on few channels.

    Precondition: any network; it is not changed, and returned as it is where folding does not
    apply. Every result and every other tensor keeps its integers.

    The input is folded if it has at most :data:`MOST_CHANNELS` channels and all column groups that
    read it have one stride (not 1x1), kernels at least as large, and no dilation. In a dimension
    in which a layer has one output pixel any stride is the same: a linear layer on an image becomes
    one of 1x1. The rule depends on the network alone, so that it can be recompiled for any
    configuration.
    """
    tensor = network.tensors[network.input]
    readers = [
        (layer, group)
        for layer in network.layers
        for group in layer.groups
        if group.source == network.input
    ]
    block = _block(readers)
    if tensor.fold is not None or block is None or tensor.channels > MOST_CHANNELS:
        return network
    padding = (
        _front([group for _, group in readers], 0, block[0]),
        _front([group for _, group in readers], 1, block[1]),
    )
    fold = Fold(tensor.channels, tensor.height, tensor.width, block, padding)
    channels, height, width = fold.folded_shape
    folded = dataclasses.replace(tensor, channels=channels, height=height, width=width, fold=fold)
    layers = [_folded_layer(layer, network.input, fold) for layer in network.layers]
    return dataclasses.replace(
        network, tensors={**network.tensors, network.input: folded}, layers=layers
    )


def _block(readers: list[tuple[Layer, ColumnGroup]]) -> tuple[int, int] | None:
    """The stride that all readers share, if they can be folded by it."""
    if not readers or any(
        group.shared or group.dilation != (1, 1) or group.windows != (None, None)
        for _, group in readers
    ):
        return None
    block = []
    for axis in (0, 1):
        smallest = min(group.kernel[axis] for _, group in readers)
        strides = {
            group.stride[axis] for layer, group in readers if (layer.height, layer.width)[axis] > 1
        } or {smallest}
        if len(strides) > 1 or max(strides) > smallest:
            return None
        block.append(strides.pop())
    return None if block == [1, 1] else (block[0], block[1])


def _front(groups: list[ColumnGroup], axis: int, block: int) -> int:
    """Padding to bake in before the first block: that with which kernels take fewest blocks."""

    def blocks(front: int) -> int:
        return sum(_folded_axis(group, axis, block, front)[1] for group in groups)

    return min(range(block), key=lambda front: (blocks(front), front))


def _folded_axis(group: ColumnGroup, axis: int, block: int, front: int) -> tuple[int, int, int]:
    """(zeros before the kernel, blocks of the kernel, blocks of padding).

    Kernel row k meets source row ``o*block - padding + k`` for output row o, which is row
    ``o*block + (front - padding) + k`` of the padded source; ``zeros`` makes the middle a multiple
    of ``block``.
    """
    kernel, padding = group.kernel[axis], group.padding[axis]
    zeros = (front - padding) % block
    return zeros, -(-(kernel + zeros) // block), (padding + zeros - front) // block


def _folded_layer(layer: Layer, source: str, fold: Fold) -> Layer:
    groups = [
        _folded_group(group, fold) if group.source == source else group for group in layer.groups
    ]
    if all(group.source != source for group in groups):
        return layer
    first = next(group for group in groups if group.source == source)
    by, bx = fold.block
    note = (
        f"computed as {first.kernel[0]}x{first.kernel[1]} on "
        f"{fold.channels * by * bx} channels, blocks of {by}x{bx} pixels folded into channels"
    )
    return dataclasses.replace(
        layer, groups=groups, note=f"{layer.note}; {note}" if layer.note else note
    )


def _folded_group(group: ColumnGroup, fold: Fold) -> ColumnGroup:
    (by, bx), (top, left) = fold.block, fold.padding
    zeros_y, blocks_y, padding_y = _folded_axis(group, 0, by, top)
    zeros_x, blocks_x, padding_x = _folded_axis(group, 1, bx, left)
    rows, channels = group.trits.shape[:2]
    whole: NDArray[np.int8] = np.zeros((rows, channels, blocks_y * by, blocks_x * bx), np.int8)
    whole[:, :, zeros_y : zeros_y + group.kernel[0], zeros_x : zeros_x + group.kernel[1]] = (
        group.trits
    )
    trits = Fold(channels, blocks_y * by, blocks_x * bx, fold.block).apply(whole)
    start, stop = group.channels
    return dataclasses.replace(
        group,
        channels=(start * by * bx, stop * by * bx),
        trits=trits,
        kernel=(blocks_y, blocks_x),
        stride=(1, 1),
        padding=(padding_y, padding_x),
    )
