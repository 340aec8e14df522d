"""Command check against the plain model of the protocol: random packets, near every limit."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tests.hw.test_host_port import CONFIG, PACKED, Model
from tritforge.hw.command_check import CommandCheck, times
from tritforge.hw.command_registers import command
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import MEMORIES, WRITABLE_MEMORIES, memories
from tritforge.hw.protocol import ErrorCode, Opcode


def random_packet(rng, config):
    """Words of a packet whose length is what it states."""
    opcode = int(rng.choice([*Opcode, 0, 9, 255]))
    memory = int(rng.integers(len(MEMORIES) + 1))
    if opcode == Opcode.WRITE_PACKED and rng.random() < 0.8:
        memory = MEMORIES.index("trits")
    kind = MEMORIES[memory] if memory in memories(config).values() else "program"
    cluster = int(rng.integers(config.memory_count(kind) + 1))
    depth = config.memory_depth(kind)
    address, count = int(rng.integers(depth + 1)), int(rng.integers(0, 4))
    if rng.random() < 0.3:
        address = depth - count + int(rng.integers(2))
    if rng.random() < 0.1:
        address += 1 << int(rng.integers(5, 32))
    if rng.random() < 0.1:
        count += 1 << int(rng.integers(5, 31))
    if address == depth and not count:
        address -= 1  # one that the deepest memory has not is refused even where nothing is written
    arguments = [address % (1 << 32), count % (1 << 32)]
    if opcode == Opcode.WRITE_PACKED:
        arguments.append(int(rng.integers(config.rows + 2)))
        data = int(rng.integers(3))
    elif opcode == Opcode.WRITE:
        chunks = config.memory_chunks(kind) if kind in WRITABLE_MEMORIES else 1
        data = min(20, count * chunks) + int(rng.choice([0, 0, 0, 1]))
    elif opcode in (Opcode.STATUS, Opcode.SIGNAL, Opcode.WAIT, Opcode.LABEL):
        arguments, data = arguments[: opcode == Opcode.LABEL], int(rng.choice([0, 0, 1]))
    else:
        data = int(rng.choice([0, 0, 0, 1]))
    if arguments and not data and rng.random() < 0.1:
        arguments.pop()
    words = [*arguments, *(0 for _ in range(data))]
    return [opcode | memory << 8 | cluster << 16, len(words), *words]


def fields(config, words):
    """What the command registers say of a packet when its arguments were taken."""
    layout = command(config)
    opcode, arguments = words[0] & 0xFF, words[2:]
    address, count, rows_used = (*arguments[:3], 0, 0, 0)[:3]
    parts = 3 if opcode == Opcode.WRITE_PACKED else 2
    beyond = count % (1 << 31) if opcode == Opcode.RUN else count
    address_width, count_width = (layout[name].width for name in ("address", "count"))
    given = {
        "opcode": opcode,
        "memory": words[0] >> 8 & 0xFF,
        "cluster": words[0] >> 16 & 0xFF,
        "left": max(0, len(arguments) - parts),
        "address": address % (1 << address_width),
        "vast_address": address >> address_width > 0,
        "count": count % (1 << count_width),
        "vast_count": beyond >> count_width > 0,
        "waits": count >> 31,
    }
    return given | ({"rows_used": rows_used} if "rows_used" in dict(layout) else {})


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("config", [CONFIG, PACKED, PRESETS["icebreaker"]])
def test_packets(config, running):
    check = CommandCheck(config)
    model = Model(config)
    model.running = running
    rng = np.random.default_rng(running)
    codes = set()

    async def bench(ctx):
        ctx.set(check.busy, int(running))
        for _ in range(2500):
            words = random_packet(rng, config)
            expected, _ = model._check(words)
            given = fields(config, words)
            ctx.set(check.command, given | {"left": words[1]})
            await ctx.tick()
            codes.add(expected)
            if ctx.get(check.malformed):
                assert ctx.get(check.malformed_error) == expected, words
                continue
            if words[0] & 0xFF in (Opcode.STATUS, Opcode.SIGNAL, Opcode.WAIT, Opcode.LABEL):
                assert expected == ErrorCode.OK
                continue
            ctx.set(check.command, given)
            ctx.set(check.examine, 1)
            await ctx.tick()
            ctx.set(check.examine, 0)
            assert ctx.get(check.refused) == (expected != ErrorCode.OK), words
            if expected:
                assert ctx.get(check.error) == expected, words
            else:
                assert ctx.get(check.empty) == (given["count"] == 0)

    simulate(check, bench)
    assert codes >= {
        ErrorCode.OK,
        ErrorCode.OPCODE,
        ErrorCode.LENGTH,
        ErrorCode.MEMORY,
        ErrorCode.CLUSTER,
        ErrorCode.ADDRESS,
        *([ErrorCode.BUSY] if running else []),
        *([ErrorCode.ROWS] if config is PACKED else []),
    }


def test_times():
    """Sums of shifted values instead of a multiplier, in numbers as in hardware."""
    assert all(times(value, factor) == value * factor for value in (0, 5) for factor in range(1, 9))


@pytest.mark.parametrize("config", [CONFIG, PACKED, PRESETS["icebreaker"]])
def test_verilog(config, tmp_path):
    lint(CommandCheck(config), "command_check", tmp_path)
