"""Host writes: every word reaches its memory, as late as is said."""

import pytest
from amaranth.hdl import Module, Signal

from tests.hw.benches import lint, simulate
from tritforge.hw.config import CHOICES, Config
from tritforge.hw.host_writes import HostWrites
from tritforge.hw.program import MEMORIES


def config_of(ports, stages):
    return Config(
        memory_ports=ports, register_stages=stages, rows=8, elements=4, activation_tables=2
    )


def clocked(block):
    """With a clock, which the block itself does without where ports are two and stages few."""
    m = Module()
    m.submodules.block = block
    m.d.sync += Signal(name="clocked").eq(1)
    return m


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
@pytest.mark.parametrize("ports", [1, 2])
def test_words_reach_their_memories(ports, stages):
    config = config_of(ports, stages)
    block = HostWrites(config)
    late = 0 if config.few_stages else 2

    async def bench(ctx):
        for memory, cluster, chunk, port in (
            ("rows", 0, 1, block.rows),
            ("trits", 1, 1, block.trits[1]),
            ("trits", 0, 0, block.trits[0]),
            ("tables", 0, 0, block.tables),
        ):
            given = {"memory": MEMORIES.index(memory), "cluster": cluster, "chunk": chunk}
            ctx.set(block.i.payload, given | {"address": 5, "data": 77})
            ctx.set(block.i.valid, 1)
            assert ctx.get(block.i.ready)
            for cycle in range(late + 1):
                assert ctx.get(port) == (1 << chunk if cycle == late else 0)
                if cycle == late:
                    assert (ctx.get(block.address), ctx.get(block.data)) == (5, 77)
                await ctx.tick()
                ctx.set(block.i.valid, 0)
            await ctx.tick().repeat(4)

    simulate(clocked(block), bench)


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
@pytest.mark.parametrize("ports", [1, 2])
def test_program_words(ports, stages):
    """With one port a word takes two cycles, lower half first."""
    config = config_of(ports, stages)
    block = HostWrites(config)
    late = 0 if config.few_stages else 2
    seen = []

    async def bench(ctx):
        ctx.set(block.i.payload, {"memory": MEMORIES.index("program"), "address": 3})
        ctx.set(block.i.valid, 1)
        for cycle in range(8):
            if ctx.get(block.program):
                seen.append((cycle, ctx.get(block.program_half)))
            taken = ctx.get(block.i.valid) & ctx.get(block.i.ready)
            await ctx.tick()
            if taken:
                ctx.set(block.i.valid, 0)

    simulate(clocked(block), bench)
    assert seen == [(late + half, half) for half in range(config.program_reads)]


@pytest.mark.parametrize("ports", [1, 2])
def test_slices_take_words_when_they_can(ports):
    block = HostWrites(config_of(ports, "full"))

    async def bench(ctx):
        ctx.set(block.i.payload, {"memory": MEMORIES.index("activations"), "cluster": 1})
        ctx.set(block.i.valid, 1)
        await ctx.delay(1e-9)
        assert not ctx.get(block.i.ready)
        assert [ctx.get(port) for port in block.activations_valid] == [0, 1]
        ctx.set(block.activations_ready[1], 1)
        await ctx.delay(1e-9)
        assert ctx.get(block.i.ready)
        ctx.set(block.running, 1)
        await ctx.delay(1e-9)
        assert ctx.get(block.i.ready) == (ports == 2)
        assert [ctx.get(port) for port in block.activations_valid] == [0, int(ports == 2)]

    simulate(clocked(block), bench)


def test_verilog(tmp_path):
    for stages in CHOICES["register_stages"]:
        assert "tables" in lint(HostWrites(config_of(1, stages)), f"writes_{stages}", tmp_path)


def test_without_tables_there_is_no_port_for_them(tmp_path):
    assert "tables" not in lint(HostWrites(Config()), "writes", tmp_path)
