"""Addresses of tensors in the activation memories.

Tensors share words where their lifetimes do not overlap. Where they overlap in one layer only, the
one that reads the source for the last time, its output may stand on the source too: pixels are
computed and written in raster order, so row y of the output may overwrite the rows that no later
pixel reads. The output must then begin far enough below the source (:func:`distances`), by
one row and one pixel for a 3x3 convolution with padding 1, by nothing for a sum.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.geometry import pool_axis
from tritforge.model_export.memory.placement import Placement
from tritforge.model_export.network import Layer, Network

__all__ = ["Lifetimes", "assign", "distances", "lifetimes", "sizes", "tensors_with_gaps"]

#: Layers, by number, that write each tensor (-1: the input) and that read it last.
Lifetimes = tuple[dict[str, int], dict[str, int]]
#: Words by which an output must begin below a source that it may overwrite, by (source, output).
Distances = Mapping[tuple[str, str], int]

#: Orders that are tried, each with the tensor that was too high put first.
_TRIALS = 40
#: An address that nothing reads.
_NEVER = 1 << 40


def lifetimes(network: Network, placement: Placement) -> Lifetimes:
    """Layers, by number, that write each tensor first (-1: the input) and that read it last.
    Tensors in one place are there as the first of them.

    Raises
    ------
    ExportError
        A tensor is read before it is written.
    """
    born = {network.input: -1}
    died = {network.input: 0}
    for index, layer in enumerate(network.layers):
        for source in layer.reads:
            place = placement.place(source)
            if place not in born:
                raise ExportError(
                    f"layer {layer.name} reads tensor {source} before any layer has written it"
                )
            died[place] = index
        if layer.output in placement.layouts:
            place = placement.place(layer.output)
            born.setdefault(place, index)
            died[place] = index
    return born, died


def sizes(network: Network, placement: Placement) -> dict[str, int]:
    """Words of every tensor in each slice, of those in one place the first."""
    return {
        name: network.tensors[name].height * network.tensors[name].width * layout.words
        for name, layout in placement.layouts.items()
        if placement.place(name) == name
    }


def tensors_with_gaps(placement: Placement, config: Config) -> set[str]:
    """Tensors of which some lane is read that no channel owns, by the first in their place."""
    result = set()
    owned: dict[str, NDArray[np.bool_]] = {}
    for name, layout in placement.layouts.items():
        mask = np.zeros((config.clusters, layout.words, config.scan_width), bool)
        mask = owned.setdefault(placement.place(name), mask)
        mask[layout.cluster, layout.word, layout.lane] = True
    for tiles in placement.tiles.values():
        for tile in tiles:
            for group in tile.groups:
                place = placement.place(group.source)
                word, count, lanes = placement.read_range(group, config)
                read = owned[place][:, word : word + count].reshape(config.clusters, -1)
                if not read[:, : (count - 1) * config.scan_width + lanes].all():
                    result.add(place)
    return result


# ----- outputs on their sources


def distances(network: Network, placement: Placement, config: Config) -> dict[tuple[str, str], int]:
    """Words by which an output must at least begin below a source that is read for the last time
    where it is computed; by (source, output), without pairs of which no distance is safe. Sums at
    write-back stand where they stand.

    Below 0: it may begin so far above. A layer of several tiles reads its sources once for each:
    its output may stand on a source if pixels of both have as many words, and no tile writes words
    that a later one reads.
    """
    born, died = lifetimes(network, placement)
    # Places of several tensors side by side; those of a sum have one layout.
    layouts = placement.layouts
    beside = {
        placement.place(name)
        for name, layout in layouts.items()
        if layout.lane is not layouts[placement.place(name)].lane
    }
    result = {}
    for index, layer in enumerate(network.layers):
        if layer.output not in placement.layouts or layer.addend is not None:
            continue
        if placement.place(layer.output) in beside:
            continue
        assert born[layer.output] == index
        for source in sorted({group.source for group in layer.groups}):
            place = placement.place(source)
            if place not in beside and died[place] == index:
                distance = _distance(network, placement, config, layer, source)
                if distance is not None:
                    result[place, layer.output] = distance
    return result


def _distance(
    network: Network, placement: Placement, config: Config, layer: Layer, source: str
) -> int | None:
    words = placement.layouts[source].words, placement.layouts[layer.output].words
    tiles = placement.tiles[layer.name]
    if len(tiles) > 1:
        if words[0] != words[1]:
            return None
        word = placement.layouts[layer.output].word
        written = [set(word[tile.rows // layer.block_pixels].tolist()) for tile in tiles]
        read: list[set[int]] = []
        for tile in tiles:
            ranges = [
                placement.read_range(group, config)[:2]
                for group in tile.groups
                if group.source == source
            ]
            read.append({word for first, count in ranges for word in range(first, first + count)})
        if any(own & set().union(*read[n + 1 :]) for n, own in enumerate(written)):
            return None
    ends = _written(layer, words[1])
    starts = _still_read(network, layer, source, words[0])
    distance = int((ends - starts).max())
    return -(-distance // words[1]) * words[1] if len(tiles) > 1 else distance


def _written(layer: Layer, words: int) -> NDArray[np.int64]:
    """Where what is written ends, from the output's first word on, after each pixel of a layer,
    (pixels,) in raster order."""
    last = []
    for axis, size in enumerate((layer.height, layer.width)):
        pool = pool_axis(layer.pool, axis)
        places = np.arange(size)
        if layer.blocks is not None:
            places = layer.blocks.target(axis) + layer.blocks.block[axis] // layer.blocks.pool[axis]
            places -= 1
        elif pool is not None:
            _, stride, padding, pooled = pool
            places = np.minimum((places + padding) // stride, pooled - 1)
        last.append(places)
    width = layer.output_shape[2]
    ends = (last[0][:, None] * width + last[1] + 1) * words
    result: NDArray[np.int64] = np.maximum.accumulate(ends.ravel())
    return result


def _still_read(network: Network, layer: Layer, source: str, words: int) -> NDArray[np.int64]:
    """The lowest word of a source, from its first on, that pixels behind each pixel of a layer
    read, (pixels,) in raster order; :data:`_NEVER` where none is."""
    tensor = network.tensors[source]
    lowest = np.full((layer.height, layer.width), _NEVER, np.int64)
    for group in layer.groups:
        if group.source != source:
            continue
        first = []
        for axis, (count, size) in enumerate(
            ((layer.height, tensor.height), (layer.width, tensor.width))
        ):
            places, inside = group.positions(axis, range(count), size)
            first.append(np.where(inside, places, _NEVER).min(axis=1))
        row, column = first[0][:, None], first[1][None, :]
        there = (row < _NEVER) & (column < _NEVER)
        word = (np.where(there, row, 0) * tensor.width + np.where(there, column, 0)) * words
        lowest = np.minimum(lowest, np.where(there, word, _NEVER))
    behind = np.append(lowest.ravel()[1:], _NEVER)
    result: NDArray[np.int64] = np.minimum.accumulate(behind[::-1])[::-1]
    return result


# ----- addresses


def assign(
    size: Mapping[str, int],
    times: Lifetimes,
    depth: int,
    near: Distances,
    exclusive: frozenset[str] = frozenset(),
) -> dict[str, int]:
    """Base addresses of tensors by first fit, in the first of several orders in which all end
    within ``depth``, or else in the one in which they take the fewest words.

    Parameters
    ----------
    size : dict[str, int]
        Words of the tensors to place.
    times : Lifetimes
        Of at least those.
    near : dict[(str, str), int]
        Pairs of a source and an output that may overlap, as :func:`distances` gives them.
    exclusive : set of str
        Tensors that share their words with no other, at any time.
    """
    born, _ = times
    by_birth = sorted(size, key=lambda name: born[name])
    trials = [(by_birth, 1), (sorted(by_birth, key=lambda name: -size[name]), 1)]
    if near:  # an output stands below its source: the last of a chain goes to the bottom
        backwards = by_birth[::-1]
        trials += [
            (backwards, _TRIALS),
            (sorted(backwards, key=lambda name: -size[name]), _TRIALS),
        ]
    best: tuple[int, dict[str, int]] | None = None
    for order, times_tried in trials:
        for _ in range(times_tried):
            bases = _first_fit(order, size, times, near, exclusive)
            ends = {name: bases[name] + size[name] for name in order}
            words = max(ends.values(), default=0)
            if best is None or words < best[0]:
                best = words, bases
            if words <= depth:
                return bases
            high = max(order, key=lambda name: (ends[name], size[name]))
            order = [high, *(name for name in order if name != high)]
    assert best is not None
    return best[1]


def _first_fit(
    order: Sequence[str],
    size: Mapping[str, int],
    times: Lifetimes,
    near: Distances,
    exclusive: frozenset[str],
) -> dict[str, int]:
    """The lowest address for each tensor in turn at which it overlaps none that it must not."""
    born, died = times
    bases: dict[str, int] = {}
    for name in order:
        refused = []  # bases [first, stop) that another tensor rules out
        for other, base in bases.items():
            alone = name in exclusive or other in exclusive
            if not alone and (born[name] > died[other] or born[other] > died[name]):
                continue
            first, stop = base - size[name] + 1, base + size[other]
            if not alone and (other, name) in near:
                first = base - near[other, name] + 1
            elif not alone and (name, other) in near:
                stop = base + near[name, other]
            refused.append((first, stop))
        base = 0
        for first, stop in sorted(refused):
            if base >= first:
                base = max(base, stop)
        bases[name] = base
    return bases
