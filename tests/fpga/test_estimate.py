# amaranth: UnusedElaboratable=no
"""Estimates of what a configuration takes of a chip, against Yosys and against real builds."""

import dataclasses
import json
import re
from collections import Counter

import pytest

from tests.common.documents import broken, every_place
from tritforge.common.json_types import JsonError, parse
from tritforge.fpga.bitstream.netlist_report import read_cells, totals
from tritforge.fpga.bitstream.plan import make_plan
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit.estimate import CALIBRATION, Calibration, estimate, load_calibration
from tritforge.fpga.fit.memory_mapping import Mapped, Memory, map_memory
from tritforge.fpga.fit.structure import kind_of, structure
from tritforge.fpga.platform.board import board
from tritforge.fpga.toolchain.synthesis import SYNTHESES
from tritforge.fpga.toolchain.tools import find, run
from tritforge.hw.bodies import Target, sources
from tritforge.hw.config import Config
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.presets import PRESETS

ULX3S, ICEBREAKER = board("ulx3s_85f"), board("icebreaker")
MINI = Config(
    name="mini",
    clusters=1,
    elements=1,
    rows=2,
    queue_depth=1,
    scan_width=1,
    trit_depth=512,
    activation_depth=128,
    program_depth=512,
    row_depth=64,
    result_depth=16,
    layer_count=4,
    packet_words=34,
    response_places=2,
    unpack_trits=False,
)


# ----- memories


@pytest.mark.parametrize(
    ("family", "memory", "expected"),
    [
        ("ecp5", Memory(32, 512, 32), Mapped("block_rams", 1)),
        ("ecp5", Memory(32, 1024, 32), Mapped("block_rams", 2)),
        ("ecp5", Memory(32, 16, 32), Mapped("distributed_rams", 8)),
        ("ecp5", Memory(1, 4, 1, "async"), Mapped("registers", 4)),
        ("ecp5", Memory(24, 4, 24, "async"), Mapped("distributed_rams", 6)),
        ("ecp5", Memory(37, 32, 37, "async"), Mapped("distributed_rams", 20, 2)),
        ("ecp5", Memory(16, 2048, 8), Mapped("block_rams", 2)),
        ("ice40", Memory(16, 256, 16), Mapped("block_rams", 1)),
        ("ice40", Memory(46, 32, 46, style="block"), Mapped("block_rams", 3)),
        ("ice40", Memory(32, 4096, 32, style="huge"), Mapped("sprams", 2)),
        ("ice40", Memory(16, 20000, 8, style="huge"), Mapped("sprams", 2, 2)),
        ("ice40", Memory(2, 8, 2, "async"), Mapped("registers", 16)),
    ],
)
def test_mapping(family, memory, expected):
    assert map_memory(family, memory) == expected


def test_cells_that_nothing_reads():
    """Three lanes of 96 bits of which 66 mean something: 16 bits a cell."""
    whole = Memory(288, 256, 32)
    used = tuple((lane * 96, lane * 96 + 66) for lane in range(3))
    assert map_memory("ice40", whole).count == 18
    assert map_memory("ice40", dataclasses.replace(whole, used=used)).count == 15


def test_no_such_memory():
    with pytest.raises(ValueError, match=r"^family ecp5 has no large single-port memories$"):
        map_memory("ecp5", Memory(32, 64, 32, style="huge"))


#: Width, depth, chunk.
SHAPES = [
    (32, 512, 32),
    (32, 2048, 32),
    (64, 256, 32),
    (96, 300, 32),
    (40, 512, 32),
    (16, 512, 8),
    (16, 3000, 8),
    (64, 300, 8),
    (24, 2049, 8),
    (32, 16, 32),
    (32, 33, 32),
    (8, 64, 8),
    (128, 128, 128),
]


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["ecp5", "ice40"])
def test_against_yosys(family, tmp_path):
    """Of memories of many shapes, as a build maps them, every cell."""
    ports, instances = [], []
    memories = {}
    for number, (width, depth, chunk) in enumerate(SHAPES):
        memory = ChunkMemory(width=width, depth=depth, chunk_width=chunk)
        address = len(memory.read_address)
        padded = memory.chunks * memory.chunk_width
        memories[f"m{number}"] = Memory(padded, depth, memory.chunk_width, used=((0, width),))
        sizes = {
            "read_address": address,
            "write_address": address,
            "write_mask": memory.chunks,
            "write_data": padded,
        }
        ports += [f"input [{size - 1}:0] {name}_{number}" for name, size in sizes.items()]
        ports.append(f"output [{width - 1}:0] read_data_{number}")
        parameters = {
            "WIDTH": width,
            "CHUNK": memory.chunk_width,
            "CHUNKS": memory.chunks,
            "DEPTH": depth,
            "ADDRESS": address,
        }
        instances.append(
            f"chunk_memory #({', '.join(f'.{name}({value})' for name, value in parameters.items())}"
            f") m{number} (.clk(clk), {', '.join(f'.{name}({name}_{number})' for name in sizes)}, "
            f".read_data(read_data_{number}));"
        )
    (tmp_path / "top.v").write_text(
        f"module top(input clk, {', '.join(ports)});\n" + "\n".join(instances) + "\nendmodule\n"
    )
    source = "".join(path.read_text() for path in sources(["chunk_memory"], Target(family)))
    # contents change nothing, and take long
    (tmp_path / "chunk_memory.v").write_text(re.sub(r"initial for .*", "", source))
    chosen = SYNTHESES[family]
    steps = [
        "read_verilog chunk_memory.v top.v",
        f"{chosen.command} -top top -noflatten -run begin:{chosen.first}",
        "proc",
        "opt -full -nodffe -nosdff",
        "memory -nomap -no-rw-check",
        "flatten",
        "opt_clean",
        *chosen.map_memories[:2],
        "opt_clean",
        "blackbox =A:whitebox",
        "write_json top.json",
    ]
    (tmp_path / "top.ys").write_text("\n".join(steps) + "\n")
    run(find("yosys"), ("top.ys",), tmp_path, "log.txt")
    found = {name: Counter() for name in memories}
    for name, cell in read_cells(tmp_path / "top.json").items():
        if counted := totals({name: cell}):
            found[re.search(r"\bm\d+", name)[0]].update(counted)
    for name, memory in memories.items():
        mapped = map_memory(family, memory)
        if mapped.resource == "registers":
            continue
        assert found[name][mapped.resource] == mapped.count, (memory, found[name])


# ----- structure


def test_kinds():
    assert kind_of(("accelerator", "cluster", "contents", "element_12")) == "element"
    assert kind_of(("accelerator", "cluster_0", "element_1", "queue_0")) == "element"
    assert kind_of(("accelerator", "host", "requests")) == "host port"
    assert kind_of(("accelerator", "results$12")) == "memories"
    assert kind_of(("accelerator",)) == kind_of(("accelerator", "new_block")) == "top"
    assert kind_of(()) == kind_of(("link", "receiver")) == "board"


@pytest.mark.compiles
def test_structure_counts():
    """Twice the clusters have twice the elements, and as much in each."""
    one, two = (
        structure(dataclasses.replace(MINI, clusters=count), "ecp5", 8, True) for count in (1, 2)
    )
    for kind in ("element", "accumulators", "walker", "scaler"):
        assert two[kind].resources == Counter(
            {name: 2 * count for name, count in one[kind].resources.items()}
        )
    assert one["element"].terms["block"] == 1 and two["element"].terms["block"] == 2
    assert two["scaler"].resources["dsps"] == 4
    assert not one["unpacker"].terms["block"]


# ----- estimates


@pytest.mark.compiles
def test_known_builds():
    """Memories and multipliers of builds that were placed and routed."""
    found = estimate(ICEBREAKER, PRESETS["icebreaker"])
    assert (found.sprams, found.dsps) == (4, 4)
    assert found.luts == sum(found.blocks.values())
    found = estimate(ULX3S, PRESETS["tiny"])
    assert (found.block_rams, found.dsps) == (21, 6)


def test_memory_the_chip_has_not():
    with pytest.raises(
        BuildError,
        match=r"^configuration icebreaker does not fit ULX3S .*: family "
        r"ecp5 has no large single-port memories$",
    ):
        estimate(ULX3S, PRESETS["icebreaker"])


def test_calibration():
    """What the calibration says of the builds that were held out from it."""
    calibration = load_calibration()
    held_out = [one for one in calibration.builds if one.held_out]
    assert len(held_out) >= 6 and {one.board for one in held_out} == {"icebreaker", "ulx3s_85f"}
    for one in calibration.builds:
        measured, estimated = one.measured, one.estimated
        for name in ("block_rams", "sprams", "dsps"):
            assert getattr(estimated, name) == getattr(measured, name), (one.configuration, name)
        assert one.luts_error == pytest.approx(estimated.luts / measured.luts - 1, abs=1e-3)
        if one.held_out:
            assert abs(one.luts_error) < calibration.tolerance, one.configuration


def test_calibration_is_read_whole():
    """Nothing of the file is left out, and a damaged one is refused."""
    document = parse(CALIBRATION.read_bytes())
    assert load_calibration().to_json() == document
    for path in every_place(document):
        if "configuration" not in path:
            with pytest.raises(JsonError, match=r"^calibration\.json"):
                Calibration.from_json(broken(document, path), CALIBRATION.name)


@pytest.mark.compiles
def test_calibration_is_of_this_hardware():
    """The coefficients are applied to what the hardware is now: a sample of the builds is estimated
    again."""
    builds = load_calibration().builds
    for one in (builds[0], next(one for one in builds if one.board == "icebreaker")):
        config = Config.from_dict({"name": "again", **one.configuration})
        assert estimate(board(one.board), config).resources == one.estimated


@pytest.mark.compiles
@pytest.mark.slow
def test_against_synthesis(tmp_path):
    """A whole design: what is exact is exact, before anything is placed."""
    plan = make_plan(ULX3S, MINI)
    for name, text in plan.files.items():
        (tmp_path / name).write_text(text)
    run(find("yosys"), plan.commands[0][2], tmp_path, "log.txt")
    counted = totals(read_cells(tmp_path / "top.json"))
    found = estimate(ULX3S, MINI)
    assert (found.block_rams, found.dsps) == (counted["block_rams"], counted["dsps"])
    # packing adds to carry chains, and two cells to every distributed RAM
    assert counted["luts"] < found.luts < 1.3 * counted["luts"]
    assert json.loads((tmp_path / "blocks.json").read_text())
