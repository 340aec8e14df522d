"""Modules written by hand in Verilog: which body of each a target gets.

A body is a file ``MODULE.NAME.v`` of this folder, NAME the target that it was written for, or what
is particular about it. Amaranth's own simulator gets none of them: a component describes itself to
it. All do the same under the conditions that ``docs/decisions/bodies-of-memories.md`` lists.
"""

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["BODIES", "Target", "sources"]


class Target(enum.StrEnum):
    """Who reads the Verilog."""

    #: Any tool: what ``tritforge generate`` writes.
    PORTABLE = "portable"
    #: Native simulation by Verilator.
    VERILATOR = "verilator"
    #: Synthesis by Yosys for a family of FPGAs.
    ICE40 = "ice40"
    ECP5 = "ecp5"
    #: Mapping to a library of cells; memories are macros.
    CHIP = "chip"


#: Of every module the body that each target gets, in the order of :class:`Target`; None where
#: no module of the target's contains it.
BODIES: dict[str, dict[Target, str | None]] = {
    module: dict(zip(Target, bodies, strict=True))
    for module, bodies in {
        "accumulators": ("portable", "verilator", "ice40", "portable", "portable"),
        "accumulators_sum": ("portable", None, None, "ecp5", "portable"),
        "chunk_memory": ("portable", "layered", "portable", "portable", "layered"),
        "chunk_memory_storage": (None, "verilator", None, None, "chip"),
        "lookup_memory": ("portable", "portable", "ice40", "portable", "portable"),
    }.items()
}
#: What a module contains.
_INSIDE: Mapping[str, str] = {
    "accumulators": "accumulators_sum",
    "chunk_memory": "chunk_memory_storage",
}


def sources(modules: Iterable[str], target: Target) -> list[Path]:
    """Files with the bodies of modules, and of those inside them, for a target."""
    found = set()
    for module in modules:
        for one in (module, _INSIDE.get(module)):
            if one is not None and (body := BODIES[one][target]) is not None:
                found.add(Path(__file__).with_name(f"{one}.{body}.v"))
    return sorted(found)
