"""Switching activity of the digits network, changes of cells counted in the mapped netlist, and
the event model beside it.

    python benchmarks/activity.py [--config tiny] [--technology 45nm] [--images 1] [-o FILE.json]

Minutes for the first run of a configuration and technology, seconds afterwards; one core or two.
"""

import json
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tritforge.console import progress_bar
from tritforge.cost.estimate import estimate
from tritforge.cost.netlist.activity import switching_activity
from tritforge.cost.netlist.agreement import compare_blocks
from tritforge.cost.technology_file import load_technology
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.model_export.training.digits import digits_data


@click.command()
@click.option("--config", default="tiny", show_default=True)
@click.option("--technology", default="45nm", show_default=True)
@click.option("--images", default=1, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="All figures, as JSON.")
def main(config: str, technology: str, images: int, output: Path | None) -> None:
    train, _, test, _ = digits_data()
    with tempfile.TemporaryDirectory() as scratch, progress_bar() as progress:
        with as_file(files("tritforge") / "data" / "digits_ttq.pt") as checkpoint:
            image = export(
                checkpoint, "zoo:digits", train[:256], config, Path(scratch) / "image"
            ).image
        codes, figures = read_inputs(image, test[:images]).codes, load_technology(technology)
        told = switching_activity(image, codes, figures, progress=progress)
        events = estimate(image, test[:images], figures, baselines=False, progress=progress)
    comparison = compare_blocks(
        events.terms, [layer.events for layer in events.layers], told.blocks, len(codes), figures
    )
    document: dict[str, Any] = told.to_json()
    document["comparison"] = [row.to_json() for row in comparison]
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    # A file or a pipe has no width; the tables need this much.
    console = Console(width=max(Console().width, 135))
    console.print(
        _table(document),
        _memories(document),
        _comparison(document),
        *told.notes,
        "seconds: " + ", ".join(f"{name} {value:g}" for name, value in told.seconds.items()),
        sep="\n",
    )


def _table(told: dict[str, Any]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        title=f"{told['network']} on {told['configuration']}, {told['technology']}: nJ "
        f"per image, mean of {told['images']}; "
        f"{told['cycles'] / told['images']:,.0f} cycles each",
    )
    table.add_column("block", no_wrap=True)
    for title in (
        "cells",
        "changes %",
        "flip-flops",
        "changes %",
        "logic",
        "registers",
        "memory data",
        "clock",
        "all",
        "low",
        "high",
        "gating saves",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for kind, block in (*told["blocks"].items(), ("all", told["total"])):
        energy = block["energy_pj"]
        table.add_row(
            kind,
            f"{block['cells']:,}",
            f"{100 * block['toggle_rate']:.2f}",
            f"{block['flip_flops']:,}",
            f"{100 * block['flip_flop_toggle_rate']:.2f}",
            *(
                _nanojoules(energy[part], told["images"])
                for part in ("logic", "registers", "memory_outputs", "clock", "all")
            ),
            *(_nanojoules(energy["all"], told["images"], name) for name in ("low", "high")),
            _nanojoules(block["clock_gating_saves_pj"], told["images"]),
        )
    return table


def _comparison(told: dict[str, Any]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        title="event model beside switching activity, nJ per image: cells, flip-flops "
        "and clocks of gated ones",
    )
    table.add_column("block")
    for title in ("events", "low", "high", "activity", "low", "high", "events / activity"):
        table.add_column(title, justify="right")
    for row in told["comparison"]:
        table.add_row(
            row["block"],
            *(
                f"{row[what][key] / 1e3:.2f}"
                for what in ("events_pj", "activity_pj")
                for key in ("typical", "low", "high")
            ),
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
        )
    return table


def _nanojoules(band: dict[str, float], images: int, name: str = "typical") -> str:
    return f"{band[name] / images / 1e3:.1f}"


def _memories(told: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title="memories, per image")
    table.add_column("block")
    table.add_column("holds")
    for title in ("count", "bits", "words", "reads", "writes", "bits changed %"):
        table.add_column(title, justify="right")
    for one in told["memories"]:
        table.add_row(
            one["block"],
            one["name"],
            str(one["count"]),
            str(one["width_bits"]),
            str(one["depth"]),
            *(f"{one[name] / told['images']:,.0f}" for name in ("reads", "writes")),
            "-" if one["changed_share"] is None else f"{100 * one['changed_share']:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
