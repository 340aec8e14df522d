"""Weights of several bits: one wide column group, or a sum of ternary planes.

Where elements have multipliers, columns may hold weights of 8 bits in place of trits. A wide group
reads its source once for every quarter of an element's rows that it feeds, at most four times, and
takes one addition for every weight that is not zero; planes read it once each, up to eight times,
and take about two. Planes win where there are few of them.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.hw.widths import WEIGHT_WIDTH
from tritforge.model_export.network import ColumnGroup, Layer, Network
from tritforge.model_export.passes.term_planes import planes_form, term_planes

__all__ = ["choose_columns"]

#: What reports say of weights in wide columns, and of those in planes.
_WIDE_FORM = "bytes in wide columns"
_PLANES_FORM = re.compile(r"(1 ternary plane|sums of \d+ ternary planes) \([^)]*\)")
#: Weights that a wide column holds.
_LOW, _HIGH = -(1 << (WEIGHT_WIDTH - 1)), (1 << (WEIGHT_WIDTH - 1)) - 1


def choose_columns(network: Network, config: Config, *, planes: bool = False) -> Network:
    """The network with every weight of several bits in the form that costs a configuration less.

    Planes that read the same columns become one wide group where the configuration has multipliers,
    their sums fit 8 bits, and it takes fewer cycles; wide groups become planes where not. What they
    add up to stays the same. Quantized or not; the network is not changed.

    Parameters
    ----------
    network : Network
    config : Config
        ``multipliers``, and how many rows elements have.
    planes : bool
        Planes, whatever they cost.
    """
    allowed = config.multipliers and not planes
    layers = []
    for layer in network.layers:
        chosen = _narrowed(layer, config, allowed)
        layers.append(_widened(chosen, config) if allowed else chosen)
    if all(one is other for one, other in zip(layers, network.layers, strict=True)):
        return network
    return dataclasses.replace(network, layers=layers)


# ----- cost


def _passes(layer: Layer, config: Config) -> list[float]:
    """Shares of an element's rows that each quarter in use holds, where a layer's rows are spread
    evenly."""
    tiles = -(-layer.rows // config.slots)
    rows = -(-layer.rows // (tiles * config.elements))
    each = config.quarter_rows
    return [min(each, rows - first) / rows for first in range(0, rows, each)]


def _additions(weights: NDArray[np.integer], layer: Layer, config: Config) -> float:
    """Additions of an element for a broadcast of columns of these weights (rows, ..)."""
    tiles = -(-layer.rows // config.slots)
    return np.count_nonzero(weights) / math.prod(weights.shape[1:]) / (tiles * config.elements)


def _cost(additions: Sequence[float]) -> float:
    """Cycles of an element for a column: of each pass its additions, and one for a broadcast."""
    return sum(max(1.0, one) for one in additions)


def _wide_costs_less(
    families: Sequence[tuple[NDArray[np.integer], Sequence[NDArray[np.int8]]]],
    layer: Layer,
    config: Config,
) -> bool:
    """Of the same weights (rows, ..) in both forms, all families together."""
    shares = _passes(layer, config)
    wide = narrow = 0.0
    for weights, trits in families:
        columns = math.prod(weights.shape[1:])
        once = _additions(weights, layer, config)
        wide += columns * _cost([share * once for share in shares])
        narrow += columns * _cost([_additions(plane, layer, config) for plane in trits])
    return wide <= narrow


# ----- planes become wide


@dataclass(frozen=True)
class _Family:
    """Planes that read the same columns into the same rows, and what they add up to."""

    members: list[int]  # groups of the layer
    weights: NDArray[np.int64]  # in units of the step, or of an accumulator if quantized
    step: float  # that wp and wn are multiples of


def _terms(group: ColumnGroup, quantized: bool) -> tuple[int, int]:
    """What a + trit and a - trit add, in units of a family."""
    if quantized:
        return group.coefficient_plus, -group.coefficient_minus
    return round(group.wp / group.step), -round(group.wn / group.step)


def _families(layer: Layer) -> list[_Family]:
    quantized = layer.requantization is not None
    members: dict[tuple[object, ...], list[int]] = {}
    for index, group in enumerate(layer.groups):
        if group.step and not group.wide:
            key = group.source, group.channels, group.rows, group.geometry, group.step
            members.setdefault(key, []).append(index)
    result = []
    for indices in members.values():
        first = layer.groups[indices[0]]
        weights = np.zeros(first.trits.shape, np.int64)
        for index in indices:
            plus, minus = _terms(layer.groups[index], quantized)
            trits = layer.groups[index].trits
            weights += np.where(trits > 0, plus, np.where(trits < 0, minus, 0))
        result.append(_Family(indices, weights, first.step))
    return result


def _widened(layer: Layer, config: Config) -> Layer:
    """The layer with planes as wide groups, where that costs less."""
    replaced: dict[int, ColumnGroup | None] = {}
    families = _families(layer)
    for step in sorted({family.step for family in families}):
        own = [family for family in families if family.step == step]
        # one divisor for all, so that groups of a convolution can still be joined
        divisor = math.gcd(*(int(np.gcd.reduce(family.weights, axis=None)) for family in own))
        if not divisor or all(len(family.members) == 1 for family in own):
            continue
        weights = [family.weights // divisor for family in own]
        planes = [[layer.groups[index].trits for index in family.members] for family in own]
        if not all(one.min() >= _LOW and one.max() <= _HIGH for one in weights):
            continue
        if not _wide_costs_less(list(zip(weights, planes, strict=True)), layer, config):
            continue
        for family, one in zip(own, weights, strict=True):
            replaced |= dict.fromkeys(family.members)
            first = layer.groups[family.members[0]]
            replaced[family.members[0]] = _wide_group(first, one, divisor, layer)
    if not replaced:
        return layer
    groups = [replaced.get(index, group) for index, group in enumerate(layer.groups)]
    return dataclasses.replace(
        layer,
        groups=[group for group in groups if group is not None],
        note=_PLANES_FORM.sub(_WIDE_FORM, layer.note),
    )


def _wide_group(
    plane: ColumnGroup, weights: NDArray[np.int64], divisor: int, layer: Layer
) -> ColumnGroup:
    """A wide group of ``divisor * weights`` units in the place of a plane."""
    if layer.requantization is None:
        coefficient, size = 0, divisor * plane.step
    else:
        coefficient, size = divisor, divisor * layer.accumulator_scale
    return dataclasses.replace(
        plane,
        trits=weights.astype(np.int8),
        wp=size,
        wn=size,
        step=size,
        coefficient_plus=coefficient,
        coefficient_minus=coefficient,
        wide=True,
    )


# ----- wide groups become planes


def _narrowed(layer: Layer, config: Config, allowed: bool) -> Layer:
    """The layer with wide groups as planes, where that costs less or nothing else is possible."""
    replaced: dict[int, list[ColumnGroup]] = {}
    wide = [index for index, group in enumerate(layer.groups) if group.wide]
    keys: dict[tuple[float, int], list[int]] = {}
    for index in wide:
        group = layer.groups[index]
        keys.setdefault((group.wp, group.coefficient_plus), []).append(index)
    for own in keys.values():
        groups = [layer.groups[index] for index in own]
        planes = _planes(groups, layer)
        families = [
            (group.trits, [trits for _, _, trits in parts])
            for group, parts in zip(groups, planes, strict=True)
        ]
        most = config.coefficient_max // max(1, abs(groups[0].coefficient_plus))
        fits = all(max(abs(plus), abs(minus)) <= most for part in planes for plus, minus, _ in part)
        if allowed and (not fits or _wide_costs_less(families, layer, config)):
            continue
        for index, group, parts in zip(own, groups, planes, strict=True):
            replaced[index] = [_plane(group, *part) for part in parts] or [
                dataclasses.replace(group, wide=False)
            ]
    if not replaced:
        return layer
    now = [replaced.get(index, [group]) for index, group in enumerate(layer.groups)]
    result = dataclasses.replace(layer, groups=[group for one in now for group in one])
    if layer.weight_count:
        count = max(len(parts) for parts in replaced.values())
        form = planes_form(count, result.nonzero_trits / layer.weight_count)
        result.note = layer.note.replace(_WIDE_FORM, form)
    return result


def _planes(
    groups: Sequence[ColumnGroup], layer: Layer
) -> list[list[tuple[int, int, NDArray[np.int8]]]]:
    """Planes (plus, minus, trits) of each of the groups, which share one step."""
    everything = np.concatenate([group.trits.ravel() for group in groups]).astype(np.int64)
    kernel = math.prod(groups[0].trits.shape[2:])
    channels = max(1, layer.weight_count // (layer.rows * kernel)) * math.prod(groups[0].stride)
    terms = term_planes(everything.reshape(1, -1), channels, rows=layer.rows)
    ends = np.cumsum([group.trits.size for group in groups])[:-1]
    result: list[list[tuple[int, int, NDArray[np.int8]]]] = [[] for _ in groups]
    for term in terms:
        for group, part, own in zip(
            groups, np.split(term.trits.ravel(), ends), result, strict=True
        ):
            if part.any():
                own.append((term.plus, term.minus, part.reshape(group.trits.shape)))
    return result


def _plane(group: ColumnGroup, plus: int, minus: int, trits: NDArray[np.int8]) -> ColumnGroup:
    return dataclasses.replace(
        group,
        trits=trits,
        wp=plus * group.wp,
        wn=minus * group.wp,
        step=group.wp,
        coefficient_plus=plus * group.coefficient_plus,
        coefficient_minus=minus * group.coefficient_plus,
        wide=False,
    )
