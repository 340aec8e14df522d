"""Frame receiver: only what is good, in order and found room; each once."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.fpga.link.frame_receiver import FrameReceiver
from tritforge.fpga.link.frames import ESCAPE, FLAG, SYNC, frame
from tritforge.fpga.link.noise import Noise

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

#: Cycles from a byte to the next, as with the fastest UART.
PACE = 40


class Bench:
    """Gives bytes to a receiver; collects packets and, for every answer, the state then told."""

    def __init__(self, room=None):
        self.receiver = FrameReceiver()
        self.packets, self.answers, self.words = [], [], []
        self.begun = 0
        self.given = False  # a byte in the cycle before
        self.room = room or (lambda: True)
        self.times = []  # cycles from a byte to the word that leaves with it

    async def give(self, ctx, data):
        receiver = self.receiver
        for value in data:
            ctx.set(receiver.data, value)
            ctx.set(receiver.valid, 1)
            await self._cycle(ctx)
            ctx.set(receiver.valid, 0)
            await self._cycle(ctx, PACE - 1)

    async def _cycle(self, ctx, count=1):
        receiver = self.receiver
        payload = receiver.o.payload
        for _ in range(count):
            end = ctx.get(payload.abort) or ctx.get(payload.empty)
            room = bool(end) or self.room()
            ctx.set(receiver.o.ready, room)
            answer, begin = ctx.get(receiver.answer), ctx.get(receiver.begin)
            if ctx.get(receiver.o.valid) and room:
                assert self.given  # in the cycle after the byte
                if ctx.get(payload.abort):
                    assert ctx.get(payload.last)
                    self.words = []
                elif ctx.get(payload.last):
                    assert ctx.get(payload.empty)
                    self.packets.append(self.words)
                    self.words = []
                else:
                    self.words.append(ctx.get(payload.data))
            self.begun += begin
            self.given = ctx.get(receiver.valid)
            await ctx.tick()
            if answer:
                self.answers.append(
                    tuple(
                        ctx.get(getattr(receiver.state, name))
                        for name in ("session", "expected", "refused", "full")
                    )
                )

    def run(self, data, **limits):
        async def bench(ctx):
            await self.give(ctx, data)

        simulate(self.receiver, bench, limit=len(data) * PACE + 100)
        return self


def test_packets_and_answers():
    data = (
        frame(0, 0, [1, 2])
        + frame(0, 1, [0x7E7D_7E7D])
        + frame(0, 1)
        + frame(0, 1, [9])
        + frame(0, 3, [9])
        + frame(0, 2, [0xFFFF_FFFF, 0, 3])
    )
    bench = Bench().run(data)
    assert bench.packets == [[1, 2], [0x7E7D_7E7D], [0xFFFF_FFFF, 0, 3]]
    assert [answer[1] for answer in bench.answers] == [1, 2, 2, 2, 2, 3]
    assert not any(answer[2] for answer in bench.answers)


def test_escapes_in_every_place():
    """Control byte, words and CRC."""
    numbers, data, expected = [], frame(SYNC | 0x3E, 0x7E), []
    for number in range(0x80):
        words = [(FLAG, ESCAPE)[number & 1] << 8 * (number & 3), number * 0x0101_0101]
        numbers.append(words)
        data += frame(0, number, words)
        expected.append((0x3E, number + 1, 0, 0))
    bench = Bench().run(data)
    assert bench.packets == numbers
    assert bench.answers == [(0x3E, 0, 0, 0), *expected]
    assert any(bytes((ESCAPE,)) in frame(0, n, w)[-6:] for n, w in enumerate(numbers))


def test_sequence_wraps():
    data = b"".join(frame(0, number & 0xFF, [number]) for number in range(300))
    assert Bench().run(data).packets == [[number] for number in range(300)]


@pytest.mark.parametrize("place", range(15))
def test_one_bit(place):
    """Wherever a bit is inverted, nothing of the frame is taken, and the next one is."""
    good = frame(0, 0, [1, 2])
    for bit in range(0, 8, 3):
        bad = bytearray(good)
        bad[1 + place % (len(good) - 2)] ^= 1 << bit
        bench = Bench().run(bytes(bad) + good)
        assert bench.packets == [[1, 2]]
        assert bench.answers[-1] == (0, 1, 0, 0)
        assert bench.answers[0][1:3] == (0, 1)


def test_lengths():
    """Too short, or no whole words, with a good CRC."""
    from binascii import crc32

    for body in (b"", b"\0", b"\0\0\1", b"\0\0\1\2\3\4\5"):
        data = bytes((FLAG,)) + body + crc32(body).to_bytes(4, "little") + bytes((FLAG,))
        bench = Bench().run(data + frame(0, 0, [5]))
        assert bench.packets == [[5]]
        assert [answer[1:] for answer in bench.answers] == [(0, 1, 0), (1, 0, 0)]


def test_session():
    """SYNC begins anew, in the middle of a frame too; with words or a bad CRC it does nothing."""
    cut = frame(0, 1, [7, 8, 9])[:9]
    damaged = bytearray(frame(SYNC | 9, 0))
    damaged[3] ^= 1
    bench = Bench().run(
        frame(0, 0, [1])
        + cut
        + frame(SYNC | 5, 0x77)
        + frame(0, 0, [2])
        + bytes(damaged)
        + frame(SYNC | 9, 0, [3])
        + frame(0, 1, [4])
    )
    assert bench.packets == [[1], [2], [4]]
    assert bench.begun == 1
    assert bench.answers[-1] == (5, 2, 0, 0)


def test_restart_lasts_until_the_next_byte():
    bench = Bench()

    async def run(ctx):
        await bench.give(ctx, frame(SYNC | 1, 0))
        for _ in range(200):
            assert ctx.get(bench.receiver.restart)
            await ctx.tick()
        await bench.give(ctx, bytes((FLAG,)))
        assert not ctx.get(bench.receiver.restart)

    simulate(bench.receiver, run)


def test_no_room():
    """A frame of which a word is not taken is refused as a whole; later it is taken."""
    bench = Bench()
    blocked = True
    taken = 0  # words of the frame, until there is room

    def room():
        return not blocked or taken != 1

    bench.room = room

    async def run(ctx):
        nonlocal blocked, taken
        given = frame(0, 0, [1, 2, 3])
        for value in given:
            await bench.give(ctx, bytes((value,)))
            taken = max(taken, len(bench.words))
        assert bench.packets == []
        assert bench.answers == [(0, 0, 1, 1)]
        blocked = False
        await bench.give(ctx, given)

    simulate(bench.receiver, run)
    assert bench.packets == [[1, 2, 3]]
    assert bench.answers[-1] == (0, 1, 0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_noise(seed):
    """A host that sends everything again until it is acknowledged: all packets, each once."""
    rng = np.random.default_rng(seed)
    packets = [rng.integers(0, 1 << 32, rng.integers(1, 5)).tolist() for _ in range(40)]
    bench = Bench()
    noise = Noise.of(0.02, seed)

    async def run(ctx):
        while len(bench.packets) < len(packets):
            start = len(bench.packets)
            for number in range(start, min(start + 3, len(packets))):
                await bench.give(ctx, noise.apply(frame(0, number & 0xFF, packets[number])))
            await bench.give(ctx, noise.apply(bytes((FLAG,))))

    simulate(bench.receiver, run, limit=2_000_000)
    assert bench.packets == packets


@pytest.mark.compiles
def test_verilog(tmp_path):
    lint(FrameReceiver(), "frame_receiver", tmp_path)
