"""What a model computes from its input, as it was recorded: nodes, and the values they read."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.frontend.elements import SAMPLE, Elements
from tritforge.model_export.functions import Function
from tritforge.model_export.network import Arrangement, Pool

__all__ = [
    "Convolution",
    "Copy",
    "Dense",
    "Graph",
    "Input",
    "Joint",
    "MaxPool",
    "Node",
    "Opaque",
    "Piece",
    "Reduction",
    "Scattered",
    "Sum",
    "Tail",
    "Unary",
    "Value",
    "each_once",
    "extract",
    "present",
]

Shape = tuple[int, int, int]


@dataclass(eq=False)
class Node:
    """Something that is computed: channels x height x width for each sample."""

    name: str  # of the layer that it may become
    where: str  # what errors say of its place in the model
    shape: Shape
    number: int = 0  # that of its first element
    index: int = 0  # among the graph's nodes

    @property
    def reads(self) -> "tuple[Value | Scattered, ...]":
        """What it is computed from."""
        return ()


@dataclass(eq=False)
class Input(Node):
    """The model's input; channels, height and width follow from those who read it."""


@dataclass(frozen=True)
class Piece:
    """Channels of a value that come from one node in one way.

    Channel ``rows[n]`` at (i, j) is ``gain[n] * node[channels[n], y[i], x[j]] + offset[n]``; where
    ``y[i]`` or ``x[j]`` is -1 it is ``fill[n]``.
    """

    node: Node
    rows: NDArray[np.int64]
    channels: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    fill: NDArray[np.float64]

    @property
    def whole(self) -> bool:
        """Whether every channel is a whole channel of the node, in its place."""
        _, height, width = self.node.shape
        return np.array_equal(self.y, np.arange(height)) and np.array_equal(
            self.x, np.arange(width)
        )

    @property
    def holes(self) -> bool:
        """Whether some elements are ``fill``."""
        return bool((self.y < 0).any() or (self.x < 0).any())


@dataclass(frozen=True)
class Value:
    """Channels x height x width, in pieces; channels of no piece are constants."""

    shape: Shape
    pieces: tuple[Piece, ...]
    constants: NDArray[np.float64]  # (channels,); 0 for channels of pieces

    @property
    def nodes(self) -> list[Node]:
        return [piece.node for piece in self.pieces]


@dataclass(frozen=True)
class Scattered:
    """Elements in any order, those of one sample: ``gain * node[place] + offset`` each."""

    nodes: tuple[Node, ...]
    owner: NDArray[np.int64]  # index into ``nodes``; -1: constant
    place: NDArray[np.int64]  # number of the element in its node
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]


@dataclass(eq=False)
class _OfValue(Node):
    """A node that reads one value."""

    value: Value = field(kw_only=True)

    @property
    def reads(self) -> tuple[Value | Scattered, ...]:
        return (self.value,)


@dataclass(eq=False)
class Convolution(_OfValue):
    weight: NDArray[np.float32] = field(kw_only=True)
    bias: NDArray[np.float64] | None = field(kw_only=True)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    kind: str = "conv"


@dataclass(eq=False)
class Dense(Node):
    """``weight @ elements + bias``; rows x 1 x 1."""

    elements: Scattered = field(kw_only=True)
    weight: NDArray[np.float32] = field(kw_only=True)  # (rows, elements)
    bias: NDArray[np.float64] | None = field(kw_only=True)
    trained: bool = True  # False: the weights are ours, only to bring elements into an order

    @property
    def reads(self) -> tuple[Value | Scattered, ...]:
        return (self.elements,)


@dataclass(eq=False)
class Sum(Node):
    values: tuple[Value, ...] = field(kw_only=True)
    kind: str = "add"
    function: "Unary | None" = None  # the same, as a function of one node

    @property
    def reads(self) -> tuple[Value | Scattered, ...]:
        return self.values


@dataclass(eq=False)
class Reduction(_OfValue):
    """Sums over windows, times ``scales`` of the output's row and column.

    ``first`` and ``count`` say by axis and output position which rows (columns) are added;
    channel ``classes[c]`` of the output adds up the channels c that name it.
    """

    first: tuple[NDArray[np.int64], NDArray[np.int64]] = field(kw_only=True)
    count: tuple[NDArray[np.int64], NDArray[np.int64]] = field(kw_only=True)
    scales: tuple[NDArray[np.float64], NDArray[np.float64]] = field(kw_only=True)
    classes: NDArray[np.int64] = field(kw_only=True)


@dataclass(eq=False)
class MaxPool(_OfValue):
    pool: Pool = field(kw_only=True)


@dataclass(eq=False)
class Unary(Node):
    """A function of every element of a node: ``function(gain[c] * x + offset[c])``, or a clamp."""

    source: Node = field(kw_only=True)
    gain: NDArray[np.float64] = field(kw_only=True)  # (channels,)
    offset: NDArray[np.float64] = field(kw_only=True)
    used: NDArray[np.bool_] = field(kw_only=True)  # channels that anyone asked for
    function: Function = field(kw_only=True)
    clamp: tuple[float | None, float | None] | None = field(kw_only=True)
    call: int = 0  # the same for all nodes that one call of the function was recorded as

    @property
    def argument(self) -> Value:
        """``gain[c] * x + offset[c]`` of the channels that anyone asked for, 0 for others."""
        channels, height, width = self.source.shape
        rows = np.flatnonzero(self.used)
        piece = Piece(
            self.source,
            rows,
            rows,
            np.arange(height),
            np.arange(width),
            self.gain[rows],
            self.offset[rows],
            np.zeros(len(rows)),
        )
        return Value(self.source.shape, (piece,), np.zeros(channels))

    @property
    def reads(self) -> tuple[Value | Scattered, ...]:
        return (self.argument,)


@dataclass(eq=False)
class Joint(_OfValue):
    """A function of every element of a value, or a clamp: several :class:`Unary` of one call.

    ``parts`` are the indices of these, and which of their channels follow one another here.
    """

    function: Function = field(kw_only=True)
    clamp: tuple[float | None, float | None] | None = field(kw_only=True)
    parts: tuple[tuple[int, NDArray[np.int64]], ...] = field(kw_only=True)


@dataclass(eq=False)
class Copy(_OfValue):
    kind: str = "identity"


@dataclass(eq=False)
class Opaque(Node):
    """A result that is not followed up; ``error`` is for whoever reads it."""

    error: Exception = field(kw_only=True)


@dataclass(frozen=True)
class Tail:
    """What a model does to its scores at the very end, and is left to the host."""

    name: str
    apply: Callable[[torch.Tensor], torch.Tensor]


def present(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different numbers in an array, ascending, without those below 0."""
    return np.flatnonzero(np.bincount(numbers[numbers >= 0].ravel()))


def each_once(numbers: NDArray[np.int64], count: int) -> bool:
    """Whether the numbers are 0 .. count - 1 in any order."""
    if numbers.size != count or (count and not 0 <= numbers.min() <= numbers.max() < count):
        return False
    return bool((np.bincount(numbers.ravel(), minlength=count) == 1).all())


class Graph:
    """Nodes in the order in which they were computed.

    Members
    -------
    nodes : list of Node
    result : Value or Scattered
        What the model returns.
    arranged : Arrangement or None
        How samples become the input's channels, rows and columns, where it is not as they are.
    rearranged : bool
        That order was chosen for how the model reads its input.
    output_shape : tuple of int
        Shape of what the model returns for one sample.
    tail : Tail or None
    reduced : str
        Type of fewer bits than float32 that activations are rounded to in between, or "".
    """

    def __init__(self, name: str, sample_shape: tuple[int, ...]) -> None:
        self.name = name
        self.sample_shape = sample_shape
        self.arranged: Arrangement | None = None
        self.rearranged = False
        self.nodes: list[Node] = []
        self._count = 0
        self.result: Value | Scattered | None = None
        self.output_shape: tuple[int, ...] = ()
        self.tail: Tail | None = None
        self.reduced = ""

    def copy(self) -> "Graph":
        """Another graph of the same nodes."""
        return copy.copy(self)

    def add(self, node: Node) -> None:
        node.number, node.index = self._count, len(self.nodes)
        self.nodes.append(node)
        self._count += int(np.prod(node.shape))

    def numbers(self, node: Node, batch: int) -> torch.Tensor:
        """Numbers of a node's elements: (batch, channels, height, width)."""
        count = int(np.prod(node.shape))
        one = torch.arange(node.number, node.number + count).reshape(node.shape)
        return torch.stack([one + SAMPLE * sample for sample in range(batch)])

    def owners(self, source: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Index of the node that each element is of, and its number there; -1 for constants."""
        numbers = source.numpy() % SAMPLE
        live = source.numpy() >= 0
        firsts = np.array([node.number for node in self.nodes])
        owner = np.searchsorted(firsts, numbers, side="right") - 1
        return np.where(live, owner, -1), np.where(live, numbers - firsts[owner], -1)

    def scattered(self, elements: Elements) -> Scattered:
        """Elements of one sample, flat."""
        owner, place = self.owners(elements.source.reshape(-1))
        indices = present(owner)
        nodes = tuple(self.nodes[index] for index in indices)
        named = np.where(owner >= 0, np.searchsorted(indices, owner), -1)
        return Scattered(
            nodes,
            named,
            place,
            elements.gains().reshape(-1).numpy().copy(),
            elements.offsets().reshape(-1).numpy().copy(),
        )


def extract(graph: Graph, elements: Elements) -> Value | None:
    """Elements of one sample, (channels, height, width), as whole rows and columns of nodes; None
    where they are in another order."""
    channels, height, width = elements.shape
    owner, place = graph.owners(elements.source)
    gain, offset = elements.gains().numpy(), elements.offsets().numpy()
    live = owner >= 0
    of = owner.reshape(channels, -1).max(axis=1)
    if not (np.where(live, owner, of[:, None, None]) == of[:, None, None]).all():
        return None
    constants = np.zeros(channels)
    for channel in np.flatnonzero(of < 0):
        values = np.unique(offset[channel])
        if len(values) != 1:
            return None
        constants[channel] = values[0]
    pieces: list[Piece] = []
    for index in present(of):
        rows = np.flatnonzero(of == index)
        node = graph.nodes[index]
        found = _pieces(node, rows, live[rows], place[rows], gain[rows], offset[rows])
        if found is None:
            return None
        pieces += found
    return Value((channels, height, width), tuple(pieces), constants)


def _pieces(
    node: Node,
    rows: NDArray[np.int64],
    live: NDArray[np.bool_],
    place: NDArray[np.int64],
    gain: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> list[Piece] | None:
    """Pieces of the channels that come from one node: arrays (rows, height, width)."""
    _, node_height, node_width = node.shape
    channel, rest = place // (node_height * node_width), place % (node_height * node_width)
    y = np.where(live, rest // node_width, -1)
    x = np.where(live, rest % node_width, -1)
    of = np.where(live, channel, -1).reshape(len(rows), -1).max(axis=1)
    map_y, map_x = y.max(axis=2), x.max(axis=1)
    meant = (map_y >= 0)[:, :, None] & (map_x >= 0)[:, None, :]
    if not (
        (meant == live).all()
        and (np.where(live, channel, of[:, None, None]) == of[:, None, None]).all()
        and (np.where(live, y, 0) == np.where(live, map_y[:, :, None], 0)).all()
        and (np.where(live, x, 0) == np.where(live, map_x[:, None, :], 0)).all()
    ):
        return None
    gains, offsets = _uniform(gain, live), _uniform(offset, live)
    fills = _uniform(offset, ~live)
    if gains is None or offsets is None or fills is None:
        return None
    maps: dict[tuple[bytes, bytes], list[int]] = {}
    for number in range(len(rows)):
        key = (map_y[number].tobytes(), map_x[number].tobytes())
        maps.setdefault(key, []).append(number)
    return [
        Piece(
            node,
            rows[numbers],
            of[numbers],
            map_y[numbers[0]],
            map_x[numbers[0]],
            gains[numbers],
            offsets[numbers],
            fills[numbers],
        )
        for numbers in maps.values()
    ]


def _uniform(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The one value of every row of (rows, ..) at ``where``, 0 where there is none; None if there
    are several."""
    flat, chosen = values.reshape(len(values), -1), where.reshape(len(where), -1)
    first = np.take_along_axis(flat, chosen.argmax(axis=1)[:, None], axis=1)[:, 0]
    first = np.where(chosen.any(axis=1), first, 0.0)
    same = np.where(chosen, flat, first[:, None]) == first[:, None]
    return first if bool(same.all()) else None
