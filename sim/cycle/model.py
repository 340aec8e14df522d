"""Cycle model: the clock cycles and counters of the RTL, without its arithmetic.

What the hardware does in a cycle depends on which activations and trits are zero, not on their
values. The model (``cycle_model.cpp``, compiled on first use) steps the control of every cluster,
slice and drain through a layer, given the golden model's activations; layers run side by side on
all cores. Its cycles and counters equal the RTL's; ``tests/sim/test_cycle.py`` shows it.
"""

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.cache import cached
from tritforge.common.errors import TritforgeError
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS, DESTINATION, GEOMETRY, GROUP, LAYER, TILE, record_words
from tritforge.hw.timing import (
    buffer_words,
    clear_latency,
    fetch_latency,
    merge_level,
    merge_places,
    pixels_ahead,
    result_write_latency,
    settle,
    write_back_latency,
)
from tritforge.hw.widths import COUNTER_SLOTS
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.schedule import Strip
from tritforge.model_export.network import Network
from tritforge.sim.event_log import KINDS, Record, in_order
from tritforge.sim.host import HostTensors, packet_shapes
from tritforge.sim.native import compiler, compiler_digest, run_tool
from tritforge.sim.records import Records

__all__ = ["CycleModel", "CycleModelError", "lower_bound"]

_SOURCE = Path(__file__).with_name("simulation.cpp")
_FLAGS = (
    "-std=c++17",
    "-O2",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    f"-DEVENT_KINDS={','.join(KINDS).upper()}",
)


class CycleModelError(TritforgeError, RuntimeError):
    """The program addresses memory that is not there, or the model was interrupted."""


_FAILURES = {
    1: "the cycle model of layer {} was interrupted",
    2: "layer {} addresses memory that is not there",
    3: "program and host wait for each other in layer {}",
}


class _Machine(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            "sets",
            "clusters",
            "elements",
            "rows",
            "depth",
            "scan",
            "banks",
            "lanes",
            "skip_weights",
            "skip_activations",
            "merge_places",
            "merge_level",
            "settle",
            "clear",
            "layer_words",
            "tile_words",
            "group_words",
            "job_places",
            "buffer_words",
            "packet_places",
            "read_chunks",
            "word_places",
            "pixels_ahead",
            "program_reads",
            "memory_ports",
            "few_stages",
            "shared_results",
            "write_back",
            "result_write",
            "fetch_latency",
        )
    ]


class _LayerInput(ctypes.Structure):
    _fields_ = [
        ("layer", ctypes.c_void_p),
        ("destination_y", ctypes.c_void_p),
        ("destination_x", ctypes.c_void_p),
        ("tiles", ctypes.c_void_p),
        ("groups", ctypes.c_void_p),
        ("geometry", ctypes.c_void_p),
        ("row_lanes", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("columns", ctypes.c_int64),
        ("activations", ctypes.c_void_p),
        ("activation_depth", ctypes.c_int64),
        ("outputs", ctypes.c_void_p),
        ("output_words", ctypes.c_int32),
        ("first", ctypes.c_int32),
    ]


@dataclass(eq=False)
class _Layer:
    """Decoded program of one layer, as the compiled model takes it (int32 arrays)."""

    name: str
    output: str
    fields: NDArray[np.int32]
    destination_y: NDArray[np.int32]
    destination_x: NDArray[np.int32]
    tiles: NDArray[np.int32]
    groups: NDArray[np.int32]
    geometry: NDArray[np.int32]
    raw: bool


def lower_bound(config: Config, counters: Mapping[str, int], jobs: int) -> int:
    """Clock cycles that a layer takes at least, from counts that do not depend on timing.

    The largest of: additions over adders; words and broadcasts over clusters; accumulators over
    ``drain_width``; activation reads over slices; 8 cycles of the sequencer per job, of
    which there are ``jobs`` (output pixels x tiles x column groups).
    """
    return max(
        -(-counters["adds"] // config.adders),
        -(-(counters["broadcasts"] + counters["empty_scans"]) // config.cluster_count),
        counters["drain_steps"],
        -(-(counters["activation_reads"] + counters["merge_reads"]) // config.clusters),
        8 * jobs,
    )


class CycleModel:
    """Cycles and counters of a program's layers.

    Parameters
    ----------
    network : Network
        Says which tensors a layer reads.
    memory : MemoryImage
        Program, trits, rows, and where tensors live.

    Raises
    ------
    SimulatorError
        The model cannot be compiled.
    """

    def __init__(self, network: Network, memory: MemoryImage) -> None:
        self.network = network
        self.memory = memory
        self.config = config = memory.config
        self._library = _library()
        clear = 2 * config.banks * config.rows + clear_latency(config) + 1
        self._machine = _Machine(
            config.sets,
            config.clusters,
            config.elements,
            config.rows,
            config.queue_depth,
            config.scan_width,
            config.banks,
            config.drain_width,
            config.skip_zero_weights,
            config.skip_zero_activations,
            merge_places(config),
            merge_level(config),
            settle(config),
            clear,
            *(record_words(layout) for layout in (LAYER, TILE, GROUP)),
            config.job_places,
            buffer_words(config),
            config.packet_places,
            config.memory_chunks("activations"),
            config.word_places,
            pixels_ahead(config),
            config.program_reads,
            config.memory_ports,
            config.few_stages,
            config.shared_results,
            write_back_latency(config),
            result_write_latency(config),
            fetch_latency(config),
        )
        records = Records(config, memory.program)
        self._layers = (
            [
                self._decode(records, place.name, place.output, place.address)
                for place in memory.layers
            ]
            if memory.schedule is None
            else []
        )
        self._passes = (
            []
            if memory.schedule is None
            else [
                self._decode(records, one.layer, network.layer(one.layer).output, one.address)
                for one in memory.schedule.passes
            ]
        )
        self._row_lanes = np.ascontiguousarray(
            records.rows(memory.rows, ("enable", "cluster", "word", "lane")), np.int32
        )
        columns = memory.trits.shape[1]
        self._counts = np.zeros((config.cluster_count, max(columns, 1), config.elements), np.uint8)
        trits = np.ascontiguousarray(memory.trits)
        if columns:
            self._library.cycle_model_counts(
                trits.ctypes.data,
                trits.shape[0] * columns,
                config.elements,
                config.rows,
                self._counts.ctypes.data,
            )
        self._memory = np.zeros((config.clusters, config.activation_depth), np.uint16)
        self._owned = {
            name: self._mask(name, np.ones((place.channels, 1, 1), np.uint8))
            for name, place in memory.tensors.items()
        }

    def run(
        self,
        tensors: Mapping[str, NDArray[np.integer]],
        layers: Sequence[str] | None = None,
        *,
        whole: bool = True,
        batch: int | None = None,
        progress: Callable[[float], None] | None = None,
        log: dict[str, list[Record]] | None = None,
    ) -> list[dict[str, int]]:
        """Counters of layers, in order, as :data:`tritforge.hw.program.COUNTERS` names them.

        Parameters
        ----------
        tensors
            Codes (channels, height, width) of all that the layers read and write, as
            :meth:`tritforge.sim.golden.GoldenModel.run_all` gives them with ``unpooled``.
        layers
            Names; None: all.
        whole
            The layers are one RUN; otherwise each is a run of its own.
        batch
            Where the layers are more than one RUN: how many go to each.
        progress
            Told the fraction done.
        log
            Filled with every layer's event log, by name.

        Raises
        ------
        CycleModelError
            The program addresses memory that is not there.
        """
        chosen = [layer for layer in self._layers if layers is None or layer.name in layers]
        inputs = []
        keep: list[Any] = []
        written: set[str] = set()
        for index, layer in enumerate(chosen):
            groups = self.network.layer(layer.name).groups
            for source in sorted({group.source for group in groups}):
                if source not in written:
                    self._write(source, tensors[source], exact=True)
                    written.add(source)
            before = self._memory.copy()
            outputs = None
            words = 0
            if not layer.raw:
                unpooled = tensors.get(f"{layer.name}.unpooled")
                if unpooled is not None:
                    outputs = self._mask(layer.output, unpooled)
                    words = self.memory.tensors[layer.output].words
                self._write(layer.output, tensors[layer.output], exact=False)
                written.add(layer.output)
            keep += [before, outputs]
            inputs.append(
                self._input(
                    layer, before, outputs, words, not whole or index % (batch or len(chosen)) == 0
                )
            )
        return self._simulate(chosen, inputs, progress, log)

    def run_schedule(
        self,
        tensors: Mapping[str, NDArray[np.integer]],
        numbers: range | None = None,
        progress: Callable[[float], None] | None = None,
        *,
        log: dict[str, list[Record]] | None = None,
        fresh: bool = False,
    ) -> list[dict[str, int]]:
        """Counters of passes of a streamed network, all by default, that are one RUN; what the host
        sends and reads meanwhile goes through the port a word per clock cycle.

        Parameters and errors as of :meth:`run`; also program and host may wait for each other. The
        log has an entry for every pass, by
        :meth:`tritforge.model_export.memory.schedule.Schedule.pass_name`. With ``fresh`` the host
        has written what the first pass reads on the chip; otherwise earlier runs have left it
        there, and what they left in lanes of no channel.
        """
        schedule = self.memory.schedule
        assert schedule is not None
        chosen = range(len(schedule.passes)) if numbers is None else numbers
        host = HostTensors(self.memory)
        inputs, keep = [], []
        if chosen.start:  # what the passes before have left
            for source in sorted(
                {
                    group.source
                    for group in self.network.layer(schedule.passes[chosen.start].layer).groups
                }
            ):
                if not self.memory.tensors[source].external:
                    self._write(source, tensors[source], exact=fresh)
        for number in chosen:
            one, layer = schedule.passes[number], self._passes[number]
            for strip in one.loads:
                self._region(strip)[:] = self._strip(tensors, strip)
            before, outputs, words = self._memory.copy(), None, 0
            if one.output is not None:
                unpooled = tensors.get(f"{layer.name}.unpooled")
                words = self.memory.tensors[layer.output].words
                if unpooled is not None:
                    outputs = self._mask(layer.output, unpooled[:, slice(*one.rows)])
                lanes = host.lanes(number)
                owned = (lanes.astype(np.uint16) << np.arange(lanes.shape[2], dtype=np.uint16)).sum(
                    axis=2, dtype=np.uint16
                )
                region = self._region(one.output)
                mask = np.tile(owned, one.output.words // words)
                region[:] = (region & ~mask) | (self._strip(tensors, one.output) & mask)
            keep += [before, outputs]
            inputs.append(self._input(layer, before, outputs, words, number == chosen.start))
        packets = np.array(packet_shapes(self.memory, chosen), np.int32)
        counters = np.zeros((len(inputs), COUNTER_SLOTS), np.int64)
        cancel, passes = ctypes.c_int32(0), ctypes.c_int64(0)
        status = 0
        rows: list[list[int]] = []

        def simulate() -> None:
            nonlocal status, rows
            with self._logging(log is not None) as (handle, rows):
                status = self._library.cycle_model_stream(
                    ctypes.byref(self._machine),
                    (_LayerInput * len(inputs))(*inputs),
                    len(inputs),
                    packets.ctypes.data,
                    len(packets),
                    counters.ctypes.data,
                    handle,
                    ctypes.byref(passes),
                    ctypes.byref(cancel),
                )

        worker = threading.Thread(target=simulate)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(0.1)
                if progress is not None:
                    progress(passes.value / len(inputs))
        except BaseException:
            cancel.value = 1
            worker.join()
            raise
        if status:
            name = self._passes[chosen[min(passes.value, len(chosen) - 1)]].name
            raise CycleModelError(_FAILURES[status].format(name))
        if log is not None:
            first = list(KINDS).index("layer_started")
            starts = [index for index, row in enumerate(rows) if row[1] == first]
            for number, begin, end in zip(chosen, starts, [*starts[1:], None], strict=True):
                name = schedule.pass_name(number)
                log[name] = _records(name, rows[begin:end])
        return [dict(zip(COUNTERS, row, strict=True)) for row in counters.tolist()]

    def _region(self, strip: Strip) -> NDArray[np.uint16]:
        return self._memory[:, strip.base : strip.base + strip.words]

    def _strip(
        self, tensors: Mapping[str, NDArray[np.integer]], strip: Strip
    ) -> NDArray[np.uint16]:
        codes = self.network.tensors[strip.tensor].stored(np.asarray(tensors[strip.tensor]))
        return self._mask(strip.tensor, codes[:, strip.first : strip.first + strip.rows])

    def _input(
        self,
        layer: _Layer,
        before: NDArray[np.uint16],
        outputs: NDArray[np.uint16] | None,
        words: int,
        first: bool,
    ) -> _LayerInput:
        arrays = (
            layer.fields,
            layer.destination_y,
            layer.destination_x,
            layer.tiles,
            layer.groups,
            layer.geometry,
            self._row_lanes,
            self._counts,
        )
        return _LayerInput(
            *(array.ctypes.data for array in arrays),
            self._counts.shape[1],
            before.ctypes.data,
            self.config.activation_depth,
            None if outputs is None else outputs.ctypes.data,
            words,
            int(first),
        )

    def _simulate(
        self,
        layers: list[_Layer],
        inputs: list[_LayerInput],
        progress: Callable[[float], None] | None,
        log: dict[str, list[Record]] | None,
    ) -> list[dict[str, int]]:
        cancel = ctypes.c_int32(0)
        steps = (ctypes.c_int64 * len(inputs))()
        results: list[dict[str, int]] = [{} for _ in inputs]
        # Long layers first, so that the cores finish together.
        order = sorted(range(len(inputs)), key=lambda n: -_size(layers[n]))
        sizes = [_size(layers[n]) for n in order]
        finished = threading.Event()
        left = len(inputs)
        lock = threading.Lock()

        def one(index: int) -> None:
            nonlocal left
            try:
                results[index] = self._layer(
                    layers[index], inputs[index], steps, index, cancel, log
                )
            finally:
                with lock:
                    left -= 1
                    if not left:
                        finished.set()

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            jobs = [pool.submit(one, index) for index in order]
            try:
                while not finished.wait(0.1):
                    if progress is not None:
                        progress(
                            sum(size for job, size in zip(jobs, sizes, strict=True) if job.done())
                            / sum(sizes)
                        )
            except BaseException:
                cancel.value = 1
                raise
            for job in jobs:
                job.result()
        return results

    def _layer(
        self,
        layer: _Layer,
        given: _LayerInput,
        steps: Any,
        index: int,
        cancel: ctypes.c_int32,
        log: dict[str, list[Record]] | None,
    ) -> dict[str, int]:
        counters = np.zeros(COUNTER_SLOTS, np.int64)
        with self._logging(log is not None) as (handle, records):
            status = self._library.cycle_model_layer(
                ctypes.byref(self._machine),
                ctypes.byref(given),
                counters.ctypes.data,
                handle,
                ctypes.byref(steps, index * ctypes.sizeof(ctypes.c_int64)),
                ctypes.byref(cancel),
            )
        if status:
            raise CycleModelError(_FAILURES[status].format(layer.name))
        if log is not None:
            log[layer.name] = _records(layer.name, records)
        return dict(zip(COUNTERS, counters.tolist(), strict=True))

    @contextmanager
    def _logging(self, wanted: bool) -> Iterator[tuple[Any, list[list[int]]]]:
        """A log to be written, if one is wanted, and its rows, filled in at the end."""
        rows: list[list[int]] = []
        library = self._library
        handle = library.cycle_model_log_open() if wanted else None
        records = np.zeros((0, 5), np.int32)
        try:
            yield handle, rows
            if wanted:
                records = np.zeros((library.cycle_model_log_size(handle), 5), np.int32)
        finally:
            if wanted:
                library.cycle_model_log_close(handle, records.ctypes.data if len(records) else None)
        rows += records.tolist()

    # ----- activations as masks: a bit for every lane that is not zero

    def _mask(self, name: str, codes: NDArray[np.integer]) -> NDArray[np.uint16]:
        """(slices, pixels * words) of codes (channels, h, w), in the places of tensor ``name``."""
        place = self.memory.tensors[name]
        channels, height, width = codes.shape
        pixels = height * width
        words = np.zeros((self.config.clusters, pixels, place.words), np.uint16)
        bits = (codes.reshape(channels, pixels) != 0).astype(np.uint16)
        bits <<= place.lane.astype(np.uint16)[:, None]
        for lane in np.unique(place.lane):
            own = np.flatnonzero(place.lane == lane)
            words[place.cluster[own], :, place.word[own]] |= bits[own]
        return words.reshape(self.config.clusters, -1)

    def _write(self, name: str, codes: NDArray[np.integer], *, exact: bool) -> None:
        """Change a tensor's lanes in memory; with ``exact`` lanes of no channel become zero."""
        place = self.memory.tensors[name]
        region = self._memory[:, place.base : place.base + place.size]
        mask = self._mask(name, self.network.tensors[name].stored(np.asarray(codes)))
        if exact:
            region[:] = mask
            return
        owned = np.tile(self._owned[name], place.height * place.width)
        region[:] = (region & ~owned) | mask

    @staticmethod
    def _decode(records: Records, name: str, output: str, start: int) -> _Layer:
        """The layer ``name`` whose LAYER record is at address ``start``."""

        def absolute(field: int) -> int:
            """Addresses have 16 bits, and tables stand behind their layer's record."""
            return start + ((field - start) & 0xFFFF)

        layer = records.record(LAYER, start)
        height, width = layer["out_height"], layer["out_width"]
        destination = [
            np.ascontiguousarray(
                records.table(
                    DESTINATION,
                    absolute(layer[f"destination_{axis}"]),
                    count,
                    ("offset", "count", "fresh"),
                ),
                np.int32,
            )
            for axis, count in (("y", height), ("x", width))
        ]
        tiles: list[list[int]] = []
        groups: list[list[int]] = []
        tables: dict[tuple[int, int], int] = {}
        geometry: list[NDArray[np.int64]] = []
        entries = 0

        def table(address: int, count: int) -> int:
            nonlocal entries
            if (address, count) not in tables:
                tables[address, count] = entries
                geometry.append(
                    records.table(
                        GEOMETRY, absolute(address), count, ("offset", "count", "trit_offset")
                    )
                )
                entries += count
            return tables[address, count]

        address = start + record_words(LAYER)
        for _ in range(layer["tile_count"]):
            tile = records.record(TILE, address)
            address += record_words(TILE)
            tiles.append([tile["rows_used"], tile["group_count"], tile["row_base"], len(groups)])
            for _ in range(tile["group_count"]):
                group = records.record(GROUP, address)
                address += record_words(GROUP)
                groups.append(
                    [
                        group["base"],
                        table(group["geometry_y"], height),
                        table(group["geometry_x"], width),
                        group["word_count"],
                        group["last_lanes"],
                        group["step_x"],
                        group["step_y"],
                        group["trit_base"],
                        group["trit_step_x"],
                        group["trit_step_y"],
                        group["geometry_y"],
                        group["geometry_x"],
                        group["wait"],
                        group["release"],
                    ]
                )
        fields = [
            layer["raw"],
            layer["low"] < 0,
            layer["tile_count"],
            height,
            width,
            layer["step_x"],
            layer["step_y"],
            layer["base"],
            len(groups),
        ]
        return _Layer(
            name,
            output,
            np.array(fields, np.int32),
            destination[0],
            destination[1],
            np.array(tiles, np.int32),
            np.array(groups, np.int32),
            np.concatenate(geometry).astype(np.int32),
            bool(layer["raw"]),
        )


def _records(name: str, rows: list[list[int]]) -> list[Record]:
    """Records of a layer from rows of time, kind, set, tile, pixel."""
    kinds = tuple(KINDS)
    return in_order([Record(name, row[0], kinds[row[1]], *row[2:]) for row in rows])


def _size(layer: _Layer) -> int:
    """Roughly how long a layer takes: columns visited."""
    groups = layer.groups.astype(np.int64)
    return int(layer.fields[3]) * int(layer.fields[4]) * int(groups[:, 3].sum())


@functools.cache
def _library() -> ctypes.CDLL:
    tool = compiler()

    def build(folder: Path) -> Path:
        built = folder / "cycle_model.so"
        run_tool([tool, *_FLAGS, str(_SOURCE), "-o", str(built)])
        return built

    key = _SOURCE.read_bytes() + compiler_digest() + " ".join(_FLAGS).encode()
    target = cached("cycle_model", key, build)
    library = ctypes.CDLL(str(target))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.cycle_model_layer.argtypes = [pointer] * 6
    library.cycle_model_layer.restype = ctypes.c_int32
    library.cycle_model_stream.argtypes = [
        pointer,
        pointer,
        ctypes.c_int32,
        pointer,
        count,
        pointer,
        pointer,
        pointer,
        pointer,
    ]
    library.cycle_model_stream.restype = ctypes.c_int32
    library.cycle_model_log_open.argtypes = []
    library.cycle_model_log_open.restype = pointer
    library.cycle_model_log_size.argtypes = [pointer]
    library.cycle_model_log_size.restype = count
    library.cycle_model_log_close.argtypes = [pointer, pointer]
    library.cycle_model_log_close.restype = None
    library.cycle_model_counts.argtypes = [pointer, count, ctypes.c_int32, ctypes.c_int32, pointer]
    library.cycle_model_counts.restype = None
    return library
