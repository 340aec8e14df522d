"""What travels between blocks: one struct per kind of traffic, sized by the configuration."""

from amaranth.hdl import Const, Mux, Shape, ShapeLike, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for

from tritforge.hw.config import Config
from tritforge.hw.program import MEMORIES, READABLE_MEMORIES, WRITABLE_MEMORIES, memories
from tritforge.hw.widths import ACTIVATION_WIDTH, CODE_WIDTH, PORT_WIDTH

__all__ = [
    "EVENTS",
    "PROBE_LEVELS",
    "PROBE_PULSES",
    "address_width",
    "broadcast",
    "command_word",
    "drain_command",
    "drain_job",
    "drain_step",
    "event_layout",
    "following",
    "host_read",
    "host_write",
    "index_shape",
    "memory_address_width",
    "port_word",
    "probe",
    "pulse",
    "read_word",
    "result_write",
    "run_command",
    "run_state",
    "scan_word",
    "tag_width",
    "trit_word",
    "value_width",
    "walk_job",
    "window",
    "write_back",
    "written_value",
]


def address_width(depth: int) -> int:
    """Bits of an address into ``depth`` entries (at least one)."""
    return max(1, bits_for(depth - 1))


def tag_width(config: Config) -> int:
    """Bits of a job's tag: a counter modulo twice the number of banks.

    The low bits are the bank; the extra bit tells a job from the one that had the bank before.
    """
    return bits_for(2 * config.banks - 1)


def index_shape(count: int) -> Shape:
    """Shape of an index into ``count`` things (at least one bit, so that every port exists)."""
    return unsigned(address_width(count))


def following(index: Value, count: int) -> Value:
    """The next of ``count`` things in turn; known where there is but one."""
    return Mux(index == count - 1, 0, index + 1) if count > 1 else Const(0)


def pulse(shape: ShapeLike) -> wiring.Signature:
    """A payload that is taken in the cycle in which it is ``valid``: a stream without ``ready``."""
    return wiring.Signature({"payload": Out(shape), "valid": Out(1)})


def port_word() -> data.StructLayout:
    """One word of the host port; ``last`` ends a packet."""
    return data.StructLayout({"data": unsigned(PORT_WIDTH), "last": 1})


def command_word() -> data.StructLayout:
    """One word of a command, from a sender that may learn late whether the packet is good.

    ``last`` ends a packet; with ``empty`` the packet ended before, and this is no word of it; with
    ``abort`` the packet is forgotten.
    """
    return data.StructLayout({"data": unsigned(PORT_WIDTH), "last": 1, "empty": 1, "abort": 1})


def memory_address_width(config: Config) -> int:
    """Bits of an address into the deepest memory."""
    return max(address_width(config.memory_depth(kind)) for kind in memories(config))


def host_read(config: Config) -> data.StructLayout:
    """A word of one of the memories, for the host."""
    return data.StructLayout(
        {
            "memory": range(len(MEMORIES)),
            "cluster": index_shape(config.cluster_count),
            "address": unsigned(memory_address_width(config)),
        }
    )


def read_word(config: Config) -> Shape:
    """A word of any memory that the host reads."""
    return unsigned(max(config.memory_width(kind) for kind in READABLE_MEMORIES))


def host_write(config: Config) -> data.StructLayout:
    """32 bits of a word of one of the memories, from the host."""
    chunks = max(config.memory_chunks(kind) for kind in WRITABLE_MEMORIES)
    return data.StructLayout(
        {
            "memory": range(len(MEMORIES)),
            "cluster": index_shape(config.cluster_count),
            "address": unsigned(memory_address_width(config)),
            "chunk": index_shape(chunks),
            "data": unsigned(PORT_WIDTH),
        }
    )


def result_write(config: Config) -> data.StructLayout:
    """One result, for the packet buffer's memory."""
    return data.StructLayout(
        {
            "address": unsigned(address_width(config.result_depth)),
            "data": unsigned(PORT_WIDTH),
        }
    )


def run_command(config: Config) -> data.StructLayout:
    """A program to run."""
    return data.StructLayout(
        {
            "address": unsigned(address_width(config.program_depth)),
            "layer_count": unsigned(16),
            "waits": 1,  # for a signal first
            "tag": unsigned(8),  # of the RUN packet, for its answer
        }
    )


def run_state() -> data.StructLayout:
    """What the host learns of a run."""
    return data.StructLayout(
        {
            "running": 1,
            "finished": 1,  # in the cycle in which the run ends
            "error": unsigned(8),  # an ErrorCode, with ``finished``
            "layers": unsigned(16),  # finished
            "cycles": unsigned(32),  # of this run, or of the last one
            "released": 1,  # the program has counted a release
            "refilling": 1,  # the program waits for a signal
        }
    )


def _wide(config: Config) -> dict[str, ShapeLike]:
    """Fields that only elements with multipliers need."""
    return {"wide": 1, "quarter": unsigned(2)} if config.multipliers else {}


def walk_job(config: Config) -> data.StructLayout:
    """One column group of one output pixel, for the walkers."""
    activation = address_width(config.activation_depth)
    trit = address_width(config.trit_depth)
    return data.StructLayout(
        {
            "address": unsigned(activation),  # activation word of the first position
            "step_x": unsigned(activation),
            "step_y": unsigned(activation),
            "count_x": unsigned(8),  # kernel columns, rows inside the source
            "count_y": unsigned(8),
            "word_count": unsigned(activation),  # words per position
            "last_lanes": range(config.scan_width + 1),
            "trit": unsigned(trit),  # trit column of the first position
            "trit_step_x": unsigned(trit),
            "trit_step_y": unsigned(trit),
            "plus": signed(config.coefficient_width),
            "minus": signed(config.coefficient_width),
            "signed": 1,
            "rows_used": range(config.rows + 1),
            "last": 1,  # last group of the pixel
            **_wide(config),  # weights in place of trits, and for which quarter of the rows
        }
    )


def scan_word(config: Config) -> data.StructLayout:
    """A word of activations on its way from the walker to the zero skip."""
    return data.StructLayout(
        {
            "activations": data.ArrayLayout(unsigned(ACTIVATION_WIDTH), config.scan_width),
            "lanes": range(config.scan_width + 1),  # activations in use; 0 only ends a pixel
            "trit": unsigned(address_width(config.trit_depth)),
            "plus": signed(config.coefficient_width),
            "minus": signed(config.coefficient_width),
            "signed": 1,
            "rows_used": range(config.rows + 1),
            "last": 1,
            **_wide(config),
        }
    )


def trit_word(config: Config) -> data.StructLayout:
    """The trits of one column for one element, as two planes of one bit per row; in columns of a
    wide group, bytes of weights, those of the lowest row first."""
    return data.StructLayout(
        {
            "nonzero": unsigned(config.rows),
            "negative": unsigned(config.rows),
        }
    )


def broadcast(config: Config) -> data.StructLayout:
    """What an element receives besides its trits: both products, the pixel's tag, and whether the
    trits are weights and of which rows."""
    fields: dict[str, ShapeLike] = {
        "plus": signed(config.product_width),  # Wp*x
        "minus": signed(config.product_width),  # -Wn*x
        "tag": unsigned(tag_width(config)),
        **_wide(config),
    }
    if not config.skip_zero_weights:
        fields["rows_used"] = range(config.rows + 1)
    return data.StructLayout(fields)


def window(config: Config) -> data.StructLayout:
    """Where the values of an output pixel go: pooled pixels, from the last one backwards."""
    return data.StructLayout(
        {
            "address": unsigned(address_width(config.activation_depth)),  # of the last one
            "count_x": range(config.window_count + 1),  # pooled pixels fed: columns, rows
            "count_y": range(config.window_count + 1),
            "fresh_x": range(
                config.window_count + 1
            ),  # the last of them, written for the first time
            "fresh_y": range(config.window_count + 1),
        }
    )


def drain_job(config: Config) -> data.StructLayout:
    """One output pixel of one tile, for the drain."""
    return data.StructLayout(
        {
            "rows_used": range(config.rows + 1),
            "row_base": unsigned(address_width(config.row_depth)),
            "window": window(config),
        }
    )


def drain_command(config: Config) -> data.StructLayout:
    """Passed from cluster to cluster: which accumulators to put on the partial-sum chain."""
    fields: dict[str, ShapeLike] = {
        "take": 1,  # move the row's accumulators to the registers
        "row": index_shape(config.rows),
        "block": index_shape(config.blocks),
        "last": 1,  # takes the last row: the bank is free
    }
    if config.gate_clocks:
        fields["step"] = 1  # one of the block's values is on its way
    return data.StructLayout(fields)


def drain_step(config: Config) -> data.StructLayout:
    """What belongs to a step of the drain beside its command."""
    return data.StructLayout(
        {
            "valid": 1,
            "begin": 1,  # a pixel's first step; its window stays for all its steps
            "source": index_shape(config.sets),  # set that the sums come from
            "window": window(config),
            "row_address": unsigned(address_width(config.row_depth)),
        }
    )


def value_width(config: Config) -> int:
    """Bits of a requantized value on its way to memory: one more where it may be added."""
    return CODE_WIDTH if config.write_back_sums else ACTIVATION_WIDTH


def written_value(config: Config) -> data.StructLayout:
    """A requantized activation and its place in a word. The first of several that are written at
    once is always there, unless the configuration has several: then ``there`` says so of each."""
    return data.StructLayout(
        {
            "lane": index_shape(config.scan_width),
            "value": unsigned(value_width(config)),
            **({"there": 1} if config.slice_values > 1 else {}),
        }
    )


def write_back(config: Config) -> data.StructLayout:
    """Requantized activations for one word of one slice's memory."""
    return data.StructLayout(
        {
            "valid": 1,
            "window": window(config),
            "values": data.ArrayLayout(written_value(config), config.slice_values),
            "signed": 1,  # compare as signed; a sum is signed
            "nothing": 1,  # they change nothing where they are merged
        }
    )


#: Events of one cluster in one cycle, in the order of :data:`tritforge.hw.program.COUNTERS`.
EVENTS = (
    "broadcasts",
    "skipped_activations",
    "activation_reads",
    "queue_writes",
    "adds",
    "empty_scans",
    "stall_queue_full",
    "stall_imbalance",
    "stall_drain",
)


def event_layout(config: Config, copies: int = 1) -> data.StructLayout:
    """Counts of :data:`EVENTS` in one cycle, summed over ``copies`` clusters."""
    most = {
        "skipped_activations": config.scan_width,
        "queue_writes": config.elements,
        "adds": config.elements,
    }
    return data.StructLayout({name: range(copies * most.get(name, 1) + 1) for name in EVENTS})


#: Bits of :func:`probe` that are high for one cycle each time, lowest first.
PROBE_PULSES = ("layer_started", "tile_started", "pixel_started", "pixel_drained", "layer_settled")
#: Bits of :func:`probe` that stay high while something lasts, after those.
PROBE_LEVELS = ("drain_stalled", "refilling")


def probe(config: Config) -> data.StructLayout:
    """What an observer of the whole accelerator sees in one cycle: 64 bits at most."""
    return data.StructLayout(
        {
            "layer_started": 1,  # first fetch of a run, or the layer before is counted
            "tile_started": 1,  # the clusters get a tile's first column group
            "pixel_started": 1,  # the clusters get a pixel's last column group
            "pixel_drained": 1,  # the drain makes a pixel's last step
            "layer_settled": 1,  # all write-backs are in memory
            "drain_stalled": 1,  # the drain waits for write-backs
            "refilling": 1,  # the program waits for a signal of the host
            "set": index_shape(config.sets),  # whose turn it is in the sequencer
            "drain_set": index_shape(config.sets),  # in the drain
            "tile": unsigned(16),  # where the job at hand is: tile of the layer
            "x": unsigned(16),  # output pixel, before pooling
            "y": unsigned(16),
        }
    )
