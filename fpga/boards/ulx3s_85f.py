"""Radiona ULX3S with LFE5U-85F, 25 MHz oscillator, UART over USB."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from tritforge.fpga.platform.board import Board, Resources

__all__ = ["BOARD"]

BOARD = Board(
    name="ulx3s_85f",
    title="ULX3S (Lattice LFE5U-85F, CABGA381)",
    platform=ULX3S_85F_Platform,
    config="ulx3s_85f_ternary",
    clock_hz=45e6,
    bauds=(3_000_000, 2_000_000, 1_500_000, 1_000_000, 500_000, 115_200),
    family="ecp5",
    resources=Resources(
        luts=83640, flip_flops=83640, block_rams=208, sprams=0, dsps=156, distributed_rams=10455
    ),
    place_options=("--85k", "--package", "CABGA381", "--speed", "6"),
    counters=True,
    loader="ulx3s",
    oscillator="clk25",
)
