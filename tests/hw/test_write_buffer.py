"""Write buffer: all writes in order, one per cycle, and when it is empty."""

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.payloads import host_write
from tritforge.hw.write_buffer import WriteBuffer

CONFIG = Config()


def random_writes(rng, config, count):
    layout = host_write(config)
    return [
        {name: int(rng.integers(0, 1 << field.width)) for name, field in layout}
        for _ in range(count)
    ]


@pytest.mark.parametrize(("offered", "willing"), [(1.0, 1.0), (0.4, 1.0), (1.0, 0.4), (0.6, 0.6)])
def test_order(offered, willing):
    buffer = WriteBuffer(CONFIG)
    rng = np.random.default_rng(int(10 * offered + willing))
    writes = random_writes(rng, CONFIG, 200)

    async def send(ctx):
        await Streams(rng, offered).put(ctx, buffer.i, writes)

    async def receive(ctx):
        taken = await Streams(rng, willing).get(ctx, buffer.o, len(writes))
        assert [{name: write[name] for name in writes[0]} for write in taken] == writes
        assert ctx.get(buffer.empty)

    simulate(buffer, send, receive)


def test_timing():
    """One per cycle, a cycle later."""
    buffer = WriteBuffer(CONFIG)

    async def bench(ctx):
        ctx.set(buffer.o.ready, 1)
        ctx.set(buffer.i.valid, 1)
        for cycle in range(10):
            ctx.set(buffer.i.payload, {"data": cycle})
            assert ctx.get(buffer.i.ready)
            assert ctx.get(buffer.o.valid) == (cycle > 0)
            if cycle:
                assert ctx.get(buffer.o.payload.data) == cycle - 1
            await ctx.tick()

    simulate(buffer, bench)


def test_places():
    """It takes two writes that nobody takes from it."""
    buffer = WriteBuffer(CONFIG)

    async def bench(ctx):
        assert ctx.get(buffer.empty)
        ctx.set(buffer.i.valid, 1)
        for _ in range(2):
            assert ctx.get(buffer.i.ready)
            await ctx.tick()
            assert not ctx.get(buffer.empty)
        ctx.set(buffer.i.valid, 0)
        assert not ctx.get(buffer.i.ready)
        ctx.set(buffer.o.ready, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(buffer.empty)

    simulate(buffer, bench)


def test_verilog(tmp_path):
    lint(WriteBuffer(CONFIG), "write_buffer", tmp_path)
