"""Sequencer: reads the program and hands out the work of every output pixel."""

from enum import IntEnum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, drain_job, following, index_shape, probe, walk_job
from tritforge.hw.program import (
    DESTINATION,
    GEOMETRY,
    GROUP,
    LAYER,
    LAYER_OPCODE,
    SYNC,
    SYNC_OPCODE,
    TILE,
    group_layout,
    layer_layout,
    record_words,
)
from tritforge.hw.protocol import ErrorCode
from tritforge.hw.timing import fetch_latency

__all__ = ["Sequencer"]

#: Program words of a GROUP record, as a power of two.
GROUP_SHIFT = 3
assert record_words(GROUP) == 1 << GROUP_SHIFT


class _Record(IntEnum):
    """What a fetched word belongs to."""

    LAYER = 0
    TILE = 1
    GROUP = 2
    GEOMETRY_Y = 3
    GEOMETRY_X = 4
    DESTINATION_Y = 5
    DESTINATION_X = 6


_LAYOUTS: dict[_Record, data.StructLayout] = {
    _Record.LAYER: LAYER,
    _Record.TILE: TILE,
    _Record.GROUP: GROUP,
    _Record.GEOMETRY_Y: GEOMETRY,
    _Record.GEOMETRY_X: GEOMETRY,
    _Record.DESTINATION_Y: DESTINATION,
    _Record.DESTINATION_X: DESTINATION,
}


class Sequencer(wiring.Component):
    """Runs layers: for each tile, each output pixel, each column group, one job for the walkers.

    ::

        LAYER -> TILE -> [line: DESTINATION_Y] -> [pixel: DESTINATION_X]
                           -> [group: GROUP, GEOMETRY_Y, GEOMETRY_X] -> jobs -> .. -> next pixel
              .. last tile -> wait for the drain -> dump the counters -> next LAYER or end
        SYNC (in a LAYER's place) -> release -> wait for a signal -> LAYER elsewhere

    What the host does meanwhile is kept apart by two counts. Signals: the host says that what it
    has sent is there; SYNC records, groups with ``wait`` and the start of a run take one, and wait
    if there is none. Releases: SYNC records and groups with ``release`` count that what they used
    is free; the host takes them. Both begin with 0 in every run.

    What is known already is not fetched again: a tile of one group fetches three words per
    pixel; groups that share their geometry tables (planes of one weight) fetch them once.

    Timing, where a program word takes one read: a pixel of one group takes 9 cycles at least; each
    of several groups 14, and 7 more where its geometry differs from the last one's; meanwhile the
    walkers work on what they have queued. A SYNC record takes 10 cycles, 11 with a wait for a
    signal that is there; a group's wait takes 1; a group's release 2 at least, until all clusters
    have read what they were given. A layer ends ``settle`` cycles after its last drain step, then
    the counters are written.

    Parameters
    ----------
    config : Config
    settle : int
        Cycles to wait after the drain and the write-back have become idle.

    Members
    -------
    start : In(1), address, layer_count : In
        Begin a run; only while not ``running``.
    wait_first : In(1)
        With ``start``: the first layer waits for a signal.
    signal : In(1)
        The host signals.
    released : Out(1), take : In(1)
        There is a release that the host has not taken; it takes one.
    refilling : Out(1)
        The program waits for a signal, and there is none.
    clusters_idle : In(1)
        All clusters have read their jobs, those of the last two cycles apart.
    running : Out(1)
    finished : Out(1), error : Out(ErrorCode)
        For one cycle at the end of a run.
    layers : Out
        Layers finished.
    fetch_address : Out, fetch_half : Out(1), fetch_data : In(32)
        Program memory; the half that is read where a word takes two reads.
    walk : Out(stream of walk_job)
        For all clusters of ``set``; ready when all are.
    set : Out
        Set whose turn it is: the first one at a layer's start, the next one for every pixel.
    drain : Out(stream of drain_job)
    drain_idle : In(1)
    layer_start : Out(1)
        A layer's record is in ``layer`` from this cycle on.
    layer : Out(layer_layout)
    dump_prepare : Out(1), dump : Out(1), dump_done : In(1)
        Counters.
    probe : Out(probe)
        For an observer; what it says of the drain is 0 here.
    """

    def __init__(self, config: Config, *, settle: int) -> None:
        self.config = config
        self.settle = settle
        program = address_width(config.program_depth)
        super().__init__(
            {
                "start": In(1),
                "address": In(program),
                "layer_count": In(16),
                "wait_first": In(1),
                "signal": In(1),
                "released": Out(1),
                "take": In(1),
                "refilling": Out(1),
                "clusters_idle": In(1),
                "running": Out(1),
                "finished": Out(1),
                "error": Out(8),
                "layers": Out(16),
                "fetch_address": Out(program),
                "fetch_half": Out(1),
                "fetch_data": In(32),
                "walk": Out(stream.Signature(walk_job(config))),
                "set": Out(index_shape(config.sets)),
                "drain": Out(stream.Signature(drain_job(config))),
                "drain_idle": In(1),
                "layer_start": Out(1),
                "layer": Out(layer_layout(config)),
                "dump_prepare": Out(1),
                "dump": Out(1),
                "dump_done": In(1),
                "counter_layer": Out(index_shape(config.layer_count)),
                "probe": Out(probe(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        pointer = Signal(address_width(config.program_depth))

        # Fetch: ``fetch(record, address)`` requests all words of a record, one per cycle; they
        # arrive ``latency`` cycles later, told apart by what travels beside them.
        latency = fetch_latency(config)
        own = {_Record.LAYER: layer_layout(config), _Record.GROUP: group_layout(config)}
        records = {
            kind: Signal(own.get(kind, layout), name=kind.name.lower())
            for kind, layout in _LAYOUTS.items()
        }
        request = Signal()
        kind = Signal(range(len(_Record)))
        word = Signal(3)
        second = Signal(init=config.program_reads == 1)  # the word's last read
        arriving = [(request, kind, word)]
        for stage in range(latency):
            after = (
                Signal(name=f"request_{stage}"),
                Signal.like(kind, name=f"kind_{stage}"),
                Signal.like(word, name=f"word_{stage}"),
            )
            m.d.sync += [new.eq(old) for new, old in zip(after, arriving[-1], strict=True)]
            arriving.append(after)
        arrived, arrived_kind, arrived_word = arriving[-1]
        fetching = Signal()
        m.d.comb += fetching.eq(Cat(stage[0] for stage in arriving[1:]).any())
        for record, contents in records.items():
            for index in range(record_words(_LAYOUTS[record])):
                with m.If(arrived & (arrived_kind == record) & (arrived_word == index)):
                    m.d.sync += contents.as_value().word_select(index, 32).eq(self.fetch_data)

        # One adder for all program addresses: of words to fetch, and of where the pointer goes.
        # What it adds depends on the state alone: whether the sum is used is known late. ``place``
        # may be the sum of the cycle before, so what a pointer is set to is added a state ahead.
        base, distance = Signal.like(pointer), Signal.like(pointer)
        place = delayed(
            m,
            "place",
            (base + distance)[: len(pointer)],
            latency - ChunkMemory.latency,
            reset_less=True,
        )
        half = delayed(m, "half", second, latency - ChunkMemory.latency, reset_less=True)
        m.d.comb += [base.eq(pointer), self.fetch_address.eq(place), self.fetch_half.eq(half)]

        def fetch(
            record: _Record, start: ValueLike, then: str, index: ValueLike | None = None
        ) -> None:
            """The record at ``start``, or number ``index`` in a table that starts there."""
            shift = (record_words(_LAYOUTS[record]) - 1).bit_length()
            m.d.comb += [
                request.eq(second),
                kind.eq(record),
                base.eq(start),
                distance.eq(word if index is None else Cat(word[:shift], index)),
            ]
            if config.program_reads == 2:
                m.d.sync += second.eq(~second)
            with m.If(second):
                m.d.sync += word.eq(word + 1)
                with m.If(word == record_words(_LAYOUTS[record]) - 1):
                    m.d.sync += word.eq(0)
                    m.next = then

        layer, tile, group = (records[k] for k in (_Record.LAYER, _Record.TILE, _Record.GROUP))
        geometry_y, geometry_x = records[_Record.GEOMETRY_Y], records[_Record.GEOMETRY_X]
        to_y, to_x = records[_Record.DESTINATION_Y], records[_Record.DESTINATION_X]
        m.d.comb += self.layer.eq(layer)
        first = (word == 0) & (~second if config.program_reads == 2 else 1)

        # A tile and its first group take more than 8 words, a layer more than 8, its tables one for
        # every line and column; layers only outnumber those words where the program is refilled.
        width = len(pointer)
        layers_left = Signal(width - 3 if config.memory_ports == 1 else 16)
        tiles_left = Signal(width - 3)
        layers = Signal.like(layers_left)
        groups_pointer = Signal.like(pointer)
        groups_left = Signal(8)
        x, y, next_x, next_y = (Signal(width, name=name) for name in ("x", "y", "next_x", "next_y"))
        single = Signal()
        group_known = Signal()
        # Tables that the geometry at hand came from; it lasts until the column (row) changes.
        table_x, table_y = (Signal.like(pointer, name=f"table_{axis}") for axis in "xy")
        column_known, line_known = Signal(), Signal()
        same_x, same_y = Signal(), Signal()
        last_group = Signal()
        pixel_last, line_last = Signal(), Signal()
        settling = Signal(range(self.settle + 1))
        # Few where a program that is refilled meanwhile is not possible.
        signals, releases = (
            Signal(4 if config.memory_ports == 1 else 16, name=name)
            for name in ("signals", "releases")
        )
        signal_taken, release = Signal(), Signal()
        in_group = Signal()  # the signal is for a group, not for a layer
        synced = Signal()  # the record before was a SYNC
        sync = Signal(SYNC)
        window = self.drain.payload.window
        tile_count = layer.tile_count[: len(tiles_left)]
        # The words that these depend on arrive, x and y change, some cycles before they are used.
        is_sync, is_layer = Signal(), Signal()
        m.d.sync += [
            pixel_last.eq(next_x == layer.out_width[:width]),
            line_last.eq(next_y == layer.out_height[:width]),
            is_sync.eq(layers_left.any() & (sync.opcode == SYNC_OPCODE) & ~synced),
            is_layer.eq(
                layers_left.any()
                & (layer.opcode == LAYER_OPCODE)
                & (tile_count != 0)
                & (layer.out_height[:width] != 0)
                & (layer.out_width[:width] != 0)
            ),
        ]
        m.d.comb += [
            single.eq(tile.group_count == 1),
            last_group.eq(groups_left == 1),
            same_x.eq(column_known & (table_x == group.geometry_x[: len(pointer)])),
            same_y.eq(line_known & (table_y == group.geometry_y[: len(pointer)])),
            next_x.eq(x + 1),
            next_y.eq(y + 1),
            sync.eq(layer.as_value()),
            self.released.eq(releases.any()),
            self.layers.eq(layers),
        ]
        # Sums apart, a job is made of records that stay until it is handed out.
        job = self.walk.payload
        m.d.comb += [
            job.step_x.eq(group.step_x),
            job.step_y.eq(group.step_y),
            job.count_x.eq(geometry_x.count),
            job.count_y.eq(geometry_y.count),
            job.word_count.eq(group.word_count),
            job.last_lanes.eq(group.last_lanes),
            job.trit_step_x.eq(group.trit_step_x),
            job.trit_step_y.eq(group.trit_step_y),
            job.plus.eq(group.plus),
            job.minus.eq(group.minus),
            job.signed.eq(group.signed),
            job.rows_used.eq(tile.rows_used),
            job.last.eq(last_group),
            *(job[name].eq(group[name]) for name in ("wide", "quarter") if config.multipliers),
            self.drain.payload.rows_used.eq(tile.rows_used),
            self.drain.payload.row_base.eq(tile.row_base),
            window.count_x.eq(to_x.count),
            window.count_y.eq(to_y.count),
            window.fresh_x.eq(to_x.fresh),
            window.fresh_y.eq(to_y.fresh),
        ]
        with m.If(self.start):
            m.d.sync += [signals.eq(0), releases.eq(0)]
        with m.Else():
            m.d.sync += [
                signals.eq(signals + self.signal - signal_taken),
                releases.eq(releases + release - (self.take & self.released)),
            ]
        m.d.comb += [
            self.probe.pixel_started.eq(self.drain.valid),
            self.probe.refilling.eq(self.refilling),
            self.probe.set.eq(self.set),
            self.probe.tile.eq((tile_count - tiles_left)[: width - 3]),
            self.probe.x.eq(x),
            self.probe.y.eq(y),
        ]

        def next_pixel() -> None:
            m.d.sync += [
                pointer.eq(groups_pointer),
                groups_left.eq(tile.group_count),
                column_known.eq(0),
            ]
            with m.If(~pixel_last):
                m.d.sync += x.eq(next_x)
                m.next = "DESTINATION_X"
            with m.Else():
                m.d.sync += [x.eq(0), line_known.eq(0)]
                next_line()

        def tile_end() -> None:
            """In states that may end a tile, and in all that may come before."""
            m.d.comb += [base.eq(groups_pointer), distance.eq(tile.group_count << GROUP_SHIFT)]

        def next_line() -> None:
            with m.If(~line_last):
                m.d.sync += y.eq(next_y)
                m.next = "DESTINATION_Y"
            with m.Else():
                m.d.sync += [pointer.eq(place), tiles_left.eq(tiles_left - 1)]
                m.next = "NEXT_TILE"

        def finish(error: object) -> None:
            m.d.comb += [self.finished.eq(1), self.error.eq(error)]
            m.d.sync += self.running.eq(0)
            m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    pointer.eq(self.address),
                    layers_left.eq(
                        Mux(self.layer_count[len(layers_left) :].any(), -1, self.layer_count)
                    ),
                    layers.eq(0),
                    self.counter_layer.eq(0),
                    self.running.eq(1),
                    in_group.eq(0),
                    synced.eq(0),
                ]
                m.next = "LAYER"
                with m.If(self.wait_first):
                    m.next = "SIGNAL"
            with m.State("SIGNAL"):
                tile_end()
                m.d.comb += self.refilling.eq(~signals.any())
                with m.If(signals.any()):
                    m.d.comb += signal_taken.eq(1)
                    m.next = "LAYER"
                    with m.If(in_group):
                        m.next = "HAND_OUT"
            with m.State("LAYER"):
                m.d.comb += self.probe.layer_started.eq(first)
                fetch(_Record.LAYER, pointer, "LAYER_CHECK")
            with m.State("LAYER_CHECK"):
                m.d.comb += distance.eq(record_words(LAYER))
                with m.If(~fetching):
                    with m.If(is_sync):
                        m.d.comb += release.eq(sync.release)
                        m.d.sync += [pointer.eq(sync.next), in_group.eq(0), synced.eq(1)]
                        m.next = "LAYER"
                        with m.If(sync.wait):
                            m.next = "SIGNAL"
                    with m.Elif(~is_layer):
                        finish(Mux(layers == 0, ErrorCode.EMPTY_PROGRAM, ErrorCode.BAD_PROGRAM))
                    with m.Else():
                        m.d.comb += self.layer_start.eq(1)
                        m.d.sync += [
                            pointer.eq(place),
                            tiles_left.eq(tile_count),
                            self.set.eq(0),
                            synced.eq(0),
                        ]
                        m.next = "TILE"
            with m.State("NEXT_TILE"):
                m.d.sync += settling.eq(self.settle)
                m.next = "TILE"
                with m.If(tiles_left == 0):
                    m.next = "SETTLE"
            with m.State("TILE"):
                m.d.comb += self.probe.tile_started.eq(first)
                fetch(_Record.TILE, pointer, "TILE_CHECK")
            with m.State("TILE_CHECK"):
                m.d.comb += distance.eq(record_words(TILE))
                with m.If(~fetching):
                    m.d.sync += [
                        pointer.eq(place),
                        groups_pointer.eq(place),
                        groups_left.eq(tile.group_count),
                        x.eq(0),
                        y.eq(0),
                        group_known.eq(0),
                        column_known.eq(0),
                        line_known.eq(0),
                    ]
                    m.next = "DESTINATION_Y"
                    with m.If(
                        (tile.group_count == 0)
                        | (tile.rows_used == 0)
                        | (tile.rows_used > config.rows)
                    ):
                        m.d.sync += settling.eq(self.settle)
                        m.next = "STOP"

            with m.State("DESTINATION_Y"):
                fetch(_Record.DESTINATION_Y, layer.destination_y, "LINE", y)
            with m.State("LINE"):
                tile_end()
                with m.If(~fetching):
                    m.next = "DESTINATION_X"
                    with m.If(to_y.count == 0):
                        next_line()
            with m.State("DESTINATION_X"):
                fetch(_Record.DESTINATION_X, layer.destination_x, "GEOMETRY_X", x)
                with m.If(second & ~(single & group_known)):
                    m.next = "GROUP"
            # A record that the walkers still read from stays until they are done.
            read = Const(1) if config.job_places else self.clusters_idle
            with m.State("GROUP"), m.If(read):
                fetch(_Record.GROUP, pointer, "GROUP_READY")
            with m.State("GROUP_READY"):
                m.d.comb += distance.eq(record_words(GROUP))
                with m.If(~fetching):
                    m.d.sync += [pointer.eq(place), group_known.eq(1)]
                    m.next = "GEOMETRY_X"
                    with m.If(same_x):
                        m.next = "GEOMETRY_Y"
                        with m.If(same_y):
                            m.next = "JOB"
            with m.State("GEOMETRY_X"):
                m.d.sync += [column_known.eq(1), table_x.eq(group.geometry_x)]
                fetch(_Record.GEOMETRY_X, group.geometry_x, "GEOMETRY_Y", x)
                with m.If(second & (word == record_words(GEOMETRY) - 1) & same_y):
                    m.next = "JOB"
            with m.State("GEOMETRY_Y"):
                fetch(_Record.GEOMETRY_Y, group.geometry_y, "JOB", y)
                with m.If(second & (word == record_words(GEOMETRY) - 1)):
                    m.d.sync += [line_known.eq(1), table_y.eq(group.geometry_y)]
            with m.State("JOB"):
                tile_end()
                with m.If(~fetching):
                    m.d.sync += [
                        job.address.eq(group.base + geometry_y.offset + geometry_x.offset),
                        job.trit.eq(
                            group.trit_base + geometry_y.trit_offset + geometry_x.trit_offset
                        ),
                        window.address.eq(layer.base + to_y.offset + to_x.offset),
                    ]
                    m.next = "HAND_OUT"
                    with m.If(group.wait):
                        m.d.sync += in_group.eq(1)
                        m.next = "SIGNAL"
                    with m.If(to_x.count == 0):
                        next_pixel()
            with m.State("HAND_OUT"):
                tile_end()
                accepted = self.walk.ready & (~last_group | self.drain.ready)
                m.d.comb += [
                    self.walk.valid.eq(accepted),
                    self.drain.valid.eq(accepted & last_group),
                ]
                with m.If(accepted):
                    m.d.sync += groups_left.eq(groups_left - 1)
                    m.next = "GROUP"
                    with m.If(group.release):
                        m.next = "RELEASE"
                    with m.If(last_group):
                        m.d.sync += self.set.eq(following(self.set, config.sets))
                        next_pixel()

            with m.State("RELEASE"):  # the job shows in ``clusters_idle`` from the next cycle on
                m.next = "RELEASED"
            with m.State("RELEASED"), m.If(self.clusters_idle):
                m.d.comb += release.eq(1)
                m.next = "GROUP"

            with m.State("SETTLE"):
                m.d.sync += self.dump_prepare.eq(settling == 1)
                with m.If(~self.drain_idle):
                    m.d.sync += settling.eq(self.settle)
                with m.Elif(settling.any()):
                    m.d.sync += settling.eq(settling - 1)
                with m.Else():
                    m.d.comb += self.probe.layer_settled.eq(1)
                    m.next = "DUMP"
            with m.State("DUMP"):
                m.d.sync += self.dump_prepare.eq(0)
                m.d.comb += self.dump.eq(1)
                with m.If(self.dump_done):
                    m.d.sync += [
                        layers.eq(layers + 1),
                        self.counter_layer.eq(following(self.counter_layer, config.layer_count)),
                        layers_left.eq(layers_left - 1),
                    ]
                    m.next = "LAYER"
                    with m.If(layers_left == 1):
                        finish(ErrorCode.OK)
            with m.State("STOP"):
                with m.If(~self.drain_idle):
                    m.d.sync += settling.eq(self.settle)
                with m.Elif(settling.any()):
                    m.d.sync += settling.eq(settling - 1)
                with m.Else():
                    finish(ErrorCode.BAD_PROGRAM)
        return m
