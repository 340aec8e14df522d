"""A benchmark: work and cycles of every layer."""

from pathlib import Path
from typing import Any

from rich.table import Table

from tritforge.flows.bench import ALL, MARKER, TERNARY_CONVS
from tritforge.sim.result import RunReport
from tritforge.tables.simulate import causes_table, loading_sentence, transfer_tables
from tritforge.tables.table import captioned_table

__all__ = ["bench_parts"]


def bench_parts(result: dict[str, Any], output: Path) -> list[str | Table]:
    """Texts and tables that show a result."""
    report, clock = RunReport.from_json(result["report"]), result["clock_mhz"]
    head = result["statement"]
    if result["provenance"]["origin"] == "drawn":
        head = f"DRAWN, NOT TRAINED: {head}"
    parts: list[str | Table] = [head + "."]
    if result["divisor"] != 1:
        parts.append(
            f"NARROWED: hidden layers have 1/{result['divisor']} of AlexNet's channels; "
            f"these are not AlexNet's cycles."
        )
    parts += [f"{note}." for note in result["provenance"]["notes"]]
    parts.append(_work_table(result))
    if report.total_cycles is None:
        parts.append(f"backend {result['backend']}: integers only, no clock.")
    else:
        total = result["totals"][ALL]
        parts += [
            _cycle_table(result),
            causes_table(report),
            *transfer_tables(report),
            f"{result['configuration']} ({result['adders']} adders), backend "
            f"{result['backend']}: {total['cycles']:,} cycles an image, "
            f"{total['microseconds'] / 1000:.3f} ms at {clock:g} MHz, utilization "
            f"{total['utilization']:.1%}. {loading_sentence(report.loading)}",
            _conclusion(result),
        ]
    parts.append(
        "wall time: "
        + ", ".join(f"{name} {value:.1f} s" for name, value in result["seconds"].items())
    )
    picture = "" if report.total_cycles is None else f", picture {output}/bench.png"
    parts.append(f"all figures: {output}/{MARKER}{picture}")
    parts.append(
        "the same again:\n"
        + "\n".join(f"  {command}    # {what}" for what, command in result["commands"].items())
    )
    return parts


def _conclusion(result: dict[str, Any]) -> str:
    """Shares of dense cycles, beside what the paper claims."""
    sentences = []
    for name, claim in (
        (TERNARY_CONVS, " (the paper expects a forward time under 30 %)"),
        (ALL, ""),
    ):
        total = result["totals"][name]
        if total["weight_skipping"] is None or total["share_of_dense"] is None:
            continue
        sentences.append(
            f"{name}, of the {total['dense_cycles']:,.0f} cycles that dense MACs would take on as "
            f"many adders: {total['weight_skipping']['share_of_dense']:.1%} with weight skipping "
            f"alone{claim}, {total['share_of_dense']:.1%} with activation skipping too."
        )
    return "\n".join(sentences)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _weights_are(layer: dict[str, Any]) -> str:
    if layer["ternary"]:
        return "ternary"
    return "bytes" if layer["wide"] else "sums of planes" if layer["weights"] else "none"


def _millions(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.3f}"


def _work_table(result: dict[str, Any]) -> Table:
    table = captioned_table(
        f"the work: {result['topology']}, one image, {result['photograph']}",
        "density: share that is not zero; wanted, input: of the layer's activations, where a "
        "density was asked for; trits: nonzero ones per weight; adds: of nonzero trits to "
        "accumulators",
        ("layer", "paper", "weights are"),
        ("MACs, M", "weights, M", "density, %", "trits", "input wanted, %", "input, %", "adds, M"),
    )
    for layer in result["layers"]:
        table.add_row(
            layer["name"],
            layer["paper"] or "-",
            _weights_are(layer),
            _millions(layer["macs"]),
            _millions(layer["weights"]),
            _percent(layer["weight_density"]),
            "-" if layer["trits_per_weight"] is None else f"{layer['trits_per_weight']:.2f}",
            _percent(layer["activation_density_requested"]),
            _percent(layer["activation_density"]),
            _millions(layer["adds"]),
        )
    table.add_section()
    for name, total in result["totals"].items():
        table.add_row(
            name,
            "",
            "",
            _millions(total["macs"]),
            _millions(total["weights"]),
            "",
            "",
            "",
            "",
            _millions(total["adds"]),
        )
    return table


def _cycle_table(result: dict[str, Any]) -> Table:
    table = captioned_table(
        f"clock cycles of one image; time at {result['clock_mhz']:g} MHz",
        "least: no schedule on this configuration takes fewer; dense: MACs / adders; both: cycles "
        "/ dense; weights alone: the same without skipping of zero activations; speed-up: dense "
        "/ cycles",
        ("layer",),
        (
            "cycles",
            "time, us",
            "utilization, %",
            "least",
            "of least, %",
            "dense",
            "speed-up",
            "both, %",
            "weights alone, %",
        ),
    )

    def row(name: str, entry: dict[str, Any]) -> None:
        cycles, least, alone = entry["cycles"], entry["lower_bound"], entry["weight_skipping"]
        if cycles is None:
            return
        table.add_row(
            name,
            _count(cycles),
            f"{entry['microseconds']:,.1f}",
            _percent(entry["utilization"]),
            _count(least),
            _percent(least / cycles),
            _count(entry["dense_cycles"]),
            "-" if entry["speed_up"] is None else f"{entry['speed_up']:.2f}x",
            _percent(entry["share_of_dense"]),
            _percent(alone and alone.get("share_of_dense")),
        )

    for layer in result["layers"]:
        row(layer["name"], layer)
    table.add_section()
    for name, total in result["totals"].items():
        row(name, total)
    return table
