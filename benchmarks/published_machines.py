"""EIE and Eyeriss as this program models them, against what their authors published.

    python benchmarks/published_machines.py [--seed 0] [--json]

Takes a few seconds. What the misses mean: docs/published-machines.md.
"""

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from tritforge.cost.published import eie, eyeriss
from tritforge.cost.published.eyeriss_figures import COMPONENTS
from tritforge.cost.technology_file import load_technology

_VARIANTS = ("densities", "entries")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of EIE's matrices")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    results = [
        eie.compare(load_technology("45nm"), arguments.seed).to_json(),
        eyeriss.compare(load_technology("65nm")).to_json(),
    ]
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    console = Console(width=160)
    for result, layers in zip(results, (_eie_tables, _eyeriss_tables), strict=True):
        console.print(f"[bold]{result['machine']}[/]  ({result['source']})")
        for table in (*layers(result), _parts(result)):
            console.print(table)
        for note in result["notes"]:
            console.print(f"- {note}")
        console.print()


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _band(band: dict[str, float]) -> str:
    return " / ".join(
        f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in band.values()
    )


def _eie_tables(result: dict[str, Any]) -> list[Table]:
    times = _table(
        "us; a: matrices of the published densities, b: of the published entries",
        [
            "layer",
            "theory",
            "a",
            "b",
            "actual",
            "a",
            "b",
            "a / actual",
            "b / actual",
            "balance",
            "a",
            "b",
        ],
    )
    for row in result["layers"]:
        pair = [row[variant] for variant in _VARIANTS]
        times.add_row(
            row["name"],
            f"{row['published_theoretical_us']:.1f}",
            *(f"{one['theoretical_us']:.2f}" for one in pair),
            f"{row['published_us']:.1f}",
            *(f"{one['model_us']:.2f}" for one in pair),
            *(f"{one['ratio']:.3f}" for one in pair),
            f"{row['published_balance']:.1%}",
            *(f"{one['balance']:.1%}" for one in pair),
        )
    queue = _table("Alex-7 over the depth of the queues", ["depth", "balance"])
    for row in result["queue"]:
        queue.add_row(str(row["depth"]), f"{row['balance']:.1%}")
    return [times, queue]


def _eyeriss_tables(result: dict[str, Any]) -> list[Table]:
    energy = _table(
        "mJ for four images, low / typical / high",
        [
            "layer",
            "model",
            "published",
            "typical / published",
            "within",
            "pJ a multiplication",
            "published",
            "ms, bound",
            "published",
        ],
    )
    for row in result["layers"]:
        energy.add_row(
            row["name"],
            _band(row["model_mj"]),
            f"{row['published_mj']:.3g}",
            f"{row['ratio']:.3f}",
            "yes" if row["within"] else "NO",
            _band(row["model_pj_per_mac"]),
            f"{row['published_pj_per_mac']:.3g}",
            f"{row['model_processing_ms']:.1f}",
            f"{row['published_processing_ms']:.1f}",
        )
    shares = _table(
        "mJ by component, low / typical / high",
        ["component", *(row["name"] for row in result["layers"])],
    )
    for name in COMPONENTS:
        shares.add_row(name, *(_band(row["components_mj"][name]) for row in result["layers"]))
    return [energy, shares]


def _parts(result: dict[str, Any]) -> Table:
    table = _table(
        f"technology {result['technology']}, low / typical / high",
        ["part", "what", "unit", "model", "published", "within"],
    )
    for row in result["parts"]:
        table.add_row(
            row["name"],
            row["what"],
            row["unit"],
            _band(row["model"]),
            f"{row['published']:,.4g}" if row["published"] < 1000 else f"{row['published']:,.0f}",
            "yes" if row["within"] else "NO",
        )
    return table


if __name__ == "__main__":
    main()
