"""Activation slice: who is served when, what is read and written, ahead of whom."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.activation_slice import ActivationSlice
from tritforge.hw.config import Config
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.timing import MERGE_LATENCY

CONFIGS = [
    Config(scan_width=1, activation_depth=16),
    Config(sets=3, scan_width=6, activation_depth=16),
    Config(sets=4, scan_width=4, activation_depth=16),
]
IDS = [f"N{config.sets}" for config in CONFIGS]


def write_back(address, value, lane=0, merge=False):
    fresh = int(not merge)
    return {
        "valid": 1,
        "values": [{"lane": lane, "value": value}],
        "nothing": int(not value),
        "window": {
            "address": address,
            "count_x": 1,
            "count_y": 1,
            "fresh_x": fresh,
            "fresh_y": fresh,
        },
    }


async def host_write(ctx, part, address, word):
    """One memory word, 32 bits at a time; the cycles that it took."""
    cycles = 0
    for chunk in range(part.config.memory_chunks("activations")):
        ctx.set(part.host_write_valid, 1)
        ctx.set(part.host_write_address, address)
        ctx.set(part.host_write_chunk, chunk)
        ctx.set(part.host_data, word >> 32 * chunk & 0xFFFF_FFFF)
        taken = False
        while not taken:
            taken = ctx.get(part.host_write_ready)
            await ctx.tick()
            cycles += 1
    ctx.set(part.host_write_valid, 0)
    return cycles


async def fill(ctx, part, words):
    for address, word in enumerate(words):
        await host_write(ctx, part, address, word)


def random_words(config, rng):
    return [
        int.from_bytes(rng.bytes(config.scan_width), "little")
        for _ in range(config.activation_depth)
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@pytest.mark.parametrize("asking", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("merging", [0.0, 0.3])
def test_reads(config, asking, merging):
    """The merge, then the walker whose turn it is, then the host; data two cycles later."""
    part = ActivationSlice(config)
    rng = np.random.default_rng(config.sets)
    half = config.activation_depth // 2  # below it walkers and host read, from it on merges
    merges, served, host_reads = [], [0] * config.sets, 0

    async def bench(ctx):
        nonlocal host_reads
        words = random_words(config, rng)
        await fill(ctx, part, words)
        turn, merge_due, queued = 0, False, [False, False]
        data = [None] * ChunkMemory.latency
        for _ in range(1500):
            if (word := data.pop(0)) is not None:
                assert ctx.get(part.read_data) == word
            # A write-back is visited three cycles later; places come again when memory has them.
            merge = rng.random() < merging
            ctx.set(
                part.write_back,
                write_back(half + len(merges) % half, 255, merge=True) if merge else {"valid": 0},
            )
            merges.extend([merge] * merge)
            valid = [bool(rng.random() < asking) for _ in range(config.sets)]
            *addresses, host = rng.integers(half, size=config.sets + 1).tolist()
            for number in range(config.sets):
                ctx.set(part.read_valid[number], valid[number])
                ctx.set(part.read_address[number], addresses[number])
            ctx.set(part.host_read_address, host)
            taken = [
                number
                for number in range(config.sets)
                if valid[number] and ctx.get(part.read_ready[number])
            ]
            host_ready = ctx.get(part.host_read_ready)
            if merge_due:
                assert not taken and not host_ready
                data.append(None)
            elif any(valid):
                first = next(
                    number
                    for distance in range(config.sets)
                    if valid[number := (turn + distance) % config.sets]
                )
                assert taken == [first] and not host_ready
                data.append(words[addresses[first]])
                served[first] += 1
                turn = (first + 1) % config.sets
            else:
                assert host_ready
                data.append(words[host])
                host_reads += 1
            await ctx.tick()
            assert ctx.get(part.merge_read) == merge_due
            merge_due, queued = queued[0], [queued[1], merge]

    simulate(part, bench)
    assert min(served) > 50 and (len(merges) > 100) == (merging > 0)
    assert (host_reads > 0) == (asking < 1)


def test_turns():
    """All ask: one after the other; who stops asking is passed over; a restart begins anew."""
    config = CONFIGS[2]
    part = ActivationSlice(config)

    async def bench(ctx):
        async def served(count, asking):
            order = []
            for number in range(config.sets):
                ctx.set(part.read_valid[number], number in asking)
            for _ in range(count):
                order += [number for number in asking if ctx.get(part.read_ready[number])]
                await ctx.tick()
            return order

        assert await served(6, (0, 1, 2, 3)) == [0, 1, 2, 3, 0, 1]
        assert await served(4, (0, 3)) == [3, 0, 3, 0]
        assert await served(3, (2,)) == [2, 2, 2]
        assert await served(0, ()) == []
        ctx.set(part.restart, 1)  # served in the same cycle; then the first comes
        assert await served(1, (1, 3)) == [3]
        ctx.set(part.restart, 0)
        assert await served(4, (1, 2, 3)) == [1, 2, 3, 1]
        for number in range(config.sets):
            ctx.set(part.read_valid[number], 0)
        await ctx.tick().repeat(5)  # nobody asked: the turn stays
        assert await served(4, (0, 1, 2, 3)) == [2, 3, 0, 1]

    simulate(part, bench)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_writes(config):
    """Write-backs go before the host's words, and neither changes other lanes."""
    part = ActivationSlice(config)
    rng = np.random.default_rng(0)
    half = config.activation_depth // 2  # below it the host writes, from it on write-backs
    expected = [bytearray(config.scan_width) for _ in range(config.activation_depth)]
    finished = False

    async def host(ctx):
        nonlocal finished
        cycles = 0
        for address in [*range(half)] * 3:
            expected[address][:] = rng.bytes(config.scan_width)
            cycles += await host_write(
                ctx, part, address, int.from_bytes(expected[address], "little")
            )
        assert cycles > 3 * half * config.memory_chunks("activations")
        finished = True

    async def write_backs(ctx):
        sent = written = 0
        while not finished or sent < 100:
            mine = bool(rng.random() < 0.7)
            address, lane = half + sent % half, int(rng.integers(config.scan_width))
            value = int(rng.integers(256))
            ctx.set(part.write_back, write_back(address, value, lane) | {"valid": int(mine)})
            if mine:
                expected[address][lane] = value
                sent += 1
            await ctx.tick()
            written += ctx.get(part.written)
        ctx.set(part.write_back, {"valid": 0})
        for _ in range(MERGE_LATENCY + 3):
            await ctx.tick()
            written += ctx.get(part.written)
        assert written == sent
        for address, word in enumerate(expected):
            ctx.set(part.host_read_address, address)
            await ctx.tick().repeat(ChunkMemory.latency)
            assert ctx.get(part.read_data) == int.from_bytes(word, "little"), address

    simulate(part, host, write_backs)


@pytest.mark.parametrize("merge", [False, True])
def test_write_back_latency(merge):
    """Visited three cycles later; readable MERGE_LATENCY cycles later, idle from then on."""
    config = CONFIGS[1]
    part = ActivationSlice(config)

    async def bench(ctx):
        await fill(ctx, part, [0] * config.activation_depth)
        assert ctx.get(part.idle)
        ctx.set(part.write_back, write_back(5, 77, 2, merge))
        await ctx.tick()
        ctx.set(part.write_back, {"valid": 0})
        await ctx.tick().repeat(2)
        ctx.set(part.read_valid[0], 1)
        ctx.set(part.read_address[0], 5)
        assert ctx.get(part.read_ready[0]) == (not merge)
        seen = []
        for cycle in range(MERGE_LATENCY + ChunkMemory.latency + 1):
            assert ctx.get(part.idle) == (cycle >= MERGE_LATENCY)
            assert ctx.get(part.merge_read) == (merge and cycle == 1)
            assert ctx.get(part.written) == (cycle == MERGE_LATENCY)
            seen.append(ctx.get(part.read_data))
            await ctx.tick()
        assert seen == [0] * (MERGE_LATENCY + ChunkMemory.latency) + [77 << 16]

    simulate(part, bench)


def test_windows_and_full():
    """``step_x``, ``step_y`` and ``full`` are those of the merge."""
    config = CONFIGS[0]
    part = ActivationSlice(config)

    async def bench(ctx):
        await fill(ctx, part, [0] * config.activation_depth)
        ctx.set(part.step_x, 2)
        ctx.set(part.step_y, 5)
        window = {"address": 15, "count_x": 3, "count_y": 3, "fresh_x": 3, "fresh_y": 2}
        for _ in range(100):
            if ctx.get(part.full):
                break
            ctx.set(part.write_back, write_back(0, 9) | {"window": window})
            await ctx.tick()
        assert ctx.get(part.full)
        ctx.set(part.write_back, {"valid": 0})
        while not ctx.get(part.idle):
            await ctx.tick()
        assert not ctx.get(part.full)
        for address in range(config.activation_depth):
            ctx.set(part.host_read_address, address)
            await ctx.tick().repeat(ChunkMemory.latency)
            assert ctx.get(part.read_data) == 9 * (address in (15, 13, 11, 10, 8, 6, 5, 3, 1))

    simulate(part, bench)


@pytest.mark.compiles
@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_verilog(config, tmp_path):
    lint(ActivationSlice(config), "activation_slice", tmp_path)
