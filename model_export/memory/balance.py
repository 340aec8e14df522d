"""Dealing items to bins so that the bins' loads are even in every dimension at once.

Rows dealt to elements have one load per cluster, channels dealt to clusters have one for the
layer that reads them and others for the layer that computes them. What counts is the largest
load: the slowest element or cluster holds up the others.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["deal"]

#: Swaps at most, and items looked at for one: of the fullest bin, and of all others.
_MOST_SWAPS = 1000
_CANDIDATES = (32, 256)
#: Improvement of the sum of squares, relative to an even load's, below which a swap is not made.
_LEAST_GAIN = 1e-9


def deal(
    items: NDArray[np.float64], room: list[int], load: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Bin of every item; ``room[b]`` items go to bin ``b`` at most.

    Items are dealt heaviest first, each to the bin where it adds least to the sum of squared
    loads; then items of the fullest bins are swapped while that lowers the sum. Deterministic.

    Parameters
    ----------
    items : (items, dimensions)
        What each item adds to its bin's loads. A dimension counts by its share of the mean load
        over bins; scale a column to make it count more.
    room : list of int
        Room for at least as many items as there are.
    load : (bins, dimensions), optional
        What the bins hold already; updated.
    """
    count, dimensions = items.shape
    bins = len(room)
    held = np.zeros((bins, dimensions)) if load is None else load
    result = np.zeros(count, np.int64)
    if not count or bins == 1:
        held[0] += items.sum(axis=0)
        return result
    free = np.array(room)
    fill_order = np.argsort(-items.sum(axis=1), kind="stable")
    # What an item adds is 2 held.item, with equal ones the least load; no room is no choice.
    aside = 5e-13 * held.sum(axis=1)
    aside[free == 0] = np.inf
    weight = 5e-13 * items.sum(axis=1)
    for item in fill_order.tolist():
        chosen = int((held @ items[item] + aside).argmin())
        result[item] = chosen
        held[chosen] += items[item]
        free[chosen] -= 1
        aside[chosen] = aside[chosen] + weight[item] if free[chosen] else np.inf
    if dimensions:
        _swap(items, result, held)
    return result


def _swap(items: NDArray[np.float64], result: NDArray[np.int64], held: NDArray[np.float64]) -> None:
    threshold = -_LEAST_GAIN * float((held.mean(axis=0) ** 2).sum() + 1e-300)
    squares = np.einsum("id,id->i", items, items)
    height = held.max(axis=1)
    stuck: list[int] = []
    for number in range(_MOST_SWAPS):
        candidates = height.copy()
        candidates[stuck] = -np.inf
        fullest = int(candidates.argmax())
        if candidates[fullest] == -np.inf:
            return
        own = _some(np.flatnonzero(result == fullest), _CANDIDATES[0], number)
        others = _some(np.flatnonzero(result != fullest), _CANDIDATES[1], number)
        # Swapping i out of the bin f and j out of b changes the sum of squares by
        # 2 (L_b - L_f).(v_i - v_j) + 2 |v_i - v_j|^2.
        mine, theirs = items[own], items[others]
        slope = held[result[others]] - held[fullest]
        change = mine @ (slope - 2 * theirs).T
        change += squares[own][:, None]
        change += squares[others] - np.einsum("id,id->i", slope, theirs)
        best = int(change.argmin()) if change.size else 0
        if not change.size or float(change.flat[best]) >= threshold:
            stuck.append(fullest)
            continue
        one, other = divmod(best, len(others))
        first, second = int(own[one]), int(others[other])
        bin_of_second = int(result[second])
        difference = items[first] - items[second]
        held[fullest] -= difference
        held[bin_of_second] += difference
        result[first], result[second] = bin_of_second, fullest
        height[fullest], height[bin_of_second] = held[fullest].max(), held[bin_of_second].max()
        stuck.clear()


def _some(items: NDArray[np.int64], most: int, number: int) -> NDArray[np.int64]:
    """At most ``most`` of the items, others for every ``number``."""
    if len(items) <= most:
        return items
    step = len(items) // most
    return items[number % step :: step][:most]
