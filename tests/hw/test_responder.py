"""Responder: answers word by word, in the order of requests, the end of a run before them."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tests.hw.test_host_port import CONFIG, split
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import MEMORIES, READABLE_MEMORIES
from tritforge.hw.protocol import RESPONSE, STATUS_WORDS, ErrorCode, Opcode
from tritforge.hw.responder import Responder, status_layout

STATUS = {name: 1000 + index for index, (name, _) in enumerate(status_layout())}


def memory_word(config, read):
    """Contents of a memory: another number for every word."""
    number = int(read["memory"]) << 12 | int(read["cluster"]) << 8 | int(read["address"])
    width = config.memory_width(MEMORIES[read["memory"]])
    return int.from_bytes(np.random.default_rng(number).bytes(64), "little") % (1 << width)


def expected(config, request):
    opcode, error = request["opcode"], request["error"]
    head = opcode | RESPONSE | error << 8 | request["memory"] << 16 | request["tag"] << 24
    if error:
        return [head, 0]
    if opcode == Opcode.STATUS:
        return [head, STATUS_WORDS, *STATUS.values()]
    chunks = config.memory_chunks(MEMORIES[request["memory"]])
    words = [
        memory_word(config, request | {"address": request["address"] + index}) >> 32 * chunk
        & 0xFFFF_FFFF
        for index in range(request["count"])
        for chunk in range(chunks)
    ]
    return [head, len(words), *words]


def random_request(rng, config):
    kind = rng.choice(["read", "status", "refused"])
    request = {"opcode": Opcode.STATUS, "error": 0, "memory": 0, "tag": int(rng.integers(256))}
    request |= {"cluster": 0, "address": 0, "count": 0}
    if kind == "refused":
        return request | {"opcode": int(rng.integers(16)), "error": int(ErrorCode.ADDRESS)}
    if kind == "read":
        name = str(rng.choice(READABLE_MEMORIES))
        count = int(rng.integers(0, 4))
        return request | {
            "opcode": Opcode.READ,
            "memory": MEMORIES.index(name),
            "cluster": int(rng.integers(config.memory_count(name))),
            "address": int(rng.integers(config.memory_depth(name) - count + 1)),
            "count": count,
        }
    return request


async def memories(ctx, responder, config, rng, served):
    """Serve reads, each two cycles after it was taken."""
    data = deque([None, None])
    while True:
        ctx.set(responder.reads.ready, int(rng.random() < served))
        arrived = data.popleft()
        ctx.set(responder.read_data.valid, int(arrived is not None))
        ctx.set(responder.read_data.payload, arrived or 0)
        taken = ctx.get(responder.reads.valid) and ctx.get(responder.reads.ready)
        data.append(memory_word(config, ctx.get(responder.reads.payload)) if taken else None)
        await ctx.tick()


@pytest.mark.parametrize(("willing", "served"), [(1.0, 1.0), (0.4, 1.0), (1.0, 0.4)])
def test_answers(willing, served):
    responder = Responder(CONFIG)
    rng = np.random.default_rng(int(10 * willing + served))
    requests = [random_request(rng, CONFIG) for _ in range(60)]

    async def send(ctx):
        ctx.set(responder.status, STATUS)
        await Streams(rng).put(ctx, responder.requests, requests)

    async def receive(ctx):
        answers = [expected(CONFIG, request) for request in requests]
        words = await Streams(rng, willing).get(ctx, responder.o, sum(map(len, answers)))
        assert split(words) == answers
        await ctx.tick().repeat(5)
        assert not ctx.get(responder.o.valid)

    async def serve(ctx):
        await memories(ctx, responder, CONFIG, rng, served)

    simulate(responder, send, receive, background=[serve])


def test_end_of_a_run_goes_first():
    responder = Responder(CONFIG)
    rng = np.random.default_rng(0)
    refused = random_request(rng, CONFIG) | {"opcode": 1, "error": 3, "memory": 2, "count": 0}

    async def bench(ctx):
        ctx.set(responder.requests.payload, refused)
        ctx.set(responder.requests.valid, 1)
        ctx.set(responder.ends.payload, {"error": 4, "tag": 9})
        ctx.set(responder.ends.valid, 1)
        assert ctx.get(responder.ends.ready) and not ctx.get(responder.requests.ready)
        await ctx.tick()
        ctx.set(responder.ends.valid, 0)
        words = split(await Streams(rng).get(ctx, responder.o, 4))
        assert words == [[Opcode.RUN | RESPONSE | 4 << 8 | 9 << 24, 0], expected(CONFIG, refused)]

    simulate(responder, bench)


def test_timing():
    """A cycle to take the request, two words, then five cycles for each one-word memory word."""
    responder = Responder(CONFIG)
    rng = np.random.default_rng(0)
    name = "results"
    assert CONFIG.memory_chunks(name) == 1
    request = random_request(rng, CONFIG) | {
        "opcode": Opcode.READ,
        "error": 0,
        "memory": MEMORIES.index(name),
        "count": 5,
    }
    cycles = 0

    async def send(ctx):
        await Streams(rng).put(ctx, responder.requests, [request])

    async def receive(ctx):
        nonlocal cycles
        ctx.set(responder.o.ready, 1)
        left = 7
        while left:
            left -= ctx.get(responder.o.valid)
            await ctx.tick()
            cycles += 1

    async def serve(ctx):
        await memories(ctx, responder, CONFIG, rng, 1.0)

    simulate(responder, send, receive, background=[serve])
    assert cycles <= 1 + 2 + 5 * 5


@pytest.mark.parametrize("config", [CONFIG, PRESETS["icebreaker"]])
def test_verilog(config, tmp_path):
    lint(Responder(config), "responder", tmp_path)
