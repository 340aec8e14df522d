"""Memories of any size, composed of the macros of a technology or of registers."""

import functools
import math
from dataclasses import dataclass
from typing import Any

from tritforge.cost.band import Band
from tritforge.cost.technology import Macro, Technology

__all__ = ["MemoryCost", "memory_cost", "register_file"]

#: How much more area than the smallest composition the one with the least energy may take.
_AREA_SLACK = 1.15


@dataclass(frozen=True)
class MemoryCost:
    """One memory.

    Members
    -------
    width, depth : int
        Bits of a word, words.
    composition : str
        What it is made of.
    read, write : Band
        pJ of an access to a whole word.
    leakage : Band
        mW.
    area : Band
        um2.
    """

    width: int
    depth: int
    composition: str
    read: Band
    write: Band
    leakage: Band
    area: Band

    def to_dict(self) -> dict[str, Any]:
        return {"width_bits": self.width, "depth": self.depth, "composition": self.composition,
                "read_pj": self.read.to_dict(), "write_pj": self.write.to_dict(),
                "leakage_mw": self.leakage.to_dict(), "area_um2": self.area.to_dict()}


def register_file(technology: Technology, width: int, depth: int) -> MemoryCost:
    """A memory of registers or latches with a read and a write port that answers at once."""
    bits = width * depth
    return MemoryCost(
        width, depth, "registers", technology["register_file_read"] * width,
        technology["register_file_write"] * width, technology["register_file_leakage"] * bits,
        technology["register_file_area"] * bits)


@functools.lru_cache(1024)
def _composed(macros: tuple[Macro, ...], wire: Band, toggle: Band, width: int,
              depth: int) -> tuple[tuple[int, int, Macro], Band, Band, Band, Band]:
    """The best composition, and its read, write, leakage and area."""
    candidates = []
    for macro in macros:
        columns, rows = -(-width // macro.width), -(-depth // macro.words)
        count = columns * rows
        area = macro.area * count
        # Data cross half of the square that the macros cover; a single macro has its wires inside.
        length = math.sqrt(area.typical) / 2 * 1e-3 if count > 1 else 0.0     # mm
        travel = wire * toggle * (width * length)
        candidates.append(((columns, rows, macro), macro.read * columns + travel,
                           macro.write * columns + travel, macro.leakage * count, area))
    least = min(one[4].typical for one in candidates)
    return min((one for one in candidates if one[4].typical <= _AREA_SLACK * least),
               key=lambda one: (one[1].typical, one[4].typical))


def memory_cost(technology: Technology, width: int, depth: int, *,
                two_port: bool) -> MemoryCost:
    """A memory that is read at a clock edge.

    Macros of one kind stand side by side for the width and behind each other for the depth, of
    which one row is accessed. Of all kinds the one with the least energy of a read is taken among
    those within 15 % of the least area. Small memories become registers where that takes less area.

    Parameters
    ----------
    width, depth : int
        Bits of a word, words.
    two_port : bool
        It is read and written in the same cycle.
    """
    chosen, read, write, leakage, area = _composed(
        technology.macros, technology["wire"], technology["toggle"], width, depth)
    columns, rows, macro = chosen
    if two_port:
        energy, size = technology["two_port_energy"], technology["two_port_area"]
        read, write, leakage, area = read * energy, write * energy, leakage * size, area * size
    registers = register_file(technology, width, depth)
    if registers.area.typical < area.typical:
        return registers
    text = f"{columns} x {rows} macros of {macro.words} x {macro.width} bits"
    return MemoryCost(width, depth, text + (", two ports" if two_port else ""), read, write,
                      leakage, area)
