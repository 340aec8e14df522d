"""What a board's core consists of before synthesis, block by block: counted in its RTLIL.

Registers, multipliers and memories are exact; everything else is counted in bits of operators,
which is what lookup tables are proportional to.
"""

import functools
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.back import rtlil

from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit.memory_mapping import Memory, map_memory
from tritforge.fpga.link.core import CORE_NAME, BoardCore
from tritforge.fpga.platform.board import Board
from tritforge.fpga.toolchain.tools import run_aside
from tritforge.hw.bodies import Target, sources
from tritforge.hw.config import Config
from tritforge.hw.hierarchy import SharedModules
from tritforge.hw.program import row_layout

__all__ = ["BLOCKS", "TERMS", "Block", "core_structure", "kind_of", "structure"]

#: Kinds of blocks, by what their path begins with; the longest counts. Others belong to the block
#: that they are in.
BLOCKS: dict[str, str] = {
    "": "board",
    "accelerator": "top",
    "cluster": "cluster",
    "cluster.element": "element",
    "cluster.element.accumulators": "accumulators",
    "cluster.walker": "walker",
    "cluster.zero_skip": "zero skip",
    "cluster.scaler": "scaler",
    "cluster.trit_memory": "memories",
    "activation_slice": "slice",
    "activation_slice.memory": "memories",
    "activation_slice.merge": "merge",
    "sequencer": "sequencer",
    "drain": "drain",
    "counters": "counters",
    "write_path": "top",
    "write_path.requantizer": "requantizer",
    "write_path.rows": "memories",
    "write_path.activation_table.tables": "memories",
    "host": "host port",
    "host.buffer": "packet buffer",
    "host.unpacker": "unpacker",
    "writes": "top",
    "reads": "top",
    "program_memory": "top",
    "program_memory.program": "memories",
    "results": "memories",
}
#: What is counted, in bits where nothing else is said.
TERMS = (
    "block",  # 1 for each of the kind
    "adders",  # additions, subtractions and comparisons of size, each
    "adder bits",  # of their results, or of what is compared
    "comparison bits",  # of what is compared for equality
    "constant bits",  # of what is compared with a constant
    "logic bits",
    "multiplexer bits",  # of every choice between two values
    "setting bits",  # of every choice whether a constant applies
    "shift bits",  # of the result, times those of the distance
    "register bits",
    "banked bits",  # chosen between memory cells behind one another
    "memory bits",  # of memories that become flip-flops
)


@dataclass
class Block:
    """All blocks of one kind.

    Members
    -------
    terms : Counter
        As :data:`TERMS`, of all of them together.
    resources : Counter
        ``flip_flops``, ``block_rams``, ``sprams``, ``dsps``, ``distributed_rams``.
    """

    terms: Counter[str] = field(default_factory=Counter)
    resources: Counter[str] = field(default_factory=Counter)


def kind_of(path: Iterable[str]) -> str:
    """Kind of the block at a path from the core, as instance names without numbers.

    ``accelerator`` in front and wrappers are left out where something follows.
    """
    parts = [re.sub(r"[_$]\d+$", "", part) for part in path if part != "contents"]
    if len(parts) > 1 and parts[0] == "accelerator":
        parts = parts[1:]
        if parts[0] not in BLOCKS:
            return BLOCKS["accelerator"]
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in BLOCKS:
            return BLOCKS[name]
    return BLOCKS[""]


@functools.lru_cache(64)
def structure(config: Config, family: str, divisor: int, counters: bool) -> dict[str, Block]:
    """Blocks of a board's core by kind.

    Parameters
    ----------
    config : Config
    family : str
        Of :data:`tritforge.fpga.platform.board.FAMILIES`.
    divisor : int
        Clock cycles per bit of the UART.
    counters : bool
        As for :class:`tritforge.hw.top.Accelerator`.
    """
    modules = _modules(config, divisor, counters)
    blocks: dict[str, Block] = {kind: Block() for kind in BLOCKS.values()}
    visits: Counter[tuple[str, tuple[str, ...]]] = Counter({(CORE_NAME, ()): 1})
    while visits:
        (name, path), times = visits.popitem()
        module = modules[name]
        block = blocks[kind_of(path)]
        for term, count in module.terms.items():
            block.terms[term] += times * count
        block.terms["block"] += times * (path == () or kind_of(path) != kind_of(path[:-1]))
        block.resources["flip_flops"] += times * module.terms["register bits"]
        for factors in module.multipliers:
            block.resources["dsps"] += times * _multipliers(family, *factors)
        for memory in module.memories:
            _add_memory(block, family, memory, times)
        for cell, instance, parameters in module.cells:
            inner = (*path, re.sub(r"[_$]\d+$", "", instance))
            if cell in modules:
                visits[cell, inner] += times
            else:
                used = _row_bits(config) if instance == "rows" else ()
                _add_instance(blocks[kind_of(inner)], family, cell, parameters, times, used)
    return blocks


def core_structure(board: Board, config: Config) -> dict[str, Block]:
    """:func:`structure` of what a board gets at its own clock."""
    return structure(config, board.family, board.clocking().divisor, board.counters)


@dataclass
class _Module:
    terms: Counter[str] = field(default_factory=Counter)
    multipliers: list[tuple[int, int, int]] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    cells: list[tuple[str, str, dict[str, int]]] = field(default_factory=list)


# ----- memories and multipliers


def _add_memory(block: Block, family: str, memory: Memory, times: int) -> None:
    mapped = map_memory(family, memory)
    if mapped.resource == "registers":
        block.terms["memory bits"] += times * mapped.count
        block.resources["flip_flops"] += times * mapped.count
        return
    block.resources[mapped.resource] += times * mapped.count
    block.terms["banked bits"] += times * (mapped.banks - 1) * memory.width
    if mapped.resource == "distributed_rams" and memory.read == "sync":
        block.terms["register bits"] += times * memory.width
        block.resources["flip_flops"] += times * memory.width


def _row_bits(config: Config) -> tuple[tuple[int, int], ...]:
    """Bits of a row-memory entry that mean something; every lane fills whole port words."""
    size = row_layout(config).size
    return tuple(
        (lane * config.row_entry_width, lane * config.row_entry_width + size)
        for lane in range(config.drain_width)
    )


def _add_instance(
    block: Block,
    family: str,
    cell: str,
    parameters: dict[str, int],
    times: int,
    used: tuple[tuple[int, int], ...],
) -> None:
    """A module that is written in Verilog by hand."""
    if cell == "chunk_memory":
        width, single = parameters["WIDTH"], parameters["SINGLE_PORT"]
        _add_memory(
            block,
            family,
            Memory(
                parameters["CHUNKS"] * parameters["CHUNK"],
                parameters["DEPTH"],
                parameters["CHUNK"],
                style="huge" if single else "auto",
                used=used or ((0, width),),
            ),
            times,
        )
        registers = parameters["ADDRESS"] if parameters["REGISTER_ADDRESS"] else width
        block.terms["multiplexer bits"] += times * parameters["ADDRESS"] * bool(single)
        block.terms["register bits"] += times * registers
        block.resources["flip_flops"] += times * registers
    elif cell == "lookup_memory":
        _add_memory(block, family, _lookup(family, parameters["WIDTH"], parameters["DEPTH"]), times)
    else:
        _add_verilog(block, family, cell, tuple(parameters.items()), times)


def _lookup(family: str, width: int, depth: int) -> Memory:
    """A memory that answers at once; an iCE40 has block RAM of the other clock edge for it."""
    if family == "ice40":
        return Memory(width, depth, width, "sync", "block")
    return Memory(width, depth, width, "async")


def _add_verilog(
    block: Block, family: str, cell: str, parameters: tuple[tuple[str, int], ...], times: int
) -> None:
    """A module that Yosys has to read."""
    block.terms["block"] += times
    for module in _verilog(family, cell, parameters):
        for term, count in module.terms.items():
            block.terms[term] += times * count
        block.resources["flip_flops"] += times * module.terms["register bits"]
        for memory in module.memories:
            _add_memory(block, family, memory, times)


@functools.lru_cache(64)
def _verilog(family: str, name: str, parameters: tuple[tuple[str, int], ...]) -> list[_Module]:
    """A module that is written in Verilog by hand, as the family's synthesis reads it."""
    files = sources([name], Target(family))
    values = " ".join(f"-chparam {key} {value}" for key, value in parameters)
    script = "\n".join(
        [
            *(f"read_verilog {file.name}" for file in files),
            f"hierarchy -top {name} {values}",
            "proc",
            "flatten",
            "opt_clean",
            "memory_dff -no-rw-check",
            "memory_collect",
            "opt_clean",
            "write_rtlil read.il",
            "",
        ]
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in files:
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "read.ys").write_text(script, encoding="utf-8")
        run_aside("yosys", ("read.ys",), folder)
        try:
            return list(_read((folder / "read.il").read_text(encoding="utf-8")).values())
        except FileNotFoundError as error:
            raise BuildError("yosys ended well, but did not write what it should have") from error


#: Of every family the factors' most bits, and how many of a wider one each part takes.
_FACTORS = {"ecp5": (18, 18, 0), "ice40": (16, 15, 11)}


def _multipliers(family: str, first: int, second: int, result: int) -> int:
    """Hardware multipliers of a product, by Yosys' ``mul2dsp``."""
    most, part, least_result = _FACTORS[family]
    if min(first, second) < 2 or result < least_result:
        return 0
    return (1 + max(0, -(-(first - most) // part))) * (1 + max(0, -(-(second - most) // part)))


# ----- RTLIL


def _modules(config: Config, divisor: int, counters: bool) -> dict[str, _Module]:
    shared = SharedModules()
    core = BoardCore(config, divisor=divisor, counters=counters)
    found = _read(rtlil.convert(core, name=CORE_NAME, platform=shared, emit_src=False))
    while pending := [name for name in shared.modules if name not in found]:
        for name in pending:
            found |= _read(
                rtlil.convert(shared.modules[name], name=name, platform=shared, emit_src=False)
            )
    return found


_NUMBER = re.compile(r"\d+")
_UNDEFINED = re.compile(r"\d+'x+")
_LOGIC = ("$and", "$or", "$xor", "$not", "$reduce_or", "$reduce_and", "$reduce_bool", "$reduce_xor")


def _read(text: str) -> dict[str, _Module]:
    """Modules of an RTLIL text, by name."""
    modules: dict[str, _Module] = {}
    lines = iter(text.splitlines())
    style = "auto"
    module = _Module()
    widths: dict[str, int] = {}
    storages: dict[str, dict[str, int]] = {}
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("module "):
            module, widths, storages = _Module(), {}, {}
            modules[stripped.split()[1].lstrip("\\")] = module
        elif stripped.startswith("wire "):
            parts = stripped.split()
            widths[parts[-1]] = int(parts[parts.index("width") + 1]) if "width" in parts else 1
        elif stripped.startswith("memory "):
            parts = stripped.split()
            storages[parts[-1]] = {
                "width": int(parts[parts.index("width") + 1]),
                "depth": int(parts[parts.index("size") + 1]),
                "sync": 1,
            }
        elif stripped.startswith("attribute \\ram_style "):
            style = stripped.split()[-1].strip('"')
        elif stripped.startswith("cell "):
            _cell(module, stripped.split(), lines, widths, storages, style)
            style = "auto"
        elif stripped.startswith("process "):
            _process(module, lines, widths)
        elif stripped == "end":  # of a module: cells and processes end where they are read
            for one in storages.values():
                module.memories.append(
                    Memory(
                        one["width"], one["depth"], one["width"], "sync" if one["sync"] else "async"
                    )
                )
            storages = {}
    return modules


def _cell(
    module: _Module,
    head: list[str],
    lines: Iterable[str],
    widths: dict[str, int],
    storages: dict[str, dict[str, int]],
    style: str,
) -> None:
    kind, name = head[1], head[2]
    parameters: dict[str, int] = {}
    ports: dict[str, str] = {}
    memory = ""
    for line in lines:
        words = line.split(None, 2)
        if words[0] == "end":
            break
        if words[0] == "parameter":
            if words[1] == "\\MEMID":
                memory = words[2].strip('"').replace("\\\\", "\\")
            elif words[1] == "signed":
                words = line.split(None, 3)[1:]
            if _NUMBER.fullmatch(words[2]):
                parameters[words[1].lstrip("\\")] = int(words[2])
            elif "'" in words[2]:
                value = words[2].split("'")[1]
                parameters[words[1].lstrip("\\")] = int(value, 2) if set(value) <= {"0", "1"} else 0
        elif words[0] == "connect":
            ports[words[1]] = words[2]
    terms = module.terms
    first, second, result = (parameters.get(key, 0) for key in ("A_WIDTH", "B_WIDTH", "Y_WIDTH"))
    constant = any(_constant(ports.get(port, "")) for port in ("\\A", "\\B"))
    if kind in ("$add", "$sub", "$neg"):
        terms["adders"] += 1
        terms["adder bits"] += result
    elif kind in ("$lt", "$le", "$gt", "$ge"):
        terms["adders"] += 1
        terms["adder bits"] += max(first, second)
    elif kind in ("$eq", "$ne"):
        terms["constant bits" if constant else "comparison bits"] += max(first, second)
    elif kind in _LOGIC:
        terms["logic bits"] += first if kind.startswith("$reduce") else result
    elif kind == "$mux" and not any(_UNDEFINED.fullmatch(ports[port]) for port in ("\\A", "\\B")):
        terms["setting bits" if constant else "multiplexer bits"] += parameters["WIDTH"]
    elif kind in ("$shift", "$shr", "$sshr", "$shl", "$sshl", "$shiftx"):
        if not _constant(ports["\\B"]):
            terms["shift bits"] += result * second
    elif kind in ("$dff", "$dffe", "$sdff", "$sdffe"):
        terms["register bits"] += parameters["WIDTH"]
    elif kind == "$mul" and not constant:
        module.multipliers.append((first, second, result))
    elif kind == "$mem_v2":
        reads = "sync" if parameters["RD_CLK_ENABLE"] else "async"
        module.memories += parameters["RD_PORTS"] * [
            Memory(parameters["WIDTH"], parameters["SIZE"], parameters["WIDTH"], reads, style)
        ]
    elif kind == "\\CCU2C":  # two bits of a sum
        terms["adder bits"] += 2
    elif kind == "$memrd_v2":
        storages[memory]["sync"] = parameters["CLK_ENABLE"]
    elif not kind.startswith("$"):  # an instance
        module.cells.append((kind.lstrip("\\"), name.lstrip("\\"), parameters))


def _constant(value: str) -> bool:
    return bool(re.fullmatch(r"\d+'[01x]*|\{ *\}", value.strip()))


def _process(module: _Module, lines: Iterable[str], widths: dict[str, int]) -> None:
    """Assignments that a condition chooses are multiplexers."""
    depth = 0
    for line in lines:
        words = line.split(None, 1)
        if not words:
            continue
        if words[0] == "switch":
            depth += 1
            module.terms["constant bits"] += max(0, _width(words[1], widths) - 1)
        elif words[0] == "end":
            if depth == 0:
                return
            depth -= 1
        elif words[0] == "assign" and depth:
            target, value = _split(words[1])
            if _UNDEFINED.fullmatch(value):
                continue
            term = "setting bits" if _constant(value) else "multiplexer bits"
            module.terms[term] += _width(target, widths)


def _split(text: str) -> tuple[str, str]:
    """Target and value of an assignment."""
    if text.startswith("{"):
        end = text.index("}") + 1
        return text[:end], text[end:].strip()
    match = re.match(r"(\S+(?: \[[\d:]+\])?) (.*)", text)
    assert match is not None, text
    return match[1], match[2]


def _width(signal: str, widths: dict[str, int]) -> int:
    signal = signal.strip()
    if signal.startswith("{"):
        return sum(
            _width(part, widths)
            for part in re.findall(r"\d+'[01x-]+|[\\$]\S+(?: \[[\d:]+\])?", signal[1:-1])
        )
    if match := re.fullmatch(r"\S+ \[(\d+)(?::(\d+))?\]", signal):
        return int(match[1]) - int(match[2] or match[1]) + 1
    if match := re.match(r"(\d+)'", signal):
        return int(match[1])
    return widths.get(signal, 1)
