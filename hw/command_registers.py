"""Command registers: what the packet at hand says, as its words are taken."""

from amaranth.hdl import Module, ShapeLike, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import memory_address_width
from tritforge.hw.protocol import Opcode
from tritforge.hw.unpacker import can_unpack
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["CommandRegisters", "command", "command_part"]

#: Bits of a RUN's layer count.
_LAYER_COUNT_WIDTH = 16


def command(config: Config) -> data.StructLayout:
    """What a packet says, except its data."""
    address = memory_address_width(config)
    fields: dict[str, ShapeLike] = {
        "opcode": unsigned(8),
        "memory": unsigned(8),
        "cluster": unsigned(8),
        "tag": unsigned(8),
        "left": range(config.packet_words + 1),  # words of the packet that were not taken yet
        "address": unsigned(address),
        "vast_address": 1,  # it has bits beyond these
        "count": unsigned(max(address + 1, _LAYER_COUNT_WIDTH)),
        "vast_count": 1,  # it has bits beyond these
        "waits": 1,  # highest bit of the count
    }
    if can_unpack(config):
        fields["rows_used"] = unsigned(PORT_WIDTH)
    return data.StructLayout(fields)


def command_part(config: Config) -> data.StructLayout:
    """Which word of a packet is at hand, a bit each; none for data."""
    names = ["header", "length", "address", "count"]
    if can_unpack(config):
        names.append("rows_used")
    return data.StructLayout(dict.fromkeys(names, 1))


class CommandRegisters(wiring.Component):
    """Keeps the words before the data of a packet, and counts those that follow.

    Timing: what a word says shows in the cycle after it was taken.

    Cost: registers of as many bits as the deepest memory and the longest packet need, and 36; a
    counter for the words left, one for the address.

    Parameters
    ----------
    config : Config

    Members
    -------
    word : In(32)
        The word at hand.
    take : In(1)
        It is taken.
    part : In(command_part)
        Where it goes, when it is taken.
    clear : In(1)
        The packet cannot be trusted: forget its opcode, memory, tag and length.
    advance : In(1)
        On to the next address.
    command : Out(command)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "word": In(PORT_WIDTH),
                "take": In(1),
                "part": In(command_part(config)),
                "clear": In(1),
                "advance": In(1),
                "command": Out(command(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, part, kept = self.word, self.part, self.command
        with m.If(self.take):
            m.d.sync += kept.left.eq(kept.left - 1)
        with m.If(self.clear):
            m.d.sync += [kept.opcode.eq(0), kept.memory.eq(0), kept.tag.eq(0), kept.left.eq(0)]
        with m.If(part.header):
            m.d.sync += [
                kept.opcode.eq(word[:8]),
                kept.memory.eq(word[8:16]),
                kept.cluster.eq(word[16:24]),
                kept.tag.eq(word[24:]),
            ]
        with m.If(part.length):
            m.d.sync += kept.left.eq(word)
        with m.If(part.address):
            m.d.sync += [
                kept.address.eq(word),
                kept.vast_address.eq(word[len(kept.address) :].any()),
            ]
        with m.If(self.advance):
            m.d.sync += kept.address.eq(kept.address + 1)
        with m.If(part.count):
            m.d.sync += [
                kept.count.eq(word),
                kept.vast_count.eq(
                    word[len(kept.count) : -1].any() | (word[-1] & (kept.opcode != Opcode.RUN))
                ),
                kept.waits.eq(word[-1]),
            ]
        if can_unpack(self.config):
            with m.If(part.rows_used):
                m.d.sync += kept.rows_used.eq(word)
        return m
