"""Technologies: what one bit of one event costs in energy and area, each figure with its source.

A technology is a TOML file, whole or ``based_on`` one that ships. ``[figures]`` holds single
figures, ``[cells]`` logic cells and ``[[memories]]`` memory macros; ``docs/estimate.md`` describes
the format. Every figure has a unit, a source and a band; a file that lacks one is refused.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.hw.bodies import BODIES

__all__ = [
    "CELL_KINDS",
    "FIGURES",
    "TAKEN",
    "TECHNOLOGIES",
    "Cell",
    "CellReport",
    "Figure",
    "FigureReport",
    "Macro",
    "MacroReport",
    "Technology",
    "TechnologyReport",
    "load_macros",
    "load_technology",
]

FORMAT = "tritforge technology 1"
_FOLDER = Path(__file__).with_name("technologies")
#: Names of the technologies that ship with the program.
TECHNOLOGIES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))

#: Numbers of a file are not greater, nor, unless they are 0, less than its reciprocal.
_MOST = 1e15
#: Units of a file, by dimension, and what one of them is in the unit that everything is computed
#: in (the first of each).
_UNITS: dict[str, dict[str, float]] = {
    "energy": {"pJ": 1.0, "fJ": 1e-3, "nJ": 1e3},
    "energy per length": {"pJ/mm": 1.0, "fJ/mm": 1e-3, "fJ/um": 1.0},
    "power": {"mW": 1.0, "uW": 1e-3, "nW": 1e-6},
    "power per area": {
        "mW/um2": 1.0,
        "uW/um2": 1e-3,
        "nW/um2": 1e-6,
        "uW/mm2": 1e-9,
        "mW/mm2": 1e-6,
    },
    "area": {"um2": 1.0, "mm2": 1e6},
    "length": {"nm": 1.0, "um": 1e3},
    "frequency": {"MHz": 1.0, "GHz": 1e3, "kHz": 1e-3},
    "voltage": {"V": 1.0, "mV": 1e-3},
    "capacitance": {"fF": 1.0, "pF": 1e3},
    "share": {"1": 1.0, "%": 0.01},
}

#: Figures that every technology has: dimension, and what it is.
FIGURES: dict[str, tuple[str, str]] = {
    "node": ("length", "feature size by which the technology is known"),
    "voltage": ("voltage", "supply"),
    "clock": (
        "frequency",
        "clock where the user says no other; it decides how long there is leakage, nothing else",
    ),
    "add_bit": ("energy", "one bit of an addition"),
    "multiply_bit2": ("energy", "a multiplication, divided by the product of both factors' bits"),
    "select_bit": ("energy", "one bit of a choice between two values whose output changes"),
    "register_bit": (
        "energy",
        "one bit of a flip-flop that is clocked because it is written, its clock included",
    ),
    "clock_bit": (
        "energy",
        "one flip-flop in a cycle in which it is clocked and keeps its value, "
        "with its share of the clock network",
    ),
    "register_file_read": ("energy", "one bit read from a small memory of registers or latches"),
    "register_file_write": ("energy", "one bit written to such a memory"),
    "register_file_area": ("area", "one bit of such a memory, addressing included"),
    "register_file_leakage": ("power", "one bit of such a memory"),
    "wire": ("energy per length", "a wire with its repeaters, per change of its value"),
    "toggle": ("share", "share of the bits of a word that differ from the word before"),
    "logic_leakage": ("power per area", "cells, by their area"),
    "placement": ("share", "area of a block's cells over the area that it is placed in"),
    "two_port_area": (
        "share",
        "area of a memory with a read and a write port over one with a single port",
    ),
    "two_port_energy": ("share", "energy of an access to it over one with a single port"),
    "off_chip": ("energy", "one bit to or from memory outside the chip"),
}

#: Least and greatest value of figures that could not be otherwise.
_RANGES = {
    "placement": (0.0, 1.0),
    "toggle": (0.0, 1.0),
    "two_port_area": (1.0, math.inf),
    "two_port_energy": (1.0, math.inf),
}
#: Names of cells that the design's own modules have.
TAKEN = ("accelerator", "cluster", "processing_element", *BODIES)

#: Kinds of logic cells: input pins, and the output's function in Liberty's words. Of a flip-flop
#: the pins are clock and data.
CELL_KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "INV": (("A",), "A'"),
    "BUF": (("A",), "A"),
    "NAND2": (("A", "B"), "(A*B)'"),
    "NAND3": (("A", "B", "C"), "(A*B*C)'"),
    "NOR2": (("A", "B"), "(A+B)'"),
    "AND2": (("A", "B"), "A*B"),
    "OR2": (("A", "B"), "A+B"),
    "XOR2": (("A", "B"), "(A*B')+(A'*B)"),
    "XNOR2": (("A", "B"), "(A*B)+(A'*B')"),
    "AOI21": (("A", "B", "C"), "((A*B)+C)'"),
    "OAI21": (("A", "B", "C"), "((A+B)*C)'"),
    "MUX2": (("A", "B", "S"), "(A*S')+(B*S)"),
    "DFF": (("CK", "D"), "IQ"),
}
_CELL_FIELDS = {
    "area": "area",
    "leakage": "power",
    "energy": "energy",
    "capacitance": "capacitance",
}
_SIZES = ("words", "width")
_MACRO_FIELDS = {"read": "energy", "write": "energy", "leakage": "power", "area": "area"}


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
        Of :data:`CELL_KINDS`.
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
        All of :data:`FIGURES`.
    cells : dict[str, Cell]
        All of :data:`CELL_KINDS`.
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


def load_technology(name: str) -> Technology:
    """A technology that ships with the program, by name, or one from a TOML file (``*.toml``).

    Raises
    ------
    CostError
        Unknown name; unreadable file; a figure is missing or unknown, has no source, a unit that is
        not one of its dimension, or low, typical and high not in rising order.
    """
    if name in TECHNOLOGIES:
        path = _FOLDER / f"{name}.toml"
    else:
        path = Path(name)
        if path.suffix != ".toml":
            raise CostError(
                f"technology {name!r} is neither one that ships with tritforge "
                f"({', '.join(TECHNOLOGIES)}) nor a .toml file"
            )
    where = f"technology file {path.name if name in TECHNOLOGIES else name}"
    values = _toml(path, where)
    if (base := values.pop("based_on", None)) is not None:
        values = _based(values, base, where)
    _only(values, where, ("format", "title", "figures", "cells", "memories"))
    if values.get("format") != FORMAT:
        raise CostError(f"{where} does not begin with format = {FORMAT!r}")
    title = values.get("title")
    if not isinstance(title, str) or not title or not title.isprintable():
        raise CostError(f"{where} has no title of printable characters")
    return Technology(
        path.stem,
        title,
        _figures(values.get("figures"), where),
        _cells(values.get("cells"), where),
        _macros(values.get("memories"), where),
        where,
    )


def load_macros(path: Path) -> tuple[Macro, ...]:
    """Memory macros from a TOML file that holds ``memories`` alone, as a technology file does.

    Raises
    ------
    CostError
        As :func:`load_technology`.
    """
    where = f"memory table {path}"
    values = _toml(path, where)
    _only(values, where, ("memories",))
    return _macros(values.get("memories"), where)


# ----- reading


def _toml(path: Path, where: str) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CostError(f"{where} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CostError(f"{where} is not TOML: {error}") from error


def _based(values: dict[str, object], base: object, where: str) -> dict[str, object]:
    """What a file says, and for all it does not say what the technology says that it names."""
    if base not in TECHNOLOGIES:
        raise CostError(
            f"{where} is based on {base!r}; it must be one of {', '.join(TECHNOLOGIES)}"
        )
    whole = _toml(_FOLDER / f"{base}.toml", f"technology file {base}.toml")
    merged = whole | values
    for table in ("figures", "cells"):
        own = values.get(table, {})
        if isinstance(own, dict):
            merged[table] = _table(whole[table], where, f"[{table}]") | own
    return merged


def _only(values: Mapping[str, object], where: str, known: tuple[str, ...]) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = ", ".join(name if name.isprintable() else repr(name) for name in unknown)
        raise CostError(f"{where} has unknown entries {names}; known are {', '.join(known)}")


def _table(value: object, where: str, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise CostError(f"{where} has no table {what}")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CostError(f"{where} is {value!r}, not a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise CostError(f"{where} is {value}, not a finite number")
    if abs(value) > _MOST or 0 < abs(value) < 1 / _MOST:
        raise CostError(f"{where} is out of all proportion")
    return float(value)


def _size(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 40:
        raise CostError(f"{where} is {value!r:.40}; it must be an integer of at least 1")
    return value


def _source(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise CostError(f"{where} has no source")
    if not " ".join(value.split()).isprintable():
        raise CostError(f"{where} has a source with characters that cannot be printed")
    return " ".join(value.split())


def _factor(unit: object, dimension: str, where: str) -> float:
    units = _UNITS[dimension]
    if not isinstance(unit, str) or unit not in units:
        raise CostError(f"{where} has unit {unit!r}; it must be one of {', '.join(units)}")
    return units[unit]


def _band(low: object, typical: object, high: object, factor: float, where: str) -> Band:
    values = [
        _number(value, f"{name} of {where}") * factor
        for name, value in (("low", low), ("typical", typical), ("high", high))
    ]
    try:
        return Band(*values)
    except CostError as error:
        raise CostError(f"{where}: {error}") from error


def _figures(tables: object, where: str) -> dict[str, Figure]:
    tables = _table(tables, where, "[figures]")
    _only(tables, f"[figures] of {where}", tuple(FIGURES))
    figures = {}
    for name, (dimension, what) in FIGURES.items():
        if name not in tables:
            raise CostError(f"{where} lacks figure {name} ({what})")
        here = f"figure {name} of {where}"
        values = _table(tables[name], where, f"figures.{name}")
        _only(values, here, ("low", "typical", "high", "unit", "source"))
        for field in ("low", "typical", "high", "unit"):
            if field not in values:
                raise CostError(f"{here} lacks {field}")
        factor = _factor(values["unit"], dimension, here)
        figures[name] = Figure(
            name,
            _band(values["low"], values["typical"], values["high"], factor, here),
            next(iter(_UNITS[dimension])),
            _source(values.get("source"), here),
        )
        band = figures[name].band
        if band.low <= 0:
            raise CostError(f"low of {here} is 0; it must be greater")
        least, most = _RANGES.get(name, (0.0, math.inf))
        if not least <= band.low <= band.high <= most:
            raise CostError(
                f"{here} is {band.low:g} to {band.high:g}; it must be "
                f"{f'at most {most:g}' if most < math.inf else f'at least {least:g}'}"
            )
    return figures


def _units(values: Mapping[str, object], fields: Mapping[str, str], where: str) -> dict[str, float]:
    units = _table(values.get("units"), where, "units")
    _only(units, f"units of {where}", tuple(fields))
    for field in fields:
        if field not in units:
            raise CostError(f"units of {where} lack {field}")
    return {
        field: _factor(units[field], dimension, f"{field} of {where}")
        for field, dimension in fields.items()
    }


def _triple(value: object, factor: float, where: str) -> Band:
    """A number, or [low, typical, high]."""
    if isinstance(value, list):
        if len(value) != 3:
            raise CostError(f"{where} has {len(value)} values, not low, typical and high")
        low, typical, high = value
        return _band(low, typical, high, factor, where)
    return _band(value, value, value, factor, where)


def _cells(values: object, where: str) -> dict[str, Cell]:
    values = _table(values, where, "[cells]")
    here = f"[cells] of {where}"
    units = _units(values, _CELL_FIELDS, here)
    source = _source(values.get("source"), here)
    _only(values, here, ("units", "source", *CELL_KINDS))
    cells: dict[str, Cell] = {}
    for kind in CELL_KINDS:
        if kind not in values:
            raise CostError(f"{where} lacks cell {kind}")
        one = _table(values[kind], where, f"cells.{kind}")
        name = f"cell {kind} of {where}"
        clocked = ("clock_energy",) if kind == "DFF" else ()
        _only(one, name, ("cell", "source", *_CELL_FIELDS, *clocked))
        for field in ("cell", *_CELL_FIELDS, *clocked):
            if field not in one:
                raise CostError(f"{name} lacks {field}")
        called = one["cell"]
        if not isinstance(called, str) or not re.fullmatch(r"[A-Za-z_]\w{0,99}", called, re.ASCII):
            raise CostError(f"{name} is called {called!r:.120}, which is no name of a cell")
        if called in TAKEN or called in [cell.cell for cell in cells.values()]:
            raise CostError(f"{name} is called {called}, as something else is")
        bands = {
            field: _triple(one[field], units[field], f"{field} of {name}") for field in _CELL_FIELDS
        }
        if bands["area"].low <= 0:
            raise CostError(f"area of {name} is 0; it must be greater")
        cells[kind] = Cell(
            kind,
            called,
            clock_energy=_triple(
                one.get("clock_energy", 0), units["energy"], f"clock_energy of {name}"
            ),
            source=_source(one.get("source", source), name),
            **bands,
        )
    return cells


def _macros(tables: object, where: str) -> tuple[Macro, ...]:
    if not isinstance(tables, list) or not tables:
        raise CostError(f"{where} has no memories")
    macros: list[Macro] = []
    for values in tables:
        values = _table(values, where, "[[memories]]")
        here = f"[[memories]] of {where}"
        _only(values, here, ("units", "source", "macros"))
        units = _units(values, _MACRO_FIELDS, here)
        source = _source(values.get("source"), here)
        rows = values.get("macros")
        if not isinstance(rows, list) or not rows:
            raise CostError(f"{here} have no macros")
        for row in rows:
            row = _table(row, where, "memories.macros")
            name = f"memory {row.get('words')} x {row.get('width')} of {where}"
            _only(row, name, (*_SIZES, *_MACRO_FIELDS))
            words, width = (_size(row.get(field), f"{field} of {name:.120}") for field in _SIZES)
            for field in _MACRO_FIELDS:
                if field not in row:
                    raise CostError(f"{name} lacks {field}")
            bands = {
                field: _triple(row[field], units[field], f"{field} of {name}")
                for field in _MACRO_FIELDS
            }
            if bands["area"].low <= 0:
                raise CostError(f"area of {name} is 0; it must be greater")
            if any((words, width) == (one.words, one.width) for one in macros):
                raise CostError(f"{name} is there twice")
            macros.append(Macro(words, width, source=source, **bands))
    return tuple(macros)
