"""Densities by layer."""

from markupsafe import Markup

from tritforge.report.numbers import Numbers
from tritforge.report.plots.panels import WIDTH, bars, places_of, plot_height
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["densities"]


def densities(numbers: Numbers) -> Markup:
    """Shares of nonzero weights and activations by layer."""
    layers = numbers.value("layers")
    series = (
        ("weight_density", "c1", "o", 0.2),
        ("activation_density", "c2", "s", 0.0),
        ("broadcast_density", "c3", "D", -0.2),
    )

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        places = places_of(len(layers))
        for key, color, marker, shift in series:
            at = [
                (100 * layer[key], place + shift)
                for layer, place in zip(layers, places, strict=True)
                if layer[key] is not None
            ]
            for value, place in at:
                axes.plot([0, value], [place, place], color=INKS["grid"], linewidth=1.2)
            axes.plot(
                [one[0] for one in at],
                [one[1] for one in at],
                marker,
                color=INKS[color],
                markersize=6,
                clip_on=False,
            )
        bars(axes, [layer["name"] for layer in layers], "nonzero, %")
        axes.set_xlim(0, 100)

    return draw(
        "densities",
        "Shares of nonzero trits and activations of every layer",
        (WIDTH, plot_height(len(layers), 30.0)),
        paint,
    )
