"""Area by block."""

from markupsafe import Markup

from tritforge.report.numbers import KINDS, Numbers
from tritforge.report.plots.panels import WIDTH, bars, log_ticks, places_of, plot_height
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["areas"]


def areas(numbers: Numbers) -> Markup:
    """Logic and memory of every block, on a logarithmic axis, with bands."""
    blocks = [
        (index, block)
        for index, block in enumerate(numbers.value("area.blocks"))
        if block["area_um2"]["high"]
    ]
    blocks.sort(key=lambda one: -one[1]["area_um2"]["typical"])

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        scale = KINDS["area"]["mm²"]
        edge = []
        for place, (_, block) in zip(places_of(len(blocks)), blocks, strict=True):
            for key, color, marker, shift in (
                ("logic_um2", "c2", "s", 0.17),
                ("memory_um2", "c1", "o", -0.17),
            ):
                band = block[key]
                if not band["low"]:
                    continue
                axes.plot(
                    [band["low"] / scale, band["high"] / scale],
                    [place + shift] * 2,
                    color=INKS[color],
                    linewidth=2.2,
                    solid_capstyle="round",
                )
                axes.plot(
                    [band["typical"] / scale],
                    [place + shift],
                    marker,
                    color=INKS[color],
                    markersize=6.5,
                )
                edge += [band["low"] / scale, band["high"] / scale]
        names = [
            f"{block['name']} ({block['count']})" if block["count"] > 1 else block["name"]
            for _, block in blocks
        ]
        axes.set_xscale("log")
        bars(axes, names, "area, mm² (logarithmic); mark: typical, line: low to high")
        if edge:
            axes.set_xlim(min(edge) / 1.6, max(edge) * 1.6)
        log_ticks(axes, "x")

    return draw(
        "areas",
        "Area of logic and memories of every block",
        (WIDTH, plot_height(len(blocks))),
        paint,
    )
