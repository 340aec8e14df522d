"""Queue of words read ahead: order, places, latency and throughput."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.read_ahead import ReadAhead
from tritforge.hw.timing import QUEUE_LATENCY, READ_AHEAD_PLACES, fetch_latency

CONFIG = Config(group_places=4)


def run(willing, cycles=400):
    """Words taken, by cycle; and of every cycle the places reserved before it. A word comes
    ``fetch_latency`` cycles after its place is reserved."""
    block = ReadAhead(CONFIG)
    latency = fetch_latency(CONFIG)
    taken, reserved, rooms = [], [], []

    async def bench(ctx):
        count = 0
        for cycle in range(cycles):
            room = ctx.get(block.room)
            rooms.append(room)
            ctx.set(block.reserve, room)
            reserved.append(room)
            came = reserved[cycle - latency] if cycle >= latency else 0
            ctx.set(block.i.valid, came)
            ctx.set(block.i.payload, {"data": sum(reserved[: max(0, cycle - latency)])})
            ready = int(willing(cycle))
            ctx.set(block.o.ready, ready)
            assert ctx.get(block.empty) == (sum(reserved[:cycle]) == count)
            if ctx.get(block.o.valid) and ready:
                taken.append((cycle, ctx.get(block.o.payload).data))
                count += 1
            await ctx.tick()

    simulate(block, bench)
    return taken, rooms


def test_a_word_a_cycle():
    taken, rooms = run(lambda cycle: True)
    first = fetch_latency(CONFIG) + QUEUE_LATENCY
    assert taken == [(first + number, number) for number in range(400 - first)]
    assert all(rooms)


def test_places():
    """No more than the places are reserved; one is free in the cycle after a word is taken."""
    taken, rooms = run(lambda cycle: cycle in (50, 60, 61))
    assert [cycle for cycle, _ in taken] == [50, 60, 61]
    assert [cycle for cycle, room in enumerate(rooms) if room] == [
        *range(READ_AHEAD_PLACES),
        51,
        61,
        62,
    ]


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_order_with_pauses(share):
    rng = np.random.default_rng(3)
    taken, _ = run(lambda cycle: rng.random() < share)
    assert [number for _, number in taken] == list(range(len(taken)))
    assert len(taken) > 400 * share * 0.8


def test_verilog(tmp_path):
    lint(ReadAhead(CONFIG), "read_ahead", tmp_path)
