"""Cycles by layer."""

import numpy as np
from markupsafe import Markup

from tritforge.report.numbers import Numbers
from tritforge.report.plots.legend import CAUSES
from tritforge.report.plots.panels import (
    BAR,
    WIDTH,
    bars,
    limit,
    number_label,
    places_of,
    plot_height,
)
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["cycles"]


def cycles(numbers: Numbers) -> Markup:
    """Cycles of every layer by cause, and the shares of the causes."""
    layers = numbers.value("layers")
    names = [layer["name"] for layer in layers]
    places = places_of(len(layers))

    def paint(drawing: Drawing) -> None:
        left, right = drawing.figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
        every = np.array([sum(layer["cluster_cycles"].values()) for layer in layers], float)
        every[every == 0] = 1
        total = np.array([layer["cycles"] for layer in layers], float)
        start = np.zeros(len(layers))
        for cause in CAUSES:
            share = np.array([layer["cluster_cycles"][cause] for layer in layers]) / every
            style = {
                "color": INKS[CAUSES[cause][0]],
                "edgecolor": INKS["paper"],
                "linewidth": 0.5,
                "height": BAR,
            }
            left.barh(places, share * total, left=start * total, **style)
            right.barh(places, 100 * share, left=100 * start, **style)
            start += share
        for index, layer in enumerate(layers):
            place = places[index]
            left.plot(
                [layer["lower_bound"]] * 2,
                [place - 0.42, place + 0.42],
                color=INKS["ink"],
                linewidth=1.6,
            )
            number_label(
                drawing,
                left,
                numbers,
                max(total[index], layer["lower_bound"]),
                place,
                f"layers.{index}.cycles",
                "estimate",
                "count",
                "",
            )
        bars(left, names, "clock cycles an image; mark: the least possible")
        limit(left, max(total, default=0), 0.22)
        bars(right, names, "share of cluster cycles, %")
        right.set_xlim(0, 100)

    return draw(
        "cycles",
        "Clock cycles of every layer and what clusters did in them",
        (WIDTH, plot_height(len(layers))),
        paint,
    )
