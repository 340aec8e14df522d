# amaranth: UnusedElaboratable=no
"""UART: every byte, exact timing, wrong baud rates, broken start and stop bits."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tests.hw.benches import lint, simulate
from tritforge.fpga.link.uart import LEAST_DIVISOR, Receiver, Transmitter

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long


class Wires(wiring.Component):
    """A transmitter at the receiver."""

    def __init__(self, sending, receiving):
        self.receiver, self.transmitter = Receiver(receiving), Transmitter(sending)
        super().__init__({"rx": In(1), "tx": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver, m.submodules.transmitter = self.receiver, self.transmitter
        m.d.comb += self.receiver.rx.eq(self.transmitter.tx)
        return m


@pytest.mark.parametrize(
    ("sending", "receiving"),
    [(4, 4), (5, 5), (12, 12), (20, 20), (104, 104), (49, 50), (51, 50), (97, 100), (103, 100)],
)
def test_bytes(sending, receiving):
    """Without a pause between them, also where clocks differ; ``data`` stays for 8 cycles."""
    wires = Wires(sending, receiving)
    rng = np.random.default_rng(sending)
    given = list(range(256)) if sending < 20 else [0, 255, 0x55, 0xAA, *rng.integers(0, 256, 20)]
    got = []

    async def send(ctx):
        taken = -1
        for value in given:
            ctx.set(wires.transmitter.i.payload, int(value))
            ctx.set(wires.transmitter.i.valid, 1)
            cycles = 0
            while not (await ctx.tick().sample(wires.transmitter.i.ready))[-1]:
                cycles += 1
            assert taken < 0 or cycles + 1 == 10 * sending
            taken = cycles
        ctx.set(wires.transmitter.i.valid, 0)

    async def receive(ctx):
        for _ in given:
            while not ctx.get(wires.receiver.valid):
                await ctx.tick()
            got.append(ctx.get(wires.receiver.data))
            for _ in range(8):
                assert ctx.get(wires.receiver.data) == got[-1]
                await ctx.tick()

    simulate(wires, send, receive, limit=200_000)
    assert got == [int(value) for value in given]


def drive(levels, divisor=8):
    """Bytes that a receiver makes of a wire, one level per cycle."""
    receiver = Receiver(divisor)
    got = []

    async def bench(ctx):
        for level in levels:
            ctx.set(receiver.rx, level)
            await ctx.tick()
            if ctx.get(receiver.valid):
                got.append(ctx.get(receiver.data))

    simulate(receiver, bench)
    return got


def byte(value, divisor=8, stop=1):
    bits = [0, *(value >> index & 1 for index in range(8)), stop]
    return [bit for bit in bits for _ in range(divisor)]


def test_what_is_no_byte():
    idle = [1] * 20
    assert drive([*idle, *byte(0x3A), *idle]) == [0x3A]
    assert drive([*idle, 0, 0, *idle, *byte(0x3A), *idle]) == [0x3A]  # a start bit too short
    assert drive([*idle, *byte(0x3A, stop=0), *[1] * 100, *byte(0x3B), *idle]) == [0x3B]


@pytest.mark.parametrize("block", [Receiver, Transmitter])
def test_divisor(block):
    with pytest.raises(
        ValueError, match="a UART needs 4 clock cycles per bit or more; the divisor is 3"
    ):
        block(LEAST_DIVISOR - 1)


@pytest.mark.compiles
@pytest.mark.parametrize("block", [Receiver, Transmitter])
def test_verilog(block, tmp_path):
    lint(block(12), "uart", tmp_path)
