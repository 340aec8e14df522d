"""Requantizer: turns drained accumulators into activations or results."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ACTIVATION_WIDTH, RESULT_WIDTH, Config

__all__ = ["CODE_WIDTH", "Requantizer"]

#: Bits of an activation's code, signed (-128 to 127) or not (0 to 255).
CODE_WIDTH = ACTIVATION_WIDTH + 1


class Requantizer(wiring.Component):
    """``activation = clamp((accumulator * multiplier + offset) >> shift, low, high)``.

    ``offset`` is the bias plus half of the shift's unit, so the shift rounds to nearest, ties
    upwards. ``result`` is ``accumulator * multiplier + offset``, 32 bits, for a network's
    last layer.

    Timing: latency 4 cycles (``result`` 2), one value per cycle.

    Cost: one multiplier of ``accumulator_width`` by ``multiplier_width``.

    Parameters
    ----------
    config : Config

    Members
    -------
    accumulator, multiplier, offset, shift, low, high : In
    activation : Out(8)
    result : Out(signed(32))
    """

    latency = 4
    result_latency = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "accumulator": In(signed(config.accumulator_width)),
            "multiplier": In(signed(config.multiplier_width)),
            "offset": In(signed(config.offset_width)),
            "shift": In(6),
            "low": In(signed(CODE_WIDTH)),
            "high": In(signed(CODE_WIDTH)),
            "activation": Out(ACTIVATION_WIDTH),
            "result": Out(signed(RESULT_WIDTH)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wide = signed(self.config.offset_width)
        product, total, shifted = Signal(wide), Signal(wide), Signal(wide)
        offset = Signal(wide)
        shift_1, shift_2 = Signal(unsigned(6)), Signal(unsigned(6))
        m.d.sync += [
            product.eq(self.accumulator * self.multiplier),
            offset.eq(self.offset),
            shift_1.eq(self.shift),
            total.eq(product + offset),
            shift_2.eq(shift_1),
            shifted.eq(total >> shift_2),
        ]
        # Whatever has more bits than a bound is beyond it; only the rest is compared.
        code = shifted[:CODE_WIDTH].as_signed()
        beyond, negative = Signal(), shifted[-1]
        m.d.comb += beyond.eq(shifted[CODE_WIDTH - 1:] != negative.replicate(
            len(shifted) - CODE_WIDTH + 1))
        with m.If(Mux(beyond, negative, code < self.low)):
            m.d.sync += self.activation.eq(self.low)
        with m.Elif(beyond | (code > self.high)):
            m.d.sync += self.activation.eq(self.high)
        with m.Else():
            m.d.sync += self.activation.eq(code)
        m.d.comb += self.result.eq(total)
        return m
