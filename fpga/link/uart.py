"""UART: bytes on one wire, 8 data bits, no parity, 1 stop bit (8N1)."""

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LEAST_DIVISOR", "Receiver", "Transmitter"]

#: Clock cycles per bit, at least: fewer leave no time to find the middle of a bit.
LEAST_DIVISOR = 4


def _check(divisor: int) -> int:
    if divisor < LEAST_DIVISOR:
        raise ValueError(
            f"a UART needs {LEAST_DIVISOR} clock cycles per bit or more; the divisor is {divisor}"
        )
    return divisor


class Receiver(wiring.Component):
    """Samples every bit in its middle, by a clock that starts again with every byte.

    Timing: ``valid`` is high for one cycle, in the middle of the stop bit; ``data`` stays for 8
    cycles at least, that one included. A byte whose stop bit is low is dropped, and so is a start
    bit that is over at its middle. The sender may be 4 % faster or slower, less what half a clock
    cycle is of a bit.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit; ``ValueError`` if less than ``LEAST_DIVISOR``.

    Members
    -------
    rx : In(1)
        The wire, asynchronous, high when idle.
    data : Out(8), valid : Out(1)
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = _check(divisor)
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first, line = Signal(init=1), Signal(init=1)  # against metastability
        timer = Signal(range(self.divisor))
        place = Signal(4)  # 0 idle, 1 start bit, 2 .. 9 data, 10 stop
        m.d.sync += [first.eq(self.rx), line.eq(first), timer.eq(timer - 1)]
        with m.If(place == 0):
            m.d.sync += timer.eq(self.divisor // 2 - 1)
            with m.If(~line):
                m.d.sync += place.eq(1)
        with m.Elif(timer == 0):
            m.d.sync += [timer.eq(self.divisor - 1), place.eq(place + 1)]
            with m.If(place == 10):
                m.d.comb += self.valid.eq(line)
                m.d.sync += place.eq(0)
            with m.Elif(place != 1):
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
            with m.Elif(line):
                m.d.sync += place.eq(0)
        return m


class Transmitter(wiring.Component):
    """Sends bytes.

    Timing: a byte every ``10 * divisor`` cycles; its start bit begins the cycle after it is taken.

    Parameters
    ----------
    divisor : int
        As for :class:`Receiver`.

    Members
    -------
    i : In(stream of unsigned(8))
    tx : Out(1)
        The wire, high when idle, and a register.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = _check(divisor)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        bits = Signal(10, init=1)  # what is on the wire, and what follows; 1: the stop bit
        m.d.comb += [
            self.tx.eq(bits[0]),
            self.i.ready.eq((timer == 0) & ~bits[1:].any()),
        ]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(self.i.ready & self.i.valid):
            m.d.sync += [bits.eq(Cat(C(0, 1), self.i.payload, C(1, 1))), timer.eq(self.divisor - 1)]
        with m.Elif(~self.i.ready):
            m.d.sync += [bits.eq(bits[1:]), timer.eq(self.divisor - 1)]
        return m
