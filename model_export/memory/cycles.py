"""About how many clock cycles a placed layer takes, from counts alone: what shapes are chosen by.

Nothing is simulated. Each part of the machine has its own time for the layer; the slowest sets
the pace, and others that are nearly as slow get in its way:

===============  ================================================================================
``adders``       nonzero trits x density of their channels, in the busiest element of a set
``broadcasts``   nonzero activations, and words without any, in the busiest cluster of a set
``reads``        activation words of a slice, for the walkers of all sets and for merges
``drain``        accumulators in use, ``drain_width`` at a time
``write-backs``  activations that go to the busiest slice
``sequencer``    records of the program that are fetched for every pixel
===============  ================================================================================

:class:`tritforge.sim.cycle.model.CycleModel` counts exactly; the constants here are fitted to it.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.hw import timing
from tritforge.hw.config import Config
from tritforge.hw.program import DESTINATION, GEOMETRY, GROUP, LAYER, TILE, record_words
from tritforge.model_export.memory.geometry import computed, pool_axis
from tritforge.model_export.memory.placement import Block, Placement, Tile, nonzero_trits
from tritforge.model_export.network import Layer, Network

__all__ = ["LayerCycles", "estimate_cycles", "estimate_layer"]

#: Standard deviations of a pixel's work by which the busiest element or cluster is above its mean,
#: where pixels do not wait for each other. Banks and queues even some of that out.
_SPREAD = 1.0
#: Cycles of a merge where several go to one word, one after the other.
_MERGE = 2.0
#: How hard the slowest part is held up by others: 1 adds all times, infinity takes the largest.
_SHARPNESS = 5.0


@dataclass(frozen=True)
class LayerCycles:
    """Clock cycles of a layer, and those that each part of the machine would need by itself."""

    cycles: float
    parts: dict[str, float]

    @property
    def limit(self) -> str:
        """The part that needs the most."""
        return max(self.parts, key=lambda name: self.parts[name])


@dataclass(eq=False)
class _TileWork:
    """What a tile's pixel takes on average, of each cluster of a set."""

    adds: NDArray[np.float64]  # (clusters, elements)
    spread: NDArray[np.float64]  # (clusters, elements): their variances
    broadcasts: NDArray[np.float64]  # (clusters,)
    empty: NDArray[np.float64]  # (clusters,): words without an activation
    words: float


def estimate_cycles(
    network: Network,
    placement: Placement,
    config: Config,
    densities: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[str, LayerCycles]:
    """Every layer's cycles, by name; parameters as of :func:`estimate_layer`."""
    return {
        layer.name: estimate_layer(network, layer, placement, config, densities)
        for layer in network.layers
    }


def estimate_layer(
    network: Network,
    layer: Layer,
    placement: Placement,
    config: Config,
    densities: Mapping[str, NDArray[np.float64]] | None = None,
) -> LayerCycles:
    """Cycles of one layer that is in the memories whole.

    Parameters
    ----------
    network, placement, config
        As :func:`tritforge.model_export.memory.placement.place` took and gave them.
    densities : dict, optional
        Fraction of nonzero activations per channel, by tensor name; 1 where missing.
    """
    tiles = placement.tiles[layer.name]
    pixels = _pixels(layer)
    sets = min(config.sets, pixels * len(tiles))
    parts = dict.fromkeys(
        ("adders", "broadcasts", "reads", "drain", "write-backs", "sequencer"), 0.0
    )
    total = first = 0.0
    windows, merged = _windows(network, layer, densities or {})
    for tile in tiles:
        work = _tile_work(network, layer, tile, placement, config, densities or {})
        written: float = 0.0
        if not layer.final:
            channels = tile.rows // layer.block_pixels
            slices = placement.layouts[layer.output].cluster[channels]
            written = -(-int(np.bincount(slices).max()) // config.slice_values) * windows
        sequencer = _sequencer(layer, tile, config)
        # Where no job waits in front of the walkers, they wait for some of it; with one port, words
        # are not read while others are written.
        alone = 0.0 if config.job_places else 0.75 * sequencer
        # A merge waits for those of the same word in front of it, which come in a row.
        waits = _MERGE if _in_a_row(layer, config) else 1.0
        held = written if config.memory_ports == 1 else written * merged * waits
        adds = _busiest(work.adds, work.spread, config)
        own = {
            "adders": adds / sets,
            "broadcasts": float((work.broadcasts + work.empty).max()) / sets + alone,
            "reads": work.words + held + alone,
            "drain": _drain(tile, sets, adds, config),
            "write-backs": written * (1 - merged + merged * waits),
            "sequencer": sequencer,
        }
        pace = sum(time**_SHARPNESS for time in own.values()) ** (1 / _SHARPNESS)
        total += pixels * pace + _fetch(config, record_words(TILE))
        # The first pixels find everything idle.
        first = max(own["adders"], own["broadcasts"]) * sets
        for name, time in own.items():
            parts[name] += pixels * time
    last = tiles[-1].rows_used * config.blocks
    begins = _fetch(config, record_words(LAYER))
    if layer is network.layers[0]:  # accumulators are cleared meanwhile
        begins = max(begins, timing.clear_cycles(config))
    else:  # it is read while the counters of the layer before are written
        begins = max(0, begins - timing.DUMP_CYCLES)
    ends = timing.settle(config) + timing.DUMP_CYCLES + begins
    return LayerCycles(total + first + last + ends, parts)


def _fetch(config: Config, words: int) -> int:
    """Cycles from a record's first fetch to that of what follows."""
    return words * config.program_reads + timing.fetch_latency(config) + 1


def _sequencer(layer: Layer, tile: Tile, config: Config) -> float:
    """Cycles in which the program is read for a pixel of a tile, and its jobs are handed out."""
    places = [(layer.groups[group.group].geometry, group.source) for group in tile.groups]
    count, read = len(places), config.program_reads
    changes = sum(one != other for one, other in itertools.pairwise(places))
    place, latency = record_words(DESTINATION) * read, timing.fetch_latency(config)
    # a geometry for the first group and wherever it changes
    geometry = record_words(GEOMETRY) * read
    geometries = (1 + changes) * geometry + (count - 1 - changes)
    line, pixel = place + latency + 1.0, float(place + geometries)
    if count <= config.group_places:
        line = max(line, place + geometries + 1)
    else:  # all is read again
        line += geometry
        pixel += latency + 1 + count * record_words(GROUP) * read
        pixel += (changes + (places[0] != places[-1])) * geometry
    if config.group_places == 1:  # nothing is read while a job waits
        pixel += count * (latency + 2)
    return max(pixel, 2 * count) + line / layer.width


def _drain(tile: Tile, sets: int, adds: float, config: Config) -> float:
    """Cycles from one pixel's drain to the next, of pixels whose busiest element adds ``adds``
    times. A pixel waits for its bank, which the last row of an earlier one frees in one cluster
    after the other, and is complete when its additions are."""
    steps = tile.rows_used * config.blocks
    bank = steps - config.blocks + timing.OLDEST_LATENCY + config.clusters - 1
    bank += timing.LOAD_LATENCY + timing.addition_latency(config) + timing.COMPLETE_LATENCY + 1
    awaited = timing.BEGIN_LATENCY + timing.COMPLETE_LATENCY + 1
    return max(steps, awaited / sets, (bank + adds) / (config.banks * sets))


def _busiest(adds: NDArray[np.float64], spread: NDArray[np.float64], config: Config) -> float:
    """Cycles of the busiest element for a pixel."""
    return float((adds + _SPREAD * np.sqrt(spread / config.banks)).max())


def _pixels(layer: Layer) -> int:
    """Output pixels that are computed."""
    height, width = (
        (layer.height, layer.width) if layer.pool is None else (layer.pool.height, layer.pool.width)
    )
    return computed(range(layer.height), pool_axis(layer.pool, 0), range(height)) * computed(
        range(layer.width), pool_axis(layer.pool, 1), range(width)
    )


def _in_a_row(layer: Layer, config: Config) -> bool:
    """Whether merges of one word follow one another: where a slice gets a value in every step of
    the drain, and those of a position go to one output pixel."""
    if config.drain_width < config.clusters:
        return False
    if layer.blocks is not None:
        return math.prod(layer.blocks.windows) == 1
    return layer.addend is not None


def _windows(
    network: Network, layer: Layer, densities: Mapping[str, NDArray[np.float64]]
) -> tuple[float, float]:
    """Pooled pixels that a row's output visits on average, and the share of visits that merge: all
    where a layer adds. A zero changes no maximum, unless activations are signed, and visits none
    but where it is the first."""
    if layer.addend is not None:
        return 1.0, 1.0
    output = network.tensors[layer.output]
    dense = 1.0
    window = layer.pool.kernel if layer.pool is not None else (1, 1)
    window = window if layer.blocks is None else layer.blocks.pool
    if layer.output in densities and not output.signed:
        # Before the pool fewer are not zero: between all of a window at once and each by itself.
        dense = float(densities[layer.output].mean())
        dense = (dense + 1 - (1 - min(dense, 1.0)) ** (1 / math.prod(window))) / 2
    if layer.blocks is not None:
        first = 1 / math.prod(layer.blocks.pool)
        visits = first + (1 - first) * dense
        return visits, 1 - first / visits
    if layer.pool is None:
        return 1.0, 0.0
    pooled = layer.pool.height * layer.pool.width
    merges = dense * pooled * (math.prod(layer.pool.kernel) - 1)
    return (pooled + merges) / _pixels(layer), merges / (pooled + merges)


def _tile_work(
    network: Network,
    layer: Layer,
    tile: Tile,
    placement: Placement,
    config: Config,
    densities: Mapping[str, NDArray[np.float64]],
) -> _TileWork:
    clusters = config.clusters
    work = _TileWork(
        np.zeros((clusters, config.elements)),
        np.zeros((clusters, config.elements)),
        np.zeros(clusters),
        np.zeros(clusters),
        0.0,
    )
    for group in tile.groups:
        element = np.full(layer.rows, -1)
        fed = np.ones(len(tile.rows), bool)
        if group.quarter is not None:
            fed = tile.accumulator // config.quarter_rows == group.quarter
        element[tile.rows[fed]] = tile.element[fed]
        source = network.tensors[group.source]
        rule = layer.groups[group.group]
        inside = math.prod(
            float(rule.positions(axis, range(outputs), size)[1].sum(axis=1).mean())
            for axis, (outputs, size) in enumerate(
                ((layer.height, source.height), (layer.width, source.width))
            )
        )
        first, count, _ = placement.read_range(group, config)
        # A word is empty if none of its channels is there; activations are taken for independent.
        quiet = np.zeros((clusters, count))
        for name, _ in group.parts:
            layout, density = placement.layouts[name], _density(network, name, densities, config)
            own = np.flatnonzero((layout.word >= first) & (layout.word < first + count))
            work.broadcasts += inside * np.bincount(layout.cluster[own], density[own], clusters)
            np.add.at(
                quiet,
                (layout.cluster[own], layout.word[own] - first),
                np.log(np.maximum(1 - density[own], 1e-9)),
            )
        work.empty += inside * np.exp(quiet).sum(axis=1)
        work.words += inside * count
        for block in group.blocks:
            name = layer.groups[block.group].source
            density = _density(network, name, densities, config)
            cluster = placement.layouts[name].cluster
            _add_trits(work, layer, block, element, cluster, density, inside)
    return work


def _density(
    network: Network, name: str, densities: Mapping[str, NDArray[np.float64]], config: Config
) -> NDArray[np.float64]:
    """Part of a tensor's activations that are broadcast, by channel."""
    found = densities.get(name) if config.skip_zero_activations else None
    return np.ones(network.tensors[name].channels) if found is None else found


def _add_trits(
    work: _TileWork,
    layer: Layer,
    block: Block,
    element: NDArray[np.int64],
    cluster: NDArray[np.int64],
    density: NDArray[np.float64],
    inside: float,
) -> None:
    """Add one block's additions, and their variances: an activation is there or not."""
    elements = work.adds.shape[1]
    rule = layer.groups[block.group]
    positions = 1 if rule.shared else rule.kernel[0] * rule.kernel[1]
    rows = np.arange(*block.rows)
    here = element[rows] >= 0
    channels = np.arange(*block.channels)
    by_element = np.zeros((elements, len(channels)))
    for start, counts in nonzero_trits(layer, block):
        part = slice(start, start + len(counts))
        chosen = np.flatnonzero(here[part])
        share = np.zeros((elements, len(chosen)), np.float32)
        share[element[rows[part][chosen]], np.arange(len(chosen))] = 1
        by_element += share @ counts[chosen]
    # of a column: trits of each element, where its kernel position is inside
    mean = by_element * density[channels] * (inside / positions)
    each = by_element / positions
    spread = mean * (1 - density[channels]) * np.maximum(each, 1)
    for index in range(len(work.adds)):
        own = cluster[channels] == index
        work.adds[index] += mean[:, own].sum(axis=1)
        work.spread[index] += spread[:, own].sum(axis=1)
