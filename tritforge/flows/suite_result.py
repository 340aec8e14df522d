"""What the suite of benchmarks finds: ``suite.json``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject

__all__ = [
    "CAUSES",
    "FORMAT",
    "UNITS",
    "PairResult",
    "SuiteLayer",
    "SuiteResult",
    "Unmeasured",
    "mean_speed_up",
]

FORMAT = "tritforge suite"

#: Where cluster cycles go: as the counters have them, idle ones divided in two.
CAUSES = (
    "broadcasts",
    "empty_scans",
    "stall_queue_full",
    "stall_imbalance",
    "stall_drain",
    "refill",
    "sequencer",
)

UNITS = {
    "cycles": "clock cycles, mean over the images; trits, rows, program and input are in the "
    "memories, loading them and reading results is not included; where a network does not fit, "
    "all that goes through the host port meanwhile is",
    "dense_cycles": "MACs of layers with weights / adders",
    "speed_up": "dense_cycles / cycles",
    "least_cycles": "clock cycles that the additions, broadcasts, drain, write-backs or port words "
    "of the compiled network take at least, whatever the order",
    "by_kind": "share of the cycles by kind of layer, 0..1",
    "causes": "share of the cluster cycles (sets * clusters * cycles), 0..1: an activation is "
    "broadcast; a word holds only zeros; a queue is full, its adder works; waiting for other "
    "clusters; for the drain; for the host port; for the sequencer, which hands out jobs",
    "write_back": "share of the cycles in which the drain waits for write-backs, 0..1",
    "utilization": "additions / (cycles * adders), 0..1",
    "without_weights": "share of the cycles in layers without weights, 0..1",
    "clock_mhz": "MHz at which cycles are frames",
    "verdict": "what it is bound by, in a sentence",
    "energy_uj": "uJ an image at 45 nm, typical, leakage included",
    "area_mm2": "mm2 at 45 nm, typical",
    "mean_speed_up": "geometric mean over the pairs that are in the mean",
    "seconds": "wall seconds on this computer",
}


@dataclass(frozen=True)
class SuiteLayer(JsonObject):
    """One layer: means over the images."""

    name: str
    kind: str
    rows: int
    pixels: tuple[int, int]
    groups: int
    weights: int
    mac_count: int
    cycles: float
    dense_cycles: float
    speed_up: float | None  # None: it has no weights
    least_cycles: float
    utilization: float
    counters: dict[str, float]


@dataclass(frozen=True)
class PairResult(JsonObject):
    """A network on a configuration, mean over the images; :data:`UNITS` explains the numbers.

    Members
    -------
    preset
        In whose place ``config`` is; mostly itself.
    in_mean
        Whether its speed-up is in the suite's mean.
    configuration, configuration_identity
        Name and digest of what ``config`` names.
    weights, statement, images_of, images
        Where weights and images come from, and the images' names.
    streamed
        Whether the image does not fit the memories at once.
    worst_layer, worst_speed_up
        Of the layers with weights that take 1 % of the cycles or more, the one with the least
        speed-up; None where there is none.
    """

    network: str
    config: str
    preset: str
    in_mean: bool
    configuration: str
    configuration_identity: str
    adders: int
    weights: str
    statement: str
    images_of: str
    images: tuple[str, ...]
    streamed: bool
    cycles: float
    cycles_per_image: tuple[int, ...]
    dense_cycles: float
    speed_up: float
    least_cycles: float
    utilization: float
    by_kind: Mapping[str, float]
    causes: Mapping[str, float]
    write_back: float
    without_weights: float
    worst_layer: str | None
    worst_speed_up: float | None
    clock_mhz: float
    frames_per_second: float
    energy_uj: float | None
    area_mm2: float | None
    verdict: str
    layers: tuple[SuiteLayer, ...]
    seconds: Mapping[str, float]

    @property
    def name(self) -> str:
        """What ``--only`` calls it."""
        return f"{self.network}@{self.config}"

    @property
    def title(self) -> str:
        """The same in a table, without the path of a file."""
        return f"{self.network}@{self.configuration}"


@dataclass(frozen=True)
class Unmeasured(JsonObject):
    """A pair that could not be measured, and why in one sentence."""

    network: str
    config: str
    in_mean: bool
    error: str

    @property
    def name(self) -> str:
        """What ``--only`` calls it."""
        return f"{self.network}@{self.config}"


@dataclass(frozen=True)
class SuiteResult(JsonObject):
    """``suite.json``."""

    format: str
    tritforge: str
    mean_speed_up: float | None
    mean_of: tuple[str, ...]
    pairs: tuple[PairResult, ...]
    unmeasured: tuple[Unmeasured, ...]
    seconds: float
    units: Mapping[str, str]


def mean_speed_up(pairs: Sequence[PairResult]) -> float | None:
    """Geometric mean over the pairs that are in the mean; None without any."""
    values = [one.speed_up for one in pairs if one.in_mean]
    return math.prod(values) ** (1 / len(values)) if values else None
