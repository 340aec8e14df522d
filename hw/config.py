"""The configuration: one frozen object from which everything is generated.

RTL, JSON side-car, compiler limits and simulators all read this object; no constant is
written twice.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tritforge.common.errors import TritforgeError
from tritforge.hw.widths import (
    ACTIVATION_WIDTH,
    COUNTER_SLOTS,
    PORT_WIDTH,
    RESULT_WIDTH,
    SHIFT_WIDTH,
    TABLE_ENTRIES,
    WEIGHT_WIDTH,
)

__all__ = ["CHOICES", "LIMITS", "Config", "ConfigError"]


class ConfigError(TritforgeError, ValueError):
    """A configuration outside the stated limits; the message names field, value and limit."""


#: Least and greatest value of every field that is a number.
LIMITS: dict[str, tuple[int, int]] = {
    "sets": (1, 16),
    "clusters": (1, 64),
    "elements": (1, 64),
    "rows": (1, 32),
    "queue_depth": (1, 64),
    "scan_width": (1, 16),
    "coefficient_width": (2, 16),
    "accumulator_width": (8, 32),
    "banks": (2, 8),
    "drain_width": (1, 16),
    "multiplier_width": (4, 18),
    "trit_depth": (2, 1 << 20),
    "activation_depth": (2, 1 << 16),
    "program_depth": (64, 1 << 16),
    "row_depth": (2, 1 << 16),
    "result_depth": (2, 1 << 20),
    "layer_count": (1, 256),
    "packet_words": (34, 4096),
    "window_count": (1, 15),
    "memory_ports": (1, 2),
    "job_places": (0, 16),
    "word_places": (2, 16),
    "pixel_places": (2, 16),
    "packet_places": (2, 16),
    "response_places": (1, 8),
    "activation_tables": (0, 32),
    "result_lanes": (0, 16),
    "group_places": (1, 64),
}

#: Values of every field that names one of several.
CHOICES: dict[str, tuple[str, ...]] = {"register_stages": ("full", "few")}

#: Rows of elements with multipliers: a quarter of them is 1, 2 or 4 rows, whose weights fill the
#: place of an element's trits.
_ROWS_OF_WIDE = (4, 8, 16)

#: Fields that came later, and what all hardware before them was: where they say that, they are left
#: out of documents and of the identity, so that what was made before stays valid.
_LATER: dict[str, int] = {
    "activation_tables": 0,
    "multipliers": False,
    "row_merges": False,
    "write_back_sums": False,
    "logic_scalers": False,
    "result_lanes": 0,
    "group_places": 1,
}
#: Fields of earlier versions, and those that say the same now.
_REPLACED = {
    "single_port": "memory_ports, register_stages and shared_results",
    "short_queues": "job_places, word_places, pixel_places and packet_places",
}


@dataclass(frozen=True)
class Config:
    """Parameters of one accelerator.

    Parameters
    ----------
    name : str
        What reports call it. Not part of the identity.
    sets : int
        N, sets of clusters; they work on different output pixels and share the activation
        memories, one of each slice.
    clusters : int
        G, clusters per set: slices of the input channels.
    elements : int
        P, processing elements per cluster.
    rows : int
        R, accumulators per element and bank.
    queue_depth : int
        D, usable entries in front of each element.
    scan_width : int
        S, activations examined per cycle and cluster.
    coefficient_width : int
        Bits of the signed integers that stand for Wp and Wn.
    accumulator_width : int
        Bits of a signed accumulator.
    banks : int
        Accumulator banks (2, 4 or 8): tiles in progress at once.
    drain_width : int
        Outputs drained and requantized per cycle; divides ``elements``, and divides ``clusters`` or
        is a multiple of them: then a slice gets several activations of one word at once.
    multiplier_width : int
        Bits of the requantizer's signed per-row multiplier.
    trit_depth : int
        Columns per cluster that the trit memory holds.
    activation_depth : int
        Words of ``scan_width`` activations per slice that the activation memory holds.
    program_depth : int
        32-bit words of program memory.
    row_depth : int
        Entries of the row memory (requantization and destination of ``drain_width`` rows each).
    result_depth : int
        Entries of the result memory (:attr:`results` of 32 bits each).
    layer_count : int
        Layers of one run whose counters are kept.
    packet_words : int
        Longest packet on the host port, in words after its two header words.
    window_count : int
        Most overlapping max-pool windows, each way, that an output pixel can feed.
    memory_ports : int
        Ports of the memories of trits, activations and program: one to read and one to write (2),
        or one for both (1), 16 bits wide or a multiple (iCE40 SPRAM). With one a read waits for a
        write, a program word takes two reads, and the host's writes wait while a program runs, so
        that nothing can be streamed.
    register_stages : str
        ``full`` for fast clocks; ``few`` where flip-flops are scarce and clocks slow: registers
        that only shorten paths are left out. :mod:`tritforge.hw.timing` has the latencies of both.
    job_places : int
        Jobs that wait in front of each walker. With 0 a walker takes a job straight from the
        sequencer's records, which stay as they are until the clusters have read all columns of a
        group; only with one set. With several sets 16 let the sequencer get to the other sets while
        one works on a pixel of several column groups; with one a second place gains 1 cycle in
        100 000 (AlexNet).
    word_places : int
        Activation words between each walker and its zero skip; four cover the memory's latency at
        one word per cycle.
    pixel_places : int
        Pixels of each set that the sequencer may be ahead of the drain.
    packet_places : int
        Packets of the host that can wait.
    response_places : int
        Requests that wait for their answer on the host port; further ones are dropped.
    shared_results : bool
        The result memory is a part of the packet buffer, where block RAM is scarce: both are 32
        bits wide, so ``drain_width`` must be 1. The host's words wait while a result is written.
    unpack_trits : bool
        Whether the host port takes packed trits (where ``rows`` is a power of two).
    skip_zero_weights, skip_zero_activations : bool
        Turned off, the array spends a cycle on every zero: the baseline to compare with.
    gate_clocks : bool
        Wide registers of the clusters are clocked only when something is on its way, and trit
        memories register their address instead of the word: for chips, where a clock costs energy.
    activation_tables : int
        Activation tables that are on the chip at once: a layer with one replaces every requantized
        code by an entry of it, which makes any function of one value. 0: the hardware has none.
    multipliers : bool
        Every element has a multiplier, used by wide column groups alone: weights of 8 bits, which
        stand in the trit memory in place of trits, for a quarter of the rows at a time. ``rows``
        must be 4, 8 or 16. Without, weights of several bits are sums of ternary planes.
    row_merges : bool
        An entry of the row memory can say that its row is merged where the pixel is fresh: several
        rows may feed one pooled pixel, so that layers with a max-pool compute blocks of pixels.
    write_back_sums : bool
        Layers can add what they write to what is stored there: a residual sum takes no column
        group and no layer of its own.
    logic_scalers : bool
        Wp*x and -Wn*x are additions in logic cells and take no multipliers, for devices that need
        theirs elsewhere.
    result_lanes : int
        Results of a step that are kept, 0 for all ``drain_width``: with fewer the result memory is
        narrower, and the last layer has only the elements that drain through these lanes.
    group_places : int
        Column groups of a tile whose records the sequencer keeps; those of a tile with more are
        read again for every output pixel. With more than one place it also reads the program ahead
        of the walkers.
    """

    name: str = "custom"
    sets: int = 1
    clusters: int = 2
    elements: int = 4
    rows: int = 4
    queue_depth: int = 4
    scan_width: int = 2
    coefficient_width: int = 10
    accumulator_width: int = 24
    banks: int = 2
    drain_width: int = 1
    multiplier_width: int = 16
    trit_depth: int = 2048
    activation_depth: int = 2048
    program_depth: int = 1024
    row_depth: int = 256
    result_depth: int = 1024
    layer_count: int = 16
    packet_words: int = 126
    window_count: int = 15
    memory_ports: int = 2
    register_stages: str = "full"
    job_places: int = 1
    word_places: int = 8
    pixel_places: int = 8
    packet_places: int = 8
    response_places: int = 8
    shared_results: bool = False
    unpack_trits: bool = True
    skip_zero_weights: bool = True
    skip_zero_activations: bool = True
    gate_clocks: bool = False
    activation_tables: int = 0
    multipliers: bool = False
    row_merges: bool = False
    write_back_sums: bool = False
    logic_scalers: bool = False
    result_lanes: int = 0
    group_places: int = 1

    def __post_init__(self) -> None:
        for field, (low, high) in LIMITS.items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(
                    f"configuration field {field} must be an integer, not {value!r:.60}"
                )
            if not low <= value <= high:
                raise ConfigError(
                    f"configuration field {field} is {value}; it must be between {low} and {high}"
                )
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ConfigError(
                    f"configuration field {field} must be {' or '.join(choices)}, "
                    f"not {getattr(self, field)!r:.60}"
                )
        for one in dataclasses.fields(self):
            if one.type is bool and not isinstance(getattr(self, one.name), bool):
                raise ConfigError(
                    f"configuration field {one.name} must be true or false, "
                    f"not {getattr(self, one.name)!r:.60}"
                )
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError("configuration field name must be a non-empty string")
        if self.banks not in (2, 4, 8):
            raise ConfigError(f"configuration field banks is {self.banks}; it must be 2, 4 or 8")
        if self.elements % self.drain_width:
            raise ConfigError(
                f"configuration field drain_width is {self.drain_width}; "
                f"it must divide elements ({self.elements})"
            )
        if self.clusters % self.drain_width and self.drain_width % self.clusters:
            raise ConfigError(
                f"configuration field drain_width is {self.drain_width}; "
                f"it must divide clusters ({self.clusters}) or be a multiple of them"
            )
        if self.slice_values > self.scan_width:
            raise ConfigError(
                f"configuration field drain_width is {self.drain_width}, so that a slice gets "
                f"{self.slice_values} activations at once; its words have scan_width "
                f"({self.scan_width})"
            )
        if self.cluster_count > 255:
            raise ConfigError(
                f"configuration fields sets and clusters give {self.cluster_count} clusters; "
                f"at most 255 can be addressed"
            )
        if not self.job_places and self.sets > 1:
            raise ConfigError(
                f"configuration field job_places is 0, but sets is {self.sets}; jobs go straight "
                f"to the walkers of one set only"
            )
        if not self.job_places and self.group_places > 1:
            raise ConfigError(
                f"configuration field job_places is 0, but group_places is {self.group_places}; "
                f"walkers take jobs straight from the records of one group only"
            )
        if self.result_lanes > self.drain_width:
            raise ConfigError(
                f"configuration field result_lanes is {self.result_lanes}; it must not be above "
                f"drain_width ({self.drain_width})"
            )
        if self.shared_results and self.drain_width > 1:
            raise ConfigError(
                f"configuration field shared_results is true, but drain_width is "
                f"{self.drain_width}; a result shares the packet buffer only with drain_width 1"
            )
        if self.multipliers and self.rows not in _ROWS_OF_WIDE:
            raise ConfigError(
                f"configuration field multipliers is true, but rows is {self.rows}; columns of "
                f"8-bit weights need 4, 8 or 16 rows"
            )
        longest = 2 + max(self.memory_chunks(kind) for kind in ("trits", "rows", "activations"))
        if self.packet_words < longest:
            raise ConfigError(
                f"configuration field packet_words is {self.packet_words}; one memory word of "
                f"this configuration needs {longest}"
            )

    # ----- derived sizes

    @property
    def cluster_count(self) -> int:
        """Clusters of all sets; number ``set * clusters + slice``."""
        return self.sets * self.clusters

    @property
    def adders(self) -> int:
        """Processing elements, each with one adder, of the whole array: N*G*P."""
        return self.cluster_count * self.elements

    @property
    def slots(self) -> int:
        """Rows of a full tile."""
        return self.elements * self.rows

    @property
    def blocks(self) -> int:
        """Drain steps per accumulator row: elements / drain_width."""
        return self.elements // self.drain_width

    @property
    def results(self) -> int:
        """Results in an entry of the result memory, those of the first lanes of the drain."""
        return self.result_lanes or self.drain_width

    @property
    def drain_classes(self) -> int:
        """Groups of slices and elements: what element ``p`` drains goes to a slice ``c`` with the
        same remainder, ``c % drain_classes == p % drain_classes``."""
        return min(self.drain_width, self.clusters)

    @property
    def slice_values(self) -> int:
        """Activations of one word that a slice gets in a step of the drain, at most."""
        return self.drain_width // self.drain_classes

    @property
    def product_width(self) -> int:
        """Bits of Wp*x: an activation (-128 to 127 or 0 to 255) times a coefficient."""
        return ACTIVATION_WIDTH + self.coefficient_width

    @property
    def addend_width(self) -> int:
        """Bits of what an element adds: a product, or a weight times it; no more than an
        accumulator has."""
        if not self.multipliers:
            return self.product_width
        return min(self.accumulator_width, WEIGHT_WIDTH + self.product_width)

    @property
    def quarter_rows(self) -> int:
        """Rows of an element that a wide column group feeds; 0 without multipliers."""
        return self.rows // 4 if self.multipliers else 0

    @property
    def offset_width(self) -> int:
        """Bits of the requantizer's bias (rounding included) and of its sum."""
        return self.accumulator_width + self.multiplier_width

    @property
    def few_stages(self) -> bool:
        """Registers that only shorten paths are left out."""
        return self.register_stages == "few"

    @property
    def program_reads(self) -> int:
        """Cycles in which a program word is read."""
        return 2 if self.memory_ports == 1 else 1

    @property
    def coefficient_max(self) -> int:
        """Largest magnitude of a coefficient; both signs are used, so the range is symmetric."""
        return (1 << (self.coefficient_width - 1)) - 1

    @property
    def accumulator_max(self) -> int:
        return (1 << (self.accumulator_width - 1)) - 1

    @property
    def row_entry_width(self) -> int:
        """Bits of one lane of the row memory, padded to whole port words."""
        return -(-sum(self.row_field_widths.values()) // PORT_WIDTH) * PORT_WIDTH

    @property
    def row_field_widths(self) -> dict[str, int]:
        """Bits of the fields of a row-memory entry; :func:`tritforge.hw.program.row_layout` says
        what they are."""
        return {
            "multiplier": self.multiplier_width,
            "offset": self.offset_width,
            "shift": SHIFT_WIDTH,
            "enable": 1,
            "cluster": (self.clusters - 1).bit_length(),
            "word": (self.activation_depth - 1).bit_length(),
            "lane": (self.scan_width - 1).bit_length(),
            **({"merge": 1} if self.row_merges else {}),
        }

    def memory_width(self, kind: str) -> int:
        """Bits of one word of a memory (``kind`` as in :data:`tritforge.hw.program.MEMORIES`)."""
        return {
            "program": PORT_WIDTH,
            "trits": 2 * self.slots,
            "activations": ACTIVATION_WIDTH * self.scan_width,
            "rows": self.drain_width * self.row_entry_width,
            "results": self.results * RESULT_WIDTH,
            "counters": 32,
            "tables": ACTIVATION_WIDTH,
        }[kind]

    def memory_depth(self, kind: str) -> int:
        """Words of a memory (per cluster or slice where each has its own); 0: there is none."""
        return {
            "program": self.program_depth,
            "trits": self.trit_depth,
            "activations": self.activation_depth,
            "rows": self.row_depth,
            "results": self.result_depth,
            "counters": COUNTER_SLOTS * self.layer_count,
            "tables": TABLE_ENTRIES * self.activation_tables,
        }[kind]

    def memory_count(self, kind: str) -> int:
        """Memories of this kind."""
        return {"trits": self.cluster_count, "activations": self.clusters}.get(kind, 1)

    def memory_chunks(self, kind: str) -> int:
        """Host-port words that carry one word of a memory."""
        return -(-self.memory_width(kind) // PORT_WIDTH)

    # ----- identity and files

    def to_dict(self) -> dict[str, Any]:
        """Fields by name; those that came later only where hardware is another for them."""
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in _LATER or value != _LATER[name]
        }

    def differences(self, other: "Config") -> dict[str, Any]:
        """Fields that ``other`` has another value in, the name apart."""
        values = dataclasses.asdict(other)
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name != "name" and value != values[name]
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "configuration") -> "Config":
        for name, fields in _REPLACED.items():
            if name in values:
                raise ConfigError(f"{where} has field {name}, which is now {fields}")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"{where} has unknown fields {', '.join(unknown)}; "
                f"known are {', '.join(sorted(known))}"
            )
        return cls(**values)

    @property
    def identity(self) -> str:
        """Hexadecimal digest of everything but the name; 8 digits are in the hardware's status."""
        values = self.to_dict()
        del values["name"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def identity_word(self) -> int:
        """The 32 bits of :attr:`identity` that a STATUS packet returns."""
        return int(self.identity[:8], 16)
