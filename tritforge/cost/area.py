"""Area of a configuration: its cells and memories, block by block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band, total
from tritforge.cost.library import Library, built_in_library
from tritforge.cost.mapping import Block, Memory, map_design
from tritforge.cost.memory import MemoryCost, memory_cost, register_file
from tritforge.cost.technology import Technology
from tritforge.hw.config import Config

__all__ = [
    "Area",
    "AreaReport",
    "BlockArea",
    "BlockReport",
    "MemoriesReport",
    "MemoryArea",
    "area_of",
    "measure_area",
]

#: Memories that are written before a program runs and, unless the network is streamed, never
#: while one does: a single port serves them.
_WRITTEN_BEFORE = ("trits", "program", "rows", "tables")


@dataclass(frozen=True)
class MemoryArea:
    """Equal memories, with what one of them costs."""

    memory: Memory
    cost: MemoryCost

    @property
    def area(self) -> Band:
        """um2 of all of them."""
        return self.cost.area * self.memory.count

    @property
    def leakage(self) -> Band:
        """mW of all of them."""
        return self.cost.leakage * self.memory.count

    def report(self) -> "MemoriesReport":
        memory, cost = self.memory, self.cost
        return MemoriesReport(
            memory.name,
            memory.count,
            memory.bits,
            cost.width,
            cost.depth,
            cost.composition,
            cost.read,
            cost.write,
            cost.leakage,
            cost.area,
            self.area,
        )


@dataclass(frozen=True)
class BlockArea:
    """All blocks of one kind, without the blocks inside them that have their own entry.

    Members
    -------
    name : str
    count : int
    logic : Band
        um2 of their cells, placed.
    cells : Band
        um2 of their cells alone.
    memories : tuple of MemoryArea
    flip_flops, gated_flip_flops : int
        As :class:`tritforge.cost.mapping.Block`.
    """

    name: str
    count: int
    logic: Band
    cells: Band
    memories: tuple[MemoryArea, ...]
    flip_flops: int
    gated_flip_flops: int

    @property
    def memory(self) -> Band:
        return total(one.area for one in self.memories)

    @property
    def area(self) -> Band:
        return self.logic + self.memory

    def report(self) -> "BlockReport":
        return BlockReport(
            self.name,
            self.count,
            self.area,
            self.logic,
            self.cells,
            self.memory,
            self.flip_flops,
            self.gated_flip_flops,
            self.flip_flops + self.gated_flip_flops,
            tuple(one.report() for one in self.memories),
        )


@dataclass(frozen=True)
class Area:
    """Area of an accelerator; pads, and what stands around it, are not in it."""

    config: Config
    library: str
    blocks: tuple[BlockArea, ...]

    def block(self, name: str) -> BlockArea:
        """A block by name; one without anything in it where the configuration has none."""
        nothing = Band(0.0, 0.0, 0.0)
        return next(
            (one for one in self.blocks if one.name == name),
            BlockArea(name, 0, nothing, nothing, (), 0, 0),
        )

    @property
    def logic(self) -> Band:
        return total(one.logic for one in self.blocks)

    @property
    def memory(self) -> Band:
        return total(one.memory for one in self.blocks)

    @property
    def total(self) -> Band:
        """um2."""
        return self.logic + self.memory

    def memory_of(self, name: str) -> MemoryArea:
        """A large memory by what it holds, as :class:`tritforge.cost.mapping.Memory`."""
        return next(
            one
            for block in self.blocks
            for one in block.memories
            if one.memory.name == name and not one.memory.answers_at_once
        )

    @property
    def element(self) -> Band:
        """um2 of one processing element with its accumulators."""
        return (self.block("element").area + self.block("accumulators").area) / self.config.adders

    @property
    def cluster(self) -> Band:
        """um2 of one cluster with its trit memory and all that is in it."""
        names = ("cluster", "element", "accumulators", "walker", "zero skip", "scaler")
        return total(self.block(name).area for name in names) / self.config.cluster_count

    def report(self) -> "AreaReport":
        return AreaReport(
            self.config.name,
            self.library,
            self.total,
            self.logic,
            self.memory,
            self.element,
            self.cluster,
            tuple(block.report() for block in self.blocks),
        )


@dataclass(frozen=True)
class MemoriesReport(JsonObject):
    """Equal memories: what they hold, how many, bits of each; one of them, and um2 of all."""

    holds: str
    count: int
    bits: int
    width_bits: int
    depth: int
    composition: str
    read_pj: Band
    write_pj: Band
    leakage_mw: Band
    area_um2: Band
    total_um2: Band


@dataclass(frozen=True)
class BlockReport(JsonObject):
    """All blocks of one kind, as :class:`BlockArea`; areas in um2."""

    name: str
    count: int
    area_um2: Band
    logic_um2: Band
    cells_um2: Band
    memory_um2: Band
    flip_flops: int
    gated_flip_flops: int
    all_flip_flops: int
    memories: tuple[MemoriesReport, ...]


@dataclass(frozen=True)
class AreaReport(JsonObject):
    """What an estimate says of the area of a configuration, um2."""

    configuration: str
    library: str
    total_um2: Band
    logic_um2: Band
    memory_um2: Band
    element_um2: Band
    cluster_um2: Band
    blocks: tuple[BlockReport, ...]


def measure_area(
    config: Config,
    technology: Technology,
    *,
    library: Library | None = None,
    streamed: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Area:
    """Area of a configuration, from its Verilog.

    Parameters
    ----------
    config : Config
    technology : Technology
        Memories, and cells where no library is given.
    library : Library, optional
        A user's cells.
    streamed : bool
        Trits, program, rows and activation tables are written while the array computes, so their
        memories have two ports.

    Raises
    ------
    CostError
        As :func:`tritforge.cost.mapping.map_design`.
    """
    chosen = library or built_in_library(technology)
    return area_of(config, map_design(config, chosen, progress), technology, chosen, streamed)


def area_of(
    config: Config,
    blocks: Mapping[str, Block],
    technology: Technology,
    library: Library,
    streamed: bool = False,
) -> Area:
    """Area of blocks that are mapped already; parameters as of :func:`measure_area`."""
    return Area(
        config,
        library.name,
        tuple(_block(name, block, library, technology, streamed) for name, block in blocks.items()),
    )


def _block(
    name: str, block: Block, library: Library, technology: Technology, streamed: bool
) -> BlockArea:
    cells = total(library.areas[cell] * count for cell, count in block.cells.items())
    memories = []
    for memory in block.memories:
        if memory.answers_at_once:
            cost = register_file(technology, memory.width, memory.depth)
        else:
            two_port = not memory.single_port and (streamed or memory.name not in _WRITTEN_BEFORE)
            cost = memory_cost(
                technology,
                memory.width,
                memory.depth,
                two_port=two_port,
                spread=memory.name == "trits",
            )
        memories.append(MemoryArea(memory, cost))
    return BlockArea(
        name,
        block.count,
        technology.placed(cells),
        cells,
        tuple(memories),
        block.flip_flops,
        block.gated_flip_flops,
    )
