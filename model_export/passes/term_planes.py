"""Integers as sums of ternary planes with few nonzero trits.

A plane adds ``plus``, nothing or ``-minus`` to each integer. The hardware takes any such pair: a
scaler has both products ready. Every nonzero trit is an addition, every plane one more broadcast of
each nonzero activation. Canonical signed digits (plus = minus = 2^k; Avizienis, "Signed-digit
number representations for fast parallel arithmetic", 1961) need about 2.4 nonzero trits for an
8-bit weight. Pairs chosen for the integers that occur need 2.1, or 1.9 where most are small, in as
many planes: eight pairs have 129 sums of at most two terms, small ones if need be.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_SEARCHED", "TermPlane", "planes_form", "signed_digits", "term_planes"]

#: Largest magnitude for which pairs are searched, in about half a second; the time grows with its
#: square. Tensors with larger integers are canonical signed digits.
LARGEST_SEARCHED = 127
#: What a plane costs per activation, in additions of an element: a broadcast. Measured with the
#: cycle model on presets ``alexnet`` and ``tiny``: 0.64 to 0.98 puts 6, 7 and 8 planes in the order
#: of their cycles, for 4 and 6 rows an element; see ``docs/decisions/term-planes.md``.
_BROADCAST = 0.8
#: The same where a kernel position has so few channels that clusters find one or none: a walker
#: takes about two cycles for it.
_NARROW_BROADCAST, _NARROW = 2.0, 4
#: Terms that count for an integer which no sum reaches.
_UNREACHED = 1000
#: Weight of all integers together while pairs are searched; costs fit 32 bits.
_TOTAL = 1 << 20
#: First terms of a pair that are tried.
_FIRST_TERMS = 8
#: Least part of the weight that an integer has, however rare: it must be reached.
_LEAST_SHARE = 1 / (1 << 14)

_Pair = tuple[int, int]
#: Trits of every integer, plus, minus.
_Plane = tuple[NDArray[np.int8], int, int]


@dataclass(frozen=True)
class TermPlane:
    """Adds ``plus`` where its trit is 1 and ``-minus`` where it is -1."""

    trits: NDArray[np.int8]
    plus: int
    minus: int


def planes_form(count: int, nonzero: float) -> str:
    """What reports say of weights in so many planes, with so many nonzero trits a weight."""
    what = "1 ternary plane" if count == 1 else f"sums of {count} ternary planes"
    return f"{what} ({nonzero:.2f} nonzero trits a weight)"


def signed_digits(values: NDArray[np.int64]) -> list[NDArray[np.int8]]:
    """Canonical signed digits of integers, lowest position first.

    Returns
    -------
    list of arrays of -1, 0, 1, shaped like ``values``
        ``values == sum(2**j * digits[j])``; no two adjacent digits of a value are nonzero. As
        many positions as the largest value needs, at least one.
    """
    rest = values.astype(np.int64)
    digits = []
    while True:
        # an odd rest takes the digit (+1 or -1) that leaves a multiple of 4
        digit = np.where(rest & 1, 2 - (rest & 3), 0)
        digits.append(digit.astype(np.int8))
        rest = (rest - digit) >> 1
        if not rest.any():
            return digits


def term_planes(
    values: NDArray[np.int64], channels: int, *, rows: int | None = None
) -> list[TermPlane]:
    """Planes that add up to ``values`` (rows, ...) exactly.

    Of all numbers of planes up to that of canonical signed digits, the one is taken that costs an
    element the least per activation: ``rows * nonzero trits per weight + broadcast * planes``, with
    0.8 for a broadcast, 2 where there are few channels. There are never more planes or nonzero
    trits than with canonical digits, which are the answer where the search finds nothing better and
    for integers above :data:`LARGEST_SEARCHED`.

    Parameters
    ----------
    values : array (rows, ...)
    channels : int
        Input channels at a kernel position on the chip.
    rows : int, optional
        Where these are not all rows of the layer, or in another shape: how many it has.

    Returns
    -------
    list of TermPlane
        Small pairs first, the same for the same values; none if all are zero. Unless they are
        canonical digits, no pair exceeds the largest magnitude.
    """
    largest = int(np.abs(values).max(initial=0))
    counts = np.bincount((values + largest).ravel(), minlength=2 * largest + 1)
    integers = np.flatnonzero(counts) - largest
    planes = _planes(
        tuple(integers.tolist()),
        tuple(counts[integers + largest].tolist()),
        _rows_per_element(len(values) if rows is None else rows),
        _BROADCAST if channels > _NARROW else _NARROW_BROADCAST,
    )
    result = []
    for trits, plus, minus in planes:
        table = np.zeros(len(counts), np.int8)
        table[integers + largest] = trits
        result.append(TermPlane(table[values + largest], plus, minus))
    return result


def _rows_per_element(rows: int) -> float:
    """Rows that share a broadcast in one element: on ``tiny`` (4 elements of 4 rows) or on
    ``ulx3s_85f`` and ``alexnet`` (16 of 16), whichever is more."""
    return max(min(4.0, rows / 4), min(16.0, rows / 16))


@lru_cache(maxsize=64)
def _planes(
    integers: tuple[int, ...], counts: tuple[int, ...], rows: float, broadcast: float
) -> list[_Plane]:
    """Planes of a histogram; ``rows`` of an element share a broadcast that costs ``broadcast``."""
    values, weights = np.array(integers, np.int64), np.array(counts, np.int64)
    digits = [
        (digit, 1 << place, 1 << place)
        for place, digit in enumerate(signed_digits(values))
        if digit.any()
    ]
    if not digits or np.abs(values).max() > LARGEST_SEARCHED:
        return digits
    most = _nonzero(digits, weights)

    def cost(planes: list[_Plane] | None) -> float:
        if planes is None or (trits := _nonzero(planes, weights)) > most:
            return math.inf
        return rows * trits + broadcast * len(planes)

    search = _Search(values, weights)
    grown = min(search.grow(len(digits)), key=lambda pairs: cost(_sums(values, pairs)))
    starts = [grown]
    if len(grown) == len(digits):
        starts.append(search.improve([(plus, -minus) for _, plus, minus in digits]))
    found = [_sums(values, search.exchange(pairs)) for pairs in starts]
    return min((planes for planes in (digits, *found) if planes is not None), key=cost)


def _nonzero(planes: list[_Plane], counts: NDArray[np.int64]) -> float:
    """Nonzero trits per weight."""
    return sum(int(counts[trits != 0].sum()) for trits, _, _ in planes) / int(counts.sum())


# ----- the search for pairs


class _Search:
    """Costs of pairs: the fewest terms of every integer times its weight, in whole numbers."""

    def __init__(self, integers: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        largest = int(np.abs(integers).max())
        shares = np.maximum(counts / counts.sum(), _LEAST_SHARE)
        self.weights = np.rint(shares * (_TOTAL / shares.sum())).astype(np.int32)
        self.terms = np.arange(-largest, largest + 1)
        self.reach = 3 * largest  # sums beyond are not looked at
        self.whole = integers + self.reach
        self.rest = self.whole - self.terms[:, None]

    def best_addition(self, pairs: list[_Pair]) -> tuple[_Pair, int]:
        """A pair that lowers the cost of ``pairs`` much, and the cost with it: its first term is
        one of the best alone, the second the best beside it."""
        sums = self._fewest(pairs)
        # by term and integer: with the term or without it, whichever costs less
        costs = np.minimum(sums[self.rest] + 1, sums[self.whole]) * self.weights
        firsts = np.argsort(costs.sum(axis=1, dtype=np.int32), kind="stable")[:_FIRST_TERMS]
        found: list[tuple[int, _Pair]] = []
        for first in firsts:
            both = np.minimum(costs[first], costs).sum(axis=1, dtype=np.int32)
            second = int(both.argmin())
            found.append((int(both[second]), (int(self.terms[first]), int(self.terms[second]))))
        cost, pair = min(found)
        return pair, cost

    def _fewest(self, pairs: list[_Pair]) -> NDArray[np.int32]:
        """The fewest terms of each sum from -reach to reach."""
        table = np.full(2 * self.reach + 1, _UNREACHED, np.int32)
        table[self.reach] = 0
        for pair in pairs:
            before = table + 1
            table = table.copy()
            for term in pair:
                low, high = max(term, 0), min(term, 0)
                part = table[low : len(table) + high]
                np.minimum(part, before[-high : len(table) - low], out=part)
        return np.minimum(table, np.int32(_UNREACHED - 1))

    def improve(self, pairs: list[_Pair]) -> list[_Pair]:
        """Each pair in turn replaced by a better one beside the others, until there is none."""
        pairs, cost = list(pairs), self._cost(pairs)
        unchanged, place = 0, 0
        while unchanged < len(pairs):
            pair, found = self.best_addition(pairs[:place] + pairs[place + 1 :])
            if found < cost:
                pairs[place], cost, unchanged = pair, found, 0
            unchanged += 1
            place = (place + 1) % len(pairs)
        return pairs

    def grow(self, most: int) -> Iterator[list[_Pair]]:
        """Pairs for 1, 2, .. ``most`` planes: one more, then all improved."""
        pairs: list[_Pair] = []
        for _ in range(most):
            pairs = self.improve([*pairs, self.best_addition(pairs)[0]])
            yield pairs

    def exchange(self, pairs: list[_Pair]) -> list[_Pair]:
        """Every two pairs once replaced by two others and the result improved, where it is better
        so: a way out of what :meth:`improve` gets stuck in."""
        cost = self._cost(pairs)
        for first, second in combinations(range(len(pairs)), 2):
            other = [pair for place, pair in enumerate(pairs) if place not in (first, second)]
            for _ in range(2):
                other.append(self.best_addition(other)[0])
            other = self.improve(other)
            if (found := self._cost(other)) < cost:
                pairs, cost = other, found
        return pairs

    def _cost(self, pairs: list[_Pair]) -> int:
        return int((self._fewest(pairs)[self.whole] * self.weights).sum())


def _sums(integers: NDArray[np.int64], pairs: list[_Pair]) -> list[_Plane] | None:
    """Planes that make every integer of the fewest terms, of these the smallest; None if there
    is an integer that the pairs do not make."""
    pairs = sorted(
        ((max(pair), min(pair)) for pair in pairs), key=lambda pair: (max(map(abs, pair)), pair)
    )
    reach = sum(max(map(abs, pair)) for pair in pairs)
    # cost of a sum: its terms, then their magnitudes, all of which are less than `one`
    one, unreached = reach + 1, 1 << 40
    tables = [np.full(2 * reach + 1, unreached)]
    tables[0][reach] = 0
    for pair in pairs:
        table = tables[-1].copy()
        for term in pair:
            if term:
                low, high = max(term, 0), min(term, 0)
                part = table[low : len(table) + high]
                np.minimum(part, tables[-1][-high : len(table) - low] + one + abs(term), out=part)
        tables.append(table)
    if (np.abs(integers) > reach).any() or (tables[-1][integers + reach] >= unreached).any():
        return None
    planes: list[_Plane] = []
    rest = integers + reach
    for number in range(len(pairs) - 1, -1, -1):
        before, (plus, minus) = tables[number], pairs[number]
        trits = np.zeros(len(integers), np.int8)
        for trit, term in ((1, plus), (-1, minus)):
            taken = (trits == 0) & (before[rest] > tables[number + 1][rest])
            inside = (rest - term).clip(0, 2 * reach)
            taken &= before[inside] + one + abs(term) == tables[number + 1][rest]
            trits[taken] = trit
        rest = rest - np.where(trits > 0, plus, np.where(trits < 0, minus, 0))
        if trits.any():
            planes.append(_plane(trits, plus, minus))
    return planes[::-1]


def _plane(trits: NDArray[np.int8], plus: int, minus: int) -> _Plane:
    """A plane of terms ``plus`` and ``minus``; a term that no trit stands for mirrors the other,
    and the only one is positive if it can be."""
    if not (trits > 0).any() or not (trits < 0).any():
        only = plus if (trits > 0).any() else minus
        return (np.abs(trits) * np.int8(np.sign(only))).astype(np.int8), abs(only), abs(only)
    return trits, plus, -minus
