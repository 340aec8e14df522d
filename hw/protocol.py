"""Packets of the host port: opcodes, error codes, encoding and decoding.

The same packets serve every simulator and every board; ``docs/hardware.md`` has the format.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tritforge.hw.config import Config
from tritforge.hw.program import MEMORIES

__all__ = [
    "ErrorCode",
    "Opcode",
    "Packet",
    "Status",
    "label",
    "read",
    "run",
    "signal",
    "status",
    "wait",
    "write",
    "write_counts",
    "write_packed",
]

#: Words in front of every packet's arguments.
HEADER_WORDS = 2
#: Set in the opcode of a response.
RESPONSE = 0x80
#: Bits of an error code.
ERROR_WIDTH = 4
#: Bits of STATUS's counts of packets refused and requests dropped, which wrap.
COUNT_WIDTH = 16
#: Set in the layer count of a RUN that waits for a SIGNAL before its first layer.
RUN_WAITS = 1 << 31
#: Arguments of WRITE in front of its memory words.
WRITE_ARGUMENTS = 2
#: Arguments of WRITE_PACKED in front of its packed words.
PACKED_ARGUMENTS = 3


class Opcode(IntEnum):
    """What a packet asks for."""

    WRITE = 1
    RUN = 2
    READ = 3
    STATUS = 4
    WRITE_PACKED = 5  # only where trits can be unpacked: tritforge.hw.unpacker.can_unpack
    SIGNAL = 6  # to the running program: what was sent before is there
    WAIT = 7  # packets after it wait for the program's next release, or its end
    LABEL = 8  # what the memories hold from now on: STATUS's ``contents``


class ErrorCode(IntEnum):
    """Why a packet was refused, or how a run ended.

    A refused packet changes nothing, except with ``PACKED``: that shows after the last column.
    """

    OK = 0
    LENGTH = 1  # words and stated length differ, or do not suit the opcode
    OPCODE = 2  # unknown opcode
    MEMORY = 3  # unknown memory, or one that cannot be read (written)
    CLUSTER = 4  # no such cluster
    ADDRESS = 5  # beyond the end of the memory
    BUSY = 6  # RUN while a program runs, or before the answer to the last RUN
    EMPTY_PROGRAM = 7  # no layer at the address, or a layer count of 0
    BAD_PROGRAM = 8  # something else than a layer after the first; the run stopped there
    TOO_LONG = 9  # packet longer than the configuration's packet_words
    ROWS = 10  # rows_used of WRITE_PACKED is not 1 .. rows
    PACKED = 11  # WRITE_PACKED has other words than its columns take; they are written
    STUCK = 12  # WAIT while the program waits for a SIGNAL: neither would ever go on


@dataclass(frozen=True)
class Packet:
    """A packet in either direction: the first word's fields and the words after the header."""

    opcode: int
    memory: int = 0  # response: error code
    cluster: int = 0  # response: memory
    payload: tuple[int, ...] = ()
    tag: int = 0  # response: the tag of what it answers

    def words(self) -> list[int]:
        """The packet as 32-bit words."""
        return [
            self.opcode | self.memory << 8 | self.cluster << 16 | self.tag << 24,
            len(self.payload),
            *self.payload,
        ]

    @classmethod
    def from_words(cls, words: Sequence[int]) -> "Packet":
        """The inverse of :meth:`words`.

        Raises
        ------
        ValueError
            Fewer words than a header, or a stated length that differs.
        """
        if len(words) < HEADER_WORDS or words[1] != len(words) - HEADER_WORDS:
            raise ValueError(f"packet of {len(words)} words does not have the length it states")
        return cls(
            words[0] & 0xFF,
            words[0] >> 8 & 0xFF,
            words[0] >> 16 & 0xFF,
            tuple(words[2:]),
            words[0] >> 24,
        )

    @property
    def error(self) -> ErrorCode:
        """Error code of a response."""
        return ErrorCode(self.memory)


def write(memory: str, cluster: int, address: int, count: int, words: Iterable[int]) -> Packet:
    """Write ``count`` memory words from ``words`` (lowest bits first, whole port words each)."""
    return Packet(Opcode.WRITE, MEMORIES.index(memory), cluster, (address, count, *words))


def write_counts(config: Config, memory: str, count: int) -> list[int]:
    """Memory words in each of the WRITE packets that carry ``count`` of them."""
    most = (config.packet_words - WRITE_ARGUMENTS) // config.memory_chunks(memory)
    return [min(most, count - start) for start in range(0, count, most)]


def write_packed(
    cluster: int, address: int, count: int, rows_used: int, words: Iterable[int]
) -> Packet:
    """Write ``count`` columns of trits from ``words`` of
    :func:`tritforge.model_export.image.packing.pack_columns`."""
    return Packet(
        Opcode.WRITE_PACKED, MEMORIES.index("trits"), cluster, (address, count, rows_used, *words)
    )


def run(address: int, layer_count: int, *, wait: bool = False) -> Packet:
    """Run ``layer_count`` layers from program address ``address``; answered when they are done.

    With ``wait`` the first of them is not fetched before a SIGNAL.
    """
    return Packet(Opcode.RUN, payload=(address, layer_count | (RUN_WAITS if wait else 0)))


def signal() -> Packet:
    """Tell the running program that what was sent before is in the memories; not answered."""
    return Packet(Opcode.SIGNAL)


def wait() -> Packet:
    """Hold all packets after it until the program has counted a release that no WAIT has
    taken, or no program runs; not answered unless refused."""
    return Packet(Opcode.WAIT)


def label(contents: int) -> Packet:
    """State what program, trits and rows memories hold, as 32 bits that STATUS then has until
    one of these memories is written; not answered."""
    return Packet(Opcode.LABEL, payload=(contents,))


def read(memory: str, cluster: int, address: int, count: int) -> Packet:
    """Read ``count`` memory words."""
    return Packet(Opcode.READ, MEMORIES.index(memory), cluster, (address, count))


def status() -> Packet:
    """Ask for :class:`Status`."""
    return Packet(Opcode.STATUS)


@dataclass(frozen=True)
class Status:
    """Payload of a STATUS response, in this order."""

    identity: int  # first 32 bits of the configuration's identity
    running: int
    layers: int  # layers finished by the run in progress or the last one
    cycles: int  # clock cycles of the run in progress or the last one
    errors: int  # packets refused since reset, modulo 2**16
    dropped: int  # requests dropped because too many responses were waiting, as errors
    finished: int = 0  # how the last run ended: see :meth:`ended`
    contents: int = 0  # what the last LABEL said; 0 if a memory was written since

    @classmethod
    def from_packet(cls, packet: Packet) -> "Status":
        """Of a STATUS response.

        Raises
        ------
        ValueError
            Not as many words as there are fields.
        """
        if len(packet.payload) != STATUS_WORDS:
            raise ValueError(f"STATUS of {len(packet.payload)} words, not {STATUS_WORDS}")
        return cls(*packet.payload)

    def ended(self, tag: int) -> ErrorCode | None:
        """How the RUN with this tag ended, if that was the last RUN and has ended."""
        if self.finished & ~0xF != FINISHED | tag << 8:
            return None
        return ErrorCode(self.finished & 0xF)


#: Set in ``finished`` of STATUS from the end of a run until the next RUN starts; bits 8 .. 15
#: are then the tag of its RUN, the low bits its error code.
FINISHED = 1 << 16

STATUS_WORDS = len(Status.__dataclass_fields__)
