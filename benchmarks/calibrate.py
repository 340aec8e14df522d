"""Calibrates the estimates of ``tritforge fit`` on real builds, and says how far off they are.

    python benchmarks/calibrate.py [--cache FOLDER] [--check]

Synthesizes and packs the configurations below, some for the fit of the coefficients and others,
held out, to see what they are worth; writes ``fpga/fit/calibration.json``. A build that the cache
has is not made again, so that a run that was interrupted goes on where it was. Some 20 minutes of
one core without a cache. Packing, which is the first step of place and route, decides how many
cells of the chip are in use; ``--check`` writes nothing and fails where an estimate is too far
off.
"""

import dataclasses
import json
import re
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from tritforge.common.cache import cache_folder
from tritforge.common.files import new_file
from tritforge.console import progress_bar
from tritforge.fpga.bitstream.netlist_report import block_of, read_cells, totals
from tritforge.fpga.bitstream.plan import BuildPlan, make_plan
from tritforge.fpga.fit.estimate import (
    CALIBRATION,
    CalibratedBuild,
    Calibration,
    Coefficients,
    Estimate,
    block_terms,
    estimate_with,
    load_calibration,
)
from tritforge.fpga.fit.resources import EXACT, RESOURCES
from tritforge.fpga.fit.structure import BLOCKS, TERMS, kind_of
from tritforge.fpga.platform.board import Board, Resources, board
from tritforge.fpga.platform.board_top import INSTANCE, TOP
from tritforge.fpga.toolchain.tools import Tool, find, run
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS

#: What a small ECP5 configuration has unless a row says otherwise.
SMALL = Config(
    name="small",
    clusters=1,
    elements=2,
    rows=4,
    queue_depth=4,
    scan_width=2,
    trit_depth=512,
    activation_depth=512,
    program_depth=512,
    row_depth=128,
    result_depth=128,
    layer_count=4,
    packet_words=62,
    unpack_trits=False,
)
_UP5K = PRESETS["icebreaker"]

#: Board, base and what differs from it: for the fit.
FITTED: tuple[tuple[str, Config, dict[str, Any]], ...] = (
    ("ulx3s_85f", SMALL, {}),
    (
        "ulx3s_85f",
        SMALL,
        {
            "rows": 8,
            "accumulator_width": 28,
            "queue_depth": 12,
            "banks": 4,
            "clusters": 2,
            "trit_depth": 2048,
            "window_count": 3,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "rows": 16,
            "elements": 4,
            "scan_width": 4,
            "coefficient_width": 8,
            "accumulator_width": 20,
            "multiplier_width": 12,
            "packet_words": 254,
            "unpack_trits": True,
            "activation_depth": 4096,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "rows": 2,
            "elements": 8,
            "clusters": 4,
            "drain_width": 2,
            "scan_width": 1,
            "response_places": 2,
            "coefficient_width": 12,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "rows": 32,
            "elements": 4,
            "accumulator_width": 32,
            "queue_depth": 8,
            "multiplier_width": 18,
            "program_depth": 4096,
            "row_depth": 1024,
            "unpack_trits": True,
            "packet_words": 126,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "sets": 2,
            "clusters": 2,
            "elements": 2,
            "rows": 8,
            "scan_width": 4,
            "job_places": 16,
            "unpack_trits": True,
            "queue_depth": 8,
            "layer_count": 16,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "sets": 4,
            "clusters": 1,
            "elements": 1,
            "rows": 16,
            "scan_width": 8,
            "job_places": 16,
            "word_places": 4,
            "pixel_places": 2,
            "packet_places": 2,
            "activation_depth": 2048,
            "queue_depth": 20,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "clusters": 8,
            "elements": 4,
            "rows": 4,
            "drain_width": 4,
            "accumulator_width": 24,
            "trit_depth": 1024,
            "layer_count": 32,
            "program_depth": 2048,
            "result_depth": 1024,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "elements": 16,
            "rows": 16,
            "banks": 2,
            "accumulator_width": 28,
            "queue_depth": 8,
            "scan_width": 4,
            "packet_words": 254,
            "activation_depth": 4096,
            "program_depth": 2048,
            "row_depth": 512,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {"skip_zero_weights": False, "clusters": 2, "rows": 8, "accumulator_width": 28},
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "skip_zero_activations": False,
            "scan_width": 16,
            "banks": 8,
            "rows": 2,
            "elements": 1,
            "coefficient_width": 16,
            "activation_depth": 256,
            "window_count": 2,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "rows": 12,
            "elements": 6,
            "clusters": 3,
            "scan_width": 3,
            "drain_width": 3,
            "accumulator_width": 26,
            "queue_depth": 16,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "rows": 2,
            "elements": 2,
            "unpack_trits": True,
            "multiplier_width": 8,
            "accumulator_width": 16,
            "coefficient_width": 6,
            "scan_width": 4,
            "response_places": 1,
            "program_depth": 8192,
            "trit_depth": 8192,
        },
    ),
    ("icebreaker", _UP5K, {}),
    ("icebreaker", _UP5K, {"elements": 2, "accumulator_width": 24, "queue_depth": 8}),
    (
        "icebreaker",
        _UP5K,
        {
            "elements": 1,
            "rows": 8,
            "coefficient_width": 10,
            "scan_width": 4,
            "activation_depth": 2048,
        },
    ),
    (
        "icebreaker",
        _UP5K,
        {"elements": 1, "rows": 2, "multiplier_width": 14, "trit_depth": 8192, "window_count": 15},
    ),
    (
        "icebreaker",
        _UP5K,
        {
            "elements": 3,
            "rows": 4,
            "accumulator_width": 16,
            "program_depth": 2048,
            "trit_depth": 8192,
        },
    ),
    (
        "icebreaker",
        _UP5K,
        {
            "elements": 1,
            "rows": 4,
            "response_places": 4,
            "banks": 4,
            "scan_width": 1,
            "window_count": 1,
            "activation_depth": 8192,
        },
    ),
    (
        "icebreaker",
        _UP5K,
        {
            "elements": 2,
            "rows": 2,
            "memory_ports": 2,
            "shared_results": False,
            "trit_depth": 512,
            "activation_depth": 512,
            "program_depth": 512,
            "drain_width": 1,
        },
    ),
)
#: The same, held out.
HELD_OUT: tuple[tuple[str, Config, dict[str, Any]], ...] = (
    ("ulx3s_85f", PRESETS["tiny"], {}),
    ("ulx3s_85f", PRESETS["ulx3s_85f"], {"clusters": 2, "elements": 8, "unpack_trits": False}),
    (
        "ulx3s_85f",
        SMALL,
        {
            "clusters": 4,
            "elements": 8,
            "rows": 8,
            "scan_width": 4,
            "banks": 4,
            "queue_depth": 10,
            "accumulator_width": 26,
            "drain_width": 2,
            "coefficient_width": 9,
            "trit_depth": 1024,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "sets": 3,
            "clusters": 2,
            "elements": 3,
            "job_places": 16,
            "rows": 6,
            "accumulator_width": 22,
            "multiplier_width": 14,
            "program_depth": 1024,
            "activation_depth": 1024,
            "window_count": 4,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "clusters": 1,
            "elements": 1,
            "rows": 2,
            "queue_depth": 1,
            "scan_width": 1,
            "response_places": 2,
            "packet_words": 34,
            "activation_depth": 128,
            "row_depth": 64,
            "result_depth": 16,
        },
    ),
    (
        "ulx3s_85f",
        SMALL,
        {
            "clusters": 4,
            "elements": 4,
            "rows": 16,
            "unpack_trits": True,
            "accumulator_width": 28,
            "job_places": 0,
            "word_places": 4,
            "pixel_places": 2,
            "packet_places": 2,
            "packet_words": 254,
        },
    ),
    (
        "icebreaker",
        _UP5K,
        {"elements": 3, "queue_depth": 16, "coefficient_width": 9, "accumulator_width": 18},
    ),
    (
        "icebreaker",
        _UP5K,
        {
            "elements": 2,
            "rows": 4,
            "response_places": 2,
            "accumulator_width": 22,
            "multiplier_width": 12,
            "program_depth": 512,
            "packet_words": 34,
        },
    ),
    (
        "icebreaker",
        _UP5K,
        {
            "elements": 1,
            "rows": 8,
            "scan_width": 4,
            "clusters": 1,
            "queue_depth": 8,
            "trit_depth": 2048,
        },
    ),
)
#: Most that an estimate of lookup tables may be off, as a fraction.
TOLERANCE = 0.10


def configurations() -> list[tuple[Board, Config, bool]]:
    """Board, configuration and whether it is held out."""
    found = []
    for rows, held_out in ((FITTED, False), (HELD_OUT, True)):
        for name, base, changes in rows:
            number = len(found) + 1
            found.append(
                (board(name), dataclasses.replace(base, **changes, name=f"c{number}"), held_out)
            )
    return found


# ----- builds

#: Packed cells with a lookup table.
_PACKED = ("TRELLIS_COMB", "ICESTORM_LC")


def measure(chosen: Board, config: Config, tools: dict[str, Tool], cache: Path) -> dict[str, Any]:
    """Cells of a real build, in all and by kind of block, from the cache or made now."""
    plan = make_plan(chosen, config)
    identity = plan.identity([tools[name] for _, name, _ in plan.commands[:2]])
    kept = cache / f"{identity[:32]}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_bytes())
        return found
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in plan.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        (_, yosys, script), (_, place, arguments), _ = plan.commands
        run(tools[yosys], script, folder, "synthesis.txt")
        run(tools[place], _pack_only(plan, arguments), folder, "place.txt")
        measured = _counts(plan, folder)
    measured["seconds"] = round(time.monotonic() - started, 1)
    with new_file(kept) as part:
        part.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    return measured


def _pack_only(plan: BuildPlan, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Place and route that stops when all is packed into the chip's cells."""
    at = arguments.index(plan.family.routed_option)
    return (*arguments[:at], *arguments[at + 2 :], "--pack-only", "--write", "packed.json")


def _counts(plan: BuildPlan, folder: Path) -> dict[str, Any]:
    cells = read_cells(folder / f"{TOP}.json")
    packed = json.loads((folder / "packed.json").read_bytes())["modules"][TOP]["cells"]
    used = {"luts": sum(cell["type"] in _PACKED for cell in packed.values())}
    return {
        **{name: (totals(cells) | used).get(name, 0) for name in RESOURCES},
        "blocks": _by_block(cells, packed),
    }


def _by_block(cells: dict[str, Any], packed: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Cells with a lookup table, flip-flops and memories by kind of block.

    A cell that the packer adds to a carry chain has no name that says where it belongs; it goes to
    the block of the chain.
    """
    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    follows: dict[int, str] = {}
    leads: dict[int, str] = {}
    for name, cell in packed.items():
        for ports, table in ((("FCO", "COUT"), follows), (("FCI", "CIN"), leads)):
            for port in ports:
                for net in cell["connections"].get(port, []):
                    table[net] = name
    neighbours: dict[str, list[str]] = defaultdict(list)
    for net, name in follows.items():
        if net in leads:
            neighbours[name].append(leads[net])
            neighbours[leads[net]].append(name)

    def kind(name: str) -> str:
        seen, waiting = {name}, [name]
        while waiting:
            one = waiting.pop(0)
            if not one.startswith("$nextpnr"):
                parts = block_of(one, scopes).split(".")
                return kind_of(parts[1:] if parts[0] == INSTANCE else ())
            for other in neighbours[one]:
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return BLOCKS[""]

    found: dict[str, Counter[str]] = {name: Counter() for name in BLOCKS.values()}
    for name, cell in packed.items():
        if cell["type"] in _PACKED:
            found[kind(name)]["luts"] += 1
    for name, cell in cells.items():
        parts = block_of(name, scopes).split(".")
        where = found[kind_of(parts[1:] if parts[0] == INSTANCE else ())]
        for what, count in totals({name: cell}).items():
            if what != "luts":
                where[what] += count
    return {name: dict(counts) for name, counts in found.items()}


# ----- coefficients


def _solve(
    terms: NDArray[np.float64],
    found: NDArray[np.float64],
    weights: NDArray[np.float64],
    expected: NDArray[np.float64],
    strength: float,
) -> NDArray[np.float64]:
    """Nonnegative coefficients: least squares of relative errors, and a pull to what is expected.

    The pull makes up for terms that always change together; it is relative to what each term
    gives.
    """
    scale = np.sqrt(((terms * weights[:, None]) ** 2).sum(axis=0)) * strength
    scale = np.where(scale > 0, scale, 1e-9)
    left = np.vstack([terms * weights[:, None], np.diag(scale)])
    right = np.concatenate([found * weights, scale * expected])
    return nnls(left, right)[0]


def fit(builds: list[tuple[Board, Config, dict[str, Any]]]) -> dict[str, Coefficients]:
    """Coefficients of every family, by kind of block and term, for lookup tables and
    flip-flops."""
    families: dict[str, Coefficients] = {}
    for family in sorted({chosen.family for chosen, _, _ in builds}):
        own = [one for one in builds if one[0].family == family]
        rows = [
            (kind, terms, fixed, measured["blocks"][kind])
            for chosen, config, measured in own
            for kind, (terms, fixed) in block_terms(chosen, config).items()
        ]
        result: dict[str, dict[str, dict[str, float]]] = {}
        for what in ("luts", "flip_flops"):
            everything = [
                (terms, block.get(what, 0) - (fixed if what == "luts" else 0))
                for _, terms, fixed, block in rows
            ]
            matrix = np.array([[terms[name] for name in TERMS] for terms, _ in everything], float)
            values = np.array([max(0, value) for _, value in everything], float)
            weights = 1 / (values + 30)
            general = _solve(matrix, values, weights, np.zeros(len(TERMS)), 1e-3)
            result[what] = {}
            for kind in BLOCKS.values():
                chosen_rows = [index for index, row in enumerate(rows) if row[0] == kind]
                if not matrix[chosen_rows].any():
                    continue
                found = _solve(
                    matrix[chosen_rows],
                    values[chosen_rows],
                    weights[chosen_rows],
                    general,
                    STRENGTH,
                )
                result[what][kind] = {
                    name: round(float(value), 4)
                    for name, value in zip(TERMS, found, strict=True)
                    if value > 5e-5
                }
        families[family] = Coefficients(**result)
    return families


#: How much the coefficients of a block are held to those of all blocks.
STRENGTH = 0.05


def compare(
    chosen: Board, config: Config, held_out: bool, estimated: Estimate, measured: dict[str, Any]
) -> CalibratedBuild:
    """Estimate and measurement of a build, and the relative error of the lookup tables."""
    return CalibratedBuild(
        chosen.name,
        held_out,
        config.differences(Config()),
        Resources(**{name: measured[name] for name in RESOURCES}),
        estimated.resources,
        round(estimated.luts / measured["luts"] - 1, 4),
        measured["seconds"],
    )


@click.command()
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder for the counts of every build. [default: in that of simulators]",
)
@click.option("--check", is_flag=True, help="Compare with the coefficients that are there.")
@click.option("--only", help="Make the builds of this board only, and write nothing.")
def main(cache: Path | None, check: bool, only: str | None) -> None:
    cache = cache_folder() / "calibration" if cache is None else cache
    tools = {name: find(name) for name in ("yosys", "nextpnr-ecp5", "nextpnr-ice40")}
    rows = [row for row in configurations() if only in (None, row[0].name)]
    builds = []
    with progress_bar() as progress:
        for number, (chosen, config, held_out) in enumerate(rows):
            if progress is not None:
                progress(f"{config.name} on {chosen.name}", number / len(rows))
            builds.append((chosen, config, held_out, measure(chosen, config, tools, cache)))
    families = (
        load_calibration().families
        if check
        else fit(
            [
                (chosen, config, measured)
                for chosen, config, held_out, measured in builds
                if not held_out
            ]
        )
    )
    entries, wrong = [], []
    for chosen, config, held_out, measured in builds:
        result = compare(
            chosen, config, held_out, estimate_with(families, chosen, config), measured
        )
        exact = all(
            getattr(result.measured, name) == getattr(result.estimated, name) for name in EXACT
        )
        good = exact and (abs(result.luts_error) <= TOLERANCE or not held_out)
        if not good:
            wrong.append(config.name)
        entries.append(result)
        click.echo(
            f"{config.name:>4} {chosen.name:<11} {'held out' if held_out else 'fitted':<9}"
            f"LUTs {measured['luts']:>6} estimated {result.estimated.luts:>6} "
            f"({result.luts_error:+.1%})  block RAMs {measured['block_rams']:>3} "
            f"{result.estimated.block_rams:>3}  {'' if exact else 'MEMORIES DIFFER'}"
        )
    if not check and only is None:
        calibration = Calibration(
            "python benchmarks/calibrate.py",
            {name: tool.version for name, tool in tools.items()},
            TOLERANCE,
            families,
            tuple(entries),
        )
        with new_file(CALIBRATION) as part:
            part.write_text(_text(calibration), encoding="utf-8")
    if wrong:
        raise click.ClickException(f"too far off: {', '.join(wrong)}")


def _text(calibration: Calibration) -> str:
    """JSON with a line for every block and build."""
    text = json.dumps(calibration.to_json(), indent=1)
    return (
        re.sub(
            r"\{\s+([^{}]*?)\s+\}",
            lambda match: "{" + re.sub(r"\s*\n\s*", " ", match[1]) + "}",
            text,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
