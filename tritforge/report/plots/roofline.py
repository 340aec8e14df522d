"""Rooflines: additions a cycle against additions a byte."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from tritforge.report.numbers import Numbers
from tritforge.report.plots.legend import MOST_NAMED
from tritforge.report.plots.panels import WIDTH, log_ticks
from tritforge.report.plots.point_labels import Roof, place_labels
from tritforge.report.svg import INKS, Drawing, draw, shortened

__all__ = ["roofline"]


class _Words(NamedTuple):
    """What a roofline says of the memories, or of the port, that it is of."""

    name: str
    title: str
    bandwidth: str
    axis: str


_CHIP = _Words(
    "roofline-chip",
    "Roofline of the memories on the chip",
    "memories on the chip",
    "additions a byte read from trit and activation memories (logarithmic)",
)
_HOST = _Words(
    "roofline-host",
    "Roofline of the host port",
    "host port",
    "additions a byte through the host port (logarithmic)",
)


@dataclass(frozen=True)
class _Point:
    """A layer: its number from 1, name, additions a byte and a cycle; ``filled`` where it moves
    these bytes, not only would."""

    number: int
    name: str
    x: float
    y: float
    filled: bool


class _Limits(NamedTuple):
    """Ends of the axes."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float


def roofline(numbers: Numbers, host: bool) -> Markup | None:
    """Additions a cycle against additions a byte: of the memories on the chip, or of the host port.

    Layers without additions have no point. Nothing if no layer has one.
    """
    facts = numbers.value("roofline", "derived")
    points = _points(facts["layers"], host)
    if not points:
        return None
    bandwidth = facts["host_bytes_per_cycle" if host else "on_chip_bytes_per_cycle"]
    peak = facts["peak_adds_per_cycle"]
    xs, ys = [one.x for one in points] + [peak / bandwidth], [one.y for one in points]
    roof = Roof(min(xs) / 4, bandwidth, peak)
    limits = _Limits(roof.low_x, max(xs) * 6, min(*ys, peak / 4) / 1.8, peak * 2)
    named = len(facts["layers"]) <= MOST_NAMED
    words = _HOST if host else _CHIP

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        _axes(axes, limits, words)
        _roof(axes, roof, limits)
        _dots(axes, points)
        fixed = [_adders(axes, roof, limits), _bandwidth(axes, roof, limits, words)]
        names = [
            (shortened(one.name, 18) if named else str(one.number), one.x, one.y) for one in points
        ]
        place_labels(drawing, axes, names, fixed, roof)

    height = 340.0 + 6.0 * max(0, len(points) - 12)
    return draw(words.name, words.title, (WIDTH, height), paint)


def _points(layers: Sequence[Mapping[str, Any]], host: bool) -> list[_Point]:
    """Layers that add and move bytes; of the host port, where a layer sends none, by its packed
    trits, which it would send."""
    points = []
    for number, layer in enumerate(layers, 1):
        key = "adds_per_on_chip_byte"
        if host:
            key = "adds_per_host_byte" if layer["adds_per_host_byte"] else "adds_per_packed_byte"
        if layer["adds_per_cycle"] and layer[key]:
            points.append(
                _Point(
                    number,
                    layer["name"],
                    layer[key],
                    layer["adds_per_cycle"],
                    key != "adds_per_packed_byte",
                )
            )
    return points


def _axes(axes: Axes, limits: _Limits, words: _Words) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(limits.low_x, limits.high_x)
    axes.set_ylim(limits.low_y, limits.high_y)
    axes.grid()
    for which in "xy":
        log_ticks(axes, which)
    axes.set_xlabel(words.axis)
    axes.set_ylabel("additions a clock cycle (logarithmic)")


def _roof(axes: Axes, roof: Roof, limits: _Limits) -> None:
    low_x, bandwidth, peak = roof
    axes.plot([roof.ridge, limits.high_x], [peak, peak], color=INKS["ink"], linewidth=2)
    axes.plot([low_x, roof.ridge], [low_x * bandwidth, peak], color=INKS["c2"], linewidth=2)


def _dots(axes: Axes, points: Sequence[_Point]) -> None:
    for one in points:
        axes.plot(
            [one.x],
            [one.y],
            "o",
            markersize=7,
            color=INKS["c1"],
            markerfacecolor=INKS["c1"] if one.filled else INKS["paper"],
            markeredgewidth=1.6,
        )


def _adders(axes: Axes, roof: Roof, limits: _Limits) -> Annotation:
    """What the level roof is."""
    return axes.annotate(
        f"adders: {roof.peak:,.0f} additions a cycle",
        (limits.high_x, roof.peak),
        (-4, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=10,
    )


def _bandwidth(axes: Axes, roof: Roof, limits: _Limits, words: _Words) -> Annotation:
    """What the slanted roof is, on its right, at a height where the plot is empty."""
    low_x, bandwidth, peak = roof
    level = (
        math.sqrt(max(limits.low_y, low_x * bandwidth) * peak)
        if low_x * bandwidth < peak
        else limits.low_y * 1.3
    )
    return axes.annotate(
        f"{words.bandwidth}: {bandwidth:,g} bytes a cycle",
        (level / bandwidth, level),
        (10, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=10,
        color=INKS["c2"],
    )
