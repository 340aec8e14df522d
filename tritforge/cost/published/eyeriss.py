"""Eyeriss (Chen et al., JSSC 2017) on AlexNet: events times figures, against measured energy.

The chip is 168 elements in 12 rows of 14 at 200 MHz and 1.0 V in 65 nm, 16 bits. Each element has
scratch pads for inputs (12 words) and partial sums (24 words) of registers and one for weights (224
words) of SRAM; a global buffer of 108 KB in banks of 512 x 64 bits feeds them over buses. The
dataflow is row-stationary. Counted per layer, for four images:

==================  ==============================================================================
multiplication      one of 16 x 16 bits and an addition for each input that is not zero
input pad           a read for each multiplication, zeros too (the zero is found by reading); a
                    write for every p S / U of them: a word serves p filters and S / U positions
weight pad          a read for each input that is not zero; a write for every E n of them
sum pad             a read and a write for each multiplication; the low value counts them for
                    inputs that are not zero alone, as the paper does not say whether gating
                    reaches this pad
buffer              published bytes, 8 to an access, as many reads as writes
network             published bytes over wires as long as below; a partial sum moves to the next
                    element once for every q S multiplications
flip-flops          those outside the pads, each cycle of the published total time
leakage             gates and memories, total time
==================  ==============================================================================

S, U and E are a filter's width, its stride and the outputs of a row; p, q and n are filters,
channels and images that an element works on together (table III of the paper). The compression of
what goes to the memory outside, the controller's and the pads' decoders and that memory are not in
it; the published power is the chip's.

Nothing is fitted: events are computed from the paper's tables III and V, and what a table does not
hold is a band, from a stated assumption, whose width is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band, total
from tritforge.cost.published.eyeriss_figures import (
    BANKS,
    BUS,
    CLOCK_MHZ,
    COMPONENTS,
    ELEMENTS,
    FLIP_FLOPS,
    GATES,
    LAYERS,
    MACHINE,
    NOTES,
    PIPELINE,
    PITCH,
    PUBLISHED_AREA,
    PUBLISHED_MW,
    PUBLISHED_PJ_PER_MAC,
    SOURCE,
    UNITS,
    Layer,
)
from tritforge.cost.published.parts import PartComparison, compare_part, macro_of
from tritforge.cost.technology import Technology

__all__ = ["Comparison", "LayerComparison", "compare", "core_area", "layer_energy"]


def layer_energy(technology: Technology, layer: Layer) -> dict[str, Band]:
    """mJ of each of :data:`COMPONENTS` for four images.

    Raises
    ------
    CostError
        The technology lacks a memory that Eyeriss has.
    """
    weights, bank = macro_of(technology, 0.5, 16), macro_of(technology, 4, 64)
    macs, live = layer.macs, layer.macs * (1 - layer.zeros)
    # A zero leaves the partial sum as it is; whether its pad is then still accessed is not stated.
    sums = Band(live, macs, macs)
    read, write = technology["register_file_read"], technology["register_file_write"]
    bits = layer.buffer_mb * 8e6
    wire = technology["wire"] * technology["toggle"]
    cycles = layer.total_ms * 1e3 * CLOCK_MHZ
    # A pipeline's flip-flops are written when an input that is not zero passes.
    written = live * PIPELINE
    idle = FLIP_FLOPS * cycles
    idle = Band(*(max(0.0, count - written) for count in (idle.low, idle.typical, idle.high)))
    logic = technology.cells["NAND2"].area * GATES
    leakage = (
        logic * technology["logic_leakage"] + bank.leakage * BANKS + weights.leakage * ELEMENTS
    )
    energy = {  # pJ
        "multiplication": (technology["multiply_bit2"] * 256 + technology["add_bit"] * 16) * live,
        "input pad": read * (16 * macs)
        + write * (16 * macs * layer.stride / (layer.together * layer.width)),
        "weight pad": weights.read * live + weights.write * (macs / (layer.outputs * layer.images)),
        "sum pad": (read + write) * 16 * sums,
        "buffer": (bank.read + bank.write) * (bits / 64 / 2),
        "network": wire * (BUS * bits + PITCH * (16 * macs / (layer.planes * layer.width))),
        "flip-flops": technology["register_bit"] * written + technology["clock_bit"] * idle,
        "leakage": leakage * (layer.total_ms * 1e6),
    }
    return {name: energy[name] / 1e9 for name in COMPONENTS}


def core_area(technology: Technology) -> Band:
    """um2 of the gates, with the space between them, and of the memories."""
    gates = technology.cells["NAND2"].area * GATES
    return (
        technology.placed(gates)
        + macro_of(technology, 4, 64).area * BANKS
        + macro_of(technology, 0.5, 16).area * ELEMENTS
    )


@dataclass(frozen=True)
class LayerComparison(JsonObject):
    """A layer: mJ for four images, ``ratio`` of the typical value over the published; pJ for each
    multiplication; ms that the active elements need at one multiplication a cycle, against the
    published processing time."""

    name: str
    macs: int
    zeros: float
    model_mj: Band
    published_mj: float
    ratio: float
    within: bool
    components_mj: Mapping[str, Band]
    model_pj_per_mac: Band
    published_pj_per_mac: float
    model_processing_ms: float
    published_processing_ms: float
    time_ratio: float


@dataclass(frozen=True)
class Comparison(JsonObject):
    """The model of Eyeriss against what was published; ``parts`` are the five layers together, and
    the core's area."""

    machine: str
    source: str
    technology: str
    layers: tuple[LayerComparison, ...]
    parts: tuple[PartComparison, ...]
    units: Mapping[str, str]
    notes: tuple[str, ...]


def _layer(technology: Technology, layer: Layer) -> LayerComparison:
    energy = layer_energy(technology, layer)
    model = total(energy.values())
    compute = layer.macs / layer.active / CLOCK_MHZ / 1e3
    return LayerComparison(
        name=layer.name,
        macs=layer.macs,
        zeros=layer.zeros,
        model_mj=model,
        published_mj=layer.energy_mj,
        ratio=model.typical / layer.energy_mj,
        within=model.contains(layer.energy_mj),
        components_mj=energy,
        model_pj_per_mac=model * (1e9 / layer.macs),
        published_pj_per_mac=layer.energy_mj * 1e9 / layer.macs,
        model_processing_ms=compute,
        published_processing_ms=layer.processing_ms,
        time_ratio=compute / layer.processing_ms,
    )


def compare(technology: Technology) -> Comparison:
    """The model of Eyeriss against what was published.

    Raises
    ------
    CostError
        The technology lacks a memory that Eyeriss has.
    """
    layers = tuple(_layer(technology, layer) for layer in LAYERS)
    macs = sum(layer.macs for layer in LAYERS)
    whole = total(layer.model_mj for layer in layers)
    time = sum(layer.total_ms for layer in LAYERS)
    each = whole * (1e9 / macs)
    return Comparison(
        machine=MACHINE,
        source=SOURCE,
        technology=technology.name,
        layers=layers,
        parts=(
            compare_part(
                "energy", "five layers, for each multiplication", "pJ", each, PUBLISHED_PJ_PER_MAC
            ),
            compare_part("power", "five layers", "mW", whole * (1e3 / time), PUBLISHED_MW),
            compare_part("area", "core", "um2", core_area(technology), PUBLISHED_AREA),
        ),
        units=UNITS,
        notes=NOTES,
    )
