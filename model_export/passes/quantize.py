"""Third pass: integers for weights, batch norm, bias and scales, with proven bounds.

Every layer gets one scale: a weight w on a source of scale s becomes the integer
``round(w * s * k)`` in all its column groups, so that all of them add into one accumulator of
unit ``1/k``. For every row the largest and the smallest sum over all possible source codes is
known exactly, and k is chosen such that no partial sum leaves the accumulator.
"""

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.hw.widths import RESULT_WIDTH, TABLE_ENTRIES
from tritforge.model_export.errors import ExportError
from tritforge.model_export.functions import Function
from tritforge.model_export.in_place import LEAST_VALUE, MOST_VALUE
from tritforge.model_export.network import ColumnGroup, Layer, Network, Requantization, Tensor
from tritforge.model_export.passes.wide_columns import choose_columns

__all__ = ["EffectiveGroup", "effective_groups", "partial_bounds", "quantize"]

#: Coefficients may be off by this part of the layer's largest coefficient; worse is refused.
_WORST_ROUNDING = 0.125
#: Scales whose rounding differs by less than this are equally good; the largest is taken.
_SAME_ROUNDING = 1e-4
#: Numbers that differ by less, relatively, are one unit.
_SAME_UNIT = 1e-12
#: Accumulator bits that a last layer should keep to where its rows have different gains, so
#: that 8 bits of its 32-bit results are left for the gains.
_FINAL_ACCUMULATOR_WIDTH = RESULT_WIDTH - 8
#: What single precision rounds a number by, as a part of it.
_SINGLE_PRECISION = 2.0**-24


@dataclass
class EffectiveGroup:
    """Weights that read the same columns, all their planes added up."""

    group: ColumnGroup  # for its source, rows, channels and geometry
    weights: NDArray[Any]  # (rows, channels, kh, kw); kh = kw = 1 if shared

    @property
    def window(self) -> int:
        """Positions at which each of ``weights`` is used."""
        return math.prod(self.group.kernel) if self.group.shared else 1


def effective_groups(
    layer: Layer, *, integer: bool, single: type[np.floating] | None = None
) -> list[EffectiveGroup]:
    """The layer's weights, their planes added up: int32 coefficients if ``integer``, else float64.

    ``integer`` needs a layer from :func:`quantize`. Where nothing is added up, they are of type
    ``single`` if that is given.
    """
    merged: dict[tuple[object, ...], EffectiveGroup] = {}
    planes = Counter(_columns(group) for group in layer.groups)
    for group in layer.groups:
        plus, minus = (
            (group.coefficient_plus, group.coefficient_minus) if integer else (group.wp, group.wn)
        )
        key = _columns(group)
        kind: type[np.generic] = np.int32 if integer else np.float64
        if single is not None and planes[key] == 1:
            kind = single
        weights = group.trits.astype(kind)  # faster than a table by trit
        weights *= kind(minus)
        if not group.wide:
            np.putmask(weights, group.trits > 0, plus)
        if key in merged:
            merged[key].weights += weights
        else:
            merged[key] = EffectiveGroup(group, weights)
    return list(merged.values())


def quantize(network: Network, config: Config, *, planes: bool = False) -> Network:
    """Choose integer coefficients and requantization for every layer.

    Precondition: a calibrated network. It is not changed. Of ``config`` only
    ``coefficient_width``, ``accumulator_width`` and ``multiplier_width`` matter, and with
    multipliers how many rows elements have: weights of several bits take the form that costs less,
    since wide ones may have larger coefficients than planes; with ``planes`` they take that of
    planes.

    Returns
    -------
    Network
        With ``coefficient_plus`` and ``coefficient_minus`` of every group, and
        ``accumulator_scale``, ``accumulator_low``, ``accumulator_high`` and ``requantization``
        of every layer (``result_scale`` of the last).

    Raises
    ------
    ExportError
        A tensor without scale; a layer whose weights, accumulators or gains do not fit the
        configuration's widths (needed and available bits are named).
    """
    for tensor in network.tensors.values():
        if not tensor.scale > 0:
            raise ExportError(f"tensor {tensor.name} has no scale; calibrate the network first")
    network = choose_columns(network, config, planes=planes)
    layers = []
    for layer in network.layers:
        if layer.final:
            layers.append(_final(network, layer, config))
            continue
        layer = _evened(network, layer)
        result = _coefficients(network, layer, config, config.accumulator_max)
        _set_bounds(network, result)
        _set_requantization(network, result, config)
        layers.append(result)
    return dataclasses.replace(network, layers=layers)


def _final(network: Network, layer: Layer, config: Config) -> Layer:
    """The last layer quantized, with accumulators as wide as its results leave room for."""
    width = config.accumulator_width
    limits = [config.accumulator_max]
    if np.unique(np.abs(layer.gain)).size > 1 and width > _FINAL_ACCUMULATOR_WIDTH:
        limits.insert(0, (1 << (_FINAL_ACCUMULATOR_WIDTH - 1)) - 1)
    # A bias that is far larger than the sums leaves them fewer bits.
    limits += [(1 << (bits - 1)) - 1 for bits in range(width - 4, 4, -4)]
    refusal: ExportError | None = None
    for limit in limits:
        try:
            result = _coefficients(network, layer, config, limit)
            _set_bounds(network, result)
            _set_result(network, result, config)
        except ExportError as error:
            if limit == config.accumulator_max:
                refusal = error
            continue
        return result
    assert refusal is not None
    raise refusal


# ----- coefficients


def _evened(network: Network, layer: Layer) -> Layer:
    """The same layer with weights that take in their source's scale, as if all sources had one,
    where every row has sources of one scale: the rows' gains take in the rest.

    So a batch norm of several tensors has one coefficient, whatever their scales are.
    """
    scales = [network.tensors[group.source].scale for group in layer.groups]
    if len(set(scales)) < 2:
        return layer
    common = max(scales)
    factors = np.full(layer.rows, np.nan)
    for group, scale in zip(layer.groups, scales, strict=True):
        fed = np.arange(*group.rows)[group.trits.any(axis=(1, 2, 3))]
        before = factors[fed]
        if not (np.isnan(before) | (before == scale / common)).all():
            return layer
        factors[fed] = scale / common
    groups = [
        dataclasses.replace(
            group,
            wp=group.wp * common / scale,
            wn=group.wn * common / scale,
            step=group.step * common / scale,
        )
        for group, scale in zip(layer.groups, scales, strict=True)
    ]
    gain = layer.gain * np.where(np.isnan(factors), 1.0, factors)
    return dataclasses.replace(layer, groups=groups, gain=gain)


def _columns(group: ColumnGroup) -> tuple[object, ...]:
    """Equal for groups that read the same columns into the same rows."""
    return group.source, group.channels, group.rows, group.geometry


@dataclass(frozen=True)
class _Member:
    """A coefficient is ``sign * multiple * round(k * unit)``."""

    unit: int  # index of the unit
    multiple: int
    sign: int


class _Units:
    """The real numbers that must become integers at one scale k.

    A ternary group has two, wp and wn times its source's scale. Planes of multi-bit weights share
    one, their step, of which wp and wn are multiples, so that they always combine exactly. A wide
    group has one.
    """

    def __init__(self, network: Network, layer: Layer) -> None:
        self.values: list[float] = []
        self.multiples: list[int] = []  # largest multiple in use, per unit
        self.largest: list[int] = []  # largest weight in units: of wide groups more than a multiple
        self.members: list[tuple[_Member | None, _Member | None]] = []
        for group in layer.groups:
            members: list[_Member | None] = []
            for weight, trit in ((group.wp, 1), (group.wn, -1)):
                # a wide group has one coefficient, whatever the signs of its weights
                used = group.trits.any() if group.wide else (group.trits == trit).any()
                if weight == 0 or not used:
                    members.append(None)
                    continue
                step = abs(weight) if group.wide else group.step or abs(weight)
                multiple = round(abs(weight) / step)
                largest = multiple
                if group.wide:
                    largest = max(int(group.trits.max()), -int(group.trits.min()))
                value = step * network.tensors[group.source].scale
                unit = self._unit(value)
                self.multiples[unit] = max(self.multiples[unit], multiple)
                self.largest[unit] = max(self.largest[unit], largest)
                members.append(_Member(unit, multiple, 1 if weight > 0 else -1))
            self.members.append((members[0], members[1]))

    def _unit(self, value: float) -> int:
        """Index of a value, which is there already but for its last bits, or new."""
        for index, known in enumerate(self.values):
            if math.isclose(known, value, rel_tol=_SAME_UNIT):
                return index
        self.values.append(value)
        self.multiples.append(0)
        self.largest.append(0)
        return len(self.values) - 1

    def worst_sums(self, network: Network, layer: Layer) -> NDArray[np.int64]:
        """(2 * rows, units): how often each unit's integer enters a row's largest positive and
        largest negative partial sum. Every plane counts by itself, since the planes are
        added one after the other."""
        positive = np.zeros((layer.rows, len(self.values)), np.int64)
        negative = np.zeros_like(positive)
        for group, members in zip(layer.groups, self.members, strict=True):
            source = network.tensors[group.source]
            window = math.prod(group.kernel) if group.shared else 1
            rows = slice(*group.rows)
            for member, trit in zip(members, (1, -1), strict=True):
                if member is None:
                    continue
                count = _sums_of(group, trit) * window * member.multiple
                up, down = source.high, -source.low
                if member.sign * trit < 0:
                    up, down = down, up
                positive[rows, member.unit] += count * up
                negative[rows, member.unit] += count * down
        return np.unique(np.concatenate([positive, negative]), axis=0)


def _sums_of(group: ColumnGroup, trit: int) -> NDArray[np.int64]:
    """Per row, how many of a group's trits are ``trit``, 1 or -1; of wide groups, what its weights
    of that sign add up to."""
    if group.wide:
        values = group.trits.astype(np.int64) * trit
        sums: NDArray[np.int64] = values.clip(min=0).sum(axis=(1, 2, 3))
        return sums
    counts: NDArray[np.int64] = np.count_nonzero(group.trits == trit, axis=(1, 2, 3))
    return counts


def _coefficients(network: Network, layer: Layer, config: Config, limit: int) -> Layer:
    """The layer with integer coefficients whose partial sums stay within +-limit."""
    units = _Units(network, layer)
    if not units.values:
        groups = [
            dataclasses.replace(group, coefficient_plus=0, coefficient_minus=0)
            for group in layer.groups
        ]
        return dataclasses.replace(layer, groups=groups, accumulator_scale=1.0)
    scale, integers, error = _choose_scale(
        layer, units, units.worst_sums(network, layer), config, limit
    )
    groups = []
    for group, members in zip(layer.groups, units.members, strict=True):
        plus, minus = (
            0 if member is None else member.sign * member.multiple * int(integers[member.unit])
            for member in members
        )
        groups.append(dataclasses.replace(group, coefficient_plus=plus, coefficient_minus=minus))
    note = layer.note
    if layer.weight_count and len(units.values) > 1:
        rounding = f"coefficients rounded by at most {100 * error:.2g} %"
        note = f"{note}; {rounding}" if note else rounding
    return dataclasses.replace(layer, groups=groups, accumulator_scale=1 / scale, note=note)


def _choose_scale(
    layer: Layer, units: _Units, sums: NDArray[np.int64], config: Config, limit: int
) -> tuple[float, NDArray[np.float64], float]:
    """The scale k, round(k * unit) for every unit, and the largest rounding error as a part of
    the largest coefficient.

    All k at which some unit becomes an integer are tried. Of those that fit, the ones that round
    least are kept, and of these the largest is taken.
    """
    values, multiples = np.array(units.values), np.array(units.multiples)
    largest = np.array(units.largest)
    most = config.coefficient_max // multiples
    if len(values) == 1:
        # any integer is exact; a power of two also divides out exactly; wide weights get none that
        # their planes could not have
        bits = max(1, int(config.coefficient_max // largest[0]).bit_length())
        integers = [2.0**j for j in range(min(bits, int(most[0]).bit_length()))]
        scales = np.array(integers) / values[0]
    else:
        scales = np.concatenate(
            [np.arange(1, n + 1) / value for n, value in zip(most, values, strict=True)]
        )
    scales = np.unique(scales)
    candidates = np.rint(scales[:, None] * values)
    weighted = values * multiples
    errors = (np.abs(candidates - scales[:, None] * values) * largest).max(axis=1)
    errors /= scales * (values * largest).max()
    # a unit may vanish only if the widest coefficient could not hold it either
    negligible = values * config.coefficient_max < 0.5 * weighted.max()
    useful = (
        ((candidates <= most).all(axis=1))
        & (errors <= _WORST_ROUNDING)
        & ((candidates >= 1) | negligible).all(axis=1)
    )
    if not useful.any():
        needed = (int(weighted.max() / weighted.min() * multiples.max())).bit_length() + 1
        raise ExportError(
            f"layer {layer.name}: its weights need coefficients of {needed} bits, the "
            f"configuration has coefficient_width {config.coefficient_width}; use fewer bits "
            "(--digits) or wider coefficients"
        )
    scales, candidates, errors = scales[useful], candidates[useful], errors[useful]
    worst = np.array([(row @ sums.T).max() for row in candidates])
    fits = worst <= limit
    if not fits.any():
        needed = int(worst.min()).bit_length() + 1
        raise ExportError(
            f"layer {layer.name}: its sums need accumulators of {needed} bits even with the "
            f"smallest coefficients that still tell its weights apart, the configuration has "
            f"accumulator_width {config.accumulator_width}; use fewer bits (--digits) or wider "
            "accumulators"
        )
    scales, candidates, errors = scales[fits], candidates[fits], errors[fits]
    best = int(np.flatnonzero(errors <= errors.min() + _SAME_ROUNDING)[-1])
    return float(scales[best]), candidates[best], float(errors[best])


def _set_bounds(network: Network, layer: Layer) -> None:
    """Exact bounds of the finished accumulator for any source codes; padding only lowers them."""
    low = np.zeros(layer.rows, np.int64)
    high = np.zeros(layer.rows, np.int64)
    for effective in effective_groups(layer, integer=True):
        source = network.tensors[effective.group.source]
        rows = slice(*effective.group.rows)
        weights = effective.weights.reshape(len(effective.weights), -1)
        positive = weights.clip(min=0).sum(axis=1, dtype=np.int64) * effective.window
        negative = weights.clip(max=0).sum(axis=1, dtype=np.int64) * effective.window
        high[rows] += positive * source.high + negative * source.low
        low[rows] += positive * source.low + negative * source.high
    layer.accumulator_low, layer.accumulator_high = low, high


def partial_bounds(network: Network, layer: Layer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per row, the least and the greatest partial sum for any source codes, in whatever order the
    columns of all groups are added. Planes count one by one, so for multi-bit weights
    this is wider than ``accumulator_low`` and ``accumulator_high``."""
    low = np.zeros(layer.rows, np.int64)
    high = np.zeros(layer.rows, np.int64)
    for group in layer.groups:
        source = network.tensors[group.source]
        window = math.prod(group.kernel) if group.shared else 1
        rows = slice(*group.rows)
        for trit, weight in ((1, group.coefficient_plus), (-1, -group.coefficient_minus)):
            count = _sums_of(group, trit) * window
            ends = sorted((weight * source.low, weight * source.high))
            low[rows] += count * min(ends[0], 0)
            high[rows] += count * max(ends[1], 0)
    return low, high


# ----- requantization


def _set_requantization(network: Network, layer: Layer, config: Config) -> None:
    """Per row the largest shift at which multiplier and sum fit their widths.

    With lo <= acc <= hi known (even for unfinished sums of planes), the sum
    ``acc*multiplier + bias + half`` lies between its values at lo and hi; both are checked, so
    it cannot overflow. lo <= 0 <= hi, so bias + half fits too.
    """
    output = network.tensors[layer.output]
    lo, hi = (bound.astype(np.float64) for bound in partial_bounds(network, layer))
    function = layer.function
    scale, start = (output.scale, 0.0) if function is None else (function.step, function.start)
    factor = layer.gain * layer.accumulator_scale / scale
    offset = (layer.offset - start) / scale
    low, high = _clamp(layer, scale, start, output)
    most_multiplier = (1 << (config.multiplier_width - 1)) - 1
    most_sum = (1 << (config.offset_width - 1)) - 1
    multiplier = np.zeros(layer.rows)
    bias = np.zeros(layer.rows)
    shift = np.zeros(layer.rows, np.int64)
    ends = np.rint(np.stack([lo * factor + offset, hi * factor + offset]))
    # rows whose output is the same for every accumulator need no multiplication
    constant = (lo == hi) | (ends.min(axis=0) >= high) | (ends.max(axis=0) <= low)
    bias[constant] = ends[0, constant].clip(low, high)
    todo = ~constant
    # every value compared here is below 2**53 where it is accepted, so doubles are exact
    for candidate in range(min(63, config.offset_width - 2), -1, -1):
        m = np.rint(factor * 2.0**candidate)
        b = np.rint(offset * 2.0**candidate)
        half = float((1 << candidate) >> 1)
        sums = np.stack([lo * m + b + half, hi * m + b + half])
        fits = todo & (np.abs(m) <= most_multiplier) & (np.abs(sums) <= most_sum).all(axis=0)
        multiplier[fits], bias[fits], shift[fits] = m[fits], b[fits], candidate
        todo &= ~fits
        if not todo.any():
            break
    if todo.any():
        row = int(np.flatnonzero(todo)[0])
        needed = int(abs(factor[row])).bit_length() + 1
        raise ExportError(
            f"layer {layer.name}: row {row} has a gain of {factor[row]:.3g} output codes per "
            f"accumulator unit and an offset of {offset[row]:.3g} codes, which needs a "
            f"multiplier of at least {needed} bits; the configuration has multiplier_width "
            f"{config.multiplier_width} and accumulator_width {config.accumulator_width}"
        )
    layer.requantization = Requantization(
        multiplier.astype(np.int64),
        bias.astype(np.int64),
        shift,
        low,
        high,
        None if function is None else _table(function, layer, output),
    )


def _clamp(layer: Layer, scale: float, start: float, output: Tensor) -> tuple[int, int]:
    """Codes between which a layer's values stay, before its function if it has one."""
    low, high = output.low, output.high
    if layer.function is not None:
        low, high = 0, TABLE_ENTRIES - 1
    elif layer.addend is not None:
        low, high = LEAST_VALUE, MOST_VALUE
    for real, is_low in ((layer.low, True), (layer.high, False)):
        if real is not None:
            code = min(max(round((real - start) / scale), low), high)
            low, high = (code, high) if is_low else (low, code)
    return low, high


def _table(function: Function, layer: Layer, output: Tensor) -> NDArray[np.int64]:
    """The output code of every value that the function has an entry for; where the layer adds, what
    it adds."""
    codes = np.rint(function(function.inputs()) / output.scale)
    low, high = output.low, output.high
    if layer.addend is not None:
        low, high = (-128, 127) if codes.min() < 0 else (0, 255)
    return np.clip(codes, low, high).astype(np.int64)


def _set_result(network: Network, layer: Layer, config: Config) -> None:
    """The last layer: ``acc * multiplier + bias`` in units of one result scale, 32 bits."""
    most = (1 << (min(RESULT_WIDTH, config.offset_width) - 1)) - 1
    most_multiplier = (1 << (config.multiplier_width - 1)) - 1
    lo, hi = partial_bounds(network, layer)
    reach = np.maximum(-lo, hi).astype(np.float64)
    # Rows whose sums are zero, or vanish beside the bias in single precision, are their bias.
    sums = reach * np.abs(layer.gain) * layer.accumulator_scale
    gain = np.where(sums > np.abs(layer.offset) * _SINGLE_PRECISION, layer.gain, 0.0)
    largest = float(np.abs(gain).max())
    steps = 1
    if largest == 0:
        most_bias = float(np.abs(layer.offset).max())
        unit = most_bias / (1 << (most.bit_length() - 1)) or layer.accumulator_scale
        note = "its results are its bias, whatever the input"
        layer.note = f"{layer.note}; {note}" if layer.note else note
    else:
        gain, unit = gain / largest, layer.accumulator_scale * largest
        if not np.isin(np.abs(gain), (0, 1)).all():
            # rounding the multiplier adds at most reach / 2, rounding the bias 1/2
            room = most - reach / 2 - 1
            size = np.maximum(reach * np.abs(gain) + np.abs(layer.offset) / unit, 1.0)
            steps = int(min(most_multiplier, max((room / size).min(), 1)))
    layer.result_scale = unit / steps
    multiplier = np.rint(gain * steps)
    bias = np.rint(layer.offset / layer.result_scale)
    total = reach * np.abs(multiplier) + np.abs(bias)
    if (total > most).any():
        row = int(total.argmax())
        raise ExportError(
            f"layer {layer.name}: results of row {row} need "
            f"{int(total[row]).bit_length() + 1} bits, available are {most.bit_length() + 1}; "
            f"its bias is {layer.offset[row]:.3g}, its weights add at most {sums[row]:.3g}"
        )
    if steps > 1:
        error = float(np.abs(multiplier - gain * steps).max() / steps)
        rounding = f"gains of the rows rounded by at most {100 * error:.2g} % of the largest"
        layer.note = f"{layer.note}; {rounding}" if layer.note else rounding
    layer.requantization = Requantization(
        multiplier.astype(np.int64),
        bias.astype(np.int64),
        np.zeros(layer.rows, np.int64),
        -most - 1,
        most,
    )
