"""The event model beside switching activity, block by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band, total
from tritforge.cost.netlist.activity import BlockActivity
from tritforge.cost.technology import Technology
from tritforge.cost.terms.term import Term

__all__ = ["BlockAgreement", "compare_blocks"]

#: Figures of what a block's cells and flip-flops do. Wires, the inside of memories, leakage and
#: the clocks of flip-flops without an enable are in one of both only, or the same number in both.
COMPARED = ("add_bit", "multiply_bit2", "select_bit", "register_bit", "cells.DFF.energy")


@dataclass(frozen=True)
class BlockAgreement(JsonObject):
    """pJ an image of a block, by events and by switching activity; ``ratio`` of their typical
    values (None where the netlist has nothing)."""

    block: str
    events_pj: Band
    activity_pj: Band
    ratio: float | None


def compare_blocks(
    terms: Sequence[Term],
    events: Sequence[Mapping[str, float]],
    blocks: Mapping[str, BlockActivity],
    images: int,
    technology: Technology,
) -> list[BlockAgreement]:
    """What an estimate and switching activity say of the same run, pJ an image.

    Of the estimate: parts of terms with a figure of :data:`COMPARED`, times events. Of the
    netlist: changes of cells, flip-flops and what memories drive, and the clocks that gated
    flip-flops need.

    Parameters
    ----------
    terms, events
        Of an estimate; the latter of each layer.
    blocks
        Of :class:`tritforge.cost.netlist.activity.SwitchingActivity`, of the same inputs.
    images : int
        That ``blocks`` are of.

    Returns
    -------
    A row per block and one, "all", for their sum.
    """
    clock = technology.cells["DFF"].clock_energy
    nothing = Band(0, 0, 0)
    counted: dict[str, Band] = {}
    for term in terms:
        count = sum(layer.get(term.event, 0) for layer in events)
        parts = total(part.energy for part in term.parts if part.figure in COMPARED)
        counted[term.block] = counted.get(term.block, nothing) + parts * count
    rows = []
    for name, block in sorted(blocks.items()):
        energy = block.energy_pj
        found = total(energy[part] for part in ("logic", "registers", "memory_outputs"))
        found = (found + clock * block.needed_clocks) / images
        rows.append(_row(name, counted.get(name, nothing), found))
    every = total(row.events_pj for row in rows), total(row.activity_pj for row in rows)
    return [*rows, _row("all", *every)]


def _row(name: str, events: Band, activity: Band) -> BlockAgreement:
    ratio = events.typical / activity.typical if activity.typical else None
    return BlockAgreement(name, events, activity, ratio)
