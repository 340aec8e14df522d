"""Addresses, program and memory contents from a placed network.

The result is what :doc:`hardware.md` describes: nothing in it refers to the network, except the
maps by which a host writes inputs and reads tensors and results.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import SPARSE
from tritforge.hw.config import Config
from tritforge.hw.program import (
    GROUP,
    LAYER_OPCODE,
    TILE,
    encode,
    encode_words,
    layer_format,
    record_words,
    row_layout,
    to_words,
)
from tritforge.hw.widths import PORT_WIDTH, TABLE_ENTRIES
from tritforge.model_export.errors import ExportError
from tritforge.model_export.in_place import check_sums
from tritforge.model_export.memory.addresses import (
    assign,
    distances,
    lifetimes,
    sizes,
    tensors_with_gaps,
)
from tritforge.model_export.memory.geometry import (
    Tables,
    check_pool,
    computed,
    destination,
    geometry,
    pool_axis,
)
from tritforge.model_export.memory.placement import Placement, Tile, TileGroup
from tritforge.model_export.memory.schedule import Schedule
from tritforge.model_export.network import ColumnGroup, Fold, Layer, Network, Requantization
from tritforge.model_export.passes.quantize import partial_bounds

__all__ = [
    "Columns",
    "DoesNotFitError",
    "Emitter",
    "Held",
    "LayerPlace",
    "MemoryImage",
    "ResultPlace",
    "TensorPlace",
    "Window",
    "emit",
    "table_bytes",
]


#: What messages call the memories whose contents the network decides.
_MEMORY_NAMES = {
    "trits": "trit memory",
    "rows": "row memory",
    "program": "program memory",
    "tables": "memory of activation tables",
}


class DoesNotFitError(ExportError):
    """The network does not fit a memory whole; ``memory`` says which."""

    def __init__(self, message: str, memory: str) -> None:
        super().__init__(message)
        self.memory = memory


@dataclass(eq=False)
class TensorPlace:
    """A tensor in the activation memories: shape, first word, and each channel's place.

    Sizes are those in memory; with a ``fold``, codes go in and come out as its ``shape``.
    """

    name: str
    channels: int
    height: int
    width: int
    signed: bool
    base: int  # address of its first word, the same in every cluster
    words: int  # words per pixel
    cluster: NDArray[np.int64]  # (channels,)
    word: NDArray[np.int64]
    lane: NDArray[np.int64]
    fold: Fold | None = None
    external: bool = False  # kept by the host, strips of it come and go; no base

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the codes that go in and come out."""
        return (self.channels, self.height, self.width) if self.fold is None else self.fold.shape

    @property
    def size(self) -> int:
        """Words of every cluster's activation memory that the tensor takes."""
        return self.height * self.width * self.words

    def stored(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Codes (.., *shape*) as they stand in memory: (.., channels, height, width), folded."""
        return codes if self.fold is None else self.fold.apply(codes)


@dataclass(eq=False)
class LayerPlace:
    """Where a layer's records, columns and row entries begin, and how many there are."""

    name: str
    address: int  # program address for RUN
    output: str
    tiles: int
    rows_used: int  # accumulators per element, summed over tiles
    groups: int  # group records, summed over tiles
    pixels: int  # output pixels computed per tile
    columns: int  # trit-memory columns that it reads
    row_entries: int
    accumulator_low: int  # over all rows, for any input
    accumulator_high: int
    note: str = field(default="", metadata=SPARSE)  # how it is computed, where not as it stands
    block: tuple[int, int] = field(default=(1, 1), metadata=SPARSE)  # output pixels of a position


@dataclass(eq=False)
class ResultPlace:
    """The last layer's rows in the result memory: pixel n of row r is entry first + n * step."""

    rows: int
    height: int
    width: int
    base: int
    entries: int  # to read, from ``base``
    first: NDArray[np.int64]  # (rows,)
    step: NDArray[np.int64]
    lane: NDArray[np.int64]


@dataclass(eq=False)
class MemoryImage:
    """Memory contents for one configuration, and the maps a host needs.

    ``program`` is (words,) uint32. ``trits`` is (sets * clusters, columns, bytes) uint8: every
    column is ``2*P*R`` bits, lowest first, in whole bytes. ``rows`` is (entries, port words)
    uint32, ``tables`` (256 * activation tables,) uint8. With a ``schedule`` these are longer than
    the memories: addresses go on behind their ends (:mod:`tritforge.model_export.memory.schedule`).
    """

    config: Config
    program: NDArray[np.uint32]
    trits: NDArray[np.uint8]
    rows: NDArray[np.uint32]
    input: str
    tensors: dict[str, TensorPlace]
    layers: list[LayerPlace]
    results: ResultPlace | None
    activation_words: int  # words of each activation memory in use
    stale_lanes: bool  # lanes that no channel owns may hold old values
    schedule: Schedule | None = None  # None: everything is in the memories at once
    tables: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def layer(self, name: str) -> LayerPlace:
        """The layer called ``name``; ``KeyError`` if there is none."""
        for place in self.layers:
            if place.name == name:
                return place
        raise KeyError(
            f"the image has no layer {name!r}; "
            f"it has {', '.join(place.name for place in self.layers)}"
        )

    def port_words(self, kind: str, cluster: int = 0) -> NDArray[np.uint32]:
        """Memory words as the host port carries them: (words, ``memory_chunks``) uint32.

        ``kind`` is ``program``, ``trits``, ``rows`` or ``tables``; only trits differ between
        clusters.
        """
        if kind == "program":
            return self.program.reshape(-1, 1)
        if kind == "rows":
            return self.rows
        if kind == "tables":
            return self.tables.astype(np.uint32).reshape(-1, 1)
        if kind != "trits":
            raise KeyError(f"an image holds program, trits, rows and tables, not {kind}")
        return _port_words(self.trits[cluster], self.config.memory_chunks("trits"))

    def activation_port_words(self, words: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Activation words (n, S) of one cluster as the host port carries them."""
        return _port_words(words, self.config.memory_chunks("activations"))

    def activations_from_port_words(self, words: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Inverse of :meth:`activation_port_words`: (n, chunks) uint32 -> (n, S) uint8."""
        raw = np.ascontiguousarray(words, "<u4").view(np.uint8)
        return raw.reshape(len(words), -1)[:, : self.config.scan_width]

    def tensor_words(self, name: str, codes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Activation codes (C, H, W) as memory words (clusters, words, S) from the tensor's base.

        C, H, W are the place's ``shape``; folding is done here. Lanes that no channel owns are
        zero.

        Raises
        ------
        ValueError
            Wrong shape, not integers, or codes outside the tensor's range.
        """
        place = self.tensors[name]
        codes = np.asarray(codes)
        if codes.shape != place.shape:
            raise ValueError(f"tensor {name} has shape {place.shape}, not {codes.shape}")
        if codes.dtype.kind not in "iu":
            raise ValueError(f"codes of tensor {name} must be integers, not {codes.dtype}")
        low, high = (-128, 127) if place.signed else (0, 255)
        if codes.size and not low <= int(codes.min()) <= int(codes.max()) <= high:
            raise ValueError(
                f"codes of tensor {name} run from {codes.min()} to {codes.max()}; "
                f"they must lie between {low} and {high}"
            )
        codes = place.stored(codes)
        pixels = place.height * place.width
        words = np.zeros(
            (self.config.clusters, pixels, place.words, self.config.scan_width), np.uint8
        )
        words[place.cluster, :, place.word, place.lane] = (
            codes.reshape(place.channels, pixels).astype(np.int16) & 0xFF
        )
        return words.reshape(self.config.clusters, place.size, self.config.scan_width)

    def words_by_place(
        self, tensors: Mapping[str, NDArray[np.integer]]
    ) -> list[tuple["TensorPlace", NDArray[np.uint8]]]:
        """:meth:`tensor_words` of several tensors, those that lie side by side in one array, each
        with the place of one of them."""
        found: dict[int, tuple[TensorPlace, NDArray[np.uint8]]] = {}
        for name, codes in tensors.items():
            place, words = self.tensors[name], self.tensor_words(name, codes)
            if place.base in found:
                words |= found[place.base][1]
            found[place.base] = place, words
        return list(found.values())

    def input_words(self, codes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """:meth:`tensor_words` of the network's input."""
        return self.tensor_words(self.input, codes)

    def tensor_from_words(self, name: str, words: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Inverse of :meth:`tensor_words`: (clusters, words, S) uint8 -> codes (C, H, W) int16."""
        place = self.tensors[name]
        pixels = place.height * place.width
        shaped = np.asarray(words, np.uint8).reshape(
            self.config.clusters, pixels, place.words, self.config.scan_width
        )
        codes = shaped[place.cluster, :, place.word, place.lane]
        signed = codes.view(np.int8).astype(np.int16) if place.signed else codes.astype(np.int16)
        values = signed.reshape(place.channels, place.height, place.width)
        return values if place.fold is None else place.fold.undo(values)

    def results_from_entries(self, entries: NDArray[np.integer]) -> NDArray[np.int32]:
        """Result entries (n, config.results) from the base -> (rows, height, width) int32."""
        place = self.results
        if place is None:
            raise ValueError("the image has no final layer, so it writes no results")
        entries = np.asarray(entries).reshape(-1, self.config.results)
        if len(entries) < place.entries:
            raise ValueError(f"{len(entries)} result entries given; there are {place.entries}")
        pixels = np.arange(place.height * place.width)
        values = entries[place.first[:, None] + place.step[:, None] * pixels, place.lane[:, None]]
        narrow = (values.astype(np.int64) & 0xFFFF_FFFF).astype(np.uint32).view(np.int32)
        return narrow.reshape(place.rows, place.height, place.width)


def _port_words(raw: NDArray[np.uint8], chunks: int) -> NDArray[np.uint32]:
    padded = np.zeros((len(raw), chunks * PORT_WIDTH // 8), np.uint8)
    padded[:, : raw.shape[1]] = raw
    return padded.view("<u4").astype(np.uint32)


@dataclass(frozen=True)
class Columns:
    """Trit columns of one column group: kernel positions ``kernel_y`` x ``kernel_x``, at each of
    them words [word, word + words) of the source, of the last one ``lanes`` activations."""

    word: int
    words: int
    lanes: int
    kernel_y: range
    kernel_x: range
    scan: int  # activations per word
    shared: bool = False  # all positions have the same columns

    @property
    def step(self) -> int:
        """Columns of a kernel position."""
        return (self.words - 1) * self.scan + self.lanes

    @property
    def count(self) -> int:
        """Columns in all."""
        return self.step * (1 if self.shared else len(self.kernel_y) * len(self.kernel_x))


@dataclass(frozen=True)
class Window:
    """The rows of a layer that are computed: ``rows`` before pooling, and the rows ``places`` of
    its output tensor that come of them."""

    rows: range
    places: range

    @classmethod
    def whole(cls, layer: Layer) -> "Window":
        """All of a layer."""
        return cls(range(layer.height), range(layer.output_shape[1]))


#: Where tensors are: the address of the first row that is there, and which that is.
Held = dict[str, tuple[int, int]]


class _Trits:
    """Trit memories being filled, each set's on its own."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._used = [0] * config.sets
        self._parts: list[tuple[range, int, NDArray[np.uint8]]] = []
        self._known: dict[tuple[range, bytes], int] = {}

    @property
    def columns(self) -> int:
        """Columns in use, or needed."""
        return max(self._used)

    def place(self, sets: range, count: int, make: Callable[[], NDArray[np.uint8]]) -> int:
        """First column of ``count`` that ``sets`` alike hold; equal contents are held once.

        ``make`` gives the contents (clusters, count, bytes), and is called where they fit.
        """
        base = max(self._used[index] for index in sets)
        if base + count <= self._config.trit_depth:
            part = make()
            known = self._known.setdefault((sets, part.tobytes()), base)
            if known != base:
                return known
            self._parts.append((sets, base, part))
        for index in sets:
            self._used[index] = base + count
        return base

    def contents(self) -> NDArray[np.uint8]:
        """(sets * clusters, columns, bytes)."""
        config = self._config
        result = np.zeros(
            (config.sets, config.clusters, self.columns, -(-config.memory_width("trits") // 8)),
            np.uint8,
        )
        for sets, base, part in self._parts:
            result[sets.start : sets.stop, :, base : base + part.shape[1]] = part
        return result.reshape(config.cluster_count, self.columns, -1)


class Emitter:
    """Makes the parts of a memory image; :meth:`run` makes one that fits the memories whole."""

    def __init__(self, network: Network, placement: Placement, config: Config) -> None:
        self.network = network
        self.placement = placement
        self.config = config

    # ----- shapes and ranges

    def check(self) -> dict[str, tuple[int, int]]:
        """Shapes and ranges; the accumulators' bounds by layer name."""
        config, network = self.config, self.network
        bounds = {}
        check_sums(network)
        for layer in network.layers:
            if layer.addend is not None and not config.write_back_sums:
                raise ExportError(
                    f"layer {layer.name} adds to tensor {layer.addend} as it writes; configuration "
                    f"{config.name} has no write_back_sums: export the network for it"
                )
            for group in layer.groups:
                for which in (group.coefficient_plus, group.coefficient_minus):
                    if abs(which) > config.coefficient_max:
                        raise ExportError(
                            f"layer {layer.name} has a coefficient {which}; configuration "
                            f"{config.name} holds {-config.coefficient_max} to "
                            f"{config.coefficient_max}"
                        )
                if max(group.kernel) > 255:
                    raise ExportError(
                        f"layer {layer.name} has a kernel of {group.kernel[0]}x{group.kernel[1]}; "
                        f"the hardware visits at most 255 positions each way"
                    )
            low, high = partial_bounds(network, layer)
            if (
                low.min(initial=0) < -config.accumulator_max - 1
                or high.max(initial=0) > config.accumulator_max
            ):
                raise ExportError(
                    f"layer {layer.name} has accumulators from {low.min()} to {high.max()}; "
                    f"configuration {config.name} holds {-config.accumulator_max - 1} to "
                    f"{config.accumulator_max}"
                )
            if layer.blocks is not None and layer.blocks.pool != (1, 1) and not config.row_merges:
                raise ExportError(
                    f"layer {layer.name} is to compute blocks in front of a max-pool; "
                    f"configuration {config.name} has no row_merges"
                )
            self._check_requantization(layer, low, high)
            check_pool(layer, config)
            if layer.final and layer.pool is not None:
                raise ExportError(
                    f"layer {layer.name} is the last and has a max-pool; results are not pooled"
                )
            if not layer.final:
                tensor = network.tensors[layer.output]
                expected = layer.output_shape
                if expected != (tensor.channels, tensor.height, tensor.width):
                    raise ExportError(
                        f"layer {layer.name} computes {expected}, but tensor {tensor.name} is "
                        f"{(tensor.channels, tensor.height, tensor.width)}"
                    )
            bounds[layer.name] = (int(low.min(initial=0)), int(high.max(initial=0)))
        return bounds

    def _check_requantization(
        self, layer: Layer, low: NDArray[np.int64], high: NDArray[np.int64]
    ) -> None:
        rule = layer.requantization
        assert rule is not None
        offset = rule.bias + ((np.int64(1) << rule.shift) >> 1)
        limit = 1 << (self.config.offset_width - 1)
        for end in (low, high):
            total = end * rule.multiplier + offset
            outside = np.flatnonzero((total < -limit) | (total >= limit))
            if len(outside):
                row = int(outside[0])
                raise ExportError(
                    f"layer {layer.name}, row {row}, scales accumulators up to {int(total[row])}; "
                    f"configuration {self.config.name} holds {self.config.offset_width} bits there"
                )
            if layer.final and (
                total.min(initial=0) < -(1 << 31) or total.max(initial=0) >= 1 << 31
            ):
                raise ExportError(
                    f"layer {layer.name} has results up to {int(abs(total).max())}; "
                    f"a result is a signed 32-bit integer"
                )
        if layer.final and rule.shift.any():
            raise ExportError(f"layer {layer.name} is the last; its results cannot be shifted")
        if rule.table is not None:
            self._check_table(layer, rule, rule.table)

    def _check_table(self, layer: Layer, rule: Requantization, table: NDArray[np.int64]) -> None:
        if layer.final:
            raise ExportError(
                f"layer {layer.name} is the last and has an activation table; results are not "
                f"looked up"
            )
        if not self.config.activation_tables:
            name = "a function" if layer.function is None else layer.function.name
            count = len(self.tables())
            turns = ", or 2 that are sent in turn" if count > 2 else ""
            raise ExportError(
                f"layer {layer.name} applies {name}, which takes an activation table; "
                f"configuration {self.config.name} has none: use ReLU or a clamp, or a "
                f"configuration file with a preset and activation_tables = {count}{turns}"
            )
        if not (-128 <= rule.low <= rule.high <= 127 or 0 <= rule.low <= rule.high <= 255):
            raise ExportError(
                f"layer {layer.name} clamps to {rule.low} .. {rule.high} in front of its "
                f"activation table; codes go from 0 to 255 or from -128 to 127"
            )
        tensor = self.network.tensors[layer.output]
        least, most = int(table.min()), int(table.max())
        if layer.addend is None and (least < tensor.low or most > tensor.high):
            raise ExportError(
                f"layer {layer.name} has an activation table of codes from {least} to {most}; "
                f"codes of tensor {tensor.name} go from {tensor.low} to {tensor.high}"
            )

    # ----- activation tables

    def tables(self) -> list[tuple[str, NDArray[np.uint8]]]:
        """Activation tables that differ, each with the first layer that has it."""
        found: dict[bytes, str] = {}
        for layer in self.network.layers:
            if (table := table_bytes(layer)) is not None:
                found.setdefault(table.tobytes(), layer.name)
        return [(name, np.frombuffer(table, np.uint8)) for table, name in found.items()]

    # ----- activation memory

    def allocate(self, tight: bool = False) -> tuple[dict[str, int], bool, int]:
        """Base address of every tensor, whether gaps may be stale, words in use; ``tight``: few
        words, whether there is room or not."""
        network, placement = self.network, self.placement
        size = sizes(network, placement)
        times = lifetimes(network, self.placement)
        gaps = frozenset(tensors_with_gaps(placement, self.config) - {network.input})
        depth = self.config.activation_depth
        near = distances(network, placement, self.config)
        needed = 0
        shared = frozenset[str]()
        for exclusive, overlapping in ((gaps, {}), (shared, {}), (shared, near))[2 * tight :]:
            bases = assign(size, times, 0 if tight else depth, overlapping, exclusive)
            needed = max(bases[name] + size[name] for name in bases)
            if needed <= depth:
                everywhere = {name: bases[placement.place(name)] for name in placement.layouts}
                return everywhere, bool(gaps - exclusive), needed
        born, died = times
        live = [
            sum(size[name] for name in born if born[name] <= index <= died[name])
            for index in range(len(network.layers))
        ]
        full = next(
            (index for index, words in enumerate(live) if words > depth), int(np.argmax(live))
        )
        raise DoesNotFitError(
            f"the activation memory is too small at layer {network.layers[full].name}: network "
            f"{network.name} needs {needed} words per cluster, configuration {self.config.name} "
            f"has {depth}",
            "activations",
        )

    # ----- trits

    def columns(self, layer: Layer, group: TileGroup) -> Columns:
        """The columns of a group."""
        rule = layer.groups[group.group]
        return Columns(
            *self.placement.read_range(group, self.config),
            range(rule.kernel[0]),
            range(rule.kernel[1]),
            self.config.scan_width,
            rule.shared,
        )

    def trit_columns(self, layer: Layer, tile: Tile, group: TileGroup) -> NDArray[np.uint8]:
        """(clusters, columns, bytes): the trit memory's words of one column group of a tile."""
        if group.quarter is not None:
            return self._weight_columns(layer, tile, group, group.quarter)
        slot = tile.element * self.config.rows + tile.accumulator
        every = np.ones(len(slot), bool)
        trits = self._slots(layer, tile, group, slot, every, self.config.slots)
        flat = trits.reshape(*trits.shape[:2], self.config.elements, 1, self.config.rows)
        bits = np.concatenate([flat != 0, flat < 0], axis=3)
        return np.packbits(
            bits.reshape(*trits.shape[:2], 2 * self.config.slots), axis=2, bitorder="little"
        )

    def _weight_columns(
        self, layer: Layer, tile: Tile, group: TileGroup, quarter: int
    ) -> NDArray[np.uint8]:
        """The same of a wide group: a byte for each accumulator of the quarter."""
        count = self.config.quarter_rows
        slot = tile.element * count + tile.accumulator % count
        chosen = tile.accumulator // count == quarter
        slots = self.config.elements * count
        return self._slots(layer, tile, group, slot, chosen, slots).view(np.uint8)

    def _slots(
        self,
        layer: Layer,
        tile: Tile,
        group: TileGroup,
        slot: NDArray[np.int64],
        chosen: NDArray[np.bool_],
        slots: int,
    ) -> NDArray[np.int8]:
        """(clusters, columns, slots): trits or weights of the ``chosen`` rows of a tile, each in
        its slot."""
        config = self.config
        columns = self.columns(layer, group)
        first_word, step, count = columns.word, columns.step, columns.count
        positions = count // step
        trits = np.zeros((config.clusters, positions, step, slots), np.int8)
        for block in group.blocks:
            inside = (tile.rows >= block.rows[0]) & (tile.rows < block.rows[1])
            here = np.flatnonzero(inside & chosen)
            source: ColumnGroup = layer.groups[block.group]
            layout = self.placement.layouts[source.source]
            channels = np.arange(*block.channels)
            cube = source.trits[tile.rows[here] - source.rows[0]][
                :, block.channels[0] - source.channels[0] : block.channels[1] - source.channels[0]
            ]
            values = cube.reshape(len(here), len(channels), positions)
            column = (layout.word[channels] - first_word) * config.scan_width + layout.lane[
                channels
            ]
            trits[
                layout.cluster[channels][:, None, None],
                np.arange(positions)[None, :, None],
                column[:, None, None],
                slot[here][None, None, :],
            ] = values.transpose(1, 2, 0)
        return trits.reshape(config.clusters, count, slots)

    # ----- everything

    def run(self, *, tight: bool = False) -> MemoryImage:
        config, network = self.config, self.network
        bounds = self.check()
        bases, stale_lanes, activation_words = self.allocate(tight)
        held: Held = {name: (base, 0) for name, base in bases.items()}
        tensors = {name: self.tensor_place(name, base) for name, base in bases.items()}
        tiles = self.placement.tiles
        record_count = sum(
            record_words(layer_format(config))
            + sum(
                record_words(TILE) + record_words(GROUP) * len(tile.groups)
                for tile in tiles[layer.name]
            )
            for layer in network.layers
        )
        tables = Tables(record_count)
        program: list[int] = []
        trits = _Trits(config)
        rows: list[list[int]] = []
        layers = []
        different = self.tables()
        number_of = {table.tobytes(): number for number, (_, table) in enumerate(different)}
        program_full: str | None = None
        trits_full: str | None = None
        rows_full: str | None = None
        result_place = None
        for layer in network.layers:
            window = Window.whole(layer)
            pixels = self.pixels(layer, window)
            try:
                address = len(program)
                own_tiles = tiles[layer.name]
                table = table_bytes(layer)
                program += self.layer_record(
                    layer,
                    len(own_tiles),
                    tables,
                    held,
                    window,
                    table=None if table is None else number_of[table.tobytes()],
                )
                column_count = 0
                row_start = len(rows)
                for number, tile in enumerate(own_tiles):
                    program += encode_words(
                        TILE,
                        rows_used=tile.rows_used,
                        group_count=len(tile.groups),
                        row_base=len(rows),
                    )
                    sets = (
                        range(config.sets)
                        if pixels > 1
                        else range(number % config.sets, number % config.sets + 1)
                    )
                    for group in tile.groups:
                        columns = self.columns(layer, group)
                        column_count += columns.count
                        base = trits.place(
                            sets, columns.count, partial(self.trit_columns, layer, tile, group)
                        )
                        program += self.group_record(
                            layer, group, columns, base, tables, held, window
                        )
                    rows += self.row_entries(layer, tile)
            except OverflowError as error:
                raise ExportError(
                    f"layer {layer.name} does not fit the program's fields: {error}"
                ) from error
            layers.append(
                LayerPlace(
                    layer.name,
                    address,
                    layer.output,
                    len(own_tiles),
                    sum(tile.rows_used for tile in own_tiles),
                    sum(len(tile.groups) for tile in own_tiles),
                    pixels,
                    column_count,
                    len(rows) - row_start,
                    *bounds[layer.name],
                    block=(1, 1) if layer.blocks is None else layer.blocks.block,
                )
            )
            if layer.final:
                result_place = self.results(layer)
            if trits.columns > config.trit_depth:
                trits_full = trits_full or layer.name
            if len(rows) > config.row_depth:
                rows_full = rows_full or layer.name
            if record_count + len(tables.words) > config.program_depth:
                program_full = program_full or layer.name
        program += tables.words
        tables_full = next((name for name, _ in different[config.activation_tables :]), None)
        for kind, at, needed, depth, unit in (
            ("trits", trits_full, trits.columns, config.trit_depth, "columns per cluster"),
            ("rows", rows_full, len(rows), config.row_depth, "entries"),
            ("program", program_full, len(program), config.program_depth, "words"),
            ("tables", tables_full, len(different), config.activation_tables, "tables"),
        ):
            if at is not None:
                raise DoesNotFitError(
                    f"the {_MEMORY_NAMES[kind]} is too small at layer {at}: network {network.name} "
                    f"needs {needed} {unit}, configuration {config.name} has {depth}",
                    kind,
                )
        return MemoryImage(
            config,
            np.array(program, np.uint32),
            trits.contents(),
            np.array(rows, np.uint32).reshape(-1, config.memory_chunks("rows")),
            network.input,
            tensors,
            layers,
            result_place,
            activation_words,
            stale_lanes,
            tables=np.concatenate([np.zeros(0, np.uint8), *(table for _, table in different)]),
        )

    def needs(self) -> dict[str, int]:
        """Words of each kind of memory that would hold all of the network at once, outputs on
        their sources; without ``program`` where its fields are too narrow for that."""
        network, config, tiles = self.network, self.config, self.placement.tiles
        size = sizes(network, self.placement)
        near = distances(network, self.placement, config)
        bases = assign(size, lifetimes(network, self.placement), 0, near)
        used = [0] * config.sets
        rows = 0
        for layer in network.layers:
            alone = self.pixels(layer, Window.whole(layer)) == 1
            for number, tile in enumerate(tiles[layer.name]):
                count = sum(self.columns(layer, group).count for group in tile.groups)
                for index in [number % config.sets] if alone else range(config.sets):
                    used[index] += count
                rows += tile.rows_used * config.blocks
        result = {
            "activations": max(bases[name] + size[name] for name in bases),
            "trits": max(used),
            "rows": rows,
        }
        if config.activation_tables:
            result["tables"] = len(self.tables())
        held: Held = dict.fromkeys(self.placement.layouts, (0, 0))
        tables, records = Tables(0), 0
        try:
            for layer in network.layers:
                window = Window.whole(layer)
                records += len(self.layer_record(layer, 1, tables, held, window))
                for tile in tiles[layer.name]:
                    records += record_words(TILE)
                    for group in tile.groups:
                        columns = self.columns(layer, group)
                        records += len(
                            self.group_record(layer, group, columns, 0, tables, held, window)
                        )
        except OverflowError:
            return result
        return result | {"program": records + len(tables.words)}

    def pixels(self, layer: Layer, window: Window) -> int:
        """Output pixels that a tile computes."""
        return computed(window.rows, pool_axis(layer.pool, 0), window.places) * computed(
            range(layer.width), pool_axis(layer.pool, 1), range(layer.output_shape[2])
        )

    def tensor_place(self, name: str, base: int, external: bool = False) -> TensorPlace:
        """Where a tensor is."""
        tensor, layout = self.network.tensors[name], self.placement.layouts[name]
        return TensorPlace(
            name,
            tensor.channels,
            tensor.height,
            tensor.width,
            tensor.signed,
            base,
            layout.words,
            layout.cluster,
            layout.word,
            layout.lane,
            tensor.fold,
            external,
        )

    def layer_record(
        self,
        layer: Layer,
        tile_count: int,
        tables: Tables,
        held: Held,
        window: Window,
        result_base: int = 0,
        *,
        table: int | None = None,
    ) -> list[int]:
        """LAYER for the rows of ``window``; results go to entry ``result_base`` on, ``table`` is
        the number of its activation table if it has one."""
        rule = layer.requantization
        assert rule is not None
        width = layer.output_shape[2]
        step_x = step_y = 0
        base = result_base
        if not layer.final:
            step_x = self.placement.layouts[layer.output].words
            step_y = width * step_x
            base = held[layer.output][0]
        record, tensors = layer_format(self.config), self.network.tensors
        adds = layer.addend is not None
        signed = entries_signed = not layer.final and tensors[layer.output].signed
        if rule.table is not None and adds:  # what is added, not the sum
            entries_signed = bool(rule.table.min() < 0)
        return encode_words(
            record,
            opcode=LAYER_OPCODE,
            raw=int(layer.final),
            look_up=int(table is not None),
            table=(table or 0) % (1 << record["table"].width),
            table_signed=int(table is not None and entries_signed),
            tile_count=tile_count,
            low=0 if layer.final else rule.low,
            high=0 if layer.final else rule.high,
            out_height=len(window.rows),
            out_width=layer.width,
            destination_y=tables.add(destination(layer, 0, window.rows, step_y, window.places)),
            destination_x=tables.add(
                destination(layer, 1, range(layer.width), step_x, range(width))
            ),
            step_x=step_x,
            step_y=step_y,
            base=base,
            **(
                {
                    "add": 1,
                    "stored_signed": int(tensors[layer.addend].signed),
                    "sum_signed": int(signed),
                }
                if layer.addend is not None
                else {}
            ),
        )

    def group_record(
        self,
        layer: Layer,
        group: TileGroup,
        columns: Columns,
        trit_base: int,
        tables: Tables,
        held: Held,
        window: Window,
        *,
        wait: bool = False,
        release: bool = False,
    ) -> list[int]:
        """GROUP for ``columns``, all of a group's or some."""
        rule = layer.groups[group.group]
        source = self.network.tensors[group.source]
        base, first = held[group.source]
        words = self.placement.layouts[group.source].words
        trit_x = 0 if rule.shared else columns.step
        trit_y = 0 if rule.shared else columns.step * len(columns.kernel_x)
        row_words = source.width * words
        return encode_words(
            GROUP,
            plus=rule.coefficient_plus,
            minus=-rule.coefficient_minus,
            base=base + columns.word,
            signed=int(source.signed),
            wait=int(wait),
            release=int(release),
            wide=int(group.quarter is not None),
            quarter=group.quarter or 0,
            geometry_y=tables.add(
                geometry(
                    rule, 0, window.rows, columns.kernel_y, source.height, row_words, trit_y, first
                )
            ),
            geometry_x=tables.add(
                geometry(rule, 1, range(layer.width), columns.kernel_x, source.width, words, trit_x)
            ),
            word_count=columns.words,
            last_lanes=columns.lanes,
            step_x=rule.dilation[1] * words,
            step_y=rule.dilation[0] * row_words,
            trit_base=trit_base,
            trit_step_x=trit_x,
            trit_step_y=trit_y,
        )

    def row_entries(self, layer: Layer, tile: Tile) -> list[list[int]]:
        """Row-memory entries of a tile."""
        config = self.config
        rule = layer.requantization
        assert rule is not None
        layout = row_layout(config)
        lane_words = config.row_entry_width // PORT_WIDTH
        entries = [
            [0] * (lane_words * config.drain_width) for _ in range(tile.rows_used * config.blocks)
        ]
        target = None if layer.final else self.placement.layouts[layer.output]
        for row, element, accumulator in zip(
            tile.rows.tolist(), tile.element.tolist(), tile.accumulator.tolist(), strict=True
        ):
            shift = int(rule.shift[row])
            place = {}
            if target is not None:
                channel, pixel = divmod(row, layer.block_pixels)
                place = {
                    "cluster": int(target.cluster[channel]),
                    "word": int(target.word[channel]),
                    "lane": int(target.lane[channel]),
                }
                if layer.blocks is not None:
                    (down, right), first = layer.blocks.fed(pixel)
                    place["word"] += (down * layer.blocks.width + right) * target.words
                    if not first:
                        place["merge"] = 1
            packed = encode(
                layout,
                multiplier=int(rule.multiplier[row]),
                offset=int(rule.bias[row]) + (1 << shift >> 1),
                shift=shift,
                enable=1,
                **place,
            )
            lane = element % config.drain_width
            entry = entries[accumulator * config.blocks + element // config.drain_width]
            entry[lane * lane_words : (lane + 1) * lane_words] = to_words(packed, lane_words)
            first = lane % config.drain_classes * lane_words
            if not any(entry[first : first + lane_words]):
                # It says for all that go to its slice which word that is.
                shared = {name: place[name] for name in ("word", "merge") if name in place}
                entry[first : first + lane_words] = to_words(encode(layout, **shared), lane_words)
        return entries

    def results(self, layer: Layer) -> ResultPlace:
        """Where the last layer's results are: tile after tile, pixel after pixel."""
        config, tiles = self.config, self.placement.tiles[layer.name]
        pixels = layer.height * layer.width
        first = np.zeros(layer.rows, np.int64)
        step = np.zeros(layer.rows, np.int64)
        lane = np.zeros(layer.rows, np.int64)
        start = 0
        for tile in tiles:
            per_pixel = tile.rows_used * config.blocks
            first[tile.rows] = (
                start + tile.accumulator * config.blocks + tile.element // config.drain_width
            )
            step[tile.rows] = per_pixel
            lane[tile.rows] = tile.element % config.drain_width
            start += pixels * per_pixel
        if start > config.result_depth:
            raise ExportError(
                f"the result memory is too small at layer {layer.name}: network "
                f"{self.network.name} needs {start} entries, configuration {config.name} has "
                f"{config.result_depth}"
            )
        return ResultPlace(layer.rows, layer.height, layer.width, 0, start, first, step, lane)


def table_bytes(layer: Layer) -> NDArray[np.uint8] | None:
    """A layer's activation table (256,) as memory holds it, if it has one."""
    rule = layer.requantization
    if rule is None or rule.table is None:
        return None
    assert len(rule.table) == TABLE_ENTRIES
    return (rule.table & 0xFF).astype(np.uint8)


def emit(
    network: Network, placement: Placement, config: Config, *, tight: bool = False
) -> MemoryImage:
    """Activation addresses, program, trits and row entries of a placed network.

    Tensors are given addresses by first fit over their lifetimes. Where a reader passes over
    lanes that no channel owns, the tensor's words are not shared with any other, so that those
    lanes stay zero (cycle counts then do not depend on what ran before); if memory is too small
    for that they are shared all the same, which changes no integer, since their trits are zero.
    If it is still too small, or with ``tight``, outputs stand on sources that nothing reads any
    more (:mod:`tritforge.model_export.memory.addresses`).

    Raises
    ------
    ExportError
        A memory is too small (memory, layer, needed and available are named), or a value does
        not fit its field.
    """
    return Emitter(network, placement, config).run(tight=tight)
