"""Activation slice: overlapping max-pools against PyTorch, while walkers use the memory."""

import cocotb
import numpy as np
import torch
from cocotb.triggers import FallingEdge, ReadOnly

from tests.cocotb.stream_drivers import configuration, reset
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import write_back, written_value
from tritforge.hw.program import encode, to_words


class Host:
    """Writes and reads memory words as the host port does."""

    def __init__(self, dut, config):
        self.dut, self.config = dut, config

    async def write(self, address, word):
        dut = self.dut
        for chunk, part in enumerate(to_words(word, self.config.memory_chunks("activations"))):
            await FallingEdge(dut.clk)
            dut.host_data.value = part
            dut.host_write_address.value = address
            dut.host_write_chunk.value = chunk
            dut.host_write_valid.value = 1
            await ReadOnly()
            while not dut.host_write_ready.value:
                await FallingEdge(dut.clk)
                await ReadOnly()
        await FallingEdge(dut.clk)
        dut.host_write_valid.value = 0

    async def read(self, address):
        dut = self.dut
        await FallingEdge(dut.clk)
        dut.host_read_address.value = address
        await ReadOnly()
        while not dut.host_read_ready.value:
            await FallingEdge(dut.clk)
            await ReadOnly()
        for _ in range(ChunkMemory.latency):
            await FallingEdge(dut.clk)
        await ReadOnly()
        return int(dut.read_data.value)


class Walkers:
    """Ask for random words, so that the merge has to go before them."""

    def __init__(self, dut, config, rng):
        self.dut, self.config, self.rng = dut, config, rng
        self.asking = True

    async def ask(self):
        while True:
            await FallingEdge(self.dut.clk)
            for number in range(self.config.sets):
                getattr(self.dut, f"read_valid__{number}").value = int(
                    self.asking and self.rng.random() < 0.5
                )
                getattr(self.dut, f"read_address__{number}").value = int(
                    self.rng.integers(self.config.activation_depth)
                )


class Pool:
    """A max-pool of random shape: which pooled pixels an input pixel feeds, and the maxima."""

    def __init__(self, rng, config, is_signed):
        def pick(low, high):
            return int(rng.integers(low, high + 1))

        self.size = pick(3, 6), pick(3, 6)
        self.kernel, self.stride = pick(1, 3), pick(1, 2)
        self.padding = pick(0, self.kernel // 2)
        low, high = (-128, 127) if is_signed else (0, 255)
        codes = rng.integers(low, high + 1, (config.scan_width, *self.size))
        self.codes = np.where(rng.random(codes.shape) < 0.5, codes, 0)
        self.is_signed = is_signed
        self.maxima = (
            torch.nn.functional.max_pool2d(
                torch.from_numpy(self.codes).double(), self.kernel, self.stride, self.padding
            )
            .numpy()
            .astype(np.int64)
        )

    def fed(self, place, axis):
        """(last pooled position, count, fresh) of an input position."""
        windows = [
            [
                at
                for at in range(
                    out * self.stride - self.padding, out * self.stride - self.padding + self.kernel
                )
                if 0 <= at < self.size[axis]
            ]
            for out in range(self.maxima.shape[1 + axis])
        ]
        feeding = [out for out, window in enumerate(windows) if place in window]
        return (
            feeding[-1] if feeding else 0,
            len(feeding),
            sum(windows[out][0] == place for out in feeding),
        )

    def write_backs(self, config):
        layout, place = write_back(config), written_value(config)
        width = self.maxima.shape[2]
        for y, x in np.ndindex(self.size):
            (last_y, count_y, fresh_y), (last_x, count_x, fresh_x) = self.fed(y, 0), self.fed(x, 1)
            if not count_y or not count_x:
                continue
            window = encode(
                layout["window"].shape,
                address=last_y * width + last_x,
                count_x=count_x,
                count_y=count_y,
                fresh_x=fresh_x,
                fresh_y=fresh_y,
            )
            for lane in range(config.scan_width):
                code = int(self.codes[lane, y, x])
                yield encode(
                    layout,
                    valid=1,
                    window=window,
                    values=encode(place, lane=lane, value=code & 255),
                    signed=self.is_signed,
                    nothing=not self.is_signed and not code,
                )
            # What is not valid is for another slice.
            yield encode(layout, valid=0, window=window, values=encode(place, lane=0, value=77))


@cocotb.test()
@cocotb.parametrize(is_signed=[False, True])
async def pooling(dut, is_signed):
    """What is left in memory is the maximum of each window, whatever was there before."""
    config = configuration()
    rng = np.random.default_rng(4)
    walkers = Walkers(dut, config, rng)
    await reset(
        dut,
        restart=0,
        write_back=0,
        host_write_valid=0,
        host_read_address=0,
        host_data=0,
        step_x=1,
        step_y=0,
    )
    cocotb.start_soon(walkers.ask())
    host = Host(dut, config)
    for address in range(config.activation_depth):
        await host.write(address, int(rng.integers(0, 1 << 8 * config.scan_width)))
    stops = 0
    for _ in range(20):
        pool = Pool(rng, config, is_signed)
        await FallingEdge(dut.clk)
        dut.step_y.value = pool.maxima.shape[2]
        for word in pool.write_backs(config):
            await FallingEdge(dut.clk)
            while dut.full.value:
                stops += 1
                dut.write_back.value = 0
                await FallingEdge(dut.clk)
            dut.write_back.value = word
        await FallingEdge(dut.clk)
        dut.write_back.value = 0
        await FallingEdge(dut.clk)
        while not dut.idle.value:
            await FallingEdge(dut.clk)
        walkers.asking = False
        for address, codes in enumerate(pool.maxima.reshape(config.scan_width, -1).T):
            assert (await host.read(address)).to_bytes(config.scan_width, "little") == bytes(
                int(code) & 255 for code in codes
            )
        walkers.asking = True
    assert stops > 0
