"""Weights as trits: how one trained tensor becomes ternary planes.

A tensor is, in this order of preference, ternary as a whole, ternary per filter with one
magnitude each, an exact grid of small integers, or rounded to one. The last two become
canonical signed digits: digit position j is a plane of trits with Wp = Wn = 2^j steps, and about
one third of the digits are nonzero (Avizienis, "Signed-digit number representations for fast
parallel arithmetic", 1961).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.errors import ExportError

__all__ = ["Plane", "WeightPlanes", "classify", "signed_digits"]

#: Fractions of the smallest gap between two values that are tried as the step of a grid.
_STEP_DIVISORS = (1, 2, 3, 4)
#: A value is on a grid if it is this close to a multiple of the step, in steps; float32 values
#: that were computed as integer * step are off by at most 127 * 2^-23 of a step.
_GRID_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Plane:
    """Trits with one pair of weights: +1 stands for ``wp``, -1 for ``-wn``."""

    trits: NDArray[np.int8]
    wp: float
    wn: float


@dataclass(frozen=True)
class WeightPlanes:
    """``weight[r] = gain[r] * sum over planes of (wp where trit is 1, -wn where it is -1)``."""

    planes: list[Plane]
    gain: NDArray[np.float64]         # (rows,)
    note: str                         # what became of the tensor
    error: float                      # largest |stored - trained| / largest |trained|

    def reconstruct(self) -> NDArray[np.float64]:
        """The weights that the planes stand for, in the shape of the trained tensor."""
        total = np.zeros(self.planes[0].trits.shape, np.float64)
        for plane in self.planes:
            total += np.where(plane.trits > 0, plane.wp, 0.0)
            total -= np.where(plane.trits < 0, plane.wn, 0.0)
        return total * self.gain.reshape((-1,) + (1,) * (total.ndim - 1))


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


def classify(weight: NDArray[np.floating], *, name: str, digits: int = 8,
             per_tensor: bool = False) -> WeightPlanes:
    """Turn a trained tensor into planes of trits.

    Precondition: ternary values, if there are any, stand in the tensor itself.

    Parameters
    ----------
    weight : array (rows, ...)
        Trained weights, output channels first.
    name : str
        What errors call the tensor.
    digits : int
        Bits (sign included) to which a tensor is quantized that is neither ternary nor on a
        grid of that many bits; 0 refuses such tensors.
    per_tensor : bool
        Multi-bit weights share one step instead of one per row (a network's last layer, whose
        results must share one scale).

    Raises
    ------
    ExportError
        NaN or infinite weights; a tensor that is not ternary while ``digits`` is 0.
    """
    if digits != 0 and not 2 <= digits <= 16:
        raise ExportError(f"signed digits must be 0 (refuse) or 2 to 16 bits, not {digits}")
    broken = int(np.count_nonzero(~np.isfinite(weight)))
    if broken:
        raise ExportError(f"weight tensor {name} has {broken} values that are NaN or infinite")
    ternary = _ternary_per_tensor(weight) or _ternary_per_row(weight)
    if ternary is not None:
        return ternary
    if digits == 0:
        raise ExportError(
            f"weight tensor {name} is not ternary ({_count_values(weight)} distinct values) and "
            f"signed digits are turned off; make it ternary or allow 2 or more digits")
    return _grid(weight, digits, per_tensor) or _rounded(weight, digits, per_tensor)


def _values(weight: NDArray[np.floating], most: int) -> list[float] | None:
    """The distinct values, ascending; None if there are more than ``most``."""
    rest = weight.ravel()
    found: list[float] = []
    while rest.size:
        if len(found) == most:
            return None
        found.append(float(rest[0]))
        rest = rest[rest != rest[0]]
    return sorted(found)


def _count_values(weight: NDArray[np.floating]) -> int:
    return len(np.unique(weight))


def _ternary_per_tensor(weight: NDArray[np.floating]) -> WeightPlanes | None:
    values = _values(weight, 3)
    nonzero = [value for value in values or () if value != 0]
    if values is None or len(nonzero) > 2:
        return None
    if not nonzero:
        trits, wp, wn = np.zeros(weight.shape, np.int8), 1.0, 1.0
        note = "all weights are zero"
    elif len(nonzero) == 1:
        trits = np.sign(weight).astype(np.int8)
        wp = wn = abs(nonzero[0])
        note = "ternary with one value"
    else:
        low, high = nonzero
        trits = (weight == high).astype(np.int8) - (weight == low).astype(np.int8)
        wp, wn = high, -low
        note = "ternary" if len(values) == 3 else "binary"
    return WeightPlanes([Plane(trits, wp, wn)], np.ones(len(weight)), note, 0.0)


def _ternary_per_row(weight: NDArray[np.floating]) -> WeightPlanes | None:
    rows = np.abs(weight.reshape(len(weight), -1))
    largest = rows.max(axis=1, initial=0.0)
    if not np.all((rows == 0) | (rows == largest[:, None])):
        return None
    gain = np.where(largest == 0, 1.0, largest).astype(np.float64)
    plane = Plane(np.sign(weight).astype(np.int8), 1.0, 1.0)
    return WeightPlanes([plane], gain, "ternary per filter", 0.0)


def _find_step(weight: NDArray[np.floating], largest: int) -> float | None:
    """The step of the grid -largest..largest on which all values lie, or None."""
    if len(np.unique(weight.ravel()[:4096])) > 2 * largest + 1:
        return None
    magnitudes = np.unique(np.abs(weight.astype(np.float64)))
    magnitudes = magnitudes[magnitudes > 0]
    if not 0 < len(magnitudes) <= 2 * largest:
        return None
    gaps = np.diff(magnitudes, prepend=0.0)
    # values that should be equal may differ in the last bit; that is no gap
    smallest = gaps[gaps > magnitudes[-1] * 1e-5].min()
    for divisor in _STEP_DIVISORS:
        step = smallest / divisor
        multiples = np.rint(magnitudes / step)
        if multiples[-1] > largest:
            return None
        step = float(multiples @ magnitudes / (multiples @ multiples))
        if np.abs(magnitudes - multiples * step).max() <= _GRID_TOLERANCE * step:
            return step
    return None


def _grid(weight: NDArray[np.floating], digits: int, per_tensor: bool) -> WeightPlanes | None:
    largest = (1 << (digits - 1)) - 1
    step = _find_step(weight, largest)
    if step is not None:
        return _planes(weight, np.full(len(weight), step), True, f"{digits}-bit signed digits, "
                       "weights are exact multiples of one step")
    if per_tensor:
        return None
    steps = np.ones(len(weight))
    for row, values in enumerate(weight):
        if values.any():
            row_step = _find_step(values, largest)
            if row_step is None:
                return None
            steps[row] = row_step
    return _planes(weight, steps, False, f"{digits}-bit signed digits, "
                   "weights are exact multiples of one step per filter")


def _rounded(weight: NDArray[np.floating], digits: int, per_tensor: bool) -> WeightPlanes:
    largest = (1 << (digits - 1)) - 1
    magnitude = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    if per_tensor:
        magnitude[:] = magnitude.max()
    steps = np.where(magnitude == 0, 1.0, magnitude / largest)
    scope = "tensor" if per_tensor else "filter"
    return _planes(weight, steps, per_tensor,
                   f"{digits}-bit signed digits, one step per {scope}, weights rounded, "
                   "largest error {error:.2g} % of max")


def _planes(weight: NDArray[np.floating], steps: NDArray[np.float64], common: bool,
            note: str) -> WeightPlanes:
    """Signed-digit planes of round(weight / step); a common step goes into Wp, else into gain."""
    column = steps.reshape((-1,) + (1,) * (weight.ndim - 1))
    integers = np.rint(weight / column).astype(np.int64)
    error = float(np.abs(integers * column - weight).max() / np.abs(weight).max())
    unit = float(steps[0]) if common else 1.0
    planes = [Plane(trits, unit * 2**j, unit * 2**j)
              for j, trits in enumerate(signed_digits(integers)) if trits.any()]
    gain = np.ones(len(weight)) if common else steps
    return WeightPlanes(planes, gain, note.format(error=100 * error),
                        error if "rounded" in note else 0.0)
