"""AlexNet on one configuration: cycles, utilization and stalls of every layer.

The network is drawn with published densities, or a checkpoint's; one photograph goes through it.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.files import new_folder, obstacle
from tritforge.common.json_types import dump
from tritforge.common.progress import Progress
from tritforge.flows.compiler import compiler_digest
from tritforge.flows.drawn import DRAWN_SAMPLES
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.flows.pictures import utilization_picture
from tritforge.flows.wall_clock import WallClock
from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.model_export.alexnet.network import Provenance, alexnet
from tritforge.model_export.alexnet.photographs import (
    calibration_images,
    load_photograph,
    sample_photographs,
)
from tritforge.model_export.errors import ExportError, ImageError
from tritforge.model_export.image.folder import MANIFEST, Image, load_image
from tritforge.sim.backend import create
from tritforge.sim.bounds import least_cycles
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel
from tritforge.sim.report import (
    DEFAULT_CLOCK,
    ReportError,
    build_report,
    write_run,
)
from tritforge.sim.result import RunReport

__all__ = ["run"]

FORMAT = "tritforge benchmark"
MARKER = "bench.json"
#: Everything that a benchmark's folder holds.
CONTENTS = {MARKER, "image", "input.npy", "run", "bench.png"}
#: Of the photographs that scikit-learn ships, the one that is run.
PHOTOGRAPH = "china.jpg"

UNITS = {
    "macs": "dense multiply-accumulates of the trained layer, padding included",
    "weight_density": "nonzero weights / all, 0..1",
    "trits_per_weight": "nonzero trits / weights: above weight_density where weights are sums "
    "of several trits",
    "activation_density": "nonzero 8-bit activations / all at the layer's input, of this "
    "photograph, 0..1",
    "adds": "additions of a nonzero trit to an accumulator",
    "cycles": "clock cycles; trits, rows, program and input are in the memories, loading them and "
    "reading results is not included; where the image does not fit (passes in the "
    "report's layers), all that goes through the host port meanwhile is",
    "microseconds": "cycles at clock_mhz",
    "lower_bound": "clock cycles that the layer, or layers together, take at least on this "
    "configuration, whatever the order of their work",
    "needed": "clock cycles that each part of the hardware needs at least",
    "dense_cycles": "macs / adders: one dense multiply-accumulate per adder and clock cycle",
    "speed_up": "dense_cycles / cycles",
    "share_of_dense": "cycles / dense_cycles",
    "weight_skipping": "the same without skipping of zero activations, by the cycle model: cycles, "
    "share_of_dense",
    "utilization": "adds / (cycles * adders), 0..1",
    "weights": "of the trained layer",
    "weight_density_requested": "published density that weights were drawn with, 0..1",
    "activation_density_requested": "published density that batch norms were set for, 0..1",
    "cluster_cycles": "cluster cycles (sets * clusters * cycles) by cause; idle is the remainder",
    "seconds": "wall seconds on this computer",
}

#: Names of sums over layers.
ALL, TERNARY, TERNARY_CONVS = "all layers", "ternary layers", "ternary convs"


def run(
    output: Path,
    topology: str = "alexnet_dorefa",
    config: str | Config = "alexnet",
    *,
    backend: str = "cycle",
    photograph: Path | None = None,
    checkpoint: Path | None = None,
    threshold: float | None = None,
    seed: int = 0,
    divisor: int = 1,
    clock: float = DEFAULT_CLOCK,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run one photograph through an AlexNet and leave everything in ``output``.

    Parameters
    ----------
    output : path
        A former benchmark there is replaced, anything else is left alone. Its image is used again
        if network, photograph, configuration and compiler are the same.
    topology : str
        A key of :data:`tritforge.model_export.alexnet.topologies.TOPOLOGIES`.
    config : str or Config
    backend : str
        ``cycle``, ``rtl`` or ``golden``.
    photograph : path, optional
        Instead of scikit-learn's ``china.jpg``; batch norms are set, or densities measured, and
        activations calibrated on it and crops of it.
    checkpoint, threshold, seed, divisor
        As :func:`tritforge.model_export.alexnet.network.alexnet`.
    clock : float
        MHz at which cycles are shown as time.

    Returns
    -------
    dict
        JSON values, also in ``bench.json``: ``provenance``, ``layers``, ``totals``, ``report`` (see
        :func:`tritforge.sim.report.build_report`), ``seconds`` by step, ``units``.

    Raises
    ------
    ReportError, ConfigError, ModelError, CheckpointError, ExportError, SimulationError,
    DeviceError, SimulatorError, CycleModelError
        One sentence each.
    """
    chosen = load_config(config) if isinstance(config, str) else config
    if sentence := obstacle(output, MARKER, FORMAT, CONTENTS):
        raise ReportError(sentence)
    timer = WallClock(progress)
    if photograph is None:
        name, pixels = PHOTOGRAPH, sample_photographs(topology)[PHOTOGRAPH]
    else:
        name, pixels = photograph.name, load_photograph(photograph, topology)
    given = {
        "topology": topology,
        "seed": None if checkpoint else seed,
        "divisor": divisor,
        "checkpoint": _digest([checkpoint]),
        "threshold": threshold,
        "photograph": _digest([photograph]),
        "configuration": chosen.identity,
        "compiler": compiler_digest(),
    }
    try:
        with new_folder(output) as folder:
            image, provenance = _image(folder / "image", output / "image", given, timer)
            if image is None or provenance is None:
                image, provenance = _made(
                    folder / "image",
                    topology,
                    chosen,
                    photograph,
                    checkpoint,
                    threshold,
                    seed,
                    divisor,
                    given,
                    timer,
                )
            np.save(folder / "input.npy", pixels, allow_pickle=False)
            result = _measure(folder, output, image, provenance, pixels, backend, clock, timer)
            result["photograph"] = name
            result["divisor"] = divisor
            result["commands"] = {
                "the same on any backend": (
                    f"tritforge simulate {output}/image --input {output}/input.npy --backend "
                    f"{backend} "
                    f"-o {output}/run"
                ),
                "energy and area": (
                    f"tritforge estimate {output}/image --input {output}/input.npy"
                ),
                "all of it on a page": (
                    f"tritforge report {output}/run --input {output}/input.npy -o report.html"
                ),
            }
            text = dump(result)
            (folder / MARKER).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"benchmark {output} cannot be written: {error.strerror or error}"
        ) from error
    return dict(json.loads(text))


# ----- the network and its image


def _digest(paths: Sequence[Path | None]) -> str | None:
    """SHA-256 of files' contents; None where none is given.

    Raises
    ------
    ExportError
        One cannot be read.
    """
    given = [path for path in paths if path is not None]
    digest = hashlib.sha256()
    for path in given:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise ExportError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest() if given else None


def _image(
    target: Path, former: Path, given: dict[str, Any], timer: WallClock
) -> tuple[Image | None, Provenance | None]:
    """The image of a former run, copied to ``target``, if it was made from the same."""
    try:
        manifest = json.loads((former / MANIFEST).read_bytes())
        if manifest["extra"]["provenance"]["made_from"] != given:
            return None, None
        with timer.step("load the image of the run before"):
            shutil.copytree(former, target)
            image = load_image(target)
            return image, Provenance.from_json(image.manifest.extra["provenance"])
    except (ImageError, OSError, KeyError, TypeError, ValueError):
        pass  # it is made again
    shutil.rmtree(target, ignore_errors=True)
    return None, None


def _made(
    target: Path,
    topology: str,
    config: Config,
    photograph: Path | None,
    checkpoint: Path | None,
    threshold: float | None,
    seed: int,
    divisor: int,
    given: dict[str, Any],
    timer: WallClock,
) -> tuple[Image, Provenance]:
    photographs = None if photograph is None else [photograph]
    with timer.step(
        "read the checkpoint, measure densities" if checkpoint else "draw weights, set densities"
    ):
        module, provenance = alexnet(
            topology,
            checkpoint=checkpoint,
            threshold=threshold,
            seed=seed,
            photographs=photographs,
            divisor=divisor,
        )
    with timer.step("export"):
        samples = calibration_images(topology, DRAWN_SAMPLES, photographs=photographs)
        made = export(
            None,
            module,
            samples,
            config,
            target,
            name=topology,
            check=False,
            provenance={**provenance.to_json(), "made_from": given},
            progress=timer.progress,
        )
    return made.image, provenance


# ----- measuring


def _measure(
    folder: Path,
    output: Path,
    image: Image,
    provenance: Provenance,
    pixels: NDArray[np.float32],
    backend: str,
    clock: float,
    timer: WallClock,
) -> dict[str, Any]:
    given = read_inputs(image, pixels)
    codes = given.codes
    with timer.step("golden model"):
        golden = {
            name: values[0]
            for name, values in GoldenModel(image.network).run_all(codes, unpooled=True).items()
        }
    with timer.step(f"prepare backend {backend}"):
        runner = create(backend, image, timer.progress)
    with timer.step(f"backend {backend}"), runner:
        simulation = runner.run(codes, progress=timer.progress)
    simulation.input = given.facts
    if not np.array_equal(simulation.output[0], golden[image.network.final.output]):
        raise ReportError(
            f"the results of backend {backend} differ from the golden model's; "
            f"tritforge verify {output}/image says where"
        )
    alone: list[dict[str, int]] = []
    if backend != "golden":
        with timer.step("cycle model, weight skipping alone"):
            alone = _weight_skipping(image, golden, timer.progress)
    report = build_report(simulation, str(output / "image"), image.manifest.manifest_sha256)
    write_run(folder / "run", report, simulation)
    if report.total_cycles is not None:
        with timer.step("picture"):
            utilization_picture(
                report,
                folder / "bench.png",
                "weights drawn, not trained"
                if provenance.origin == "drawn"
                else provenance.statement,
            )
    layers = _layers(image, provenance, report, golden, alone, clock)
    return {
        "format": FORMAT,
        "topology": provenance.topology,
        "backend": backend,
        "configuration": image.config.name,
        "configuration_identity": image.config.identity,
        "adders": image.config.adders,
        "clock_mhz": clock,
        "statement": provenance.statement,
        "provenance": provenance.to_json(),
        "layers": layers,
        "totals": {
            name: _total(chosen, image.config.adders, clock)
            for name, chosen in (
                (
                    TERNARY_CONVS,
                    [one for one in layers if one["ternary"] and one["kind"] == "conv"],
                ),
                (TERNARY, [one for one in layers if one["ternary"]]),
                (ALL, layers),
            )
        },
        "report": report.to_json(),
        "seconds": timer.summary(),
        "units": UNITS,
    }


def _weight_skipping(
    image: Image, tensors: Mapping[str, NDArray[np.integer]], progress: Progress | None
) -> list[dict[str, int]]:
    """Counters on the same hardware without skipping of zero activations. Memory contents do not
    depend on that."""
    config = dataclasses.replace(image.config, skip_zero_activations=False)
    model = CycleModel(image.network, dataclasses.replace(image.memory, config=config))

    def tell(done: float) -> None:
        if progress is not None:
            progress("cycle model, weight skipping alone", done)

    schedule = image.memory.schedule
    if schedule is None:
        return model.run(tensors, batch=config.layer_count, progress=tell)
    counters = model.run_schedule(tensors, progress=tell)
    return list(schedule.sum_by_layer(counters).values())


def _layers(
    image: Image,
    provenance: Provenance,
    report: RunReport,
    golden: Mapping[str, NDArray[np.integer]],
    alone: list[dict[str, int]],
    clock: float,
) -> list[dict[str, Any]]:
    network = image.network
    records = iter(provenance.layers)
    result = []
    for index, (layer, one) in enumerate(zip(network.layers, report.layers, strict=True)):
        record = next(records) if layer.weight_count else None
        source = golden[layer.groups[0].source]
        entry: dict[str, Any] = {
            "name": layer.name,
            "kind": layer.kind,
            "paper": record and record.paper,
            "ternary": bool(record and record.ternary),
            "wide": any(group.wide for group in layer.groups),
            "macs": layer.mac_count,
            "weights": layer.weight_count,
            "weight_density": record and record.density,
            "weight_density_requested": record and record.density_requested,
            "trits_per_weight": layer.nonzero_trits / layer.weight_count if record else None,
            "activation_density": float(np.mean(source != 0)),
            "activation_density_requested": record and record.input_density_requested,
            "dense_cycles": layer.mac_count / image.config.adders,
            "cycles": one.cycles,
            "lower_bound": one.lower_bound,
            "needed": one.needed,
            "utilization": one.utilization,
            "adds": one.counters.get("adds"),
            "cluster_cycles": one.cluster_cycles,
            "weight_skipping": None,
        }
        if alone:
            entry["weight_skipping"] = {"cycles": alone[index]["cycles"]}
        result.append(_derived(entry, clock))
    return result


def _derived(entry: dict[str, Any], clock: float) -> dict[str, Any]:
    """The same with what follows from cycles and dense cycles."""
    cycles, dense = entry["cycles"], entry["dense_cycles"]
    known = bool(cycles) and dense > 0
    entry["speed_up"] = dense / cycles if known else None
    entry["share_of_dense"] = cycles / dense if known else None
    entry["microseconds"] = cycles / clock if cycles is not None else None
    if known and entry["weight_skipping"] is not None:
        alone = entry["weight_skipping"]
        alone["share_of_dense"] = alone["cycles"] / dense
    return entry


def _total(layers: list[dict[str, Any]], adders: int, clock: float) -> dict[str, Any]:
    """Sums over layers, and what follows from them."""

    def add(name: str) -> Any:
        values = [layer[name] for layer in layers]
        return None if None in values else sum(values)

    cycles, adds = add("cycles"), add("adds")
    least = None if cycles is None else least_cycles(one["needed"] for one in layers)
    alone = [layer["weight_skipping"] for layer in layers]
    return _derived(
        {
            "macs": add("macs"),
            "weights": add("weights"),
            "dense_cycles": add("dense_cycles"),
            "cycles": cycles,
            "lower_bound": least,
            "adds": adds,
            "utilization": adds / (cycles * adders) if cycles else None,
            "weight_skipping": None
            if not alone or None in alone
            else {"cycles": sum(one["cycles"] for one in alone)},
        },
        clock,
    )


# ----- showing
