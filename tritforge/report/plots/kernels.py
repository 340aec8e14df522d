"""Ternary kernels."""

from typing import Any

import numpy as np
from markupsafe import Markup

from tritforge.report.facts import Kernels
from tritforge.report.plots.panels import WIDTH

__all__ = ["kernels"]


def kernels(shown: Kernels) -> Markup:
    """Trits as small squares: rows downwards, channels to the right."""
    rows, channels, height, width = shown.trits.shape
    gap = 0 if (height, width) == (1, 1) else 1
    across = channels * (width + gap) + gap
    down = rows * (height + gap) + gap
    paths = {value: "".join(_squares(shown.trits, value, gap)) for value in (1, -1)}
    zeros = "".join(
        f"M{channel * (width + gap) + gap} {row * (height + gap) + gap}h{width}v{height}h-{width}z"
        for row in range(rows)
        for channel in range(channels)
    )
    cell = max(3.0, min(7.0, WIDTH / across))
    return Markup(
        '<svg class="kernels" viewBox="0 0 {} {}" role="img" aria-label="{}" '
        'shape-rendering="crispEdges" style="--width:{}px"><path class="zero" d="{}"/>'
        '<path class="plus" d="{}"/><path class="minus" d="{}"/></svg>'
    ).format(
        across,
        down,
        f"Kernels of layer {shown.layer}: plus, minus and zero",
        round(across * cell),
        zeros,
        paths[1],
        paths[-1],
    )


def _squares(trits: np.ndarray[Any, Any], value: int, gap: int) -> list[str]:
    """Runs of equal trits as rectangles of a path."""
    rows, channels, height, width = trits.shape
    found = []
    for row, channel, y in np.ndindex(rows, channels, height):
        line = trits[row, channel, y]
        x = 0
        while x < width:
            length = 0
            while x + length < width and line[x + length] == value:
                length += 1
            if length:
                found.append(
                    f"M{channel * (width + gap) + gap + x} "
                    f"{row * (height + gap) + gap + y}h{length}v1h-{length}z"
                )
            x += length or 1
    return found
