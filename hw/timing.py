"""The data sheet: every latency, in clock cycles, and every depth that follows from others.

Blocks are built from these figures, and the cycle model counts with the same ones, so a figure is
changed here alone.
"""

from tritforge.hw.config import Config
from tritforge.hw.protocol import HEADER_WORDS
from tritforge.hw.widths import COUNTER_SLOTS

__all__ = [
    "BEGIN_LATENCY",
    "BROADCAST_FLIGHT",
    "BROADCAST_LATENCY",
    "CLUSTERS_IDLE_LATENCY",
    "COMPLETE_LATENCY",
    "COUNTERS_SETTLE",
    "DRAIN_IDLE_LATENCY",
    "DUMP_CYCLES",
    "FULL_LATENCY",
    "LOAD_LATENCY",
    "LOW_BITS",
    "MEMORY_LATENCY",
    "MERGE_FULL_LATENCY",
    "MERGE_LATENCY",
    "MERGE_WRITE_LATENCY",
    "OLDEST_LATENCY",
    "QUEUE_LATENCY",
    "READ_AHEAD_PLACES",
    "RELEASE_LATENCY",
    "SCALER_LATENCY",
    "STOP_LATENCY",
    "UNPACKER_LATENCY",
    "WORD_LATENCY",
    "WRITE_PLACES",
    "activation_latency",
    "addition_latency",
    "buffer_words",
    "chain_latency",
    "clear_cycles",
    "clear_latency",
    "clear_sweeps",
    "fetch_latency",
    "job_latency",
    "merge_head_latency",
    "merge_level",
    "merge_places",
    "multiplier_parts",
    "pixels_ahead",
    "queue_places",
    "requantizer_latency",
    "result_latency",
    "result_write_latency",
    "room_latency",
    "settle",
    "sums_latency",
    "table_latency",
    "write_back_flight",
    "write_back_latency",
    "write_places",
]

# ----- memories and queues

#: Cycles from an address of a ``ChunkMemory`` to its data.
MEMORY_LATENCY = 2
#: Cycles from the writing of a queue's entry to the first cycle in which it can be taken.
QUEUE_LATENCY = 1

# ----- host port

#: Cycles from a word of packed trits to a chunk for the trit memory.
UNPACKER_LATENCY = 2
#: Words that the port has taken out of a WRITE and that their memory has not taken, at most.
WRITE_PLACES = 2


def write_places(config: Config) -> int:
    """Words that can wait so: none where stages are few, they stay in the packet buffer."""
    return 0 if config.few_stages else WRITE_PLACES


def buffer_words(config: Config) -> int:
    """Words of the buffer: two packets of the greatest length at least."""
    return 1 << (2 * (config.packet_words + HEADER_WORDS) - 1).bit_length()


# ----- sequencer and walkers

#: Program words that the sequencer has read ahead, at most.
READ_AHEAD_PLACES = 16


def fetch_latency(config: Config) -> int:
    """Cycles from the request of a program word to the word: the memory's and, unless stages are
    few, a register of the address."""
    return MEMORY_LATENCY + (not config.few_stages)


def job_latency(config: Config) -> int:
    """Cycles from the hand-out of a job to the first cycle in which its walkers can begin it."""
    return QUEUE_LATENCY if config.job_places else 0


def room_latency(config: Config) -> int:
    """Cycles from the room that all walkers of a set have for a job to the sequencer's seeing it:
    a register, but for jobs that are not queued."""
    return 1 if config.job_places else 0


#: Cycles from walkers and zero skips that have nothing left to the sequencer's seeing it.
CLUSTERS_IDLE_LATENCY = 1
#: Cycles from the hand-out of a group's job to the first in which its release can be counted.
RELEASE_LATENCY = 2
#: Cycles from the walker's request of a word to the word in front of the zero skip.
WORD_LATENCY = MEMORY_LATENCY + QUEUE_LATENCY


# ----- clusters

#: Cycles from an activation to its products Wp*x and -Wn*x.
SCALER_LATENCY = 2
#: Cycles from an activation of the zero skip to the elements' queues: the scaler's, and a register
#: before and behind it.
BROADCAST_LATENCY = SCALER_LATENCY + 2
#: Cycles from an entry's coming into an element's queue, or leaving it, to the zero skip's seeing
#: whether the queue is full: the level's register and that of the stop signal.
FULL_LATENCY = 2
#: Broadcasts that can still arrive after an element's queue has reached its usable depth: those
#: between the zero skip and the queue, and those of the cycles until the zero skip stops.
BROADCAST_FLIGHT = BROADCAST_LATENCY + FULL_LATENCY - 1
#: Cycles from an element's taking an entry to the first of its rows at work.
LOAD_LATENCY = 1


def addition_latency(config: Config) -> int:
    """Cycles from a row at work to its accumulator's sum: the choice of the product, with
    multipliers the product with a weight, and the addition. No drain takes it so early: it learns
    ``COMPLETE_LATENCY`` cycles later that nothing is at work, and its command takes one more to the
    first cluster."""
    return 3 if config.multipliers else 2


#: Cycles from the drain's beginning a pixel to the first in which its set's clusters await the next
#: one: registers of drain and tag.
BEGIN_LATENCY = 2
#: Cycles from elements without work for the awaited pixel, when later ones come to them, to the
#: drain's seeing the pixel complete: registers of each element's and of the cluster's answer.
COMPLETE_LATENCY = 2
#: Cycles from the drain's step that takes a pixel's last row to the first in which its bank in the
#: first cluster is free: registers of drain, command and tag. Each further cluster takes one more.
OLDEST_LATENCY = 3


def queue_places(config: Config) -> int:
    """Physical places of an element's queue: usable depth, what may be in flight, and the entry at
    work, which is read from its place until its last row."""
    return 1 << (config.queue_depth + BROADCAST_FLIGHT).bit_length()


# ----- drain and chain of partial sums


def pixels_ahead(config: Config) -> int:
    """Pixels of all sets that the sequencer may be ahead of the drain."""
    return config.pixel_places * config.sets


def clear_sweeps(config: Config) -> int:
    """Banks that are cleared before a run: each twice, so that the clusters' tags end where they
    began."""
    return 2 * config.banks


def clear_latency(config: Config) -> int:
    """Cycles after the last clearing command until every cluster reports the first pixel."""
    return config.clusters + 9


def clear_cycles(config: Config) -> int:
    """Cycles from a run's first fetch to the first in which a job can be handed out."""
    return clear_sweeps(config) * config.rows + clear_latency(config) + 1


def sums_latency(config: Config) -> int:
    """Cycles from a drain command to its partial sums: command, taking, selecting and, unless
    stages are few, a register in front of the addition."""
    return 3 if config.few_stages else 4


def chain_latency(config: Config) -> int:
    """Cycles from a drain command to its partial sums at the end of the chain."""
    return config.clusters - 1 + sums_latency(config)


# ----- requantizer

#: Bits of an accumulator that a multiplier of 18 signed bits takes without its sign.
LOW_BITS = 17


def multiplier_parts(config: Config) -> int:
    """Parts that the accumulator is multiplied in, with a register behind each."""
    return 1 if config.few_stages or config.accumulator_width <= LOW_BITS + 1 else 2


def result_latency(config: Config) -> int:
    """Cycles from an accumulator to its result: product (in two steps unless stages are few) and
    offset."""
    return 2 if config.few_stages else 3


def requantizer_latency(config: Config) -> int:
    """Cycles from an accumulator to its requantized code: result, shift and clamp."""
    return result_latency(config) + 2


def table_latency(config: Config) -> int:
    """Cycles from a requantized code to the activation: the tables' where there are any, in layers
    without one too."""
    return MEMORY_LATENCY if config.activation_tables else 0


def activation_latency(config: Config) -> int:
    """Cycles from an accumulator to its activation."""
    return requantizer_latency(config) + table_latency(config)


# ----- write-back and merge

#: Cycles from a visit of ``Merge`` to its write: the memory's, and a register of the
#: maximum or sum.
MERGE_WRITE_LATENCY = MEMORY_LATENCY + 1
#: Cycles from a visit of ``Merge`` to the first cycle in which a read sees what it wrote.
MERGE_LATENCY = MERGE_WRITE_LATENCY + 1
#: Cycles from the level of a merge queue to ``full``, and from there to a drain that stands still.
MERGE_FULL_LATENCY = 1
STOP_LATENCY = 1
#: Write-backs that a queue holds at least before it stops the drain.
_LEAST_LEVEL = 8


def write_back_flight(config: Config) -> int:
    """Drain steps that may follow after a queue has reached ``merge_level``, besides those on the
    chain of clusters: registers of drain, sums, requantizer, table and write-back, and of
    ``full``."""
    return 12 + table_latency(config)


def write_back_latency(config: Config) -> int:
    """Cycles from a step of the drain to its write-backs in front of the merge queues: a register
    of the drain and, unless stages are few, one behind requantizers and tables."""
    return 1 + chain_latency(config) + activation_latency(config) + (not config.few_stages)


def result_write_latency(config: Config) -> int:
    """Cycles from a step of the drain to the writing of its results: a register of the drain, chain
    and requantizers."""
    return 1 + chain_latency(config) + result_latency(config)


def merge_head_latency(config: Config) -> int:
    """Cycles that the oldest write-back of a queue stands in a register before its first visit can
    be taken up; where stages are few, it is taken up from the queue."""
    return 0 if config.few_stages else 1


def merge_places(config: Config) -> int:
    """Places of a write-back queue."""
    return 1 << (config.clusters + write_back_flight(config) + _LEAST_LEVEL - 1).bit_length()


def merge_level(config: Config) -> int:
    """Write-backs in a queue from which on the drain is stopped."""
    return merge_places(config) - config.clusters - write_back_flight(config)


# ----- counters and the end of a layer

#: Cycles after the last event before a dump of the counters may begin.
COUNTERS_SETTLE = 4
#: Cycles of a dump: one for every counter.
DUMP_CYCLES = COUNTER_SLOTS
#: Cycles from a drain and merges that have nothing left to the sequencer's seeing it.
DRAIN_IDLE_LATENCY = 1


def settle(config: Config) -> int:
    """Cycles that a layer waits after its last event has been seen, a cycle later: every drain step
    is in memory by then."""
    return chain_latency(config) + activation_latency(config) + MERGE_LATENCY + 2 + COUNTERS_SETTLE
