"""Tiles: which rows are computed together, and which accumulator of which element each has.

A super-group's rows are dealt to the elements of all its tiles at once, so that in every cluster
the additions of an element are about equal. An element's rows go to slices of one class. Where
slices get several activations at once, the rows of a step of the drain that go to one slice go to
one word of it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.balance import deal
from tritforge.model_export.memory.drain_order import rows_of_pixels, spread_rows
from tritforge.model_export.network import Layer

__all__ = ["Block", "Interval", "Tile", "TileGroup", "block_trits", "make_tiles", "relative"]

Interval = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """A rectangle of trits of column group ``group`` of the layer; the rest is zero."""

    group: int
    rows: Interval
    channels: Interval  # channels of the source tensor


@dataclass(eq=False)
class TileGroup:
    """One column group of a super-group: trits of ``blocks`` over channels [start, stop).

    Geometry and coefficients are those of column group ``group``, which its blocks share. Of a wide
    group ``quarter`` says which accumulators it feeds. Channels of ``further`` tensors follow,
    where they lie side by side.
    """

    group: int
    source: str
    channels: Interval
    blocks: list[Block]
    quarter: int | None = None
    further: tuple[tuple[str, Interval], ...] = ()

    @property
    def parts(self) -> tuple[tuple[str, Interval], ...]:
        """All that is read: tensors, and channels of them."""
        return ((self.source, self.channels), *self.further)


@dataclass(eq=False)
class Tile:
    """Rows computed together: layer row ``rows[i]`` is ``accumulator[i]`` of ``element[i]``."""

    rows: NDArray[np.int64]
    element: NDArray[np.int64]
    accumulator: NDArray[np.int64]
    groups: list[TileGroup]

    @property
    def rows_used(self) -> int:
        """Accumulators in use per element: what a drain has to visit."""
        return int(self.accumulator.max()) + 1


def block_trits(layer: Layer, block: Block) -> NDArray[np.int8]:
    """(rows, channels, kh, kw) of a block."""
    group = layer.groups[block.group]
    row, channel = group.rows[0], group.channels[0]
    return group.trits[
        block.rows[0] - row : block.rows[1] - row,
        block.channels[0] - channel : block.channels[1] - channel,
    ]


def relative(items: NDArray[np.float64]) -> NDArray[np.float64]:
    """Items (items, dimensions) as shares of each dimension's mean; 0 where it is empty."""
    mean = items.mean(axis=0, keepdims=True) if len(items) else np.ones((1, items.shape[1]))
    return np.divide(items, mean, out=np.zeros_like(items), where=mean > 0)


@dataclass(eq=False)
class _Steps:
    """Rows that are drained in one step and go to one slice: what is dealt to tiles and, a row
    each, to elements side by side. There is one row in each unless slices get several activations
    at once; then those of a step go to one word, and are of one pixel of a block.

    ``members`` is (steps, values): rows of the super-group, -1 for none; ``channel`` (steps,)
    numbers the channels, or bundles of channels, that the steps are of.
    """

    members: NDArray[np.int64]
    channel: NDArray[np.int64]
    classes: NDArray[np.int64]
    work: NDArray[np.float64]  # (steps, clusters)


def _steps(
    layer: Layer,
    slices: NDArray[np.int64],
    words: NDArray[np.int64],
    work: NDArray[np.float64],
    config: Config,
) -> _Steps:
    """Rows by what they are drained with, those of a word with others that are as much work."""
    pixels, values = layer.block_pixels, 1 if layer.final else config.slice_values
    classes = slices % (1 if layer.final else config.drain_classes)
    if values == 1:
        rows = np.arange(len(slices))
        return _Steps(rows[:, None], rows // pixels, classes, work)
    target = list(zip(slices[::pixels].tolist(), words[::pixels].tolist(), strict=True))
    cost: list[float] = work.reshape(-1, pixels, work.shape[1]).sum(axis=(1, 2)).tolist()
    order = sorted(range(len(target)), key=lambda channel: (target[channel], -cost[channel]))
    bundles: list[list[int]] = []
    for _, together in itertools.groupby(order, key=target.__getitem__):
        own = list(together)
        bundles += [own[start : start + values] for start in range(0, len(own), values)]
    by_pixel = np.full((len(bundles), pixels, values), -1)
    for number, bundle in enumerate(bundles):
        first = np.array(bundle) * pixels
        by_pixel[number, :, : len(bundle)] = np.arange(pixels)[:, None] + first
    members = by_pixel.reshape(-1, values)
    padded = np.concatenate([work, np.zeros((1, work.shape[1]))])
    return _Steps(
        members,
        np.repeat(np.arange(len(bundles)), pixels),
        classes[members[:, 0]],
        padded[members].sum(axis=1),
    )


def make_tiles(
    layer: Layer,
    first_row: int,
    groups: list[TileGroup],
    slices: NDArray[np.int64],
    words: NDArray[np.int64],
    work: NDArray[np.float64],
    config: Config,
) -> list[Tile]:
    """Tiles of one super-group; a row that goes to slice c may go to elements p with p % C ==
    c % C for C ``drain_classes``, of the last layer to all whose results are kept."""
    pixels = layer.block_pixels
    class_count = 1 if layer.final else config.drain_classes
    steps = _steps(layer, slices, words, work, config)
    loads = relative(steps.work)
    # Elements side by side, that a step has a row of each, are one here.
    elements = config.elements // steps.members.shape[1]
    if layer.final:
        elements = config.blocks * config.results
    per_class = elements // class_count
    count = len(steps.members)
    most = int(np.bincount(steps.classes, minlength=class_count).max())
    tile_count = max(-(-count // (elements * config.rows)), -(-most // (per_class * config.rows)))
    if tile_count > 1 and pixels > 1:
        tile_of = _channel_tiles(layer, steps, loads, class_count, per_class, config)
        tile_count = int(tile_of.max()) + 1
        place = np.zeros(count, np.int64)
        for number in range(tile_count):
            own = np.flatnonzero(tile_of == number)
            _, place[own] = _deal_rows(steps.classes[own], class_count, loads[own], 1, elements)
    else:
        tile_of, place = _deal_rows(steps.classes, class_count, loads, tile_count, elements)
    wide = any(layer.groups[group.group].wide for group in groups)
    row_loads = relative(work)
    tiles = []
    for number in range(tile_count):
        own = np.flatnonzero(tile_of == number)
        accumulator = _accumulators(layer, steps, own, place[own], wide, elements)
        members = steps.members[own]
        element = place[own]
        if layer.final:
            element = element // config.results * config.drain_width + element % config.results
        if layer.blocks is not None:
            beside = config.drain_width if layer.final else class_count
            step = accumulator * config.blocks + element // beside
            ordered = rows_of_pixels(layer.blocks, steps.channel[own], slices[members[:, 0]], step)
            pixel = ordered[:, None] % pixels
            members = np.where(members < 0, -1, members - members % pixels + pixel)
        tile = _side_by_side(
            first_row, groups, members, element, accumulator, class_count, row_loads, config
        )
        if wide:
            tile.groups = list(_quartered(layer, tile, config)) or [
                replace(groups[0], blocks=[], quarter=0)
            ]
        tiles.append(tile)
    return tiles


def _accumulators(
    layer: Layer,
    steps: _Steps,
    own: NDArray[np.int64],
    place: NDArray[np.int64],
    wide: bool,
    elements: int,
) -> NDArray[np.int64]:
    """Accumulator of each of a tile's steps; of those with wide columns by falling work, so that
    those of one accumulator are alike."""
    merges = layer.blocks is not None and (layer.addend is not None or layer.blocks.pool != (1, 1))
    if merges and not wide:
        return spread_rows(steps.channel[own], place, elements)
    work = steps.work[own].sum(axis=1)
    accumulator = np.zeros(len(own), np.int64)
    for index in np.unique(place):
        mine = np.flatnonzero(place == index)
        order = np.argsort(-work[mine], kind="stable") if wide else slice(None)
        accumulator[mine[order]] = np.arange(len(mine))
    return accumulator


def _side_by_side(
    first_row: int,
    groups: list[TileGroup],
    members: NDArray[np.int64],
    place: NDArray[np.int64],
    accumulator: NDArray[np.int64],
    class_count: int,
    work: NDArray[np.float64],
    config: Config,
) -> Tile:
    """A tile of steps: their rows go to elements side by side, so that those are even."""
    count, values = members.shape
    if values == 1:
        return Tile(first_row + members[:, 0], place, accumulator, groups)
    load = np.zeros((config.elements, work.shape[1]))
    element = np.zeros((count, values), np.int64)
    total = np.where(members < 0, 0, work.sum(axis=1)[members]).sum(axis=1)
    block, which = place // class_count, place % class_count
    for number in np.argsort(-total, kind="stable").tolist():
        rows = members[number][members[number] >= 0]
        beside = (block[number] * values + np.arange(values)) * class_count + which[number]
        held = load[beside]
        chosen = deal(work[rows], [1] * values, held)
        load[beside] = held
        element[number, : len(rows)] = beside[chosen]
    there = members >= 0
    return Tile(
        first_row + members[there],
        element[there],
        np.broadcast_to(accumulator[:, None], members.shape)[there],
        groups,
    )


def _deal_rows(
    classes: NDArray[np.int64],
    class_count: int,
    work: NDArray[np.float64],
    tile_count: int,
    elements: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tile and element of every row."""
    per_class = elements // class_count
    tile_of = np.zeros(len(classes), np.int64)
    element = np.zeros(len(classes), np.int64)
    filled = np.zeros((tile_count, elements), np.int64)
    for which in range(class_count):
        members = np.flatnonzero(classes == which)
        # Bins are the class's elements in every tile, in turn, so that all tiles fill evenly.
        own = np.arange(which, elements, class_count)
        base, extra = divmod(len(members), tile_count * per_class)
        order = np.argsort(filled.sum(axis=1), kind="stable")
        room = np.full((tile_count, per_class), base)
        for index in range(extra):
            room[order[index % tile_count], index // tile_count] += 1
        chosen = deal(work[members], room.ravel().tolist())
        tile_of[members] = chosen // per_class
        element[members] = own[chosen % per_class]
        filled[:, own] += room
    return tile_of, element


def _channel_tiles(
    layer: Layer,
    steps: _Steps,
    work: NDArray[np.float64],
    class_count: int,
    per_class: int,
    config: Config,
) -> NDArray[np.int64]:
    """Tile of every step of a layer in blocks: those of a channel are in one, so that a pass that
    computes some tiles writes whole channels."""
    pixels = layer.block_pixels
    channels = steps.classes[::pixels]
    each = work.reshape(len(channels), pixels, -1).sum(axis=1)
    room = per_class * config.rows // pixels  # channels of a class in a tile
    if not room:
        raise ExportError(
            f"layer {layer.name} is to compute {pixels} pixels at a time; configuration "
            f"{config.name} has {per_class * config.rows} accumulators for a channel"
        )
    most = int(np.bincount(channels, minlength=class_count).max())
    count = -(-most // room)
    tile_of = np.zeros(len(channels), np.int64)
    for which in range(class_count):
        members = np.flatnonzero(channels == which)
        shares = [len(part) for part in np.array_split(members, count)]
        tile_of[members] = deal(each[members], shares)
    return np.repeat(tile_of, pixels)


def _quartered(layer: Layer, tile: Tile, config: Config) -> Iterator[TileGroup]:
    """The groups of a tile, wide ones once for each quarter of its accumulators that they feed."""
    if not config.multipliers:
        raise ExportError(
            f"layer {layer.name} has columns of 8-bit weights, and configuration {config.name} has "
            f"no multipliers"
        )
    quarter = tile.accumulator // config.quarter_rows
    for group in tile.groups:
        if not layer.groups[group.group].wide:
            yield group
            continue
        fed: set[int] = set()
        for block in group.blocks:
            here = (tile.rows >= block.rows[0]) & (tile.rows < block.rows[1])
            weights = block_trits(layer, block)[tile.rows[here] - block.rows[0]]
            fed |= set(quarter[here][weights.any(axis=(1, 2, 3))].tolist())
        for number in sorted(fed):
            yield replace(group, quarter=number)
