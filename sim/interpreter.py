"""Executes memory contents as the hardware does, without clock cycles.

It knows the records of ``hw/program.py`` and the rules of ``docs/hardware.md``, nothing of the
network they came from: the check that the compiler's memory contents mean what they should, and
the model that RTL tests compare with. Its counters are those that do not depend on timing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.hw.program import (
    DESTINATION,
    GEOMETRY,
    GROUP,
    LAYER,
    LAYER_OPCODE,
    SYNC,
    SYNC_OPCODE,
    TILE,
    record_words,
)
from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.memory.schedule import Await, Load, Schedule, Signal, Store, Write, lap
from tritforge.sim.golden import add_stored, look_up, requantize
from tritforge.sim.host import HostTensors
from tritforge.sim.records import Records, visits_zeros, writes_signed

__all__ = ["Interpreter"]


@dataclass(eq=False)
class _RowTable:
    """Decoded row entries of a tile, (accumulator rows * elements,) in slot order of a drain."""

    slot: NDArray[np.int64]  # accumulator's place in a trit word: element * R + row
    multiplier: NDArray[np.int64]
    offset: NDArray[np.int64]
    shift: NDArray[np.int64]
    enable: NDArray[np.bool_]
    cluster: NDArray[np.int64]
    word: NDArray[np.int64]
    lane: NDArray[np.int64]
    merge: NDArray[np.bool_]  # also where the pixel is fresh


class Interpreter:
    """A functional model of the accelerator's memories and programs.

    Parameters
    ----------
    config : Config
        The accelerator.
    memories : object
        Has ``program`` (words,) uint32, ``trits`` (sets * clusters, columns, bytes) uint8,
        ``rows`` (entries, port words) uint32 and ``tables`` (entries,) uint8, such as
        :class:`tritforge.model_export.memory.emit.MemoryImage`. Where it has a schedule, only what
        is resident is in the memories from the beginning.

    Members
    -------
    activations : (clusters, activation_depth, scan_width) uint8
    results : (result_depth, config.results) int32
    """

    def __init__(self, config: Config, memories: Any) -> None:
        self.config = config
        self.contents: dict[str, NDArray[Any]] = {
            "program": np.asarray(memories.program, np.uint32),
            "trits": np.asarray(memories.trits, np.uint8),
            "rows": np.asarray(memories.rows, np.uint32),
            "tables": np.asarray(memories.tables, np.uint8),
        }
        self.schedule: Schedule | None = getattr(memories, "schedule", None)
        self._host: _Host | None = None
        # Addresses wrap where a memory is filled again and again.
        self._lap = {
            name: (1 << 62) if self.schedule is None else lap(config, name)
            for name in self.contents
        }
        held: dict[str, NDArray[Any]] = dict(self.contents)
        for name, contents in self.contents.items():
            if self.schedule is not None and name not in self.schedule.resident:
                axis = 1 if name == "trits" else 0
                shape = (*contents.shape[:axis], self._lap[name], *contents.shape[axis + 1 :])
                held[name] = np.zeros(shape, contents.dtype)
        self.program, self.trits, self.rows = held["program"], held["trits"], held["rows"]
        self.tables = held["tables"]
        self._records = Records(config, self.program, self._lap["program"])
        self.activations = np.zeros(
            (config.clusters, config.activation_depth, config.scan_width), np.uint8
        )
        self.results = np.zeros((config.result_depth, config.results), np.int32)

    def load(self, base: int, words: NDArray[np.uint8]) -> None:
        """Write activation words (clusters, n, S) from address ``base`` on, in every cluster."""
        self.activations[:, base : base + words.shape[1]] = words

    def read(self, base: int, count: int) -> NDArray[np.uint8]:
        """Activation words (clusters, count, S) from address ``base`` on."""
        return self.activations[:, base : base + count].copy()

    def run(self, address: int, count: int) -> list[dict[str, int]]:
        """Run ``count`` layers from program address ``address``; their counters.

        Raises
        ------
        ValueError
            The program has no layer there, or addresses memory that is not there.
        OverflowError
            An accumulator or a requantized sum leaves its width.
        """
        counters = []
        for _ in range(count):
            address, layer_counters = self._layer(self._synchronize(address))
            counters.append(layer_counters)
        return counters

    def run_schedule(
        self, host: HostTensors, numbers: range, *, eager: bool = False
    ) -> list[dict[str, int]]:
        """Run passes ``numbers`` of the schedule; their counters.

        The host writes as late as it may, or with ``eager`` as early: whatever the timing,
        the outcome must be the same.

        Raises
        ------
        ValueError, OverflowError
            As :meth:`run`; program and host wait for each other.
        """
        assert self.schedule is not None
        self._host = _Host(self, host, numbers, eager)
        self._host.wait()
        counters = self.run(self.schedule.passes[numbers.start].address, len(numbers))
        self._host.finish()
        self._host = None
        return counters

    def _synchronize(self, address: int) -> int:
        """Past a SYNC record, if there is one: the address of the layer."""
        sync = self._records.record(SYNC, address)
        if sync["opcode"] != SYNC_OPCODE:
            return address
        if self._host is None:
            raise ValueError(f"the program waits for a host at address {address}")
        if sync["release"]:
            self._host.release()
        if sync["wait"]:
            self._host.wait()
        return sync["next"]

    # ----- memory contents

    def _table(
        self, layout: data.StructLayout, address: int, count: int
    ) -> dict[str, NDArray[np.int64]]:
        names = [name for name, _ in layout]
        return dict(zip(names, self._records.table(layout, address, count, names).T, strict=True))

    def _row_table(self, row_base: int, rows_used: int) -> _RowTable:
        config = self.config
        steps = np.arange(rows_used * config.blocks)
        names = ("multiplier", "offset", "shift", "enable", "cluster", "word", "lane", "merge")
        fields = self._records.rows(self.rows[(row_base + steps) % self._lap["rows"]], names)
        accumulator, block = np.divmod(steps, config.blocks)
        slots = (
            block[:, None] * config.drain_width + np.arange(config.drain_width)
        ) * config.rows + accumulator[:, None]
        table = dict(zip(names, fields.reshape(-1, len(names)).T, strict=True))
        return _RowTable(
            slots.ravel(),
            table["multiplier"],
            table["offset"],
            table["shift"],
            table["enable"] == 1,
            table["cluster"],
            table["word"],
            table["lane"],
            table["merge"] == 1,
        )

    def _activation_table(self, layer: dict[str, int]) -> NDArray[np.int64]:
        """Codes (256,) of a layer's activation table."""
        first = layer["table"] * TABLE_ENTRIES % self._lap["tables"]
        entries = self.tables[first : first + TABLE_ENTRIES]
        if len(entries) < TABLE_ENTRIES:
            raise ValueError(
                f"activation table {layer['table']} is read; "
                f"{len(self.tables) // TABLE_ENTRIES} exist"
            )
        return entries.view(np.int8 if layer["table_signed"] else np.uint8).astype(np.int64)

    def _columns(
        self, number: int, columns: NDArray[np.int64], group: dict[str, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Of columns of a set, each (clusters, columns, slots): where there is a trit or a weight,
        and what it adds for an activation of 1."""
        config = self.config
        columns = columns % self._lap["trits"]
        if columns.size and columns.max() >= self.trits.shape[1]:
            raise ValueError(f"trit column {columns.max()} is read; {self.trits.shape[1]} exist")
        own = slice(number * config.clusters, (number + 1) * config.clusters)
        words = self.trits[own][:, columns]
        shape = (config.clusters, len(columns), config.elements, config.rows)
        if group["wide"]:
            rows = config.quarter_rows
            first = group["quarter"] * rows
            weights = np.zeros(shape, np.int64)
            weights[..., first : first + rows] = words.view(np.int8).reshape(*shape[:3], rows)
            added = weights * group["plus"]
            nonzero = weights != 0
        else:
            bits = np.unpackbits(words, axis=2, count=2 * config.slots, bitorder="little")
            halves = bits.astype(bool).reshape(*shape[:3], 2, config.rows)
            nonzero, negative = halves[:, :, :, 0], halves[:, :, :, 1]
            added = np.where(nonzero, np.where(negative, group["minus"], group["plus"]), 0)
        return nonzero.reshape(*shape[:2], -1), added.reshape(*shape[:2], -1)

    # ----- one layer

    def _layer(self, address: int) -> tuple[int, dict[str, int]]:
        config = self.config
        layer = self._records.layer(address)
        if layer["opcode"] != LAYER_OPCODE:
            raise ValueError(f"there is no layer at program address {address}")
        address += record_words(LAYER)
        height, width = layer["out_height"], layer["out_width"]
        rows = self._table(DESTINATION, layer["destination_y"], height)
        columns = self._table(DESTINATION, layer["destination_x"], width)
        pixel_y, pixel_x = np.meshgrid(
            np.flatnonzero(rows["count"]), np.flatnonzero(columns["count"]), indexing="ij"
        )
        pixels = (pixel_y.ravel(), pixel_x.ravel())
        counters = dict.fromkeys(
            (
                "broadcasts",
                "skipped_activations",
                "activation_reads",
                "queue_writes",
                "adds",
                "empty_scans",
                "drain_steps",
                "merge_reads",
                "write_backs",
                "result_writes",
            ),
            0,
        )
        result_entry = layer["base"]
        for number in range(layer["tile_count"]):
            # Pixels go to the sets in turn, and on from one tile to the next.
            sets = (number * len(pixels[0]) + np.arange(len(pixels[0]))) % config.sets
            tile = self._records.record(TILE, address)
            address += record_words(TILE)
            accumulators = np.zeros((len(pixels[0]), config.slots), np.float64)
            for index in range(tile["group_count"]):
                group = self._records.record(GROUP, address)
                address += record_words(GROUP)
                if group["wait"] and self._host is not None:
                    self._host.wait()
                self._group(group, height, width, pixels, sets, accumulators, counters)
                if group["release"] and self._host is not None and index + 1 < tile["group_count"]:
                    self._host.release()
            sums = accumulators.astype(np.int64)
            limit = 1 << (config.accumulator_width - 1)
            if sums.size and not -limit <= sums.min() <= sums.max() < limit:
                raise OverflowError(
                    f"an accumulator reaches {sums.min()} or {sums.max()}; it has "
                    f"{config.accumulator_width} bits"
                )
            table = self._row_table(tile["row_base"], tile["rows_used"])
            scaled = sums[:, table.slot] * table.multiplier + table.offset
            limit = 1 << (config.offset_width - 1)
            if scaled.size and not -limit <= scaled.min() <= scaled.max() < limit:
                raise OverflowError(
                    f"a requantized sum reaches {scaled.min()} or {scaled.max()}; "
                    f"it has {config.offset_width} bits"
                )
            counters["drain_steps"] += len(pixels[0]) * tile["rows_used"] * config.blocks
            if layer["raw"]:
                entries = scaled.reshape(-1, config.drain_width)
                low_bits = (entries & 0xFFFF_FFFF).astype(np.uint32).view(np.int32)
                if result_entry + len(entries) > config.result_depth:
                    raise ValueError(
                        f"result entry {result_entry + len(entries) - 1} is written; "
                        f"{config.result_depth} exist"
                    )
                kept = low_bits[:, : config.results]
                self.results[result_entry : result_entry + len(entries)] = kept
                result_entry += len(entries)
                counters["result_writes"] += len(entries)
            else:
                half = np.int64(1) << table.shift >> 1
                codes = requantize(
                    sums[:, table.slot],
                    table.multiplier,
                    table.offset - half,
                    table.shift,
                    layer["low"],
                    layer["high"],
                )
                if layer["look_up"]:
                    codes = look_up(self._activation_table(layer), codes)
                self._write_back(layer, rows, columns, pixels, table, codes, counters)
        return address, counters

    def _group(
        self,
        group: dict[str, int],
        height: int,
        width: int,
        pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
        sets: NDArray[np.int64],
        accumulators: NDArray[np.float64],
        counters: dict[str, int],
    ) -> None:
        """Add one column group to every pixel; those of one set and one padding go together."""
        config = self.config
        lanes = config.scan_width
        y = self._table(GEOMETRY, group["geometry_y"], height)
        x = self._table(GEOMETRY, group["geometry_x"], width)
        used = (group["word_count"] - 1) * lanes + group["last_lanes"]
        kinds = np.stack(
            [
                sets,
                y["count"][pixels[0]],
                y["trit_offset"][pixels[0]],
                x["count"][pixels[1]],
                x["trit_offset"][pixels[1]],
            ],
            axis=1,
        )
        unique, which = np.unique(kinds, axis=0, return_inverse=True)
        origin = group["base"] + y["offset"][pixels[0]] + x["offset"][pixels[1]]
        for number, (place, count_y, trit_y, count_x, trit_x) in enumerate(unique.tolist()):
            own = np.flatnonzero(which.ravel() == number)
            if not count_y or not count_x:  # one empty word stands for the pixel
                counters["empty_scans"] += len(own) * config.clusters
                continue
            ky = np.arange(count_y)[:, None, None]
            kx = np.arange(count_x)[None, :, None]
            words = (
                ky * group["step_y"] + kx * group["step_x"] + np.arange(group["word_count"])
            ).reshape(-1)
            column = (
                group["trit_base"]
                + trit_y
                + trit_x
                + ky * group["trit_step_y"]
                + kx * group["trit_step_x"]
                + np.arange(used)
            ).reshape(-1)
            addresses = origin[own][:, None] + words
            if addresses.max() >= config.activation_depth:
                raise ValueError(
                    f"activation word {addresses.max()} is read; {config.activation_depth} exist"
                )
            nonzero, added = self._columns(place, column, group)
            weights = added.astype(np.float64)
            per_column = nonzero.sum(axis=2)
            per_element = nonzero.reshape(*nonzero.shape[:2], config.elements, config.rows)
            writes = (
                per_element.any(axis=3).sum(axis=2)
                if config.skip_zero_weights
                else np.full(per_element.shape[:2], config.elements)
            )
            positions = count_y * count_x
            for cluster in range(config.clusters):
                read = self.activations[cluster][addresses]
                values = read.view(np.int8) if group["signed"] else read
                values = values.reshape(len(own), positions, -1)[:, :, :used]
                seen = values != 0 if config.skip_zero_activations else np.ones(values.shape, bool)
                flat = values.reshape(len(own), -1).astype(np.float64)
                accumulators[own] += flat @ weights[cluster]
                broadcasts = seen.reshape(len(own), -1).sum(axis=0)
                counters["broadcasts"] += int(broadcasts.sum())
                counters["skipped_activations"] += int(seen.size - broadcasts.sum())
                counters["adds"] += int(broadcasts @ per_column[cluster])
                counters["queue_writes"] += int(broadcasts @ writes[cluster])
                padded = np.zeros((len(own), positions, group["word_count"] * lanes), bool)
                padded[:, :, :used] = seen
                scan_count = padded.size // lanes
                counters["activation_reads"] += scan_count
                counters["empty_scans"] += scan_count - int(
                    np.count_nonzero(padded.reshape(-1, lanes).any(axis=1))
                )

    def _write_back(
        self,
        layer: dict[str, int],
        rows: dict[str, NDArray[np.int64]],
        columns: dict[str, NDArray[np.int64]],
        pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
        table: _RowTable,
        codes: NDArray[np.int64],
        counters: dict[str, int],
    ) -> None:
        on, visit = self._visits(table)
        places = (table.cluster[on], table.word[on], table.lane[on])
        if layer.get("add"):
            self._add_back(layer, rows, columns, pixels, places, visit, codes[:, on], counters)
            return
        signed = writes_signed(layer)
        memory = self.activations.view(np.int8) if signed else self.activations
        for index, (oy, ox) in enumerate(zip(pixels[0].tolist(), pixels[1].tolist(), strict=True)):
            values = codes[index, on].astype(memory.dtype)
            for back_y in range(int(rows["count"][oy])):
                for back_x in range(int(columns["count"][ox])):
                    address = (
                        layer["base"]
                        + rows["offset"][oy]
                        - back_y * layer["step_y"]
                        + columns["offset"][ox]
                        - back_x * layer["step_x"]
                    )
                    merged = np.ones(len(on), bool)
                    if back_y < rows["fresh"][oy] and back_x < columns["fresh"][ox]:
                        merged = table.merge[on]
                        first = np.flatnonzero(~merged)
                        where = tuple(place[first] for place in places)
                        memory[where[0], address + where[1], where[2]] = values[first]
                        counters["write_backs"] += len(np.unique(visit[first]))
                    # A zero changes no maximum, unless values may be negative.
                    kept = np.flatnonzero(merged if signed else merged & (values != 0))
                    where = (places[0][kept], address + places[1][kept], places[2][kept])
                    np.maximum.at(memory, where, values[kept])
                    visits = len(np.unique(visit[kept]))
                    counters["write_backs"] += visits
                    counters["merge_reads"] += visits

    def _visits(self, table: _RowTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that are written, and the number of what is written with each, all to one word."""
        config = self.config
        on = np.flatnonzero(table.enable)
        number = np.arange(len(table.enable)) // config.drain_width * config.drain_classes
        number += np.arange(len(table.enable)) % config.drain_classes
        step, first = number[on], on - on % config.drain_width + on % config.drain_classes
        if np.any(table.cluster[on] % config.drain_classes != on % config.drain_classes):
            raise ValueError("a row is drained beside another that goes to the same cluster")
        if np.any(table.word[on] != table.word[first]) or np.any(
            table.merge[on] != table.merge[first]
        ):
            raise ValueError("rows that are drained together go to different words of a cluster")
        if len(np.unique(step * config.scan_width + table.lane[on])) != len(on):
            raise ValueError("rows that are drained together go to the same activation")
        return on, step

    def _add_back(
        self,
        layer: dict[str, int],
        rows: dict[str, NDArray[np.int64]],
        columns: dict[str, NDArray[np.int64]],
        pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
        places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        visit: NDArray[np.int64],
        codes: NDArray[np.int64],
        counters: dict[str, int],
    ) -> None:
        """Sums of requantized values (pixels, rows) and what is stored in their places."""
        y, x = pixels
        for table, at in ((rows, y), (columns, x)):
            if (table["count"][at] != 1).any() or table["fresh"][at].any():
                raise ValueError("a layer that adds writes each activation once, none of them new")
        address = (layer["base"] + rows["offset"][y] + columns["offset"][x])[:, None]
        where = (places[0], address + places[1], places[2])
        stored = self.activations[where]
        low, high = (-128, 127) if layer["sum_signed"] else (0, 255)
        total = add_stored(
            (stored.view(np.int8) if layer["stored_signed"] else stored).astype(np.int64),
            codes,
            low,
            high,
        )
        self.activations[where] = (total & 0xFF).astype(np.uint8)
        count = int(visit.max(initial=0)) + 1
        pixel, row = np.nonzero((codes != 0) | visits_zeros(layer))
        visits = len(np.unique(pixel * count + visit[row]))
        counters["write_backs"] += visits
        counters["merge_reads"] += visits


class _Host:
    """The host's steps beside a program."""

    def __init__(
        self, machine: Interpreter, tensors: HostTensors, numbers: range, eager: bool
    ) -> None:
        assert machine.schedule is not None
        self.machine = machine
        self.tensors = tensors
        self.eager = eager
        self.steps = machine.schedule.steps(machine.config, numbers)
        self.signals = self.releases = self.awaited = 0
        self.blocked: Await | None = None
        if eager:
            self._advance(until_signal=False)

    def release(self) -> None:
        self.releases += 1
        if self.eager:
            self._advance(until_signal=False)

    def wait(self) -> None:
        if not self.signals:
            self._advance(until_signal=True)
        if not self.signals:
            raise ValueError("program and host wait for each other")
        self.signals -= 1

    def finish(self) -> None:
        self.releases = 1 << 62
        self._advance(until_signal=False)

    def _advance(self, *, until_signal: bool) -> None:
        """Steps until one must wait, or until a signal."""
        machine = self.machine
        while True:
            step = self.blocked or next(self.steps, None)
            self.blocked = None
            if step is None:
                return
            if isinstance(step, Await):
                if self.awaited + step.count > self.releases:
                    self.blocked = step
                    return
                self.awaited += step.count
            elif isinstance(step, Write):
                target = {
                    "program": machine.program,
                    "rows": machine.rows,
                    "tables": machine.tables,
                    "trits": machine.trits[step.number],
                }[step.memory]
                source = machine.contents[step.memory]
                if step.memory == "trits":
                    source = source[step.number]
                first = step.start % machine._lap[step.memory]
                target[first : first + step.count] = source[step.start : step.start + step.count]
            elif isinstance(step, Load):
                base = step.strip.base
                machine.load(base, self.tensors.strip(step.strip))
            elif isinstance(step, Store):
                self.tensors.merge(
                    step.number, step.strip, machine.read(step.strip.base, step.strip.words)
                )
            elif isinstance(step, Signal):
                self.signals += 1
                if until_signal:
                    return
