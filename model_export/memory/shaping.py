"""The shape in which a network is computed on a configuration: what the compiler chooses, and why.

The network form says what is computed, whatever the configuration. In front of placement, layers
get the shape that takes the fewest cycles there:

* layers of few rows compute blocks of output pixels (:mod:`tritforge.model_export.passes.blocks`);
* the input is folded (:mod:`tritforge.model_export.passes.fold`).

Every tensor keeps its integers, and everyone but placement and emission goes on seeing the network
as it was. What the choice costs in trits, rows of the row memory and activations is given back
where these memories would be too small for it. Only the columns of weights of several bits, bytes
or planes (:mod:`tritforge.model_export.passes.wide_columns`), are chosen for all.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.addresses import sizes
from tritforge.model_export.memory.candidates import (
    Candidate,
    Densities,
    block_candidates,
    cost,
    folded,
    input_candidates,
)
from tritforge.model_export.memory.emit import DoesNotFitError, Emitter, MemoryImage
from tritforge.model_export.memory.placement import Placement, place
from tritforge.model_export.memory.streaming import fit
from tritforge.model_export.network import Fold, Layer, Network
from tritforge.model_export.passes.blocks import in_blocks
from tritforge.model_export.passes.fold import fold_candidates, input_readers
from tritforge.model_export.passes.wide_columns import choose_columns

__all__ = ["Shaped", "Shaping", "compile_network", "shape_network"]

_WINDOW = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,2})")
#: What is given back of a memory that turns out too small, as a share of what is taken of it.
_STEP = 0.15


@dataclass(frozen=True)
class Shaping:
    """What may be chosen.

    Members
    -------
    fold : str
        Of the input: ``auto`` (what should take the fewest cycles), ``none``, ``stride`` (windows
        as wide as the stride of the first layer: space to depth), or a window such as ``3x3``.
    blocks : str
        Of output pixels: ``auto``, ``none``, or a block such as ``2x2`` for every layer that can
        compute it.
    planes : bool
        Weights of several bits are sums of ternary planes, also where the configuration has
        multipliers.
    """

    fold: str = "auto"
    blocks: str = "auto"
    planes: bool = False

    def __post_init__(self) -> None:
        if self.fold not in ("auto", "none", "stride") and not _WINDOW.fullmatch(self.fold):
            raise ExportError(
                f"the input cannot be folded by {self.fold!r}; it can be auto, none, stride, or a "
                f"window such as 3x3 (rows x columns)"
            )
        if self.blocks not in ("auto", "none") and not _WINDOW.fullmatch(self.blocks):
            raise ExportError(
                f"layers cannot compute blocks of {self.blocks!r}; they can be auto, none, or a "
                f"number of pixels such as 2x2 (rows x columns)"
            )

    @property
    def block(self) -> tuple[int, int] | None:
        """The block that is asked for, if one is."""
        if self.blocks == "auto":
            return None
        return (1, 1) if self.blocks == "none" else _pair(self.blocks)


def _pair(text: str) -> tuple[int, int]:
    rows, columns = text.split("x")
    return int(rows), int(columns)


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
    windows: Densities | None = None,
    shaping: Shaping | None = None,
    resident: bool = False,
) -> CompiledNetwork:
    """Memory contents of a quantized network for a configuration, in the best shape found.

    Parameters
    ----------
    densities : dict, optional
        Fraction of nonzero activations per channel, by tensor name; 1 where missing.
    windows : dict, optional
        The same in windows of calibration images (channels, windows), of any tensors but the input.
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
    asked = shaping or Shaping()
    network = choose_columns(network, config, planes=asked.planes)
    chooser = _Chooser(network, config, densities or {}, asked)
    first: Shaped | None = None
    while True:
        shaped = chooser.shaped()
        first = first or shaped
        placement = place(shaped.network, config, shaped.densities, windows=windows)
        try:
            memory = fit(shaped.network, placement, config, resident=True)
        except DoesNotFitError as error:
            if chooser.give_back(error.memory, shaped, placement):
                continue
            if resident:
                raise
            shaped, memory = _streamed(first, chooser, windows)
        layers = [
            dataclasses.replace(one, note=shaped.notes.get(one.name, "")) for one in memory.layers
        ]
        return CompiledNetwork(network, dataclasses.replace(memory, layers=layers))


def _streamed(
    best: Shaped, chooser: "_Chooser", windows: Densities | None
) -> tuple[Shaped, MemoryImage]:
    """The best shape that can be streamed, or else the least one."""
    try:
        return best, _stream(best, chooser.config, windows)
    except ExportError as error:
        least = chooser.least()
        try:
            return least, _stream(least, chooser.config, windows)
        except ExportError:
            raise error from None


def _stream(shaped: Shaped, config: Config, windows: Densities | None) -> MemoryImage:
    placement = place(shaped.network, config, shaped.densities, windows=windows)
    needed = Emitter(shaped.network, placement, config).needs()
    # What is streamed goes and comes a tensor at a time.
    placement = place(shaped.network, config, shaped.densities, windows=windows, side_by_side=False)
    return fit(shaped.network, placement, config, needed=needed)


def shape_network(
    network: Network,
    config: Config,
    densities: Densities | None = None,
    shaping: Shaping | None = None,
) -> Shaped:
    """The shape that should take the fewest cycles, whether or not the memories hold it."""
    asked = shaping or Shaping()
    network = choose_columns(network, config, planes=asked.planes)
    return _Chooser(network, config, densities or {}, asked).shaped()


class _Chooser:
    """Chooses a candidate for every layer, so that all of them together fit the memories.

    Members
    -------
    room : dict
        Trit columns, entries of the row memory and words of the input that there may be; a memory
        that is too small in any case is not in it.
    """

    def __init__(
        self, network: Network, config: Config, densities: Densities, shaping: Shaping
    ) -> None:
        self.network = network
        self.config = config
        self.densities = densities
        readers = {layer.name: layer for layer, _ in input_readers(network)}
        self.fold: Fold | None = None
        self.candidates: dict[str, list[Candidate]] = {}
        if len(readers) == 1:
            (reader,) = readers.values()
            self.candidates[reader.name] = self._input_candidates(reader, shaping)
        elif readers:
            self.fold = self._shared_fold(list(readers.values()), shaping)
        for layer in network.layers:
            if layer.name not in readers:
                self.candidates[layer.name] = block_candidates(
                    network, layer, config, densities, shaping.block
                )
        for name, own in self.candidates.items():  # a tile must fit, streamed or not
            small = [one for one in own if one.tile_columns <= config.trit_depth]
            self.candidates[name] = small or own[:1]
        self.room = {"trits": config.trit_depth, "rows": config.row_depth}
        for memory in list(self.room):
            least = sum(min(one.takes(memory) for one in own) for own in self.candidates.values())
            if least > self.room[memory]:
                # It is streamed: what a layer takes goes through the port in every run.
                del self.room[memory]
                sets = config.cluster_count if memory == "trits" else 1
                self._charge(memory, sets * config.memory_chunks(memory))

    def _charge(self, memory: str, cycles: int) -> None:
        for name, own in self.candidates.items():
            self.candidates[name] = [
                dataclasses.replace(one, cycles=one.cycles + cycles * one.takes(memory))
                for one in own
            ]

    def _input_candidates(self, reader: Layer, shaping: Shaping) -> list[Candidate]:
        offered: set[tuple[int, int]] = set()

        def folds(alone: Network) -> list[Fold | None]:
            found = fold_candidates(alone)
            offered.update(fold.block for fold in found)
            return _asked(found, shaping)

        found = input_candidates(
            self.network, reader, self.config, self.densities, folds, shaping.block
        )
        if not found:
            raise _no_fold(self.network, shaping, offered)
        return found

    def _shared_fold(self, readers: list[Layer], shaping: Shaping) -> Fold | None:
        """The fold of an input that several layers read, each pixel by pixel."""
        found = fold_candidates(self.network)
        asked = _asked(found, shaping)
        if not asked:
            raise _no_fold(self.network, shaping, {fold.block for fold in found})

        def cycles(fold: Fold | None) -> float:
            shaped, known = folded(
                dataclasses.replace(self.network, layers=readers), self.densities, fold
            )
            own = [cost(shaped, layer, self.config, known) for layer in shaped.layers]
            return sum(one.cycles for one in own)

        return asked[0] if len(asked) == 1 else min(asked, key=cycles)

    def choice(self) -> dict[str, Candidate]:
        """The fastest candidate of every layer, given back where that costs the fewest cycles for
        what it frees, until there is room for all."""
        chosen = {
            name: min(own, key=lambda one: (one.cycles, one.columns))
            for name, own in self.candidates.items()
        }
        for memory, room in self.room.items():
            while sum(one.takes(memory) for one in chosen.values()) > room:
                moves = [
                    (
                        (one.cycles - now.cycles) / (now.takes(memory) - one.takes(memory)),
                        number,
                        name,
                        one,
                    )
                    for name, now in chosen.items()
                    for number, one in enumerate(self.candidates[name])
                    if one.takes(memory) < now.takes(memory)
                ]
                if not moves:
                    break
                _, _, name, one = min(moves, key=lambda move: move[:3])
                chosen[name] = one
        return chosen

    def shaped(self) -> Shaped:
        """The network in the shape chosen."""
        return self._shaped(self.choice())

    def least(self) -> Shaped:
        """The network in the shape that takes the least of the activation memories."""
        return self._shaped(
            {
                name: min(own, key=lambda one: (one.block[0] * one.block[1], one.input_words))
                for name, own in self.candidates.items()
            }
        )

    def _shaped(self, chosen: Mapping[str, Candidate]) -> Shaped:
        blocks = {name: one.block for name, one in chosen.items() if one.block != (1, 1)}
        network = in_blocks(self.network, blocks) if blocks else self.network
        fold = next((one.fold for one in chosen.values() if one.fold is not None), self.fold)
        network, known = folded(network, self.densities, fold)
        notes: dict[str, str] = {}
        for layer in network.layers:
            said = []
            own = next((one for one in layer.groups if one.source == network.input), None)
            if fold is not None and own is not None:
                said.append(_fold_note(fold, own.kernel))
            if layer.blocks is not None:
                said.append(f"{_times(layer.blocks.block)} output pixels at a time")
            if said:
                notes[layer.name] = "computed " + ", ".join(said)
        return Shaped(network, known, notes)

    def give_back(self, memory: str, shaped: Shaped, placement: Placement) -> bool:
        """Leave less room in a memory that was too small; false: nothing can be given back."""
        before = self.choice()
        if memory == "activations":
            if not _fits_without_input(shaped, placement, self.config):
                return False
            least = sum(one.takes(memory) for one in before.values()) - 1
        elif memory in self.room:
            least = int(sum(one.takes(memory) for one in before.values()) * (1 - _STEP))
        else:
            return False
        self.room[memory] = least
        return self.choice() != before


def _asked(found: list[Fold], shaping: Shaping) -> list[Fold | None]:
    """Of the folds that a network can have, those that may be chosen."""
    if shaping.fold == "none":
        return [None]
    if shaping.fold == "auto":
        return [None, *found]
    if shaping.fold == "stride":
        apart = [fold for fold in found if fold.step is None]
        return [apart[-1] if apart else None]
    asked: list[Fold | None] = [fold for fold in found if fold.block == _pair(shaping.fold)]
    return asked[:1]


def _no_fold(network: Network, shaping: Shaping, offered: set[tuple[int, int]]) -> ExportError:
    ways = ", ".join(_times(block) for block in sorted(offered))
    return ExportError(
        f"the input of network {network.name} cannot be folded by {shaping.fold}; "
        + (f"it can by {ways}" if ways else "it cannot be folded at all")
    )


def _fits_without_input(shaped: Shaped, placement: Placement, config: Config) -> bool:
    """Whether each activation memory holds every tensor but the input, one at a time."""
    return all(
        words <= config.activation_depth
        for name, words in sizes(shaped.network, placement).items()
        if name != shaped.network.input
    )


def _times(block: tuple[int, int]) -> str:
    return f"{block[0]}x{block[1]}"


def _fold_note(fold: Fold, kernel: tuple[int, int]) -> str:
    windows = f"blocks of {_times(fold.block)} pixels"
    if fold.step is not None:
        windows = f"windows of {_times(fold.block)} pixels, {_times(fold.step)} apart,"
    return f"as {_times(kernel)} on {fold.folded_shape[0]} channels, {windows} folded into channels"
