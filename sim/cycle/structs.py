"""What passes between Python and the compiled cycle model: every struct, stated once.

The same list of members gives the :mod:`ctypes` structure, the columns of an array of records, and
the C++ struct of ``machine.hpp`` (:mod:`tritforge.sim.cycle.header`).
"""

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from tritforge.hw import timing
from tritforge.hw.config import Config
from tritforge.hw.payloads import tag_width
from tritforge.sim.host import Shape

__all__ = [
    "COUNT",
    "DESTINATIONS",
    "GEOMETRIES",
    "GROUPS",
    "LANES",
    "LAYER_FIELDS",
    "LAYER_INPUT",
    "MACHINE",
    "PACKETS",
    "RECORDS",
    "ROW_LANES",
    "STRUCTS",
    "TILES",
    "Status",
    "Struct",
    "machine",
]

#: A bit for every activation of a word, and a number of trits of an element's word.
LANES, COUNT = np.dtype(np.uint16), np.dtype(np.uint8)


class Status(IntEnum):
    """How a layer ends."""

    DONE = 0
    CANCELLED = 1
    BAD_ADDRESS = 2
    DEADLOCK = 3


@dataclass(frozen=True)
class Struct:
    """Members by name, each of a C++ type: ``int32_t``, ``int64_t`` or a pointer."""

    name: str
    members: Mapping[str, str]

    @classmethod
    def of_numbers(cls, name: str, members: Iterable[str]) -> "Struct":
        """All members are ``int32_t``: a row of an int32 array."""
        return cls(name, dict.fromkeys(members, "int32_t"))

    @cached_property
    def type(self) -> type[ctypes.Structure]:
        """The structure for a call."""
        kinds = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}
        fields = [(name, kinds.get(kind, ctypes.c_void_p)) for name, kind in self.members.items()]
        return type(self.name, (ctypes.Structure,), {"_fields_": fields})

    def row(self, values: Mapping[str, int]) -> list[int]:
        """All members, in order, of values by name; further values are left out."""
        return [values[name] for name in self.members]

    def cpp(self) -> str:
        """The C++ struct, and assertions that it is what :attr:`type` is."""
        own = self.type
        lines = [f"struct {self.name} {{"]
        lines += [f"    {kind} {name};" for name, kind in self.members.items()]
        lines += ["};", f"static_assert(sizeof({self.name}) == {ctypes.sizeof(own)});"]
        lines += [
            f"static_assert(offsetof({self.name}, {name}) == {getattr(own, name).offset});"
            for name in self.members
        ]
        return "\n".join(lines)


#: Rows of a decoded program: what of LAYER, TILE, GROUP, DESTINATION and GEOMETRY records counts.
LAYER_FIELDS = Struct.of_numbers(
    "LayerFields",
    ("raw", "visits_zeros", "tile_count", "height", "width", "step_x", "step_y", "base"),
)
TILES = Struct.of_numbers("Tile", ("rows_used", "group_count", "row_base", "first_group"))
GROUPS = Struct.of_numbers(
    "Group",
    (
        "base",
        "geometry_y",  # entries of the geometry
        "geometry_x",
        "table_y",  # where the program has them
        "table_x",
        "word_count",
        "last_lanes",
        "step_x",
        "step_y",
        "trit_base",
        "trit_step_x",
        "trit_step_y",
        "wait",
        "release",
        "wide",
        "quarter",
    ),
)
DESTINATIONS = Struct.of_numbers("Destination", ("offset", "count", "fresh"))
GEOMETRIES = Struct.of_numbers("Geometry", ("offset", "count", "trit_offset"))
#: Lanes of the row memory.
#: ``value``: which word of a position's values in ``LayerInput.outputs``.
ROW_LANES = Struct.of_numbers("RowLane", ("enable", "cluster", "word", "lane", "merge", "value"))
#: Records of an event log, the kind as its index in :data:`tritforge.sim.event_log.KINDS`.
RECORDS = Struct.of_numbers("Record", ("time", "kind", "set", "tile", "pixel"))
PACKETS = Struct.of_numbers("Packet", Shape._fields)

#: What a layer is computed from.
LAYER_INPUT = Struct(
    "LayerInput",
    {
        "layer": "const LayerFields*",
        "destination_y": "const Destination*",
        "destination_x": "const Destination*",
        "tiles": "const Tile*",
        "groups": "const Group*",
        "geometry": "const Geometry*",  # all tables; groups point to them by entry
        "row_lanes": "const RowLane*",  # entry by entry of the row memory
        "counts": "const Count*",  # trits that are not zero: [cluster][column][element]
        "weight_counts": "const Count*",  # weights that are not zero, if there are wide groups
        "columns": "int64_t",  # per cluster
        "activations": "const Lanes*",  # those that are not zero: [slice][address]
        "activation_depth": "int64_t",
        "outputs": "const Lanes*",  # [slice][position][word] before a merge; null: none is merged
        "output_words": "int32_t",
        "first": "int32_t",  # the run's first layer: accumulators are cleared meanwhile
    },
)

_Figure = Callable[[Config], int]
#: What the model must know of a configuration.
_FIGURES: dict[str, _Figure] = {
    "sets": lambda config: config.sets,
    "clusters": lambda config: config.clusters,
    "elements": lambda config: config.elements,
    "depth": lambda config: config.queue_depth,
    "scan": lambda config: config.scan_width,
    "banks": lambda config: config.banks,
    "tags": lambda config: 1 << tag_width(config),
    "lanes": lambda config: config.drain_width,
    "drain_classes": lambda config: config.drain_classes,
    "quarter_rows": lambda config: config.quarter_rows,
    "skip_weights": lambda config: config.skip_zero_weights,
    "skip_activations": lambda config: config.skip_zero_activations,
    "memory_ports": lambda config: config.memory_ports,
    "shared_results": lambda config: config.shared_results,
    "program_reads": lambda config: config.program_reads,
    "read_chunks": lambda config: config.memory_chunks("activations"),
    "group_places": lambda config: config.group_places,
    "fetch_latency": lambda config: timing.fetch_latency(config),
    "job_places": lambda config: config.job_places,
    "job_latency": lambda config: timing.job_latency(config),
    "room_latency": lambda config: timing.room_latency(config),
    "word_places": lambda config: config.word_places,
    "pixels_ahead": lambda config: timing.pixels_ahead(config),
    "clear_cycles": lambda config: timing.clear_cycles(config),
    "write_back_latency": lambda config: timing.write_back_latency(config),
    "result_write_latency": lambda config: timing.result_write_latency(config),
    "merge_places": lambda config: timing.merge_places(config),
    "merge_level": lambda config: timing.merge_level(config),
    "merge_head_latency": lambda config: timing.merge_head_latency(config),
    "settle": lambda config: timing.settle(config),
    "write_places": lambda config: timing.write_places(config),
    "buffer_words": lambda config: timing.buffer_words(config),
    "packet_places": lambda config: config.packet_places,
}
MACHINE = Struct.of_numbers("Machine", _FIGURES)

#: All, each behind those that it names.
STRUCTS = (
    MACHINE,
    LAYER_FIELDS,
    TILES,
    GROUPS,
    DESTINATIONS,
    GEOMETRIES,
    ROW_LANES,
    RECORDS,
    PACKETS,
    LAYER_INPUT,
)


def machine(config: Config) -> Any:
    """The structure ``MACHINE`` of a configuration."""
    values = {name: int(figure(config)) for name, figure in _FIGURES.items()}
    # The model sees the room of this cycle or of the one before.
    assert values["room_latency"] in (0, 1)
    return MACHINE.type(*MACHINE.row(values))
