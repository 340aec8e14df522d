"""The demonstration: accuracy, cycles, and what skipping zeros saves."""

from pathlib import Path
from typing import Any

from rich.table import Table

from tritforge.flows.demo import MARKER
from tritforge.model_export.image.manifest import Manifest
from tritforge.sim.result import RunReport
from tritforge.tables.export import export_parts
from tritforge.tables.simulate import layer_tables, summary
from tritforge.tables.table import captioned_table

__all__ = ["demo_parts"]


def demo_parts(result: dict[str, Any], output: Path, clock: float) -> list[str | Table]:
    """Texts and tables that show a result; ``clock`` in MHz."""
    report, seconds = RunReport.from_json(result["report"]), result["seconds"]
    accuracy = captioned_table(
        f"accuracy on {result['images']} test images that were not trained on",
        None,
        ("",),
        ("correct %",),
    )
    for name, label in (
        ("float", "float model (PyTorch)"),
        ("golden", "golden integer model"),
        ("rtl", "RTL"),
    ):
        accuracy.add_row(label, f"{100 * result['accuracy'][name]:.2f}")
    compared = sum(one["values"] for one in result["verification"]["comparisons"])
    verdict = (
        "equal: the RTL gives the golden model's integers"
        if result["equal"]
        else "DIFFERENT: " + "; ".join(result["differences"])
    )
    parts: list[str | Table] = [
        *export_parts(Manifest.from_json(result["export"])),
        accuracy,
        summary(report, clock),
        *layer_tables(report, clock),
        f"{verdict} ({result['images']} images: all logits; "
        f"{result['verification']['images']} images: every integer of every layer, RTL and memory "
        f"contents, {compared:,} integers)",
    ]
    if result["baseline"] is not None:
        parts.append(_baseline_table(result["baseline"], clock))
    parts.append(
        "wall time: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    )
    parts.append(
        f"pictures: {output}/kernels.png, {output}/utilization.png; all figures: {output}/{MARKER}"
    )
    parts.append(
        "the same again:\n"
        + "\n".join(f"  {command}    # {what}" for what, command in result["commands"].items())
    )
    return parts


def _baseline_table(baseline: dict[str, Any], clock: float) -> Table:
    table = captioned_table(
        f"what skipping zeros saves: cycles per image on the same array, mean of "
        f"{baseline['images']} images",
        None,
        ("layer",),
        ("skipping, cycles", "without, cycles", "factor", f"saved, us at {clock:g} MHz"),
    )
    rows = [
        (layer["name"], layer["cycles"], layer["cycles_without_skipping"], layer["factor"])
        for layer in baseline["layers"]
    ]
    rows.append(
        (
            "all",
            baseline["cycles_per_image"],
            baseline["cycles_per_image_without_skipping"],
            baseline["factor"],
        )
    )
    for name, ours, theirs, factor in rows:
        table.add_row(
            name,
            f"{ours:,.0f}",
            f"{theirs:,.0f}",
            f"{factor:.2f}x",
            f"{(theirs - ours) / clock:,.1f}",
        )
    return table
