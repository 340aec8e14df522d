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

from dataclasses import dataclass
from typing import Any

from tritforge.cost.band import Band, total
from tritforge.cost.published.parts import macro_of, part
from tritforge.cost.technology import Technology

__all__ = [
    "CLOCK_MHZ",
    "COMPONENTS",
    "ELEMENTS",
    "LAYERS",
    "Layer",
    "compare",
    "core_area",
    "layer_energy",
]

ROWS, COLUMNS = 12, 14
ELEMENTS = ROWS * COLUMNS
CLOCK_MHZ = 200
IMAGES = 4
#: NAND2 equivalents of all logic, the pads of registers included (table IV).
GATES = 1_176_000
#: Edge of the core, mm (table IV).
EDGE = 3.5
#: Bits of an element's pads that are registers: 12 and 24 words (table IV: 24 and 48 bytes).
PAD_BITS = 16 * (12 + 24)
#: Banks of 4 KB in the global buffer (table IV: 108 KB).
BANKS = 27

SOURCE = (
    "Chen et al., Eyeriss, JSSC 52(1), 2017, tables III to V (cucapra/fodlam "
    "raw/eyeriss-table*.txt, data/eyeriss-alexnet.csv)"
)

#: Flip-flops outside the pads, which no table counts. Low: an element's pipeline of three stages
#: alone (input, weight and sum; product of 32 bits and sum; sum), the rest gated. Typical: with
#: four queues of two words to and from the network. High: the gates that are left without the pads
#: (a latch and a multiplexer a bit, 5.67 gates), with EIE's share of registers in cells, 9465 of
#: 18 411 um2 (cucapra/fodlam raw/eie-raw.csv), of 5.67 gates each.
PIPELINE = 16 * 3 + 32 + 16 + 16
FLIP_FLOPS = Band(
    ELEMENTS * PIPELINE,
    ELEMENTS * (PIPELINE + 4 * 2 * 16),
    (GATES - ELEMENTS * PAD_BITS * 5.67) * 9465 / 18_411 / 5.67,
)
#: mm of wire that a bit from or to the buffer charges. Low: one edge of the core. Typical: the
#: vertical bus and one horizontal bus. High: the vertical bus and all horizontal ones.
BUS = Band(EDGE, 2 * EDGE, (1 + ROWS) * EDGE)
#: mm between neighbours.
PITCH = Band(EDGE / COLUMNS, EDGE / COLUMNS, EDGE / ROWS)

COMPONENTS = (
    "multiplication",
    "input pad",
    "weight pad",
    "sum pad",
    "buffer",
    "network",
    "flip-flops",
    "leakage",
)


@dataclass(frozen=True)
class Layer:
    """A convolution of AlexNet as published, for four images.

    Members
    -------
    name : str
    filters, channels, width, stride, outputs : int
        M; C of one group; S, equal to R; U; E, equal to F.
    images, together, planes : int
        n, p and q of the mapping (table III).
    power_mw, total_ms, processing_ms : float
    active : int
        Elements that work.
    zeros : float
        Share of the inputs.
    buffer_mb : float
        Global buffer's accesses, 10^6 bytes.
    """

    name: str
    filters: int
    channels: int
    width: int
    stride: int
    outputs: int
    images: int
    together: int
    planes: int
    power_mw: float
    total_ms: float
    processing_ms: float
    active: int
    zeros: float
    buffer_mb: float

    @property
    def macs(self) -> int:
        """Multiplications of four images, those with zeros included."""
        return IMAGES * self.filters * self.channels * (self.width * self.outputs) ** 2

    @property
    def energy_mj(self) -> float:
        """Published power times total time."""
        return self.power_mw * self.total_ms / 1e3


LAYERS = (
    Layer("CONV1", 96, 3, 11, 4, 55, 1, 16, 1, 332, 20.9, 16.5, 154, 0.0001, 18.5),
    Layer("CONV2", 256, 48, 5, 1, 27, 1, 16, 2, 288, 41.9, 39.2, 135, 0.387, 77.6),
    Layer("CONV3", 384, 256, 3, 1, 13, 4, 16, 4, 266, 23.6, 21.8, 156, 0.725, 50.2),
    Layer("CONV4", 384, 192, 3, 1, 13, 4, 16, 3, 235, 18.4, 16.0, 156, 0.793, 37.4),
    Layer("CONV5", 256, 192, 3, 1, 13, 4, 16, 3, 236, 10.5, 10.0, 156, 0.776, 24.9),
)
#: pJ for each multiplication, zeros included, over all layers: 278 mW x 115.3 ms / 2.66 G.
PUBLISHED_PJ_PER_MAC = 12.0
#: um2 of the core (table IV).
PUBLISHED_AREA = EDGE * EDGE * 1e6


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


def compare(technology: Technology) -> dict[str, Any]:
    """The model of Eyeriss against what was published, as JSON values.

    ``layers`` hold energy (mJ for four images; ``ratio`` is the typical value over the published),
    each component's energy, energy for each multiplication (pJ), and the time that the active
    elements need at one multiplication a cycle, against the published processing time (ms);
    ``parts`` the five layers together, and the core's area.

    Raises
    ------
    CostError
        The technology lacks a memory that Eyeriss has.
    """
    layers: list[dict[str, Any]] = []
    sums = []
    for layer in LAYERS:
        energy = layer_energy(technology, layer)
        model = total(energy.values())
        sums.append(model)
        compute = layer.macs / layer.active / CLOCK_MHZ / 1e3
        layers.append(
            {
                "name": layer.name,
                "macs": layer.macs,
                "zeros": layer.zeros,
                "model_mj": model.to_json(),
                "published_mj": layer.energy_mj,
                "ratio": model.typical / layer.energy_mj,
                "within": model.contains(layer.energy_mj),
                "components_mj": {name: band.to_json() for name, band in energy.items()},
                "model_pj_per_mac": (model * (1e9 / layer.macs)).to_json(),
                "published_pj_per_mac": layer.energy_mj * 1e9 / layer.macs,
                "model_processing_ms": compute,
                "published_processing_ms": layer.processing_ms,
                "time_ratio": compute / layer.processing_ms,
            }
        )
    macs = sum(layer.macs for layer in LAYERS)
    whole = total(sums)
    time = sum(layer.total_ms for layer in LAYERS)
    return {
        "machine": "Eyeriss, 168 elements, 200 MHz, 65 nm, AlexNet, four images",
        "source": SOURCE,
        "technology": technology.name,
        "layers": layers,
        "parts": [
            part(
                "energy",
                "five layers, for each multiplication",
                "pJ",
                whole * (1e9 / macs),
                PUBLISHED_PJ_PER_MAC,
            ),
            part("power", "five layers", "mW", whole * (1e3 / time), 278.0),
            part("area", "core", "um2", core_area(technology), PUBLISHED_AREA),
        ],
        "units": {
            "model_mj": "mJ for four images",
            "published_mj": "mJ, power times total time",
            "ratio": "typical over published",
            "pj_per_mac": "pJ, zeros counted",
            "processing_ms": "ms",
        },
        "notes": [
            "Times are the published ones; the model computes energy. model_processing_ms is the "
            "bound of one multiplication a cycle in each active element, without filling the "
            "array.",
            "Flip-flops outside the pads are not published; their band spans an assumption of the "
            "least there can be and one from the gate count.",
            "Most figures of 65nm are those of 45nm scaled; its memories are CACTI's at 65 nm.",
            "The published area is that of the core of a chip for research, a square; the model's "
            "is the gates and memories placed at the density of 45nm's sources.",
        ],
    }
