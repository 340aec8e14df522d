"""Command registers: every word to its place, and what is left of the packet."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.command_registers import CommandRegisters, command, command_part
from tritforge.hw.config import Config
from tritforge.hw.protocol import Opcode

CONFIG = Config(packet_words=40, activation_depth=1000, trit_depth=256, program_depth=256)
PLAIN = Config(packet_words=40, unpack_trits=False)


async def take(ctx, registers, part, word):
    ctx.set(registers.word, word)
    ctx.set(registers.take, 1)
    ctx.set(registers.part, {part: 1} if part else {})
    await ctx.tick()
    ctx.set(registers.take, 0)
    ctx.set(registers.part, {})


@pytest.mark.parametrize("opcode", [Opcode.WRITE, Opcode.RUN])
def test_packets(opcode):
    registers = CommandRegisters(CONFIG)
    rng = np.random.default_rng(opcode)
    layout = command(CONFIG)
    address_width, count_width = (layout[name].width for name in ("address", "count"))

    async def bench(ctx):
        for _ in range(100):
            memory, cluster, tag = (int(number) for number in rng.integers(0, 256, 3))
            address, count = (
                int(number) >> int(rng.integers(32)) for number in rng.integers(0, 1 << 32, 2)
            )
            rows_used = int(rng.integers(1 << 32))
            length = int(rng.integers(5, 41))
            header = opcode | memory << 8 | cluster << 16 | tag << 24
            for part, word in (
                ("header", header),
                ("length", length),
                ("address", address),
                ("count", count),
                ("rows_used", rows_used),
            ):
                await take(ctx, registers, part, word)
            given = ctx.get(registers.command)
            assert (given.opcode, given.memory, given.cluster, given.tag) == (
                opcode,
                memory,
                cluster,
                tag,
            )
            assert given.address == address % (1 << address_width)
            assert given.vast_address == (address >= 1 << address_width)
            assert given.count == count % (1 << count_width)
            beyond = count % (1 << 31) if opcode == Opcode.RUN else count
            assert given.vast_count == (beyond >= 1 << count_width)
            assert given.waits == count >> 31
            assert given.rows_used == rows_used
            assert given.left == length - 3
            await take(ctx, registers, "", 0)
            assert ctx.get(registers.command.left) == length - 4
            ctx.set(registers.advance, 1)
            await ctx.tick()
            ctx.set(registers.advance, 0)
            assert ctx.get(registers.command.address) == (address + 1) % (1 << address_width)
            ctx.set(registers.clear, 1)
            await ctx.tick()
            ctx.set(registers.clear, 0)
            given = ctx.get(registers.command)
            assert (given.opcode, given.memory, given.tag, given.left) == (0, 0, 0, 0)

    simulate(registers, bench)


def test_rows_are_kept_where_trits_are_unpacked():
    for config in (CONFIG, PLAIN):
        for layout in (command(config), command_part(config)):
            assert ("rows_used" in dict(layout)) == config.unpack_trits


@pytest.mark.parametrize("config", [CONFIG, PLAIN], ids=["unpacks", "plain"])
def test_verilog(config, tmp_path):
    lint(CommandRegisters(config), "command_registers", tmp_path)
