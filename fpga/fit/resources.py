"""Resources of a chip: what they are called, and how much of them a design uses."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.fpga.platform.board import Resources

__all__ = ["EXACT", "NAMES", "RESOURCES", "Use", "uses"]

#: What is counted, by the names of a report.
RESOURCES = tuple(field.name for field in dataclasses.fields(Resources))
#: Resources as a sentence names them.
NAMES = {
    "luts": "LUTs",
    "flip_flops": "flip-flops",
    "block_rams": "block RAMs",
    "sprams": "single-port RAMs",
    "dsps": "multipliers",
    "distributed_rams": "16 x 4 bit RAMs",
}
#: Of these every design's number is known exactly.
EXACT = ("block_rams", "sprams", "dsps")


@dataclass(frozen=True)
class Use(JsonObject):
    """How much of a resource is used."""

    used: int
    available: int
    percent: float


def uses(counts: Mapping[str, int], has: Resources) -> dict[str, Use]:
    """Use of what a chip has, by the names of :data:`RESOURCES`."""
    available = dataclasses.asdict(has)
    return {
        name: Use(
            counts.get(name, 0),
            available[name],
            round(100 * counts.get(name, 0) / available[name], 1),
        )
        for name in RESOURCES
        if available[name]
    }
