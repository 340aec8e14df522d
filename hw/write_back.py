"""Write-back: requantizes drained sums and brings them to activation slices and result memory."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.activation_table import ActivationTable
from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, drain_step, write_back
from tritforge.hw.program import layer_layout, row_layout
from tritforge.hw.requantizer import Requantizer
from tritforge.hw.timing import activation_latency, chain_latency, result_latency
from tritforge.hw.widths import ACTIVATION_WIDTH, CODE_WIDTH, PORT_WIDTH, RESULT_WIDTH

__all__ = ["WriteBack"]


class WriteBack(wiring.Component):
    """From the drain's steps to activation slices and result memory, a fixed pipeline.

    ::

        step -> [chain's delay] -> row memory -> requantizers (W) -> tables (W) -> write-backs,
                                 partial sums -----^        +-> results            one per slice

    A step's sums arrive at the end of the chain of clusters; the row memory says how each is
    requantized and where it goes: activations to a word of a slice, or, in a layer of raw results,
    all of them to the next entry of the result memory. Where there are activation tables, each
    requantizer has a copy of them behind it.

    Where W is above the number of slices, a slice gets the activations of several lanes in a step.
    They go to one word, the word of the first of these lanes, whether that one is enabled or not.

    Timing: one step per cycle. Sums arrive ``chain_latency`` cycles after their step, results
    leave ``result_latency`` and write-backs ``activation_latency`` cycles later, a cycle more
    unless stages are few.

    Cost: ``drain_width`` requantizers, and activation tables where there are any; row memory of
    ``row_depth`` entries; registers for what a step needs beside the chain and the requantizers.

    Parameters
    ----------
    config : Config

    Members
    -------
    layer : In(layer_layout), layer_start : In(1)
        The layer, and the cycle from which on it is this one.
    step : In(drain_step)
    sums : In, arrays of ``sets`` and ``drain_width``
        Partial sums at the ends of the chains.
    row_write_address, row_write_mask, row_write_data
        Host: 32 bits for chunks of the row memory; always taken.
    table_write_enable : In(1), table_write_address : In, table_write_data : In(8)
        Host: an entry of the activation tables, where there are any; always taken.
    write_backs : Out(write_back), array of ``clusters``
    result_valid : Out(1), result_address : Out, result : Out
        An entry for the result memory.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "layer": In(layer_layout(config)),
                "layer_start": In(1),
                "step": In(drain_step(config)),
                "sums": In(signed(config.accumulator_width)).array(config.sets, config.drain_width),
                "row_write_address": In(address_width(config.row_depth)),
                "row_write_mask": In(config.memory_chunks("rows")),
                "row_write_data": In(PORT_WIDTH),
                **(
                    {
                        "table_write_enable": In(1),
                        "table_write_address": In(address_width(config.memory_depth("tables"))),
                        "table_write_data": In(ACTIVATION_WIDTH),
                    }
                    if config.activation_tables
                    else {}
                ),
                "write_backs": Out(write_back(config)).array(config.clusters),
                "result_valid": Out(1),
                "result_address": Out(address_width(config.result_depth)),
                "result": Out(config.memory_width("results")),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layer = self.layer
        chain, latency = chain_latency(config), activation_latency(config)
        m.submodules.rows = rows = ChunkMemory(
            width=config.memory_width("rows"),
            depth=config.row_depth,
            chunk_width=PORT_WIDTH,
            register_address=config.few_stages,
        )
        m.d.comb += [
            rows.write_address.eq(self.row_write_address),
            rows.write_data.eq(self.row_write_data.replicate(rows.chunks)),
            rows.write_mask.eq(self.row_write_mask),
            rows.read_address.eq(
                delayed(m, "row_address", self.step.row_address, chain - ChunkMemory.latency)
            ),
        ]

        # What else a step needs travels beside the chain and the requantizers. A pixel's window is
        # there for as long as its steps, at least one for each block.
        step = delayed(m, "step", self.step.valid, chain)
        begin, window = self.step.begin, self.step.window
        for hop, cycles in enumerate(_hops(chain, config.blocks)):
            begin, window = _held(m, f"window_{hop}", begin, window, cycles)
        counts = window
        for hop, cycles in enumerate(_hops(latency, config.blocks)):
            begin, counts = _held(m, f"counts_{hop}", begin, counts, cycles)
        source = delayed(m, "source", self.step.source, chain)
        step_out = delayed(m, "step_out", step, latency)
        m.d.comb += self.result_valid.eq(
            delayed(m, "result_step", step & layer.raw, result_latency(config))
        )
        with m.If(self.layer_start):
            m.d.sync += self.result_address.eq(layer.base)
        with m.Elif(self.result_valid):
            m.d.sync += self.result_address.eq(self.result_address + 1)

        low, high = (bound[:CODE_WIDTH].as_signed() for bound in (layer.low, layer.high))
        is_signed, no_zeros = self._among_signed(low < 0, 1), self._among_signed(low >= 0, 0)
        if config.write_back_sums:
            is_signed = Mux(layer.add, layer.sum_signed, is_signed)
            # A zero that is added changes nothing, unless what is there may be beyond the clamp.
            no_zeros = Mux(layer.add, layer.sum_signed == layer.stored_signed, no_zeros)
        rows_of_lanes: list[data.View] = []
        activations: list[Value] = []
        for lane in range(config.drain_width):
            m.submodules[f"requantizer_{lane}"] = requantizer = Requantizer(config)
            row = Signal(row_layout(config), name=f"row_{lane}")
            m.d.comb += [
                row.eq(rows.read_data[lane * config.row_entry_width :]),
                requantizer.accumulator.eq(Array(ends[lane] for ends in self.sums)[source]),
                requantizer.multiplier.eq(row.multiplier),
                requantizer.offset.eq(row.offset),
                requantizer.shift.eq(row.shift),
                requantizer.low.eq(low),
                requantizer.high.eq(high),
            ]
            if lane < config.results:
                m.d.comb += self.result.word_select(lane, RESULT_WIDTH).eq(requantizer.result)
            rows_of_lanes.append(row)
            activations.append(self._look_up(m, lane, requantizer.activation))

        self._write(
            m,
            rows_of_lanes,
            activations,
            valid=step_out & ~layer.raw,
            addresses=window.address,
            counts=counts,
            is_signed=is_signed,
            no_zeros=no_zeros,
        )
        return m

    def _write(
        self,
        m: Module,
        rows: list[data.View],
        activations: list[Value],
        *,
        valid: Value,
        addresses: Signal,
        counts: data.View,
        is_signed: Value,
        no_zeros: Value,
    ) -> None:
        """Write-backs of all slices. ``rows`` and ``addresses`` are of the time of the sums, the
        rest of that of the activations."""
        config = self.config
        latency = activation_latency(config)
        domain = "comb" if config.few_stages else "sync"  # registers to slices far away
        for first in range(config.drain_classes):
            lanes = range(first, config.drain_width, config.drain_classes)
            enable, cluster, place = (
                [delayed(m, f"{name}_{lane}", rows[lane][name], latency) for lane in lanes]
                for name in ("enable", "cluster", "lane")
            )
            there = enable if len(lanes) > 1 else [Const(1)]
            changes = Cat(
                activations[lane].any() & one for lane, one in zip(lanes, there, strict=True)
            )
            address = Signal.like(addresses, name=f"address_{first}")
            m.d.sync += address.eq(addresses + rows[first].word)
            back = Signal(write_back(config), name=f"write_back_{first}")
            m.d[domain] += [
                back.window.eq(counts),
                back.window.address.eq(delayed(m, f"address_{first}", address, latency - 1)),
                back.signed.eq(is_signed),
                back.nothing.eq(~changes.any() & no_zeros),
            ]
            for number, (value, lane) in enumerate(zip(back["values"], lanes, strict=True)):
                m.d[domain] += [value.lane.eq(place[number]), value.value.eq(activations[lane])]
                if len(lanes) > 1:
                    m.d[domain] += value.there.eq(there[number])
            if config.row_merges:
                with m.If(delayed(m, f"merge_{first}", rows[first].merge, latency)):
                    m.d[domain] += back.window.fresh_x.eq(0)
            for slice_ in range(first, config.clusters, config.drain_classes):
                own = Cat(on & (to == slice_) for on, to in zip(enable, cluster, strict=True))
                written = Signal(name=f"write_back_valid_{slice_}")
                m.d[domain] += written.eq(valid & own.any())
                m.d.comb += [
                    self.write_backs[slice_].eq(back),
                    self.write_backs[slice_].valid.eq(written),
                ]

    def _look_up(self, m: Module, lane: int, code: Signal) -> Signal:
        """What a lane's requantized code becomes: its entry where the layer has a table."""
        if not self.config.activation_tables:
            return code
        m.submodules[f"activation_table_{lane}"] = table = ActivationTable(self.config)
        m.d.comb += [
            table.code.eq(code),
            table.look_up.eq(self.layer.look_up),
            table.table.eq(self.layer.table),
            table.write_enable.eq(self.table_write_enable),
            table.write_address.eq(self.table_write_address),
            table.write_data.eq(self.table_write_data),
        ]
        if self.config.write_back_sums:
            m.d.comb += table.signed.eq(self.layer.table_signed)
        activation: Signal = table.activation
        return activation

    def _among_signed(self, requantized: Value, value: int) -> Value:
        """Whether the layer's activations are signed (1), or are not (0): as its requantized codes
        are, unless there is a table."""
        if not self.config.activation_tables:
            return requantized
        of_table = self.layer.table_signed == value
        return Value.cast(Mux(self.layer.look_up, of_table, requantized))


def _held(m: Module, name: str, begin: Signal, value: Signal, cycles: int) -> tuple[Signal, Signal]:
    """``value`` of ``cycles`` before in one register, where it stays so long after ``begin``."""
    early = delayed(m, f"{name}_begin", begin, cycles - 1)
    held = Signal.like(value, name=name)
    with m.If(early):
        m.d.sync += held.eq(value)
    return delayed(m, f"{name}_begins", early, 1), held


def _hops(cycles: int, longest: int) -> list[int]:
    """``cycles`` in as few parts as can be, none above ``longest``."""
    return [min(longest, cycles - start) for start in range(0, cycles, longest)]
