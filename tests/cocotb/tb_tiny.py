"""The preset ``tiny`` through its host port: whole networks against the golden model."""

from itertools import pairwise

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from tests.cocotb.stream_drivers import StreamDriver, StreamMonitor, configuration, reset
from tests.model_export.networks import compile_network, random_codes, random_network
from tritforge.hw import protocol
from tritforge.hw.protocol import HEADER_WORDS, RESPONSE, ErrorCode, Opcode, Packet
from tritforge.sim.golden import GoldenModel

#: Seeds of networks that have between them every kind of layer that is asked for below.
SEEDS = range(8)
LIMIT = 100_000


class Host:
    """Sends packets and waits for responses."""

    def __init__(self, dut, config, rng, offered=1.0, willing=1.0):
        self.dut, self.config = dut, config
        self.driver = StreamDriver(dut, "commands", rng, offered)
        self.monitor = StreamMonitor(dut, "results", rng, willing)

    async def send(self, words):
        last = len(words) - 1
        await self.driver.send([word | (index == last) << 32 for index, word in enumerate(words)])

    async def response(self):
        """The next response packet."""
        taken = self.monitor.taken
        for _ in range(LIMIT):
            for end, word in enumerate(taken):
                if word >> 32:
                    words = [word & 0xFFFF_FFFF for word in taken[: end + 1]]
                    del taken[: end + 1]
                    return Packet.from_words(words)
            await ClockCycles(self.dut.clk, 1)
        raise AssertionError("the accelerator does not answer")

    async def ask(self, packet):
        await self.send(packet.words() if isinstance(packet, Packet) else packet)
        return await self.response()

    async def write(self, memory, cluster, address, words):
        """Memory words (count, port words each), in packets as long as may be."""
        step = (self.config.packet_words - HEADER_WORDS) // words.shape[1]
        starts = [*range(0, len(words), step), len(words)]
        for start, stop in pairwise(starts):
            await self.send(
                protocol.write(
                    memory,
                    cluster,
                    address + start,
                    stop - start,
                    words[start:stop].ravel().tolist(),
                ).words()
            )

    async def load(self, image):
        for kind in ("trits", "rows", "program"):
            for cluster in range(self.config.memory_count(kind)):
                await self.write(kind, cluster, 0, image.port_words(kind, cluster))

    async def write_input(self, image, network, codes):
        words = image.tensor_words(network.input, codes)
        base = image.tensors[network.input].base
        for cluster in range(self.config.clusters):
            await self.write(
                "activations", cluster, base, image.activation_port_words(words[cluster])
            )

    async def results(self, image):
        place = image.results
        packet = await self.ask(protocol.read("results", 0, place.base, place.entries))
        assert packet.error == ErrorCode.OK
        return image.results_from_entries(
            np.array(packet.payload, np.uint32).view(np.int32).reshape(place.entries, -1)
        )


class Checker:
    """Results of the RTL against the golden model's; remembers what the networks had in them."""

    def __init__(self):
        self.features = set()
        self.nonzero = 0

    def check(self, network, codes, results, seed):
        expected = GoldenModel(network).run(codes[None])[0]
        np.testing.assert_array_equal(results, expected, f"seed {seed}")
        self.nonzero += np.count_nonzero(expected)
        for layer in network.layers:
            self.features.add(layer.kind)
            if layer.pool is not None:
                self.features.add("max-pool")
            reads = [(group.source, group.channels, group.rows) for group in layer.groups]
            if len(reads) > len(set(reads)):
                self.features.add("multi-digit")


def empty(config):
    """All words of a cluster's activation memory, zero."""
    return np.zeros((config.activation_depth // 4, config.memory_chunks("activations")), np.uint32)


@cocotb.test()
async def networks(dut):
    """Random networks, each loaded, fed and run through the port, on streams with pauses."""
    config = configuration()
    await reset(dut, commands__valid=0, results__ready=0)
    host = Host(dut, config, np.random.default_rng(0), 0.8, 0.8)
    status = protocol.Status.from_packet(await host.ask(protocol.status()))
    assert status.identity == config.identity_word
    checker = Checker()
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        network = random_network(rng, config, max_layers=3, max_channels=8, max_size=5)
        image = compile_network(network, config)
        await host.load(image)
        for cluster in range(config.clusters):
            await host.write("activations", cluster, 0, empty(config))
        codes = random_codes(rng, network, 0.7)
        await host.write_input(image, network, codes)
        answer = await host.ask(protocol.run(image.layers[0].address, len(network.layers)))
        assert (answer.opcode, answer.error) == (Opcode.RUN | RESPONSE, ErrorCode.OK)
        checker.check(network, codes, await host.results(image), seed)
    assert {"conv", "linear", "max-pool", "multi-digit"} <= checker.features, checker.features
    assert checker.nonzero > 50


@cocotb.test()
async def bad_packets(dut):
    """Refused packets leave a loaded network as it is."""
    config = configuration()
    await reset(dut, commands__valid=0, results__ready=0)
    host = Host(dut, config, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    network = random_network(rng, config, max_layers=2, max_channels=6, max_size=3)
    image = compile_network(network, config)
    await host.load(image)
    codes = random_codes(rng, network, 1.0)
    await host.write_input(image, network, codes)
    depth = config.trit_depth
    for packet, error in (
        ([1], ErrorCode.LENGTH),
        ([1, 5, 0, 0], ErrorCode.LENGTH),
        ([4, 500, *range(500)], ErrorCode.TOO_LONG),
        (Packet(9, payload=(1, 2)), ErrorCode.OPCODE),
        (protocol.read("trits", 0, 0, 1), ErrorCode.MEMORY),
        (Packet(Opcode.WRITE, 6, 0, (0, 1, 0)), ErrorCode.MEMORY),
        (protocol.write("trits", config.clusters, 0, 1, [0]), ErrorCode.CLUSTER),
        (protocol.write("trits", 0, depth, 1, [0]), ErrorCode.ADDRESS),
        (protocol.write("program", 0, 0xFFFF_FFFF, 1, [0]), ErrorCode.ADDRESS),
        (protocol.write("program", 0, 0, 2, [0]), ErrorCode.LENGTH),
        (protocol.run(0, 0), ErrorCode.EMPTY_PROGRAM),
        (protocol.run(config.program_depth - 1, 1), ErrorCode.EMPTY_PROGRAM),
        (protocol.run(config.program_depth, 1), ErrorCode.ADDRESS),
    ):
        answer = await host.ask(packet)
        assert answer.error == error, packet
    checker = Checker()
    answer = await host.ask(protocol.run(image.layers[0].address, len(network.layers)))
    assert answer.error == ErrorCode.OK
    checker.check(network, codes, await host.results(image), 1)
    assert checker.nonzero
