"""Reads words of the program, each with a tag that says what it is."""

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, ValueLike, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, index_shape, pulse
from tritforge.hw.timing import fetch_latency
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["ProgramFetch", "Word", "fetch_request", "program_word", "word_tag"]


class Word(IntEnum):
    """What a word is of. The last two stand for a word that is not read: the group has the geometry
    of the one before."""

    TILE = 0
    GROUP = 1
    DESTINATION_Y = 2
    DESTINATION_X = 3
    GEOMETRY_Y = 4
    GEOMETRY_X = 5
    SAME_Y = 6
    SAME_X = 7
    LAYER = 8


def word_tag(config: Config) -> data.StructLayout:
    """What travels beside a word."""
    fields: dict[str, ShapeLike] = {
        "kind": unsigned(4),  # a Word
        "index": unsigned(3),  # of the record's words
        "last": 1,  # of the pixel's last column group
    }
    if config.group_places > 1:
        fields["place"] = index_shape(config.group_places)  # of the column group
    return data.StructLayout(fields)


def program_word(config: Config) -> data.StructLayout:
    """A word of the program and its tag."""
    return data.StructLayout({"tag": word_tag(config), "data": unsigned(PORT_WIDTH)})


def fetch_request(config: Config) -> data.StructLayout:
    """A record to be read."""
    program = address_width(config.program_depth)
    return data.StructLayout(
        {
            "kind": unsigned(4),  # a Word
            "final": unsigned(3),  # index of its last word
            "following": 1,  # it stands at the pointer, which moves on
            "again": 1,  # it is the first group's once more
            "base": unsigned(program),  # else: of the table that it stands in
            "entry": unsigned(program),  # its number there
            "last": 1,
            **({"place": index_shape(config.group_places)} if config.group_places > 1 else {}),
        }
    )


class ProgramFetch(wiring.Component):
    """Reads records of the program, a word per cycle, two cycles with one memory port.

    ::

        address = pointer + 1           record behind the one before
                = groups + 1            first GROUP of the tile
                = base + entry * words  entry of a table

    Timing: a record of n words takes n cycles in which there is ``room``, and what is not read one;
    a word arrives ``fetch_latency`` cycles after its request.

    Cost: one adder for all addresses.

    Parameters
    ----------
    config : Config

    Members
    -------
    request : In(fetch_request), valid : In(1)
        Held until ``done``, which is high in the cycle of the last word's request.
    done : Out(1)
    room : In(1)
        A word may be requested.
    started : Out(1)
        A record's first word is requested in this cycle.
    issued : Out(1)
        A word is requested in this cycle; with two reads, its second one.
    jump : In(1), address : In
        The next record at the pointer is at ``address``.
    mark : In(1)
        Groups begin behind the word that is requested in this cycle.
    skip : In(1), group_count : In(8)
        To the record behind that many groups; not while a record is requested.
    fetch_address, fetch_half : Out
        To the program memory.
    fetch_data : In(32)
    arrived : Out(pulse of program_word)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        program = address_width(config.program_depth)
        super().__init__(
            {
                "request": In(fetch_request(config)),
                "valid": In(1),
                "done": Out(1),
                "room": In(1),
                "started": Out(1),
                "issued": Out(1),
                "jump": In(1),
                "address": In(program),
                "mark": In(1),
                "skip": In(1),
                "group_count": In(8),
                "fetch_address": Out(program),
                "fetch_half": Out(1),
                "fetch_data": In(PORT_WIDTH),
                "arrived": Out(pulse(program_word(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, request = self.config, self.request
        word = Signal(3)
        second = Signal(init=config.program_reads == 1)  # the word's last read
        reading = Signal()
        m.d.comb += [
            reading.eq(self.valid & self.room),
            self.issued.eq(reading & second),
            self.done.eq(self.issued & (word == request.final)),
            self.started.eq(reading & (word == 0) & (~second if config.program_reads == 2 else 1)),
        ]
        if config.program_reads == 2:
            same = request.kind[1:3].all()  # SAME_Y, SAME_X: nothing is read
            m.d.comb += self.issued.eq(reading & (second | same))
            with m.If(reading):
                m.d.sync += second.eq(~second & ~same)
        with m.If(self.issued):
            m.d.sync += word.eq(Mux(self.done, 0, word + 1))

        # One adder for all addresses, in front of which nothing depends on whether one is wanted.
        # The pointer is at the last word that was read; ``fresh``: it is at the next one.
        pointer = Signal(address_width(config.program_depth))
        groups = Signal.like(pointer)
        fresh = Signal()
        base, distance, total = (Signal.like(pointer) for _ in range(3))
        m.d.comb += [base.eq(request.base), distance.eq(request.entry)]
        with m.If(request.final[0]):
            m.d.comb += distance.eq(Cat(word[0], request.entry))
        with m.If(request.following):
            m.d.comb += [base.eq(pointer), distance.eq(~fresh)]
            with m.If(request.again & (word == 0)):
                m.d.comb += base.eq(groups)
        with m.If(self.skip):
            m.d.comb += [base.eq(groups), distance.eq(self.group_count << 3)]
        m.d.comb += total.eq(base + distance)
        with m.If((self.issued & request.following) | self.skip):
            m.d.sync += [pointer.eq(total), fresh.eq(0)]
        with m.If(self.jump):
            m.d.sync += [pointer.eq(self.address), fresh.eq(1)]
        with m.If(self.mark):
            m.d.sync += groups.eq(total)

        def registered(name: str, value: ValueLike) -> ValueLike:
            """A register of the address, unless stages are few."""
            cycles = fetch_latency(config) - ChunkMemory.latency
            return delayed(m, name, value, cycles, reset_less=True)

        m.d.comb += [
            self.fetch_address.eq(registered("place", total)),
            self.fetch_half.eq(registered("half", second)),
        ]

        tag = Signal(word_tag(config))
        m.d.comb += [
            tag.kind.eq(request.kind),
            tag.index.eq(word),
            tag.last.eq(request.last),
        ]
        if config.group_places > 1:
            m.d.comb += tag.place.eq(request.place)
        m.d.comb += [
            self.arrived.valid.eq(delayed(m, "requested", self.issued, fetch_latency(config))),
            self.arrived.payload.tag.eq(
                delayed(m, "tag", tag, fetch_latency(config), reset_less=True)
            ),
            self.arrived.payload.data.eq(self.fetch_data),
        ]
        return m
