"""The command ``tritforge simulate``: an image on one backend."""

from pathlib import Path

import click

from tritforge.commands.options import (
    clock_option,
    codes_option,
    config_check,
    image_argument,
    input_option,
    is_given,
    json_option,
    labels_option,
)
from tritforge.common.errors import warn
from tritforge.console import progress_bar, show

__all__ = ["command"]


@click.command("simulate")
@image_argument
@input_option
@codes_option
@labels_option
@click.option(
    "--backend",
    type=click.Choice(["golden", "cycle", "rtl", "pysim"]),
    default="rtl",
    show_default=True,
    help="golden: PyTorch integers, no cycles. cycle: the same integers, cycles and "
    "counters from a model that equals the RTL's. rtl: the Verilog, compiled "
    "natively (about a minute the first time, then from a cache). pysim: "
    "Amaranth's own simulator, no compiler needed, about 1000 cycles/s, up to 64 "
    "elements.",
)
@click.option(
    "--layer", metavar="NAME", help="Run this layer alone, on the golden activations before it."
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Folder for report.json and output.npy; a former run there is replaced.",
)
@click.option(
    "--log",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write what happened in which clock cycle, of one input image: a line of "
    "JSON for each event. A former log there is replaced; not with golden.",
)
@clock_option
@config_check
@json_option
def command(
    image: Path,
    inputs: Path,
    codes: bool,
    labels: Path | None,
    backend: str,
    layer: str | None,
    output: Path,
    log: Path | None,
    clock: float,
    config: str | None,
    as_json: bool,
) -> None:
    """Run IMAGE on input images; integers, cycles and counters per layer.

    Writes RUN/output.npy, int32: the results of the last layer, (N, rows) or, where it has more
    than one pixel, (N, rows, height, width); a real value is the integer times output.scale of
    RUN/report.json (result_scale in the image's manifest). With --layer: that layer's output
    integers (activation codes after requantization and max-pool).

    RUN/report.json has total_cycles, layers[].name, cycles, utilization, counters and more, with
    the units under "units". Cycles are clock cycles between RUN and its end; writing the image
    and the input and reading results is not included, unless the image does not fit the memories:
    then it is sent in every run, and that is in the cycles.
    """
    if is_given("clock") and backend == "golden":
        warn("backend golden has no cycles, so --clock changes nothing")
    elif is_given("clock") and as_json:
        warn("JSON has cycles and no times, so --clock changes nothing")
    from tritforge.flows.inputs import opened
    from tritforge.flows.simulate import report_of, simulate
    from tritforge.tables.simulate import layer_tables, summary

    loaded = opened(image, config)
    with progress_bar() as progress:
        simulation = simulate(
            loaded,
            inputs,
            backend,
            codes=codes,
            labels=labels,
            layer=layer,
            output=output,
            log=log,
            progress=progress,
        )
    report = report_of(simulation, loaded)
    show(
        as_json,
        report,
        summary(report, clock),
        *layer_tables(report, clock),
        f"{output}: report.json, output.npy {report.output.shape} "
        f"{report.output.dtype}, scale {report.output.scale:.6g}",
        *([] if log is None else [f"{log}: event log, to be compared with another backend's"]),
    )
