"""Switching activity of the digits network: changes of cells counted in the mapped netlist.

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

from model_export.digits import digits_data
from tritforge import flows
from tritforge.console import progress_bar
from tritforge.cost.activity import switching_activity
from tritforge.cost.technology import load_technology


@click.command()
@click.option("--config", default="tiny", show_default=True)
@click.option("--technology", default="45nm", show_default=True)
@click.option("--images", default=1, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="All figures, as JSON.")
def main(config: str, technology: str, images: int, output: Path | None) -> None:
    train, _, test, _ = digits_data()
    with tempfile.TemporaryDirectory() as scratch, progress_bar() as progress:
        with as_file(files("tritforge") / "data" / "digits_ttq.pt") as checkpoint:
            image = flows.export(checkpoint, "zoo:digits", train[:256], config,
                                 Path(scratch) / "image").image
        told = switching_activity(image, flows.input_codes(image, test[:images]),
                                  load_technology(technology), progress=progress)
    if output is not None:
        output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    console = Console()
    console.print(_table(told), _memories(told), *told["notes"],
                  "seconds: " + ", ".join(f"{name} {value:g}"
                                          for name, value in told["seconds"].items()), sep="\n")


def _table(told: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left",
                  title=f"{told['network']} on {told['configuration']}, {told['technology']}: nJ "
                        f"per image (low..high), mean of {told['images']}; "
                        f"{told['cycles'] / told['images']:,.0f} cycles each")
    table.add_column("block")
    for title in ("cells", "flip-flops", "changes, %", "of flip-flops, %", "logic", "registers",
                  "memory outputs", "clock", "all", "gating saves"):
        table.add_column(title, justify="right")
    for kind, block in (*told["blocks"].items(), ("all", told["total"])):
        table.add_row(
            kind, f"{block['cells']:,}", f"{block['flip_flops']:,}",
            f"{100 * block['toggle_rate']:.2f}", f"{100 * block['flip_flop_toggle_rate']:.2f}",
            *(_band(block["energy_pj"][part], told["images"])
              for part in ("logic", "registers", "memory_outputs", "clock", "all")),
            _band(block["clock_gating_saves_pj"], told["images"]))
    return table


def _band(band: dict[str, float], images: int) -> str:
    low, typical, high = (band[name] / images / 1e3 for name in ("low", "typical", "high"))
    if f"{low:.1f}" == f"{high:.1f}":
        return f"{typical:.1f}"
    return f"{typical:.1f} ({low:.1f}..{high:.1f})"


def _memories(told: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title="memories, per image")
    table.add_column("block")
    table.add_column("holds")
    for title in ("count", "bits", "words", "other addresses", "writes", "bits changed"):
        table.add_column(title, justify="right")
    for one in told["memories"]:
        table.add_row(one["block"], one["name"], str(one["count"]), str(one["width_bits"]),
                      str(one["depth"]), *(f"{one[name] / told['images']:,.0f}"
                                           for name in ("reads", "writes", "read_bit_toggles")))
    return table


if __name__ == "__main__":
    main()
