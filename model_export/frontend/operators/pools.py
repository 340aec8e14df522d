"""Pools, means, sums and maxima, and what may stand at a network's end."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.frontend.elements import Elements
from tritforge.model_export.frontend.graph import (
    Copy,
    MaxPool,
    Node,
    Reduction,
    Tail,
    Value,
    each_once,
)
from tritforge.model_export.frontend.layouts import pair_of
from tritforge.model_export.frontend.operators.arithmetic import add_up, largest
from tritforge.model_export.frontend.operators.rows import by_rows, sample_axis
from tritforge.model_export.frontend.recorder import Handler, Recorder
from tritforge.model_export.network import Pool

__all__ = ["POOLS", "as_computed"]

#: Terms of a sum over an axis that is neither channels, rows nor columns.
_MOST_TERMS = 64


def _image(recorder: Recorder, x: Elements) -> Elements:
    """One sample of (batch, channels, height, width)."""
    one = recorder.one_sample(x)
    if len(one.shape) != 3:
        raise recorder.refuse(f"it takes (N, C, H, W), its input is {tuple(x.shape)}")
    return one


def _pooled(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Windows along one axis; with ceil_mode the last must start inside the input or its left
    padding (PyTorch's rule)."""
    span = size + 2 * padding - kernel
    out = (-(-span // stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    return out


@dataclass(frozen=True)
class _Windows:
    """Along one axis: first row (column) of every window, their number, and a factor."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    scale: NDArray[np.float64]


# ----- maxima


def _max_pool(
    recorder: Recorder,
    x: Elements,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Elements, None]:
    if pair_of(dilation) != (1, 1):
        raise recorder.unsupported("a max-pool with dilation")
    kernel, before = pair_of(kernel_size), pair_of(padding)
    step = pair_of(stride) if stride not in ((), [], None) else kernel
    one = _image(recorder, x)
    height, width = (
        _pooled(size, k, s, p, ceil_mode)
        for size, k, s, p in zip(one.shape[1:], kernel, step, before, strict=True)
    )
    if height < 1 or width < 1:
        raise recorder.refuse(
            f"a {kernel[0]} x {kernel[1]} window does not fit an input of {one.shape[1]} x "
            f"{one.shape[2]} pixels"
        )
    return _pool_parts(recorder, one, Pool(kernel, step, before, height, width)), None


def _pool_parts(recorder: Recorder, one: Elements, pool: Pool) -> Elements:
    """A max-pool of one sample's image: whole nodes that it consists of are pooled one by one, so
    that each can be pooled where it is computed."""
    value = recorder.image(one)
    whole = all(
        piece.whole
        and len(piece.channels) == piece.node.shape[0]
        and np.array_equal(piece.channels, np.arange(len(piece.channels)))
        for piece in value.pieces
    ) and len({piece.node.index for piece in value.pieces}) == len(value.pieces)
    covered = sum(len(piece.rows) for piece in value.pieces) == value.shape[0]
    shape = (pool.height, pool.width)
    if not (whole and covered):
        return recorder.add(_max_node(recorder, value, pool))
    parts: list[Elements | None] = [None] * value.shape[0]
    for piece in value.pieces:
        count = len(piece.rows)
        part = Value(
            (count, *value.shape[1:]),
            (dataclasses.replace(piece, rows=np.arange(count)),),
            np.zeros(count),
        )
        found = recorder.add(_max_node(recorder, part, pool))
        for number, row in enumerate(piece.rows):
            parts[row] = found.moved(itemgetter((slice(None), slice(number, number + 1))))
    joined = Elements.joined([part for part in parts if part is not None], _cat)
    return joined.reshaped(recorder.batch, value.shape[0], *shape)


def _cat(arrays: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(arrays, dim=1)


def _max_node(recorder: Recorder, value: Value, pool: Pool) -> MaxPool:
    shape = (value.shape[0], pool.height, pool.width)
    return MaxPool(recorder.layer_name("pool"), recorder.place(), shape, value=value, pool=pool)


def _adaptive(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row (column) and count of the windows of PyTorch's adaptive pools."""
    first = np.arange(out) * size // out
    return first, -(-(np.arange(1, out + 1) * size) // out) - first


def _adaptive_max_pool(
    recorder: Recorder, x: Elements, output_size: Sequence[int]
) -> tuple[Elements, None]:
    one = _image(recorder, x)
    windows = [
        _adaptive(size, out) for size, out in zip(one.shape[1:], pair_of(output_size), strict=True)
    ]
    if all((count == 1).all() for _, count in windows):
        rows, columns = (torch.from_numpy(first) for first, _ in windows)
        return x.moved(lambda values: values[:, :, rows][:, :, :, columns]), None
    if any(
        (count != count[0]).any() or (np.diff(first) != count[0]).any() for first, count in windows
    ):
        raise recorder.unsupported(
            f"an adaptive max-pool from {tuple(one.shape[1:])} to {pair_of(output_size)} pixels, "
            "whose windows differ in size or overlap,",
            "use max_pool2d with a kernel and a stride",
        )
    kernel = (int(windows[0][1][0]), int(windows[1][1][0]))
    found, _ = _max_pool(recorder, x, kernel)
    return found, None


def _amax(recorder: Recorder, x: Elements, dim: Any = (), keepdim: bool = False) -> Any:
    return _reduced(recorder, x, _axes(x, dim), keepdim, _maxima)


def _maxima(
    recorder: Recorder, x: Elements, axes: tuple[int, ...], shape: tuple[int, ...]
) -> Elements:
    """Maxima over axes of (batch, ..), none of which counts samples, as a tensor of ``shape``."""
    one = recorder.one_sample(x)
    inner = tuple(axis - 1 for axis in axes)
    found = as_computed(recorder, one, inner)
    if found is None:
        value, layout = recorder.laid_out(one)
        if value is None:
            return _largest_of_few(recorder, x, axes).reshaped(*shape)
        elements, spatial = one.reshaped(*value.shape), {layout[axis] for axis in inner}
        order = torch.arange(one.source.numel() // math.prod(one.shape[axis] for axis in inner))
        channels = 0 not in spatial
    else:
        elements, classes, spatial, order = found
        channels = len(np.unique(classes)) == len(classes)
    if not channels:
        return _largest_of_few(recorder, x, axes).reshaped(*shape)
    _, height, width = elements.shape
    kernel = (height if 1 in spatial else 1, width if 2 in spatial else 1)
    pool = Pool(kernel, kernel, (0, 0), height // kernel[0], width // kernel[1])
    pooled = _pool_parts(recorder, elements, pool)
    return pooled.each_picked(order).reshaped(*shape)


def _largest_of_few(recorder: Recorder, x: Elements, axes: tuple[int, ...]) -> Elements:
    terms = _terms(x, axes)
    if terms is None:
        raise recorder.unsupported(
            f"a maximum over more than {_MOST_TERMS} channels",
            "over rows and columns it is",
        )
    return largest(recorder, terms)


def _terms(x: Elements, axes: tuple[int, ...]) -> list[Elements] | None:
    """What a reduction over axes of (batch, ..) reduces, one tensor for each; None if too many."""
    count = math.prod(x.shape[axis] for axis in axes)
    if count > _MOST_TERMS:
        return None
    kept = [axis for axis in range(1, len(x.shape)) if axis not in axes]
    sizes = [x.shape[axis] for axis in kept] or [1]
    moved = x.moved(
        lambda values: values.permute(0, *axes, *kept).reshape(len(values), count, *sizes)
    )
    return [moved.selected(1, n) for n in range(count)]


def _amin(recorder: Recorder, x: Elements, dim: Any = (), keepdim: bool = False) -> Any:
    found = _amax(recorder, x.affine(-1.0), dim, keepdim)
    return None if found is None else found.affine(-1.0)


def _max(
    recorder: Recorder, x: Elements, dim: Any = None, keepdim: bool = False
) -> tuple[Any, None]:
    return _amax(recorder, x, dim, keepdim), None


def _min(
    recorder: Recorder, x: Elements, dim: Any = None, keepdim: bool = False
) -> tuple[Any, None]:
    return _amin(recorder, x, dim, keepdim), None


# ----- sums


def _axes(x: Elements, dim: Any) -> tuple[int, ...]:
    rank = len(x.shape)
    dims = dim if isinstance(dim, tuple | list) else () if dim is None else (dim,)
    return tuple(sorted({int(axis) % rank for axis in dims} or range(rank)))


def _reduced_shape(shape: tuple[int, ...], axes: Sequence[int], keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _sum(
    recorder: Recorder, x: Elements, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Elements | None:
    return _reduce(recorder, x, _axes(x, dim), keepdim, 1.0)


def _mean(
    recorder: Recorder, x: Elements, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Elements | None:
    axes = _axes(x, dim)
    count = math.prod(x.shape[axis] for axis in axes)
    return _reduce(recorder, x, axes, keepdim, 1.0 / count)


def _reduced(
    recorder: Recorder,
    x: Elements,
    axes: tuple[int, ...],
    keepdim: bool,
    reduce: Callable[[Recorder, Elements, tuple[int, ...], tuple[int, ...]], Elements],
) -> Elements | None:
    """``reduce(recorder, x, axes, shape)`` with samples in front; None over the samples."""
    first = sample_axis(recorder, x)
    if first in axes:
        if recorder.batch > 1:
            return None
        rest = tuple(axis for axis in axes if axis != first)
        found = _reduced(recorder, x, rest, True, reduce)
        assert found is not None
        return found.reshaped(*_reduced_shape(x.shape, axes, keepdim))
    if not axes:
        return x
    if first:
        moved = x.moved(lambda values: values.movedim(first, 0))
        now = tuple(sorted(axis + 1 if axis < first else axis for axis in axes))
        found = reduce(recorder, moved, now, _reduced_shape(moved.shape, now, True))
        found = found.moved(lambda values: values.movedim(0, first))
        return found.reshaped(*_reduced_shape(x.shape, axes, keepdim))

    def of_rows(recorder: Recorder, x: Elements) -> Elements:
        return reduce(recorder, x, axes, _reduced_shape(x.shape, axes, keepdim))

    result: Elements = by_rows(of_rows)(recorder, x)
    return result


def _reduce(
    recorder: Recorder, x: Elements, axes: tuple[int, ...], keepdim: bool, scale: float
) -> Elements | None:
    def reduce(
        recorder: Recorder, x: Elements, axes: tuple[int, ...], shape: tuple[int, ...]
    ) -> Elements:
        return _sums(recorder, x, axes, shape, scale)

    return _reduced(recorder, x, axes, keepdim, reduce)


def _sums(
    recorder: Recorder,
    x: Elements,
    axes: tuple[int, ...],
    shape: tuple[int, ...],
    scale: float,
) -> Elements:
    """Sums times ``scale`` over axes of (batch, ..), none of which counts samples."""
    one = recorder.one_sample(x)
    inner = tuple(axis - 1 for axis in axes)
    node = _reduction_as_computed(recorder, one, inner, scale)
    if node is None:
        node = _reduction_as_shaped(recorder, one, inner, scale)
    if node is not None:
        found, order = node
        return recorder.add(found).each_picked(order).reshaped(*shape)
    terms = _terms(x, axes)
    if terms is None:
        raise recorder.unsupported(
            f"a sum or mean of {tuple(x.shape)} over axes {axes}",
            "over channels, rows or columns it is",
        )
    return add_up(recorder, terms).affine(scale).reshaped(*shape)


def _reduction_as_shaped(
    recorder: Recorder, one: Elements, axes: tuple[int, ...], scale: float
) -> tuple[Node, torch.Tensor] | None:
    """Over axes of (channels, height, width), where the elements are in that order."""
    value, layout = recorder.laid_out(one)
    if value is None:
        return None
    reduced = {layout[axis] for axis in axes}
    count = value.shape[0]
    classes = np.zeros(count, np.int64) if 0 in reduced else np.arange(count)
    node = _reduction(recorder, value, classes, reduced - {0}, scale)
    return node, torch.arange(math.prod(node.shape))


def _reduction_as_computed(
    recorder: Recorder, one: Elements, axes: tuple[int, ...], scale: float
) -> tuple[Node, torch.Tensor] | None:
    found = as_computed(recorder, one, axes)
    if found is None:
        return None
    elements, classes, spatial, order = found
    return _reduction(recorder, recorder.image(elements), classes, spatial, scale), order


def as_computed(
    recorder: Recorder, one: Elements, axes: tuple[int, ...]
) -> tuple[Elements, NDArray[np.int64], set[int], torch.Tensor] | None:
    """What reducing ``axes`` of one sample means for the node whose elements they are.

    Returns
    -------
    elements : Elements (channels, height, width)
        In the node's own order.
    classes : int array (channels,)
        Channels of one class are reduced together.
    spatial : set of int
        Which of rows (1) and columns (2) are reduced.
    order : int array
        Where each result is, among (classes, rows, columns).

    None where the elements are not all of one node, or the axes no such parts of it.
    """
    graph = recorder.graph
    owner, place = graph.owners(one.source.reshape(-1))
    if owner.min() < 0 or (owner != owner[0]).any():
        return None
    node = graph.nodes[int(owner[0])]
    count = math.prod(node.shape)
    if not each_once(place, count):
        return None
    kept = [size if axis not in axes else 1 for axis, size in enumerate(one.shape)]
    label = np.arange(math.prod(kept), dtype=np.int64).reshape(kept)
    labels = np.empty(count, np.int64)
    labels[place] = np.broadcast_to(label, one.shape).ravel()
    grid = labels.reshape(node.shape)
    spatial = {axis for axis in (1, 2) if (grid == grid.take([0], axis)).all()}
    rest = grid[:, slice(None, 1) if 1 in spatial else slice(None)]
    rest = rest[:, :, slice(None, 1) if 2 in spatial else slice(None)]
    flat = rest.reshape(len(rest), -1)
    # channels of one class have the same labels
    _, classes = np.unique(flat[:, 0], return_inverse=True)
    firsts = [int(np.flatnonzero(classes == one)[0]) for one in range(classes.max() + 1)]
    if not (flat == flat[firsts][classes]).all() or len(np.unique(flat[firsts])) != (
        flat[firsts].size
    ):
        return None
    inverse = torch.from_numpy(np.argsort(place))
    elements = one.picked(inverse).reshaped(*node.shape)
    return elements, classes, spatial, torch.from_numpy(np.argsort(flat[firsts].ravel()))


def _reduction(
    recorder: Recorder,
    value: Value,
    classes: NDArray[np.int64],
    axes: set[int],
    scale: float,
) -> Reduction:
    """Sums over whole rows (1) or columns (2) and channels of a class, times ``scale``."""
    _, height, width = value.shape
    first: list[NDArray[np.int64]] = []
    count: list[NDArray[np.int64]] = []
    scales: list[NDArray[np.float64]] = []
    for axis, size in ((1, height), (2, width)):
        first.append(np.zeros(1, np.int64) if axis in axes else np.arange(size))
        count.append(np.array([size]) if axis in axes else np.ones(size, np.int64))
        scales.append(np.ones(len(first[-1])))
    scales[0] = scales[0] * scale
    return Reduction(
        recorder.layer_name("mean" if scale != 1 else "sum"),
        recorder.place(),
        (int(classes.max()) + 1, len(first[0]), len(first[1])),
        value=value,
        first=(first[0], first[1]),
        count=(count[0], count[1]),
        scales=(scales[0], scales[1]),
        classes=classes,
    )


# ----- average pools


def _avg_pool(
    recorder: Recorder,
    x: Elements,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Elements:
    kernel, before = pair_of(kernel_size), pair_of(padding)
    step = pair_of(stride) if stride not in ((), [], None) else kernel
    one = _image(recorder, x)
    windows = []
    for size, k, s, p in zip(one.shape[1:], kernel, step, before, strict=True):
        out = _pooled(size, k, s, p, ceil_mode)
        if out < 1:
            raise recorder.refuse(
                f"a {kernel[0]} x {kernel[1]} window does not fit an input of {one.shape[1]} x "
                f"{one.shape[2]} pixels"
            )
        start = np.arange(out) * s - p
        low, high = np.maximum(start, 0), np.minimum(start + k, size)
        divisor = np.minimum(start + k, size + p) - start if count_include_pad else high - low
        scale = np.ones(out) if divisor_override else 1.0 / divisor
        windows.append(_Windows(low, high - low, scale))
    return _average(recorder, one, windows, 1.0 / (divisor_override or 1))


def _adaptive_avg_pool(recorder: Recorder, x: Elements, output_size: Sequence[int]) -> Elements:
    image = _image(recorder, x)
    windows = []
    for size, out in zip(image.shape[1:], pair_of(output_size), strict=True):
        first, count = _adaptive(size, out)
        windows.append(_Windows(first, count, 1.0 / count))
    if all((one.count == 1).all() for one in windows):
        rows, columns = (torch.from_numpy(one.first) for one in windows)
        return x.moved(lambda values: values[:, :, rows][:, :, :, columns])
    return _average(recorder, image, windows, 1.0)


def _average(
    recorder: Recorder, one: Elements, windows: Sequence[_Windows], scale: float
) -> Elements:
    value = recorder.image(one)
    y, x = windows
    node = Reduction(
        recorder.layer_name("pool"),
        recorder.place(),
        (value.shape[0], len(y.first), len(x.first)),
        value=value,
        first=(y.first, x.first),
        count=(y.count, x.count),
        scales=(y.scale * scale, x.scale),
        classes=np.arange(value.shape[0]),
    )
    return recorder.add(node)


# ----- the end


def _ending(name: str, function: Callable[[torch.Tensor, int], torch.Tensor]) -> Handler:
    """A softmax: it must be all that the model returns, and stays with the host."""

    def handler(recorder: Recorder, x: Elements, dim: int, half: bool = False) -> Elements:
        one = recorder.one_sample(x)
        if dim % len(x.shape) == 0:
            raise recorder.refuse(f"{name} over the samples of a batch")
        value, _ = recorder.laid_out(one)
        if value is None:
            value, _ = recorder.laid_out(recorder.one_sample(recorder.settled(x)))
        if value is None:
            raise recorder.unsupported(f"{name} of activations in this order")
        layer = recorder.layer_name(name)
        node = Copy(layer, recorder.place(), value.shape, value=value, kind=name)
        found = recorder.add(node)
        recorder.tails[node.index] = Tail(name, lambda values: function(values, dim))
        return found.reshaped(*x.shape)

    return handler


POOLS: dict[str, Handler] = {
    "max_pool2d_with_indices": by_rows(_max_pool),
    "adaptive_max_pool2d": by_rows(_adaptive_max_pool),
    "amax": _amax,
    "amin": _amin,
    "max": _max,
    "min": _min,
    "avg_pool2d": by_rows(_avg_pool),
    "_adaptive_avg_pool2d": by_rows(_adaptive_avg_pool),
    "mean": _mean,
    "sum": _sum,
    "_softmax": _ending("softmax", torch.softmax),
    "_log_softmax": _ending("log_softmax", torch.log_softmax),
}
