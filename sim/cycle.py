"""Cycle model: the clock cycles and counters of the RTL, without its arithmetic.

What the hardware does in a cycle depends on which activations and trits are zero, not on their
values. The model (``cycle_model.cpp``, compiled on first use) steps the control of every cluster,
slice and drain through a layer, given the golden model's activations; layers run side by side on
all cores. Its cycles and counters equal the RTL's; ``tests/sim/test_cycle.py`` shows it.
"""

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.config import Config
from hw.drain import clear_latency
from hw.merge import merge_level, merge_places
from hw.program import (
    COUNTER_SLOTS,
    COUNTERS,
    DESTINATION,
    GEOMETRY,
    GROUP,
    LAYER,
    TILE,
    record_words,
)
from hw.top import settle
from hw.walker import job_places
from model_export.emit import LayerPlace, MemoryImage
from model_export.network import Network
from sim.event_log import KINDS, Record, in_order
from sim.native import SimulatorError, cache_folder, compiler, compiler_digest
from sim.records import Records

__all__ = ["CycleModel", "CycleModelError", "lower_bound"]

_SOURCE = Path(__file__).with_name("cycle_model.cpp")
_FLAGS = ("-std=c++17", "-O2", "-march=native", "-fPIC", "-shared", "-fvisibility=hidden",
          f"-DEVENT_KINDS={','.join(KINDS).upper()}")


class CycleModelError(RuntimeError):
    """The program addresses memory that is not there, or the model was interrupted."""


class _Machine(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in (
        "sets", "clusters", "elements", "rows", "depth", "scan", "banks", "lanes",
        "skip_weights", "skip_activations", "merge_places", "merge_level", "settle", "clear",
        "layer_words", "tile_words", "group_words", "job_places")]


class _LayerInput(ctypes.Structure):
    _fields_ = [
        ("layer", ctypes.c_void_p), ("destination_y", ctypes.c_void_p),
        ("destination_x", ctypes.c_void_p), ("tiles", ctypes.c_void_p),
        ("groups", ctypes.c_void_p), ("geometry", ctypes.c_void_p),
        ("row_lanes", ctypes.c_void_p), ("counts", ctypes.c_void_p), ("columns", ctypes.c_int64),
        ("activations", ctypes.c_void_p), ("activation_depth", ctypes.c_int64),
        ("outputs", ctypes.c_void_p), ("output_words", ctypes.c_int32),
        ("first", ctypes.c_int32)]


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
        8 * jobs)


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
            config.sets, config.clusters, config.elements, config.rows, config.queue_depth,
            config.scan_width, config.banks, config.drain_width, config.skip_zero_weights,
            config.skip_zero_activations, merge_places(config), merge_level(config),
            settle(config), clear, *(record_words(layout) for layout in (LAYER, TILE, GROUP)),
            job_places(config))
        records = Records(config, memory.program)
        self._layers = [self._decode(records, place) for place in memory.layers]
        self._row_lanes = np.ascontiguousarray(
            records.rows(memory.rows, ("enable", "cluster", "word", "lane")), np.int32)
        columns = memory.trits.shape[1]
        self._counts = np.zeros((config.cluster_count, max(columns, 1), config.elements), np.uint8)
        trits = np.ascontiguousarray(memory.trits)
        if columns:
            self._library.cycle_model_counts(
                trits.ctypes.data, trits.shape[0] * columns, config.elements, config.rows,
                self._counts.ctypes.data)
        self._memory = np.zeros((config.clusters, config.activation_depth), np.uint16)
        self._owned = {name: self._mask(name, np.ones((place.channels, 1, 1), np.uint8))
                       for name, place in memory.tensors.items()}

    def run(self, tensors: Mapping[str, NDArray[np.integer]],
            layers: Sequence[str] | None = None, *, whole: bool = True,
            batch: int | None = None, progress: Callable[[float], None] | None = None,
            log: dict[str, list[Record]] | None = None) -> list[dict[str, int]]:
        """Counters of layers, in order, as :data:`hw.program.COUNTERS` names them.

        Parameters
        ----------
        tensors
            Codes (channels, height, width) of all that the layers read and write, as
            :meth:`sim.golden.GoldenModel.run_all` gives them with ``unpooled``.
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
        depth = self.config.activation_depth
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
            arrays = (layer.fields, layer.destination_y, layer.destination_x, layer.tiles,
                      layer.groups, layer.geometry, self._row_lanes, self._counts)
            keep += [before, outputs]
            inputs.append(_LayerInput(
                *(array.ctypes.data for array in arrays), self._counts.shape[1],
                before.ctypes.data, depth, None if outputs is None else outputs.ctypes.data,
                words, int(not whole or index % (batch or len(chosen)) == 0)))
        return self._simulate(chosen, inputs, progress, log)

    def _simulate(self, layers: list[_Layer], inputs: list[_LayerInput],
                  progress: Callable[[float], None] | None,
                  log: dict[str, list[Record]] | None) -> list[dict[str, int]]:
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
                results[index] = self._layer(layers[index], inputs[index], steps, index, cancel,
                                             log)
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
                        progress(sum(size for job, size in zip(jobs, sizes, strict=True)
                                     if job.done()) / sum(sizes))
            except BaseException:
                cancel.value = 1
                raise
            for job in jobs:
                job.result()
        return results

    def _layer(self, layer: _Layer, given: _LayerInput, steps: Any, index: int,
               cancel: ctypes.c_int32, log: dict[str, list[Record]] | None) -> dict[str, int]:
        counters = np.zeros(COUNTER_SLOTS, np.int64)
        library, records = self._library, np.zeros((0, 5), np.int32)
        handle = None if log is None else library.cycle_model_log_open()
        try:
            status = library.cycle_model_layer(
                ctypes.byref(self._machine), ctypes.byref(given), counters.ctypes.data, handle,
                ctypes.byref(steps, index * ctypes.sizeof(ctypes.c_int64)), ctypes.byref(cancel))
            if handle is not None:
                records = np.zeros((library.cycle_model_log_size(handle), 5), np.int32)
        finally:
            if handle is not None:
                library.cycle_model_log_close(handle,
                                              records.ctypes.data if len(records) else None)
        if status:
            raise CycleModelError(
                f"the cycle model of layer {layer.name} was interrupted" if status == 1 else
                f"layer {layer.name} addresses memory that is not there")
        if log is not None:
            kinds = tuple(KINDS)
            log[layer.name] = in_order([Record(layer.name, row[0], kinds[row[1]], *row[2:])
                                        for row in records.tolist()])
        return dict(zip(COUNTERS, counters.tolist(), strict=True))

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
        region = self._memory[:, place.base:place.base + place.size]
        mask = self._mask(name, self.network.tensors[name].stored(np.asarray(codes)))
        if exact:
            region[:] = mask
            return
        owned = np.tile(self._owned[name], place.height * place.width)
        region[:] = (region & ~owned) | mask

    @staticmethod
    def _decode(records: Records, place: LayerPlace) -> _Layer:
        layer = records.record(LAYER, place.address)
        height, width = layer["out_height"], layer["out_width"]
        destination = [
            np.ascontiguousarray(records.table(DESTINATION, layer[f"destination_{axis}"], count,
                                               ("offset", "count", "fresh")), np.int32)
            for axis, count in (("y", height), ("x", width))]
        tiles: list[list[int]] = []
        groups: list[list[int]] = []
        tables: dict[tuple[int, int], int] = {}
        geometry: list[NDArray[np.int64]] = []
        entries = 0

        def table(address: int, count: int) -> int:
            nonlocal entries
            if (address, count) not in tables:
                tables[address, count] = entries
                geometry.append(records.table(GEOMETRY, address, count,
                                              ("offset", "count", "trit_offset")))
                entries += count
            return tables[address, count]

        address = place.address + record_words(LAYER)
        for _ in range(layer["tile_count"]):
            tile = records.record(TILE, address)
            address += record_words(TILE)
            tiles.append([tile["rows_used"], tile["group_count"], tile["row_base"], len(groups)])
            for _ in range(tile["group_count"]):
                group = records.record(GROUP, address)
                address += record_words(GROUP)
                groups.append([
                    group["base"], table(group["geometry_y"], height),
                    table(group["geometry_x"], width), group["word_count"], group["last_lanes"],
                    group["step_x"], group["step_y"], group["trit_base"], group["trit_step_x"],
                    group["trit_step_y"], group["geometry_y"], group["geometry_x"]])
        fields = [layer["raw"], layer["low"] < 0, layer["tile_count"], height, width,
                  layer["step_x"], layer["step_y"], layer["base"], len(groups)]
        return _Layer(place.name, place.output, np.array(fields, np.int32), destination[0],
                      destination[1], np.array(tiles, np.int32), np.array(groups, np.int32),
                      np.concatenate(geometry).astype(np.int32), bool(layer["raw"]))


def _size(layer: _Layer) -> int:
    """Roughly how long a layer takes: columns visited."""
    groups = layer.groups.astype(np.int64)
    return int(layer.fields[3]) * int(layer.fields[4]) * int(groups[:, 3].sum())


@functools.cache
def _library() -> ctypes.CDLL:
    tool = compiler()
    key = hashlib.sha256(_SOURCE.read_bytes() + compiler_digest()
                         + " ".join(_FLAGS).encode()).hexdigest()[:32]
    target = cache_folder() / f"cycle_model-{key}.so"
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
                built = Path(folder) / "cycle_model.so"
                done = subprocess.run([tool, *_FLAGS, str(_SOURCE), "-o", str(built)],
                                      capture_output=True, text=True, check=False)
                if done.returncode:
                    lines = done.stderr.strip().splitlines()
                    raise SimulatorError(f"{Path(tool).name} failed: {' / '.join(lines[-3:])}")
                built.replace(target)
        except OSError as error:
            raise SimulatorError(
                f"the cycle model cannot be kept in {target.parent}: {error.strerror}") from error
    library = ctypes.CDLL(str(target))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.cycle_model_layer.argtypes = [pointer] * 6
    library.cycle_model_layer.restype = ctypes.c_int32
    library.cycle_model_log_open.argtypes = []
    library.cycle_model_log_open.restype = pointer
    library.cycle_model_log_size.argtypes = [pointer]
    library.cycle_model_log_size.restype = count
    library.cycle_model_log_close.argtypes = [pointer, pointer]
    library.cycle_model_log_close.restype = None
    library.cycle_model_counts.argtypes = [pointer, count, ctypes.c_int32, ctypes.c_int32, pointer]
    library.cycle_model_counts.restype = None
    return library
