"""The event model beside switching activity, block by block."""

from collections.abc import Mapping
from typing import Any

from tritforge.cost.band import Band, total
from tritforge.cost.technology import Technology

__all__ = ["compare_blocks"]

#: Figures of what a block's cells and flip-flops do. Wires, the inside of memories, leakage and
#: the clocks of flip-flops without an enable are in one of both only, or the same number in both.
COMPARED = ("add_bit", "multiply_bit2", "select_bit", "register_bit", "cells.DFF.energy")


def compare_blocks(
    document: Mapping[str, Any], activity: Mapping[str, Any], technology: Technology
) -> list[dict[str, Any]]:
    """What an estimate and switching activity say of the same run, pJ an image.

    Of the estimate: parts of terms with a figure of :data:`COMPARED`, times events. Of the
    netlist: changes of cells, flip-flops and what memories drive, and the clocks that gated
    flip-flops need.

    Parameters
    ----------
    document
        As :func:`tritforge.cost.estimate.estimate` gives it.
    activity
        As :func:`tritforge.cost.netlist.activity.switching_activity` gives it, of the same inputs.

    Returns
    -------
    A row per block and one, "all", for their sum: ``events_pj``, ``activity_pj``, ``ratio`` of
    their typical values (None where the netlist has nothing).
    """
    images = activity["images"]
    clock = technology.cells["DFF"].clock_energy
    events: dict[str, Band] = {}
    for term in document["terms"]:
        count = sum(layer["events"].get(term["event"], 0) for layer in document["layers"])
        parts = total(_band(part["pj"]) for part in term["parts"] if part["figure"] in COMPARED)
        events[term["block"]] = events.get(term["block"], Band(0, 0, 0)) + parts * count
    rows = []
    for name, block in sorted(activity["blocks"].items()):
        energy = block["energy_pj"]
        found = total(_band(energy[part]) for part in ("logic", "registers", "memory_outputs"))
        found = (found + clock * block["needed_clocks"]) / images
        rows.append(_row(name, events.get(name, Band(0, 0, 0)), found))
    rows.append(
        _row(
            "all",
            total(_band(row["events_pj"]) for row in rows),
            total(_band(row["activity_pj"]) for row in rows),
        )
    )
    return rows


def _band(values: Mapping[str, float]) -> Band:
    return Band(values["low"], values["typical"], values["high"])


def _row(name: str, events: Band, activity: Band) -> dict[str, Any]:
    return {
        "block": name,
        "events_pj": events.to_json(),
        "activity_pj": activity.to_json(),
        "ratio": events.typical / activity.typical if activity.typical else None,
    }
