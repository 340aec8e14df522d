"""The user's model against what was read from it: the same samples, the same real numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tritforge.flows.export_checks import CHECK_SAMPLES, check_count
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.lower import Lowered, Planes, lower
from tritforge.model_export.frontend.record import (
    check_model,
    failure,
    one_output,
    plain_running,
    record,
)
from tritforge.model_export.network import Network
from tritforge.model_export.reference import FloatReference

__all__ = ["CHECK_SAMPLES", "Recorded", "check_recorded", "model_outputs"]

#: A recorded network may differ from the model by this part of the largest output: both compute in
#: float32, in different orders, with batch norm folded or not.
TOLERANCE = 1e-3
#: The same where activations are rounded in between, to fewer bits or by functions with steps: what
#: lies at the edge of one falls to either side.
_ROUNDED_TOLERANCE = 0.05
#: Operations of functions with steps.
_STEPS = frozenset({"round", "floor", "ceil", "trunc", "sign"})
#: Most bits of weights that are not ternary.
_MOST_DIGITS = 16


class Recorded:
    """A model as it was recorded, and as a network of layers.

    Members
    -------
    network : Network
        In real numbers, weights of at most ``digits`` bits.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: NDArray[Any],
        name: str,
        digits: int,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.model, self.samples, self.name, self.digits = model, samples, name, digits
        self.planes: Planes = {}
        self.graph = record(model, samples, name=name)
        self.network: Network = lower(
            self.graph, digits=digits, known=self.planes, progress=progress
        ).network

    def exact(self) -> Network:
        """The network with as many bits of weights as there are."""
        return lower(self.graph, digits=_MOST_DIGITS, known=dict(self.planes)).network


def model_outputs(model: nn.Module, samples: NDArray[Any], name: str) -> NDArray[np.float32]:
    """What a model gives for samples in evaluation mode, (samples, ..): all of them as one batch,
    or each by itself where the model takes no batch.

    Raises
    ------
    ExportError
        The model fails, returns something else than one tensor, or values that are not finite.
    """
    check_model(model, name)
    inputs = torch.from_numpy(samples.astype(np.float32))
    with plain_running(model):
        try:
            output = one_output(model(inputs.clone()), name)
            batched = output.dim() > 0 and len(output) == len(inputs)
        except ExportError:
            raise
        except (Exception, SystemExit) as error:
            try:
                output = one_output(model(inputs[:1].clone()), name)
            except (Exception, SystemExit):
                raise ExportError(failure(model, name, error, inputs)) from error
            batched = False
        if not batched:
            output = torch.stack(
                [one_output(model(one[None].clone()), name).reshape(-1) for one in inputs]
            )
    expected: NDArray[np.float32] = output.detach().float().numpy().copy()
    if not np.isfinite(expected).all():
        raise ExportError(
            "the model's own output on the calibration samples is NaN or infinite; "
            "check the samples and the weights"
        )
    return expected


def check_recorded(
    recorded: Recorded,
    reference: FloatReference,
    samples: NDArray[Any],
    expected: NDArray[np.float32],
) -> str:
    """The recorded network against the model, in real numbers, on as many samples as take little
    time.

    Where weights were rounded, the structure is compared with the most bits there are, and what
    rounding changes is only reported.

    Parameters
    ----------
    reference : FloatReference
        Of ``recorded.network``.
    samples : array (samples, channels, height, width)
        Arranged as the network takes them.
    expected : array (samples, ..)
        What :func:`model_outputs` gave for them.

    Raises
    ------
    ExportError
        They differ by more than rounding; the first layer that does is named.
    """
    network = reference.network
    expected = expected[: check_count(network)]
    real = samples[: len(expected)].astype(np.float32)
    found = _outputs(recorded, reference, real, expected)
    exact = found
    rounded = any(layer.weight_error > 0 for layer in network.layers)
    if rounded and recorded.digits < _MOST_DIGITS:
        exact = _outputs(recorded, FloatReference(recorded.exact()), real, expected)
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    worst = float(np.abs(exact - expected).max(initial=0.0)) / largest
    size = f"within {worst:.1g} of the largest output"
    if not worst <= TOLERANCE:
        why = _rounding(recorded)
        error = _rms(exact - expected) / largest
        if not why or not error <= _ROUNDED_TOLERANCE:
            raise ExportError(_difference(recorded, real, expected, worst))
        size = (
            f"but for its rounding ({why}), with a rms error of {error:.1g} of the largest output"
        )
    result = f"structure agrees with the model, {size} ({len(found)} samples)"
    if rounded:
        rms = _rms(found - expected) / largest
        result += f"; rounding of multi-bit weights changes outputs by {rms:.2%} of it (rms)"
    return result


def _rms(values: NDArray[np.float32]) -> float:
    """Root mean square, of values whose squares single precision may not have."""
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def _rounding(recorded: Recorded) -> str:
    """Where the model rounds activations, if it does."""
    if recorded.graph.reduced:
        return f"it computes in {recorded.graph.reduced}"
    functions = [layer.function for layer in recorded.network.layers]
    stepped = [one.name for one in functions if one and _STEPS & set(one.steps.split())]
    return f"it applies {stepped[0]}" if stepped else ""


def _outputs(
    recorded: Recorded,
    reference: FloatReference,
    real: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What a network gives for the samples, as the model returns it."""
    found = reference.run(real).reshape(len(real), -1)
    if found[0].size != expected[0].size:
        raise ExportError(
            f"network {recorded.name}: the model gives {expected[0].size} outputs for each of "
            f"several samples, and {found[0].size} for one"
        )
    shaped = found.reshape(len(real), *recorded.graph.output_shape)
    tail = recorded.graph.tail
    if tail is not None:
        shaped = tail.apply(torch.from_numpy(shaped)).numpy()
    return shaped.reshape(expected.shape)


def _difference(
    recorded: Recorded,
    real: NDArray[np.float32],
    expected: NDArray[np.float32],
    worst: float,
) -> str:
    """What is to be said of outputs that differ by ``worst`` of the largest one from what the model
    gave at first: where that begins, or why there is no such layer."""
    start = f"network {recorded.name} differs from the model by {worst:.2g} of the largest output"
    layer = _first_difference(recorded, real[:1])
    if layer is not None:
        return f"{start}, first in layer {layer}; this is a fault of tritforge"
    size = TOLERANCE * float(np.abs(expected).max())
    two = recorded.samples[:2]
    again, pair, *alone = (
        model_outputs(recorded.model, given, recorded.name)
        for given in (recorded.samples, two, *(one[None] for one in two))
    )
    # the same samples in the same batch: there is nothing to round otherwise
    if not np.allclose(again[: len(expected)], expected, rtol=0, atol=size / 100):
        return f"{start}: it computes something else each time it is run"
    if not np.allclose(pair.ravel(), np.concatenate(alone).ravel(), rtol=0, atol=size):
        return f"{start}: its output for one sample depends on the others of the batch"
    return f"{start}, but not for the sample that was recorded: it decides by its input's values"


def _first_difference(recorded: Recorded, sample: NDArray[np.float32]) -> str | None:
    """The first layer whose output is not what the model computed when it was recorded."""
    kept: dict[int, NDArray[np.float32]] = {}
    graph = record(recorded.model, recorded.samples, name=recorded.name, kept=kept)
    lowered: Lowered = lower(graph, digits=_MOST_DIGITS)
    found = FloatReference(lowered.network).run_all(sample)
    for name, origin in lowered.origins.items():
        if all(index in kept for index, _ in origin.parts):
            values = np.concatenate([kept[index][channels] for index, channels in origin.parts])
            expected = values * origin.gain[:, None, None] + origin.offset[:, None, None]
            largest = float(np.abs(expected).max(initial=0.0)) or 1.0
            if not np.abs(found[name][0] - expected).max(initial=0.0) <= TOLERANCE * largest:
                return name
    return None
