"""Activation table: every code of every table, after exact times, while others are written."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.activation_table import ActivationTable
from tritforge.hw.config import CHOICES, Config
from tritforge.hw.timing import (
    MEMORY_LATENCY,
    activation_latency,
    requantizer_latency,
    table_latency,
)
from tritforge.sim.golden import look_up


def config_of(tables, stages="full"):
    return Config(activation_tables=tables, register_stages=stages)


async def write(ctx, block, number, table):
    """A whole table through the write port."""
    ctx.set(block.write_enable, 1)
    for code, entry in enumerate(table):
        ctx.set(block.write_address, 256 * number + code)
        ctx.set(block.write_data, int(entry) & 0xFF)
        await ctx.tick()
    ctx.set(block.write_enable, 0)


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
@pytest.mark.parametrize("tables", [1, 2, 3, 8])
def test_every_code_of_every_table(tables, stages):
    """A code in every cycle; each comes out ``table_latency`` cycles later."""
    config = config_of(tables, stages)
    block = ActivationTable(config)
    rng = np.random.default_rng(tables)
    contents = rng.integers(-128, 128, (tables, 256))

    async def bench(ctx):
        for number, table in enumerate(contents):
            await write(ctx, block, number, table)
        for number, table in enumerate(contents):
            ctx.set(block.table, number)
            ctx.set(block.look_up, 1)
            expected = deque([None] * table_latency(config))
            for code in [*rng.permutation(np.arange(-128, 256)), *[0] * table_latency(config)]:
                ctx.set(block.code, int(code) & 0xFF)
                expected.append(int(look_up(table, np.array(code))) & 0xFF)
                wanted = expected.popleft()
                if wanted is not None:
                    assert ctx.get(block.activation) == wanted
                await ctx.tick()

    simulate(block, bench)


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
def test_a_layer_without_a_table_keeps_its_codes_as_long(stages):
    config = config_of(2, stages)
    block = ActivationTable(config)

    async def bench(ctx):
        await write(ctx, block, 0, np.full(256, 99))
        expected = deque([None] * table_latency(config))
        for code in [*range(256), 0, 0]:
            ctx.set(block.code, code)
            expected.append(code)
            wanted = expected.popleft()
            if wanted is not None:
                assert ctx.get(block.activation) == wanted
            await ctx.tick()

    simulate(block, bench)


def test_a_table_is_written_while_another_is_read():
    config = config_of(2)
    block = ActivationTable(config)
    first, second = np.arange(256)[::-1], np.full(256, 7)
    over = []

    async def writer(ctx):
        await write(ctx, block, 0, first)
        await write(ctx, block, 1, second)
        over.append(True)

    async def reader(ctx):
        await ctx.tick().repeat(256)
        ctx.set(block.look_up, 1)
        for code in range(0, 256, 3):
            assert not over
            ctx.set(block.code, code)
            await ctx.tick().repeat(table_latency(config))
            assert ctx.get(block.activation) == 255 - code
        while not over:
            await ctx.tick()
        ctx.set(block.table, 1)
        await ctx.tick().repeat(table_latency(config))
        assert ctx.get(block.activation) == 7

    simulate(block, writer, reader)


def test_an_entry_is_read_from_the_cycle_after_its_write():
    config = config_of(1)
    block = ActivationTable(config)

    async def bench(ctx):
        ctx.set(block.look_up, 1)
        ctx.set(block.code, 5)
        ctx.set(block.write_address, 5)
        ctx.set(block.write_data, 44)
        ctx.set(block.write_enable, 1)
        await ctx.tick()
        ctx.set(block.write_enable, 0)
        await ctx.tick().repeat(table_latency(config))
        assert ctx.get(block.activation) == 44

    simulate(block, bench)


def test_latency():
    with_tables, without = config_of(1), config_of(0)
    assert table_latency(without) == 0 and table_latency(with_tables) == MEMORY_LATENCY
    assert activation_latency(without) == requantizer_latency(without)
    assert activation_latency(with_tables) == requantizer_latency(with_tables) + MEMORY_LATENCY


@pytest.mark.compiles
@pytest.mark.parametrize("stages", CHOICES["register_stages"])
@pytest.mark.parametrize("tables", [1, 3, 32])
def test_verilog(tables, stages, tmp_path):
    lint(ActivationTable(config_of(tables, stages)), "activation_table", tmp_path)
