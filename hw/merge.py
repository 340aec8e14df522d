"""Merge: writes requantized activations back, keeps the maximum of a window, or adds."""

from dataclasses import dataclass
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.lookup_memory import Queue
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, write_back
from tritforge.hw.timing import merge_head_latency, merge_level, merge_places
from tritforge.hw.widths import ACTIVATION_WIDTH, CODE_WIDTH

__all__ = ["Merge"]


@dataclass(frozen=True)
class _Pixels:
    """The pooled pixels to visit."""

    shown: Signal  #: there is one
    head: data.View  #: its write-back, the oldest
    at: Signal  #: its word
    fresh: Value  #: it is fed for the first time
    move: Signal  #: it comes to hand: driven by the visits


@dataclass(frozen=True)
class _Hazards:
    """What the visit at hand must wait for.

    It is compared when the visit comes to hand, and moves on with the pipeline while it waits:
    ``near[n]`` and ``same[n]`` say that stage n has its word, its lane; the last one of ``near`` is
    being written.
    """

    near: Signal
    same: Signal
    wait: Signal
    port_taken: Value | None  #: by a write that comes next, where there is a single port

    def note(self, m: Module, near: Value, same: Value) -> None:
        """What holds from the next cycle on."""
        count = len(self.same)
        m.d.sync += [
            self.near.eq(near),
            self.same.eq(same),
            self.wait.eq(
                (near[:count] & same).any()
                | (near[count] if self.port_taken is None else self.port_taken)
            ),
        ]

    def move_on(self, m: Module) -> None:
        """What is on its way is a stage further."""
        near, same = self.near, self.same
        self.note(m, (near << 1)[: len(near)], (same << 1)[: len(same)])


class Merge(wiring.Component):
    """``memory[address][lane] = max(memory[address][lane], value)`` or plain overwriting, for each
    of the values of a write-back.

    ::

        i -> [queue] -> one visit per pooled pixel -> [visit] -> read, 2 cycles -> maximum -> write
                                                                                  or sum

    A write-back feeds ``count_y`` x ``count_x`` pooled pixels at ``address - y*step_y - x*step_x``.
    The ``fresh_y`` x ``fresh_x`` nearest of them are fed for the first time: there the value is
    written, elsewhere it is merged. A zero that is not signed changes nothing where it would
    be merged, so only the fresh pixels of zeros are visited; where there are none, they are not
    even queued.

    With ``add``, which hardware with ``write_back_sums`` has, the sum of both is written in place
    of the greater one, clamped to -128..127 where it is signed, else to 0..255. The value has 9
    bits then.

    Timing: a write-back of cycle t is first visited in t+3, with few stages in t+2; one visit
    per cycle, except that a merge waits while a visit of the same activation is in the pipeline
    (``MERGE_LATENCY``), while its word is written, and, where the memory has a single port, while
    any word is written. Writing follows ``MERGE_WRITE_LATENCY`` cycles after the visit. There is no
    ready: the drain stops when ``full`` shows.

    Cost: a queue of ``merge_places`` write-backs, three comparisons of addresses; for each value of
    a write-back a comparison of activations, and an adder and a clamp where there are sums.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(write_back)
    full : Out(1)
        ``merge_level`` write-backs or more were queued in the cycle before.
    idle : Out(1)
        Nothing is queued or on its way to memory.
    step_x, step_y : In
        Words between pooled pixels.
    add, stored_signed : In(1)
        With ``write_back_sums``: values are added to what is there, which is signed; a write-back's
        ``signed`` is the sum's.
    wants_read : Out(1)
        A read is due, now or after a wait.
    spares_read : Out(1)
        The opposite; unless stages are few from a register of its own, for those far away.
    read_valid, read_address, read_data
        Read port of the activation memory; the request is always served.
    writing : Out(1)
    write_mask, write_address, write_data : Out
        A word to write, the lanes to be written in the mask.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        address = address_width(config.activation_depth)
        super().__init__(
            {
                "i": In(write_back(config)),
                "full": Out(1),
                "idle": Out(1),
                "step_x": In(address),
                "step_y": In(address),
                **({"add": In(1), "stored_signed": In(1)} if config.write_back_sums else {}),
                "wants_read": Out(1),
                "spares_read": Out(1, init=1),
                "read_valid": Out(1),
                "read_address": Out(address),
                "read_data": In(config.memory_width("activations")),
                "writing": Out(1),
                "write_mask": Out(config.scan_width),
                "write_address": Out(address),
                "write_data": Out(config.memory_width("activations")),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        queue = self._queue_entries(m)
        pixels = self._walk(m, queue)
        pending, stages = self._visit(m, pixels)
        self._write(m, *stages[-1])
        m.d.comb += self.idle.eq(
            ~queue.r_rdy
            & ~pixels.shown
            & ~pending
            & ~self.writing
            & ~Cat(under_way for under_way, _ in stages[1:]).any()
        )
        return m

    def _entry_layout(self) -> data.StructLayout:
        """A write-back with the pooled pixels to visit in place of those fed."""
        return data.StructLayout(
            {
                name: field.shape
                for name, field in self.i.shape()
                if name not in ("valid", "nothing")
            }
        )

    def _queue_entries(self, m: Module) -> Queue:
        """Write-backs that have pixels to visit wait in a queue."""
        config = self.config
        layout = self._entry_layout()
        m.submodules.queue = queue = Queue(width=layout.size, depth=merge_places(config))
        entry, window = Signal(layout), self.i.window
        m.d.comb += [
            entry.eq(Cat(self.i[name] for name, _ in layout)),
            entry.window.count_x.eq(Mux(self.i.nothing, window.fresh_x, window.count_x)),
            entry.window.count_y.eq(Mux(self.i.nothing, window.fresh_y, window.count_y)),
            queue.w_data.eq(entry),
            queue.w_en.eq(
                self.i.valid & (~self.i.nothing | (window.fresh_x.any() & window.fresh_y.any()))
            ),
        ]
        m.d.sync += self.full.eq(queue.level >= merge_level(config))
        return queue

    def _walk(self, m: Module, queue: Queue) -> _Pixels:
        """One visit per pooled pixel: columns first, then rows, backwards.

        The oldest write-back is in a register, or, where stages are few, straight from the queue.
        """
        config = self.config
        shown, head, begun, last_x, last_y, move = (
            Signal(),
            Signal(self._entry_layout(), reset_less=True),
            Signal(),
            Signal(),
            Signal(),
            Signal(),
        )
        x, y = Signal(head.window.count_x.shape()), Signal(head.window.count_y.shape())
        at, following, line, row = (
            Signal.like(self.read_address, name=name) for name in ("at", "following", "line", "row")
        )
        taken = move & last_x & last_y
        if merge_head_latency(config) == 0:
            m.d.comb += [shown.eq(queue.r_rdy), head.eq(queue.r_data)]
        else:
            with m.If(queue.r_en):
                m.d.sync += [shown.eq(queue.r_rdy), head.eq(queue.r_data)]
        m.d.comb += [
            last_x.eq(x == head.window.count_x - 1),
            last_y.eq(y == head.window.count_y - 1),
            row.eq(Mux(y.any(), line, head.window.address)),
            at.eq(Mux(begun, following, head.window.address)),
            queue.r_en.eq(~shown | taken if merge_head_latency(config) else taken),
        ]
        with m.If(move):
            m.d.sync += [x.eq(x + 1), begun.eq(1), following.eq(at - self.step_x)]
            with m.If(last_x):
                m.d.sync += [
                    x.eq(0),
                    y.eq(y + 1),
                    line.eq(row - self.step_y),
                    following.eq(row - self.step_y),
                ]
                with m.If(last_y):
                    m.d.sync += [y.eq(0), begun.eq(0)]
        fresh = (x < head.window.fresh_x) & (y < head.window.fresh_y)
        return _Pixels(shown, head, at, fresh, move)

    def _visit(self, m: Module, pixels: _Pixels) -> tuple[Signal, list[tuple[Signal, data.View]]]:
        """The visit at hand, and those on their way through the memory's pipeline.

        Returns
        -------
        Whether a visit is at hand, and of every stage whether it has one, and which; the first one
        has the visit at hand when it need not wait.
        """
        config, head, at = self.config, pixels.head, pixels.at
        pending, visit, wait, fresh = Signal(), Signal(), Signal(), Signal()
        hand = Signal(
            data.StructLayout(
                {
                    "address": at.shape(),
                    "values": head["values"].shape(),
                    "signed": 1,
                    "merge": 1,
                }
            ),
            reset_less=True,
        )
        stages = _through_memory(m, visit, hand)
        hazards = _Hazards(
            near=Signal(ChunkMemory.latency + 1),
            same=Signal(ChunkMemory.latency),
            wait=wait,
            port_taken=stages[-1][0] if config.memory_ports == 1 else None,
        )
        m.d.comb += [
            fresh.eq(pixels.fresh),
            visit.eq(pending & ~(self.wants_read & wait)),
            pixels.move.eq(pixels.shown & (~pending | visit)),
            self.read_valid.eq(visit & hand.merge),
            self.read_address.eq(hand.address),
        ]
        with m.If(~pending | visit):
            # The first stage is the visit at hand, which is pending if there is one.
            under_way = [pending, *(valid for valid, _ in stages[1:])]
            hazards.note(
                m,
                Cat(
                    some & (contents.address == at)
                    for some, (_, contents) in zip(under_way, stages, strict=True)
                ),
                Cat(
                    _meet(contents["values"], head["values"], config.slice_values)
                    for _, contents in stages[:-1]
                ),
            )
            m.d.sync += [
                pending.eq(pixels.move),
                hand.address.eq(at),
                hand["values"].eq(head["values"]),
                hand.signed.eq(head.signed),
                hand.merge.eq(~fresh),
                self.wants_read.eq(pixels.move & ~fresh),
            ]
            if not config.few_stages:
                m.d.sync += self.spares_read.eq(~(pixels.move & ~fresh))
        with m.Else():
            hazards.move_on(m)
        if config.few_stages:
            m.d.comb += self.spares_read.eq(~self.wants_read)
        return pending, stages

    def _write(self, m: Module, valid: Signal, done: data.View) -> None:
        """The values, or, where they are merged, what was read if that is greater, or the sums."""
        lanes = range(self.config.scan_width)
        words = [self.read_data.word_select(lane, ACTIVATION_WIDTH) for lane in lanes]
        masks, written = [], []
        for number in range(self.config.slice_values):
            one = done["values"][number]
            here = valid if self.config.slice_values == 1 else valid & one.there
            masks.append(Signal(self.config.scan_width, name=f"mask_{number}"))
            written.append(Signal(ACTIVATION_WIDTH, name=f"written_{number}"))
            m.d.sync += [
                masks[-1].eq(Mux(here, Cat(one.lane == lane for lane in lanes), 0)),
                written[-1].eq(self._merged(m, Array(words)[one.lane], one, done)),
            ]
        m.d.sync += [self.writing.eq(valid), self.write_address.eq(done.address)]
        m.d.comb += [
            self.write_mask.eq(reduce(or_, masks)),
            self.write_data.eq(Cat(_chosen(lane, masks, written) for lane in lanes)),
        ]

    def _merged(self, m: Module, old: Value, one: data.View, done: data.View) -> Value:
        """What is written of one value where ``old`` was read."""
        # signed order is unsigned order, sign flipped
        flip = done.signed << (ACTIVATION_WIDTH - 1)
        value = one.value[:ACTIVATION_WIDTH]
        keep = done.merge & ((old ^ flip) > (value ^ flip))
        merged = Mux(keep, old, value)
        if self.config.write_back_sums:
            merged = Mux(done.merge & self.add, self._sum(m, old, one, done), merged)
        return Value.cast(merged)

    def _sum(self, m: Module, old: Value, one: data.View, done: data.View) -> Value:
        """What was read plus the value, clamped."""
        stored = Cat(old, old[-1] & self.stored_signed).as_signed()
        total = Signal(signed(CODE_WIDTH + 1))
        m.d.comb += total.eq(stored + one.value.as_signed())
        negative, upper = total[-1], total[CODE_WIDTH - 1]
        top = total[ACTIVATION_WIDTH - 1] & done.signed
        above = ~negative & (upper | top)
        below = negative & ~(done.signed & upper & top)
        bound = Cat(above.replicate(ACTIVATION_WIDTH - 1), above ^ done.signed)
        clamped: Value = Mux(above | below, bound, total[:ACTIVATION_WIDTH])
        return clamped


def _meet(some: data.View, others: data.View, count: int) -> Value:
    """Whether two write-backs of ``count`` values have a lane in common."""
    pairs = [(some[one], others[other]) for one in range(count) for other in range(count)]
    if count == 1:
        return Cat(one.lane == other.lane for one, other in pairs)
    return Cat(one.there & other.there & (one.lane == other.lane) for one, other in pairs).any()


def _chosen(lane: int, masks: list[Signal], written: list[Signal]) -> Value:
    """The value for a lane, of those whose masks have it."""
    chosen: Value = written[0]
    for mask, value in zip(masks[1:], written[1:], strict=True):
        chosen = Mux(mask[lane], value, chosen)
    return chosen


def _through_memory(m: Module, visit: Signal, hand: data.View) -> list[tuple[Signal, data.View]]:
    """The visit at hand and, stage by stage, those beside the memory's pipeline."""
    stages = [(visit, hand)]
    for stage in range(ChunkMemory.latency):
        valid, contents = (
            Signal(name=f"valid_{stage}"),
            Signal.like(hand, name=f"visit_{stage}", reset_less=True),
        )
        m.d.sync += [valid.eq(stages[-1][0]), contents.eq(stages[-1][1])]
        stages.append((valid, contents))
    return stages
