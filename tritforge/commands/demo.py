"""The command ``tritforge demo``: everything, with the network that ships."""

from pathlib import Path

import click

from tritforge.commands.options import CONFIG_HELP, clock_option, is_given, json_option
from tritforge.common.errors import warn
from tritforge.console import progress_bar, show

__all__ = ["command"]


@click.command("demo")
@click.option(
    "-o",
    "--output",
    default="demo-out",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for image, runs and pictures; a former demo there is replaced.",
)
@click.option(
    "--config", default="tiny", show_default=True, metavar="NAME|FILE.toml", help=CONFIG_HELP
)
@click.option(
    "--images",
    type=click.IntRange(1, 360),
    default=360,
    show_default=True,
    help="Test images through the RTL.",
)
@click.option(
    "--layers-of",
    "checked",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images of which every integer of every layer is compared.",
)
@click.option(
    "--baseline/--no-baseline",
    default=True,
    show_default=True,
    help="Compare with the same array without skipping of zeros, which takes a second compilation.",
)
@clock_option
@json_option
def command(
    output: Path,
    config: str,
    images: int,
    checked: int,
    baseline: bool,
    clock: float,
    as_json: bool,
) -> None:
    """Export, run, check and picture the network that ships with tritforge.

    A small CNN for handwritten digits (8 x 8 pixels, scikit-learn's), trained with TTQ: exported
    for one configuration, its test images run through the RTL, every logit and, of some images,
    every integer of every layer compared with the golden model. Prints accuracies, cycles and
    utilization, and the commands that give the same numbers. Ends within five minutes, most of
    which goes into compiling the simulator the first time. The exit code is 1 if anything differs.
    """
    if is_given("clock") and as_json:
        warn("JSON has cycles and no times, so --clock changes nothing")
    if is_given("checked") and checked > images:
        warn(f"--layers-of {checked} is more than there are images: all {images} are compared")
    from tritforge.flows.demo import run
    from tritforge.tables.demo import demo_parts

    with progress_bar() as progress:
        result = run(
            output, config, images=images, checked=checked, baseline=baseline, progress=progress
        )
    show(as_json, result, *demo_parts(result, output, clock))
    if not result["equal"]:
        raise click.ClickException(
            "the RTL differs from the golden model: " + "; ".join(result["differences"])
        )
