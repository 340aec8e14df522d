"""Technologies: what one bit of one event costs in energy and area, each figure with its source.

:mod:`tritforge.cost.technology_file` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band

__all__ = [
    "Cell",
    "CellReport",
    "Figure",
    "FigureReport",
    "Macro",
    "MacroReport",
    "Technology",
    "TechnologyReport",
]


@dataclass(frozen=True)
class Figure:
    """A figure as the file has it, converted to the unit of computation.

    Members
    -------
    name : str
    band : Band
    unit : str
        pJ, pJ/mm, mW, mW/um2, um2, nm, MHz, V, fF or 1.
    source : str
        Where it was published, or how it follows from what was.
    """

    name: str
    band: Band
    unit: str
    source: str

    def report(self) -> "FigureReport":
        band = self.band
        return FigureReport(band.low, band.typical, band.high, self.unit, self.source)


@dataclass(frozen=True)
class Cell:
    """A logic cell.

    Members
    -------
    kind : str
        Of :data:`tritforge.cost.figures.CELL_KINDS`.
    cell : str
        What the library calls it.
    area : Band
        um2.
    leakage : Band
        mW.
    energy : Band
        pJ inside the cell when its output changes, mean of rise and fall.
    clock_energy : Band
        pJ inside a flip-flop in a clock cycle, both edges; zero for other cells.
    capacitance : Band
        fF of an input.
    source : str
    """

    kind: str
    cell: str
    area: Band
    leakage: Band
    energy: Band
    clock_energy: Band
    capacitance: Band
    source: str

    def report(self) -> "CellReport":
        return CellReport(
            self.cell,
            self.area,
            self.leakage,
            self.energy,
            self.clock_energy,
            self.capacitance,
            self.source,
        )


@dataclass(frozen=True)
class Macro:
    """A memory macro with one port.

    Members
    -------
    words, width : int
        Words, and bits of one.
    read, write : Band
        pJ of an access to a whole word.
    leakage : Band
        mW.
    area : Band
        um2.
    source : str
    """

    words: int
    width: int
    read: Band
    write: Band
    leakage: Band
    area: Band
    source: str

    @property
    def bits(self) -> int:
        return self.words * self.width

    def report(self) -> "MacroReport":
        return MacroReport(
            self.words,
            self.width,
            self.read,
            self.write,
            self.leakage,
            self.area,
            self.source,
        )


@dataclass(frozen=True)
class Technology:
    """Figures of one process.

    Members
    -------
    name, title : str
    figures : dict[str, Figure]
        All of :data:`tritforge.cost.figures.FIGURES`.
    cells : dict[str, Cell]
        All of :data:`tritforge.cost.figures.CELL_KINDS`.
    macros : tuple of Macro
    where : str
        The file, as the user said it.
    """

    name: str
    title: str
    figures: Mapping[str, Figure]
    cells: Mapping[str, Cell]
    macros: tuple[Macro, ...]
    where: str

    def __getitem__(self, name: str) -> Band:
        """Band of a figure, in the unit that :class:`Figure` states."""
        return self.figures[name].band

    def placed(self, cells: Band) -> Band:
        """um2 that cells take with the space between them; the densest placement is the
        smallest."""
        share = self["placement"]
        return Band(cells.low / share.high, cells.typical / share.typical, cells.high / share.low)

    def report(self) -> "TechnologyReport":
        """All figures with units and sources."""
        return TechnologyReport(
            self.name,
            self.title,
            self.where,
            {name: figure.report() for name, figure in self.figures.items()},
            {kind: cell.report() for kind, cell in self.cells.items()},
            tuple(macro.report() for macro in self.macros),
        )


@dataclass(frozen=True)
class FigureReport(JsonObject):
    """A figure, as :class:`Figure`."""

    low: float
    typical: float
    high: float
    unit: str
    source: str


@dataclass(frozen=True)
class CellReport(JsonObject):
    """A logic cell, as :class:`Cell`."""

    cell: str
    area_um2: Band
    leakage_mw: Band
    energy_pj: Band
    clock_energy_pj: Band
    capacitance_ff: Band
    source: str


@dataclass(frozen=True)
class MacroReport(JsonObject):
    """A memory macro, as :class:`Macro`."""

    words: int
    width_bits: int
    read_pj: Band
    write_pj: Band
    leakage_mw: Band
    area_um2: Band
    source: str


@dataclass(frozen=True)
class TechnologyReport(JsonObject):
    """What an estimate says of its technology; ``file`` is where it is from."""

    name: str
    title: str
    file: str
    figures: Mapping[str, FigureReport]
    cells: Mapping[str, CellReport]
    memories: tuple[MacroReport, ...]
