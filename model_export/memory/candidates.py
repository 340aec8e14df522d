"""Shapes that a layer can have on a configuration, and about what each would cost."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.model_export.memory.cycles import estimate_layer
from tritforge.model_export.memory.emit import Emitter
from tritforge.model_export.memory.placement import place_layer
from tritforge.model_export.network import Fold, Layer, Network
from tritforge.model_export.passes.blocks import allows_blocks, layer_in_blocks
from tritforge.model_export.passes.fold import fold_input

__all__ = ["Candidate", "Densities", "block_candidates", "cost", "folded", "input_candidates"]

Densities = Mapping[str, NDArray[np.float64]]
#: Pixels of a block along an axis; the odd ones where they divide an odd output.
_SIDES, _ODD_SIDES = (1, 2, 4, 8), (3, 5, 7)
#: Trits of a layer in blocks, at most: more are no thin layer, and counting them takes long.
_MOST_TRITS = 1 << 23
#: Pixels of a block whose rows fill further tiles, at most.
_MOST_APART = 4


@dataclass(frozen=True)
class Candidate:
    """A shape of a layer: output pixels of a block, a fold of the input.

    ``cycles`` is estimated, with those of the port that brings the input. ``columns`` of trits, in
    all and of the largest tile, ``rows`` of the row memory, ``input_words`` of the input in every
    activation memory.
    """

    block: tuple[int, int]
    fold: Fold | None
    cycles: float
    columns: int
    tile_columns: int
    rows: int
    input_words: int = 0

    def takes(self, memory: str) -> int:
        """What it takes of a memory that the choice has to share."""
        return {"trits": self.columns, "rows": self.rows, "activations": self.input_words}[memory]


def block_candidates(
    network: Network,
    layer: Layer,
    config: Config,
    densities: Densities,
    block: tuple[int, int] | None = None,
) -> list[Candidate]:
    """Blocks that a layer may compute, single pixels first; ``block``: only this, or single pixels
    where it cannot."""
    return [
        cost(network, layer_in_blocks(layer, one), config, densities, block=one)
        for one in _blocks(layer, config, block)
    ]


def input_candidates(
    network: Network,
    layer: Layer,
    config: Config,
    densities: Densities,
    folds: Callable[[Network], list[Fold | None]],
    block: tuple[int, int] | None = None,
) -> list[Candidate]:
    """Blocks, and folds of the input, for the only layer that reads it.

    Parameters
    ----------
    folds
        Those to choose from for the layer alone, in blocks or not.
    block
        As of :func:`block_candidates`.
    """
    found = []
    for one in _blocks(layer, config, block):
        alone = dataclasses.replace(network, layers=[layer_in_blocks(layer, one)])
        for fold in _some(folds(alone), one):
            shaped, known = folded(alone, densities, fold)
            found.append(cost(shaped, shaped.layers[0], config, known, block=one, fold=fold))
    return found


def folded(
    network: Network, densities: Densities, fold: Fold | None
) -> tuple[Network, dict[str, NDArray[np.float64]]]:
    """A network on a folded input, and the densities of its channels."""
    known = dict(densities)
    if fold is None:
        return network, known
    if network.input in known:
        known[network.input] = np.repeat(known[network.input], fold.block[0] * fold.block[1])
    return fold_input(network, fold), known


def cost(
    network: Network,
    layer: Layer,
    config: Config,
    densities: Densities,
    *,
    block: tuple[int, int] = (1, 1),
    fold: Fold | None = None,
) -> Candidate:
    """What a layer in this shape costs by itself."""
    placement = place_layer(network, layer, config, densities)
    cycles = estimate_layer(network, layer, placement, config, densities).cycles
    tiles = placement.tiles[layer.name]
    emitter = Emitter(network, placement, config)
    input_words = 0
    if any(group.source == network.input for group in layer.groups):
        source = network.tensors[network.input]
        input_words = source.height * source.width * placement.layouts[source.name].words
        cycles += input_words * config.clusters * config.memory_chunks("activations")
    columns = [sum(emitter.columns(layer, one).count for one in tile.groups) for tile in tiles]
    return Candidate(
        block,
        fold,
        cycles,
        sum(columns),
        max(columns),
        sum(tile.rows_used * config.blocks for tile in tiles),
        input_words,
    )


def _blocks(layer: Layer, config: Config, only: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Blocks of pixels whose rows the accumulators hold at once, single pixels first."""
    if only is not None:
        return [only if only == (1, 1) or _can_compute(layer, only, config) else (1, 1)]
    rows, columns = (
        [*_SIDES, *(side for side in _ODD_SIDES if size % 2 and size % side == 0)]
        for size in (layer.height, layer.width)
    )
    if layer.pool is not None:  # whole windows
        rows, columns = ([side * kernel for side in _SIDES] for kernel in layer.pool.kernel)
    found = sorted(((y, x) for y in rows for x in columns), key=lambda one: (one[0] * one[1], one))
    kept = [one for one in found if _can_compute(layer, one, config)]
    return list(dict.fromkeys([(1, 1), *kept]))


def _can_compute(layer: Layer, block: tuple[int, int], config: Config) -> bool:
    """Whether a block's rows fill no further tiles, or only as rows of other channels would."""
    pixels = block[0] * block[1]
    if not allows_blocks(layer, block, pooled=config.row_merges) or (
        pixels > config.elements // config.drain_width * config.rows
    ):
        return False
    if sum(group.trits.size for group in layer.groups) * pixels**2 > _MOST_TRITS:
        return False
    if layer.rows * pixels <= config.slots:
        return True
    # of depthwise convs and sums every row reads a channel of its own
    return pixels <= _MOST_APART and all(
        np.count_nonzero(group.trits.any(axis=(2, 3))) <= group.trits.shape[0]
        for group in layer.groups
    )


def _some(folds: list[Fold | None], block: tuple[int, int]) -> list[Fold | None]:
    """Folds to be counted: all for single pixels; for blocks, of which there are many, those that
    are the best in nearly all cases: none, windows that do not overlap, the whole kernel, all of
    its rows or of its columns."""
    known = [fold for fold in folds if fold is not None]
    if block == (1, 1) or len(folds) < 3:
        return folds
    whole = known[-1].block
    rows = [fold for fold in known if fold.block[0] == whole[0]]
    columns = [fold for fold in known if fold.block[1] == whole[1]]
    apart = [fold for fold in known if fold.step is None]
    return [None, *dict.fromkeys([*apart[-1:], *rows[:1], *columns[:1], known[-1]])]
