"""Loading an image through the port: packed or plain trits leave the same memories and results."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.lib import memory

from tests.model_export.networks import compile_network, random_codes, random_network, reference_run
from tritforge.hw.config import Config
from tritforge.hw.protocol import HEADER_WORDS, Opcode
from tritforge.model_export.image import packing
from tritforge.sim.device import Device
from tritforge.sim.pysim import PythonLink

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

CONFIG = Config(
    sets=2,
    clusters=2,
    elements=2,
    rows=4,
    queue_depth=2,
    scan_width=5,
    banks=2,
    trit_depth=317,
    activation_depth=200,
    program_depth=600,
    row_depth=80,
    result_depth=60,
    layer_count=4,
    packet_words=64,
)


class OpenLink(PythonLink):
    """Keeps the packets that it carried; trit memories can be looked into."""

    def __init__(self, config, monkeypatch):
        self.packets = []
        self.context = None
        self._found = found = []

        class Known(memory.Memory):
            def __init__(self, **arguments):
                super().__init__(**arguments)
                if self.depth == config.trit_depth:
                    found.append(self)

        with monkeypatch.context() as patch:
            patch.setattr("tritforge.hw.memory.memory", SimpleNamespace(Memory=Known))
            super().__init__(config)

    async def _bench(self, ctx):
        self.context = ctx
        await super()._bench(ctx)

    def exchange(self, packets, answers, limit=100_000):
        self.packets += packets
        return super().exchange(packets, answers, limit)

    def trits(self):
        """(memories, columns) of integers."""
        assert len(self._found) == self.config.cluster_count
        return [
            [self.context.get(made.data[address]) for address in range(made.depth)]
            for made in self._found
        ]


class PlainDevice(Device):
    """Sends no packed trits."""

    def _packed(self, cluster, trits, words):
        return None


def opcodes(link):
    return {words[0] & 0xFF for words in link.packets}


def work(config, seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng, config, max_layers=2, max_channels=20, max_size=3)
    return network, compile_network(network, config), random_codes(rng, network, 0.6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rows": 16, "clusters": 1},
        {"rows": 32, "sets": 1},
        {"rows": 1, "elements": 3},
        {"rows": 2, "packet_words": 34},
    ],
    ids=str,
)
def test_packed_and_plain_are_the_same(changes, monkeypatch):
    config = dataclasses.replace(CONFIG, **changes)
    network, image, codes = work(config, 3)
    expected = reference_run(network, codes)[network.final.output]
    assert np.any(expected)
    seen = []
    for kind in (Device, PlainDevice):
        with OpenLink(config, monkeypatch) as link:
            device = kind(link)
            words = device.load(image)
            assert words == sum(
                len(packet) for packet in link.packets if packet[0] & 0xFF != Opcode.STATUS
            )
            assert all(len(packet) <= config.packet_words + HEADER_WORDS for packet in link.packets)
            assert (Opcode.WRITE_PACKED in opcodes(link)) == (kind is Device)
            trits = link.trits()
            device.write_tensor(image, network.input, codes)
            counters = device.run(image.layers[0].address, len(network.layers))
            np.testing.assert_array_equal(device.read_results(image), expected)
            assert device.status().errors == 0
            seen.append((trits, counters, words))
    (trits, counters, words), (plain_trits, plain_counters, plain_words) = seen
    assert trits == plain_trits and counters == plain_counters
    assert words < plain_words
    columns = image.trits.shape[1]
    assert [
        [
            column.to_bytes(image.trits.shape[2] + 4, "little")[: image.trits.shape[2]]
            for column in memory[:columns]
        ]
        for memory in trits
    ] == [[column.tobytes() for column in memory] for memory in image.trits]


@pytest.mark.parametrize(
    "changes",
    [{"rows": 3}, {"elements": 32, "rows": 16, "packet_words": 34, "sets": 1, "clusters": 1}],
    ids=str,
)
def test_plain_where_there_is_no_packed_form(changes, monkeypatch):
    """No unpacker, or a column that is a whole packet already when it is not packed."""
    config = dataclasses.replace(CONFIG, **changes)
    network, image, codes = work(config, 4)
    with OpenLink(config, monkeypatch) as link:
        device = Device(link)
        device.load(image)
        assert Opcode.WRITE_PACKED not in opcodes(link)
        device.write_tensor(image, network.input, codes)
        device.run(image.layers[0].address, len(network.layers))
        np.testing.assert_array_equal(
            device.read_results(image), reference_run(network, codes)[network.final.output]
        )


def test_plain_where_a_trit_cannot_be_packed(monkeypatch):
    """Zero and negative at once: the other memories go packed, this one as it is."""
    _, image, _ = work(CONFIG, 5)
    trits = image.trits.copy()
    nonzero = np.unpackbits(trits[1, 0], bitorder="little").reshape(-1, 2, CONFIG.rows)
    nonzero[0, :, 0] = (0, 1)
    trits[1, 0] = np.packbits(nonzero, bitorder="little")
    with OpenLink(CONFIG, monkeypatch) as link:
        Device(link).load(dataclasses.replace(image, trits=trits))
        kinds = {
            number: {
                words[0] & 0xFF
                for words in link.packets
                if words[0] & 0xFF != Opcode.STATUS
                and words[0] >> 8 & 0xFF == 1
                and words[0] >> 16 == number
            }
            for number in range(4)
        }
        assert kinds == {
            number: {Opcode.WRITE if number == 1 else Opcode.WRITE_PACKED} for number in range(4)
        }
        found = [column & 0xFFFF for column in link.trits()[1][:2]]
        assert found == [int.from_bytes(column.tobytes(), "little") for column in trits[1, :2]]


def test_columns_of_weights_go_as_they_are(monkeypatch):
    """Those of trits beside them in the same memory go packed."""
    config = dataclasses.replace(CONFIG, multipliers=True)
    network, image, codes = work(config, 3)
    monkeypatch.setattr(packing, "columns_per_block", lambda elements, rows: 4)
    exact = packing.packable(image.trits[0], config.elements, config.rows)
    assert 0 < np.count_nonzero(exact) < len(exact)
    with OpenLink(config, monkeypatch) as link:
        device = Device(link)
        device.load(image)
        assert {Opcode.WRITE, Opcode.WRITE_PACKED} <= {
            words[0] & 0xFF for words in link.packets if words[0] >> 8 & 0xFF == 1
        }
        assert [
            [
                column.to_bytes(image.trits.shape[2] + 4, "little")[: image.trits.shape[2]]
                for column in memory[: image.trits.shape[1]]
            ]
            for memory in link.trits()
        ] == [[column.tobytes() for column in memory] for memory in image.trits]
        device.write_tensor(image, network.input, codes)
        device.run(image.layers[0].address, len(network.layers))
        np.testing.assert_array_equal(
            device.read_results(image), reference_run(network, codes)[network.final.output]
        )


def test_a_back_door_takes_no_port_words(monkeypatch):
    config = dataclasses.replace(CONFIG, activation_tables=2)
    _, image, _ = work(config, 6)
    with OpenLink(config, monkeypatch) as link:
        poked = []
        link.poke = lambda *place: poked.append(place[:3]) or True
        assert Device(link).load(image, back_door=True) == 0
        assert not link.packets
        assert Device(link).status().errors == 0
        assert poked == [
            *(("trits", number, 0) for number in range(4)),
            ("rows", 0, 0),
            ("program", 0, 0),
            ("tables", 0, 0),
        ]
