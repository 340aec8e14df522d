"""Switching activity: a check on the event model that does not count events.

The accelerator, mapped to a technology's cells, runs a network in simulation; changes of the cells'
outputs are counted and turned into energy with the same cell figures that area comes from. The run
is refused unless it gives the golden model's integers in the cycle model's cycles.

Left out: wires and the clock network (pins of memories, too, have no capacitance here), changes that
are undone within a clock cycle, and changes of inputs that leave a cell's output as it is.
"""

import ctypes
import dataclasses
import hashlib
import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.native
from fpga.errors import BuildError
from fpga.tools import find
from hw.config import Config
from hw.protocol import Opcode, Packet
from hw.verilog import TOP_NAME
from model_export.image import Image
from sim.backend import DeviceBackend, create
from sim.device import Device
from sim.native import (
    NativeLink,
    SimulatorError,
    cached,
    compile_library,
    compiler_digest,
    verilate,
)
from tritforge.cost.band import Band, total
from tritforge.cost.errors import CostError
from tritforge.cost.library import built_in_library
from tritforge.cost.mapping import accelerator_verilog, mapping_script
from tritforge.cost.netlist import Group, Netlist, flat_netlist, map_netlist
from tritforge.cost.technology import CELL_KINDS, Technology

__all__ = ["compile_netlist", "load_energy", "switching_activity"]

_HARNESS = Path(__file__).with_name("activity_harness.cpp")
_NOTES = (
    "wires and the clock network are not in it, nor what memories take inside",
    "a change that is undone within a clock cycle is not seen: gates have no delay",
    "a change of an input that leaves the output of its cell as it is costs nothing",
    "flip-flops are clocked in every cycle: the netlist has no clock gating; needed_clocks counts, "
    "of flip-flops with an enable, those whose enable is shared by one that changes",
    "cells' outputs are counted from the command to run until its answer has left",
    "memories have no enable: reads are cycles with another address than in the cycle before",
)

Report = Callable[[str, float], None]


def switching_activity(image: Image, codes: NDArray[np.integer], technology: Technology, *,
                       progress: Report | None = None) -> dict[str, Any]:
    """Run input images on the mapped netlist and count.

    Parameters
    ----------
    image : Image
        Compiled network; one whose contents stay in the memories.
    codes : array (images, channels, height, width)
        Activation codes of the inputs.
    technology : Technology
    progress : callable(message, fraction), optional

    Returns
    -------
    dict
        JSON values. ``images``; ``cycles`` that the runs took, ``counted_cycles`` with what goes
        before and after; ``blocks`` by kind and ``total``: ``cells``, ``flip_flops``,
        ``gated_flip_flops``, ``toggles`` by kind of cell, ``toggle_rate`` (changes per output and
        cycle), ``flip_flop_toggle_rate``, ``needed_clocks``, and bands of pJ for all images
        together: ``energy_pj`` with ``logic``, ``registers``, ``memory_outputs`` (what memories
        drive), ``clock`` and ``all``; ``clock_gating_saves_pj``, the most that clock gating could
        save of ``clock``. ``memories``: ``block``, ``name``, ``width_bits``, ``depth``, ``count``,
        ``answers_at_once``, ``reads``, ``writes``, ``read_bit_toggles``. ``seconds`` by phase,
        ``notes``, ``units``.

    Raises
    ------
    CostError
        The image is streamed; Yosys, Verilator or the compiler is missing or fails; or the netlist
        computes something else than the models.
    """
    if image.memory.schedule is not None:
        raise CostError(f"network {image.network.name} is streamed through configuration "
                        f"{image.config.name}; switching activity is of networks that stay in its "
                        f"memories")
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    library = compile_netlist(image.config, technology, progress)
    seconds["build"] = time.perf_counter() - begin
    begin = time.perf_counter()
    golden = create("golden", image).run(codes).output
    expected = create("cycle", image).run(codes).cycles_per_image
    seconds["models"] = time.perf_counter() - begin
    begin = time.perf_counter()
    with _NetlistBackend(image, library, progress) as backend:
        link = backend.link
        simulation = backend.run(codes, progress=progress)
    seconds["netlist"] = time.perf_counter() - begin
    if not np.array_equal(simulation.output, golden):
        raise CostError(f"the netlist of configuration {image.config.name} gives other integers "
                        f"than the golden model")
    if list(simulation.cycles_per_image) != list(expected):
        raise CostError(f"the netlist of configuration {image.config.name} takes "
                        f"{simulation.cycles_per_image} cycles, the cycle model {expected}")
    return {
        "configuration": image.config.name,
        "network": image.network.name,
        "technology": technology.name,
        "images": len(codes),
        "cycles": sum(simulation.cycles_per_image),
        **summarize(link.groups, link.counts.tolist(), link.counted_cycles, technology),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "simulated_cycles": link.cycles,
        "units": {"energy_pj": "pJ, all images together", "toggle_rate": "changes per output and "
                  "clock cycle", "reads": "accesses, all images together"},
        "notes": list(_NOTES),
    }


# ----- energy

def load_energy(pins: Mapping[str, float], technology: Technology) -> Band:
    """pJ of one change of a signal that drives input pins of cells, by kind: C V^2 / 2."""
    charge = total(technology.cells[kind].capacitance * number for kind, number in pins.items())
    voltage = technology["voltage"]
    return charge * voltage * voltage * 0.5e-3      # fF V^2 = fJ


@dataclasses.dataclass
class _Sum:
    cells: Counter[str] = dataclasses.field(default_factory=Counter)
    toggles: Counter[str] = dataclasses.field(default_factory=Counter)
    gated: int = 0
    needed: int = 0
    energy: dict[str, Band] = dataclasses.field(
        default_factory=lambda: {part: Band.exact(0.0)
                                 for part in ("logic", "registers", "memory_outputs")})

    def to_dict(self, cycles: int, technology: Technology) -> dict[str, Any]:
        clock = technology.cells["DFF"].clock_energy
        flip_flops = self.cells["DFF"]
        energy = {**self.energy, "clock": clock * (cycles * flip_flops)}
        energy["all"] = total(energy.values())
        outputs = self.cells.total()
        return {
            "cells": outputs,
            "cells_by_kind": dict(self.cells),
            "flip_flops": flip_flops,
            "gated_flip_flops": self.gated,
            "toggles": dict(self.toggles),
            "toggle_rate": self.toggles.total() / (cycles * outputs) if outputs else 0.0,
            "flip_flop_toggle_rate": (self.toggles["DFF"] / (cycles * flip_flops)
                                      if flip_flops else 0.0),
            "needed_clocks": self.needed,
            "energy_pj": {part: band.to_dict() for part, band in energy.items()},
            "clock_gating_saves_pj": (clock * (cycles * self.gated - self.needed)).to_dict(),
        }


def summarize(groups: Sequence[Group], counts: Sequence[int], cycles: int,
              technology: Technology) -> dict[str, Any]:
    """``counted_cycles``, ``blocks``, ``total`` and ``memories`` of
    :func:`switching_activity`, of counters ``counts``."""
    blocks: dict[str, _Sum] = {}
    whole = _Sum()
    memories: dict[tuple[Any, ...], Counter[str]] = {}
    for group, count in zip(groups, counts, strict=True):
        load = load_energy({kind: pins / group.bits for kind, pins in group.pins.items()},
                           technology)
        for block in (blocks.setdefault(group.block, _Sum()), whole):
            if group.what == "toggles":
                block.cells[group.name] += group.bits
                block.toggles[group.name] += count
                part = "registers" if group.name == "DFF" else "logic"
                block.energy[part] += (technology.cells[group.name].energy + load) * count
            elif group.what == "needed clocks":
                block.gated += group.bits
                block.needed += count
            elif group.what == "read data":
                block.energy["memory_outputs"] += load * count
        if group.about:
            about = group.about
            key = (group.block, group.name, about["width"], about["depth"],
                   bool(about["answers_at_once"]))
            one = memories.setdefault(key, Counter())
            one[group.what] += count
            if group.what == "writes":
                one["count"] += group.bits
    return {
        "counted_cycles": cycles,
        "blocks": {kind: one.to_dict(cycles, technology) for kind, one in sorted(blocks.items())},
        "total": whole.to_dict(cycles, technology),
        "memories": [{
            "block": block, "name": name, "width_bits": width, "depth": depth,
            "count": one["count"], "answers_at_once": at_once, "reads": one["addresses"],
            "writes": one["writes"], "read_bit_toggles": one["read data"],
        } for (block, name, width, depth, at_once), one in sorted(memories.items())],
    }


# ----- simulation

def compile_netlist(config: Config, technology: Technology,
                    progress: Report | None = None) -> Path:
    """The compiled netlist of a configuration, from the cache or built now, in minutes.

    Raises
    ------
    CostError
        Yosys, Verilator or the compiler is missing or fails.
    """
    report = progress or (lambda message, fraction: None)
    library = built_in_library(technology)
    kinds = {technology.cells[kind].cell: kind for kind in CELL_KINDS}

    def build(folder: Path) -> Path:
        report(f"mapping configuration {config.name} to cells", 0.05)
        gates, cells = map_netlist(verilog, library)
        return _compile(flat_netlist(gates, cells, kinds), folder, report)

    report("generating Verilog", 0.0)
    try:
        verilog = accelerator_verilog(config)
        digest = hashlib.sha256("\0".join(
            (find("yosys").version, verilog, library.text, mapping_script(), repr(kinds),
             importlib.metadata.version("verilator"))).encode())
        for path in (*sorted(Path(__file__).parent.glob("*netlist*")), _HARNESS, Path(__file__),
                     _sim_harness()):
            digest.update(path.read_bytes())
        digest.update(compiler_digest())
        return cached("activity", digest.digest(), build)
    except (BuildError, SimulatorError) as error:
        raise CostError(f"the netlist of configuration {config.name} cannot be simulated: "
                        f"{error}") from error


def _sim_harness() -> Path:
    return Path(sim.native.__file__).with_name("harness.cpp")


def _compile(netlist: Netlist, folder: Path, report: Report) -> Path:
    (folder / "netlist.v").write_text(netlist.verilog, encoding="utf-8")
    text = json.dumps([group.to_dict() for group in netlist.groups])
    (folder / "groups.h").write_text(f"#define GROUPS {json.dumps(text)}\n", encoding="utf-8")
    report("Verilator, netlist", 0.2)
    made = folder / "netlist"
    made.mkdir()
    verilate(made, TOP_NAME, [folder / "netlist.v"])
    jobs = [(path, [f"-I{made}"]) for path in made.glob("*.cpp")]
    jobs.append((_HARNESS, [f"-I{made}", f"-I{folder}", f"-I{_sim_harness().parent}"]))
    # Straight code of a million operations: optimizing it takes longer than it ever runs.
    return compile_library(jobs, folder, "netlist", report, optimize=False)


class _NetlistLink(NativeLink):
    """Counts what happens between a RUN and its answer.

    Members
    -------
    groups : list of Group
    counts : array of int64
        As many.
    counted_cycles : int
    """

    def __init__(self, config: Config, library: Path) -> None:
        super().__init__(config, library=library)
        self._library.activity_groups.restype = ctypes.c_char_p
        described = json.loads(self._library.activity_groups())
        self.groups = [Group(**{**one, "pins": Counter(one["pins"])}) for one in described]
        self.counts = np.zeros(len(self.groups), np.int64)
        self.counted_cycles = 0
        self._read = self._library.activity_counts
        self._read.argtypes = [ctypes.c_void_p,
                               np.ctypeslib.ndpointer(np.uint64, flags="C_CONTIGUOUS"),
                               ctypes.c_uint64]
        self._read.restype = None

    def _totals(self) -> NDArray[np.int64]:
        counts = np.zeros(len(self.groups), np.uint64)
        self._read(self._handle, counts, len(counts))
        return counts.astype(np.int64)

    def exchange(self, packets: Sequence[Sequence[int]], answers: int,
                 limit: int | None = None) -> list[list[int]]:
        if [Packet.from_words(words).opcode for words in packets] != [Opcode.RUN]:
            return super().exchange(packets, answers, limit)
        counts, cycles = self._totals(), self.cycles
        found = super().exchange(packets, answers, limit)
        self.counts += self._totals() - counts
        self.counted_cycles += self.cycles - cycles
        return found


class _NetlistBackend(DeviceBackend):
    name = "netlist"

    def __init__(self, image: Image, library: Path, progress: Report | None = None) -> None:
        self.link = _NetlistLink(image.config, library)
        super().__init__(image, Device(self.link))
