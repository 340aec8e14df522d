"""Max-pool merge: writes requantized activations back, keeping the maximum of a window."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import ACTIVATION_WIDTH, Config
from hw.lookup_memory import Queue
from hw.memory import ChunkMemory
from hw.payloads import address_width, write_back

__all__ = ["MERGE_LATENCY", "WRITE_BACK_FLIGHT", "Merge", "merge_level", "merge_places"]

#: Cycles from a visit of ``Merge`` to the first cycle in which a read sees what it wrote.
MERGE_LATENCY = ChunkMemory.latency + 2
#: Drain steps that may follow after a queue has reached ``merge_level``, besides those on the
#: chain of clusters: registers of drain, requantizer and write-back, and of ``full``.
WRITE_BACK_FLIGHT = 10
#: Write-backs that a queue holds at least before it stops the drain.
_LEAST_LEVEL = 8


def merge_places(config: Config) -> int:
    """Places of a write-back queue."""
    return 1 << (config.clusters + WRITE_BACK_FLIGHT + _LEAST_LEVEL - 1).bit_length()


def merge_level(config: Config) -> int:
    """Write-backs in a queue from which on the drain is stopped."""
    return merge_places(config) - config.clusters - WRITE_BACK_FLIGHT


class Merge(wiring.Component):
    """``memory[address][lane] = max(memory[address][lane], value)`` or plain overwriting.

    ::

        i -> [queue] -> one visit per pooled pixel -> read, 2 cycles -> maximum -> write

    A write-back feeds ``count_y`` x ``count_x`` pooled pixels at ``address - y*step_y - x*step_x``.
    The ``fresh_y`` x ``fresh_x`` nearest of them are fed for the first time: there the value is
    written, elsewhere it is merged. A zero that is not signed changes nothing where it would
    be merged, so only its fresh pixels are visited; if it has none, it is not even queued.

    Timing: a write-back of cycle t is first visited in t+1, with a single port in t+2, where the
    queue fetches it ahead; one visit per cycle, except that a
    merge waits while a visit of the same activation is in the pipeline (``MERGE_LATENCY``), while
    its word is written, and, where the memory has a single port, while any word is written.
    Writing follows ``ChunkMemory.latency + 1`` cycles after the visit. There is no ready: the
    drain stops when ``full`` shows.

    Cost: a queue of ``merge_places`` write-backs, one comparison of activations, three of
    addresses.

    Parameters
    ----------
    config : Config

    Members
    -------
    number : In(8)
        This slice; write-backs for others are ignored.
    i : In(write_back)
    full : Out(1)
        ``merge_level`` write-backs or more were queued in the cycle before.
    idle : Out(1)
        Nothing is queued or on its way to memory.
    step_x, step_y : In
        Words between pooled pixels.
    wants_read : Out(1)
        A read is due, now or after a wait.
    read_valid, read_address, read_data
        Read port of the activation memory; the request is always served.
    write_mask, write_address, write_data : Out
        One activation to write, its lane in the mask.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        address = address_width(config.activation_depth)
        super().__init__({
            "number": In(8),
            "i": In(write_back(config)),
            "full": Out(1),
            "idle": Out(1),
            "step_x": In(address),
            "step_y": In(address),
            "wants_read": Out(1),
            "read_valid": Out(1),
            "read_address": Out(address),
            "read_data": In(config.memory_width("activations")),
            "write_mask": Out(config.scan_width),
            "write_address": Out(address),
            "write_data": Out(ACTIVATION_WIDTH),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes = config.scan_width
        # All but ``valid`` and ``cluster``, which are the same for all that is queued.
        layout = data.StructLayout({
            name: field.shape for name, field in self.i.shape()
            if name not in ("valid", "cluster")})
        m.submodules.queue = queue = Queue(
            width=layout.size, depth=merge_places(config), ahead=config.single_port)
        window = self.i.window
        m.d.comb += [
            queue.w_data.eq(Cat(self.i[name] for name, _ in layout)),
            queue.w_en.eq(self.i.valid & (self.i.cluster == self.number)
                          & (self.i.value.any() | self.i.signed
                             | (window.fresh_x.any() & window.fresh_y.any()))),
        ]
        m.d.sync += self.full.eq(queue.level >= merge_level(config))

        # One visit per pooled pixel: columns first, then rows, backwards.
        head = Signal(layout)
        x, y = Signal(head.window.count_x.shape()), Signal(head.window.count_y.shape())
        at, line, row = (Signal.like(self.read_address, name=name)
                         for name in ("at", "line", "row"))
        following = Signal.like(self.read_address)
        zero, fresh, wait, visit = Signal(), Signal(), Signal(), Signal()
        last_x, last_y = Signal(), Signal()
        m.d.comb += [
            head.eq(queue.r_data),
            zero.eq(~head.value.any() & ~head.signed),
            last_x.eq(x == Mux(zero, head.window.fresh_x, head.window.count_x) - 1),
            last_y.eq(y == Mux(zero, head.window.fresh_y, head.window.count_y) - 1),
            fresh.eq((x < head.window.fresh_x) & (y < head.window.fresh_y)),
            row.eq(Mux(y.any(), line, head.window.address)),
            at.eq(Mux(x.any(), following, row)),
            visit.eq(queue.r_rdy & ~wait),
            queue.r_en.eq(visit & last_x & last_y),
            self.wants_read.eq(queue.r_rdy & ~fresh),
            self.read_valid.eq(visit & ~fresh),
            self.read_address.eq(at),
        ]
        with m.If(visit):
            m.d.sync += [x.eq(x + 1), following.eq(at - self.step_x)]
            with m.If(last_x):
                m.d.sync += [x.eq(0), y.eq(y + 1), line.eq(row - self.step_y)]
                with m.If(last_y):
                    m.d.sync += y.eq(0)

        # What belongs to a visit travels beside the memory's pipeline.
        valid, address, lane, value, is_signed, merge = (
            visit, at, head.lane, head.value, head.signed, ~fresh)
        same, under_way = [], []
        for stage in range(ChunkMemory.latency):
            after = [Signal.like(part, name=f"{name}_{stage}", reset_less=name != "valid")
                     for name, part in (("valid", valid), ("address", address), ("lane", lane),
                                        ("value", value), ("signed", is_signed),
                                        ("merge", merge))]
            m.d.sync += [new.eq(old) for new, old in zip(
                after, (valid, address, lane, value, is_signed, merge), strict=True)]
            valid, address, lane, value, is_signed, merge = after
            same.append(valid & (address == at) & (lane == head.lane))
            under_way.append(valid)
        old = Array(self.read_data.word_select(index, ACTIVATION_WIDTH)
                    for index in range(lanes))[lane]
        flip = is_signed << (ACTIVATION_WIDTH - 1)   # signed order is unsigned order, sign flipped
        keep = merge & ((old ^ flip) > (value ^ flip))
        m.d.sync += [
            self.write_mask.eq(Mux(valid, Cat(lane == index for index in range(lanes)), 0)),
            self.write_address.eq(address),
            self.write_data.eq(Mux(keep, old, value)),
        ]
        writing = self.write_mask.any()
        same.append(writing if config.single_port else writing & (self.write_address == at))
        m.d.comb += [
            wait.eq(~fresh & Cat(same).any()),
            self.idle.eq(~queue.level.any() & ~Cat(under_way).any() & ~self.write_mask.any()),
        ]
        return m
