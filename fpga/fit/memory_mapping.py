"""Which memory cells Yosys maps a memory to, and how many of them.

The rules are those of ``memory_libmap``: every kind of cell is priced in every geometry that it
has, 128 points for a block RAM of an ECP5, half a point for every bit of a multiplexer behind
several of them, and so on; the cheapest wins, flip-flops at a point a bit among them. The cells
are those of Yosys' libraries for the family (``lattice/brams_16kd.txt``,
``lattice/lutrams_trellis.txt``, ``ice40/brams.txt``, ``ice40/spram.txt``).
"""

from dataclasses import dataclass

__all__ = ["CELLS", "Cell", "Mapped", "Memory", "map_memory"]


@dataclass(frozen=True)
class Cell:
    """A kind of memory cell, as Yosys' library describes it.

    Members
    -------
    resource : str
        What a report counts it as.
    style : str
        ``distributed``, ``block`` or ``huge``.
    cost : int
        Its price.
    address_bits : int
        Of the narrowest word.
    widths : tuple of int
        Bits of a word, narrowest first; each halves the number of words.
    byte : int
        Bits that are written together; 0: the word.
    write_width : int
        Index of the widest word in ``widths`` that can be written.
    reads : tuple of str
        ``sync``, ``async``: ways of reading; a cell that only answers at once serves both, with a
        register.
    one_port : bool
        Reads and writes share a port.
    """

    resource: str
    style: str
    cost: int
    address_bits: int
    widths: tuple[int, ...]
    byte: int = 0
    write_width: int = -1
    reads: tuple[str, ...] = ("sync",)
    one_port: bool = False


CELLS: dict[str, tuple[Cell, ...]] = {
    "ecp5": (
        Cell("distributed_rams", "distributed", 4, 4, (4,), reads=("async", "sync")),
        Cell("block_rams", "block", 128, 14, (1, 2, 4, 9, 18), byte=9),
        Cell("block_rams", "block", 128, 14, (1, 2, 4, 9, 18, 36), byte=9),
    ),
    "ice40": (
        Cell("block_rams", "block", 64, 11, (2, 4, 8, 16), write_width=2),
        Cell("block_rams", "block", 64, 11, (2, 4, 8, 16), byte=1),
        Cell("sprams", "huge", 2048, 14, (16,), byte=4, one_port=True),
    ),
}


@dataclass(frozen=True)
class Memory:
    """A memory with one write port and one read port.

    Members
    -------
    width, depth : int
        Bits of a word, words.
    chunk : int
        Bits that are written together; divides ``width``, or is the width.
    read : str
        ``sync``, or ``async`` where the answer comes in the cycle of the address.
    style : str
        ``auto``, or the kind of cell that it must be.
    used : tuple of (int, int)
        Bits [start, stop) that something reads; cells without any are taken out again. Empty: all.
    """

    width: int
    depth: int
    chunk: int
    read: str = "sync"
    style: str = "auto"
    used: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Mapped:
    """What a memory becomes.

    Members
    -------
    resource : str
        ``block_rams``, ``sprams``, ``distributed_rams``, or ``registers``.
    count : int
        Cells, or flip-flops.
    banks : int
        Cells behind one another in the address; behind them is a multiplexer of so many inputs.
    """

    resource: str
    count: int
    banks: int = 1


def map_memory(family: str, memory: Memory) -> Mapped:
    """What Yosys makes of a memory.

    Raises
    ------
    KeyError
        The family is not one of :data:`CELLS`.
    ValueError
        No cell of the family can be that memory.
    """
    best: Mapped | None = None
    least = 0
    if memory.style == "auto":
        best, least = Mapped("registers", memory.width * memory.depth), memory.width * memory.depth
    # of each style the cheapest, the first one where two cost the same; then of those
    chosen: dict[str, tuple[float, Mapped]] = {}
    for cell in CELLS[family]:
        # huge ones are never taken unless they are asked for
        if (
            memory.read not in cell.reads
            or memory.style not in ("auto", cell.style)
            or (memory.style == "auto" and cell.style == "huge")
        ):
            continue
        cost, mapped = _geometry(cell, memory)
        if cell.style not in chosen or cost < chosen[cell.style][0]:
            chosen[cell.style] = cost, mapped
    for cost, mapped in chosen.values():
        if best is None or cost < least:
            best, least = mapped, int(cost)
    if best is None:
        what = "single-port" if memory.style == "huge" else memory.style
        raise ValueError(f"family {family} has no large {what} memories")
    return best


def _geometry(cell: Cell, memory: Memory) -> tuple[float, Mapped]:
    """Cheapest geometry of a cell and its price."""
    found: tuple[float, Mapped] | None = None
    least = 0
    chunks = -(-memory.width // memory.chunk)
    # a port that reads and writes needs no port of its own
    emulation = 0 if cell.one_port else 1
    widest_written = cell.write_width % len(cell.widths)
    for base in range(len(cell.widths)):
        unit = min(base, widest_written)
        if unit != base and found is not None:
            break
        width = cell.widths[unit]
        together = width if cell.byte == 0 or cell.byte > width else cell.byte
        bits = sum(
            -(-min(memory.chunk, memory.width - at) // together) * together
            for at in range(0, memory.width, memory.chunk)
        )
        words = 1 << (cell.address_bits - base)
        banks = -(-memory.depth // words)
        count = -(-banks * bits // width)
        cost: float = cell.cost * count + 2 * emulation
        cost += 0.5 * (banks - 1) * memory.width
        if banks > 1:
            cost += 0.5 * banks * chunks
        if found is None or cost < least:
            kept = count if not memory.used else _kept(memory, together, bits, banks, width)
            found, least = (cost, Mapped(cell.resource, kept, banks)), int(cost)
    assert found is not None
    return found


def _kept(memory: Memory, together: int, bits: int, banks: int, width: int) -> int:
    """Cells with a bit that is read. Chunks are padded to what is written ``together``; a word is
    ``bits`` with them, and cells of ``width`` bits hold bank after bank."""
    chunk = -(-memory.chunk // together) * together
    places = {
        bit // memory.chunk * chunk + bit % memory.chunk
        for start, stop in memory.used
        for bit in range(start, stop)
    }
    return len({(bank * bits + place) // width for bank in range(banks) for place in places})
