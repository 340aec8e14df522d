# amaranth: UnusedElaboratable=no
"""Unpacker against the packing that the exporter does: every bit, timing, pauses, damage."""

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.unpacker import Unpacker
from tritforge.model_export.image.packing import pack_columns

CONFIGS = [
    Config(elements=elements, rows=rows, trit_depth=64, packet_words=200)
    for elements, rows in (
        (4, 4),
        (16, 16),
        (1, 1),
        (5, 2),
        (3, 8),
        (16, 1),
        (2, 32),
        (3, 32),
        (1, 4),
        (7, 16),
    )
]


def identify(config):
    return f"P{config.elements}R{config.rows}"


def random_columns(rng, config, count, used, density):
    """(count, bytes), rows from ``used`` on zero."""
    shape = (count, config.elements, 1, config.rows)
    trits = rng.choice(np.array([-1, 1], np.int8), shape)
    trits[rng.random(shape) >= density] = 0
    trits[..., used:] = 0
    planes = np.concatenate([trits != 0, trits < 0], axis=2).reshape(count, -1)
    return np.packbits(planes, axis=1, bitorder="little")


def chunks_of(config, columns):
    """(count, chunks) as WRITE carries them."""
    size = 4 * config.memory_chunks("trits")
    padded = np.pad(columns, [(0, 0), (0, size - columns.shape[1])])
    return padded.view("<u4").tolist()


def job_of(rng, config, density=None, count=None):
    """(job, words, expected chunks) of random columns."""
    count = int(rng.integers(1, 9)) if count is None else count
    density = rng.choice([0.0, 0.1, 0.3, 0.6, 1.0]) if density is None else density
    address = int(rng.integers(0, config.trit_depth - count + 1))
    columns = random_columns(rng, config, count, int(rng.integers(1, config.rows + 1)), density)
    least, words = pack_columns(columns, config.elements, config.rows)
    if rng.random() < 0.3:
        used = int(rng.integers(least, config.rows + 1))
        least, words = pack_columns(columns, config.elements, config.rows, used)
    expected = [
        (address + number, chunk, value)
        for number, column in enumerate(chunks_of(config, columns))
        for chunk, value in enumerate(column)
    ]
    return {"address": address, "count": count, "rows_used": least}, words.tolist(), expected


def port_words(words):
    return [
        {"data": word, "last": int(number == len(words) - 1)} for number, word in enumerate(words)
    ]


def run(config, jobs, busy=(1.0, 1.0, 1.0), seed=0):
    """Jobs (job, port words, number of chunks) through an unpacker; the chunks of each, the faults,
    and the cycles in which chunks were taken."""
    unpacker = Unpacker(config)
    rng = np.random.default_rng(seed)
    results, times, faults = [], [], []
    cycle = 0

    async def send_jobs(ctx):
        await Streams(rng, busy[0]).put(ctx, unpacker.jobs, [job for job, _, _ in jobs])

    async def send_words(ctx):
        for _, words, _ in jobs:
            await Streams(rng, busy[1]).put(ctx, unpacker.i, words)

    async def receive(ctx):
        for _, _, count in jobs:
            taken = await Streams(rng, busy[2]).get(ctx, unpacker.o, count)
            results.append([(chunk.address, chunk.chunk, chunk.data) for chunk in taken])
        await ctx.tick().repeat(12)
        assert ctx.get(unpacker.idle) and not ctx.get(unpacker.o.valid)

    async def watch(ctx):
        nonlocal cycle
        while True:
            fault, valid, ready = (
                await ctx.tick().sample(unpacker.fault, unpacker.o.valid, unpacker.o.ready)
            )[-3:]
            cycle += 1
            faults.append(fault)
            if valid and ready:
                times.append(cycle)

    simulate(unpacker, send_jobs, send_words, receive, background=(watch,))
    return results, sum(faults), times


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
@pytest.mark.parametrize("busy", [(1, 1, 1), (0.3, 0.4, 1), (0.7, 0.8, 0.5)], ids=str)
def test_random(config, busy):
    rng = np.random.default_rng(config.slots)
    made = [job_of(rng, config) for _ in range(5)]
    jobs = [(job, port_words(words), len(expected)) for job, words, expected in made]
    results, faults, _ = run(config, jobs, busy)
    for found, (_, _, expected) in zip(results, made, strict=True):
        assert found == expected
    assert faults == 0


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_pace(config, density):
    """A chunk per cycle from the sixth after the job on, for any density."""
    rng = np.random.default_rng(1)
    for _ in range(2):
        job, words, expected = job_of(rng, config, density, 10)
        _, _, times = run(config, [(job, port_words(words), len(expected))])
        single = len(words) == 1
        paired = config.rows == 32
        assert times == list(range(times[0], times[0] + len(expected)))
        # the job is taken in cycle 1; a lower half makes no chunk of its own
        assert times[0] == 7 - single + paired


def test_pause_between_jobs():
    """Four cycles without a chunk, three for a job of one word."""
    config = Config(elements=4, rows=16, trit_depth=64)
    rng = np.random.default_rng(2)
    job, words, expected = job_of(rng, config, 0.3, 6)
    first = (job, port_words(words), len(expected))
    short = ({"address": 0, "count": 1, "rows_used": 1}, port_words([0]), 4)
    for second, pause in ((first, 4), (short, 3)):
        _, _, times = run(config, [first, second])
        gaps = np.diff(times)
        assert gaps[len(expected) - 1] == pause + 1
        assert (np.delete(gaps, len(expected) - 1) == 1).all()


@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_fewer_and_more_words(config):
    """The fault is reported, the job ends, and the next one is not affected."""
    rng = np.random.default_rng(3)
    for change in (-1, 1, 2, 5, -2) if config.slots < 32 else (-1, 1):
        made = [job_of(rng, config, 0.5) for _ in range(3)]
        made[1] = job_of(rng, config, 1.0, 60)
        job, words, expected = made[1]
        assert len(words) + change >= 1
        damaged = words[:change] if change < 0 else words + [0xFFFF_FFFF] * change
        jobs = [(one, port_words(list_), len(chunks)) for one, list_, chunks in made]
        jobs[1] = (job, port_words(damaged), len(expected))
        results, faults, _ = run(config, jobs, (1, 0.8, 0.8), seed=change + 9)
        assert faults == 1
        assert results[0] == made[0][2] and results[2] == made[2][2]
        assert [chunk[:2] for chunk in results[1]] == [chunk[:2] for chunk in expected]
        if change > 0:
            assert results[1] == expected


def test_whole_word_at_the_end():
    """A job whose bits fill its last word exactly."""
    config = Config(elements=2, rows=16, trit_depth=64)
    columns = np.full((3, 8), 0xFF, np.uint8)
    used, words = pack_columns(columns, 2, 16)
    assert len(words) == 6
    job = {"address": 5, "count": 3, "rows_used": used}
    results, faults, times = run(config, [(job, port_words(words.tolist()), 6)] * 2)
    expected = [(5 + n // 2, n % 2, 0xFFFF_FFFF) for n in range(6)]
    assert results == [expected] * 2 and faults == 0
    assert (np.diff(times) == [1] * 5 + [5] + [1] * 5).all()


def test_rows_must_be_a_power_of_two():
    for rows in (3, 6, 12, 31):
        with pytest.raises(ValueError, match=f"unpack_trits is set; they are {rows} and True"):
            Unpacker(Config(rows=rows))


def test_latency():
    assert Unpacker.latency == 2


@pytest.mark.compiles
@pytest.mark.parametrize("config", CONFIGS, ids=identify)
def test_verilog(config, tmp_path):
    lint(Unpacker(config), "unpacker", tmp_path)
