"""SYNC records between layers, and programs that wait, in Amaranth's simulator."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.networks import bound_network, compile_network
from tritforge.hw import protocol
from tritforge.hw.config import Config
from tritforge.hw.program import SYNC, SYNC_OPCODE, encode_words
from tritforge.hw.protocol import ErrorCode, Opcode, Packet
from tritforge.sim.device import Device, DeviceError
from tritforge.sim.golden import GoldenModel
from tritforge.sim.pysim import PythonLink

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

CONFIG = Config(
    clusters=2,
    elements=2,
    rows=3,
    trit_depth=64,
    activation_depth=64,
    program_depth=256,
    row_depth=16,
    result_depth=64,
)
#: Cycles that a SYNC record takes more than none, since LAYER is then not read while counters are
#: written, and those of a wait for a signal that is there.
SYNC_CYCLES, WAIT_CYCLES = 17, 1


class Work:
    """Two layers; the second one's records stand at the end of the program."""

    def __init__(self):
        network, codes = bound_network(np.random.default_rng(3), CONFIG)
        self.network, self.codes = network, codes
        self.memory = compile_network(network, CONFIG)
        self.expected = GoldenModel(network).run(codes[None])[0]
        self.second = self.memory.layers[1].address

    def device(self, *syncs):
        """An accelerator whose program has SYNC records before the second layer: (fields, ..)."""
        program = self.memory.program.tolist()
        end = len(program)
        words = [
            encode_words(SYNC, opcode=SYNC_OPCODE, next=end + number, **fields)[0]
            for number, fields in enumerate(syncs)
        ]
        if words:
            program[self.second] = words[0]
            program += [*words[1:], *self.memory.program[self.second :].tolist()]
        device = Device(PythonLink(CONFIG))
        memory = dataclasses.replace(self.memory, program=np.array(program, np.uint32))
        device.load(memory)
        device.write_tensor(memory, self.network.input, self.codes)
        return device

    def check(self, device):
        np.testing.assert_array_equal(device.read_results(self.memory), self.expected)


@pytest.fixture(scope="module")
def work():
    return Work()


def answers(device, packets, count):
    return [
        Packet.from_words(words)
        for words in device.link.exchange([packet.words() for packet in packets], count)
    ]


def test_a_record_between_layers(work):
    plain = work.device()
    before = plain.run(0, 2)
    work.check(plain)
    device = work.device({})
    after = device.run(0, 2)
    work.check(device)
    assert after[0] == before[0]
    assert after[1] == before[1] | {"cycles": before[1]["cycles"] + SYNC_CYCLES}
    assert device.status().cycles == plain.status().cycles + SYNC_CYCLES


def test_a_record_that_waits_for_a_signal_that_is_there(work):
    before = work.device().run(0, 2)
    device = work.device({"wait": 1})
    (answer,) = answers(device, [protocol.run(0, 2), protocol.signal()], 1)
    assert answer.error == ErrorCode.OK
    work.check(device)
    counters = device.read("counters", 0, 16 + 15, 1)
    assert counters[0, 0] == before[1]["cycles"] + SYNC_CYCLES + WAIT_CYCLES


def test_a_run_that_waits(work):
    device = work.device()
    link = device.link
    link.exchange([protocol.run(0, 2, wait=True).words()], 0)
    for _ in range(50):
        assert device.status().layers == 0
    (answer,) = answers(device, [protocol.signal()], 1)
    assert (answer.opcode, answer.error) == (Opcode.RUN | protocol.RESPONSE, ErrorCode.OK)
    work.check(device)
    assert device.read("counters", 0, 14, 1)[0, 0] > 50  # stall_refill


def test_releases_are_taken_once(work):
    """A WAIT for a release that comes, one for the end of the run, and packets behind both."""
    device = work.device({"release": 1})
    found = answers(
        device,
        [
            protocol.run(0, 2),
            protocol.wait(),
            protocol.status(),
            protocol.wait(),
            protocol.status(),
        ],
        3,
    )
    states = [
        protocol.Status.from_packet(packet)
        for packet in found
        if packet.opcode == Opcode.STATUS | protocol.RESPONSE
    ]
    assert [(state.running, state.layers) for state in states] == [(1, 1), (0, 2)]
    work.check(device)


def test_both_waiting_is_an_error_and_no_end(work):
    device = work.device({"wait": 1})
    (refused,) = answers(device, [protocol.run(0, 2), protocol.wait()], 1)
    assert (refused.opcode, refused.error) == (Opcode.WAIT | protocol.RESPONSE, ErrorCode.STUCK)
    (answer,) = answers(device, [protocol.signal()], 1)
    assert answer.error == ErrorCode.OK
    work.check(device)
    assert device.status().errors == 1


def test_two_records_in_a_row_are_a_bad_program(work):
    """They could lead to each other for ever."""
    device = work.device({}, {})
    with pytest.raises(DeviceError, match="BAD_PROGRAM"):
        device.run(0, 2)
    assert device.status().layers == 1
