"""Accumulators of one processing element, in banks."""

from amaranth.hdl import Array, ClockSignal, Instance, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.hierarchy import SharedModules
from tritforge.hw.payloads import index_shape

__all__ = ["Accumulators"]


class Accumulators(wiring.Component):
    """``accumulator[add_bank][add_row] += product``; taking one leaves zero in it.

    Timing: one addition and one taking per cycle, never in the same bank; ``value`` stands one
    cycle after ``take`` and stays until the next.

    Cost: one adder of ``accumulator_width``. Up to 16 accumulators of all banks stand in one memory
    that is there twice, one copy read for additions, one for taking; more of them in ``banks``
    memories of R, each read and written at one address per cycle. For synthesis a further bit of
    each says whether it counts as zero, so that taking writes no zeros.

    In Verilog it is an instance of ``accumulators``, written by hand with a body per target
    (:mod:`tritforge.hw.bodies`), for the reason that :class:`tritforge.hw.memory.ChunkMemory`
    gives.

    Parameters
    ----------
    config : Config

    Members
    -------
    add, add_bank, add_row, product : In
    take, take_bank, take_row : In
    value : Out(signed(accumulator_width))
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "add": In(1),
                "add_bank": In(index_shape(config.banks)),
                "add_row": In(index_shape(config.rows)),
                "product": In(signed(config.addend_width)),
                "take": In(1),
                "take_bank": In(index_shape(config.banks)),
                "take_row": In(index_shape(config.rows)),
                "value": Out(signed(config.accumulator_width)),
            }
        )

    def elaborate(self, platform: object) -> Module | Instance:
        config = self.config
        if isinstance(platform, SharedModules):
            platform.bodies.add("accumulators")
            return Instance(
                "accumulators",
                p_WIDTH=config.accumulator_width,
                p_PRODUCT=config.addend_width,
                p_BANK_BITS=len(self.add_bank),
                p_ROW_BITS=len(self.add_row),
                i_clk=ClockSignal(),
                i_add=self.add,
                i_add_bank=self.add_bank,
                i_add_row=self.add_row,
                i_product=self.product,
                i_take=self.take,
                i_take_bank=self.take_bank,
                i_take_row=self.take_row,
                o_value=self.value,
            )
        m = Module()
        olds = []
        total = Signal(signed(config.accumulator_width))
        for bank in range(config.banks):
            storage = memory.Memory(
                shape=signed(config.accumulator_width), depth=config.rows, init=[]
            )
            m.submodules[f"bank_{bank}"] = storage
            read, write = storage.read_port(domain="comb"), storage.write_port()
            taking = self.take & (self.take_bank == bank)
            m.d.comb += [
                read.addr.eq(Mux(taking, self.take_row, self.add_row)),
                write.addr.eq(read.addr),
                write.data.eq(Mux(taking, 0, total)),
                write.en.eq(taking | (self.add & (self.add_bank == bank))),
            ]
            olds.append(read.data)
        m.d.comb += total.eq(Array(olds)[self.add_bank] + self.product)
        with m.If(self.take):
            m.d.sync += self.value.eq(Array(olds)[self.take_bank])
        return m
