# amaranth: UnusedElaboratable=no
"""The search for a configuration, on estimates made up for it: rules, not figures."""

import dataclasses
import tomllib
from collections import Counter

import numpy as np
import pytest

from tests.model_export.memory.test_emit import tabled
from tests.model_export.networks import compile_network, random_network
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit import room, sizes
from tritforge.fpga.fit import search as fit
from tritforge.fpga.fit.estimate import Estimate
from tritforge.fpga.fit.report import CandidateReport
from tritforge.fpga.fit.structure import core_structure
from tritforge.fpga.platform.board import board
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.memory.emit import DoesNotFitError
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

BOARD = board("ulx3s_85f")
CONFIG = Config(
    name="small",
    clusters=2,
    elements=4,
    rows=4,
    coefficient_width=9,
    accumulator_width=22,
    multiplier_width=12,
)


def made_up(chosen, config):
    """Lookup tables in proportion to adders, block RAMs to bits."""
    bits = sum(
        config.memory_width(kind) * config.memory_depth(kind) * config.memory_count(kind)
        for kind in ("program", "trits", "activations", "rows", "results")
    )
    parts = {
        "element": 200 * config.adders,
        "accumulators": 10 * config.adders * config.rows,
        "cluster": 300 * config.cluster_count,
        "host port": 3000 + config.queue_depth,
    }
    return Estimate(
        sum(parts.values()),
        100,
        -(-bits // 18000),
        0,
        2 * config.cluster_count,
        50,
        {
            **dict.fromkeys(("walker", "zero skip", "scaler", "slice", "merge", "requantizer"), 0),
            **parts,
        },
    )


@pytest.fixture(autouse=True)
def estimates(monkeypatch):
    monkeypatch.setattr(fit, "estimate", made_up)
    monkeypatch.setattr(room, "estimate", made_up)
    monkeypatch.setattr(fit, "MOST_COMPILED", 6)
    monkeypatch.setattr(fit, "MOST_ESTIMATED", 16)


@pytest.fixture(scope="module")
def network():
    return random_network(
        np.random.default_rng(4), CONFIG, max_layers=4, max_channels=24, max_size=8
    )


def search(network, chosen=BOARD, clock_hz=50e6):
    return fit.Search(chosen, network, fit.random_codes(network), clock_hz)


# ----- what a network needs


def test_widths(network):
    """They hold the network, and none may be a bit narrower."""
    found = sizes.widths(network)
    least = dataclasses.replace(CONFIG, **found)
    compile_network(network, least)
    for layer in network.layers:
        for group in layer.groups:
            assert abs(group.coefficient_plus) <= least.coefficient_max
    total = least.accumulator_width + least.multiplier_width
    assert total <= CONFIG.accumulator_width + CONFIG.multiplier_width
    assert found["window_count"] <= CONFIG.window_count


def test_as_many_activation_tables_as_differ():
    """Or two, where even the largest configuration does not hold all: they are sent in turn."""
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 256, (33, 256))
    for given, count in (([], 0), ([tables[0], None, tables[0], tables[1]], 2), (tables, 2)):
        assert sizes.widths(tabled(34, list(given)))["activation_tables"] == count
    assert sizes.widths(tabled(34, list(tables[:32])))["activation_tables"] == 32


@pytest.mark.parametrize(("tables", "lanes", "block_rams"), [(8, 1, 1), (9, 1, 2), (8, 2, 2)])
def test_activation_tables_take_block_rams(tables, lanes, block_rams):
    """2 048 bytes each on an ECP5, for every lane of the drain."""
    config = dataclasses.replace(CONFIG, drain_width=lanes)
    with_tables = dataclasses.replace(config, activation_tables=tables)
    found, without = (
        Counter({kind: block.resources["block_rams"] for kind, block in blocks.items()})
        for blocks in (core_structure(BOARD, one) for one in (with_tables, config))
    )
    assert found - without == {"memories": block_rams}


def test_depths(network):
    """As deep as needed: each memory holds its contents, a shallower one would not."""
    config, memory = sizes.compiled(network, CONFIG)
    assert memory.config == config
    needed = {
        "trit_depth": memory.trits.shape[1],
        "activation_depth": memory.activation_words,
        "program_depth": len(memory.program),
        "row_depth": len(memory.rows),
    }
    for name, count in needed.items():
        depth = getattr(config, name)
        assert count <= depth < 2 * max(count, 64), name
    if config.program_depth > 64:
        with pytest.raises(DoesNotFitError):
            compile_network(
                network, dataclasses.replace(config, program_depth=needed["program_depth"] - 1)
            )


@pytest.mark.compiles
def test_expected_cycles(network):
    """More elements, fewer cycles or as many; and the guess is near what the model finds."""
    one = search(network)
    config, memory = sizes.compiled(network, CONFIG)
    tensors = {
        name: values[0]
        for name, values in GoldenModel(network)
        .run_all(fit.random_codes(network), unpooled=True)
        .items()
    }
    cycles = sum(layer["cycles"] for layer in CycleModel(network, memory).run(tensors))
    guess = sizes.expected_cycles(one._work, config)
    assert 0.3 * cycles < guess < 1.5 * cycles
    larger = dataclasses.replace(config, elements=8)
    assert sizes.expected_cycles(one._work, larger) <= guess


# ----- what fits


def test_room():
    found = made_up(BOARD, PRESETS["tiny"])
    assert room.lacking(BOARD, found) == {}
    assert room.room(BOARD)["luts"] == int(BOARD.fill * BOARD.resources.luts)
    lacks = room.lacking(BOARD, dataclasses.replace(found, luts=90_000, block_rams=300))
    assert lacks == {"luts": (90_000, room.room(BOARD)["luts"]), "block_rams": (300, 208)}
    assert room.sentence(lacks) == "90,000 LUTs of 71,094, 300 block RAMs of 208"
    assert room.lacking(BOARD, dataclasses.replace(found, luts=90_000), exact=True) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"clusters": 16, "elements": 64},
        {"sets": 8, "clusters": 8, "elements": 64},
        {"trit_depth": 1 << 19},
        {"activation_depth": 1 << 16, "elements": 64, "clusters": 8},
    ],
)
def test_nearest(changes):
    config = dataclasses.replace(PRESETS["tiny"], **changes)
    assert room.lacking(BOARD, made_up(BOARD, config))
    found = room.nearest(BOARD, config)
    assert not room.lacking(BOARD, made_up(BOARD, found))
    for name, value in config.to_dict().items():
        if isinstance(value, int) and name != "name":
            assert getattr(found, name) <= value
    # not much smaller than what there is room for
    used = made_up(BOARD, found)
    assert max(used.luts / room.room(BOARD)["luts"], used.block_rams / 208) > 0.4


def test_refusal(network):
    config = dataclasses.replace(PRESETS["tiny"], clusters=8, elements=64)
    lacks = room.lacking(BOARD, made_up(BOARD, config))
    text = room.refusal(BOARD, config, lacks)
    assert text.startswith(
        "configuration tiny does not fit ULX3S (Lattice LFE5U-85F, CABGA381): it needs "
    )
    assert "; the nearest configuration that would fit has elements = " in text
    assert f"with network {network.name}" in room.refusal(BOARD, config, lacks, network)
    far = room.refusal(BOARD, config, {"block_rams": (4000, 208)})
    assert far.endswith("the nearest configuration that fits is preset ulx3s_85f_ternary")


@pytest.mark.parametrize("preset", PRESETS)
def test_assignments_load(preset):
    """As the file of a configuration they give that configuration."""
    fields = PRESETS[preset].to_dict()
    assert tomllib.loads("\n".join(room.assignments(fields))) == fields


# ----- the search


@pytest.mark.compiles
def test_fastest(network):
    told = []
    one = search(network)
    one.progress = lambda message, done: told.append((message, done))
    found = one.fastest()
    assert 1 < len(found) <= 6
    assert [c.cycles for c in found] == sorted(c.cycles for c in found)
    for candidate in found:
        assert not room.lacking(BOARD, candidate.estimate)
        assert candidate.frames_per_second == pytest.approx(50e6 / candidate.cycles)
        compile_network(network, candidate.config)
    assert all(0 <= done <= 1 for _, done in told)
    document = found[0].report(BOARD)
    assert document.resources["luts"].available == 83640
    assert CandidateReport.from_json(document.to_json()) == document
    # a smaller board is slower
    narrow = dataclasses.replace(BOARD, resources=dataclasses.replace(BOARD.resources, luts=6000))
    assert search(network, narrow).fastest()[0].cycles >= found[0].cycles


@pytest.mark.compiles
def test_smallest(network):
    """Less speed takes less of the chip; each is as fast as wanted."""
    best = search(network).fastest()[0].frames_per_second
    half, eighth = (search(network).smallest(best / part) for part in (2, 8))
    for found, part in ((half, 2), (eighth, 8)):
        assert all(one.frames_per_second >= best / part for one in found)
        assert [one.estimate.luts for one in found] == sorted(one.estimate.luts for one in found)
    assert eighth[0].estimate.luts <= half[0].estimate.luts
    with pytest.raises(
        BuildError,
        match=r"^no configuration that fits ULX3S .* gives 1e\+09 "
        r"frames/s at 50 MHz: the fastest of those tried, ",
    ):
        search(network).smallest(1e9)


def test_nothing_fits(network):
    """The resource, needed and available; and what would fit."""
    none = dataclasses.replace(BOARD, resources=dataclasses.replace(BOARD.resources, luts=2500))
    with pytest.raises(
        BuildError,
        match=r"^network .* does not fit ULX3S .*: no configuration "
        r"holds it; the nearest configuration that fits is",
    ):
        search(network, none).fastest()
    none = dataclasses.replace(BOARD, resources=dataclasses.replace(BOARD.resources, block_rams=0))
    with pytest.raises(BuildError, match=r"lacks least, needs .*\d block RAMs of 0; the nearest"):
        search(network, none).fastest()
