"""The whole accelerator through its port: bad packets change nothing, throttled streams neither."""

import numpy as np
import pytest

from tests.hw.test_host_port import bad_packets
from tests.model_export.networks import compile_network, random_codes, random_network, reference_run
from tritforge.hw import protocol
from tritforge.hw.config import Config
from tritforge.hw.program import (
    DESTINATION,
    LAYER,
    LAYER_OPCODE,
    MEMORIES,
    READABLE_MEMORIES,
    encode_words,
    record_words,
)
from tritforge.hw.protocol import ErrorCode, Opcode, Packet
from tritforge.sim.device import Device, DeviceError
from tritforge.sim.pysim import PythonLink
from tritforge.sim.records import decode

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

CONFIG = Config(
    clusters=2,
    elements=2,
    rows=3,
    queue_depth=2,
    scan_width=5,
    banks=2,
    trit_depth=120,
    activation_depth=64,
    program_depth=200,
    row_depth=24,
    result_depth=16,
    layer_count=3,
    packet_words=64,
)
#: A run of the network takes some hundred cycles; anything above this hangs.
LIMIT = 20_000


class ThrottledLink(PythonLink):
    """Offers commands and takes results in a share of the cycles; ``willing`` may be changed."""

    def __init__(self, config, offered=1.0, willing=1.0, seed=0):
        self.offered, self.willing = offered, willing
        self.rng = np.random.default_rng(seed)
        super().__init__(config)

    def exchange(self, packets, answers, limit=LIMIT):
        return super().exchange(packets, answers, limit)

    async def _bench(self, ctx):
        commands, results = self._top.commands, self._top.results
        offered = False
        offer = None
        while True:
            if not offered and self._commands and self.rng.random() < self.offered:
                word, last = self._commands[0]
                ctx.set(commands.payload, {"data": word, "last": last})
                ctx.set(commands.valid, 1)
                offered = True
            ready = self.rng.random() < self.willing
            ctx.set(results.ready, int(ready))
            _, _, taken, valid, payload = await ctx.tick().sample(
                commands.ready, results.valid, results.payload
            )
            self._cycles += 1
            if offered and taken:
                self._commands.popleft()
                ctx.set(commands.valid, 0)
                offered = False
            result = (payload["data"], payload["last"])
            assert offer is None or (valid and result == offer)
            offer = result if valid and not ready else None
            if valid and ready:
                self._words.append(payload["data"])
                if payload["last"]:
                    self._responses.append(self._words)
                    self._words = []

    def send(self, words):
        """Send a packet without waiting for an answer."""
        self.exchange([words], 0)

    def idle(self, cycles):
        end = self._cycles + cycles
        while self._cycles < end:
            self._simulator.advance()


class Work:
    """A network, its image, and inputs with the results that they must give."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.network = random_network(rng, CONFIG, max_layers=3, max_channels=8, max_size=4)
        self.image = compile_network(self.network, CONFIG)
        self.inputs = [random_codes(rng, self.network, density) for density in (0.6, 0.9)]
        self.expected = [
            reference_run(self.network, codes)[self.network.final.output] for codes in self.inputs
        ]
        self.layers = len(self.network.layers)
        self.address = self.image.layers[0].address

    def put(self, device, index):
        device.write_tensor(self.image, self.network.input, self.inputs[index])

    def run(self, device, index):
        self.put(device, index)
        counters = device.run(self.address, self.layers)
        np.testing.assert_array_equal(device.read_results(self.image), self.expected[index])
        return counters

    def run_packet(self):
        return protocol.run(self.address, self.layers).words()


@pytest.fixture(scope="module")
def work():
    found = Work(1)
    assert found.layers >= 2 and any(np.any(result) for result in found.expected)
    return found


def snapshot(device):
    """Everything that can be read."""
    result = {}
    for kind in READABLE_MEMORIES:
        for cluster in range(CONFIG.clusters if kind == "activations" else 1):
            result[kind, cluster] = device.read(
                kind, cluster, 0, CONFIG.memory_depth(kind)
            ).tolist()
    return result


def answer(link, words):
    return Packet.from_words(link.exchange([words], 1)[0])


def test_bad_packets_change_nothing(work):
    """All malformed packets, in a loaded and used accelerator; afterwards it works as before."""
    link = ThrottledLink(CONFIG)
    device = Device(link)
    device.check_identity()
    device.load(work.image)
    work.run(device, 0)
    work.put(device, 1)
    before = snapshot(device)
    errors = device.status().errors
    count = 0
    # The packets are made for another configuration: those that are good here are left out.
    for name, words, _ in bad_packets():
        if answer_is_certain(words):
            response = answer(link, words)
            assert response.error != ErrorCode.OK, name
            count += 1
    assert count > 100
    status = device.status()
    assert (status.errors, status.dropped, status.running) == (errors + count, 0, 0)
    assert status.layers == work.layers
    assert snapshot(device) == before
    device.run(work.address, work.layers)  # on the input from before
    np.testing.assert_array_equal(device.read_results(work.image), work.expected[1])


def answer_is_certain(words):
    """Whether the packet is malformed for :data:`CONFIG` too."""
    if len(words) < 2 or words[1] != len(words) - 2:
        return True
    opcode, memory, cluster = words[0] & 0xFF, words[0] >> 8 & 0xFF, words[0] >> 16 & 0xFF
    if opcode == Opcode.RUN and len(words) == 4:
        return words[2] >= CONFIG.program_depth
    if opcode not in (Opcode.WRITE, Opcode.READ) or len(words) < 4 or memory >= len(MEMORIES):
        return True
    return cluster > 1 or words[2] > 4096 or words[3] > 4096


def test_runs_of_nothing(work):
    """RUN of no layers, in the middle of a record, at unwritten memory, beyond the end."""
    link = ThrottledLink(CONFIG)
    device = Device(link)
    assert answer(link, protocol.run(0, 1).words()).error == ErrorCode.EMPTY_PROGRAM
    device.load(work.image)
    work.put(device, 0)
    before = snapshot(device)
    for address, layers, error in (
        (0, 0, ErrorCode.EMPTY_PROGRAM),
        (199, 1, ErrorCode.EMPTY_PROGRAM),
        (1, 1, ErrorCode.EMPTY_PROGRAM),
        (200, 1, ErrorCode.ADDRESS),
        (256, 1, ErrorCode.ADDRESS),
        (0xFFFF_FFFF, 1, ErrorCode.ADDRESS),
        (0xFFFF_FFFF, 0xFFFF_FFFF, ErrorCode.ADDRESS),
    ):
        assert answer(link, protocol.run(address, layers).words()).error == error
    assert snapshot(device) == before
    work.run(device, 0)


@pytest.mark.parametrize("field", ["tile_count", "out_height", "out_width"])
def test_a_layer_of_nothing_is_no_layer(field):
    link = ThrottledLink(CONFIG)
    values = {"tile_count": 1, "out_height": 1, "out_width": 1, field: 0}
    link.send(
        protocol.write(
            "program", 0, 0, 6, encode_words(LAYER, opcode=LAYER_OPCODE, **values)
        ).words()
    )
    assert answer(link, protocol.run(0, 1).words()).error == ErrorCode.EMPTY_PROGRAM


def test_program_that_ends_early(work):
    """More layers asked for than there are: those there are run, and the answer says so."""
    link = ThrottledLink(CONFIG)
    device = Device(link)
    device.load(work.image)
    work.put(device, 0)
    response = answer(link, protocol.run(work.address, work.layers + 1).words())
    assert response.error == ErrorCode.BAD_PROGRAM
    assert device.status().layers == work.layers
    np.testing.assert_array_equal(device.read_results(work.image), work.expected[0])
    work.run(device, 1)


def test_busy(work):
    """While a program runs, RUN is refused; STATUS, READ and WRITE are served."""
    link = ThrottledLink(CONFIG)
    device = Device(link)
    device.load(work.image)
    work.put(device, 0)
    run = work.run_packet()
    answers = [
        Packet.from_words(words)
        for words in link.exchange(
            [
                run,
                protocol.status().words(),
                run,
                protocol.write("activations", 1, 63, 1, [5, 6]).words(),
                protocol.read("activations", 1, 63, 1).words(),
            ],
            4,
        )
    ]
    by_opcode = {packet.opcode & 0x7F: [] for packet in answers}
    for packet in answers:
        by_opcode[packet.opcode & 0x7F].append(packet)
    assert protocol.Status.from_packet(by_opcode[Opcode.STATUS][0]).running == 1
    assert sorted(packet.error for packet in by_opcode[Opcode.RUN]) == [
        ErrorCode.OK,
        ErrorCode.BUSY,
    ]
    assert by_opcode[Opcode.READ][0].payload == (5, 6)
    np.testing.assert_array_equal(device.read_results(work.image), work.expected[0])
    assert device.status().errors == 1


def test_blocked_results(work):
    """Nobody takes results: a program is loaded and runs all the same; requests are dropped."""
    link = ThrottledLink(CONFIG)
    device = Device(link)
    device.load(work.image)
    link.willing = 0.0
    extra = 7
    for _ in range(CONFIG.response_places + 1 + extra):
        link.send(protocol.status().words())
    packets = []
    place = work.image.tensors[work.network.input]
    words = work.image.tensor_words(work.network.input, work.inputs[1])
    for cluster in range(CONFIG.clusters):
        part = work.image.activation_port_words(words[cluster])
        for index, chunks in enumerate(part):
            packets.append(
                protocol.write(
                    "activations", cluster, place.base + index, 1, map(int, chunks)
                ).words()
            )
    for packet in packets:
        link.send(packet)
    link.send(work.run_packet())
    link.idle(LIMIT // 2)
    link.willing = 1.0
    answers = [Packet.from_words(words) for words in link.exchange([], CONFIG.response_places + 2)]
    assert (
        sum(packet.opcode == Opcode.STATUS | 0x80 for packet in answers)
        == CONFIG.response_places + 1
    )
    assert [packet.error for packet in answers if packet.opcode == Opcode.RUN | 0x80] == [
        ErrorCode.OK
    ]
    status = device.status()
    assert (status.dropped, status.errors, status.running) == (extra, 0, 0)
    np.testing.assert_array_equal(device.read_results(work.image), work.expected[1])


@pytest.mark.parametrize(("offered", "willing"), [(0.3, 1.0), (0.6, 0.2)])
def test_throttled_streams(work, offered, willing):
    """Pauses on either stream change neither results nor counters."""
    steady, slow = ThrottledLink(CONFIG), ThrottledLink(CONFIG, offered, willing, 5)
    counters = []
    for link in (steady, slow):
        device = Device(link)
        device.load(work.image)
        counters.append([work.run(device, index) for index in (0, 1, 0)])
    assert counters[0] == counters[1]
    assert slow.cycles > 1.15 * steady.cycles


def test_garbage_between_runs(work):
    """Noise on the port, cut into packets at random; runs before and after give the same."""
    rng = np.random.default_rng(11)
    link = ThrottledLink(CONFIG)
    device = Device(link)
    device.load(work.image)
    counters = work.run(device, 0)
    errors = device.status().errors
    packets = [
        [int(word) for word in rng.integers(0, 1 << 32, rng.integers(1, 150))] for _ in range(60)
    ]
    for packet in packets:
        assert answer(link, packet).error in (ErrorCode.LENGTH, ErrorCode.TOO_LONG)
    assert device.status().errors == errors + len(packets)
    assert work.run(device, 0) == counters


def test_another_configuration_is_noticed():
    link = PythonLink(CONFIG)
    device = Device(link)
    device.config = Config()
    with pytest.raises(
        DeviceError,
        match=f"the accelerator has configuration {CONFIG.identity_word:08x}, not custom",
    ):
        device.check_identity()


@pytest.mark.parametrize(
    ("mask", "bits"),
    [
        (0x00FF_0000, 0x0010_0000),
        (0x00FF_0000, 0x00F0_0000),
        (0xFFFF_0000, 0xF0F0_0000),
        (0xFF00_0000, 0xFF00_0000),
        (0xFF00_0000, 0x0100_0000),
        (0x0000_0000, 0xF0F0_0000),
    ],
    ids=lambda bits: f"{bits:08x}",
)
@pytest.mark.parametrize("axes", ["y", "x", "yx"])
def test_no_destination_hangs_the_machine(work, axes, mask, bits):
    """Counts of 16 and more, more fresh pixels than there are, bits that mean nothing."""
    assert DESTINATION.size == 32
    program = work.image.port_words("program").copy()
    first = work.address
    layer = decode(
        LAYER,
        sum(
            word << 32 * n
            for n, word in enumerate(program[first : first + record_words(LAYER), 0].tolist())
        ),
    )
    for axis in axes:
        start = layer[f"destination_{axis}"]
        stop = start + layer["out_height" if axis == "y" else "out_width"]
        program[start:stop] = program[start:stop] & ~np.uint32(mask) | np.uint32(bits)
    with ThrottledLink(CONFIG) as link:
        device = Device(link)
        device.load(work.image)
        device.write("program", 0, 0, program)
        work.put(device, 0)
        (counters,) = device.run(work.address, 1)
        if mask & 0x00FF_0000:  # a count of which nothing is left: no pixels
            assert counters["adds"] == counters["write_backs"] == 0
        else:
            assert counters["adds"] > 0
        device.write("program", 0, 0, work.image.port_words("program"))
        work.run(device, 1)


def test_a_faulty_program_leaves_nothing_behind(work):
    """A tile that drains fewer rows than its trits feed must not spoil the next run."""
    with ThrottledLink(CONFIG) as link:
        device = Device(link)
        device.load(work.image)
        work.run(device, 0)
        program = work.image.port_words("program")
        tile = work.address + record_words(LAYER)
        assert program[tile, 0] & 0xFF > 1
        faulty = program.copy()
        faulty[tile, 0] = (faulty[tile, 0] & ~np.uint32(0xFF)) | 1
        device.write("program", 0, 0, faulty)
        work.put(device, 0)
        device.run(work.address, 1)
        device.write("program", 0, 0, program)
        work.run(device, 1)
