"""Makes the walkers' jobs of the program's words."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.lookup_memory import LookupMemory
from tritforge.hw.payloads import address_width, drain_job, index_shape, walk_job
from tritforge.hw.program import DESTINATION, GEOMETRY, GROUP, TILE, group_layout, record_words
from tritforge.hw.program_fetch import Word, program_word
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["JobAssembler", "pixel_job"]

#: Fields of GROUP that are the job's, without those of wide groups.
_OF_GROUP = (
    "plus",
    "minus",
    "signed",
    "step_x",
    "step_y",
    "word_count",
    "last_lanes",
    "trit_step_x",
    "trit_step_y",
)
#: Others that a job needs.
_OTHERS = ("base", "trit_base", "wait", "release")


def pixel_job(config: Config) -> data.StructLayout:
    """One column group of one output pixel, and all that its hand-out needs."""
    return data.StructLayout(
        {
            "walk": walk_job(config),
            "drain": drain_job(config),  # with the last group
            "wait": 1,  # for a signal
            "release": 1,  # is counted when the clusters have read the job
            "begins": 1,  # the tile's first job
            "tile": 16,  # for an observer: where the pixel is
            "x": 16,
            "y": 16,
        }
    )


class JobAssembler(wiring.Component):
    """Keeps what jobs are made of, and adds up their addresses.

    ::

        address = group.base + geometry_y.offset + geometry_x.offset
        trit = group.trit_base + geometry_y.trit_offset + geometry_x.trit_offset
        window.address = layer.base + destination_y.offset + destination_x.offset

    A pixel whose DESTINATION_X has the count 0 gives no job.

    Timing: the job shows two cycles after the last word of its last GEOMETRY_X, or SAME_X. Where
    words are read ahead (``group_places`` above 1), a job stands in registers of its own: further
    words are taken while it waits, up to the end of the next job, which follows two cycles after
    the one before has been taken. Else nothing may come while a job waits.

    Cost: three sums of three terms; GROUP and GEOMETRY_Y records of ``group_places`` groups.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of program_word)
        TILE, GROUP, .. SAME_X in the order in which jobs need them.
    base : In
        First word of the layer's output.
    restart : In(1)
        A layer begins.
    o : Out(stream of pixel_job)
    empty : Out(1)
        No job waits, and none is about to.
    dropped : Out(1)
        A pixel's last word has come that gives no job.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(program_word(config))),
                "base": In(address_width(config.activation_depth)),
                "restart": In(1),
                "o": Out(stream.Signature(pixel_job(config))),
                "empty": Out(1),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        ahead = config.group_places > 1
        tag = self.i.payload.tag
        shown, ended, last = Signal(), Signal(), Signal()
        taken, load, wanted = Signal(), Signal(), Signal()
        tile, to_y, to_x, geometry_x = (
            self._record(m, taken, layout, kind)
            for kind, layout in (
                (Word.TILE, TILE),
                (Word.DESTINATION_Y, DESTINATION),
                (Word.DESTINATION_X, DESTINATION),
                (Word.GEOMETRY_X, GEOMETRY),
            )
        )
        place = Signal(index_shape(config.group_places))
        group, geometry_y = self._group(m, taken, place), self._geometry_y(m, taken, place)

        ends = (tag.kind == Word.SAME_X) | ((tag.kind == Word.GEOMETRY_X) & (tag.index == 1))
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(~ended | ~shown),
            load.eq(ended & ~shown),
            wanted.eq(to_x.count != 0),
            self.o.valid.eq(shown),
            self.empty.eq(~ended & ~shown),
            self.dropped.eq(load & ~wanted),
        ]
        with m.If(load):
            m.d.sync += [ended.eq(0), shown.eq(wanted)]
        with m.If(taken & ends):
            m.d.sync += [ended.eq(1), last.eq(tag.last)]
            if ahead:
                m.d.sync += place.eq(tag.place)
        with m.If(shown & self.o.ready):
            m.d.sync += shown.eq(0)

        made = Signal(pixel_job(config))
        walk, window = made.walk, made.drain.window
        m.d.comb += [
            *(walk[name].eq(group[name]) for name in _of_group(config)),
            walk.count_x.eq(geometry_x.count),
            walk.count_y.eq(geometry_y.count),
            walk.rows_used.eq(tile.rows_used),
            walk.last.eq(last),
            made.drain.rows_used.eq(tile.rows_used),
            made.drain.row_base.eq(tile.row_base),
            window.count_x.eq(to_x.count),
            window.count_y.eq(to_y.count),
            window.fresh_x.eq(to_x.fresh),
            window.fresh_y.eq(to_y.fresh),
            made.wait.eq(group.wait),
            made.release.eq(group.release),
        ]
        self._locate(m, taken, load & wanted, made)
        job = self.o.payload
        m.d.comb += job.eq(made)
        if ahead:  # what it is made of does not stay
            kept = Signal.like(made)
            with m.If(load):
                m.d.sync += kept.eq(made)
            m.d.comb += job.eq(kept)
        address, trit = Signal.like(job.walk.address), Signal.like(job.walk.trit)
        target = Signal.like(job.drain.window.address)
        with m.If(load):
            m.d.sync += [
                address.eq(group.base + geometry_y.offset + geometry_x.offset),
                trit.eq(group.trit_base + geometry_y.trit_offset + geometry_x.trit_offset),
                target.eq(self.base + to_y.offset + to_x.offset),
            ]
        m.d.comb += [
            job.walk.address.eq(address),
            job.walk.trit.eq(trit),
            job.drain.window.address.eq(target),
        ]
        return m

    def _record(self, m: Module, taken: Signal, layout: data.StructLayout, kind: Word) -> Any:
        """The last record of a kind, in a register."""
        tag = self.i.payload.tag
        kept = Signal(layout, name=kind.name.lower())
        for index in range(record_words(layout)):
            with m.If(taken & (tag.kind == kind) & (tag.index == index)):
                m.d.sync += kept.as_value().word_select(index, PORT_WIDTH).eq(self.i.payload.data)
        return kept

    def _group(self, m: Module, taken: Signal, place: Signal) -> Any:
        """The GROUP record of the job: each word has a memory of its own, of the bits in use."""
        config, tag = self.config, self.i.payload.tag
        if config.group_places == 1:
            return self._record(m, taken, group_layout(config), Word.GROUP)
        group = Signal(GROUP)
        for index in range(record_words(GROUP)):
            used = {
                name: min(GROUP[name].width, _used_bits(config, name))
                for name in (*_of_group(config), *_OTHERS)
                if GROUP[name].offset // PORT_WIDTH == index
            }
            if not used:
                continue
            given = Signal(GROUP, name=f"given_{index}")
            words = LookupMemory(width=sum(used.values()), depth=config.group_places)
            m.submodules[f"groups_{index}"] = words
            m.d.comb += [
                given.as_value().word_select(index, PORT_WIDTH).eq(self.i.payload.data),
                words.write_enable.eq(taken & (tag.kind == Word.GROUP) & (tag.index == index)),
                words.write_address.eq(tag.place),
                words.write_data.eq(
                    Cat(given.as_value()[_bits(name, bits)] for name, bits in used.items())
                ),
                words.read_address.eq(place),
            ]
            offset = 0
            for name, bits in used.items():
                m.d.comb += group.as_value()[_bits(name, bits)].eq(
                    words.read_data[offset : offset + bits]
                )
                offset += bits
        return group

    def _geometry_y(self, m: Module, taken: Signal, place: Signal) -> Any:
        """The GEOMETRY_Y record of the job: the last one, or of the group's place."""
        config, tag = self.config, self.i.payload.tag
        last = self._record(m, taken, GEOMETRY, Word.GEOMETRY_Y)
        if config.group_places == 1:
            return last
        used = {
            "offset": address_width(config.activation_depth),
            "count": GEOMETRY["count"].width,
            "trit_offset": address_width(config.trit_depth),
        }
        layout = data.StructLayout(used)
        m.submodules.lines = lines = LookupMemory(width=layout.size, depth=config.group_places)
        ends = (tag.kind == Word.SAME_Y) | ((tag.kind == Word.GEOMETRY_Y) & (tag.index == 1))
        m.d.comb += [
            lines.write_enable.eq(delayed(m, "line_given", taken & ends, 1)),
            lines.write_address.eq(delayed(m, "line_place", tag.place, 1)),
            lines.write_data.eq(Cat(last[name][:bits] for name, bits in used.items())),
            lines.read_address.eq(place),
        ]
        return data.View(layout, lines.read_data)

    def _locate(self, m: Module, taken: Signal, made: Value, job: Any) -> None:
        """Which pixel of the layer it is."""
        tag = self.i.payload.tag
        begins = Signal()
        tile, y, x = (Signal(16, name=name) for name in ("tile_number", "y", "x"))
        begins_tile = taken & (tag.kind == Word.TILE) & (tag.index == 1)
        with m.If(taken & (tag.kind == Word.DESTINATION_X)):
            m.d.sync += x.eq(x + 1)
        with m.If(taken & (tag.kind == Word.DESTINATION_Y)):
            m.d.sync += [y.eq(y + 1), x.eq(-1)]
        with m.If(begins_tile):
            m.d.sync += [tile.eq(tile + 1), y.eq(-1), begins.eq(1)]
        with m.If(self.restart):
            m.d.sync += tile.eq(-1)
        m.d.comb += [
            job.begins.eq(begins),
            job.tile.eq(tile),
            job.x.eq(x),
            job.y.eq(y),
        ]
        cleared = made if self.config.group_places > 1 else self.o.valid & self.o.ready
        with m.If(cleared):
            m.d.sync += begins.eq(0)


def _of_group(config: Config) -> tuple[str, ...]:
    """Fields of GROUP that are the job's."""
    return (*_OF_GROUP, "wide", "quarter") if config.multipliers else _OF_GROUP


def _used_bits(config: Config, name: str) -> int:
    """Bits of a GROUP's field that its job has."""
    if name in ("base", "trit_base"):
        return address_width(config.activation_depth if name == "base" else config.trit_depth)
    if name in ("wait", "release"):
        return 1
    return data.Layout.cast(walk_job(config))[name].width


def _bits(name: str, count: int) -> slice:
    """The lowest bits of a field of GROUP."""
    offset = GROUP[name].offset
    return slice(offset, offset + count)
