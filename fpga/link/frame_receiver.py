"""Frame receiver: bytes from the host become commands, once each, in order, and only if whole."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.fpga.link.frames import CRC_RESIDUE, ESCAPE, FLAG, SESSIONS
from tritforge.hw.payloads import command_word
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["CRC_POLYNOMIAL", "FrameReceiver", "crc_step", "link_state"]

#: CRC-32 of Ethernet, for a register that shifts right.
CRC_POLYNOMIAL = 0xEDB88320


def crc_step(crc: Signal, bit: ValueLike) -> Value:
    """The CRC's register one bit later."""
    return (crc >> 1) ^ Mux(crc[0] ^ bit, Const(CRC_POLYNOMIAL, 32), 0)


def link_state() -> data.StructLayout:
    """What every frame to the host says, as :class:`tritforge.fpga.link.frames.Reply`: its two
    control bytes."""
    return data.StructLayout({"session": range(SESSIONS), "refused": 1, "full": 1, "expected": 8})


class FrameReceiver(wiring.Component):
    """Takes the frame with the number that it expects, if its CRC is good and it has found room.

    The words of that frame go to ``o`` as they come, each when the byte after it shows that it is
    not the CRC; the flag at the end then ends the packet or takes it back. Every frame is answered;
    what the answer says is in ``state``. A frame without words changes
    nothing and is answered all the same. SYNC begins a session, whatever was before: the next
    number is 0.

    Timing: a byte is dealt with in the cycle after it comes. A word leaves with the first byte
    after it, the packet ends with the last flag. The CRC takes a bit per cycle, 8 cycles for a
    byte. ``o`` never waits: a word that is not taken makes the frame one that found no room.

    Cost: 90 LUTs and 112 flip-flops of an iCE40: 32 bits of word, 32 of CRC.

    Members
    -------
    data : In(8), valid : In(1)
        From :class:`tritforge.fpga.link.uart.Receiver`.
    o : Out(stream of command_word)
        A packet's words, then one that is ``empty`` or ``abort``. ``ready`` may depend on the
        payload; where it was high for a word it must be so for the end of the packet.
    answer : Out(1)
        For one cycle: ``state`` is to be told to the host from the next one on.
    state : Out(link_state)
    begin : Out(1)
        For one cycle: a session begins.
    restart : Out(1)
        From the cycle after that to the host's next byte: what stands behind ``o`` is to be reset.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "o": Out(stream.Signature(command_word())),
                "answer": Out(1),
                "state": Out(link_state()),
                "begin": Out(1),
                "restart": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(PORT_WIDTH)
        crc = Signal(32, init=0xFFFF_FFFF)
        bit = Signal(3)  # of the byte that enters word and CRC
        shifting, escaped = Signal(), Signal()
        place = Signal(range(3))  # control byte, control byte, words and CRC
        phase = Signal(2)  # bytes of the word so far
        filled = Signal()  # a word is whole
        words, lost, ordered, sync = Signal(), Signal(), Signal(), Signal()
        state = self.state
        session = Signal(range(SESSIONS))

        # The byte as it came, and what it is: a flag, an escape, or one to enter.
        given, valid, escape = Signal(8), Signal(), Signal()
        byte, flag, abort = Signal(8), Signal(), Signal()
        enter, push, whole, good = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            valid.eq(self.valid),
            flag.eq(self.valid & (self.data == FLAG)),
            abort.eq(self.valid & (self.data == FLAG) & ~good),
            escape.eq(self.valid & (self.data == ESCAPE)),
            enter.eq(self.valid & (self.data != FLAG) & (self.data != ESCAPE)),
        ]
        with m.If(self.valid):
            m.d.sync += given.eq(self.data)
        # A byte takes so long to come that these stand before it does.
        m.d.sync += [
            whole.eq(filled & (phase == 0) & (crc == CRC_RESIDUE) & ~escaped),
            good.eq(whole & ordered & ~lost & words & ~sync),
        ]
        m.d.comb += [
            byte.eq(Cat(given[:5], given[5] ^ escaped, given[6:])),
            push.eq(enter & filled & (phase == 0)),
            self.o.payload.data.eq(word),
            self.o.payload.last.eq(flag),
            self.o.payload.empty.eq(flag),
            self.o.payload.abort.eq(abort),
            self.o.valid.eq((push & ordered & ~sync) | flag),
            self.answer.eq(flag & (place != 0)),
            self.begin.eq(flag & whole & sync & ~words),
        ]
        with m.If(enter | shifting):
            m.d.sync += [
                word.eq(Cat(word[1:], byte.bit_select(bit, 1))),
                crc.eq(crc_step(crc, byte.bit_select(bit, 1))),
                bit.eq(bit + 1),
                shifting.eq(bit != 7),
            ]
            with m.If(bit == 7):
                m.d.sync += escaped.eq(0)
        with m.If(valid):
            m.d.sync += self.restart.eq(0)
            with m.If(escape):
                m.d.sync += escaped.eq(1)
        with m.If(enter):
            with m.If(place == 0):
                m.d.sync += [sync.eq(byte[7]), session.eq(byte), place.eq(1)]
            with m.Elif(place == 1):
                m.d.sync += [ordered.eq(byte == state.expected), place.eq(2)]
            with m.Else():
                m.d.sync += [phase.eq(phase + 1), filled.eq(filled | (phase == 3))]
        with m.If(push):
            m.d.sync += words.eq(1)
            with m.If(~self.o.ready):
                m.d.sync += lost.eq(1)
        with m.If(flag):
            m.d.sync += [
                crc.eq(0xFFFF_FFFF),
                place.eq(0),
                phase.eq(0),
                filled.eq(0),
                words.eq(0),
                lost.eq(0),
                escaped.eq(0),
            ]
            with m.If(self.begin):
                m.d.sync += [state.eq(0), state.session.eq(session), self.restart.eq(1)]
            with m.Elif(~self.o.payload.abort):
                m.d.sync += [
                    state.expected.eq(state.expected + 1),
                    state.refused.eq(0),
                    state.full.eq(0),
                ]
            with m.Elif((place != 0) & (~whole | (ordered & lost & ~sync))):
                m.d.sync += [state.refused.eq(1), state.full.eq(whole)]
        return m
