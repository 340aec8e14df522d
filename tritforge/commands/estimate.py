"""The command ``tritforge estimate``: energy and area of a network on a configuration."""

from pathlib import Path

import click

from tritforge.commands.options import (
    codes_option,
    cost_figures,
    cost_options,
    image_argument,
    input_option,
    json_option,
)
from tritforge.console import progress_bar, show

__all__ = ["command"]


@click.command("estimate")
@image_argument
@input_option
@codes_option
@click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="Estimate the image's network on this configuration; it is compiled anew where "
    "that is another one. [default: the image's]",
)
@click.option(
    "--run",
    "run_folder",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Take the counters of this run (simulate or run) of IMAGE on the same inputs, "
    "instead of the cycle model's.",
)
@cost_options
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Also estimate the same array without skipping, and dense 8-bit "
    "multiply-accumulate units.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="Also write everything to this file: every count, figure and source. A former "
    "estimate there is replaced.",
)
@json_option
def command(
    image: Path,
    inputs: Path,
    codes: bool,
    config: str | None,
    run_folder: Path | None,
    technology_name: str,
    clock: float | None,
    liberty: Path | None,
    memories: Path | None,
    baselines: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Energy per image, by layer and component, and area of IMAGE on its configuration.

    Energy is counted events (the cycle model's, which equal the RTL's) times published figures of
    a technology; area is the generated Verilog mapped to its cells, and its memories composed of
    its macros. Published figures differ, so all results are bands: low, typical, high. The first
    estimate of a configuration maps its Verilog (20 s for tiny, a minute for alexnet); the result
    is kept.

    No layout and no timing analysis stands behind it: whether the clock is reached is not known.
    """
    from tritforge.common.files import new_file
    from tritforge.common.json_types import dump
    from tritforge.cost.errors import CostError
    from tritforge.cost.estimate import estimate, run_estimate
    from tritforge.flows.inputs import opened, read_inputs
    from tritforge.hw.presets import load_config
    from tritforge.sim.report import ReportError, read_run
    from tritforge.tables.estimate import estimate_parts

    technology, library = cost_figures(technology_name, liberty, memories)
    if output is not None:
        _check_output(output)
    run = None if run_folder is None else read_run(run_folder)
    with progress_bar() as progress:
        if progress is not None:
            progress("loading image", 0.0)
        loaded = opened(image)
        chosen = None if config is None else load_config(config)
        if run is None:
            document = estimate(
                loaded,
                inputs,
                technology,
                codes=codes,
                config=chosen,
                library=library,
                clock=clock,
                baselines=baselines,
                progress=progress,
            )
        else:
            if chosen is not None and chosen.identity != loaded.config.identity:
                raise CostError(
                    f"the run is of the image's configuration, {loaded.config.name}, "
                    f"not of {chosen.name}"
                )
            document = run_estimate(
                run,
                loaded,
                technology,
                codes=read_inputs(loaded, inputs, codes=codes).codes,
                library=library,
                clock=clock,
                baselines=baselines,
                progress=progress,
            )
    if output is not None:
        try:
            with new_file(output) as place:
                place.write_text(dump(document.to_json()), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"estimate {output} cannot be written: {error.strerror}") from error
    show(
        as_json,
        document.to_json(),
        *estimate_parts(document),
        *([] if output is None else [f"{output}: all counts, terms, figures and sources"]),
    )


def _check_output(path: Path) -> None:
    """Refuse a file that is somebody else's, or that would lie in a finished folder.

    Raises
    ------
    ReportError
    """
    import json

    from tritforge.common.files import file_obstacle
    from tritforge.cost.results import FORMAT
    from tritforge.sim.report import ReportError

    begin = f'{{\n  "format": {json.dumps(FORMAT)},'  # as tritforge.common.json_types.dump() has it
    if sentence := file_obstacle(path, f"is not a {FORMAT}", lambda text: text.startswith(begin)):
        raise ReportError(sentence)
