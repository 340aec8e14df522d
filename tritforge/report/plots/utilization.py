"""Utilization by layer."""

from markupsafe import Markup

from tritforge.report.numbers import Numbers
from tritforge.report.plots.panels import BAR, WIDTH, bars, number_label, places_of, plot_height
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["utilization"]


def utilization(numbers: Numbers) -> Markup:
    """Utilization of the adders by layer."""
    layers = numbers.value("layers")

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        values = [100 * (layer["utilization"] or 0.0) for layer in layers]
        places = places_of(len(layers))
        axes.barh(places, values, color=INKS["c1"], height=BAR)
        for index, layer in enumerate(layers):
            if layer["utilization"] is not None:
                number_label(
                    drawing,
                    axes,
                    numbers,
                    values[index],
                    places[index],
                    f"layers.{index}.utilization",
                    "estimate",
                    "share",
                    "%",
                )
        bars(axes, [layer["name"] for layer in layers], "adder utilization, % of adder cycles")
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))

    return draw(
        "utilization",
        "Share of adder cycles in which an adder added",
        (WIDTH, plot_height(len(layers))),
        paint,
    )
