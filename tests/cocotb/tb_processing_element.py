"""Processing element: sums of random pixels against PyTorch."""

from collections import deque

import cocotb
import numpy as np
import torch
from cocotb.triggers import FallingEdge, ReadOnly

from tests.cocotb.stream_drivers import configuration, reset
from tritforge.hw.payloads import broadcast, trit_word
from tritforge.hw.program import encode

#: From a decision to broadcast to the entry's arrival.
FLIGHT = 4


class Model:
    """The accumulators of a pixel: trits select products, products are added up.

    Parameters
    ----------
    trits : int64 tensor (entries, rows) of -1, 0, 1
    activations : int64 tensor (entries)
    plus, minus : int64 tensors (entries), Wp and -Wn
    """

    def __init__(self, trits, activations, plus, minus):
        self.trits, self.activations = trits, activations
        self.products = activations * plus, activations * minus

    @classmethod
    def random(cls, rng, config):
        count = int(rng.integers(0, 20))
        density = rng.choice([0.1, 0.4, 1.0])
        trits = rng.integers(0, 2, (count, config.rows)) * 2 - 1
        trits[rng.random(trits.shape) >= density] = 0
        limit = config.coefficient_max
        return cls(
            *map(
                torch.from_numpy,
                (
                    trits,
                    rng.integers(1, 256, count),
                    rng.integers(-limit, limit + 1, count),
                    rng.integers(-limit, limit + 1, count),
                ),
            )
        )

    def sums(self):
        plus, minus = self.products
        return ((self.trits > 0).long().T @ plus + (self.trits < 0).long().T @ minus).tolist()

    def entries(self, config, tag):
        """Values of the ports ``trits`` and ``i``, entry by entry."""
        for trits, plus, minus in zip(self.trits, *self.products, strict=True):
            planes = [
                sum(1 << row for row, trit in enumerate(trits.tolist()) if condition(trit))
                for condition in (lambda trit: trit != 0, lambda trit: trit < 0)
            ]
            yield (
                encode(trit_word(config), nonzero=planes[0], negative=planes[1]),
                encode(broadcast(config), plus=plus, minus=minus, tag=tag),
            )

    @property
    def additions(self):
        return int(self.trits.count_nonzero())


class Driver:
    """Sends entries as a cluster does: stops when ``full`` shows, in flight until then."""

    def __init__(self, dut, config, rng, share):
        self.dut, self.config, self.rng, self.share = dut, config, rng, share
        self.waiting = deque()  # (pixel, trits, products)
        self.flight = deque([None] * FLIGHT)
        self.arrived = {}  # pixel -> entries at the element
        self.oldest = 0

    async def run(self):
        dut = self.dut
        full = 0
        while True:
            await FallingEdge(dut.clk)
            entry = self.flight.popleft()
            dut.valid.value = int(entry is not None)
            if entry is not None:
                dut.trits.value, dut.i.value = entry[1:]
            await ReadOnly()
            full = int(dut.full.value)
            if entry is not None:
                self.arrived[entry[0]] = self.arrived.get(entry[0], 0) + 1
            may = (
                self.waiting
                and not full
                and self.rng.random() < self.share
                and self.waiting[0][0] - self.oldest < self.config.banks
            )
            self.flight.append(self.waiting.popleft() if may else None)


class Monitor:
    """Counts additions and empties the accumulators of finished pixels."""

    def __init__(self, dut, config, driver):
        self.dut, self.config, self.driver = dut, config, driver
        self.additions = 0

    async def count(self):
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            self.additions += int(self.dut.added.value)

    async def take(self, pixel, entries):
        """Accumulators of a pixel, once its ``entries`` are added."""
        dut, config = self.dut, self.config
        await FallingEdge(dut.clk)
        self.driver.oldest = pixel
        dut.awaited.value = pixel % (2 * config.banks)
        while self.driver.arrived.get(pixel, 0) < entries:
            await FallingEdge(dut.clk)
        # The last entry enters the queue with the coming edge, ``busy`` is a cycle behind.
        for _ in range(2):
            await FallingEdge(dut.clk)
        await ReadOnly()
        while dut.busy.value:
            await FallingEdge(dut.clk)
            await ReadOnly()
        values = []
        for row in range(config.rows):
            await FallingEdge(dut.clk)
            dut.take.value = 1
            dut.drain_row.value = row
            dut.drain_bank.value = pixel % config.banks
            await FallingEdge(dut.clk)
            dut.take.value = 0
            await ReadOnly()
            values.append(dut.value.value.to_signed())
        return values


@cocotb.test()
@cocotb.parametrize(share=[1.0, 0.3])
async def pixels(dut, share):
    """Pixels overlap in the queue; each gives the sums of the model and leaves nothing behind."""
    config = configuration()
    rng = np.random.default_rng(int(share * 10))
    await reset(dut, valid=0, take=0, awaited=0, drain_row=0, drain_bank=0)
    driver = Driver(dut, config, rng, share)
    monitor = Monitor(dut, config, driver)
    models = [Model.random(rng, config) for _ in range(40)]
    for pixel, model in enumerate(models):
        tag = pixel % (2 * config.banks)
        driver.waiting += [(pixel, *entry) for entry in model.entries(config, tag)]
    cocotb.start_soon(driver.run())
    cocotb.start_soon(monitor.count())
    for pixel, model in enumerate(models):
        values = await monitor.take(pixel, len(model.trits))
        assert values == model.sums(), f"pixel {pixel}"
    assert monitor.additions == sum(model.additions for model in models) > 300
