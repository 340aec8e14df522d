"""Host reads: fetches the words that the host asks for from their memories."""

from amaranth.hdl import Array, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.payloads import host_read, pulse, read_word
from tritforge.hw.program import MEMORIES
from tritforge.hw.timing import MEMORY_LATENCY

__all__ = ["HostReads"]


class HostReads(wiring.Component):
    """Chooses among activations, results and counters, all of which are read at the address asked.

    Timing: the word stands ``MEMORY_LATENCY`` cycles after its request was taken; the request
    must stay until then. Only activations can make it wait.

    Cost: ``MEMORY_LATENCY`` flip-flops and the choice of a word.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of host_read)
    o : Out(pulse of read_word)
    activations_ready, activations : In, arrays of ``clusters``
        Each slice reads for the host in this cycle; its data.
    results, counters : In
        Words of these memories.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        width = config.memory_width
        super().__init__(
            {
                "i": In(stream.Signature(host_read(config))),
                "o": Out(pulse(read_word(config))),
                "activations_ready": In(1).array(config.clusters),
                "activations": In(width("activations")).array(config.clusters),
                "results": In(width("results")),
                "counters": In(width("counters")),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked = self.i.payload
        m.d.comb += [
            self.i.ready.eq(
                Mux(
                    asked.memory == MEMORIES.index("activations"),
                    Array(self.activations_ready)[asked.cluster],
                    1,
                )
            ),
            self.o.valid.eq(delayed(m, "read_valid", self.i.valid & self.i.ready, MEMORY_LATENCY)),
        ]
        with m.Switch(asked.memory):
            with m.Case(MEMORIES.index("activations")):
                m.d.comb += self.o.payload.eq(Array(self.activations)[asked.cluster])
            with m.Case(MEMORIES.index("results")):
                m.d.comb += self.o.payload.eq(self.results)
            with m.Default():
                m.d.comb += self.o.payload.eq(self.counters)
        return m
