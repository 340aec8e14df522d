"""What plots have in common: lying bars, bands, numbers beside them, ticks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tritforge.report.numbers import KINDS, Numbers
from tritforge.report.svg import INKS, Drawing, labels

__all__ = [
    "BAR",
    "WIDTH",
    "bands",
    "bars",
    "limit",
    "log_ticks",
    "number_label",
    "places_of",
    "plot_height",
    "whisker",
]

#: Width of plots, in the units of their text's size.
WIDTH = 760.0


BAR = 0.66


def plot_height(count: int, each: float = 24.0, around: float = 62.0) -> float:
    return around + each * max(count, 1)


def places_of(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of bars, the first at the top."""
    return np.arange(count)[::-1]


def _short(value: float) -> str:
    """A tick's number, with thousands as k and so on."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


def bars(axes: Axes, names: Sequence[str], label: str) -> None:
    """A panel of lying bars: names, grid, the axis' label."""
    axes.set_yticks(places_of(len(names)), labels(names))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5))


def limit(axes: Axes, largest: float, room: float = 0.0) -> None:
    """From 0 to the largest value, and a share more for labels."""
    axes.set_xlim(0, largest * (1.02 + room) if largest > 0 else 1.0)


def whisker(axes: Axes, place: float, band: Mapping[str, float], scale: float) -> None:
    """A band as a line with ends."""
    low, high = band["low"] / scale, band["high"] / scale
    axes.plot(
        [low, high], [place, place], color=INKS["paper"], linewidth=3.2, solid_capstyle="butt"
    )  # stands out from dark bars
    axes.plot(
        [low, high],
        [place, place],
        color=INKS["ink"],
        linewidth=1.3,
        solid_capstyle="butt",
        marker="|",
        markersize=7,
        markeredgewidth=1.3,
    )


def number_label(
    drawing: Drawing,
    axes: Axes,
    numbers: Numbers,
    x: float,
    place: float,
    path: str,
    source: str,
    kind: str,
    unit: str,
) -> None:
    """A number beside a bar."""
    text = axes.annotate(
        numbers.text(numbers.value(path, source), kind, unit),
        (x, place),
        (7, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
    )
    drawing.mark(text, numbers.attributes(path, source, kind, unit))


def bands(
    drawing: Drawing,
    axes: Axes,
    numbers: Numbers,
    bands: Sequence[tuple[str, Mapping[str, float]]],
    unit: str,
    room: float,
    source: str = "estimate",
    kind: str = "energy",
) -> None:
    """Whiskers of bands, with their typical values beside."""
    scale = KINDS[kind][unit]
    for place, (path, band) in zip(places_of(len(bands)), bands, strict=True):
        if band["high"]:
            whisker(axes, place, band, scale)
            number_label(
                drawing,
                axes,
                numbers,
                band["high"] / scale,
                place,
                f"{path}.typical",
                source,
                kind,
                unit,
            )
    limit(axes, max((band["high"] / scale for _, band in bands), default=0), room)


def log_ticks(axes: Axes, which: str) -> None:
    """Ticks of a logarithmic axis whose limits are set: few decades have more of them."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(
        LogLocator(10, subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=12)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
