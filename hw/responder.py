"""Responder: answers to requests, from the state and from memories."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.command_check import times
from tritforge.hw.command_executor import request
from tritforge.hw.config import Config
from tritforge.hw.payloads import host_read, port_word, pulse, read_word
from tritforge.hw.program import MEMORIES, READABLE_MEMORIES
from tritforge.hw.protocol import RESPONSE, STATUS_WORDS, Opcode
from tritforge.hw.run_record import run_end
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["Responder", "status_layout"]


def status_layout() -> data.StructLayout:
    """The payload of an answer to STATUS, word by word."""
    names = ("identity", "running", "layers", "cycles", "errors", "dropped", "finished", "contents")
    assert len(names) == STATUS_WORDS
    return data.StructLayout(dict.fromkeys(names, PORT_WIDTH))


class Responder(wiring.Component):
    """Makes an answer of each request: header, length, the state or the words of a memory.

    The end of a run goes before requests that wait.

    Timing: one cycle to take a request, then a word per cycle; a memory word takes 5 cycles and one
    for each further port word. Waits where ``o`` or ``reads`` is not ready.

    Cost: a register for a memory word, one for a request, a shift by 32 bits.

    Parameters
    ----------
    config : Config

    Members
    -------
    requests : In(stream of request)
    ends : In(stream of run_end)
    status : In(status_layout)
    reads : Out(stream of host_read)
    read_data : In(pulse of the widest readable memory's words)
        What was read, one word for each request, later.
    o : Out(stream of port_word)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "requests": In(stream.Signature(request(config))),
                "ends": In(stream.Signature(run_end())),
                "status": In(status_layout()),
                "reads": Out(stream.Signature(host_read(config))),
                "read_data": In(pulse(read_word(config))),
                "o": Out(stream.Signature(port_word())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        current = Signal(request(config))
        is_status = Signal()
        most = max(config.memory_chunks(name) for name in READABLE_MEMORIES)
        chunks, length = Signal(range(most + 1)), Signal(len(current.count) + most.bit_length())
        chunk = Signal(range(most))
        index = Signal(range(STATUS_WORDS + 1))
        left = Signal(len(current.count))
        word = Signal(read_word(config))
        m.d.comb += is_status.eq((current.opcode == Opcode.STATUS) & ~current.error.any())
        with m.Switch(current.memory):
            for number, name in enumerate(MEMORIES):
                if name in READABLE_MEMORIES:
                    with m.Case(number):
                        m.d.comb += [
                            chunks.eq(config.memory_chunks(name)),
                            length.eq(times(current.count, config.memory_chunks(name))),
                        ]
        states = Array(self.status[name] for name, _ in status_layout())
        out, read = self.o.payload, self.reads.payload
        m.d.comb += [
            read.memory.eq(current.memory),
            read.cluster.eq(current.cluster),
            read.address.eq(current.address),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.ends.valid):
                    m.d.comb += self.ends.ready.eq(1)
                    m.d.sync += [
                        current.eq(0),
                        current.opcode.eq(Opcode.RUN),
                        current.error.eq(self.ends.payload.error),
                        current.tag.eq(self.ends.payload.tag),
                    ]
                    m.next = "HEADER"
                with m.Elif(self.requests.valid):
                    m.d.comb += self.requests.ready.eq(1)
                    m.d.sync += current.eq(self.requests.payload)
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(
                        current.opcode
                        | RESPONSE
                        | current.error << 8
                        | current.memory << 16
                        | current.tag << 24
                    ),
                ]
                with m.If(self.o.ready):
                    m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(Mux(is_status, STATUS_WORDS, length)),
                    out.last.eq((current.count == 0) & ~is_status),
                ]
                m.d.sync += [left.eq(current.count), chunk.eq(0)]
                with m.If(self.o.ready):
                    # The state goes on changing; a word that is offered must not.
                    m.d.sync += [word.eq(states[0]), index.eq(1)]
                    m.next = "FETCH"
                    with m.If(is_status):
                        m.next = "STATUS"
                    with m.Elif(current.count == 0):
                        m.next = "IDLE"
            with m.State("STATUS"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(word),
                    out.last.eq(index == STATUS_WORDS),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(states[index]), index.eq(index + 1)]
                    with m.If(out.last):
                        m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += self.reads.valid.eq(1)
                with m.If(self.reads.ready):
                    m.next = "ARRIVE"
            with m.State("ARRIVE"), m.If(self.read_data.valid):
                m.d.sync += word.eq(self.read_data.payload)
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(word),
                    out.last.eq((left == 1) & (chunk == chunks - 1)),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [chunk.eq(chunk + 1), word.eq(word >> PORT_WIDTH)]
                    with m.If(chunk == chunks - 1):
                        m.d.sync += [
                            chunk.eq(0),
                            left.eq(left - 1),
                            current.address.eq(current.address + 1),
                        ]
                        m.next = "FETCH"
                        with m.If(left == 1):
                            m.next = "IDLE"
        return m
