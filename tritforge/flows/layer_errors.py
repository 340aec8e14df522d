"""What integers cost, layer by layer: the golden model against the same network in real numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import JsonObject
from tritforge.model_export.network import Network

__all__ = ["LayerError", "measure_errors"]


@dataclass(frozen=True)
class LayerError(JsonObject):
    """Difference of a tensor's integers, times their scale, from its real numbers.

    Members
    -------
    name, kind
        Of the layer; both ``"input"`` for what rounding the input costs.
    rms
        Root mean square of the differences, as a part of that of the real numbers.
    worst
        Largest difference, as a part of the largest magnitude of the real numbers.
    clipped
        Share of the values that are clamped where the real number is beyond the clamp, 0..1.
    """

    name: str
    kind: str
    rms: float
    worst: float
    clipped: float


def measure_errors(
    network: Network,
    real: Mapping[str, NDArray[np.floating]],
    integers: Mapping[str, NDArray[np.integer]],
) -> list[LayerError]:
    """Errors of the input, and of every layer in order. They add up: a layer's has in it what the
    layers before it have lost.

    Parameters
    ----------
    network : Network
        Quantized.
    real, integers
        Every tensor by name, of the same samples, as ``run_all`` of
        :class:`tritforge.model_export.reference.FloatReference` and of
        :class:`tritforge.sim.golden.GoldenModel` gives them.
    """
    result = []
    places: Sequence[tuple[str, str, str]] = [
        ("input", "input", network.input),
        *((layer.name, layer.kind, layer.output) for layer in network.layers),
    ]
    for name, kind, key in places:
        tensor = network.tensors[key]
        final = key == network.final.output
        scale = network.final.result_scale if final else tensor.scale
        expected = real[key].astype(np.float64)
        error = integers[key] * scale - expected
        clipped = 0.0
        if not final:
            low, high = scale * (tensor.low - 0.5), scale * (tensor.high + 0.5)
            clipped = float(np.mean((expected < low) | (expected > high)))
        rms, size = (float(np.sqrt(np.mean(values**2))) for values in (error, expected))
        worst, largest = (float(np.abs(values).max()) for values in (error, expected))
        # where all real numbers are zero, in units of the integers
        result.append(
            LayerError(name, kind, rms / (size or scale), worst / (largest or scale), clipped)
        )
    return result
