"""Memories of any size, composed of the macros of a technology or of registers."""

import math
from dataclasses import dataclass
from typing import Any

from tritforge.cost.band import Band, total
from tritforge.cost.technology import Macro, Technology

__all__ = ["MemoryCost", "Share", "macro_name", "memory_cost", "register_file"]

#: How much more area than the smallest composition the one with the least energy may take.
_AREA_SLACK = 1.05


@dataclass(frozen=True)
class Share:
    """A part of what an access costs: a figure, how often, and other figures in that number."""

    figure: str
    factors: tuple[str, ...]
    times: Band
    what: str
    energy: Band


@dataclass(frozen=True)
class MemoryCost:
    """One memory.

    Members
    -------
    width, depth : int
        Bits of a word, words.
    composition : str
        What it is made of.
    macro : Macro, optional
        Of what; None: of registers.
    columns : int
        Macros side by side.
    leaking : Band
        Macros, or bits, that leak, times the factor of a second port.
    read_shares, write_shares : tuple of Share
        What an access to a whole word consists of.
    leakage : Band
        mW.
    area : Band
        um2.
    """

    width: int
    depth: int
    composition: str
    macro: Macro | None
    columns: int
    leaking: Band
    read_shares: tuple[Share, ...]
    write_shares: tuple[Share, ...]
    leakage: Band
    area: Band

    @property
    def read(self) -> Band:
        """pJ of an access to a whole word."""
        return total(share.energy for share in self.read_shares)

    @property
    def write(self) -> Band:
        """pJ of an access to a whole word."""
        return total(share.energy for share in self.write_shares)

    def to_dict(self) -> dict[str, Any]:
        return {
            "width_bits": self.width,
            "depth": self.depth,
            "composition": self.composition,
            "read_pj": self.read.to_dict(),
            "write_pj": self.write.to_dict(),
            "leakage_mw": self.leakage.to_dict(),
            "area_um2": self.area.to_dict(),
        }


def macro_name(macro: Macro) -> str:
    """What a macro's figures are called."""
    return f"memories.{macro.words}x{macro.width}"


def register_file(technology: Technology, width: int, depth: int) -> MemoryCost:
    """A memory of registers or latches with a read and a write port that answers at once."""
    bits = width * depth

    def shares(figure: str) -> tuple[Share, ...]:
        return (Share(figure, (), Band.exact(width), "bits of a word", technology[figure] * width),)

    return MemoryCost(
        width,
        depth,
        "registers",
        None,
        1,
        Band.exact(bits),
        shares("register_file_read"),
        shares("register_file_write"),
        technology["register_file_leakage"] * bits,
        technology["register_file_area"] * bits,
    )


def memory_cost(
    technology: Technology, width: int, depth: int, *, two_port: bool, spread: bool = False
) -> MemoryCost:
    """A memory that is read at a clock edge.

    Macros of one kind stand side by side for the width and behind each other for the depth, of
    which one row is accessed; narrow words share a macro's word, all of which is accessed. Of all
    kinds the one with the least energy of a read is taken among those within 5 % of the least
    area. Small memories become registers where that takes less area.

    Parameters
    ----------
    width, depth : int
        Bits of a word, words.
    two_port : bool
        It is read and written in the same cycle.
    spread : bool
        Who uses a part of the word stands beside the macros that hold it, as elements do beside
        their trits; otherwise the whole word goes to one place.
    """
    made = [
        _composed(technology, macro, width, depth, two_port, spread) for macro in technology.macros
    ]
    least = min(one.area.typical for one in made)
    best = min(
        (one for one in made if one.area.typical <= _AREA_SLACK * least),
        key=lambda one: (one.read.typical, one.area.typical),
    )
    registers = register_file(technology, width, depth)
    return registers if registers.area.typical < best.area.typical else best


def _composed(
    technology: Technology, macro: Macro, width: int, depth: int, two_port: bool, spread: bool
) -> MemoryCost:
    """The memory, made of one kind of macro."""
    columns = -(-width // macro.width)
    packed = max(1, macro.width // width)  # narrow words share one of the macro
    rows = -(-depth // (macro.words * packed))
    count = columns * rows
    one = Band.exact(1.0)
    energy, size = (
        (technology["two_port_energy"], technology["two_port_area"]) if two_port else (one, one)
    )
    ports = ("two_port_energy",) if two_port else ()
    toggle = technology["toggle"]

    def shares(access: Band, name: str) -> tuple[Share, ...]:
        result = [
            Share(
                f"{macro_name(macro)}.{name}",
                ports,
                energy * columns,
                f"of {count} macros",
                access * energy * columns,
            )
        ]
        if count * packed > 1:
            # Data cross half of the square that the macros cover, or that one column of them
            # covers, and choices between the rows; a single macro has all that inside.
            square = macro.area * (rows if spread else count)
            length = Band(
                *(
                    math.sqrt(value) / 2 * 1e-3 if count > 1 else 0.0
                    for value in (square.low, square.typical, square.high)
                )
            )
            bits = toggle * energy * width
            result.append(
                Share(
                    "wire",
                    ("toggle", "area", *ports),
                    length * bits,
                    "mm of wires whose value changes",
                    technology["wire"] * length * bits,
                )
            )
            # The address goes to every macro: once along the square that all of them cover.
            whole = macro.area * count
            side = Band(
                *(
                    math.sqrt(value) * 1e-3 if count > 1 else 0.0
                    for value in (whole.low, whole.typical, whole.high)
                )
            )
            lines = toggle * energy * math.ceil(math.log2(max(2, depth)))
            result.append(
                Share(
                    "wire",
                    ("toggle", "area", *ports),
                    side * lines,
                    "mm of address wires whose value changes",
                    technology["wire"] * side * lines,
                )
            )
            if rows * packed > 1:
                choices = bits * math.log2(rows * packed)
                result.append(
                    Share(
                        "select_bit",
                        ("toggle", *ports),
                        choices,
                        "bits of choices between rows that change",
                        technology["select_bit"] * choices,
                    )
                )
        return tuple(result)

    text = f"{columns} x {rows} macros of {macro.words} x {macro.width} bits"
    return MemoryCost(
        width,
        depth,
        text + (", two ports" if two_port else ""),
        macro,
        columns,
        size * count,
        shares(macro.read, "read"),
        shares(macro.write, "write"),
        macro.leakage * size * count,
        macro.area * size * count,
    )
