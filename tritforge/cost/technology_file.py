"""Reads technologies.

A technology is a TOML file, whole or ``based_on`` one that ships. ``[figures]`` holds single
figures, ``[cells]`` logic cells and ``[[memories]]`` memory macros; ``docs/estimate.md`` describes
the format. Every figure has a unit, a source and a band; a file that lacks one is refused.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.cost.figures import (
    CELL_FIELDS,
    CELL_KINDS,
    FIGURES,
    MACRO_FIELDS,
    MACRO_SIZES,
    RANGES,
    TAKEN,
    UNITS,
)
from tritforge.cost.technology import Cell, Figure, Macro, Technology

__all__ = ["TECHNOLOGIES", "load_macros", "load_technology"]

FORMAT = "tritforge technology 1"
_FOLDER = Path(__file__).with_name("technologies")
#: Names of the technologies that ship with the program.
TECHNOLOGIES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
#: Numbers of a file are not greater, nor, unless they are 0, less than its reciprocal.
_MOST = 1e15


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
    units = UNITS[dimension]
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
            next(iter(UNITS[dimension])),
            _source(values.get("source"), here),
        )
        band = figures[name].band
        if band.low <= 0:
            raise CostError(f"low of {here} is 0; it must be greater")
        least, most = RANGES.get(name, (0.0, math.inf))
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
    units = _units(values, CELL_FIELDS, here)
    source = _source(values.get("source"), here)
    _only(values, here, ("units", "source", *CELL_KINDS))
    cells: dict[str, Cell] = {}
    for kind in CELL_KINDS:
        if kind not in values:
            raise CostError(f"{where} lacks cell {kind}")
        one = _table(values[kind], where, f"cells.{kind}")
        name = f"cell {kind} of {where}"
        clocked = ("clock_energy",) if kind == "DFF" else ()
        _only(one, name, ("cell", "source", *CELL_FIELDS, *clocked))
        for field in ("cell", *CELL_FIELDS, *clocked):
            if field not in one:
                raise CostError(f"{name} lacks {field}")
        called = one["cell"]
        if not isinstance(called, str) or not re.fullmatch(r"[A-Za-z_]\w{0,99}", called, re.ASCII):
            raise CostError(f"{name} is called {called!r:.120}, which is no name of a cell")
        if called in TAKEN or called in [cell.cell for cell in cells.values()]:
            raise CostError(f"{name} is called {called}, as something else is")
        bands = {
            field: _triple(one[field], units[field], f"{field} of {name}") for field in CELL_FIELDS
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
        units = _units(values, MACRO_FIELDS, here)
        source = _source(values.get("source"), here)
        rows = values.get("macros")
        if not isinstance(rows, list) or not rows:
            raise CostError(f"{here} have no macros")
        for row in rows:
            row = _table(row, where, "memories.macros")
            name = f"memory {row.get('words')} x {row.get('width')} of {where}"
            _only(row, name, (*MACRO_SIZES, *MACRO_FIELDS))
            words, width = (
                _size(row.get(field), f"{field} of {name:.120}") for field in MACRO_SIZES
            )
            for field in MACRO_FIELDS:
                if field not in row:
                    raise CostError(f"{name} lacks {field}")
            bands = {
                field: _triple(row[field], units[field], f"{field} of {name}")
                for field in MACRO_FIELDS
            }
            if bands["area"].low <= 0:
                raise CostError(f"area of {name} is 0; it must be greater")
            if any((words, width) == (one.words, one.width) for one in macros):
                raise CostError(f"{name} is there twice")
            macros.append(Macro(words, width, source=source, **bands))
    return tuple(macros)
