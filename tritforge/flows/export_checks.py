"""Comparisons between the passes of an export, and of its memory contents with its integers.

Each returns a sentence that says what was compared, or raises: a difference is a fault of the
compiler, never of the user.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tritforge.common.errors import warn
from tritforge.flows.layer_errors import LayerError
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Network
from tritforge.model_export.passes.trace import Planes, trace
from tritforge.model_export.reference import FloatReference
from tritforge.sim import verify as verification
from tritforge.sim.backend import InterpreterBackend

__all__ = ["check_count", "check_folded", "check_memory", "check_quantized", "check_trace"]

#: Calibration samples on which passes are compared with one another, and multiply-accumulates
#: from which on there are fewer.
CHECK_SAMPLES = 16
CHECK_WORK = 4_000_000_000
#: A traced network may differ from the module it came from by this part of the largest output:
#: both compute in float32, in different orders, with batch norm folded or not.
TRACE_TOLERANCE = 1e-3
#: Beyond this part of the outputs' rms, integers cost more than rounding does: that of activations,
#: weights and coefficients was 0.2 to 0.6 % in convolutional networks of 4 to 20 layers.
MOST_ERROR = 0.1
#: Share of samples whose largest output should be the same in integers.
LEAST_SAME = 0.9
_CURES = (
    "the errors of the layers show where it begins; more calibration samples, another "
    "--percentile or more --digits may help"
)
#: Most bits of weights that are not ternary.
MOST_DIGITS = 16


def check_count(network: Network) -> int:
    """Samples to compare passes on: fewer where a network takes long."""
    work = sum(layer.mac_count for layer in network.layers)
    return max(2, min(CHECK_SAMPLES, CHECK_WORK // max(1, work)))


def check_trace(
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


def check_quantized(
    network: Network,
    real: Mapping[str, NDArray[np.floating]],
    integers: Mapping[str, NDArray[np.integer]],
    error: LayerError,
) -> str:
    """The golden model against the same network in real numbers: what integers cost at the output.

    Parameters
    ----------
    real, integers
        As :func:`tritforge.flows.layer_errors.measure_errors` takes them.
    error : LayerError
        Of the last layer.
    """
    key = network.final.output
    expected, found = real[key], integers[key]
    samples, rows = expected.shape[:2]
    sentence = f"golden model: rms error {error.rms:.2%} of the outputs' rms"
    if not error.rms <= MOST_ERROR:
        warn(
            f"the integers' rms error is {error.rms:.0%} of the outputs' rms on {samples} samples; "
            f"{_CURES}"
        )
    if rows < 2:
        return f"{sentence} ({samples} samples)"
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    of = "samples" if same.ndim < 2 or same[0].size == 1 else "output pixels"
    if same.mean() < LEAST_SAME:
        warn(
            f"the largest output of the integers is that of the real numbers in only "
            f"{same.sum():,} of {same.size:,} {of}; {_CURES}"
        )
    return f"{sentence}, largest output the same in {same.sum():,} of {same.size:,} {of}"


def check_folded(
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


def check_memory(
    compiled: CompiledNetwork,
    codes: NDArray[np.int64],
    expected: Mapping[str, NDArray[np.int64]],
) -> str:
    """The memory contents, executed, against the golden model: every integer of every layer."""
    found = InterpreterBackend(compiled).capture(codes)
    count = 0
    for layer in compiled.network.layers:
        values = expected[layer.output]
        difference = verification.compare(
            InterpreterBackend.name, layer.name, 0, values[0], found[layer.name][0]
        )
        if difference is not None:
            raise ExportError(f"{difference}; this is a fault of the compiler")
        count += values.size
    return f"memory contents give the golden model's integers, all {count:,} of {len(codes)} image"
