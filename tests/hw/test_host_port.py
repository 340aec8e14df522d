"""Host port against a plain model of the protocol, with memories and a sequencer played to it."""

import dataclasses
from collections import deque

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw import protocol
from tritforge.hw.config import Config
from tritforge.hw.host_port import HostPort
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import MEMORIES, READABLE_MEMORIES, WRITABLE_MEMORIES, memories
from tritforge.hw.protocol import RESPONSE, ErrorCode, Opcode, Packet, Status
from tritforge.hw.unpacker import can_unpack
from tritforge.model_export.image.packing import pack_columns

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

CONFIG = Config(
    sets=2,
    clusters=3,
    elements=3,
    rows=7,
    scan_width=5,
    trit_depth=20,
    activation_depth=13,
    program_depth=64,
    row_depth=11,
    result_depth=9,
    layer_count=2,
    packet_words=40,
    activation_tables=1,
)
#: With 8 rows, so that there is an unpacker; a column is a chunk and a half. Without tables.
PACKED = dataclasses.replace(CONFIG, rows=8, activation_tables=0)
TOP = 0xFFFF_FFFF


def port_words(packets):
    return [
        {"data": word, "last": int(index == len(words) - 1)}
        for words in packets
        for index, word in enumerate(words)
    ]


def unpack(config, words, count, rows_used):
    """(columns of chunks, whether the words are exactly theirs), bit by bit; 0 behind the end."""
    together = max(1, 16 // config.rows)
    halves = [range(min(rows_used, 16)), range(16, rows_used)][: max(1, config.rows // 16)]
    groups = [
        [
            (element, row)
            for element in range(first, min(first + together, config.elements))
            for row in half
        ]
        for first in range(0, config.elements, together)
        for half in halves
    ]
    stream = sum(word << 32 * index for index, word in enumerate(words))
    columns = [0] * count
    position = 0
    waiting = []  # nonzero trits whose signs come behind the next mask
    for number in range(count * len(groups) + 1):
        column, index = divmod(number, len(groups))
        members = groups[index] if column < count else []
        nonzero = [
            (column, *member)
            for offset, member in enumerate(members)
            if stream >> position + offset & 1
        ]
        position += len(members)
        for offset, (place, element, row) in enumerate(waiting):
            sign = stream >> position + offset & 1
            bit = 2 * config.rows * element + row
            columns[place] |= 1 << bit | sign << bit + config.rows
        position += len(waiting)
        waiting = nonzero
    chunks = [
        [column >> 32 * index & TOP for index in range(config.memory_chunks("trits"))]
        for column in columns
    ]
    return chunks, len(words) == -(-position // 32)


class Model:
    """What every packet must be answered with, and what the memories then hold."""

    def __init__(self, config):
        self.config = config
        self.memories = {
            (kind, cluster): [
                [0] * config.memory_chunks(kind) for _ in range(config.memory_depth(kind))
            ]
            for kind in memories(config)
            for cluster in range(config.memory_count(kind))
        }
        self.errors = 0
        self.starts = []
        self.signals = 0
        self.running = False
        self.contents = 0

    def fill(self, rng):
        """Contents as a run leaves them; the words are cut to the memory's width."""
        for (kind, _), words in self.memories.items():
            width = self.config.memory_width(kind)
            for chunks in words:
                value = int.from_bytes(rng.bytes(64), "little") & ((1 << width) - 1)
                chunks[:] = [value >> 32 * index & TOP for index in range(len(chunks))]

    def answer(self, words):
        """Response words, or None; STATUS gives the header only (its payload is checked apart)."""
        error, arguments = self._check(words)
        opcode = words[0] & 0xFF if len(words) > 1 else 0
        memory, tag = words[0] >> 8 & 0xFF, words[0] >> 24 << 24
        if error in (ErrorCode.TOO_LONG, None) or not self._framed(words):
            opcode, memory, tag = 0, 0, 0
        if error:
            self.errors += 1
            return [opcode | RESPONSE | error << 8 | memory << 16 | tag, 0]
        if opcode == Opcode.STATUS:
            return [opcode | RESPONSE | memory << 16 | tag, protocol.STATUS_WORDS]
        if opcode == Opcode.LABEL:
            self.contents = words[2]
            return None
        if opcode in (Opcode.SIGNAL, Opcode.WAIT):
            self.signals += opcode == Opcode.SIGNAL  # no program runs: WAIT passes
            return None
        address, count = arguments
        if (
            opcode in (Opcode.WRITE, Opcode.WRITE_PACKED)
            and count
            and MEMORIES[memory] != "activations"
        ):
            self.contents = 0
        if opcode == Opcode.WRITE_PACKED:
            columns, exact = unpack(self.config, words[5:], count, words[4])
            for index, chunks in enumerate(columns):
                self.memories["trits", words[0] >> 16 & 0xFF][address + index][:] = chunks
            self.errors += not exact
            return (
                None
                if exact
                else [opcode | RESPONSE | ErrorCode.PACKED << 8 | memory << 16 | tag, 0]
            )
        if opcode == Opcode.RUN:
            waits, count = divmod(count, protocol.RUN_WAITS)
            self.starts.append((address, min(count, 0xFFFF), waits))
            return None
        kind, cluster = MEMORIES[memory], words[0] >> 16 & 0xFF
        place = self.memories[kind, cluster]
        chunks = self.config.memory_chunks(kind)
        if opcode == Opcode.READ:
            # What a written word has beyond the memory's width is not kept.
            top = (1 << self.config.memory_width(kind) - 32 * (chunks - 1)) - 1
            payload = [
                word & (top if index == chunks - 1 else TOP)
                for item in place[address : address + count]
                for index, word in enumerate(item)
            ]
            return [opcode | RESPONSE | memory << 16 | tag, len(payload), *payload]
        for index in range(count):
            place[address + index][:] = words[4 + index * chunks : 4 + (index + 1) * chunks]
        return None

    def _framed(self, words):
        return 2 <= len(words) == words[1] + 2 <= self.config.packet_words + 2

    def _check(self, words):
        config = self.config
        if len(words) > config.packet_words + 2:
            return ErrorCode.TOO_LONG, None
        if not self._framed(words):
            return ErrorCode.LENGTH, None
        opcode, memory, cluster = words[0] & 0xFF, words[0] >> 8 & 0xFF, words[0] >> 16 & 0xFF
        arguments = words[2:]
        packed = opcode == Opcode.WRITE_PACKED
        if opcode not in list(Opcode) or (packed and not can_unpack(config)):
            return ErrorCode.OPCODE, None
        bare = opcode in (Opcode.STATUS, Opcode.SIGNAL, Opcode.WAIT)
        least = 0 if bare else 3 if packed else 1 if opcode == Opcode.LABEL else 2
        if len(arguments) < least or (
            opcode not in (Opcode.WRITE, Opcode.WRITE_PACKED) and len(arguments) != least
        ):
            return ErrorCode.LENGTH, None
        if bare or opcode == Opcode.LABEL:
            return ErrorCode.OK, None
        address, count = arguments[:2]
        if opcode == Opcode.RUN:
            if self.running:
                return ErrorCode.BUSY, None
            if address >= config.program_depth:
                return ErrorCode.ADDRESS, None
            return ErrorCode.OK, (address, count)
        kind = {number: name for name, number in memories(config).items()}.get(memory)
        if kind not in (
            ("trits",)
            if packed
            else WRITABLE_MEMORIES
            if opcode == Opcode.WRITE
            else READABLE_MEMORIES
        ):
            return ErrorCode.MEMORY, None
        if cluster >= config.memory_count(kind):
            return ErrorCode.CLUSTER, None
        if address + count > config.memory_depth(kind):
            return ErrorCode.ADDRESS, None
        if opcode == Opcode.WRITE and len(arguments) - 2 != count * config.memory_chunks(kind):
            return ErrorCode.LENGTH, None
        if packed and (count == 0 or len(arguments) == 3):
            return ErrorCode.LENGTH, None
        if packed and not 1 <= arguments[2] <= config.rows:
            return ErrorCode.ROWS, None
        return ErrorCode.OK, (address, count)


class Environment:
    """The rest of the array: memories behind the write and read ports, a sequencer.

    ``served`` is the share of cycles in which a write or read is taken.
    """

    def __init__(self, port, memories, rng, served=1.0):
        self.port = port
        self.memories = memories
        self.rng = rng
        self.served = served
        self.starts = []
        self.signals = 0
        self.writes = 0

    async def play(self, ctx):
        port = self.port
        data = deque([None, None])
        while True:
            ctx.set(port.writes.ready, int(self.rng.random() < self.served))
            ctx.set(port.reads.ready, int(self.rng.random() < self.served))
            arrived = data.popleft()
            ctx.set(port.read_data.valid, int(arrived is not None))
            ctx.set(port.read_data.payload, arrived or 0)
            data.append(None)
            if ctx.get(port.reads.valid) and ctx.get(port.reads.ready):
                read = ctx.get(port.reads.payload)
                chunks = self._memory(MEMORIES[read.memory], read.cluster)[read.address]
                data[-1] = sum(word << 32 * index for index, word in enumerate(chunks))
            if ctx.get(port.writes.valid) and ctx.get(port.writes.ready):
                write = ctx.get(port.writes.payload)
                words = self._memory(MEMORIES[write.memory], write.cluster)
                words[write.address][write.chunk] = write.data
                self.writes += 1
            if ctx.get(port.runs.valid):
                run = ctx.get(port.runs.payload)
                self.starts.append((run.address, run.layer_count, run.waits))
            self.signals += ctx.get(port.signal)
            await ctx.tick()

    def _memory(self, kind, cluster):
        return self.memories[kind, cluster]


def split(taken):
    """Response packets of the words taken."""
    packets, words = [], []
    for word in taken:
        words.append(word.data)
        if word.last:
            packets.append(words)
            words = []
    assert not words
    return packets


def exchange(packets, rng, offered=1.0, willing=1.0, served=1.0, running=False, config=CONFIG):
    """Send packets to a port and compare answers, memories and starts with the model.

    A STATUS closes the exchange and must count the refused packets.
    """
    model = Model(config)
    model.fill(rng)
    model.running = running
    port = HostPort(config)
    environment = Environment(
        port,
        {key: [list(word) for word in words] for key, words in model.memories.items()},
        rng,
        served,
    )
    packets = [*packets, protocol.status().words()]
    got = []

    async def bench(ctx):
        """One answer at a time: never do more wait than there are places."""
        ctx.set(port.state.running, int(running))
        ctx.set(port.state.layers, 3)
        ctx.set(port.state.cycles, 12345)
        sender, receiver = Streams(rng, offered), Streams(rng, willing)
        for packet in packets:
            await sender.put(ctx, port.i, port_words([packet]))
            expected = model.answer(packet)
            if expected is None:
                continue
            words = await receiver.get(ctx, port.o, 2 + expected[1])
            response = split(words)
            assert len(response) == 1
            if packet[0] & 0xFF == Opcode.STATUS and not expected[0] >> 8 & 0xFF:
                assert response[0][:2] == expected
                assert Status.from_packet(Packet.from_words(response[0])) == Status(
                    config.identity_word, int(running), 3, 12345, model.errors, 0, 0, model.contents
                )
            else:
                assert response[0] == expected, [hex(word) for word in packet]
            got.append(response[0])
        await ctx.tick().repeat(20)
        assert not ctx.get(port.o.valid)

    simulate(port, bench, background=[environment.play])
    assert environment.memories == model.memories
    assert environment.starts == model.starts
    assert environment.signals == model.signals
    return [ErrorCode(response[0] >> 8 & 0xFF) for response in got], environment


def write(kind, cluster, address, count, rng, extra=0):
    words = max(0, count * CONFIG.memory_chunks(kind) + extra) if count < 100 else 4
    return protocol.write(
        kind, cluster, address, count, (int(word) for word in rng.integers(0, 1 << 32, words))
    ).words()


def packed_write(rng, config=PACKED):
    """A WRITE_PACKED packet of random columns."""
    count = int(rng.integers(1, 12))
    used = int(rng.integers(1, config.rows + 1))
    shape = (count, config.elements, 1, config.rows)
    trits = rng.choice(np.array([-1, 0, 0, 1], np.int8), shape)
    if rng.random() < 0.2:
        trits[:] = 0
    trits[..., used:] = 0
    planes = np.concatenate([trits != 0, trits < 0], axis=2).reshape(count, -1)
    columns = np.packbits(planes, axis=1, bitorder="little")
    used, words = pack_columns(columns, config.elements, config.rows, used)
    address = int(rng.integers(0, config.trit_depth - count + 1))
    cluster = int(rng.integers(config.cluster_count))
    return protocol.write_packed(cluster, address, count, used, words.tolist()).words()


def good_packet(rng):
    """A packet that is carried out, with a tag."""
    words = _good_words(rng)
    return [words[0] | int(rng.integers(256)) << 24, *words[1:]]


def _good_words(rng):
    opcode = rng.choice(["write", "read", "status", "run", "label"], p=[0.5, 0.3, 0.1, 0.05, 0.05])
    if opcode == "label":
        return protocol.label(int(rng.integers(1 << 32))).words()
    if opcode == "status":
        return protocol.status().words()
    if opcode == "run":
        return protocol.run(int(rng.integers(64)), int(rng.choice([0, 1, 7, 1 << 20]))).words()
    kind = str(rng.choice(WRITABLE_MEMORIES if opcode == "write" else READABLE_MEMORIES))
    cluster = int(rng.integers(CONFIG.memory_count(kind)))
    depth = CONFIG.memory_depth(kind)
    room = 38 // CONFIG.memory_chunks(kind) if opcode == "write" else depth
    count = int(rng.integers(0, min(depth, room) + 1))
    address = int(rng.integers(0, depth - count + 1))
    if opcode == "read":
        return protocol.read(kind, cluster, address, count).words()
    return write(kind, cluster, address, count, rng)


@pytest.mark.parametrize(
    ("offered", "willing", "served"),
    [(1.0, 1.0, 1.0), (0.3, 0.5, 1.0), (1.0, 0.2, 0.3), (0.5, 1.0, 0.1)],
)
def test_good_packets(offered, willing, served):
    rng = np.random.default_rng(int(100 * offered + 10 * willing + served))
    errors, environment = exchange(
        [good_packet(rng) for _ in range(80)], rng, offered, willing, served
    )
    assert set(errors) == {ErrorCode.OK} and environment.writes > 100


def bad_packets():
    """(name, words, error): every way in which a packet can be wrong."""
    rng = np.random.default_rng(0)
    for kind in MEMORIES:
        depth, chunks = CONFIG.memory_depth(kind), CONFIG.memory_chunks(kind)
        number = MEMORIES.index(kind)
        cluster = CONFIG.memory_count(kind)
        readable, writable = kind in READABLE_MEMORIES, kind in WRITABLE_MEMORIES
        read_code = ErrorCode.OK if readable else ErrorCode.MEMORY
        if not readable:
            yield f"read {kind}", protocol.read(kind, 0, 0, 1).words(), read_code
        if not writable:
            yield (f"write {kind}", write(kind, 0, 0, 1, rng), ErrorCode.MEMORY)
        for name, address, count in (
            ("first word beyond", depth, 1),
            ("one too many", 0, depth + 1),
            ("last and one more", depth - 1, 2),
            ("far", TOP, 1),
            ("far and none", TOP, 0),
            ("beyond and none", depth + 1, 0),
            ("overflow to 0", TOP, 1),
            ("overflow to 1", TOP, 2),
            ("overflow to all", TOP - 3, 8),
            ("half and half", 1 << 31, 1 << 31),
            ("everything", 0, TOP),
            ("multiple of 2^27", 0, 1 << 27),
            ("multiple of 2^30", 0, 1 << 30),
            ("address beyond 16 bits", 1 << 16, 1),
            ("count beyond 16 bits", 0, 1 << 16),
        ):
            if readable:
                yield (
                    f"read {kind} {name}",
                    protocol.read(kind, 0, address, count).words(),
                    ErrorCode.ADDRESS,
                )
            if writable:
                small = min(count, 38 // chunks)
                payload = [1] * (small * chunks)
                yield (
                    f"write {kind} {name}",
                    protocol.write(kind, 0, address, count, payload).words(),
                    ErrorCode.ADDRESS,
                )
        for bad in {cluster, cluster + 1, 254, 255}:
            if readable:
                yield (
                    f"read {kind} of cluster {bad}",
                    protocol.read(kind, bad, 0, 1).words(),
                    ErrorCode.CLUSTER,
                )
            if writable:
                yield (
                    f"write {kind} of cluster {bad}",
                    write(kind, bad, 0, 1, rng),
                    ErrorCode.CLUSTER,
                )
        if writable:
            for extra in {-chunks, -1, 1, chunks} | {chunks - 1} - {0}:
                yield (
                    f"write {kind} with {extra} words more",
                    write(kind, 0, 1, 2, rng, extra),
                    ErrorCode.LENGTH,
                )
            yield (
                f"write {kind} with words but no count",
                write(kind, 0, 0, 0, rng, 1),
                ErrorCode.LENGTH,
            )
        for words in (0, 1):
            yield (
                f"write {kind} of {words} arguments",
                [1 | number << 8, words, *[0] * words],
                ErrorCode.LENGTH,
            )
        for words in (0, 1, 3, 38):
            yield (
                f"read {kind} of {words} arguments",
                [3 | number << 8, words, *[0] * words],
                ErrorCode.LENGTH,
            )
    for memory in (len(MEMORIES), 7, 8, 128, 255):
        for opcode in (Opcode.WRITE, Opcode.READ):
            yield (
                f"{opcode.name} memory {memory}",
                [opcode | memory << 8, 2, 0, 0],
                ErrorCode.MEMORY,
            )
    for opcode in (0, 5, 9, 0x7F, 0x80, 0x81, 0x84, 0xFF):
        for words in (0, 2, 40):
            yield f"opcode {opcode} of {words}", [opcode, words, *[0] * words], ErrorCode.OPCODE
    for words in (1, 2, 40):
        yield f"status of {words}", [4, words, *[0] * words], ErrorCode.LENGTH
    for words in (0, 1, 3, 40):
        yield f"run of {words}", [2, words, *[0] * words], ErrorCode.LENGTH
    for address in (64, 65, 128, 1 << 16, 1 << 31, TOP):
        yield f"run at {address}", protocol.run(address, 1).words(), ErrorCode.ADDRESS
    yield "one word", [1], ErrorCode.LENGTH
    for first in (0, 1, 2, 3, 4, TOP):
        yield f"one word {first}", [first], ErrorCode.LENGTH
        yield f"too short {first}", [first, 3, 0, 1], ErrorCode.LENGTH
        yield f"states too little {first}", [first, 1, 0, 1], ErrorCode.LENGTH
        yield f"states 2^32 - 1 {first}", [first, TOP, 0, 1], ErrorCode.LENGTH
        yield f"states 2^16 more {first}", [first, 1 << 16 | 2, 0, 1], ErrorCode.LENGTH
        yield f"header only {first}", [first, 2], ErrorCode.LENGTH
        yield f"too long {first}", [first, 41, *range(41)], ErrorCode.TOO_LONG
        yield f"much too long {first}", [first, 2, *range(300)], ErrorCode.TOO_LONG


BAD_PACKETS = list(bad_packets())


def test_bad_packets():
    """Each is refused with its code and changes nothing; the good packet after it works."""
    rng = np.random.default_rng(5)
    assert len({words[0] & 0xFF for _, words, _ in BAD_PACKETS}) > 8
    packets, codes = [], []
    for _, words, code in BAD_PACKETS:
        good = protocol.read("activations", 1, int(rng.integers(13)), 1).words()
        packets += [words, good]
        codes += [code, ErrorCode.OK]
    errors, environment = exchange(packets, rng)
    wrong = [
        (name, code, error)
        for (name, _, code), error in zip(BAD_PACKETS, errors[::2], strict=False)
        if code != error
    ]
    assert not wrong
    assert errors[:-1] == codes
    assert environment.writes == 0 and not environment.starts


def test_writes_after_bad_packets():
    """As above with a good WRITE after each, so that leftovers of the bad one would show."""
    rng = np.random.default_rng(6)
    packets = []
    for _, words, _ in BAD_PACKETS[::3]:
        kind = str(rng.choice(WRITABLE_MEMORIES))
        packets += [words, write(kind, 0, int(rng.integers(5)), 2, rng), protocol.status().words()]
    exchange(packets, rng, served=0.7)


@pytest.mark.parametrize(
    ("offered", "willing", "served"), [(1.0, 1.0, 1.0), (0.3, 0.5, 1.0), (1.0, 0.2, 0.3)]
)
def test_good_packed_packets(offered, willing, served):
    """Packed trits between writes to all memories."""
    rng = np.random.default_rng(int(100 * offered + 10 * willing + served))
    packets = []
    kinds = [kind for kind in memories(PACKED) if kind in WRITABLE_MEMORIES]
    for _ in range(30):
        packets += [packed_write(rng) for _ in range(rng.integers(1, 3))]
        kind = str(rng.choice(kinds))
        words = [1] * PACKED.memory_chunks(kind)
        packets.append(protocol.write(kind, 0, int(rng.integers(5)), 1, words).words())
    errors, _ = exchange(packets, rng, offered, willing, served, config=PACKED)
    assert errors == [ErrorCode.OK]


def bad_packed_packets():
    """(name, words, error): every way in which WRITE_PACKED can be wrong before it is begun."""
    depth, clusters = PACKED.trit_depth, PACKED.cluster_count

    def packed(cluster=0, address=0, count=1, rows_used=1, words=(0,)):
        return protocol.write_packed(cluster, address, count, rows_used, words).words()

    for memory, kind in enumerate([*MEMORIES, "none", "none"]):
        if kind != "trits":
            yield (f"memory {memory}", [5 | memory << 8, 4, 0, 1, 1, 0], ErrorCode.MEMORY)
    for words in (0, 1, 2):
        yield (f"{words} arguments", [5 | 1 << 8, words, *[1] * words], ErrorCode.LENGTH)
    yield "no words", packed(words=()), ErrorCode.LENGTH
    yield "no columns", packed(count=0), ErrorCode.LENGTH
    yield "no columns, no words", packed(count=0, words=()), ErrorCode.LENGTH
    for cluster in (clusters, clusters + 1, 254, 255):
        yield f"cluster {cluster}", packed(cluster), ErrorCode.CLUSTER
    for address, count in (
        (depth, 1),
        (0, depth + 1),
        (depth - 1, 2),
        (TOP, 1),
        (TOP, 2),
        (TOP - 3, 8),
        (0, TOP),
        (1 << 31, 1 << 31),
        (0, 1 << 16),
    ):
        yield f"{count} at {address}", packed(0, address, count), ErrorCode.ADDRESS
    for rows in (0, PACKED.rows + 1, 2 * PACKED.rows, 256 + 1, 1 << 16, TOP):
        yield f"{rows} rows", packed(rows_used=rows), ErrorCode.ROWS
    yield "too long", packed(words=[0] * 38), ErrorCode.TOO_LONG
    yield "other length", [*packed(), 0], ErrorCode.LENGTH


def test_bad_packed_packets():
    """Each is refused with its code and changes nothing; the good packet after it works."""
    rng = np.random.default_rng(8)
    packets, codes = [], []
    for _, words, code in bad_packed_packets():
        packets += [words, protocol.read("results", 0, 0, 1).words()]
        codes += [code, ErrorCode.OK]
    errors, environment = exchange(packets, rng, config=PACKED)
    assert errors[:-1] == codes
    assert environment.writes == 0
    exchange(
        [packet for words in packets[::2] for packet in (words, packed_write(rng))],
        rng,
        config=PACKED,
    )


def test_no_unpacker():
    """Seven rows: the opcode is unknown."""
    packet = protocol.write_packed(0, 0, 1, 1, [0]).words()
    errors, environment = exchange([packet], np.random.default_rng(0))
    assert errors == [ErrorCode.OPCODE, ErrorCode.OK] and environment.writes == 0


@pytest.mark.parametrize("served", [1.0, 0.4])
def test_packed_words_that_are_not_the_columns(served):
    """Written with zeros for what is missing, without what is too much, and then reported."""
    rng = np.random.default_rng(9)
    packets = []
    for _ in range(20):
        words = packed_write(rng)
        change = int(rng.choice([-2, -1, 1, 2, 5]))
        payload = words[5:] + [int(word) for word in rng.integers(0, 1 << 32, max(0, change))]
        payload = payload[: max(1, len(words) - 5 + change)]
        payload += [5] * (payload == words[5:])
        packets += [[words[0], len(payload) + 3, *words[2:5], *payload], packed_write(rng)]
    errors, environment = exchange(packets, rng, served=served, config=PACKED)
    assert errors == [ErrorCode.PACKED] * 20 + [ErrorCode.OK]
    assert environment.writes > 100


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("config", [CONFIG, PACKED], ids=("plain", "packed"))
def test_garbage(seed, config):
    """Random words and damaged good packets between good ones."""
    rng = np.random.default_rng(seed)
    packets = []
    for _ in range(120):
        kind = rng.choice(["noise", "damaged", "cut", "good"])
        words = packed_write(rng) if config is PACKED and rng.random() < 0.5 else good_packet(rng)
        if kind == "noise":
            words = [int(word) for word in rng.integers(0, 1 << 32, rng.integers(1, 60))]
            if rng.random() < 0.7 and len(words) > 1:
                words[0] = int(rng.integers(0, 9)) | int(rng.integers(0, 8)) << 8
                words[1] = len(words) - 2
        elif kind == "damaged":
            place = int(rng.integers(len(words)))
            words[place] ^= 1 << int(rng.integers(32))
        elif kind == "cut":
            words = words[: int(rng.integers(1, len(words) + 1))]
        packets.append(words)
    errors, _ = exchange(packets, rng, 0.8, 0.8, 0.8, config=config)
    assert len(set(errors)) >= 5


def test_run_while_running():
    rng = np.random.default_rng(0)
    errors, environment = exchange(
        [
            protocol.run(0, 1).words(),
            protocol.run(99, 0).words(),
            protocol.read("results", 0, 0, 9).words(),
            write("program", 0, 3, 4, rng),
        ],
        rng,
        running=True,
    )
    assert errors == [ErrorCode.BUSY, ErrorCode.BUSY, ErrorCode.OK, ErrorCode.OK]
    assert not environment.starts and environment.writes == 4


@pytest.mark.parametrize("error", [ErrorCode.OK, ErrorCode.EMPTY_PROGRAM, ErrorCode.BAD_PROGRAM])
def test_run_answers_when_it_ends(error):
    port = HostPort(CONFIG)
    rng = np.random.default_rng(0)

    async def bench(ctx):
        sender, receiver = Streams(rng), Streams(rng)
        ctx.set(port.o.ready, 1)
        await sender.put(ctx, port.i, port_words([protocol.run(5, 2).words()]))
        while not ctx.get(port.runs.valid):
            await ctx.tick()
        run = ctx.get(port.runs.payload)
        assert (run.address, run.layer_count) == (5, 2)
        await ctx.tick()
        ctx.set(port.state.running, 1)
        for _ in range(100):
            assert not ctx.get(port.o.valid) and not ctx.get(port.runs.valid)
            await ctx.tick()
        ctx.set(port.o.ready, 0)
        ctx.set(port.state.finished, 1)
        ctx.set(port.state.error, error)
        await ctx.tick()
        ctx.set(port.state.finished, 0)
        ctx.set(port.state.error, 0)
        ctx.set(port.state.running, 0)
        # The answer waits in its place; until it is on its way another RUN has none.
        await ctx.tick().repeat(10)
        words = await receiver.get(ctx, port.o, 2)
        assert split(words) == [[Opcode.RUN | RESPONSE | error << 8, 0]]

    simulate(port, bench)


def test_signals_and_runs_that_wait():
    """Each SIGNAL is one cycle; a RUN's highest bit of the layer count is not a count."""
    rng = np.random.default_rng(2)
    exchange(
        [
            protocol.signal().words(),
            protocol.run(7, 3, wait=True).words(),
            protocol.signal().words(),
            protocol.signal().words(),
            [Opcode.SIGNAL, 1, 0],
            [Opcode.WAIT, 1, 0],
            [Opcode.WAIT, 0],
            protocol.run(8, 1 << 30, wait=True).words(),
        ],
        rng,
        0.7,
        0.7,
    )


def test_wait_holds_what_is_behind_it():
    port = HostPort(CONFIG)
    rng = np.random.default_rng(0)

    async def bench(ctx):
        sender = Streams(rng)
        ctx.set(port.state.running, 1)
        ctx.set(port.writes.ready, 1)
        await sender.put(
            ctx,
            port.i,
            port_words(
                [
                    protocol.wait().words(),
                    write("program", 0, 3, 4, rng),
                    protocol.wait().words(),
                    protocol.signal().words(),
                    protocol.status().words(),
                ]
            ),
        )
        for _ in range(50):
            assert not ctx.get(port.writes.valid) and not ctx.get(port.take)
            await ctx.tick()
        ctx.set(port.state.released, 1)
        assert ctx.get(port.take)
        await ctx.tick()
        ctx.set(port.state.released, 0)
        writes = 0
        for _ in range(50):
            writes += ctx.get(port.writes.valid)
            assert not ctx.get(port.signal)
            await ctx.tick()
        assert writes == 4
        ctx.set(port.state.running, 0)  # a program that has ended has released everything
        await ctx.tick()
        signals = 0
        for _ in range(20):
            signals += ctx.get(port.signal)
            await ctx.tick()
        assert signals == 1

    simulate(port, bench)


def test_wait_while_the_program_waits_is_refused():
    """Neither would ever go on; what comes behind is carried out."""
    port = HostPort(CONFIG)
    rng = np.random.default_rng(0)

    async def bench(ctx):
        sender, receiver = Streams(rng), Streams(rng)
        ctx.set(port.state.running, 1)
        await sender.put(
            ctx, port.i, port_words([protocol.wait().words(), protocol.signal().words()])
        )
        await ctx.tick().repeat(40)
        assert not ctx.get(port.o.valid)
        ctx.set(port.state.refilling, 1)
        while not ctx.get(port.signal):
            await ctx.tick()
        ctx.set(port.state.refilling, 0)
        words = await receiver.get(ctx, port.o, 2)
        assert split(words) == [[Opcode.WAIT | RESPONSE | ErrorCode.STUCK << 8, 0]]

    simulate(port, bench)


def test_run_before_the_answer_to_the_last():
    """The results are blocked, the first run is over but not answered: the second is refused."""
    port = HostPort(CONFIG)
    rng = np.random.default_rng(0)
    model = Model(CONFIG)
    environment = Environment(port, model.memories, rng)

    async def bench(ctx):
        sender, receiver = Streams(rng), Streams(rng)
        run = protocol.run(3, 1).words()
        for words in (protocol.status().words(), run):
            await sender.put(ctx, port.i, port_words([words]))
        await ctx.tick().repeat(30)
        assert environment.starts == [(3, 1, 0)]
        ctx.set(port.state.finished, 1)
        await ctx.tick()
        ctx.set(port.state.finished, 0)
        await sender.put(ctx, port.i, port_words([run]))
        await ctx.tick().repeat(30)
        assert environment.starts == [(3, 1, 0)]
        answers = split(await receiver.get(ctx, port.o, protocol.STATUS_WORDS + 6))
        assert [words[0] for words in answers] == [0x84, 0x82, 0x82 | ErrorCode.BUSY << 8]
        await sender.put(ctx, port.i, port_words([run]))
        await ctx.tick().repeat(30)
        assert environment.starts == [(3, 1, 0)] * 2

    simulate(port, bench, background=[environment.play])


def test_blocked_results_do_not_block_commands():
    """Requests wait in their places, further ones are dropped and counted; writes go on."""
    port = HostPort(CONFIG)
    rng = np.random.default_rng(0)
    model = Model(CONFIG)
    environment = Environment(port, model.memories, rng)
    requests = CONFIG.response_places + 30

    async def bench(ctx):
        sender, receiver = Streams(rng), Streams(rng)
        for index in range(requests):
            words = [
                protocol.read("activations", 0, 0, 13).words(),
                protocol.status().words(),
                [9, 0],
                [1],
            ][index % 4]
            await sender.put(ctx, port.i, port_words([words]))
            await sender.put(
                ctx,
                port.i,
                port_words([protocol.write("program", 0, index, 1, [index + 1000]).words()]),
            )
        await ctx.tick().repeat(200)
        assert [word[0] for word in environment.memories["program", 0][:requests]] == [
            index + 1000 for index in range(requests)
        ]
        await sender.put(ctx, port.i, port_words([protocol.run(7, 1).words()]))
        await ctx.tick().repeat(30)
        assert environment.starts == [(7, 1, 0)]
        ctx.set(port.state.finished, 1)
        await ctx.tick()
        ctx.set(port.state.finished, 0)
        # One request is being answered, CONFIG.response_places wait.
        answers = []
        while len(answers) < CONFIG.response_places + 2:
            words = await receiver.get(ctx, port.o, 2)
            words += await receiver.get(ctx, port.o, words[1].data)
            answers += split(words)
        codes = [words[0] & 0xFFFF for words in answers]
        read, status, opcode, length = 0x83, 0x84, 0x289, 0x180
        # The end of the run overtakes what waits.
        waited = [read, status, opcode, length] * 3
        assert codes == [waited[0], 0x82, *waited[1 : CONFIG.response_places + 1]]
        await sender.put(ctx, port.i, port_words([protocol.status().words()]))
        words = await receiver.get(ctx, port.o, 2 + protocol.STATUS_WORDS)
        state = Status.from_packet(Packet.from_words(split(words)[0]))
        assert state.dropped == requests - CONFIG.response_places - 1
        refused = sum(index % 4 >= 2 for index in range(requests))
        assert state.errors == refused

    simulate(port, bench, background=[environment.play])


def test_offers_stand_while_the_state_changes():
    """A word of STATUS that waits does not change, though cycles go on."""
    port = HostPort(CONFIG)
    rng = np.random.default_rng(3)

    async def count(ctx):
        for cycle in range(10_000):
            ctx.set(port.state.cycles, cycle)
            ctx.set(port.state.layers, cycle & 0xFFFF)
            ctx.set(port.state.running, cycle & 1)
            await ctx.tick()

    async def bench(ctx):
        for _ in range(5):
            await Streams(rng).put(ctx, port.i, port_words([protocol.status().words()]))
            await Streams(rng, 0.3).get(ctx, port.o, 8)

    simulate(port, bench, background=[count])


def test_timing():
    """A write takes one cycle per word plus nine per packet, as stated."""
    port = HostPort(CONFIG)
    rng = np.random.default_rng(0)
    environment = Environment(port, Model(CONFIG).memories, rng)
    packets = [protocol.write("program", 0, 0, 30, range(30)).words() for _ in range(20)]
    cycles = 0

    async def bench(ctx):
        nonlocal cycles

        async def send():
            await Streams(rng).put(ctx, port.i, port_words(packets))

        await send()

    async def watch(ctx):
        nonlocal cycles
        while environment.writes < 600:
            await ctx.tick()
            cycles += 1

    simulate(port, bench, watch, background=[environment.play])
    # The first packet has to arrive whole; then one follows the other.
    assert cycles <= 34 + 20 * (30 + 9) + 5


def test_timing_of_packed_writes():
    """A chunk per cycle plus seventeen per packet, as stated."""
    port = HostPort(PACKED)
    rng = np.random.default_rng(0)
    environment = Environment(port, Model(PACKED).memories, rng)
    columns = np.packbits(rng.random((18, 2, 3, 8)) < 0.3, axis=3).reshape(18, 2, 3)
    columns = np.ascontiguousarray(
        np.stack([columns[:, 0], columns[:, 0] & columns[:, 1]], axis=2).reshape(18, 6)
    )
    used, words = pack_columns(columns, 3, 8)
    packets = [protocol.write_packed(0, 0, 18, used, words.tolist()).words() for _ in range(20)]
    cycles = 0

    async def send(ctx):
        await Streams(rng).put(ctx, port.i, port_words(packets))

    async def watch(ctx):
        nonlocal cycles
        while environment.writes < 20 * 36:
            await ctx.tick()
            cycles += 1

    simulate(port, send, watch, background=[environment.play])
    # The first packet has to arrive whole.
    assert cycles - len(packets[0]) <= 20 * (36 + 17)


@pytest.mark.compiles
@pytest.mark.parametrize(
    "config",
    [CONFIG, PACKED, PRESETS["tiny"], PRESETS["ulx3s_85f"]],
    ids=lambda config: f"{config.name}-{config.rows}",
)
def test_verilog(config, tmp_path):
    lint(HostPort(config), "host_port", tmp_path)


def test_how_the_last_run_ended():
    """STATUS says it from the end of the run until the next one starts, with the run's tag."""
    port = HostPort(CONFIG)
    rng = np.random.default_rng(5)
    environment = Environment(port, Model(CONFIG).memories, rng)

    async def bench(ctx):
        sender, receiver = Streams(rng), Streams(rng)

        async def state():
            await sender.put(ctx, port.i, port_words([protocol.status().words()]))
            words = await receiver.get(ctx, port.o, 2 + protocol.STATUS_WORDS)
            return Status.from_packet(Packet.from_words(split(words)[0]))

        for tag, code in ((0, 0), (0xFF, ErrorCode.BAD_PROGRAM), (7, 0)):
            run = Packet(Opcode.RUN, payload=(0, 1), tag=tag).words()
            await sender.put(ctx, port.i, port_words([run]))
            assert [(await state()).ended(one) for one in (0, 7, 0xFF)] == [None] * 3
            ctx.set(port.state.error, code)
            ctx.set(port.state.finished, 1)
            await ctx.tick()
            ctx.set(port.state.finished, 0)
            answer = split(await receiver.get(ctx, port.o, 2))[0]
            assert answer == [Opcode.RUN | RESPONSE | code << 8 | tag << 24, 0]
            assert [(await state()).ended(one) for one in (0, 7, 0xFF)] == [
                code if one == tag else None for one in (0, 7, 0xFF)
            ]

    simulate(port, bench, background=[environment.play])


@pytest.mark.parametrize("kind", WRITABLE_MEMORIES)
def test_label_lasts_until_a_memory_is_written(kind):
    port = HostPort(CONFIG, contents=0xCAFE_F00D)
    rng = np.random.default_rng(6)
    environment = Environment(port, Model(CONFIG).memories, rng)

    async def bench(ctx):
        sender, receiver = Streams(rng), Streams(rng)

        async def contents(*packets):
            await sender.put(ctx, port.i, port_words([*packets, protocol.status().words()]))
            words = split(await receiver.get(ctx, port.o, 2 + protocol.STATUS_WORDS))[0]
            return Status.from_packet(Packet.from_words(words)).contents

        assert await contents() == 0xCAFE_F00D
        assert await contents(write(kind, 0, 0, 0, rng)) == 0xCAFE_F00D  # no word of it
        kept = 0xCAFE_F00D if kind == "activations" else 0
        assert await contents(write(kind, 0, 1, 1, rng)) == kept
        assert await contents(protocol.label(0xFFFF_FFFF).words()) == 0xFFFF_FFFF

    simulate(port, bench, background=[environment.play])
