"""Search: the fastest configuration of a board for a network, or the smallest that is fast enough.

Of several thousand shapes the promising ones are estimated (:mod:`tritforge.fpga.fit.estimate`);
for those that fit, the network is compiled and the cycle model says how many cycles an input takes.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tritforge.common.progress import Progress
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit.estimate import Estimate, estimate
from tritforge.fpga.fit.memory_mapping import map_memory
from tritforge.fpga.fit.report import CandidateReport
from tritforge.fpga.fit.resources import NAMES, uses
from tritforge.fpga.fit.room import arrangement, excess, lacking, preset_fits, room, sentence
from tritforge.fpga.fit.sizes import (
    DEPTHS,
    PACKET_WORDS,
    ROOMY,
    changed,
    compiled,
    expected_cycles,
    layer_work,
    memory_of,
    streamed,
    widths,
    with_packets,
)
from tritforge.fpga.platform.board import Board
from tritforge.hw.config import Config, ConfigError
from tritforge.hw.presets import PRESETS
from tritforge.hw.timing import queue_places
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.emit import DoesNotFitError, MemoryImage
from tritforge.model_export.memory.shaping import shape_network
from tritforge.model_export.network import Network
from tritforge.model_export.passes.wide_columns import choose_columns
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel

__all__ = ["Candidate", "Search", "random_codes"]

#: Shapes that are compiled, at most; shapes that are estimated before that, at most.
MOST_COMPILED = 12
MOST_ESTIMATED = 60
#: Jobs that wait in front of a walker where there are several sets.
SEVERAL_SETS_JOBS = 16
#: How far the guesses by which shapes are left out may be off.
GUESS = 1.1
#: Shares of a chip's block RAM that activations get where a network is streamed.
ACTIVATION_SHARES = (0.6, 0.4, 0.75)
#: Depths of memories that do not count yet.
_SHALLOW = dict.fromkeys(DEPTHS, 64)


@dataclass(frozen=True)
class Candidate:
    """A configuration that fits.

    Members
    -------
    config : Config
    estimate : Estimate
    cycles : int
        Clock cycles of an input, by the cycle model; the mean of several.
    frames_per_second : float
        At the clock that was asked for.
    streamed : bool
        The network does not stay in the memories, but is sent in every run; that is in the cycles.
    """

    config: Config
    estimate: Estimate
    cycles: float
    frames_per_second: float
    streamed: bool

    def report(self, board: Board) -> CandidateReport:
        return CandidateReport(
            self.config.to_dict(),
            self.cycles,
            self.frames_per_second,
            self.streamed,
            uses(self.estimate.counts, board.resources),
        )


@dataclass
class Search:
    """The configurations of a board for a network.

    Parameters
    ----------
    board : Board
    network : Network
        Quantized, as an image keeps it.
    codes : integer array (images, channels, height, width)
        Inputs whose cycles count.
    clock_hz : float
    progress : callable(message, fraction), optional

    Members
    -------
    found : list of Candidate
        All that were tried and fit.
    """

    board: Board
    network: Network
    codes: NDArray[np.int64]
    clock_hz: float
    progress: Progress | None = None
    found: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._base = PRESETS[self.board.config]
        self.network = choose_columns(self.network, self._base)
        wide = any(group.wide for layer in self.network.layers for group in layer.groups)
        try:
            self._wanted = changed(
                self._base,
                {"packet_words": PACKET_WORDS[1], "multipliers": wide, **widths(self.network)},
            )
        except ConfigError as error:
            raise BuildError(
                f"network {self.network.name} does not fit any configuration: {error}"
            ) from error
        # As many entries as the places of a queue hold.
        places, depth = queue_places(self._wanted), self._wanted.queue_depth
        while (
            depth < 2 * self._wanted.queue_depth
            and queue_places(dataclasses.replace(self._wanted, queue_depth=depth + 1)) == places
        ):
            depth += 1
        self._wanted = dataclasses.replace(self._wanted, queue_depth=depth)
        self._tell("golden model", 0.0)
        golden = GoldenModel(self.network)
        self._tensors = [
            {
                name: values[0]
                for name, values in golden.run_all(one[np.newaxis], unpooled=True).items()
            }
            for one in self.codes
        ]
        self._densities = {
            name: np.mean(
                [(tensor.stored(one[name]) != 0).mean(axis=(1, 2)) for one in self._tensors], axis=0
            )
            for name, tensor in self.network.tensors.items()
        }
        computed = shape_network(self.network, self._base, self._densities).network
        self._work = [layer_work(layer, computed, self._tensors[0]) for layer in computed.layers]
        self._known: list[tuple[Config, Estimate]] = []
        self._failures: list[tuple[float, Config, dict[str, tuple[int, int]]]] = []
        self._refusal = ""
        self._compiled: set[str] = set()
        self._tried: set[str] = set()

    def fastest(self) -> list[Candidate]:
        """Candidates, the one with the fewest cycles first.

        Raises
        ------
        BuildError
            None fits.
        """
        ranked = sorted(
            self._shapes(), key=lambda one: (expected_cycles(self._work, one), one.adders, one.rows)
        )
        for config in ranked:
            if self._full(MOST_COMPILED - 4):
                break
            self._try(config)
        for _ in range(2):  # what else may be better is near the best one
            if not self.found:
                raise self._nothing(ranked)
            best = min(self.found, key=lambda one: one.cycles)
            for config in self._neighbours(best.config):
                if not self._full(MOST_COMPILED):
                    self._try(config)
        return sorted(self.found, key=lambda one: (one.cycles, one.estimate.luts))

    def smallest(self, target: float) -> list[Candidate]:
        """Candidates that reach ``target`` frames per second, the one with the fewest lookup tables
        first.

        Raises
        ------
        BuildError
            None fits, or none of those that do is fast enough.
        """
        most = self.clock_hz / target
        ranked = sorted(
            self._shapes(), key=lambda one: (self._size(one), expected_cycles(self._work, one))
        )
        factor = 1.0  # how far what is found is above what was expected, at least
        for config in ranked:
            enough = [one for one in self.found if one.cycles <= most]
            if len(enough) >= 3 or self._full(MOST_COMPILED):
                break
            expected = expected_cycles(self._work, config)
            if expected * factor > most:
                continue
            self._try(config)
            if self.found and self.found[-1].cycles > most:
                factor = max(
                    factor,
                    0.9
                    * self.found[-1].cycles
                    / expected_cycles(self._work, self.found[-1].config),
                )
        if not any(one.cycles <= most for one in self.found):
            best = self.fastest()[0]
            if best.cycles > most:
                raise BuildError(
                    f"no configuration that fits {self.board.title} gives {target:g} frames/s at "
                    f"{self.clock_hz / 1e6:g} MHz: the fastest of those tried, "
                    f"{_arranged(best.config)}, gives {best.frames_per_second:,.1f}"
                )
        quick = [one for one in self.found if one.cycles <= most]
        return sorted(quick, key=lambda one: (one.estimate.luts, one.cycles))

    # ----- shapes

    def _shapes(self) -> list[Config]:
        """Arrangements that a configuration allows, whatever their size."""
        small = self.board.family == "ice40"
        most_rows = max(layer.rows for layer in self.network.layers)
        found = []
        for sets, clusters, elements, rows, scan, lanes in itertools.product(
            (1,) if small else (1, 2, 4),
            (1, 2) if small else (1, 2, 4, 8, 16),
            (1, 2, 3, 4, 6, 8) if small else (1, 2, 4, 8, 12, 16, 24, 32),
            (2, 4, 8, 16) if small else (2, 4, 8, 16, 32),
            (1, 2, 4) if small else (1, 2, 4, 8),
            (1,) if small else (1, 2, 4),
        ):
            if elements % lanes or clusters % lanes:
                continue
            if elements * rows >= 4 * most_rows and rows > 2:  # most would stay idle
                continue
            config = self._config(
                sets=sets,
                clusters=clusters,
                elements=elements,
                rows=rows,
                scan_width=scan,
                drain_width=lanes,
                job_places=self._base.job_places if sets == 1 else SEVERAL_SETS_JOBS,
            )
            if config is not None:
                found.append(config)
        return found

    def _config(self, **fields: int) -> Config | None:
        """With these fields, packets of any length; None where there is no such configuration."""
        try:
            return changed(self._wanted, fields)
        except ConfigError:
            return None

    def _neighbours(self, config: Config) -> list[Config]:
        more = max(
            config.drain_width, config.elements // 4 // config.drain_width * config.drain_width
        )
        changes = [
            {"queue_depth": 2 * config.queue_depth},
            {"banks": 2 * config.banks},
            {"elements": config.elements + more},
            {"scan_width": 2 * config.scan_width},
            {"clusters": config.clusters + config.drain_classes},
            {"drain_width": 2 * config.drain_width},
            {"queue_depth": 2 * config.queue_depth, "banks": 2 * config.banks},
        ]
        found = []
        for change in changes:
            try:
                found.append(changed(config, {"packet_words": PACKET_WORDS[1], **change}))
            except ConfigError:
                continue
        return found

    # ----- sizes

    def _size(self, config: Config) -> float:
        """A guess of the lookup tables: those of the most similar configuration with as many rows,
        every block as often as it is there."""
        similar = [one for one in self._known if one[0].rows == config.rows]
        if not similar:
            one = self._config(
                sets=1,
                clusters=1,
                elements=2,
                rows=config.rows,
                scan_width=2,
                drain_width=1,
                **_SHALLOW,
            )
            assert one is not None
            self._tell(f"estimate for {config.rows} rows", 0.02)
            similar = [(one, estimate(self.board, one))]
            self._known += similar
        _, other, found = min(
            ((_distance(one, config), one, found) for one, found in similar),
            key=lambda entry: entry[0],
        )
        elements = config.adders / other.adders
        clusters = config.cluster_count / other.cluster_count
        slices = config.clusters / other.clusters
        times = {
            "element": elements,
            "accumulators": elements,
            "cluster": elements,
            "walker": clusters,
            "zero skip": clusters,
            "scaler": clusters,
            "slice": slices,
            "merge": slices,
            "requantizer": config.drain_width / other.drain_width,
        }
        return sum(count * times.get(kind, 1.0) for kind, count in found.blocks.items())

    def _trit_memories(self, config: Config) -> dict[str, int]:
        """A guess of the memory cells that the trits take: columns that are alike count twice."""
        columns = sum(
            -(-one.rows // config.slots)
            * sum(
                times * kernel * -(-channels // config.clusters)
                for (channels, kernel), times in zip(one.columns, one.passes(config), strict=True)
            )
            for one in self._work
        )
        mapped = map_memory(self.board.family, memory_of(config, "trits", max(2, columns)))
        return {mapped.resource: mapped.count * config.cluster_count}

    def _estimate(self, config: Config) -> Estimate | None:
        """The estimate of a configuration that fits; what does not is kept for the error."""
        found = estimate(self.board, config)
        self._known.append((config, found))
        lacks = lacking(self.board, found)
        if lacks:
            self._fails(config, lacks)
        return None if lacks else found

    def _fails(self, config: Config, lacks: dict[str, tuple[int, int]]) -> None:
        self._failures.append((excess(lacks)[1], config, lacks))

    def _full(self, most: int) -> bool:
        """Whether enough has been tried."""
        return len(self.found) >= most or len(self._known) >= MOST_ESTIMATED

    # ----- trying

    def _try(self, config: Config) -> None:
        """Compile for a shape, with memories that fit, and count cycles."""
        config = with_packets(config, self._base)
        if config.identity in self._tried:
            return
        self._tried.add(config.identity)
        limit = room(self.board)["luts"]
        size = self._size(config)
        if size > GUESS * limit or (
            config.memory_ports == 1
            and any(
                count > GUESS * getattr(self.board.resources, name)
                for name, count in self._trit_memories(config).items()
            )
        ):
            return
        done = 0.05 + 0.9 * max(len(self.found) / MOST_COMPILED, len(self._known) / MOST_ESTIMATED)
        if size > limit / GUESS:  # before a compilation in vain
            self._tell(f"{arrangement(config)}: estimate", done)
            if self._estimate(changed(config, _SHALLOW)) is None:
                return
        self._tell(f"{arrangement(config)}: compiling", done)
        for fitted, memory in self._memories(config):
            self._compiled.add(fitted.identity)
            found = self._estimate(fitted)
            if found is None:
                continue
            self._tell(f"{arrangement(config)}: cycle model", done)
            model = CycleModel(self.network, memory)
            cycles = [
                sum(
                    one["cycles"]
                    for one in (
                        model.run(tensors, batch=fitted.layer_count)
                        if memory.schedule is None
                        else model.run_schedule(tensors)
                    )
                )
                for tensors in self._tensors
            ]
            mean = sum(cycles) / len(cycles)
            self.found.append(
                Candidate(fitted, found, mean, self.clock_hz / mean, memory.schedule is not None)
            )
            return

    def _memories(self, config: Config) -> Iterator[tuple[Config, MemoryImage]]:
        """Whole in the memories; where that does not fit, streamed."""
        streams = config.memory_ports == 2
        trits = self._trit_memories(config)
        if not streams or all(
            count <= 2 * getattr(self.board.resources, name)
            for name, count in trits.items()
            if name == "block_rams"
        ):
            try:
                yield compiled(self.network, config, self._densities, family=self.board.family)
            except DoesNotFitError as error:
                self._refusal = str(error)
            except ExportError as error:
                self._refusal = str(error)
                return
        for share in ACTIVATION_SHARES if streams else ():
            smaller = self._streamed(config, share)
            if smaller is None:
                continue
            try:
                yield smaller, streamed(self.network, smaller, self._densities)
            except ExportError as error:
                self._refusal = str(error)

    def _streamed(self, config: Config, share: float) -> Config | None:
        """Memories that fill the chip: activations take ``share`` of it, trits the rest."""
        kept = ("program_depth", "row_depth", "result_depth")
        least = changed(config, _SHALLOW | {name: getattr(self._base, name) for name in kept})
        left = float(self.board.resources.block_rams - estimate(self.board, least).block_rams)
        depths: dict[str, int] = {}
        for name, part in (("activation_depth", share), ("trit_depth", 1.0)):
            held = [
                depth
                for exponent in range(6, ROOMY[name].bit_length())
                if self._block_rams(config, name, depth := 1 << exponent) <= part * left
            ]
            if not held:
                return None
            depths[name] = held[-1]
            left -= self._block_rams(config, name, held[-1])
        return changed(least, depths)

    def _block_rams(self, config: Config, name: str, depth: int) -> int:
        kind = DEPTHS[name]
        mapped = map_memory(self.board.family, memory_of(config, kind, depth))
        return mapped.count * config.memory_count(kind) if mapped.resource == "block_rams" else 0

    def _nothing(self, ranked: list[Config]) -> BuildError:
        """Why nothing fits: what the configuration that lacks least lacks."""
        start = f"network {self.network.name} does not fit {self.board.title}: "
        known = preset_fits(self.board)
        if self._failures:
            # what was compiled says more than what was too large to be
            _, config, lacks = min(
                (one for one in self._failures if one[1].identity in self._compiled),
                key=lambda one: one[0],
                default=min(self._failures, key=lambda one: one[0]),
            )
            return BuildError(
                f"{start}{_arranged(config)}, the configuration tried that lacks "
                f"least, needs {sentence(lacks)}; {known}"
            )
        if self._base.memory_ports == 1 and ranked:
            has = dataclasses.asdict(self.board.resources)
            config = min(ranked, key=lambda one: max(self._trit_memories(one).values()))
            name, count = max(self._trit_memories(config).items(), key=lambda one: one[1])
            if count > has[name]:
                return BuildError(
                    f"{start}{_arranged(config)} takes the least memory of all, and needs some "
                    f"{count:,} {NAMES[name]} of {has[name]:,} for trits alone; {known}"
                )
        return BuildError(f"{start}{self._refusal or 'no configuration holds it'}; {known}")

    def _tell(self, message: str, done: float) -> None:
        if self.progress is not None:
            self.progress(message, min(1.0, done))


def _arranged(config: Config) -> str:
    return f"{arrangement(config)} (sets x clusters x elements x rows)"


def _distance(one: Config, other: Config) -> float:
    """How different two arrangements are."""
    return sum(
        abs(math.log2(getattr(one, name) / getattr(other, name)))
        for name in (
            "sets",
            "clusters",
            "elements",
            "scan_width",
            "drain_width",
            "queue_depth",
            "banks",
        )
    )


def random_codes(network: Network, count: int = 1, seed: int = 0) -> NDArray[np.int64]:
    """Input codes (count, channels, height, width), drawn evenly from the input's range."""
    tensor = network.tensors[network.input]
    return np.random.default_rng(seed).integers(
        tensor.low, tensor.high + 1, (count, *tensor.shape), np.int64
    )
