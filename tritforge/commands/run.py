"""The command ``tritforge run``: an image on a board, or on a simulated one."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from tritforge.commands.options import (
    FiniteRange,
    codes_option,
    input_option,
    is_given,
    json_option,
    labels_option,
)
from tritforge.console import progress_bar, show

__all__ = ["command"]

#: Images whose outputs are shown.
_SHOWN = 20
#: Outputs of an image that are shown.
_OUTPUTS = 10


@click.command("run")
@click.option(
    "--image",
    required=True,
    metavar="IMAGE",
    type=click.Path(path_type=Path),
    help="Image folder, as written by tritforge export.",
)
@input_option
@codes_option
@labels_option
@click.option(
    "--board",
    "board_name",
    metavar="NAME|BUILD",
    help="The board, or the folder of its build: clock and baud rate.",
)
@click.option("--port", metavar="DEVICE", help="Serial port of the board, e.g. /dev/ttyUSB1.")
@click.option(
    "--virtual",
    is_flag=True,
    help="Instead of a board: the Verilog of the image's configuration, simulated, "
    "behind a pseudo-terminal.",
)
@click.option(
    "--netlist",
    metavar="BUILD",
    type=click.Path(path_type=Path),
    help="Instead of a board: the synthesized netlist of a build folder, with the "
    "contents of its memories, simulated like --virtual, but 5 to 50 times slower.",
)
@click.option(
    "--noise",
    type=FiniteRange(0, 0.1),
    default=0.0,
    metavar="P",
    help="With --virtual: the share of bytes on the line that are corrupted, lost or "
    "added, in both directions.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise."
)
@click.option(
    "--check/--no-check",
    default=None,
    help="Compare every output with the golden model. [default: without --port]",
)
@click.option(
    "-o",
    "--output",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Folder for report.json and output.npy, as tritforge simulate writes them; a "
    "former run there is replaced.",
)
@json_option
def command(
    image: Path,
    inputs: Path,
    codes: bool,
    labels: Path | None,
    board_name: str | None,
    port: str | None,
    virtual: bool,
    netlist: Path | None,
    noise: float,
    seed: int,
    check: bool | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run IMAGE on a board and show what it answers.

    The board must have been configured with the image's hardware configuration. If its memories
    hold the image already, as they do after the first time until power goes, only inputs are sent.
    Damaged and lost bytes on the line are noticed, and what they were part of is sent again.
    """
    context = click.get_current_context()
    if virtual + (netlist is not None) + (port is not None) != 1:
        raise click.UsageError(
            "give either --port DEVICE with --board NAME, or --virtual, or --netlist BUILD", context
        )
    if port is not None and board_name is None:
        raise click.UsageError("--port goes with --board NAME", context)
    if noise and not virtual:
        raise click.UsageError("--noise goes with --virtual", context)
    if is_given("seed") and not is_given("noise"):
        raise click.UsageError("--seed goes with --noise", context)
    if board_name is not None and port is None:
        raise click.UsageError("--board goes with --port: what is simulated has no board", context)
    import numpy as np

    from tritforge.flows.inputs import opened, read_inputs, read_labels
    from tritforge.flows.simulate import report_of
    from tritforge.fpga.link.serial_link import SerialLink
    from tritforge.fpga.run.backend import BoardBackend
    from tritforge.fpga.run.virtual import virtual_board
    from tritforge.sim.report import check_run_folder, write_run
    from tritforge.tables.run import board_run_sentences

    clock, baud = (0, 3_000_000) if board_name is None else _clock(board_name)
    if port is None:
        clock = 0  # a simulated board's is nobody's
    checked = port is None if check is None else check
    loaded = opened(image)
    given = read_inputs(loaded, inputs, codes=codes)
    known = None
    if labels is not None:
        known = read_labels(labels, len(given.codes), loaded.manifest.output.shape)
    if output is not None:
        check_run_folder(output)
    with progress_bar() as progress, ExitStack() as stack:
        if virtual:
            simulated = stack.enter_context(
                virtual_board(loaded.config, noise=noise, seed=seed, progress=progress)
            )
        elif netlist is not None:
            from tritforge.fpga.run.netlist import netlist_board

            simulated = stack.enter_context(netlist_board(netlist, progress=progress))
        if port is None:
            link = SerialLink.open(
                loaded.config, simulated.port, baud, progress=progress, clock=simulated.seconds
            )
        else:
            link = SerialLink.open(loaded.config, port, baud, clock_hz=clock, progress=progress)
        backend = stack.enter_context(BoardBackend(loaded, link))
        simulation = backend.run(given.codes, progress=progress)
        simulation.input, simulation.labels = given.facts, known
        link_statistics = link.statistics.to_dict()
        differences = 0
        if checked:
            expected = backend.golden.run(given.codes)
            differences = int(
                (expected != simulation.output).reshape(len(given.codes), -1).any(1).sum()
            )
    report = report_of(simulation, loaded)
    document: dict[str, Any] = {
        "board": "virtual" if virtual else "netlist" if netlist else board_name,
        "port": port,
        "link": link_statistics,
        "already_there": backend.kept,
        "checked": checked,
        "different_images": differences,
        "report": report.to_json(),
    }
    if output is not None and not differences:
        write_run(output, report, simulation)
    rows = simulation.output.reshape(len(given.codes), -1)
    shown = [
        f"image {number}: class {int(row.argmax())}, outputs "
        f"{np.array2string(row[:_OUTPUTS], separator=', ')}"
        f"{' ..' if len(row) > _OUTPUTS else ''}"
        for number, row in enumerate(rows[:_SHOWN])
    ]
    if len(rows) > _SHOWN:
        shown.append(f"and {len(rows) - _SHOWN} images more")
    show(
        as_json,
        document,
        *shown,
        *board_run_sentences(document, report, clock),
        *([] if output is None or differences else [f"{output}: report.json, output.npy"]),
    )
    if differences:
        raise click.ClickException(
            f"{differences} of {len(given.codes)} images differ from the golden model"
        )


def _clock(board: str) -> tuple[int, int]:
    """Clock in Hz and baud rate of a board by name, or of a build by its folder."""
    if Path(board).is_dir():
        from tritforge.fpga.bitstream.build import former_report

        clock = former_report(Path(board)).clock
        return round(clock.hz), clock.baud
    from tritforge.fpga.platform.board import board as named_board

    clocking = named_board(board).clocking()
    return round(clocking.clock_hz), clocking.baud
