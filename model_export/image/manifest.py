"""The manifest of an image: what a reader wants to know of it, and a checksum of every file."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tritforge.common.json_types import SPARSE, Json, JsonObject
from tritforge.common.version import tritforge_version
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.image.arrays import ArrayEntry
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.plan import LayerUse, MemoryUse, layer_uses, memory_uses
from tritforge.model_export.network import Arrangement, ColumnGroup, Fold, Layer, Pool, Window

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MOST_FILES",
    "Manifest",
    "build_manifest",
    "files_of",
    "seal",
]

#: What a manifest begins with.
FORMAT = "tritforge image"
#: Raised whenever an older reader would misunderstand the folder.
FORMAT_VERSION = 4
#: Files that a folder can have besides the manifest.
MOST_FILES = (
    "layout.bin",
    "layout.json",
    "network.bin",
    "network.json",
    "program.bin",
    "rows.bin",
    "tables.bin",
    "trits.bin",
)
#: Which of them describe the network, which the accelerator is loaded with, all.
_PARTS = {
    "network": ("network.bin", "network.json"),
    "accelerator": ("program.bin", "rows.bin", "tables.bin", "trits.bin"),
    "folder": MOST_FILES,
}


@dataclass(frozen=True)
class InputEntry(JsonObject):
    """The input tensor; ``fold``: how it is rearranged on its way to the chip; ``arrangement``: how
    samples become its channels, rows and columns, where they are shaped otherwise."""

    name: str
    shape: tuple[int, ...]
    scale: float
    signed: bool
    fold: Fold | None
    arrangement: Arrangement | None


@dataclass(frozen=True)
class OutputEntry(JsonObject):
    """The last layer's results; ``result_scale`` is the real value of one unit."""

    layer: str
    shape: tuple[int, ...]
    result_scale: float


@dataclass(frozen=True)
class FileSize(JsonObject):
    """Bytes of some of the folder's files; float32 bytes of all weights over them."""

    bytes: int
    float32_over_bytes: float | None


@dataclass(frozen=True)
class Compression(JsonObject):
    """Weights of some layers: bytes as float32, as 2-bit trits, packed, in the memories."""

    weights: int
    float32_bytes: int
    trits_bytes: int
    packed_bytes: int
    memory_bytes: int
    bits_per_weight: float | None
    float32_over_trits: float | None
    float32_over_packed: float | None
    float32_over_memory: float | None


@dataclass(frozen=True)
class Sizes(JsonObject):
    """Bytes of the memories' contents, of the files, and of the weights."""

    program_bytes: int
    trits_bytes: int
    rows_bytes: int
    files: dict[str, FileSize]
    whole: Compression
    ternary_layers: Compression
    tables_bytes: int = field(default=0, metadata=SPARSE)


@dataclass(frozen=True)
class Streaming(JsonObject):
    """How an image that does not fit the memories is run; port words are per image."""

    passes: int
    resident_memories: tuple[str, ...]
    external_tensors: list[str]
    sent_words: int
    read_words: int
    layers: list[LayerUse] = field(default_factory=list, metadata=SPARSE)


@dataclass(frozen=True)
class GroupEntry(JsonObject):
    """A column group, as :class:`tritforge.model_export.network.ColumnGroup` explains it."""

    source: str
    channels: tuple[int, int]
    rows: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    windows: tuple[Window | None, Window | None]
    shared: bool
    wp: float
    wn: float
    coefficient_plus: int
    coefficient_minus: int
    nonzero_trits: int
    trits: int
    packed_bytes: int  # in ``network.bin``
    form: str
    wide: bool = field(default=False, metadata=SPARSE)


@dataclass(frozen=True)
class LayerMemory(JsonObject):
    """What a layer takes of the memories."""

    tiles: int
    program_address: int
    trit_columns: int
    trit_bytes: int
    row_entries: int


@dataclass(frozen=True)
class LayerEntry(JsonObject):
    """A layer, as :class:`tritforge.model_export.network.Layer` explains it, and its sizes."""

    name: str
    kind: str
    output: str
    output_shape: tuple[int, ...]
    rows: int
    pixels: tuple[int, int]
    pool: Pool | None
    relu: bool
    accumulator_scale: float
    output_scale: float
    accumulator_low: int
    accumulator_high: int
    accumulator_bits: int
    note: str
    weights: int
    weight_error: float
    density: float
    ternary: bool
    trits_bytes: int
    packed_bytes: int
    bits_per_weight: float | None
    memory: LayerMemory
    groups: list[GroupEntry]
    activation_table: bool = field(default=False, metadata=SPARSE)


@dataclass(frozen=True)
class Manifest(JsonObject):
    """``manifest.json``.

    Members
    -------
    tritforge : str
        Version of the program that wrote it.
    configuration, configuration_identity
        As :class:`tritforge.hw.config.Config` gives them.
    streaming : Streaming or None
        None: the memories hold everything at once.
    extra : dict
        What whoever exported it had to add.
    sha256 : dict
        Checksum of every other file.
    manifest_sha256 : str
        Checksum of the rest of the manifest, as :func:`seal` gives it.
    memories : tuple of MemoryUse
        What each kind of memory has, and what would hold everything at once.
    """

    format: str
    format_version: int
    tritforge: str
    network: str
    configuration: dict[str, Json]
    configuration_identity: str
    input: InputEntry
    output: OutputEntry
    sizes: Sizes
    streaming: Streaming | None
    extra: dict[str, Json]
    layers: list[LayerEntry]
    sha256: dict[str, str]
    manifest_sha256: str
    memories: tuple[MemoryUse, ...] = field(default=(), metadata=SPARSE)


def files_of(configuration: Mapping[str, Json]) -> tuple[str, ...]:
    """The folder's files besides the manifest, for a configuration as a manifest has it."""
    has_tables = bool(configuration.get("activation_tables", 0))
    return tuple(name for name in MOST_FILES if has_tables or name != "tables.bin")


def seal(manifest: Mapping[str, object]) -> str:
    """Checksum of a manifest, as JSON values, without its own checksum."""
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def build_manifest(
    compiled: CompiledNetwork,
    extra: dict[str, Json],
    trits: Sequence[Sequence[ArrayEntry]],
    files: Mapping[str, bytes],
) -> Manifest:
    """The manifest of an image that consists of ``files``.

    Parameters
    ----------
    trits
        Where the trits of each layer's groups are in ``network.bin``.
    files
        Contents of all of :func:`files_of`.
    """
    network, config = compiled.network, compiled.config
    source, final = network.tensors[network.input], network.final
    layers = [
        _layer(layer, compiled, entries)
        for layer, entries in zip(network.layers, trits, strict=True)
    ]
    manifest = Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        tritforge=tritforge_version(),
        network=network.name,
        configuration=config.to_dict(),
        configuration_identity=config.identity,
        input=InputEntry(
            source.name,
            source.shape,
            float(source.scale),
            source.signed,
            compiled.memory.tensors[source.name].fold,
            source.arrangement,
        ),
        output=OutputEntry(
            final.name, (final.rows, final.height, final.width), float(final.result_scale)
        ),
        sizes=_sizes(layers, compiled.memory, files),
        streaming=_streaming(compiled),
        extra=extra,
        layers=layers,
        sha256={name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()},
        manifest_sha256="",
        memories=memory_uses(compiled.memory),
    )
    return replace(manifest, manifest_sha256=seal(manifest.to_json()))


def _layer(layer: Layer, compiled: CompiledNetwork, entries: Sequence[ArrayEntry]) -> LayerEntry:
    memory = compiled.memory
    place = memory.layer(layer.name)
    low, high = int(place.accumulator_low), int(place.accumulator_high)
    packed = sum(entry.bytes for entry in entries)
    trits = sum(group.trits.size for group in layer.groups if not group.wide)
    weights = sum(group.trits.size for group in layer.groups if group.wide)  # a byte each
    pooled = layer if layer.pool is None else layer.pool
    output = compiled.network.tensors[layer.output]
    return LayerEntry(
        name=layer.name,
        kind=layer.kind,
        output=layer.output,
        output_shape=(layer.rows, pooled.height, pooled.width),
        rows=layer.rows,
        pixels=(layer.height, layer.width),
        pool=layer.pool,
        relu=layer.relu,
        accumulator_scale=float(layer.accumulator_scale),
        output_scale=float(layer.result_scale if layer.final else output.scale),
        accumulator_low=low,
        accumulator_high=high,
        accumulator_bits=max((-low - 1).bit_length(), high.bit_length()) + 1,
        note="; ".join(note for note in (layer.note, place.note) if note),
        weights=int(layer.weight_count),
        weight_error=float(layer.weight_error),
        density=layer.nonzero_trits / (trits + weights) if layer.groups else 0.0,
        ternary=layer.is_ternary,
        trits_bytes=-(-trits // 4) + weights,
        packed_bytes=packed,
        bits_per_weight=_quotient(8 * packed, layer.weight_count),
        memory=LayerMemory(
            tiles=place.tiles,
            program_address=place.address,
            trit_columns=place.columns,
            # where a layer has one pixel, each tile's columns are in one set alone
            trit_bytes=place.columns
            * memory.config.clusters
            * memory.trits.shape[2]
            * (memory.config.sets if place.pixels > 1 else 1),
            row_entries=place.row_entries,
        ),
        groups=[_group(group, entry) for group, entry in zip(layer.groups, entries, strict=True)],
        activation_table=layer.requantization is not None
        and layer.requantization.table is not None,
    )


def _group(group: ColumnGroup, entry: ArrayEntry) -> GroupEntry:
    return GroupEntry(
        source=group.source,
        channels=group.channels,
        rows=group.rows,
        kernel=group.kernel,
        stride=group.stride,
        padding=group.padding,
        dilation=group.dilation,
        windows=group.windows,
        shared=group.shared,
        wp=float(group.wp),
        wn=float(group.wn),
        coefficient_plus=int(group.coefficient_plus),
        coefficient_minus=int(group.coefficient_minus),
        nonzero_trits=int(np.count_nonzero(group.trits)),
        trits=group.trits.size,
        packed_bytes=entry.bytes,
        form=entry.dtype,
        wide=group.wide,
    )


def _streaming(compiled: CompiledNetwork) -> Streaming | None:
    memory = compiled.memory
    schedule = memory.schedule
    if schedule is None:
        return None
    sent, read = schedule.port_words(memory.config, range(len(schedule.passes)))
    external = [name for name, place in memory.tensors.items() if place.external]
    layers = layer_uses(compiled.network, memory)
    return Streaming(len(schedule.passes), schedule.resident, external, sent, read, layers)


def _sizes(layers: Sequence[LayerEntry], memory: MemoryImage, files: Mapping[str, bytes]) -> Sizes:
    program, trits, rows = memory.program.nbytes, memory.trits.nbytes, memory.rows.nbytes
    tables = memory.tables.nbytes
    float32 = 4 * sum(entry.weights for entry in layers)
    sizes = {
        part: sum(len(files[name]) for name in names if name in files)
        for part, names in _PARTS.items()
    }
    ternary = [entry for entry in layers if entry.ternary]
    return Sizes(
        program,
        trits,
        rows,
        {part: FileSize(size, _quotient(float32, size)) for part, size in sizes.items()},
        _compression(layers, program + trits + rows + tables),
        _compression(ternary, sum(entry.memory.trit_bytes for entry in ternary)),
        tables,
    )


def _compression(layers: Iterable[LayerEntry], memory_bytes: int) -> Compression:
    chosen = list(layers)
    weights = sum(entry.weights for entry in chosen)
    trits = sum(entry.trits_bytes for entry in chosen)
    packed = sum(entry.packed_bytes for entry in chosen)
    return Compression(
        weights,
        4 * weights,
        trits,
        packed,
        memory_bytes,
        _quotient(8 * packed, weights),
        _quotient(4 * weights, trits),
        _quotient(4 * weights, packed),
        _quotient(4 * weights, memory_bytes),
    )


def _quotient(numerator: int, denominator: int) -> float | None:
    return round(numerator / denominator, 3) if denominator else None
