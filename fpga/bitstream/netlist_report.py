"""What a synthesized design consists of, block by block, and where its slowest path runs."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tritforge.common.json_types import JsonObject, named, parse
from tritforge.fpga.bitstream.report import BlockCells, CriticalPath, Step, Timing
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit.resources import RESOURCES
from tritforge.fpga.platform.board_top import INSTANCE, TOP
from tritforge.fpga.toolchain.preload import Contents
from tritforge.fpga.toolchain.yosys_json import Cell, read_modules

__all__ = [
    "CELLS",
    "Placed",
    "block_of",
    "blocks",
    "check_contents",
    "critical_path",
    "read_cells",
    "read_placed",
    "sites",
    "timing",
    "totals",
]

#: Cell type -> what a report counts, and how many of it.
CELLS: dict[str, dict[str, int]] = {
    "SB_LUT4": {"luts": 1},
    "SB_RAM40_4K": {"block_rams": 1},
    "SB_SPRAM256KA": {"sprams": 1},
    "SB_MAC16": {"dsps": 1},
    "LUT4": {"luts": 1},
    "CCU2C": {"luts": 2},
    "TRELLIS_DPR16X4": {"luts": 4, "distributed_rams": 1},
    "TRELLIS_FF": {"flip_flops": 1},
    "DP16KD": {"block_rams": 1},
    "MULT18X18D": {"dsps": 1},
}
#: Names of nextpnr's utilization, and of what the report calls them.
_SITES = {
    "ice40": {
        "ICESTORM_LC": "luts",
        "ICESTORM_RAM": "block_rams",
        "ICESTORM_SPRAM": "sprams",
        "ICESTORM_DSP": "dsps",
    },
    "ecp5": {
        "TRELLIS_COMB": "luts",
        "TRELLIS_FF": "flip_flops",
        "DP16KD": "block_rams",
        "MULT18X18D": "dsps",
        "TRELLIS_RAMW": "distributed_rams",
    },
}
_MEMORIES = ("SB_RAM40_4K", "DP16KD", "TRELLIS_DPR16X4", "PDPW16KD")

Cells = Mapping[str, Cell]


@dataclass(frozen=True)
class _Clock(JsonObject):
    achieved: float
    constraint: float


@dataclass(frozen=True)
class _Site(JsonObject):
    used: int


@dataclass(frozen=True)
class _End(JsonObject):
    cell: str


@dataclass(frozen=True)
class _Delay(JsonObject):
    type: str
    delay: float
    start: _End = field(metadata=named("from"))
    end: _End = field(metadata=named("to"))


@dataclass(frozen=True)
class _Path(JsonObject):
    start: str = field(metadata=named("from"))
    end: str = field(metadata=named("to"))
    delays: tuple[_Delay, ...] = field(metadata=named("path"))

    @property
    def between_flip_flops(self) -> bool:
        return all(end.startswith(("posedge", "negedge")) for end in (self.start, self.end))

    @property
    def half_cycle(self) -> bool:
        """It has half a cycle: from one edge of the clock to the other."""
        return self.start.split()[0] != self.end.split()[0]

    @property
    def cycle(self) -> float:
        """Least ns of a clock cycle with this path."""
        return (1 + self.half_cycle) * float(sum(one.delay for one in self.delays))


@dataclass(frozen=True)
class Placed(JsonObject):
    """What is read of nextpnr's report on a placed and routed design.

    Members
    -------
    fmax : dict
        By clock: what was achieved and asked for, MHz.
    utilization : dict
        By site: how many are used.
    critical_paths : tuple
        Ends and delays, ns.
    """

    fmax: Mapping[str, _Clock]
    utilization: Mapping[str, _Site]
    critical_paths: tuple[_Path, ...]


def read_placed(path: Path) -> Placed:
    """nextpnr's report.

    Raises
    ------
    OSError, ValueError
        It is no such file.
    """
    return Placed.from_json(parse(path.read_bytes()), path.name)


def read_cells(path: Path) -> dict[str, Cell]:
    """Cells of the top module of a Yosys JSON file, by name.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError, AttributeError
        It is not such a file.
    """
    cells = read_modules(path)[TOP]["cells"]
    if not all(isinstance(cell["type"], str) for cell in cells.values()) or not cells:
        raise ValueError(f"{path} has no cells")
    return cells


def _counted(kind: str) -> Mapping[str, int]:
    kind = re.sub(r"^(SB_RAM40_4K)N.*", r"\1", kind)
    return {"flip_flops": 1} if kind.startswith("SB_DFF") else CELLS.get(kind, {})


def totals(cells: Cells) -> dict[str, int]:
    """Lookup tables and so on before placement."""
    result: Counter[str] = Counter()
    for kind, count in Counter(cell["type"] for cell in cells.values()).items():
        for name, number in _counted(kind).items():
            result[name] += number * count
    return dict(result)


def _plain(name: str) -> str:
    return name.replace("$flatten", "").replace("\\", "")


def block_of(name: str, scopes: Iterable[str]) -> str:
    """The innermost of ``scopes`` that a cell or net belongs to by its name; empty for the top."""
    known = scopes if isinstance(scopes, (set, frozenset, dict)) else set(scopes)
    parts = _plain(name).split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (scope := ".".join(parts[:length])) in known:
            return scope
    return ""


def _title(scope: str) -> str:
    """A scope as readers know it: without wrappers, and equal blocks under one name."""
    parts = [part for part in scope.split(".") if part not in (INSTANCE, "contents")]
    if parts and parts[0] == "accelerator":
        parts = parts[1:] or parts
    return ".".join(re.sub(r"_\d+$", "_*", part) for part in parts) or "board"


def blocks(cells: Cells) -> tuple[BlockCells, ...]:
    """What each block consists of, without the blocks in it; equal blocks are one row."""
    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    rows: dict[str, Counter[str]] = {}
    instances = Counter(_title(scope) for scope in scopes if not scope.endswith(".contents"))
    for name, cell in cells.items():
        if counted := _counted(cell["type"]):
            rows.setdefault(_title(block_of(name, scopes)), Counter()).update(counted)
    return tuple(
        BlockCells(title, max(1, instances[title]), **{what: counts[what] for what in RESOURCES})
        for title, counts in sorted(rows.items())
    )


def check_contents(cells: Cells, contents: Iterable[Contents]) -> None:
    """That every bit of a preloaded memory has arrived: the ones are counted.

    Raises
    ------
    BuildError
        They differ; this is a fault of the build.
    """
    ones: Counter[str] = Counter()
    for name, cell in cells.items():
        if cell["type"].startswith(_MEMORIES):
            ones[_plain(name)] += sum(
                value.count("1")
                for key, value in cell["parameters"].items()
                if key.startswith("INIT") and set(value) <= set("01xz")
            )
    for one in contents:
        pattern = re.compile(re.escape(one.cells).replace(r"\*", ".*") + r"(\.|$)")
        found = sum(count for name, count in ones.items() if pattern.match(name))
        if found != one.ones:
            raise BuildError(
                f"memory {one.memory} has {found} bits set in the netlist, {one.ones} "
                f"in the image; this is a fault of the build"
            )


def sites(family: str, placed: Placed) -> dict[str, int]:
    """Sites in use after placement."""
    return {
        name: placed.utilization[site].used
        for site, name in _SITES[family].items()
        if site in placed.utilization
    }


def timing(placed: Placed, wanted_mhz: float) -> Timing:
    """The slowest clock against the one wanted, MHz."""
    reached = [
        clock.achieved for clock in placed.fmax.values() if clock.constraint >= 0.99 * wanted_mhz
    ]
    fmax = min(reached, default=None)
    return Timing(wanted_mhz, fmax, fmax is not None and fmax >= wanted_mhz)


def critical_path(placed: Placed, cells: Cells) -> CriticalPath | None:
    """The longest path between flip-flops, by blocks; one that has half a cycle counts as twice as
    long."""
    inner = [path for path in placed.critical_paths if path.delays and path.between_flip_flops]
    if not inner:
        return None
    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    chosen = max(inner, key=lambda path: path.cycle)
    steps: list[Step] = []
    delays = {"logic": 0.0, "routing": 0.0}
    for one in chosen.delays:
        block = _title(block_of(one.start.cell, scopes)).replace("_*", "")
        delays["routing" if one.type == "routing" else "logic"] += one.delay
        if not steps or steps[-1].block != block:
            steps.append(Step(block, 0.0))
        steps[-1] = Step(block, round(steps[-1].ns + one.delay, 3))
    return CriticalPath(
        start=chosen.delays[0].start.cell,
        end=chosen.delays[-1].end.cell,
        half_cycle=chosen.half_cycle,
        logic_ns=round(delays["logic"], 3),
        routing_ns=round(delays["routing"], 3),
        steps=tuple(steps),
    )
