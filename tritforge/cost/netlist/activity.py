"""Switching activity: a check on the event model that does not count events.

The accelerator, mapped to a technology's cells, runs a network in simulation; changes of the cells'
outputs are counted and turned into energy with the same cell figures that area comes from. The run
is refused unless it gives the golden model's integers in the cycle model's cycles.

Left out: wires, the clock network and pins of memories; changes that are undone within a clock
cycle; and changes of inputs that leave a cell's output as it is.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band, total
from tritforge.cost.errors import CostError
from tritforge.cost.netlist.flat import Group
from tritforge.cost.netlist.simulator import NetlistBackend, compile_netlist
from tritforge.cost.technology import Technology
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.backend import create
from tritforge.sim.device import DeviceError
from tritforge.sim.result import Simulation

__all__ = [
    "BlockActivity",
    "Counted",
    "MemoryActivity",
    "SwitchingActivity",
    "load_energy",
    "summarize",
    "switching_activity",
]

_NOTES = (
    "wires and the clock network are not in it, nor what memories take inside",
    "a change that is undone within a clock cycle is not seen: gates have no delay",
    "a change of an input that leaves the output of its cell as it is costs nothing",
    "flip-flops are clocked in every cycle: the netlist has no clock gating; needed_clocks counts, "
    "of flip-flops with an enable, those whose enable is shared by one that changes",
    "cells' outputs are counted from the command to run until its answer has left",
    "memories have no enable: reads are cycles with another address than in the cycle before",
)

_UNITS = {
    "energy_pj": "pJ, all images together",
    "toggle_rate": "changes per output and clock cycle",
    "reads": "accesses, all images together",
}

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class BlockActivity(JsonObject):
    """Cells of one kind of block, and what they did.

    Members
    -------
    cells, flip_flops, gated_flip_flops : int
    cells_by_kind, toggles : dict[str, int]
        By kind of cell; changes of outputs.
    toggle_rate, flip_flop_toggle_rate : float
        Changes per output and cycle.
    needed_clocks : int
        Clocks that gated flip-flops need.
    energy_pj : dict[str, Band]
        All images together: ``logic``, ``registers``, ``memory_outputs`` (what memories drive),
        ``clock`` and ``all``.
    clock_gating_saves_pj : Band
        The most that clock gating could save of ``clock``.
    """

    cells: int
    cells_by_kind: Mapping[str, int]
    flip_flops: int
    gated_flip_flops: int
    toggles: Mapping[str, int]
    toggle_rate: float
    flip_flop_toggle_rate: float
    needed_clocks: int
    energy_pj: Mapping[str, Band]
    clock_gating_saves_pj: Band


@dataclass(frozen=True)
class MemoryActivity(JsonObject):
    """Equal memories of a block.

    Members
    -------
    reads, writes, read_bit_toggles : int
    changed_share : float, optional
        Of the bits that are read; None where nothing is. Figure ``toggle`` of a technology is an
        assumption on it.
    """

    block: str
    name: str
    width_bits: int
    depth: int
    count: int
    answers_at_once: bool
    reads: int
    writes: int
    read_bit_toggles: int
    changed_share: float | None


@dataclass(frozen=True)
class Counted(JsonObject):
    """What counters say: blocks by kind, their sum, and memories."""

    counted_cycles: int
    blocks: Mapping[str, BlockActivity]
    total: BlockActivity
    memories: tuple[MemoryActivity, ...]


@dataclass(frozen=True)
class SwitchingActivity(JsonObject):
    """A run on the mapped netlist.

    Members
    -------
    cycles : int
        That the runs took, all images together.
    counted_cycles : int
        With what goes before and after.
    blocks, total, memories
        See :class:`Counted`.
    seconds : dict[str, float]
        Of wall time, by phase.
    simulated_cycles : int
        In all, loading included.
    """

    configuration: str
    network: str
    technology: str
    images: int
    cycles: int
    counted_cycles: int
    blocks: Mapping[str, BlockActivity]
    total: BlockActivity
    memories: tuple[MemoryActivity, ...]
    seconds: Mapping[str, float]
    simulated_cycles: int
    units: Mapping[str, str]
    notes: tuple[str, ...]


def switching_activity(
    image: CompiledNetwork,
    codes: NDArray[np.integer],
    technology: Technology,
    *,
    progress: Report | None = None,
) -> SwitchingActivity:
    """Run input images on the mapped netlist and count.

    Parameters
    ----------
    image : CompiledNetwork
        One whose contents stay in the memories.
    codes : array (images, channels, height, width)
        Activation codes of the inputs.
    technology : Technology
    progress : callable(message, fraction), optional

    Raises
    ------
    CostError
        The image is streamed; Yosys, Verilator or the compiler is missing or fails; or the netlist
        computes something else than the models.
    """
    if image.memory.schedule is not None:
        raise CostError(
            f"network {image.network.name} is streamed through configuration "
            f"{image.config.name}; switching activity is of networks that stay in its "
            f"memories"
        )
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    library = compile_netlist(image.config, technology, progress)
    seconds["build"] = time.perf_counter() - begin
    begin = time.perf_counter()
    golden = create("golden", image).run(codes).output
    expected = create("cycle", image).run(codes).cycles_per_image
    seconds["models"] = time.perf_counter() - begin
    begin = time.perf_counter()
    try:
        with NetlistBackend(image, library) as backend:
            link = backend.link
            simulation = backend.run(codes, progress=progress)
            simulated = link.cycles
    except DeviceError as error:
        raise CostError(
            f"the netlist of configuration {image.config.name} does not work as the "
            f"accelerator does: {error}"
        ) from error
    seconds["netlist"] = time.perf_counter() - begin
    _check_integers(image, simulation, golden, expected)
    counted = summarize(link.groups, link.counts.tolist(), link.counted_cycles, technology)
    return SwitchingActivity(
        configuration=image.config.name,
        network=image.network.name,
        technology=technology.name,
        images=len(codes),
        cycles=sum(simulation.cycles_per_image),
        **vars(counted),
        seconds={phase: round(value, 2) for phase, value in seconds.items()},
        simulated_cycles=simulated,
        units=_UNITS,
        notes=_NOTES,
    )


def _check_integers(
    image: CompiledNetwork,
    simulation: Simulation,
    golden: NDArray[np.integer],
    expected: Sequence[int],
) -> None:
    """That the netlist gave the golden model's integers in the cycle model's cycles.

    Raises
    ------
    CostError
    """
    if not np.array_equal(simulation.output, golden):
        raise CostError(
            f"the netlist of configuration {image.config.name} gives other integers "
            f"than the golden model"
        )
    if list(simulation.cycles_per_image) != list(expected):
        raise CostError(
            f"the netlist of configuration {image.config.name} takes "
            f"{simulation.cycles_per_image} cycles, the cycle model {expected}"
        )


# ----- energy


def load_energy(pins: Mapping[str, float], technology: Technology) -> Band:
    """pJ of one change of a signal that drives input pins of cells, by kind: C V^2 / 2."""
    charge = total(technology.cells[kind].capacitance * number for kind, number in pins.items())
    voltage = technology["voltage"]
    return charge * voltage * voltage * 0.5e-3  # fF V^2 = fJ


@dataclasses.dataclass
class _Sum:
    cells: Counter[str] = dataclasses.field(default_factory=Counter)
    toggles: Counter[str] = dataclasses.field(default_factory=Counter)
    gated: int = 0
    needed: int = 0
    energy: dict[str, Band] = dataclasses.field(
        default_factory=lambda: {
            part: Band.exact(0.0) for part in ("logic", "registers", "memory_outputs")
        }
    )

    def report(self, cycles: int, technology: Technology) -> BlockActivity:
        clock = technology.cells["DFF"].clock_energy
        flip_flops = self.cells["DFF"]
        energy = {**self.energy, "clock": clock * (cycles * flip_flops)}
        energy["all"] = total(energy.values())
        outputs = self.cells.total()
        return BlockActivity(
            cells=outputs,
            cells_by_kind=dict(self.cells),
            flip_flops=flip_flops,
            gated_flip_flops=self.gated,
            toggles=dict(self.toggles),
            toggle_rate=self.toggles.total() / (cycles * outputs) if outputs else 0.0,
            flip_flop_toggle_rate=(
                self.toggles["DFF"] / (cycles * flip_flops) if flip_flops else 0.0
            ),
            needed_clocks=self.needed,
            energy_pj=energy,
            clock_gating_saves_pj=clock * (cycles * self.gated - self.needed),
        )

    def add(self, group: Group, count: int, load: Band, technology: Technology) -> None:
        """A counter: what it counted, and pJ that a change of its outputs drives."""
        if group.what == "toggles":
            self.cells[group.name] += group.bits
            self.toggles[group.name] += count
            part = "registers" if group.name == "DFF" else "logic"
            self.energy[part] += (technology.cells[group.name].energy + load) * count
        elif group.what == "needed clocks":
            self.gated += group.bits
            self.needed += count
        elif group.what == "read data":
            self.energy["memory_outputs"] += load * count


def summarize(
    groups: Sequence[Group], counts: Sequence[int], cycles: int, technology: Technology
) -> Counted:
    """What counters ``counts`` of ``groups`` say of so many clock cycles."""
    blocks: dict[str, _Sum] = {}
    whole = _Sum()
    memories: dict[tuple[str, str, int, int, bool], Counter[str]] = {}
    for group, count in zip(groups, counts, strict=True):
        load = load_energy(
            {kind: pins / group.bits for kind, pins in group.pins.items()}, technology
        )
        for block in (blocks.setdefault(group.block, _Sum()), whole):
            block.add(group, count, load, technology)
        if about := group.about:
            at_once = bool(about["answers_at_once"])
            key = (group.block, group.name, about["width"], about["depth"], at_once)
            one = memories.setdefault(key, Counter())
            one[group.what] += count
            if group.what == "writes":
                one["count"] += group.bits
    return Counted(
        cycles,
        {kind: one.report(cycles, technology) for kind, one in sorted(blocks.items())},
        whole.report(cycles, technology),
        tuple(
            MemoryActivity(
                block=block,
                name=name,
                width_bits=width,
                depth=depth,
                count=one["count"],
                answers_at_once=at_once,
                reads=one["addresses"],
                writes=one["writes"],
                read_bit_toggles=one["read data"],
                changed_share=(
                    one["read data"] / (one["addresses"] * width) if one["addresses"] else None
                ),
            )
            for (block, name, width, depth, at_once), one in sorted(memories.items())
        ),
    )
