"""The order in which the rows of a layer in blocks of pixels are drained.

What is merged waits while an earlier value of the same activation is on its way to memory, and
while its word is written (:mod:`tritforge.hw.merge`). The rows of a channel are alike, whichever
pixel of the block they are of, so there is a choice.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.network import Blocks

__all__ = ["rows_of_pixels", "spread_rows"]


def spread_rows(
    channel: NDArray[np.int64], element: NDArray[np.int64], element_count: int
) -> NDArray[np.int64]:
    """Accumulators of a tile's rows, of which every channel has as many, so that those of a channel
    are drained far from one another: one row of every channel, then another, and so on.

    Parameters
    ----------
    channel, element : (rows,)
    """
    left: dict[int, list[int]] = {}
    for index, one in enumerate(channel.tolist()):
        left.setdefault(one, []).append(index)
    elements: list[int] = element.tolist()
    accumulator = np.zeros(len(elements), np.int64)
    used = [0] * element_count
    for _ in range(len(elements) // max(1, len(left))):
        taken = [0] * element_count  # evenly from the elements
        for indices in left.values():
            index = min(indices, key=lambda one: (taken[elements[one]], used[elements[one]], one))
            indices.remove(index)
            accumulator[index] = used[elements[index]]
            used[elements[index]] += 1
            taken[elements[index]] += 1
    return accumulator


def rows_of_pixels(
    blocks: Blocks,
    channel: NDArray[np.int64],
    slices: NDArray[np.int64],
    step: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The layer's row that each of a tile's rows becomes.

    In the order of the drain the rows of a channel go round the output pixels of a block, and
    channels of one slice begin with other pixels, so that words alternate. Of those that feed one
    output pixel, the first is the first pixel of its window, and so on.

    Parameters
    ----------
    channel, slices, step : (rows,)
        Channel, slice that it goes to, and step of the drain.
    """
    windows = math.prod(blocks.windows)
    rows = np.zeros(len(channel), np.int64)
    order = np.lexsort((step, channel))
    for own in np.split(order, np.flatnonzero(np.diff(channel[order])) + 1):
        beside = np.unique(channel[slices == slices[own[0]]])
        place = int(np.searchsorted(beside, channel[own[0]]))
        turn = place * max(1, windows // len(beside))
        rank = np.arange(blocks.pixels)
        pixel = blocks.pixel((rank + turn) % windows, rank // windows)
        rows[own] = channel[own] * blocks.pixels + pixel
    return rows
