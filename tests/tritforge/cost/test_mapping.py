"""Cells and memories of a configuration."""

import dataclasses
import json

import pytest

import tritforge.cost.mapping as mapping
from tests.tritforge.cost.mini import MINI
from tritforge.cost.errors import CostError
from tritforge.cost.library import built_in_library, user_library
from tritforge.cost.mapping import Block, Memory, map_design
from tritforge.hw.presets import PRESETS
from tritforge.hw.timing import queue_places


@pytest.fixture(scope="module")
def blocks(technology):
    return map_design(MINI, built_in_library(technology))


@pytest.mark.compiles
def test_counts(blocks):
    assert {
        name: blocks[name].count
        for name in ("top", "cluster", "element", "accumulators", "walker", "slice", "requantizer")
    } == {
        "top": 1,
        "cluster": 2,
        "element": 4,
        "accumulators": 4,
        "walker": 2,
        "slice": 2,
        "requantizer": 1,
    }


@pytest.mark.compiles
@pytest.mark.parametrize(
    "block, holds, width, depth, count",
    [
        ("cluster", "trits", 2 * MINI.slots, 256, 2),
        ("slice", "activations", 16, 256, 2),
        ("top", "program", 32, 256, 1),
        ("top", "rows", MINI.memory_width("rows"), 64, 1),
        ("top", "results", 32, 64, 1),
        ("counters", "counters", 32, 64, 1),
    ],
)
def test_large_memories(blocks, block, holds, width, depth, count):
    found = [one for one in blocks[block].memories if not one.answers_at_once]
    assert Memory(holds, width, depth, count, False, False) in found


@pytest.mark.compiles
def test_activation_tables_are_memories(blocks, technology):
    config = dataclasses.replace(MINI, drain_width=2, activation_tables=3)
    found = map_design(config, built_in_library(technology))
    tables = [one for one in found["top"].memories if one.name == "tables"]
    assert tables == 2 * [Memory("tables", 8, 768, 1, False, False)]  # a module for each lane
    assert not any(one.name == "tables" for block in blocks.values() for one in block.memories)


@pytest.mark.compiles
def test_queues_and_accumulators(blocks):
    """Every bit of an element's queue and of its accumulators is there, once or as the text for
    synthesis has it: twice, with a bit beside each that says whether it counts as zero."""
    queues = blocks["element"].memories
    assert {one.depth for one in queues} == {queue_places(MINI)}
    # trits, bank, groups with nonzero trits; both products
    assert sum(one.width for one in queues) == 2 * MINI.rows + 1 + 1 + 2 * MINI.product_width
    stored = [one for one in blocks["accumulators"].memories if one.width > 1]
    assert [(one.width, one.depth, one.count) for one in stored] == 2 * [
        (MINI.accumulator_width + 1, MINI.rows * MINI.banks, 4)
    ]


@pytest.mark.compiles
def test_flip_flops_are_cells(blocks, technology):
    """Those counted before mapping, with and without enable, are the cells of the library."""
    cell = technology.cells["DFF"].cell
    for name, block in blocks.items():
        assert block.cells[cell] == block.flip_flops + block.gated_flip_flops, name


@pytest.mark.compiles
def test_kept(technology, monkeypatch, tmp_path):
    """A second time no tool runs; a file that is broken is made again; an unwritable folder does
    no harm."""
    ran = []
    cells = {"DFF_X1": 3}

    def made(verilog, library, script):
        ran.append(script)
        return {
            "top": Block(1, mapping.Counter(cells), 2, 1, [Memory("rows", 8, 4, 1, False, True)])
        }

    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapping, "_map", made)
    library = built_in_library(technology)
    first, second = map_design(MINI, library), map_design(MINI, library)
    assert first == second
    assert len(ran) == 1
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_text()
    for number, text in enumerate(
        ("{}", json.dumps({"top": {}}), whole.replace("3", "4", 1), "[" * 100_000, whole[:-9]), 2
    ):
        kept.write_text(text)
        assert map_design(MINI, library) == first
        assert len(ran) == number
    assert kept.read_text() == whole
    assert map_design(PRESETS["tiny"], library) == first  # another configuration is another file
    assert len(ran) == 7
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path / "file"))
    assert map_design(MINI, library) == first


@pytest.mark.compiles
def test_library_that_cannot_do_it(tmp_path):
    """A flip-flop that Yosys cannot use is noticed when the design is mapped."""
    path = tmp_path / "odd.lib"
    path.write_text("""library(odd) {
      cell(inv) { area : 1; pin(a) { direction : input; }
        pin(y) { direction : output; function : "!a"; } }
      cell(nd2) { area : 1; pin(a) { direction : input; } pin(b) { direction : input; }
        pin(y) { direction : output; function : "!(a*b)"; } }
      cell(buf) { area : 1; pin(a) { direction : input; }
        pin(y) { direction : output; function : "a"; } }
      cell(dff) { area : 4; ff(IQ, IQN) { clocked_on : "c*d"; next_state : "d"; }
        pin(c) { direction : input; } pin(d) { direction : input; }
        pin(q) { direction : output; function : "IQ"; } }
    }""")
    with pytest.raises(CostError, match=r"mini cannot be mapped to library odd\.lib: .*DFF"):
        map_design(MINI, user_library(path))
