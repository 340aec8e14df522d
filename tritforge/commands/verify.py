"""The command ``tritforge verify``: an image on all backends, integer by integer."""

from pathlib import Path

import click

from tritforge.commands.options import (
    codes_option,
    config_check,
    image_argument,
    input_option,
    is_given,
    json_option,
    labels_option,
)
from tritforge.console import progress_bar, show

__all__ = ["command"]


@click.command("verify")
@image_argument
@input_option
@codes_option
@labels_option
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(["memory", "rtl", "pysim"]),
    help="Compare only this one with the golden model (may be repeated). [default: all]",
)
@click.option(
    "--pysim-images",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Images, from the first on, for Amaranth's simulator, which is slow.",
)
@config_check
@json_option
def command(
    image: Path,
    inputs: Path,
    codes: bool,
    labels: Path | None,
    backends: tuple[str, ...],
    pysim_images: int,
    config: str | None,
    as_json: bool,
) -> None:
    """Compare every integer of every layer of IMAGE on all backends.

    The golden model is the reference. Compared are: the memory contents, executed without a
    clock (memory); the compiled RTL (rtl); Amaranth's simulator, where the configuration is small
    enough (pysim). Each runs layer by layer, and once more all layers in one RUN.

    The first difference is named by layer, row (output channel), pixel and image; the exit code
    is then 1.
    """
    if is_given("pysim_images") and backends and "pysim" not in backends:
        raise click.UsageError(
            "--pysim-images goes with --backend pysim", click.get_current_context()
        )
    from tritforge.flows.inputs import opened
    from tritforge.flows.verify import verify
    from tritforge.tables.verify import verification_table

    loaded = opened(image, config)
    with progress_bar() as progress:
        result = verify(
            loaded,
            inputs,
            codes=codes,
            labels=labels,
            backends=backends or None,
            pysim_images=pysim_images,
            progress=progress,
        )
    show(as_json, result.to_json(), verification_table(result))
    for one in result.comparisons:
        if one.difference is not None:
            raise click.ClickException(str(one.difference))
