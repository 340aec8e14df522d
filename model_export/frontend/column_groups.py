"""Column groups of what the nodes of a graph add up, and where their kernels lie on the tensors."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.frontend.drafts import GroupMaker, Source
from tritforge.model_export.frontend.graph import Convolution, Reduction, Scattered
from tritforge.model_export.network import ColumnGroup, Window
from tritforge.model_export.passes.weights import Plane

__all__ = [
    "ConvolutionGroups",
    "DenseGroups",
    "has_unit_steps",
    "identity_groups",
    "is_regular",
    "some_rows",
    "window_groups",
    "without_affine",
]

#: Convolution groups beyond this many are joined into block-diagonal column groups, since a tile
#: holds at most 255 column groups and each costs a walk.
_MOST_BLOCKS = 16


class ConvolutionGroups(GroupMaker):
    def __init__(self, node: Convolution, sources: tuple[Source, ...]) -> None:
        self.node = node
        self.sources = sources

    def __call__(self, plane: Plane, keep_empty: bool) -> list[ColumnGroup]:
        """One column group for each convolution group and each tensor that it reads."""
        node, trits = self.node, plane.trits
        rows, channels = len(trits) // node.groups, trits.shape[1]
        joined = -(-node.groups // _MOST_BLOCKS)
        result = []
        for first in range(0, node.groups, joined):
            last = min(first + joined, node.groups)
            block = np.zeros(
                ((last - first) * rows, (last - first) * channels, *trits.shape[2:]), np.int8
            )
            for n in range(last - first):
                block[n * rows : (n + 1) * rows, n * channels : (n + 1) * channels] = trits[
                    (first + n) * rows : (first + n + 1) * rows
                ]
            low, high = first * channels, last * channels
            for source in self.sources:
                for part in _distinct(
                    some_rows(source, (source.rows >= low) & (source.rows < high))
                ):
                    start, stop = int(part.channels.min()), int(part.channels.max()) + 1
                    piece = np.zeros((len(block), stop - start, *trits.shape[2:]), np.int8)
                    piece[:, part.channels - start] = block[:, part.rows - low]
                    if keep_empty or piece.any():
                        result.append(
                            self._group(part, start, (first * rows, last * rows), piece, plane)
                        )
        return result

    def _group(
        self,
        source: Source,
        start: int,
        rows: tuple[int, int],
        trits: NDArray[np.int8],
        plane: Plane,
    ) -> ColumnGroup:
        node = self.node
        kernel = (int(trits.shape[2]), int(trits.shape[3]))
        stride, padding, dilation, windows = _placed(
            source, kernel, node.stride, node.padding, node.dilation, node.shape[1:]
        )
        return ColumnGroup(
            source.tensor,
            (start, start + trits.shape[1]),
            rows,
            np.ascontiguousarray(trits),
            kernel,
            plane.wp,
            plane.wn,
            stride,
            padding,
            dilation,
            windows=windows,
            step=plane.step,
        )


class DenseGroups(GroupMaker):
    def __init__(
        self,
        elements: Scattered,
        names: tuple[str, ...],
        shapes: tuple[tuple[int, int, int], ...],
        rows: int,
    ) -> None:
        self.elements, self.names, self.shapes, self.rows = elements, names, shapes, rows

    def __call__(self, plane: Plane, keep_empty: bool) -> list[ColumnGroup]:
        """One column group for each tensor, with a kernel as large as what is read of it."""
        trits = plane.trits.reshape(self.rows, -1)
        result = []
        for index, (name, (channels, height, width)) in enumerate(
            zip(self.names, self.shapes, strict=True)
        ):
            own = np.flatnonzero(self.elements.owner == index)
            while len(own):
                place, once = np.unique(self.elements.place[own], return_index=True)
                if len(place) == channels * height * width:
                    alone = np.array_equal(own[once], np.arange(trits.shape[1]))
                    full = trits if alone else trits[:, own[once]]
                else:
                    full = np.zeros((self.rows, channels * height * width), np.int8)
                    full[:, place] = trits[:, own[once]]
                own = np.delete(own, once)
                c, rest = place // (height * width), place % (height * width)
                y, x = rest // width, rest % width
                box = [(int(v.min()), int(v.max()) + 1) for v in (c, y, x)]
                piece = full.reshape(self.rows, channels, height, width)[
                    :, slice(*box[0]), slice(*box[1]), slice(*box[2])
                ]
                if keep_empty or piece.any():
                    result.append(
                        ColumnGroup(
                            name,
                            box[0],
                            (0, self.rows),
                            np.ascontiguousarray(piece),
                            (box[1][1] - box[1][0], box[2][1] - box[2][0]),
                            plane.wp,
                            plane.wn,
                            padding=(-box[1][0], -box[2][0]),
                            step=plane.step,
                        )
                    )
        return result


def identity_groups(
    source: Source, size: float = 1.0, *, with_sign: bool = False
) -> list[ColumnGroup]:
    """Groups that add a source's channels into rows, times ``size``, and with the sign of their
    gain if ``with_sign``."""
    groups = []
    for part in _distinct(source):
        start, stop = int(part.channels.min()), int(part.channels.max()) + 1
        first, last = int(part.rows.min()), int(part.rows.max()) + 1
        trits = np.zeros((last - first, stop - start, 1, 1), np.int8)
        signs = np.sign(part.gain) if with_sign else np.ones(len(part.rows))
        trits[part.rows - first, part.channels - start, 0, 0] = signs
        stride, padding, dilation, windows = _placed(
            part, (1, 1), (1, 1), (0, 0), (1, 1), (len(part.y), len(part.x))
        )
        groups.append(
            ColumnGroup(
                part.tensor,
                (start, stop),
                (first, last),
                trits,
                (1, 1),
                size,
                size,
                stride,
                padding,
                dilation,
                windows=windows,
            )
        )
    return groups


def some_rows(source: Source, chosen: NDArray[np.bool_]) -> Source:
    """The rows of a source that ``chosen`` (rows,) says."""
    return dataclasses.replace(
        source,
        rows=source.rows[chosen],
        channels=source.channels[chosen],
        gain=source.gain[chosen],
        offset=source.offset[chosen],
        fill=source.fill[chosen],
    )


def without_affine(source: Source) -> Source:
    """The tensor's channels as they are, where the source reads them."""
    count = len(source.rows)
    return dataclasses.replace(
        source, gain=np.ones(count), offset=np.zeros(count), fill=np.zeros(count)
    )


def _distinct(source: Source) -> list[Source]:
    """Parts of a source none of which reads a channel twice."""
    parts = []
    rest = np.ones(len(source.rows), bool)
    while rest.any():
        chosen = np.zeros(len(rest), bool)
        numbers = np.flatnonzero(rest)
        _, once = np.unique(source.channels[numbers], return_index=True)
        chosen[numbers[once]] = True
        parts.append(some_rows(source, chosen))
        rest &= ~chosen
    return parts


# ----- where kernels lie


def _span(places: NDArray[np.int64]) -> tuple[int, int, int, int] | None:
    """First and last position that is there, and start and step of the source's rows (columns) in
    between; None where these are not evenly spaced upwards."""
    there = np.flatnonzero(places >= 0)
    if not len(there):
        return None
    low, high = int(there[0]), int(there[-1]) + 1
    inside = places[low:high]
    step = int(inside[1] - inside[0]) if len(inside) > 1 else 1
    if step < 1 or not np.array_equal(inside, inside[0] + step * np.arange(len(inside))):
        return None
    return low, high, int(inside[0]), step


def is_regular(source: Source) -> bool:
    """Whether rows and columns are evenly spaced upwards, so that any kernel can read them."""
    return _span(source.y) is not None and _span(source.x) is not None


def has_unit_steps(places: NDArray[np.int64]) -> bool:
    """Whether rows (or columns) follow one another."""
    span = _span(places)
    return span is not None and span[3] == 1


def _placed(
    source: Source,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    out: tuple[int, ...],
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[Window | None, Window | None]]:
    """Stride, padding, dilation and windows with which a kernel on a value's rows and columns reads
    the tensor behind it."""
    found = [
        _axis(places, size, *rest)
        for places, size, *rest in zip(
            (source.y, source.x),
            (source.height, source.width),
            kernel,
            stride,
            padding,
            dilation,
            out,
            strict=True,
        )
    ]
    (sy, py, dy, wy), (sx, px, dx, wx) = found
    return (sy, sx), (py, px), (dy, dx), (wy, wx)


def _axis(
    places: NDArray[np.int64],
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    out: int,
) -> tuple[int, int, int, Window | None]:
    """One axis of :func:`_placed`; ``places[i]`` is the tensor's row (column) of the value's i."""
    outputs, taps = np.arange(out)[:, None], np.arange(kernel)
    at = outputs * stride - padding + taps * dilation  # on the value
    there = (at >= 0) & (at < len(places))
    meant = np.where(there, places[at.clip(0, len(places) - 1)], -1)
    span = _span(places)
    if span is not None:
        low, _, start, step = span
        s, p, d = stride * step, (padding + low) * step - start, dilation * step
        met = outputs * s - p + taps * d
        if np.array_equal(np.where((met >= 0) & (met < size), met, -1), meant):
            return s, p, d, None
    inside = meant >= 0
    begin = inside.argmax(axis=1)
    end = begin + inside.sum(axis=1)
    if span is None:
        assert kernel == 1  # others have been copied
        first, d = np.where(inside[:, 0], meant[:, 0], 0), 1
    else:
        low, _, start, step = span
        first = (outputs[:, 0] * stride - padding - low) * step + start
        d = dilation * step
    window = Window(*(tuple(int(n) for n in part) for part in (first, begin, end)))
    return 1, 0, d, window


def window_groups(node: Reduction, sources: Sequence[Source]) -> tuple[list[ColumnGroup], float]:
    """Groups that add up windows, and what the sums are to be multiplied with."""
    scales = [np.round(scale, 15) for scale in node.scales]
    kinds = [np.unique(scale) for scale in scales]
    single = len(kinds[0]) == len(kinds[1]) == 1
    factor = float(kinds[0][0] * kinds[1][0]) if single else 1.0
    groups = []
    for source in sources:
        for scale_y in kinds[0]:
            for scale_x in kinds[1]:
                axes = [
                    _window_axis(places, size, first, count, scale == kind)
                    for places, size, first, count, scale, kind in zip(
                        (source.y, source.x),
                        (source.height, source.width),
                        node.first,
                        node.count,
                        scales,
                        (scale_y, scale_x),
                        strict=True,
                    )
                ]
                size = 1.0 if single else float(scale_y * scale_x)
                groups += _window_groups(node, source, axes, size)
    return groups, factor


_Axis = tuple[int, int, int, Window | None]  # kernel, stride, padding


def _window_groups(
    node: Reduction, source: Source, axes: Sequence[_Axis], size: float
) -> list[ColumnGroup]:
    (ky, sy, py, wy), (kx, sx, px, wx) = axes
    start, stop = int(source.channels.min()), int(source.channels.max()) + 1
    groups = []
    for part in _distinct(source):
        rows = node.classes[part.rows]
        first, last = int(rows.min()), int(rows.max()) + 1
        trits = np.zeros((last - first, stop - start, 1, 1), np.int8)
        trits[rows - first, part.channels - start, 0, 0] = 1
        groups.append(
            ColumnGroup(
                part.tensor,
                (start, stop),
                (first, last),
                trits,
                (ky, kx),
                size,
                size,
                (sy, sx),
                (py, px),
                shared=True,
                windows=(wy, wx),
            )
        )
    return groups


def _window_axis(
    places: NDArray[np.int64],
    size: int,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    chosen: NDArray[np.bool_],
) -> _Axis:
    """Kernel, stride, padding of windows ``first`` and ``count`` on a value's rows (columns); only
    ``chosen`` output positions get any."""
    span = _span(places)
    assert span is not None and span[3] == 1  # others have been copied
    low, high, start, _ = span
    shift = start - low
    begin = np.clip(first, low, high) + shift  # on the tensor
    end = np.maximum(np.clip(first + count, low, high) + shift, begin)
    kernel = max(1, int((end - begin).max()))
    outputs = np.arange(len(first))
    if chosen.all():
        full = int((end - begin).argmax())
        steps = np.unique(np.concatenate([np.diff(begin), np.diff(end)]))
        for stride in {1, *(int(n) for n in steps if n > 0)}:
            padding = full * stride - int(begin[full])
            starts = outputs * stride - padding
            if np.array_equal(starts.clip(0, size), begin.clip(0, size)) and np.array_equal(
                (starts + kernel).clip(0, size), end
            ):
                return kernel, stride, padding, None
    taps = np.where(chosen, end - begin, 0)
    window = Window(tuple(int(n) for n in begin), (0,) * len(begin), tuple(int(n) for n in taps))
    return kernel, 1, 0, window
