"""Second pass: a scale for every tensor, from sample inputs."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.errors import ExportError
from tritforge.model_export.functions import Function
from tritforge.model_export.in_place import LEAST_VALUE, MOST_VALUE, places
from tritforge.model_export.network import Layer, Network, Tensor
from tritforge.model_export.reference import FloatReference, before_function, before_sum

__all__ = ["SMALLEST", "calibrate", "least_scale"]

#: Values at which a function is looked at to see where it is flat.
_RESOLUTION = 4097
#: A tensor whose largest magnitude is below this counts as all zero.
SMALLEST = 1e-30


def calibrate(
    network: Network,
    samples: NDArray[np.floating],
    *,
    percentile: float | None = None,
    reference: FloatReference | None = None,
) -> Network:
    """Give every tensor its scale and sign.

    Precondition: a network from ``trace``. It is not changed; the result shares its layers.

    Parameters
    ----------
    network : Network
    samples : float array (samples, channels, height, width)
        Inputs like those to come; (samples, features) for an input of one pixel.
    percentile : float, optional
        Clip at this percentile of a tensor's values (and at 100 minus it below zero) instead of
        the largest; e.g. 99.99.
    reference : FloatReference, optional
        Of the network; made if it is not given.

    Returns
    -------
    Network
        Tensors without negative values are unsigned, codes 0 to 255, the others signed, codes
        -128 to 127. A tensor that is zero for all samples gets the scale of what it is added to,
        or 1. Tensors that sums at write-back put in one place have one scale, the largest that
        one of them needs.

    Raises
    ------
    ExportError
        Samples that are empty, of another shape, NaN or infinite.
    """
    if percentile is not None and not 50 < percentile <= 100:
        raise ExportError(
            f"calibration percentile must be above 50 and at most 100, not {percentile}"
        )
    samples = np.asarray(samples)
    if samples.size == 0:
        raise ExportError(f"calibration samples are empty (shape {samples.shape})")
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            broken = int(np.count_nonzero(~np.isfinite(samples.astype(np.float32))))
        if broken:
            raise ExportError(
                f"calibration samples have {broken} values that are NaN or infinite "
                f"in single precision"
            )
    ranges = (reference or FloatReference(network)).ranges(samples, percentile)
    tensors = {name: _scaled(tensor, *ranges[name]) for name, tensor in network.tensors.items()}
    _scale_dead_sources(network, tensors, ranges)
    tied = _tie_scales(network, tensors, ranges)
    layers = []
    for layer in network.layers:
        source, output = tensors[layer.groups[0].source], tensors[layer.output]
        # what only copies values must not round them: it keeps its source's codes
        if _is_copy(layer) and source.signed == output.signed and layer.output not in tied:
            tensors[layer.output] = dataclasses.replace(output, scale=source.scale)
        if layer.function is not None:
            function = _tabulated(layer.function, *ranges[before_function(layer)], output.scale)
            layer = dataclasses.replace(layer, function=function)
        layers.append(layer)
    return dataclasses.replace(network, tensors=tensors, layers=layers)


def _tabulated(function: Function, low: float, high: float, scale: float) -> Function:
    """The function with the values that its table has entries for: from ``low`` to ``high``, less
    the ends at which it stays within half of an output code, ``scale``."""
    values = np.linspace(low, high, _RESOLUTION)
    outputs = function(values)
    broken = np.count_nonzero(~np.isfinite(outputs))
    if broken:
        raise ExportError(
            f"function {function.name} is not finite everywhere between {low:.4g} and {high:.4g}, "
            "the values that the calibration samples lead to"
        )
    near_first = np.abs(outputs - outputs[0]) <= scale / 2
    near_last = np.abs(outputs - outputs[-1]) <= scale / 2
    # the last value up to which (the first from which) all are near the end's
    first = int(np.argmin(near_first)) - 1 if not near_first.all() else 0
    last = _RESOLUTION - int(np.argmin(near_last[::-1])) if not near_last.all() else -1
    start, stop = float(values[max(first, 0)]), float(values[min(last, _RESOLUTION - 1)])
    if not start < stop:  # flat everywhere
        start, stop = low, low + max(high - low, 1.0)
    return dataclasses.replace(function, start=start, step=(stop - start) / (TABLE_ENTRIES - 1))


def _scale_dead_sources(
    network: Network, tensors: dict[str, Tensor], ranges: dict[str, tuple[float, float]]
) -> None:
    """Give tensors that are zero for all samples a scale at which layers with other sources keep
    the precision of these: they have one unit for all of them."""
    dead = {name for name, ends in ranges.items() if max(map(abs, ends)) < SMALLEST}
    for layer in network.layers if dead else ():
        sources = {group.source for group in layer.groups}
        scales = [tensors[name].scale for name in sources - dead]
        for name in sources & dead if scales else ():
            scale = min([*scales, tensors[name].scale])
            tensors[name] = dataclasses.replace(tensors[name], scale=scale)


def _tie_scales(
    network: Network, tensors: dict[str, Tensor], ranges: dict[str, tuple[float, float]]
) -> set[str]:
    """Give tensors in one place one scale; their names.

    A value that is added may be beyond the codes where its sum is clamped anyway: not if the sum
    has another sign than what is added to, nor behind a function.
    """
    needed: dict[str, float] = {}
    members: dict[str, set[str]] = {}
    first_of = places(network)
    for layer in network.layers:
        if layer.addend is None:
            continue
        place = first_of[layer.output]
        own = members.setdefault(place, set())
        own |= {layer.addend, layer.output}
        low, high = ranges[before_sum(layer)]
        if layer.function is not None:
            needed[place] = max(needed.get(place, 0.0), least_scale(low, high))
        elif tensors[layer.addend].signed != tensors[layer.output].signed:
            needed[place] = max(needed.get(place, 0.0), high / MOST_VALUE, low / LEAST_VALUE)
    for place, own in members.items():
        scales = [least_scale(*ranges[name]) for name in own]
        scale = max(*scales, needed.get(place, 0.0))
        for name in own:
            tensors[name] = dataclasses.replace(tensors[name], scale=scale or 1.0)
    return set().union(*members.values())


def least_scale(low: float, high: float) -> float:
    """The scale at which codes reach from the least to the greatest value."""
    if max(high, -low) < SMALLEST:
        return 0.0
    return max(high / 127, -low / 128) if low < 0 else high / 255


def _scaled(tensor: Tensor, low: float, high: float) -> Tensor:
    scale = least_scale(low, high)
    return dataclasses.replace(tensor, scale=scale or 1.0, signed=bool(scale) and low < 0)


def _is_copy(layer: Layer) -> bool:
    """Whether the layer hands one tensor on unchanged, but for a clamp and max-pool."""
    group = layer.groups[0]
    return (
        layer.weight_count == 0
        and len(layer.groups) == 1
        and not group.shared
        and layer.function is None
        and group.channels[0] == 0
        and bool((group.trits >= 0).all())
        and bool((layer.gain == 1).all())
        and not layer.offset.any()
    )
