"""The shape in which a network is computed on a configuration: what the compiler chooses, and why.

The network form says what is computed, whatever the configuration. In front of placement, layers
get the shape that takes the fewest cycles there: the input may be folded
(:mod:`tritforge.model_export.passes.fold`). Every tensor keeps its integers, and everyone but
placement and emission goes on seeing the network as it was. Only the columns of weights of several
bits, bytes or planes (:mod:`tritforge.model_export.passes.wide_columns`), are chosen for all.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.cycles import estimate_cycles
from tritforge.model_export.memory.emit import DoesNotFitError, MemoryImage
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import fit
from tritforge.model_export.network import Fold, Network
from tritforge.model_export.passes.fold import fold_candidates, fold_input, input_readers
from tritforge.model_export.passes.wide_columns import choose_columns

__all__ = ["Shaped", "Shaping", "compile_network", "shape_network"]

Densities = Mapping[str, NDArray[np.float64]]
_WINDOW = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,2})")


@dataclass(frozen=True)
class Shaping:
    """What may be chosen.

    Members
    -------
    fold : str
        Of the input: ``auto`` (what should take the fewest cycles), ``none``, ``stride`` (windows
        as wide as the stride of the first layer: space to depth), or a window such as ``3x3``.
    planes : bool
        Weights of several bits are sums of ternary planes, also where the configuration has
        multipliers.
    """

    fold: str = "auto"
    planes: bool = False

    def __post_init__(self) -> None:
        if self.fold not in ("auto", "none", "stride") and not _WINDOW.fullmatch(self.fold):
            raise ExportError(
                f"the input cannot be folded by {self.fold!r}; it can be auto, none, stride, or a "
                f"window such as 3x3 (rows x columns)"
            )


@dataclass(eq=False)
class Shaped:
    """A network as placement takes it, with the densities of its tensors' channels, and how layers
    are computed that are not as the user has them, by name."""

    network: Network
    densities: dict[str, NDArray[np.float64]]
    notes: dict[str, str]


def compile_network(
    network: Network,
    config: Config,
    densities: Densities | None = None,
    *,
    shaping: Shaping | None = None,
    resident: bool = False,
) -> CompiledNetwork:
    """Memory contents of a quantized network for a configuration, in the best shape found.

    Parameters
    ----------
    densities : dict, optional
        Fraction of nonzero activations per channel, by tensor name; 1 where missing.
    shaping : Shaping, optional
        What may be chosen; by default everything.
    resident : bool
        Refuse what does not fit the memories whole; else it is streamed.

    Raises
    ------
    ExportError
        As :func:`tritforge.model_export.memory.streaming.fit`; a fold was asked for that the
        network does not have.
    """
    chosen = shaping or Shaping()
    network = choose_columns(network, config, planes=chosen.planes)
    first: tuple[Shaped, DoesNotFitError] | None = None
    for shaped in _shapes(network, config, densities or {}, chosen):
        try:
            return _compiled(network, shaped, config, resident=True)
        except DoesNotFitError as error:
            first = first or (shaped, error)
            if error.memory != "activations":
                break  # the input's shape is not what is too large
    assert first is not None
    if resident:
        raise first[1]
    return _compiled(network, first[0], config, resident=False)


def shape_network(
    network: Network,
    config: Config,
    densities: Densities | None = None,
    shaping: Shaping | None = None,
) -> Shaped:
    """The shape that should take the fewest cycles, whether or not the memories hold it."""
    chosen = shaping or Shaping()
    network = choose_columns(network, config, planes=chosen.planes)
    return next(_shapes(network, config, densities or {}, chosen))


def _compiled(
    network: Network, shaped: Shaped, config: Config, *, resident: bool
) -> CompiledNetwork:
    # What is streamed goes and comes a tensor at a time.
    placement = place(shaped.network, config, shaped.densities, side_by_side=resident)
    memory = fit(shaped.network, placement, config, resident=resident)
    return CompiledNetwork(network, _noted(memory, shaped.notes))


def _noted(memory: MemoryImage, notes: Mapping[str, str]) -> MemoryImage:
    layers = [dataclasses.replace(one, note=notes.get(one.name, "")) for one in memory.layers]
    return dataclasses.replace(memory, layers=layers)


# ----- the input


def _shapes(
    network: Network, config: Config, densities: Densities, shaping: Shaping
) -> Iterator[Shaped]:
    """Shapes of a network, the best first; the others take less of the activation memories."""
    folds = _folds(network, shaping)
    if len(folds) == 1:
        yield _folded(network, densities, folds[0])
        return
    measured = [_cost(network, config, densities, fold) for fold in folds]
    least: int | None = None
    for cost, words, number in sorted((*one, number) for number, one in enumerate(measured)):
        del cost
        if least is None or words < least:
            least = words
            yield _folded(network, densities, folds[number])


def _folds(network: Network, shaping: Shaping) -> list[Fold | None]:
    """Folds of the input that may be chosen, as it is among them.

    Raises
    ------
    ExportError
        None is as it was asked for.
    """
    if shaping.fold == "none":
        return [None]
    found = fold_candidates(network)
    if shaping.fold == "auto":
        return [None, *found]
    if shaping.fold == "stride":
        whole = [fold for fold in found if fold.step is None]
        return [whole[-1] if whole else None]
    block = tuple(int(size) for size in shaping.fold.split("x"))
    asked = [fold for fold in found if fold.block == block]
    if not asked:
        ways = ", ".join(f"{by}x{bx}" for by, bx in sorted(fold.block for fold in found))
        raise ExportError(
            f"the input of network {network.name} cannot be folded by {shaping.fold}; "
            + (f"it can by {ways}" if ways else "it cannot be folded at all")
        )
    return [asked[0]]


def _cost(
    network: Network, config: Config, densities: Densities, fold: Fold | None
) -> tuple[float, int]:
    """Cycles of the layers that read the input and of the port that brings it, and its words in
    each activation memory."""
    readers = {layer.name for layer, _ in input_readers(network)}
    layers = [
        dataclasses.replace(
            layer, groups=[group for group in layer.groups if group.source == network.input]
        )
        for layer in network.layers
        if layer.name in readers
    ]
    alone = dataclasses.replace(network, layers=layers)
    shaped = _folded(alone, densities, fold)
    placement = place(shaped.network, config, shaped.densities)
    cycles = estimate_cycles(shaped.network, placement, config, shaped.densities)
    source = shaped.network.tensors[network.input]
    words = source.height * source.width * placement.layouts[source.name].words
    port = words * config.clusters * config.memory_chunks("activations")
    return sum(one.cycles for one in cycles.values()) + port, words


def _folded(network: Network, densities: Densities, fold: Fold | None) -> Shaped:
    known = dict(densities)
    if fold is None:
        return Shaped(network, known, {})
    source = network.input
    if source in known:
        known[source] = np.repeat(known[source], fold.block[0] * fold.block[1])
    folded = fold_input(network, fold)
    note = _fold_note(fold)
    notes = {}
    for layer in folded.layers:
        own = [group for group in layer.groups if group.source == source]
        if own:
            kernel = own[0].kernel
            notes[layer.name] = (
                f"computed as {kernel[0]}x{kernel[1]} on {fold.folded_shape[0]} channels, {note}"
            )
    return Shaped(folded, known, notes)


def _fold_note(fold: Fold) -> str:
    by, bx = fold.block
    if fold.step is None:
        return f"blocks of {by}x{bx} pixels folded into channels"
    sy, sx = fold.step
    return f"windows of {by}x{bx} pixels, {sy}x{sx} apart, folded into channels"
