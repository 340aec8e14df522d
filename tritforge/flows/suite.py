"""The suite: a fixed list of networks on presets, and how much faster than dense each is.

The geometric mean of some of them is the figure by which compiler, hardware and presets are judged.
"""

import hashlib
import multiprocessing
import os
import queue
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TypeAlias

import torch

from tritforge.common.cache import cached
from tritforge.common.errors import TritforgeError
from tritforge.common.files import new_folder, obstacle
from tritforge.common.json_types import JsonError, dump, parse
from tritforge.common.progress import Progress
from tritforge.common.version import tritforge_version
from tritforge.flows.compiler import compiler_digest
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.flows.pictures import suite_picture
from tritforge.flows.suite_result import (
    CAUSES,
    FORMAT,
    UNITS,
    PairResult,
    SuiteLayer,
    SuiteResult,
    Unmeasured,
    mean_speed_up,
)
from tritforge.flows.wall_clock import WallClock
from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.model_export.image.folder import Image, load_image
from tritforge.model_export.zoo.images import data_folder
from tritforge.model_export.zoo.prepared import PREPARED, Prepared, prepare
from tritforge.sim.backend import CycleBackend
from tritforge.sim.report import ReportError
from tritforge.sim.result import LayerRun, Simulation

__all__ = ["CLOCKS", "PAIRS", "Pair", "SuiteError", "choose", "read_suite", "run"]

MARKER, PICTURE = "suite.json", "suite.png"
#: Images of each network, and of those that take long.
IMAGES = 4
FEWER = {"mobilenet": 2}
#: Compiled images of each network that stay in the cache.
KEPT = 4
#: Share of the cycles from which on a layer can be the worst.
NOTED = 0.01
#: MHz at which cycles of a preset are frames: the board's clock, which no routed bitstream has
#: shown yet (docs/decisions/ecp5.md), and the clock that estimates take at 45 nm.
CLOCKS = {"ulx3s_85f": 45.0, "alexnet": 800.0}
OTHER_CLOCK = 50.0


#: Progress of worker processes: pair, message, fraction.
Told: TypeAlias = "Queue[tuple[str, str, float]]"


class SuiteError(TritforgeError, ValueError):
    """A pair that is not there; the message is one sentence."""


@dataclass(frozen=True)
class Pair:
    """A network of :data:`tritforge.model_export.zoo.prepared.PREPARED` on a preset or a TOML file;
    ``preset`` is the one whose clock counts."""

    network: str
    config: str
    in_mean: bool = False
    preset: str = ""

    @property
    def name(self) -> str:
        return f"{self.network}@{self.config}"

    @property
    def clock(self) -> float:
        return CLOCKS.get(self.preset or self.config, OTHER_CLOCK)


#: What is measured; the first nine make the mean.
PAIRS = (
    *(Pair(name, "ulx3s_85f", in_mean=True) for name in ("resnet20", "mnist", "squeezenet")),
    *(
        Pair(name, "alexnet", in_mean=True)
        for name in (
            "alexnet_dorefa",
            "vgg7",
            "resnet18",
            "resnet20",
            "squeezenet",
            "densenet",
        )
    ),
    *(Pair(name, "ulx3s_85f") for name in ("resnet20_projected", "resnet56", "vgg7", "digits")),
    *(
        Pair(name, "alexnet")
        for name in (
            "alexnet_krizhevsky",
            "alexnet_torchvision",
            "resnet20_projected",
            "resnet56",
            "mnist",
            "digits",
            "mobilenet",
        )
    ),
)
#: Pairs that take longest, longest first: they begin first, so that the cores end together.
LONGEST = (
    "mobilenet@alexnet",
    "alexnet_dorefa@alexnet",
    "alexnet_krizhevsky@alexnet",
    "alexnet_torchvision@alexnet",
    "densenet@alexnet",
    "resnet56@ulx3s_85f",
    "resnet18@alexnet",
)


def choose(only: Sequence[str] = (), config: str | None = None, mean: bool = False) -> list[Pair]:
    """The pairs to measure.

    Parameters
    ----------
    only
        ``NETWORK@CONFIG`` (a preset or a TOML file, also such as are no pair of :data:`PAIRS`),
        ``NETWORK`` or ``@PRESET`` (all pairs with it). None: all.
    config
        A preset or a TOML file that takes the place of each pair's preset.
    mean
        Of all pairs only those that are in the mean.

    Raises
    ------
    SuiteError
        No such network, or none on that preset.
    ConfigError
        No such configuration.
    """
    chosen: list[Pair] = []
    for one in only:
        network, _, preset = one.partition("@")
        found = [
            pair for pair in PAIRS if network in ("", pair.network) and preset in ("", pair.config)
        ]
        if not found and preset:
            if network not in PREPARED:
                raise SuiteError(
                    f"there is no network {network!r} to measure; there are {', '.join(PREPARED)}"
                )
            load_config(preset)
            found = [Pair(network, preset)]
        if not found:
            raise SuiteError(
                f"there is no pair {one!r}; there are {', '.join(pair.name for pair in PAIRS)}"
            )
        chosen += found
    if not only:
        chosen = list(PAIRS)
    if mean:
        chosen = [pair for pair in chosen if pair.in_mean]
        if not chosen:
            raise SuiteError(f"none of {', '.join(only)} is in the mean")
    if config is not None:
        load_config(config)
        chosen = [
            Pair(one.network, config, one.in_mean, one.preset or one.config) for one in chosen
        ]
    return list(dict.fromkeys(chosen))


def read_suite(path: Path) -> SuiteResult:
    """A former ``suite.json``, by its path or that of its folder.

    Raises
    ------
    SuiteError, JsonError
        It cannot be read, is none, or is not as it should be.
    """
    file = path / MARKER if path.is_dir() else path
    try:
        values = parse(file.read_bytes())
    except OSError as error:
        raise SuiteError(f"suite {file} cannot be read: {error.strerror or error}") from error
    except JsonError as error:
        raise SuiteError(f"suite {file} {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SuiteError(f"{file} is not a {FORMAT}")
    return SuiteResult.from_json(values, str(file))


def run(
    pairs: Sequence[Pair],
    output: Path | None = None,
    *,
    images: int | None = None,
    energy: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> SuiteResult:
    """Measure pairs with the cycle model.

    Parameters
    ----------
    output : path, optional
        Folder for ``suite.json`` and ``suite.png``; a former suite there is replaced.
    images : int, optional
        Images of each network instead of :data:`IMAGES`.
    energy : bool
        Also energy and area at 45 nm, for which each configuration's Verilog is mapped.
    jobs : int, optional
        Pairs at a time; as many as there are cores where it is not given. One runs in this process.

    Raises
    ------
    ReportError
        ``output`` holds something else or cannot be written.
    """
    if output is not None and (sentence := obstacle(output, MARKER, FORMAT, {MARKER, PICTURE})):
        raise ReportError(sentence)
    begin = time.perf_counter()
    tasks = [_Task(pair, images or FEWER.get(pair.network, IMAGES), energy) for pair in pairs]
    count = min(jobs or os.cpu_count() or 1, len(tasks))
    found = _alone(tasks, progress) if count <= 1 else _together(tasks, count, progress)
    measured = tuple(one for one in found if isinstance(one, PairResult))
    result = SuiteResult(
        format=FORMAT,
        tritforge=tritforge_version(),
        mean_speed_up=mean_speed_up(measured),
        mean_of=tuple(one.name for one in measured if one.in_mean),
        pairs=measured,
        unmeasured=tuple(one for one in found if isinstance(one, Unmeasured)),
        seconds=round(time.perf_counter() - begin, 1),
        units=UNITS,
    )
    if output is not None:
        try:
            with new_folder(output) as folder:
                (folder / MARKER).write_text(dump(result), encoding="utf-8")
                suite_picture(result, folder / PICTURE)
        except OSError as error:
            raise ReportError(
                f"suite {output} cannot be written: {error.strerror or error}"
            ) from error
    return result


# ----- pairs side by side


@dataclass(frozen=True)
class _Task:
    pair: Pair
    images: int
    energy: bool


def _alone(tasks: Sequence[_Task], progress: Progress | None) -> list[PairResult | Unmeasured]:
    found = []
    for index, task in enumerate(tasks):

        def tell(message: str, done: float, index: int = index, task: _Task = task) -> None:
            if progress is not None:
                progress(f"{task.pair.name}: {message}", (index + done) / len(tasks))

        found.append(_measured(task, tell))
    return found


#: Where a worker process tells of its progress.
_told: "Told | None" = None


def _begin(told: Told) -> None:
    """In each worker process: one thread of PyTorch, since there are as many workers as cores."""
    global _told
    _told = told
    torch.set_num_threads(1)


def _worked(task: _Task) -> PairResult | Unmeasured:
    """In a worker process."""

    def tell(message: str, done: float) -> None:
        if _told is not None:
            _told.put((task.pair.name, message, done))

    return _measured(task, tell)


def _together(
    tasks: Sequence[_Task], count: int, progress: Progress | None
) -> list[PairResult | Unmeasured]:
    context = multiprocessing.get_context("spawn")
    told: Told = context.Queue()
    order = sorted(
        range(len(tasks)),
        key=lambda n: LONGEST.index(name) if (name := tasks[n].pair.name) in LONGEST else 99,
    )
    states: dict[str, float] = {}
    results: dict[int, PairResult | Unmeasured] = {}
    with ProcessPoolExecutor(count, context, _begin, (told,)) as pool:
        futures: dict[Future[PairResult | Unmeasured], int] = {
            pool.submit(_worked, tasks[index]): index for index in order
        }
        try:
            left = set(futures)
            while left:
                done, left = wait(left, 0.2, FIRST_COMPLETED)
                for one in done:
                    results[futures[one]] = one.result()
                for name, message, fraction in _drained(told):
                    states[name] = fraction
                    if progress is not None:
                        progress(f"{name}: {message}", min(1.0, sum(states.values()) / len(tasks)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[index] for index in range(len(tasks))]


def _drained(told: Told) -> Iterator[tuple[str, str, float]]:
    while True:
        try:
            yield told.get_nowait()
        except queue.Empty:
            return


# ----- one pair


def _measured(task: _Task, progress: Progress) -> PairResult | Unmeasured:
    """What a pair gives; that it cannot be compiled is a result too."""
    pair = task.pair
    try:
        return _measure(task, progress)
    except TritforgeError as error:
        return Unmeasured(pair.network, pair.config, pair.in_mean, str(error))
    finally:
        progress("done", 1.0)


def _measure(task: _Task, progress: Progress) -> PairResult:
    pair, config = task.pair, load_config(task.pair.config)
    timer = WallClock(None)

    def within(first: float, last: float) -> Progress:
        return lambda message, done: progress(message, first + (last - first) * min(done, 1.0))

    progress("network", 0.0)
    with timer.step("network"):
        network = prepare(pair.network, data_folder(), task.images)
    with timer.step("export"):
        image = _image(pair, config, network, within(0.1, 0.6))
    with timer.step("cycle model"), CycleBackend(image) as backend:
        given = read_inputs(image, network.images.inputs)
        simulation = backend.run(given.codes, progress=within(0.6, 1.0))
    energy = area = None
    if task.energy:
        with timer.step("energy"):
            energy, area = _cost(simulation, image, within(0.9, 1.0))
    return _result(pair, config, network, image, simulation, (energy, area), timer)


def _image(pair: Pair, config: Config, network: Prepared, progress: Progress) -> Image:
    """The compiled network, out of the cache where it was made from the same."""
    key = hashlib.sha256()
    for part in _made_from(network, config):
        key.update(hashlib.sha256(part).digest())

    def build(folder: Path) -> Path:
        export(
            None,
            network.module,
            network.images.samples,
            config,
            folder / "image",
            name=pair.network,
            check=False,
            provenance=network.origin.to_json(),
            progress=progress,
        )
        path = folder / "image.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(folder / "image", "image")
        return path

    path = cached(f"suite_{pair.network}", key.digest(), build, ".tar", keep=KEPT)
    with tempfile.TemporaryDirectory(prefix="tritforge-") as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        return load_image(Path(folder) / "image")


def _made_from(network: Prepared, config: Config) -> Iterator[bytes]:
    """All that an image is made from: configuration, weights, samples, compiler."""
    yield config.identity.encode()
    yield network.images.samples.tobytes()
    for name, tensor in network.module.state_dict().items():
        yield name.encode()
        yield tensor.contiguous().numpy().tobytes()
    yield compiler_digest().encode()


def _cost(simulation: Simulation, image: Image, progress: Progress) -> tuple[float, float]:
    """uJ an image and mm2, typical, at 45 nm."""
    from tritforge.cost.estimate import run_estimate
    from tritforge.cost.technology_file import load_technology
    from tritforge.flows.simulate import report_of

    found = run_estimate(
        report_of(simulation, image), image, load_technology("45nm"), progress=progress
    )
    return found.energy.on_chip.typical / 1e6, found.area.total_um2.typical / 1e6


def _result(
    pair: Pair,
    config: Config,
    network: Prepared,
    image: Image,
    simulation: Simulation,
    cost: tuple[float | None, float | None],
    timer: WallClock,
) -> PairResult:
    count = simulation.images
    layers = tuple(_layer(run, image, config, count) for run in simulation.layers)
    cycles = sum(layer.cycles for layer in layers)
    dense = sum(layer.dense_cycles for layer in layers)
    weighted = [layer for layer in layers if layer.speed_up is not None]
    worst = min(
        (layer for layer in weighted if layer.cycles >= NOTED * cycles),
        key=lambda layer: layer.speed_up or 0.0,
        default=None,
    )
    kinds = dict.fromkeys(sorted({layer.kind for layer in layers}), 0.0)
    for layer in layers:
        kinds[layer.kind] += layer.cycles / cycles
    total = {name: sum(layer.counters[name] for layer in layers) for name in layers[0].counters}
    return PairResult(
        network=pair.network,
        config=pair.config,
        preset=pair.preset or pair.config,
        in_mean=pair.in_mean,
        configuration=config.name,
        configuration_identity=config.identity,
        adders=config.adders,
        weights=network.origin.weights,
        statement=network.origin.statement,
        images_of=network.origin.images,
        images=network.images.names,
        streamed=image.memory.schedule is not None,
        cycles=cycles,
        cycles_per_image=tuple(simulation.cycles_per_image),
        dense_cycles=dense,
        speed_up=dense / cycles,
        least_cycles=(simulation.lower_bound or 0) / count,
        utilization=total["adds"] / (cycles * config.adders),
        by_kind=kinds,
        causes=_causes(total, cycles, config),
        write_back=total["stall_write_back"] / cycles,
        without_weights=1 - sum(layer.cycles for layer in weighted) / cycles,
        worst_layer=None if worst is None else worst.name,
        worst_speed_up=None if worst is None else worst.speed_up,
        clock_mhz=pair.clock,
        frames_per_second=pair.clock * 1e6 / cycles,
        energy_uj=cost[0],
        area_mm2=cost[1],
        verdict="" if simulation.verdict is None else simulation.verdict.sentence,
        layers=layers,
        seconds=timer.summary(),
    )


def _layer(run: LayerRun, image: Image, config: Config, images: int) -> SuiteLayer:
    layer = image.network.layer(run.name)
    cycles = (run.cycles or 0) / images
    weights = layer.weight_count
    dense = layer.mac_count / config.adders if weights else 0.0
    return SuiteLayer(
        name=run.name,
        kind=run.kind,
        rows=run.rows,
        pixels=run.pixels,
        groups=len(layer.groups),
        weights=weights,
        mac_count=layer.mac_count,
        cycles=cycles,
        dense_cycles=dense,
        speed_up=dense / cycles if weights else None,
        least_cycles=(run.lower_bound or 0) / images,
        utilization=run.utilization(config) or 0.0,
        counters={name: value / images for name, value in run.counters.items()},
    )


def _causes(total: dict[str, float], cycles: float, config: Config) -> dict[str, float]:
    """Shares of cluster cycles, by :data:`CAUSES`."""
    clusters = cycles * config.cluster_count
    shares = {name: total[name] / clusters for name in CAUSES[:-2]}
    idle = 1 - sum(shares.values())
    refill = min(idle, total["stall_refill"] / cycles)
    return {**shares, "refill": refill, "sequencer": idle - refill}
