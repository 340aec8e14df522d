"""Configurations that a board has room for."""

from collections.abc import Sequence

from rich.table import Table

from tritforge.fpga.fit.report import FitReport
from tritforge.fpga.fit.room import arrangement
from tritforge.fpga.fit.search import Candidate
from tritforge.fpga.platform.board import Board
from tritforge.tables.table import captioned_table

__all__ = ["fit_parts"]

_COLUMNS = {"luts": "LUTs", "block_rams": "block RAMs", "sprams": "SPRAMs", "dsps": "multipliers"}


def fit_parts(
    report: FitReport, board: Board, best: Candidate, found: Sequence[Candidate]
) -> list[str | Table]:
    """Texts and tables of what a search found; ``best`` is the configuration it chose."""
    config = best.config
    shown = {name: title for name, title in _COLUMNS.items() if getattr(board.resources, name)}
    table = captioned_table(
        f"Configurations for network {report.network} on {board.title}, at "
        f"{report.clock_hz / 1e6:g} MHz",
        "sets x clusters x elements x rows; used, and percent of the chip",
        ("arrangement",),
        ("scan", "queue", *shown.values(), "cycles", "frames/s"),
    )
    for one in found:
        values = one.report(board).resources
        table.add_row(
            arrangement(one.config),
            str(one.config.scan_width),
            str(one.config.queue_depth),
            *(f"{values[name].used:,} ({values[name].percent:.0f} %)" for name in shown),
            f"{one.cycles:,.0f}{' s' if one.streamed else ''}",
            f"{one.frames_per_second:,.1f}",
        )
    wanted = (
        "the fastest of those tried"
        if report.target is None
        else f"the smallest of those tried that gives {report.target:g} frames/s"
    )
    limits = ", ".join(
        f"{getattr(board.resources, name):,} {title}" for name, title in shown.items()
    )
    streamed = (
        ["s: streamed through the host port in every run; sending is in the cycles"]
        if any(one.streamed for one in found)
        else []
    )
    return [
        f"{wanted}: {config.sets} x {config.clusters} x {config.elements} elements of "
        f"{config.rows} rows, {best.cycles:,.0f} cycles, {best.frames_per_second:,.1f} frames/s",
        table,
        *streamed,
        f"the chip has {limits}; of its LUTs {board.fill:.0%} are used at most, which place and "
        f"route needs; cycles are of {report.inputs} input"
        f"{'s' if report.inputs > 1 else ''}: {report.input}",
    ]
