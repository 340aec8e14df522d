"""The command ``tritforge bench``: well-known networks on configurations."""

from pathlib import Path

import click

from tritforge.commands.options import CONFIG_HELP, clock_option, is_given, json_option
from tritforge.common.errors import warn
from tritforge.console import progress_bar, show

__all__ = ["command"]


@click.group("bench")
def command() -> None:
    """Cycles, utilization and stalls of well-known networks."""


@command.command("alexnet")
@click.option(
    "--topology",
    type=click.Choice(["dorefa", "krizhevsky", "torchvision"]),
    default="dorefa",
    show_default=True,
    help="dorefa: as the authors of TTQ trained it. krizhevsky: of 2012, with batch "
    "norm. torchvision: torchvision's, without groups.",
)
@click.option(
    "--config", default="alexnet", show_default=True, metavar="NAME|FILE.toml", help=CONFIG_HELP
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
@clock_option
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
    if is_given("clock") and backend == "golden":
        warn("backend golden has no cycles, so --clock changes nothing")
    if is_given("seed") and checkpoint is not None:
        raise click.UsageError(
            "--seed is of drawn weights: it does not go with --checkpoint",
            click.get_current_context(),
        )
    from tritforge.flows.bench import run
    from tritforge.tables.bench import bench_parts

    with progress_bar() as progress:
        result = run(
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
    show(as_json, result, *bench_parts(result, output))


@command.command("suite")
@click.option(
    "--only",
    multiple=True,
    metavar="NETWORK[@CONFIG]",
    help="Measure this pair; NETWORK or @PRESET for all pairs with it; also a pair that is not in "
    "the suite, and @FILE.toml. Several may be given.",
)
@click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="In place of each pair's preset; clock and mean stay.",
)
@click.option("--mean", is_flag=True, help="Only the pairs that are in the mean.")
@click.option(
    "--images",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help="Images of each network. [default: 4, of MobileNet 2]",
)
@click.option("--layers", is_flag=True, help="Also a table of each pair's layers.")
@click.option(
    "--against",
    metavar="SUITE",
    type=click.Path(path_type=Path),
    help="A former suite, its folder or its suite.json: its speed-ups are shown beside.",
)
@click.option(
    "--energy",
    is_flag=True,
    help="Also energy and area at 45 nm; a configuration's Verilog is mapped the first time.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Pairs at a time. [default: as many as there are cores]",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for suite.json and suite.png; a former suite there is replaced.",
)
@json_option
def bench_suite(
    only: tuple[str, ...],
    config: str | None,
    mean: bool,
    images: int | None,
    layers: bool,
    against: Path | None,
    energy: bool,
    jobs: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Networks on presets: how much faster each is than dense multiply-accumulates.

    Dense cycles are the multiply-accumulates of the layers with weights divided by the number of
    adders. The geometric mean over nine pairs is what this project is steered by; other pairs are
    shown beside it. All cycles are the cycle model's, which equal the RTL's.

    Trained weights and images are taken from $TRITFORGE_DATA, or from shared/data beside the
    repository; networks without are drawn with stated densities, and labelled so. docs/suite.md has
    the details.
    """
    if layers and as_json:
        warn("JSON always has the layers, so --layers changes nothing")
    if against is not None and as_json:
        warn("JSON has this suite alone, so --against changes nothing")
    from tritforge.flows.suite import choose, read_suite, run
    from tritforge.tables.suite import suite_parts

    pairs = choose(only, config, mean)
    former = None if against is None else read_suite(against)
    with progress_bar() as progress:
        result = run(pairs, output, images=images, energy=energy, jobs=jobs, progress=progress)
    show(as_json, result, *suite_parts(result, output, layers=layers, former=former))
    if result.unmeasured:
        click.get_current_context().exit(1)
