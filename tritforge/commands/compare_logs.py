"""The command ``tritforge compare-logs``: two event logs, record by record."""

from pathlib import Path

import click

from tritforge.commands.options import json_option
from tritforge.console import show

__all__ = ["command"]


@click.command("compare-logs")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@json_option
def command(first: Path, second: Path, as_json: bool) -> None:
    """Name the first difference between two event logs, A and B, of simulate --log.

    Logs of one image and one input must be equal, record for record, whichever backend wrote
    them: where they are not, the hardware and its model do not do the same from that cycle
    on, whatever their counters say at the layer's end. The exit code is then 1. Logs of other
    networks, configurations, images, inputs or layers are refused.
    """
    from tritforge.sim.event_log import compare_logs as compare

    result = compare(first, second)
    show(
        as_json,
        result.to_json(),
        *(
            []
            if not result.equal
            else [
                f"{first} ({result.first.backend}) and {second} ({result.second.backend}) "
                f"are equal: "
                f"{result.records:,} records of {result.layers} layer{'s' * (result.layers != 1)}"
            ]
        ),
    )
    if result.difference is not None:
        raise click.ClickException(result.difference)
