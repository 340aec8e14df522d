"""Program fetch: addresses, what travels beside a word, and how long it takes."""

import pytest

from tests.hw.benches import simulate
from tritforge.hw.config import Config
from tritforge.hw.program_fetch import ProgramFetch, Word
from tritforge.hw.timing import MEMORY_LATENCY, fetch_latency


def run(config, requests, room=lambda cycle: True):
    """Reads (cycle, address, half), words (cycle, tag) and cycles in which requests are done.

    A request is a dict of fields of ``fetch_request``, or what is done between two of them:
    ``jump`` with an address, ``skip`` with a number of groups; one with ``mark`` is marked.
    """
    block = ProgramFetch(config)
    reads, words, done = [], [], []

    async def bench(ctx):
        left = list(requests)
        for cycle in range(80):
            now = left[0] if left else {}
            ctx.set(block.jump, int("jump" in now))
            ctx.set(block.address, now.get("jump", 0))
            ctx.set(block.skip, int("skip" in now))
            ctx.set(block.group_count, now.get("skip", 0))
            wanted = bool(now) and "jump" not in now and "skip" not in now
            fields = {name: value for name, value in now.items() if name in FIELDS}
            ctx.set(block.request, fields if wanted else {})
            ctx.set(block.valid, int(wanted))
            ctx.set(block.room, int(room(cycle)))
            ctx.set(block.mark, int(ctx.get(block.done) and bool(now.get("mark"))))
            reads.append((cycle, ctx.get(block.fetch_address), ctx.get(block.fetch_half)))
            if ctx.get(block.arrived.valid):
                tag = ctx.get(block.arrived.payload.tag)
                words.append((cycle, tag.kind, tag.index))
            if ctx.get(block.done):
                done.append(cycle)
            if ctx.get(block.done) or (now and not wanted):
                left.pop(0)
            await ctx.tick()

    simulate(block, bench)
    return reads, words, done


FIELDS = ("kind", "final", "following", "again", "base", "entry")
TILE = {"kind": Word.TILE, "final": 1, "following": 1, "mark": 1}
GROUP = {"kind": Word.GROUP, "final": 7, "following": 1}


@pytest.mark.parametrize("stages", ["full", "few"])
@pytest.mark.parametrize("ports", [1, 2])
def test_addresses(ports, stages):
    config = Config(memory_ports=ports, register_stages=stages)
    requests = [
        {"jump": 100},
        TILE,
        GROUP,
        GROUP,
        {"kind": Word.DESTINATION_X, "base": 300, "entry": 7},
        {"kind": Word.GEOMETRY_X, "final": 1, "base": 400, "entry": 5},
        {"kind": Word.SAME_X},
        GROUP | {"again": 1},
        {"skip": 3},
        TILE,
    ]
    reads, words, done = run(config, requests)
    expected = [
        *((Word.TILE, index, 100 + index) for index in range(2)),
        *((Word.GROUP, index, 102 + index) for index in range(8)),
        *((Word.GROUP, index, 110 + index) for index in range(8)),
        (Word.DESTINATION_X, 0, 307),
        *((Word.GEOMETRY_X, index, 410 + index) for index in range(2)),
        (Word.SAME_X, 0, None),
        *((Word.GROUP, index, 102 + index) for index in range(8)),
        *((Word.TILE, index, 126 + index) for index in range(2)),
    ]
    assert [(kind, index) for _, kind, index in words] == [one[:2] for one in expected]
    cycle, count = 1, config.program_reads  # after the jump
    for (arrived, kind, index), (_, _, address) in zip(words, expected, strict=True):
        if kind == Word.TILE and index == 0 and address != 100:
            cycle += 1  # the skip
        cycle += 1 if address is None else count
        assert arrived == cycle - 1 + fetch_latency(config)
        if address is not None:
            own = [one[1:] for one in reads if arrived - MEMORY_LATENCY - count < one[0]][:count]
            assert own == [(address, half) for half in ((0, 1) if count == 2 else (1,))]
    assert len(done) == 9 - 1


def test_room():
    """A word is requested only in a cycle with room."""
    _, words, done = run(Config(), [{"jump": 0}, GROUP], lambda cycle: cycle % 3 == 0)
    assert [cycle for cycle, _, _ in words] == [
        3 * number + fetch_latency(Config()) for number in range(1, 9)
    ]
    assert done == [24]
