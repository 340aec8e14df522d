"""What ``report.json`` of a build folder says."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tritforge.common.json_types import JsonObject, named
from tritforge.fpga.fit.resources import Use

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "Attempt",
    "Bitstream",
    "BlockCells",
    "BoardName",
    "BuildReport",
    "ClockReport",
    "ContentsReport",
    "CriticalPath",
    "File",
    "Phase",
    "Preloaded",
    "Step",
    "Timing",
    "digest",
]

#: What a report begins with.
FORMAT = "tritforge build"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class BoardName(JsonObject):
    """Which board; ``family`` of :data:`tritforge.fpga.platform.board.FAMILIES`."""

    name: str
    title: str
    family: str


@dataclass(frozen=True)
class Preloaded(JsonObject):
    """A memory whose contents come with the bitstream: its bits, and those that are 1."""

    memory: str
    bits: int
    ones: int


@dataclass(frozen=True)
class ContentsReport(JsonObject):
    """What the memories hold from the start.

    Members
    -------
    label : str
        Of the image, 8 hexadecimal digits.
    preloaded : tuple of Preloaded
    host_sends : str
        What the host must send, in words.
    """

    label: str
    preloaded: tuple[Preloaded, ...]
    host_sends: str


@dataclass(frozen=True)
class ClockReport(JsonObject):
    """The accelerator's clock and the serial line's.

    Members
    -------
    hz : float
    pll : dict, optional
        Fields of :class:`tritforge.fpga.platform.pll.Pll`; None where the oscillator is the clock.
    reset_cycles : int
    divisor : int
        Clock cycles of a bit on the line.
    baud : int
        Asked for.
    actual_baud, baud_error : float
        Bits a second, and the difference as a fraction.
    """

    hz: float
    pll: Mapping[str, float] | None
    reset_cycles: int
    divisor: int
    baud: int
    actual_baud: float
    baud_error: float


@dataclass(frozen=True)
class BlockCells(JsonObject):
    """What all blocks of one name consist of, without the blocks in them."""

    block: str
    instances: int
    luts: int
    flip_flops: int
    block_rams: int
    sprams: int
    dsps: int
    distributed_rams: int


@dataclass(frozen=True)
class Timing(JsonObject):
    """The clock that was asked for and the slowest that was reached, MHz; None where none was
    found."""

    constraint_mhz: float
    fmax_mhz: float | None
    met: bool


@dataclass(frozen=True)
class Step(JsonObject):
    """A block on a path, and the delay in it, ns."""

    block: str
    ns: float


@dataclass(frozen=True)
class CriticalPath(JsonObject):
    """The longest path between flip-flops.

    Members
    -------
    start, end : str
        Cells.
    half_cycle : bool
        It runs from one edge of the clock to the other.
    logic_ns, routing_ns : float
    steps : tuple of Step
        Consecutive blocks; routing counts to the block that it starts from.
    """

    start: str = field(metadata=named("from"))
    end: str = field(metadata=named("to"))
    half_cycle: bool
    logic_ns: float
    routing_ns: float
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Phase(JsonObject):
    """A phase of the build, and the seconds that it took."""

    phase: str
    seconds: float


@dataclass(frozen=True)
class Attempt(JsonObject):
    """A seed of placement, and the clock it reached; None without a legal placement."""

    seed: int
    fmax_mhz: float | None


@dataclass(frozen=True)
class File(JsonObject):
    """A file of the build folder."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Bitstream(JsonObject):
    """The file that configures the FPGA."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BuildReport(JsonObject):
    """A finished build.

    Members
    -------
    identity : str
        Hexadecimal digest of sources, options and tools.
    configuration : dict
        Fields of :class:`tritforge.hw.config.Config`.
    resources : dict[str, Use]
        Of the whole chip, by the names of :data:`tritforge.fpga.fit.resources.RESOURCES`.
    seed : int
        Of the attempt that was kept.
    tools : dict[str, str]
        Versions by name.
    """

    format: str
    format_version: int
    identity: str
    board: BoardName
    configuration: Mapping[str, bool | int | str]
    configuration_identity: str
    contents: ContentsReport
    clock: ClockReport
    resources: Mapping[str, Use]
    blocks: tuple[BlockCells, ...]
    timing: Timing
    critical_path: CriticalPath | None
    phases: tuple[Phase, ...]
    seed: int
    attempts: tuple[Attempt, ...]
    tools: Mapping[str, str]
    netlist: File
    bitstream: Bitstream


def digest(document: Mapping[str, object]) -> str:
    """Of a report's JSON values without their digest."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
