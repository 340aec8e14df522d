"""The data sheet: every latency, in clock cycles, and every queue's depth.

Blocks are built from these figures, and the cycle model counts with the same ones, so a figure is
changed here alone.
"""

from tritforge.hw.config import Config
from tritforge.hw.protocol import HEADER_WORDS

__all__ = [
    "BROADCAST_FLIGHT",
    "COUNTERS_SETTLE",
    "LOW_BITS",
    "MEMORY_LATENCY",
    "MERGE_LATENCY",
    "SCALER_LATENCY",
    "UNPACKER_LATENCY",
    "WRITE_BACK_FLIGHT",
    "buffer_words",
    "chain_latency",
    "clear_latency",
    "fetch_latency",
    "job_places",
    "merge_level",
    "merge_places",
    "multiplier_parts",
    "packet_places",
    "pixel_places",
    "queue_places",
    "requantizer_latency",
    "result_latency",
    "settle",
    "sums_latency",
    "word_places",
    "write_back_latency",
]

# ----- memories

#: Cycles from an address of a ``ChunkMemory`` to its data.
MEMORY_LATENCY = 2

# ----- host port

#: Cycles from a word of packed trits to a chunk for the trit memory.
UNPACKER_LATENCY = 2


def packet_places(config: Config) -> int:
    """Packets that can wait."""
    return 2 if config.short_queues else 8


def buffer_words(config: Config) -> int:
    """Words of the buffer: two packets of the greatest length at least."""
    return 1 << (2 * (config.packet_words + HEADER_WORDS) - 1).bit_length()


# ----- sequencer and walkers


def fetch_latency(config: Config) -> int:
    """Cycles from the request of a program word to the word: the memory's and, unless it has a
    single port, a register of the address."""
    return MEMORY_LATENCY + (not config.single_port)


def job_places(config: Config) -> int:
    """Jobs waiting in front of a walker.

    With several sets the sequencer must get to the other sets while one works on a pixel of
    several column groups. With one, a second place would gain 1 cycle in 100 000 (AlexNet). With
    none a job goes straight to a walker that has ended the one before.
    """
    if config.sets > 1:
        return 16
    return 0 if config.short_queues else 1


def word_places(config: Config) -> int:
    """Words between the walker and the zero skip.

    Four cover the memory's latency at one word per cycle.
    """
    return 4 if config.short_queues else 8


# ----- clusters

#: Cycles from an activation to its products Wp*x and -Wn*x.
SCALER_LATENCY = 2
#: Broadcasts that can still arrive after an element's queue has reached its usable depth: the
#: stages between the zero skip and the queue, plus the register of the stop signal.
BROADCAST_FLIGHT = 5


def queue_places(config: Config) -> int:
    """Physical places of an element's queue: usable depth, what may be in flight, and the entry at
    work, which is read from its place until its last row."""
    return 1 << (config.queue_depth + BROADCAST_FLIGHT).bit_length()


# ----- drain and chain of partial sums


def pixel_places(config: Config) -> int:
    """Pixels that the sequencer may be ahead of the drain."""
    return (2 if config.short_queues else 8) * config.sets


def clear_latency(config: Config) -> int:
    """Cycles after the last clearing command until every cluster reports the first pixel."""
    return config.clusters + 9


def sums_latency(config: Config) -> int:
    """Cycles from a drain command to its partial sums: command, taking, selecting and, unless
    memories have a single port, a register in front of the addition."""
    return 3 if config.single_port else 4


def chain_latency(config: Config) -> int:
    """Cycles from a drain command to its partial sums at the end of the chain."""
    return config.clusters - 1 + sums_latency(config)


# ----- requantizer

#: Bits of an accumulator that a multiplier of 18 signed bits takes without its sign.
LOW_BITS = 17


def multiplier_parts(config: Config) -> int:
    """Parts that the accumulator is multiplied in, with a register behind each."""
    return 1 if config.single_port or config.accumulator_width <= LOW_BITS + 1 else 2


def result_latency(config: Config) -> int:
    """Cycles from an accumulator to its result: product (in two steps unless memories have a single
    port, where flip-flops are scarce) and offset."""
    return 2 if config.single_port else 3


def requantizer_latency(config: Config) -> int:
    """Cycles from an accumulator to its activation: result, shift and clamp."""
    return result_latency(config) + 2


# ----- write-back and merge

#: Cycles from a visit of ``Merge`` to the first cycle in which a read sees what it wrote.
MERGE_LATENCY = MEMORY_LATENCY + 2
#: Drain steps that may follow after a queue has reached ``merge_level``, besides those on the
#: chain of clusters: registers of drain, sums, requantizer and write-back, and of ``full``.
WRITE_BACK_FLIGHT = 12
#: Write-backs that a queue holds at least before it stops the drain.
_LEAST_LEVEL = 8


def write_back_latency(config: Config) -> int:
    """Cycles from a step of the drain to its write-backs in front of the merge queues: a register
    of the drain and, unless memories have a single port, one behind the requantizers."""
    return 1 + chain_latency(config) + requantizer_latency(config) + (not config.single_port)


def merge_places(config: Config) -> int:
    """Places of a write-back queue."""
    return 1 << (config.clusters + WRITE_BACK_FLIGHT + _LEAST_LEVEL - 1).bit_length()


def merge_level(config: Config) -> int:
    """Write-backs in a queue from which on the drain is stopped."""
    return merge_places(config) - config.clusters - WRITE_BACK_FLIGHT


# ----- counters and the end of a layer

#: Cycles after the last event before a dump of the counters may begin.
COUNTERS_SETTLE = 4


def settle(config: Config) -> int:
    """Cycles that a layer waits after its last event has been seen, a cycle later: every drain step
    is in memory by then."""
    return chain_latency(config) + requantizer_latency(config) + MERGE_LATENCY + 2 + COUNTERS_SETTLE
