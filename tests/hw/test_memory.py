"""Chunked memory: latency, masks, reading while writing."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import Holder, lint, simulate
from tritforge.hw.memory import ChunkMemory

SIZES = [(32, 16, 32), (40, 5, 8), (70, 9, 32), (5, 2, 32), (1, 3, 8), (64, 1, 32)]


@pytest.mark.parametrize(("width", "depth", "chunk"), SIZES)
def test_random_traffic(width, depth, chunk):
    memory = ChunkMemory(width=width, depth=depth, chunk_width=chunk)
    part = min(width, chunk)
    assert memory.chunks == -(-width // part) and memory.latency == 2
    rng = np.random.default_rng(width)
    contents = [0] * depth
    hits = 0

    async def bench(ctx):
        nonlocal hits
        expected = deque([None] * memory.latency)
        for _ in range(400):
            read, write = int(rng.integers(depth)), int(rng.integers(depth))
            mask = int(rng.integers(1 << memory.chunks)) if rng.random() < 0.7 else 0
            data = int.from_bytes(rng.bytes(16), "little") & ((1 << memory.chunks * part) - 1)
            ctx.set(memory.read_address, read)
            ctx.set(memory.write_address, write)
            ctx.set(memory.write_mask, mask)
            ctx.set(memory.write_data, data)
            expected.append(contents[read])  # a read meets the old contents
            arrived = expected.popleft()
            if arrived is not None:
                assert ctx.get(memory.read_data) == arrived
                hits += arrived != 0
            for index in range(memory.chunks):
                if mask >> index & 1:
                    lanes = ((1 << part) - 1) << index * part
                    contents[write] = (contents[write] & ~lanes | data & lanes) & ((1 << width) - 1)
            await ctx.tick()

    simulate(memory, bench)
    assert hits > 50


def test_read_of_a_word_being_written_gives_the_old():
    memory = ChunkMemory(width=8, depth=4, chunk_width=8)

    async def bench(ctx):
        ctx.set(memory.read_address, 3)
        ctx.set(memory.write_address, 3)
        ctx.set(memory.write_data, 77)
        ctx.set(memory.write_mask, 1)
        await ctx.tick()
        ctx.set(memory.write_mask, 0)
        ctx.set(memory.write_data, 11)
        seen = []
        for _ in range(4):
            await ctx.tick()
            seen.append(ctx.get(memory.read_data))
        assert seen == [0, 77, 77, 77]

    simulate(memory, bench)


@pytest.mark.compiles
@pytest.mark.parametrize(("width", "depth", "chunk"), SIZES)
def test_verilog(width, depth, chunk, tmp_path):
    memory = ChunkMemory(width=width, depth=depth, chunk_width=chunk)
    lint(Holder(memory), "holder", tmp_path)
