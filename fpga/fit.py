"""Search: the fastest configuration of a board for a network, or the smallest that is fast enough.

Of several thousand shapes the promising ones are estimated (:mod:`fpga.estimate`); for those that
fit, the network is compiled and the cycle model says how many cycles an input takes.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpga.board import Board
from fpga.errors import BuildError
from fpga.estimate import Estimate, estimate
from fpga.memory_mapping import Memory, map_memory
from hw.config import ACTIVATION_WIDTH, PORT_WIDTH, PRESETS, Config, ConfigError
from hw.processing_element import queue_places
from model_export.emit import DoesNotFitError, MemoryImage, emit
from model_export.errors import ExportError
from model_export.network import ColumnGroup, Layer, Network
from model_export.placement import place
from model_export.quantize import partial_bounds
from model_export.streaming import fit as fit_memories
from sim.cycle import CycleModel
from sim.device import Progress
from sim.golden import GoldenModel

__all__ = ["Candidate", "Search", "lacking", "nearest", "resources", "sentence"]

#: Shapes that are compiled, at most; shapes that are estimated before that, at most.
MOST_COMPILED = 12
MOST_ESTIMATED = 60
#: How far the guesses by which shapes are left out may be off.
GUESS = 1.1
#: Cycles that a layer takes beside its work: fetching its record, settling, writing counters.
LAYER_OVERHEAD = 120
#: Shares of a chip's block RAM that activations get where a network is streamed.
ACTIVATION_SHARES = (0.6, 0.4, 0.75)
#: An arrangement in an error.
_ARRANGED = "{} (sets x clusters x elements x rows)"
#: Depths that are large enough for any network: the limits of a configuration.
_ROOMY = {"trit_depth": 1 << 20, "activation_depth": 1 << 16, "program_depth": 1 << 16,
          "row_depth": 1 << 16, "result_depth": 1 << 20}
_LEAST_DEPTH = {"program_depth": 64}
_KINDS = {"trit_depth": "trits", "activation_depth": "activations", "program_depth": "program",
          "row_depth": "rows", "result_depth": "results"}
_NAMES = {"luts": "LUTs", "flip_flops": "flip-flops", "block_rams": "block RAMs",
          "sprams": "single-port RAMs", "dsps": "multipliers",
          "distributed_rams": "16 x 4 bit RAMs"}


def changed(config: Config, fields: Mapping[str, Any]) -> Config:
    """A configuration with other values in some fields.

    Raises
    ------
    ConfigError
        A value is outside its limits.
    """
    return dataclasses.replace(config, **fields)


# ----- what fits

def resources(board: Board) -> dict[str, int]:
    """What may be used of a board's chip: all of it, of lookup tables the share that place and
    route copes with, ``board.fill``."""
    has = dataclasses.asdict(board.resources)
    return {name: int(has[name] * board.fill) if name == "luts" else has[name] for name in _NAMES}


def lacking(board: Board, found: Estimate, exact: bool = False) -> dict[str, tuple[int, int]]:
    """Of what a configuration needs more than the board has: needed and available.

    With ``exact`` only of what is known exactly: memories and multipliers.
    """
    has = dataclasses.asdict(board.resources) if exact else resources(board)
    skipped = ("luts", "flip_flops") if exact else ("flip_flops",)
    return {name: (needed, has[name]) for name, needed in found.to_dict().items()
            if needed > has[name] and name not in skipped}


def sentence(lacks: dict[str, tuple[int, int]]) -> str:
    """``lacks`` in words: "40 block RAMs of 30, .."."""
    return ", ".join(f"{needed:,} {_NAMES[name]} of {available:,}"
                     for name, (needed, available) in lacks.items())


def shape(config: Config, base: Config | None = None) -> str:
    """A configuration in words: what differs from ``base``, or its arrangement."""
    names = ("sets", "clusters", "elements", "rows")
    if base is not None:
        values = config.to_dict()
        changed = [name for name, value in base.to_dict().items()
                   if name != "name" and values[name] != value]
        return ", ".join(f"{name} = {values[name]}" for name in changed)
    return " x ".join(str(getattr(config, name)) for name in names)


def nearest(board: Board, config: Config, network: Network | None = None) -> Config | None:
    """A configuration that fits the board and differs little: fewer elements, else fewer clusters
    and sets, shorter queues, smaller memories. None if there is none.

    With a network the memories stay as large as it needs, and it must compile for the result.
    """
    for candidate in _smaller(board, config):
        if network is None:
            return candidate
        try:
            return _compiled(network, candidate, None, resident=True)[0]
        except ExportError:
            continue
    return None


def _smaller(board: Board, config: Config) -> Iterator[Config]:
    """Smaller configurations that fit, the nearest first."""
    for sets, clusters in _halvings(config):
        current = dataclasses.replace(config, sets=sets, clusters=clusters)
        found = _fewer_elements(board, current)
        if found is not None:
            yield found
    current = dataclasses.replace(config, sets=1, clusters=config.drain_width,
                                  elements=config.drain_width)
    for _ in range(40):
        lacks = lacking(board, estimate(board, current))
        if not lacks:
            yield current
            return
        memories = [name for name in _KINDS if getattr(current, name) > 64]
        if set(lacks) <= {"block_rams", "sprams"} and memories:
            largest = max(memories, key=lambda name: _bits(current, name))
            current = changed(
                current, {largest: 1 << ((getattr(current, largest) - 1).bit_length() - 1)})
        elif current.rows > 1:
            current = dataclasses.replace(current, rows=current.rows // 2)
        else:
            return


def _halvings(config: Config) -> Iterator[tuple[int, int]]:
    """Sets and clusters, fewer and fewer."""
    sets, clusters = config.sets, config.clusters
    while True:
        yield sets, clusters
        if sets > 1:
            sets //= 2
        elif clusters // 2 >= config.drain_width and clusters // 2 % config.drain_width == 0:
            clusters //= 2
        else:
            return


def _fewer_elements(board: Board, config: Config) -> Config | None:
    """With as many elements as fit, None if not even the fewest do."""
    step = config.drain_width
    least = dataclasses.replace(config, elements=step)
    if lacking(board, estimate(board, least)):
        return None
    low, high = 1, config.elements // step      # in steps; ``low`` fits
    if not lacking(board, estimate(board, config)):
        return config
    while high - low > 1:
        middle = (low + high) // 2
        fits = not lacking(board, estimate(board, dataclasses.replace(
            config, elements=middle * step)))
        low, high = (middle, high) if fits else (low, middle)
    return dataclasses.replace(config, elements=low * step)


def _bits(config: Config, depth: str) -> int:
    kind = _KINDS[depth]
    return (config.memory_width(kind) * config.memory_depth(kind) * config.memory_count(kind))


# ----- what a network needs

def widths(network: Network) -> dict[str, int]:
    """Fields of a configuration that the numbers of a quantized network ask for, at least."""
    coefficient, accumulator, multiplier, total, windows = 1, 8, 4, 0, 1
    for layer in network.layers:
        rule = layer.requantization
        assert rule is not None
        for group in layer.groups:
            for value in (group.coefficient_plus, group.coefficient_minus):
                coefficient = max(coefficient, abs(value).bit_length() + 1)
        low, high = partial_bounds(network, layer)
        accumulator = max(accumulator, _signed_bits(low), _signed_bits(high))
        multiplier = max(multiplier, _signed_bits(rule.multiplier))
        offset = rule.bias + ((np.int64(1) << rule.shift) >> 1)
        total = max(total, _signed_bits(offset), *(
            _signed_bits(end * rule.multiplier + offset) for end in (low, high)))
        if layer.pool is not None:
            windows = max(windows, *(-(-kernel // stride) for kernel, stride in zip(
                layer.pool.kernel, layer.pool.stride, strict=True)))
    return {"coefficient_width": max(2, coefficient),
            "accumulator_width": max(accumulator, total - multiplier),
            "multiplier_width": multiplier, "window_count": windows}


def _signed_bits(values: NDArray[np.int64]) -> int:
    """Bits of the widest value."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1


def _compiled(network: Network, config: Config, densities: dict[str, NDArray[np.float64]] | None,
              *, resident: bool, board: Board | None = None) -> tuple[Config, MemoryImage]:
    """The network compiled for a shape, with memories as deep as it needs.

    Raises
    ------
    ExportError
        It cannot be.
    """
    roomy = changed(config, _ROOMY)
    placement = place(network, roomy, densities)
    if not resident:
        return config, fit_memories(network, placement, config)
    memory = emit(network, placement, roomy)
    needed = {"trit_depth": memory.trits.shape[1], "activation_depth": memory.activation_words,
              "program_depth": len(memory.program), "row_depth": len(memory.rows),
              "result_depth": memory.results.entries if memory.results else 1}
    family = "ecp5" if board is None else board.family
    fitted = _with_packets(changed(config, {"packet_words": 4096, **{
        name: _depth(family, roomy, name, count) for name, count in needed.items()}}), config)
    return fitted, emit(network, placement, fitted)


def _depth(family: str, config: Config, name: str, needed: int) -> int:
    """Words of a memory that holds ``needed``: what the same cells hold, up to a power of two."""
    needed = max(needed, _LEAST_DEPTH.get(name, 2))
    rounded = 1 << (needed - 1).bit_length()
    if rounded == needed:
        return needed
    one, other = (map_memory(family, _memory(config, _KINDS[name], depth))
                  for depth in (needed, rounded))
    return rounded if one.count == other.count else needed


def _memory(config: Config, kind: str, depth: int) -> Memory:
    """A memory of the accelerator with that many words."""
    width = config.memory_width(kind)
    chunk = min(width, {"activations": ACTIVATION_WIDTH, "results": width}.get(kind, PORT_WIDTH))
    huge = config.single_port and kind in ("trits", "activations", "program")
    return Memory(-(-width // chunk) * chunk, depth, chunk, style="huge" if huge else "auto")


def _with_packets(config: Config, base: Config) -> Config:
    """With packets as long as the base's, or as its memory words ask for."""
    longest = 2 + max(config.memory_chunks(kind) for kind in ("trits", "rows", "activations"))
    return dataclasses.replace(config, packet_words=max(base.packet_words, longest, 34))


# ----- how much work there is

@dataclass(frozen=True)
class _Work:
    """A layer's work on one input."""

    rows: int
    pixels: int
    adds: float
    reads: tuple[tuple[int, float, float], ...]     # channels, positions, density; by group
    columns: tuple[tuple[int, int], ...]            # channels, columns of each; by group
    groups: int
    writes: float


def _work(layer: Layer, network: Network, tensors: dict[str, NDArray[np.integer]]) -> _Work:
    adds, reads = 0.0, []
    for group in layer.groups:
        source = network.tensors[group.source]
        codes = source.stored(np.asarray(tensors[group.source]))[slice(*group.channels)]
        density = (codes != 0).mean(axis=(1, 2))
        positions = _positions(layer, group, source.height, source.width)
        nonzero = np.count_nonzero(group.trits, axis=(0, 2, 3)) / (
            group.trits.shape[2] * group.trits.shape[3])
        adds += float((nonzero * density).sum()) * positions
        reads.append((len(codes), positions, float(density.mean())))
    columns = tuple((group.channels[1] - group.channels[0],
                     group.trits.shape[2] * group.trits.shape[3]) for group in layer.groups)
    pixels = layer.height * layer.width
    return _Work(layer.rows, pixels, adds, tuple(reads), columns, len(reads),
                 float(layer.rows * pixels))


def _positions(layer: Layer, group: ColumnGroup, height: int, width: int) -> float:
    """Kernel positions inside the source, over all output pixels."""
    inside = 1.0
    for axis, (out, size) in enumerate(((layer.height, height), (layer.width, width))):
        at = (np.arange(out)[:, None] * group.stride[axis] - group.padding[axis]
              + np.arange(group.kernel[axis]) * group.dilation[axis])
        inside *= float(((at >= 0) & (at < size)).sum())
    return inside


def expected_cycles(work: Iterable[_Work], config: Config) -> float:
    """Clock cycles that an input takes if nothing but the busiest part of the array limits it:
    a guess to choose shapes by, mostly below what the cycle model finds."""
    total = 0.0
    for one in work:
        tiles = -(-one.rows // config.slots)
        rows_used = -(-one.rows // (tiles * config.elements))
        broadcasts = scans = 0.0
        for channels, positions, density in one.reads:
            words = -(-channels // (config.clusters * config.scan_width))
            scans += positions * words
            broadcasts += positions * (channels * density / config.clusters
                                       + words * (1 - density) ** config.scan_width)
        in_parallel = min(config.sets, max(1, one.pixels * tiles))
        jobs = one.pixels * tiles * one.groups
        total += LAYER_OVERHEAD + max(
            one.adds / (in_parallel * config.clusters * config.elements),
            tiles * broadcasts / in_parallel,
            tiles * scans,
            one.pixels * tiles * rows_used * config.blocks,
            one.writes / config.clusters,
            (8 if one.groups == 1 else 13) * config.program_reads * jobs)
    return total


# ----- the search

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

    def to_dict(self, board: Board) -> dict[str, Any]:
        """JSON values."""
        has = dataclasses.asdict(board.resources)
        return {
            "configuration": self.config.to_dict(), "cycles": self.cycles,
            "frames_per_second": self.frames_per_second, "streamed": self.streamed,
            "resources": {name: {"used": used, "available": has[name],
                                 "percent": round(100 * used / has[name], 1)}
                          for name, used in self.estimate.to_dict().items() if has[name]}}


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
        try:
            self._wanted = changed(self._base, widths(self.network))
        except ConfigError as error:
            raise BuildError(f"network {self.network.name} does not fit any configuration: "
                             f"{error}") from error
        self._tell("golden model", 0.0)
        golden = GoldenModel(self.network)
        self._tensors = [
            {name: values[0] for name, values in
             golden.run_all(one[np.newaxis], unpooled=True).items()} for one in self.codes]
        self._densities = {
            name: np.mean([(tensor.stored(one[name]) != 0).mean(axis=(1, 2))
                           for one in self._tensors], axis=0)
            for name, tensor in self.network.tensors.items()}
        self._work = [_work(layer, self.network, self._tensors[0])
                      for layer in self.network.layers]
        self._known: list[tuple[Config, Estimate]] = []
        self._failures: list[tuple[float, Config, dict[str, tuple[int, int]]]] = []
        self._refusal = ""
        self._tried: set[str] = set()

    def fastest(self) -> list[Candidate]:
        """Candidates, the one with the fewest cycles first.

        Raises
        ------
        BuildError
            None fits.
        """
        ranked = sorted(self._shapes(), key=lambda one: (
            expected_cycles(self._work, one), one.adders, one.rows))
        for config in ranked:
            if self._full(MOST_COMPILED - 4):
                break
            self._try(config)
        for _ in range(2):      # what else may be better is near the best one
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
        ranked = sorted(self._shapes(), key=lambda one: (
            self._size(one), expected_cycles(self._work, one)))
        factor = 1.0            # how far what is found is above what was expected, at least
        for config in ranked:
            enough = [one for one in self.found if one.cycles <= most]
            if len(enough) >= 3 or self._full(MOST_COMPILED):
                break
            expected = expected_cycles(self._work, config)
            if expected * factor > most:
                continue
            self._try(config)
            if self.found and self.found[-1].cycles > most:
                factor = max(factor, 0.9 * self.found[-1].cycles / expected_cycles(
                    self._work, self.found[-1].config))
        if not any(one.cycles <= most for one in self.found):
            best = self.fastest()[0]
            if best.cycles > most:
                raise BuildError(
                    f"no configuration that fits {self.board.title} gives {target:g} frames/s at "
                    f"{self.clock_hz / 1e6:g} MHz: the fastest of those tried, "
                    f"{shape(best.config)} (sets x clusters x elements x rows), gives "
                    f"{best.frames_per_second:,.1f}")
        quick = [one for one in self.found if one.cycles <= most]
        return sorted(quick, key=lambda one: (one.estimate.luts, one.cycles))

    # ----- shapes

    def _shapes(self) -> list[Config]:
        """Arrangements that a configuration allows, whatever their size."""
        small = self.board.family == "ice40"
        most_rows = max(layer.rows for layer in self.network.layers)
        found = []
        for sets, clusters, elements, rows, scan, lanes in itertools.product(
                (1,) if small else (1, 2, 4), (1, 2) if small else (1, 2, 4, 8, 16),
                (1, 2, 3, 4, 6, 8) if small else (1, 2, 4, 8, 12, 16, 24, 32),
                (2, 4, 8, 16) if small else (2, 4, 8, 16, 32),
                (1, 2, 4) if small else (1, 2, 4, 8), (1,) if small else (1, 2, 4)):
            if elements % lanes or clusters % lanes:
                continue
            if elements * rows >= 4 * most_rows and rows > 2:       # most would stay idle
                continue
            config = self._config(sets=sets, clusters=clusters, elements=elements, rows=rows,
                                  scan_width=scan, drain_width=lanes)
            if config is not None:
                found.append(config)
        return found

    def _config(self, **fields: int) -> Config | None:
        """With these fields; None where a configuration does not allow them."""
        try:
            made = changed(self._wanted, {"packet_words": 4096, **fields})
            if not made.single_port and "queue_depth" not in fields:
                # as many entries as the places of the base's queue hold
                places, depth = queue_places(made), made.queue_depth
                while queue_places(changed(made, {"queue_depth": depth + 1})) == places:
                    depth += 1
                made = changed(made, {"queue_depth": depth})
            return _with_packets(made, self._base)
        except ConfigError:
            return None

    def _neighbours(self, config: Config) -> list[Config]:
        more = max(config.drain_width,
                   config.elements // 4 // config.drain_width * config.drain_width)
        changes: list[dict[str, int]] = [
            {"queue_depth": 2 * config.queue_depth}, {"banks": 2 * config.banks},
            {"elements": config.elements + more}, {"scan_width": 2 * config.scan_width},
            {"clusters": config.clusters + config.drain_width},
            {"drain_width": 2 * config.drain_width},
            {"queue_depth": 2 * config.queue_depth, "banks": 2 * config.banks}]
        found = []
        for change in changes:
            try:
                found.append(_with_packets(
                    changed(config, {"packet_words": 4096, **change}), self._base))
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
                sets=1, clusters=1, elements=2, rows=config.rows, scan_width=2, drain_width=1,
                trit_depth=64, activation_depth=64, program_depth=64, row_depth=64,
                result_depth=64)
            assert one is not None
            self._tell(f"estimate for {config.rows} rows", 0.02)
            similar = [(one, estimate(self.board, one))]
            self._known += similar
        _, other, found = min(
            ((_distance(one, config), one, found) for one, found in similar),
            key=lambda entry: entry[0])
        elements = config.adders / other.adders
        clusters = config.cluster_count / other.cluster_count
        slices = config.clusters / other.clusters
        times = {"element": elements, "accumulators": elements, "cluster": elements,
                 "walker": clusters, "zero skip": clusters, "scaler": clusters,
                 "slice": slices, "merge": slices,
                 "requantizer": config.drain_width / other.drain_width}
        return sum(count * times.get(kind, 1.0) for kind, count in found.blocks.items())

    def _trit_memories(self, config: Config) -> dict[str, int]:
        """A guess of the memory cells that the trits take: columns that are alike count twice."""
        columns = sum(-(-one.rows // config.slots)
                      * sum(kernel * -(-channels // config.clusters)
                            for channels, kernel in one.columns)
                      for one in self._work)
        mapped = map_memory(self.board.family, _memory(config, "trits", max(2, columns)))
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
        excess = max(needed / max(1, available) for needed, available in lacks.values())
        self._failures.append((excess, config, lacks))

    def _full(self, most: int) -> bool:
        """Whether enough has been tried."""
        return len(self.found) >= most or len(self._known) >= MOST_ESTIMATED

    # ----- trying

    def _try(self, config: Config) -> None:
        """Compile for a shape, with memories that fit, and count cycles."""
        if config.identity in self._tried:
            return
        self._tried.add(config.identity)
        limit = resources(self.board)["luts"]
        size = self._size(config)
        if size > GUESS * limit or (config.single_port and any(
                count > GUESS * getattr(self.board.resources, name)
                for name, count in self._trit_memories(config).items())):
            return
        done = 0.05 + 0.9 * max(len(self.found) / MOST_COMPILED,
                                len(self._known) / MOST_ESTIMATED)
        if size > limit / GUESS:        # before a compilation in vain
            self._tell(f"{shape(config)}: estimate", done)
            if self._estimate(changed(config, dict.fromkeys(_KINDS, 64))) is None:
                return
        self._tell(f"{shape(config)}: compiling", done)
        for fitted, memory in self._memories(config):
            found = self._estimate(fitted)
            if found is None:
                continue
            self._tell(f"{shape(config)}: cycle model", done)
            model = CycleModel(self.network, memory)
            cycles = [sum(one["cycles"] for one in (
                model.run(tensors, batch=fitted.layer_count) if memory.schedule is None
                else model.run_schedule(tensors))) for tensors in self._tensors]
            mean = sum(cycles) / len(cycles)
            self.found.append(Candidate(fitted, found, mean, self.clock_hz / mean,
                                        memory.schedule is not None))
            return

    def _memories(self, config: Config) -> Iterator[tuple[Config, MemoryImage]]:
        """Whole in the memories; where that does not fit, streamed."""
        streams = not config.single_port
        trits = self._trit_memories(config)
        if not streams or all(count <= 2 * getattr(self.board.resources, name)
                              for name, count in trits.items() if name == "block_rams"):
            try:
                yield _compiled(self.network, config, self._densities, resident=True,
                                board=self.board)
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
                yield _compiled(self.network, smaller, self._densities, resident=False)
            except ExportError as error:
                self._refusal = str(error)

    def _streamed(self, config: Config, share: float) -> Config | None:
        """Memories that fill the chip, ``share`` of it with activations."""
        least = changed(config, {"trit_depth": 64, "activation_depth": 64, **{
            name: getattr(self._base, name)
            for name in ("program_depth", "row_depth", "result_depth")}})
        left = self.board.resources.block_rams - estimate(self.board, least).block_rams
        depths = {}
        for name, part in (("activation_depth", share), ("trit_depth", 1 - share)):
            depth = 64
            while 2 * depth <= _ROOMY[name] and self._block_rams(
                    changed(least, {name: 2 * depth}), name) <= part * left:
                depth *= 2
            depths[name] = depth
        if min(depths.values()) <= 64:
            return None
        return changed(least, depths)

    def _block_rams(self, config: Config, name: str) -> int:
        kind = _KINDS[name]
        mapped = map_memory(self.board.family, _memory(config, kind, getattr(config, name)))
        return mapped.count * config.memory_count(kind) if mapped.resource == "block_rams" else 0

    def _nothing(self, ranked: list[Config]) -> BuildError:
        """Why nothing fits: what the configuration that lacks least lacks."""
        start = f"network {self.network.name} does not fit {self.board.title}: "
        known = f"preset {self.board.config} is the nearest configuration that fits the board"
        if self._failures:
            _, config, lacks = min(self._failures, key=lambda one: one[0])
            return BuildError(f"{start}{_ARRANGED.format(shape(config))}, the configuration tried "
                              f"that lacks least, needs {sentence(lacks)}; {known}")
        if self._base.single_port:
            found = min((max((count / getattr(self.board.resources, name), name, count, config)
                             for name, count in self._trit_memories(config).items())
                         for config in ranked), key=lambda one: one[0], default=None)
            if found is not None:
                _, name, count, config = found
                return BuildError(
                    f"{start}{_ARRANGED.format(shape(config))} takes the least memory of those "
                    f"tried, and needs some {count:,} {_NAMES[name]} of "
                    f"{getattr(self.board.resources, name):,} for trits alone; {known}")
        return BuildError(f"{start}{self._refusal or 'no shape holds it'}; {known}")

    def _tell(self, message: str, done: float) -> None:
        if self.progress is not None:
            self.progress(message, min(1.0, done))


def _distance(one: Config, other: Config) -> float:
    """How different two arrangements are."""
    return sum(abs(math.log2(getattr(one, name) / getattr(other, name))) for name in (
        "sets", "clusters", "elements", "scan_width", "drain_width", "queue_depth", "banks"))


def random_codes(network: Network, count: int = 1, seed: int = 0) -> NDArray[np.int64]:
    """Input codes (count, channels, height, width), drawn evenly from the input's range."""
    tensor = network.tensors[network.input]
    return np.random.default_rng(seed).integers(
        tensor.low, tensor.high + 1, (count, *tensor.shape), np.int64)


def lines(config: Config) -> list[str]:
    """A configuration as the lines of a TOML file."""
    def text(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return str(value)

    return [f"{name} = {text(value)}" for name, value in config.to_dict().items()
            if name != "name"]
