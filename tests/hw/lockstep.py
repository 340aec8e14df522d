"""Bodies of a component side by side, clocked by Verilator with the same random inputs.

The first of them is the component as it describes itself to Amaranth's simulator. In every cycle
of which the component's contract says anything, all others must give what it gives. Bodies that
were broken on purpose run along; a test that they are found shows that the inputs are good enough.
"""

import ctypes
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Instance
from amaranth.lib import wiring

from tritforge.fpga.run.netlist import bare, with_models
from tritforge.fpga.toolchain.synthesis import SYNTHESES
from tritforge.fpga.toolchain.tools import run_aside
from tritforge.hw.bodies import Target, sources
from tritforge.hw.hierarchy import SharedModules
from tritforge.sim.native import compile_library, verilate

__all__ = ["Bench", "Outcome", "Size", "body", "parameters", "renamed", "run"]

_HARNESS = """
#include <cstdint>
#include "Vlockstep.h"
#include "verilated.h"
#pragma GCC visibility push(default)
extern "C" void lockstep(uint64_t cycles, int sizes, uint64_t* wrong, uint64_t* compared) {
    VerilatedContext context;
    context.randSeed(1);
    Vlockstep top(&context);
    for (uint64_t half = 0; half < 2 * cycles; ++half) {
        top.clk = half & 1;
        top.eval();
    }
    for (int size = 0; size < sizes; ++size) {
        wrong[size] = top.wrong[size];
        compared[size] = top.compared[size];
    }
    top.final();
}
#pragma GCC visibility pop
"""


@dataclass
class Size:
    """A component with one set of parameters. In its Verilog @ stands in front of every signal.

    Members
    -------
    component : Component
    inputs : dict
        What drives an input in the next cycle, where that is not a word of random bits.
    valid : str
        Whether the component's contract says something of this cycle's output.
    declarations : str
        What ``inputs`` and ``valid`` need.
    families : tuple of str
        FPGAs that have such memories.
    start : int
        Cycles until all registers have been loaded, and whatever else has to be.
    """

    component: wiring.Component
    inputs: dict[str, str] = field(default_factory=dict)
    valid: str = "1'b1"
    declarations: str = ""
    families: tuple[str, ...] = ("ice40", "ecp5")
    start: int = 4

    @property
    def widths(self) -> dict[str, int]:
        """Of the inputs."""
        return {
            path[0]: len(value)
            for path, member, value in self.component.signature.flatten(self.component)
            if member.flow == wiring.In
        }

    @property
    def output(self) -> tuple[str, int]:
        """Name and width of the one output."""
        ((path, _, value),) = [
            one
            for one in self.component.signature.flatten(self.component)
            if one[1].flow == wiring.Out
        ]
        return path[0], len(value)


@dataclass
class Bench:
    """A module that is written by hand.

    Members
    -------
    module : str
    sizes : list of Size
    bodies : dict
        Verilog with a module of that name, by name of the body.
    inverted : str
        Body that gives wrong data wherever the contract says nothing.
    """

    module: str
    sizes: list[Size]
    bodies: dict[str, str]
    inverted: str = ""


@dataclass
class Outcome:
    """Of every size the cycles that were compared, and by body the sizes in which it was wrong."""

    compared: list[int]
    wrong: dict[str, list[int]]


def body(module: str, target: Target) -> str:
    """Verilog of a module for a target."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sources([module], target))


def parameters(component: wiring.Component) -> dict[str, int]:
    """Of the module that a component is in Verilog."""
    instance = component.elaborate(SharedModules())
    assert isinstance(instance, Instance)
    return dict(instance.parameters)


def renamed(text: str, suffix: str) -> str:
    """Verilog whose modules have a suffix each."""
    for name in re.findall(r"^module (\w+)", text, re.M):
        text = re.sub(rf"\b{name}\b", f"{name}_{suffix}", text)
    return text


def run(bench: Bench, folder: Path, cycles: int) -> Outcome:
    """Clock all bodies of a bench, those of both families' synthesis (``ice40_netlist``,
    ``ecp5_netlist``) included."""
    names = ["itself", *bench.bodies, *(f"{family}_netlist" for family in SYNTHESES)]
    texts = [renamed(text, name) for name, text in bench.bodies.items()]
    texts += [_itself(size, f"itself_{n}") for n, size in enumerate(bench.sizes)]
    texts += [_netlist(bench, family, folder) for family in SYNTHESES]
    texts.append(_lockstep(bench, names))
    (folder / "lockstep.sv").write_text("\n".join(texts), encoding="utf-8")
    (folder / "harness.cpp").write_text(_HARNESS, encoding="utf-8")
    made = folder / "made"
    made.mkdir()
    verilate(made, "lockstep", [folder / "lockstep.sv"], "-DUNDEFINED_COLLISIONS")
    jobs = [(path, [f"-I{made}"]) for path in (*made.glob("*.cpp"), folder / "harness.cpp")]
    library = ctypes.CDLL(str(compile_library(jobs, folder, "lockstep", lambda *_: None, False)))
    wrong, compared = ((ctypes.c_uint64 * len(bench.sizes))() for _ in range(2))
    library.lockstep(ctypes.c_uint64(cycles), len(bench.sizes), wrong, compared)
    return Outcome(
        list(compared),
        {
            name: [n for n, bits in enumerate(wrong) if bits >> index & 1]
            for index, name in enumerate(names)
        },
    )


def _itself(size: Size, name: str) -> str:
    """A component as Amaranth's simulator has it."""
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    return verilog.convert(size.component, name=name, emit_src=False, strip_internal_attrs=True)


def _named(text: str, n: int) -> str:
    """Verilog with the names of size ``n`` in place of those behind @."""
    return re.sub(r"@(?=\w)", f"s{n}_", text)


def _instance(module: str, size: Size, n: int, out: str, given: bool) -> str:
    """The module's instance at the signals of size ``n``."""
    values = ", ".join(f".{name}({value})" for name, value in parameters(size.component).items())
    ports = [f".{name}(s{n}_{name})" for name in size.widths]
    return (
        f"{module} {f'#({values}) ' if given else ''}{out}_of_{n} "
        f"(.clk(clk), {', '.join(ports)}, .{size.output[0]}(s{n}_{out}));"
    )


def _netlist(bench: Bench, family: str, folder: Path) -> str:
    """All sizes of a module, synthesized for a family, with models of its cells."""
    name = f"{family}_netlist"
    ports, instances = ["input clk"], []
    for n, size in enumerate(bench.sizes):
        if family in size.families:
            ports += [f"input [{width - 1}:0] s{n}_{key}" for key, width in size.widths.items()]
            ports.append(f"output [{size.output[1] - 1}:0] s{n}_{name}")
            instances.append(_instance(bench.module, size, n, name, True))
    text = f"module {name}({', '.join(ports)});\n" + "\n".join(instances) + "\nendmodule\n"
    script = (
        f"read_verilog {name}.v; {SYNTHESES[family].command} -top {name}; write_json {name}.json"
    )
    (folder / f"{name}.v").write_text(body(bench.module, Target(family)) + text, encoding="utf-8")
    run_aside("yosys", ("-q", "-p", script), folder)
    module = json.loads((folder / f"{name}.json").read_bytes())["modules"][name]
    return with_models(bare(module), family, name)


def _lockstep(bench: Bench, names: list[str]) -> str:
    """The module with all bodies, what drives them, and what compares them."""
    lines, clocked, checks = [], [], []
    places: dict[str, list[str]] = {family: [] for family in SYNTHESES}
    for n, size in enumerate(bench.sizes):
        for key, width in size.widths.items():
            words = ", ".join(["$urandom"] * -(-width // 32))
            lines.append(f"reg [{width - 1}:0] s{n}_{key} = 0;")
            value = _named(size.inputs.get(key, f"{width}'({{{words}}})"), n)
            clocked.append(f"s{n}_{key} <= {value};")
        _, width = size.output
        valid = f"s{n}_valid"
        lines.append(f"wire {valid};")
        lines.append(_named(size.declarations, n))
        lines.append(f"assign {valid} = {_named(size.valid, n)};")
        checks.append(f"if (cycle > {size.start}) begin")
        checks.append(f"if ({valid}) compared[{n}] <= compared[{n}] + 1;")
        for index, name in enumerate(names):
            family = name.removesuffix("_netlist")
            if name.endswith("_netlist") and family not in size.families:
                continue
            lines.append(f"wire [{width - 1}:0] s{n}_{name};")
            if name.endswith("_netlist"):
                ports = [f".s{n}_{key}(s{n}_{key})" for key in size.widths]
                places[family] += [*ports, f".s{n}_{name}(s{n}_{name})"]
            elif name == "itself":
                unreset = _instance(f"itself_{n}", size, n, name, False)
                lines.append(unreset.replace("(.clk(clk)", "(.clk(clk), .rst(1'b0)"))
            else:
                lines.append(_instance(f"{bench.module}_{name}", size, n, name, True))
            expected, when = f"s{n}_itself", valid
            if name == bench.inverted:
                expected, when = f"(s{n}_itself ^ {{{width}{{!{valid}}}}})", "1"
            checks.append(f"if ({when} && s{n}_{name} != {expected}) wrong[{n}][{index}] <= 1;")
        checks.append("end")
    count = len(bench.sizes)
    return "\n".join(
        [
            "module lockstep(input clk,",
            f"    output reg [63:0] wrong [0:{count - 1}],",
            f"    output reg [63:0] compared [0:{count - 1}]);",
            "reg [31:0] cycle = 0;",
            *lines,
            *(
                f"{family}_netlist {family}_of_all (.clk(clk), {', '.join(ports)});"
                for family, ports in places.items()
            ),
            "always @(posedge clk) begin",
            "cycle <= cycle + 1;",
            *clocked,
            *checks,
            "end",
            "endmodule",
            "",
        ]
    )
