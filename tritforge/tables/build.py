"""A board's bitstream: clock, contents, resources, slowest path."""

from rich.table import Table

from tritforge.fpga.bitstream.report import BuildReport
from tritforge.tables.table import captioned_table

__all__ = ["build_parts"]

_RESOURCES = {
    "luts": "4-input lookup tables",
    "flip_flops": "flip-flops",
    "block_rams": "block RAMs",
    "sprams": "single-port RAMs",
    "dsps": "multipliers",
    "distributed_rams": "16 x 4 bit RAMs of lookup tables",
}


def build_parts(report: BuildReport) -> list[str | Table]:
    """Texts and tables of a build."""
    return [*_sentences(report), _resource_table(report), *_path(report)]


def _sentences(report: BuildReport) -> list[str]:
    """What was built, how fast it is, what it holds, what made it."""
    timing, clock, contents = report.timing, report.clock, report.contents
    bits = sum(one.bits for one in contents.preloaded)
    preloaded = ", ".join(one.memory for one in contents.preloaded) or "nothing"
    label = f" ({bits:,} bits, label {contents.label})" if contents.preloaded else ""
    seconds = ", ".join(f"{one.phase} {one.seconds:.1f} s" for one in report.phases)
    tools = ", ".join(f"{name} ({version})" for name, version in report.tools.items())
    return [
        f"configuration {report.configuration['name']} on {report.board.title}: "
        f"{timing.fmax_mhz:.1f} MHz reached, {timing.constraint_mhz:.6g} MHz asked for; "
        f"{clock.baud:,} baud ({clock.baud_error:+.2%})",
        f"preloaded: {preloaded}{label}; the host sends {contents.host_sends}",
        f"wall time: {seconds}",
        f"tools: {tools}; seed {report.seed}{_others(report)}",
    ]


def _others(report: BuildReport) -> str:
    """The seeds that were not kept."""
    return "".join(
        f", {attempt.seed}: "
        + ("no legal placement" if attempt.fmax_mhz is None else f"{attempt.fmax_mhz:.1f} MHz")
        for attempt in report.attempts
        if attempt.seed != report.seed
    )


def _resource_table(report: BuildReport) -> Table:
    table = captioned_table("Resources", None, ("of the chip",), ("used", "available", "%"))
    for name, row in report.resources.items():
        table.add_row(_RESOURCES[name], f"{row.used:,}", f"{row.available:,}", f"{row.percent:.1f}")
    return table


def _path(report: BuildReport) -> list[str | Table]:
    """The slowest path, block by block."""
    path = report.critical_path
    if path is None:
        return []
    half = ", within half a cycle" if path.half_cycle else ""
    table = captioned_table(
        f"Slowest path: {path.logic_ns:.1f} ns logic, {path.routing_ns:.1f} ns routing{half}",
        None,
        ("block",),
        ("ns",),
    )
    for step in path.steps:
        table.add_row(step.block, f"{step.ns:.2f}")
    return [table]
