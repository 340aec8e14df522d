"""The command ``tritforge generate``: a configuration as Verilog."""

from pathlib import Path

import click

from tritforge.commands.options import CONFIG_HELP, json_option
from tritforge.console import progress_bar, show
from tritforge.hw.bodies import Target
from tritforge.hw.presets import PRESETS

__all__ = ["command"]

_PRESETS = "\n".join(
    f"  {config.name:<17} sets x clusters x elements = {config.sets} x {config.clusters} x "
    f"{config.elements} = {config.adders} adders, {config.rows} rows each"
    for config in PRESETS.values()
)


@click.command("generate", epilog="Presets:\n\n\b\n" + _PRESETS)
@click.option(
    "--config",
    required=True,
    metavar="NAME|FILE.toml",
    help=CONFIG_HELP + " A file names the fields that differ from a preset, e.g. "
    "'preset = \"tiny\"' and 'queue_depth = 8'.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for accelerator.v and accelerator.json; made if needed.",
)
@click.option(
    "--target",
    type=click.Choice(["portable", "verilator", "ice40", "ecp5"]),
    default="portable",
    show_default=True,
    help="Who reads the Verilog: any tool, Verilator, which simulates it faster, or Yosys for a "
    "family of FPGAs. Memories and accumulators are written accordingly.",
)
@json_option
def command(config: str, output: Path, target: str, as_json: bool) -> None:
    """Write the Verilog of a configuration, and a JSON side-car that describes it."""
    import json

    from tritforge.flows.generate import generate

    with progress_bar() as progress:
        if progress is not None:
            progress("generating Verilog", 0.0)
        verilog, sidecar = generate(config, output, Target(target))
    about = json.loads(sidecar.read_text(encoding="utf-8"))
    document = {"verilog": str(verilog), "sidecar": str(sidecar), **about}
    show(
        as_json,
        document,
        f"{verilog}: {verilog.stat().st_size:,} bytes, top module {about['top']}, "
        f"{about['processing_elements']} processing elements"
        f"{', each with a multiplier' if about['element_multipliers'] else ''}, "
        f"{about['weight_multipliers']} weight multipliers, "
        f"{about['requantizer_multipliers']} requantizer multipliers",
        f"{sidecar}: parameters, ports, memories, counters",
    )
