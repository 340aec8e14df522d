"""Queue of program words that have been requested ahead."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import pulse
from tritforge.hw.program_fetch import program_word
from tritforge.hw.timing import READ_AHEAD_PLACES

__all__ = ["ReadAhead"]


class ReadAhead(wiring.Component):
    """Holds words in order; whoever requests one reserves its place first.

    Timing: a word shows in the cycle after it came; one in and one out per cycle. A place is free
    again in the cycle after its word has been taken.

    Cost: ``READ_AHEAD_PLACES`` words with their tags.

    Parameters
    ----------
    config : Config

    Members
    -------
    reserve : In(1), room : Out(1)
        A place is reserved; only where there is room.
    i : In(pulse of program_word)
        A word whose place has been reserved.
    o : Out(stream of program_word)
    empty : Out(1)
        No place is reserved.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "reserve": In(1),
                "room": Out(1),
                "i": In(pulse(program_word(config))),
                "o": Out(stream.Signature(program_word(config))),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = fifo.SyncFIFO(
            width=self.i.payload.shape().size, depth=READ_AHEAD_PLACES
        )
        free = Signal(range(READ_AHEAD_PLACES + 1), init=READ_AHEAD_PLACES)
        room = Signal(init=1)  # in a register of its own
        returned = Signal()
        m.d.comb += [
            words.w_data.eq(self.i.payload),
            words.w_en.eq(self.i.valid),
            self.o.payload.eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
            returned.eq(words.r_rdy & self.o.ready),
            self.room.eq(room),
            self.empty.eq(free == READ_AHEAD_PLACES),
        ]
        with m.If(self.reserve != returned):
            m.d.sync += [
                free.eq(free + Mux(self.reserve, -1, 1)),
                room.eq(returned | (free != 1)),
            ]
        return m
