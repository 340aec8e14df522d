"""Random layers in a program, and by definition what is read of it and which jobs it makes."""

from dataclasses import dataclass, field
from itertools import pairwise

from tritforge.hw.payloads import address_width
from tritforge.hw.program import DESTINATION, GEOMETRY, GROUP, LAYER, TILE, encode_words
from tritforge.hw.program_fetch import Word

__all__ = ["RandomLayer"]


@dataclass
class RandomLayer:
    """A layer's program: ``words`` from address 0 on, of which TILE comes first.

    Parameters
    ----------
    rng
    config
    tiles, groups, height, width : int
        Tiles, column groups of each, output pixels.
    dropped : float
        Share of lines and columns that are not computed.
    tables : int
        Geometry tables of each axis that groups share, at most.
    """

    rng: object
    config: object
    tiles: int = 2
    groups: int = 3
    height: int = 3
    width: int = 4
    dropped: float = 0.2
    tables: int = 2
    words: list = field(default_factory=list)

    def __post_init__(self):
        records = 2 + 8 * self.groups
        self.words = [0] * (self.tiles * records)
        sizes = {"y": self.height, "x": self.width}
        self.destinations, places = {}, {}
        for axis, size in sizes.items():
            table = [
                {
                    "offset": self.some(16),
                    "count": int(self.rng.random() >= self.dropped) * self.pick(1, 3),
                    "fresh": self.some(2),
                }
                for _ in range(size)
            ]
            self.destinations[axis] = table
            places[axis] = self.append(DESTINATION, table)
        self.geometry, tables = {}, {}
        for axis, size in sizes.items():
            for _ in range(self.pick(1, self.tables)):
                table = [
                    {
                        "offset": self.some(24),
                        "count": self.pick(0, 3),
                        "trit_offset": self.some(32),
                    }
                    for _ in range(size)
                ]
                place = self.append(GEOMETRY, table)
                self.geometry[axis, place] = table
                tables.setdefault(axis, []).append(place)
        self.layer = {
            "tile_count": self.tiles,
            "out_height": self.height,
            "out_width": self.width,
            "destination_y": places["y"],
            "destination_x": places["x"],
            "base": self.some(32),
        }
        self.records = []
        for number in range(self.tiles):
            tile = {
                "rows_used": self.pick(1, self.config.rows),
                "group_count": self.groups,
                "row_base": self.some(32),
            }
            groups = [self.group(tables) for _ in range(self.groups)]
            self.records.append((tile, groups))
            own = encode_words(TILE, **tile)
            for group in groups:
                own += encode_words(GROUP, **group)
            self.words[number * records : (number + 1) * records] = own

    def pick(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def some(self, width):
        return self.pick(0, (1 << width) - 1)

    def group(self, tables):
        limit = 1 << (self.config.coefficient_width - 1)
        return {
            "plus": self.pick(-limit, limit - 1),
            "minus": self.pick(-limit, limit - 1),
            "base": self.some(24),
            "signed": self.some(1),
            "wait": self.some(1),
            "release": self.some(1),
            "geometry_y": int(self.rng.choice(tables["y"])),
            "geometry_x": int(self.rng.choice(tables["x"])),
            "word_count": self.some(16),
            "last_lanes": self.pick(1, self.config.scan_width),
            "step_x": self.some(16),
            "step_y": self.some(16),
            "trit_base": self.some(32),
            "trit_step_x": self.some(32),
            "trit_step_y": self.some(32),
        }

    def append(self, layout, table):
        place = len(self.words)
        for entry in table:
            self.words += encode_words(layout, **entry)
        return place

    @property
    def kept(self):
        return self.groups <= self.config.group_places

    def record(self, kind, start, count, **tags):
        return [
            {"kind": kind, "index": index, "data": self.words[start + index], **tags}
            for index in range(count)
        ]

    def read(self):
        """Words in the order in which they are read; of ``last`` only a pixel's matter."""
        for number, (_, groups) in enumerate(self.records):
            start = number * (2 + 8 * self.groups)
            yield from self.record(Word.TILE, start, 2)
            if self.kept:
                for place in range(self.groups):
                    yield from self.record(Word.GROUP, start + 2 + 8 * place, 8, place=place)
            yield from self.lines(start, groups)

    def lines(self, start, groups):
        for y, to_y in enumerate(self.destinations["y"]):
            yield from self.record(Word.DESTINATION_Y, self.layer["destination_y"] + y, 1)
            if self.kept:
                yield from self.geometries("y", Word.GEOMETRY_Y, Word.SAME_Y, groups, y)
            if not to_y["count"]:
                continue
            before = None
            for x, to_x in enumerate(self.destinations["x"]):
                yield from self.record(Word.DESTINATION_X, self.layer["destination_x"] + x, 1)
                if self.kept:
                    yield from self.geometries("x", Word.GEOMETRY_X, Word.SAME_X, groups, x)
                elif to_x["count"]:
                    yield from self.all_again(start, groups, y, x, before)
                    before = groups[-1]

    def geometries(self, axis, kind, same, groups, entry):
        for place, (before, group) in enumerate(pairwise([None, *groups])):
            tags = {"place": place, "last": place == self.groups - 1}
            table = group[f"geometry_{axis}"]
            if before is not None and before[f"geometry_{axis}"] == table:
                yield {"kind": same, "index": 0, "data": None, **tags}
            else:
                yield from self.record(kind, table + 2 * entry, 2, **tags)

    def all_again(self, start, groups, y, x, before):
        for number, group in enumerate(groups):
            yield from self.record(Word.GROUP, start + 2 + 8 * number, 8, place=0)
            if before is None or before["geometry_y"] != group["geometry_y"]:
                yield from self.record(Word.GEOMETRY_Y, group["geometry_y"] + 2 * y, 2, place=0)
            tags = {"place": 0, "last": number == self.groups - 1}
            if number and before["geometry_x"] == group["geometry_x"]:
                yield {"kind": Word.SAME_X, "index": 0, "data": None, **tags}
            else:
                yield from self.record(Word.GEOMETRY_X, group["geometry_x"] + 2 * x, 2, **tags)
            before = group

    def jobs(self):
        """Jobs in order, as far as a program's fields go."""
        activation = (1 << address_width(self.config.activation_depth)) - 1
        trit = (1 << address_width(self.config.trit_depth)) - 1
        for number, (tile, groups) in enumerate(self.records):
            begins = True
            for y, to_y in enumerate(self.destinations["y"]):
                for x, to_x in enumerate(self.destinations["x"]):
                    if not to_y["count"] or not to_x["count"]:
                        continue
                    for index, group in enumerate(groups):
                        at_y = self.geometry["y", group["geometry_y"]][y]
                        at_x = self.geometry["x", group["geometry_x"]][x]
                        offset = to_y["offset"] + to_x["offset"]
                        yield {
                            "address": group["base"] + at_y["offset"] + at_x["offset"] & activation,
                            "trit": group["trit_base"] + at_y["trit_offset"] + at_x["trit_offset"]
                            & trit,
                            "count_y": at_y["count"],
                            "count_x": at_x["count"],
                            "step_x": group["step_x"] & activation,
                            "step_y": group["step_y"] & activation,
                            "word_count": group["word_count"] & activation,
                            "trit_step_x": group["trit_step_x"] & trit,
                            "trit_step_y": group["trit_step_y"] & trit,
                            "last_lanes": group["last_lanes"],
                            "plus": group["plus"],
                            "minus": group["minus"],
                            "signed": group["signed"],
                            "rows_used": tile["rows_used"],
                            "last": int(index == self.groups - 1),
                            "wait": group["wait"],
                            "release": group["release"],
                            "begins": int(begins),
                            "place": (number, y, x),
                            "target": self.layer["base"] + offset & activation,
                            "windows": (
                                to_y["count"],
                                to_x["count"],
                                to_y["fresh"],
                                to_x["fresh"],
                            ),
                            "row_base": tile["row_base"]
                            & ((1 << address_width(self.config.row_depth)) - 1),
                        }
                        begins = False


assert LAYER["destination_y"].width == LAYER["destination_x"].width
