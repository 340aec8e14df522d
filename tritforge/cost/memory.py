"""Memories of any size, composed of the macros of a technology or of registers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band, square_side, total
from tritforge.cost.technology import Macro, Technology

__all__ = ["MemoryCost", "MemoryReport", "Share", "macro_name", "memory_cost", "register_file"]

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

    def report(self) -> "MemoryReport":
        return MemoryReport(
            self.width,
            self.depth,
            self.composition,
            self.read,
            self.write,
            self.leakage,
            self.area,
        )


@dataclass(frozen=True)
class MemoryReport(JsonObject):
    """What an estimate says of one memory; a read and a write are of a whole word."""

    width_bits: int
    depth: int
    composition: str
    read_pj: Band
    write_pj: Band
    leakage_mw: Band
    area_um2: Band


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
        _Composition(technology, macro, width, depth, two_port, spread).cost()
        for macro in technology.macros
    ]
    least = min(one.area.typical for one in made)
    best = min(
        (one for one in made if one.area.typical <= _AREA_SLACK * least),
        key=lambda one: (one.read.typical, one.area.typical),
    )
    registers = register_file(technology, width, depth)
    return registers if registers.area.typical < best.area.typical else best


@dataclass(frozen=True)
class _Composition:
    """A memory, made of one kind of macro.

    Members
    -------
    packed : int
        Narrow words that share a word of the macro.
    columns, rows : int
        Macros side by side, and behind each other.
    """

    technology: Technology
    macro: Macro
    width: int
    depth: int
    two_port: bool
    spread: bool

    @property
    def packed(self) -> int:
        return max(1, self.macro.width // self.width)

    @property
    def columns(self) -> int:
        return -(-self.width // self.macro.width)

    @property
    def rows(self) -> int:
        return -(-self.depth // (self.macro.words * self.packed))

    @property
    def count(self) -> int:
        return self.columns * self.rows

    @property
    def ports(self) -> tuple[str, ...]:
        """Figures of a second port in the energy of an access."""
        return ("two_port_energy",) if self.two_port else ()

    def times(self, figure: str) -> Band:
        """A figure of a second port, or 1 where there is none."""
        return self.technology[figure] if self.two_port else Band.exact(1.0)

    def cost(self) -> MemoryCost:
        macro, size = self.macro, self.times("two_port_area")
        text = f"{self.columns} x {self.rows} macros of {macro.words} x {macro.width} bits"
        return MemoryCost(
            self.width,
            self.depth,
            text + (", two ports" if self.two_port else ""),
            macro,
            self.columns,
            size * self.count,
            self.access("read", macro.read),
            self.access("write", macro.write),
            macro.leakage * size * self.count,
            macro.area * size * self.count,
        )

    def access(self, name: str, energy: Band) -> tuple[Share, ...]:
        """The macros of a row, and what brings data and address to them; a single macro has all
        that inside."""
        times = self.times("two_port_energy")
        macros = Share(
            f"{macro_name(self.macro)}.{name}",
            self.ports,
            times * self.columns,
            f"of {self.count} macros",
            energy * times * self.columns,
        )
        if self.count * self.packed == 1:
            return (macros,)
        changing = self.technology["toggle"] * times
        bits = changing * self.width
        return (
            macros,
            self.data_wires(bits),
            self.address_wires(changing),
            *self.choices(bits),
        )

    def data_wires(self, bits: Band) -> Share:
        """Data cross half of the square that the macros cover, or that one column of them
        covers."""
        length = self.side(self.rows if self.spread else self.count) / 2
        return self.wires(length, bits, "mm of wires whose value changes")

    def address_wires(self, changing: Band) -> Share:
        """The address goes to every macro: once along the square that all of them cover."""
        lines = changing * math.ceil(math.log2(max(2, self.depth)))
        return self.wires(self.side(self.count), lines, "mm of address wires whose value changes")

    def choices(self, bits: Band) -> Iterator[Share]:
        """Between rows, and between words that share one of the macro."""
        if self.rows * self.packed == 1:
            return
        times = bits * math.log2(self.rows * self.packed)
        yield Share(
            "select_bit",
            ("toggle", *self.ports),
            times,
            "bits of choices between rows that change",
            self.technology["select_bit"] * times,
        )

    def side(self, macros: int) -> Band:
        """mm of a side of the square that so many macros cover; nothing where there is one in
        all."""
        if self.count == 1:
            return Band.exact(0.0)
        return square_side(self.macro.area * macros)

    def wires(self, length: Band, bits: Band, what: str) -> Share:
        return Share(
            "wire",
            ("toggle", "area", *self.ports),
            length * bits,
            what,
            self.technology["wire"] * length * bits,
        )
