"""The Yosys script of a build.

Hierarchical synthesis optimizes each module once and flattens afterwards: an array's elements and
clusters are one module each, so a large array takes a fraction of the time. Memories are left out
of it and mapped after flattening, where every instance has its own contents and the bits that
nothing reads are known. ``docs/build.md`` has what either way costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tritforge.fpga.link.core import CORE_NAME
from tritforge.fpga.platform.board_top import TOP
from tritforge.fpga.toolchain.preload import Contents

__all__ = ["BLOCKS", "SYNTHESES", "Synthesis", "script"]

#: Module of hw/chunk_memory.portable.v; its sizes are parameters, so its name is part of a longer
#: one.
_MEMORY = "*chunk_memory*"
#: Share of a clock period that logic between two flip-flops may take in a module by itself. Without
#: it each module is made as fast as it can be, for a quarter more lookup tables.
_LOGIC_SHARE = 0.6
#: Bits up to which sums are made of lookup tables alone. A carry chain's ends cost two cells of two
#: tables each on ECP5, and on iCE40 a carry whose sum nobody needs costs a table.
_SHORT_CARRY = 6
_LUT_SUMS = f"techmap t:$alu r:Y_WIDTH<={_SHORT_CARRY} %i"
#: File that gets the size of every module, where modules are kept apart.
BLOCKS = "blocks.json"


@dataclass(frozen=True)
class Synthesis:
    """Commands of a family.

    No used read of the design collides with a write, so no command keeps what a read would give
    that does; the simulation gives wrong data there.

    Members
    -------
    command : str
        Synthesis command and its options.
    first : str
        Label of ``command`` behind the reading of libraries.
    gates : tuple of str
        What is done in front of the label ``map_gates``.
    map_memories : tuple of str
        Maps memories to block RAM, and what is beside them to gates and flip-flops.
    map_luts : tuple of str
        Maps the gates of ``map_memories`` to the family's cells.
    hierarchical : bool
        Which way is the default.
    """

    command: str
    first: str
    gates: tuple[str, ...]
    map_memories: tuple[str, ...]
    map_luts: tuple[str, ...]
    hierarchical: bool


SYNTHESES = {
    "ice40": Synthesis(
        command="synth_ice40 -device u -dsp -spram -no-rw-check",
        first="flatten",
        gates=(_LUT_SUMS,),
        map_memories=(
            "memory_libmap -lib +/ice40/brams.txt -lib +/ice40/spram.txt",
            "techmap -map +/ice40/brams_map.v -map +/ice40/spram_map.v t:$__*",
            "ice40_braminit",
            "memory_map",
            "techmap t:$*",
            "dfflegalize -cell $_DFF_?_ 0 -cell $_DFFE_?P_ 0 -cell $_DFF_?P?_ 0 "
            "-cell $_DFFE_?P?P_ 0 -cell $_SDFF_?P?_ 0 -cell $_SDFFCE_?P?P_ 0 -mince -1",
            "techmap -map +/ice40/ff_map.v t:$_*",
        ),
        map_luts=("abc -lut 4 t:$_*", "techmap -map +/ice40/cells_map.v t:$lut"),
        hierarchical=False,
    ),
    "ecp5": Synthesis(
        command="synth_ecp5 -no-rw-check",
        first="coarse",
        gates=(_LUT_SUMS,),
        map_memories=(
            "memory_libmap -lib +/lattice/lutrams_trellis.txt -lib +/lattice/brams_16kd.txt",
            "techmap -map +/lattice/lutrams_map_trellis.v -map +/lattice/brams_map_16kd.v t:$__*",
            "memory_map",
            "techmap t:$*",
            "dfflegalize -cell $_DFF_?_ 01 -cell $_DFF_?P?_ r -cell $_SDFF_?P?_ r "
            "-cell $_DFFE_??_ 01 -cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r",
            "techmap -D NO_LUT -map +/lattice/cells_map_trellis.v t:$_*",
            # flip-flops beside memories: the packer knows no GSR=AUTO
            "lattice_gsr",
        ),
        map_luts=("abc -lut 4 t:$_*", "techmap -map +/lattice/cells_map_trellis.v t:$lut"),
        hierarchical=True,
    ),
}


def _fill(contents: Sequence[Contents]) -> list[str]:
    """Each memory's contents, which must be found exactly once in the flat design."""
    lines = []
    for one in contents:
        where = f"t:$mem_v2 c:{one.cells} %i"
        lines += [
            f"select -assert-count 1 {where}",
            f"select -assert-count 1 {where} r:WIDTH={one.width} %i r:SIZE={one.depth} %i",
            f"setparam -set INIT {one.constant} {where}",
        ]
    return lines


def script(
    family: str,
    clock_hz: float,
    contents: Sequence[Contents] = (),
    hierarchical: bool | None = None,
) -> str:
    """Commands that read ``board_core.v`` and ``top.il`` and write ``top.json``.

    ``hierarchical`` is the family's default where it is None.
    """
    chosen = SYNTHESES[family]
    if hierarchical is None:
        hierarchical = chosen.hierarchical
    command = f"{chosen.command} -top {TOP}"
    lines = [
        f"scratchpad -set abc9.D {round(_LOGIC_SHARE * 1e12 / clock_hz)}",
        f"read_verilog {CORE_NAME}.v",
        f"read_rtlil {TOP}.il",
        f"{command} -noflatten -run begin:{chosen.first}",
    ]
    collect = [
        f"{step} {_MEMORY}"
        for step in ("proc", "opt -full -nodffe -nosdff", "memory -nomap -no-rw-check")
    ]
    if hierarchical:
        lines += [
            "design -save source",
            f"blackbox {_MEMORY}",
            f"{command} -noflatten -run {chosen.first}:map_gates",
            *chosen.gates,
            f"{command} -noflatten -run map_gates:",
            f"tee -q -o {BLOCKS} stat -json",
            f"delete {_MEMORY}",
            f"design -copy-from source {_MEMORY}",
            *collect,
            "flatten",
            "opt_clean",
            *_fill(contents),
            "memory -nomap -no-rw-check",
            "opt_clean",
            *chosen.map_memories,
            "opt_clean",
            *chosen.map_luts,
            "opt_clean",
            "autoname",
            "hierarchy -check",
            "check -noinit",
            "blackbox =A:whitebox",
        ]
    else:
        lines += [
            "proc",
            *collect,
            "flatten",
            *_fill(contents),
            f"{command} -run {chosen.first}:map_gates",
            *chosen.gates,
            f"{command} -run map_gates:",
        ]
    return "\n".join([*lines, f"write_json {TOP}.json", ""])
