"""Cluster: convolutions of random shape against the golden model, through the cluster's ports."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from tests.cocotb.stream_drivers import StreamDriver, configuration, reset
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import drain_command, walk_job
from tritforge.hw.program import encode, to_words
from tritforge.hw.timing import sums_latency
from tritforge.model_export.network import ColumnGroup, Layer, Network, Requantization, Tensor
from tritforge.sim.golden import GoldenModel


class Model:
    """A convolution of several column groups on one tensor, and the golden model's accumulators."""

    def __init__(self, rng, config):
        def pick(low, high):
            return int(rng.integers(low, high + 1))

        self.config = config
        self.channels, self.height, self.width = pick(1, 5), pick(1, 5), pick(1, 5)
        self.kernel = pick(1, min(3, self.height)), pick(1, min(3, self.width))
        self.stride, self.padding = pick(1, 2), pick(0, 1)
        self.rows = pick(1, config.slots)
        self.signed = bool(pick(0, 1))
        self.out = [
            (size + 2 * self.padding - kernel) // self.stride + 1
            for size, kernel in zip((self.height, self.width), self.kernel, strict=True)
        ]
        limit = config.coefficient_max // 8
        self.groups = []
        for _ in range(pick(1, 3)):  # digits of a weight, as in a first layer
            trits = rng.integers(-1, 2, (self.rows, self.channels, *self.kernel)).astype(np.int8)
            plus, minus = int(rng.integers(-limit, limit)), int(rng.integers(1, limit))
            self.groups.append(
                ColumnGroup(
                    "input",
                    (0, self.channels),
                    (0, self.rows),
                    trits,
                    self.kernel,
                    1.0,
                    1.0,
                    stride=(self.stride,) * 2,
                    padding=(self.padding,) * 2,
                    coefficient_plus=plus,
                    coefficient_minus=minus,
                )
            )
        low, high = (-128, 128) if self.signed else (0, 256)
        codes = rng.integers(low, high, (self.channels, self.height, self.width))
        self.codes = np.where(rng.random(codes.shape) < 0.6, codes, 0)

    def accumulators(self):
        """(rows, height, width) from PyTorch."""
        ones, zeros = np.ones(self.rows, np.int64), np.zeros(self.rows, np.int64)
        layer = Layer(
            "conv",
            "conv",
            "out",
            self.rows,
            *self.out,
            self.groups,
            ones,
            zeros,
            final=True,
            requantization=Requantization(ones, zeros, zeros, -1 << 31, (1 << 31) - 1),
        )
        layer.accumulator_low = np.full(self.rows, -(1 << 23))
        layer.accumulator_high = np.full(self.rows, 1 << 23)
        network = Network(
            "one",
            "input",
            {"input": Tensor("input", self.channels, self.height, self.width, 1.0, self.signed)},
            [layer],
        )
        return GoldenModel(network).run(self.codes[None])[0]

    # ----- memory contents, as docs/hardware.md states them

    @property
    def words_per_pixel(self):
        return -(-self.channels // self.config.scan_width)

    @property
    def rows_used(self):
        return -(-self.rows // self.config.elements)

    def activation_words(self):
        """Word of S activations at each address."""
        lanes = self.config.scan_width
        padded = np.zeros((self.words_per_pixel * lanes, self.height, self.width), np.int64)
        padded[: self.channels] = self.codes
        for values in padded.transpose(1, 2, 0).reshape(-1, lanes):
            yield sum((int(value) & 255) << 8 * lane for lane, value in enumerate(values))

    def trit_words(self):
        """Trits of all elements for each column, group by group, kernel position by position."""
        config = self.config
        for group in self.groups:
            for ky in range(self.kernel[0]):
                for kx in range(self.kernel[1]):
                    for channel in range(self.channels):
                        word = 0
                        for row in range(self.rows):
                            accumulator, element = divmod(row, config.elements)
                            place = 2 * config.rows * element + accumulator
                            trit = group.trits[row, channel, ky, kx]
                            word |= int(trit != 0) << place
                            word |= int(trit < 0) << place + config.rows
                        yield word

    def jobs(self):
        """Walk jobs, pixel by pixel, group by group."""
        config = self.config
        layout = walk_job(config)
        wpp, columns = self.words_per_pixel, self.channels
        for oy in range(self.out[0]):
            for ox in range(self.out[1]):
                spans = []
                for out, size, kernel in (
                    (oy, self.height, self.kernel[0]),
                    (ox, self.width, self.kernel[1]),
                ):
                    inside = [
                        k for k in range(kernel) if 0 <= out * self.stride - self.padding + k < size
                    ]
                    first = inside[0] if inside else 0
                    spans.append(
                        (
                            first,
                            len(inside),
                            out * self.stride - self.padding + first if inside else 0,
                        )
                    )
                (ky, count_y, y), (kx, count_x, x) = spans
                for index, group in enumerate(self.groups):
                    base = index * columns * self.kernel[0] * self.kernel[1]
                    yield encode(
                        layout,
                        address=(y * self.width + x) * wpp,
                        step_x=wpp,
                        step_y=self.width * wpp,
                        count_x=count_x,
                        count_y=count_y,
                        word_count=wpp,
                        last_lanes=self.channels - (wpp - 1) * config.scan_width,
                        trit=base + (ky * self.kernel[1] + kx) * columns,
                        trit_step_x=columns,
                        trit_step_y=columns * self.kernel[1],
                        plus=group.coefficient_plus,
                        minus=-group.coefficient_minus,
                        signed=self.signed,
                        rows_used=self.rows_used,
                        last=index == len(self.groups) - 1,
                    )


class TritDriver:
    """Writes the trit memory as the host port does."""

    def __init__(self, dut, config):
        self.dut, self.config = dut, config

    async def write(self, address, word):
        dut = self.dut
        for chunk, part in enumerate(to_words(word, self.config.memory_chunks("trits"))):
            await FallingEdge(dut.clk)
            dut.host_data.value = part
            dut.trit_write_address.value = address
            dut.trit_write_mask.value = 1 << chunk
        await FallingEdge(dut.clk)
        dut.trit_write_mask.value = 0


class ActivationMemory:
    """Answers the walker as an activation slice does, and is busy with others now and then."""

    def __init__(self, dut, rng, served):
        self.dut, self.rng, self.served = dut, rng, served
        self.words = []

    async def serve(self):
        dut = self.dut
        data = [0] * ChunkMemory.latency
        while True:
            await FallingEdge(dut.clk)
            dut.read_data.value = data.pop(0)
            ready = self.rng.random() < self.served
            dut.read_ready.value = int(ready)
            await ReadOnly()
            data.append(
                self.words[int(dut.read_address.value)] if ready and dut.read_valid.value else 0
            )


class Monitor:
    """Drains pixels over the partial-sum chain, with the sums of a neighbour passing by."""

    def __init__(self, dut, config, rng):
        self.dut, self.config, self.rng = dut, config, rng
        self.pixel = 0

    async def drain(self, rows_used):
        """The (accumulator row, element) sums of the oldest pixel, the neighbour's taken off."""
        dut, config, rng = self.dut, self.config, self.rng
        width = config.accumulator_width
        await FallingEdge(dut.clk)
        await ReadOnly()
        while not (dut.awaited_complete.value and int(dut.parity.value) == self.pixel % 2):
            await FallingEdge(dut.clk)
            await ReadOnly()
        self.pixel += 1
        steps = [(row, block) for row in range(rows_used) for block in range(config.blocks)]
        passing = []
        result = np.zeros((rows_used, config.elements), np.int64)
        latency = sums_latency(config)
        for cycle in range(len(steps) + latency):
            await FallingEdge(dut.clk)
            dut.begun.value = cycle == 0
            row, block = steps[cycle] if cycle < len(steps) else (0, 0)
            dut.command_i.value = encode(
                drain_command(config),
                row=row,
                block=block,
                take=cycle < len(steps) and block == 0,
                last=cycle == len(steps) - config.blocks,
            )
            neighbour = [int(value) for value in rng.integers(-1000, 1000, config.drain_width)]
            passing.append(neighbour)
            for lane, value in enumerate(neighbour):
                getattr(dut, f"sums_i__{lane}").value = value
            await ReadOnly()
            if cycle >= latency:
                row, block = steps[cycle - latency]
                for lane in range(config.drain_width):
                    total = getattr(dut, f"sums_o__{lane}").value.to_signed()
                    value = (total - passing[cycle - 1][lane]) % (1 << width)
                    result[row, block * config.drain_width + lane] = value - (
                        value >> width - 1 << width
                    )
        return result


@cocotb.test()
@cocotb.parametrize(served=[1.0, 0.6])
async def convolutions(dut, served):
    """Every accumulator of every output pixel, several convolutions one after the other."""
    config = configuration()
    rng = np.random.default_rng(3)
    await reset(
        dut,
        jobs__valid=0,
        draining=0,
        begun=0,
        command_i=0,
        trit_write_mask=0,
        read_ready=0,
        read_data=0,
        host_data=0,
    )
    trits = TritDriver(dut, config)
    memory = ActivationMemory(dut, rng, served)
    cocotb.start_soon(memory.serve())
    driver = StreamDriver(dut, "jobs", rng, 0.7)
    monitor = Monitor(dut, config, rng)
    nonzero = 0
    for number in range(25):
        model = Model(rng, config)
        memory.words = list(model.activation_words())
        for address, word in enumerate(model.trit_words()):
            await trits.write(address, word)
        jobs = cocotb.start_soon(driver.send(list(model.jobs())))
        expected = model.accumulators()
        for y in range(model.out[0]):
            for x in range(model.out[1]):
                sums = (await monitor.drain(model.rows_used)).ravel()
                np.testing.assert_array_equal(
                    sums[: model.rows], expected[:, y, x], f"convolution {number}, pixel {y}, {x}"
                )
                assert not sums[model.rows :].any()
        await jobs
        nonzero += np.count_nonzero(expected)
    assert nonzero > 300
