"""A recorded graph becomes layers of column groups, in real numbers."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.column_groups import (
    ConvolutionGroups,
    DenseGroups,
    has_unit_steps,
    identity_groups,
    is_regular,
    some_rows,
    window_groups,
    without_affine,
)
from tritforge.model_export.frontend.drafts import Draft, Source, Weights
from tritforge.model_export.frontend.graph import (
    Convolution,
    Copy,
    Dense,
    Graph,
    Input,
    Joint,
    MaxPool,
    Node,
    Piece,
    Reduction,
    Scattered,
    Sum,
    Unary,
    Value,
)
from tritforge.model_export.frontend.joining import joined, needed
from tritforge.model_export.network import Network, Pool, Tensor
from tritforge.model_export.passes.weights import Plane, WeightPlanes, classify

__all__ = ["Lowered", "Origin", "Planes", "lower"]

#: Planes by the name of the weights, and whether they are the last layer's.
Planes = dict[tuple[str, bool], WeightPlanes]

#: Factors that differ within one sum; more are multiplied in by a layer of its own.
_MOST_FACTORS = 4
#: Times that a product with weights may read an element before the weights are added up.
_MOST_TIMES = 4


@dataclass(frozen=True)
class Lowered:
    """A network, and by the name of its tensors what each of them is of the graph."""

    network: Network
    origins: dict[str, "Origin"]


@dataclass(frozen=True)
class Origin:
    """Channels of nodes, by the nodes' index, one behind the other, with the gain and offset per
    channel that were folded in."""

    parts: tuple[tuple[int, NDArray[np.int64]], ...]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, node: Node) -> "Origin":
        count = node.shape[0]
        parts = node.parts if isinstance(node, Joint) else ((node.index, np.arange(count)),)
        return cls(parts, np.ones(count), np.zeros(count))


def lower(
    graph: Graph,
    *,
    digits: int = 8,
    known: Planes | None = None,
    progress: Callable[[float], None] | None = None,
) -> Lowered:
    """The network of layers that computes what was recorded.

    Parameters
    ----------
    graph : Graph
    digits : int
        Bits of weights that are not ternary; 0 refuses them.
    known : dict, optional
        Planes of this model's weights from another call; filled in. Those that are exact
        are used again.
    progress : callable(fraction), optional
        Called before each layer's weights become trits, which takes up to a second.

    Returns
    -------
    Lowered
        Tensors without scales; the last layer is ``final``.

    Raises
    ------
    ExportError
        NaN or infinite weights; weights that are not ternary while ``digits`` is 0; an order of
        activations that no layer can read.
    """
    return _Lowering(joined(graph), digits, {} if known is None else known, progress).run()


class _Lowering:
    def __init__(
        self,
        graph: Graph,
        digits: int,
        known: Planes,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.graph = graph
        self.progress = progress
        self.digits = digits
        self.known = known
        self.drafts: list[Draft] = []
        self.made: dict[int, Draft | Tensor] = {}  # by the node's index
        self.settled: set[int] = set()  # nodes into which their readers' affine has been folded
        self.readers: dict[int, list[Node | None]] = {}  # None: the result
        self.reads: dict[int, list[_Read]] = {}
        self.origins: dict[str, Origin] = {}

    def run(self) -> Lowered:
        graph = self.graph
        assert graph.result is not None
        self._follow()
        for index in sorted(self.reads):
            node = graph.nodes[index]
            made = self._node(node)
            self.made[index] = made
            if isinstance(made, Draft):
                self.origins[made.name] = Origin.of(node)
                self._settle(node, made)
        final = self._finish(graph.result)
        if graph.tail is not None:
            final.note = f"the {graph.tail.name} after it is left to the host"
        source = self.made.get(0)
        if not isinstance(source, Tensor):
            raise ExportError(f"network {graph.name}: its output does not depend on its input")
        tensors = {"input": source} | {draft.name: draft.tensor() for draft in self.drafts}
        layers = []
        for number, draft in enumerate(self.drafts):
            if self.progress is not None:
                self.progress(number / len(self.drafts))
            layers.append(draft.layer(self._planes(draft, final), draft is final))
        return Lowered(Network(graph.name, "input", tensors, layers), self.origins)

    def _planes(self, draft: Draft, final: Draft) -> WeightPlanes | None:
        weights = draft.weights
        if weights is None:
            return None
        key = weights.name, draft is final
        planes = self.known.get(key)
        if planes is None or planes.error:
            planes = classify(
                weights.tensor,
                name=weights.name,
                digits=self.digits,
                per_tensor=draft is final,
                stride=weights.stride,
            )
            self.known[key] = planes
        return planes

    # ----- who reads what

    def _follow(self) -> None:
        """Find the nodes that the result depends on, and how they are read."""
        assert self.graph.result is not None
        values: list[tuple[Node | None, Value | Scattered]] = [(None, self.graph.result)]
        values += [(node, value) for node in needed(self.graph) for value in node.reads]
        for reader, value in values:
            for read in _reads(value):
                self.reads.setdefault(read.node.index, []).append(read)
                self.readers.setdefault(read.node.index, []).append(reader)

    def _settle(self, node: Node, draft: Draft) -> None:
        """Fold in what all readers of a node do to it, if they do the same."""
        channels = node.shape[0]
        gain, offset = np.full(channels, np.nan), np.full(channels, np.nan)
        for read in self.reads[node.index]:
            if read.gain is None or read.offset is None:
                return
            for array, values in ((gain, read.gain), (offset, read.offset)):
                before = array[read.channels]
                if not (np.isnan(before) | (before == values)).all():
                    return
                array[read.channels] = values
                if not (array[read.channels] == values).all():  # a channel read twice
                    return
        if (np.isnan(gain) | (gain == 1)).all() and (np.isnan(offset) | (offset == 0)).all():
            self.settled.add(node.index)
            return
        one, zero = gain[~np.isnan(gain)][0], offset[~np.isnan(offset)][0]
        gain, offset = np.where(np.isnan(gain), one, gain), np.where(np.isnan(offset), zero, offset)
        if draft.take_affine(gain, offset):
            self.settled.add(node.index)
            origin = Origin.of(node)
            self.origins[draft.name] = dataclasses.replace(origin, gain=gain, offset=offset)

    def _source(self, piece: Piece) -> Source:
        made = self.made[piece.node.index]
        shape = made.shape
        settled = piece.node.index in self.settled
        return Source(
            made.name,
            piece.rows,
            piece.channels,
            piece.y,
            piece.x,
            shape[1],
            shape[2],
            np.ones(len(piece.rows)) if settled else piece.gain,
            np.zeros(len(piece.rows)) if settled else piece.offset,
            piece.fill,
        )

    def _sources(self, value: Value) -> list[Source]:
        return [self._source(piece) for piece in value.pieces]

    def _open(self, node: Node | None) -> Draft | None:
        """The layer that computes a node, if what follows may fold into it: one reader reads the
        node, once, and what it does to it has been folded in."""
        if node is None or node.index not in self.settled or len(self.readers[node.index]) != 1:
            return None
        made = self.made[node.index]
        return made if isinstance(made, Draft) else None

    # ----- layers

    def _add(self, draft: Draft) -> Draft:
        taken = {one.name for one in self.drafts} | {"input"}
        base, n = draft.name, 1
        while draft.name in taken:
            draft.name, n = f"{base}_{n}", n + 1
        self.drafts.append(draft)
        return draft

    def _node(self, node: Node) -> Draft | Tensor:
        if isinstance(node, Input):
            return Tensor("input", *node.shape, arrangement=self.graph.arranged)
        if isinstance(node, Convolution):
            return self._convolution(node)
        if isinstance(node, Dense):
            return self._dense(node)
        if isinstance(node, Sum):
            return self._sum(node)
        if isinstance(node, Reduction):
            return self._reduction(node)
        if isinstance(node, MaxPool):
            return self._max_pool(node)
        if isinstance(node, Unary):
            return self._unary(node)
        if isinstance(node, Joint):
            draft = self._copy(node.value, self._sources(node.value), node.name, node.where)
            _taken(draft, node)
            return draft
        assert isinstance(node, Copy)
        return self._copy_node(node)

    def _copy(
        self, value: Value, sources: Sequence[Source], name: str, where: str, kind: str = "identity"
    ) -> Draft:
        """A layer that copies a value."""
        shape = value.shape
        odd = [one for one in sources if one.holes and (one.fill != one.offset).any()]
        if odd:
            sources = [
                self._around(one, value, name, where) if one in odd else one for one in sources
            ]
        gain, offset = np.ones(shape[0]), value.constants.copy()
        groups = []
        for source in sources:
            gain[source.rows], offset[source.rows] = source.gain, source.offset
            groups += identity_groups(source)
        return self._add(Draft(name, kind, *shape, groups, gain=gain, offset=offset))

    def _around(self, source: Source, value: Value, name: str, where: str) -> Source:
        """The source with ``fill`` around it: first less the fill, then zeros around, then plus."""
        if not np.isfinite(source.fill).all():
            raise ExportError(f"{where}: padding with infinite numbers is not supported here")
        ys, xs = np.flatnonzero(source.y >= 0), np.flatnonzero(source.x >= 0)
        count = len(source.rows)
        inner = dataclasses.replace(
            source,
            rows=np.arange(count),
            y=source.y[ys],
            x=source.x[xs],
            offset=source.offset - source.fill,
            fill=np.zeros(count),
        )
        shape = (count, len(ys), len(xs))
        draft = self._copy(Value(shape, (), np.zeros(count)), [inner], name, where)
        y, x = np.full(value.shape[1], -1), np.full(value.shape[2], -1)
        y[ys], x[xs] = np.arange(len(ys)), np.arange(len(xs))
        return Source(
            draft.name,
            source.rows,
            np.arange(count),
            y,
            x,
            *shape[1:],
            np.ones(count),
            source.fill,
            source.fill,
        )

    def _plain(self, value: Value, node: Node, *, pointwise: bool = False) -> list[Source]:
        """Sources that are tensors' channels as they are; copied by a layer where they are not."""
        sources = self._sources(value)
        simple = all(one.plain and (pointwise or is_regular(one)) for one in sources)
        if simple and not value.constants.any():
            return sources
        return [self._copied(value, sources, node)]

    def _copied(self, value: Value, sources: Sequence[Source], node: Node) -> Source:
        draft = self._copy(value, sources, f"{node.name}.input", node.where)
        channels, height, width = value.shape
        rows = np.arange(channels)
        return Source(
            draft.name,
            rows,
            rows,
            np.arange(height),
            np.arange(width),
            height,
            width,
            np.ones(channels),
            np.zeros(channels),
            np.zeros(channels),
        )

    def _convolution(self, node: Convolution) -> Draft:
        value, weight = node.value, node.weight
        if value.shape[0] != weight.shape[1] * node.groups:
            raise ExportError(
                f"{node.where}: it takes {weight.shape[1] * node.groups} channels, its input has "
                f"{value.shape[0]}"
            )
        bias = np.zeros(node.shape[0]) if node.bias is None else node.bias.astype(np.float64)
        pointwise = weight.shape[2:] == (1, 1)
        sources, factor = self._sources(value), 1.0
        gains = np.unique(np.concatenate([one.gain for one in sources] or [np.ones(1)]))
        bare = [without_affine(one) for one in sources]
        inside = node.padding == (0, 0) and not any(one.holes for one in sources)
        shifts = _shifts(value, sources)
        if (
            len(gains) == 1
            and gains[0] != 0
            and (inside or not shifts.any())
            and all(pointwise or is_regular(one) for one in bare)
            and not any(one.holes and one.fill.any() for one in sources)
        ):
            sources, factor = bare, float(gains[0])
            if shifts.any():
                each = weight.sum(axis=(2, 3)).astype(np.float64)
                own = len(bias) // node.groups
                for row in range(len(bias)):
                    first = row // own * weight.shape[1]
                    bias[row] += each[row] @ shifts[first : first + weight.shape[1]]
        else:
            sources = self._plain(value, node, pointwise=pointwise)
        draft = Draft(node.name, node.kind, *node.shape, offset=bias)
        draft.gain = draft.gain * factor
        self._add(draft)
        maker = ConvolutionGroups(node, tuple(sources))
        draft.weights = Weights(f"{draft.name}.weight", weight, node.stride, maker)
        return draft

    def _dense(self, node: Dense) -> Draft:
        count = len(node.elements.owner)
        if node.weight.shape[1] != count:
            raise ExportError(
                f"{node.where}: it takes {node.weight.shape[1]} features, its input has {count}"
            )
        bias = np.zeros(node.shape[0]) if node.bias is None else node.bias.astype(np.float64)
        elements, weight, constant = _merged(*_without_constants(node))
        bias, count = bias + constant, weight.shape[1]
        settled = np.array([one.index in self.settled for one in elements.nodes] or [True], bool)
        simple = settled[elements.owner]
        gain = np.where(simple, 1.0, elements.gain)
        offset = np.where(simple, 0.0, elements.offset)
        if offset.any():
            bias = bias + weight.astype(np.float64) @ offset
        factor = 1.0
        factors = np.unique(gain)
        if len(factors) == 1 and factors[0] != 0:
            factor = float(factors[0])
        elif len(factors) > 1:
            weight = (weight * gain).astype(np.float32)
        shapes = [self.made[one.index].shape for one in elements.nodes]
        names = [self.made[one.index].name for one in elements.nodes]
        draft = Draft(node.name, "linear" if node.trained else "identity", *node.shape, offset=bias)
        self._add(draft)
        maker = DenseGroups(elements, tuple(names), tuple(shapes), len(weight))
        if not node.trained:
            plane = Plane((weight != 0).astype(np.int8), 1.0, 1.0)
            if len(factors) > 1:
                raise ExportError(f"{node.where}: its input is in an order that no layer can read")
            draft.groups = maker(plane, keep_empty=True)
            draft.gain = draft.gain * factor
            return draft
        shaped = weight
        if len(shapes) == 1 and shapes[0][0] and count % shapes[0][0] == 0:
            shaped = weight.reshape(len(weight), shapes[0][0], -1)
        draft.gain = draft.gain * factor
        draft.weights = Weights(f"{draft.name}.weight", shaped, (1, 1), maker)
        return draft

    def _sum(self, node: Sum) -> Draft:
        terms: list[Source] = []
        offset = np.zeros(node.shape[0])
        for value in node.values:
            sources = self._sources(value)
            if any(one.holes and (one.fill != one.offset).any() for one in sources):
                sources = [self._copied(value, sources, node)]
            else:
                offset += value.constants
            for one in sources:
                offset[one.rows] += one.offset
            terms += sources
        sizes = np.unique(np.abs(np.concatenate([one.gain for one in terms])))
        if len(sizes) > _MOST_FACTORS:
            offset, sizes = np.zeros(node.shape[0]), np.ones(1)
            offset += sum(value.constants for value in node.values if not value.pieces)
            terms = [
                self._copied(value, self._sources(value), node)
                for value in node.values
                if value.pieces
            ]
        groups = []
        factor = float(sizes[0]) if len(sizes) == 1 and sizes[0] else 1.0
        for one in terms:
            for size in np.unique(np.abs(one.gain)):
                chosen = np.abs(one.gain) == size
                if size:
                    groups += identity_groups(some_rows(one, chosen), size / factor, with_sign=True)
        draft = Draft(node.name, node.kind, *node.shape, groups, offset=offset)
        draft.gain = draft.gain * factor
        return self._add(draft)

    def _reduction(self, node: Reduction) -> Draft:
        value = node.value
        diagonal = len(np.unique(node.classes)) == len(node.classes)
        sources = self._sources(value)
        gains = np.unique(np.concatenate([one.gain for one in sources] or [np.ones(1)]))
        sums = [scale * count for scale, count in zip(node.scales, node.count, strict=True)]
        total = sums[0][:, None] * sums[1]
        even = bool(np.allclose(total, total[0, 0], rtol=1e-12, atol=0))
        shifted = any(one.offset.any() for one in sources) or bool(value.constants.any())
        if (
            not all(
                has_unit_steps(one.y)
                and has_unit_steps(one.x)
                and not (one.holes and (one.fill.any() or one.offset.any()))
                for one in sources
            )
            or (not diagonal and len(gains) > 1)
            or (shifted and not even)
        ):
            sources = [self._copied(value, sources, node)]
            gains, shifted = np.ones(1), False
        gain, offset = np.ones(node.shape[0]), np.zeros(node.shape[0])
        if shifted:
            np.add.at(offset, node.classes, _shifts(value, sources) * total[0, 0])
        for one in sources:
            if diagonal:
                gain[node.classes[one.rows]] = one.gain
            else:
                gain[:] = one.gain[0]
        groups, factor = window_groups(node, sources)
        draft = Draft(node.name, "pool", *node.shape, groups, gain=gain * factor, offset=offset)
        return self._add(draft)

    def _max_pool(self, node: MaxPool) -> Draft:
        value, pool = node.value, node.pool
        draft = self._open(self._whole(value))
        if draft is not None and draft.take_pool(pool):
            return draft
        inner = _within_border(value, pool)
        if inner is not None:
            part, wider, fill = inner
            draft = self._open(self._whole(part))
            if draft is not None:
                least = -np.inf
                if draft.low is not None and draft.function is None:
                    least = draft.low
                if (fill <= least).all() and draft.take_pool(wider):
                    return draft
        pool, sources, value = _unpadded(pool, self._sources(value), value)
        draft = self._copy(value, sources, node.name, node.where, "pool")
        draft.pool = pool
        return draft

    def _whole(self, value: Value) -> Node | None:
        """The node that a value is, all of it and in its order."""
        if len(value.pieces) != 1:
            return None
        piece = value.pieces[0]
        rows = np.arange(value.shape[0])
        if (
            piece.whole
            and value.shape == piece.node.shape
            and np.array_equal(piece.rows, rows)
            and np.array_equal(piece.channels, rows)
        ):
            return piece.node
        return None

    def _unary(self, node: Unary) -> Draft:
        draft = self._open(node.source)
        if draft is not None and _taken(draft, node):
            return draft
        value = node.argument
        draft = self._copy(value, self._sources(value), node.name, node.where)
        _taken(draft, node)
        return draft

    def _copy_node(self, node: Copy) -> Draft:
        draft = self._open(self._whole(node.value))
        if draft is not None:
            return draft
        return self._copy(node.value, self._sources(node.value), node.name, node.where, node.kind)

    # ----- the end

    def _finish(self, result: Value | Scattered) -> Draft:
        assert isinstance(result, Value)
        draft = self._open(self._whole(result))
        if draft is not None and draft.linear and draft is self.drafts[-1]:
            return draft
        return self._copy(result, self._sources(result), "output", "the output")


@dataclass(frozen=True)
class _Read:
    """Channels of a node that someone reads, and with what affine map; None: another within a
    channel."""

    node: Node
    channels: NDArray[np.int64]
    gain: NDArray[np.float64] | None
    offset: NDArray[np.float64] | None


def _taken(draft: Draft, node: Unary | Joint) -> bool:
    """Fold a clamp or a function in; False where that cannot be."""
    if node.clamp is not None:
        return draft.take_clamp(*node.clamp)
    return draft.take_function(node.function)


def _shifts(value: Value, sources: Sequence[Source]) -> NDArray[np.float64]:
    """What is added to each channel of a value."""
    shifts = value.constants.copy()
    for one in sources:
        shifts[one.rows] = one.offset
    return shifts


def _reads(value: Value | Scattered) -> list[_Read]:
    if isinstance(value, Value):
        return [
            _Read(piece.node, piece.channels, piece.gain, piece.offset) for piece in value.pieces
        ]
    reads = []
    for index, node in enumerate(value.nodes):
        own = value.owner == index
        of = value.place[own] // (node.shape[1] * node.shape[2])
        gain, offset = np.zeros(node.shape[0]), np.zeros(node.shape[0])
        gain[of], offset[of] = value.gain[own], value.offset[own]
        channels = np.unique(of)
        alike = bool(
            (gain[of] == value.gain[own]).all() and (offset[of] == value.offset[own]).all()
        )
        reads.append(
            _Read(node, channels, *((gain[channels], offset[channels]) if alike else (None, None)))
        )
    return reads


def _without_constants(
    node: Dense,
) -> tuple[Scattered, NDArray[np.float32], NDArray[np.float64]]:
    """A product's elements and weights without those of constants, and what these add up to."""
    elements, weight = node.elements, node.weight
    own = elements.owner >= 0
    if own.all():
        return elements, weight, np.zeros(len(weight))
    constant = weight[:, ~own].astype(np.float64) @ elements.offset[~own]
    return _chosen(elements, np.flatnonzero(own)), weight[:, own], constant


def _merged(
    elements: Scattered, weight: NDArray[np.float32], constant: NDArray[np.float64]
) -> tuple[Scattered, NDArray[np.float32], NDArray[np.float64]]:
    """The same, where elements that are read many times are there once, with the sum of their
    weights."""
    key = np.stack([elements.owner, elements.place, *_bits(elements)])
    unique, first, inverse, times = np.unique(
        key, axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    if not len(times) or times.max() <= _MOST_TIMES:
        return elements, weight, constant
    total = np.zeros((len(weight), unique.shape[1]))
    np.add.at(total.T, inverse.reshape(-1), weight.T.astype(np.float64))
    return _chosen(elements, first), total.astype(np.float32), constant


def _chosen(elements: Scattered, numbers: NDArray[np.int64]) -> Scattered:
    return dataclasses.replace(
        elements,
        owner=elements.owner[numbers],
        place=elements.place[numbers],
        gain=elements.gain[numbers],
        offset=elements.offset[numbers],
    )


def _bits(elements: Scattered) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gains and offsets as integers that are equal where they are."""
    return elements.gain.view(np.int64), elements.offset.view(np.int64)


def _within_border(value: Value, pool: Pool) -> tuple[Value, Pool, NDArray[np.float64]] | None:
    """A max-pool of a value with a border of ``fill`` (channels,): what is within the border, and
    a pool of it that has the border as padding. They give the same where no element is below
    ``fill``. None: there is no such border, or a window lies in it entirely."""
    if len(value.pieces) != 1 or not value.pieces[0].holes:
        return None
    (piece,) = value.pieces
    ys, xs = np.flatnonzero(piece.y >= 0), np.flatnonzero(piece.x >= 0)
    padding = []
    for there, before, kernel, stride, count in zip(
        (ys, xs),
        pool.padding,
        pool.kernel,
        pool.stride,
        (pool.height, pool.width),
        strict=True,
    ):
        if not len(there) or there[-1] - there[0] + 1 != len(there):
            return None
        padding.append(before + int(there[0]))
        first = np.arange(count) * stride - padding[-1]
        if (np.maximum(first, 0) >= np.minimum(first + kernel, len(there))).any():
            return None
    inside = dataclasses.replace(piece, y=piece.y[ys], x=piece.x[xs])
    part = Value((value.shape[0], len(ys), len(xs)), (inside,), value.constants)
    return part, dataclasses.replace(pool, padding=(padding[0], padding[1])), piece.fill


def _unpadded(
    pool: Pool, sources: Sequence[Source], value: Value
) -> tuple[Pool, Sequence[Source], Value]:
    """A max-pool of a value that was padded with minus infinity, as one with padding."""
    if not any(one.holes and np.isneginf(one.fill).any() for one in sources):
        return pool, sources, value
    first = sources[0]
    ys, xs = np.flatnonzero(first.y >= 0), np.flatnonzero(first.x >= 0)
    same = all(
        np.array_equal(one.y >= 0, first.y >= 0) and np.array_equal(one.x >= 0, first.x >= 0)
        for one in sources
    )
    if not same or sum(len(one.rows) for one in sources) != value.shape[0]:
        return pool, sources, value
    top, left = int(ys[0]), int(xs[0])
    inner = [
        dataclasses.replace(one, y=one.y[ys], x=one.x[xs], fill=np.zeros(len(one.rows)))
        for one in sources
    ]
    shape = (value.shape[0], len(ys), len(xs))
    padding = (pool.padding[0] + top, pool.padding[1] + left)
    return (
        dataclasses.replace(pool, padding=padding),
        inner,
        Value(shape, (), np.zeros(shape[0])),
    )
