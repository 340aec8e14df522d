"""What a synthesized design consists of, block by block, and where its slowest path runs."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tritforge.fpga.errors import BuildError
from tritforge.fpga.platform.board_top import INSTANCE, TOP
from tritforge.fpga.toolchain.preload import Contents

__all__ = [
    "CELLS",
    "block_of",
    "blocks",
    "check_contents",
    "critical_path",
    "read_cells",
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

Cells = Mapping[str, Mapping[str, Any]]


def read_cells(path: Path) -> dict[str, dict[str, Any]]:
    """Cells of the top module of a Yosys JSON file, by name.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError, AttributeError
        It is not such a file.
    """
    cells: dict[str, dict[str, Any]] = json.loads(path.read_bytes())["modules"][TOP]["cells"]
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


def blocks(cells: Cells) -> list[dict[str, Any]]:
    """What each block consists of, without the blocks in it; equal blocks are one row."""
    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    rows: dict[str, Counter[str]] = {}
    instances = Counter(_title(scope) for scope in scopes if not scope.endswith(".contents"))
    for name, cell in cells.items():
        if counted := _counted(cell["type"]):
            rows.setdefault(_title(block_of(name, scopes)), Counter()).update(counted)
    return [
        {
            "block": title,
            "instances": max(1, instances[title]),
            **{
                what: counts[what]
                for what in (
                    "luts",
                    "flip_flops",
                    "block_rams",
                    "sprams",
                    "dsps",
                    "distributed_rams",
                )
            },
        }
        for title, counts in sorted(rows.items())
    ]


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


def sites(family: str, utilization: Mapping[str, Any]) -> dict[str, int]:
    """Sites in use after placement, of nextpnr's report."""
    return {
        name: utilization[site]["used"]
        for site, name in _SITES[family].items()
        if site in utilization
    }


def timing(report: Mapping[str, Any], wanted_mhz: float) -> dict[str, Any]:
    """Slowest clock of nextpnr's report against the one wanted, MHz."""
    reached = [
        clock["achieved"]
        for clock in report["fmax"].values()
        if clock["constraint"] >= 0.99 * wanted_mhz
    ]
    fmax = min(reached, default=None)
    return {
        "constraint_mhz": wanted_mhz,
        "fmax_mhz": fmax,
        "met": fmax is not None and fmax >= wanted_mhz,
    }


def critical_path(report: Mapping[str, Any], cells: Cells) -> dict[str, Any] | None:
    """The longest path between flip-flops, by blocks; one that has half a cycle, from one edge of
    the clock to the other (``half_cycle``), counts as twice as long.

    ``steps`` has consecutive blocks with the delay in each, ns; routing counts to the block that
    it starts from.
    """

    def half_cycle(path: Mapping[str, Any]) -> bool:
        return str(path["from"]).split()[0] != str(path["to"]).split()[0]

    def cycle(path: Mapping[str, Any]) -> float:
        """Least ns of a clock cycle with this path."""
        return (1 + half_cycle(path)) * float(sum(step["delay"] for step in path["path"]))

    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    inner = [
        path
        for path in report["critical_paths"]
        if path["from"].startswith(("posedge", "negedge"))
        and path["to"].startswith(("posedge", "negedge"))
    ]
    if not inner:
        return None
    chosen = max(inner, key=cycle)
    longest = chosen["path"]
    steps: list[dict[str, Any]] = []
    delays: Counter[str] = Counter()
    for step in longest:
        block = _title(block_of(step["from"]["cell"], scopes)).replace("_*", "")
        delays["routing" if step["type"] == "routing" else "logic"] += step["delay"]
        if not steps or steps[-1]["block"] != block:
            steps.append({"block": block, "ns": 0.0})
        steps[-1]["ns"] = round(steps[-1]["ns"] + step["delay"], 3)
    return {
        "from": longest[0]["from"]["cell"],
        "to": longest[-1]["to"]["cell"],
        "half_cycle": half_cycle(chosen),
        "logic_ns": round(delays["logic"], 3),
        "routing_ns": round(delays["routing"], 3),
        "steps": steps,
    }
