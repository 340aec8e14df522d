"""Clocks of the two FPGA families: one object computes a PLL's divisors and makes the hardware.

Limits are those of the data sheets: iCE40 UltraPlus family (Lattice FPGA-DS-02008, sysCLOCK PLL
timing) and usage guide (FPGA-TN-02052); ECP5 family (Lattice FPGA-DS-02012, sysCLOCK PLL timing).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from amaranth.hdl import Const, Instance, Signal, Value

from tritforge.fpga.errors import BuildError

__all__ = ["PLLS", "Ecp5Pll", "Ice40Pll", "Limits", "Pll"]

#: Largest distance of a clock from the one that was asked for, as a fraction of it.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Limits:
    """Lowest and highest frequencies, MHz."""

    reference: tuple[float, float]
    phase_detector: tuple[float, float]
    oscillator: tuple[float, float]
    output: tuple[float, float]


@dataclass(frozen=True)
class Pll:
    """A PLL from ``reference_hz`` to ``output_hz``.

    Members
    -------
    reference_hz, output_hz : float
        What goes in and what comes out; the second may differ from what was asked for.
    reference_divisor, feedback_divisor, output_divisor : int
        The integers that the frequencies are divided by.
    """

    reference_hz: float
    output_hz: float
    reference_divisor: int
    feedback_divisor: int
    output_divisor: int

    limits: ClassVar[Limits]
    family: ClassVar[str]

    @property
    def phase_detector_hz(self) -> float:
        return self.reference_hz / self.reference_divisor

    @property
    def oscillator_hz(self) -> float:
        """Frequency of the voltage-controlled oscillator."""
        return self.output_hz * self.output_divisor

    @classmethod
    def compute(cls, reference_hz: float, wanted_hz: float) -> "Pll":
        """The divisors that come nearest to ``wanted_hz``; of equals, the fastest phase detector.

        Raises
        ------
        BuildError
            No divisors within the data sheet's limits come within 1 %.
        """
        allowed = [found for found in cls._all(reference_hz) if found.legal]
        best = min(
            allowed,
            default=None,
            key=lambda found: (
                round(abs(found.output_hz - wanted_hz), 3),
                found.reference_divisor,
                found.oscillator_hz,
            ),
        )
        if best is None or abs(best.output_hz - wanted_hz) > TOLERANCE * wanted_hz:
            low, high = cls.limits.output
            near = "" if best is None else f"; the nearest is {best.output_hz / 1e6:.6g} MHz"
            raise BuildError(
                f"the PLL of family {cls.family} cannot make {wanted_hz / 1e6:.6g} MHz from "
                f"{reference_hz / 1e6:.6g} MHz (it makes {low:g} to {high:g} MHz){near}"
            )
        return best

    @property
    def legal(self) -> bool:
        """Whether all frequencies are within the data sheet's limits."""
        return all(
            low * 1e6 <= hertz <= high * 1e6
            for hertz, (low, high) in (
                (self.reference_hz, self.limits.reference),
                (self.phase_detector_hz, self.limits.phase_detector),
                (self.oscillator_hz, self.limits.oscillator),
                (self.output_hz, self.limits.output),
            )
        )

    @classmethod
    def _all(cls, reference_hz: float) -> Iterator["Pll"]:
        raise NotImplementedError

    def create(self, pin: Any, clock: Signal, lock: Signal) -> Instance:
        """The hardware: from the oscillator's ``pin`` to ``clock``; ``lock`` says it is stable."""
        raise NotImplementedError


class Ice40Pll(Pll):
    """SB_PLL40_PAD: the oscillator's pin is the PLL's own, so its input buffer is inside."""

    family = "ice40"
    limits = Limits(
        reference=(10, 133), phase_detector=(10, 133), oscillator=(533, 1066), output=(16, 275)
    )
    #: Phase detector below MHz -> setting of the loop filter, as Lattice's generator chooses it.
    _FILTERS = ((17, 1), (26, 2), (44, 3), (66, 4), (101, 5), (float("inf"), 6))

    @classmethod
    def _all(cls, reference_hz: float) -> Iterator[Pll]:
        for reference in range(1, 17):
            for feedback in range(1, 129):
                for exponent in range(1, 7):
                    output = reference_hz / reference * feedback / (1 << exponent)
                    yield cls(reference_hz, output, reference, feedback, 1 << exponent)

    @property
    def filter_range(self) -> int:
        return next(
            setting for below, setting in self._FILTERS if self.phase_detector_hz < below * 1e6
        )

    def create(self, pin: Any, clock: Signal, lock: Signal) -> Instance:
        return Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self.reference_divisor - 1, 4),
            p_DIVF=Const(self.feedback_divisor - 1, 7),
            p_DIVQ=Const(self.output_divisor.bit_length() - 1, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            i_PACKAGEPIN=pin,
            o_PLLOUTGLOBAL=clock,
            o_LOCK=lock,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
        )


class Ecp5Pll(Pll):
    """EHXPLLL with its first output as feedback; the input is a buffered signal."""

    family = "ecp5"
    limits = Limits(
        reference=(8, 400), phase_detector=(3.125, 400), oscillator=(400, 800), output=(3.125, 400)
    )

    @classmethod
    def _all(cls, reference_hz: float) -> Iterator[Pll]:
        for reference in range(1, 9):
            for feedback in range(1, 81):
                output = reference_hz / reference * feedback
                # the oscillator's middle has the most room on either side
                divisor = round(600e6 / output)
                if 1 <= divisor <= 128:
                    yield cls(reference_hz, output, reference, feedback, divisor)

    def create(self, pin: Value, clock: Signal, lock: Signal) -> Instance:
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.reference_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=self.reference_divisor,
            p_CLKFB_DIV=self.feedback_divisor,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.output_divisor,
            p_CLKOP_CPHASE=self.output_divisor // 2,
            p_CLKOP_FPHASE=0,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=pin,
            i_CLKFB=clock,
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=lock,
        )


PLLS: dict[str, type[Pll]] = {kind.family: kind for kind in (Ice40Pll, Ecp5Pll)}
