"""Host writes: brings the words that the host writes to their memories."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.payloads import host_write, memory_address_width
from tritforge.hw.program import MEMORIES
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["HostWrites"]


class HostWrites(wiring.Component):
    """Routes each word to program, trits, rows, activation tables or a slice of the activations.

    All but the last always take a word, and are far away: unless stages are few what they get is
    two cycles late, decoded in front of the registers. Slices of the activations get the word at
    hand, and take it when they can. With one port a program word is written in two halves, and
    nothing is written while a program runs: the port is the program's.

    Timing: one word per cycle; with one port two cycles for a program word.

    Cost: unless stages are few two registers of an address, a word and a bit for every chunk that
    can be written.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of host_write)
    running : In(1)
        A program runs.
    address, data : Out
        Of the late writes that follow.
    program, program_half : Out(1)
    rows : Out, a bit for each chunk
    tables : Out(1)
        Where there are activation tables.
    trits : Out, a bit for each chunk, array of all clusters
    activations_valid : Out(1), activations_ready : In(1), arrays of ``clusters``
        The word at hand is for this slice, and the slice takes it.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(host_write(config))),
                "running": In(1),
                "address": Out(memory_address_width(config)),
                "data": Out(PORT_WIDTH),
                "program": Out(1),
                "program_half": Out(1),
                "rows": Out(config.memory_chunks("rows")),
                **({"tables": Out(1)} if config.activation_tables else {}),
                "trits": Out(config.memory_chunks("trits")).array(config.cluster_count),
                "activations_valid": Out(1).array(config.clusters),
                "activations_ready": In(1).array(config.clusters),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, given = self.config, self.i.payload
        one_port = config.memory_ports == 1
        free = ~self.running if one_port else Const(1)
        valid = self.i.valid & free

        def late(name: str, value: Value, *, reset_less: bool = False) -> Value:
            stages = 0 if config.few_stages else 2
            return delayed(m, f"late_{name}", value, stages, reset_less=reset_less)

        def mask(memory: str, chosen: Value) -> Value:
            """A bit for each chunk of a word."""
            chunks = config.memory_chunks(memory)
            return Cat(
                chosen & (given.chunk == chunk) if chunks > 1 else chosen for chunk in range(chunks)
            )

        program = valid & (given.memory == MEMORIES.index("program"))
        program_ready: Value = Const(1)
        if one_port:
            program_ready = second = Signal()
            m.d.sync += second.eq(program & ~second)
            m.d.comb += self.program_half.eq(late("second", second))
        rows = valid & (given.memory == MEMORIES.index("rows"))
        trits = valid & (given.memory == MEMORIES.index("trits"))
        activations = valid & (given.memory == MEMORIES.index("activations"))
        m.d.comb += [
            self.address.eq(late("address", given.address, reset_less=True)),
            self.data.eq(late("data", given.data, reset_less=True)),
            self.program.eq(late("program", program)),
            self.rows.eq(late("rows", mask("rows", rows))),
        ]
        if config.activation_tables:
            tables = valid & (given.memory == MEMORIES.index("tables"))
            m.d.comb += self.tables.eq(late("tables", tables))
        for index, port in enumerate(self.trits):
            chosen = mask("trits", trits & (given.cluster == index))
            m.d.comb += port.eq(late(f"trits_{index}", chosen))
        for index, port in enumerate(self.activations_valid):
            m.d.comb += port.eq(activations & (given.cluster == index))
        with m.Switch(given.memory):
            with m.Case(MEMORIES.index("activations")):
                m.d.comb += self.i.ready.eq(free & Array(self.activations_ready)[given.cluster])
            with m.Case(MEMORIES.index("program")):
                m.d.comb += self.i.ready.eq(free & program_ready)
            with m.Default():
                m.d.comb += self.i.ready.eq(free)
        return m
