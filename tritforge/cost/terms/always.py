"""Terms of what time costs: clock and leakage, block by block."""

from collections.abc import Iterator

from tritforge.cost.area import BlockArea, MemoryArea
from tritforge.cost.band import Band
from tritforge.cost.memory import macro_name
from tritforge.cost.technology import Technology
from tritforge.cost.terms.prices import Prices
from tritforge.cost.terms.term import Part, Term, term

__all__ = ["clock_and_leakage"]


def clock_and_leakage(prices: Prices, clock: float | None) -> Iterator[Term]:
    """``clock`` in MHz; the technology's where it is None."""
    technology = prices.technology
    period = technology["clock"]
    microseconds = (
        Band(1 / period.high, 1 / period.typical, 1 / period.low)
        if clock is None
        else Band.exact(1 / clock)
    )
    slow = ("clock",) if clock is None else ()
    for block in prices.area.blocks:
        if block.flip_flops:
            flip_flops = prices.part("clock_bit", block.flip_flops, "flip-flops")
            yield term("clock", block.name, "cycles", "flip-flops without an enable", (flip_flops,))
        parts = (
            _cells(block, technology, microseconds, slow),
            *(_memory(one, microseconds, slow) for one in block.memories),
        )
        yield term("leakage", block.name, "cycles", "all cells and memories", parts)


def _cells(
    block: BlockArea, technology: Technology, microseconds: Band, slow: tuple[str, ...]
) -> Part:
    """A cell leaks whatever space placement leaves around it."""
    leaking = technology["logic_leakage"] * block.cells
    return Part(
        "logic_leakage",
        ("area", *slow),
        block.cells * microseconds * 1e3,
        "um2 of cells, times 1000 microseconds a cycle",
        leaking * microseconds * 1e3,
    )


def _memory(one: MemoryArea, microseconds: Band, slow: tuple[str, ...]) -> Part:
    macro = one.cost.macro
    return Part(
        "register_file_leakage" if macro is None else f"{macro_name(macro)}.leakage",
        (*slow, *(("two_port_area",) if "two ports" in one.cost.composition else ())),
        microseconds * one.cost.leaking * (1e3 * one.memory.count),
        f"{one.memory.name}: {'bits' if macro is None else 'macros'} of "
        f"{one.memory.count} memories, times 1000 microseconds a cycle",
        one.leakage * microseconds * 1e3,
    )
