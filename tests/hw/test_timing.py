"""The data sheet: latencies that blocks have by their structure are measured against it."""

import dataclasses
from collections import defaultdict

import pytest
from amaranth.lib.fifo import SyncFIFO

from tests.hw.benches import simulate
from tritforge.hw.cluster import Cluster
from tritforge.hw.config import Config
from tritforge.hw.drain import Drain
from tritforge.hw.lookup_memory import Queue
from tritforge.hw.merge import Merge
from tritforge.hw.timing import (
    BEGIN_LATENCY,
    BROADCAST_LATENCY,
    CLUSTERS_IDLE_LATENCY,
    COMPLETE_LATENCY,
    FULL_LATENCY,
    LOAD_LATENCY,
    MERGE_FULL_LATENCY,
    OLDEST_LATENCY,
    QUEUE_LATENCY,
    STOP_LATENCY,
    WORD_LATENCY,
    clear_cycles,
    job_latency,
    merge_head_latency,
    merge_level,
)

#: A cluster of one element, where a word is one activation.
CONFIG = Config(clusters=1, elements=1, rows=4, scan_width=1, queue_depth=1)
#: One of the drain's registers is in front of a cluster's command.
COMMAND_LATENCY = 1


@pytest.mark.parametrize("kind", [Queue, SyncFIFO])
def test_queue(kind):
    queue = kind(width=4, depth=4)
    cycles = []

    async def bench(ctx):
        ctx.set(queue.w_en, 1)
        for cycle in range(5):
            if ctx.get(queue.r_rdy):
                cycles.append(cycle)
            await ctx.tick()

    simulate(queue, bench)
    assert cycles[0] == QUEUE_LATENCY


def run_cluster(config, words, trits, cycles=120, *, pixels=1, begin=None, command=None):
    """Cycles in which outputs of a cluster are high after the hand-out of a job of ``words`` words
    with one activation each, of which ``trits`` trits are not zero, for each of ``pixels``. The
    drain begins a pixel in cycle ``begin``; its command that frees the bank comes in cycle
    ``command``."""
    cluster = Cluster(config)
    seen = defaultdict(list)

    async def bench(ctx):
        ctx.set(cluster.read_ready, 1)
        ctx.set(cluster.read_data, 5)
        ctx.set(cluster.host_data, (1 << trits) - 1)
        ctx.set(cluster.trit_write_mask, 1)
        for column in range(words):
            ctx.set(cluster.trit_write_address, column)
            await ctx.tick()
        ctx.set(cluster.trit_write_mask, 0)
        await ctx.tick().repeat(4)
        job = {"count_x": 1, "count_y": 1, "word_count": words, "last_lanes": 1, "plus": 1}
        ctx.set(cluster.jobs.payload, job | {"last": 1, "rows_used": config.rows})
        ctx.set(cluster.jobs.valid, 1)
        assert ctx.get(cluster.jobs.ready)
        left = pixels
        for cycle in range(cycles):
            left -= ctx.get(cluster.jobs.ready) and ctx.get(cluster.jobs.valid)
            ctx.set(cluster.command_i, {"take": cycle == command, "last": cycle == command})
            ctx.set(cluster.begun, cycle == begin)
            for name in ("read_valid", "awaited_complete", "idle"):
                if ctx.get(getattr(cluster, name)):
                    seen[name].append(cycle)
            if ctx.get(cluster.events.broadcasts):
                seen["broadcasts"].append(cycle - 1)  # a register
            await ctx.tick()
            ctx.set(cluster.jobs.valid, left > 0)

    simulate(cluster, bench)
    return seen


@pytest.mark.parametrize("places", [0, 1, 2])
@pytest.mark.parametrize("trits", [0, 1, 4])
def test_cluster(places, trits):
    """From the hand-out of a job to its pixel's completion."""
    config = dataclasses.replace(CONFIG, job_places=places)
    seen = run_cluster(config, 1, trits)
    (read,), (broadcast,) = seen["read_valid"], seen["broadcasts"]
    assert read == job_latency(config) + 1
    # The zero skip holds a word from the cycle after on.
    assert broadcast == read + WORD_LATENCY + 1
    passed = broadcast + 1 + BROADCAST_LATENCY
    worked = broadcast + BROADCAST_LATENCY + QUEUE_LATENCY + trits + LOAD_LATENCY
    assert seen["awaited_complete"][0] == COMPLETE_LATENCY + (
        max(passed, worked) if trits else passed
    )
    idle = next(cycle for cycle in seen["idle"] if cycle > broadcast)
    assert idle == broadcast + 1 + CLUSTERS_IDLE_LATENCY
    assert not any(0 < cycle <= broadcast for cycle in seen["idle"][1:])


def test_next_pixel_is_awaited():
    """The clusters learn of a pixel's beginning a cycle after the drain."""
    begin = 60
    complete = run_cluster(CONFIG, 1, 1, begin=begin)["awaited_complete"]
    assert complete[-1] + 1 == begin - 1 + BEGIN_LATENCY + COMPLETE_LATENCY


def test_bank_is_free():
    """The command that takes the last row comes to the cluster a cycle after the drain's step; the
    pixel for which there was no bank goes on."""
    command = 60
    seen = run_cluster(CONFIG, 1, 1, pixels=CONFIG.banks + 1, command=command)["broadcasts"]
    assert len(seen) == CONFIG.banks + 1 and seen[-2] < command
    assert seen[-1] == command - COMMAND_LATENCY + OLDEST_LATENCY


@pytest.mark.parametrize("trits", [2, 4])
def test_queue_is_full(trits):
    """What is broadcast before the zero skip stops, and when it goes on."""
    broadcasts = run_cluster(CONFIG, 20, trits)["broadcasts"]
    first, count = broadcasts[0], BROADCAST_LATENCY + FULL_LATENCY
    assert broadcasts[:count] == list(range(first, first + count))
    taken = first + BROADCAST_LATENCY + QUEUE_LATENCY + (count - 1) * trits
    assert broadcasts[count] == taken + FULL_LATENCY


def test_drain():
    """From a run's first fetch until jobs can be handed out; from ``stop`` to a drain that stands
    still; from its last row's step to the command."""
    drain = Drain(CONFIG)
    seen = defaultdict(list)

    async def bench(ctx):
        while not ctx.get(drain.ready):
            await ctx.tick()
        ctx.set(drain.clear, 1)
        await ctx.tick()  # the sequencer starts too
        ctx.set(drain.clear, 0)
        cycles = 0
        while not ctx.get(drain.ready):
            cycles += 1
            await ctx.tick()
        assert cycles == clear_cycles(CONFIG)
        ctx.set(drain.i.payload, {"rows_used": 1, "row_base": 0})
        ctx.set(drain.i.valid, 1)
        ctx.set(drain.complete, 1)
        for cycle in range(60):
            ctx.set(drain.stop, cycle >= 40)
            for name in ("stalled", "drained"):
                if ctx.get(getattr(drain, name)):
                    seen[name].append(cycle)
            if ctx.get(drain.command.last):
                seen["last"].append(cycle)
            await ctx.tick()

    simulate(drain, bench)
    assert seen["last"] == [cycle + COMMAND_LATENCY for cycle in seen["drained"]]
    # The drain makes a step in every other cycle.
    assert seen["stalled"][0] - 40 - STOP_LATENCY in (0, 1)
    assert seen["drained"][-1] < 40 + STOP_LATENCY


@pytest.mark.parametrize("stages", ["full", "few"])
def test_merge_is_full(stages):
    """Write-backs of many visits: one stands in the head's register, the others in the queue."""
    config = dataclasses.replace(CONFIG, register_stages=stages)
    merge = Merge(config)
    cycles = []

    async def bench(ctx):
        window = {"count_x": 15, "count_y": 15, "fresh_x": 15, "fresh_y": 15}
        ctx.set(merge.i, {"valid": 1, "values": [{"value": 1}], "window": window})
        while not ctx.get(merge.full):
            cycles.append(ctx.get(merge.idle))
            await ctx.tick()

    simulate(merge, bench)
    assert len(cycles) == merge_level(config) + merge_head_latency(config) + MERGE_FULL_LATENCY
