import itertools
import re
from collections import Counter
from importlib.resources import files
from types import SimpleNamespace

import pytest

from tritforge.cost.errors import CostError
from tritforge.cost.figures import CELL_KINDS
from tritforge.cost.library import built_in_library
from tritforge.cost.mapping import map_design
from tritforge.cost.netlist.activity import load_energy, summarize, switching_activity
from tritforge.cost.netlist.flat import Group, cell_expression, flat_netlist, map_netlist
from tritforge.cost.netlist.simulator import NetlistLink, compile_counting
from tritforge.cost.technology_file import load_technology
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.hw import protocol
from tritforge.hw.presets import load_config
from tritforge.model_export.training.digits import digits_data

#: What the cells are called after, of the pins in their order.
FUNCTIONS = {
    "INV": lambda a: not a,
    "BUF": lambda a: a,
    "NAND2": lambda a, b: not (a and b),
    "NAND3": lambda a, b, c: not (a and b and c),
    "NOR2": lambda a, b: not (a or b),
    "AND2": lambda a, b: a and b,
    "OR2": lambda a, b: a or b,
    "XOR2": lambda a, b: a != b,
    "XNOR2": lambda a, b: a == b,
    "AOI21": lambda a, b, c: not ((a and b) or c),
    "OAI21": lambda a, b, c: not ((a or b) and c),
    "MUX2": lambda a, b, s: b if s else a,
}
#: Runs in eights of cycles: a counter, a ring of four with an enable, a macro and a register file.
CIRCUIT = """
module accelerator(
    input clk, input rst, input [32:0] commands__payload, input commands__valid,
    output commands__ready, output [32:0] results__payload, output results__valid,
    input results__ready, output [7:0] probe);
    reg [2:0] count = 0;
    reg [3:0] ring = 4'b0011;
    reg [3:0] few [0:3];
    wire [3:0] data;
    assign commands__ready = 1;
    assign results__valid = count == 7;
    assign results__payload = {1'b1, 20'd0, few[count[1:0]], data, ring};
    assign probe = 0;
    always @(posedge clk) begin
        count <= count + 1;
        if (count == 3) ring <= {ring[2:0], ~ring[3]};
        if (count[0]) few[count[2:1]] <= ring;
    end
    chunk_memory_storage #(.WIDTH(4), .CHUNK(4), .CHUNKS(1), .DEPTH(8), .ADDRESS(3)) macro (
        .clk(clk), .read_address(count), .read_data(data), .write_address(3'd2),
        .write_mask(count == 5), .write_data(ring));
endmodule
(* blackbox *)
module chunk_memory_storage #(
    parameter WIDTH = 1, parameter CHUNK = 1, parameter CHUNKS = 1, parameter DEPTH = 2,
    parameter ADDRESS = 1
) (
    input clk, input [ADDRESS-1:0] read_address, output [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address, input [CHUNKS-1:0] write_mask,
    input [CHUNKS*CHUNK-1:0] write_data);
endmodule
"""


@pytest.fixture(scope="module")
def technology():
    return load_technology("45nm")


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_cell_is_what_it_is_called_after(kind):
    pins = CELL_KINDS[kind][0]
    text = cell_expression(kind, {pin: f"({pin})" for pin in pins})
    for values in itertools.product((0, 1), repeat=len(pins)):
        found = eval(text, {"__builtins__": {}}, dict(zip(pins, values, strict=True))) & 1
        assert found == FUNCTIONS[kind](*values), values


def test_every_kind_of_cell_is_tested():
    assert set(FUNCTIONS) | {"DFF"} == set(CELL_KINDS)


@pytest.fixture(scope="module")
def circuit(technology, tmp_path_factory):
    """The circuit after a first answer, its netlist, and what that answer was."""
    kinds = {cell.cell: kind for kind, cell in technology.cells.items()}
    netlist = flat_netlist(*map_netlist(CIRCUIT, built_in_library(technology)), kinds)
    library = compile_counting(netlist, tmp_path_factory.mktemp("circuit"), lambda *_: None)
    with NetlistLink(load_config("tiny"), library) as link:
        first = link.exchange([], 1)
        yield link, netlist, first


def _counted(link, what, name):
    """Of groups alike: how many bits, and what was counted."""
    chosen = [
        number
        for number, group in enumerate(link.groups)
        if (group.what, group.name) == (what, name)
    ]
    return (
        sum(link.groups[number].bits for number in chosen),
        int(sum(link.counts[number] for number in chosen)),
    )


@pytest.mark.compiles
def test_counts_of_a_circuit_are_exact(circuit):
    link, netlist, first = circuit
    assert link.groups == netlist.groups
    assert link.counted_cycles == 0 and not link.counts.any()  # nothing has run
    run = [protocol.run(0, 1).words()]
    second = link.exchange(run, 1)
    assert link.counted_cycles == 8
    # The counter's bits change 8, 4 and 2 times, the ring one bit.
    assert _counted(link, "toggles", "DFF") == (7, 15)
    assert _counted(link, "needed clocks", "DFF") == (4, 4)
    # Both memories get another address in every cycle; the macro is written once, the other in
    # every second cycle.
    assert _counted(link, "addresses", "top") == (2, 16)
    assert _counted(link, "writes", "top") == (2, 5)
    # The ring begins with the value that it is given and takes a step in eight cycles.
    ring = [answer[0][0] & 15 for answer in (first, second)]
    states = [0b0011, 0b0111, 0b1111, 0b1110, 0b1100, 0b1000, 0b0000, 0b0001]
    assert ring[1] == states[(states.index(ring[0]) + 1) % 8]
    assert ring[0] == states[states.index(0b0011) + 2]  # 8 cycles of reset, 8 to the answer
    before = link.counts.copy()
    link.exchange([protocol.status().words()], 1)
    assert (link.counts == before).all()  # counted are runs alone


@pytest.mark.compiles
def test_a_circuit_needs_what_it_changes(circuit, technology):
    link, netlist, _ = circuit
    assert Counter(group.what for group in netlist.groups)["needed clocks"] == 1
    told = summarize(link.groups, link.counts.tolist(), link.counted_cycles, technology).to_json()
    block = told["blocks"]["top"]
    assert list(told["blocks"]) == ["top"] and block == told["total"]
    assert (block["flip_flops"], block["gated_flip_flops"]) == (7, 4)
    clock = technology.cells["DFF"].clock_energy.typical
    cycles = link.counted_cycles
    assert block["energy_pj"]["clock"]["typical"] == pytest.approx(7 * cycles * clock)
    assert block["clock_gating_saves_pj"]["typical"] == pytest.approx(
        (4 * cycles - block["needed_clocks"]) * clock
    )
    assert {
        (one["width_bits"], one["depth"], one["answers_at_once"]) for one in told["memories"]
    } == {(4, 8, False), (4, 4, True)}


def test_energy_by_hand(technology):
    stored = {"width": 4, "depth": 8, "answers_at_once": 1}
    groups = [
        Group("toggles", "walker", "NAND2", 4, Counter({"INV": 4, "DFF": 8})),
        Group("toggles", "walker", "DFF", 2, Counter({"NAND2": 2})),
        Group("needed clocks", "walker", "DFF", 1),
        Group("read data", "walker", "walker", 8, Counter({"MUX2": 8}), stored),
        Group("addresses", "walker", "walker", 2, about=stored),
        Group("writes", "walker", "walker", 2, about=stored),
    ]
    told = summarize(groups, [10, 6, 3, 5, 4, 7], 20, technology).to_json()
    energy = told["blocks"]["walker"]["energy_pj"]
    half = 0.5 * 1.1**2 * 1e-3
    # One NAND2 drives an inverter and two flip-flops, one flip-flop a NAND2.
    expected = {
        "logic": 10 * (1.48e-3 + half * (1.70 + 2 * 0.95)),
        "registers": 6 * (4.38e-3 + half * 1.6),
        "memory_outputs": 5 * half * 1.27,
        "clock": 20 * 2 * 7.45e-3,
    }
    expected["all"] = sum(expected.values())
    assert {part: band["typical"] for part, band in energy.items()} == pytest.approx(expected)
    low = 0.5 * 0.9**2 * 1e-3
    assert energy["logic"]["low"] == pytest.approx(10 * (0.23e-3 + low * (1.70 + 2 * 0.95)))
    assert told["blocks"]["walker"]["clock_gating_saves_pj"]["typical"] == pytest.approx(
        (20 * 1 - 3) * 7.45e-3
    )
    assert told["blocks"]["walker"]["toggle_rate"] == pytest.approx(16 / (20 * 6))
    assert told["memories"] == [
        {
            "block": "walker",
            "name": "walker",
            "width_bits": 4,
            "depth": 8,
            "count": 2,
            "answers_at_once": True,
            "reads": 4,
            "writes": 7,
            "read_bit_toggles": 5,
            "changed_share": 5 / 16,
        }
    ]


def test_load_is_charge_times_half_the_voltage(technology):
    assert load_energy({"INV": 3}, technology).typical == pytest.approx(3 * 1.70e-3 * 1.1**2 / 2)
    assert load_energy({}, technology).high == 0


@pytest.mark.compiles
def test_streamed_image_is_refused(technology):
    image = SimpleNamespace(
        memory=SimpleNamespace(schedule=object()),
        network=SimpleNamespace(name="wide"),
        config=SimpleNamespace(name="tiny"),
    )
    with pytest.raises(
        CostError,
        match=re.escape(
            "network wide is streamed through configuration tiny; switching activity is of "
            "networks that stay in its memories"
        ),
    ):
        switching_activity(image, [], technology)


@pytest.mark.compiles
def test_sky130_loads():
    technology = load_technology("sky130")
    assert technology["voltage"].typical == 1.8
    assert technology["clock"].typical == 100
    assert {(one.words, one.width) for one in technology.macros} == {
        (1024, 8),
        (256, 32),
        (512, 32),
    }
    older = load_technology("45nm")
    for kind, cell in technology.cells.items():
        assert cell.energy.typical > older.cells[kind].energy.typical
        assert cell.area.typical > 4 * older.cells[kind].area.typical
        assert cell.leakage.high < older.cells[kind].leakage.low


@pytest.mark.slow
def test_sky130_maps():
    technology = load_technology("sky130")
    library = built_in_library(technology)
    blocks = map_design(load_config("tiny"), library)
    assert sum(block.cells["sky130_fd_sc_hd__dfxtp_1"] for block in blocks.values()) == sum(
        block.flip_flops + block.gated_flip_flops for block in blocks.values()
    )


@pytest.mark.compiles
@pytest.mark.slow
def test_digits_network_runs_on_the_netlist(technology, tmp_path):
    train, _, test, _ = digits_data()
    checkpoint = tmp_path / "digits.pt"
    checkpoint.write_bytes((files("tritforge") / "data" / "digits_ttq.pt").read_bytes())
    image = export(checkpoint, "zoo:digits", train[:256], "tiny", tmp_path / "image").image
    # Raises where integers or cycles are not the models'.
    told = switching_activity(image, read_inputs(image, test[:2]).codes, technology).to_json()
    assert told["images"] == 2
    assert 0 <= told["counted_cycles"] - told["cycles"] < 100
    blocks = map_design(image.config, built_in_library(technology))
    for kind, block in told["blocks"].items():
        assert block["cells"] == blocks[kind].cells.total()
        assert block["flip_flops"] == blocks[kind].flip_flops + blocks[kind].gated_flip_flops
        assert block["gated_flip_flops"] == blocks[kind].gated_flip_flops
    assert set(told["blocks"]) == {kind for kind, block in blocks.items() if block.cells}
    # What waits for the host does not change while a program runs.
    assert told["blocks"]["unpacker"]["toggle_rate"] < 1e-3
    assert 0.02 < told["total"]["toggle_rate"] < 0.2
    trits = next(one for one in told["memories"] if one["name"] == "trits")
    assert trits["reads"] > 0 and trits["writes"] == 0
