"""Plots of a page. Each takes the page's numbers and gives an SVG element.

Bars lie, and a plot is as high as its layers need; colours are those of
:mod:`tritforge.report.svg`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from tritforge.cost.components import OFF_CHIP
from tritforge.report.facts import Kernels
from tritforge.report.numbers import KINDS, Numbers
from tritforge.report.svg import INKS, Drawing, draw, labels, shortened

__all__ = [
    "CAUSES",
    "GROUPS",
    "MOST_NAMED",
    "areas",
    "baselines",
    "components",
    "compression",
    "cycles",
    "densities",
    "energies",
    "kernels",
    "roofline",
    "utilization",
]

#: What cluster cycles went into: colour, name, and what it means.
CAUSES: dict[str, tuple[str, str, str]] = {
    "broadcasts": ("c1", "broadcast", "an activation goes to the elements"),
    "stall_queue_full": ("c5", "queue full", "waiting for a queue whose adder has work"),
    "stall_imbalance": ("c2", "imbalance", "waiting for clusters with more work"),
    "stall_drain": ("c3", "drain", "waiting for a free accumulator bank"),
    "empty_scans": ("c4", "only zeros", "the word read held only zeros"),
    "idle": ("c7", "idle", "no work, or waiting for the host"),
}
#: Components of energy that share a colour: name, colour.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "trit memory": ("c1", ("trit memory",)),
    "other memories": ("c5", ("activation memory", "other memories")),
    "arithmetic": ("c2", ("scalers", "adders", "requantizers")),
    "queues and accumulators": ("c6", ("queues", "accumulators")),
    "moving data": ("c3", ("broadcast", "drain", "write-back")),
    "control and host port": ("c4", ("walkers", "control", "host port")),
    "clock": ("c7", ("clock",)),
    "leakage": ("c8", ("leakage",)),
}
#: Width of plots, in the units of their text's size.
_WIDTH = 760.0
_BAR = 0.66
#: Layers whose points in a roofline have names; those of more have numbers.
MOST_NAMED = 20


def _height(count: int, each: float = 24.0, around: float = 62.0) -> float:
    return around + each * max(count, 1)


def _places(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of bars, the first at the top."""
    return np.arange(count)[::-1]


def _short(value: float) -> str:
    """A tick's number, with thousands as k and so on."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


def _bars(axes: Axes, names: Sequence[str], label: str) -> None:
    """A panel of lying bars: names, grid, the axis' label."""
    axes.set_yticks(_places(len(names)), labels(names))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _limit(axes: Axes, largest: float, room: float = 0.0) -> None:
    """From 0 to the largest value, and a share more for labels."""
    axes.set_xlim(0, largest * (1.02 + room) if largest > 0 else 1.0)


def _whisker(axes: Axes, place: float, band: Mapping[str, float], scale: float) -> None:
    """A band as a line with ends."""
    low, high = band["low"] / scale, band["high"] / scale
    axes.plot(
        [low, high], [place, place], color=INKS["paper"], linewidth=3.2, solid_capstyle="butt"
    )  # stands out from dark bars
    axes.plot(
        [low, high],
        [place, place],
        color=INKS["ink"],
        linewidth=1.3,
        solid_capstyle="butt",
        marker="|",
        markersize=7,
        markeredgewidth=1.3,
    )


def _label(
    drawing: Drawing,
    axes: Axes,
    numbers: Numbers,
    x: float,
    place: float,
    path: str,
    source: str,
    kind: str,
    unit: str,
) -> None:
    """A number beside a bar."""
    text = axes.annotate(
        numbers.text(numbers.value(path, source), kind, unit),
        (x, place),
        (7, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
    )
    drawing.mark(text, numbers.attributes(path, source, kind, unit))


def cycles(numbers: Numbers) -> Markup:
    """Cycles of every layer by cause, and the shares of the causes."""
    layers = numbers.value("layers")
    names = [layer["name"] for layer in layers]
    places = _places(len(layers))

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
                "height": _BAR,
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
            _label(
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
        _bars(left, names, "clock cycles an image; mark: the least possible")
        _limit(left, max(total, default=0), 0.22)
        _bars(right, names, "share of cluster cycles, %")
        right.set_xlim(0, 100)

    return draw(
        "cycles",
        "Clock cycles of every layer and what clusters did in them",
        (_WIDTH, _height(len(layers))),
        paint,
    )


def utilization(numbers: Numbers) -> Markup:
    """Utilization of the adders by layer."""
    layers = numbers.value("layers")

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        values = [100 * (layer["utilization"] or 0.0) for layer in layers]
        places = _places(len(layers))
        axes.barh(places, values, color=INKS["c1"], height=_BAR)
        for index, layer in enumerate(layers):
            if layer["utilization"] is not None:
                _label(
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
        _bars(axes, [layer["name"] for layer in layers], "adder utilization, % of adder cycles")
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))

    return draw(
        "utilization",
        "Share of adder cycles in which an adder added",
        (_WIDTH, _height(len(layers))),
        paint,
    )


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
        places = _places(len(layers))
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
        _bars(axes, [layer["name"] for layer in layers], "nonzero, %")
        axes.set_xlim(0, 100)

    return draw(
        "densities",
        "Shares of nonzero trits and activations of every layer",
        (_WIDTH, _height(len(layers), 30.0)),
        paint,
    )


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
    places = _places(len(entries))

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
                height=_BAR,
                edgecolor=INKS["paper"],
                linewidth=0.5,
            )
            start += value
        _bands(
            drawing,
            axes,
            numbers,
            [(path + ".on_chip", entry["on_chip"]) for _, path, entry in entries],
            unit,
            0.14,
        )
        _bars(axes, names, f"energy on the chip, {unit} an image")
        if outside:
            unit = numbers.unit([entry["off_chip"]["typical"] for _, _, entry in entries], "energy")
            scale = KINDS["energy"][unit]
            panels[1].barh(
                places,
                [entry["off_chip"]["typical"] / scale for _, _, entry in entries],
                color=INKS["grid"],
                height=_BAR,
                edgecolor=INKS["ink"],
                linewidth=0.8,
            )
            _bands(
                drawing,
                panels[1],
                numbers,
                [(path + ".off_chip", entry["off_chip"]) for _, path, entry in entries],
                unit,
                0.34,
            )
            _bars(panels[1], names, f"off the chip, {unit} an image")
            panels[1].xaxis.set_major_locator(MaxNLocator(3))

    return draw(
        "energies",
        "Energy of every layer by component, with low and high",
        (_WIDTH, _height(len(entries))),
        paint,
    )


def _bands(
    drawing: Drawing,
    axes: Axes,
    numbers: Numbers,
    bands: Sequence[tuple[str, Mapping[str, float]]],
    unit: str,
    room: float,
    source: str = "estimate",
    kind: str = "energy",
) -> None:
    """Whiskers of bands, with their typical values beside."""
    scale = KINDS[kind][unit]
    for place, (path, band) in zip(_places(len(bands)), bands, strict=True):
        if band["high"]:
            _whisker(axes, place, band, scale)
            _label(
                drawing,
                axes,
                numbers,
                band["high"] / scale,
                place,
                f"{path}.typical",
                source,
                kind,
                unit,
            )
    _limit(axes, max((band["high"] / scale for _, band in bands), default=0), room)


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
        places = _places(len(found))
        axes.barh(
            places,
            [band["typical"] / scale for band in found.values()],
            height=_BAR,
            color=[INKS[colors.get(name, "c7")] for name in found],
        )
        _bands(
            drawing,
            axes,
            numbers,
            [(f"energy.components.{name}", band) for name, band in found.items()],
            unit,
            0.1,
        )
        _bars(axes, list(found), f"energy, {unit} an image; bar: typical, line: low to high")

    return draw(
        "components",
        "Energy of every component with low and high",
        (_WIDTH, _height(len(found), 22.0)),
        paint,
    )


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
        for place, (_, block) in zip(_places(len(blocks)), blocks, strict=True):
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
        _bars(axes, names, "area, mm² (logarithmic); mark: typical, line: low to high")
        if edge:
            axes.set_xlim(min(edge) / 1.6, max(edge) * 1.6)
        _log_ticks(axes, "x")

    return draw(
        "areas", "Area of logic and memories of every block", (_WIDTH, _height(len(blocks))), paint
    )


def _log_ticks(axes: Axes, which: str) -> None:
    """Ticks of a logarithmic axis whose limits are set: few decades have more of them."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(
        LogLocator(10, subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=12)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


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
            places = _places(len(own))
            axes.barh(places, values, height=_BAR, color=[INKS[color] for *_, color in own])
            for place, value, (path, *_) in zip(places, values, own, strict=True):
                _label(drawing, axes, numbers, value, place, path, "image", "bytes", unit)
            _bars(axes, [what for _, what, _ in own], f"{unit}, {titles[part]}")
            _limit(axes, largest / scale, 0.12)
            axes.tick_params(labelbottom=True)

    return draw(
        "compression",
        "Bytes of weights as 32-bit numbers, trits, and packed trits",
        (_WIDTH, _height(len(rows), 25.0, 45.0 + 45.0 * len(parts))),
        paint,
    )


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
        places = _places(len(entries))
        colors = [INKS["c1"], *[INKS["c7"]] * len(found)]
        left.barh(
            places,
            [band["typical"] / scale for _, _, band, _, _ in entries],
            color=colors,
            height=_BAR,
        )
        _bands(
            drawing, left, numbers, [(path, band) for _, _, band, path, _ in entries], unit, 0.22
        )
        _bars(left, [name for name, *_ in entries], f"energy on the chip, {unit} an image")
        counts = [numbers.value(path) for *_, path in entries]
        right.barh(places, counts, color=colors, height=_BAR)
        for place, count, (*_, path) in zip(places, counts, entries, strict=True):
            _label(drawing, right, numbers, count, place, path, "estimate", "count", "")
        _bars(right, [name for name, *_ in entries], "clock cycles an image")
        _limit(right, max(counts), 0.4)

    return draw(
        "baselines",
        "Energy and cycles against the baselines",
        (_WIDTH, _height(len(entries), 34.0)),
        paint,
    )


# ----- roofline


def roofline(numbers: Numbers, host: bool) -> Markup | None:
    """Additions a cycle against additions a byte: of the memories on the chip, or of the host port.

    Layers without additions have no point. Nothing if no layer has one.
    """
    path = "roofline"
    facts = numbers.value(path, "derived")
    peak = facts["peak_adds_per_cycle"]
    bandwidth = facts["host_bytes_per_cycle" if host else "on_chip_bytes_per_cycle"]
    points: list[tuple[int, str, float, float, bool]] = []
    for number, layer in enumerate(facts["layers"], 1):
        if not layer["adds_per_cycle"]:
            continue
        if not host:
            points.append(
                (
                    number,
                    layer["name"],
                    layer["adds_per_on_chip_byte"],
                    layer["adds_per_cycle"],
                    True,
                )
            )
        elif layer["adds_per_host_byte"]:
            points.append(
                (number, layer["name"], layer["adds_per_host_byte"], layer["adds_per_cycle"], True)
            )
        elif layer["adds_per_packed_byte"]:
            points.append(
                (
                    number,
                    layer["name"],
                    layer["adds_per_packed_byte"],
                    layer["adds_per_cycle"],
                    False,
                )
            )
    points = [point for point in points if point[2]]
    if not points:
        return None
    ridge = peak / bandwidth
    named = len(facts["layers"]) <= MOST_NAMED
    xs = [x for _, _, x, _, _ in points] + [ridge]
    ys = [y for _, _, _, y, _ in points]
    low_x, high_x = min(xs) / 4, max(xs) * 6
    low_y, high_y = min(*ys, peak / 4) / 1.8, peak * 2
    height = 340.0 + 6.0 * max(0, len(points) - 12)

    def paint(drawing: Drawing) -> None:
        axes = drawing.figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low_x, high_x)
        axes.set_ylim(low_y, high_y)
        axes.grid()
        for which in "xy":
            _log_ticks(axes, which)
        axes.plot([ridge, high_x], [peak, peak], color=INKS["ink"], linewidth=2)
        axes.plot([low_x, ridge], [low_x * bandwidth, peak], color=INKS["c2"], linewidth=2)
        for _, _, x, y, filled in points:
            axes.plot(
                [x],
                [y],
                "o",
                markersize=7,
                color=INKS["c1"],
                markerfacecolor=INKS["c1"] if filled else INKS["paper"],
                markeredgewidth=1.6,
            )
        axes.set_xlabel(
            "additions a byte through the host port (logarithmic)"
            if host
            else "additions a byte read from trit and activation memories (logarithmic)"
        )
        axes.set_ylabel("additions a clock cycle (logarithmic)")
        fixed = [
            axes.annotate(
                f"adders: {peak:,.0f} additions a cycle",
                (high_x, peak),
                (-4, 5),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=10,
            )
        ]
        what = "host port" if host else "memories on the chip"
        # beside the slanted roof, on its right, at a height where the plot is empty
        level = (
            math.sqrt(max(low_y, low_x * bandwidth) * peak)
            if low_x * bandwidth < peak
            else low_y * 1.3
        )
        fixed.append(
            axes.annotate(
                f"{what}: {bandwidth:,g} bytes a cycle",
                (level / bandwidth, level),
                (10, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=10,
                color=INKS["c2"],
            )
        )
        _place_labels(
            drawing,
            axes,
            [
                (shortened(name, 18) if named else str(number), x, y)
                for number, name, x, y, _ in points
            ],
            fixed,
            (low_x, bandwidth, peak),
        )

    title = "Roofline of the host port" if host else "Roofline of the memories on the chip"
    return draw("roofline-host" if host else "roofline-chip", title, (_WIDTH, height), paint)


def _place_labels(
    drawing: Drawing,
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
    fixed: Sequence[Any],
    roof: tuple[float, float, float],
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
    for x in np.geomspace(low_x, peak / bandwidth, 60):
        at = change((x, x * bandwidth))
        taken.append(Bbox.from_bounds(at[0] - 3, at[1] - 3, 6, 6))
    level = change((low_x, peak))[1]
    taken.append(Bbox.from_bounds(change((peak / bandwidth, peak))[0], level - 3, area.width, 6))
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


# ----- kernels


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
    cell = max(3.0, min(7.0, _WIDTH / across))
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
