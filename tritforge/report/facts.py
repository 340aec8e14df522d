"""What a page shows beyond the estimate: derived numbers, and the image's side of compression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import Json, JsonObject
from tritforge.cost.components import OFF_CHIP
from tritforge.cost.results import Estimate, LayerEstimate
from tritforge.hw.config import Config
from tritforge.hw.widths import ACTIVATION_WIDTH, PORT_WIDTH
from tritforge.model_export.image.manifest import (
    LayerEntry,
    LayerMemory,
    Manifest,
    Sizes,
    Streaming,
)
from tritforge.model_export.network import Layer, Network
from tritforge.sim.result import RunReport

__all__ = [
    "Derived",
    "ImageFacts",
    "Kernels",
    "LayerShares",
    "LedgerEntry",
    "Roofline",
    "RooflineLayer",
    "ShownKernels",
    "derive",
    "image_facts",
    "kernels_of",
]

_BAND = ("low", "typical", "high")
_UNITS = {
    "frames_per_second": "frames/s at the clock, one after another, nothing else running",
    "component_shares": "of the typical energy on the chip, 0..1",
    "ledger": "events an image; pJ an image: events times pJ of one event",
    "roofline": "bytes an image; bytes and additions a clock cycle; trits count 2 bits, "
    "activations 8, words of the host port 32",
}
#: Layers, rows and channels whose kernels are shown at most.
MOST_LAYERS, MOST_ROWS, MOST_CHANNELS = 2, 16, 32
#: Trits of a side of a picture of a layer that is no convolution.
MOST_INPUTS = 96


@dataclass(frozen=True)
class Kernels:
    """Kernels of one layer, or the first of them.

    Members
    -------
    layer : str
    trits : int8 array (rows, channels, height, width)
        Those shown.
    shape : tuple of int
        Rows, channels, height, width of all.
    zero : float
        Share of zeros among all, 0..1.
    """

    layer: str
    trits: NDArray[np.int8]
    shape: tuple[int, ...]
    zero: float


def kernels_of(network: Network) -> list[Kernels]:
    """Kernels of the first ternary convolutions; of a network without one, those of the first
    other ternary layer, if any."""
    ternary = [layer for layer in network.layers if layer.is_ternary]
    convs = [layer for layer in ternary if layer.kind == "conv"]
    return [_kernels(layer) for layer in (convs or ternary[:1])[:MOST_LAYERS]]


def _kernels(layer: Layer) -> Kernels:
    trits = layer.groups[0].trits
    single = trits.shape[2:] == (1, 1)
    shown = trits[
        : MOST_INPUTS // 2 if single else MOST_ROWS, : MOST_INPUTS if single else MOST_CHANNELS
    ]
    return Kernels(layer.name, shown, trits.shape, float(np.mean(trits == 0)))


@dataclass(frozen=True)
class LayerFacts(JsonObject):
    """What a page shows of a layer, as :class:`tritforge.model_export.image.manifest.LayerEntry`
    has it; ``ratio``: float32 bytes over packed bytes."""

    name: str
    kind: str
    ternary: bool
    weights: int
    trits_bytes: int
    packed_bytes: int
    bits_per_weight: float | None
    density: float
    note: str
    memory: LayerMemory
    float32_bytes: int
    ratio: float | None


@dataclass(frozen=True)
class ImageFacts(JsonObject):
    """The part of an image's manifest that a page shows."""

    tritforge: str
    format_version: int
    manifest_sha256: str
    sizes: Sizes
    streaming: Streaming | None
    extra: dict[str, Json]
    layers: list[LayerFacts]


def image_facts(manifest: Manifest) -> ImageFacts:
    """What a page shows of an image."""
    return ImageFacts(
        manifest.tritforge,
        manifest.format_version,
        manifest.manifest_sha256,
        manifest.sizes,
        manifest.streaming,
        manifest.extra,
        [
            LayerFacts(
                layer.name,
                layer.kind,
                layer.ternary,
                layer.weights,
                layer.trits_bytes,
                layer.packed_bytes,
                layer.bits_per_weight,
                layer.density,
                layer.note,
                layer.memory,
                4 * layer.weights,
                _ratio(layer),
            )
            for layer in manifest.layers
        ],
    )


def _ratio(layer: LayerEntry) -> float | None:
    if not layer.packed_bytes or not layer.weights:
        return None
    return 4 * layer.weights / layer.packed_bytes


@dataclass(frozen=True)
class LayerShares(JsonObject):
    """A layer's shares: of all cycles, of all energy on the chip, of the least cycles that it
    could take in those it takes, and of cluster cycles by cause."""

    cycle_share: float | None
    energy_share: float | None
    of_least: float | None
    cause_shares: Mapping[str, float]


@dataclass(frozen=True)
class LedgerEntry(JsonObject):
    """How often a term's event happens in an image, and pJ of all of them: low, typical, high."""

    count: float
    pj: Mapping[str, float]


@dataclass(frozen=True)
class RooflineLayer(JsonObject):
    """A layer in a roofline: bytes an image, and additions a byte and a clock cycle."""

    name: str
    adds_per_cycle: float | None
    on_chip_bytes: float
    adds_per_on_chip_byte: float | None
    host_bytes: float
    adds_per_host_byte: float | None
    packed_bytes: float
    adds_per_packed_byte: float | None


@dataclass(frozen=True)
class Roofline(JsonObject):
    """What the array can do in a clock cycle: additions, and bytes that its memories give."""

    peak_adds_per_cycle: float
    trit_bytes_per_cycle: float
    activation_bytes_per_cycle: float
    on_chip_bytes_per_cycle: float
    host_bytes_per_cycle: float
    layers: Sequence[RooflineLayer]


@dataclass(frozen=True)
class ShownKernels(JsonObject):
    """Shapes of the kernels of a layer: those that a page shows, and all."""

    layer: str
    shown: tuple[int, ...]
    all: tuple[int, ...]
    zero: float


@dataclass(frozen=True)
class Derived(JsonObject):
    """Numbers of a page that follow from estimate, run and image; units under ``units``.

    Members
    -------
    ledger : list of LedgerEntry
        Of the estimate's terms, in their order.
    """

    frames_per_second: Mapping[str, float]
    adds: float
    mac_count: int
    utilization: float | None
    lower_bound: float
    simulated_cycles_per_second: float | None
    component_shares: Mapping[str, float | None]
    layers: Sequence[LayerShares]
    ledger: Sequence[LedgerEntry]
    roofline: Roofline
    kernels: Sequence[ShownKernels]
    units: Mapping[str, str]


def derive(
    estimate: Estimate,
    run: RunReport,
    image: ImageFacts,
    kernels: Sequence[Kernels] = (),
) -> Derived:
    """Numbers that follow from the estimate, the run and the image.

    Parameters
    ----------
    estimate
        Of the run.
    run
        As :func:`tritforge.sim.report.build_report` gives it.
    image
        As :func:`image_facts` gives it.
    kernels
        As :func:`kernels_of` gives them.
    """
    cycles = estimate.cycles
    host = estimate.host
    layers = estimate.layers
    energy = estimate.energy
    whole = energy.on_chip.typical
    events: dict[str, float] = {}
    for counts in (*(layer.events for layer in layers), host.events):
        for name, count in counts.items():
            events[name] = events.get(name, 0) + count
    adds = sum(layer.events["adds"] for layer in layers)
    return Derived(
        frames_per_second={
            key: 1e6 * getattr(estimate.clock_mhz, key) / cycles if cycles else 0.0 for key in _BAND
        },
        adds=adds,
        mac_count=sum(layer.mac_count for layer in layers),
        utilization=adds / (cycles * estimate.adders) if cycles else None,
        lower_bound=sum(layer.lower_bound for layer in layers)
        if run.lower_bound is None
        else run.lower_bound / run.images,
        simulated_cycles_per_second=(run.total_cycles or 0) / run.wall_seconds
        if run.wall_seconds
        else None,
        component_shares={
            name: band.typical / whole if whole and name != OFF_CHIP else None
            for name, band in energy.components.items()
        },
        layers=[_layer(layer, whole, cycles) for layer in layers],
        ledger=[
            LedgerEntry(count, {key: getattr(term.energy, key) * count for key in _BAND})
            for term in estimate.terms
            for count in (events.get(term.event, 0.0),)
        ],
        roofline=_roofline(estimate, image),
        kernels=[ShownKernels(one.layer, one.trits.shape, one.shape, one.zero) for one in kernels],
        units=_UNITS,
    )


def _layer(layer: LayerEstimate, whole: float, cycles: float) -> LayerShares:
    spent = layer.cluster_cycles
    every = sum(spent.values())
    return LayerShares(
        cycle_share=layer.cycles / cycles if cycles else None,
        energy_share=layer.on_chip.typical / whole if whole else None,
        of_least=layer.lower_bound / layer.cycles if layer.cycles else None,
        cause_shares={name: count / every if every else 0.0 for name, count in spent.items()},
    )


def _roofline(estimate: Estimate, image: ImageFacts) -> Roofline:
    config = Config.from_dict(dict(estimate.configuration))
    trit_word = config.memory_width("trits") / 8
    activation_word = config.scan_width * ACTIVATION_WIDTH / 8
    port_word = PORT_WIDTH / 8
    points = []
    for layer, stored in zip(estimate.layers, image.layers, strict=True):
        events = layer.events
        adds, cycles = events["adds"], layer.cycles
        inside = trit_word * events["broadcasts"] + activation_word * (
            events["activation_reads"] + events["merge_reads"]
        )
        through = port_word * (
            events["sent_trit_words"] + events["sent_activation_words"] + events["read_words"]
        )
        would = float(stored.packed_bytes)
        points.append(
            RooflineLayer(
                name=layer.name,
                adds_per_cycle=adds / cycles if cycles else None,
                on_chip_bytes=inside,
                adds_per_on_chip_byte=adds / inside if inside else None,
                host_bytes=through,
                adds_per_host_byte=adds / through if through else None,
                packed_bytes=would,
                adds_per_packed_byte=adds / would if would else None,
            )
        )
    trits = config.memory_count("trits") * trit_word
    activations = config.memory_count("activations") * activation_word
    return Roofline(
        peak_adds_per_cycle=float(config.adders),
        trit_bytes_per_cycle=trits,
        activation_bytes_per_cycle=activations,
        on_chip_bytes_per_cycle=trits + activations,
        host_bytes_per_cycle=port_word,
        layers=points,
    )
