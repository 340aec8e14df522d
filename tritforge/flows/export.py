"""From a trained network to an image: the passes in their order, and checks between them."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tritforge.common.errors import warn
from tritforge.common.json_types import Json, JsonObject
from tritforge.common.progress import Progress
from tritforge.flows.arrays import StrPath, read_array
from tritforge.flows.densities import DENSITY_SAMPLES, Activity, activity
from tritforge.flows.estimated_verdict import estimated_verdict
from tritforge.flows.export_checks import (
    check_count,
    check_memory,
    check_quantized,
    fused_sums,
)
from tritforge.flows.inputs import array_digest, read_labels
from tritforge.flows.layer_errors import LayerError, measure_errors
from tritforge.flows.model_checks import CHECK_SAMPLES, Recorded, check_recorded, model_outputs
from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.copying import uninitialized
from tritforge.model_export.errors import ExportError, ImageError
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.image.folder import Image, load_image, write_image
from tritforge.model_export.memory.shaping import Shaping, compile_network
from tritforge.model_export.model_file import load_model, running
from tritforge.model_export.network import Network
from tritforge.model_export.passes.calibrate import SMALLEST, calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.model_export.passes.sums import coarse_sums, fuse_sums
from tritforge.model_export.reference import FloatReference, arranged
from tritforge.sim.accuracy import accuracy
from tritforge.sim.golden import GoldenModel, quantize_input
from tritforge.sim.verdict import Verdict

__all__ = ["Accuracy", "Export", "Step", "export"]

#: Bits of weights that are not ternary, where nothing else is said.
DIGITS = 8
#: Samples by whose ranges is decided which sums are layers.
_RANGE_SAMPLES = 32
#: Share of a ternary layer's trits beyond which zeros are too few to save time.
DENSEST = 0.9
_REAL_ONES = "activation scales come from the samples' values, and some 100 give better ones"


@dataclass
class Step:
    """One step of an export: what it did, how long it took, what a comparison showed."""

    name: str
    seconds: float = 0.0
    check: str = ""


@dataclass(frozen=True)
class Accuracy(JsonObject):
    """Share of the calibration samples whose largest output is that of their label, 0..1, of the
    network in real numbers and in integers."""

    samples: int
    real: float
    integers: float


@dataclass(eq=False, repr=False)
class Export:
    """A finished export: the image as loaded from disk, the steps that made it, what integers cost
    in every layer (nothing where it was not checked) and, where there are labels, in accuracy, and
    what it is bound by, as estimated."""

    image: Image
    steps: list[Step] = field(default_factory=list)
    errors: list[LayerError] = field(default_factory=list)
    accuracy: Accuracy | None = None
    verdict: Verdict | None = None

    def __repr__(self) -> str:
        manifest = self.image.manifest
        name = manifest.configuration["name"]
        return f"<Export of {manifest.network} for {name}: {self.image.path}>"

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the manifest's, steps and path."""
        return {
            "image": str(self.image.path),
            "steps": [
                {"name": step.name, "seconds": round(step.seconds, 3), "check": step.check}
                for step in self.steps
            ],
            "verdict": None if self.verdict is None else self.verdict.to_json(),
            **self.image.manifest.to_json(),
        }


class _Steps:
    """Runs named steps and tells of progress."""

    NAMES = (
        "load model",
        "trace",
        "fuse",
        "calibrate",
        "quantize",
        "densities",
        "compile",
        "check",
        "write",
    )

    def __init__(self, progress: Progress | None) -> None:
        self.done: list[Step] = []
        self.progress = progress

    def within(self, name: str) -> Callable[[float], None]:
        """Tells of progress within a step."""

        def tell(fraction: float) -> None:
            if self.progress is not None:
                self.progress(name, (self.NAMES.index(name) + fraction) / len(self.NAMES))

        return tell

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
    checkpoint: StrPath | Mapping[str, Any] | None,
    model: str | nn.Module,
    samples: StrPath | NDArray[Any],
    config: str | Config,
    output: StrPath,
    *,
    labels: StrPath | NDArray[Any] | None = None,
    threshold: float | None = None,
    digits: int | None = None,
    percentile: float | None = None,
    name: str | None = None,
    check: bool = True,
    resident: bool = False,
    shaping: Shaping | None = None,
    separate_sums: bool = False,
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
    samples : path or array (samples, ..)
        Calibration inputs as the network was trained on (integers are taken as real numbers), of
        the shape that the model takes.
    config : str or Config
        As :func:`tritforge.hw.presets.load_config`.
    output : path
        The image folder. A former image there is replaced, anything else is left alone.
    labels : path or array (samples,), optional
        Each calibration sample's class: accuracies in real numbers and in integers are measured.
    threshold : float, optional
        t of TTQ, as a fraction of max |w|, where the checkpoint has latent weights but no t.
    digits : int, optional
        Bits of the weights of layers that are not ternary, 8 where it is not given; 0 refuses such
        layers.
    percentile : float, optional
        Calibrate to this percentile instead of the largest value.
    check : bool
        Compare after every pass that changes numbers: the recorded network with the module, the
        golden model with the real numbers, the memory contents with the golden model.
    resident : bool
        Refuse a network that does not fit the memories whole; else it is streamed: what does not
        fit goes through the host port in every run.
    shaping : Shaping, optional
        What the compiler may choose of the shape in which layers are computed; by default all.
    separate_sums : bool
        Keep residual sums as layers of their own where the configuration could add them at
        write-back, to compare.
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
    bits = DIGITS if digits is None else digits
    array = _checked_samples(read_array(samples, "calibration"))
    steps = _Steps(progress)
    loaded, name = _load(steps, model, checkpoint, threshold, name)
    given = array.shape
    reference, array = _read(steps, loaded, array, name, bits, check)
    del loaded
    if chosen.write_back_sums and not separate_sums:
        reference = _fuse(steps, reference, array[:_RANGE_SAMPLES])
    traced = reference.network
    with steps.step("calibrate"):
        calibrated = calibrate(traced, array, percentile=percentile, reference=reference)
        known = None
        if labels is not None:
            known = read_labels(labels, len(array), traced.tensors[traced.final.output].shape)
        # It and the golden model hold the weights in floating point: one after the other.
        real = _Real(
            reference.run_all(array[: check_count(traced)]) if check else None,
            None if known is None else accuracy(reference.run(array), known),
        )
        del reference
    planes = shaping is not None and shaping.planes
    made = _in_integers(steps, calibrated, array, chosen, planes, real, known)
    network = made.network
    _check_options(network, digits, percentile)
    with steps.step("compile"):
        compiled = _compiled(made, chosen, shaping, resident)
        speed = estimated_verdict(compiled, made.activity.densities)
    if check:
        with steps.step("check") as step:
            step.check = check_memory(compiled, made.sample, made.expected)
    with steps.step("write"):
        extra: dict[str, Json] = {
            "model": model if isinstance(model, str) else type(model).__name__,
            "checkpoint": _provenance(checkpoint),
            "calibration": {
                "shape": list(given),
                "sha256": array_digest(array),
                "percentile": percentile,
            },
            "threshold": threshold,
            "digits": bits,
            **({"planes": True} if planes else {}),
            "errors": {
                "samples": made.checked,
                "layers": [error.to_json() for error in made.errors],
            },
            "accuracy": None if made.accuracy is None else made.accuracy.to_json(),
            "checks": {step.name: step.check for step in steps.done if step.check},
            "verdict": None if speed is None else speed.to_json(),
            **({} if provenance is None else {"provenance": dict(provenance)}),
        }
        write_image(target, compiled, extra)
        image = load_image(target)
    if progress is not None:
        progress("done", 1.0)
    return Export(image, steps.done, made.errors, made.accuracy, speed)


def _load(
    steps: _Steps,
    model: str | nn.Module,
    checkpoint: StrPath | Mapping[str, Any] | None,
    threshold: float | None,
    name: str | None,
) -> tuple[nn.Module, str]:
    """The model with its weights, and what reports call it."""
    with steps.step("load model") as step:
        module = load_model(model) if isinstance(model, str) else model
        with running(module):
            notes: list[str] = []
            loaded = load_into(module, checkpoint, threshold, notes=notes)
            step.check = "; ".join(notes)
            _check_initialized(loaded)
    if name is None:
        name = model.rpartition(":")[2] if isinstance(model, str) else type(model).__name__
    return loaded, name


def _read(
    steps: _Steps, model: nn.Module, array: NDArray[Any], name: str, digits: int, check: bool
) -> tuple[FloatReference, NDArray[Any]]:
    """The network in real numbers that a model is, and the samples arranged as it takes them."""
    with steps.step("trace") as step, running(model):
        expected = model_outputs(model, array[:CHECK_SAMPLES], name) if check else None
        recorded = Recorded(model, array[:CHECK_SAMPLES], name, digits, steps.within("trace"))
        network = recorded.network
        array = arranged(array, network.tensors[network.input], "calibration")
        reference = FloatReference(network)
        said = []
        if expected is not None:
            said.append(check_recorded(recorded, reference, array, expected))
        if not any(layer.is_ternary for layer in network.layers):
            said.append(
                "no layer is ternary, so each weight takes about two additions: ternarize_model "
                "makes a network to train"
            )
        step.check = "; ".join(said)
    return reference, array


def _fuse(steps: _Steps, reference: FloatReference, samples: NDArray[np.float32]) -> FloatReference:
    """The network with its residual sums at write-back, as far as they can be and ranges allow."""
    with steps.step("fuse") as step:
        network, sums = fuse_sums(reference.network)
        fused = reference
        if network is not reference.network:
            fused = FloatReference(network)
            coarse = coarse_sums(network, fused.ranges(samples))
            if coarse:
                network, sums = fuse_sums(reference.network, coarse)
                fused = FloatReference(network)
        step.check = fused_sums(sums)
    return fused


@dataclass(eq=False)
class _Real:
    """What the network in real numbers gives: tensors by name of the samples that are checked, and
    its accuracy; None where nobody asks for it."""

    tensors: dict[str, NDArray[np.float32]] | None
    accuracy: float | None


@dataclass(eq=False)
class _Integers:
    """A network in integers, what its golden model says of it, and what its memory contents are to
    give: every tensor of one sample."""

    network: Network
    activity: Activity
    sample: NDArray[np.int64]
    expected: dict[str, NDArray[np.int64]]
    checked: int  # samples that the errors are of
    errors: list[LayerError]
    accuracy: Accuracy | None


def _in_integers(
    steps: _Steps,
    calibrated: Network,
    array: NDArray[np.float32],
    config: Config,
    planes: bool,
    real: _Real,
    labels: NDArray[np.int64] | None,
) -> _Integers:
    """The steps in which there is a golden model: quantize, densities."""
    errors: list[LayerError] = []
    count, measured = 0, None
    with steps.step("quantize") as step:
        network = quantize(calibrated, config, planes=planes)
        golden = GoldenModel(network)
        source = network.tensors[network.input]
        if real.tensors is not None:
            count = len(real.tensors[network.input])
            integers = golden.run_all(quantize_input(array[:count], source))
            errors = measure_errors(network, real.tensors, integers)
            step.check = check_quantized(network, real.tensors, integers, errors[-1])
            del integers
        if labels is not None and real.accuracy is not None:
            found = golden.run(quantize_input(array, source))
            measured = Accuracy(len(array), real.accuracy, accuracy(found, labels))
        sample = quantize_input(array[:1], source)
        expected = golden.run_all(sample) if real.tensors is not None else {}
    with steps.step("densities"):
        shares = activity(network, array[:DENSITY_SAMPLES], golden)
    return _Integers(network, shares, sample, expected, count, errors, measured)


def _compiled(
    made: _Integers, config: Config, shaping: Shaping | None, resident: bool
) -> CompiledNetwork:
    shares = made.activity
    return compile_network(
        made.network,
        config,
        shares.densities,
        windows=shares.windows,
        shaping=shaping,
        resident=resident,
    )


def _check_initialized(model: nn.Module) -> None:
    """Refuse lazy modules that have no weights yet."""
    lazy = uninitialized(model)
    if lazy:
        raise ExportError(
            f"{lazy[0]}, so it has no weights; give a checkpoint, or run the model once"
        )


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


def _checked_samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Calibration samples, in single precision, in which the network computes."""
    if array.size == 0:
        raise ExportError(f"calibration samples are empty (shape {array.shape})")
    if array.ndim < 2:
        raise ExportError(
            f"calibration samples have shape {array.shape}; expected is (samples, ..), such as "
            f"(samples, channels, height, width) or (samples, features)"
        )
    with np.errstate(over="ignore"):
        samples = array.astype(np.float32)
    broken = int(np.count_nonzero(~np.isfinite(samples)))
    if broken:
        raise ExportError(
            f"calibration samples have {broken} values that are NaN or infinite in single precision"
        )
    largest = float(np.abs(samples).max())
    if largest < SMALLEST:
        size = f"no larger than {largest:.2g}" if largest else "all zero"
        raise ExportError(
            f"calibration samples are {size}, so no scale can be taken from them; "
            f"some 100 inputs as the network was trained on would be right"
        )
    if samples.min() == samples.max():
        warn(f"calibration samples are all {samples.flat[0]:.4g}: {_REAL_ONES}")
    elif len(samples) == 1:
        warn(f"there is one calibration sample: {_REAL_ONES}")
    elif all(np.array_equal(one, samples[0]) for one in samples[1:]):
        warn(f"all {len(samples)} calibration samples are the same: {_REAL_ONES}")
    return samples


def _check_options(network: Network, digits: int | None, percentile: float | None) -> None:
    """Warn of options that change nothing, and of ternary layers with next to no zeros."""
    weighted = [layer for layer in network.layers if layer.weight_count]
    if digits and all(layer.is_ternary and not layer.weight_error for layer in weighted):
        warn("all layers are ternary, so --digits changes nothing")
    if percentile == 100:
        warn("--percentile 100 is the largest value, as it is without the option")
    dense = {
        layer.name: layer.nonzero_trits / layer.weight_count
        for layer in weighted
        if layer.is_ternary and layer.nonzero_trits > DENSEST * layer.weight_count
    }
    if dense:
        least, most = min(dense.values()), max(dense.values())
        share = f"{most:.0%}" if f"{least:.0%}" == f"{most:.0%}" else f"{least:.0%} to {most:.0%}"
        warn(
            f"{share} of the trits of {', '.join(dense)} are nonzero, which leaves next to nothing "
            f"to skip; ternarize_model(model, sparsity=0.6), for instance, trains with more zeros"
        )


def _provenance(checkpoint: StrPath | Mapping[str, Any] | None) -> dict[str, Json] | None:
    """Name and SHA-256 of a checkpoint file; None where there is no file."""
    if checkpoint is None or isinstance(checkpoint, Mapping):
        return None
    path = Path(checkpoint)
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
