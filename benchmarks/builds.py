"""Bitstreams: what they take of a chip, how fast they are, how long they take.

    python benchmarks/builds.py [--seeds 3] [--row icebreaker] [-o FOLDER]

Builds each row with the seeds 1, 2, ..; prints a line of JSON per build as it is done. A clock
that is missed is a result like any other. Minutes to hours; each build uses one core.
"""

import json
import tempfile
from pathlib import Path

import click

from tritforge.console import progress_bar
from tritforge.fpga.bitstream.build import build
from tritforge.fpga.bitstream.plan import make_plan
from tritforge.fpga.platform.board import board
from tritforge.hw.presets import load_config

#: Board, configuration, clock in MHz.
ROWS = (
    ("icebreaker", "icebreaker", 21.0),
    ("icebreaker", "icebreaker", 24.0),
    ("ulx3s_85f", "tiny", 40.0),
    ("ulx3s_85f", "ulx3s_85f", 65.0),
)


@click.command()
@click.option("--seeds", default=1, show_default=True)
@click.option("--row", "rows", multiple=True, help="Configurations to build. [default: all]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the builds stay.")
def main(seeds: int, rows: tuple[str, ...], output: Path | None) -> None:
    with tempfile.TemporaryDirectory() as scratch, progress_bar() as progress:
        for target, config, clock in ROWS:
            if rows and config not in rows:
                continue
            for seed in range(1, seeds + 1):
                plan = make_plan(
                    board(target), load_config(config), clock_hz=clock * 1e6, seed=seed
                )
                folder = (output or Path(scratch)) / f"{target}-{config}-{clock:g}-{seed}"
                folder.parent.mkdir(parents=True, exist_ok=True)
                report = build(plan, folder, progress=progress).report
                used = {name: use.used for name, use in report.resources.items()}
                reached = report.timing.fmax_mhz
                assert reached is not None  # a build without a clock fails
                click.echo(
                    json.dumps(
                        {
                            "board": target,
                            "configuration": config,
                            "seed": seed,
                            "asked_mhz": report.timing.constraint_mhz,
                            "reached_mhz": round(reached, 1),
                            **used,
                            "seconds": {one.phase: one.seconds for one in report.phases},
                            "tools": report.tools,
                        }
                    )
                )


if __name__ == "__main__":
    main()
