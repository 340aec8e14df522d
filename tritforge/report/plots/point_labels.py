"""Names beside points, where they cover nothing."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from tritforge.report.svg import INKS, Drawing

__all__ = ["Roof", "place_labels"]


class Roof(NamedTuple):
    """The roof of a roofline, from ``low_x`` on: ``bandwidth`` times x, at most ``peak``."""

    low_x: float
    bandwidth: float
    peak: float

    @property
    def ridge(self) -> float:
        """Where the level roof begins."""
        return self.peak / self.bandwidth


def place_labels(
    drawing: Drawing,
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
    fixed: Sequence[Annotation],
    roof: Roof,
) -> None:
    """Names beside points, each at the nearest place where it covers nothing, with a line to its
    point where that is far."""
    drawing.figure.draw_without_rendering()  # the layout must stand
    renderer = drawing.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    area = axes.get_window_extent(renderer).padded(-3)
    change = axes.transData.transform
    spots = [change((x, y)) for _, x, y in points]
    taken = [one.get_window_extent(renderer).padded(3) for one in fixed]
    taken += [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    low_x, bandwidth, peak = roof
    for x in np.geomspace(low_x, roof.ridge, 60):
        at = change((x, x * bandwidth))
        taken.append(Bbox.from_bounds(at[0] - 3, at[1] - 3, 6, 6))
    level = change((low_x, peak))[1]
    taken.append(Bbox.from_bounds(change((roof.ridge, peak))[0], level - 3, area.width, 6))
    for (name, _, _), spot in sorted(zip(points, spots, strict=True), key=lambda one: -one[1][1]):
        x, y = spot
        text = axes.text(0, 0, name, fontsize=10, transform=None, va="center", ha="center")
        size = text.get_window_extent(renderer)
        box = _free(x, y, size.width + 4, size.height + 1, taken, area)
        if box is None:
            text.remove()
            continue
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        taken.append(box)
        text.set_transform(axes.transAxes)
        at = axes.transAxes.inverted().transform(middle)
        text.set_position((float(at[0]), float(at[1])))
        text.set_in_layout(False)
        gap = math.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0))
        nearest = min(spots, key=lambda one: math.dist(one, middle))
        if gap > 10 or nearest is not spot:
            end = axes.transData.inverted().transform(
                (min(max(x, box.x0 + 2), box.x1 - 2), min(max(y, box.y0 + 1), box.y1 - 1))
            )
            start = axes.transData.inverted().transform((x, y))
            axes.plot(
                [start[0], end[0]], [start[1], end[1]], color=INKS["faint"], linewidth=0.7, zorder=1
            )
    for one in fixed:
        one.set_in_layout(False)


def _free(
    x: float, y: float, width: float, height: float, taken: Sequence[Bbox], area: Bbox
) -> Bbox | None:
    """The free box of a size nearest to a point."""
    left, bottom, right, top = np.array([one.extents for one in taken]).T
    angles = np.radians((0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202, 67, 113, 247, 293))
    along, up = np.cos(angles), np.sin(angles)
    for distance in range(8, 400, 5):
        x0 = x + along * distance - width * (1 - along) / 2
        y0 = y + up * distance - height * (1 - up) / 2
        inside = (
            (area.x0 <= x0) & (x0 + width <= area.x1) & (area.y0 <= y0) & (y0 + height <= area.y1)
        )
        covers = (
            (x0[:, None] < right)
            & (x0[:, None] + width > left)
            & (y0[:, None] < top)
            & (y0[:, None] + height > bottom)
        ).any(axis=1)
        if (found := np.flatnonzero(inside & ~covers)).size:
            return Bbox.from_bounds(x0[found[0]], y0[found[0]], width, height)
    return None
