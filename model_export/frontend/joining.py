"""Functions of a concatenation become one node.

A function of every element is recorded for each node whose elements they are, so that it can fold
into the layer that computes it. Where it cannot, because others read the same node without the
function, each would become a layer of its own, with a tensor of its own: batch norm and ReLU in
front of the convolutions of a DenseNet. Those of one call are then better one layer: its tensor
is packed, and who reads it has one source.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.frontend.graph import (
    Dense,
    Graph,
    Input,
    Joint,
    Node,
    Piece,
    Scattered,
    Sum,
    Unary,
    Value,
)

__all__ = ["joined", "needed"]


def needed(graph: Graph) -> list[Node]:
    """The nodes that the result depends on, in their order."""
    assert graph.result is not None
    todo = _nodes(graph.result)
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if node.index not in seen:
            seen.add(node.index)
            for value in node.reads:
                todo += _nodes(value)
    return [graph.nodes[index] for index in sorted(seen)]


def joined(graph: Graph) -> Graph:
    """The graph with one :class:`Joint` for what each call of a function cannot fold.

    The graph is not changed. Numbers and indices of nodes stay: a joint has those of the first node
    that it stands for.
    """
    nodes = needed(graph)
    calls = _calls(graph, nodes)
    if not calls:
        return graph
    rewriting = _Rewriting(calls)
    for node in nodes:
        rewriting.add(node)
    result = graph.copy()
    result.nodes = [rewriting.made.get(node.index, node) for node in graph.nodes]
    assert graph.result is not None
    result.result = rewriting.read(graph.result)
    return result


def _nodes(value: Value | Scattered) -> list[Node]:
    return list(value.nodes)


def _calls(graph: Graph, nodes: Iterable[Node]) -> list[list[Unary]]:
    """By call, functions that cannot fold, where there are several of one size."""
    times: Counter[int] = Counter()
    inner: set[int] = set()  # functions of which there is a function
    assert graph.result is not None
    times.update(node.index for node in _nodes(graph.result))
    found: dict[tuple[int, int, int], list[Unary]] = defaultdict(list)
    for node in nodes:
        for value in node.reads:
            times.update(one.index for one in _nodes(value))
        if isinstance(node, Unary):
            inner.add(node.source.index)
        if isinstance(node, Sum) and node.function is not None:
            inner.add(node.function.index)
    for node in nodes:
        if isinstance(node, Unary) and node.index not in inner:
            source = node.source
            if times[source.index] > 1 or isinstance(source, Input):
                found[(node.call, *node.shape[1:])].append(node)
    return [call for call in found.values() if len(call) > 1]


class _Rewriting:
    """Nodes of the new graph, by index."""

    def __init__(self, calls: list[list[Unary]]) -> None:
        self.made: dict[int, Node] = {}
        self._call = {node.index: call for call in calls for node in call}
        self._rows: dict[int, NDArray[np.int64]] = {}  # of a joint, for a node's channels

    def add(self, node: Node) -> None:
        call = self._call.get(node.index)
        if call is None:
            self.made[node.index] = self._with_new_reads(node)
        elif node is call[0]:
            self._join(call)

    def _join(self, call: list[Unary]) -> None:
        first = call[0]
        parts, start = [], 0
        for node in call:
            count = int(node.used.sum())
            rows = np.full(len(node.used), -1)
            rows[node.used] = np.arange(start, start + count)
            self._rows[node.index] = rows
            (piece,) = node.argument.pieces
            source = self._piece(piece)
            parts.append(dataclasses.replace(source, rows=np.arange(start, start + count)))
            start += count
        shape = (start, *first.shape[1:])
        joint = Joint(
            first.name,
            first.where,
            shape,
            first.number,
            first.index,
            value=Value(shape, tuple(parts), np.zeros(start)),
            function=first.function,
            clamp=first.clamp,
            parts=tuple((node.index, np.flatnonzero(node.used)) for node in call),
        )
        for node in call:
            self.made[node.index] = joint

    def _with_new_reads(self, node: Node) -> Node:
        if isinstance(node, Unary):
            return dataclasses.replace(node, source=self._node(node.source))
        if isinstance(node, Dense):
            return dataclasses.replace(node, elements=self._scattered(node.elements))
        if isinstance(node, Sum):
            function = node.function
            if function is not None:
                function = dataclasses.replace(function, source=self._node(function.source))
            values = tuple(self._value(value) for value in node.values)
            return dataclasses.replace(node, values=values, function=function)
        value = getattr(node, "value", None)
        if isinstance(value, Value):
            return dataclasses.replace(node, value=self._value(value))  # type: ignore[call-arg]
        return node

    def _node(self, node: Node) -> Node:
        return self.made.get(node.index, node)

    def read(self, value: Value | Scattered) -> Value | Scattered:
        return self._value(value) if isinstance(value, Value) else self._scattered(value)

    def _piece(self, piece: Piece) -> Piece:
        rows = self._rows.get(piece.node.index)
        channels = piece.channels if rows is None else rows[piece.channels]
        return dataclasses.replace(piece, node=self._node(piece.node), channels=channels)

    def _value(self, value: Value) -> Value:
        """The value, pieces of one joint that lie alike being one."""
        pieces: list[Piece] = []
        for piece in map(self._piece, value.pieces):
            for number, other in enumerate(pieces):
                if isinstance(piece.node, Joint) and _alike(other, piece):
                    pieces[number] = _together(other, piece)
                    break
            else:
                pieces.append(piece)
        return dataclasses.replace(value, pieces=tuple(pieces))

    def _scattered(self, elements: Scattered) -> Scattered:
        nodes: list[Node] = []
        owner, place = elements.owner.copy(), elements.place.copy()
        for number, node in enumerate(elements.nodes):
            new = self._node(node)
            if new not in nodes:
                nodes.append(new)
            own = elements.owner == number
            owner[own] = nodes.index(new)
            rows = self._rows.get(node.index)
            if rows is not None:
                size = node.shape[1] * node.shape[2]
                place[own] = rows[place[own] // size] * size + place[own] % size
        return dataclasses.replace(elements, nodes=tuple(nodes), owner=owner, place=place)


def _alike(one: Piece, other: Piece) -> bool:
    return (
        one.node is other.node
        and np.array_equal(one.y, other.y)
        and np.array_equal(one.x, other.x)
        and not set(one.channels.tolist()) & set(other.channels.tolist())
    )


def _together(one: Piece, other: Piece) -> Piece:
    order = np.argsort(np.concatenate([one.rows, other.rows]), kind="stable")
    return dataclasses.replace(
        one,
        rows=np.concatenate([one.rows, other.rows])[order],
        channels=np.concatenate([one.channels, other.channels])[order],
        gain=np.concatenate([one.gain, other.gain])[order],
        offset=np.concatenate([one.offset, other.offset])[order],
        fill=np.concatenate([one.fill, other.fill])[order],
    )
