"""The top of a board: pins, clock and reset around the core."""

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import io

from tritforge.fpga.link.core import CORE_NAME
from tritforge.fpga.platform.board import FAMILIES, Board, Clocking

__all__ = ["INSTANCE", "TOP", "BoardTop", "top_files"]

#: Module name of the board's top, and the core's instance in it.
TOP, INSTANCE = "top", "core"


class BoardTop(Elaboratable):
    """Oscillator -> PLL -> clock; reset until the PLL has locked and some time after.

    Reset lasts ``clocking.reset_cycles`` cycles after the lock, or after configuration where
    there is no PLL.
    """

    def __init__(self, board: Board, clocking: Clocking) -> None:
        self.board = board
        self.clocking = clocking

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.domains.start = ClockDomain(reset_less=True, local=True)
        clock, lock = Signal(name="clock"), Signal(name="lock")
        oscillator = platform.request(self.board.oscillator, dir="-")  # type: ignore[attr-defined]
        pll = self.clocking.pll
        if pll is not None and self.board.family == "ice40":
            m.submodules.pll = pll.create(oscillator.io, clock, lock)
        else:
            m.submodules.oscillator = buffer = io.Buffer("i", oscillator)
            if pll is None:
                m.d.comb += [clock.eq(buffer.i), lock.eq(1)]
            else:
                m.submodules.pll = pll.create(buffer.i, clock, lock)
        # Place and route works towards the constraint of the net that it finds by this name; else,
        # whatever its command says, towards what follows from the PLL.
        platform.add_clock_constraint(  # type: ignore[attr-defined]
            sync.clk, FAMILIES[self.board.family].effort * self.clocking.clock_hz
        )
        m.d.comb += [ClockSignal("start").eq(clock), ClockSignal("sync").eq(clock)]

        # The lock belongs to no clock.
        locked = Signal(2)
        timer = Signal(range(self.clocking.reset_cycles + 1))
        reset = Signal(init=1)
        m.d.start += [locked.eq(locked << 1 | lock), reset.eq(timer != self.clocking.reset_cycles)]
        with m.If(~locked[1]):
            m.d.start += timer.eq(0)
        with m.Elif(timer != self.clocking.reset_cycles):
            m.d.start += timer.eq(timer + 1)
        m.d.comb += ResetSignal("sync").eq(reset)

        uart = platform.request(self.board.uart, dir="-")  # type: ignore[attr-defined]
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.submodules[INSTANCE] = Instance(
            CORE_NAME, i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=rx.i, o_tx=tx.o
        )
        return m


def top_files(board: Board, clocking: Clocking) -> dict[str, str]:
    """The top as RTLIL, ``top.il``, and the pin and clock constraints of the family."""
    plan = board.platform().prepare(BoardTop(board, clocking), TOP, debug_verilog=False)
    files = {
        name: text
        for name, text in plan.files.items()
        if name.endswith((".il", FAMILIES[board.family].constraints))
    }
    # where in which folder a line of Python stands is no part of the design
    files[f"{TOP}.il"] = "".join(
        line
        for line in files[f"{TOP}.il"].splitlines(keepends=True)
        if not line.lstrip().startswith("attribute \\src ")
    )
    return files
