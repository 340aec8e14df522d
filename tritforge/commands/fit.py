"""The command ``tritforge fit``: a configuration for a board and a network."""

from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from tritforge.console import FiniteRange, json_option, progress_bar, show

__all__ = ["fit_command"]

#: First line of the files that the command writes, by which it knows them again.
MARKER = "# tritforge configuration, found by tritforge fit"
#: Candidates that are shown.
SHOWN = 5
_COLUMNS = {"luts": "LUTs", "block_rams": "block RAMs", "sprams": "SPRAMs", "dsps": "multipliers"}


@click.command("fit")
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--board",
    "board_name",
    required=True,
    metavar="NAME",
    help="The board, e.g. icebreaker; an unknown one lists those that are known.",
)
@click.option(
    "--target",
    type=FiniteRange(min=0, min_open=True),
    metavar="FRAMES_PER_SECOND",
    help="Find the smallest configuration that is so fast. [default: the fastest]",
)
@click.option(
    "--clock",
    type=FiniteRange(1, 1000),
    metavar="MHZ",
    help="Clock at which cycles become frames/s. [default: the board's]",
)
@click.option(
    "--input",
    "inputs",
    metavar="X.npy",
    type=click.Path(path_type=Path),
    help="Inputs whose mean cycles count, as for simulate; the fewer zeros there are in "
    "the activations, the more cycles. [default: one input of random codes]",
)
@click.option(
    "-o",
    "--output",
    metavar="CONFIG.toml",
    type=click.Path(path_type=Path),
    help="Write the configuration to this file, for --config of export and build; a "
    "former one of this command is replaced.",
)
@json_option
def fit_command(
    image: Path,
    board_name: str,
    target: float | None,
    clock: float | None,
    inputs: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find the fastest configuration of a board for IMAGE's network, or, with --target, the
    smallest that is fast enough.

    The network is compiled anew for every configuration that is tried, whatever the image was
    compiled for; its weights and the widths of its numbers stay as they are. Block RAMs and
    multipliers are exact, LUTs are estimates; cycles are those of the cycle model. Whether place
    and route reaches the clock, only tritforge build can say. docs/fit.md has what the estimates
    are worth.
    """
    from tritforge.flows import network as flows
    from tritforge.fpga.fit.search import Search, random_codes
    from tritforge.fpga.platform.board import board as named_board

    board = named_board(board_name)
    clock_hz = board.clocking(None if clock is None else clock * 1e6).clock_hz
    if output is not None:
        _check_output(output)
    with progress_bar() as progress:
        if progress is not None:
            progress("loading image", 0.0)
        loaded = flows.opened(image)
        codes = (
            random_codes(loaded.network) if inputs is None else flows.input_codes(loaded, inputs)
        )
        search = Search(board, loaded.network, codes, clock_hz, progress)
        found = search.fastest() if target is None else search.smallest(target)
    best = found[0]
    if output is not None:
        _write(output, best, board.name, loaded.network.name)
    document = {
        "board": board.name,
        "network": loaded.network.name,
        "clock_hz": clock_hz,
        "fill": board.fill,
        "target": target,
        "input": "random codes" if inputs is None else str(inputs),
        "inputs": len(codes),
        "chosen": best.to_dict(board),
        "others": [one.to_dict(board) for one in found[1:SHOWN]],
        "file": None if output is None else str(output),
    }
    show(
        as_json,
        document,
        *_parts(document, board, best, found[:SHOWN]),
        *(
            []
            if output is None
            else [
                f"{output}: the configuration; next: tritforge export --config {output} .. (with "
                f"the "
                f"options that the image was exported with, such as --digits), "
                f"tritforge build --board {board.name} --image ..",
            ]
        ),
    )


def _check_output(path: Path) -> None:
    """Refuse a file that would not load, or that is somebody else's."""
    from tritforge.common.files import file_obstacle
    from tritforge.fpga.errors import BuildError

    if path.suffix != ".toml":
        raise BuildError(f"configuration file {path} must end in .toml")
    if sentence := file_obstacle(
        path, "was not written by tritforge fit", lambda text: text.startswith(MARKER)
    ):
        raise BuildError(sentence)


def _write(path: Path, best: Any, board: str, network: str) -> None:
    """The configuration as a file that appears whole."""
    from tritforge.common.files import new_file
    from tritforge.fpga.errors import BuildError
    from tritforge.fpga.fit.room import assignments

    fields = best.config.to_dict()
    del fields["name"]  # the file's name is the configuration's
    text = "\n".join(
        [
            MARKER,
            f"# board {board}, network {network}: {best.cycles:,.0f} cycles, "
            f"{best.estimate.luts:,} LUTs",
            *assignments(fields),
            "",
        ]
    )
    try:
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror}") from error


def _parts(document: dict[str, Any], board: Any, best: Any, found: list[Any]) -> list[str | Table]:
    from tritforge.fpga.fit.room import arrangement

    config = best.config
    table = Table(
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        title=f"Configurations for network {document['network']} on {board.title}, at "
        f"{document['clock_hz'] / 1e6:g} MHz",
        caption_justify="left",
        caption="sets x clusters x elements x rows; used, and percent of the chip",
    )
    table.add_column("arrangement", no_wrap=True)
    shown = {name: title for name, title in _COLUMNS.items() if getattr(board.resources, name)}
    for name in ("scan", "queue", *shown.values(), "cycles", "frames/s"):
        table.add_column(name, justify="right")
    for one in found:
        values = one.to_dict(board)["resources"]
        table.add_row(
            arrangement(one.config),
            str(one.config.scan_width),
            str(one.config.queue_depth),
            *(f"{values[name]['used']:,} ({values[name]['percent']:.0f} %)" for name in shown),
            f"{one.cycles:,.0f}{' s' if one.streamed else ''}",
            f"{one.frames_per_second:,.1f}",
        )
    wanted = (
        "the fastest of those tried"
        if document["target"] is None
        else f"the smallest of those tried that gives {document['target']:g} frames/s"
    )
    limits = ", ".join(
        f"{getattr(board.resources, name):,} {title}" for name, title in shown.items()
    )
    streamed = (
        ["s: streamed through the host port in every run; sending is in the cycles"]
        if any(one.streamed for one in found)
        else []
    )
    return [
        f"{wanted}: {config.sets} x {config.clusters} x {config.elements} elements of "
        f"{config.rows} rows, {best.cycles:,.0f} cycles, {best.frames_per_second:,.1f} frames/s",
        table,
        *streamed,
        f"the chip has {limits}; of its LUTs {board.fill:.0%} are used at most, which place and "
        f"route needs; cycles are of {document['inputs']} input"
        f"{'s' if document['inputs'] > 1 else ''}: {document['input']}",
    ]
