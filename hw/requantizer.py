"""Requantizer: turns drained accumulators into activations or results."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.payloads import value_width
from tritforge.hw.timing import LOW_BITS, multiplier_parts, result_latency
from tritforge.hw.widths import CODE_WIDTH, RESULT_WIDTH

__all__ = ["Requantizer"]


class Requantizer(wiring.Component):
    """``activation = clamp((accumulator * multiplier + offset) >> shift, low, high)``.

    ``offset`` is the bias plus half of the shift's unit, so the shift rounds to nearest, ties
    upwards. ``result`` is ``accumulator * multiplier + offset``, 32 bits, for a network's
    last layer.

    Timing: one value per cycle; ``activation`` comes ``requantizer_latency``, ``result``
    ``result_latency`` cycles later.

    Cost: one multiplier of ``accumulator_width`` by ``multiplier_width``, in ``multiplier_parts``.

    Parameters
    ----------
    config : Config

    Members
    -------
    accumulator, multiplier, offset, shift, low, high : In
    activation : Out(8), with ``write_back_sums`` Out(9)
    result : Out(signed(32))
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "accumulator": In(signed(config.accumulator_width)),
                "multiplier": In(signed(config.multiplier_width)),
                "offset": In(signed(config.offset_width)),
                "shift": In(6),
                "low": In(signed(CODE_WIDTH)),
                "high": In(signed(CODE_WIDTH)),
                "activation": Out(value_width(config)),
                "result": Out(signed(RESULT_WIDTH)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wide = signed(self.config.offset_width)
        product, total, shifted = Signal(wide), Signal(wide), Signal(wide)
        if self.config.few_stages:
            m.d.sync += product.eq(self.accumulator * self.multiplier)
        elif multiplier_parts(self.config) == 1:
            part = Signal(wide)
            m.d.sync += [part.eq(self.accumulator * self.multiplier), product.eq(part)]
        else:
            low = Signal(signed(LOW_BITS + 1 + len(self.multiplier)))
            high = Signal(signed(len(self.accumulator) - LOW_BITS + len(self.multiplier)))
            m.d.sync += [
                low.eq(self.accumulator[:LOW_BITS] * self.multiplier),
                high.eq(self.accumulator[LOW_BITS:].as_signed() * self.multiplier),
                product.eq(low + (high << LOW_BITS)),
            ]
        until_total = result_latency(self.config) - 1
        offset = delayed(m, "offset", self.offset, until_total, reset_less=True)
        shift = delayed(m, "shift", self.shift, until_total + 1, reset_less=True)
        m.d.sync += [total.eq(product + offset), shifted.eq(total >> shift)]
        # Whatever has more bits than a bound is beyond it; only the rest is compared.
        code = shifted[:CODE_WIDTH].as_signed()
        beyond, negative = Signal(), shifted[-1]
        m.d.comb += beyond.eq(
            shifted[CODE_WIDTH - 1 :] != negative.replicate(len(shifted) - CODE_WIDTH + 1)
        )
        with m.If(Mux(beyond, negative, code < self.low)):
            m.d.sync += self.activation.eq(self.low)
        with m.Elif(beyond | (code > self.high)):
            m.d.sync += self.activation.eq(self.high)
        with m.Else():
            m.d.sync += self.activation.eq(code)
        m.d.comb += self.result.eq(total)
        return m
