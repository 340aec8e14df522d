"""Frame transmitter: exact bytes, escapes, latency, answers that wait."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.fpga.link.frame_transmitter import FrameTransmitter
from tritforge.fpga.link.frames import Decoder, Reply, reply_frame


def collect(responses, answers=(), state=(5, 7, 0, 0), willing=1.0, offered=1.0, cycles=None):
    """Bytes of responses (lists of words) and answers asked for in cycles ``answers``."""
    block = FrameTransmitter()
    rng = np.random.default_rng(0)
    got, times = [], []

    async def send(ctx):
        for name, value in zip(("session", "expected", "refused", "full"), state, strict=True):
            ctx.set(getattr(block.state, name), value)
        await Streams(rng, offered).put(
            ctx,
            block.i,
            [
                {"data": word, "last": index == len(words) - 1}
                for words in responses
                for index, word in enumerate(words)
            ],
        )

    async def answer(ctx):
        for cycle in range(max(answers, default=-1) + 1):
            ctx.set(block.answer, cycle in answers)
            await ctx.tick()
        ctx.set(block.answer, 0)

    async def receive(ctx):
        for cycle in range(cycles or 200 + 700 * len(responses)):
            ready = rng.random() < willing
            ctx.set(block.o.ready, ready)
            valid, value = (await ctx.tick().sample(block.o.valid, block.o.payload))[-2:]
            if valid and ready:
                got.append(value)
                times.append(cycle)

    simulate(block, receive, background=[send, answer])
    return bytes(got), times


def test_first_answer_after_reset():
    data, times = collect([], state=(0, 0, 0, 0))
    assert data == reply_frame(Reply(0, 0))
    assert times[0] == 1
    # A byte in 10 cycles.
    assert [b - a for a, b in pairwise(times[1:])] == [10] * 5 + [9]


@pytest.mark.parametrize(
    "state", [(5, 7, 0, 0), (63, 255, 1, 1), (0x3E, 0x7E, 1, 0), (0x3D, 0x7D, 1, 0)]
)
def test_responses(state):
    responses = [[1], [0x7E7D_7E7D, 0xFFFF_FFFF], [0], [0x1234_5678] * 9]
    data, _ = collect(responses, state=state)
    reply = Reply(state[0], state[1], bool(state[2]), bool(state[3]))
    replies = Decoder().replies(data)
    assert [one.words for one in replies if one.words] == [tuple(words) for words in responses]
    assert {(one.session, one.expected, one.refused, one.full) for one in replies} == {
        (reply.session, reply.expected, reply.refused, reply.full)
    }
    for words in responses:
        assert reply_frame(dataclasses.replace(reply, words=tuple(words))) in data


@pytest.mark.parametrize(("willing", "offered"), [(0.3, 1.0), (1.0, 0.1)])
def test_streams_that_wait(willing, offered):
    rng = np.random.default_rng(1)
    responses = [rng.integers(0, 1 << 32, rng.integers(1, 6)).tolist() for _ in range(20)]
    decoder = Decoder()
    data, _ = collect(responses, willing=willing, offered=offered)
    assert [one.words for one in decoder.replies(data) if one.words] == [
        tuple(words) for words in responses
    ]
    assert decoder.errors == 0


def test_answers_are_gathered():
    """Many while a frame is being sent need one frame more, and the last is never forgotten."""
    for last in range(0, 90, 7):
        data, _ = collect([], answers=[*range(0, last, 3), last], cycles=600)
        assert len(Decoder().replies(data)) in (1, 2, 3)
    data, _ = collect([], answers=[150], cycles=600)
    assert len(Decoder().replies(data)) == 2


@pytest.mark.compiles
def test_verilog(tmp_path):
    lint(FrameTransmitter(), "frame_transmitter", tmp_path)
