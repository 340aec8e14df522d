"""Walker: the addresses of every word, in order, one per cycle, whoever else waits."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.timing import WORD_LATENCY, job_latency
from tritforge.hw.walker import Walker

CONFIGS = [
    Config(scan_width=3, activation_depth=1000, trit_depth=3000),
    Config(scan_width=1, activation_depth=37, trit_depth=50, rows=1),
    Config(scan_width=16, activation_depth=256, trit_depth=2048),
    Config(scan_width=2, skip_zero_weights=False),
]


def expected_words(config, job):
    """(address or None, lanes, trit column, last) of a job, straight from its definition."""
    if not job["count_x"] or not job["count_y"]:
        return [(None, 0, None, job["last"])]
    address_mask = (1 << (config.activation_depth - 1).bit_length()) - 1
    trit_mask = (1 << (config.trit_depth - 1).bit_length()) - 1
    words = []
    for ky in range(job["count_y"]):
        for kx in range(job["count_x"]):
            for w in range(job["word_count"]):
                words.append(
                    (
                        job["address"] + ky * job["step_y"] + kx * job["step_x"] + w & address_mask,
                        job["last_lanes"] if w == job["word_count"] - 1 else config.scan_width,
                        job["trit"]
                        + ky * job["trit_step_y"]
                        + kx * job["trit_step_x"]
                        + w * config.scan_width
                        & trit_mask,
                        False,
                    )
                )
    return [*words[:-1], (*words[-1][:3], job["last"])]


def random_job(rng, config, **fixed):
    def number(low, high):
        return int(rng.integers(low, high + 1))

    def some(limit):
        return number(0, min(limit - 1, 40))

    limit = 1 << (config.coefficient_width - 1)
    job = {
        "address": number(0, config.activation_depth - 1),
        "step_x": some(config.activation_depth),
        "step_y": some(config.activation_depth),
        "count_x": number(0, 4),
        "count_y": number(0, 4),
        "word_count": number(1, 5),
        "last_lanes": number(1, config.scan_width),
        "trit": number(0, config.trit_depth - 1),
        "trit_step_x": some(config.trit_depth),
        "trit_step_y": some(config.trit_depth),
        "plus": number(-limit, limit - 1),
        "minus": number(-limit, limit - 1),
        "signed": number(0, 1),
        "rows_used": number(1, config.rows),
        "last": number(0, 1),
    }
    return job | fixed


def run(config, jobs, rng, willing=1.0, served=1.0, offered=1.0):
    """Words of ``jobs``, and the cycles of first arrival and of every word taken.

    ``willing``, ``served``, ``offered``: shares of cycles in which words are taken, reads are
    served, jobs are offered.
    """
    walker = Walker(config)
    memory = [
        int(value)
        for value in rng.integers(1, 1 << 62, 1 << (config.activation_depth - 1).bit_length())
    ]
    mask = (1 << config.memory_width("activations")) - 1
    count = sum(len(expected_words(config, job)) for job in jobs)
    words, cycles, reads = [], [], []
    begin = None

    async def collect(ctx):
        nonlocal begin
        data = deque([0, 0])
        cycle = 0
        while len(words) < count:
            ready = rng.random() < served
            ctx.set(walker.read_ready, int(ready))
            ctx.set(walker.read_data, data.popleft())
            data.append(0)
            ctx.set(walker.o.ready, int(rng.random() < willing))
            if ctx.get(walker.read_valid) and ready:
                address = ctx.get(walker.read_address)
                reads.append(address)
                data[-1] = memory[address] & mask
            if begin is None and ctx.get(walker.i.valid):
                begin = cycle
            if ctx.get(walker.o.valid) and ctx.get(walker.o.ready):
                payload = ctx.get(walker.o.payload)
                words.append(payload)
                cycles.append(cycle)
            await ctx.tick()
            cycle += 1

    async def drive(ctx):
        await Streams(rng, offered).put(ctx, walker.i, jobs)

    simulate(walker, drive, collect)
    expected = [(job, *word) for job in jobs for word in expected_words(config, job)]
    assert reads == [address for _, address, *_ in expected if address is not None]
    for word, (job, address, lanes, trit, last) in zip(words, expected, strict=True):
        assert (word.lanes, word.last) == (lanes, last)
        assert (word.plus, word.minus, word.signed) == (job["plus"], job["minus"], job["signed"])
        # Rows in use matter only to a broadcast that does not look at the trits.
        assert word.rows_used == (0 if config.skip_zero_weights else job["rows_used"])
        if address is not None:
            assert word.trit == trit
            assert [word.activations[lane] for lane in range(config.scan_width)] == [
                memory[address] >> 8 * lane & 255 if 8 * lane < 62 else 0
                for lane in range(config.scan_width)
            ]
    return [cycle - begin for cycle in cycles]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S{config.scan_width}")
@pytest.mark.parametrize(
    ("willing", "served", "offered"),
    [(1.0, 1.0, 1.0), (0.4, 1.0, 1.0), (1.0, 0.4, 1.0), (0.7, 0.6, 0.1), (0.1, 1.0, 1.0)],
)
def test_words(config, willing, served, offered):
    rng = np.random.default_rng(config.scan_width)
    jobs = [random_job(rng, config) for _ in range(25)]
    jobs.insert(3, random_job(rng, config, count_x=0, last=1))
    jobs.insert(4, random_job(rng, config, count_y=0, last=0))
    assert len({job["last"] for job in jobs}) == 2
    run(config, jobs, rng, willing, served, offered)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S{config.scan_width}")
def test_one_word_per_cycle(config):
    """The first word after a fixed time, then one per cycle, also from job to job; but one place
    for jobs is filled again a cycle after it was emptied."""
    rng = np.random.default_rng(1)
    jobs = [
        random_job(rng, config, count_x=x, count_y=y, word_count=w)
        for x, y, w in ((1, 1, 1), (3, 2, 2), (1, 1, 1), (1, 1, 1), (0, 3, 1), (2, 3, 4))
    ]
    cycles = run(config, jobs, rng)
    expected, at = [], cycles[0]
    for job in jobs:
        count = len(expected_words(config, job))
        expected += range(at, at + count)
        at += max(count, 2 if config.job_places == 1 else 1)
    assert cycles == expected
    # One cycle in the job queue, one in the address register, two in the memory, one in the
    # word queue.
    assert cycles[0] == job_latency(config) + 1 + WORD_LATENCY


def test_word_queue_is_not_overrun():
    """Words wait, no more than there is room for are read."""
    config = CONFIGS[0]
    walker = Walker(config)
    reads = 0

    async def bench(ctx):
        nonlocal reads
        ctx.set(walker.read_ready, 1)
        ctx.set(
            walker.i.payload,
            random_job(np.random.default_rng(0), config, count_x=4, count_y=4, word_count=4),
        )
        ctx.set(walker.i.valid, 1)
        for _ in range(50):
            reads += ctx.get(walker.read_valid)
            await ctx.tick()

    simulate(walker, bench)
    assert reads == config.word_places


@pytest.mark.compiles
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S{config.scan_width}")
def test_verilog(config, tmp_path):
    lint(Walker(config), "walker", tmp_path)
