"""Numbers of a page: every one is written by one class, with its raw value and where that stands.

A page embeds the documents that its numbers come from. A number on it is ``<data value="RAW"
data-in="DOCUMENT" data-path="PATH" data-kind="KIND" data-unit="UNIT">TEXT</data>``: TEXT times
``KINDS[KIND][UNIT]`` is RAW, rounded, and RAW is what DOCUMENT holds at PATH, keys and indices
joined by dots. Texts of plots are in a group with the same attributes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tritforge.tables.table import significant

__all__ = ["KINDS", "Numbers", "rounded"]

#: Units of every kind of quantity, smallest first, each in the unit that documents use.
KINDS: dict[str, dict[str, float]] = {
    "energy": {"pJ": 1.0, "nJ": 1e3, "µJ": 1e6, "mJ": 1e9, "J": 1e12},
    "area": {"µm²": 1.0, "mm²": 1e6},
    "time": {"ns": 1e-3, "µs": 1.0, "ms": 1e3, "s": 1e6},
    "power": {"µW": 1e-3, "mW": 1.0, "W": 1e3},
    "clock": {"MHz": 1.0},
    "bytes": {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    "share": {"%": 0.01},
    "factor": {"x": 1.0},
    "count": {"": 1.0},
    "seconds": {"s": 1.0},
    "pJ": {"pJ": 1.0},
    "number": {"": 1.0},
}
#: What stands where there is no number.
NOTHING = Markup('<span class="none" title="not counted, or not applicable">\u2013</span>')


def rounded(value: float, digits: int = 3) -> str:
    """As :func:`tritforge.tables.table.significant`, with an exponent where more than seven decimal
    places would be needed."""
    if value and digits - 1 - math.floor(math.log10(abs(value))) > 7:
        return f"{value:.{digits - 1}e}"
    return significant(value, digits)


class Numbers:
    """Writes numbers of documents.

    Parameters
    ----------
    documents
        JSON values by the name under which the page embeds them.
    """

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self.documents = documents

    def value(self, path: str, source: str = "estimate") -> Any:
        """What stands at a path; None where the path ends at None."""
        place = self.documents[source]
        for key in path.split("."):
            if place is None:
                return None
            place = place[int(key)] if isinstance(place, Sequence) else place[key]
        return place

    def unit(self, values: Sequence[float | None], kind: str) -> str:
        """The largest unit in which the largest of some values is 1 or more."""
        largest = max((abs(one) for one in values if one is not None), default=0.0)
        units = list(KINDS[kind])
        if not largest:
            return units[0] if kind != "time" else "µs"
        fitting = [unit for unit in units if largest >= KINDS[kind][unit]]
        return fitting[-1] if fitting else units[0]

    def text(self, value: float, kind: str, unit: str, digits: int = 3) -> str:
        """A number in a unit, without the unit."""
        scaled = value / KINDS[kind][unit]
        if kind == "count" and (float(value).is_integer() or abs(value) >= 1000):
            return f"{round(value):,}"
        if kind == "share":  # of a whole: one place is enough, and columns line up
            return "0" if value == 0 else f"{scaled:.1f}"
        if kind in ("clock", "number") and float(scaled).is_integer() and abs(scaled) < 1e6:
            return f"{scaled:,.0f}"
        return rounded(scaled, digits)

    def bare(
        self,
        path: str,
        kind: str = "number",
        source: str = "estimate",
        *,
        unit: str | None = None,
        digits: int = 3,
    ) -> Markup:
        """A number without its unit."""
        value = self.value(path, source)
        if value is None:
            return NOTHING
        return self._data(path, source, kind, unit or self.unit([value], kind), digits)

    def __call__(
        self,
        path: str,
        kind: str = "number",
        source: str = "estimate",
        *,
        unit: str | None = None,
        digits: int = 3,
    ) -> Markup:
        """A number and its unit."""
        value = self.value(path, source)
        if value is None:
            return NOTHING
        chosen = unit or self.unit([value], kind)
        return self._data(path, source, kind, chosen, digits) + _after(chosen)

    def band(
        self,
        path: str,
        kind: str = "energy",
        source: str = "estimate",
        *,
        unit: str | None = None,
        digits: int = 3,
        bare: bool = False,
    ) -> Markup:
        """Typical value, and low to high; without the unit if ``bare``."""
        band = self.value(path, source)
        if band is None:
            return NOTHING
        chosen = unit or self.unit([band["typical"] or band["high"]], kind)
        low, typical, high = (
            self._data(f"{path}.{key}", source, kind, chosen, digits)
            for key in ("low", "typical", "high")
        )
        first = Markup('<span class="typical">{}{}</span>').format(
            typical, "" if bare else _after(chosen)
        )
        if band["low"] == band["high"]:
            return first + (Markup(' <span class="range">exact</span>') if band["high"] else "")
        return Markup('<span class="band">{} <span class="range">{}\u2013{}</span></span>').format(
            first, low, high
        )

    def attributes(self, path: str, source: str, kind: str, unit: str) -> Markup:
        """Attributes of what holds a number as its text."""
        return Markup('data-in="{}" data-path="{}" data-kind="{}" data-unit="{}"').format(
            source, path, kind, unit
        )

    def _data(self, path: str, source: str, kind: str, unit: str, digits: int) -> Markup:
        value = self.value(path, source)
        return Markup('<data value="{}" {}>{}</data>').format(
            json.dumps(value),
            self.attributes(path, source, kind, unit),
            self.text(value, kind, unit, digits),
        )


def _after(unit: str) -> Markup:
    """A unit behind its number."""
    if not unit:
        return Markup("")
    return Markup("{}" if unit == "x" else "\u00a0{}").format(unit)
