"""Packet buffer: whole packets come out, malformed ones as an error in their place."""

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.packet_buffer import PacketBuffer
from tritforge.hw.protocol import ErrorCode

CONFIG = Config(packet_words=34)
#: Results stand in the same memory.
SHARED = Config(packet_words=34, result_depth=50, register_stages="few", shared_results=True)


def port_words(words):
    return [
        {"data": word, "last": int(index == len(words) - 1)} for index, word in enumerate(words)
    ]


def expected_error(words):
    if len(words) > CONFIG.packet_words + 2:
        return ErrorCode.TOO_LONG
    if len(words) < 2 or words[1] != len(words) - 2:
        return ErrorCode.LENGTH
    return ErrorCode.OK


def random_packet(rng):
    kind = rng.choice(
        ["good", "longest", "header", "one", "short", "long", "wrong", "noise"],
        p=[0.4, 0.1, 0.1, 0.05, 0.05, 0.1, 0.1, 0.1],
    )
    length = {
        "good": int(rng.integers(0, 12)),
        "longest": CONFIG.packet_words,
        "header": 0,
        "short": int(rng.integers(1, 9)),
        "long": int(rng.integers(35, 90)),
        "wrong": int(rng.integers(0, 30)),
        "one": 0,
        "noise": int(rng.integers(0, 60)),
    }[kind]
    body = [int(word) for word in rng.integers(0, 1 << 32, length)]
    stated = length
    if kind == "short":
        stated += int(rng.choice([-1, 1, 1 << 16, 1 << 31]))
    elif kind in ("wrong", "noise"):
        stated = int(rng.integers(0, 1 << 32))
    words = [int(rng.integers(0, 1 << 32)), stated & 0xFFFF_FFFF, *body]
    return words[:1] if kind == "one" else words


def run(packets, rng, offered=1.0, eager=1.0, config=CONFIG):
    """Send packets; take each whole packet, or part of it and skip the rest; what came out."""
    buffer = PacketBuffer(config)
    seen = []

    async def take(ctx):
        while len(seen) < len(packets):
            while not ctx.get(buffer.packets.valid):
                await ctx.tick()
            error = ctx.get(buffer.packets.payload)
            words, skip = [], 0
            if not error:
                length = None
                stop = int(rng.integers(2, 20)) if rng.random() < 0.5 else 1 << 32
                while length is None or len(words) < min(length, stop):
                    if rng.random() >= eager or not ctx.get(buffer.words.valid):
                        await ctx.tick()
                        continue
                    words.append(ctx.get(buffer.words.payload))
                    ctx.set(buffer.words.ready, 1)
                    await ctx.tick()
                    ctx.set(buffer.words.ready, 0)
                    if len(words) == 2:
                        length = words[1] + 2
                skip = length - len(words)
            else:
                assert not ctx.get(buffer.words.valid)
            ctx.set(buffer.skip, skip)
            ctx.set(buffer.packets.ready, 1)
            await ctx.tick()
            ctx.set(buffer.packets.ready, 0)
            seen.append((error, words))

    async def send(ctx):
        await Streams(rng, offered).put(
            ctx, buffer.i, [word for packet in packets for word in port_words(packet)]
        )

    async def results(ctx):
        """Write and read results at random; what was written last is what comes out."""
        held, wanted = {}, None
        while len(seen) < len(packets):
            if wanted is not None:
                assert ctx.get(buffer.words.payload) == wanted and not ctx.get(buffer.words.valid)
            write, read = rng.random() < 0.4, bool(held) and rng.random() < 0.4
            to, value = int(rng.integers(config.result_depth)), int(rng.integers(1 << 32))
            source = int(rng.choice(list(held))) if read else 0
            read &= not (write and source == to)
            wanted = held[source] if read else None
            ctx.set(buffer.result_writes.valid, write)
            ctx.set(buffer.result_writes.payload.address, to)
            ctx.set(buffer.result_writes.payload.data, value)
            ctx.set(buffer.result_reads.valid, read)
            ctx.set(buffer.result_reads.payload, source)
            if write:
                held[to] = value
            await ctx.tick()

    simulate(buffer, send, take, *([results] if config.shared_results else []))
    return seen


@pytest.mark.parametrize("config", [CONFIG, SHARED], ids=["alone", "shared"])
@pytest.mark.parametrize(("offered", "eager"), [(1.0, 1.0), (0.3, 1.0), (1.0, 0.2)])
def test_packets(offered, eager, config):
    rng = np.random.default_rng(int(10 * offered + eager))
    packets = [random_packet(rng) for _ in range(150)]
    seen = run(packets, rng, offered, eager, config)
    kinds = set()
    for packet, (error, words) in zip(packets, seen, strict=True):
        assert error == expected_error(packet)
        kinds.add(error)
        if error == ErrorCode.OK:
            assert words == packet[: len(words)] and len(words) >= 2
    assert kinds == {ErrorCode.OK, ErrorCode.LENGTH, ErrorCode.TOO_LONG}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([5], ErrorCode.LENGTH),
        ([0], ErrorCode.LENGTH),
        ([5, 0], ErrorCode.OK),
        ([5, 1], ErrorCode.LENGTH),
        ([5, 0xFFFF_FFFF], ErrorCode.LENGTH),
        ([5, 2, 0], ErrorCode.LENGTH),
        ([5, 0, 0], ErrorCode.LENGTH),
        ([5, 1 << 16 | 1, 0], ErrorCode.LENGTH),
        ([5, 34, *range(34)], ErrorCode.OK),
        ([5, 35, *range(34)], ErrorCode.LENGTH),
        ([5, 33, *range(34)], ErrorCode.LENGTH),
        ([5, 35, *range(35)], ErrorCode.TOO_LONG),
        ([5, 34, *range(35)], ErrorCode.TOO_LONG),
        ([5, 500, *range(500)], ErrorCode.TOO_LONG),
    ],
)
def test_errors(words, error):
    """Each between two good packets, which come out whole."""
    good = [7, 3, 10, 20, 30]
    rng = np.random.default_rng(1)
    seen = run([good, words, good], rng)
    assert [item[0] for item in seen] == [0, error, 0]
    assert all(item[1] == good[: len(item[1])] for item in (seen[0], seen[2]))


def test_room():
    """Two packets of the greatest length wait; words of a packet too long need no room."""
    buffer = PacketBuffer(CONFIG)
    longest = [1, 34, *range(34)]
    taken = []

    async def bench(ctx):
        for packet in (longest, longest, [2, 0], [9, 200, *range(200)]):
            for word in port_words(packet):
                ctx.set(buffer.i.payload, word)
                ctx.set(buffer.i.valid, 1)
                for _ in range(3):
                    if ctx.get(buffer.i.ready):
                        break
                    await ctx.tick()
                else:
                    return
                await ctx.tick()
            taken.append(len(packet))

    simulate(buffer, bench)
    assert taken[:2] == [36, 36]
    assert len(taken) == 4


def test_packets_that_wait_are_bounded():
    buffer = PacketBuffer(CONFIG)
    count = 0

    async def bench(ctx):
        nonlocal count
        ctx.set(buffer.i.valid, 1)
        ctx.set(buffer.i.payload, {"data": 0, "last": 1})
        for _ in range(50):
            count += ctx.get(buffer.i.ready)
            await ctx.tick()

    simulate(buffer, bench)
    assert count == CONFIG.packet_places


@pytest.mark.compiles
@pytest.mark.parametrize("words", [34, 126, 4096])
def test_verilog(words, tmp_path):
    lint(PacketBuffer(Config(packet_words=words)), "packet_buffer", tmp_path)


@pytest.mark.parametrize("length", [0, 1, 34])
def test_end_after_the_last_word(length):
    """``empty`` ends a packet without a word, and counts as one does."""
    buffer = PacketBuffer(CONFIG)
    words = [3, length, *range(length)]
    end = {"last": 1, "empty": 1, "data": 99}
    seen = []

    async def send(ctx):
        for given in (words, words[:-1], [*words, 5], words):
            await Streams(np.random.default_rng(0)).put(
                ctx, buffer.i, [*({"data": word} for word in given), end]
            )

    async def take(ctx):
        for _ in range(4):
            while not ctx.get(buffer.packets.valid):
                await ctx.tick()
            seen.append(ctx.get(buffer.packets.payload))
            ctx.set(buffer.skip, length + 2)
            ctx.set(buffer.packets.ready, 1)
            await ctx.tick()
            ctx.set(buffer.packets.ready, 0)

    simulate(buffer, send, take)
    more = ErrorCode.TOO_LONG if length == CONFIG.packet_words else ErrorCode.LENGTH
    assert seen == [ErrorCode.OK, ErrorCode.LENGTH, more, ErrorCode.OK]


def test_aborted_packets_leave_nothing():
    """Also where there is no room for more, and where the packet was too long."""
    buffer = PacketBuffer(CONFIG)
    abort = {"last": 1, "abort": 1, "data": 7}
    good = [4, 30, *range(30)]

    async def bench(ctx):
        streams = Streams(np.random.default_rng(0))
        for length in (0, 1, 2, 36, 37, 60):
            await streams.put(ctx, buffer.i, [*({"data": 34} for _ in range(length)), abort])
        for _ in range(3):
            await streams.put(ctx, buffer.i, port_words(good))
        for word in range(40):  # fills the buffer
            ctx.set(buffer.i.payload, {"data": word})
            ctx.set(buffer.i.valid, ctx.get(buffer.i.ready))
            await ctx.tick()
        ctx.set(buffer.i.valid, 0)
        await streams.put(ctx, buffer.i, [abort])
        for _ in range(3):
            words = []
            while len(words) < len(good):
                if ctx.get(buffer.words.valid):
                    words.append(ctx.get(buffer.words.payload))
                    assert not ctx.get(buffer.packets.payload)
                    ctx.set(buffer.words.ready, len(words) < len(good))
                await ctx.tick()
                ctx.set(buffer.words.ready, 0)
            assert words == good
            ctx.set(buffer.skip, 1)
            ctx.set(buffer.packets.ready, 1)
            await ctx.tick()
            ctx.set(buffer.packets.ready, 0)
        await ctx.tick().repeat(3)
        assert not ctx.get(buffer.packets.valid)

    simulate(buffer, bench)
