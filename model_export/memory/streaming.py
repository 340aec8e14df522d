"""Networks larger than the memories: passes, strips and column blocks.

* *Trits.* A layer's tiles are run one after the other, as many to a pass as leave room to load
  the next ones meanwhile. A tile whose columns are too many for that is cut into column blocks,
  which is possible where a layer has one output pixel: its accumulators are added to until it is
  over.
* *Activations.* Tensors keep their places on the chip while they fit. The largest of those
  that do not stay with the host; layers that read or write them work on strips of rows, in
  two buffers in turn where that pays, so that strips come and go while the array computes.
* *Activation tables.* All stay on the chip if they fit; else each comes before its layer.
* *Order.* Tiles before strips or strips before tiles: whichever moves fewer words.

:mod:`tritforge.model_export.memory.schedule` has the outcome.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.hw.program import (
    GROUP,
    SYNC,
    SYNC_OPCODE,
    TILE,
    encode_words,
    layer_format,
    record_words,
)
from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.addresses import lifetimes
from tritforge.model_export.memory.emit import (
    Columns,
    DoesNotFitError,
    Emitter,
    Held,
    LayerPlace,
    MemoryImage,
    Window,
    emit,
    table_bytes,
)
from tritforge.model_export.memory.geometry import Tables
from tritforge.model_export.memory.placement import Placement, TileGroup
from tritforge.model_export.memory.schedule import Need, Part, Pass, Schedule, Strip, lap
from tritforge.model_export.memory.strips import Buffers, StripPlanner, too_small
from tritforge.model_export.network import Layer, Network

__all__ = ["emit_streamed", "fit"]

#: Column blocks and tiles are made so small that this many fit the trit memory.
_BLOCKS = 4
#: Program addresses are written with 16 bits.
_ADDRESS_MASK = 0xFFFF


def fit(
    network: Network,
    placement: Placement,
    config: Config,
    *,
    resident: bool = False,
    needed: Mapping[str, int] | None = None,
) -> MemoryImage:
    """Memory contents: whole where they fit, else streamed (unless ``resident``).

    ``needed`` is what the schedule says that memories would have to hold, by default in this
    placement.

    Raises
    ------
    ExportError
        They fit neither way, or a value does not fit its field.
    """
    try:
        return emit(network, placement, config)
    except DoesNotFitError:
        if resident:
            raise
    return emit_streamed(network, placement, config, needed)


def emit_streamed(
    network: Network,
    placement: Placement,
    config: Config,
    needed: Mapping[str, int] | None = None,
) -> MemoryImage:
    """Memory contents and schedule of a network whose trits, rows, program and large tensors
    pass through the memories.

    Raises
    ------
    ExportError
        Even the smallest pieces of a layer do not fit (memory, layer, needed and available are
        named), the memories have one port, or a value does not fit its field.
    """
    if config.memory_ports == 1:
        raise ExportError(
            f"network {network.name} does not fit the memories of configuration "
            f"{config.name}, and memories with one port cannot be refilled meanwhile"
        )
    return _Streamer(network, placement, config).run(needed)


# ----- memories as rings


@dataclass
class _Object:
    start: int
    stop: int
    done: int  # releases counted when it is no longer needed


class _Ring:
    """Gives objects addresses one behind the other; knows when what stood there is free."""

    def __init__(self, config: Config, memory: str) -> None:
        self.depth = config.memory_depth(memory)
        self.lap = lap(config, memory)
        self.head = 0
        self._objects: list[_Object] = []

    def place(self, count: int, done: int) -> tuple[_Object, tuple[Part, ...]]:
        """An object of ``count`` words, at most the depth, and the parts in which to write it."""
        start = self.head
        if self.depth < self.lap and start % self.lap + count > self.depth:
            start = (start // self.lap + 1) * self.lap  # addresses beyond the depth are none
        self.head = start + count
        before = [one for one in self._objects if one.stop > start - 2 * self.lap]
        after = np.zeros(count, np.int64)
        for one in before:
            for back in (self.lap, 2 * self.lap):
                low, high = max(start, one.start + back), min(start + count, one.stop + back)
                if low < high:
                    after[low - start : high - start] = np.maximum(
                        after[low - start : high - start], one.done
                    )
        cuts = [0, *(np.flatnonzero(np.diff(after)) + 1).tolist(), count]
        parts = tuple(
            Part(start + low, high - low, int(after[low]))
            for low, high in itertools.pairwise(cuts)
            if low < high
        )
        made = _Object(start, start + count, done)
        self._objects = [*before, made]
        return made, parts


# ----- what is to be done


@dataclass(eq=False)
class _Piece:
    """Columns of one group of one tile, all of them or a block."""

    tile: int
    group: TileGroup
    columns: Columns
    start: int = 0  # its trit columns
    wait: bool = False
    release: bool = False


@dataclass(eq=False)
class _Plan:
    """A pass being planned."""

    layer: Layer
    tiles: tuple[int, int]
    window: Window
    units: list[list[_Piece]]  # trit columns by signal; none: as in the pass before
    sets: int
    first: bool  # of its layer
    loads: list[Strip] = field(default_factory=list)
    output: Strip | None = None
    held: Held = field(default_factory=dict)
    result_base: int = 0
    done: int = 0
    address: int = 0
    row_start: int = 0
    row_count: int = 0
    pieces: list[_Piece] = field(default_factory=list)  # of the units, or of the pass before
    program: tuple[Part, ...] = ()
    row_parts: tuple[Part, ...] = ()
    table: int | None = None  # number of its activation table
    table_parts: tuple[Part, ...] = ()
    trit_parts: list[tuple[Part, ...]] = field(default_factory=list)

    @property
    def by_set(self) -> bool:
        """Each tile is another set's: they stand side by side, at the same columns."""
        return self.sets > 1 and self.layer.height == self.layer.width == 1


class _Streamer:
    def __init__(self, network: Network, placement: Placement, config: Config) -> None:
        self.network = network
        self.placement = placement
        self.config = config
        self.emitter = Emitter(network, placement, config)
        self.strips = StripPlanner(self.emitter)

    def _too_small(self, *what: Any) -> ExportError:
        return too_small(self.config, self.network, *what)

    # ----- trits

    def split(self, columns: Columns, limit: int) -> Iterator[Columns]:
        """Columns in blocks of at most ``limit`` where possible: by words, then by kernel rows,
        then by kernel columns."""
        if columns.count <= limit:
            yield columns
            return
        scan = columns.scan

        def words(first: int, count: int) -> tuple[int, int, int]:
            """Word, words and lanes of a stretch of words, counted from the group's first."""
            last = first + count == columns.words
            return columns.word + first, count, columns.lanes if last else scan

        height, width = len(columns.kernel_y), len(columns.kernel_x)
        if columns.shared:
            height = width = 1
        each = height * width * scan
        if each <= limit:
            step = limit // each
            for first in range(0, columns.words, step):
                word, count, lanes = words(first, min(step, columns.words - first))
                yield dataclasses.replace(columns, word=word, words=count, lanes=lanes)
            return
        rows = max(1, limit // (width * scan))
        across = width if width * scan <= limit else max(1, limit // scan)
        for first in range(columns.words):
            word, count, lanes = words(first, 1)
            for y in range(0, height, rows):
                for x in range(0, width, across):
                    yield dataclasses.replace(
                        columns,
                        word=word,
                        words=count,
                        lanes=lanes,
                        kernel_y=columns.kernel_y[y : y + rows],
                        kernel_x=columns.kernel_x[x : x + across],
                    )

    def tile_ranges(self, layer: Layer) -> list[tuple[tuple[int, int], list[list[_Piece]], int]]:
        """Tiles of each pass, their trit columns by unit, and how many sets hold them."""
        tiles = self.placement.tiles[layer.name]
        depth, sets = self.config.trit_depth, self.config.sets
        one_pixel = layer.height == layer.width == 1
        columns = [[self.emitter.columns(layer, group) for group in tile.groups] for tile in tiles]
        counts = [sum(one.count for one in own) for own in columns]
        rows = [tile.rows_used * self.config.blocks for tile in tiles]
        row_depth = self.config.row_depth

        def pieces(first: int, stop: int) -> list[_Piece]:
            return [
                _Piece(tile, group, one)
                for tile in range(first, stop)
                for group, one in zip(tiles[tile].groups, columns[tile], strict=True)
            ]

        result: list[tuple[tuple[int, int], list[list[_Piece]], int]] = []
        if one_pixel:
            limit = max(1, depth // _BLOCKS)
            number = 0
            while number < len(tiles):
                if counts[number] <= limit * 2:
                    # One tile to each set, side by side in their memories, where they are alike.
                    stop = number + 1
                    while (
                        stop < min(number + sets, len(tiles))
                        and sum(rows[number : stop + 1]) <= row_depth
                        and [one.count for one in columns[stop]]
                        == [one.count for one in columns[number]]
                    ):
                        stop += 1
                    result.append(((number, stop), [pieces(number, stop)], stop - number))
                    number = stop
                    continue
                units: list[list[_Piece]] = []
                filled = limit
                for group, own in zip(tiles[number].groups, columns[number], strict=True):
                    for block in self.split(own, limit):
                        if block.count > depth:
                            raise self._too_small(
                                "trits",
                                layer.name,
                                block.count,
                                "columns per cluster",
                                "one column block",
                            )
                        if filled + block.count > limit:
                            units.append([])
                            filled = 0
                        units[-1].append(_Piece(number, group, block))
                        filled += block.count
                for before, unit in itertools.pairwise(units):
                    before[-1].release = unit[0].wait = True
                result.append(((number, number + 1), units, 1))
                number += 1
            return result
        if max(counts) > depth:
            raise self._too_small(
                "trits", layer.name, max(counts), "columns per cluster", "one tile"
            )
        if sum(counts) <= depth and sum(rows) <= row_depth and not layer.final:
            return [((0, len(tiles)), [pieces(0, len(tiles))], sets)]
        first = 0
        while first < len(tiles):
            stop = first + 1
            while (
                not layer.final
                and stop < len(tiles)
                and sum(counts[first : stop + 1]) <= depth // 2
                and sum(rows[first : stop + 1]) <= max(rows[first], row_depth // 2)
            ):
                stop += 1
            result.append(((first, stop), [pieces(first, stop)], sets))
            first = stop
        return result

    def orders(
        self,
        layer: Layer,
        buffers: Buffers,
        ranges: list[tuple[tuple[int, int], list[list[_Piece]], int]],
    ) -> list[tuple[int, int]]:
        """Pairs of a range of tiles and a strip, in the order that moves fewer words."""
        config = self.config
        tiles_first = [
            (tile, strip) for tile in range(len(ranges)) for strip in range(len(buffers.windows))
        ]
        trit_words = (
            config.clusters
            * config.memory_chunks("trits")
            * sum(
                sets * piece.columns.count
                for _, units, sets in ranges
                for unit in units
                for piece in unit
            )
        )
        strip_words = (
            config.clusters
            * config.memory_chunks("activations")
            * sum(
                self.strips.row_words[source]
                * len(
                    window.places
                    if source == layer.output
                    else self.strips.source_rows(layer, source, window.rows)
                )
                for source in buffers.places
                if source != layer.output or layer.addend is not None
                for window in buffers.windows
            )
        )
        if layer.final or (
            len(ranges) * strip_words + trit_words
            <= strip_words + len(buffers.windows) * trit_words
        ):
            return tiles_first
        return sorted(tiles_first, key=lambda pair: pair[::-1])

    # ----- everything

    def run(self, needed: Mapping[str, int] | None = None) -> MemoryImage:
        network, config = self.network, self.config
        bounds = self.emitter.check()
        bases, buffers = self.strips.plan()
        plans: list[_Plan] = []
        for layer in network.layers:
            plans += self.passes(layer, buffers[layer.name])
        self.number(plans)
        self.place_strips(plans, bases, buffers)
        rings = self.place_memories(plans)
        program = self.program(plans)
        rows, trits = self.contents(plans)
        activation_tables = self.table_contents(plans)
        tensors = {
            name: self.emitter.tensor_place(name, bases.get(name, 0), name not in bases)
            for name in self.strips.size
        }
        layers = []
        for layer in network.layers:
            own = [plan for plan in plans if plan.layer is layer]
            layers.append(
                LayerPlace(
                    layer.name,
                    own[0].address,
                    layer.output,
                    len(self.placement.tiles[layer.name]),
                    sum(tile.rows_used for tile in self.placement.tiles[layer.name]),
                    sum(len(plan.pieces) for plan in {one.tiles: one for one in own}.values()),
                    self.emitter.pixels(layer, Window.whole(layer)),
                    sum(
                        piece.columns.count for plan in own for unit in plan.units for piece in unit
                    ),
                    sum(plan.row_count for plan in own if plan.row_parts),
                    *bounds[layer.name],
                    block=(1, 1) if layer.blocks is None else layer.blocks.block,
                )
            )
        schedule = Schedule(
            tuple(
                Pass(
                    plan.layer.name,
                    plan.tiles,
                    (plan.window.rows.start, plan.window.rows.stop),
                    (plan.window.places.start, plan.window.places.stop),
                    plan.address,
                    plan.row_start,
                    plan.row_count,
                    plan.sets,
                    plan.program,
                    plan.row_parts,
                    tuple(plan.trit_parts) or ((),),
                    tuple(plan.loads),
                    plan.output,
                    self.stored(plan, bases),
                    plan.done,
                    plan.table_parts,
                )
                for plan in plans
            ),
            tuple(memory for memory, ring in rings.items() if ring.head <= ring.depth),
            tuple(Need(*one) for one in (needed or self.emitter.needs()).items()),
        )
        words = max(
            [
                0,
                *(bases[name] + self.strips.size[name] for name in bases),
                *(
                    base + own.sizes[name]
                    for own in buffers.values()
                    for name in own.places
                    for base in own.places[name]
                ),
            ]
        )
        return MemoryImage(
            config,
            program,
            trits,
            rows,
            network.input,
            tensors,
            layers,
            self.emitter.results(network.final),
            words,
            True,
            schedule,
            activation_tables,
        )

    def stored(self, plan: _Plan, bases: dict[str, int]) -> tuple[int, ...]:
        """Slices of a pass's output that the host keeps."""
        if plan.output is None or plan.output.tensor in bases:
            return ()
        tiles = self.placement.tiles[plan.layer.name]
        rows = np.concatenate([tiles[tile].rows for tile in range(*plan.tiles)])
        channels = np.unique(rows // plan.layer.block_pixels)
        own = self.placement.layouts[plan.output.tensor].cluster[channels]
        return tuple(np.unique(own).tolist())

    def passes(self, layer: Layer, buffers: Buffers) -> Iterator[_Plan]:
        """The passes of a layer, in order."""
        ranges = self.tile_ranges(layer)
        before = None
        own: list[list[_Piece]] = []
        results = 0
        tiles = self.placement.tiles[layer.name]
        for number, strip in self.orders(layer, buffers, ranges):
            span, units, sets = ranges[number]
            again = before == number
            if not again:  # each copy in the memory has a place of its own
                own = [[dataclasses.replace(piece) for piece in unit] for unit in units]
            window = buffers.windows[strip]
            yield _Plan(
                layer,
                span,
                window,
                [] if again else own,
                sets,
                before is None,
                result_base=results,
                row_count=sum(tiles[tile].rows_used * self.config.blocks for tile in range(*span)),
                pieces=[piece for unit in own for piece in unit],
            )
            if layer.final:
                results += sum(
                    len(window.rows) * layer.width * tiles[tile].rows_used * self.config.blocks
                    for tile in range(*span)
                )
            before = number

    @staticmethod
    def number(plans: list[_Plan]) -> None:
        """When each pass is over: in releases, of which each unit of trits gives one."""
        count = 0
        for plan in plans:
            count += max(1, len(plan.units))
            plan.done = count

    def place_memories(self, plans: list[_Plan]) -> dict[str, _Ring]:
        """Addresses in program, row, table and trit memory."""
        rings = {memory: _Ring(self.config, memory) for memory in ("program", "rows", "trits")}
        if self.config.activation_tables:
            rings["tables"] = _Ring(self.config, "tables")
            self.place_tables(plans, rings["tables"])
        rows = trits = _Object(0, 0, 0)
        for plan in plans:
            layer = plan.layer
            size = len(self.section(plan, 0))
            if size > self.config.program_depth:
                raise self._too_small("program", layer.name, size, "words", "one pass")
            section, plan.program = rings["program"].place(size, plan.done)
            plan.address = section.start
            if plan.units:
                if plan.row_count > self.config.row_depth:
                    raise self._too_small("rows", layer.name, plan.row_count, "entries", "one pass")
                rows, plan.row_parts = rings["rows"].place(plan.row_count, plan.done)
            rows.done = plan.done
            plan.row_start = rows.start
            for index, unit in enumerate(plan.units):
                done = plan.done - len(plan.units) + 1 + index
                own = [piece for piece in unit if not plan.by_set or piece.tile == plan.tiles[0]]
                trits, parts = rings["trits"].place(sum(piece.columns.count for piece in own), done)
                plan.trit_parts.append(parts)
                start = dict.fromkeys(range(*plan.tiles), trits.start)
                shared = trits.start
                for piece in unit:
                    piece.start = start[piece.tile] if plan.by_set else shared
                    start[piece.tile] += piece.columns.count
                    shared += piece.columns.count
            trits.done = plan.done
        return rings

    def place_tables(self, plans: list[_Plan], ring: _Ring) -> None:
        """Numbers of activation tables: all are there at once if they fit."""
        stay = len(self.emitter.tables()) <= self.config.activation_tables
        known: dict[bytes, _Object] = {}
        for plan in plans:
            table = table_bytes(plan.layer)
            if table is None:
                continue
            key = table.tobytes()
            if plan.first and not (stay and key in known):
                known[key], plan.table_parts = ring.place(TABLE_ENTRIES, plan.done)
            known[key].done = plan.done
            plan.table = known[key].start // TABLE_ENTRIES

    def place_strips(
        self, plans: list[_Plan], bases: dict[str, int], buffers: dict[str, Buffers]
    ) -> None:
        """Where each pass finds its sources and leaves its output."""
        born, died = lifetimes(self.network, self.placement)
        index_of = {layer.name: index for index, layer in enumerate(self.network.layers)}
        used: list[tuple[int, int, int]] = []  # start, stop, releases when free
        there: list[Strip] = []  # strips in memory that may serve again

        def free(start: int, stop: int) -> int:
            return max((done for low, high, done in used if low < stop and start < high), default=0)

        turn: dict[str, int] = {}
        for plan in plans:
            layer, own = plan.layer, buffers[plan.layer.name]
            if plan.first:
                there, turn = [], {}
            plan.held = {name: (base, 0) for name, base in bases.items()}
            taken: list[tuple[int, int]] = [
                (bases[name], bases[name] + self.strips.size[name])
                for name in born
                if name in bases and born[name] <= index_of[layer.name] <= died[name]
            ]

            def next_base(name: str, places: list[int], turn: dict[str, int] = turn) -> int:
                turn[name] = turn.get(name, -1) + 1
                return places[turn[name] % len(places)]

            for name, places in own.places.items():
                if name == layer.output:
                    continue
                rows = self.strips.source_rows(layer, name, plan.window.rows)
                words = len(rows) * self.strips.row_words[name]
                strip = next(
                    (
                        one
                        for one in there
                        if one.tensor == name and (one.first, one.rows) == (rows.start, len(rows))
                    ),
                    None,
                )
                if strip is None:
                    base = next_base(name, places)
                    strip = Strip(
                        name, rows.start, len(rows), base, words, free(base, base + words)
                    )
                    there = [one for one in there if not one.overlaps(strip)] + [strip]
                    plan.loads.append(strip)
                plan.held[name] = (strip.base, strip.first)
                taken.append((strip.base, strip.base + words))
            if not layer.final:
                first, count = plan.window.places.start, len(plan.window.places)
                words = count * self.strips.row_words[layer.output]
                if layer.output in bases:
                    base = bases[layer.output] + first * self.strips.row_words[layer.output]
                else:
                    base = next_base(layer.output, own.places[layer.output])
                    if layer.addend is not None:  # what the host has of it comes in there first
                        plan.loads.append(
                            Strip(layer.addend, first, count, base, words, free(base, base + words))
                        )
                plan.output = Strip(layer.output, first, count, base, words)
                plan.held[layer.output] = (base, first)
                taken.append((base, base + words))
            used = [
                (low, high, done)
                for low, high, done in used
                if not any(start <= low and high <= stop for start, stop in taken)
            ]
            used += [(start, stop, plan.done) for start, stop in taken]

    def section(self, plan: _Plan, following: int) -> list[int]:
        """Program words of a pass; ``following`` is where the next one's are."""
        layer = plan.layer
        tiles = range(*plan.tiles)
        records = (
            record_words(layer_format(self.config))
            + record_words(SYNC)
            + record_words(TILE) * len(tiles)
            + record_words(GROUP) * len(plan.pieces)
        )
        tables = Tables(plan.address + records)
        try:
            words = self.emitter.layer_record(
                layer,
                len(tiles),
                tables,
                plan.held,
                plan.window,
                plan.result_base,
                table=plan.table,
            )
            row = plan.row_start
            for tile in tiles:
                pieces = [piece for piece in plan.pieces if piece.tile == tile]
                words += encode_words(
                    TILE,
                    rows_used=self.placement.tiles[layer.name][tile].rows_used,
                    group_count=len(pieces),
                    row_base=row,
                )
                row += self.placement.tiles[layer.name][tile].rows_used * self.config.blocks
                for piece in pieces:
                    words += self.emitter.group_record(
                        layer,
                        piece.group,
                        piece.columns,
                        piece.start,
                        tables,
                        plan.held,
                        plan.window,
                        wait=piece.wait,
                        release=piece.release,
                    )
        except OverflowError as error:
            raise ExportError(
                f"layer {layer.name} does not fit the program's fields: {error}"
            ) from error
        words += encode_words(
            SYNC, opcode=SYNC_OPCODE, release=1, wait=1, next=following & _ADDRESS_MASK
        )
        assert len(words) == records
        return words + tables.words

    def program(self, plans: list[_Plan]) -> NDArray[np.uint32]:
        """Program words, by address."""
        last = plans[-1]
        result = np.zeros(last.address + sum(part.count for part in last.program), np.uint32)
        for plan, following in zip(plans, [*plans[1:], None], strict=True):
            words = self.section(plan, 0 if following is None else following.address)
            assert len(words) == sum(part.count for part in plan.program)
            result[plan.address : plan.address + len(words)] = words
        return result

    def contents(self, plans: list[_Plan]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Row entries and trits, by address."""
        config = self.config
        row_words = max(
            (part.start + part.count for plan in plans for part in plan.row_parts), default=0
        )
        column_count = max(
            (
                part.start + part.count
                for plan in plans
                for parts in plan.trit_parts
                for part in parts
            ),
            default=0,
        )
        rows = np.zeros((row_words, config.memory_chunks("rows")), np.uint32)
        trits = np.zeros(
            (config.sets, config.clusters, column_count, -(-config.memory_width("trits") // 8)),
            np.uint8,
        )
        for plan in plans:
            if not plan.units:
                continue
            layer = plan.layer
            tiles = self.placement.tiles[layer.name]
            entries = [
                entry
                for tile in range(*plan.tiles)
                for entry in self.emitter.row_entries(layer, tiles[tile])
            ]
            rows[plan.row_start : plan.row_start + len(entries)] = entries
            known: dict[tuple[int, int], NDArray[np.uint8]] = {}
            for piece in plan.pieces:
                key = (piece.tile, id(piece.group))
                if key not in known:
                    known = {key: self.emitter.trit_columns(layer, tiles[piece.tile], piece.group)}
                part = self.block(layer, piece, known[key])
                where = slice(piece.start, piece.start + piece.columns.count)
                if plan.by_set:
                    trits[piece.tile - plan.tiles[0], :, where] = part
                else:
                    trits[: plan.sets, :, where] = part
        return rows, trits.reshape(config.cluster_count, column_count, -1)

    def table_contents(self, plans: list[_Plan]) -> NDArray[np.uint8]:
        """Activation tables, by address."""
        numbers = [plan.table for plan in plans if plan.table is not None]
        result = np.zeros((max(numbers, default=-1) + 1, TABLE_ENTRIES), np.uint8)
        for plan in plans:
            table = table_bytes(plan.layer)
            if plan.table is not None and table is not None:
                result[plan.table] = table
        return result.reshape(-1)

    def block(self, layer: Layer, piece: _Piece, columns: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A piece's columns (clusters, count, bytes) of those of its whole group."""
        whole = self.emitter.columns(layer, piece.group)
        own = piece.columns
        if own == whole:
            return columns
        height, width = (1, 1) if whole.shared else (len(whole.kernel_y), len(whole.kernel_x))
        first = (own.word - whole.word) * own.scan
        cube = columns.reshape(len(columns), height, width, whole.step, -1)
        if not whole.shared:
            cube = cube[
                :, own.kernel_y.start : own.kernel_y.stop, own.kernel_x.start : own.kernel_x.stop
            ]
        return np.ascontiguousarray(cube[:, :, :, first : first + own.step]).reshape(
            len(columns), own.count, -1
        )
