"""Where everything goes: channels to clusters, rows to tiles, elements and accumulators.

The input is a quantized :class:`~tritforge.model_export.network.Network`; nothing here depends on
memory sizes. All choices are deterministic.

* *Super-groups.* A layer's rows are cut where no column group joins the two sides (grouped and
  depthwise convolutions, identities). Consecutive blocks are joined again, block-diagonally, as
  long as they fit one evenly filled tile together, or while they are too narrow to fill the
  clusters' words.
* *Tiles.* A super-group's rows are spread evenly over as few tiles as possible, and dealt to the
  elements of all of these at once, so that in every cluster the nonzero trits of an element,
  weighted with activation density, are about equal.
* *Quarters.* A wide column group feeds a quarter of each element's accumulators at a time, so it
  stands in a tile once for every quarter that it has a weight in.
* *Layouts.* A tensor's channels are cut where a reader starts or stops; every such segment is
  spread evenly over all clusters, and starts a new word in each.
* *Concatenations.* What a layer reads of several tensors with the same kernel and the same
  coefficients needs no column group for each of them where their channels follow one another in the
  words of a pixel. Such tensors lie side by side: they are one job of the walkers, and thin ones
  share words.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.model_export.errors import ExportError
from tritforge.model_export.in_place import places
from tritforge.model_export.memory.balance import deal
from tritforge.model_export.memory.tiles import (
    Block,
    Interval,
    Tile,
    TileGroup,
    block_trits,
    make_tiles,
    relative,
)
from tritforge.model_export.network import ColumnGroup, Layer, Network

__all__ = [
    "Block",
    "Layout",
    "Placement",
    "Segment",
    "Tile",
    "TileGroup",
    "nonzero_trits",
    "place",
    "place_layer",
]

#: How much an even load in every window counts, beside an even load on average.
_WINDOWS_SHARE = 0.5
#: Trits that are counted at a time, so that intermediate arrays stay small.
_PIECE = 1 << 20


@dataclass(frozen=True)
class Segment:
    """Channels [start, stop) of a tensor: in every cluster activations [first, first + lanes) of a
    pixel's, counted over its words."""

    start: int
    stop: int
    first: int
    lanes: int


@dataclass(eq=False)
class Layout:
    """Where the channels of one tensor live: ``cluster``, ``word``, ``lane``, each (channels,)."""

    tensor: str
    words: int  # words per pixel, the same in every cluster
    segments: tuple[Segment, ...]
    cluster: NDArray[np.int64]
    word: NDArray[np.int64]
    lane: NDArray[np.int64]

    def span(self, channels: Interval) -> Interval:
        """Activations [first, stop) of a pixel's, in every cluster, that hold ``channels``.

        The interval must start and stop at segment borders.
        """
        inside = [
            segment
            for segment in self.segments
            if channels[0] <= segment.start and segment.stop <= channels[1]
        ]
        return inside[0].first, inside[-1].first + inside[-1].lanes


@dataclass(eq=False)
class Placement:
    """Layouts by tensor name (not of the last layer's results) and tiles by layer name.

    ``places`` names, for a tensor beside others in one place or in that of what it was added to,
    the first of them.
    """

    layouts: dict[str, Layout]
    tiles: dict[str, list[Tile]]
    places: dict[str, str] = field(default_factory=dict)

    def place(self, tensor: str) -> str:
        """The tensor whose address is that of ``tensor``."""
        return self.places.get(tensor, tensor)

    def read_range(self, group: TileGroup, config: Config) -> tuple[int, int, int]:
        """(first word, word count, lanes used of the last word) that hold what a group reads."""
        spans = [self.layouts[source].span(channels) for source, channels in group.parts]
        first, last = spans[0][0] // config.scan_width, (spans[-1][1] - 1) // config.scan_width
        return first, last + 1 - first, spans[-1][1] - last * config.scan_width


@dataclass(eq=False)
class _SuperGroup:
    rows: Interval
    groups: list[TileGroup] = field(default_factory=list)


@dataclass(eq=False)
class _Family:
    """Column groups that read the same channels of the same tensor for the same rows."""

    source: str
    channels: Interval
    rows: Interval
    low: NDArray[np.int64]  # (rows + 1,): lowest channel at which row cut i may cut,
    high: NDArray[np.int64]  # and highest; low > high: no cut there

    @classmethod
    def of(cls, layer: Layer, members: list[int]) -> "_Family":
        group = layer.groups[members[0]]
        count = group.channels[1] - group.channels[0]
        used = np.zeros((group.rows[1] - group.rows[0], count), bool)
        for index in members:
            used |= layer.groups[index].trits.any(axis=(2, 3))
        any_used = used.any(axis=1)
        first = np.where(any_used, used.argmax(axis=1), count)
        last = np.where(any_used, count - used[:, ::-1].argmax(axis=1), 0)
        low = np.concatenate([[0], np.maximum.accumulate(last)])
        high = np.concatenate([np.minimum.accumulate(first[::-1])[::-1], [count]])
        low[-1], high[0] = count, 0
        return cls(group.source, group.channels, group.rows, low, high)

    def cut(self, row: int) -> int:
        """The channel that separates rows below ``row`` from the others, near proportional."""
        index = min(max(row, self.rows[0]), self.rows[1]) - self.rows[0]
        count, rows = self.channels[1] - self.channels[0], self.rows[1] - self.rows[0]
        even = index * count // rows
        return self.channels[0] + int(min(max(even, self.low[index]), self.high[index]))


def _families(layer: Layer) -> tuple[list[_Family], list[int]]:
    """The families of a layer, and the family of each column group."""
    members: dict[tuple[str, Interval, Interval], list[int]] = {}
    for index, group in enumerate(layer.groups):
        members.setdefault((group.source, group.channels, group.rows), []).append(index)
    families = [_Family.of(layer, indices) for indices in members.values()]
    number = {index: place for place, indices in enumerate(members.values()) for index in indices}
    return families, [number[index] for index in range(len(layer.groups))]


def _row_intervals(layer: Layer, families: list[_Family], config: Config) -> list[Interval]:
    """Rows of each super-group."""
    cuttable = np.ones(layer.rows + 1, bool)
    for family in families:
        start, stop = family.rows
        cuttable[start + 1 : stop] &= (family.low <= family.high)[1:-1]
    cuttable[np.arange(layer.rows + 1) % layer.block_pixels != 0] = False  # a channel's rows
    cuts = np.flatnonzero(cuttable).tolist()
    tile_count = -(-layer.rows // config.slots)
    target = -(-layer.rows // tile_count)
    narrow = config.clusters * config.scan_width

    # What a family reads for rows [a, b) is cut(b) - cut(a), so widths add up over families.
    sources = sorted({family.source for family in families})
    reach = {source: np.zeros(layer.rows + 1, np.int64) for source in sources}
    for family in families:
        positions = np.array([family.cut(row) for row in cuts], np.int64)
        reach[family.source][cuts] += positions - family.channels[0]

    def width(start: int, stop: int) -> int:
        return max((int(values[stop] - values[start]) for values in reach.values()), default=0)

    intervals: list[Interval] = []
    start = 0
    for stop, following in zip(cuts[1:], [*cuts[2:], None], strict=True):
        if following is None:
            if intervals and width(start, stop) < narrow and stop - start < target:
                start = intervals.pop()[0]  # a narrow rest joins the one before it
            intervals.append((start, stop))
        elif width(start, stop) >= narrow and following - start > target:
            intervals.append((start, stop))
            start = stop
    return intervals


def _tile_groups(
    layer: Layer, families: list[_Family], family_of: list[int], rows: Interval, config: Config
) -> list[TileGroup]:
    """Column groups of the super-group ``rows``, similar ones joined block-diagonally."""
    narrow = config.clusters * config.scan_width
    pieces: list[tuple[Interval, Interval]] = []  # rows, channels of each family here
    for family in families:
        start, stop = max(rows[0], family.rows[0]), min(rows[1], family.rows[1])
        if start >= stop:
            pieces.append(((0, 0), (0, 0)))
            continue
        pieces.append(((start, stop), (family.cut(start), family.cut(stop))))

    # Narrow pieces of different rows that lie close together are read as one range, by all of
    # their column groups alike: a plane that happens to lack a block cuts no segment.
    reads = [channels for _, channels in pieces]
    parts: dict[str, list[tuple[int, int, int, list[int]]]] = {}
    order = sorted(range(len(pieces)), key=lambda index: (pieces[index], index))
    for index in order:
        (row, row_stop), (channel, channel_stop) = pieces[index]
        if channel >= channel_stop or channel_stop - channel >= narrow:
            continue
        known = parts.setdefault(families[index].source, [])
        for number, (last_row, low, high, joined) in enumerate(known):
            if row >= last_row and channel <= high + narrow and channel_stop >= low - narrow:
                known[number] = (
                    row_stop,
                    min(low, channel),
                    max(high, channel_stop),
                    [*joined, index],
                )
                break
        else:
            known.append((row_stop, channel, channel_stop, [index]))
    for known in parts.values():
        for _, low, high, joined in known:
            for index in joined:
                reads[index] = (low, high)

    merged: dict[tuple[object, ...], list[TileGroup]] = {}
    result: list[TileGroup] = []
    for number, group in enumerate(layer.groups):
        piece_rows, piece_channels = pieces[family_of[number]]
        channels = reads[family_of[number]]
        if piece_rows[0] >= piece_rows[1] or channels[0] >= channels[1]:
            continue
        block = Block(number, piece_rows, piece_channels)
        key = (
            group.source,
            channels,
            group.geometry,
            group.coefficient_plus,
            group.coefficient_minus,
            group.wide,
        )
        for candidate in merged.setdefault(key, []):
            if candidate.blocks[-1].rows[1] <= piece_rows[0]:
                candidate.blocks.append(block)
                break
        else:
            tile_group = TileGroup(number, group.source, channels, [block])
            merged[key].append(tile_group)
            result.append(tile_group)

    def nonzero(tile_group: TileGroup) -> bool:
        return any(block_trits(layer, block).any() for block in tile_group.blocks)

    kept = [tile_group for tile_group in result if nonzero(tile_group)]
    return kept or result[:1]


def _super_groups(layer: Layer, config: Config) -> list[_SuperGroup]:
    families, family_of = _families(layer)
    result = [
        _SuperGroup(rows, _tile_groups(layer, families, family_of, rows, config))
        for rows in _row_intervals(layer, families, config)
    ]
    spare = next((part.groups[0] for part in result if part.groups), None)
    if spare is None:
        raise ExportError(f"layer {layer.name} has no column group: nothing feeds its rows")
    for part in result:
        if not part.groups:  # rows that nothing feeds: any columns do, their trits are 0
            part.groups = [TileGroup(spare.group, spare.source, spare.channels, [])]
    return result


def _layout(
    name: str,
    channels: int,
    reads: set[Interval],
    blocks: list[Interval],
    weights: NDArray[np.float64],
    work: NDArray[np.float64],
    config: Config,
    taken: int = 0,
    starts: set[int] | None = None,
) -> Layout:
    """Deal a tensor's channels to clusters, evenly for reader and producer.

    ``taken`` activations of a pixel's are others'. Segments start a new word, or, where ``starts``
    are given, those that start at one of these channels.

    ``weights`` (channels, 1 + windows) is what a channel costs the clusters that read it, on
    average and in each of some windows of calibration images; ``work`` (channels, clusters) what
    the row that computes it costs the elements of each cluster, which share rows by the cluster
    that they go to. ``blocks`` are the producer's super-groups.
    """
    clusters, lanes, classes = config.clusters, config.scan_width, config.drain_classes
    cuts = sorted({0, channels}.union(*({start, stop} for start, stop in reads)))
    segments: list[Segment] = []
    cluster = np.zeros(channels, np.int64)
    word = np.zeros(channels, np.int64)
    lane = np.zeros(channels, np.int64)
    total = [0] * clusters
    class_count = {block: [0] * classes for block in blocks}
    block_load = {block: np.zeros((clusters, work.shape[1])) for block in blocks}
    position = taken
    for start, stop in itertools.pairwise(cuts):
        if starts is None or start in starts:
            position = -(-position // lanes) * lanes
        count = [0] * clusters
        load = np.zeros((clusters, weights.shape[1]))
        part = relative(weights[start:stop]) * np.sqrt(max(1, work.shape[1]))
        part[:, 1:] *= _WINDOWS_SHARE / np.sqrt(max(1, weights.shape[1] - 1))
        for block in blocks:
            first, last = max(start, block[0]), min(stop, block[1])
            if first >= last:
                continue
            room = [(last - first) // clusters] * clusters
            count = [value + room[0] for value in count]
            total = [value + room[0] for value in total]
            shares = class_count[block]
            for _ in range((last - first) % clusters):
                index = min(
                    range(clusters), key=lambda g: (count[g], shares[g % classes], total[g], g)
                )
                room[index] += 1
                count[index] += 1
                total[index] += 1
                shares[index % classes] += 1
            rows = slice(*block)
            both = np.concatenate(
                [
                    part[first - start : last - start],
                    relative(work[rows])[first - block[0] : last - block[0]],
                ],
                axis=1,
            )
            held = np.concatenate([load, block_load[block]], axis=1)
            cluster[first:last] = deal(both, room, held)
            load, block_load[block] = np.split(held, [weights.shape[1]], axis=1)
        for index in range(clusters):
            own = start + np.flatnonzero(cluster[start:stop] == index)
            number = position + np.arange(len(own))
            word[own] = number // lanes
            lane[own] = number % lanes
        most = -(-(stop - start) // clusters)
        segments.append(Segment(start, stop, position, most))
        position += most
    return Layout(name, -(-position // lanes), tuple(segments), cluster, word, lane)


def _common_blocks(some: list[Interval], others: list[Interval]) -> list[Interval]:
    """The channels between all ends of two lists of blocks that cover them."""
    cuts = sorted({end for block in (*some, *others) for end in block})
    return list(itertools.pairwise(cuts))


def _nonzero(trits: NDArray[np.int8]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Nonzero trits of (rows, channels, kh, kw) by row and channel, a stretch of rows at a time:
    (first row, (rows, channels) counts). Exact: a count is no more than the positions."""
    rows, channels, *kernel = trits.shape
    positions = kernel[0] * kernel[1]
    step = max(1, _PIECE // max(1, channels * positions))
    for first in range(0, rows, step):
        is_set = (trits[first : first + step] != 0).reshape(-1, positions)
        count = is_set[:, 0] if positions == 1 else np.count_nonzero(is_set, axis=1)
        yield first, count.astype(np.float32).reshape(-1, channels)


def nonzero_trits(layer: Layer, block: Block) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Nonzero trits of a block by row and channel, a stretch of rows at a time: (first row of the
    block, (rows, channels) counts)."""
    return _nonzero(block_trits(layer, block))


def _row_work(
    layer: Layer,
    parts: list[_SuperGroup],
    layouts: dict[str, Layout],
    densities: dict[str, NDArray[np.float64]],
    config: Config,
) -> NDArray[np.float64]:
    """Expected additions per output pixel of each row in each cluster: (rows, clusters)."""
    work = np.zeros((layer.rows, config.clusters))
    for part in parts:
        for tile_group in part.groups:
            for block in tile_group.blocks:
                group = layer.groups[block.group]
                layout = layouts[group.source]
                repeats = group.kernel[0] * group.kernel[1] if group.shared else 1
                channels = slice(*block.channels)
                share = np.zeros(
                    (block.channels[1] - block.channels[0], config.clusters), np.float32
                )
                share[np.arange(len(share)), layout.cluster[channels]] = (
                    repeats * densities[group.source][channels]
                )
                rows = work[slice(*block.rows)]
                for first, nonzero in nonzero_trits(layer, block):
                    rows[first : first + len(nonzero)] += nonzero @ share
    return work


# ----- tensors that are read as one: a concatenation lies in one place, its parts side by side


@dataclass(eq=False)
class _Concatenation:
    """Tensors side by side, in the order in which they are computed."""

    tensors: list[str]
    first_channel: dict[str, int] = field(default_factory=dict)
    lanes: int = 0  # of a pixel that are taken so far, the same in every cluster


def _concatenations(
    network: Network,
    groups: Mapping[str, Iterable[list[TileGroup]]],
    given: Collection[str],
    place_of: Mapping[str, str],
) -> dict[str, _Concatenation]:
    """By tensor, the concatenation that it is a part of.

    ``groups`` are the column groups of every layer, by its name, for rows that are computed
    together, ``given`` tensors that no layer computes; ``place_of`` says which tensors stand in the
    place of others, as :func:`tritforge.model_export.in_place.places` does. The input stays alone.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for layer in network.layers:
        for together in groups[layer.name]:
            first: dict[tuple[object, ...], str] = {}
            for group in together:
                if group.source != network.input:
                    source = place_of.get(group.source, group.source)
                    other = first.setdefault(_column_key(network, layer, group), source)
                    parent[root(source)] = root(other)
    members: dict[str, list[str]] = {}
    outputs = [layer.output for layer in network.layers]
    for name in (*(one for one in network.tensors if one in given), *outputs):
        if name in parent:
            members.setdefault(root(name), []).append(name)
    found = {}
    for tensors in members.values():
        if len(tensors) > 1:
            one = _Concatenation(tensors)
            start = 0
            for name in tensors:
                one.first_channel[name] = start
                start += network.tensors[name].channels
                found[name] = one
    for name, place in place_of.items():
        if place in found:
            found[name] = found[place]
            found[name].first_channel[name] = found[name].first_channel[place]
    return found


def _read_together(
    network: Network,
    layer: Layer,
    groups: Iterable[TileGroup],
    found: Mapping[str, _Concatenation],
) -> list[TileGroup]:
    """The groups, those whose channels follow one another in a concatenation being one."""
    result: list[TileGroup] = []
    kinds: dict[tuple[object, ...], list[TileGroup]] = {}
    for group in groups:
        if group.source in found:
            key = (*_column_key(network, layer, group), id(found[group.source]))
            kinds.setdefault(key, []).append(group)
        else:
            result.append(group)
    for kind in kinds.values():
        first = found[kind[0].source].first_channel
        kind.sort(key=lambda group: first[group.source] + group.channels[0])
        runs: list[TileGroup] = []
        for group in kind:
            if runs and _follows(runs[-1], group, first):
                runs[-1] = replace(
                    runs[-1],
                    blocks=[*runs[-1].blocks, *group.blocks],
                    further=(*runs[-1].further, (group.source, group.channels)),
                )
            else:
                runs.append(group)
        result += runs
    return sorted(result, key=lambda group: group.group)


def _column_key(network: Network, layer: Layer, group: TileGroup) -> tuple[object, ...]:
    """Equal for groups of a layer that differ in their columns only."""
    rule, source = layer.groups[group.group], network.tensors[group.source]
    return (
        rule.geometry,
        rule.coefficient_plus,
        rule.coefficient_minus,
        rule.wide,
        source.height,
        source.width,
        source.signed,
    )


def _follows(run: TileGroup, group: TileGroup, first: Mapping[str, int]) -> bool:
    source, channels = run.parts[-1]
    return first[source] + channels[1] == first[group.source] + group.channels[0]


# ----- everything


def place_layer(
    network: Network,
    layer: Layer,
    config: Config,
    densities: Mapping[str, NDArray[np.float64]] | None = None,
) -> Placement:
    """One layer by itself: the tensors that it reads are laid out for it alone, and what it writes
    for nobody. Parameters and errors as of :func:`place`."""
    sources = set(layer.reads)
    tensors = {
        name: tensor
        for name, tensor in network.tensors.items()
        if name in sources or name in (network.input, layer.output)
    }
    alone = replace(network, layers=[layer], tensors=tensors)
    return place(alone, config, densities, given=sources)


def _checked_densities(
    network: Network, densities: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Densities of all tensors' channels, 1 where they are not given."""
    checked = {}
    for name, tensor in network.tensors.items():
        given = densities.get(name)
        values = np.ones(tensor.channels) if given is None else np.asarray(given, np.float64)
        if values.shape != (tensor.channels,):
            raise ExportError(
                f"the activation densities of tensor {name} have shape "
                f"{values.shape}; it has {tensor.channels} channels"
            )
        checked[name] = values
    return checked


def _targets(
    layer: Layer, rows: Interval, layouts: Mapping[str, Layout]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Slices and words that rows go to; 0 for those of the last layer."""
    if layer.final:
        nowhere = np.zeros(rows[1] - rows[0], np.int64)
        return nowhere, nowhere
    target, own = layouts[layer.output], slice(*rows)
    slices = np.repeat(target.cluster, layer.block_pixels)[own]
    return slices, np.repeat(target.word, layer.block_pixels)[own]


def _activity(
    density: Mapping[str, NDArray[np.float64]], windows: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Densities of channels on average and in windows, (channels, 1 + windows)."""
    return {
        name: np.column_stack([values, windows[name]]) if name in windows else values[:, None]
        for name, values in density.items()
    }


def _trits_of_channels(group: ColumnGroup) -> NDArray[np.float64]:
    """Additions (channels,) that an activation takes, all rows and positions together."""
    nonzero = np.zeros(group.trits.shape[1])
    for _, counts in _nonzero(group.trits):
        nonzero += counts.sum(axis=0)
    return nonzero * (group.kernel[0] * group.kernel[1] if group.shared else 1)


def place(
    network: Network,
    config: Config,
    densities: Mapping[str, NDArray[np.float64]] | None = None,
    *,
    windows: Mapping[str, NDArray[np.float64]] | None = None,
    side_by_side: bool = True,
    given: Collection[str] = (),
) -> Placement:
    """Deal channels to clusters and rows to tiles, elements and accumulators.

    Parameters
    ----------
    network : Network
        Quantized: integer coefficients and requantization present.
    config : Config
        The accelerator.
    densities : dict, optional
        Fraction of nonzero activations per channel, by tensor name; 1 where missing.
    windows : dict, optional
        The same in windows of calibration images, (channels, windows), of any tensors but the
        input: clusters that are even on average need not be so at a pixel.
    side_by_side : bool
        Whether tensors that are read as one may lie in one place, which they all keep as long as
        one of them is needed.
    given : names, optional
        Tensors that are there from the beginning, besides the input.

    Raises
    ------
    ExportError
        The network is not quantized, a layer has no column groups, or it reads what only a later
        one writes.
    """
    density = _checked_densities(network, densities or {})
    activity = _activity(density, windows or {})
    reads: dict[str, set[Interval]] = {name: set() for name in network.tensors}
    channel_weights = {name: np.zeros_like(values) for name, values in activity.items()}
    blocks = {name: [(0, tensor.channels)] for name, tensor in network.tensors.items()}
    parts: dict[str, list[_SuperGroup]] = {}
    for layer in network.layers:
        if layer.requantization is None:
            raise ExportError(f"layer {layer.name} is not quantized; run quantize first")
        for group in layer.groups:
            if group.source not in network.tensors:
                raise ExportError(
                    f"layer {layer.name} reads tensor {group.source}, "
                    f"which network {network.name} does not have"
                )
            own = slice(*group.channels)
            cost = _trits_of_channels(group)[:, None] * activity[group.source][own]
            channel_weights[group.source][own] += cost
        parts[layer.name] = _super_groups(layer, config)
        pixels = layer.block_pixels
        blocks[layer.output] = [
            (part.rows[0] // pixels, part.rows[1] // pixels) for part in parts[layer.name]
        ]
    place_of = places(network)
    joined: dict[str, _Concatenation] = {}
    if side_by_side:
        together = {name: [part.groups for part in found] for name, found in parts.items()}
        joined = _concatenations(network, together, given, place_of)
    starts: dict[str, set[int]] = {name: set() for name in joined}
    for layer in network.layers:
        for part in parts[layer.name]:
            part.groups = _read_together(network, layer, part.groups, joined)
            for tile_group in part.groups:
                for name, channels in tile_group.parts:
                    reads[name].add(channels)
                if tile_group.source in joined:
                    first = place_of.get(tile_group.source, tile_group.source)
                    starts[first].add(tile_group.channels[0])

    # Sums have the layout of what they are added to, which all readers and writers share.
    for name, first in place_of.items():
        if name != first and {name, first} <= reads.keys():
            reads[first] |= reads[name]
            channel_weights[first] += channel_weights[name][:, : channel_weights[first].shape[1]]
            blocks[first] = _common_blocks(blocks[first], blocks[name])

    layouts: dict[str, Layout] = {}

    def lay_out(name: str, work: NDArray[np.float64]) -> None:
        beside = joined.get(name)
        layout = layouts[name] = _layout(
            name,
            len(work),
            reads[name],
            blocks[name],
            channel_weights[name],
            work,
            config,
            *(() if beside is None else (beside.lanes, starts[name])),
        )
        if beside is not None:
            last = layout.segments[-1]
            beside.lanes = last.first + last.lanes
            for other, one in layouts.items():
                if place_of.get(other, other) in beside.tensors:
                    one.words = layout.words

    for name, tensor in network.tensors.items():
        if name == network.input or name in given:
            lay_out(name, np.zeros((tensor.channels, 0)))
    tiles: dict[str, list[Tile]] = {}
    for layer in network.layers:
        for name in layer.reads:
            if name not in layouts:
                raise ExportError(
                    f"layer {layer.name} reads tensor {name} before any layer has written it"
                )
        work = _row_work(layer, parts[layer.name], layouts, density, config)
        pixels = layer.block_pixels
        if (first := place_of[layer.output]) != layer.output:
            layouts[layer.output] = replace(layouts[first], tensor=layer.output)
        elif not layer.final:
            lay_out(layer.output, work.reshape(-1, pixels, config.clusters).sum(axis=1))
        tiles[layer.name] = []
        for part in parts[layer.name]:
            slices, words = _targets(layer, part.rows, layouts)
            tiles[layer.name] += make_tiles(
                layer, part.rows[0], part.groups, slices, words, work[slice(*part.rows)], config
            )
    first_of = {name: first for name, first in place_of.items() if name != first}
    first_of |= {name: one.tensors[0] for name, one in joined.items()}
    return Placement(layouts, tiles, first_of)
