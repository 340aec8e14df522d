"""Energy: counted events, each times what it moves, each of that times a published figure.

Every contribution is a :class:`Term`: an event that cycle model and RTL count, the component and
the block in which it spends energy, and the figures that one event takes. Nothing is added that is
not a term, so any picojoule can be traced to a count and a source.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tritforge.cost.area import Area, MemoryArea
from tritforge.cost.band import Band, total
from tritforge.cost.memory import macro_name
from tritforge.cost.technology import Technology
from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width
from tritforge.hw.widths import ACTIVATION_WIDTH, PORT_WIDTH, RESULT_WIDTH

__all__ = [
    "COMPONENTS",
    "HOST_EVENTS",
    "OFF_CHIP",
    "LayerEnergy",
    "Part",
    "Term",
    "energy_terms",
    "layer_energy",
]

#: Where energy goes, in the order of tables.
COMPONENTS: dict[str, str] = {
    "trit memory": "reads of trit words",
    "activation memory": "reads and writes of activations, by walkers and for max-pooling",
    "other memories": "program, row and result memory",
    "scalers": "Wp*x and -Wn*x",
    "broadcast": "wires and registers from scaler and trit memory to the elements",
    "queues": "writing and reading of the elements' queues",
    "adders": "additions in the elements, choice of the product, select of the next trit",
    "accumulators": "reading and writing of accumulators",
    "walkers": "addresses, zero skip",
    "drain": "partial sums from cluster to cluster",
    "requantizers": "multiplication, offset, shift and clamp",
    "write-back": "queues and comparison in front of the activation memories",
    "control": "sequencer and event counters",
    "host port": "what goes through the port during a run",
    "clock": "flip-flops that are clocked in every cycle",
    "leakage": "all cells and memories, as long as the run takes",
    "off chip": "bits to and from memory outside the chip",
}
#: The component that is not on the chip.
OFF_CHIP = "off chip"
#: Events at the host port, in 32-bit words, beside the hardware's counters.
HOST_EVENTS = ("sent_trit_words", "sent_activation_words", "read_words", "result_words")


@dataclass(frozen=True)
class Part:
    """One figure in a term.

    Members
    -------
    figure : str
        Name in the technology file, with ``cells.`` or ``memories.`` in front where it is not under
        ``figures``.
    factors : tuple of str
        Other figures that are in ``times``; "area" stands for all figures of areas.
    times : Band
        How often: bits, square bits, millimetres, microseconds; a band where it has one.
    what : str
        What that number is.
    energy : Band
        pJ: figure times ``times``.
    """

    figure: str
    factors: tuple[str, ...]
    times: Band
    what: str
    energy: Band

    def to_dict(self) -> dict[str, Any]:
        return {
            "figure": self.figure,
            "factors": list(self.factors),
            "times": self.times.to_dict(),
            "what": self.what,
            "pj": self.energy.to_dict(),
        }


@dataclass(frozen=True)
class Term:
    """What one event costs in one component.

    Members
    -------
    component : str
        Of :data:`COMPONENTS`.
    block : str
        Kind of block in which it is spent, as :func:`tritforge.fpga.fit.structure.kind_of`;
        "memories" for memories that are read at a clock edge, "" for what is outside.
    event : str
        A counter of :data:`tritforge.hw.program.COUNTERS`, or of :data:`HOST_EVENTS`.
    what : str
        What the event is to the component.
    parts : tuple of Part
    """

    component: str
    block: str
    event: str
    what: str
    parts: tuple[Part, ...]

    @property
    def energy(self) -> Band:
        """pJ an event."""
        return total(part.energy for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "component": self.component,
            "block": self.block,
            "event": self.event,
            "what": self.what,
            "pj_per_event": self.energy.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
        }


class _Costs:
    """Makes parts from a technology's figures."""

    def __init__(self, technology: Technology) -> None:
        self.technology = technology

    def part(self, figure: str, times: float | Band, what: str, *factors: str) -> Part:
        count = times if isinstance(times, Band) else Band.exact(times)
        return Part(figure, factors, count, what, self.technology[figure] * count)

    def wires(self, bits: float, length: Band, what: str) -> Part:
        """Bits that travel ``length`` mm."""
        technology = self.technology
        return self.part(
            "wire",
            technology["toggle"] * length * bits,
            f"mm of {what}, times the share of bits that change",
            "toggle",
            "area",
        )

    def changes(self, flip_flops: float, what: str) -> Part:
        """Flip-flops, clocked in every cycle, that take new data."""
        technology = self.technology
        times = technology["toggle"] * flip_flops
        return Part(
            "cells.DFF.energy",
            ("toggle",),
            times,
            f"{what}, times the share that changes",
            technology.cells["DFF"].energy * times,
        )

    def access(self, memory: MemoryArea, write: bool, times: float = 1.0) -> tuple[Part, ...]:
        """An access to one memory, or to a share of its word."""
        cost = memory.cost
        where = f"{memory.memory.name}, {cost.width} bits x {cost.depth} words"
        return tuple(
            Part(
                share.figure,
                share.factors,
                share.times * times,
                f"{where}: {share.what}",
                share.energy * times,
            )
            for share in (cost.write_shares if write else cost.read_shares)
        )


def energy_terms(
    config: Config, technology: Technology, area: Area, clock: float | None = None
) -> list[Term]:
    """All terms of a configuration.

    Parameters
    ----------
    area : Area
        Of this configuration: memories, flip-flops, lengths of wires.
    clock : float, optional
        MHz; the technology's where it is not given. Only leakage depends on it.
    """
    costs = _Costs(technology)
    return [
        *_array(config, costs, area),
        *_drain(config, costs, area),
        *_surroundings(config, costs, area),
        *_always(config, technology, area, clock),
    ]


def _side(area: Band) -> Band:
    """Side of a square of an area in um2: mm."""
    return Band(*(math.sqrt(value) * 1e-3 for value in (area.low, area.typical, area.high)))


def _array(config: Config, costs: _Costs, area: Area) -> Iterable[Term]:
    """Clusters: from activation memory to accumulators."""
    clusters, adders = config.cluster_count, config.adders
    accumulator = config.accumulator_width
    address = address_width(config.activation_depth)
    pair = 2 * config.product_width
    # the select's part of an entry, and the products (hw/processing_element.py)
    entry = sum(one.memory.width for one in area.block("element").memories)
    # the bit that says whether an accumulator counts as zero is stored beside it
    stored = accumulator + 1

    yield Term(
        "activation memory",
        "memories",
        "activation_reads",
        "a word for the walker",
        costs.access(area.memory_of("activations"), write=False),
    )
    slices = area.block("slice")
    yield Term(
        "walkers",
        "slice",
        "activation_reads",
        "whose turn it is",
        (
            costs.part(
                "select_bit",
                address * math.log2(max(2, config.sets)),
                "bits of addresses to choose from",
            ),
            costs.part(
                "register_bit",
                slices.gated_flip_flops / config.clusters,
                "gated flip-flops of the slice",
            ),
            costs.changes(slices.flip_flops / config.clusters, "other flip-flops of the slice"),
        ),
    )
    walker, skip = area.block("walker"), area.block("zero skip")
    yield Term(
        "walkers",
        "walker",
        "activation_reads",
        "next address, word passed on",
        (
            costs.part("add_bit", 3 * address, "bits of three address counters"),
            costs.part(
                "register_bit",
                walker.gated_flip_flops / clusters * 0.5,
                "half of the walker's gated flip-flops",
            ),
            costs.changes(walker.flip_flops / clusters, "other flip-flops of the walker"),
            costs.part("register_file_write", _widest(walker.memories), "bits of the word queue"),
            costs.part("register_file_read", _widest(walker.memories), "bits of the word queue"),
        ),
    )
    yield Term(
        "walkers",
        "zero skip",
        "activation_reads",
        "nonzero lanes of a word",
        (
            costs.part("select_bit", ACTIVATION_WIDTH * config.scan_width, "bits of a word"),
            costs.part(
                "register_bit", skip.gated_flip_flops / clusters, "flip-flops that hold the word"
            ),
        ),
    )
    yield Term(
        "walkers",
        "zero skip",
        "broadcasts",
        "choice of the lane",
        (
            costs.part(
                "select_bit",
                (ACTIVATION_WIDTH + address_width(config.trit_depth))
                * math.log2(max(2, config.scan_width)),
                "bits of choices in a row",
            ),
            costs.part("add_bit", address_width(config.trit_depth), "bits of the column's address"),
        ),
    )
    yield Term(
        "trit memory",
        "memories",
        "broadcasts",
        "the column's trits for all elements",
        costs.access(area.memory_of("trits"), write=False),
    )
    yield Term(
        "scalers",
        "scaler",
        "broadcasts",
        "two products",
        (
            costs.part(
                "multiply_bit2",
                2 * ACTIVATION_WIDTH * config.coefficient_width,
                "products of the factors' bits",
            ),
            costs.changes(area.block("scaler").flip_flops / clusters, "flip-flops of the scaler"),
        ),
    )
    cluster = area.block("cluster")
    gated = cluster.gated_flip_flops / clusters - _chain(config, area)
    yield Term(
        "broadcast",
        "cluster",
        "broadcasts",
        "trits and products to the elements",
        (
            costs.wires(pair + 3, _side(area.cluster), f"{pair + 3} wires across the cluster"),
            costs.part("register_bit", gated, "gated flip-flops in front of the elements"),
            costs.changes(cluster.flip_flops / clusters, "other flip-flops of the cluster"),
        ),
    )
    yield Term(
        "queues",
        "element",
        "queue_writes",
        "an entry written and read",
        (
            costs.part("register_file_write", entry, "bits of an entry"),
            costs.part("register_file_read", entry, "bits of an entry"),
        ),
    )
    element = area.block("element")
    yield Term(
        "adders",
        "element",
        "adds",
        "next trit, choice of the product",
        (
            costs.part("select_bit", config.product_width, "bits of a product"),
            costs.part("add_bit", 4, "bits of the lowest nonzero trit"),
            costs.part(
                "register_bit",
                0.5 * element.gated_flip_flops / adders,
                "half of the element's gated flip-flops",
            ),
            costs.changes(element.flip_flops / adders, "other flip-flops of the element"),
        ),
    )
    yield Term(
        "adders",
        "accumulators",
        "adds",
        "addition",
        (
            costs.part("add_bit", accumulator, "bits of an accumulator"),
            costs.part("select_bit", accumulator, "bits, zero or the old value"),
        ),
    )
    yield Term(
        "accumulators",
        "accumulators",
        "adds",
        "old value read, sum written",
        (
            costs.part("register_file_read", stored, "bits of an accumulator"),
            costs.part("register_file_write", stored, "bits of an accumulator"),
        ),
    )


def _chain(config: Config, area: Area) -> float:
    """Gated flip-flops of a cluster that hold values and sums of the drain."""
    return min(
        area.block("cluster").gated_flip_flops / config.cluster_count,
        2.0 * config.drain_width * config.accumulator_width,
    )


def _widest(memories: Iterable[MemoryArea]) -> int:
    return max((one.memory.width for one in memories), default=0)


def _drain(config: Config, costs: _Costs, area: Area) -> Iterable[Term]:
    """From accumulators to activation memories; a step is ``drain_width`` rows of one set."""
    lanes, slices = config.drain_width, config.clusters
    values = lanes * slices
    accumulator = config.accumulator_width
    yield Term(
        "accumulators",
        "accumulators",
        "drain_steps",
        "accumulators taken",
        (
            costs.part("register_file_read", values * (accumulator + 1), "bits"),
            costs.part("register_file_write", values, "bits that say that it is zero"),
            costs.part("register_bit", values * accumulator, "bits of registers for taken values"),
        ),
    )
    yield Term(
        "drain",
        "cluster",
        "drain_steps",
        "values added to those passing by",
        (
            costs.part("add_bit", values * accumulator, "bits"),
            costs.part(
                "select_bit",
                values * accumulator * math.log2(max(2, config.elements // lanes)),
                "bits, choice of the element",
            ),
            costs.part(
                "register_bit", slices * _chain(config, area), "gated flip-flops of values and sums"
            ),
            costs.wires(
                values * accumulator,
                _side(area.cluster),
                f"{values * accumulator} wires to the next cluster",
            ),
        ),
    )
    top = area.block("top")
    yield Term(
        "drain",
        "top",
        "drain_steps",
        "delay lines of the chain",
        (costs.changes(top.flip_flops, "flip-flops around the clusters"),),
    )
    yield Term(
        "drain",
        "drain",
        "drain_steps",
        "next row, command",
        (
            costs.changes(area.block("drain").flip_flops, "flip-flops of the drain"),
            costs.part("add_bit", 2 * address_width(config.row_depth), "bits of addresses"),
        ),
    )
    requantizer = area.block("requantizer")
    offset = config.offset_width
    yield Term(
        "requantizers",
        "requantizer",
        "drain_steps",
        "product, offset, shift, clamp",
        (
            costs.part(
                "multiply_bit2",
                lanes * accumulator * config.multiplier_width,
                "products of the factors' bits",
            ),
            costs.part(
                "add_bit", lanes * (offset + 2 * ACTIVATION_WIDTH), "bits of offset and clamp"
            ),
            costs.part("select_bit", lanes * offset * math.log2(offset), "bits of shifts"),
            costs.changes(requantizer.flip_flops, "flip-flops of the requantizers"),
        ),
    )
    yield Term(
        "other memories",
        "memories",
        "drain_steps",
        "requantization and destination",
        costs.access(area.memory_of("rows"), write=False),
    )
    merge = area.block("merge")
    queue = _widest(merge.memories)
    yield Term(
        "write-back",
        "merge",
        "drain_steps",
        "values queued",
        (
            costs.part("register_file_write", lanes * queue, "bits of entries"),
            costs.part("register_file_read", lanes * queue, "bits of entries"),
        ),
    )
    yield Term(
        "write-back",
        "merge",
        "write_backs",
        "visit of a pooled pixel",
        (
            costs.part(
                "add_bit",
                ACTIVATION_WIDTH + 2 * address_width(config.activation_depth),
                "bits of comparison and addresses",
            ),
            costs.part(
                "register_bit",
                0.5 * merge.gated_flip_flops / slices,
                "half of the merge's gated flip-flops",
            ),
            costs.changes(merge.flip_flops / slices, "other flip-flops of the merge"),
        ),
    )
    yield Term(
        "activation memory",
        "memories",
        "write_backs",
        "an activation written",
        costs.access(area.memory_of("activations"), write=True),
    )
    yield Term(
        "activation memory",
        "memories",
        "merge_reads",
        "a word read for the maximum",
        costs.access(area.memory_of("activations"), write=False),
    )
    yield Term(
        "other memories",
        "memories",
        "result_writes",
        "results of the last layer",
        costs.access(_results(area), write=True),
    )


def _results(area: Area) -> MemoryArea:
    """The result memory; where it is a part of the packet buffer, that."""
    try:
        return area.memory_of("results")
    except StopIteration:
        return area.memory_of("packet buffer")


def _surroundings(config: Config, costs: _Costs, area: Area) -> Iterable[Term]:
    """Sequencer, counters, host port, and what is outside the chip."""
    yield Term(
        "other memories",
        "memories",
        "cycles",
        "a program word, in every cycle at most",
        costs.access(area.memory_of("program"), write=False),
    )
    yield Term(
        "control",
        "sequencer",
        "cycles",
        "a program word decoded, at most",
        (
            costs.part("register_bit", PORT_WIDTH, "bits of a record"),
            costs.changes(area.block("sequencer").flip_flops, "other flip-flops of the sequencer"),
        ),
    )
    counters = area.block("counters")
    if counters.flip_flops:
        yield Term(
            "control",
            "counters",
            "cycles",
            "events gathered and summed",
            (
                costs.part(
                    "add_bit",
                    PORT_WIDTH + 0.25 * counters.flip_flops,
                    "bits of a sum and of what is gathered",
                ),
                costs.part("register_file_read", PORT_WIDTH, "bits of a sum"),
                costs.part("register_file_write", PORT_WIDTH, "bits of a sum"),
                costs.changes(counters.flip_flops, "flip-flops of the counters"),
            ),
        )
    port = area.block("host port")
    buffer = area.memory_of("packet buffer")
    through = (
        *costs.access(buffer, write=True),
        *costs.access(buffer, write=False),
        costs.part("register_bit", 3 * PORT_WIDTH, "bits of registers on the way"),
        costs.changes(port.flip_flops, "flip-flops of the host port"),
    )
    outside = (costs.part("off_chip", PORT_WIDTH, "bits of a word"),)
    for event, what, memory, write in (
        ("sent_trit_words", "a word of trits, rows or program sent", "trits", True),
        ("sent_activation_words", "a word of activations sent", "activations", True),
        ("read_words", "a word of activations read by the host", "activations", False),
        ("result_words", "a word of results read by the host", "results", False),
    ):
        target = _results(area) if memory == "results" else area.memory_of(memory)
        # a port word reaches the macros that hold its bits
        share = -(-PORT_WIDTH * target.cost.columns // target.cost.width) / target.cost.columns
        yield Term(
            "host port", "host port", event, what, (*through, *costs.access(target, write, share))
        )
        yield Term(OFF_CHIP, "", event, what, outside)


def _always(
    config: Config, technology: Technology, area: Area, clock: float | None
) -> Iterable[Term]:
    """What time costs: clock and leakage, block by block."""
    period = technology["clock"]
    microseconds = (
        Band(1 / period.high, 1 / period.typical, 1 / period.low)
        if clock is None
        else Band.exact(1 / clock)
    )
    for block in area.blocks:
        if block.flip_flops:
            times = Band.exact(block.flip_flops)
            yield Term(
                "clock",
                block.name,
                "cycles",
                "flip-flops without an enable",
                (Part("clock_bit", (), times, "flip-flops", technology["clock_bit"] * times),),
            )
        # a cell leaks whatever space placement leaves around it
        leaking = technology["logic_leakage"] * block.cells
        slow = ("clock",) if clock is None else ()
        parts = [
            Part(
                "logic_leakage",
                ("area", *slow),
                block.cells * microseconds * 1e3,
                "um2 of cells, times 1000 microseconds a cycle",
                leaking * microseconds * 1e3,
            )
        ]
        parts += [
            Part(
                "register_file_leakage"
                if one.cost.macro is None
                else f"{macro_name(one.cost.macro)}.leakage",
                (*slow, *(("two_port_area",) if "two ports" in one.cost.composition else ())),
                microseconds * one.cost.leaking * (1e3 * one.memory.count),
                f"{one.memory.name}: {'bits' if one.cost.macro is None else 'macros'} of "
                f"{one.memory.count} memories, times 1000 microseconds a cycle",
                one.leakage * microseconds * 1e3,
            )
            for one in block.memories
        ]
        yield Term("leakage", block.name, "cycles", "all cells and memories", tuple(parts))


@dataclass(frozen=True)
class LayerEnergy:
    """Energy of one layer, pJ an image, by component."""

    name: str
    components: Mapping[str, Band]

    @property
    def on_chip(self) -> Band:
        return total(band for name, band in self.components.items() if name != OFF_CHIP)

    @property
    def dynamic(self) -> Band:
        """On the chip, without leakage."""
        return total(
            band for name, band in self.components.items() if name not in (OFF_CHIP, "leakage")
        )

    @property
    def off_chip(self) -> Band:
        return self.components[OFF_CHIP]


def layer_energy(name: str, terms: Iterable[Term], events: Mapping[str, float]) -> LayerEnergy:
    """Energy of events.

    Parameters
    ----------
    events
        Counts by name, per image; events that are not there did not happen.
    """
    components = dict.fromkeys(COMPONENTS, Band(0.0, 0.0, 0.0))
    for term in terms:
        if count := events.get(term.event, 0):
            components[term.component] = components[term.component] + term.energy * count
    return LayerEnergy(name, components)


def result_words(config: Config, rows: int) -> int:
    """Port words of the results of one pixel: whole entries of ``drain_width``."""
    return -(-rows // config.drain_width) * config.drain_width * RESULT_WIDTH // PORT_WIDTH
