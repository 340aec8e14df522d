"""Comparisons between the passes of an export, and of its memory contents with its integers.

Each returns a sentence that says what was compared, or raises: a difference is a fault of the
compiler, never of the user. :mod:`tritforge.flows.model_checks` compares with the user's model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tritforge.common.errors import warn
from tritforge.flows.layer_errors import LayerError
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Network
from tritforge.model_export.passes.sums import Sum
from tritforge.sim import verify as verification
from tritforge.sim.backend import InterpreterBackend

__all__ = [
    "CHECK_SAMPLES",
    "check_count",
    "check_memory",
    "check_quantized",
    "fused_sums",
]

#: Calibration samples on which passes are compared with one another, and multiply-accumulates
#: from which on there are fewer.
CHECK_SAMPLES = 16
CHECK_WORK = 4_000_000_000
#: Beyond this part of the outputs' rms, integers cost more than rounding does: that of activations,
#: weights and coefficients was 0.2 to 0.6 % in convolutional networks of 4 to 20 layers.
MOST_ERROR = 0.1
#: Share of samples whose largest output should be the same in integers.
LEAST_SAME = 0.9
_CURES = (
    "the errors of the layers show where it begins; more calibration samples, another "
    "--percentile or more --digits may help"
)


def check_count(network: Network) -> int:
    """Samples to compare passes on: fewer where a network takes long."""
    work = sum(layer.mac_count for layer in network.layers)
    return max(2, min(CHECK_SAMPLES, CHECK_WORK // max(1, work)))


def fused_sums(sums: Sequence[Sum]) -> str:
    """What became of the sums of a network: which are no layers of their own any more, which
    are, and why."""
    if not sums:
        return ""
    done = [one for one in sums if one.layer is not None]
    copies = sum(one.copied for one in done)
    sentence = f"{len(done)} of {len(sums)} sums are added at write-back"
    if copies:
        sentence += f", {copies} of them to a copy"
    left = [f"{one.name} is a layer ({one.reason})" for one in sums if one.layer is None]
    return "; ".join([sentence, *left])


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
