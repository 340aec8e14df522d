"""The command ``tritforge``.

A user's mistake gives one sentence on standard error and an exit code other than 0; tables go to
standard output, progress to standard error, and only where that is a terminal.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tritforge.commands.build import build_command
from tritforge.commands.estimate import estimate_command
from tritforge.commands.fit import fit_command
from tritforge.commands.report import report_command
from tritforge.commands.run import run_command
from tritforge.console import FiniteRange, input_option, json_option, progress_bar, show
from tritforge.hw.presets import PRESETS

__all__ = ["main"]

#: Exit codes: something differs or is refused; wrong usage (as click has it); interrupted.
FAILED, USAGE, INTERRUPTED = 1, 2, 130

#: What a user can cause, by the module that defines it: those not imported were not raised.
_USER_ERRORS = {
    "tritforge.fpga.errors": ("BuildError",),
    "tritforge.hw.config": ("ConfigError",),
    "tritforge.model_export.formats.checkpoint": ("CheckpointError",),
    "tritforge.model_export.errors": ("ExportError", "ImageError"),
    "tritforge.model_export.zoo": ("ModelError",),
    "tritforge.sim.backend": ("SimulationError",),
    "tritforge.sim.cycle.model": ("CycleModelError",),
    "tritforge.sim.device": ("DeviceError",),
    "tritforge.sim.event_log": ("EventLogError",),
    "tritforge.sim.native": ("SimulatorError",),
    "tritforge.sim.report": ("ReportError",),
    "tritforge.cost.errors": ("CostError",),
}

_CONFIGS = "\n".join(
    f"  {config.name:<11} sets x clusters x elements = {config.sets} x {config.clusters} x "
    f"{config.elements} = {config.adders} adders, {config.rows} rows each"
    for config in PRESETS.values()
)

_CONFIG_HELP = f"Preset ({', '.join(PRESETS)}) or a .toml file."


class _ExportCommand(click.Command):
    """Lists the zoo, whose import takes seconds, only where help is asked for."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from tritforge.model_export.zoo import ZOO

        formatter.write_paragraph()
        formatter.write_text("Networks of the zoo:")
        with formatter.indentation():
            for name, builder in sorted(ZOO.items()):
                about = (builder.__doc__ or "").strip().splitlines()[0].split(";")[0]
                formatter.write_text(f"zoo:{name}  {about}")
        super().format_epilog(ctx, formatter)


_config_check = click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="Refuse the image unless it was compiled for this configuration.",
)
_image = click.argument("image", type=click.Path(path_type=Path))


_CLOCK = FiniteRange(min=1e-6)  # MHz: from 1 Hz on


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Errors are one sentence on standard error. Exit codes: 0 all is well, 1 something "
    "is refused or differs, 2 wrong usage, 130 interrupted.",
)
@click.version_option(package_name="tritforge")
def cli() -> None:
    """Run trained ternary networks on generated hardware, bit for bit.

    The usual order: export a trained network to an image for one hardware configuration; simulate
    it; verify that all backends agree; generate the Verilog of that configuration. `tritforge
    demo` does all of it with a network that ships with this program.
    """


def _needed(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """A parameter that only drawn weights make superfluous."""
    if value is None and ctx.params.get("seed") is None:
        raise click.MissingParameter(ctx=ctx, param=param)
    return value


@cli.command(cls=_ExportCommand)
@click.option(
    "--drawn",
    "seed",
    type=click.IntRange(min=0),
    metavar="SEED",
    is_eager=True,
    help="Instead of CHECKPOINT: weights drawn at random from this seed, with the "
    "densities published for AlexNet; --model must be one of zoo:alexnet_*. "
    "Photographs calibrate unless --calibrate is given.",
)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False, callback=_needed)
@click.option(
    "--model",
    required=True,
    metavar="FILE.py:NAME|zoo:NAME",
    help="The network: a class or function (or a module object) in a Python file, which "
    "is run, or a network of the zoo.",
)
@click.option(
    "--calibrate",
    "samples",
    metavar="X.npy",
    callback=_needed,
    type=click.Path(path_type=Path),
    help="Sample inputs (N, C, H, W), or (N, features), as the network was trained on: "
    "activation scales come from them. Some 100 training images do.",
)
@click.option("--config", required=True, metavar="NAME|FILE.toml", help=_CONFIG_HELP)
@click.option(
    "--threshold",
    type=float,
    metavar="T",
    help="TTQ's t, as a fraction of max |w|, for checkpoints with latent weights, Wp "
    "and Wn that do not hold it (the paper: 0.05).",
)
@click.option(
    "--digits",
    type=click.IntRange(0, 16),
    default=8,
    show_default=True,
    help="Bits of weights in layers that are not ternary; 0 refuses such layers.",
)
@click.option(
    "--percentile",
    type=float,
    help="Clip activations at this percentile of the samples' values instead of at the "
    "largest, e.g. 99.99.",
)
@click.option("--name", help="What reports call the network. [default: NAME of --model]")
@click.option(
    "--resident",
    is_flag=True,
    help="Refuse a network that does not fit the memories whole, instead of streaming "
    "it through the host port in every run.",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Compare the network after every pass with what it was before.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="IMAGE",
    type=click.Path(path_type=Path),
    help="Image folder to write; a former image there is replaced.",
)
@json_option
def export(
    seed: int | None,
    checkpoint: Path | None,
    model: str,
    samples: Path | None,
    config: str,
    threshold: float | None,
    digits: int,
    percentile: float | None,
    name: str | None,
    resident: bool,
    check: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Compile CHECKPOINT into an image for one hardware configuration.

    CHECKPOINT is what torch.save wrote (any version; a state_dict, alone or inside a dictionary)
    or an .npz archive. No code from it is run. Weights may be those of tritforge's own TTQ
    modules, ternary values baked into ordinary layers, or latent weights with Wp and Wn.

    The image is a folder: a readable manifest.json with shapes, scales, checksums, and the
    contents of the hardware's memories. It appears only when it is complete.

    What does not fit the memories is streamed: trits, rows and program are sent while the array
    computes, and activations too large for the chip come and go in strips of rows.
    """
    if seed is not None and (checkpoint is not None or threshold is not None):
        raise click.UsageError(
            "--drawn draws all weights: it goes with neither CHECKPOINT nor --threshold",
            click.get_current_context(),
        )
    from tritforge.flows import network as flows

    provenance = None
    with progress_bar() as progress:
        network: Any = model
        inputs: Any = samples
        if seed is not None:
            network, provenance, drawn_samples = flows.drawn(model, seed, progress)
            inputs = drawn_samples if samples is None else samples
            name = name or model.rpartition(":")[2]
        made = flows.export(
            checkpoint,
            network,
            inputs,
            config,
            output,
            threshold=threshold,
            digits=digits,
            percentile=percentile,
            name=name,
            check=check,
            resident=resident,
            provenance=None if provenance is None else provenance.to_dict(),
            progress=progress,
        )
    manifest = made.image.manifest
    show(
        as_json,
        made.to_dict(),
        *([] if provenance is None else [str(provenance)]),
        *flows.export_parts(manifest),
        *(f"{step.name}: {step.check}" for step in made.steps if step.check),
        export_sentence(manifest, output),
    )


def export_sentence(manifest: dict[str, Any], output: Path) -> str:
    """What was written, and how large it is."""
    sizes = manifest["sizes"]["whole"]
    ratio = sizes["float32_over_packed"]
    small = f", {ratio:.1f} times smaller than 32-bit weights" if ratio else ""
    return (
        f"{output}: network {manifest['network']} for configuration "
        f"{manifest['configuration']['name']}; {sizes['weights']:,} weights in "
        f"{sizes['packed_bytes']:,} bytes of trits{small}; {sizes['memory_bytes']:,} bytes of "
        f"memory contents{streaming_clause(manifest['streaming'])}"
    )


def streaming_clause(streaming: dict[str, Any] | None) -> str:
    """How an image that does not fit is run."""
    if streaming is None:
        return ""
    kept = ", ".join(streaming["external_tensors"])
    return (
        f", which do not fit at once: streamed in {streaming['passes']} passes, "
        f"{streaming['sent_words']:,} port words to the accelerator and "
        f"{streaming['read_words']:,} back for every image (tensors kept by the host: {kept})"
    )


@cli.command(epilog="Presets:\n\n\b\n" + _CONFIGS)
@click.option(
    "--config",
    required=True,
    metavar="NAME|FILE.toml",
    help=_CONFIG_HELP + " A file names the fields that differ from a preset, e.g. "
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
@json_option
def generate(config: str, output: Path, as_json: bool) -> None:
    """Write the Verilog of a configuration, and a JSON side-car that describes it."""
    import json

    from tritforge.flows import network as flows

    with progress_bar() as progress:
        if progress is not None:
            progress("generating Verilog", 0.0)
        verilog, sidecar = flows.generate(config, output)
    about = json.loads(sidecar.read_text(encoding="utf-8"))
    document = {"verilog": str(verilog), "sidecar": str(sidecar), **about}
    show(
        as_json,
        document,
        f"{verilog}: {verilog.stat().st_size:,} bytes, top module {about['top']}, "
        f"{about['processing_elements']} processing elements, {about['weight_multipliers']} "
        f"weight multipliers, {about['requantizer_multipliers']} requantizer multipliers",
        f"{sidecar}: parameters, ports, memories, counters",
    )


@cli.command()
@_image
@input_option
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
@click.option(
    "--clock",
    type=_CLOCK,
    default=50.0,
    show_default=True,
    metavar="MHZ",
    help="Clock at which the table shows cycles as time; nothing else depends on it.",
)
@_config_check
@json_option
def simulate(
    image: Path,
    inputs: Path,
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
    from tritforge.flows import network as flows
    from tritforge.sim.report import layer_tables, summary

    loaded = flows.opened(image, config)
    with progress_bar() as progress:
        simulation = flows.simulate(
            loaded, inputs, backend, layer=layer, output=output, log=log, progress=progress
        )
    report = flows.report_of(simulation, loaded)
    show(
        as_json,
        report,
        summary(report, clock),
        *layer_tables(report, clock),
        f"{output}: report.json, output.npy {tuple(report['output']['shape'])} "
        f"{report['output']['dtype']}, scale {report['output']['scale']:.6g}",
        *([] if log is None else [f"{log}: event log, to be compared with another backend's"]),
    )


@cli.command()
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@json_option
def compare_logs(first: Path, second: Path, as_json: bool) -> None:
    """Name the first difference between two event logs, A and B, of simulate --log.

    Logs of one image and one input must be equal, record for record, whichever backend wrote
    them: where they are not, the hardware and its model do not do the same from that cycle
    on, whatever their counters say at the layer's end. The exit code is then 1. Logs of other
    networks, configurations, images, inputs or layers are refused.
    """
    from tritforge.sim.event_log import compare_logs as compare

    result = compare(first, second)
    show(
        as_json,
        result.to_dict(),
        *(
            []
            if not result.equal
            else [
                f"{first} ({result.first['backend']}) and {second} ({result.second['backend']}) "
                f"are equal: "
                f"{result.records:,} records of {result.layers} layer{'s' * (result.layers != 1)}"
            ]
        ),
    )
    if result.difference is not None:
        raise click.ClickException(result.difference)


@cli.command()
@_image
@input_option
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
@_config_check
@json_option
def verify(
    image: Path,
    inputs: Path,
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
    from tritforge.flows import network as flows

    loaded = flows.opened(image, config)
    with progress_bar() as progress:
        result = flows.verify(
            loaded, inputs, backends=backends or None, pysim_images=pysim_images, progress=progress
        )
    show(as_json, result.to_dict(), flows.verification_table(result))
    for one in result.comparisons:
        if one.difference is not None:
            raise click.ClickException(str(one.difference))


@cli.command()
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
    "--config", default="tiny", show_default=True, metavar="NAME|FILE.toml", help=_CONFIG_HELP
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
@click.option(
    "--clock",
    type=_CLOCK,
    default=50.0,
    show_default=True,
    metavar="MHZ",
    help="Clock at which the table shows cycles as time; nothing else depends on it.",
)
@json_option
def demo(
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
    from tritforge.flows import demo as program

    with progress_bar() as progress:
        result = program.run(
            output, config, images=images, checked=checked, baseline=baseline, progress=progress
        )
    show(as_json, result, *program.describe(result, output, clock))
    if not result["equal"]:
        raise click.ClickException(
            "the RTL differs from the golden model: " + "; ".join(result["differences"])
        )


@cli.group()
def bench() -> None:
    """Cycles, utilization and stalls of a well-known network."""


@bench.command("alexnet")
@click.option(
    "--topology",
    type=click.Choice(["dorefa", "krizhevsky", "torchvision"]),
    default="dorefa",
    show_default=True,
    help="dorefa: as the authors of TTQ trained it. krizhevsky: of 2012, with batch "
    "norm. torchvision: torchvision's, without groups.",
)
@click.option(
    "--config", default="alexnet", show_default=True, metavar="NAME|FILE.toml", help=_CONFIG_HELP
)
@click.option(
    "--backend",
    type=click.Choice(["cycle", "rtl", "golden"]),
    default="cycle",
    show_default=True,
    help="cycle: the cycle model, equal to the RTL. rtl: the Verilog itself, whose "
    "simulator must be compiled first. golden: no cycles.",
)
@click.option(
    "--photograph",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The picture to run; drawn batch norms are set for it. "
    "[default: china.jpg of scikit-learn]",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Trained weights, in the authors' names and layouts or the zoo's, instead of drawn ones.",
)
@click.option(
    "--threshold",
    type=float,
    metavar="T",
    help="TTQ's t of the checkpoint's latent weights, as a fraction of max |w| (the "
    "authors' AlexNet: 0.049).",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of drawn weights."
)
@click.option(
    "--divisor",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Narrow all hidden layers by this: a network for quick trials, not AlexNet.",
)
@click.option(
    "--clock",
    type=_CLOCK,
    default=50.0,
    show_default=True,
    metavar="MHZ",
    help="Clock at which cycles are shown as time; nothing else depends on it.",
)
@click.option(
    "--out",
    "output",
    default="bench-alexnet",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for bench.json, output.npy, bench.png and the image, which the next "
    "run reuses if it still fits; a former benchmark there is replaced.",
)
@json_option
def bench_alexnet(
    topology: str,
    config: str,
    backend: str,
    photograph: Path | None,
    checkpoint: Path | None,
    threshold: float | None,
    seed: int,
    divisor: int,
    clock: float,
    output: Path,
    as_json: bool,
) -> None:
    """One photograph through AlexNet: cycles per layer and where they went.

    No trained TTQ AlexNet is published. Without --checkpoint the weights are drawn at random with
    the densities that the paper's Table 4 states, and batch norms are set so that layers
    see the activation densities published for AlexNet; cycles and utilization are then those of
    such a network, and its outputs mean nothing. docs/alexnet.md has the details.

    Cycles are clock cycles of the accelerator with trits, rows, program and input in its memories;
    loading them is not included and is stated apart, in words of the host port. On a configuration
    whose memories are too small (ulx3s_85f) all that is sent while the array computes, and is in
    the cycles.
    """
    from tritforge.flows import bench as program

    with progress_bar() as progress:
        result = program.run(
            output,
            f"alexnet_{topology}",
            config,
            backend=backend,
            photograph=photograph,
            checkpoint=checkpoint,
            threshold=threshold,
            seed=seed,
            divisor=divisor,
            clock=clock,
            progress=progress,
        )
    show(as_json, result, *program.describe(result, output))


cli.add_command(build_command)
cli.add_command(estimate_command)
cli.add_command(fit_command)
cli.add_command(report_command)
cli.add_command(run_command)


# ----- errors


def _sentence(message: str) -> str:
    return " ".join(message.split())


def _is_user_error(error: Exception) -> bool:
    return any(
        isinstance(error, getattr(sys.modules[module], name))
        for module, names in _USER_ERRORS.items()
        if module in sys.modules
        for name in names
    )


def _fail(message: str, code: int) -> int:
    print(f"tritforge: {_sentence(message)}", file=sys.stderr)
    return code


def _terminated(number: int, frame: object) -> None:
    """SIGTERM and SIGHUP clean up as an interrupt does."""
    raise KeyboardInterrupt


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Raises only what is a fault of this program."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with cli.make_context("tritforge", given) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        hint = f" (try {error.ctx.command_path} --help)" if error.ctx is not None else ""
        return _fail(error.format_message().rstrip(".") + hint, USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing was left behind", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has enough; Python must not complain at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", FAILED)
    except MemoryError:
        return _fail("out of memory; fewer images at a time may do", FAILED)
    except Exception as error:
        if not _is_user_error(error):
            raise
        return _fail(str(error), FAILED)
    return 0


def main() -> None:
    """Entry point of the command ``tritforge``."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # told to end, or the terminal was closed
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(run())


if __name__ == "__main__":
    main()
