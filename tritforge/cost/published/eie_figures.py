"""EIE as published: sizes, benchmark layers, one element's power and area.

Sources: layers, sizes and densities, table III of the paper; times, table IV; one element's power
and area, table II (tables II and IV as transcribed in cucapra/fodlam, raw/eie-raw.csv and
data/eie-layers.csv).
"""

from dataclasses import dataclass

__all__ = [
    "ACTIVATION_BITS",
    "BATCH",
    "CLOCK_MHZ",
    "CODEBOOK_BITS",
    "ELEMENTS",
    "ENTRIES_PER_WORD",
    "FLIP_FLOPS",
    "LAYERS",
    "MACHINE",
    "NOTES",
    "PUBLISHED",
    "PUBLISHED_MEMORY",
    "PUBLISHED_TOTAL",
    "QUEUE",
    "QUEUE_BITS",
    "REACH",
    "SOURCE",
    "UNITS",
    "WHAT",
    "Layer",
]

MACHINE = "EIE, 64 elements, 800 MHz, 45 nm"
ELEMENTS = 64
CLOCK_MHZ = 800
QUEUE = 8
#: Zeros before a weight that its four-bit index can say, and one.
REACH = 16
#: Activations that all elements' registers together hold (64 each).
BATCH = 4096
#: Entries in a word of 64 bits of the matrix memory.
ENTRIES_PER_WORD = 8

SOURCE = "Han et al., EIE, ISCA 2016, tables II to IV (II, IV: cucapra/fodlam raw/eie-raw.csv)"


@dataclass(frozen=True)
class Layer:
    """A benchmark layer as published.

    Members
    -------
    name : str
    inputs, outputs : int
        Columns and rows of the matrix.
    weights, activations : float
        Shares that are not zero.
    theoretical_us, actual_us : float
        us on 64 elements at 800 MHz.
    """

    name: str
    inputs: int
    outputs: int
    weights: float
    activations: float
    theoretical_us: float
    actual_us: float

    @property
    def active(self) -> int:
        """Activations that are not zero."""
        return round(self.inputs * self.activations)


LAYERS = (
    Layer("Alex-6", 9216, 4096, 0.09, 0.351, 28.1, 30.3),
    Layer("Alex-7", 4096, 4096, 0.09, 0.353, 11.7, 12.2),
    Layer("Alex-8", 4096, 1000, 0.25, 0.375, 8.9, 9.9),
    Layer("VGG-6", 25088, 4096, 0.04, 0.183, 28.1, 34.4),
    Layer("VGG-7", 4096, 4096, 0.04, 0.375, 7.9, 8.7),
    Layer("VGG-8", 4096, 1000, 0.23, 0.411, 7.3, 8.4),
    Layer("NT-We", 4096, 600, 0.10, 1.0, 5.2, 8.0),
    Layer("NT-Wd", 600, 8791, 0.11, 1.0, 13.0, 13.9),
    Layer("NT-LSTM", 1201, 2400, 0.10, 1.0, 6.5, 7.5),
)


# ----- one element

#: Flip-flops of a unit outside its memories, from the paper's description of what a unit holds:
#: PtrRead, begin and end of a part, 16 bits each. SpmatRead, the word of 64 bits and the address
#: of the next entry. Arithmetic, between four stages: activation, weight, product and sum of 16
#: bits, and a row of 6 bits in each of three stages. ActRW, the sum that is written and its row.
FLIP_FLOPS = {"Act queue": 0, "PtrRead": 32, "SpmatRead": 80, "ArithmUnit": 82, "ActRW": 22}
#: Bits of an activation and of its index.
QUEUE_BITS = 16 + 12
#: Words of 16 bits in the codebook, and in the two register files of activations.
CODEBOOK_BITS = 16 * 16
ACTIVATION_BITS = 2 * 64 * 16

WHAT = {
    "Act queue": "8 activations with index",
    "PtrRead": "two banks of 16 KB; both are read for each activation",
    "SpmatRead": "128 KB, 64 bits a read",
    "ArithmUnit": "codebook, 16 x 16 bit multiplication, addition, row accumulation",
    "ActRW": "two register files of 64 activations, 2 KB",
}
#: mW and um2 of table II.
PUBLISHED = {
    "Act queue": (0.112, 758.0),
    "PtrRead": (1.807, 121_849.0),
    "SpmatRead": (4.955, 469_412.0),
    "ArithmUnit": (1.162, 3_110.0),
    "ActRW": (1.122, 18_934.0),
}
PUBLISHED_TOTAL = (9.157, 638_024.0)
PUBLISHED_MEMORY = (5.416, 594_786.0)


# ----- what a comparison says of itself

UNITS = {
    "model_us": "us",
    "published_us": "us",
    "ratio": "model over published actual",
    "balance": "share of element-cycles with an entry",
    "mW": "power",
    "um2": "area",
}
NOTES = (
    "Published densities are rounded to percent; where they lead to another theoretical "
    "time than the published one, the published layer has another number of entries.",
    "The power is that of Alex-7; the paper does not say which layer its table II is of.",
    "The paper takes its memories' energy and area from CACTI, as 45nm does; agreement of "
    "the memories says that both read the same tool, not that silicon would.",
    "Of 45nm, the low area of memories, their high leakage, the low placement and the "
    "clock network's share were themselves taken from EIE's table II; agreement where they "
    "decide is no evidence.",
    "Banks of pointers are taken as 32 bits wide, which the technology has; EIE's are 16.",
)
