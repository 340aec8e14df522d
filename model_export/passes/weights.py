"""Weights as trits: how one trained tensor becomes ternary planes.

A tensor is, in this order of preference, ternary as a whole, ternary per filter with one
magnitude each, an exact grid of small integers, or rounded to one. The integers of the last two
become sums of ternary planes, whose Wp and Wn are multiples of one step; see
:mod:`tritforge.model_export.passes.term_planes`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.passes.term_planes import planes_form, term_planes

__all__ = ["Plane", "WeightPlanes", "classify"]

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
    step: float = 0.0  # wp and wn are integers times this; 0: any two numbers


@dataclass(frozen=True)
class WeightPlanes:
    """``weight[r] = gain[r] * sum over planes of (wp where trit is 1, -wn where it is -1)``."""

    planes: list[Plane]
    gain: NDArray[np.float64]  # (rows,)
    note: str  # what became of the tensor
    error: float  # largest |stored - trained| / largest |trained|

    def reconstruct(self) -> NDArray[np.float64]:
        """The weights that the planes stand for, in the shape of the trained tensor."""
        total = np.zeros(self.planes[0].trits.shape, np.float64)
        for plane in self.planes:
            total += np.where(plane.trits > 0, plane.wp, 0.0)
            total -= np.where(plane.trits < 0, plane.wn, 0.0)
        return total * self.gain.reshape((-1,) + (1,) * (total.ndim - 1))


def classify(
    weight: NDArray[np.floating],
    *,
    name: str,
    digits: int = 8,
    per_tensor: bool = False,
    stride: tuple[int, int] = (1, 1),
) -> WeightPlanes:
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
    stride : tuple of int
        Of a convolution: strided first layers are folded, a block of pixels to one. It has a part
        in the choice of planes, not in what they add up to.

    Raises
    ------
    ExportError
        NaN or infinite weights; a tensor that is not ternary while ``digits`` is 0.
    """
    if digits != 0 and not 2 <= digits <= 16:
        raise ExportError(f"weights must have 0 (refuse) or 2 to 16 bits, not {digits}")
    broken = int(np.count_nonzero(~np.isfinite(weight)))
    if broken:
        raise ExportError(f"weight tensor {name} has {broken} values that are NaN or infinite")
    ternary = _ternary_per_tensor(weight) or _ternary_per_row(weight)
    if ternary is not None:
        return ternary
    if digits == 0:
        raise ExportError(
            f"weight tensor {name} is not ternary ({_count_values(weight)} distinct values) and "
            f"multi-bit weights are turned off; make it ternary or allow 2 or more bits"
        )
    return _grid(weight, digits, per_tensor, stride) or _rounded(weight, digits, per_tensor, stride)


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


def _grid(
    weight: NDArray[np.floating], digits: int, per_tensor: bool, stride: tuple[int, int]
) -> WeightPlanes | None:
    largest = (1 << (digits - 1)) - 1
    step = _find_step(weight, largest)
    if step is not None:
        return _planes(
            weight,
            np.full(len(weight), step),
            True,
            digits,
            stride,
            "weights are exact multiples of one step",
        )
    if per_tensor:
        return None
    steps = np.ones(len(weight))
    for row, values in enumerate(weight):
        if values.any():
            row_step = _find_step(values, largest)
            if row_step is None:
                return None
            steps[row] = row_step
    return _planes(
        weight, steps, False, digits, stride, "weights are exact multiples of one step per filter"
    )


def _rounded(
    weight: NDArray[np.floating], digits: int, per_tensor: bool, stride: tuple[int, int]
) -> WeightPlanes:
    largest = (1 << (digits - 1)) - 1
    magnitude = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    if per_tensor:
        magnitude[:] = magnitude.max()
    steps = np.where(magnitude == 0, 1.0, magnitude / largest)
    scope = "tensor" if per_tensor else "filter"
    return _planes(
        weight,
        steps,
        per_tensor,
        digits,
        stride,
        f"one step per {scope}, weights rounded, largest error {{error:.2g}} % of max",
    )


def _planes(
    weight: NDArray[np.floating],
    steps: NDArray[np.float64],
    common: bool,
    bits: int,
    stride: tuple[int, int],
    note: str,
) -> WeightPlanes:
    """Planes of round(weight / step); a common step goes into Wp and Wn, else into gain."""
    column = steps.reshape((-1,) + (1,) * (weight.ndim - 1))
    integers = np.rint(weight / column).astype(np.int64)
    error = float(np.abs(integers * column - weight).max() / np.abs(weight).max())
    terms = term_planes(integers, math.prod(weight.shape[1:2]) * math.prod(stride))
    divisor = math.gcd(*(value for term in terms for value in (term.plus, term.minus)))
    step = divisor * (float(steps[0]) if common else 1.0)
    planes = [
        Plane(term.trits, term.plus // divisor * step, term.minus // divisor * step, step)
        for term in terms
    ]
    nonzero = sum(int(np.count_nonzero(term.trits)) for term in terms) / weight.size
    return WeightPlanes(
        planes,
        np.ones(len(weight)) if common else steps,
        f"{bits}-bit weights as {planes_form(len(terms), nonzero)}, "
        + note.format(error=100 * error),
        error if "rounded" in note else 0.0,
    )
