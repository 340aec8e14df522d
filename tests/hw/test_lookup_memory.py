"""Memories that answer in the cycle of the address, and queues made of them."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.lookup_memory import LookupMemory, Queue


@pytest.mark.parametrize(("width", "depth"), [(1, 2), (5, 3), (40, 32)])
def test_a_word_shows_in_the_cycle_of_its_address(width, depth):
    memory = LookupMemory(width=width, depth=depth)
    rng = np.random.default_rng(depth)
    contents = [0] * depth

    async def bench(ctx):
        for _ in range(300):
            read, write = (int(place) for place in rng.integers(0, depth, 2))
            value, enable = int(rng.integers(1 << width)), int(rng.integers(2))
            ctx.set(memory.read_address, read)
            ctx.set(memory.write_address, write)
            ctx.set(memory.write_data, value)
            ctx.set(memory.write_enable, enable)
            assert ctx.get(memory.read_data) == contents[read]
            await ctx.tick()
            if enable:
                contents[write] = value

    simulate(memory, bench)


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
@pytest.mark.parametrize(("writing", "reading"), [(1, 1), (0.8, 0.3), (0.3, 0.8), (0.5, 0.5)])
def test_queue(depth, writing, reading):
    """First in, first out; an entry shows one cycle after it is written."""
    queue = Queue(width=9, depth=depth)
    rng = np.random.default_rng(depth)
    entries = deque()  # (cycle in which it shows, value)

    async def bench(ctx):
        for cycle in range(400):
            value, write, read = (
                int(rng.integers(1 << 9)),
                int(rng.random() < writing),
                int(rng.random() < reading),
            )
            ctx.set(queue.w_data, value)
            ctx.set(queue.w_en, write)
            ctx.set(queue.r_en, read)
            room, shows = len(entries) < depth, bool(entries) and entries[0][0] <= cycle
            assert ctx.get(queue.level) == len(entries)
            assert ctx.get(queue.w_rdy) == room
            assert ctx.get(queue.r_rdy) == shows
            if shows:
                assert ctx.get(queue.r_data) == entries[0][1]
            await ctx.tick()
            if read and shows:
                entries.popleft()
            if write and room:
                entries.append((cycle + 1, value))

    simulate(queue, bench)


@pytest.mark.compiles
def test_verilog(tmp_path):
    assert "module" in lint(Queue(width=9, depth=5), "queue", tmp_path)
