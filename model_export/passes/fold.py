"""Compile-time pass: a conv on an image of few channels becomes one on many.

Channels are dealt to clusters, so a first layer on 3 channels would keep 3 clusters busy, and take
a word for every kernel position. With windows of by x bx pixels folded into channels, by kernel
rows and bx kernel columns become one; the host folds inputs as it writes them. Two cases have
names:

*space-to-depth*
    Windows are the stride wide and do not overlap, so the input stays as large as it was::

        12x12, stride 4, on 3x224x224             = 3x3, stride 1, on 48x56x56
        11x11, stride 4, padding 2, on 3x224x224  = 3x3, stride 1, on 48x57x57

*unfolding* ("im2col")
    Windows are the kernel wide, a stride apart, so a pixel stands in several of them::

        3x3, padding 1, on 3x32x32 = 1x1 on 27x32x32
        5x5 on 1x28x28             = 1x1 on 25x24x24

Between them a window may be any multiple of the stride, each way; the kernel then has a dilation.
Kernels are filled up with zero trits to whole windows. Padding is baked into the folded input as
far as it fits.
"""

import dataclasses
import itertools
import math

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.network import ColumnGroup, Fold, Layer, Network, Tensor

__all__ = ["MOST_CHANNELS", "fold_candidates", "fold_input", "input_readers", "space_to_depth"]

#: Inputs of more channels are left alone: they fill the clusters' words by themselves.
MOST_CHANNELS = 64
#: Channels of a folded input, at most.
_MOST_FOLDED = 4096


def input_readers(network: Network) -> list[tuple[Layer, ColumnGroup]]:
    """Column groups that read the input, each with its layer."""
    return [
        (layer, group)
        for layer in network.layers
        for group in layer.groups
        if group.source == network.input
    ]


def fold_candidates(network: Network) -> list[Fold]:
    """Ways to fold the network's input, those of the fewest channels first; none where folding
    does not apply.

    It applies where the input has at most :data:`MOST_CHANNELS` channels and all column groups
    that read it have kernels at least as large as their common stride, no dilation, windows that
    follow a stride, and trits of their own at every kernel position.
    """
    tensor = network.tensors[network.input]
    readers = input_readers(network)
    if (
        tensor.fold is not None
        or tensor.channels > MOST_CHANNELS
        or not readers
        or any(
            group.shared or group.dilation != (1, 1) or group.windows != (None, None)
            for _, group in readers
        )
    ):
        return []
    found = [
        _fold(tensor, readers, axes)
        for axes in itertools.product(_axes(readers, 0), _axes(readers, 1))
        if 1 < axes[0].block * axes[1].block <= _MOST_FOLDED // tensor.channels
    ]
    return sorted(found, key=lambda fold: (fold.folded_shape[0], fold.block))


def space_to_depth(network: Network) -> Fold | None:
    """The largest fold whose windows do not overlap; None where there is none."""
    found = [fold for fold in fold_candidates(network) if fold.step is None]
    return found[-1] if found else None


def fold_input(network: Network, fold: Fold) -> Network:
    """The network on a folded input.

    Precondition: ``fold`` is one of :func:`fold_candidates`. The network is not changed. Every
    result and every other tensor keeps its integers.
    """
    channels, height, width = fold.folded_shape
    tensor = dataclasses.replace(
        network.tensors[network.input], channels=channels, height=height, width=width, fold=fold
    )
    layers = [_folded_layer(layer, network.input, fold) for layer in network.layers]
    return dataclasses.replace(
        network, tensors={**network.tensors, network.input: tensor}, layers=layers
    )


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Windows along an axis: pixels of one, pixels between two, padding before the first."""

    block: int
    step: int
    front: int

    def kernel(self, kernel: int, padding: int) -> tuple[int, int, int]:
        """(zeros before a kernel, rows of the folded one, windows of padding).

        Kernel row k meets source row ``o*stride - padding + k`` for output row o. With the zeros
        in front it is row ``k' * block + j`` of the kernel, where k' is the folded row, and j the
        channels that hold row j of their windows.
        """
        zeros = (self.front - padding) % self.step
        before = (padding + zeros - self.front) // self.step
        return zeros, -(-(kernel + zeros) // self.block), before

    def dilation(self, taps: int) -> int:
        """Windows from one row of a folded kernel to the next."""
        return self.block // self.step if taps > 1 else 1


def _axes(readers: list[tuple[Layer, ColumnGroup]], axis: int) -> list[_Axis]:
    """Windows to choose from along an axis: single pixels, multiples of the common stride, the
    whole kernel. Each with the padding that leaves the fewest kernel rows."""
    kernels = [(group.kernel[axis], group.padding[axis]) for _, group in readers]
    smallest, largest = min(kernels)[0], max(kernels)[0]
    # where a layer has one output pixel, any stride is the same
    step = math.gcd(
        *(group.stride[axis] for layer, group in readers if (layer.height, layer.width)[axis] > 1)
    )
    step = step or smallest
    windows = {(1, 1)}
    if step <= smallest:
        windows |= {(block, step) for block in (*range(step, largest, step), largest)}

    def taps(one: _Axis) -> list[int]:
        return [one.kernel(*kernel)[1] for kernel in kernels]

    def is_whole(one: _Axis) -> bool:
        """Whether no window before the first one would hold pixels, and kernels dilate evenly."""
        before = max(one.kernel(*kernel)[2] for kernel in kernels)
        return (before <= 0 or one.front + one.step >= one.block) and (
            max(taps(one)) == 1 or one.block % one.step == 0
        )

    found = []
    for block, width in sorted(windows):
        fronts = [one for one in (_Axis(block, width, n) for n in range(block)) if is_whole(one)]
        if fronts:
            found.append(min(fronts, key=lambda one: (sum(taps(one)), one.front)))
    return found


def _fold(
    tensor: Tensor, readers: list[tuple[Layer, ColumnGroup]], axes: tuple[_Axis, _Axis]
) -> Fold:
    """The fold of windows along both axes, with as many of them as its readers meet."""
    block, step, front = (
        (getattr(axes[0], name), getattr(axes[1], name)) for name in ("block", "step", "front")
    )
    fold = Fold(*tensor.shape, block, front, None if step == block else step)
    size = []
    for axis, own in enumerate(axes):
        needed = 0
        for layer, group in readers:
            _, taps, padding = own.kernel(group.kernel[axis], group.padding[axis])
            last = ((layer.height, layer.width)[axis] - 1) * (group.stride[axis] // own.step)
            needed = max(needed, last - padding + (taps - 1) * own.dilation(taps) + 1)
        most = -(-(tensor.shape[1 + axis] + own.front) // own.step)
        size.append(max(fold.folded_shape[1 + axis], min(needed, most)))
    whole = (size[0], size[1])
    return fold if whole == fold.folded_shape[1:] else dataclasses.replace(fold, size=whole)


def _folded_layer(layer: Layer, source: str, fold: Fold) -> Layer:
    groups = [
        _folded_group(group, fold) if group.source == source else group for group in layer.groups
    ]
    if all(group.source != source for group in groups):
        return layer
    return dataclasses.replace(layer, groups=groups)


def _folded_group(group: ColumnGroup, fold: Fold) -> ColumnGroup:
    by, bx = fold.block
    y, x = (
        _Axis(block, step, front)
        for block, step, front in zip(fold.block, fold.steps, fold.padding, strict=True)
    )
    zeros_y, taps_y, padding_y = y.kernel(group.kernel[0], group.padding[0])
    zeros_x, taps_x, padding_x = x.kernel(group.kernel[1], group.padding[1])
    rows, channels = group.trits.shape[:2]
    whole: NDArray[np.int8] = np.zeros((rows, channels, taps_y * by, taps_x * bx), np.int8)
    whole[:, :, zeros_y : zeros_y + group.kernel[0], zeros_x : zeros_x + group.kernel[1]] = (
        group.trits
    )
    trits = Fold(channels, taps_y * by, taps_x * bx, fold.block).apply(whole)
    start, stop = group.channels
    return dataclasses.replace(
        group,
        channels=(start * by * bx, stop * by * bx),
        trits=trits,
        kernel=(taps_y, taps_x),
        stride=(max(1, group.stride[0] // y.step), max(1, group.stride[1] // x.step)),
        padding=(padding_y, padding_x),
        dilation=(y.dilation(taps_y), x.dilation(taps_x)),
    )
