"""EIE (Han et al., ISCA 2016): a model of its time and of one processing element's energy and area.

The model is there to be compared with what its authors published, in the terms in which this
program estimates its own hardware. Nothing in it is fitted to the figures that it is compared with.

Encoding. A weight matrix is held by columns; row r belongs to element r mod 64. An element's part
of a column is a list of entries of two times four bits: a weight's number in a codebook and how
many zeros precede it within the part. More than 15 zeros take padding entries of 15 zeros and a
weight of zero, each of which covers 16 rows, so that a weight after g zeros takes floor(g / 16) of
them. Zeros after the last weight take none. An encoded part can be empty.

Time. Nonzero activations are broadcast in order, one a cycle, into a queue of 8 in front of each
element; while any queue is full nothing is broadcast. An element works on the head of its queue
and takes it out when it is done, after one cycle for each entry of its part of the column. A part
without entries takes one cycle, because its two pointers have to be read before that is known and
one pair is read a cycle. Source and destination registers hold 4096 activations over all elements;
longer vectors are worked off in batches of that length, and the queues run empty in between.
Filling the pipelines (four stages and the tree of the broadcast) and exchanging registers with the
activation memory between batches are not modelled.

Two variants: ``densities`` draws matrices at the published densities of weights, which are rounded
to percent; ``entries`` at the density at which padding and weights together come to as many
entries as the published theoretical time implies, which is entries / (64 elements x 800 MHz). The
second takes its work from the published table and predicts how long that work takes.

What was published is in :mod:`tritforge.cost.published.eie_figures`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band, total
from tritforge.cost.published.eie_figures import (
    ACTIVATION_BITS,
    BATCH,
    CLOCK_MHZ,
    CODEBOOK_BITS,
    ELEMENTS,
    ENTRIES_PER_WORD,
    FLIP_FLOPS,
    LAYERS,
    MACHINE,
    NOTES,
    PUBLISHED,
    PUBLISHED_MEMORY,
    PUBLISHED_TOTAL,
    QUEUE,
    QUEUE_BITS,
    REACH,
    SOURCE,
    UNITS,
    WHAT,
    Layer,
)
from tritforge.cost.published.parts import PartComparison, compare_part, macro_of
from tritforge.cost.technology import Macro, Technology

__all__ = [
    "Comparison",
    "LayerComparison",
    "LayerTiming",
    "QueueBalance",
    "Timing",
    "compare",
    "cycles_of",
    "density_for",
    "element_area",
    "element_energy",
    "entries_of",
    "expected_entries",
    "memory_area",
    "memory_energy",
    "simulate",
]

# ----- encoding


def entries_of(nonzero: np.ndarray) -> np.ndarray:
    """Entries that parts of columns are encoded in, padding included.

    Parameters
    ----------
    nonzero : bool array (rows, ...)
        Which weights are not zero, along the rows of one element.

    Returns
    -------
    int32 array (...)
    """
    entries = np.zeros(nonzero.shape[1:], np.int32)
    last = np.full(nonzero.shape[1:], -1, np.int32)
    for row, here in enumerate(nonzero):
        entries += np.where(here, 1 + (row - last - 1) // REACH, 0)
        last[here] = row
    return entries


def expected_entries(rows: int, density: float) -> float:
    """Mean of :func:`entries_of` for ``rows`` independent weights of ``density``.

    A weight has m or more paddings where 16 m rows before it exist and are zero.
    """
    zero = 1 - density
    return density * sum(zero ** (REACH * m) * (rows - REACH * m) for m in range(rows // REACH + 1))


def _rows(outputs: int) -> Iterator[int]:
    """Rows of each element in each batch of outputs."""
    for first in range(0, outputs, BATCH):
        size = min(BATCH, outputs - first)
        yield from (len(range(element, size, ELEMENTS)) for element in range(ELEMENTS))


def density_for(layer: Layer) -> float:
    """Density of weights at which the layer is expected to have as many entries as its theoretical
    time implies."""
    target = layer.theoretical_us * CLOCK_MHZ * ELEMENTS / layer.active
    rows = list(_rows(layer.outputs))
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(expected_entries(count, middle) for count in rows) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


# ----- time


def cycles_of(costs: np.ndarray, queue: int = QUEUE) -> int:
    """Cycles from the first broadcast until the last element is done.

    Parameters
    ----------
    costs : int array (activations, elements)
        Cycles that an element needs for an activation, at least 1.
    queue : int
        Activations that the queue of an element holds, the one in work included.

    An activation that is broadcast in a cycle can be worked on from the next one, and leaves the
    queue with its last cycle of work.
    """
    count, elements = costs.shape
    done = np.zeros((count + 1, elements), np.int64)
    # When the queue has a place for activation k everywhere: when k - queue is done everywhere.
    everywhere = [0] * (count + 1)
    broadcast = -1
    for k in range(count):
        broadcast = max(broadcast + 1, everywhere[k - queue + 1] if k >= queue else 0)
        np.maximum(done[k], broadcast + 1, out=done[k + 1])
        done[k + 1] += costs[k]
        everywhere[k + 1] = int(done[k + 1].max())
    return everywhere[count]


@dataclass(frozen=True)
class Timing:
    """What a simulated layer takes.

    Members
    -------
    cycles : int
    weights, entries : int
        Weights that are not zero in columns that are worked on, and entries with padding.
    parts, empty_parts : int
        Parts of columns that are worked on, over all elements, and those without entries.
    words : float
        Expected 64-bit words that are read from all elements' matrix memories. A part of n > 0
        entries that begins at any of the 8 places of a word with equal chance touches (n + 7) / 8.
    """

    cycles: int
    weights: int
    entries: int
    parts: int
    empty_parts: int
    words: float

    @property
    def us(self) -> float:
        return self.cycles / CLOCK_MHZ

    @property
    def theoretical_us(self) -> float:
        """us if all elements had the same number of entries and none waited."""
        return self.entries / ELEMENTS / CLOCK_MHZ

    @property
    def balance(self) -> float:
        """Share of element-cycles in which an entry is worked on."""
        return self.entries / ELEMENTS / self.cycles


def simulate(layer: Layer, density: float, seed: int = 0, queue: int = QUEUE) -> Timing:
    """A layer with weights of ``density``, drawn with ``seed``."""
    rng = np.random.default_rng(seed)
    active = np.sort(rng.choice(layer.inputs, layer.active, replace=False))
    counts = [int(count) for count in np.bincount(active // BATCH)]
    cycles = weights = entries = parts = empty = 0
    words = 0.0
    for first in range(0, layer.outputs, BATCH):
        size = min(BATCH, layer.outputs - first)
        rows = -(-size // ELEMENTS)
        for count in counts:
            nonzero = rng.random((rows, ELEMENTS, count), np.float32) < density
            nonzero[-1, size - (rows - 1) * ELEMENTS :] = False  # rows that do not exist
            here = entries_of(nonzero)
            cycles += cycles_of(np.maximum(here, 1).T, queue)
            weights += int(np.count_nonzero(nonzero))
            entries += int(here.sum())
            parts += here.size
            empty += int(np.count_nonzero(here == 0))
            words += float(np.sum(here[here > 0] + ENTRIES_PER_WORD - 1)) / ENTRIES_PER_WORD
    return Timing(cycles, weights, entries, parts, empty, words)


# ----- energy and area of one element


def _adder_area(technology: Technology) -> Band:
    """um2 of a full adder of two XOR2 and three NAND2; the tables of cells hold no full adder."""
    return (technology.cells["XOR2"].area * 2) + (technology.cells["NAND2"].area * 3)


def _memories(technology: Technology) -> dict[str, tuple[int, Macro]]:
    """How many of which macro a unit has."""
    return {
        "PtrRead": (2, macro_of(technology, 16, 32)),
        "SpmatRead": (1, macro_of(technology, 128, 64)),
        "ActRW": (1, macro_of(technology, 2, 32)),
    }


def memory_area(technology: Technology) -> Band:
    """um2 of one element's SRAM."""
    return total(macro.area * count for count, macro in _memories(technology).values())


def _cell_area(technology: Technology) -> dict[str, Band]:
    """um2 of each unit's cells, register files included."""
    bit, flip_flop = technology["register_file_area"], technology.cells["DFF"].area
    adder = _adder_area(technology)
    multiplier = technology.cells["AND2"].area * 256 + adder * 240
    units = {
        "Act queue": bit * (QUEUE * QUEUE_BITS),
        "PtrRead": Band.exact(0),
        # One of eight entries of 8 bits, and the address of the next.
        "SpmatRead": technology.cells["MUX2"].area * (7 * 8) + adder * 16,
        "ArithmUnit": multiplier + adder * (16 + 6) + bit * CODEBOOK_BITS,
        "ActRW": bit * ACTIVATION_BITS,
    }
    return {name: area + flip_flop * FLIP_FLOPS[name] for name, area in units.items()}


def element_area(technology: Technology) -> dict[str, Band]:
    """um2 of each unit's cells and memories, without the space between cells."""
    area = _cell_area(technology)
    for name, (count, macro) in _memories(technology).items():
        area[name] += macro.area * count
    return area


def memory_energy(technology: Technology, timing: Timing) -> dict[str, Band]:
    """pJ of each unit's SRAM of one element in a mean cycle, leakage included."""
    cycles = timing.cycles * ELEMENTS
    # Vectors of 4096 stay in the registers throughout, so that ActRW's memory only leaks.
    reads = {"PtrRead": timing.parts / cycles, "SpmatRead": timing.words / cycles, "ActRW": 0.0}
    return {
        name: (macro.read * reads[name] + macro.leakage * (1e3 / CLOCK_MHZ)) * count
        for name, (count, macro) in _memories(technology).items()
    }


def element_energy(technology: Technology, timing: Timing) -> dict[str, Band]:
    """pJ of each unit of one element in a mean cycle of a layer; 1 pJ a cycle is 0.8 mW."""
    cycles = timing.cycles * ELEMENTS
    entry, activation = timing.entries / cycles, timing.parts / cycles
    # How often in a cycle a unit's flip-flops are written; in other cycles they are clocked. Of
    # SpmatRead's, 64 are written with each word and 16 with each entry.
    written = {
        "Act queue": 0.0,
        "PtrRead": activation,
        "ArithmUnit": entry,
        "ActRW": entry,
        "SpmatRead": (64 * timing.words / cycles + 16 * entry) / 80,
    }
    file_read, file_write = technology["register_file_read"], technology["register_file_write"]
    choice = technology["select_bit"] * technology["toggle"]
    work = {
        "Act queue": (file_read + file_write) * (QUEUE_BITS * activation),
        "PtrRead": Band.exact(0),
        "SpmatRead": (choice * (3 * 8) + technology["add_bit"] * 16) * entry,
        "ArithmUnit": (
            file_read * 16 + technology["multiply_bit2"] * 256 + technology["add_bit"] * (16 + 6)
        )
        * entry,
        "ActRW": (file_read + file_write) * (16 * entry),
    }
    memory = memory_energy(technology, timing)
    energy = {}
    for name, area in _cell_area(technology).items():
        flip_flop = technology["register_bit"] * written[name] + technology["clock_bit"] * (
            1 - written[name]
        )
        energy[name] = (
            work[name]
            + flip_flop * FLIP_FLOPS[name]
            + area * technology["logic_leakage"] * (1e3 / CLOCK_MHZ)
            + memory.get(name, Band.exact(0))
        )
    return energy


# ----- comparison


@dataclass(frozen=True)
class LayerTiming(JsonObject):
    """A simulated layer: densities and shares, us; ``ratio`` is over the published actual time,
    ``balance`` the share of element-cycles in which an entry is worked on."""

    weight_density: float
    weights: int
    entries: int
    empty_parts: float
    theoretical_us: float
    model_us: float
    ratio: float
    balance: float


@dataclass(frozen=True)
class LayerComparison(JsonObject):
    """A layer as published, and both variants of its model."""

    name: str
    inputs: int
    outputs: int
    weight_density: float
    activation_density: float
    published_theoretical_us: float
    published_us: float
    published_balance: float
    densities: LayerTiming
    entries: LayerTiming


@dataclass(frozen=True)
class QueueBalance(JsonObject):
    """Balance of Alex-7 with queues of some depth."""

    depth: int
    balance: float


@dataclass(frozen=True)
class Comparison(JsonObject):
    """The model of EIE against what was published.

    Members
    -------
    layers : tuple of LayerComparison
    parts : tuple of PartComparison
        One element's power (mW) and area (um2) on Alex-7, the layer for which the paper states
        power.
    queue : tuple of QueueBalance
    """

    machine: str
    source: str
    technology: str
    seed: int
    layers: tuple[LayerComparison, ...]
    parts: tuple[PartComparison, ...]
    queue: tuple[QueueBalance, ...]
    units: Mapping[str, str]
    notes: tuple[str, ...]


def _timing(layer: Layer, density: float, seed: int) -> LayerTiming:
    timing = simulate(layer, density, seed)
    return LayerTiming(
        weight_density=density,
        weights=timing.weights,
        entries=timing.entries,
        empty_parts=timing.empty_parts / timing.parts,
        theoretical_us=timing.theoretical_us,
        model_us=timing.us,
        ratio=timing.us / layer.actual_us,
        balance=timing.balance,
    )


def _layer(layer: Layer, seed: int) -> LayerComparison:
    return LayerComparison(
        name=layer.name,
        inputs=layer.inputs,
        outputs=layer.outputs,
        weight_density=layer.weights,
        activation_density=layer.activations,
        published_theoretical_us=layer.theoretical_us,
        published_us=layer.actual_us,
        published_balance=layer.theoretical_us / layer.actual_us,
        densities=_timing(layer, layer.weights, seed),
        entries=_timing(layer, density_for(layer), seed),
    )


def _parts(technology: Technology, timing: Timing) -> Iterator[PartComparison]:
    energy, area = element_energy(technology, timing), element_area(technology)
    to_mw = CLOCK_MHZ / 1e3
    for name, (power, size) in PUBLISHED.items():
        yield compare_part(name, WHAT[name], "mW", energy[name] * to_mw, power)
        yield compare_part(name, WHAT[name], "um2", area[name], size)
    memory = total(memory_energy(technology, timing).values()) * to_mw
    cells = technology.placed(total(_cell_area(technology).values()))
    whole = memory_area(technology) + cells
    what = "all SRAM of an element"
    yield compare_part("memory", what, "mW", memory, PUBLISHED_MEMORY[0])
    yield compare_part("memory", what, "um2", memory_area(technology), PUBLISHED_MEMORY[1])
    everything = total(energy.values()) * to_mw
    yield compare_part("total", "one element", "mW", everything, PUBLISHED_TOTAL[0])
    what = "one element, with the space between its cells"
    yield compare_part("total", what, "um2", whole, PUBLISHED_TOTAL[1])


def compare(technology: Technology, seed: int = 0) -> Comparison:
    """The model of EIE against what was published, matrices drawn with ``seed``.

    Raises
    ------
    CostError
        The technology lacks a memory that EIE has.
    """
    seven = next(layer for layer in LAYERS if layer.name == "Alex-7")
    density = density_for(seven)
    return Comparison(
        machine=MACHINE,
        source=SOURCE,
        technology=technology.name,
        seed=seed,
        layers=tuple(_layer(layer, seed) for layer in LAYERS),
        parts=tuple(_parts(technology, simulate(seven, density, seed))),
        queue=tuple(
            QueueBalance(depth, simulate(seven, density, seed, depth).balance)
            for depth in (1, 2, 4, 8, 16, 32)
        ),
        units=UNITS,
        notes=NOTES,
    )
