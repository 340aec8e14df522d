"""Merge: windows, order, hazards, sums and queue, cycle by cycle against a plain model."""

import dataclasses
import itertools
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.hdl import Module

from tests.hw.benches import lint, simulate, to_signed
from tritforge.hw.config import CHOICES, Config
from tritforge.hw.drain import Drain
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.merge import Merge
from tritforge.hw.program import MOST_WINDOWS
from tritforge.hw.timing import (
    MERGE_LATENCY,
    MERGE_WRITE_LATENCY,
    QUEUE_LATENCY,
    merge_head_latency,
    merge_level,
    merge_places,
    write_back_flight,
    write_back_latency,
)
from tritforge.sim.golden import add_stored

CONFIGS = [
    Config(scan_width=1, activation_depth=3),
    Config(scan_width=3, activation_depth=90),
    Config(scan_width=16, activation_depth=40, clusters=8),
]
#: Cycles from a write-back to its first visit, where register stages are full.
VISIT = QUEUE_LATENCY + merge_head_latency(CONFIGS[0]) + 1
#: Cycles from a visit to its write.
WRITE = MERGE_WRITE_LATENCY


def name_of(config):
    several = f"-{config.slice_values}" * (config.slice_values > 1)
    return f"S{config.scan_width}{several}{'-sums' * config.write_back_sums}"


#: A slice gets two or three values at once.
SEVERAL = [
    Config(scan_width=4, activation_depth=40, clusters=2, elements=4, drain_width=4),
    Config(scan_width=3, activation_depth=90, clusters=1, elements=3, drain_width=3),
]
SUMS = [dataclasses.replace(config, write_back_sums=True) for config in [*CONFIGS, *SEVERAL]]


def write_back(address, value, lane=0, *, count=(1, 1), fresh=(1, 1), signed=0):
    """``count`` and ``fresh`` are (rows, columns)."""
    return {
        "valid": 1,
        "values": [{"lane": lane, "value": value}],
        "signed": signed,
        "nothing": int(not value and not signed),
        "window": {
            "address": address,
            "count_y": count[0],
            "count_x": count[1],
            "fresh_y": fresh[0],
            "fresh_x": fresh[1],
        },
    }


def several(operation, values):
    """The same with other values: (lane, value) of each, or None where there is none."""
    filled = [
        {"there": 0} if one is None else {"there": 1, "lane": one[0], "value": one[1]}
        for one in values
    ]
    nothing = not operation["signed"] and not any(one and one[1] for one in values)
    return operation | {"values": filled, "nothing": int(nothing)}


@dataclass
class Seen:
    """What happened, each entry after its cycle."""

    memory: list
    reads: list = field(default_factory=list)  # (cycle, address)
    writes: list = field(default_factory=list)  # (cycle, address, lane)
    full: list = field(default_factory=list)
    idle: list = field(default_factory=list)

    @classmethod
    def empty(cls, config):
        return cls([[0] * config.scan_width for _ in range(address_mask(config) + 1)])


def address_mask(config):
    return (1 << max(1, (config.activation_depth - 1).bit_length())) - 1


class Model:
    """Visits of each write-back as the definition has them, and the cycles of the docstring."""

    def __init__(self, config, steps):
        self.config, self.steps = config, steps
        self.seen = Seen.empty(config)
        self.queue = deque()  # of lists of visits
        self.recent = deque([None] * (MERGE_LATENCY - 1), MERGE_LATENCY - 1)
        self.cycle = 0
        self.shown = None  # visits of the oldest write-back
        self.hand = None  # the visit at hand
        self.waits = self.kept = 0
        self.was_full = False

    def visits(self, operation):
        """(address, lanes, fresh, values, signed) of every pixel that is visited, in order."""
        window, signed = operation["window"], operation["signed"]
        there = [one for one in operation["values"] if one.get("there", 1)]
        lanes = tuple(one["lane"] for one in there)
        values = tuple(one["value"] for one in there)
        for y in range(window["count_y"]):
            for x in range(window["count_x"]):
                fresh = y < window["fresh_y"] and x < window["fresh_x"]
                if fresh or any(values) or signed:
                    yield (
                        window["address"] - y * self.steps[0] - x * self.steps[1]
                        & address_mask(self.config),
                        lanes,
                        fresh,
                        values,
                        signed,
                    )

    def show(self):
        if self.shown is None and self.queue and self.queue[0][0] <= self.cycle:
            self.shown = self.queue.popleft()[1]

    def advance(self, operation=None):
        """One cycle."""
        seen = self.seen
        seen.full.append(int(self.was_full))
        direct = self.config.few_stages  # the oldest is still in the queue
        self.was_full = len(self.queue) + (direct and self.shown is not None) >= merge_level(
            self.config
        )
        visit = self.hand
        seen.idle.append(
            int(not self.queue and self.shown is None and visit is None and not any(self.recent))
        )
        if visit is not None:
            address, lanes, fresh, values, signed = visit
            written = self.recent[0]
            if not fresh and (
                any(one and one[0] == address and {*one[1]} & {*lanes} for one in self.recent)
                or (written and (self.config.memory_ports == 1 or written[0] == address))
            ):
                self.waits += 1
                visit = None
            else:
                self.hand = None
                if not fresh:
                    seen.reads.append((self.cycle, address))
                for lane, value in sorted(zip(lanes, values, strict=True)):
                    if not fresh:
                        old = seen.memory[address][lane]
                        bigger = max(
                            old, value, key=lambda code: to_signed(code, 8) if signed else code
                        )
                        self.kept += bigger == old != value
                        value = bigger
                    seen.memory[address][lane] = value
                    seen.writes.append((self.cycle + WRITE, address, lane))
        self.recent.append(visit and visit[:2])
        if direct and self.hand is None:
            self.show()
        if self.hand is None and self.shown is not None:
            self.hand = self.shown.pop(0)
            self.shown = self.shown or None
        if not direct:
            self.show()
        if operation:
            visits = list(self.visits(operation))
            if visits:
                assert len(self.queue) < merge_places(self.config)
                self.queue.append((self.cycle + 1, visits))
        self.cycle += 1


def run(config, operations, steps=(0, 0)):
    """Feed operations (None: nothing), one per cycle, to a merge in front of a modelled memory."""
    merge = Merge(config)
    seen = Seen.empty(config)

    async def bench(ctx):
        ctx.set(merge.step_y, steps[0])
        ctx.set(merge.step_x, steps[1])
        data = deque([0] * ChunkMemory.latency)
        for cycle, operation in enumerate(operations):
            ctx.set(merge.i, operation or {"valid": 0})
            ctx.set(merge.read_data, data.popleft())
            data.append(0)
            if ctx.get(merge.read_valid):
                address = ctx.get(merge.read_address)
                seen.reads.append((cycle, address))
                data[-1] = sum(value << 8 * lane for lane, value in enumerate(seen.memory[address]))
            address, word = ctx.get(merge.write_address), ctx.get(merge.write_data)
            for lane in lanes_of(ctx.get(merge.write_mask)):
                seen.writes.append((cycle, address, lane))
                seen.memory[address][lane] = code_of(word >> 8 * lane)
            seen.full.append(ctx.get(merge.full))
            seen.idle.append(ctx.get(merge.idle))
            await ctx.tick()

    simulate(merge, bench)
    return seen


def added(config, operations, start, *, stored_signed):
    """Feed operations to a merge that adds to ``start``, a code for every address and lane; what is
    in memory then, and in which cycles words are read."""
    merge = Merge(config)
    memory = [list(word) for word in start]
    reads = []

    async def bench(ctx):
        ctx.set(merge.add, 1)
        ctx.set(merge.stored_signed, stored_signed)
        data = deque([0] * ChunkMemory.latency)
        for cycle, operation in enumerate([*operations, *[None] * 12]):
            ctx.set(merge.i, operation or {"valid": 0})
            ctx.set(merge.read_data, data.popleft())
            data.append(0)
            if ctx.get(merge.read_valid):
                reads.append(cycle)
                word = memory[ctx.get(merge.read_address)]
                data[-1] = sum(code << 8 * lane for lane, code in enumerate(word))
            word = ctx.get(merge.write_data)
            for lane in lanes_of(ctx.get(merge.write_mask)):
                memory[ctx.get(merge.write_address)][lane] = code_of(word >> 8 * lane)
            await ctx.tick()
        assert ctx.get(merge.idle)

    simulate(merge, bench)
    return memory, reads


def addition(address, value, lane=0, *, signed=0):
    """A write-back of a layer that adds: ``value`` of 9 bits, a sum that is ``signed``."""
    return write_back(address, value & 0x1FF, lane, fresh=(0, 0), signed=signed) | {"nothing": 0}


def code_of(number):
    return number & 0xFF


def lanes_of(mask):
    return [lane for lane in range(mask.bit_length()) if mask >> lane & 1]


@pytest.mark.parametrize("stored_signed", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
def test_every_sum(stored_signed, signed):
    """All codes with values near the ends of both ranges and some between, clamped."""
    values = [-256, -255, -129, -128, -127, -60, -1, 0, 1, 77, 126, 127, 128, 254, 255]
    config = dataclasses.replace(SUMS[0], activation_depth=256 * len(values))
    pairs = list(itertools.product(range(256), values))
    operations = [
        addition(address, value, signed=signed) for address, (_, value) in enumerate(pairs)
    ]
    memory, _ = added(
        config, operations, [[code] for code, _ in pairs], stored_signed=stored_signed
    )
    for (word,), (code, value) in zip(memory, pairs, strict=True):
        stored = to_signed(code, 8) if stored_signed else code
        expected = add_stored(
            np.array(stored), np.array(value), *((-128, 127) if signed else (0, 255))
        )
        assert word == code_of(int(expected)), (code, value)


@pytest.mark.parametrize("config", SUMS, ids=name_of)
@pytest.mark.parametrize("stages", CHOICES["register_stages"])
@pytest.mark.parametrize("ports", [1, 2])
def test_sums_in_flight(config, stages, ports):
    """Several values for one activation, however close, are all in its sum."""
    config = dataclasses.replace(config, register_stages=stages, memory_ports=ports)
    rng = np.random.default_rng(config.scan_width)
    words, lanes = min(config.activation_depth, 3), min(config.scan_width, 2)
    start = rng.integers(0, 256, (words, config.scan_width)).tolist()
    expected = [list(word) for word in start]
    operations, waiting = [], 0
    for _ in range(1500):
        waiting = max(0, waiting - 1)
        if waiting > 4 * merge_level(config) or rng.random() < 0.3:
            operations.append(None)
            continue
        address, lane = int(rng.integers(words)), int(rng.integers(lanes))
        values = [(lane, int(rng.integers(-256, 256)))]
        operations.append(addition(address, values[0][1], lane))
        if config.slice_values > 1:
            other = (lane + 1) % config.scan_width
            values.append((other, int(rng.integers(-256, 256))))
            filled = [(lane, value & 0x1FF) for lane, value in values]
            filled += [None] * (config.slice_values - 2)
            operations[-1] = several(operations[-1], filled) | {"nothing": 0}
        for lane, value in values:
            expected[address][lane] = min(max(expected[address][lane] + value, 0), 255)
        waiting += MERGE_LATENCY + 1
    operations += [None] * 8 * merge_places(config)
    assert added(config, operations, start, stored_signed=0)[0] == expected


@pytest.mark.parametrize("distance", range(1, MERGE_LATENCY + 2))
def test_distance_of_sums(distance):
    operations = [addition(5, 3, 2), *[None] * (distance - 1), addition(5, 4, 2)]
    start = [[10] * SUMS[1].scan_width for _ in range(6)]
    memory, reads = added(SUMS[1], operations, start, stored_signed=0)
    assert memory[5][2] == 17
    assert reads == [VISIT, VISIT + max(distance, MERGE_LATENCY)]


def check(config, model, operations, steps=(0, 0)):
    """``operations`` were the model's; add what it takes to empty the queue, and compare."""
    while not model.seen.idle[-1]:
        operations.append(None)
        model.advance()
    found, expected = run(config, operations, steps), model.seen
    assert found.idle == expected.idle
    assert found.full == expected.full
    assert found.reads == expected.reads
    assert found.writes == expected.writes
    assert found.memory == expected.memory
    return found


def drawn_values(rng, config):
    """A value or none for each, at least one, of different lanes."""
    count = config.slice_values
    lanes = rng.permutation(config.scan_width)[:count].tolist()
    values = (rng.integers(0, 256, count) * (rng.random(count) < 0.6)).tolist()
    there = rng.random(count) < 0.7
    there[rng.integers(count)] = True
    return [
        (lane, value) if one else None
        for lane, value, one in zip(lanes, values, there, strict=True)
    ]


@pytest.mark.parametrize("config", [*CONFIGS, *SEVERAL, SUMS[1]], ids=name_of)
@pytest.mark.parametrize("is_signed", [0, 1])
@pytest.mark.parametrize("busy", [0.1, 0.9])
def test_random(config, is_signed, busy):
    """Windows of all kinds that meet in a few activations; never more than there is room for."""
    rng = np.random.default_rng(config.scan_width)
    steps = 2, 1
    model, operations = Model(config, steps), []

    def number(low, high):
        return int(rng.integers(low, high + 1))

    for _ in range(2500):
        operation = None
        if rng.random() < busy:
            count = number(1, 3), number(1, 3)
            operation = write_back(
                number(0, min(config.activation_depth, 7) - 1),
                number(0, 255) * number(0, 1),
                number(0, min(config.scan_width, 2) - 1),
                count=count,
                fresh=(number(0, count[0]), number(0, count[1])),
                signed=is_signed,
            )
            if config.slice_values > 1:
                operation = several(operation, drawn_values(rng, config))
            if len(model.queue) == merge_places(config):
                operation["valid"] = 0
        operations.append(operation)
        model.advance(operation if operation and operation["valid"] else None)
    check(config, model, operations, steps)
    assert model.waits > 20 and model.kept > 50
    assert any(model.seen.full) == (busy > 0.5)


@pytest.mark.parametrize("value", [0, 5])
@pytest.mark.parametrize("is_signed", [0, 1])
def test_every_window(value, is_signed):
    """All counts up to three, all fresh parts of them, and the largest window that there is."""
    config = Config(scan_width=1, activation_depth=4096)
    steps = 100, 3
    windows = [
        ((y, x), (fresh_y, fresh_x))
        for y, x in itertools.product(range(1, 4), repeat=2)
        for fresh_y in range(y + 1)
        for fresh_x in range(x + 1)
    ]
    most = (MOST_WINDOWS, MOST_WINDOWS)
    windows += [
        (most, most),
        (most, (0, 0)),
        (most, (1, MOST_WINDOWS)),
        (most, (0, 7)),
        (most, (7, 0)),
    ]
    model, operations = Model(config, steps), []
    for count, fresh in windows:
        operation = write_back(4000, value, count=count, fresh=fresh, signed=is_signed)
        visited = len(model.seen.writes)
        operations.append(operation)
        model.advance(operation)
        while not model.seen.idle[-1] or model.queue:
            operations.append(None)
            model.advance()
        # A zero that is not signed visits its fresh pixels only.
        assert len(model.seen.writes) - visited == (
            count[0] * count[1] if value or is_signed else fresh[0] * fresh[1]
        )
    check(config, model, operations, steps)


CODES = (0, 1, 2, 3, 63, 64, 126, 127, 128, 129, 191, 192, 254, 255)


@pytest.mark.parametrize("is_signed", [0, 1])
def test_order(is_signed):
    """The greater code stays, whichever comes first."""
    config = Config(scan_width=1, activation_depth=len(CODES) ** 2)
    pairs = list(enumerate(itertools.product(CODES, repeat=2)))
    operations = [write_back(address, first, signed=is_signed) for address, (first, _) in pairs]
    operations += [
        write_back(address, second, fresh=(0, 0), signed=is_signed)
        for address, (_, second) in pairs
    ]
    memory = run(config, [*operations, *[None] * 10]).memory
    for address, pair in pairs:
        assert memory[address][0] == max(
            pair, key=lambda code: to_signed(code, 8) if is_signed else code
        ), pair


@pytest.mark.parametrize("distance", range(1, MERGE_LATENCY + 2))
@pytest.mark.parametrize("fresh", [0, 1])
def test_distance(distance, fresh):
    """A merge waits until it sees what was written before; writing does not wait."""
    operations = [
        write_back(5, 200, 2),
        *[None] * (distance - 1),
        write_back(5, 100, 2, fresh=(fresh, fresh)),
        *[None] * 12,
    ]
    seen = run(CONFIGS[1], operations)
    second = VISIT + (distance if fresh else max(distance, MERGE_LATENCY))
    assert seen.writes == [(VISIT + WRITE, 5, 2), (second + WRITE, 5, 2)]
    assert seen.reads == ([] if fresh else [(second, 5)])
    assert seen.memory[5][2] == (100 if fresh else 200)


@pytest.mark.parametrize(("address", "lane"), [(5, 1), (6, 2)])
def test_others_do_not_wait(address, lane):
    operations = [write_back(5, 200, 2), write_back(address, 100, lane, fresh=(0, 0)), *[None] * 12]
    assert run(CONFIGS[1], operations).reads == [(1 + VISIT, address)]


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
@pytest.mark.parametrize("ports", [1, 2])
@pytest.mark.parametrize("address", [5, 6])
def test_words_that_are_being_written_are_not_read(ports, stages, address):
    config = dataclasses.replace(CONFIGS[1], memory_ports=ports, register_stages=stages)
    operations = [
        write_back(5, 200, 2),
        None,
        None,
        write_back(address, 100, 1, fresh=(0, 0)),
        *[None] * 12,
    ]
    waits = ports == 1 or address == 5
    assert run(config, operations).reads == [(3 + VISIT - config.few_stages + waits, address)]


def test_zeros_are_not_queued():
    """Neither the cycle nor the place of a zero without a fresh pixel is spent."""
    for fresh in ((0, 0), (0, 2), (2, 0)):
        operations = [write_back(0, 0, count=(2, 2), fresh=fresh)] * 100
        seen = run(CONFIGS[1], [*operations, write_back(3, 7), *[None] * 10])
        assert seen.writes == [(100 + VISIT + WRITE, 3, 0)] and not any(seen.full)


def test_idle():
    """Low from the cycle after a write-back until the cycle in which memory has it."""
    seen = run(CONFIGS[1], [None, write_back(0, 9), *[None] * 10])
    assert seen.idle == [1, 1] + [0] * (VISIT + WRITE) + [1] * (10 - VISIT - WRITE)
    assert seen.writes == [(1 + VISIT + WRITE, 0, 0)]


@pytest.mark.parametrize("tables", [0, 1])
@pytest.mark.parametrize("clusters", [1, 8, 64])
def test_nothing_is_lost_when_the_drain_stops(clusters, tables):
    """The array's way from a step of the drain to the queue, and back to the drain."""
    config = Config(
        clusters=clusters,
        rows=32,
        scan_width=1,
        activation_depth=1 << 12,
        activation_tables=tables,
    )
    assert merge_places(config) == merge_level(config) + clusters + write_back_flight(config)
    merge, drain = Merge(config), Drain(config)
    # A register of the drain's is in it.
    way = write_back_latency(config) - 1
    count, visits = merge_places(config) + 20, MOST_WINDOWS * 3
    written = [0]
    levels = []

    async def bench(ctx):
        pending = deque([0] * way)
        sent = arrived = 0
        ctx.set(merge.step_y, 1)
        while not ctx.get(drain.ready):
            await ctx.tick()
        # One endless row of long pixels.
        ctx.set(drain.i.payload, {"rows_used": config.rows, "row_base": 0})
        ctx.set(drain.i.valid, 1)
        ctx.set(drain.complete, 1)
        while arrived < count or not ctx.get(merge.idle):
            ctx.set(drain.stop, ctx.get(merge.full))
            step = ctx.get(drain.step.valid) and sent < count
            sent += step
            pending.append(step)
            if pending.popleft():
                arrived += 1
                ctx.set(merge.i, write_back(arrived, 1, count=(MOST_WINDOWS, 3)))
            else:
                ctx.set(merge.i, {"valid": 0})
            written[0] += ctx.get(merge.write_mask)
            levels.append(arrived - written[0] // visits)
            await ctx.tick()

    simulate(merge_and_drain(merge, drain), bench)
    assert written[0] == visits * count
    assert max(levels) >= merge_places(config) - 1  # the room is needed


def merge_and_drain(merge, drain):
    """Both in one design; the testbench joins them."""
    m = Module()
    m.submodules.merge = merge
    m.submodules.drain = drain
    return m


def test_latency():
    assert ChunkMemory.latency + 2 == MERGE_LATENCY == WRITE + 1


@pytest.mark.compiles
@pytest.mark.parametrize("config", [*CONFIGS, *SEVERAL, *SUMS], ids=name_of)
def test_verilog(config, tmp_path):
    lint(Merge(config), "merge", tmp_path)
