"""What a simulation cost: ``report.json``, ``output.npy`` and a table for people."""

import io
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from model_export.folders import new_folder, obstacle
from sim.backend import CLUSTER_CYCLES, Simulation

__all__ = ["DEFAULT_CLOCK", "FORMAT", "ReportError", "build_report", "check_run_folder", "dump",
           "layer_tables", "summary", "write_run"]

#: What a report begins with.
FORMAT = "tritforge report"
FORMAT_VERSION = 1
REPORT, OUTPUT = "report.json", "output.npy"
#: MHz at which cycles are shown as time where nothing else is said.
DEFAULT_CLOCK = 50.0

UNITS = {
    "total_cycles": "clock cycles from RUN to its end, sum over images (STATUS of the hardware); "
                    "writing the image, the input and reading results is not included",
    "loading_cycles": "clock cycles to write trits, row memory and program over the host port, "
                      "once; not in total_cycles",
    "cycles": "clock cycles of the layer, sum over images",
    "utilization": "adds / (cycles * clusters * elements), 0..1",
    "counters": "counts, sum over images, clusters and elements; stall_* in cluster cycles",
    "cluster_cycles": "cluster cycles (clusters * cycles) by cause, sum over images; idle is the "
                      "remainder",
    "mac_count": "dense multiply-accumulates per image",
    "wall_seconds": "seconds of simulation on this computer, loading included",
}


class ReportError(ValueError):
    """A run folder that cannot be written; the message is one sentence."""


def build_report(simulation: Simulation, image: str, manifest_sha256: str) -> dict[str, Any]:
    """The content of ``report.json``: JSON values, units under ``units``.

    Parameters
    ----------
    image : str
        Where the image is, as the user said it.
    manifest_sha256 : str
        Which image it was: the checksum that its manifest states of itself.
    """
    config = simulation.config
    output = _output_array(simulation)
    return {
        "format": FORMAT, "format_version": FORMAT_VERSION, "tritforge": _version(),
        "network": simulation.network, "image": image, "image_manifest_sha256": manifest_sha256,
        "configuration": config.name, "configuration_identity": config.identity,
        "clusters": config.clusters, "elements": config.elements,
        "backend": simulation.backend, "images": simulation.images, "layer": simulation.layer,
        "total_cycles": simulation.total_cycles,
        "cycles_per_image": simulation.cycles_per_image,
        "loading_cycles": simulation.loading_cycles,
        "utilization": simulation.utilization,
        "wall_seconds": round(simulation.seconds, 3),
        "output": {
            "file": OUTPUT, "layer": simulation.output_layer, "shape": list(output.shape),
            "dtype": str(output.dtype), "scale": simulation.output_scale,
            "meaning": "real value = scale * integer; (images, rows), and height and width where "
                       "the layer has more than one pixel"},
        "layers": [{
            "name": layer.name, "kind": layer.kind, "rows": layer.rows,
            "pixels": list(layer.pixels), "mac_count": layer.mac_count,
            "cycles": layer.cycles, "utilization": layer.utilization(config),
            "cycles_per_image": layer.cycles_per_image,
            "counters": layer.counters, "cluster_cycles": layer.cluster_cycles(config),
        } for layer in simulation.layers],
        "units": UNITS,
    }


def _version() -> str:
    try:
        return version("tritforge")
    except PackageNotFoundError:
        return "unknown"


def _output_array(simulation: Simulation) -> np.ndarray[Any, np.dtype[np.int32]]:
    output = simulation.output.astype(np.int32)
    return output[:, :, 0, 0] if output.shape[2:] == (1, 1) else output


def dump(document: Any) -> str:
    """JSON text as all commands print and write it."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def check_run_folder(path: Path) -> None:
    """Refuse to replace anything but a former run or an empty folder.

    Raises
    ------
    ReportError
    """
    if sentence := obstacle(path, REPORT, FORMAT, {REPORT, OUTPUT}):
        raise ReportError(sentence)


def write_run(path: Path, report: dict[str, Any], simulation: Simulation) -> Path:
    """Write ``report.json`` and ``output.npy``; the folder appears only when it is complete.

    ``output.npy`` is int32, (images, rows), or (images, rows, height, width) where the layer has
    more than one pixel.

    Raises
    ------
    ReportError
        Something that is not a run is in the way, or the folder cannot be written.
    """
    check_run_folder(path)
    buffer = io.BytesIO()
    np.save(buffer, _output_array(simulation), allow_pickle=False)
    try:
        with new_folder(path) as folder:
            (folder / OUTPUT).write_bytes(buffer.getvalue())
            (folder / REPORT).write_text(dump(report), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"run {path} cannot be written: {error.strerror}") from error
    return path


def summary(report: dict[str, Any], clock: float = DEFAULT_CLOCK) -> str:
    """Two or three sentences on the whole run; ``clock`` in MHz."""
    images = report["images"]
    plural = "image" if images == 1 else "images"
    what = "the network" if report["layer"] is None else f"layer {report['layer']} alone"
    head = (f"{what} on {images} {plural}, backend {report['backend']}, "
            f"configuration {report['configuration']} "
            f"({report['clusters'] * report['elements']} adders)")
    if report["total_cycles"] is None:
        return f"{head}: integers only, this backend has no clock."
    each = report["total_cycles"] / images
    rate = report["total_cycles"] / max(report["wall_seconds"], 1e-3)
    return (f"{head}: {report['total_cycles']:,} cycles in all, {each:,.0f} cycles an image, "
            f"{each / clock / 1000:.3f} ms at {clock:g} MHz, utilization "
            f"{report['utilization']:.1%}. Loading is not included (the image: "
            f"{report['loading_cycles']:,} cycles, once). Simulated in "
            f"{report['wall_seconds']:.1f} s, loading included ({rate:,.0f} computing cycles/s).")


def layer_tables(report: dict[str, Any], clock: float = DEFAULT_CLOCK) -> list[Table]:
    """What each layer cost, and what its cluster cycles were spent on: means per image, narrow
    enough for 80 columns; ``clock`` in MHz. The second is left out where there are no cycles."""
    images = report["images"]
    costs = _table(f"per layer, mean over images; time at {clock:g} MHz",
                   ("layer", "kind"), ("rows", "pixels", "cycles", "time, us", "adds",
                                       "utilization, %"))
    causes = _table("where cluster cycles went, %", ("layer",),
                    ("broadcast", "empty", "full", "imbalance", "drain", "idle"))
    causes.caption = ("broadcast: an activation goes to the elements; empty: a word held only "
                      "zeros; full, imbalance, drain: waiting for a queue, for others, for a "
                      "bank; idle: the rest")
    totals = dict.fromkeys(CLUSTER_CYCLES, 0)
    for layer in report["layers"]:
        cells = [layer["name"], layer["kind"], str(layer["rows"]),
                 "x".join(map(str, layer["pixels"]))]
        if layer["cycles"] is None:
            costs.add_row(*cells, *["-"] * 4)
            continue
        spent = layer["cluster_cycles"]
        totals = {name: totals[name] + spent[name] for name in CLUSTER_CYCLES}
        costs.add_row(*cells, *_cost(layer["cycles"], layer["counters"]["adds"], images,
                                     layer["utilization"], clock))
        causes.add_row(layer["name"], *_shares(spent))
    if report["total_cycles"] is None:
        return [costs]
    if len(report["layers"]) > 1:
        adds = sum(layer["counters"]["adds"] for layer in report["layers"])
        costs.add_section()
        costs.add_row("all", "", "", "", *_cost(report["total_cycles"], adds, images,
                                                report["utilization"], clock))
        causes.add_section()
        causes.add_row("all", *_shares(totals))
    return [costs, causes]


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption_justify="left",
                  padding=(0, 1, 0, 0))
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def _cost(cycles: int, adds: int, images: int, utilization: float | None,
          clock: float) -> list[str]:
    return [f"{cycles / images:,.0f}", f"{cycles / images / clock:,.1f}", f"{adds / images:,.0f}",
            "-" if utilization is None else f"{100 * utilization:.1f}"]


def _shares(spent: dict[str, int]) -> list[str]:
    every = max(1, sum(spent.values()))
    return [f"{100 * spent[name] / every:.1f}" for name in CLUSTER_CYCLES]
