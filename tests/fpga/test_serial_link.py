"""The host's end of the serial link, at a board in Python."""

import os
import pty
import tty

import numpy as np
import pytest

from tests.fpga.model_board import ModelBoard, Queue
from tritforge.fpga.link import serial_link, transport
from tritforge.fpga.link.frames import Reply, reply_frame
from tritforge.fpga.link.noise import Noise
from tritforge.fpga.link.serial_link import SerialLink
from tritforge.fpga.link.serial_port import open_port
from tritforge.hw import protocol
from tritforge.hw.config import Config
from tritforge.hw.protocol import RESPONSE, ErrorCode, Opcode, Packet
from tritforge.sim.device import Device, DeviceError

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

CONFIG = Config()


def opened(board=None, config=CONFIG):
    board = board or ModelBoard(config)
    return board, SerialLink(config, board)


def test_packets_arrive_once_in_order():
    board, link = opened()
    packets = [protocol.write("program", 0, number, 1, [number]) for number in range(600)]
    packets += [protocol.signal(), protocol.wait()]
    assert link.exchange([packet.words() for packet in packets], 0) == []
    assert board.executed == packets
    statistics = link.statistics
    assert (statistics.frames_sent, statistics.frames_resent, statistics.timeouts) == (602, 0, 0)


def test_device_works_unchanged():
    board, link = opened()
    device = Device(link)
    device.check_identity()
    words = np.random.default_rng(0).integers(0, 1 << 32, (1000, 1), np.uint32)
    device.write("activations", 1, 3, words)
    np.testing.assert_array_equal(device.read("activations", 1, 3, 1000), words)
    assert len(device.run(0, 2)) == 2
    board.run_error = ErrorCode.EMPTY_PROGRAM
    with pytest.raises(DeviceError, match="RUN was refused: EMPTY_PROGRAM"):
        device.run(0, 2)
    with pytest.raises(DeviceError, match="was refused: ADDRESS"):
        device.write("activations", 0, 2040, words[:10])
    with pytest.raises(DeviceError, match="READ was refused: ADDRESS"):
        device.read("activations", 0, 2040, 10)
    assert device.read("activations", 0, 0, 0).shape == (0, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words[:-1],
        lambda words: [*words, 0],
        lambda words: words[:1],
        lambda words: [words[0], words[1] + 1, *words[2:], 0],  # one word more in STATUS
        lambda words: [words[0] | 200 << 8, *words[1:]],
    ],
)
def test_answers_of_another_form(change):
    """Of a bitstream of another version, perhaps: intact frames, unknown contents."""
    board, link = opened()
    reply = board.reply
    board.reply = lambda words=(): reply(change(list(words)) if words else ())
    with pytest.raises(
        DeviceError,
        match=r"^the board at the serial port answers in another form; "
        "does it hold a bitstream of another version",
    ):
        Device(link).check_identity()


def test_reads_that_are_short():
    board, link = opened()
    device, reply = Device(link), board.reply

    def short(words=()):
        if words and words[0] & 0xFF == Opcode.READ | RESPONSE:
            words = [words[0], words[1] - 1, *words[2:-1]]
        reply(words)

    board.reply = short
    with pytest.raises(
        DeviceError,
        match=r"^READ of 10 words of activations was answered with 9 "
        "port words, not 10$",
    ):
        device.read("activations", 0, 0, 10)


def test_a_board_that_takes_all_and_answers_nothing(monkeypatch):
    monkeypatch.setattr(serial_link, "MOST_SILENCE", 0.0)
    monkeypatch.setattr(serial_link, "MOST_UNANSWERED", 3)
    board, link = opened()
    board.lose = lambda words: True
    with pytest.raises(
        DeviceError,
        match=r"^the board at the serial port takes packets, but "
        "answers none$",
    ):
        Device(link).check_identity()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["corrupt", "drop", "insert"])
def test_noise(seed, kind):
    """Never wrong, each once."""
    board, link = opened(
        ModelBoard(
            CONFIG, Noise(**{kind: 0.004}, seed=seed), Noise(**{kind: 0.004}, seed=seed + 100)
        )
    )
    device = Device(link)
    rng = np.random.default_rng(seed)
    packets = []
    for _ in range(5):
        words = rng.integers(0, 1 << 32, (120, 1), np.uint32)
        device.write("activations", 0, 7, words)
        packets.append(protocol.write("activations", 0, 7, 120, words.ravel().tolist()))
        np.testing.assert_array_equal(device.read("activations", 0, 7, 120), words)
        device.run(0, 1)
        packets += [protocol.run(0, 1)]
        link.exchange([protocol.signal().words()] * 3, 0)
        packets += [protocol.signal()] * 3
    written = [packet for packet in board.executed if packet.opcode == Opcode.WRITE]
    assert [word for packet in written for word in packet.payload[2:]] == [
        word for packet in packets if packet.opcode == Opcode.WRITE for word in packet.payload[2:]
    ]
    others = [packet for packet in board.executed if packet.opcode != Opcode.WRITE]
    assert others == [packet for packet in packets if packet.opcode != Opcode.WRITE]
    assert link.statistics.crc_errors + link.statistics.refused > 0
    assert link.statistics.frames_resent > 0


def test_lost_answer_of_a_request_is_asked_for_again():
    board, link = opened()
    board.memories["program", 0] = dict(enumerate(range(1000, 1400)))
    board.lose = Queue([True, False, False, True, False], False)
    words = Device(link).read("program", 0, 0, 400)
    assert words.ravel().tolist() == list(range(1000, 1400))
    assert link.statistics.requests_repeated == 2


def test_lost_last_answer():
    board, link = opened()
    board.lose = Queue([True, True, True], False)
    assert Device(link).status().cycles == 77
    assert link.statistics.requests_repeated >= 1


def test_no_packet_overtakes_a_request():
    """What would change what a repeated READ finds waits until it is answered."""
    board, link = opened()
    board.lose = Queue([True], False)
    write = [protocol.write("program", 0, 0, 1, [value]).words() for value in (1, 2)]
    read = protocol.read("program", 0, 0, 1).words()
    answers = link.exchange([write[0], read, write[1], read], 2)
    assert [words[2] for words in answers] == [1, 2]


@pytest.mark.parametrize("error", [ErrorCode.OK, ErrorCode.BAD_PROGRAM])
def test_lost_answer_of_a_run(error):
    """STATUS tells how it ended; it is not run again."""
    board, link = opened()
    board.run_error = error
    board.lose = lambda words: words[0] & 0xFF == Opcode.RUN | RESPONSE
    assert link.exchange([protocol.run(3, 1).words()], 1) == [
        [Opcode.RUN | RESPONSE | error << 8, 0]
    ]
    assert board.executed == [protocol.run(3, 1)]


def test_long_run():
    """Longer than any timeout: it is asked for, and waited for."""
    board, link = opened()
    board.run_seconds = 1.5
    assert link.exchange([protocol.run(3, 1).words()], 1) == [[Opcode.RUN | RESPONSE, 0]]
    assert link.statistics.frames_sent < 10


def test_lost_refusals():
    board, link = opened()
    board.lose = lambda words: bool(words[0] >> 8 & 0xFF)
    bad = protocol.write("program", 0, 1 << 20, 1, [0]).words()
    with pytest.raises(
        DeviceError, match="a packet was refused, and the answer that says why was lost"
    ):
        link.exchange([bad, protocol.status().words()], 1)
    board, link = opened()
    board.run_seconds = 0.5
    board.lose = lambda words: bool(words[0] >> 8 & 0xFF)
    board.execute(protocol.run(0, 1))
    with pytest.raises(DeviceError, match="and the answer that says why was lost"):
        link.exchange([protocol.run(0, 1).words()], 1)


def test_requests_that_wait_are_bounded():
    """Never more of them than the board has places for."""
    config = Config(response_places=2)
    board, link = opened(config=config)
    most, waiting = 0, []
    execute = board.execute

    def slowly(packet):
        nonlocal most
        waiting.append(packet)
        most = max(most, len(waiting))

    def poll():
        while waiting:
            execute(waiting.pop(0))

    board.execute, board.poll = slowly, poll
    link.exchange([protocol.status().words()] * 20, 20)
    assert most == 2


def test_no_room():
    board, link = opened()
    board.room = Queue([True, *[False] * 12], True)
    packets = [protocol.write("program", 0, number, 1, [number]) for number in range(10)]
    link.exchange([packet.words() for packet in packets], 0)
    assert board.executed == packets
    assert link.statistics.full > 0


def test_a_new_host():
    """After one that ended anywhere: its frames, half a frame, and its late answers are nothing."""
    board, link = opened()
    link.exchange([protocol.signal().words()] * 5, 0)
    old = link._transport._session
    board.write(reply_frame(Reply(1, 5))[:-4])
    board.host += reply_frame(
        Reply(
            old, 6, words=tuple(Packet(Opcode.STATUS | RESPONSE, payload=(1,) * 8, tag=1).words())
        )
    )
    board.host += reply_frame(Reply(old, 6))[:5]
    board, link = opened(board)
    assert Device(link).status().identity == CONFIG.identity_word


# ----- what users can cause


def test_nothing_answers(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_TIMEOUT", 0.01)
    board = ModelBoard(CONFIG)
    board.silent = True
    with pytest.raises(
        DeviceError,
        match=r"^the board at X does not answer; is it configured, "
        r"and is this its port and baud rate\?$",
    ):
        SerialLink(CONFIG, board, name="X")
    assert board.gone  # closed


def test_it_stops_answering(monkeypatch):
    monkeypatch.setattr(transport, "MOST_TIMEOUT", 0.05)
    board, link = opened()
    board.silent = True
    with pytest.raises(DeviceError, match=r"^the board at the serial port has stopped answering$"):
        link.exchange([protocol.signal().words()], 0)


def test_it_stops_answering_in_a_run(monkeypatch):
    monkeypatch.setattr(transport, "MOST_TIMEOUT", 0.05)
    board, link = opened()
    board.run_seconds = 100
    link.exchange([protocol.run(0, 1).words()], 0)
    board.silent = True
    with pytest.raises(DeviceError, match="has stopped answering"):
        link.exchange([], 1)


def test_reset_on_the_way():
    board, link = opened()
    board.reset(0)
    with pytest.raises(DeviceError, match="was reset, or answers another program"):
        link.exchange([protocol.status().words()] * 10, 10)


def test_unplugged():
    board, link = opened()
    board.gone = True
    with pytest.raises(DeviceError, match=r"the serial port is gone; was the board unplugged\?"):
        link.exchange([protocol.signal().words()], 0)


def test_too_noisy(monkeypatch):
    monkeypatch.setattr(transport, "LEAST_TIMEOUT", 0.001)
    monkeypatch.setattr(transport, "STALLS", 20)
    board, link = opened()
    board.noise = (Noise(corrupt=0.2), None)
    long = protocol.write("program", 0, 0, 100, range(100)).words()
    with pytest.raises(
        DeviceError,
        match="too little comes through at the serial port: a frame "
        "was sent 20 times in vain; a lower baud rate may do",
    ):
        link.exchange([long], 0)


def test_too_many_answers_lost(monkeypatch):
    monkeypatch.setattr(serial_link, "REPEATS", 10)
    board, link = opened()
    board.lose = lambda words: len(words) > 40
    board.memories["program", 0] = {}
    with pytest.raises(DeviceError, match="a request was repeated 10 times in vain"):
        Device(link).read("program", 0, 0, 64)


def test_cycles_are_those_of_the_clock():
    board = ModelBoard(CONFIG)
    assert SerialLink(CONFIG, board).cycles == 0
    assert SerialLink(CONFIG, board, clock_hz=10**9).cycles > 0


def test_ports(tmp_path):
    with pytest.raises(
        DeviceError,
        match=r"^serial port /dev/ttyNONE9 cannot be opened: there is "
        r"no such port; is the board connected\?$",
    ):
        open_port("/dev/ttyNONE9", 1_000_000)
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="is not a serial port"):
        open_port(str(tmp_path / "file"), 1_000_000)
    with pytest.raises(DeviceError, match=r"cannot be opened"):
        open_port("/dev/null", 1_000_000)
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    port = open_port(name, 3_000_000)
    with pytest.raises(DeviceError, match="another program has it open"):
        open_port(name, 3_000_000)
    port.close()
    os.close(slave)
    os.close(master)
