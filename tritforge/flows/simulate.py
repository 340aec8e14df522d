"""From an image and inputs to integers, cycles and counters."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tritforge.common.progress import Progress
from tritforge.flows.arrays import StrPath
from tritforge.flows.inputs import opened, read_inputs, read_labels
from tritforge.hw.config import Config
from tritforge.model_export.image.folder import Image
from tritforge.sim.backend import BACKENDS, SimulationError, check_layer, check_log, create
from tritforge.sim.event_log import EventLog, EventLogError, Record, check_log_file, write_log
from tritforge.sim.report import build_report, check_run_folder, write_run
from tritforge.sim.result import RunReport, Simulation

__all__ = ["report_of", "simulate"]


def simulate(
    image: StrPath | Image,
    inputs: StrPath | NDArray[Any],
    backend: str = "rtl",
    *,
    codes: bool = False,
    labels: StrPath | NDArray[Any] | None = None,
    layer: str | None = None,
    config: str | Config | None = None,
    output: StrPath | None = None,
    log: StrPath | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Run an image on one backend.

    Parameters
    ----------
    image : path or Image
    inputs : path or array (images, channels, height, width), or one image without the first
        Real numbers as the network was trained on, whatever the type of the array.
    codes : bool
        The inputs are activation codes instead: integers that are taken as they are.
    backend : str
        ``golden``, ``cycle``, ``rtl`` or ``pysim``.
    labels : path or array (images,), optional
        Each image's class, for the accuracy in the report and :meth:`Simulation.accuracy`.
    layer : str, optional
        Run this layer alone, on the golden activations before it.
    config : optional
        Demand that the image was compiled for this configuration.
    output : path, optional
        Write ``report.json`` and ``output.npy`` into this folder; a former run is replaced.
    log : path, optional
        Write the event log of the one input image to this file; a former log is replaced.
        :func:`tritforge.compare_logs` compares two of them.

    Returns
    -------
    Simulation
        ``output`` is int64, (images, rows, height, width).

    Raises
    ------
    ImageError, ExportError, ConfigError, SimulationError, ReportError, EventLogError,
    DeviceError, SimulatorError, CycleModelError
        One sentence each.
    """
    loaded = opened(image, config)
    given = read_inputs(loaded, inputs, codes=codes)
    known = None
    if labels is not None:
        if layer is not None:
            raise SimulationError(f"labels go with the whole network, not with layer {layer} alone")
        known = read_labels(labels, len(given.codes), loaded.manifest.output.shape)
    if output is not None:
        check_run_folder(Path(output))
    if log is not None:
        check_log_file(log)
        if output is not None and Path(log).resolve().is_relative_to(Path(output).resolve()):
            raise EventLogError(
                f"log {log} would lie in the run folder {output}; it belongs elsewhere"
            )
        if backend in BACKENDS:
            check_log(backend, BACKENDS[backend].logs, len(given.codes))
    check_layer(loaded.network, layer)
    records: list[Record] = []
    with create(backend, loaded, progress) as runner:
        simulation = runner.run(given.codes, layer, progress, None if log is None else records)
    simulation.input, simulation.labels = given.facts, known
    if log is not None:
        write_log(
            log,
            EventLog(
                simulation.network,
                loaded.config.name,
                loaded.config.identity,
                loaded.manifest.manifest_sha256,
                given.facts.sha256,
                layer,
                simulation.backend,
                records,
            ),
        )
    if output is not None:
        write_run(Path(output), report_of(simulation, loaded), simulation)
    return simulation


def report_of(simulation: Simulation, image: Image, where: str | None = None) -> RunReport:
    """``report.json`` of a simulation, see :func:`tritforge.sim.report.build_report`."""
    return build_report(simulation, where or str(image.path), image.manifest.manifest_sha256)
