"""What a configuration takes of a board's chip, without synthesis.

Memories and multipliers are exact: they follow from what the core consists of and from the rules
by which Yosys maps it (:mod:`tritforge.fpga.fit.structure`,
:mod:`tritforge.fpga.fit.memory_mapping`). Lookup tables and flip-flops are a linear form for every
kind of block, in bits of adders, of multiplexers and so on, whose coefficients come from builds
that were synthesized and packed: ``calibration.json``, written by ``benchmarks/calibrate.py``. It
also has how far off they are on builds that were held out.
"""

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tritforge.common.json_types import JsonObject, parse
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit.resources import RESOURCES
from tritforge.fpga.fit.structure import core_structure
from tritforge.fpga.platform.board import Board, Resources
from tritforge.hw.config import Config

__all__ = [
    "CALIBRATION",
    "CalibratedBuild",
    "Calibration",
    "Coefficients",
    "Estimate",
    "block_terms",
    "estimate",
    "estimate_with",
    "load_calibration",
]

CALIBRATION = Path(__file__).with_name("calibration.json")
#: Lookup tables of a 16 x 4 bit memory of an ECP5: four, and two beside them that it keeps from
#: being used.
_DISTRIBUTED = 6


@dataclass(frozen=True)
class Estimate:
    """Resources of a build, as its report counts them.

    Members
    -------
    luts : int
        Cells with a lookup table that are in use after packing; estimated.
    flip_flops : int
        Estimated.
    block_rams, sprams, dsps, distributed_rams : int
        Exact.
    blocks : dict[str, int]
        Lookup tables by kind of block.
    """

    luts: int
    flip_flops: int
    block_rams: int
    sprams: int
    dsps: int
    distributed_rams: int
    blocks: Mapping[str, int]

    @property
    def resources(self) -> Resources:
        """Without the blocks."""
        return Resources(**self.counts)

    @property
    def counts(self) -> dict[str, int]:
        """Resources by their names in a report."""
        return {name: getattr(self, name) for name in RESOURCES}


@dataclass(frozen=True)
class Coefficients(JsonObject):
    """What a unit of a term costs, by kind of block and by term."""

    luts: Mapping[str, Mapping[str, float]]
    flip_flops: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class CalibratedBuild(JsonObject):
    """A real build beside its estimate.

    Members
    -------
    board : str
    held_out : bool
        The coefficients do not know of it.
    configuration : dict
        Fields that differ from those of ``Config()``.
    measured, estimated : Resources
    luts_error : float
        Of the estimate, as a fraction.
    seconds : float
        That the build took.
    """

    board: str
    held_out: bool
    configuration: Mapping[str, bool | int | str]
    measured: Resources
    estimated: Resources
    luts_error: float
    seconds: float


@dataclass(frozen=True)
class Calibration(JsonObject):
    """The contents of ``calibration.json``.

    Members
    -------
    command : str
        That wrote it.
    tools : dict[str, str]
        Versions by name.
    tolerance : float
        Most that lookup tables of builds held out may be off, as a fraction.
    families : dict[str, Coefficients]
        By :data:`tritforge.fpga.platform.board.FAMILIES`.
    builds : tuple of CalibratedBuild
    """

    command: str
    tools: Mapping[str, str]
    tolerance: float
    families: Mapping[str, Coefficients]
    builds: tuple[CalibratedBuild, ...]


@functools.cache
def load_calibration() -> Calibration:
    """The contents of ``calibration.json``."""
    return Calibration.from_json(parse(CALIBRATION.read_bytes()), CALIBRATION.name)


def block_terms(board: Board, config: Config) -> dict[str, tuple[Counter[str], int]]:
    """Of every kind of block the terms, and lookup tables that its memories are."""
    return {
        kind: (block.terms, _DISTRIBUTED * block.resources["distributed_rams"])
        for kind, block in core_structure(board, config).items()
    }


def estimate(board: Board, config: Config) -> Estimate:
    """Resources of a configuration on a board.

    Raises
    ------
    BuildError
        The board's clock cannot be made, or the chip has no such memory: one with a single port,
        on an ECP5.
    """
    return estimate_with(load_calibration().families, board, config)


def estimate_with(families: Mapping[str, Coefficients], board: Board, config: Config) -> Estimate:
    """:func:`estimate` with other coefficients."""
    try:
        blocks = core_structure(board, config)
    except ValueError as error:
        raise BuildError(
            f"configuration {config.name} does not fit {board.title}: {error}"
        ) from error
    coefficients = families[board.family]

    def linear(factors: Mapping[str, Mapping[str, float]], kind: str) -> float:
        own = factors.get(kind, {})
        return sum(factor * blocks[kind].terms[term] for term, factor in own.items())

    luts = {
        kind: round(
            linear(coefficients.luts, kind) + _DISTRIBUTED * block.resources["distributed_rams"]
        )
        for kind, block in blocks.items()
    }
    exact = sum((block.resources for block in blocks.values()), Counter[str]())
    return Estimate(
        sum(luts.values()),
        round(sum(linear(coefficients.flip_flops, kind) for kind in blocks)),
        exact["block_rams"],
        exact["sprams"],
        exact["dsps"],
        exact["distributed_rams"],
        luts,
    )
