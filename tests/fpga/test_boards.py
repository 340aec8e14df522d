"""Boards: clocks, baud rates, pins, room."""

import dataclasses

import pytest
from amaranth_boards.ice40_hx8k_b_evn import ICE40HX8KBEVNPlatform

from tritforge.fpga.errors import BuildError
from tritforge.fpga.link.uart import LEAST_DIVISOR
from tritforge.fpga.platform.board import BAUD_TOLERANCE, board, boards
from tritforge.fpga.platform.board_top import TOP, top_files
from tritforge.hw.presets import PRESETS


@pytest.mark.parametrize("one", boards().values(), ids=boards())
def test_board(one):
    assert board(one.name) is one
    assert one.config in PRESETS
    clocking = one.clocking()
    assert clocking.clock_hz == one.clock_hz
    assert (clocking.baud, clocking.baud_error) == (one.bauds[0], 0)
    files = top_files(one, clocking)
    text = files[f"{TOP}.il"]
    assert "cell \\board_core " in text
    constraints = next(text for name, text in files.items() if name != f"{TOP}.il")
    assert "uart_0__rx" in constraints and "uart_0__tx" in constraints
    assert ("PLL" in text) == (clocking.pll is not None)


def test_known():
    assert list(boards()) == ["icebreaker", "ulx3s_85f"]
    with pytest.raises(BuildError, match=r"^board 'de10' is not known; known are icebreaker,"):
        board("de10")


@pytest.mark.parametrize(
    ("name", "clocks"),
    [
        ("icebreaker", (12, 16, 18, 24, 25, 33, 45.5)),
        ("ulx3s_85f", (20, 25, 36, 40, 50, 55, 65)),
    ],
)
def test_baud_rates(name, clocks):
    """The first that comes near enough to what the host's UART does exactly."""
    one = board(name)
    for clock in clocks:
        found = one.clocking(clock * 1e6)
        assert found.divisor >= LEAST_DIVISOR
        assert abs(found.clock_hz / found.divisor / found.baud - 1) <= BAUD_TOLERANCE < 0.02
        assert found.clock_hz == pytest.approx(clock * 1e6, rel=0.01)
        for faster in one.bauds[: one.bauds.index(found.baud)]:
            nearest = found.clock_hz / max(LEAST_DIVISOR, round(found.clock_hz / faster))
            assert abs(nearest / faster - 1) > BAUD_TOLERANCE


def test_no_baud_rate():
    slow = dataclasses.replace(board("icebreaker"), bauds=(11_000_000, 3_500_000))
    with pytest.raises(
        BuildError,
        match=r"^a clock of 12 MHz makes no baud rate of icebreaker: "
        r"3,500,000 is nearest, and 14\.3% away; at most 1%",
    ):
        slow.clocking(12e6)


def test_another_board():
    """What a file in fpga/boards has is enough for any platform of its family."""
    other = dataclasses.replace(board("icebreaker"), name="hx8k", platform=ICE40HX8KBEVNPlatform)
    files = top_files(other, other.clocking(24e6))
    assert set(files) == {"top.il", "top.pcf"}
    assert "SB_PLL40_PAD" in files["top.il"]
