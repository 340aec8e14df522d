"""What the command line does, as functions: export, generate, simulate, verify, compare_logs.

Arguments that name something (a model, a configuration, an image, an array) may be given as what
they name: an ``nn.Module``, a ``Config``, an ``Image``, a NumPy array.
"""

import hashlib
import os
import time
import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from torch import nn

from tritforge.common.progress import Progress
from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.hw.verilog import TOP_NAME, write_verilog
from tritforge.model_export.alexnet.network import TOPOLOGIES, Provenance, alexnet
from tritforge.model_export.alexnet.photographs import calibration_images
from tritforge.model_export.errors import ExportError, ImageError
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.image.folder import Image, load_image, write_image
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import fit
from tritforge.model_export.network import Network
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.fold import fold_input
from tritforge.model_export.passes.quantize import quantize
from tritforge.model_export.passes.trace import Planes, trace
from tritforge.model_export.reference import FloatReference
from tritforge.model_export.zoo import ModelError, load_model
from tritforge.sim import verify as verification
from tritforge.sim.backend import (
    BACKENDS,
    InterpreterBackend,
    Simulation,
    check_layer,
    check_log,
    create,
)
from tritforge.sim.event_log import (
    EventLog,
    EventLogError,
    Record,
    check_log_file,
    compare_logs,
    write_log,
)
from tritforge.sim.golden import GoldenModel, quantize_input
from tritforge.sim.report import (
    ReportError,
    build_report,
    check_run_folder,
    write_run,
)

__all__ = [
    "Export",
    "Step",
    "compare_logs",
    "drawn",
    "export",
    "export_parts",
    "generate",
    "input_codes",
    "simulate",
    "verify",
]

Path_ = str | os.PathLike[str]

#: Calibration samples on which passes are compared with one another, and multiply-accumulates
#: from which on there are fewer.
CHECK_SAMPLES = 16
CHECK_WORK = 4_000_000_000
#: Calibration samples from which activation densities are taken.
DENSITY_SAMPLES = 64
#: A traced network may differ from the module it came from by this part of the largest output:
#: both compute in float32, in different orders, with batch norm folded or not.
TRACE_TOLERANCE = 1e-3
#: Photographs, and crops of them, that calibrate networks with drawn weights.
DRAWN_SAMPLES = 8
#: Most bits of weights that are not ternary.
MOST_DIGITS = 16


@dataclass
class Step:
    """One step of an export: what it did, how long it took, what a comparison showed."""

    name: str
    seconds: float = 0.0
    check: str = ""


@dataclass(eq=False)
class Export:
    """A finished export: the image as loaded from disk, and the steps that made it."""

    image: Image
    steps: list[Step] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the manifest's, steps and path."""
        return {
            "image": str(self.image.path),
            "steps": [
                {"name": step.name, "seconds": round(step.seconds, 3), "check": step.check}
                for step in self.steps
            ],
            **self.image.manifest,
        }


# ----- arrays


def read_array(source: Path_ | NDArray[Any], what: str) -> NDArray[Any]:
    """An array, or that of a ``.npy`` file; no code from the file is run.

    Raises
    ------
    ExportError
        The file is missing, damaged, of another kind, or holds Python objects.
    """
    if isinstance(source, np.ndarray):
        return source
    if not isinstance(source, str | os.PathLike):
        return np.asarray(source)
    try:
        array = np.load(source, allow_pickle=False)
    except OSError as error:
        raise ExportError(
            f"{what} {source} cannot be read: {error.strerror or 'it is no .npy file'}"
        ) from error
    except (
        ValueError,
        EOFError,
        MemoryError,
        SyntaxError,
        tokenize.TokenError,
        zipfile.BadZipFile,
    ) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise ExportError(
                f"{what} {source} is refused: it holds Python objects or is no .npy "
                f"file; only arrays of numbers are read"
            ) from error
        raise ExportError(f"{what} {source} is truncated or no .npy file") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ExportError(
            f"{what} {source} is an archive of arrays (.npz); one array in a .npy "
            f"file would be right"
        )
    return array


def input_codes(image: Image, source: Path_ | NDArray[Any]) -> NDArray[np.int64]:
    """Activation codes (images, channels, height, width) of an input array or ``.npy`` file.

    One image may come without the first dimension. Real numbers are quantized with the scale of
    the network's input; integers are codes already.

    Raises
    ------
    ExportError
        Not readable, not numbers, empty, mis-shaped, NaN or infinite, codes out of range.
    """
    array = read_array(source, "input")
    tensor = image.network.tensors[image.network.input]
    shape = tensor.shape
    if array.shape == shape or (array.shape == shape[:1] and shape[1:] == (1, 1)):
        array = array[np.newaxis]
    return quantize_input(array, tensor)


# ----- export


class _Steps:
    """Runs named steps and tells of progress."""

    NAMES = (
        "load model",
        "trace",
        "calibrate",
        "quantize",
        "fold",
        "densities",
        "place",
        "emit",
        "check",
        "write",
    )

    def __init__(self, progress: Progress | None) -> None:
        self.done: list[Step] = []
        self.progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        if self.progress is not None:
            self.progress(name, self.NAMES.index(name) / len(self.NAMES))
        step = Step(name)
        begin = time.perf_counter()
        yield step
        step.seconds = time.perf_counter() - begin
        self.done.append(step)


def export(
    checkpoint: Path_ | Mapping[str, Any] | None,
    model: str | nn.Module,
    samples: Path_ | NDArray[Any],
    config: str | Config,
    output: Path_,
    *,
    threshold: float | None = None,
    digits: int = 8,
    percentile: float | None = None,
    name: str | None = None,
    check: bool = True,
    resident: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Export:
    """Compile a trained network for one configuration and write the image.

    Parameters
    ----------
    checkpoint : path, state dict or None
        What :func:`tritforge.model_export.formats.checkpoint.load_into` reads; None takes the
        model's own weights.
    model : str or nn.Module
        ``FILE.py:NAME``, ``zoo:NAME``, or the module; it is not changed.
    samples : path or array (samples, channels, height, width)
        Calibration inputs as the network was trained on (integers are taken as real numbers),
        or (samples, features).
    config : str or Config
        As :func:`tritforge.hw.presets.load_config`.
    output : path
        The image folder. A former image there is replaced, anything else is left alone.
    threshold : float, optional
        t of TTQ, as a fraction of max |w|, where the checkpoint has latent weights but no t.
    digits : int
        Bits of the weights of layers that are not ternary; 0 refuses such layers.
    percentile : float, optional
        Calibrate to this percentile instead of the largest value.
    check : bool
        Compare after every pass that changes numbers: the traced network with the module, the
        golden model with the real numbers, the memory contents with the golden model.
    resident : bool
        Refuse a network that does not fit the memories whole; else it is streamed: what does not
        fit goes through the host port in every run.
    provenance : dict, optional
        JSON values that say where the network comes from, for the manifest's ``extra``.
    progress : callable(step name, fraction), optional

    Returns
    -------
    Export

    Raises
    ------
    ModelError, CheckpointError, ExportError, ImageError, ConfigError
        One sentence each; nothing is left behind.
    """
    chosen = load_config(config) if isinstance(config, str) else config
    target = Path(output)
    check_image_target(target)
    array = read_array(samples, "calibration")
    _check_samples(array)
    steps = _Steps(progress)
    with steps.step("load model"):
        module = load_model(model) if isinstance(model, str) else model
        source = module.state_dict() if checkpoint is None else checkpoint
        if isinstance(source, os.PathLike):
            source = os.fspath(source)
        plain = load_into(module, source, threshold)
    with steps.step("trace") as step:
        if name is None:
            name = model.rpartition(":")[2] if isinstance(model, str) else type(model).__name__
        planes: Planes = {}
        traced = trace(plain, array.shape[1:], digits=digits, name=name, known=planes)
        reference = FloatReference(traced)
        if check:
            checked = array[: _check_count(traced)]
            step.check = _check_trace(reference, plain, checked, digits, planes)
    with steps.step("calibrate"):
        calibrated = calibrate(traced, array, percentile=percentile, reference=reference)
    with steps.step("quantize") as step:
        network = quantize(calibrated, chosen)
        checked = array[: _check_count(network)]
        # Calibration and quantization change nothing for it. It and the golden model hold the
        # weights in floating point: one after the other.
        real = reference.run(checked.astype(np.float32)) if check else None
        del reference
        golden = GoldenModel(network)
        if real is not None:
            step.check = _check_quantized(golden, checked, real)
    with steps.step("fold") as step:
        unfolded, network = network, fold_input(network)
        sample = quantize_input(array[:1].astype(np.float64), network.tensors[network.input])
        expected = golden.run_all(sample) if check else {}
        if network is not unfolded:
            del golden  # up to half a gigabyte for AlexNet
            golden = GoldenModel(network)
            if check:
                step.check = _check_folded(network, expected, golden.run_all(sample))
    with steps.step("densities"):
        densities = activation_densities(network, array[:DENSITY_SAMPLES], golden)
        del golden
    with steps.step("place"):
        placement = place(network, chosen, densities)
    with steps.step("emit"):
        memory = fit(network, placement, chosen, resident=resident)
    if check:
        with steps.step("check") as step:
            step.check = _check_memory(network, chosen, memory, sample, expected)
    with steps.step("write"):
        extra = {
            "model": model if isinstance(model, str) else type(model).__name__,
            "checkpoint": _provenance(checkpoint),
            "calibration": {
                "shape": list(array.shape),
                "sha256": _array_digest(array),
                "percentile": percentile,
            },
            "threshold": threshold,
            "digits": digits,
            "checks": {step.name: step.check for step in steps.done if step.check},
            **({} if provenance is None else {"provenance": dict(provenance)}),
        }
        write_image(target, network, chosen, memory, extra)
        image = load_image(target)
    if progress is not None:
        progress("done", 1.0)
    return Export(image, steps.done)


def drawn(
    model: str, seed: int, progress: Progress | None = None
) -> tuple[nn.Module, Provenance, NDArray[np.float32]]:
    """An AlexNet of the zoo with drawn weights, where they come from, and samples to calibrate
    with; see :func:`tritforge.model_export.alexnet.network.alexnet`.

    Parameters
    ----------
    model : str
        ``zoo:alexnet_dorefa``, ``zoo:alexnet_krizhevsky`` or ``zoo:alexnet_torchvision``.
    seed : int

    Raises
    ------
    ModelError
        Another model, or a negative seed.
    """
    scheme, _, topology = model.partition(":")
    if scheme != "zoo" or topology not in TOPOLOGIES:
        raise ModelError(
            f"only the AlexNets of the zoo draw their weights "
            f"({', '.join(f'zoo:{name}' for name in TOPOLOGIES)}), not {model}; give "
            f"a checkpoint"
        )
    if progress is not None:
        progress("drawing weights, setting densities", 0.0)
    module, provenance = alexnet(topology, seed=seed)
    return module, provenance, calibration_images(topology, DRAWN_SAMPLES)


def check_image_target(path: Path) -> None:
    """Refuse early what :func:`tritforge.model_export.image.folder.write_image` would refuse at the
    end.

    Raises
    ------
    ImageError
    """
    if (
        path.is_symlink()
        or (path.exists() and not path.is_dir())
        or (path.is_dir() and any(path.iterdir()) and not (path / "manifest.json").is_file())
    ):
        raise ImageError(f"{path} exists and is not a tritforge image; it is left as it is")


def _check_samples(array: NDArray[Any]) -> None:
    if array.dtype.kind not in "iuf":
        raise ExportError(f"calibration samples must be numbers, not of type {array.dtype}")
    if array.size == 0:
        raise ExportError(f"calibration samples are empty (shape {array.shape})")
    if array.ndim not in (2, 4):
        raise ExportError(
            f"calibration samples have shape {array.shape}; expected is (samples, channels, "
            f"height, width), or (samples, features)"
        )
    broken = int(np.count_nonzero(~np.isfinite(array)))
    if broken:
        raise ExportError(f"calibration samples have {broken} values that are NaN or infinite")


def _provenance(checkpoint: Path_ | Mapping[str, Any] | None) -> dict[str, str] | None:
    """Name and SHA-256 of a checkpoint file; None where there is no file."""
    if checkpoint is None or isinstance(checkpoint, Mapping):
        return None
    path = Path(checkpoint)
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _array_digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def activation_densities(
    network: Network, samples: NDArray[Any], golden: GoldenModel | None = None
) -> dict[str, NDArray[np.float64]]:
    """Share of nonzero codes per channel on the chip (channels,), 0..1, of every tensor, by the
    golden model on sample inputs: what :func:`tritforge.model_export.memory.placement.place`
    balances with."""
    codes = quantize_input(samples.astype(np.float64), network.tensors[network.input])
    model = GoldenModel(network) if golden is None else golden
    totals = {name: np.zeros(tensor.channels) for name, tensor in network.tensors.items()}
    for start in range(0, len(codes), CHECK_SAMPLES):
        for name, values in model.run_all(codes[start : start + CHECK_SAMPLES]).items():
            nonzero = network.tensors[name].stored(values != 0)
            totals[name] += nonzero.mean(axis=(2, 3)).sum(axis=0)
    return {name: total / len(codes) for name, total in totals.items()}


def _check_count(network: Network) -> int:
    """Samples to compare passes on: fewer where a network takes long."""
    work = sum(layer.mac_count for layer in network.layers)
    return max(2, min(CHECK_SAMPLES, CHECK_WORK // max(1, work)))


def _check_trace(
    reference: FloatReference, module: nn.Module, samples: NDArray[Any], digits: int, planes: Planes
) -> str:
    """The traced network against the module it came from, in real numbers.

    Where weights were rounded, the structure is compared with the most bits there are, and what
    rounding changes is only reported.
    """
    network = reference.network
    real = samples.astype(np.float32)
    try:
        with torch.no_grad():
            output = module.eval()(torch.from_numpy(np.ascontiguousarray(real)))
            if not isinstance(output, torch.Tensor):
                raise TypeError(f"it returns {type(output).__name__}, not one tensor")
            expected = output.numpy()
    except Exception as error:
        raise ExportError(
            f"the model cannot be run on the calibration samples: {' '.join(str(error).split())}"
        ) from error
    if not np.isfinite(expected).all():
        raise ExportError(
            "the model's own output on the calibration samples is NaN or infinite; "
            "check the samples and the weights"
        )
    if "softmax" in network.final.note:
        return "not compared with the model, whose trailing softmax is left out"
    expected = expected.reshape(len(expected), -1)
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0

    def outputs(candidate: FloatReference) -> NDArray[np.float32]:
        found = candidate.run(real).reshape(len(expected), -1)
        if found.shape != expected.shape:
            raise ExportError(
                f"network {network.name}: the model gives {expected.shape[1]} outputs, its trace "
                f"{found.shape[1]}; this is a fault of the tracer"
            )
        return found

    rounded = any(layer.weight_error > 0 for layer in network.layers)
    found = outputs(reference)
    exact = found
    if rounded and digits < MOST_DIGITS:
        exact = outputs(
            FloatReference(
                trace(
                    module,
                    samples.shape[1:],
                    digits=MOST_DIGITS,
                    name=network.name,
                    known=dict(planes),
                )
            )
        )
    worst = float(np.abs(exact - expected).max(initial=0.0)) / largest
    if not worst <= TRACE_TOLERANCE:
        raise ExportError(
            f"network {network.name}: its trace differs from the model by "
            f"{worst:.2g} of the largest output; this is a fault of the tracer"
        )
    result = (
        f"structure agrees with the model, within {worst:.1g} of the largest output "
        f"({len(found)} samples)"
    )
    if rounded:
        rms = float(np.sqrt(np.mean((found - expected) ** 2))) / largest
        result += f"; rounding of multi-bit weights changes outputs by {rms:.2%} of it (rms)"
    return result


def _check_quantized(
    model: GoldenModel, samples: NDArray[Any], reference: NDArray[np.float32]
) -> str:
    """The golden model against the same network in real numbers: how much integers cost."""
    network = model.network
    real = reference.reshape(len(samples), -1)
    codes = quantize_input(samples.astype(np.float64), network.tensors[network.input])
    golden = model.run(codes).reshape(len(samples), -1)
    scaled = golden * network.final.result_scale
    largest = float(np.abs(real).max(initial=0.0)) or 1.0
    error_share = float(np.sqrt(np.mean((scaled - real) ** 2))) / largest
    same = int((golden.argmax(axis=1) == real.argmax(axis=1)).sum())
    return (
        f"golden model: rms error {error_share:.2%} of the largest output, largest output "
        f"the same in {same} of {len(samples)} samples"
    )


def _check_folded(
    folded: Network,
    expected: Mapping[str, NDArray[np.int64]],
    found: Mapping[str, NDArray[np.int64]],
) -> str:
    """The golden model before and after folding: every integer of every tensor."""
    for name, values in expected.items():
        if not np.array_equal(values, found[name]):
            raise ExportError(
                f"tensor {name} changes when the input is folded; this is a fault of the compiler"
            )
    shape = folded.tensors[folded.input]
    return (
        f"input {'x'.join(map(str, shape.shape))} folded to "
        f"{shape.channels}x{shape.height}x{shape.width}, every integer as before"
    )


def _check_memory(
    network: Network,
    config: Config,
    memory: MemoryImage,
    codes: NDArray[np.int64],
    expected: Mapping[str, NDArray[np.int64]],
) -> str:
    """The memory contents, executed, against the golden model: every integer of every layer."""
    image = Image(Path("."), {}, config, memory, network)
    found = InterpreterBackend(image).capture(codes)
    count = 0
    for layer in network.layers:
        values = expected[layer.output]
        difference = verification.compare(
            InterpreterBackend.name, layer.name, 0, values[0], found[layer.name][0]
        )
        if difference is not None:
            raise ExportError(f"{difference}; this is a fault of the compiler")
        count += values.size
    return f"memory contents give the golden model's integers, all {count:,} of {len(codes)} image"


def export_parts(manifest: dict[str, Any]) -> list[str | Table]:
    """What became of every layer's weights: a table, and a sentence per layer."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="what became of the weights",
        title_justify="left",
        padding=(0, 1, 0, 0),
        caption_justify="left",
        caption="error: largest |stored - trained| / largest |trained| weight, before "
        "coefficients; density: nonzero trits / all; bits: of an accumulator, "
        "by the proven bound; bytes: trits as they are stored, packed",
    )
    for title in ("layer", "kind"):
        table.add_column(title)
    for title in ("weights", "error, %", "groups", "density, %", "Wp, Wn", "bits", "bytes"):
        table.add_column(title, justify="right")
    for layer in manifest["layers"]:
        groups = layer["groups"]
        pair = (
            f"{groups[0]['coefficient_plus']}, {groups[0]['coefficient_minus']}"
            if len(groups) == 1
            else "several"
        )
        table.add_row(
            layer["name"],
            layer["kind"],
            f"{layer['weights']:,}",
            f"{100 * layer['weight_error']:.2f}" if layer["weights"] else "-",
            str(len(groups)),
            f"{100 * layer['density']:.1f}",
            pair,
            str(layer["accumulator_bits"]),
            f"{layer['packed_bytes']:,}",
        )
    return [
        table,
        *(f"{layer['name']}: {layer['note']}" for layer in manifest["layers"] if layer["note"]),
    ]


# ----- generate


def generate(config: str | Config, folder: Path_) -> tuple[Path, Path]:
    """Write ``accelerator.v`` and its side-car ``accelerator.json`` into ``folder``.

    Returns
    -------
    The two paths.

    Raises
    ------
    ConfigError
        As :func:`tritforge.hw.presets.load_config`.
    ReportError
        Another program's ``accelerator.v`` is in the way, or the folder cannot be written.
    """
    chosen = load_config(config) if isinstance(config, str) else config
    target = Path(folder)
    for suffix in (".v", ".json"):
        path = target / (TOP_NAME + suffix)
        if path.exists() and not _is_generated(path):
            raise ReportError(
                f"{path} exists and was not generated by tritforge; it is left as it is"
            )
    if target.exists() and not target.is_dir():
        raise ReportError(f"{target} is not a folder")
    try:
        return write_verilog(chosen, target)
    except OSError as error:
        raise ReportError(f"{target} cannot be written: {error.strerror}") from error


def _is_generated(path: Path) -> bool:
    """Whether a former run of :func:`generate` wrote this file."""
    try:
        start = path.read_text(encoding="utf-8")[:200]
    except (OSError, UnicodeDecodeError):
        return False
    return start.startswith("// tritforge accelerator") or f'"top": "{TOP_NAME}"' in start


# ----- simulate and verify


def opened(image: Path_ | Image, config: str | Config | None = None) -> Image:
    """An image, loaded and verified if it is not yet; for ``config``, where one is demanded.

    Raises
    ------
    ImageError, ConfigError
    """
    loaded = image if isinstance(image, Image) else load_image(image)
    if config is not None:
        loaded.require(load_config(config) if isinstance(config, str) else config)
    return loaded


def simulate(
    image: Path_ | Image,
    inputs: Path_ | NDArray[Any],
    backend: str = "rtl",
    *,
    layer: str | None = None,
    config: str | Config | None = None,
    output: Path_ | None = None,
    log: Path_ | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Run an image on one backend.

    Parameters
    ----------
    image : path or Image
    inputs : path or array (images, channels, height, width), or one image without the first
        Real numbers are quantized, integers are activation codes.
    backend : str
        ``golden``, ``cycle``, ``rtl`` or ``pysim``.
    layer : str, optional
        Run this layer alone, on the golden activations before it.
    config : optional
        Demand that the image was compiled for this configuration.
    output : path, optional
        Write ``report.json`` and ``output.npy`` into this folder; a former run is replaced.
    log : path, optional
        Write the event log of the one input image to this file; a former log is replaced.
        :func:`compare_logs` compares two of them.

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
    codes = input_codes(loaded, inputs)
    if output is not None:
        check_run_folder(Path(output))
    if log is not None:
        check_log_file(log)
        if output is not None and Path(log).resolve().is_relative_to(Path(output).resolve()):
            raise EventLogError(
                f"log {log} would lie in the run folder {output}; it belongs elsewhere"
            )
        if backend in BACKENDS:
            check_log(backend, BACKENDS[backend].logs, len(codes))
    check_layer(loaded.network, layer)
    records: list[Record] = []
    with create(backend, loaded, progress) as runner:
        simulation = runner.run(codes, layer, progress, None if log is None else records)
    if log is not None:
        write_log(
            log,
            EventLog(
                simulation.network,
                loaded.config.name,
                loaded.config.identity,
                loaded.manifest.get("manifest_sha256", ""),
                _array_digest(codes),
                layer,
                simulation.backend,
                records,
            ),
        )
    if output is not None:
        write_run(Path(output), report_of(simulation, loaded), simulation)
    return simulation


def report_of(simulation: Simulation, image: Image, where: str | None = None) -> dict[str, Any]:
    """``report.json`` of a simulation, see :func:`tritforge.sim.report.build_report`."""
    return build_report(
        simulation, where or str(image.path), image.manifest.get("manifest_sha256", "")
    )


def verify(
    image: Path_ | Image,
    inputs: Path_ | NDArray[Any],
    *,
    backends: Sequence[str] | None = None,
    pysim_images: int = verification.PYSIM_IMAGES,
    config: str | Config | None = None,
    progress: Progress | None = None,
) -> verification.Verification:
    """Compare every layer's integers on all backends; see :func:`tritforge.sim.verify.verify`.

    Raises
    ------
    ImageError, ExportError, ConfigError, SimulationError, DeviceError, SimulatorError
        One sentence each.
    """
    loaded = opened(image, config)
    chosen = tuple(verification.CHECKED) if backends is None else tuple(backends)
    return verification.verify(
        loaded,
        input_codes(loaded, inputs),
        backends=chosen,
        pysim_images=pysim_images,
        progress=progress,
    )


def verification_table(result: verification.Verification) -> Table:
    """A row per backend."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title=f"network {result.network}, configuration {result.configuration}: every "
        f"integer of layers {', '.join(result.layers)} against the golden model",
    )
    for title in ("backend", "images", "integers compared", "result"):
        table.add_column(
            title, justify="right" if title in ("images", "integers compared") else "left"
        )
    for one in result.comparisons:
        outcome = (
            f"skipped: {one.skipped}"
            if one.skipped
            else str(one.difference)
            if one.difference is not None
            else "equal"
        )
        table.add_row(one.backend, str(one.images), f"{one.values:,}", outcome)
    return table
