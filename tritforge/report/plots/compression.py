"""Bytes of the weights."""

from markupsafe import Markup

from tritforge.report.numbers import KINDS, Numbers
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

__all__ = ["compression"]


def compression(numbers: Numbers) -> Markup:
    """Bytes of the weights, of the whole network and of its ternary layers.

    What memories hold is known of the whole only: layers share their words.
    """
    forms = (
        ("float32_bytes", "32-bit weights", "c7"),
        ("trits_bytes", "trits of 2 bits", "c5"),
        ("packed_bytes", "trits, packed", "c1"),
        ("memory_bytes", "memory contents", "c6"),
    )
    parts = [
        (key, title)
        for key, title in (("whole", "whole network"), ("ternary_layers", "ternary layers"))
        if numbers.value(f"sizes.{key}.weights", "image")
    ]
    rows = [
        (f"sizes.{part}.{key}", what, color, part)
        for part, _ in parts
        for key, what, color in forms
        if key != "memory_bytes" or part == "whole"
    ]
    titles = dict(parts)

    def paint(drawing: Drawing) -> None:
        panels = drawing.figure.subplots(
            len(parts), 1, squeeze=False, sharex=True, height_ratios=[4, 3][: len(parts)]
        )[:, 0]
        largest = max(numbers.value(path, "image") for path, *_ in rows)
        unit = numbers.unit([largest], "bytes")
        scale = KINDS["bytes"][unit]
        for axes, (part, _) in zip(panels, parts, strict=True):
            own = [(path, what, color) for path, what, color, of in rows if of == part]
            values = [numbers.value(path, "image") / scale for path, *_ in own]
            places = places_of(len(own))
            axes.barh(places, values, height=BAR, color=[INKS[color] for *_, color in own])
            for place, value, (path, *_) in zip(places, values, own, strict=True):
                number_label(drawing, axes, numbers, value, place, path, "image", "bytes", unit)
            bars(axes, [what for _, what, _ in own], f"{unit}, {titles[part]}")
            limit(axes, largest / scale, 0.12)
            axes.tick_params(labelbottom=True)

    return draw(
        "compression",
        "Bytes of weights as 32-bit numbers, trits, and packed trits",
        (WIDTH, plot_height(len(rows), 25.0, 45.0 + 45.0 * len(parts))),
        paint,
    )
