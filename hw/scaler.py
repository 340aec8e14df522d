"""Scaler: the only multiplications by ternary weights."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.timing import SCALER_LATENCY
from tritforge.hw.widths import ACTIVATION_WIDTH

__all__ = ["Scaler"]


class Scaler(wiring.Component):
    """Computes ``plus = Wp * x`` and ``minus = (-Wn) * x`` of one activation.

    Timing: latency 2 cycles, one activation per cycle.

    Cost: two multipliers of ``coefficient_width`` by 9 bits, or, with ``logic_scalers``, nine
    additions in place of each.

    Parameters
    ----------
    config : Config

    Members
    -------
    activation : In(8)
        The code of x; ``is_signed`` says how to read it.
    coefficient_plus, coefficient_minus : In(signed(coefficient_width))
        Wp, and Wn already negated.
    plus, minus : Out(signed(product_width))
    """

    latency = SCALER_LATENCY

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "activation": In(ACTIVATION_WIDTH),
                "is_signed": In(1),
                "coefficient_plus": In(signed(config.coefficient_width)),
                "coefficient_minus": In(signed(config.coefficient_width)),
                "plus": Out(signed(config.product_width)),
                "minus": Out(signed(config.product_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Signal(signed(ACTIVATION_WIDTH + 1))
        m.d.comb += x.eq(Mux(self.is_signed, self.activation.as_signed(), self.activation))
        for coefficient, output in (
            (self.coefficient_plus, self.plus),
            (self.coefficient_minus, self.minus),
        ):
            product = Signal.like(output, name="product", reset_less=True)
            m.d.comb += output.eq(product)
            if self.config.logic_scalers:
                m.d.sync += product.eq(_added_up(m, x, coefficient))
                continue
            # Registers where a hardware multiplier has its own: in front of it and behind it,
            # without a reset.
            factors = [
                Signal.like(value, name=name, reset_less=True)
                for name, value in (("x", x), ("coefficient", coefficient))
            ]
            m.d.sync += [
                factors[0].eq(x),
                factors[1].eq(coefficient),
                product.eq(factors[0] * factors[1]),
            ]
        return m


def _added_up(m: Module, x: Signal, coefficient: Signal) -> Value:
    """The product from additions alone: of the lower and of the upper bits of ``x``, each in a
    register, then of both."""
    split = ACTIVATION_WIDTH // 2
    parts = []
    for name, bits in (("lower", x[:split]), ("upper", x[split:])):
        terms = [Mux(bit, coefficient, 0) << place for place, bit in enumerate(bits)]
        total = sum(terms[1:], terms[0])
        if name == "upper":  # its highest bit is the sign
            total = sum(terms[1:-1], terms[0]) - terms[-1]
        parts.append(Signal(signed(len(coefficient) + len(bits)), name=name, reset_less=True))
        m.d.sync += parts[-1].eq(total)
    return parts[0] + (parts[1] << split)
