"""What a network needs of a configuration: widths of numbers, depths of memories, cycles."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.fpga.fit.memory_mapping import Memory, map_memory
from tritforge.hw.config import LIMITS, Config
from tritforge.hw.widths import ACTIVATION_WIDTH, PORT_WIDTH
from tritforge.model_export.memory.emit import MemoryImage, emit, table_bytes
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.shaping import compile_network, shape_network
from tritforge.model_export.network import ColumnGroup, Layer, Network
from tritforge.model_export.passes.quantize import partial_bounds

__all__ = [
    "DEPTHS",
    "PACKET_WORDS",
    "ROOMY",
    "LayerWork",
    "changed",
    "compiled",
    "expected_cycles",
    "layer_work",
    "memory_of",
    "streamed",
    "widths",
    "with_packets",
]

#: Fields that say how deep a memory is, and the memory.
DEPTHS = {
    "trit_depth": "trits",
    "activation_depth": "activations",
    "program_depth": "program",
    "row_depth": "rows",
    "result_depth": "results",
}
#: Depths that are large enough for any network: the limits of a configuration.
ROOMY: dict[str, int] = {name: LIMITS[name][1] for name in DEPTHS}
#: Words of a packet, at least and at most.
PACKET_WORDS = LIMITS["packet_words"]
#: Activation tables on the chip where they are sent: one is in use while the next one comes.
_SENT_TABLES = 2
#: Cycles that a layer takes beside its work: fetching its record, settling, writing counters.
LAYER_OVERHEAD = 120


def changed(config: Config, fields: Mapping[str, int]) -> Config:
    """A configuration with other values of some fields.

    Raises
    ------
    ConfigError
        There is no such configuration.
    """
    return Config.from_dict({**config.to_dict(), **fields})


# ----- numbers and memories


def widths(network: Network) -> dict[str, int]:
    """Fields of a configuration that the numbers of a quantized network ask for, at least: of
    activation tables as many as differ, or two that are sent in turn where those are too many."""
    coefficient, accumulator, multiplier, total, windows = 1, 8, 4, 0, 1
    tables = {
        table.tobytes() for layer in network.layers if (table := table_bytes(layer)) is not None
    }
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
        total = max(
            total,
            _signed_bits(offset),
            *(_signed_bits(end * rule.multiplier + offset) for end in (low, high)),
        )
        if layer.pool is not None:
            windows = max(
                windows,
                *(
                    -(-kernel // stride)
                    for kernel, stride in zip(layer.pool.kernel, layer.pool.stride, strict=True)
                ),
            )
    return {
        "coefficient_width": max(2, coefficient),
        "accumulator_width": max(accumulator, total - multiplier),
        "multiplier_width": multiplier,
        "window_count": windows,
        "activation_tables": (
            len(tables) if len(tables) <= LIMITS["activation_tables"][1] else _SENT_TABLES
        ),
    }


def _signed_bits(values: NDArray[np.int64]) -> int:
    """Bits of the widest value."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1


def compiled(
    network: Network,
    config: Config,
    densities: Mapping[str, NDArray[np.float64]] | None = None,
    *,
    family: str = "ecp5",
) -> tuple[Config, MemoryImage]:
    """A network compiled for an arrangement, whole in memories that are as deep as it needs.

    Parameters
    ----------
    network : Network
    config : Config
        Its depths do not count; packets are as long as its, or as a memory word asks for.
    densities : dict, optional
        As for :func:`tritforge.model_export.memory.placement.place`.
    family : str
        Whose memories are filled up where that costs no more of them.

    Raises
    ------
    DoesNotFitError
        A memory would be deeper than any.
    ExportError
        The configuration's numbers are too narrow.
    """
    roomy = changed(config, {**ROOMY, "packet_words": PACKET_WORDS[1]})
    shaped = shape_network(network, roomy, densities)
    placement = place(shaped.network, roomy, shaped.densities)
    memory = emit(shaped.network, placement, roomy)
    needed = {
        "trit_depth": memory.trits.shape[1],
        "activation_depth": memory.activation_words,
        "program_depth": len(memory.program),
        "row_depth": len(memory.rows),
        "result_depth": memory.results.entries if memory.results else 1,
    }
    depths = {name: _depth(family, roomy, name, count) for name, count in needed.items()}
    fitted = with_packets(changed(roomy, depths), config)
    return fitted, emit(shaped.network, placement, fitted)


def streamed(
    network: Network, config: Config, densities: Mapping[str, NDArray[np.float64]]
) -> MemoryImage:
    """A network compiled for a configuration as it is, sent in every run where it does not fit.

    Raises
    ------
    ExportError
        Not even its smallest pieces fit.
    """
    return compile_network(network, config, densities).memory


def _depth(family: str, config: Config, name: str, needed: int) -> int:
    """Words of a memory that holds ``needed``: what the same cells hold, up to a power of two."""
    needed = max(needed, LIMITS[name][0])
    rounded = 1 << (needed - 1).bit_length()
    if rounded == needed:
        return needed
    one, other = (
        map_memory(family, memory_of(config, DEPTHS[name], depth)) for depth in (needed, rounded)
    )
    return rounded if one.count == other.count else needed


def memory_of(config: Config, kind: str, depth: int) -> Memory:
    """A memory of the accelerator with that many words."""
    width = config.memory_width(kind)
    chunk = min(width, {"activations": ACTIVATION_WIDTH, "results": width}.get(kind, PORT_WIDTH))
    huge = config.memory_ports == 1 and kind in ("trits", "activations", "program")
    return Memory(-(-width // chunk) * chunk, depth, chunk, style="huge" if huge else "auto")


def with_packets(config: Config, base: Config) -> Config:
    """With packets as long as the base's, or as its memory words ask for."""
    longest = 2 + max(config.memory_chunks(kind) for kind in ("trits", "rows", "activations"))
    return dataclasses.replace(
        config, packet_words=max(base.packet_words, longest, PACKET_WORDS[0])
    )


# ----- cycles


@dataclass(frozen=True)
class LayerWork:
    """A layer's work on one input."""

    rows: int
    pixels: int
    adds: float
    reads: tuple[tuple[int, float, float], ...]  # channels, positions, density; by group
    columns: tuple[tuple[int, int], ...]  # channels, columns of each; by group
    wide: tuple[bool, ...]  # by group
    writes: float

    def passes(self, config: Config) -> list[int]:
        """How often a tile reads the columns of each group: a wide one once for every quarter of
        the rows in use."""
        quarters = 1
        if config.multipliers:
            tiles = -(-self.rows // config.slots)
            rows_used = -(-self.rows // (tiles * config.elements))
            quarters = -(-rows_used // config.quarter_rows)
        return [quarters if wide else 1 for wide in self.wide]


def layer_work(
    layer: Layer, network: Network, tensors: Mapping[str, NDArray[np.integer]]
) -> LayerWork:
    """The work of a layer on the golden model's activations of one input."""
    adds, reads = 0.0, []
    for group in layer.groups:
        source = network.tensors[group.source]
        codes = source.stored(np.asarray(tensors[group.source]))[slice(*group.channels)]
        density = (codes != 0).mean(axis=(1, 2))
        positions = _positions(layer, group, source.height, source.width)
        nonzero = np.count_nonzero(group.trits, axis=(0, 2, 3)) / (
            group.trits.shape[2] * group.trits.shape[3]
        )
        adds += float((nonzero * density).sum()) * positions
        reads.append((len(codes), positions, float(density.mean())))
    columns = tuple(
        (group.channels[1] - group.channels[0], group.trits.shape[2] * group.trits.shape[3])
        for group in layer.groups
    )
    pixels = layer.height * layer.width
    wide = tuple(group.wide for group in layer.groups)
    return LayerWork(
        layer.rows, pixels, adds, tuple(reads), columns, wide, float(layer.rows * pixels)
    )


def _positions(layer: Layer, group: ColumnGroup, height: int, width: int) -> float:
    """Kernel positions inside the source, over all output pixels."""
    inside = 1.0
    for axis, (out, size) in enumerate(((layer.height, height), (layer.width, width))):
        inside *= float(group.positions(axis, range(out), size)[1].sum())
    return inside


def expected_cycles(work: Iterable[LayerWork], config: Config) -> float:
    """Clock cycles that an input takes if nothing but the busiest part of the array limits it:
    a guess to choose shapes by, mostly below what the cycle model finds."""
    total = 0.0
    for one in work:
        tiles = -(-one.rows // config.slots)
        rows_used = -(-one.rows // (tiles * config.elements))
        broadcasts = scans = 0.0
        passes = one.passes(config)
        for (channels, positions, density), times in zip(one.reads, passes, strict=True):
            words = -(-channels // (config.clusters * config.scan_width))
            scans += times * positions * words
            broadcasts += (
                times
                * positions
                * (
                    channels * density / config.clusters
                    + words * (1 - density) ** config.scan_width
                )
            )
        in_parallel = min(config.sets, max(1, one.pixels * tiles))
        groups = sum(passes)
        if 1 < config.group_places >= groups:
            sequencer = 3 * config.program_reads + 2 * (groups - 1)
        else:
            sequencer = (8 if groups == 1 else 13) * config.program_reads * groups
        total += LAYER_OVERHEAD + max(
            one.adds / (in_parallel * config.clusters * config.elements),
            tiles * broadcasts / in_parallel,
            tiles * scans,
            one.pixels * tiles * rows_used * config.blocks,
            one.writes / config.clusters,
            one.pixels * tiles * sequencer,
        )
    return total
