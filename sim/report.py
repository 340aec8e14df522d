"""What a simulation cost: ``report.json`` and ``output.npy``."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritforge.common.errors import TritforgeError
from tritforge.common.files import new_folder, obstacle
from tritforge.common.json_types import JsonError, dump, parse
from tritforge.common.version import tritforge_version
from tritforge.hw.config import Config
from tritforge.sim.result import LayerReport, LayerRun, OutputFile, RunReport, Simulation

__all__ = [
    "DEFAULT_CLOCK",
    "FORMAT",
    "REPORT",
    "ReportError",
    "build_report",
    "check_run_folder",
    "read_run",
    "write_run",
]

#: What a report begins with.
FORMAT = "tritforge report"
FORMAT_VERSION = 1
REPORT, OUTPUT = "report.json", "output.npy"
#: MHz at which cycles are shown as time where nothing else is said.
DEFAULT_CLOCK = 50.0

UNITS = {
    "total_cycles": "clock cycles from RUN to its end, sum over images; writing the image and the "
    "input and reading results is not included, except where the image is "
    "streamed (passes is not 0): then all but reading results is",
    "loading": "of trits, row memory and program, once: how; 32-bit words that they are on the "
    "host port, not packed; words sent, with packet headers, packed where the hardware "
    "unpacks, and with zeros for activation memories that may hold others; clock "
    "cycles (null where they did not go through the port, or over a serial line)",
    "loading_cycles": "the clock cycles of loading; not in total_cycles",
    "cycles": "clock cycles of the layer, sum over images",
    "lower_bound": "clock cycles that the layer, or the run, takes at least, whatever the order of "
    "its work: the largest of needed, of its sums over layers for the run, the port's for the run "
    "alone; sum over images",
    "needed": "clock cycles that each part of the hardware needs for the layer at least: "
    "additions / adders, broadcasts / clusters, values before pooling / drain_width, first "
    "write-backs / slices, words at the host port; sum over images",
    "verdict": "cycles and dense cycles an image, shares of the cycles by cause, 0..1: layers "
    "without weights by their kind, those with several bits a weight in planes, and what the "
    "clusters of all others did",
    "dense_cycles": "mac_count / adders, sum over images: clock cycles of as many adders, each "
    "with one multiply-accumulate in every cycle, zeros included",
    "speed_up": "dense_cycles / cycles",
    "utilization": "adds / (cycles * adders), 0..1",
    "counters": "counts, sum over images, clusters and elements; stall_queue_full, "
    "stall_imbalance and stall_drain in cluster cycles, stall_write_back and "
    "stall_refill in clock cycles; docs/hardware.md explains each",
    "cluster_cycles": "cluster cycles (sets * clusters * cycles) by cause, sum over images; idle "
    "is the remainder",
    "passes": "parts in which a streamed layer is computed; 0: the image is in the memories whole",
    "sent_words": "32-bit words of trits, rows, program and activations that a streamed layer "
    "needs from the host, per image, packet headers not counted; they are sent while "
    "layers before it compute, where there is room",
    "read_words": "32-bit words of activations that the host reads back, per image",
    "stall_refill": "clock cycles in which the program waited for the host; part of cycles, idle "
    "cluster cycles for the most part",
    "rows": "output channels",
    "pixels": "output height, width before pooling",
    "cycles_per_image": "clock cycles of each image, in order",
    "mac_count": "dense multiply-accumulates per image",
    "input": "real numbers; clipped: share of the values given that are beyond range, 0..1; "
    "sha256: of the activation codes",
    "accuracy": "images whose largest output is that of their label / all, 0..1",
    "wall_seconds": "seconds of simulation on this computer, loading included",
}


class ReportError(TritforgeError, ValueError):
    """A run folder that cannot be written or read; the message is one sentence."""


def build_report(simulation: Simulation, image: str, manifest_sha256: str) -> RunReport:
    """The report of a simulation.

    Parameters
    ----------
    image : str
        Where the image is, as the user said it.
    manifest_sha256 : str
        Which image it was: the checksum that its manifest states of itself.
    """
    config = simulation.config
    output = _output_array(simulation)
    return RunReport(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        tritforge=tritforge_version(),
        network=simulation.network,
        image=image,
        image_manifest_sha256=manifest_sha256,
        configuration=config.name,
        configuration_identity=config.identity,
        sets=config.sets,
        clusters=config.clusters,
        elements=config.elements,
        adders=config.adders,
        backend=simulation.backend,
        images=simulation.images,
        layer=simulation.layer,
        total_cycles=simulation.total_cycles,
        cycles_per_image=simulation.cycles_per_image,
        loading_cycles=simulation.loading_cycles,
        loading=simulation.loading,
        utilization=simulation.utilization,
        wall_seconds=round(simulation.seconds, 3),
        output=OutputFile(
            file=OUTPUT,
            layer=simulation.output_layer,
            shape=output.shape,
            dtype=str(output.dtype),
            scale=simulation.output_scale,
            meaning="real value = scale * integer; (images, rows), and height and width where "
            "the layer has more than one pixel",
        ),
        layers=[_layer_report(layer, config) for layer in simulation.layers],
        units=UNITS,
        input=simulation.input,
        accuracy=simulation.accuracy(),
        lower_bound=simulation.lower_bound,
        verdict=simulation.verdict,
    )


def _layer_report(layer: LayerRun, config: Config) -> LayerReport:
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        rows=layer.rows,
        pixels=layer.pixels,
        mac_count=layer.mac_count,
        cycles=layer.cycles,
        utilization=layer.utilization(config),
        cycles_per_image=layer.cycles_per_image,
        lower_bound=layer.lower_bound,
        dense_cycles=layer.dense_cycles(config),
        speed_up=layer.speed_up(config),
        passes=layer.passes,
        sent_words=layer.sent_words,
        read_words=layer.read_words,
        counters=layer.counters,
        cluster_cycles=layer.cluster_cycles(config),
        needed=layer.needed,
    )


def _output_array(simulation: Simulation) -> NDArray[np.int32]:
    output = simulation.output.astype(np.int32)
    return output[:, :, 0, 0] if output.shape[2:] == (1, 1) else output


def check_run_folder(path: Path) -> None:
    """Refuse to replace anything but a former run or an empty folder.

    Raises
    ------
    ReportError
    """
    if sentence := obstacle(path, REPORT, FORMAT, {REPORT, OUTPUT}):
        raise ReportError(sentence)


def write_run(path: Path, report: RunReport, simulation: Simulation) -> Path:
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


def read_run(path: Path) -> RunReport:
    """The report in a run folder.

    Raises
    ------
    ReportError
        There is none, or a field is missing or of another type.
    """
    file = path / REPORT
    try:
        raw = file.read_bytes()
    except OSError as error:
        if (path / "manifest.json").is_file():
            raise ReportError(
                f"{path} is an image, not a run; tritforge simulate {path} -o RUN makes one"
            ) from error
        raise ReportError(f"run {path} cannot be read: {REPORT}: {error.strerror}") from error
    try:
        document = parse(raw)
    except JsonError as error:
        raise ReportError(f"{file} {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ReportError(f"{file} is not a {FORMAT}")
    version = document.get("format_version")
    if type(version) is int and version != FORMAT_VERSION:
        raise ReportError(
            f"{file} is a {FORMAT} of version {version!r:.40}; this program reads version "
            f"{FORMAT_VERSION}, so simulate again"
        )
    try:
        return RunReport.from_json(document, str(file))
    except JsonError as error:
        raise ReportError(str(error)) from error
