"""1BitSquared iCEBreaker: iCE40UP5K, 12 MHz oscillator, UART over USB."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from tritforge.fpga.platform.board import Board, Resources

__all__ = ["BOARD"]

BOARD = Board(
    name="icebreaker",
    title="iCEBreaker (Lattice iCE40UP5K-SG48)",
    platform=ICEBreakerPlatform,
    config="icebreaker",
    clock_hz=21e6,
    bauds=(1_000_000, 2_000_000, 750_000, 500_000, 115_200),
    family="ice40",
    resources=Resources(
        luts=5280, flip_flops=5280, block_rams=30, sprams=4, dsps=8, distributed_rams=0
    ),
    place_options=("--up5k", "--package", "sg48"),
    counters=False,  # a fifth of the chip
    loader="ice40_generic",
    oscillator="clk12",
    fill=0.96,  # 95.5 % has been placed and routed
)
