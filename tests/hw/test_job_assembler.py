"""Job assembler: jobs as their records define them, when they come, and who waits."""

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tests.hw.tiles import RandomLayer
from tritforge.hw.config import Config
from tritforge.hw.job_assembler import JobAssembler
from tritforge.hw.payloads import address_width
from tritforge.hw.program_fetch import Word


def payloads(layer, config):
    """The layer's words."""
    for word in layer.read():
        tag = {name: word.get(name, 0) for name in ("kind", "index", "last")}
        if config.group_places > 1:
            tag["place"] = word.get("place", 0)
        yield {"tag": tag, "data": word["data"] or 0}


def ends_job(tag):
    return tag["kind"] == Word.SAME_X or (tag["kind"] == Word.GEOMETRY_X and tag["index"] == 1)


def fields(job):
    """A job as :meth:`RandomLayer.jobs` has it."""
    walk, drain = job.walk, job.drain
    window = drain.window
    found = {
        name: getattr(walk, name)
        for name in (
            *("address", "trit", "count_y", "count_x", "step_x", "step_y", "word_count"),
            *("trit_step_x", "trit_step_y", "last_lanes", "plus", "minus", "signed", "rows_used"),
            "last",
        )
    }
    assert drain.rows_used == walk.rows_used
    return found | {
        "wait": job.wait,
        "release": job.release,
        "begins": job.begins,
        "place": (job.tile, job.y, job.x),
        "target": window.address,
        "windows": (window.count_y, window.count_x, window.fresh_y, window.fresh_x),
        "row_base": drain.row_base,
    }


def restart(layer):
    async def begin(ctx, block):
        ctx.set(block.base, layer.layer["base"] & (1 << len(block.base)) - 1)
        ctx.set(block.restart, 1)
        await ctx.tick()
        ctx.set(block.restart, 0)

    return begin


@pytest.mark.parametrize("groups", [1, 3, 5])
@pytest.mark.parametrize("busy", [1.0, 0.3])
def test_jobs_of_words_read_ahead(groups, busy):
    config = Config(group_places=3, rows=7, scan_width=4)
    rng = np.random.default_rng(groups)
    layer = RandomLayer(rng, config, groups=groups, height=4, dropped=0.3)
    block = JobAssembler(config)
    expected = list(layer.jobs())
    streams = Streams(rng, busy)
    found = []

    async def put(ctx):
        await restart(layer)(ctx, block)
        await Streams(rng, 0.6 if busy < 1 else 1).put(ctx, block.i, payloads(layer, config))

    async def get(ctx):
        found.extend(fields(job) for job in await streams.get(ctx, block.o, len(expected)))
        await ctx.tick().repeat(20)
        assert not ctx.get(block.o.valid)
        assert ctx.get(block.empty)

    simulate(block, put, get)
    assert found == expected


@pytest.mark.parametrize("groups", [1, 3])
def test_jobs_of_the_records_at_hand(groups):
    """Without reading ahead: the words of the next job come when the one before has been taken, or
    its pixel dropped."""
    config = Config(rows=7, scan_width=4)
    rng = np.random.default_rng(groups)
    layer = RandomLayer(rng, config, groups=groups, dropped=0.3 if groups == 1 else 0)
    block = JobAssembler(config)
    found = []

    async def bench(ctx):
        await restart(layer)(ctx, block)
        for payload in payloads(layer, config):
            assert ctx.get(block.i.ready)
            ctx.set(block.i.payload, payload)
            ctx.set(block.i.valid, 1)
            await ctx.tick()
            ctx.set(block.i.valid, 0)
            if ends_job(payload["tag"]):
                dropped = ctx.get(block.dropped)
                await ctx.tick()
                assert ctx.get(block.o.valid) == (not dropped)
                if dropped:
                    continue
                await ctx.tick().repeat(int(rng.integers(1, 5)))
                found.append(fields(ctx.get(block.o.payload)))
                ctx.set(block.o.ready, 1)
                await ctx.tick()
                ctx.set(block.o.ready, 0)

    simulate(block, bench)
    assert found == list(layer.jobs())


@pytest.mark.parametrize("groups", [1, 4])
def test_a_job_follows_its_last_word_by_two_cycles(groups):
    """Pixels of one group: a job every three cycles, those of groups of one geometry every two."""
    config = Config(group_places=4)
    layer = RandomLayer(np.random.default_rng(5), config, 1, groups, 1, 6, 0, 1)
    words = list(payloads(layer, config))
    first = next(n for n, word in enumerate(words) if ends_job(word["tag"]))
    block = JobAssembler(config)
    taken, shown = [], []

    async def bench(ctx):
        await restart(layer)(ctx, block)
        ctx.set(block.o.ready, 1)
        left = list(words)
        for cycle in range(120):
            ctx.set(block.i.valid, int(bool(left)))
            if left:
                ctx.set(block.i.payload, left[0])
                if ctx.get(block.i.ready):
                    left.pop(0)
                    taken.append(cycle)
            if ctx.get(block.o.valid):
                shown.append(cycle)
            await ctx.tick()

    simulate(block, bench)
    assert shown[0] == taken[first] + 2
    if groups == 1:
        assert taken == list(range(len(words)))
        assert set(np.diff(shown)) == {3}
    else:
        assert set(np.diff(shown)) == {2, 3}  # 3 where DESTINATION_X is in between
        assert set(np.diff(shown[::groups])) == {2 * groups + 1}


def test_a_job_that_waits():
    """Words are taken up to the last one of the next job."""
    config = Config(group_places=2)
    layer = RandomLayer(np.random.default_rng(6), config, 1, 1, 1, 6, 0, 1)
    words = list(payloads(layer, config))
    first = 2 + 8 + 1 + 2 + 1 + 2  # TILE, GROUP, a line's words, the first pixel's
    block = JobAssembler(config)

    async def bench(ctx):
        await restart(layer)(ctx, block)
        count = 0
        for _ in range(60):
            ctx.set(block.i.valid, 1)
            ctx.set(block.i.payload, words[count])
            count += ctx.get(block.i.ready)
            await ctx.tick()
        assert count == first + 3
        before = ctx.get(block.o.payload)
        assert before.x == 0
        ctx.set(block.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(block.o.valid)
        await ctx.tick()
        assert ctx.get(block.o.valid)
        assert ctx.get(block.o.payload).x == 1

    simulate(block, bench)


@pytest.mark.parametrize("places", [1, 16])
def test_verilog(tmp_path, places):
    config = Config(group_places=places)
    lint(JobAssembler(config), "job_assembler", tmp_path)
    assert address_width(config.activation_depth) == 11
