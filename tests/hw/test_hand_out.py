"""Hand-out: whose turn it is, who must have room, signals and releases."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.hand_out import HandOut
from tritforge.hw.timing import RELEASE_LATENCY


def job(number, last=1, **fields):
    return {"walk": {"address": number, "last": last}, "drain": {"row_base": number}, **fields}


class Bench:
    """Jobs that are there at once, and what happens to them by cycle."""

    def __init__(self, jobs, config=None, **inputs):
        self.jobs, self.inputs = jobs, inputs
        self.block = HandOut(config or Config())
        self.walked, self.drained, self.released, self.waited = [], [], [], []

    async def run(self, ctx):
        block, left = self.block, list(self.jobs)
        for cycle in range(60):
            for name in ("walk_ready", "drain_ready", "signal", "clusters_idle", "hold"):
                value = self.inputs.get(name, lambda cycle, name=name: int(name != "hold"))(cycle)
                port = {"walk_ready": block.walk.ready, "drain_ready": block.drain.ready}
                ctx.set(port[name] if name in port else getattr(block, name), value)
            ctx.set(block.i.valid, int(bool(left)))
            if left:
                ctx.set(block.i.payload, left[0])
            if ctx.get(block.walk.valid):
                self.walked.append((cycle, ctx.get(block.walk.payload).address, ctx.get(block.set)))
                assert ctx.get(block.i.ready)
                left.pop(0)
            if ctx.get(block.drain.valid):
                self.drained.append((cycle, ctx.get(block.drain.payload).row_base))
            if ctx.get(block.waiting):
                self.waited.append(cycle)
            if ctx.get(block.release):
                self.released.append(cycle)
            await ctx.tick()

    def __call__(self):
        simulate(self.block, self.run)
        return self


def test_sets_take_pixels_in_turn():
    config = Config(sets=3)
    jobs = [job(number, number % 2) for number in range(10)]
    bench = Bench(jobs, config)()
    assert bench.walked == [(n, n, n // 2 % 3) for n in range(10)]
    assert bench.drained == [(n, n) for n in range(1, 10, 2)]


def test_room():
    """Walkers must have room for each job, the drain for a pixel's last one."""
    rng = np.random.default_rng(1)
    room, space = rng.random(60) < 0.5, rng.random(60) < 0.5
    jobs = [job(number, number % 3 == 2) for number in range(9)]
    bench = Bench(
        jobs,
        walk_ready=lambda cycle: int(room[cycle]),
        drain_ready=lambda cycle: int(space[cycle]),
    )()
    expected, cycle = [], 0
    for number in range(9):
        while not (room[cycle] and (space[cycle] or number % 3 < 2)):
            cycle += 1
        expected.append((cycle, number))
        cycle += 1
    assert [(cycle, number) for cycle, number, _ in bench.walked] == expected


@pytest.mark.parametrize("first", [0, 7])
def test_a_job_waits_for_a_signal(first):
    """It takes one, in a cycle of its own."""
    jobs = [job(0), job(1, wait=1), job(2)]
    bench = Bench(jobs, signal=lambda cycle: int(cycle >= first))()
    taken = max(first, 1)
    assert bench.waited == list(range(1, taken + 1))
    assert [cycle for cycle, _, _ in bench.walked] == [0, taken + 1, taken + 2]


@pytest.mark.parametrize("idle", [0, 5])
def test_a_release_waits_for_the_clusters(idle):
    """What ``clusters_idle`` says right after the job is of the time before it; a pixel's last
    group releases nothing."""
    jobs = [job(0, 0, release=1), job(1, 0), job(2, 1, release=1), job(3)]
    bench = Bench(jobs, clusters_idle=lambda cycle: int(cycle >= idle or cycle < 2))()
    released = max(idle, RELEASE_LATENCY)
    assert bench.released == [released]
    assert [cycle for cycle, _, _ in bench.walked] == [0, *range(released + 1, released + 4)]


def test_a_group_that_is_released_before_another_one_waits():
    jobs = [job(0, 0, release=1), job(1, 1, wait=1)]
    bench = Bench(jobs, signal=lambda cycle: int(cycle >= 8))()
    assert bench.released == [2]
    assert bench.waited == list(range(3, 9))
    assert [cycle for cycle, _, _ in bench.walked] == [0, 9]


def test_a_layer_begins_with_the_first_set():
    block = HandOut(Config(sets=2))

    async def bench(ctx):
        ctx.set(block.walk.ready, 1)
        ctx.set(block.drain.ready, 1)
        ctx.set(block.i.payload, job(0))
        ctx.set(block.i.valid, 1)
        await ctx.tick()
        ctx.set(block.i.valid, 0)
        assert ctx.get(block.set) == 1
        ctx.set(block.restart, 1)
        await ctx.tick()
        assert ctx.get(block.set) == 0

    simulate(block, bench)


def test_hold():
    """Nothing is handed out, and no signal taken."""
    bench = Bench([job(0, wait=1), job(1)], hold=lambda cycle: int(cycle < 10))()
    assert bench.waited == [10]
    assert [cycle for cycle, _, _ in bench.walked] == [11, 12]


def test_verilog(tmp_path):
    lint(HandOut(Config(sets=2)), "hand_out", tmp_path)
