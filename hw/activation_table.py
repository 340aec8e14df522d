"""Activation table: any function of one requantized code."""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, index_shape, value_width
from tritforge.hw.timing import table_latency
from tritforge.hw.widths import ACTIVATION_WIDTH

__all__ = ["ActivationTable"]


class ActivationTable(wiring.Component):
    """``activation = tables[table][code]`` with ``look_up``, else ``activation = code``.

    Codes are the low 8 bits, whether they are signed or not.

    Timing: one code per cycle; the activation comes ``table_latency`` cycles later, with and
    without ``look_up``. An entry that is written in cycle t is read for codes from t + 1 on;
    ``look_up`` is of the cycle of the activation, ``table`` of that of the code: both stand still
    during a layer.

    Cost: a memory of ``256 * activation_tables`` bytes, 8 multiplexers, 24 flip-flops.

    Parameters
    ----------
    config : Config
        With ``activation_tables``.

    Members
    -------
    code : In(8)
    look_up : In(1), table : In
    activation : Out(8)
    signed : In(1)
        With ``write_back_sums``: the table's entries are. Then ``code`` and ``activation`` have 9
        bits, an entry's sign among them.
    write_enable : In(1), write_address : In, write_data : In(8)
        An entry: of table ``address // 256`` for code ``address % 256``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        depth = config.memory_depth("tables")
        super().__init__(
            {
                "code": In(value_width(config)),
                "look_up": In(1),
                "table": In(index_shape(config.activation_tables)),
                "activation": Out(value_width(config)),
                **({"signed": In(1)} if config.write_back_sums else {}),
                "write_enable": In(1),
                "write_address": In(address_width(depth)),
                "write_data": In(ACTIVATION_WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.tables = tables = ChunkMemory(
            width=ACTIVATION_WIDTH,
            depth=config.memory_depth("tables"),
            chunk_width=ACTIVATION_WIDTH,
            register_address=config.few_stages,
        )
        code = delayed(m, "code", self.code, table_latency(config), reset_less=True)
        entry: Value = tables.read_data
        if config.write_back_sums:
            entry = Cat(entry, entry[-1] & self.signed)
        m.d.comb += [
            tables.read_address.eq(Cat(self.code[:ACTIVATION_WIDTH], self.table)),
            self.activation.eq(Mux(self.look_up, entry, code)),
            tables.write_address.eq(self.write_address),
            tables.write_data.eq(self.write_data),
            tables.write_mask.eq(self.write_enable),
        ]
        return m
