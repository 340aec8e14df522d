"""Drain: every accumulator of a pixel once per pooled pixel, in order, one step per cycle."""

import numpy as np
import pytest
from benches import Streams, lint, simulate

from hw.config import Config
from hw.drain import JOB_PLACES, Drain
from hw.merge import MERGE_LATENCY

CONFIGS = [Config(rows=3, elements=4), Config(rows=1, elements=1, packet_words=126),
           Config(rows=5, elements=6, drain_width=2, row_depth=500, activation_depth=300),
           Config(rows=16, elements=4, drain_width=4, clusters=4)]
STEP_X, STEP_Y = 3, 17


def steps(config, job):
    """What the outputs have to say, step by step."""
    mask = (1 << (config.activation_depth - 1).bit_length()) - 1
    entries = (1 << (config.row_depth - 1).bit_length()) - 1
    for row in range(job["rows_used"]):
        for block in range(config.blocks):
            for y in range(job["count_y"]):
                for x in range(job["count_x"]):
                    yield {
                        "row": row, "block": block, "repeat": int(x > 0 or y > 0),
                        "take": int(block == 0 and x == 0 and y == 0),
                        "address": job["address"] + y * STEP_Y + x * STEP_X & mask,
                        "merge": int(x < job["first_x"] or y < job["first_y"]),
                        "row_address": job["row_base"] + row * config.blocks + block & entries,
                        "last": int(row == job["rows_used"] - 1 and block == config.blocks - 1
                                    and x == job["count_x"] - 1 and y == job["count_y"] - 1),
                    }


def random_job(rng, config):
    def number(low, high):
        return int(rng.integers(low, high + 1))

    count_x, count_y = number(1, 3), number(1, 3)
    return {
        "rows_used": number(1, config.rows), "row_base": number(0, config.row_depth - 1),
        "address": number(0, config.activation_depth - 1),
        "count_x": count_x, "count_y": count_y,
        "first_x": number(0, count_x), "first_y": number(0, count_y),
    }


async def cleared(ctx, drain):
    """Wait until the accumulators have been cleared; no step must show meanwhile."""
    for _ in range(2000):
        if ctx.get(drain.ready):
            return
        assert not ctx.get(drain.step)
        await ctx.tick()
    raise AssertionError("the drain is never ready")


def run(config, jobs, rng, offered=1.0, completion=1.0):
    """Outputs step by step, and their cycles.

    As in the array, a pixel is complete some time after its predecessor's bank was freed.
    """
    drain = Drain(config)
    seen, cycles = [], []
    count = sum(len(list(steps(config, job))) for job in jobs)

    async def watch(ctx):
        ctx.set(drain.step_x, STEP_X)
        ctx.set(drain.step_y, STEP_Y)
        cycle = pixel = 0
        complete = False
        await cleared(ctx, drain)
        while len(seen) < count:
            complete = complete or rng.random() < completion
            # Clusters mean the pixel whose parity they show; the drain's must agree.
            ctx.set(drain.complete, int(complete and ctx.get(drain.parity) == pixel % 2))
            command = ctx.get(drain.command)
            step = ctx.get(drain.step)
            if not step:
                assert not command.take and not command.last
            else:
                assert complete
                assert ctx.get(drain.draining) or command.last
                seen.append({"row": command.row, "block": command.block,
                             "take": command.take, "last": command.last}
                            | {name: ctx.get(getattr(drain, name))
                               for name in ("repeat", "address", "merge", "row_address")})
                cycles.append(cycle)
                if command.last:
                    pixel += 1
                    complete = False
            await ctx.tick()
            cycle += 1
        await ctx.tick()
        assert ctx.get(drain.idle) and not ctx.get(drain.step)

    async def drive(ctx):
        await Streams(rng, offered).put(ctx, drain.i, jobs)

    simulate(drain, drive, watch)
    return seen, cycles


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
@pytest.mark.parametrize(("offered", "completion"), [(1.0, 1.0), (0.1, 1.0), (1.0, 0.05)])
def test_steps(config, offered, completion):
    rng = np.random.default_rng(config.rows)
    jobs = [random_job(rng, config) for _ in range(20)]
    seen, _ = run(config, jobs, rng, offered, completion)
    assert seen == [step for job in jobs for step in steps(config, job)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
def test_cycles(config):
    """One step per cycle; pixels are at least MERGE_LATENCY apart and hardly more."""
    rng = np.random.default_rng(7)
    jobs = [random_job(rng, config) for _ in range(12)]
    _, cycles = run(config, jobs, rng)
    start = 0
    for job in jobs:
        length = len(list(steps(config, job)))
        part = cycles[start:start + length]
        assert part == list(range(part[0], part[0] + length))
        if start:
            assert MERGE_LATENCY <= part[0] - cycles[start - 1] <= MERGE_LATENCY + 3
        start += length


def test_waits_for_complete():
    config = CONFIGS[0]
    drain = Drain(config)

    async def bench(ctx):
        await cleared(ctx, drain)
        await Streams(np.random.default_rng(0)).put(
            ctx, drain.i, [random_job(np.random.default_rng(0), config)])
        for _ in range(50):
            assert not ctx.get(drain.step) and not ctx.get(drain.draining)
            assert not ctx.get(drain.idle)
            await ctx.tick()
        ctx.set(drain.complete, 1)
        assert ctx.get(drain.draining)
        await ctx.tick().repeat(2)
        assert ctx.get(drain.step)

    simulate(drain, bench)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
def test_accumulators_are_cleared_after_reset(config):
    """Every row of every bank is taken; the clusters' tags end where they began."""
    drain = Drain(config)
    taken, oldest, cycles = set(), 0, 0

    async def bench(ctx):
        nonlocal oldest, cycles
        while not ctx.get(drain.ready):
            command = ctx.get(drain.command)
            if command.take:
                taken.add((oldest % config.banks, command.row))
            oldest += command.last
            cycles += 1
            await ctx.tick()

    simulate(drain, bench)
    assert taken == {(bank, row) for bank in range(config.banks) for row in range(config.rows)}
    assert oldest == 2 * config.banks
    assert cycles <= 2 * config.banks * config.rows + drain.clear_latency + 4


def test_jobs_wait():
    drain = Drain(CONFIGS[0])
    taken = 0

    async def bench(ctx):
        nonlocal taken
        ctx.set(drain.i.valid, 1)
        for _ in range(30):
            taken += ctx.get(drain.i.ready)
            await ctx.tick()

    simulate(drain, bench)
    assert taken == JOB_PLACES


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
def test_verilog(config, tmp_path):
    lint(Drain(config), "drain", tmp_path)
