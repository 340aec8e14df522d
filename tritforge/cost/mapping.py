"""Cells and memories of a configuration: its Verilog, mapped by Yosys to a cell library.

Modules stay apart, so that a repeated block is mapped once and every block's share is known. Large
memories become macros (``hw/chunk_memory_storage.chip.v``); small ones that answer at once stay
memories of registers. The result depends on the hardware's sources, library and Yosys alone and is
kept in the cache folder.
"""

import functools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tritforge.common.cache import cached
from tritforge.cost.errors import CostError
from tritforge.cost.library import Library
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit import structure
from tritforge.fpga.fit.structure import kind_of
from tritforge.fpga.toolchain.tools import find, run_aside
from tritforge.hw.bodies import Target
from tritforge.hw.config import Config
from tritforge.hw.verilog import TOP_NAME, generate_verilog, hardware_digest

__all__ = [
    "MACRO",
    "Block",
    "Memory",
    "accelerator_verilog",
    "content_of",
    "gates_script",
    "map_design",
    "mapping_script",
    "place",
]

#: Module that stays a black box: the macro of a large memory.
MACRO = "chunk_memory_storage"
#: Where kinds of blocks are told apart.
_KINDS = Path(structure.__file__)
#: What is done before gates: memories are collected and kept, flip-flops have no initial values,
#: which chips have not either.
_COARSE = (
    "proc -norom",
    "opt_expr",
    "opt_clean",
    "opt -full -nodffe -nosdff",
    "memory -nomap -no-rw-check",
    "opt_clean",
    "alumacc",
    "opt -fast",
    "techmap",
    "opt -fast",
)
#: ABC's commands; the ones that Yosys has by default take ten times as long and save 2 % of area.
_ABC = "+strash;dch;map;topo"


@dataclass(frozen=True)
class Memory:
    """Equal memories of a block.

    Members
    -------
    name : str
        What it holds: trits, activations, program, rows, tables, results, counters, or the block's
        name.
    width, depth : int
        Bits of a word, words.
    count : int
        Of them in the whole design.
    answers_at_once : bool
        Read without a clock edge: registers or latches, never a macro.
    single_port : bool
        Reads and writes share a port.
    """

    name: str
    width: int
    depth: int
    count: int
    answers_at_once: bool
    single_port: bool

    @property
    def bits(self) -> int:
        """Of all of them."""
        return self.width * self.depth * self.count


@dataclass
class Block:
    """All blocks of one kind, without the blocks inside them that have their own entry.

    Members
    -------
    count : int
    cells : Counter
        Library cells of all of them, by name.
    flip_flops, gated_flip_flops : int
        Flip-flops that are clocked in every cycle, and those that have an enable, which clock
        gating serves. Both are among ``cells``.
    memories : list of Memory
    """

    count: int = 0
    cells: Counter[str] = field(default_factory=Counter)
    flip_flops: int = 0
    gated_flip_flops: int = 0
    memories: list[Memory] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "cells": dict(self.cells),
            "flip_flops": self.flip_flops,
            "gated_flip_flops": self.gated_flip_flops,
            "memories": [asdict(memory) for memory in self.memories],
        }


@functools.lru_cache(16)
def accelerator_verilog(config: Config) -> str:
    """The configuration's Verilog, its large memories on macros."""
    return generate_verilog(config, Target.CHIP)


def gates_script(*after: str) -> str:
    """Yosys commands that make gates and memories of ``accelerator.v``."""
    return "\n".join(["read_verilog accelerator.v", f"hierarchy -top {TOP_NAME}", *_COARSE, *after])


def mapping_script(before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> str:
    """Yosys commands that map ``accelerator.v`` to ``cells.lib``; ``before`` stands between gates
    and cells."""
    return "\n".join(
        [
            gates_script(*before),
            "setattr -unset init w:*",
            "dfflibmap -liberty cells.lib",
            f"abc -liberty cells.lib -script {_ABC}",
            "opt_clean",
            *after,
            "",
        ]
    )


def map_design(
    config: Config, library: Library, progress: Callable[[str, float], None] | None = None
) -> dict[str, Block]:
    """Blocks of the accelerator by kind, see :func:`tritforge.fpga.fit.structure.kind_of`.

    Raises
    ------
    CostError
        Yosys is missing, or cannot map the design to the library.
    """
    if progress is not None:
        progress(f"mapping configuration {config.name} to cells", 0.0)
    try:
        tool = find("yosys")
        script = mapping_script(
            ("tee -q -o gates.json stat -json",),
            (
                "tee -q -o cells.json stat -json",
                "tee -q -o memories.il dump t:$mem_v2 t:*chunk_memory*",
            ),
        )
        # Verilog takes longer to generate than its sources to read.
        made_from = [
            hardware_digest(),
            config.identity.encode(),
            *(path.read_bytes() for path in (Path(__file__), _KINDS)),
            *(text.encode() for text in (tool.version, library.text, script)),
        ]

        def build(folder: Path) -> Path:
            blocks = _map(accelerator_verilog(config), library, script)
            made = folder / "cells.json"
            document = {kind: block.to_dict() for kind, block in blocks.items()}
            made.write_text(json.dumps(document), encoding="utf-8")
            return made

        kept = cached("cells", b"\0".join(made_from), build, ".json")
        return _blocks(json.loads(kept.read_text(encoding="utf-8")))
    except BuildError as error:
        raise CostError(
            f"configuration {config.name} cannot be mapped to library {library.name}: {error}"
        ) from error


def _blocks(document: dict[str, Any]) -> dict[str, Block]:
    """What ``Block.to_dict`` gave, by kind."""
    return {
        kind: Block(
            one["count"],
            Counter(one["cells"]),
            one["flip_flops"],
            one["gated_flip_flops"],
            [Memory(**memory) for memory in one["memories"]],
        )
        for kind, one in document.items()
    }


# ----- Yosys


@dataclass
class _Module:
    cells: Counter[str] = field(default_factory=Counter)
    gates: Counter[str] = field(default_factory=Counter)
    memories: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    #: Instances whose name says what they hold, by name and module.
    named: list[tuple[str, str]] = field(default_factory=list)


def _map(verilog: str, library: Library, script: str) -> dict[str, Block]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "accelerator.v").write_text(verilog, encoding="utf-8")
        (folder / "cells.lib").write_text(library.text, encoding="utf-8")
        (folder / "map.ys").write_text(script, encoding="utf-8")
        run_aside("yosys", ("-q", "map.ys"), folder)
        try:
            cells = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
            gates = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
            dump = (folder / "memories.il").read_text(encoding="utf-8")
            modules = {
                _plain(name): _Module(_types(about), _types(gates["modules"][name]))
                for name, about in cells["modules"].items()
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BuildError("yosys ended well, but did not write what it should have") from error
    _read_memories(dump, modules)
    blocks: dict[str, Block] = {}
    _visit(modules, TOP_NAME, (), 1, blocks, library)
    return blocks


def _plain(name: str) -> str:
    """A name without the mark that Yosys puts in front of names of a source."""
    return name.removeprefix("\\")


def _types(about: dict[str, Any]) -> Counter[str]:
    """Cells of a module by type."""
    return Counter({_plain(name): count for name, count in about["num_cells_by_type"].items()})


def _read_memories(dump: str, modules: dict[str, _Module]) -> None:
    """Memory cells, and instances of modules that hold one, from an RTLIL dump."""
    module = _Module()
    parameters: dict[str, int] = {}
    for line in dump.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "module":
            module = modules[_plain(words[1])]
            parameters = {}
        elif words[0] == "cell":
            kind, name = _plain(words[1]), _plain(words[2])
            if kind in ("$mem_v2", MACRO):
                parameters = {}
                module.memories.append((kind, parameters))
            else:
                module.named.append((name, kind))
                parameters = {}
        elif words[0] == "parameter":
            name, value = _plain(words[-2]), words[-1]
            if value.isdigit():
                parameters[name] = int(value)
            elif re.fullmatch(r"\d+'[01]+", value):
                parameters[name] = int(value.split("'")[1], 2)


def _component(module: str) -> str:
    """Name of a block in a path: the module's last name, without parameters and number."""
    name = module.split("\\")[-1] if not module.startswith("$paramod\\") else module.split("\\")[1]
    name = name.split(".")[-1]
    return {"processing_element": "element"}.get(name, re.sub(r"_\d+$", "", name))


def place(module: str, path: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Where a module inside the block at ``path`` stands: its own path, and the kind of block that
    what is in it belongs to."""
    component = _component(module)
    inner = path
    if component not in ("contents", TOP_NAME) and path[-1:] != (component,):
        inner = (*path, component)
    # A memory's register belongs to the block around it.
    return inner, kind_of(("accelerator", *(path if component == "chunk_memory" else inner)))


#: Cells of unmapped designs that store a bit; those with an E before polarities have an enable.
_FLIP_FLOP = re.compile(r"\$_S?DFF(C?E)?_")
_HOLDS = {"trit_memory": "trits", "memory": "activations"}


def _visit(
    modules: dict[str, _Module],
    name: str,
    path: tuple[str, ...],
    times: int,
    blocks: dict[str, Block],
    library: Library,
    holds: str | None = None,
) -> None:
    """Add a module, ``times`` times, and what is inside it."""
    module = modules[name]
    parent = path
    path, kind = place(name, parent)
    block = blocks.setdefault(kind, Block())
    if (
        _component(name) != "chunk_memory" and kind != kind_of(("accelerator", *parent))
    ) or not path:
        block.count = block.count + times if path else 1
    for cell, count in module.cells.items():
        if cell in library.areas:
            block.cells[cell] += times * count
        elif cell in modules:
            continue
        elif cell not in ("$mem_v2", MACRO):
            raise BuildError(f"the library has no cell for {cell.strip('$_')}")
    for gate, count in module.gates.items():
        if found := _FLIP_FLOP.match(gate):
            if found[1]:
                block.gated_flip_flops += times * count
            else:
                block.flip_flops += times * count
    for cell, parameters in module.memories:
        at_once = cell == "$mem_v2" and not parameters.get("RD_CLK_ENABLE", 0)
        block.memories.append(
            Memory(
                holds or kind,
                parameters["WIDTH"],
                parameters["SIZE"] if cell == "$mem_v2" else parameters["DEPTH"],
                times,
                at_once,
                bool(parameters.get("SINGLE_PORT", 0)),
            )
        )
    named = Counter[tuple[str, str]]()
    for instance, inner in module.named:
        named[content_of(instance), inner] += 1
    for (held, inner), count in named.items():
        _visit(modules, inner, path, times * count, blocks, library, held)
    others = Counter({cell: count for cell, count in module.cells.items() if cell in modules})
    others.subtract(Counter(inner for _, inner in module.named))
    for inner, count in others.items():
        if count:
            _visit(modules, inner, path, times * count, blocks, library)


def content_of(instance: str) -> str:
    """What a memory holds, by its instance's name."""
    name = instance.split("$")[0]
    return _HOLDS.get(name, name)
