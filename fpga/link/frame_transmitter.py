"""Frame transmitter: responses and acknowledgements become frames for the host."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.fpga.link.frame_receiver import crc_step, link_state
from tritforge.fpga.link.frames import ESCAPE, FLAG, FLIP
from tritforge.hw.payloads import port_word

__all__ = ["FrameTransmitter"]


class FrameTransmitter(wiring.Component):
    """Sends a frame where there is a response, or something to be told to the host.

    A frame has the state of the receiver, as it is when its control bytes are sent, and at most
    one response, as many words as that has. After a reset it sends one.

    Timing: a byte takes 10 cycles, and one more if it is escaped, so that a UART never waits; the
    first leaves the cycle after ``answer`` or a response comes.

    Cost: 130 LUTs and 53 flip-flops of an iCE40: 32 bits of CRC, a byte chosen among four of a
    word.

    Members
    -------
    i : In(stream of port_word)
        Responses.
    answer : In(1), state : In(link_state)
        From :class:`tritforge.fpga.link.frame_receiver.FrameReceiver`.
    o : Out(stream of unsigned(8))
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(port_word())),
                "answer": In(1),
                "state": In(link_state()),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        crc = Signal(32)
        byte = Signal(8)  # being sent, then shifted into the CRC
        bit = Signal(3)
        escaped, last = Signal(), Signal()
        pending = Signal(init=1)
        part = Signal(2)  # control bytes, words, CRC
        phase = Signal(2)  # byte of that
        FIRST, WORDS, CRC, END = range(4)

        special = Signal()
        m.d.comb += special.eq((byte == FLAG) | (byte == ESCAPE))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [crc.eq(0xFFFF_FFFF), part.eq(FIRST), phase.eq(0), escaped.eq(0)]
                with m.If(pending | self.i.valid):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "LOAD"
                    with m.If(part == END):
                        m.next = "IDLE"
            with m.State("LOAD"):
                m.next = "SEND"
                with m.Switch(part):
                    with m.Case(FIRST):
                        m.d.sync += byte.eq(self.state.as_value().word_select(phase[0], 8))
                        with m.If(phase[0]):
                            m.d.sync += pending.eq(0)
                    with m.Case(WORDS):
                        m.d.sync += [
                            byte.eq(self.i.payload.data.word_select(phase, 8)),
                            last.eq(self.i.payload.last),
                        ]
                        m.d.comb += self.i.ready.eq(phase == 3)
                        with m.If(~self.i.valid):
                            m.d.comb += self.i.ready.eq(0)
                            m.next = "LOAD"
                    with m.Default():
                        m.d.sync += byte.eq(~crc[:8])
            with m.State("SEND"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(Mux(escaped, byte ^ FLIP, Mux(special, ESCAPE, byte))),
                ]
                with m.If(self.o.ready):
                    m.d.sync += escaped.eq(special & ~escaped)
                    with m.If(~special | escaped):
                        m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += [
                    # The CRC's own bytes only move it on.
                    crc.eq(Mux(part == CRC, crc >> 1, crc_step(crc, byte[0]))),
                    byte.eq(byte >> 1),
                    bit.eq(bit + 1),
                ]
                with m.If(bit == 7):
                    m.next = "LOAD"
                    m.d.sync += phase.eq(phase + 1)
                    with m.If((part == FIRST) & phase[0]):
                        m.d.sync += [part.eq(Mux(self.i.valid, WORDS, CRC)), phase.eq(0)]
                    with m.If((part == WORDS) & (phase == 3) & last):
                        m.d.sync += part.eq(CRC)
                    with m.If((part == CRC) & (phase == 3)):
                        m.d.sync += part.eq(END)
                        m.next = "OPEN"
        with m.If(self.answer):
            m.d.sync += pending.eq(1)
        return m
