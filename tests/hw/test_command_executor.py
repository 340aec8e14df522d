"""Command executor: what every packet makes its ports say, and what a refused one leaves."""

from dataclasses import dataclass, field, replace

import pytest

from tests.hw.benches import lint, simulate
from tests.hw.test_host_port import CONFIG, PACKED
from tritforge.hw import protocol
from tritforge.hw.command_executor import CommandExecutor
from tritforge.hw.program import MEMORIES
from tritforge.hw.protocol import ErrorCode, Opcode, Packet

TAG = 77
CHUNKS = [
    {"address": 3, "chunk": 0, "data": 0x1234_5678},
    {"address": 3, "chunk": 1, "data": 0x9ABC},
]


@dataclass
class Played:
    """What stands around the executor, and what it said for one packet."""

    error: int = 0  # of the packet buffer
    state: dict = field(default_factory=dict)  # of the run
    release_after: int | None = None  # cycles until the program has released something
    unanswered: int = 0
    answers: int = 1  # requests are taken
    fault: int = 0  # the unpacker's
    writes: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    runs: list = field(default_factory=list)
    jobs: list = field(default_factory=list)
    packed: list = field(default_factory=list)
    signals: int = 0
    takes: int = 0
    cycles: int = 0
    left: int = 0  # words of the packet that were not taken

    def quiet(self):
        """Nothing but requests."""
        return not (
            self.writes or self.runs or self.jobs or self.packed or self.signals or self.takes
        )


def fields(payload):
    return {name: int(payload[name]) for name, _ in payload.shape()}


async def carry_out(ctx, executor, packet, played):
    """Play a packet to the executor, and all that it talks to, until it is done with it."""
    words = packet.words()
    chunks = []
    done = False
    ctx.set(executor.writes.ready, 1)
    ctx.set(executor.written, 1)
    ctx.set(executor.requests.ready, played.answers)
    ctx.set(executor.unanswered, played.unanswered)
    ctx.set(executor.packets.payload, played.error)
    ctx.set(executor.packets.valid, 1)
    unpacks = hasattr(executor, "jobs")
    if unpacks:
        ctx.set(executor.packed.ready, 1)
        ctx.set(executor.unpacked, 1)
    while not done:
        assert played.cycles < 200, "the packet is not done"
        released = played.release_after is not None and played.cycles >= played.release_after
        ctx.set(executor.state, played.state | {"released": int(released)})
        ctx.set(executor.words.valid, int(bool(words)))
        ctx.set(executor.words.payload, words[0] if words else 0)
        if unpacks:
            ctx.set(executor.chunks.valid, int(bool(chunks)))
            ctx.set(executor.chunks.payload, chunks[0] if chunks else {})
        # What happens in this cycle.
        if ctx.get(executor.writes.valid):
            played.writes.append(fields(ctx.get(executor.writes.payload)))
        if ctx.get(executor.requests.valid):
            played.requests.append(fields(ctx.get(executor.requests.payload)))
        if ctx.get(executor.runs.valid):
            played.runs.append(fields(ctx.get(executor.runs.payload)))
        played.signals += ctx.get(executor.signal)
        played.takes += ctx.get(executor.take)
        taken = bool(words) and ctx.get(executor.words.ready)
        done = ctx.get(executor.packets.ready)
        played.left = ctx.get(executor.skip)
        begins = unpacks and ctx.get(executor.jobs.valid)
        last = unpacks and ctx.get(executor.packed.valid) and ctx.get(executor.packed.payload.last)
        if begins:
            played.jobs.append(fields(ctx.get(executor.jobs.payload)))
        if unpacks and ctx.get(executor.packed.valid):
            played.packed.append(fields(ctx.get(executor.packed.payload)))
        given = bool(chunks) and ctx.get(executor.chunks.ready)
        await ctx.tick()
        played.cycles += 1
        words = words[taken:]
        chunks = list(CHUNKS) if last else chunks[given:]
        if begins:
            ctx.set(executor.unpacked, 0)
        if unpacks:
            ctx.set(executor.fault, int(last and played.fault))  # before the last chunks
        if given and not chunks:
            ctx.set(executor.unpacked, 1)
    ctx.set(executor.packets.valid, 0)


def play(packets, config=PACKED, contents=0):
    """Play packets, each with its surroundings; returns the counts and the label at the end."""
    executor = CommandExecutor(config, contents=contents)
    end = {}

    async def bench(ctx):
        for packet, played in packets:
            await carry_out(ctx, executor, replace(packet, tag=TAG), played)
        await ctx.tick()
        for name in ("errors", "dropped", "contents"):
            end[name] = ctx.get(getattr(executor, name))

    simulate(executor, bench)
    return end


def request(opcode, error=ErrorCode.OK, memory=0, cluster=0, address=0, count=0):
    return {
        "opcode": opcode,
        "error": error,
        "memory": memory,
        "tag": TAG,
        "cluster": cluster,
        "address": address,
        "count": count,
    }


@pytest.mark.parametrize("config", [CONFIG, PACKED], ids=["plain", "unpacks"])
def test_write(config):
    chunks = config.memory_chunks("trits")
    words = [100 + index for index in range(2 * chunks)]
    played = Played()
    end = play([(protocol.write("trits", 1, 5, 2, words), played)], config)
    assert played.writes == [
        {
            "memory": MEMORIES.index("trits"),
            "cluster": 1,
            "address": 5 + index // chunks,
            "chunk": index % chunks,
            "data": word,
        }
        for index, word in enumerate(words)
    ]
    assert (played.requests, played.left) == ([], 0)
    assert end == {"errors": 0, "dropped": 0, "contents": 0}


def test_write_packed():
    played = Played()
    end = play([(protocol.write_packed(2, 3, 1, 8, [0xAAAA, 0xBBBB]), played)])
    assert played.jobs == [{"address": 3, "count": 1, "rows_used": 8}]
    assert played.packed == [{"data": 0xAAAA, "last": 0}, {"data": 0xBBBB, "last": 1}]
    assert played.writes == [
        chunk | {"memory": MEMORIES.index("trits"), "cluster": 2} for chunk in CHUNKS
    ]
    assert played.requests == []
    assert end["errors"] == 0


@pytest.mark.parametrize("wait", [False, True])
def test_run(wait):
    played = Played()
    play([(protocol.run(9, 2, wait=wait), played)])
    assert played.runs == [{"address": 9, "layer_count": 2, "waits": wait, "tag": TAG}]
    assert played.requests == []


def test_read():
    played = Played()
    play([(protocol.read("activations", 1, 4, 3), played)])
    memory = MEMORIES.index("activations")
    assert played.requests == [request(Opcode.READ, 0, memory, 1, 4, 3)]
    assert played.quiet()


def test_status():
    played = Played()
    play([(protocol.status(), played)])
    assert [(asked["opcode"], asked["error"]) for asked in played.requests] == [(Opcode.STATUS, 0)]
    assert played.quiet()


def test_signal():
    played = Played()
    play([(protocol.signal(), played)])
    assert (played.signals, played.takes, played.requests) == (1, 0, [])


def test_wait_takes_a_release():
    played = Played(state={"running": 1}, release_after=50)
    play([(protocol.wait(), played)])
    assert (played.takes, played.signals, played.requests) == (1, 0, [])
    assert played.cycles == 52


def test_wait_is_over_when_no_program_runs():
    played = Played(state={"running": 0})
    play([(protocol.wait(), played)])
    assert played.cycles < 10 and played.requests == []


@pytest.mark.parametrize(
    ("memory", "contents"), [("trits", 0), ("activations", 0xC0FFEE)], ids=["false", "true"]
)
def test_a_label_is_true_until_what_it_is_of_is_written(memory, contents):
    label = protocol.label(0xC0FFEE)
    assert play([(label, Played())], contents=5)["contents"] == 0xC0FFEE
    write = protocol.write(memory, 0, 0, 1, [0] * PACKED.memory_chunks(memory))
    assert play([(label, Played()), (write, Played())])["contents"] == contents


@pytest.mark.parametrize(
    ("packet", "around", "error"),
    [
        (protocol.read("activations", 0, 12, 2), {}, ErrorCode.ADDRESS),
        (protocol.write("trits", 0, 0, 1, [1]), {}, ErrorCode.LENGTH),
        (protocol.write_packed(0, 0, 1, 9, [1]), {}, ErrorCode.ROWS),
        (protocol.run(0, 1), {"state": {"running": 1}}, ErrorCode.BUSY),
        (protocol.run(0, 1), {"unanswered": 1}, ErrorCode.BUSY),
        (protocol.wait(), {"state": {"running": 1, "refilling": 1}}, ErrorCode.STUCK),
        (Packet(99), {}, ErrorCode.OPCODE),
        (protocol.status(), {"error": ErrorCode.TOO_LONG}, ErrorCode.TOO_LONG),
    ],
    ids=["read", "write", "write_packed", "run", "unanswered", "wait", "opcode", "buffer"],
)
def test_a_refused_packet_does_nothing_but_ask_for_its_answer(packet, around, error):
    played = Played(**around)
    end = play([(packet, played)], contents=5)
    assert [(asked["error"], asked["count"]) for asked in played.requests] == [(error, 0)]
    assert played.quiet()
    assert end == {"errors": 1, "dropped": 0, "contents": 5}


def test_words_of_a_refused_packet_are_skipped():
    played = Played()
    play([(protocol.write("trits", 9, 0, 1, [1] * PACKED.memory_chunks("trits")), played)])
    assert played.left == PACKED.memory_chunks("trits")


def test_a_request_that_is_not_taken_is_dropped():
    played = Played(answers=0)
    assert play([(protocol.status(), played), (protocol.status(), Played())]) == {
        "errors": 0,
        "dropped": 1,
        "contents": 0,
    }


def test_packed_words_that_do_not_suit_are_answered_after_the_last():
    played = Played(fault=1)
    end = play([(protocol.write_packed(0, 3, 1, 8, [1]), played)])
    assert len(played.writes) == len(CHUNKS)
    assert [asked["error"] for asked in played.requests] == [ErrorCode.PACKED]
    assert end["errors"] == 1


@pytest.mark.parametrize("config", [CONFIG, PACKED], ids=["plain", "unpacks"])
def test_verilog(config, tmp_path):
    lint(CommandExecutor(config), "command_executor", tmp_path)
