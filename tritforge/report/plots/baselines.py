"""This run beside what it is compared with."""

from markupsafe import Markup

from tritforge.report.numbers import KINDS, Numbers
from tritforge.report.plots.panels import (
    BAR,
    WIDTH,
    bands,
    bars,
    limit,
    number_label,
    places_of,
    plot_height,
)
from tritforge.report.svg import INKS, Drawing, draw

__all__ = ["baselines"]


def baselines(numbers: Numbers) -> Markup:
    """Energy and cycles of this run and of what it is compared with."""
    found = numbers.value("baselines")
    entries = [
        (
            "this run",
            "",
            numbers.value("totals.all layers.on_chip"),
            "totals.all layers.on_chip",
            "cycles",
        )
    ]
    entries += [
        (
            name.replace("_", " "),
            name,
            one["on_chip"],
            f"baselines.{name}.on_chip",
            f"baselines.{name}.cycles",
        )
        for name, one in found.items()
    ]

    def paint(drawing: Drawing) -> None:
        left, right = drawing.figure.subplots(1, 2, sharey=True)
        unit = numbers.unit([band["typical"] for _, _, band, _, _ in entries], "energy")
        scale = KINDS["energy"][unit]
        places = places_of(len(entries))
        colors = [INKS["c1"], *[INKS["c7"]] * len(found)]
        left.barh(
            places,
            [band["typical"] / scale for _, _, band, _, _ in entries],
            color=colors,
            height=BAR,
        )
        bands(drawing, left, numbers, [(path, band) for _, _, band, path, _ in entries], unit, 0.22)
        bars(left, [name for name, *_ in entries], f"energy on the chip, {unit} an image")
        counts = [numbers.value(path) for *_, path in entries]
        right.barh(places, counts, color=colors, height=BAR)
        for place, count, (*_, path) in zip(places, counts, entries, strict=True):
            number_label(drawing, right, numbers, count, place, path, "estimate", "count", "")
        bars(right, [name for name, *_ in entries], "clock cycles an image")
        limit(right, max(counts), 0.4)

    return draw(
        "baselines",
        "Energy and cycles against the baselines",
        (WIDTH, plot_height(len(entries), 34.0)),
        paint,
    )
