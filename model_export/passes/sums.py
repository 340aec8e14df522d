"""Pass before calibration: residual sums become part of the layers that compute what is added.

A sum of tensors is a layer of its own, with an identity column group for each of them. Hardware
with sums at write-back adds as it writes: one of the tensors is in memory, and the layer that
computes another one adds to it in place::

    conv -> a                        conv, to which b is added -> sum
    add: identity of a, of b -> sum

What is left of a sum of more tensors, or of one that cannot be written in place (it is read again,
has another shape, or only some of the channels), becomes a layer that computes it first.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.in_place import check_sums, places
from tritforge.model_export.network import ColumnGroup, Layer, Network, Tensor
from tritforge.model_export.passes.calibrate import least_scale
from tritforge.model_export.reference import before_sum

__all__ = ["Sum", "coarse_sums", "fuse_sums"]

#: Squares of rounding errors along streams of sums at write-back, as a part of those that sums have
#: as layers of their own. Errors at the beginning of a stream go through all of its layers.
_MOST_NOISE = 0.8


@dataclass(frozen=True)
class Sum:
    """What became of a layer that adds tensors up: the layer that adds it as it writes, or why none
    does."""

    name: str
    layer: str | None
    reason: str = ""
    copied: bool = False  # what is added to is written first, by a layer of its own


def fuse_sums(network: Network, separate: Collection[str] = ()) -> tuple[Network, list[Sum]]:
    """Add at write-back what layers of sums add up.

    Precondition: a network from ``trace``, not calibrated. It is not changed. In real numbers all
    that its layers and those of the result have in common is the same. Sums of the tensors
    ``separate`` stay layers.

    Returns
    -------
    Network
    list of Sum
        Of every layer that adds tensors up, in order.
    """
    found: list[Sum] = []
    names = [layer.name for layer in network.layers if _adds(layer)]
    while names:
        name = names.pop(0)
        if network.layer(name).output in separate:
            found.append(Sum(name, None, "what it is added to needs a finer scale"))
            continue
        network, one, rest = _fused(network, name)
        if rest is not None and _adds(network.layer(rest)):
            names.insert(0, rest)
        found.append(one)
    return network, found


def coarse_sums(network: Network, ranges: Mapping[str, tuple[float, float]]) -> set[str]:
    """Sums that should stay layers, since tensors before or behind them in their place need a much
    finer scale: as few as it takes.

    As a layer of its own a sum is rounded, and so is what is added, each at its scale; at
    write-back only the latter is, at the scale of all that stands in that place. Squares of these
    scales, relative to those of the tensors in the place, are added up over the network.
    At write-back the total must be below :data:`_MOST_NOISE` times that of layers.

    Parameters
    ----------
    network : Network
        As :func:`fuse_sums` gives it.
    ranges : by tensor, and by :func:`tritforge.model_export.reference.before_sum`
        Least and greatest values.
    """
    chains: dict[str, list[_Link]] = {}
    place_of = places(network)
    for layer in network.layers:
        if layer.addend is not None:
            first = place_of[layer.output]
            chain = chains.setdefault(first, [_Link(first, least_scale(*ranges[first]), 0.0)])
            own, added = ranges[layer.output], ranges[before_sum(layer)]
            chain.append(_Link(layer.output, least_scale(*own), least_scale(*added)))
    most = _MOST_NOISE * sum(_noise(chain, range(len(chain))) for chain in chains.values())
    cuts: dict[str, set[int]] = {first: set() for first in chains}
    while True:
        noise = {first: _noise(chain, cuts[first]) for first, chain in chains.items()}
        if sum(noise.values()) <= most:
            break
        gains = [
            (noise[first] - _noise(chain, cuts[first] | {number}), first, number)
            for first, chain in chains.items()
            for number in range(1, len(chain))
            if number not in cuts[first]
        ]
        gain, first, number = max(gains, key=lambda one: one[0], default=(0.0, "", 0))
        if gain <= 0:
            break
        cuts[first].add(number)
    return {chains[first][number].tensor for first, own in cuts.items() for number in own}


@dataclass(frozen=True)
class _Link:
    """A tensor in the place of others: the scale that it needs, and what was added."""

    tensor: str
    scale: float
    added: float


def _noise(chain: Sequence[_Link], cuts: Collection[int]) -> float:
    """Squares of the scales at which a stream is rounded, where sums ``cuts`` are layers."""
    total, start = 0.0, 0
    for stop in (*sorted(set(cuts) - {0}), len(chain)):
        common = max(link.scale for link in chain[start:stop])
        total += (stop - start) * common**2
        start = stop
    total += sum(chain[number].added ** 2 for number in cuts)
    size = sum(link.scale**2 for link in chain) / len(chain)
    return total / size if size else 0.0


def _adds(layer: Layer) -> bool:
    """Whether a layer adds several tensors up, element by element: some row reads more than one."""
    if layer.weight_count or layer.addend is not None:
        return False
    if len({group.source for group in layer.groups}) < 2:
        return False
    factors = _factors(layer)
    return factors is not None and bool(
        (np.count_nonzero(list(factors.values()), axis=0) > 1).any()
    )


def _factors(layer: Layer) -> dict[str, NDArray[np.float64]] | None:
    """By source, what its channel of the same number is multiplied by in each row's sum (rows,), if
    the layer adds such channels up; NaN in a row that others enter. None: it computes more."""
    factors: dict[str, NDArray[np.float64]] = {}
    rows = np.arange(layer.rows)
    for group in layer.groups:
        if group.kernel != (1, 1):
            return None
        counts = np.count_nonzero(group.trits, axis=(1, 2, 3))
        if counts.max(initial=0) > 1:
            return None
        own = factors.setdefault(group.source, np.zeros(layer.rows))
        cube = group.trits[:, :, 0, 0].astype(np.float64)
        weights = np.where(cube > 0, group.wp, np.where(cube < 0, -group.wn, 0.0))
        plain = group.stride == (1, 1) and group.padding == (0, 0) and group.windows == (None, None)
        for row, channel in zip(*np.nonzero(weights), strict=True):
            at = rows[group.rows[0] + row]
            same = plain and group.channels[0] + channel == at
            own[at] += weights[row, channel] if same else np.nan
    return factors


def _fused(network: Network, name: str) -> tuple[Network, Sum, str | None]:
    """The network without a layer of sums, if that can be, and the name of what is left of it."""
    layer = network.layer(name)
    refusal = _refusal(layer)
    if refusal:
        return network, Sum(name, None, refusal), None
    factors = _factors(layer)
    assert factors is not None
    reasons: list[str] = []
    makers = [one for one in network.layers if one.output in factors]
    # The last one computed, since the others are in memory then; in place before copies.
    for copies in (False, True):
        for maker in reversed(makers):
            why = _unfit(network, layer, maker, factors[maker.output] * layer.gain)
            if why:
                reasons += [why] * (not copies)
                continue
            made = _made(network, layer, maker, factors, copies=copies)
            if isinstance(made, str):
                reasons += [made] * copies
                continue
            result, rest = made
            return result, Sum(name, maker.name, copied=copies), rest
    return network, Sum(name, None, "; ".join(dict.fromkeys(reasons)) or "the input"), None


def _refusal(layer: Layer) -> str:
    """Why a layer's sum cannot be one at write-back, whatever it adds up."""
    if layer.final:
        return "its sums are the network's output"
    if layer.function is not None:
        return f"{layer.function.name} follows"
    if layer.pool is not None:
        return "a max-pool follows"
    if layer.high is not None or layer.low not in (None, 0):
        return "a clamp other than ReLU follows"
    return ""


def _unfit(network: Network, layer: Layer, maker: Layer, factor: NDArray[np.float64]) -> str:
    """Why the values of a layer cannot be added as they are written."""
    readers = [one for one in network.layers if maker.output in one.reads]
    if len(readers) != 1 or readers[0] is not layer:
        return f"{maker.output} has other readers"
    if maker.pool is not None:
        return f"{maker.output} is pooled"
    if maker.addend is not None:
        return f"{maker.output} is such a sum itself"
    if (maker.rows, maker.height, maker.width) != (layer.rows, layer.height, layer.width):
        return f"{maker.output} has another shape"
    if not np.isfinite(factor).all():
        return f"only a part of {maker.output} enters the sum"
    shaped = maker.low is not None or maker.high is not None or maker.function is not None
    if shaped and not (factor == 1).all():
        return f"{maker.output} is multiplied after its clamp"
    return ""


def _made(
    network: Network,
    layer: Layer,
    maker: Layer,
    factors: dict[str, NDArray[np.float64]],
    *,
    copies: bool,
) -> tuple[Network, str | None] | str:
    """The network in which ``maker`` adds; what is added to is in place, or a copy that a new layer
    makes first. A string: why not."""
    others = [name for name in factors if name != maker.output]
    groups = [group for group in layer.groups if group.source != maker.output]
    tensors = dict(network.tensors)
    before: list[Layer] = []
    rest = None
    if copies:
        stored = _free_name(network, f"{layer.name}.stored")
        before = [_rest(layer, groups, stored)]
        tensors[stored] = Tensor(stored, layer.rows, layer.height, layer.width)
        rest = stored
    else:
        if len(others) > 1:
            return "more than two tensors are added up"
        stored = others[0]
        if not (factors[stored] * layer.gain == 1).all():
            return f"{stored} is multiplied, moved, or not in all channels"
    factor = factors[maker.output] * layer.gain
    adding = dataclasses.replace(
        maker,
        output=layer.output,
        gain=maker.gain * factor,
        offset=maker.offset * factor + (0.0 if maker.function is not None else layer.offset),
        addend=stored,
        relu_of_sum=layer.low == 0,
        note=f"{maker.note}; {_note(stored)}" if maker.note else _note(stored),
    )
    shaped = maker.low is not None or maker.high is not None or maker.function is not None
    if shaped and layer.offset.any():
        return "the sum has a bias"
    del tensors[maker.output]
    place = network.layers.index(maker)
    end = network.layers.index(layer)
    why = ""
    for position in dict.fromkeys((place, end)):  # as early as can be
        layers = [one for one in network.layers if one is not maker and one is not layer]
        at = position - (position > place)
        layers[at:at] = [*before, adding]
        made = dataclasses.replace(network, tensors=tensors, layers=layers)
        try:
            check_sums(made)
        except ExportError as error:
            why = str(error)
            continue
        if _in_order(made):
            return made, rest
    return why or "it is in an order that cannot be"


def _note(stored: str) -> str:
    return f"added to {stored} in place"


def _rest(layer: Layer, groups: list[ColumnGroup], name: str) -> Layer:
    """The layer that computes what is added to."""
    return dataclasses.replace(
        layer,
        name=name,
        output=name,
        kind=layer.kind if len({group.source for group in groups}) > 1 else "identity",
        groups=groups,
        offset=np.zeros(layer.rows),
        low=None,
        high=None,
        note="",
    )


def _free_name(network: Network, name: str) -> str:
    taken = {one.name for one in network.layers} | set(network.tensors)
    while name in taken:
        name += "_"
    return name


def _in_order(network: Network) -> bool:
    """Whether every tensor is written before it is read."""
    written = {network.input}
    for layer in network.layers:
        if not written.issuperset(layer.reads):
            return False
        written.add(layer.output)
    return True
