"""Host reads: the word of the memory that was asked, when it is there."""

import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.host_reads import HostReads
from tritforge.hw.program import MEMORIES
from tritforge.hw.timing import MEMORY_LATENCY

CONFIG = Config(clusters=3, elements=3)


@pytest.mark.parametrize(
    ("memory", "cluster", "word"),
    [("activations", 0, 11), ("activations", 2, 13), ("results", 0, 21), ("counters", 0, 22)],
)
def test_words(memory, cluster, word):
    block = HostReads(CONFIG)
    late = 3 if memory == "activations" else 0

    async def bench(ctx):
        for index in range(CONFIG.clusters):
            ctx.set(block.activations[index], 11 + index)
        ctx.set(block.results, 21)
        ctx.set(block.counters, 22)
        ctx.set(block.i.payload, {"memory": MEMORIES.index(memory), "cluster": cluster})
        ctx.set(block.i.valid, 1)
        for cycle in range(late + MEMORY_LATENCY + 3):
            ctx.set(block.activations_ready[cluster], cycle == late)
            ready = ctx.get(block.i.ready)
            assert ready == (memory != "activations" or cycle == late)
            assert ctx.get(block.o.valid) == (cycle == late + MEMORY_LATENCY)
            if ctx.get(block.o.valid):
                assert ctx.get(block.o.payload) == word
            taken = ctx.get(block.i.valid) & ready
            await ctx.tick()
            if taken:
                ctx.set(block.i.valid, 0)

    simulate(block, bench)


def test_verilog(tmp_path):
    lint(HostReads(CONFIG), "host_reads", tmp_path)
