"""Program memory: words come out as they went in, whole or in halves."""

import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.program_memory import ProgramMemory
from tritforge.hw.timing import MEMORY_LATENCY


@pytest.mark.parametrize("ports", [1, 2])
def test_words(ports):
    config = Config(memory_ports=ports, program_depth=64)
    block = ProgramMemory(config)
    words = {address: 0x9E3779B9 * (address + 1) & 0xFFFFFFFF for address in (0, 1, 31, 63)}

    async def bench(ctx):
        ctx.set(block.write_enable, 1)
        for address, word in words.items():
            ctx.set(block.write_address, address)
            ctx.set(block.write_data, word)
            for half in range(config.program_reads):
                ctx.set(block.write_half, half)
                await ctx.tick()
        ctx.set(block.write_enable, 0)
        for address, word in words.items():
            ctx.set(block.fetch_address, address)
            for half in range(config.program_reads):
                ctx.set(block.fetch_half, half)
                await ctx.tick()
            await ctx.tick().repeat(MEMORY_LATENCY - 1)
            assert ctx.get(block.fetch_data) == word

    simulate(block, bench)


@pytest.mark.parametrize("ports", [1, 2])
def test_verilog(tmp_path, ports):
    lint(ProgramMemory(Config(memory_ports=ports)), "program_memory", tmp_path)
