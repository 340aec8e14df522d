"""Eyeriss as published: sizes, AlexNet's layers, and assumptions on what no table holds."""

from dataclasses import dataclass

from tritforge.cost.band import Band

__all__ = [
    "BANKS",
    "BUS",
    "CLOCK_MHZ",
    "COLUMNS",
    "COMPONENTS",
    "EDGE",
    "ELEMENTS",
    "FLIP_FLOPS",
    "GATES",
    "IMAGES",
    "LAYERS",
    "MACHINE",
    "NOTES",
    "PAD_BITS",
    "PIPELINE",
    "PITCH",
    "PUBLISHED_AREA",
    "PUBLISHED_MW",
    "PUBLISHED_PJ_PER_MAC",
    "ROWS",
    "SOURCE",
    "UNITS",
    "Layer",
]

MACHINE = "Eyeriss, 168 elements, 200 MHz, 65 nm, AlexNet, four images"
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
#: mW over all layers.
PUBLISHED_MW = 278.0


UNITS = {
    "model_mj": "mJ for four images",
    "published_mj": "mJ, power times total time",
    "ratio": "typical over published",
    "pj_per_mac": "pJ, zeros counted",
    "processing_ms": "ms",
}
NOTES = (
    "Times are the published ones; the model computes energy. model_processing_ms is the "
    "bound of one multiplication a cycle in each active element, without filling the "
    "array.",
    "Flip-flops outside the pads are not published; their band spans an assumption of the "
    "least there can be and one from the gate count.",
    "Most figures of 65nm are those of 45nm scaled; its memories are CACTI's at 65 nm.",
    "The published area is that of the core of a chip for research, a square; the model's "
    "is the gates and memories placed at the density of 45nm's sources.",
)
