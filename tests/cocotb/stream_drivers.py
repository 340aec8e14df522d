"""What the cocotb testbenches share: clock and reset, drivers and monitors of streams and pulses.

Everything is driven after a falling edge and sampled in the read-only phase that follows, when
all inputs of the coming rising edge stand: the same in every simulator.
"""

import json
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from tritforge.hw.config import Config

__all__ = ["CONFIG_VARIABLE", "StreamDriver", "StreamMonitor", "configuration", "reset"]

#: Environment variable that carries the configuration into the simulator, as JSON.
CONFIG_VARIABLE = "TRITFORGE_TEST_CONFIG"


def configuration():
    """The configuration that the design under test was generated from."""
    return Config.from_dict(json.loads(os.environ[CONFIG_VARIABLE]))


async def reset(dut, **inputs):
    """Start the clock, set inputs, hold reset over two edges."""
    for name, value in inputs.items():
        getattr(dut, name).value = value
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)


class StreamDriver:
    """Sends payloads on a stream of the design.

    Parameters
    ----------
    dut : handle
    name : str
        The stream's name: signals ``<name>__payload``, ``__valid``, ``__ready``.
    rng : numpy.random.Generator
    share : float
        Share of cycles in which a payload may be offered for the first time.
    """

    def __init__(self, dut, name, rng, share=1.0):
        self.clk = dut.clk
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.rng = rng
        self.share = share
        self.valid.value = 0

    async def send(self, payloads):
        """Send in order; returns after the last was taken."""
        for payload in payloads:
            await FallingEdge(self.clk)
            while self.rng.random() >= self.share:
                self.valid.value = 0
                await FallingEdge(self.clk)
            self.payload.value = payload
            self.valid.value = 1
            await ReadOnly()
            while not self.ready.value:
                await FallingEdge(self.clk)
                await ReadOnly()
        await FallingEdge(self.clk)
        self.valid.value = 0


class StreamMonitor:
    """Takes payloads from a stream of the design into ``taken``; checks that offers stand.

    Parameters
    ----------
    share : float
        Share of cycles in which it is ready.
    """

    def __init__(self, dut, name, rng, share=1.0):
        self.clk = dut.clk
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.rng = rng
        self.share = share
        self.taken = []
        self.ready.value = 0
        cocotb.start_soon(self._run())

    async def _run(self):
        offer = None
        while True:
            await FallingEdge(self.clk)
            ready = self.rng.random() < self.share
            self.ready.value = int(ready)
            await ReadOnly()
            payload = int(self.payload.value) if self.valid.value else None
            assert offer in (None, payload), "an offer was withdrawn or changed"
            offer = None if ready else payload
            if ready and payload is not None:
                self.taken.append(payload)
