"""Cycle model: the clock cycles and counters of the RTL, without its arithmetic.

What the hardware does in a cycle depends on which activations and trits are zero, not on their
values. The model (``simulation.cpp``, compiled on first use) steps the control of every cluster,
slice and drain through a layer, given the golden model's activations; layers run side by side on
all cores. Its cycles and counters equal the RTL's; ``tests/sim/test_random_networks.py`` shows it.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.errors import TritforgeError
from tritforge.hw.payloads import trit_word
from tritforge.hw.program import COUNTERS
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.schedule import Strip
from tritforge.model_export.network import Network
from tritforge.model_export.passes.blocks import blocks_of
from tritforge.sim.cycle.decode import DecodedLayer, decode_layer
from tritforge.sim.cycle.header import machine_header
from tritforge.sim.cycle.library import load_library
from tritforge.sim.cycle.structs import (
    COUNT,
    LANES,
    LAYER_INPUT,
    RECORDS,
    ROW_LANES,
    TILES,
    Status,
    machine,
)
from tritforge.sim.event_log import KINDS, Record, in_order
from tritforge.sim.host import HostTensors, packet_shapes
from tritforge.sim.records import Records

__all__ = ["CycleModel", "CycleModelError"]


class CycleModelError(TritforgeError, RuntimeError):
    """The program addresses memory that is not there, or the model was interrupted."""


_FAILURES = {
    Status.CANCELLED: "the cycle model of layer {} was interrupted",
    Status.BAD_ADDRESS: "layer {} addresses memory that is not there",
    Status.DEADLOCK: "program and host wait for each other in layer {}",
}


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
    CacheError
        There is no room for the compiled model.
    """

    def __init__(self, network: Network, memory: MemoryImage) -> None:
        self.network = network
        self.memory = memory
        self.config = config = memory.config
        self._library = load_library(machine_header())
        self._machine = machine(config)
        records = Records(config, memory.program)
        self._layers = (
            [
                decode_layer(records, place.name, place.output, place.address)
                for place in memory.layers
            ]
            if memory.schedule is None
            else []
        )
        self._passes = (
            []
            if memory.schedule is None
            else [
                decode_layer(records, one.layer, network.layer(one.layer).output, one.address)
                for one in memory.schedule.passes
            ]
        )
        self._row_lanes = self._decode_rows(records)
        columns = memory.trits.shape[1]
        self._counts = np.zeros((config.cluster_count, max(columns, 1), config.elements), COUNT)
        trits = np.ascontiguousarray(memory.trits)
        if columns:
            word = trit_word(config)
            assert word["nonzero"].offset == 0
            self._library.cycle_model_counts(
                trits.ctypes.data,
                trits.shape[0] * columns,
                trits.shape[2],
                config.elements,
                word.size,
                config.rows,
                self._counts.ctypes.data,
            )
        self._weight_counts = self._counts
        layers = (*self._layers, *self._passes)
        if columns and any(layer.has_wide for layer in layers):
            weights = trits.reshape(*self._counts.shape, config.quarter_rows)
            self._weight_counts = np.count_nonzero(weights, axis=3).astype(COUNT)
        self._memory = np.zeros((config.clusters, config.activation_depth), LANES)
        self._owned = {
            name: self._mask(name, np.ones((place.channels, 1, 1), np.uint8))
            for name, place in memory.tensors.items()
        }

    def _decode_rows(self, records: Records) -> NDArray[np.int32]:
        """Lanes of all entries of the row memory, as ``ROW_LANES``."""
        memory, names = self.memory, list(ROW_LANES.members)
        rows = np.ascontiguousarray(records.rows(memory.rows, names), np.int32)
        enable, cluster, word, lane, value = (
            rows[:, :, names.index(name)] for name in ("enable", "cluster", "word", "lane", "value")
        )
        value[:] = word
        for layer in (*self._layers, *self._passes):
            block = memory.layer(layer.name).block
            if block == (1, 1):
                continue
            blocks = blocks_of(self.network.layer(layer.name), block)
            words = memory.tensors[layer.output].words
            base, used = (list(TILES.members).index(name) for name in ("row_base", "rows_used"))
            for tile in layer.tiles.tolist():
                own = slice(tile[base], tile[base] + tile[used] * self.config.blocks)
                there = np.nonzero(enable[own])
                # Rows that feed one output pixel come in the order of its window's pixels.
                place = np.stack([cluster[own][there], word[own][there], lane[own][there]])
                order = np.lexsort(place)
                ends = np.any(np.diff(place[:, order], axis=1), axis=0)
                starts = np.append(0, np.flatnonzero(ends) + 1)
                number = np.empty(len(order), np.int64)
                number[order] = np.arange(len(order)) - np.repeat(
                    starts, np.diff(np.append(starts, len(order)))
                )
                pixels, channel = np.divmod(place[1], words)
                y, x = np.divmod(pixels, blocks.width)
                pixel = blocks.pixel(y * blocks.windows[1] + x, number)
                value[own][there] = pixel * words + channel
        return rows

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
            sources = set(self.network.layer(layer.name).reads)
            self._write_sources(sources - written, tensors, written, exact=True)
            written |= sources
            before = self._memory.copy()
            outputs = None
            words = 0
            if not layer.raw:
                unpooled = tensors.get(f"{layer.name}.unpooled")
                if unpooled is not None:
                    outputs, words = self._values(layer, unpooled)
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
            sources = self.network.layer(schedule.passes[chosen.start].layer).reads
            inside = {name for name in sources if not self.memory.tensors[name].external}
            self._write_sources(inside, tensors, set(), exact=fresh)
        for number in chosen:
            one, layer = schedule.passes[number], self._passes[number]
            for strip in one.loads:
                self._region(strip)[:] = self._strip(tensors, strip)
            before, outputs, words = self._memory.copy(), None, 0
            if one.output is not None:
                unpooled = tensors.get(f"{layer.name}.unpooled")
                if unpooled is not None:
                    outputs, words = self._values(layer, unpooled, range(*one.rows))
                lanes = host.lanes(number)
                owned = (lanes.astype(LANES) << np.arange(lanes.shape[2], dtype=LANES)).sum(
                    axis=2, dtype=LANES
                )
                region = self._region(one.output)
                mask = np.tile(owned, one.output.words // owned.shape[1])
                region[:] = (region & ~mask) | (self._strip(tensors, one.output) & mask)
            keep += [before, outputs]
            inputs.append(self._input(layer, before, outputs, words, number == chosen.start))
        packets = np.array(packet_shapes(self.memory, chosen), np.int32)
        counters = np.zeros((len(inputs), len(COUNTERS)), np.int64)
        cancel, passes = ctypes.c_int32(0), ctypes.c_int64(0)
        status = 0
        rows: list[list[int]] = []

        def simulate() -> None:
            nonlocal status, rows
            with self._logging(log is not None) as (handle, rows):
                status = self._library.cycle_model_stream(
                    ctypes.byref(self._machine),
                    (LAYER_INPUT.type * len(inputs))(*inputs),
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
            raise CycleModelError(_FAILURES[Status(status)].format(name))
        if log is not None:
            first = list(KINDS).index("layer_started")
            kind = list(RECORDS.members).index("kind")
            starts = [index for index, row in enumerate(rows) if row[kind] == first]
            for number, begin, end in zip(chosen, starts, [*starts[1:], None], strict=True):
                name = schedule.pass_name(number)
                log[name] = _records(name, rows[begin:end])
        return [dict(zip(COUNTERS, row, strict=True)) for row in counters.tolist()]

    def _region(self, strip: Strip) -> NDArray[np.uint16]:
        return self._memory[:, strip.base : strip.base + strip.words]

    def _strip(
        self, tensors: Mapping[str, NDArray[np.integer]], strip: Strip
    ) -> NDArray[np.uint16]:
        codes = self.memory.tensors[strip.tensor].stored(np.asarray(tensors[strip.tensor]))
        return self._mask(strip.tensor, codes[:, strip.first : strip.first + strip.rows])

    def _input(
        self,
        layer: DecodedLayer,
        before: NDArray[np.uint16],
        outputs: NDArray[np.uint16] | None,
        words: int,
        first: bool,
    ) -> ctypes.Structure:
        arrays = (
            layer.fields,
            layer.destination_y,
            layer.destination_x,
            layer.tiles,
            layer.groups,
            layer.geometry,
            self._row_lanes,
            self._counts,
            self._weight_counts,
        )
        return LAYER_INPUT.type(
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
        layers: list[DecodedLayer],
        inputs: list[ctypes.Structure],
        progress: Callable[[float], None] | None,
        log: dict[str, list[Record]] | None,
    ) -> list[dict[str, int]]:
        cancel = ctypes.c_int32(0)
        steps = (ctypes.c_int64 * len(inputs))()
        results: list[dict[str, int]] = [{} for _ in inputs]
        # Long layers first, so that the cores finish together.
        order = sorted(range(len(inputs)), key=lambda n: -layers[n].size)
        sizes = [layers[n].size for n in order]
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
        layer: DecodedLayer,
        given: ctypes.Structure,
        steps: Any,
        index: int,
        cancel: ctypes.c_int32,
        log: dict[str, list[Record]] | None,
    ) -> dict[str, int]:
        counters = np.zeros(len(COUNTERS), np.int64)
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
            raise CycleModelError(_FAILURES[Status(status)].format(layer.name))
        if log is not None:
            log[layer.name] = _records(layer.name, records)
        return dict(zip(COUNTERS, counters.tolist(), strict=True))

    @contextmanager
    def _logging(self, wanted: bool) -> Iterator[tuple[Any, list[list[int]]]]:
        """A log to be written, if one is wanted, and its rows, filled in at the end."""
        rows: list[list[int]] = []
        library = self._library
        handle = library.cycle_model_log_open() if wanted else None
        records = np.zeros((0, len(RECORDS.members)), np.int32)
        try:
            yield handle, rows
            if wanted:
                records = np.zeros(
                    (library.cycle_model_log_size(handle), records.shape[1]), np.int32
                )
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
        words = np.zeros((self.config.clusters, pixels, place.words), LANES)
        bits = (codes.reshape(channels, pixels) != 0).astype(LANES)
        bits <<= place.lane.astype(LANES)[:, None]
        for lane in np.unique(place.lane):
            own = np.flatnonzero(place.lane == lane)
            words[place.cluster[own], :, place.word[own]] |= bits[own]
        return words.reshape(self.config.clusters, -1)

    def _write_sources(
        self,
        sources: set[str],
        tensors: Mapping[str, NDArray[np.integer]],
        written: set[str],
        *,
        exact: bool,
    ) -> None:
        """Tensors that a layer reads and the host has written; ``written`` are there already."""
        bases = {self.memory.tensors[name].base for name in written}
        for name in sorted(sources):
            base = self.memory.tensors[name].base
            self._write(name, tensors[name], exact=exact and base not in bases)
            bases.add(base)

    def _values(
        self, layer: DecodedLayer, codes: NDArray[np.integer], rows: range | None = None
    ) -> tuple[NDArray[np.uint16], int]:
        """(slices, positions * words) of what a layer computes, before pooling, and the words of a
        position: of each of its pixels, where it computes blocks. ``rows``: of positions."""
        mask, words = self._mask(layer.output, codes), self.memory.tensors[layer.output].words
        width = codes.shape[2]
        block = self.memory.layer(layer.name).block
        origin = [np.arange(codes.shape[1]), np.arange(width)]
        if block != (1, 1):
            blocks = blocks_of(self.network.layer(layer.name), block)
            origin = [blocks.origin(0), blocks.origin(1)]
        if rows is not None:
            origin[0] = origin[0][rows.start : rows.stop]
        y, x = (first[:, None] + np.arange(size) for first, size in zip(origin, block, strict=True))
        numbers = y[:, None, :, None] * width + x[None, :, None, :]
        values = mask.reshape(len(mask), -1, words)[:, numbers.ravel()]
        return np.ascontiguousarray(values).reshape(len(mask), -1), words * block[0] * block[1]

    def _write(self, name: str, codes: NDArray[np.integer], *, exact: bool) -> None:
        """Change a tensor's lanes in memory; with ``exact`` lanes of no channel become zero."""
        place = self.memory.tensors[name]
        region = self._memory[:, place.base : place.base + place.size]
        mask = self._mask(name, place.stored(np.asarray(codes)))
        if exact:
            region[:] = mask
            return
        owned = np.tile(self._owned[name], place.height * place.width)
        region[:] = (region & ~owned) | mask


def _records(name: str, rows: list[list[int]]) -> list[Record]:
    """Records of a layer from rows of ``RECORDS``."""
    kinds = tuple(KINDS)
    records = []
    for row in rows:
        numbers = dict(zip(RECORDS.members, row, strict=True))
        kind = kinds[numbers.pop("kind")]
        records.append(Record(name, kind=kind, **numbers))
    return in_order(records)
