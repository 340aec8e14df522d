"""What is inside every board's chip: an accelerator behind a serial link."""

from amaranth.hdl import ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.link import BoardLink
from hw.config import Config
from hw.top import Accelerator
from hw.verilog import RegisteredReset

__all__ = ["CORE_NAME", "BoardCore"]

#: Name of the module in Verilog: ``hw.verilog.convert(BoardCore(..), CORE_NAME)``.
CORE_NAME = "board_core"


class BoardCore(wiring.Component):
    """An accelerator behind a UART; everything of a board but its pins and its clock.

    The accelerator is reset, its memories and their label apart, whenever a host begins a session.

    Parameters
    ----------
    config : Config
    divisor : int
        Clock cycles per bit of the UART, 4 or more.
    contents : int
        Label of what the memories hold when power comes; 0: nothing of use.

    Members
    -------
    rx : In(1), tx : Out(1)
        The UART, high when idle; ``rx`` is asynchronous.
    """

    def __init__(self, config: Config, *, divisor: int, contents: int = 0) -> None:
        self.config = config
        self.divisor = divisor
        self.contents = contents
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = BoardLink(self.divisor)
        m.submodules.accelerator = accelerator = RegisteredReset(
            Accelerator(self.config, contents=self.contents), "accelerator")
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            accelerator.clk.eq(ClockSignal()),
            accelerator.rst.eq(ResetSignal() | link.restart),
        ]
        wiring.connect(m, link.commands, accelerator.commands)
        wiring.connect(m, accelerator.results, link.results)
        return m
