"""Write buffer: two places for the host's writes on their way to the memories."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import host_write
from tritforge.hw.timing import WRITE_PLACES

__all__ = ["WriteBuffer"]

assert WRITE_PLACES == 2, "the buffer has a register at its end and one in front of it"


class WriteBuffer(wiring.Component):
    """Passes writes on, so that ``i`` need not know at once whether a memory took one.

    Timing: a write of cycle t shows on ``o`` in t+1; one per cycle.

    Cost: two registers for a write, and the choice between them.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of host_write)
    o : Out(stream of host_write)
    empty : Out(1)
        All writes have been taken.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(host_write(config))),
                "o": Out(stream.Signature(host_write(config))),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        second = Signal(host_write(self.config), reset_less=True)
        another = Signal()  # it holds one
        m.d.comb += [
            self.i.ready.eq(~another),
            self.empty.eq(~self.o.valid & ~another),
        ]
        with m.If(~another):
            m.d.sync += second.eq(self.i.payload)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(another | self.i.valid),
                another.eq(0),
                self.o.payload.eq(Mux(another, Value.cast(second), Value.cast(self.i.payload))),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += another.eq(1)
        return m
