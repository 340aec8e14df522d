"""The board's end of the serial link: two wires on one side, packets on the other."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from tritforge.fpga.link.frame_receiver import FrameReceiver
from tritforge.fpga.link.frame_transmitter import FrameTransmitter
from tritforge.fpga.link.uart import Receiver, Transmitter
from tritforge.hw.payloads import command_word, port_word

__all__ = ["BoardLink"]


class BoardLink(wiring.Component):
    """Carries packets between a host at a UART and an accelerator.

    ::

        rx -> [Receiver] -> [FrameReceiver] -> commands
                               | state
        tx <- [Transmitter] <- [FrameTransmitter] <- results

    What reaches ``commands`` as a whole packet is what the host sent, each once and in order. A
    response may be lost, as a frame that the host finds damaged; its request has to be repeated.

    Cost: 262 LUTs and 186 flip-flops of an iCE40, no memory.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, 4 or more.

    Members
    -------
    rx : In(1), tx : Out(1)
    commands : Out(stream of command_word)
        As ``o`` of :class:`tritforge.fpga.link.frame_receiver.FrameReceiver`.
    results : In(stream of port_word)
    restart : Out(1)
        A session begins: for the accelerator's reset.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "commands": Out(stream.Signature(command_word())),
                "results": In(stream.Signature(port_word())),
                "restart": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart_receiver = uart_receiver = Receiver(self.divisor)
        m.submodules.uart_transmitter = uart_transmitter = Transmitter(self.divisor)
        m.submodules.receiver = receiver = FrameReceiver()
        transmitter = FrameTransmitter()
        # With a session all begins anew, whatever was being sent.
        m.submodules.transmitter = ResetInserter({"sync": receiver.begin})(transmitter)
        connect(m, transmitter.o, uart_transmitter.i)
        connect(m, wiring.flipped(self.results), transmitter.i)
        connect(m, receiver.o, wiring.flipped(self.commands))
        m.d.comb += [
            uart_receiver.rx.eq(self.rx),
            self.tx.eq(uart_transmitter.tx),
            receiver.data.eq(uart_receiver.data),
            receiver.valid.eq(uart_receiver.valid),
            transmitter.answer.eq(receiver.answer),
            transmitter.state.eq(receiver.state),
            self.restart.eq(receiver.restart),
        ]
        return m
