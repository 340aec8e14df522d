"""Energy by component."""

from markupsafe import Markup

from tritforge.cost.components import OFF_CHIP
from tritforge.report.numbers import KINDS, Numbers
from tritforge.report.plots.legend import GROUPS
from tritforge.report.plots.panels import BAR, WIDTH, bands, bars, places_of, plot_height
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["components"]


def components(numbers: Numbers) -> Markup:
    """Energy of every component of the chip, with its band."""
    found = {
        name: band for name, band in numbers.value("energy.components").items() if name != OFF_CHIP
    }
    colors = {member: color for color, members in GROUPS.values() for member in members}

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        unit = numbers.unit([band["typical"] for band in found.values()], "energy")
        scale = KINDS["energy"][unit]
        places = places_of(len(found))
        axes.barh(
            places,
            [band["typical"] / scale for band in found.values()],
            height=BAR,
            color=[INKS[colors.get(name, "c7")] for name in found],
        )
        bands(
            drawing,
            axes,
            numbers,
            [(f"energy.components.{name}", band) for name, band in found.items()],
            unit,
            0.1,
        )
        bars(axes, list(found), f"energy, {unit} an image; bar: typical, line: low to high")

    return draw(
        "components",
        "Energy of every component with low and high",
        (WIDTH, plot_height(len(found), 22.0)),
        paint,
    )
