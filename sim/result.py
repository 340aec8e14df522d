"""What a run gives: integers, cycles and counters, and the report of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import JsonObject
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.sim.accuracy import accuracy
from tritforge.sim.bounds import layer_least, least_cycles
from tritforge.sim.verdict import Verdict, cause_of_kind, verdict

__all__ = [
    "CLUSTER_CYCLES",
    "InputFacts",
    "LayerReport",
    "LayerRun",
    "Loading",
    "OutputFile",
    "RunReport",
    "Simulation",
]

#: What a cluster's cycle is spent on; ``idle`` is the rest, derived.
CLUSTER_CYCLES = (
    "broadcasts",
    "empty_scans",
    "stall_queue_full",
    "stall_imbalance",
    "stall_drain",
    "idle",
)
assert set(CLUSTER_CYCLES[:-1]) <= set(COUNTERS)


@dataclass(eq=False)
class LayerRun:
    """What one layer cost, summed over images.

    ``counters`` has the names of :data:`tritforge.hw.program.COUNTERS`, ``cycles`` apart (counts,
    or cluster cycles where the name starts with ``stall_``); empty where the backend has none.
    """

    name: str
    kind: str  # "conv", "linear", "pool", ...
    rows: int
    pixels: tuple[int, int]  # output height, width before pooling
    mac_count: int  # dense multiply-accumulates per image
    planes: bool = False  # its weights have several bits and are sums of ternary planes
    cycles: int | None = None  # clock cycles
    cycles_per_image: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    #: cycles it takes at least, and each part of the machine: see :mod:`tritforge.sim.bounds`
    lower_bound: int | None = None
    needed: dict[str, int] = field(default_factory=dict)
    passes: int = 0  # of a streamed image; and, per image,
    sent_words: int = 0  # port words that it needs from the host
    read_words: int = 0  # and that the host reads back

    def add(self, values: Mapping[str, int]) -> None:
        """Add one image's counters, by the names of :data:`tritforge.hw.program.COUNTERS`."""
        self.cycles_per_image.append(values.get("cycles", 0))
        self.cycles = sum(self.cycles_per_image)
        for name, value in values.items():
            if name != "cycles":
                self.counters[name] = self.counters.get(name, 0) + value

    def add_needed(self, needed: Mapping[str, int]) -> None:
        """Add what one image needs at least, by the names of
        :data:`tritforge.sim.bounds.PARTS`."""
        self.lower_bound = (self.lower_bound or 0) + layer_least(needed)
        for name, value in needed.items():
            self.needed[name] = self.needed.get(name, 0) + value

    def dense_cycles(self, config: Config) -> float | None:
        """Cycles of as many adders with one dense multiply-accumulate each in every cycle, sum
        over images; None without cycles."""
        if self.cycles is None:
            return None
        return self.mac_count * len(self.cycles_per_image) / config.adders

    def speed_up(self, config: Config) -> float | None:
        """Dense cycles / cycles; None without cycles or where nothing is multiplied."""
        dense = self.dense_cycles(config)
        return dense / self.cycles if dense and self.cycles else None

    def utilization(self, config: Config) -> float | None:
        """Share of all adders' cycles in which they add, 0..1: adds / (cycles * N*G*P)."""
        if not self.cycles:
            return None
        return self.counters["adds"] / (self.cycles * config.adders)

    def cluster_cycles(self, config: Config) -> dict[str, int]:
        """Where the N*G * cycles cluster cycles went, by the names of :data:`CLUSTER_CYCLES`."""
        if self.cycles is None:
            return {}
        spent = {name: self.counters[name] for name in CLUSTER_CYCLES[:-1]}
        return {**spent, "idle": config.cluster_count * self.cycles - sum(spent.values())}

    def causes(self, config: Config) -> dict[str, float]:
        """What the cycles were spent on, by the names of :data:`tritforge.sim.verdict.CAUSES`."""
        if not self.cycles:
            return {}
        if not self.mac_count:
            return {cause_of_kind(self.kind): self.cycles}
        if self.planes:
            return {"planes": self.cycles}
        spent = {
            name: count / config.cluster_count
            for name, count in self.cluster_cycles(config).items()
        }
        busy = spent["broadcasts"] + spent["stall_queue_full"]
        adders = min(self.counters["adds"] / config.adders, busy)
        port = min(spent["idle"], self.counters["stall_refill"])
        return {
            "adders": adders,
            "broadcasts": busy - adders,
            "empty words": spent["empty_scans"],
            "imbalance": spent["stall_imbalance"],
            "drain": spent["stall_drain"],
            "host port": port,
            "sequencer": spent["idle"] - port,
        }


@dataclass(frozen=True)
class Loading(JsonObject):
    """How trits, row memory and program reached the memories, once; never in a run's cycles.

    Members
    -------
    how
        ``"host port"``; ``"back door"``: a simulator put them there without a clock cycle;
        ``"already there"``: a board held them from before;
        ``"not modelled"``; ``"streamed"``: what does not stay in the memories is sent in every run,
        and is in its cycles; ``"none"``: there are no memories.
    port_words
        32-bit words that the contents are on the host port, not packed; None without memories.
    sent_words
        32-bit words that were sent, trits packed where that is fewer, packet headers included;
        None but through the host port.
    cycles
        Clock cycles that it took; None but through the host port, and over a serial line.
    """

    how: Literal["host port", "back door", "already there", "not modelled", "streamed", "none"] = (
        "none"
    )
    port_words: int | None = None
    sent_words: int | None = None
    cycles: int | None = None


@dataclass(frozen=True)
class InputFacts(JsonObject):
    """What a run was given, against what its network was calibrated for, in real numbers.

    Members
    -------
    sha256
        Of the activation codes, int64.
    codes
        They were given as activation codes, not as real numbers.
    lowest, highest
        Of all values given.
    range
        Least and greatest value that a code stands for.
    clipped
        Share of the values that are beyond it and became its ends, 0..1.
    """

    sha256: str
    codes: bool
    lowest: float
    highest: float
    range: tuple[float, float]
    clipped: float

    @property
    def farthest(self) -> float:
        """The value that is farthest beyond the range, or an end where none is."""
        low, high = self.range
        return self.lowest if low - self.lowest > self.highest - high else self.highest

    @property
    def factor(self) -> float:
        """Largest magnitude given / largest magnitude that a code stands for."""
        return max(abs(self.lowest), abs(self.highest)) / max(map(abs, self.range))


@dataclass(eq=False, repr=False)
class Simulation:
    """Result of one run.

    ``output`` is (images, rows, height, width) int64: results of the network's last layer
    (accumulators, in units of ``output_scale``), or the output codes of the layer that ran alone.
    """

    backend: str
    network: str
    config: Config
    images: int
    layer: str | None  # the layer that ran alone, None: the whole network
    output_layer: str
    output_scale: float  # real value of one unit of ``output``
    output: NDArray[np.int64]
    layers: list[LayerRun]
    total_cycles: int | None  # clock cycles, sum over images; None: the backend has none
    cycles_per_image: list[int]  # of the whole run, by image
    loading: Loading  # of trits, rows and program; not in total_cycles
    seconds: float  # wall time of the simulation, loading included
    input: InputFacts | None = None  # what it was given, where a flow knows
    labels: NDArray[np.int64] | None = None  # (images,): the classes, where they were given

    def __repr__(self) -> str:
        cycles = "no cycles" if self.total_cycles is None else f"{self.total_cycles:,} cycles"
        return (
            f"<Simulation of {self.network} for {self.config.name}, backend {self.backend}: "
            f"{self.images} images, {cycles}>"
        )

    def accuracy(self, labels: NDArray[np.integer] | None = None) -> float | None:
        """Share of the images whose largest output is that of their label, 0..1; of the labels that
        the run was given where there are none here, None where it was given none.

        Raises
        ------
        ExportError
            As :func:`tritforge.sim.accuracy.check_labels`.
        """
        chosen = self.labels if labels is None else labels
        return None if chosen is None else accuracy(self.output, chosen)

    @property
    def loading_cycles(self) -> int | None:
        """Clock cycles of writing trits, rows and program through the port; None: not so done."""
        return self.loading.cycles

    @property
    def lower_bound(self) -> int | None:
        """Clock cycles that the run takes at least, sum over images, see
        :mod:`tritforge.sim.bounds`; None without cycles."""
        if self.total_cycles is None:
            return None
        return least_cycles(layer.needed for layer in self.layers)

    @property
    def verdict(self) -> Verdict | None:
        """What the run is bound by; None without cycles, or where nothing is multiplied."""
        if self.total_cycles is None:
            return None
        spent: dict[str, float] = {}
        for layer in self.layers:
            for cause, cycles in layer.causes(self.config).items():
                spent[cause] = spent.get(cause, 0.0) + cycles / self.images
        dense = sum(layer.mac_count for layer in self.layers) / self.config.adders
        return verdict(spent, dense, self.config)

    @property
    def utilization(self) -> float | None:
        """Share of all adders' cycles in which they add, 0..1, over the whole run; None where
        nothing is counted."""
        if not self.total_cycles or not all(layer.counters for layer in self.layers):
            return None
        adds = sum(layer.counters["adds"] for layer in self.layers)
        return adds / (self.total_cycles * self.config.adders)


@dataclass(frozen=True)
class OutputFile(JsonObject):
    """Where a run's output is, and what it means: real value = scale * integer."""

    file: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    meaning: str


@dataclass(frozen=True)
class LayerReport(JsonObject):
    """What one layer cost, as :class:`LayerRun` explains it, with what follows from that."""

    name: str
    kind: str
    rows: int
    pixels: tuple[int, int]
    mac_count: int
    cycles: int | None
    utilization: float | None
    cycles_per_image: list[int]
    lower_bound: int | None
    dense_cycles: float | None
    speed_up: float | None
    passes: int
    sent_words: int
    read_words: int
    counters: dict[str, int]
    cluster_cycles: dict[str, int]
    needed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunReport(JsonObject):
    """``report.json``: what a run cost; ``units`` explains the numbers.

    Members
    -------
    tritforge : str
        Version of the program that ran it.
    image, image_manifest_sha256 : str
        Where the image was, as the user said it, and the checksum that its manifest states.
    layer : str or None
        The layer that ran alone; None: the whole network.
    total_cycles, utilization
        None where the backend has no cycles.
    input : InputFacts or None
        None in reports of earlier versions.
    accuracy : float or None
        Share of the images whose largest output is that of their label; None without labels.
    lower_bound : int or None
        Clock cycles that the run takes at least; None without cycles, and in reports of earlier
        versions.
    verdict : Verdict or None
        What it is bound by; None too where nothing is multiplied.
    """

    format: str
    format_version: int
    tritforge: str
    network: str
    image: str
    image_manifest_sha256: str
    configuration: str
    configuration_identity: str
    sets: int
    clusters: int
    elements: int
    adders: int
    backend: str
    images: int
    layer: str | None
    total_cycles: int | None
    cycles_per_image: list[int]
    loading_cycles: int | None
    loading: Loading
    utilization: float | None
    wall_seconds: float
    output: OutputFile
    layers: list[LayerReport]
    units: dict[str, str]
    input: InputFacts | None = None
    accuracy: float | None = None
    lower_bound: int | None = None
    verdict: Verdict | None = None
