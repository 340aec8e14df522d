"""Elements that come from several places within one channel, as a sum: a layer adds up values each
of which is zero where the others are.

That is what depth-to-space, writes into parts of a channel and masks of zeros become.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.frontend.elements import CONSTANT, Elements
from tritforge.model_export.frontend.graph import Graph, Value, extract

__all__ = ["MOST_PIECES", "parts"]

#: Column groups that such a layer may have: half of what a tile holds.
MOST_PIECES = 128

Mask = NDArray[np.bool_]


def parts(graph: Graph, elements: Elements, one: int | None) -> tuple[Value, ...] | None:
    """Values that add up to elements of one sample, (channels, height, width); None where they
    would be too many, or need an element that is 1 and ``one`` is None.

    Parameters
    ----------
    one : int or None
        Number of an element that is 1; offsets that differ within a channel are multiples of it.
    """
    channels, height, width = elements.shape
    offset = elements.offsets()
    flat = offset.reshape(len(offset), -1)
    even = (flat == flat[:, :1]).all(dim=1)
    constants = torch.where(even, flat[:, 0], 0.0)
    uneven = torch.where(even[:, None, None], 0.0, offset)
    found = [Value((channels, height, width), (), constants.numpy().copy())]
    terms = [Elements(elements.source, elements.gain)]
    if bool(uneven.any()):
        if one is None:
            return None
        terms.append(Elements(torch.where(uneven != 0, one, CONSTANT), uneven))
    count = 0
    for term in terms:
        for mask in _classes(graph, term):
            inside = torch.from_numpy(mask)
            gain = None if term.gain is None else torch.where(inside, term.gain, 1.0)
            part = Elements(torch.where(inside, term.source, CONSTANT), gain)
            value = extract(graph, part)
            count += 1 if value is None else len(value.pieces)
            if value is None or count > MOST_PIECES:
                return None
            found.append(value)
    return tuple(found)


def _classes(graph: Graph, term: Elements) -> Iterator[Mask]:
    """Masks (channels, height, width) in each of which all elements of a channel come from one
    channel, with one gain, and rows and columns of it."""
    owner, place = graph.owners(term.source)
    gain = term.gains().numpy()
    sizes = np.array([node.shape[1] * node.shape[2] for node in graph.nodes])
    widths = np.array([node.shape[2] for node in graph.nodes])
    channel, rest = place // sizes[owner], place % sizes[owner]
    x = rest % widths[owner]
    ranks = np.full(owner.shape, -1)
    for number in range(len(owner)):
        live = owner[number] >= 0
        if live.any():
            keys = np.stack([owner[number], channel[number], gain[number].view(np.int64)])
            ranks[number][live] = _ranks(keys[:, live])
            ranks[number] = _split(ranks[number], x[number])
    for rank in range(int(ranks.max(initial=-1)) + 1):
        yield ranks == rank


def _ranks(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same number for the same column of ``keys``."""
    _, inverse = np.unique(keys, axis=1, return_inverse=True)
    return inverse.reshape(-1)


def _split(ranks: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranks of one channel's elements, such that each is of whole rows and columns."""
    result = np.full(ranks.shape, -1)
    count = 0
    for rank in range(int(ranks.max()) + 1):
        inside = ranks == rank
        rows = np.flatnonzero(inside.any(axis=1))
        patterns = np.where(inside, x, -1)[rows]
        _, kinds = np.unique(patterns, axis=0, return_inverse=True)
        for kind in range(int(kinds.max()) + 1):
            own = rows[kinds.reshape(-1) == kind]
            result[own] = np.where(inside[own], count, result[own])
            count += 1
    return result
