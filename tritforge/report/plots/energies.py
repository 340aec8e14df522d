"""Energy by layer."""

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from tritforge.report.numbers import KINDS, Numbers
from tritforge.report.plots.legend import GROUPS
from tritforge.report.plots.panels import BAR, WIDTH, bands, bars, places_of, plot_height
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["energies"]


def energies(numbers: Numbers) -> Markup:
    """Energy of every layer, by group of components, with the band of its sum."""
    entries = [
        (layer["name"], f"layers.{index}", layer)
        for index, layer in enumerate(numbers.value("layers"))
    ]
    host = numbers.value("host")
    if host["on_chip"]["high"] or host["off_chip"]["high"]:
        entries.append((host["name"], "host", host))
    outside = any(layer["off_chip"]["high"] for layer in numbers.value("layers"))
    names = [name for name, _, _ in entries]
    places = places_of(len(entries))

    def paint(drawing: Drawing) -> None:
        panels = drawing.figure.subplots(
            1,
            2 if outside else 1,
            sharey=True,
            squeeze=False,
            width_ratios=[1.9, 1] if outside else None,
        )[0]
        axes = panels[0]
        unit = numbers.unit([entry["on_chip"]["typical"] for _, _, entry in entries], "energy")
        scale = KINDS["energy"][unit]
        start = np.zeros(len(entries))
        for color, members in GROUPS.values():
            value = (
                np.array(
                    [
                        sum(
                            entry["components"][one]["typical"]
                            for one in members
                            if one in entry["components"]
                        )
                        for _, _, entry in entries
                    ]
                )
                / scale
            )
            axes.barh(
                places,
                value,
                left=start,
                color=INKS[color],
                height=BAR,
                edgecolor=INKS["paper"],
                linewidth=0.5,
            )
            start += value
        bands(
            drawing,
            axes,
            numbers,
            [(path + ".on_chip", entry["on_chip"]) for _, path, entry in entries],
            unit,
            0.14,
        )
        bars(axes, names, f"energy on the chip, {unit} an image")
        if outside:
            unit = numbers.unit([entry["off_chip"]["typical"] for _, _, entry in entries], "energy")
            scale = KINDS["energy"][unit]
            panels[1].barh(
                places,
                [entry["off_chip"]["typical"] / scale for _, _, entry in entries],
                color=INKS["grid"],
                height=BAR,
                edgecolor=INKS["ink"],
                linewidth=0.8,
            )
            bands(
                drawing,
                panels[1],
                numbers,
                [(path + ".off_chip", entry["off_chip"]) for _, path, entry in entries],
                unit,
                0.34,
            )
            bars(panels[1], names, f"off the chip, {unit} an image")
            panels[1].xaxis.set_major_locator(MaxNLocator(3))

    return draw(
        "energies",
        "Energy of every layer by component, with low and high",
        (WIDTH, plot_height(len(entries))),
        paint,
    )
