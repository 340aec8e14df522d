"""Memories that answer in the cycle of the address, and queues made of them."""

from amaranth.hdl import ClockSignal, Instance, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.hierarchy import SharedModules
from tritforge.hw.payloads import address_width

__all__ = ["LookupMemory", "Queue"]


class LookupMemory(wiring.Component):
    """Memory with one write port and one read port without latency.

    Timing: ``read_data`` belong to ``read_address`` of the same cycle; a word written in cycle t
    reads as new from t+1 on.

    Cost: ``width * depth`` bits of distributed memory. An iCE40 has none: its body is a block RAM
    that reads at the clock's falling edge, which looks the same as long as the address settles in
    half a cycle, and leaves half a cycle to what follows.

    In Verilog it is an instance of ``lookup_memory``, written by hand with a body per target
    (:mod:`tritforge.hw.bodies`).

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.

    Members
    -------
    read_address : In
    read_data : Out(width)
    write_enable : In(1)
    write_address : In
    write_data : In(width)
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "read_address": In(address_width(depth)),
                "read_data": Out(width),
                "write_enable": In(1),
                "write_address": In(address_width(depth)),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform: object) -> Module | Instance:
        if isinstance(platform, SharedModules):
            platform.bodies.add("lookup_memory")
            return Instance(
                "lookup_memory",
                p_WIDTH=self.width,
                p_DEPTH=self.depth,
                p_ADDRESS=len(self.read_address),
                i_clk=ClockSignal(),
                i_read_address=self.read_address,
                o_read_data=self.read_data,
                i_write_enable=self.write_enable,
                i_write_address=self.write_address,
                i_write_data=self.write_data,
            )
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")
        m.d.comb += [
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
        ]
        return m


class Queue(wiring.Component):
    """First in, first out; what Amaranth's ``SyncFIFO`` does, on a :class:`LookupMemory`.

    Timing: what is written in cycle t shows from t+1 on; one entry in and one out per cycle.

    Cost: a :class:`LookupMemory` of ``depth`` words; pointers and level.

    Parameters
    ----------
    width : int
    depth : int
        Places.

    Members
    -------
    w_rdy : Out(1), w_en : In(1), w_data : In(width)
        Written where both are high.
    r_rdy : Out(1), r_en : In(1), r_data : Out(width)
        The oldest entry; taken where both are high.
    level : Out
        Entries.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "w_rdy": Out(1),
                "w_en": In(1),
                "w_data": In(width),
                "r_rdy": Out(1),
                "r_en": In(1),
                "r_data": Out(width),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write, read = Signal(), Signal()
        write_place, read_place = Signal(range(self.depth)), Signal(range(self.depth))
        level = Signal(range(self.depth + 1))
        m.submodules.storage = storage = LookupMemory(width=self.width, depth=self.depth)
        m.d.comb += [
            self.level.eq(level),
            self.w_rdy.eq(level != self.depth),
            self.r_rdy.eq(level != 0),
            write.eq(self.w_en & self.w_rdy),
            read.eq(self.r_en & self.r_rdy),
            storage.write_enable.eq(write),
            storage.write_address.eq(write_place),
            storage.write_data.eq(self.w_data),
            storage.read_address.eq(read_place),
            self.r_data.eq(storage.read_data),
        ]
        with m.If(write):
            m.d.sync += write_place.eq(self._after(write_place))
        with m.If(read):
            m.d.sync += read_place.eq(self._after(read_place))
        with m.If(write != read):
            m.d.sync += level.eq(level + Mux(read, -1, 1))
        return m

    def _after(self, place: Signal) -> Value:
        return Mux(place == self.depth - 1, 0, place + 1)
