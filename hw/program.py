"""What the memories hold: records of the program, entries of the row memory, names of counters.

The RTL decodes with these layouts and the compiler encodes with them, so a field's place is
stated once. Every record is a whole number of 32-bit words, lowest bits first.

A program is a list of layers. A layer is a LAYER record, then for each tile a TILE record and
its GROUP records. Geometry and destination tables lie elsewhere in the program memory and are
pointed to; they hold what depends on an output pixel's row (y) or column (x), padding already
clipped, so that the hardware multiplies no coordinates::

    program:  LAYER | TILE | GROUP .. GROUP | TILE | GROUP .. | LAYER | TILE ..
    tables:   GEOMETRY x out_height, GEOMETRY x out_width, DESTINATION x out_height, ...

Between two layers may stand a SYNC record: it tells the host that what the layers before have
used is free, waits for the host's SIGNAL, and says where the next layer is. All addresses are taken
modulo the next power of two of the memory's depth, so that they may go on counting where a memory
is refilled again and again.
"""

from typing import Any

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data

from tritforge.hw.config import Config
from tritforge.hw.widths import COUNTER_SLOTS, PORT_WIDTH

__all__ = [
    "COUNTERS",
    "DESTINATION",
    "GEOMETRY",
    "GROUP",
    "LAYER",
    "LAYER_OPCODE",
    "MEMORIES",
    "MOST_WINDOWS",
    "SYNC",
    "SYNC_OPCODE",
    "TILE",
    "encode",
    "group_layout",
    "layer_format",
    "layer_layout",
    "memories",
    "record_words",
    "row_layout",
]

#: Memory names; the index is the memory's number on the host port. Of activation tables there need
#: not be any.
MEMORIES = ("program", "trits", "activations", "rows", "results", "counters", "tables")
#: Memories that READ answers; the others can only be written.
READABLE_MEMORIES = ("activations", "results", "counters")
#: Memories that WRITE accepts.
WRITABLE_MEMORIES = ("program", "trits", "activations", "rows", "tables")

#: First byte of a layer record, and of a SYNC record.
LAYER_OPCODE = 0xA1
SYNC_OPCODE = 0xA2

#: Counters of one layer, in the order of the counter memory. Sums over clusters or elements.
COUNTERS = (
    "broadcasts",  # activations broadcast, summed over clusters
    "skipped_activations",  # zero activations passed over without a broadcast
    "activation_reads",  # words of scan_width activations read for the walker
    "queue_writes",  # {trits, Wp*x, -Wn*x} entries pushed, summed over elements
    "adds",  # additions of a nonzero trit, summed over elements
    "empty_scans",  # cluster cycles: a word without nonzero activations, or nothing to read
    "stall_queue_full",  # cluster cycles: an element's queue was full
    "stall_imbalance",  # cluster cycles: no free bank, another cluster or element is behind
    "stall_drain",  # cluster cycles: no free bank, the oldest tile is being drained
    "drain_steps",  # accumulators put on the partial-sum chain, drain_width at a time
    "stall_write_back",  # cycles in which the drain waited for write-backs
    "merge_reads",  # activation words read back for the max-pool merge
    "write_backs",  # activations written back
    "result_writes",  # result-memory entries written (last layer)
    "stall_refill",  # cycles in which the program waited for the host's SIGNAL
    "cycles",  # clock cycles, from the end of the layer before to the last counter write
)
assert len(COUNTERS) == COUNTER_SLOTS


def _record(**fields: ShapeLike) -> data.StructLayout:
    layout = data.StructLayout(fields)
    assert layout.size % PORT_WIDTH == 0, fields
    return layout


#: LAYER, where hardware has no sums at write-back.
LAYER = _record(
    opcode=unsigned(8),  # LAYER_OPCODE
    raw=1,  # results (last layer) instead of requantized activations
    look_up=1,  # requantized activations are replaced by entries of an activation table
    table=unsigned(5),  # which one, modulo the next power of two of their number
    table_signed=1,  # its entries are signed; without a table activations are where low is negative
    tile_count=unsigned(16),
    low=signed(16),  # clamp of the requantizer
    high=signed(16),
    out_height=unsigned(16),  # output pixels before pooling
    out_width=unsigned(16),
    destination_y=unsigned(16),  # program addresses of the destination tables
    destination_x=unsigned(16),
    step_x=unsigned(16),  # activation words between pooled pixels of a row
    step_y=unsigned(16),  # and between pooled rows
    base=unsigned(32),  # activation word (or result entry) of the output tensor
)


def _with_sums() -> data.StructLayout:
    fields: dict[str, ShapeLike] = {}
    for name, field in LAYER:
        fields[name] = field.shape
        if name == "low":
            fields |= {
                "low": signed(12),
                "add": 1,  # requantized values are added to the activations that are there
                "stored_signed": 1,  # which are signed before,
                "sum_signed": 1,  # and after that
                "reserved_1": 1,
            }
    return _record(**fields)


#: LAYER, where hardware has them: some of the bits of ``low`` say more.
LAYER_WITH_SUMS = _with_sums()

#: Bits of LAYER that are about activation tables.
_TABLE_BITS = sum(LAYER[name].width for name in ("look_up", "table", "table_signed"))

SYNC = _record(
    opcode=unsigned(8),  # SYNC_OPCODE
    release=1,  # count a release: the layers before it are done
    wait=1,  # wait for a signal before going on
    reserved_0=unsigned(6),
    next=unsigned(16),  # program address of the next LAYER
)

TILE = _record(
    rows_used=unsigned(8),  # accumulator rows in use: 1 .. rows
    group_count=unsigned(8),  # column groups: 1 ..
    reserved_0=unsigned(16),
    row_base=unsigned(32),  # first entry of the tile in the row memory
)

GROUP = _record(
    plus=signed(16),  # coefficient of + trits, Wp
    minus=signed(16),  # coefficient of - trits, already negated: -Wn
    base=unsigned(24),  # activation word of pixel (0, 0), first word of the group
    signed=1,  # source activations are signed
    wait=1,  # wait for a signal before each of its jobs
    release=1,  # count a release when the clusters have read its columns
    wide=1,  # its columns hold weights of 8 bits in place of trits
    quarter=unsigned(2),  # of each element's rows, which a wide group feeds
    reserved_0=unsigned(2),
    geometry_y=unsigned(16),  # program addresses of the geometry tables
    geometry_x=unsigned(16),
    word_count=unsigned(16),  # words of scan_width activations per kernel position
    last_lanes=unsigned(8),  # activations used of the last of them: 1 .. scan_width
    reserved_1=unsigned(8),
    step_x=unsigned(16),  # activation words between kernel columns (dilation included)
    step_y=unsigned(16),  # and between kernel rows
    trit_base=unsigned(32),  # trit-memory column of kernel position (0, 0)
    trit_step_x=unsigned(32),  # trit-memory columns between kernel columns (0: shared)
    trit_step_y=unsigned(32),  # and between kernel rows
)

#: Bits of GROUP that are about wide groups, and those reserved behind them.
_WIDE_BITS = sum(GROUP[name].width for name in ("wide", "quarter", "reserved_0"))

GEOMETRY = _record(
    offset=unsigned(24),  # activation words to the first kernel row (column) inside
    count=unsigned(8),  # kernel rows (columns) inside the source: 0 .. 255
    trit_offset=unsigned(32),  # trit-memory columns to the first of them
)

DESTINATION = _record(
    offset=unsigned(16),  # activation words to the last pooled row (column) fed
    count=unsigned(4),  # pooled rows (columns) fed; 0 skips the pixels
    reserved_0=unsigned(4),
    fresh=unsigned(4),  # the last of them, this many, are fed for the first time
    reserved_1=unsigned(4),
)
#: Most overlapping max-pool windows, each way, that one output pixel can feed.
MOST_WINDOWS = (1 << DESTINATION["count"].width) - 1


def layer_format(config: Config) -> data.StructLayout:
    """LAYER as programs of a configuration have it."""
    return LAYER_WITH_SUMS if config.write_back_sums else LAYER


def layer_layout(config: Config) -> data.StructLayout:
    """LAYER as the hardware of a configuration has it: without activation tables, what is said of
    them is reserved."""
    record = layer_format(config)
    if config.activation_tables:
        return record
    fields: dict[str, ShapeLike] = {}
    for name, field in record:
        if name == "look_up":
            fields["reserved_0"] = unsigned(_TABLE_BITS)
        elif name not in ("table", "table_signed"):
            fields[name] = field.shape
    return _record(**fields)


def group_layout(config: Config) -> data.StructLayout:
    """GROUP as the hardware of a configuration has it: without multipliers, what is said of wide
    groups is reserved."""
    if config.multipliers:
        return GROUP
    fields: dict[str, ShapeLike] = {}
    for name, field in GROUP:
        if name == "wide":
            fields["reserved_0"] = unsigned(_WIDE_BITS)
        elif name not in ("quarter", "reserved_0"):
            fields[name] = field.shape
    return _record(**fields)


def memories(config: Config) -> dict[str, int]:
    """Numbers on the host port of the memories that a configuration has, by name."""
    return {name: number for number, name in enumerate(MEMORIES) if config.memory_depth(name)}


def row_layout(config: Config) -> data.StructLayout:
    """One lane of a row-memory entry: how a drained accumulator becomes an activation.

    ``clamp((acc * multiplier + offset) >> shift, low, high)``, or what an activation table has for
    it, goes to word ``word``, lane ``lane`` of the destination pixel in slice ``cluster``, or is
    added to what is there. ``offset`` holds the bias plus half of the shift's unit. With ``merge``,
    which hardware with ``row_merges`` has, it is merged in every pixel, fresh or not.
    """
    widths = config.row_field_widths
    return data.StructLayout(
        {
            name: signed(width) if name in ("multiplier", "offset") else unsigned(width)
            for name, width in widths.items()
        }
    )


def record_words(layout: data.StructLayout) -> int:
    """Number of 32-bit words of a record."""
    return -(-layout.size // PORT_WIDTH)


def encode(layout: data.StructLayout, **values: Any) -> int:
    """Pack named fields into one integer.

    Raises
    ------
    OverflowError
        A value does not fit its field; the message names it.
    """
    packed = 0
    for name, value in values.items():
        field = layout[name]
        width = (
            data.Layout.cast(field.shape).size
            if isinstance(field.shape, data.Layout)
            else field.width
        )
        value = int(value)
        is_signed = getattr(field.shape, "signed", False)
        low, high = (
            (-(1 << (width - 1)), (1 << (width - 1)) - 1) if is_signed else (0, (1 << width) - 1)
        )
        if not low <= value <= high:
            raise OverflowError(f"{name} is {value}; it must be between {low} and {high}")
        packed |= (value & ((1 << width) - 1)) << field.offset
    return packed


def to_words(packed: int, count: int) -> list[int]:
    """Split a packed record into ``count`` 32-bit words, lowest first."""
    return [(packed >> (PORT_WIDTH * index)) & 0xFFFF_FFFF for index in range(count)]


def encode_words(layout: data.StructLayout, **values: Any) -> list[int]:
    """:func:`encode`, split into 32-bit words."""
    return to_words(encode(layout, **values), record_words(layout))
