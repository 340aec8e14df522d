"""What a build needs to know of a board; each board is one file in :mod:`tritforge.fpga.boards`."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tritforge.fpga.errors import BuildError
from tritforge.fpga.link.uart import LEAST_DIVISOR
from tritforge.fpga.platform.pll import PLLS, Pll

__all__ = ["FAMILIES", "Board", "Clocking", "Family", "Resources", "board", "boards"]

#: Largest error of a baud rate, as a fraction of it: at the tenth bit a tenth of a bit is lost.
BAUD_TOLERANCE = 0.01
#: iCE40 block RAM reads zeros for some 3 us after configuration; the reset outlasts it 5 times.
RESET_SECONDS = 15e-6


@dataclass(frozen=True)
class Resources:
    """What an FPGA has; the names are those of a report.

    Members
    -------
    luts, flip_flops : int
        4-input lookup tables, flip-flops.
    block_rams : int
        Block memories.
    sprams : int
        Large single-port memories (iCE40 UltraPlus, 256 kbit each).
    dsps : int
        Hardware multipliers.
    distributed_rams : int
        Lookup-table pairs that can be a 16 x 4 bit memory.
    """

    luts: int
    flip_flops: int
    block_rams: int
    sprams: int
    dsps: int
    distributed_rams: int


@dataclass(frozen=True)
class Family:
    """How an FPGA family's tools are called.

    Members
    -------
    place : str
        The place-and-route tool.
    pack : str
        The tool that makes the bitstream.
    constraints, routed, bitstream : str
        Suffixes of pin constraints, placed-and-routed design and bitstream.
    constraint_option, routed_option, place_options, pack_options : str, tuple of str
        Options in front of the first two, others of ``place``, and those of ``pack``.
    effort : float
        ``place`` is asked for so many times the clock. It does not work for more than it is asked
        for.
    """

    name: str
    place: str
    pack: str
    constraints: str
    routed: str
    bitstream: str
    constraint_option: str
    routed_option: str
    place_options: tuple[str, ...] = ()
    pack_options: tuple[str, ...] = ()
    effort: float = 1.0


FAMILIES = {
    family.name: family
    for family in (
        # the default placer's wires are a fifth longer: more than this chip's routing has room for
        Family(
            "ice40",
            "nextpnr-ice40",
            "icepack",
            ".pcf",
            ".asc",
            ".bin",
            "--pcf",
            "--asc",
            ("--placer", "static"),
        ),
        # the default router takes several times as long on a congested design
        Family(
            "ecp5",
            "nextpnr-ecp5",
            "ecppack",
            ".lpf",
            ".config",
            ".bit",
            "--lpf",
            "--textcfg",
            ("--router", "router2"),
            ("--compress",),
            effort=1.2,
        ),
    )
}


@dataclass(frozen=True)
class Clocking:
    """A board's clock and the divisor of its UART.

    Members
    -------
    pll : Pll or None
        None where the oscillator itself is the clock.
    clock_hz : float
    divisor : int
        Clock cycles per UART bit.
    baud : int
        What the host is told.
    """

    pll: Pll | None
    clock_hz: float
    divisor: int
    baud: int

    @property
    def actual_baud(self) -> float:
        return self.clock_hz / self.divisor

    @property
    def baud_error(self) -> float:
        """Distance of the actual baud rate from ``baud``, as a fraction, with its sign."""
        return self.actual_baud / self.baud - 1

    @property
    def reset_cycles(self) -> int:
        """Cycles of reset after the PLL has locked."""
        return max(16, round(RESET_SECONDS * self.clock_hz))


@dataclass(frozen=True)
class Board:
    """A board.

    Parameters
    ----------
    name, title : str
        What commands call it; what it is.
    platform : callable
        Makes the ``amaranth-boards`` platform: pins, oscillator, device.
    config : str
        The configuration that is built when none is named.
    clock_hz : float
        Clock of the accelerator when none is named.
    bauds : tuple of int
        Rates that its USB-UART can have, the first one preferred.
    family : str
        Of :data:`FAMILIES`.
    resources : Resources
    place_options : tuple of str
        Device, package and speed for the place-and-route tool.
    counters : bool
        Whether the accelerator counts events.
    loader : str
        What ``openFPGALoader`` calls it.
    oscillator, uart : str
        Resources of the platform.
    fill : float
        Share of the lookup tables that a design may use and still be placed and routed.
    """

    name: str
    title: str
    platform: Callable[[], Any]
    config: str
    clock_hz: float
    bauds: tuple[int, ...]
    family: str
    resources: Resources
    place_options: tuple[str, ...]
    counters: bool
    loader: str
    oscillator: str
    uart: str = "uart"
    fill: float = 0.85

    def clocking(self, clock_hz: float | None = None) -> Clocking:
        """PLL, baud rate and UART divisor for a clock, the board's own where none is given.

        The baud rate is the first that the clock can make within ``BAUD_TOLERANCE``.

        Raises
        ------
        BuildError
            The PLL cannot make the clock, or the clock cannot make a baud rate.
        """
        wanted = self.clock_hz if clock_hz is None else clock_hz
        reference = self.platform().lookup(self.oscillator).clock.frequency
        pll = None if wanted == reference else PLLS[self.family].compute(reference, wanted)
        clock = reference if pll is None else pll.output_hz
        found = [
            Clocking(pll, clock, max(LEAST_DIVISOR, round(clock / baud)), baud)
            for baud in self.bauds
        ]
        for one in found:
            if abs(one.baud_error) <= BAUD_TOLERANCE:
                return one
        nearest = min(found, key=lambda one: abs(one.baud_error))
        raise BuildError(
            f"a clock of {clock / 1e6:.6g} MHz makes no baud rate of {self.name}: "
            f"{nearest.baud:,} is nearest, and {abs(nearest.baud_error):.1%} away; at most "
            f"{BAUD_TOLERANCE:.0%} is allowed"
        )


def boards() -> dict[str, Board]:
    """All boards by name: ``BOARD`` of every module in :mod:`tritforge.fpga.boards`."""
    package = importlib.import_module("tritforge.fpga.boards")
    found = (
        importlib.import_module(f"tritforge.fpga.boards.{module.name}").BOARD
        for module in pkgutil.iter_modules(package.__path__)
    )
    return {one.name: one for one in found}


def board(name: str) -> Board:
    """A board by name.

    Raises
    ------
    BuildError
        There is none of that name.
    """
    known = boards()
    if name not in known:
        raise BuildError(f"board {name!r} is not known; known are {', '.join(known)}")
    return known[name]
