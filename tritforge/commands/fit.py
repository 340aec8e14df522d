"""The command ``tritforge fit``: a configuration for a board and a network."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tritforge.commands.options import FiniteRange, codes_option, image_argument, json_option
from tritforge.console import progress_bar, show

if TYPE_CHECKING:
    from tritforge.fpga.fit.search import Candidate

__all__ = ["command"]

#: First line of the files that the command writes, by which it knows them again.
MARKER = "# tritforge configuration, found by tritforge fit"
#: Candidates that are shown.
SHOWN = 5


@click.command("fit")
@image_argument
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
@codes_option
@click.option(
    "-o",
    "--output",
    metavar="CONFIG.toml",
    type=click.Path(path_type=Path),
    help="Write the configuration to this file, for --config of export and build; a "
    "former one of this command is replaced.",
)
@json_option
def command(
    image: Path,
    board_name: str,
    target: float | None,
    clock: float | None,
    inputs: Path | None,
    codes: bool,
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
    if codes and inputs is None:
        raise click.UsageError("--codes goes with --input", click.get_current_context())
    from tritforge.flows.inputs import opened, read_inputs
    from tritforge.fpga.fit.report import FitReport
    from tritforge.fpga.fit.search import Search, random_codes
    from tritforge.fpga.platform.board import board as named_board
    from tritforge.tables.fit import fit_parts

    board = named_board(board_name)
    clock_hz = board.clocking(None if clock is None else clock * 1e6).clock_hz
    if output is not None:
        _check_output(output)
    with progress_bar() as progress:
        if progress is not None:
            progress("loading image", 0.0)
        loaded = opened(image)
        given = (
            random_codes(loaded.network)
            if inputs is None
            else read_inputs(loaded, inputs, codes=codes).codes
        )
        search = Search(board, loaded.network, given, clock_hz, progress)
        found = search.fastest() if target is None else search.smallest(target)
    best = found[0]
    if output is not None:
        _write(output, best, board.name, loaded.network.name)
    report = FitReport(
        board=board.name,
        network=loaded.network.name,
        clock_hz=clock_hz,
        fill=board.fill,
        target=target,
        input="random codes" if inputs is None else str(inputs),
        inputs=len(given),
        chosen=best.report(board),
        others=tuple(one.report(board) for one in found[1:SHOWN]),
        file=None if output is None else str(output),
    )
    show(
        as_json,
        report.to_json(),
        *fit_parts(report, board, best, found[:SHOWN]),
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


def _write(path: Path, best: "Candidate", board: str, network: str) -> None:
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
