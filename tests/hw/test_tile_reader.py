"""Tile reader and program fetch together: which words they read, in which order, and when."""

from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tests.hw.benches import lint, simulate
from tests.hw.tiles import RandomLayer
from tritforge.hw.config import Config
from tritforge.hw.payloads import pulse
from tritforge.hw.program import layer_layout
from tritforge.hw.program_fetch import ProgramFetch, Word, program_word
from tritforge.hw.tile_reader import TileReader
from tritforge.hw.timing import MEMORY_LATENCY, fetch_latency

#: With as many registers, reads of a word, and places for groups as there can be.
CONFIGS = [
    Config(memory_ports=ports, register_stages=stages, group_places=places)
    for ports, stages in ((2, "full"), (2, "few"), (1, "full"), (1, "few"))
    for places in (1, 3)
]


def name(config):
    return f"{config.memory_ports}-{config.register_stages}-{config.group_places}"


class Reading(wiring.Component):
    """Both, as a sequencer has them, and a program."""

    def __init__(self, config, words):
        self.config = config
        self.words = words
        super().__init__(
            {
                "layer": In(layer_layout(config)),
                "jump": In(1),
                "start": In(1),
                "room": In(1),
                "group_free": In(1),
                "arrived": Out(pulse(program_word(config))),
                "issued": Out(1),
                "finished": Out(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = TileReader(self.config)
        m.submodules.fetch = fetch = ProgramFetch(self.config)
        m.submodules.program = program = Memory(
            shape=32, depth=self.config.program_depth, init=self.words
        )
        port = program.read_port()
        assert MEMORY_LATENCY == 2
        m.d.sync += fetch.fetch_data.eq(port.data)
        m.d.comb += port.addr.eq(fetch.fetch_address)
        m.d.comb += [
            reader.layer.eq(self.layer),
            reader.start.eq(self.start),
            reader.group_free.eq(self.group_free),
            reader.arrived.payload.eq(fetch.arrived.payload),
            reader.arrived.valid.eq(fetch.arrived.valid),
            reader.done.eq(fetch.done),
            fetch.request.eq(reader.request),
            fetch.valid.eq(reader.valid),
            fetch.mark.eq(reader.mark),
            fetch.skip.eq(reader.skip),
            fetch.group_count.eq(reader.group_count),
            fetch.room.eq(self.room),
            fetch.jump.eq(self.jump),
            self.arrived.payload.eq(fetch.arrived.payload),
            self.arrived.valid.eq(fetch.arrived.valid),
            self.issued.eq(fetch.issued),
            self.finished.eq(reader.finished),
            self.bad.eq(reader.bad),
        ]
        return m


def run(layer, config, rng=None, fields=None):
    """Words as they arrive, with the cycle of each and of its request; whether the end was bad."""
    block = Reading(config, layer.words)
    arrived, requested, ends = [], [], []

    async def bench(ctx):
        ctx.set(block.layer, fields or layer.layer)
        ctx.set(block.jump, 1)
        await ctx.tick()
        ctx.set(block.jump, 0)
        ctx.set(block.start, 1)
        await ctx.tick()
        ctx.set(block.start, 0)
        after = 0
        for cycle in range(20_000):
            ctx.set(block.room, 1 if rng is None else int(rng.random() < 0.4))
            ctx.set(block.group_free, 1 if rng is None else int(rng.random() < 0.7))
            if ctx.get(block.issued):
                requested.append(cycle)
            if ctx.get(block.arrived.valid):
                word = ctx.get(block.arrived.payload)
                tag = {"kind": word.tag.kind, "index": word.tag.index, "last": word.tag.last}
                if config.group_places > 1:
                    tag["place"] = word.tag.place
                arrived.append((cycle, tag | {"data": word.data}))
            after = after + 1 if ctx.get(block.finished) else 0
            if after == 1:
                ends.append(cycle)
            if after > 8:
                break
            await ctx.tick()
        ends.append(ctx.get(block.bad))

    simulate(block, bench)
    return arrived, requested, ends


def check(layer, config, arrived):
    expected = list(layer.read())
    assert len(arrived) == len(expected)
    for (_, found), word in zip(arrived, expected, strict=True):
        for field, value in word.items():
            if value is None or (field == "place" and config.group_places == 1):
                continue
            if field == "last" and word["kind"] not in (Word.GEOMETRY_X, Word.SAME_X):
                continue
            assert found[field] == value, (field, word, found)


@pytest.mark.parametrize("groups", [1, 2, 3, 5])
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_words(config, groups):
    rng = np.random.default_rng(groups)
    for waits in (None, rng):
        layer = RandomLayer(rng, config, groups=groups)
        arrived, requested, (_, bad) = run(layer, config, waits)
        check(layer, config, arrived)
        assert not bad
        assert [cycle for cycle, _ in arrived] == [
            cycle + fetch_latency(config) for cycle in requested
        ]


def spans(requested, arrived, kind):
    """Cycles from each request of a kind's first word to the next one's."""
    own = [
        cycle
        for cycle, (_, tag) in zip(requested, arrived, strict=True)
        if tag["kind"] == kind and tag["index"] == 0
    ]
    return np.diff(own)


@pytest.mark.parametrize("stages", ["full", "few"])
def test_pixels_take_a_cycle_a_word(stages):
    """Groups that are kept: 3 cycles, one more for each group of the same geometry, two for each of
    another one; a line waits for DESTINATION_Y and looks at it."""
    config = Config(group_places=4, register_stages=stages)
    rng = np.random.default_rng(1)
    for groups, tables in ((1, 1), (4, 1), (4, 3)):
        layer = RandomLayer(rng, config, 1, groups, 2, 5, 0, tables)
        arrived, requested, _ = run(layer, config)
        own = layer.records[0][1]
        x, y = (
            1 + sum(one[table] != other[table] for one, other in pairwise(own))
            for table in ("geometry_x", "geometry_y")
        )
        pixel = 1 + groups + x
        line = max(1 + groups + y, fetch_latency(config) + 1) + 1
        assert set(spans(requested, arrived, Word.DESTINATION_X)) == {pixel, pixel + line}
        assert set(spans(requested, arrived, Word.DESTINATION_Y)) == {5 * pixel + line}


def test_groups_that_are_read_again():
    """It waits for DESTINATION_X; then GROUP and each geometry that is another take their words."""
    config = Config(group_places=2)
    layer = RandomLayer(np.random.default_rng(2), config, 1, 3, 1, 6, 0, 1)
    arrived, requested, _ = run(layer, config)
    assert set(spans(requested, arrived, Word.DESTINATION_X)[1:]) == {
        1 + fetch_latency(config) + 1 + 3 * 8 + 2 + 1 + 1
    }


def test_columns_that_are_not_computed():
    """With groups that are read again they end with DESTINATION_X."""
    config = Config()
    layer = RandomLayer(np.random.default_rng(3), config, 1, 2, 1, 6, 1.0, 1)
    layer.destinations["y"][0]["count"] = 1
    layer.words[layer.layer["destination_y"]] |= 1 << 16
    arrived, requested, _ = run(layer, config)
    check(layer, config, arrived)
    assert set(spans(requested, arrived, Word.DESTINATION_X)) == {fetch_latency(config) + 2}


@pytest.mark.parametrize(
    "tile", [{"rows_used": 0}, {"rows_used": 5}, {"rows_used": 255}, {"group_count": 0}]
)
def test_what_is_no_tile(tile):
    config = Config(rows=4)
    layer = RandomLayer(np.random.default_rng(4), config, 1, 1)
    for name, value in tile.items():
        offset = {"rows_used": 0, "group_count": 8}[name]
        layer.words[0] = layer.words[0] & ~(255 << offset) | value << offset
    arrived, _, (_, bad) = run(layer, config)
    assert bad
    assert [tag["kind"] for _, tag in arrived] == [Word.TILE, Word.TILE]


@pytest.mark.parametrize("places", [1, 16])
def test_verilog(tmp_path, places):
    config = Config(group_places=places)
    lint(TileReader(config), "tile_reader", tmp_path)
    lint(ProgramFetch(config), "program_fetch", tmp_path)
