"""Plans, contents of memories, reports: what needs no place and route."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tests.common.documents import broken, every_place
from tests.model_export.networks import compile_network, random_network
from tritforge.common.json_types import JsonError
from tritforge.fpga.bitstream import build as builds
from tritforge.fpga.bitstream.build import build, former_report
from tritforge.fpga.bitstream.netlist_report import (
    Placed,
    block_of,
    blocks,
    check_contents,
    critical_path,
    timing,
    totals,
)
from tritforge.fpga.bitstream.plan import make_plan
from tritforge.fpga.bitstream.report import Attempt, BuildReport, Step, Timing, digest
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit import room
from tritforge.fpga.link.label import memory_label
from tritforge.fpga.platform.board import board
from tritforge.fpga.toolchain.preload import Contents, contents_of, obstacle
from tritforge.fpga.toolchain.tools import Tool, ToolError
from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork

CONFIG = Config(
    name="small",
    clusters=2,
    elements=2,
    rows=2,
    scan_width=2,
    trit_depth=256,
    activation_depth=256,
    program_depth=256,
    row_depth=64,
    result_depth=32,
    layer_count=4,
    packet_words=40,
    response_places=2,
    unpack_trits=False,
)
BOARD = board("ulx3s_85f")
#: Has what ``CELLS`` uses.
ROOMY = dataclasses.replace(BOARD, resources=dataclasses.replace(BOARD.resources, sprams=9))


@pytest.fixture(scope="module")
def image():
    network = random_network(
        np.random.default_rng(3), CONFIG, max_layers=3, max_channels=6, max_size=4
    )
    return CompiledNetwork(network, compile_network(network, CONFIG))


@pytest.fixture(scope="module")
def plan(image):
    return make_plan(BOARD, CONFIG, image, clock_hz=40e6)


def test_contents(image):
    """Word w of a memory stands at bit w * width, its chunk c at 32 * c of that, lowest bit
    first: as the host port writes it."""
    assert obstacle(image) is None
    found = contents_of(image)
    assert [one.memory for one in found] == [
        "program",
        "rows",
        "trits of cluster 0",
        "trits of cluster 1",
    ]
    for one, kind, number in zip(
        found, ("program", "rows", "trits", "trits"), (0, 0, 0, 1), strict=True
    ):
        words = image.memory.port_words(kind, number)
        assert one.width % words.shape[1] == 0 and one.depth == CONFIG.memory_depth(kind)
        chunk = one.width // words.shape[1]
        total = 0
        for place, word in enumerate(words):
            for part, bits in enumerate(word):
                total |= (int(bits) & ((1 << chunk) - 1)) << place * one.width + part * chunk
        assert one.value == total
        assert one.constant == f"{one.width * one.depth}'h{total:0{one.width * one.depth // 4}x}"


def test_contents_of_activation_tables():
    """Every lane of the drain has a copy."""
    config = dataclasses.replace(CONFIG, drain_width=2, activation_tables=3)
    rng = np.random.default_rng(4)
    network = random_network(rng, config, max_layers=3, max_channels=6, max_size=4)
    memory = compile_network(network, config)
    found = contents_of(CompiledNetwork(network, memory))[-2:]
    assert [one.memory for one in found] == [f"activation tables of lane {n}" for n in (0, 1)]
    assert {(one.width, one.depth) for one in found} == {(8, 768)}
    whole = memory.tables.tobytes()
    assert whole and {one.value for one in found} == {int.from_bytes(whole, "little")}
    without = dataclasses.replace(memory, tables=memory.tables[:0])
    assert memory_label(memory) != memory_label(without)


@pytest.mark.compiles
def test_plan(image, plan):
    assert plan.label == memory_label(image.memory)
    assert plan.host_sends == "inputs only"
    assert plan.files["top.ys"].count("setparam -set INIT") == 4
    without = make_plan(BOARD, CONFIG, clock_hz=40e6)
    assert (without.label, without.contents) == (0, [])
    assert without.host_sends.startswith("program, trits and rows of an image, and inputs")


@pytest.mark.compiles
def test_identity(image, plan):
    """Of sources, options and tools; not of where or when."""
    tools = [Tool(name, "/somewhere/" + name, "1") for _, name, _ in plan.commands]
    identity = plan.identity(tools)
    moved = [dataclasses.replace(tool, path="/elsewhere") for tool in tools]
    assert make_plan(BOARD, CONFIG, image, clock_hz=40e6).identity(moved) == identity
    newer = [dataclasses.replace(tools[0], version="2"), *tools[1:]]
    others = [
        plan.identity(newer),
        make_plan(BOARD, CONFIG, image).identity(tools),
        make_plan(BOARD, CONFIG, clock_hz=40e6).identity(tools),
        make_plan(BOARD, CONFIG, image, clock_hz=40e6, seed=2).identity(tools),
        make_plan(BOARD, CONFIG, image, clock_hz=40e6, tries=2).identity(tools),
    ]
    assert len({identity, *others}) == 6


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        ("icebreaker", "set_frequency clk 12.0\n"),
        ("ulx3s_85f", 'FREQUENCY NET "clk" 48000000.0 HZ;\n'),
    ],
)
def test_constraint_of_the_clock(name, constraint):
    """Place and route knows the net by this name; more is asked for on the larger chip."""
    plan = make_plan(board(name), CONFIG, clock_hz={"icebreaker": 12e6, "ulx3s_85f": 40e6}[name])
    assert constraint in plan.files["top" + plan.family.constraints]


@pytest.mark.compiles
def test_contents_that_do_not_fit(image):
    short = dataclasses.replace(CONFIG, row_depth=2)
    with pytest.raises(
        BuildError,
        match=r"^memory rows of configuration small has 2 words, the "
        r"image \d+$",
    ):
        make_plan(
            BOARD,
            short,
            CompiledNetwork(image.network, dataclasses.replace(image.memory, config=short)),
        )


def cell(kind, **parameters):
    return {"type": kind, "parameters": parameters, "connections": {}}


CELLS = {
    "core": cell("$scopeinfo"),
    "core.accelerator": cell("$scopeinfo"),
    **{f"core.accelerator.cluster_{c}": cell("$scopeinfo") for c in (0, 1)},
    **{
        f"core.accelerator.cluster_{c}.contents.element_{e}": cell("$scopeinfo")
        for c in (0, 1)
        for e in (0, 1)
    },
    **{
        f"core.accelerator.cluster_{c}.contents.element_{e}.sum_{n}": cell("LUT4")
        for c in (0, 1)
        for e in (0, 1)
        for n in range(5)
    },
    "core.accelerator.cluster_0.carry": cell("CCU2C"),
    "core.accelerator.cluster_1.queue.0": cell("TRELLIS_DPR16X4"),
    "core.accelerator.program.storage.0.0": cell("DP16KD", INITVAL_00="0110", INIT_DATA="STATIC"),
    "core.accelerator.program.storage.0.1": cell("DP16KD", INITVAL_00="0x01"),
    "timer": cell("SB_DFFESR"),
    "ram": cell("SB_RAM40_4KNRNW"),
    "tall": cell("SB_SPRAM256KA"),
    "multiplier": cell("SB_MAC16"),
}


def test_counts():
    assert totals(CELLS) == {
        "luts": 26,
        "flip_flops": 1,
        "block_rams": 3,
        "sprams": 1,
        "dsps": 1,
        "distributed_rams": 1,
    }
    rows = {row.block: row for row in blocks(CELLS)}
    assert rows["cluster_*.element_*"].luts == 20
    assert rows["cluster_*.element_*"].instances == 4
    assert rows["cluster_*"].luts == 6
    assert rows["board"].flip_flops == 1
    assert {
        what: sum(getattr(row, what) for row in rows.values()) for what in totals(CELLS)
    } == totals(CELLS)
    assert block_of("core.accelerator.cluster_0.x.y", CELLS) == "core.accelerator.cluster_0"


def test_bits_that_did_not_arrive():
    check_contents(CELLS, [Contents("program", "*.program.*storage", 4, 2, 0b111)])
    with pytest.raises(
        BuildError,
        match=r"^memory program has 3 bits set in the netlist, 2 in "
        r"the image; this is a fault of the build$",
    ):
        check_contents(CELLS, [Contents("program", "*.program.*storage", 4, 2, 0b11)])


def test_timing():
    report = {
        "utilization": {},
        "fmax": {
            "clk25": {"achieved": 400.0, "constraint": 25.0},
            "clk": {"achieved": 47.5, "constraint": 50.0},
        },
        "critical_paths": [
            {
                "from": "posedge clk",
                "to": "posedge clk",
                "path": [
                    {
                        "type": "clk-to-q",
                        "delay": 0.5,
                        "from": {"cell": "timer"},
                        "to": {"cell": "timer"},
                    },
                    {
                        "type": "routing",
                        "delay": 1.5,
                        "from": {"cell": "timer"},
                        "to": {"cell": "core.accelerator.cluster_0.carry"},
                    },
                    {
                        "type": "logic",
                        "delay": 0.25,
                        "from": {"cell": "core.accelerator.cluster_0.carry"},
                        "to": {"cell": "core.accelerator.cluster_0.carry"},
                    },
                ],
            },
            {
                "from": "async",
                "to": "posedge clk",
                "path": [
                    {"type": "routing", "delay": 9.0, "from": {"cell": "a"}, "to": {"cell": "b"}}
                ],
            },
        ],
    }
    placed = Placed.from_json(report)
    assert timing(placed, 50.0) == Timing(constraint_mhz=50.0, fmax_mhz=47.5, met=False)
    assert timing(placed, 40.0).met
    half = {
        "from": "negedge clk",
        "to": "posedge clk",
        "path": [
            {"type": "logic", "delay": 1.2, "from": {"cell": "timer"}, "to": {"cell": "timer"}}
        ],
    }
    more = report | {"critical_paths": [*report["critical_paths"], half]}
    found = critical_path(Placed.from_json(more), CELLS)
    assert found.half_cycle and (found.logic_ns, found.routing_ns) == (1.2, 0)
    path = critical_path(placed, CELLS)
    assert not path.half_cycle
    assert (path.logic_ns, path.routing_ns) == (0.75, 1.5)
    assert path.steps == (Step("board", 2.0), Step("cluster", 0.25))


@pytest.mark.compiles
def test_two_drivers(plan, tmp_path, monkeypatch):
    """Yosys ends without an error and with a wrong netlist: no bitstream is made of that."""

    def synthesis(tool, arguments, folder, log, seen=None):
        (folder / log).write_text(
            "23.1. Executing FLATTEN pass.\n"
            "Warning: Driver-driver conflict for \\core.plus_0 [3] between cell $mul.O and "
            "constant 1'0 in top: Resolved using constant.\n"
        )
        (folder / "top.json").write_text("{}")

    monkeypatch.setattr(builds, "run", synthesis)
    with pytest.raises(
        BuildError,
        match=r"^Yosys found two drivers of \\core\.plus_0 \[3\] and .* "
        r"\(log: .*out\.synthesis\.failed\.txt\)$",
    ):
        build(plan, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.synthesis.failed.txt"]


class Placer:
    """Tools of which place and route gives each seed its clock, or what it says when it fails."""

    def __init__(self, results, routed="top.config", bitstream="ulx3s_85f.bit"):
        self.results, self.asked = results, []
        self.routed, self.bitstream = routed, bitstream

    def __call__(self, tool, arguments, folder, log, seen=None):
        (folder / log).write_text("")
        if tool.name == "yosys":
            (folder / "top.json").write_text(json.dumps({"modules": {"top": {"cells": CELLS}}}))
        elif "--seed" in arguments:
            seed = int(arguments[arguments.index("--seed") + 1])
            self.asked.append(seed)
            result = self.results[seed]
            (folder / log).write_text(f"seed {seed}\n{result}")
            if isinstance(result, str):
                raise ToolError(f"nextpnr failed: {result}", folder / log)
            (folder / self.routed).write_text(f"seed {seed}")
            (folder / "placed.json").write_text(
                json.dumps(
                    {
                        "fmax": {"clk": {"achieved": result, "constraint": 48.0}},
                        "utilization": {},
                        "critical_paths": [],
                    }
                )
            )
        else:
            (folder / self.bitstream).write_text((folder / self.routed).read_text())


NO_PLACE = "ERROR: Unable to find legal placement for all cells, design is full."


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("results", "asked", "kept"),
    [
        ([41.0], 1, 5),
        ([39.0, 41.0, 43.0], 2, 6),
        ([NO_PLACE, 39.0, 38.0, NO_PLACE], 4, 6),
        ([NO_PLACE, NO_PLACE, 41.0], 3, 7),
        ([38.0, NO_PLACE, 39.0, 37.0], 4, 7),
    ],
)
def test_seeds(plan, tmp_path, monkeypatch, results, asked, kept):
    """The next seed is for a missed clock or for cells without a place; the fastest stays."""
    placer = Placer(dict(enumerate(results, 5)))
    monkeypatch.setattr(builds, "run", placer)
    several = dataclasses.replace(plan, contents=[], network=None, seed=5, tries=4, board=ROOMY)
    built = build(several, tmp_path / "out")
    assert placer.asked == list(range(5, 5 + asked))
    assert list(built.report.attempts) == [
        Attempt(5 + number, None if isinstance(result, str) else result)
        for number, result in enumerate(results[:asked])
    ]
    best = results[kept - 5]
    assert (built.report.seed, built.report.timing.fmax_mhz) == (kept, best)
    assert built.report.timing.met == (best >= 40.0)
    assert (
        built.bitstream.read_text() == (built.folder / "top.config").read_text() == f"seed {kept}"
    )
    assert (built.folder / "place.txt").read_text() == f"seed {kept}\n{best}"
    assert not list(built.folder.glob("best-*"))


@pytest.mark.compiles
@pytest.mark.parametrize(
    "results", [[NO_PLACE] * 4, [39.0, "ERROR: out of memory"], ["ERROR: Unable to place cell 'a'"]]
)
def test_seeds_in_vain(plan, tmp_path, monkeypatch, results):
    """No seed finds places; or a failure that another seed does not mend."""
    placer = Placer(dict(enumerate(results, 5)))
    monkeypatch.setattr(builds, "run", placer)
    several = dataclasses.replace(plan, contents=[], network=None, seed=5, tries=4, board=ROOMY)
    with pytest.raises(BuildError, match=re.escape(results[-1])):
        build(several, tmp_path / "out")
    assert placer.asked == list(range(5, 5 + len(results)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.place.failed.txt"]


@pytest.mark.compiles
def test_room(plan, tmp_path, monkeypatch):
    """What is needed, what there is, and what would do."""
    narrow = dataclasses.replace(BOARD, resources=dataclasses.replace(BOARD.resources, luts=18))
    small = dataclasses.replace(plan, board=narrow, contents=[], network=None)

    def synthesis(tool, arguments, folder, log, seen):
        (folder / log).write_text("")
        (folder / "top.json").write_text(json.dumps({"modules": {"top": {"cells": CELLS}}}))

    monkeypatch.setattr(builds, "run", synthesis)
    monkeypatch.setattr(room, "nearest", lambda board, config, network: None)
    with pytest.raises(
        BuildError,
        match=r"^configuration small does not fit ULX3S .*: it needs 26 "
        r"LUTs of 18, 1 single-port RAMs of 0; the nearest "
        r"configuration that fits is preset ulx3s_85f_ternary$",
    ):
        build(small, tmp_path / "build")
    monkeypatch.setattr(
        room, "nearest", lambda board, config, network: dataclasses.replace(config, elements=1)
    )
    del CELLS["tall"]
    with pytest.raises(
        BuildError,
        match=r"it needs 26 LUTs of 18; the nearest configuration that "
        r"would fit has elements = 1$",
    ):
        build(small, tmp_path / "build")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def built(plan, tmp_path, monkeypatch):
    """A build of made-up tools, in ``tmp_path / "out"``."""
    monkeypatch.setattr(builds, "run", Placer({1: 41.0}))
    return build(
        dataclasses.replace(plan, contents=[], network=None, board=ROOMY), tmp_path / "out"
    )


def test_no_report(tmp_path):
    for text in ("", "[]", '{"format": "tritforge run"}', "[" * 100_000):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(BuildError, match=r"is not a tritforge build$"):
            former_report(tmp_path)


@pytest.mark.compiles
def test_former_report(built):
    path = built.folder / "report.json"
    report, signed = built.report.to_json(), json.loads(path.read_text())
    assert signed == report | {"digest": digest(report)}
    assert former_report(built.folder) == built.report
    for changed, sentence in (
        (signed | {"identity": "j"}, r"report\.json is not the one that was written there$"),
        ({key: signed[key] for key in signed if key != "identity"}, r"is not the one that was"),
        (signed | {"format_version": 1}, r"is not a tritforge build of this version$"),
        (report, r"is not a tritforge build$"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(BuildError, match=sentence):
            former_report(built.folder)
    for file in ("\ud800", "a\0b"):
        changed = {**report, "netlist": {**report["netlist"], "file": file}}
        path.write_text(json.dumps(changed | {"digest": digest(changed)}))
        with pytest.raises(BuildError, match=r"is not a tritforge build$"):
            former_report(built.folder)
    path.write_text(json.dumps(signed))
    for name, what in ((built.bitstream.name, "bitstream"), ("top.json", "netlist")):
        kept = (built.folder / name).read_bytes()
        (built.folder / name).write_bytes(b"y")
        with pytest.raises(
            BuildError, match=f"^the {what} in .* is not the one that was built there$"
        ):
            former_report(built.folder)
        (built.folder / name).write_bytes(kept)


@pytest.mark.compiles
def test_report_with_a_wrong_value(built):
    """Signed as it should be, but of another type: each field in turn, and each one missing."""
    path, report = built.folder / "report.json", built.report.to_json()
    places = list(every_place(report))
    assert len(places) > 60
    for place in places:
        with pytest.raises(JsonError):
            BuildReport.from_json(broken(report, place))
    for key in report:
        less = {name: value for name, value in report.items() if name != key}
        path.write_text(json.dumps(less | {"digest": digest(less)}))
        with pytest.raises(BuildError, match=r"is not a tritforge build"):
            former_report(built.folder)


@pytest.mark.compiles
@pytest.mark.parametrize("mine", ["mine.bin", "notes.config", "ice.asc", "x.bit"])
@pytest.mark.parametrize("folder", [False, True])
def test_what_is_not_of_a_build_stays(plan, tmp_path, monkeypatch, mine, folder):
    monkeypatch.setattr(builds, "run", Placer({1: 41.0}))
    roomy = dataclasses.replace(plan, contents=[], network=None, board=ROOMY)
    out = tmp_path / "out"
    build(roomy, out)
    if folder:
        (out / mine).mkdir()
    else:
        (out / mine).write_text("precious")
    with pytest.raises(BuildError, match=r"is not a tritforge build; it is left as it is$"):
        build(roomy, out, force=True)
    assert (out / mine).exists()
    other = dataclasses.replace(board("icebreaker"), resources=ROOMY.resources)
    (out / mine).rmdir() if folder else (out / mine).unlink()
    monkeypatch.setattr(builds, "run", Placer({1: 41.0}, "top.asc", "icebreaker.bin"))
    monkeypatch.setattr(builds, "estimate", lambda board, config: None)
    monkeypatch.setattr(builds, "lacking", lambda board, found, exact: [])
    built = build(dataclasses.replace(make_plan(other, CONFIG, clock_hz=12e6)), out)
    assert not (out / "ulx3s_85f.bit").exists() and built.bitstream.name == "icebreaker.bin"


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("top.json", "", "yosys"),
        ("top.json", "{}", "yosys"),
        ("top.json", "[1]", "yosys"),
        ("top.json", '{"modules": {"top": {"cells": {}}}}', "yosys"),
        ("top.json", None, "yosys"),
        ("placed.json", "garbage", "nextpnr-ecp5"),
        ("placed.json", "{}", "nextpnr-ecp5"),
        ("placed.json", '{"fmax": {}, "utilization": {}}', "nextpnr-ecp5"),
        ("top.config", None, "nextpnr-ecp5"),
        ("ulx3s_85f.bit", None, "ecppack"),
        ("ulx3s_85f.bit", "", "ecppack"),
    ],
)
def test_tools_that_write_nonsense(plan, tmp_path, monkeypatch, name, text, tool):
    """And say that all is well."""
    placer = Placer({1: 41.0})

    def spoil(*arguments):
        placer(*arguments)
        path = arguments[2] / name
        if path.exists():
            path.unlink()
            if text is not None:
                path.write_text(text)

    monkeypatch.setattr(builds, "run", spoil)
    roomy = dataclasses.replace(plan, contents=[], network=None, board=ROOMY)
    with pytest.raises(
        BuildError,
        match=f"^{tool} ended well, but did not write what it should "
        r"have \(log: .*\)$",
    ):
        build(roomy, tmp_path / "out")
    assert all(entry.name.endswith(".failed.txt") for entry in tmp_path.iterdir())
