"""Pictures: ternary kernels, and where an accelerator's cycles went. Matplotlib, no screen."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritforge.common.extras import extra
from tritforge.flows.suite_result import CAUSES, SuiteResult
from tritforge.model_export.network import Layer, Network
from tritforge.sim.result import CLUSTER_CYCLES, RunReport

with extra("demo", "a picture"):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

__all__ = [
    "kernel_mosaic",
    "kernels_picture",
    "suite_picture",
    "ternary_layers",
    "utilization_picture",
]

#: Rows and channels of a layer that a picture shows at most.
MOST_ROWS, MOST_CHANNELS = 32, 32
#: Grey value of zero, plus and minus, and of the gap between kernels; as in the paper's Figure 6.
ZERO, PLUS, MINUS = 0.5, 1.0, 0.0
GAP_COLOR = (0.55, 0.1, 0.1)

_COLORS = {
    "broadcasts": "#2a6f97",
    "empty_scans": "#a9d6e5",
    "stall_queue_full": "#e9a03b",
    "stall_imbalance": "#bc4b51",
    "stall_drain": "#7d4f50",
    "refill": "#8d99ae",
    "idle": "#d9d9d9",
    "sequencer": "#d9d9d9",
}
_LABELS = {
    "broadcasts": "broadcast",
    "empty_scans": "only zeros",
    "stall_queue_full": "queue full",
    "stall_imbalance": "imbalance",
    "stall_drain": "drain",
    "refill": "host port",
    "idle": "idle",
    "sequencer": "sequencer, idle",
}


def ternary_layers(network: Network) -> list[Layer]:
    """Convolutions whose weights are one trit each."""
    return [
        layer
        for layer in network.layers
        if layer.kind == "conv" and layer.weight_count and len(layer.groups) == 1
    ]


def kernel_mosaic(trits: NDArray[np.int8]) -> NDArray[np.float64]:
    """Kernels side by side: output channels downwards, input channels to the right.

    Parameters
    ----------
    trits : int8 array (rows, channels, kh, kw)

    Returns
    -------
    (rows * (kh + 1) + 1, channels * (kw + 1) + 1, 3) RGB, 0..1: 0 grey, + white, - black
    """
    rows, channels, height, width = trits.shape
    picture = np.empty((rows * (height + 1) + 1, channels * (width + 1) + 1, 3))
    picture[:] = GAP_COLOR
    shades = np.array([ZERO, PLUS, MINUS])[trits]  # index -1 is the last
    for row in range(rows):
        for channel in range(channels):
            top, left = row * (height + 1) + 1, channel * (width + 1) + 1
            picture[top : top + height, left : left + width] = shades[row, channel, :, :, None]
    return picture


def _shown(what: str, count: int, total: int) -> str:
    return what if count == total else f"{what}, first {count} of {total}"


def kernels_picture(network: Network, path: Path) -> Path:
    """Kernels of the ternary convolutions, one panel each."""
    layers = ternary_layers(network)
    figure = Figure(figsize=(6.0 * max(1, len(layers)), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    for index, layer in enumerate(layers):
        trits = layer.groups[0].trits
        shown = trits[:MOST_ROWS, :MOST_CHANNELS]
        axes = figure.add_subplot(1, len(layers), index + 1)
        axes.imshow(kernel_mosaic(shown), interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        zeros = float(np.mean(trits == 0))
        axes.set_title(f"{layer.name}: {zeros:.0%} zero", fontsize=10)
        axes.set_xlabel(_shown("input channels", shown.shape[1], trits.shape[1]))
        axes.set_ylabel(_shown("output channels", shown.shape[0], trits.shape[0]))
    figure.suptitle(
        f"Ternary kernels of network {network.name}: grey 0, white + (Wp), black - (Wn)",
        fontsize=11,
    )
    figure.savefig(path, dpi=120)
    return path


def utilization_picture(report: RunReport, path: Path, note: str = "") -> Path:
    """Cycles per image, and what cluster cycles were spent on, by layer.

    Parameters
    ----------
    report : RunReport
        As :func:`tritforge.sim.report.build_report` gives it, of a backend with cycles.
    note : str
        A second line for the title.
    """
    layers = report.layers
    names = [f"{layer.name}\n{(layer.cycles or 0) / report.images:,.0f} cycles" for layer in layers]
    places = np.arange(len(layers))[::-1]
    figure = Figure(figsize=(10.5, 1.6 + 0.75 * len(layers)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    start = np.zeros(len(layers))
    for cause in CLUSTER_CYCLES:
        share = np.array(
            [
                100 * layer.cluster_cycles[cause] / max(1, sum(layer.cluster_cycles.values()))
                for layer in layers
            ]
        )
        left.barh(places, share, left=start, color=_COLORS[cause], label=_LABELS[cause])
        start += share
    left.set_yticks(places, names)
    left.set_xlim(0, 100)
    left.set_xlabel("cluster cycles, %")
    left.legend(ncols=3, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    values = np.array([100 * (layer.utilization or 0.0) for layer in layers])
    right.barh(places, values, color="#386641")
    for place, value in zip(places, values, strict=True):
        inside = value > 75
        right.text(
            value - 2 if inside else value + 2,
            place,
            f"{value:.1f} %",
            va="center",
            ha="right" if inside else "left",
            color="white" if inside else "black",
            fontsize=9,
        )
    right.set_xlim(0, 100)
    right.set_xlabel("adder utilization, %")
    figure.suptitle(
        f"{report.network} on {report.configuration} "
        f"({report.sets * report.clusters} clusters x {report.elements} adders), "
        f"backend {report.backend}, "
        + ("1 image" if report.images == 1 else f"mean of {report.images} images")
        + (f"\n{note}" if note else ""),
        fontsize=11,
    )
    figure.savefig(path, dpi=120)
    return path


def suite_picture(result: SuiteResult, path: Path) -> Path:
    """Where the cluster cycles of every pair went, and how much faster than dense it is."""
    pairs = result.pairs
    places = np.arange(len(pairs))[::-1]
    figure = Figure(figsize=(11.5, 2.0 + 0.36 * len(pairs)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    start = np.zeros(len(pairs))
    for cause in CAUSES:
        share = np.array([100 * one.causes[cause] for one in pairs])
        left.barh(places, share, left=start, color=_COLORS[cause], label=_LABELS[cause])
        start += share
    left.set_yticks(places, [one.title for one in pairs])
    left.set_xlim(0, 100)
    left.set_xlabel("cluster cycles, %")
    left.legend(ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    values = [one.speed_up for one in pairs]
    right.barh(places, values, color=["#386641" if one.in_mean else "#a7c957" for one in pairs])
    for place, value in zip(places, values, strict=True):
        right.text(value * 1.05, place, f"{value:.2f}", va="center", fontsize=8)
    right.axvline(1.0, color="black", linewidth=0.8)
    right.set_xscale("log")
    low, high = min([*values, 0.5]) / 1.3, max([*values, 2.0]) * 1.8
    ticks = [step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    right.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    right.set_xticks([], minor=True)
    right.set_xlim(low, high)
    right.set_xlabel("times as fast as dense (light: not in the mean)")
    mean = "" if result.mean_speed_up is None else f", geometric mean {result.mean_speed_up:.2f}"
    figure.suptitle(f"Suite: MACs / adders / cycles{mean}", fontsize=11)
    figure.savefig(path, dpi=120)
    return path
