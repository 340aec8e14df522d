"""What is inside every board's chip: an accelerator behind a serial link."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.fpga.link.board_link import BoardLink
from tritforge.hw.config import Config
from tritforge.hw.top import Accelerator

__all__ = ["CORE_NAME", "BoardCore"]

#: Name of the module in Verilog: ``tritforge.hw.verilog.convert(BoardCore(..), CORE_NAME)``.
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
    counters : bool
        As for :class:`tritforge.hw.top.Accelerator`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The UART, high when idle; ``rx`` is asynchronous.
    """

    def __init__(
        self, config: Config, *, divisor: int, contents: int = 0, counters: bool = True
    ) -> None:
        self.config = config
        self.divisor = divisor
        self.contents = contents
        self.counters = counters
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = BoardLink(self.divisor)
        accelerator = Accelerator(self.config, contents=self.contents, counters=self.counters)
        m.submodules.accelerator = DomainRenamer("accelerator")(accelerator)
        m.domains.accelerator = ClockDomain(local=True)
        reset = Signal(init=1)  # a register, because it reaches far into the design
        m.d.sync += reset.eq(link.restart)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            ClockSignal("accelerator").eq(ClockSignal()),
            ResetSignal("accelerator").eq(reset),
        ]
        wiring.connect(m, link.commands, accelerator.commands)
        wiring.connect(m, accelerator.results, link.results)
        return m
