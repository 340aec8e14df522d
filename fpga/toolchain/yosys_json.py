"""Netlists as Yosys writes them to JSON, as far as anything here reads them."""

from pathlib import Path
from typing import TypedDict, cast

from tritforge.common.json_types import parse

__all__ = ["Bit", "Cell", "Module", "Net", "Port", "read_modules"]

#: A net by its number, or a constant: "0", "1", "x" or "z".
Bit = int | str


class Port(TypedDict):
    """A port of a module."""

    direction: str
    bits: list[Bit]


class Cell(TypedDict):
    """An instance of a cell or of another module; parameters are binary digits or numbers."""

    type: str
    parameters: dict[str, str]
    port_directions: dict[str, str]
    connections: dict[str, list[Bit]]


class Net(TypedDict):
    """A net that has a name."""

    bits: list[Bit]
    attributes: dict[str, str]


class Module(TypedDict):
    """A module."""

    ports: dict[str, Port]
    cells: dict[str, Cell]
    netnames: dict[str, Net]


def read_modules(path: Path) -> dict[str, Module]:
    """Modules of a file by name. Only the outermost shape is checked, as netlists are long: who
    reads on must expect a KeyError, TypeError or AttributeError of a file that Yosys did not write.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or has no modules.
    """
    document = parse(path.read_bytes())
    modules = document.get("modules") if isinstance(document, dict) else None
    if not isinstance(modules, dict):
        raise ValueError(f"{path} has no modules")
    return cast(dict[str, Module], modules)
