"""Every body of a memory and of accumulators does what the component does that it stands for."""

import re
from pathlib import Path

import pytest

from tests.hw.benches import Holder, lint
from tests.hw.lockstep import Bench, Size, body, renamed, run
from tritforge.cost.netlist.flat import MEMORY_MODELS
from tritforge.fpga.errors import BuildError
from tritforge.fpga.toolchain.tools import run_aside
from tritforge.hw import bodies as bodies_module
from tritforge.hw.accumulators import Accumulators
from tritforge.hw.bodies import BODIES, Target, sources
from tritforge.hw.config import Config
from tritforge.hw.lookup_memory import LookupMemory
from tritforge.hw.memory import ChunkMemory

CYCLES = 30_000
#: Where the files are.
FOLDER = Path(bodies_module.__file__).resolve().parent


def chunk_memory(width, depth, chunk, single_port=False, register_address=False):
    """Data two cycles after a read that collided say nothing. What a memory with one port holds at
    first is undefined, so that it is filled before."""
    memory = ChunkMemory(
        width=width,
        depth=depth,
        chunk_width=chunk,
        single_port=single_port,
        register_address=register_address,
    )
    fills = f"cycle < {depth if single_port else 0}"
    chunks, bits = memory.chunks, len(memory.read_address)
    collides = "|@write_mask" + ("" if single_port else " && @write_address == @reading")
    return Size(
        memory,
        {
            "read_address": f"$urandom % {depth}",
            "write_address": f"{fills} ? cycle : $urandom % {depth}",
            "write_mask": f"{fills} ? '1 : $urandom_range(9) < 5 ? {chunks}'($urandom) : 0",
        },
        "!@collided",
        f"""reg [{bits - 1}:0] @before = 0;
            wire [{bits - 1}:0] @reading = {"@before" if register_address else "@read_address"};
            reg @first = 0, @second = 0;
            wire @collided = {"@first" if register_address else "@second"};
            always @(posedge clk) begin
                @before <= @read_address;
                @first <= {collides};
                @second <= @first;
            end""",
        # the large memories of an iCE40 are the only ones with one port
        families=("ice40",) if single_port else ("ice40", "ecp5"),
        start=4 + (depth if single_port else 0),
    )


def lookup_memory(width, depth):
    return Size(
        LookupMemory(width=width, depth=depth),
        dict.fromkeys(("read_address", "write_address"), f"$urandom % {depth}"),
    )


def accumulators(rows, banks, families=("ice40", "ecp5"), **values):
    """Never the same bank is added to and taken from."""
    return Size(
        Accumulators(Config(rows=rows, banks=banks, **values)),
        {
            "add_row": f"$urandom % {rows}",
            "take_row": f"$urandom % {rows}",
            "add_bank": "@bank",
            "take_bank": f"@bank + 1 + $urandom % {banks - 1}",
        },
        declarations=f"""reg [31:0] @bank = 0;
            always @(negedge clk) @bank <= $urandom % {banks};""",
        families=families,
    )


def broken(module, target, old, new):
    """A body with a fault."""
    text = body(module, target)
    assert old in text
    return text.replace(old, new)


def bodies(module):
    """One for each text that a target gets, by the first one's name; FPGAs' netlists are added
    by the bench."""
    texts = {}
    for target in (Target.PORTABLE, Target.VERILATOR, Target.ICE40):
        if (text := body(module, target)) not in texts.values():
            texts[str(target)] = text
    return texts


#: The registers that a mapped netlist has for a memory that answers at once.
MAPPED = (
    MEMORY_MODELS[0].read_text(encoding="utf-8")
    + """
module lookup_memory #(parameter WIDTH = 1, DEPTH = 1, ADDRESS = 1) (
    input clk, input [ADDRESS-1:0] read_address, output [WIDTH-1:0] read_data,
    input write_enable, input [ADDRESS-1:0] write_address, input [WIDTH-1:0] write_data);
    register_file #(.WIDTH(WIDTH), .DEPTH(DEPTH), .ADDRESS(ADDRESS)) registers (
        .clk(clk), .read_address(read_address), .read_enable(1'b0), .read_data(read_data),
        .write_address(write_address), .write_enable({WIDTH{write_enable}}),
        .write_data(write_data));
endmodule
"""
)

BENCHES = {
    "chunk_memory": lambda: Bench(
        "chunk_memory",
        [
            chunk_memory(32, 16, 32),
            chunk_memory(40, 5, 8),
            chunk_memory(70, 9, 32, register_address=True),
            chunk_memory(5, 2, 32),
            chunk_memory(64, 1, 32, register_address=True),
            chunk_memory(64, 512, 32),
            chunk_memory(16, 64, 16, single_port=True),
            chunk_memory(40, 20, 8, single_port=True, register_address=True),
        ],
        bodies("chunk_memory")
        | {
            "broken_mask": broken(
                "chunk_memory", Target.PORTABLE, "if (write_mask[index])", "if (|write_mask)"
            ),
            "broken_port": broken(
                "chunk_memory", Target.PORTABLE, "|write_mask ? write_address :", "0 ? 0 :"
            ),
            "broken_latency": broken(
                "chunk_memory",
                Target.VERILATOR,
                "!= 0 ? fetched : registered",
                "!= 1 ? fetched : registered",
            ),
            "broken_merge": broken(
                "chunk_memory", Target.VERILATOR, "merged = storage[write_address]", "merged = 0"
            ),
        },
        inverted="verilator",
    ),
    "lookup_memory": lambda: Bench(
        "lookup_memory",
        [
            lookup_memory(1, 2),
            lookup_memory(5, 3),
            lookup_memory(9, 1),
            lookup_memory(40, 32),
            lookup_memory(16, 256),
        ],
        bodies("lookup_memory")
        | {
            "mapped": MAPPED,
            "broken_edge": broken("lookup_memory", Target.ICE40, "negedge", "posedge"),
            "broken_enable": broken("lookup_memory", Target.PORTABLE, "if (write_enable)", ""),
        },
    ),
    "accumulators": lambda: Bench(
        "accumulators",
        [
            accumulators(4, 2, accumulator_width=20, coefficient_width=8),
            accumulators(8, 2, accumulator_width=27, coefficient_width=8),
            accumulators(5, 2, (), accumulator_width=24),
            accumulators(16, 4, ("ecp5",), accumulator_width=28),
            accumulators(3, 8, (), accumulator_width=32),
            accumulators(2, 2, accumulator_width=16, coefficient_width=4),
        ],
        bodies("accumulators")
        | {
            "broken_zero": broken(
                "accumulators", Target.PORTABLE, "(zero ? {WIDTH{1'b0}} : old)", "old"
            ),
            "broken_copy": broken(
                "accumulators",
                Target.PORTABLE,
                "for_take[add_place] <= {~taken",
                "for_take[add_place] <= {taken",
            ),
            "broken_bank": broken(
                "accumulators", Target.PORTABLE, "<= {taking, total}", "<= {1'b0, total}"
            ),
            "broken_take": broken(
                "accumulators", Target.VERILATOR, "storage[take_place] <= 0;", ""
            ),
            "broken_high": broken(
                "accumulators", Target.ICE40, "sum[WIDTH-1:LOW]", "sum[WIDTH-1:LOW] & 1"
            ),
        },
    ),
}


@pytest.mark.compiles
@pytest.mark.parametrize("module", BENCHES)
def test_all_bodies_do_the_same(module, tmp_path):
    """Also where Yosys has made cells of a family of them; those with a fault are noticed."""
    bench = BENCHES[module]()
    outcome = run(bench, tmp_path, CYCLES)
    assert min(outcome.compared) > CYCLES / 8
    wrong = {name for name, sizes in outcome.wrong.items() if sizes}
    assert wrong == {name for name in bench.bodies if name.startswith("broken")}, outcome.wrong


def _sums_differ(text, width, folder):
    """Whether two bodies of ``accumulators_sum`` differ for any inputs, by Yosys' SAT solver."""
    one = renamed(body("accumulators_sum", Target.PORTABLE), "portable")
    (folder / "sums.v").write_text(one + renamed(text, "ecp5"), encoding="utf-8")
    script = [
        "read_verilog sums.v",
        *(f"chparam -set WIDTH {width} accumulators_sum_{name}" for name in ("portable", "ecp5")),
        "read_verilog -overwrite -D EQUIV +/ecp5/cells_sim.v",
        "proc",
        "miter -equiv accumulators_sum_portable accumulators_sum_ecp5 both",
        "hierarchy -top both",
        "proc",
        "flatten",
        "sat -prove trigger 0 -verify both",
    ]
    (folder / "sums.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    try:
        run_aside("yosys", ("-q", "sums.ys"), folder)
    except BuildError as error:
        assert "proof" in str(error), error
        return True
    return False


@pytest.mark.compiles
@pytest.mark.parametrize("width", [8, 20, 27])
def test_sum_of_carry_cells(width, tmp_path):
    """Proven for all inputs; one bit of a lookup table more, and there is no proof."""
    text = body("accumulators_sum", Target.ECP5)
    assert not _sums_differ(text, width, tmp_path)
    assert _sums_differ(text.replace("16'hA6AA", "16'hA6AE", 1), width, tmp_path)


@pytest.mark.parametrize("target", [Target.PORTABLE, Target.VERILATOR, Target.ICE40])
@pytest.mark.parametrize("module", BENCHES)
def test_verilog(module, target, tmp_path):
    """Of every body, for sizes of all kinds; those of the other targets consist of cells."""
    for n, size in enumerate(BENCHES[module]().sizes):
        lint(Holder(size.component), f"holder_{n}", tmp_path, target)


def test_every_file_is_a_body():
    """No target gets what is not there, and nothing is there that no target gets."""
    used = {f"{module}.{name}.v" for module, row in BODIES.items() for name in row.values() if name}
    assert used == {path.name for path in FOLDER.glob("*.v")}
    for target in Target:
        assert {path.name for path in sources(BODIES, target)} == {
            f"{module}.{row[target]}.v" for module, row in BODIES.items() if row[target]
        }


def test_the_table_is_documented():
    page = FOLDER.parent / "docs" / "decisions" / "bodies-of-memories.md"
    rows = re.findall(r"^\| `?(\w+)`? \|(.*)\|$", page.read_text(encoding="utf-8"), re.M)
    cells: dict[str, list[str]] = {}
    for name, row in rows:  # the first table is this one
        cells.setdefault(name, [one.strip() for one in row.split("|")])
    assert cells["module"] == list(Target)
    for module, row in BODIES.items():
        assert cells[module] == [name or "" for name in row.values()], module
