"""Drain: every accumulator of a pixel once, in order, pixel after pixel from set after set."""

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.drain import Drain
from tritforge.hw.timing import clear_latency, pixels_ahead

CONFIGS = [
    Config(rows=3, elements=4),
    Config(rows=1, elements=1, packet_words=126, sets=2),
    Config(rows=5, elements=6, drain_width=2, row_depth=500, activation_depth=300, sets=3),
    Config(rows=16, elements=4, drain_width=4, clusters=4, sets=4),
]


def steps(config, jobs):
    """What the outputs have to say, step by step."""
    entries = (1 << (config.row_depth - 1).bit_length()) - 1
    for number, job in enumerate(jobs):
        source = number % config.sets
        for row in range(job["rows_used"]):
            for block in range(config.blocks):
                yield {
                    "row": row,
                    "block": block,
                    "take": int(block == 0),
                    "window": job["window"],
                    "source": source,
                    "selected": 1 << source,
                    "row_address": job["row_base"] + row * config.blocks + block & entries,
                    "last": int(row == job["rows_used"] - 1 and block == 0),
                }


def random_job(rng, config):
    def number(low, high):
        return int(rng.integers(low, high + 1))

    return {
        "rows_used": number(1, config.rows),
        "row_base": number(0, config.row_depth - 1),
        "window": {"address": number(0, config.activation_depth - 1)}
        | {name: number(0, 15) for name in ("count_x", "count_y", "fresh_x", "fresh_y")},
    }


async def cleared(ctx, drain):
    """Wait until the accumulators have been cleared; no step must show meanwhile."""
    for _ in range(2000):
        if ctx.get(drain.ready):
            return
        assert not ctx.get(drain.step.valid)
        await ctx.tick()
    raise AssertionError("the drain is never ready")


class Sets:
    """The clusters' side: pixels get complete some time after the one before was begun."""

    def __init__(self, config, drain, rng, completion):
        self.drain, self.rng, self.completion = drain, rng, completion
        self.begun = [0] * config.sets
        self.complete = [False] * config.sets

    def play(self, ctx):
        """Once per cycle; the sets whose clusters mean the pixel that the drain means."""
        begins, parity, bits = ctx.get(self.drain.begins), ctx.get(self.drain.parity), 0
        for number in range(len(self.begun)):
            if begins >> number & 1:
                assert self.complete[number]
                self.begun[number] += 1
                self.complete[number] = False
            self.complete[number] |= bool(self.rng.random() < self.completion)
            assert parity >> number & 1 == self.begun[number] % 2
            bits |= self.complete[number] << number
        ctx.set(self.drain.complete, bits)
        return bits


def run(config, jobs, rng, offered=1.0, completion=1.0, stopped=0.0):
    """Outputs step by step, and what was seen in every cycle."""
    drain = Drain(config)
    sets = Sets(config, drain, rng, completion)
    seen, trace = [], []
    count = len(list(steps(config, jobs)))

    async def watch(ctx):
        await cleared(ctx, drain)
        while len(seen) < count:
            complete, stop = sets.play(ctx), int(rng.random() < stopped)
            ctx.set(drain.stop, stop)
            command, step = ctx.get(drain.command), ctx.get(drain.step.valid)
            if step:
                window = ctx.get(drain.step.window)
                seen.append(
                    {name: command[name] for name in ("row", "block", "take", "last")}
                    | {
                        "source": ctx.get(drain.step.source),
                        "selected": ctx.get(drain.selected),
                        "row_address": ctx.get(drain.step.row_address),
                    }
                    | {"window": {name: window[name] for name in jobs[0]["window"]}}
                )
            else:
                assert not command.take and not command.last
            trace.append(
                {"complete": complete, "stop": stop, "step": step}
                | {
                    name: ctx.get(getattr(drain, name))
                    for name in ("set", "idle", "stalled", "draining", "drained")
                }
            )
            _, _, valid, ready = await ctx.tick().sample(drain.i.valid, drain.i.ready)
            trace[-1]["accepted"] = valid and ready
        await ctx.tick()
        assert ctx.get(drain.idle) and not ctx.get(drain.step.valid)

    async def drive(ctx):
        await cleared(ctx, drain)
        await Streams(rng, offered).put(ctx, drain.i, jobs)

    simulate(drain, drive, watch)
    return seen, trace


def check_cycles(config, jobs, trace):
    """Replays ``trace``: when a pixel begins, and which of its steps come when."""
    lengths = iter([job["rows_used"] * config.blocks for job in jobs])
    stop = step = left = own = waiting = 0
    for now in trace:
        assert (now["step"], now["set"]) == (step, own)
        begins = not now["idle"] and now["complete"] >> own & 1
        assert now["draining"] == (begins or left > 0)
        assert now["stalled"] == (left > 0 and stop)
        assert now["drained"] == (left == 1 and not stop)
        step = int(left > 0 and not stop)
        if left:
            left -= step
            if not left:
                own = (own + 1) % config.sets
                waiting -= 1
                begins = waiting and now["complete"] >> own & 1
        if not left and begins:
            left = next(lengths)
        stop = now["stop"]
        waiting += now["accepted"]
    assert step == left == 0 and not list(lengths)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
@pytest.mark.parametrize(
    ("offered", "completion", "stopped"),
    [(1.0, 1.0, 0.0), (0.1, 1.0, 0.0), (1.0, 0.05, 0.0), (1.0, 1.0, 0.5), (0.3, 0.3, 0.9)],
)
def test_steps(config, offered, completion, stopped):
    rng = np.random.default_rng(config.rows)
    jobs = [random_job(rng, config) for _ in range(20)]
    seen, trace = run(config, jobs, rng, offered, completion, stopped)
    assert seen == list(steps(config, jobs))
    check_cycles(config, jobs, trace)
    assert any(now["stalled"] for now in trace) == (stopped > 0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
def test_one_step_per_cycle(config):
    """Pixels that are complete follow one another without a cycle between, as long as jobs do."""
    rng = np.random.default_rng(7)
    jobs = [random_job(rng, config) for _ in range(12)]
    _, trace = run(config, jobs, rng)
    pattern = "".join(str(now["step"]) for now in trace).lstrip("0")
    assert len(pattern.replace("0", "")) == len(list(steps(config, jobs)))
    # A pixel that the array reports late, a cycle behind the beginning of the one before.
    short = sum(job["rows_used"] * config.blocks == 1 for job in jobs)
    assert pattern.count("0") <= short


@pytest.mark.parametrize("sets", [1, 3])
def test_waits_for_complete(sets):
    """The set whose turn it is, not another; the first step two cycles later."""
    config = Config(rows=3, sets=sets)
    drain = Drain(config)

    async def bench(ctx):
        await cleared(ctx, drain)
        await Streams(np.random.default_rng(0)).put(
            ctx, drain.i, [random_job(np.random.default_rng(0), config)]
        )
        ctx.set(drain.complete, (1 << sets) - 2)
        for _ in range(50):
            assert not ctx.get(drain.step.valid) and not ctx.get(drain.draining)
            assert not ctx.get(drain.idle)
            await ctx.tick()
        ctx.set(drain.complete, 1)
        assert ctx.get(drain.draining)
        await ctx.tick()
        assert not ctx.get(drain.step.valid)
        await ctx.tick()
        assert ctx.get(drain.step.valid)

    simulate(drain, bench)


def test_restart():
    """A layer's first pixel is the first set's, whoever had the last one; parities stay."""
    config = Config(sets=3)
    drain = Drain(config)
    sources = []

    async def bench(ctx):
        sets = Sets(config, drain, np.random.default_rng(0), 1.0)

        async def pixels(count):
            ctx.set(drain.i.payload, {"rows_used": 1, "row_base": 0})
            for cycle in range(10 * count):
                ctx.set(drain.i.valid, int(cycle < count))
                sets.play(ctx)
                if ctx.get(drain.step.valid) and ctx.get(drain.command.last):
                    sources.append(ctx.get(drain.step.source))
                await ctx.tick()
            assert ctx.get(drain.idle)
            ctx.set(drain.restart, 1)
            await ctx.tick()
            ctx.set(drain.restart, 0)
            assert ctx.get(drain.set) == 0

        await cleared(ctx, drain)
        for count in (1, 2, 5, 3):
            await pixels(count)
        assert sets.begun == [5, 4, 2] and ctx.get(drain.parity) == 0b001

    simulate(drain, bench)
    assert sources == [0, 0, 1, 0, 1, 2, 0, 1, 0, 1, 2]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
@pytest.mark.parametrize("again", [False, True])
def test_accumulators_are_cleared(config, again):
    """Every row of every bank is taken, of all sets; the clusters' tags end where they began."""
    drain = Drain(config)
    taken, oldest, cycles = set(), 0, 0

    async def bench(ctx):
        nonlocal oldest, cycles
        if again:
            await cleared(ctx, drain)
            ctx.set(drain.clear, 1)
            await ctx.tick()
            ctx.set(drain.clear, 0)
            assert not ctx.get(drain.ready)
        while not ctx.get(drain.ready):
            command = ctx.get(drain.command)
            if command.take or command.last:
                assert ctx.get(drain.selected) == (1 << config.sets) - 1
            if command.take:
                taken.add((oldest % config.banks, command.row))
            oldest += command.last
            cycles += 1
            await ctx.tick()

    simulate(drain, bench)
    assert taken == {(bank, row) for bank in range(config.banks) for row in range(config.rows)}
    assert oldest == 2 * config.banks
    assert cycles <= 2 * config.banks * config.rows + clear_latency(config) + 4


@pytest.mark.parametrize("sets", [1, 4])
def test_jobs_wait(sets):
    config = Config(sets=sets)
    drain = Drain(config)
    taken = 0

    async def bench(ctx):
        nonlocal taken
        ctx.set(drain.i.valid, 1)
        for _ in range(30 * sets):
            taken += ctx.get(drain.i.ready)
            await ctx.tick()

    simulate(drain, bench)
    assert taken == pixels_ahead(config)


@pytest.mark.compiles
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"R{config.rows}")
def test_verilog(config, tmp_path):
    lint(Drain(config), "drain", tmp_path)
