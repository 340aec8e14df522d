"""The program as the compiled cycle model takes it: records decoded into rows of numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from tritforge.hw.program import DESTINATION, GEOMETRY, GROUP, LAYER, TILE, record_words
from tritforge.sim.cycle.structs import (
    DESTINATIONS,
    GEOMETRIES,
    GROUPS,
    LAYER_FIELDS,
    TILES,
    Struct,
)
from tritforge.sim.records import Records, visits_zeros

__all__ = ["DecodedLayer", "decode_layer"]


@dataclass(eq=False)
class DecodedLayer:
    """Decoded program of one layer: int32 arrays of rows, as the structs of their names."""

    name: str
    output: str
    fields: NDArray[np.int32]
    destination_y: NDArray[np.int32]
    destination_x: NDArray[np.int32]
    tiles: NDArray[np.int32]
    groups: NDArray[np.int32]
    geometry: NDArray[np.int32]
    raw: bool

    @property
    def size(self) -> int:
        """Roughly how long it takes: columns visited."""
        height, width = (self.fields[list(LAYER_FIELDS.members).index(x)] for x in _SIZE)
        words = self.groups[:, list(GROUPS.members).index("word_count")].astype(np.int64)
        return int(height) * int(width) * int(words.sum())

    @property
    def has_wide(self) -> bool:
        """Whether columns of it are weights in place of trits."""
        return bool(self.groups[:, list(GROUPS.members).index("wide")].any())


_SIZE = ("height", "width")


def decode_layer(records: Records, name: str, output: str, start: int) -> DecodedLayer:
    """The layer ``name`` whose LAYER record is at address ``start``; it writes ``output``."""

    def absolute(layout: data.StructLayout, field: str, address: int) -> int:
        """The place of a table: an address has few bits, and tables stand behind their layer's
        record."""
        return start + ((address - start) & ((1 << layout[field].width) - 1))

    layer = records.layer(start)
    height, width = layer["out_height"], layer["out_width"]
    destinations = {
        axis: _table(
            records,
            DESTINATION,
            absolute(LAYER, f"destination_{axis}", layer[f"destination_{axis}"]),
            count,
            DESTINATIONS,
        )
        for axis, count in (("y", height), ("x", width))
    }
    tiles: list[list[int]] = []
    groups: list[list[int]] = []
    entries: dict[tuple[int, int], int] = {}
    geometry: list[NDArray[np.int32]] = []

    def entry(address: int, count: int) -> int:
        """The first entry of a table of the geometry."""
        if (address, count) not in entries:
            entries[address, count] = sum(len(table) for table in geometry)
            geometry.append(_table(records, GEOMETRY, address, count, GEOMETRIES))
        return entries[address, count]

    address = start + record_words(LAYER)
    for _ in range(layer["tile_count"]):
        tile = records.record(TILE, address)
        address += record_words(TILE)
        tiles.append(TILES.row({**tile, "first_group": len(groups)}))
        for _ in range(tile["group_count"]):
            group = records.record(GROUP, address)
            address += record_words(GROUP)
            tables = {axis: group[f"geometry_{axis}"] for axis in "yx"}
            own: dict[str, Any] = {f"table_{axis}": table for axis, table in tables.items()}
            for axis, count in (("y", height), ("x", width)):
                field = f"geometry_{axis}"
                own[field] = entry(absolute(GROUP, field, tables[axis]), count)
            groups.append(GROUPS.row(group | own))
    fields = layer | {
        "visits_zeros": visits_zeros(layer),
        "height": height,
        "width": width,
    }
    return DecodedLayer(
        name,
        output,
        np.array(LAYER_FIELDS.row(fields), np.int32),
        destinations["y"],
        destinations["x"],
        np.array(tiles, np.int32),
        np.array(groups, np.int32),
        np.concatenate(geometry),
        bool(layer["raw"]),
    )


def _table(
    records: Records, layout: data.StructLayout, address: int, count: int, struct: Struct
) -> NDArray[np.int32]:
    """``count`` records as rows of a struct, whose members are names of their fields."""
    return np.ascontiguousarray(
        records.table(layout, address, count, tuple(struct.members)), np.int32
    )
