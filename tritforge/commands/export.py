"""The command ``tritforge export``: a trained network as an image for one configuration."""

from pathlib import Path
from typing import Any

import click

from tritforge.commands.options import CONFIG_HELP, json_option
from tritforge.console import progress_bar, show

__all__ = ["command"]


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


def _needed(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """A parameter that only drawn weights make superfluous."""
    if value is None and ctx.params.get("seed") is None:
        raise click.MissingParameter(ctx=ctx, param=param)
    return value


@click.command("export", cls=_ExportCommand)
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
@click.option(
    "--labels",
    metavar="Y.npy",
    type=click.Path(path_type=Path),
    help="Integers (N,), the class of each sample of --calibrate: accuracies in real numbers and "
    "in integers are shown.",
)
@click.option("--config", required=True, metavar="NAME|FILE.toml", help=CONFIG_HELP)
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
    help="Bits of weights in layers that are not ternary; 0 refuses such layers. [default: 8]",
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
    "--fold",
    default="auto",
    metavar="auto|none|stride|ROWSxCOLUMNS",
    show_default=True,
    help="How windows of the input's pixels become channels, for a first layer on few of them: "
    "what should take the fewest cycles, not at all, windows as wide as the stride (space to "
    "depth), or a window such as 3x3.",
)
@click.option(
    "--planes",
    is_flag=True,
    help="Weights of several bits as sums of ternary planes, also where the configuration's "
    "elements have multipliers: to compare with.",
)
@click.option(
    "--blocks",
    default="auto",
    metavar="auto|none|ROWSxCOLUMNS",
    show_default=True,
    help="Output pixels that layers of few rows compute at a time: as many as should take the "
    "fewest cycles, one, or for instance 2x2 in every layer that can.",
)
@click.option(
    "--separate-sums",
    is_flag=True,
    help="Keep residual sums as layers of their own, where the configuration can add them as other "
    "layers write.",
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
def command(
    seed: int | None,
    checkpoint: Path | None,
    model: str,
    samples: Path | None,
    labels: Path | None,
    config: str,
    threshold: float | None,
    digits: int | None,
    percentile: float | None,
    name: str | None,
    resident: bool,
    fold: str,
    blocks: str,
    planes: bool,
    separate_sums: bool,
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
    if labels is not None and samples is None:
        raise click.UsageError("--labels goes with --calibrate", click.get_current_context())
    if seed is not None and (checkpoint is not None or threshold is not None):
        raise click.UsageError(
            "--drawn draws all weights: it goes with neither CHECKPOINT nor --threshold",
            click.get_current_context(),
        )
    from tritforge.flows.export import export
    from tritforge.model_export.memory.shaping import Shaping
    from tritforge.tables.export import (
        accuracy_sentence,
        error_tables,
        export_parts,
        export_sentence,
        memory_tables,
    )

    provenance = None
    with progress_bar() as progress:
        network: Any = model
        inputs: Any = samples
        if seed is not None:
            from tritforge.flows.drawn import drawn

            network, provenance, drawn_samples = drawn(model, seed, progress)
            inputs = drawn_samples if samples is None else samples
            name = name or model.rpartition(":")[2]
        made = export(
            checkpoint,
            network,
            inputs,
            config,
            output,
            labels=labels,
            threshold=threshold,
            digits=digits,
            percentile=percentile,
            name=name,
            check=check,
            resident=resident,
            shaping=Shaping(fold, blocks, planes),
            separate_sums=separate_sums,
            provenance=None if provenance is None else provenance.to_json(),
            progress=progress,
        )
    manifest = made.image.manifest
    show(
        as_json,
        made.to_dict(),
        *([] if provenance is None else [str(provenance)]),
        *export_parts(manifest),
        *memory_tables(manifest),
        *error_tables(made.errors),
        *([] if made.accuracy is None else [accuracy_sentence(made.accuracy)]),
        *(f"{step.name}: {step.check}" for step in made.steps if step.check),
        export_sentence(manifest, output),
        *([] if made.verdict is None else [f"speed: {made.verdict.sentence}"]),
    )
