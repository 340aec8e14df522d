"""Reads a layer's tiles, in the order in which the walkers work on them."""

from dataclasses import dataclass
from typing import Any, Self

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.lookup_memory import LookupMemory
from tritforge.hw.payloads import address_width, index_shape, pulse
from tritforge.hw.program import (
    DESTINATION,
    GEOMETRY,
    GROUP,
    TILE,
    layer_layout,
    record_words,
)
from tritforge.hw.program_fetch import Word, fetch_request, program_word
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["TileReader"]

_LAYOUTS = {
    Word.TILE: TILE,
    Word.GROUP: GROUP,
    Word.DESTINATION_Y: DESTINATION,
    Word.DESTINATION_X: DESTINATION,
    Word.GEOMETRY_Y: GEOMETRY,
    Word.GEOMETRY_X: GEOMETRY,
}


class TileReader(wiring.Component):
    """Requests the records of a layer's tiles, one after the other.

    ::

        TILE -> [GROUP of all groups]
             -> [line: DESTINATION_Y -> [group: GEOMETRY_Y]]
             -> [pixel: DESTINATION_X -> [group: GEOMETRY_X]] -> next pixel, line, tile

    Where a tile has more groups than ``group_places``, all of them are read for every pixel::

             -> [pixel: DESTINATION_X -> [group: GROUP, GEOMETRY_Y, GEOMETRY_X]]

    A geometry that is the one before is not read again.

    Timing, where nothing makes it wait: a word per cycle; it waits for TILE, for DESTINATION_Y
    and, where groups are read for every pixel, for DESTINATION_X, ``fetch_latency`` + 1 cycles
    after the request, and takes a cycle to look at it; a cycle between tiles.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        Begin; the first TILE is at the pointer.
    layer : In(layer_layout)
    job_requested : Out(1)
        With ``done``: the last word of a job has been requested.
    request : Out(fetch_request), valid : Out(1), done : In(1)
    mark, skip, group_count : Out
        As :class:`tritforge.hw.program_fetch.ProgramFetch` has them.
    arrived : In(pulse of program_word)
    group_free : In(1)
        A GROUP record may be replaced.
    finished : Out(1)
        All has been requested, or what has arrived is no TILE; until ``start``.
    bad : Out(1)
        It was no TILE.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "layer": In(layer_layout(config)),
                "request": Out(fetch_request(config)),
                "valid": Out(1),
                "done": In(1),
                "mark": Out(1),
                "skip": Out(1),
                "group_count": Out(8),
                "arrived": In(pulse(program_word(config))),
                "group_free": In(1),
                "job_requested": Out(1),
                "finished": Out(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        at = _Place.create(self.config)
        seen = self._look(m)
        pointers = self._pointers(m, at.place)
        layer, width = self.layer, len(at.x)
        m.d.sync += [
            at.pixel_last.eq(at.next_x == layer.out_width[:width]),
            at.line_last.eq(at.next_y == layer.out_height[:width]),
        ]
        m.d.comb += [
            at.next_x.eq(at.x + 1),
            at.next_y.eq(at.y + 1),
            at.last_group.eq(at.groups_left == 1),
            self.request.last.eq(at.last_group),
        ]
        if self.config.group_places > 1:
            m.d.comb += self.request.place.eq(at.place)
        with m.FSM():
            with m.State("FINISHED"):
                m.d.comb += self.finished.eq(1)
                m.d.sync += at.tiles_left.eq(layer.tile_count)
                with m.If(self.start):
                    m.d.sync += self.bad.eq(0)
                    m.next = "TILE"
            self._read_tile(m, at, seen)
            self._read_line(m, at, seen, pointers)
            self._read_pixel(m, at, seen, pointers)
            with m.State("NEXT_TILE"):
                m.d.comb += self.skip.eq(1)
                m.next = "TILE"
                with m.If(at.tiles_left == 0):
                    m.next = "FINISHED"
        return m

    def _read(self, m: Module, kind: Word, then: str) -> None:
        """Request a record; with its last word to the next state."""
        m.d.comb += [
            self.valid.eq(1),
            self.request.kind.eq(kind),
            self.request.final.eq(record_words(_LAYOUTS[kind]) - 1),
        ]
        with m.If(self.done):
            m.next = then

    def _read_tile(self, m: Module, at: "_Place", seen: "_Seen") -> None:
        """TILE, and the groups that are kept."""
        with m.State("TILE"):
            m.d.comb += [self.request.following.eq(1), self.mark.eq(self.done)]
            m.d.sync += [at.x.eq(0), at.y.eq(0)]
            self._read(m, Word.TILE, "TILE_CHECK")
        with m.State("TILE_CHECK"):
            at.to_first_group(m, self.group_count)
            with m.If(seen.known):
                m.next = "LINE"
                with m.If(seen.kept):
                    m.next = "GROUPS"
                with m.If(~seen.wanted):
                    m.d.sync += self.bad.eq(1)
                    m.next = "FINISHED"
        with m.State("GROUPS"):
            m.d.comb += self.request.following.eq(1)
            self._read(m, Word.GROUP, "GROUPS")
            m.d.comb += self.valid.eq(self.group_free)
            with m.If(self.done):
                at.to_next_group(m, seen.kept)
                with m.If(at.last_group):
                    at.to_first_group(m, self.group_count)
                    m.next = "LINE"

    def _read_line(self, m: Module, at: "_Place", seen: "_Seen", pointers: Any) -> None:
        """DESTINATION_Y, and GEOMETRY_Y of the groups that are kept, or of one that is not."""
        with m.State("LINE"):
            m.d.comb += [
                self.request.base.eq(self.layer.destination_y),
                self.request.entry.eq(at.y),
            ]
            m.d.sync += at.line_known.eq(0)
            self._read(m, Word.DESTINATION_Y, "LINE_CHECK")
            with m.If(self.done & seen.kept):
                m.next = "GEOMETRY_Y"
        with m.State("GEOMETRY_Y"):
            m.d.comb += [self.request.base.eq(pointers.y), self.request.entry.eq(at.y)]
            self._read(m, Word.GEOMETRY_Y, "GEOMETRY_X")
            if self.config.group_places > 1:
                with m.If(seen.kept & ~at.first_group & pointers.same_y):
                    m.d.comb += [self.request.kind.eq(Word.SAME_Y), self.request.final.eq(0)]
            with m.If(self.done):
                m.d.sync += at.line_known.eq(1)
                with m.If(seen.kept):
                    at.to_next_group(m, seen.kept)
                    m.next = "GEOMETRY_Y"
                    with m.If(at.last_group):
                        at.to_first_group(m, self.group_count)
                        m.next = "LINE_CHECK"
        with m.State("LINE_CHECK"), m.If(seen.known):
            m.next = "PIXEL"
            with m.If(~seen.wanted):
                at.to_next_line(m)

    def _read_pixel(self, m: Module, at: "_Place", seen: "_Seen", pointers: Any) -> None:
        """DESTINATION_X, the groups that are not kept, and GEOMETRY_X."""
        with m.State("PIXEL"):
            m.d.comb += [
                self.request.base.eq(self.layer.destination_x),
                self.request.entry.eq(at.x),
            ]
            self._read(m, Word.DESTINATION_X, "PIXEL_CHECK")
            with m.If(self.done & seen.kept):
                m.next = "GEOMETRY_X"
        with m.State("PIXEL_CHECK"), m.If(seen.known):
            m.next = "GROUP"
            with m.If(~seen.wanted):
                at.to_next_pixel(m, self.group_count)
        with m.State("GROUP"):
            m.d.comb += [self.request.following.eq(1), self.request.again.eq(at.first_group)]
            self._read(m, Word.GROUP, "GEOMETRY_X")
            m.d.comb += self.valid.eq(self.group_free)
            with m.If(self.done & ~(at.line_known & pointers.same_y)):
                m.next = "GEOMETRY_Y"
        with m.State("GEOMETRY_X"):
            m.d.comb += [
                self.job_requested.eq(1),
                self.request.base.eq(pointers.x),
                self.request.entry.eq(at.x),
            ]
            self._read(m, Word.GEOMETRY_X, "GROUP")
            with m.If(~at.first_group & pointers.same_x):
                m.d.comb += [self.request.kind.eq(Word.SAME_X), self.request.final.eq(0)]
            with m.If(self.done):
                at.to_next_group(m, seen.kept)
                with m.If(seen.kept):
                    m.next = "GEOMETRY_X"
                with m.If(at.last_group):
                    at.to_next_pixel(m, self.group_count)

    def _look(self, m: Module) -> "_Seen":
        """What it learns of the records that it waits for."""
        word, config = self.arrived.payload, self.config
        tile, destination = Signal(TILE), Signal(DESTINATION)
        seen = _Seen(Signal(name="known"), Signal(name="wanted"), Signal(name="kept"))
        m.d.comb += [tile.as_value().word_select(0, 32).eq(word.data), destination.eq(word.data)]
        kind, first = word.tag.kind, word.tag.index == 0
        # Of DESTINATION_X only where it waits for it; else others have been requested meanwhile.
        looked_at = (kind == Word.DESTINATION_Y) | ((kind == Word.DESTINATION_X) & ~seen.kept)
        with m.If(self.valid & (self.request.kind[2:] == 0) & (self.request.kind != Word.GROUP)):
            m.d.sync += seen.known.eq(0)
        with m.If(self.arrived.valid & (kind == Word.TILE)):
            m.d.sync += seen.known.eq(~first)
            with m.If(first):
                m.d.sync += [
                    self.group_count.eq(tile.group_count),
                    seen.kept.eq(tile.group_count <= config.group_places),
                    seen.wanted.eq(
                        (tile.group_count != 0)
                        & (tile.rows_used != 0)
                        & (tile.rows_used <= config.rows)
                    ),
                ]
        with m.If(self.arrived.valid & looked_at):
            m.d.sync += [seen.known.eq(1), seen.wanted.eq(destination.count != 0)]
        return seen

    def _pointers(self, m: Module, place: Value) -> Any:
        """Where the geometry of the group at hand is, and whether it is that of the one before."""
        config, word = self.config, self.arrived.payload
        width = address_width(config.program_depth)
        layout = data.StructLayout({"y": width, "x": width, "same_y": 1, "same_x": 1})
        group, last = Signal(GROUP), Signal(layout)
        index = GROUP["geometry_y"].offset // PORT_WIDTH
        assert index == GROUP["geometry_x"].offset // PORT_WIDTH
        m.d.comb += group.as_value().word_select(index, PORT_WIDTH).eq(word.data)
        given = Signal()
        m.d.comb += given.eq(
            self.arrived.valid & (word.tag.kind == Word.GROUP) & (word.tag.index == index)
        )
        with m.If(given):
            m.d.sync += [
                last.y.eq(group.geometry_y),
                last.x.eq(group.geometry_x),
                last.same_y.eq(group.geometry_y[:width] == last.y),
                last.same_x.eq(group.geometry_x[:width] == last.x),
            ]
        if config.group_places == 1:
            return last
        m.submodules.pointers = pointers = LookupMemory(
            width=layout.size, depth=config.group_places
        )
        m.d.comb += [
            pointers.write_enable.eq(delayed(m, "given", given, 1)),
            pointers.write_address.eq(delayed(m, "given_place", word.tag.place, 1)),
            pointers.write_data.eq(last),
            pointers.read_address.eq(place),
        ]
        return data.View(layout, pointers.read_data)


@dataclass(frozen=True)
class _Seen:
    """What the reader has learned."""

    known: Signal  #: of the record that it waits for
    wanted: Signal  #: that it is a tile, or that the line or pixel is to be computed
    kept: Signal  #: the tile's groups are kept


@dataclass(frozen=True)
class _Place:
    """Where the reader is."""

    tiles_left: Signal
    groups_left: Signal
    place: Signal  #: of the group, where it is kept
    first_group: Signal
    last_group: Signal
    y: Signal
    x: Signal
    next_y: Signal
    next_x: Signal
    line_last: Signal  #: some cycles after ``y`` has changed
    pixel_last: Signal
    line_known: Signal  #: the last group that was read has its GEOMETRY_Y

    @classmethod
    def create(cls, config: Config) -> Self:
        """The registers. A tile and its first group take more than 8 words, a layer's tables one
        for every line and column."""
        width = address_width(config.program_depth)
        flags = ("first_group", "last_group", "line_last", "pixel_last", "line_known")
        return cls(
            tiles_left=Signal(width - 3, name="tiles_left"),
            groups_left=Signal(8, name="groups_left"),
            place=Signal(index_shape(config.group_places), name="place"),
            **{name: Signal(width, name=name) for name in ("y", "x", "next_y", "next_x")},
            **{name: Signal(name=name) for name in flags},
        )

    def to_first_group(self, m: Module, count: Value) -> None:
        m.d.sync += [self.groups_left.eq(count), self.first_group.eq(1), self.place.eq(0)]

    def to_next_group(self, m: Module, kept: Value) -> None:
        m.d.sync += [self.groups_left.eq(self.groups_left - 1), self.first_group.eq(0)]
        m.d.sync += self.place.eq(self.place + kept)

    def to_next_pixel(self, m: Module, group_count: Value) -> None:
        self.to_first_group(m, group_count)
        with m.If(~self.pixel_last):
            m.d.sync += self.x.eq(self.next_x)
            m.next = "PIXEL"
        with m.Else():
            m.d.sync += self.x.eq(0)
            self.to_next_line(m)

    def to_next_line(self, m: Module) -> None:
        m.d.sync += self.y.eq(self.next_y)
        m.next = "LINE"
        with m.If(self.line_last):
            m.d.sync += self.tiles_left.eq(self.tiles_left - 1)
            m.next = "NEXT_TILE"
