"""Max-pool merge: overwriting and maximum, signed and unsigned, at the stated distance."""

from collections import deque

import numpy as np
import pytest
from benches import lint, simulate, to_signed

from hw.config import Config
from hw.memory import ChunkMemory
from hw.merge import MERGE_LATENCY, Merge

CONFIGS = [Config(scan_width=1, activation_depth=3), Config(scan_width=3, activation_depth=9),
           Config(scan_width=16, activation_depth=4)]


def run(config, operations, number=1):
    """Feed operations (None: nothing) one per cycle to a merge in front of a modelled memory."""
    merge = Merge(config)
    memory = [[0] * config.scan_width for _ in range(config.activation_depth)]
    reads, writes = [], []

    async def bench(ctx):
        ctx.set(merge.number, number)
        data = deque([0] * ChunkMemory.latency)
        for cycle, operation in enumerate([*operations, *[None] * (MERGE_LATENCY + 1)]):
            ctx.set(merge.i, operation or {"valid": 0})
            ctx.set(merge.read_data, data.popleft())
            data.append(0)
            if ctx.get(merge.read_valid):
                address = ctx.get(merge.read_address)
                reads.append((cycle, address))
                data[-1] = sum(value << 8 * lane for lane, value in enumerate(memory[address]))
            mask = ctx.get(merge.write_mask)
            if mask:
                assert mask.bit_count() == 1
                place = ctx.get(merge.write_address), mask.bit_length() - 1
                writes.append((cycle, *place))
                memory[place[0]][place[1]] = ctx.get(merge.write_data)
            await ctx.tick()

    simulate(merge, bench)
    return memory, reads, writes


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S{config.scan_width}")
@pytest.mark.parametrize("is_signed", [0, 1])
def test_random(config, is_signed):
    """One write-back in most cycles, those to one lane MERGE_LATENCY apart."""
    rng = np.random.default_rng(config.scan_width)
    operations, recent = [], {}
    contents = [[0] * config.scan_width for _ in range(config.activation_depth)]
    reads, writes = [], []
    merged = kept = 0
    for cycle in range(2000):
        address = int(rng.integers(config.activation_depth))
        lane = int(rng.integers(config.scan_width))
        mine = rng.random() < 0.8
        if rng.random() < 0.1 or cycle - recent.get((address, lane), -99) < MERGE_LATENCY:
            operations.append(None)
            continue
        operation = {"valid": 1, "cluster": 1 if mine else int(rng.choice([0, 2, 255])),
                     "address": address, "lane": lane, "value": int(rng.integers(256)),
                     "merge": int(rng.random() < 0.7), "signed": is_signed}
        operations.append(operation)
        if not mine:
            continue
        recent[address, lane] = cycle
        old, new = contents[address][lane], operation["value"]
        if operation["merge"]:
            reads.append((cycle, address))
            merged += 1
            bigger = max(old, new, key=lambda code: to_signed(code, 8) if is_signed else code)
            kept += bigger == old != new
            new = bigger
        contents[address][lane] = new
        writes.append((cycle + MERGE_LATENCY - 1, address, lane))
    assert run(config, operations) == (contents, reads, writes)
    assert kept > 50 and merged - kept > 50


@pytest.mark.parametrize(("is_signed", "low", "high"), [
    (0, 0, 255), (0, 127, 128), (1, 128, 127), (1, 255, 0), (1, 128, 255), (0, 3, 4)])
def test_order(is_signed, low, high):
    """The greater code stays, whichever comes first; equal ones change nothing."""
    config = CONFIGS[1]
    for first, second in ((low, high), (high, low), (low, low)):
        common = {"valid": 1, "cluster": 1, "address": 5, "lane": 2, "signed": is_signed}
        operations = [common | {"value": first, "merge": 0}, *[None] * (MERGE_LATENCY - 1),
                      common | {"value": second, "merge": 1}]
        memory, _, _ = run(config, operations)
        assert memory[5][2] == (low if first == second else high)


def test_other_clusters_are_ignored():
    operation = {"valid": 1, "cluster": 3, "address": 0, "lane": 0, "value": 9, "merge": 1}
    assert run(CONFIGS[1], [operation], number=2)[1:] == ([], [])
    assert len(run(CONFIGS[1], [operation], number=3)[2]) == 1


def test_latency():
    assert ChunkMemory.latency + 2 == MERGE_LATENCY


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S{config.scan_width}")
def test_verilog(config, tmp_path):
    lint(Merge(config), "merge", tmp_path)
