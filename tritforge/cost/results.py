"""What an estimate says: the documents that ``tritforge estimate --json`` and pages hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypedDict

from tritforge.common.json_types import Json, JsonObject
from tritforge.cost.area import AreaReport
from tritforge.cost.band import Band, Extremes
from tritforge.cost.energy import LayerEnergy
from tritforge.cost.memory import MemoryReport
from tritforge.cost.technology import TechnologyReport
from tritforge.cost.terms.term import Term

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "UNITS",
    "Baseline",
    "BaselineLayer",
    "Baselines",
    "DenseBaseline",
    "Energy",
    "Estimate",
    "HostEstimate",
    "LayerEstimate",
    "Loading",
    "Total",
    "spent",
]

FORMAT = "tritforge estimate"
FORMAT_VERSION = 1

UNITS = {
    "low, typical, high": "of every estimate: what the low, typical and high figures of the "
    "technology give, each at once",
    "components, on_chip, off_chip, dynamic": "pJ an image; dynamic: on the chip without leakage",
    "pj_per_mac": "pJ on the chip per dense multiply-accumulate of the trained layer",
    "pj_per_add": "pJ on the chip per addition of a nonzero trit",
    "events": "counts an image, mean over images, as docs/hardware.md explains each; cycles are "
    "clock cycles; sent and read words are 32 bits",
    "terms": "pJ of one event, and the figures that it takes: figure x times",
    "area": "um2; mm2 where it is said",
    "energy": "all layers, input and results",
    "host.port_words": "32-bit words of input and results; the port takes one per cycle at best, "
    "which is not in the cycles",
    "average_power_mw": "mW on the chip: energy of an image, input and results included, over the "
    "time of its cycles",
    "loading": "pJ, once: writing trits, rows and program into the memories",
}


class Spent(TypedDict):
    """The fields of energy that layers, sums and baselines have alike: pJ an image.

    ``components`` by :data:`tritforge.cost.components.COMPONENTS`; ``dynamic`` is on the chip,
    without leakage.
    """

    components: dict[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band


def spent(energy: LayerEnergy) -> Spent:
    return {
        "components": dict(energy.components),
        "on_chip": energy.on_chip,
        "dynamic": energy.dynamic,
        "off_chip": energy.off_chip,
    }


@dataclass(frozen=True)
class Energy(JsonObject):
    """pJ an image; see :class:`Spent`."""

    components: Mapping[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band


@dataclass(frozen=True)
class LayerEstimate(JsonObject):
    """A layer, all counts an image.

    Members
    -------
    pixels : (height, width)
        Of the output before pooling.
    weight_density : float, optional
        Nonzero trits of all trits.
    trits_per_weight : float, optional
        Nonzero trits.
    activation_density : float, optional
        Nonzero activations of its source; None where the input is not known.
    broadcast_density : float, optional
        Activations that were broadcast, of those read.
    utilization : float, optional
        Of the adders, 0..1.
    lower_bound : float
        Clock cycles that it takes at least.
    events : dict[str, float]
        Counters and words at the host port.
    components, on_chip, dynamic, off_chip
        See :class:`Spent`.
    cluster_cycles : dict[str, float]
        Cluster cycles by cause.
    """

    name: str
    kind: str
    rows: int
    pixels: tuple[int, int]
    ternary: bool
    mac_count: int
    weights: int
    weight_density: float | None
    trits_per_weight: float | None
    activation_density: float | None
    broadcast_density: float | None
    cycles: float
    utilization: float | None
    lower_bound: float
    microseconds: float
    events: Mapping[str, float]
    components: Mapping[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band
    pj_per_mac: Band | None
    pj_per_add: Band | None
    cluster_cycles: Mapping[str, float]


@dataclass(frozen=True)
class HostEstimate(JsonObject):
    """What the host sends before a run and reads after it; ``port_words`` of 32 bits."""

    name: str
    events: Mapping[str, float]
    port_words: float
    components: Mapping[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band


@dataclass(frozen=True)
class Total(JsonObject):
    """A sum over some layers, by their names."""

    layers: tuple[str, ...]
    mac_count: int
    adds: float
    cycles: float
    microseconds: float
    components: Mapping[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band
    pj_per_mac: Band | None
    pj_per_add: Band | None
    dynamic_pj_per_mac: Band | None
    dynamic_pj_per_add: Band | None


@dataclass(frozen=True)
class Loading(JsonObject):
    """Writing trits, rows and program into the memories, once: pJ."""

    port_words: int
    on_chip: Band
    off_chip: Band


@dataclass(frozen=True)
class BaselineLayer(JsonObject):
    """A layer on another machine."""

    name: str
    cycles: float
    components: Mapping[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band


@dataclass(frozen=True)
class Baseline(JsonObject):
    """The same work on another machine; ``times_energy`` and ``times_cycles`` are that over this
    design's, layers only."""

    title: str
    layers: tuple[BaselineLayer, ...]
    cycles: float
    components: Mapping[str, Band]
    on_chip: Band
    dynamic: Band
    off_chip: Band
    times_energy: Extremes
    times_cycles: float


@dataclass(frozen=True)
class DenseBaseline(Baseline):
    """Dense multiply-accumulate units: their memories of weights, and what an event costs."""

    weight_memory: MemoryReport
    weight_memories: int
    weight_memory_um2: Band
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Baselines(JsonObject):
    """The same array without skipping; dense units that read a weight for each multiplication, and
    once an image."""

    without_skipping: Baseline
    dense: DenseBaseline
    dense_reused: Baseline

    def by_name(self) -> dict[str, Baseline]:
        return {
            "without_skipping": self.without_skipping,
            "dense": self.dense,
            "dense_reused": self.dense_reused,
        }


@dataclass(frozen=True)
class Estimate(JsonObject):
    """Energy and area of a network on a configuration; units under ``units``.

    Members
    -------
    configuration : dict
        Fields of :class:`tritforge.hw.config.Config`.
    adds_checked : bool
        Additions were compared with what weights and activations say.
    cycles : float
        Clock cycles an image.
    host : HostEstimate
    totals : dict[str, Total]
        Over all layers, ternary convolutions, and fully connected layers, where there are any.
    energy : Energy
        Layers, input and results.
    loading : Loading, optional
        None where the network is sent in every run.
    average_power_mw : Extremes, optional
    components : dict[str, str]
        What they are.
    terms : tuple of Term
        The ledger: every energy is the sum of terms times events.
    baselines : Baselines, optional
        In JSON an empty object where there are none.
    seconds : dict[str, float]
        Of wall time, by step.
    """

    format: str
    format_version: int
    tritforge: str
    network: str
    image: str
    image_manifest_sha256: str
    configuration: Mapping[str, bool | int | str]
    configuration_identity: str
    adders: int
    backend: str
    images: int
    adds_checked: bool
    clock_mhz: Band
    cycles: float
    microseconds: float
    layers: tuple[LayerEstimate, ...]
    host: HostEstimate
    totals: Mapping[str, Total]
    energy: Energy
    loading: Loading | None
    average_power_mw: Extremes | None
    components: Mapping[str, str]
    terms: tuple[Term, ...]
    area: AreaReport
    baselines: Baselines | None
    technology: TechnologyReport
    seconds: Mapping[str, float]
    units: Mapping[str, str]

    def to_json(self) -> dict[str, Json]:
        document = super().to_json()
        return document if self.baselines is not None else document | {"baselines": {}}

    @classmethod
    def from_json(cls, value: object, where: str = "the estimate") -> Self:
        if isinstance(value, dict) and value.get("baselines") == {}:
            value = value | {"baselines": None}
        return super().from_json(value, where)
