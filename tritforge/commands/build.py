"""The command ``tritforge build``: a configuration, or an image, as a bitstream for a board."""

from pathlib import Path

import click

from tritforge.commands.options import FiniteRange, json_option
from tritforge.console import progress_bar, show

__all__ = ["command"]


@click.command("build")
@click.option(
    "--board",
    "board_name",
    required=True,
    metavar="NAME",
    help="The board, e.g. icebreaker; an unknown one lists those that are known.",
)
@click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="Preset or a .toml file. [default: the image's, else the board's preset]",
)
@click.option(
    "--image",
    "image_path",
    metavar="IMAGE",
    type=click.Path(path_type=Path),
    help="Image folder, as written by tritforge export: its program, trits and rows come "
    "with the bitstream, where the memories can hold them from the start.",
)
@click.option(
    "--clock",
    type=FiniteRange(1, 1000),
    metavar="MHZ",
    help="Clock of the accelerator. [default: the board's]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Of placement: another one gives another clock, some percent up or down.",
)
@click.option(
    "--tries",
    type=click.IntRange(1, 100),
    default=4,
    show_default=True,
    help="Seeds, from that one on, that are tried where cells find no place or the clock "
    "is missed; the fastest is kept.",
)
@click.option("--force", is_flag=True, help="Build also what DIR holds already.")
@click.option(
    "--flash",
    is_flag=True,
    help="Then write the bitstream into the board's flash memory, with openFPGALoader.",
)
@click.option(
    "--load",
    "volatile",
    is_flag=True,
    help="Then configure the board until its power goes, with openFPGALoader.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for bitstream, report, logs and sources; a former build there is replaced.",
)
@json_option
def command(
    board_name: str,
    config: str | None,
    image_path: Path | None,
    clock: float | None,
    seed: int,
    tries: int,
    force: bool,
    flash: bool,
    volatile: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Make the bitstream of a board.

    Yosys, nextpnr and icepack or ecppack are used from PATH, where they are there, else as
    WebAssembly from their PyPI packages. The same sources, options and tool versions are not
    built twice. DIR/report.json has what is shown here, block by block.

    If the design is too slow for the clock, bitstream and report are written all the same, but not
    sent to a board, and the exit code is 1: build again with a lower --clock or more --tries.
    """
    if flash and volatile:
        raise click.UsageError("give --flash or --load, not both", click.get_current_context())
    from tritforge.flows.inputs import opened
    from tritforge.fpga.bitstream.build import build, load
    from tritforge.fpga.bitstream.plan import make_plan
    from tritforge.fpga.platform.board import board as named_board
    from tritforge.fpga.toolchain.tools import find
    from tritforge.hw.presets import load_config
    from tritforge.tables.build import build_parts

    board = named_board(board_name)
    loader = find("openFPGALoader") if flash or volatile else None
    image = None if image_path is None else opened(image_path, config)
    chosen = load_config(config or board.config) if image is None else image.config
    with progress_bar() as progress:
        if progress is not None:
            progress("generating Verilog", 0.0)
        plan = make_plan(
            board,
            chosen,
            image,
            seed=seed,
            tries=tries,
            clock_hz=None if clock is None else clock * 1e6,
        )
        built = build(plan, output, force=force, progress=progress)
        met = built.report.timing.met
        if met and loader is not None:
            load(built, board, loader, flash=flash, progress=progress)
    report = built.report
    sent = None if loader is None or not met else "flash" if flash else "FPGA"
    last = []
    if sent is not None:
        last = [f"the board's {sent} holds the bitstream"]
    elif met:
        last = [
            f"next: tritforge build .. --flash or --load sends it; tritforge run --board "
            f"{output} --port DEVICE, or without a board tritforge run --netlist {output}"
        ]
    show(
        as_json,
        {**report.to_json(), "folder": str(output), "fresh": built.fresh, "sent_to": sent},
        *([] if built.fresh else [f"{output} holds this build already"]),
        *build_parts(report),
        f"{built.bitstream}: {report.bitstream.bytes:,} bytes, build {report.identity[:16]}",
        *last,
    )
    if not met:
        raise click.ClickException(
            f"the clock is missed: {chosen.name} reaches {report.timing.fmax_mhz:.1f} MHz on "
            f"{board.name}, not {report.timing.constraint_mhz:.6g} MHz; a lower --clock or "
            f"more --tries may do"
        )
