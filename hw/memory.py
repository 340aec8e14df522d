"""Memories with one read and one write port, as block RAM has them, or with one for both."""

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.hierarchy import SharedModules
from tritforge.hw.payloads import address_width
from tritforge.hw.timing import MEMORY_LATENCY

__all__ = ["ChunkMemory"]


class ChunkMemory(wiring.Component):
    """Memory read in whole words and written in chunks.

    Timing: data of the address presented in cycle t stands in cycle t + ``latency``; one read
    and one write per cycle. A read of a word in the cycle in which it is written gives undefined
    data, as do all reads in a cycle with a write where the memory has a single port. The output
    register lets an FPGA use the one inside its block RAM.

    Cost: one memory of ``width * depth`` bits, ``width`` flip-flops.

    In Verilog it is an instance of ``chunk_memory``, written by hand: one module for all sizes,
    quick to generate and quick to simulate, with a body per target (:mod:`tritforge.hw.bodies`).
    Amaranth's own simulator gets the same from Amaranth's memory. In a native simulation without
    optimization the undefined data are wrong ones.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.
    chunk_width : int
        Bits that one bit of ``write_mask`` enables; the last chunk may be narrower.
    single_port : bool
        Reads and writes share a port; the contents are undefined at first.
    register_address : bool
        The address is registered instead of the output, which takes fewer flip-flops where the
        word is wide; what is said of the cycle of a read is then true of the one after it.

    Members
    -------
    read_address : In
    read_data : Out(width)
    write_address : In
    write_mask : In(chunks)
        Chunks to write; all zeros writes nothing.
    write_data : In(chunks * chunk_width)
    """

    latency = MEMORY_LATENCY

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        chunk_width: int,
        single_port: bool = False,
        register_address: bool = False,
    ) -> None:
        self.register_address = register_address
        self.single_port = single_port
        self.width = width
        self.depth = depth
        self.chunk_width = min(chunk_width, width)
        self.chunks = -(-width // self.chunk_width)
        super().__init__(
            {
                "read_address": In(address_width(depth)),
                "read_data": Out(width),
                "write_address": In(address_width(depth)),
                "write_mask": In(self.chunks),
                "write_data": In(self.chunks * self.chunk_width),
            }
        )

    def elaborate(self, platform: object) -> Module | Instance:
        if isinstance(platform, SharedModules):
            platform.bodies.add("chunk_memory")
            return Instance(
                "chunk_memory",
                p_WIDTH=self.width,
                p_CHUNK=self.chunk_width,
                p_CHUNKS=self.chunks,
                p_DEPTH=self.depth,
                p_ADDRESS=len(self.read_address),
                p_SINGLE_PORT=int(self.single_port),
                p_REGISTER_ADDRESS=int(self.register_address),
                i_clk=ClockSignal(),
                i_read_address=self.read_address,
                o_read_data=self.read_data,
                i_write_address=self.write_address,
                i_write_mask=self.write_mask,
                i_write_data=self.write_data,
            )
        m = Module()
        padded = self.chunks * self.chunk_width
        m.submodules.storage = storage = memory.Memory(shape=padded, depth=self.depth, init=[])
        write = storage.write_port(granularity=self.chunk_width)
        read = storage.read_port()
        output = Signal(self.width, reset_less=True)
        address = Signal.like(self.read_address)
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.en.eq(self.write_mask),
            write.data.eq(self.write_data),
            read.addr.eq(address if self.register_address else self.read_address),
            self.read_data.eq(read.data if self.register_address else output),
        ]
        m.d.sync += [output.eq(read.data), address.eq(self.read_address)]
        return m
