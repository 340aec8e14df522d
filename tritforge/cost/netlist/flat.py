"""The mapped accelerator as one flat module that counts how often its cells' outputs change.

Yosys maps the Verilog as :mod:`tritforge.cost.mapping` has it mapped; what it wrote is put
together here, every cell with the kind of block that it is in. Cells become expressions, memories
stay memories: registers those of ``memories.v``, macros those of the native simulation. Outputs
that resemble each other, in block, cell and load, share a counter, up to 64 to a group.
"""

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tritforge.cost.figures import CELL_KINDS
from tritforge.cost.library import Library
from tritforge.cost.mapping import MACRO, content_of, gates_script, mapping_script, place
from tritforge.fpga.errors import BuildError
from tritforge.fpga.toolchain.tools import run_aside
from tritforge.fpga.toolchain.yosys_json import Bit, Cell, Module, read_modules
from tritforge.hw.bodies import Target, sources
from tritforge.hw.verilog import TOP_NAME

__all__ = [
    "COUNTED",
    "MEMORY_MODELS",
    "Group",
    "Netlist",
    "cell_expression",
    "flat_netlist",
    "map_netlist",
]

#: Verilog of what stands for memories in a netlist.
MEMORY_MODELS = (Path(__file__).with_name("memories.v"), *sources([MACRO], Target.VERILATOR))
#: Bits that share a counter: what one operation of a processor counts.
_BITS = 64
#: What a counter counts: changes of cells' outputs; per clock cycle the flip-flops that have an
#: enable and share it with one that changes; of memories the cycles with another address, those
#: with a write, and changes of read data.
COUNTED = ("toggles", "needed clocks", "addresses", "writes", "read data")


@dataclass
class Group:
    """One counter.

    Members
    -------
    what : str
        Of :data:`COUNTED`.
    block : str
        Kind of block, see :func:`tritforge.fpga.fit.structure.kind_of`.
    name : str
        Kind of cell, or name of the memory.
    bits : int
        Outputs, flip-flops, memories or data bits that are counted together.
    pins : Counter
        Input pins of cells that they drive, by kind of cell.
    about : dict
        Of a memory: ``width``, ``depth``, ``answers_at_once``.
    """

    what: str
    block: str
    name: str
    bits: int = 0
    pins: Counter[str] = field(default_factory=Counter)
    about: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        return {
            "what": self.what,
            "block": self.block,
            "name": self.name,
            "bits": self.bits,
            "pins": dict(self.pins),
            "about": self.about,
        }


@dataclass
class Netlist:
    """A flat design.

    Members
    -------
    verilog : str
        Module ``accelerator`` with the ports of the design and ``counts``, 64 bits for each group.
    groups : list of Group
        In the order of ``counts``.
    """

    verilog: str
    groups: list[Group]


def cell_expression(kind: str, pins: Mapping[str, str]) -> str:
    """A cell's function in Verilog, its pins replaced by signals."""
    function = CELL_KINDS[kind][1]
    parts: list[str] = []
    for token in re.findall(r"\w+|[()*+']", function):
        if token == "'":
            parts.append(_inverted(parts))
        elif token in "*+":
            parts.append({"*": " & ", "+": " | "}[token])
        else:
            parts.append(token if token in "()" else pins[token])
    return "".join(parts)


def _inverted(parts: list[str]) -> str:
    """Take the last operand from ``parts``; it inverted."""
    depth = 0
    taken: list[str] = []
    while True:
        part = parts.pop()
        taken.insert(0, part)
        depth += {")": 1, "(": -1}.get(part, 0)
        if depth == 0:
            return "~" + "".join(taken)


def map_netlist(verilog: str, library: Library) -> tuple[dict[str, Module], dict[str, Module]]:
    """Modules of a design before cells took the place of gates, and after; as Yosys writes JSON.

    Raises
    ------
    BuildError
        Yosys is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="tritforge-netlist-") as scratch:
        folder = Path(scratch)
        (folder / "accelerator.v").write_text(verilog, encoding="utf-8")
        (folder / "cells.lib").write_text(library.text, encoding="utf-8")
        # Twice, as writing JSON sorts the design, and what ABC finds depends on the order.
        for name, script in (
            ("gates", gates_script("write_json gates.json")),
            ("cells", mapping_script(after=("write_json cells.json",))),
        ):
            (folder / f"{name}.ys").write_text(script, encoding="utf-8")
            run_aside("yosys", ("-q", f"{name}.ys"), folder)
        try:
            gates, cells = (read_modules(folder / name) for name in ("gates.json", "cells.json"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BuildError("yosys ended well, but did not write what it should have") from error
    return gates, cells


def flat_netlist(
    gates: Mapping[str, Module],
    cells: Mapping[str, Module],
    kinds: Mapping[str, str],
    top: str = TOP_NAME,
) -> Netlist:
    """The design below ``top``, flat and with counters.

    Parameters
    ----------
    gates, cells : dict
        As :func:`map_netlist` returns them. The former say what a flip-flop starts with and which
        of them share an enable, which cells do not tell any more.
    kinds : dict
        Kinds of cells, of :data:`tritforge.cost.figures.CELL_KINDS`, by the library's names.
    """
    return _Flat(gates, cells, kinds, top).netlist()


@dataclass
class _FlipFlop:
    initial: str
    enable: int | None  # a bit of the module before mapping


@dataclass
class _Output:
    block: str
    kind: str
    net: int
    pins: dict[str, int]  # nets of the inputs
    initial: str = "0"
    enable: tuple[int, int] | None = None  # instance, bit


class _Flat:
    def __init__(
        self,
        gates: Mapping[str, Module],
        cells: Mapping[str, Module],
        kinds: Mapping[str, str],
        top: str,
    ) -> None:
        self.modules = cells
        self.kinds = kinds
        self.top = top
        self.parents = [0, 1]  # of nets, 0 and 1 are constants
        self.outputs: list[_Output] = []
        self.memories: list[tuple[str, str, Cell, dict[str, list[int]]]] = []
        self.flip_flops = {
            name: _flip_flops(gates[name], module, kinds)
            for name, module in cells.items()
            if module["cells"]
        }
        self.instances = 0
        self.ports = {
            name: [self.net() for _ in port["bits"]] for name, port in cells[top]["ports"].items()
        }
        self.visit(top, self.ports, (), None)

    # ----- nets

    def net(self) -> int:
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def root(self, net: int) -> int:
        while self.parents[net] != net:
            self.parents[net] = self.parents[self.parents[net]]
            net = self.parents[net]
        return net

    def join(self, first: int, second: int) -> None:
        first, second = sorted((self.root(first), self.root(second)))
        self.parents[second] = first

    def visit(
        self, name: str, outside: Mapping[str, list[int]], path: tuple[str, ...], holds: str | None
    ) -> None:
        """Add a module whose ports stand at nets ``outside``."""
        module = self.modules[name]
        path, block = place(name, path)
        self.instances += 1
        instance = self.instances
        nets: dict[int, int] = {}

        def inside(bit: int | str) -> int:
            if isinstance(bit, str):
                return int(bit == "1")  # what is undefined is 0
            if bit not in nets:
                nets[bit] = self.net()
            return nets[bit]

        for port, about in module["ports"].items():
            for bit, net in zip(about["bits"], outside[port], strict=True):
                self.join(inside(bit), net)
        for label, cell in module["cells"].items():
            ends = {pin: [inside(bit) for bit in bits] for pin, bits in cell["connections"].items()}
            kind = cell["type"]
            if kind in ("$mem_v2", MACRO):
                self.memories.append((block, holds or block, cell, ends))
            elif kind in self.kinds:
                self.add(self.kinds[kind], block, ends, name, instance, cell)
            elif kind in self.modules:
                self.visit(kind, ends, path, content_of(label) if "chunk_memory" in kind else None)
            else:
                raise BuildError(f"the library has no cell for {kind.strip('$_')}")

    def add(
        self,
        kind: str,
        block: str,
        ends: Mapping[str, list[int]],
        module: str,
        instance: int,
        cell: Cell,
    ) -> None:
        pins = {pin: ends[pin][0] for pin in CELL_KINDS[kind][0]}
        one = _Output(block, kind, ends["Q" if kind == "DFF" else "Y"][0], pins)
        if kind == "DFF":
            about = self.flip_flops[module][cell["connections"]["Q"][0]]
            one.initial = about.initial
            if about.enable is not None:
                one.enable = instance, about.enable
        self.outputs.append(one)

    # ----- Verilog

    def signal(self, net: int) -> str:
        net = self.root(net)
        return f"1'b{net}" if net < 2 else f"n{net}"

    def vector(self, nets: list[int]) -> str:
        """Signals side by side, the first of them lowest."""
        return "{" + ", ".join(map(self.signal, reversed(nets))) + "}"

    def netlist(self) -> Netlist:
        ports, wires, body, starts, clocked = self.declared()
        loads: dict[int, Counter[str]] = defaultdict(Counter)
        for one in self.outputs:
            for pin, net in one.pins.items():
                if pin != "CK":
                    loads[self.root(net)][one.kind] += 1
        groups: list[Group] = []
        for group, lines in (*self.counted(loads), *self.counted_memories(loads, body)):
            number = len(groups)
            groups.append(group)
            body += [line.replace("<n>", str(number)) for line in lines]
            body += [
                f"reg [63:0] total_{number} = 0;",
                f"assign counts[{number}] = total_{number};",
            ]
        ports.append(f"output [63:0] counts [0:{max(len(groups), 1) - 1}]")
        text = "\n".join(
            [
                f"module {self.top} (",
                "    " + ",\n    ".join(ports),
                ");",
                *wires,
                *body,
                "initial begin",
                *starts,
                "end",
                "always @(posedge clk) begin",
                *clocked,
                "end",
                "endmodule",
                "",
            ]
        )
        memories = [path.read_text(encoding="utf-8") for path in MEMORY_MODELS]
        return Netlist("\n".join([text, *memories]), groups)

    def declared(self) -> tuple[list[str], list[str], list[str], list[str], list[str]]:
        """Ports, wires, expressions, what flip-flops start with, and what they take."""
        ports, body = [], []
        clock = self.root(self.ports["clk"][0])
        for name, nets in self.ports.items():
            direction = self.modules[self.top]["ports"][name]["direction"]
            ports.append(f"{direction} [{len(nets) - 1}:0] {name}")
            if direction == "output":
                body.append(f"assign {name} = {self.vector(nets)};")
                continue
            for bit, net in enumerate(nets):
                body.append(f"assign {self.signal(net)} = {name}[{bit}];")
        starts, clocked = [], []
        for one in self.outputs:
            name = self.signal(one.net)
            if one.kind == "DFF":
                if self.root(one.pins["CK"]) != clock:
                    raise BuildError("the netlist has a flip-flop on another clock")
                starts.append(f"{name} = 1'b{one.initial};")
                clocked.append(f"{name} <= {self.signal(one.pins['D'])};")
            else:
                pins = {pin: self.signal(net) for pin, net in one.pins.items()}
                body.append(f"assign {name} = {cell_expression(one.kind, pins)};")
        stored = {self.root(one.net) for one in self.outputs if one.kind == "DFF"}
        used = {self.root(net) for net in range(len(self.parents))}
        wires = [f"{'reg' if net in stored else 'wire'} n{net};" for net in sorted(used - {0, 1})]
        return ports, wires, body, starts, clocked

    def counted(self, loads: Mapping[int, Counter[str]]) -> Iterator[tuple[Group, list[str]]]:
        """Counters of cells' outputs, and of clocks that gated flip-flops need."""
        alike: dict[tuple[str, str], list[_Output]] = defaultdict(list)
        gated: dict[str, dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(list))
        for one in self.outputs:
            alike[one.block, one.kind].append(one)
            if one.enable is not None:
                gated[one.block][one.enable].append(one.net)
        for (block, kind), cells in sorted(alike.items()):
            # Beside each other in load, so that a group's mean load is that of its outputs.
            nets = sorted(
                (one.net for one in cells), key=lambda net: sum(loads[self.root(net)].values())
            )
            for start in range(0, len(nets), _BITS):
                yield self.changes("toggles", block, kind, nets[start : start + _BITS], loads, {})
        for block, enables in sorted(gated.items()):
            group = Group("needed clocks", block, "DFF")
            lines, terms = [], []
            for index, nets in enumerate(enables.values()):
                group.bits += len(nets)
                name = f"gated_<n>_{index}"
                lines += [
                    f"wire [{len(nets) - 1}:0] {name} = {self.vector(nets)};",
                    f"reg [{len(nets) - 1}:0] {name}_before = 0;",
                    f"always @(posedge clk) {name}_before <= {name};",
                ]
                terms.append(f"({name} != {name}_before ? 64'd{len(nets)} : 64'd0)")
            yield (
                group,
                [
                    *lines,
                    "always @(posedge clk)",
                    "    total_<n> <= total_<n> + " + "\n        + ".join(terms) + ";",
                ],
            )

    def changes(
        self,
        what: str,
        block: str,
        name: str,
        nets: list[int],
        loads: Mapping[int, Counter[str]],
        about: dict[str, int],
    ) -> tuple[Group, list[str]]:
        """A counter of changes of up to 64 nets."""
        group = Group(what, block, name, len(nets), about=about)
        for net in nets:
            group.pins += loads[self.root(net)]
        high = len(nets) - 1
        return group, [
            f"reg [{high}:0] now_<n>;",
            f"reg [{high}:0] before_<n> = 0;",
            "always @(posedge clk) begin",
            f"    now_<n> = {self.vector(nets)};",
            "    total_<n> = total_<n> + $countones(now_<n> ^ before_<n>);",
            "    before_<n> = now_<n>;",
            "end",
        ]

    def counted_memories(
        self, loads: Mapping[int, Counter[str]], body: list[str]
    ) -> Iterator[tuple[Group, list[str]]]:
        """Counters of memories, which are added to ``body``."""
        alike: dict[tuple[str, str, int, int, bool], list[int]] = defaultdict(list)
        data: dict[tuple[str, str, int, int, bool], list[int]] = defaultdict(list)
        for number, (block, name, cell, ends) in enumerate(self.memories):
            values = {
                key: _value(value) for key, value in cell["parameters"].items() if key in _NUMBERS
            }
            if cell["type"] == "$mem_v2":
                width, depth = values["WIDTH"], values["SIZE"]
                at_once = not values["RD_CLK_ENABLE"]
                if (
                    (values["RD_PORTS"], values["WR_PORTS"]) != (1, 1)
                    or values["OFFSET"]
                    or "1" in cell["parameters"]["INIT"]
                    or self.root(ends["WR_CLK"][0]) != self.root(self.ports["clk"][0])
                ):
                    raise BuildError("the netlist has a memory of another kind")
                parameters = {
                    "WIDTH": width,
                    "DEPTH": depth,
                    "ADDRESS": values["ABITS"],
                    "AT_ONCE": int(at_once),
                }
                wires = {
                    "read_address": ends["RD_ADDR"],
                    "read_enable": ends["RD_EN"],
                    "write_address": ends["WR_ADDR"],
                    "write_enable": ends["WR_EN"],
                    "write_data": ends["WR_DATA"],
                }
                kind, written, read = "register_file", ends["WR_EN"], ends["RD_DATA"]
            else:
                depth = values["DEPTH"]
                width = values["CHUNK"] * values["CHUNKS"]
                at_once = False
                parameters = {
                    key: values[key] for key in ("WIDTH", "CHUNK", "CHUNKS", "DEPTH", "ADDRESS")
                }
                wires = {
                    key: ends[key]
                    for key in ("read_address", "write_address", "write_mask", "write_data")
                }
                kind, written, read = MACRO, ends["write_mask"], ends["read_data"]
            places = wires["read_address"]
            given = ", ".join(f".{key}({value})" for key, value in parameters.items())
            ends_text = ", ".join(f".{key}({self.vector(nets)})" for key, nets in wires.items())
            body += [
                f"wire [{len(read) - 1}:0] data_{number};",
                f"{kind} #({given}) memory_{number} (.clk(clk), {ends_text}, "
                f".read_data(data_{number}));",
                *(
                    f"assign {self.signal(net)} = data_{number}[{bit}];"
                    for bit, net in enumerate(read)
                ),
                f"wire [{len(places) - 1}:0] place_{number} = {self.vector(places)};",
                f"reg [{len(places) - 1}:0] place_{number}_before = 0;",
                f"always @(posedge clk) place_{number}_before <= place_{number};",
                f"wire moves_{number} = place_{number} != place_{number}_before;",
                f"wire writes_{number} = |{self.vector(written)};",
            ]
            key = (block, name, width, depth, at_once)
            alike[key].append(number)
            data[key] += read
        for key, numbers in sorted(alike.items()):
            block, name, width, depth, at_once = key
            about = {"width": width, "depth": depth, "answers_at_once": int(at_once)}
            for what, signal in (("addresses", "moves"), ("writes", "writes")):
                for start in range(0, len(numbers), _BITS):
                    some = numbers[start : start + _BITS]
                    yield (
                        Group(what, block, name, len(some), about=about),
                        [
                            "always @(posedge clk) total_<n> <= total_<n> + $countones({"
                            + ", ".join(f"{signal}_{number}" for number in some)
                            + "});"
                        ],
                    )
            for start in range(0, len(data[key]), _BITS):
                yield self.changes(
                    "read data", block, name, data[key][start : start + _BITS], loads, about
                )


_NUMBERS = frozenset(
    (
        "ABITS",
        "ADDRESS",
        "CHUNK",
        "CHUNKS",
        "DEPTH",
        "OFFSET",
        "RD_CLK_ENABLE",
        "RD_PORTS",
        "SIZE",
        "WIDTH",
        "WR_PORTS",
    )
)


def _value(parameter: str | int) -> int:
    return parameter if isinstance(parameter, int) else int(parameter, 2)


def _flip_flops(gates: Module, cells: Module, kinds: Mapping[str, str]) -> dict[Bit, _FlipFlop]:
    """What is known of a module's flip-flops, by the bit of their output after mapping.

    A flip-flop keeps the name of its output; all else that mapping changes may be named anew.
    """
    starts: dict[Bit, str] = {}
    names: dict[Bit, list[tuple[str, int]]] = defaultdict(list)
    for name, about in gates["netnames"].items():
        initial = about["attributes"].get("init", "")
        for index, bit in enumerate(about["bits"]):
            names[bit].append((name, index))
            if initial[::-1][index : index + 1] == "1":
                starts[bit] = "1"
    after = {
        (name, index): bit
        for name, about in cells["netnames"].items()
        for index, bit in enumerate(about["bits"])
    }
    outputs = {
        cell["connections"]["Q"][0]
        for cell in cells["cells"].values()
        if kinds.get(cell["type"]) == "DFF"
    }
    found: dict[Bit, _FlipFlop] = {}
    for cell in gates["cells"].values():
        if not re.match(r"\$_S?DFF", cell["type"]):
            continue
        bit = cell["connections"]["Q"][0]
        enable = cell["connections"]["E"][0] if "E" in cell["connections"] else None
        flip_flop = _FlipFlop(starts.get(bit, "0"), enable if isinstance(enable, int) else None)
        for name_and_bit in names[bit]:
            if after.get(name_and_bit) in outputs:
                found[after[name_and_bit]] = flip_flop
    if set(found) != outputs:
        raise BuildError("a flip-flop lost its name when the design was mapped")
    return found
