"""What the unit tests of the hardware share: running a testbench, streams, Verilog that lints."""

import os
import re
import subprocess

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from tritforge.hw.bodies import Target
from tritforge.hw.verilog import convert
from tritforge.sim.native import verilator_folder

__all__ = ["Holder", "Streams", "lint", "multiplications", "simulate", "to_signed"]

#: Remarks that generated Verilog cannot avoid: operands are extended and cut by their context, a
#: memory of one word has an address of no bits, cases follow their default, the memory written by
#: hand assigns its whole word. Latches, undriven and multiply driven signals, missing pins,
#: combinational loops, mixed assignments and all errors are still reported.
_ACCEPTED = (
    "DECLFILENAME",
    "UNUSEDSIGNAL",
    "PROCASSINIT",
    "WIDTHEXPAND",
    "WIDTHTRUNC",
    "CMPCONST",
    "UNSIGNED",
    "ASCRANGE",
    "CASEINCOMPLETE",
    "VARHIDDEN",
    "BLKSEQ",
)


def simulate(component, *testbenches, background=(), limit=50_000):
    """Run testbenches (``async`` functions of the context) until all are done.

    Fails after ``limit`` cycles.
    """

    async def watchdog(ctx):
        for _ in range(limit):
            await ctx.tick()
        raise AssertionError(f"not done after {limit} cycles")

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in (*background, watchdog):
        simulator.add_testbench(testbench, background=True)
    simulator.run()


def lint(component, name, folder, target=Target.VERILATOR):
    """Convert to Verilog, have Verilator check it; every remark fails. Returns the Verilog."""
    text = convert(component, name, target)
    path = folder / f"{name}.v"
    path.write_text(text, encoding="utf-8")
    root = verilator_folder()
    done = subprocess.run(
        [
            root / "bin" / "verilator_bin",
            "--lint-only",
            "-Wall",
            "--top-module",
            name,
            *(f"-Wno-{code}" for code in _ACCEPTED),
            path,
        ],
        env={**os.environ, "VERILATOR_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr[:3000]
    return text


def multiplications(text):
    """Multiplications in Verilog of which neither side is a constant."""
    return len(re.findall(r"[^(] \* (?!\d+'h|\))", text))


def to_signed(value, width):
    """The two's complement number of the low bits."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


class Holder(wiring.Component):
    """A component inside another one: in Verilog a memory is an instance."""

    def __init__(self, held):
        self.held = held
        super().__init__(held.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = self.held
        wiring.connect(m, wiring.flipped(self), self.held)
        return m


class Streams:
    """Puts and gets on streams, with random pauses."""

    def __init__(self, rng, busy=1.0):
        self.rng = rng
        self.busy = busy  # share of cycles in which this side is willing

    async def put(self, ctx, stream, payloads):
        """Send payloads in order; valid stays up until taken."""
        for payload in payloads:
            while self.rng.random() >= self.busy:
                await ctx.tick()
            ctx.set(stream.payload, payload)
            ctx.set(stream.valid, 1)
            while not (await ctx.tick().sample(stream.ready))[-1]:
                pass
            ctx.set(stream.valid, 0)

    async def get(self, ctx, stream, count=1):
        """Receive ``count`` payloads; checks that an offer stands until it is taken."""
        taken = []
        offer = None
        while len(taken) < count:
            ready = self.rng.random() < self.busy
            ctx.set(stream.ready, int(ready))
            valid, payload = (await ctx.tick().sample(stream.valid, Value.cast(stream.payload)))[
                -2:
            ]
            if offer is not None:
                assert valid and payload == offer, "an offer was withdrawn or changed"
            offer = payload if valid and not ready else None
            if valid and ready:
                taken.append(stream.payload.shape().from_bits(payload))
        ctx.set(stream.ready, 0)
        return taken
