"""Program memory: 32-bit words, read in one cycle or, with one port, in two."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["ProgramMemory"]


class ProgramMemory(wiring.Component):
    """The program's words, for the sequencer to read and the host to write.

    With two ports a word is one access. With one port a word stands in two halves of 16 bits: both
    sides give the lower half's address, then the upper one's.

    Timing: ``fetch_data`` is the word whose last half was addressed ``MEMORY_LATENCY`` cycles ago.

    Cost: ``program_depth`` x 32 bits; with one port 16 flip-flops for the lower half.

    Parameters
    ----------
    config : Config

    Members
    -------
    fetch_address : In, fetch_half : In(1), fetch_data : Out(32)
        What the sequencer reads; the half counts with one port only.
    write_enable : In(1), write_address : In, write_half : In(1), write_data : In(32)
        What the host writes; of ``write_data`` the half, with one port.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        address = address_width(config.program_depth)
        super().__init__(
            {
                "fetch_address": In(address),
                "fetch_half": In(1),
                "fetch_data": Out(PORT_WIDTH),
                "write_enable": In(1),
                "write_address": In(address),
                "write_half": In(1),
                "write_data": In(PORT_WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads = self.config.program_reads
        width = PORT_WIDTH // reads
        m.submodules.program = program = ChunkMemory(
            width=width,
            depth=self.config.program_depth * reads,
            chunk_width=width,
            single_port=self.config.memory_ports == 1,
        )
        m.d.comb += program.write_mask.eq(self.write_enable)
        if reads == 1:
            m.d.comb += [
                program.read_address.eq(self.fetch_address),
                self.fetch_data.eq(program.read_data),
                program.write_address.eq(self.write_address),
                program.write_data.eq(self.write_data),
            ]
        else:
            lower = Signal(width)
            m.d.sync += lower.eq(program.read_data)
            m.d.comb += [
                program.read_address.eq(Cat(self.fetch_half, self.fetch_address)),
                self.fetch_data.eq(Cat(lower, program.read_data)),
                program.write_address.eq(Cat(self.write_half, self.write_address)),
                program.write_data.eq(
                    Mux(self.write_half, self.write_data[width:], self.write_data[:width])
                ),
            ]
        return m
