"""A figure with its doubt: low, typical and high value."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.errors import CostError

__all__ = ["Band", "Extremes", "square_side", "total"]


@dataclass(frozen=True)
class Band(JsonObject):
    """Three values of one quantity that are carried through every calculation side by side.

    ``low`` and ``high`` are what the extremes of the published figures give when all of them are
    low or high at once, so a sum's band is wider than chance would make it.

    Parameters
    ----------
    low, typical, high : float
        ``low <= typical <= high``, none negative.

    Raises
    ------
    CostError
        They are not like that, or not finite.
    """

    low: float
    typical: float
    high: float

    def __post_init__(self) -> None:
        values = (self.low, self.typical, self.high)
        if not all(math.isfinite(value) for value in values):
            raise CostError(f"{values} are not all finite")
        if self.low < 0:
            raise CostError(f"low is {self.low:g}, which is negative")
        if not self.low <= self.typical <= self.high:
            raise CostError(
                f"low {self.low:g}, typical {self.typical:g} and high {self.high:g} "
                f"are not in rising order"
            )

    @classmethod
    def exact(cls, value: float) -> "Band":
        """A value without doubt."""
        return cls(value, value, value)

    def __add__(self, other: "Band") -> "Band":
        return Band(self.low + other.low, self.typical + other.typical, self.high + other.high)

    def __mul__(self, other: "float | Band") -> "Band":
        if isinstance(other, Band):
            return Band(self.low * other.low, self.typical * other.typical, self.high * other.high)
        return Band(self.low * other, self.typical * other, self.high * other)

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> "Band":
        return Band(self.low / other, self.typical / other, self.high / other)

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Extremes(JsonObject):
    """What follows if all figures are low, typical or high; a quotient need not rise with them."""

    low: float
    typical: float
    high: float


def total(bands: Iterable[Band]) -> Band:
    """Sum of bands; zero where there are none."""
    result = Band(0.0, 0.0, 0.0)
    for band in bands:
        result = result + band
    return result


def square_side(area: Band) -> Band:
    """Side of a square, mm, of its area, um2."""
    return Band(*(math.sqrt(value) * 1e-3 for value in (area.low, area.typical, area.high)))
