"""Processing element: a queue, a select of the next nonzero trit, one adder, accumulators."""

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.accumulators import Accumulators
from tritforge.hw.config import Config
from tritforge.hw.lookup_memory import LookupMemory
from tritforge.hw.payloads import broadcast, index_shape, tag_width, trit_word
from tritforge.hw.timing import queue_places
from tritforge.hw.widths import WEIGHT_WIDTH

__all__ = ["ProcessingElement"]

#: Rows that the select looks at together.
_GROUP = 4


@dataclass(frozen=True)
class _Entries:
    """Queued entries: what the select needs, and the products, which are read a group later."""

    level: Signal  #: entries of which no row has been looked at
    load: Signal  #: a group comes to work: driven by the select
    pop: Signal  #: it is its entry's first one: driven by the select
    fetch_place: Signal  #: of the next group's entry
    work_place: Signal  #: of the entry at work
    fetched: data.View  #: entry of the next group
    products: data.View  #: of the entry at work


@dataclass(frozen=True)
class _Groups:
    """Groups of the fetched entry, the lowest first."""

    left: Signal  #: those not yet at work
    group: Signal  #: the lowest of them that has a row to visit
    last_group: Signal  #: it is the only one
    left_then: Value  #: ``left`` once it is at work


@dataclass(frozen=True)
class _Row:
    """The row that is visited."""

    at_work: Value  #: there is one
    lowest: Signal  #: which of its group, one bit each
    negative: Signal  #: of the group's rows
    nonzero: Signal  #: of the group's rows, where rows without a trit are visited too
    group: Signal
    bank: Signal
    weight: Value | None  #: of the row, 0 where its group has trits; only with multipliers
    wide: Signal | None  #: its group has weights


class ProcessingElement(wiring.Component):
    """Adds one product per cycle to one of its accumulators, visiting nonzero trits only.

    ::

        i, trits -> [queue] -> [group: pending trits of 4 rows] -> [row, product] -> accumulators
                              ^ lowest nonzero trit                                  | take
                                                                                     v
                                                                                   value

    For each entry and each row r with a nonzero trit, in rising order of r:
    ``accumulator[bank(tag)][r] += minus if negative[r] else plus``. Taking an accumulator
    leaves zero in it.

    With multipliers, the trits of a ``wide`` entry are the weights of R/4 rows, signed bytes: for
    each that is not zero, ``accumulator[bank(tag)][quarter*R/4 + i] += weight[i] * plus``.

    Timing: an entry whose word has k nonzero trits takes k cycles, an all-zero word none (it is
    not queued); entries follow each other without a gap. An entry that arrives in cycle t at
    an empty queue makes its first addition in cycle t+3, readable in t+4; with multipliers the sum
    is readable a cycle later (``added`` shows when it would be without). There is no ready: the
    sender stops issuing when ``full`` shows, and ``queue_places`` leaves room for what is then
    still in flight. All outputs but ``full`` are registers: they show the state of the cycle
    before.

    Cost: a queue of ``queue_places`` entries; with multipliers, one of 8 by ``product_width`` bits
    and a word of weights in registers, whose inputs change for wide entries alone;
    :class:`tritforge.hw.accumulators.Accumulators`, which must hold zeros at the start: the drain
    takes everything once after a reset. It never takes from the bank that is being added to, so no
    adder cycle is lost.

    Parameters
    ----------
    config : Config

    Members
    -------
    valid, trits, i : In
        An entry: the element's trit word, products and tag.
    full : Out(1)
        The queue holds ``queue_depth`` entries or more.
    awaited : In
        Tag of the pixel that the drain awaits. Entries are of that pixel or of those after
        it, as many as there are banks in all, so the bank tells which.
    busy : Out(1)
        An entry of that pixel is still queued or being added.
    take, drain_row, drain_bank : In
        Accumulator to move to ``value``, where it stays until the next one.
    value : Out(signed(accumulator_width))
    pushed, added : Out(1)
        Events for the counters.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "trits": In(trit_word(config)),
                "i": In(broadcast(config)),
                "full": Out(1),
                "awaited": In(tag_width(config)),
                "busy": Out(1),
                "take": In(1),
                "drain_row": In(index_shape(config.rows)),
                "drain_bank": In(index_shape(config.banks)),
                "value": Out(signed(config.accumulator_width)),
                "pushed": Out(1),
                "added": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entries = self._queue_entries(m)
        groups = self._next_group(m, entries.fetched)
        row = self._visit_rows(m, entries, groups)
        self._add(m, row, entries.products)
        return m

    def _queue_entries(self, m: Module) -> _Entries:
        """Entries wait until their rows have been visited."""
        config = self.config
        places = queue_places(config)
        write_place = Signal(range(places))  # of the next entry
        fetch_place = Signal(range(places))
        work_place = Signal(range(places))
        level = Signal(range(places + 1))
        push, load, pop = Signal(), Signal(), Signal()
        m.d.comb += push.eq(self.valid & self._wanted())

        products = Signal(
            data.StructLayout({"plus": self.i.plus.shape(), "minus": self.i.minus.shape()})
        )
        fetched = Signal(_queued(config))
        for name, written, read, place in (
            ("select", self._written(), fetched, fetch_place),
            ("products", Cat(self.i.plus, self.i.minus), products, work_place),
        ):
            # Two memories where one would be wider than a machine word.
            total = len(written)
            cuts = (0, total) if total <= 64 else (0, self.trits.shape().size, total)
            for number, (first, last) in enumerate(pairwise(cuts)):
                queue = LookupMemory(width=last - first, depth=places)
                m.submodules[f"{name}_{number}"] = queue
                m.d.comb += [
                    queue.write_enable.eq(push),
                    queue.write_address.eq(write_place),
                    queue.write_data.eq(written[first:last]),
                    queue.read_address.eq(place),
                    Value.cast(read)[first:last].eq(queue.read_data),
                ]
        with m.If(push != pop):
            m.d.sync += level.eq(level + Mux(pop, -1, 1))
        m.d.sync += self.pushed.eq(push)
        m.d.comb += self.full.eq(level >= config.queue_depth)
        with m.If(push):
            m.d.sync += write_place.eq(write_place + 1)
        return _Entries(level, load, pop, fetch_place, work_place, fetched, products)

    def _wanted(self) -> Value | int:
        """Whether the entry that arrives has a row to visit."""
        config = self.config
        if config.skip_zero_weights:
            wanted: Value = self.trits.nonzero.any()
            if config.multipliers:
                wanted |= self.i.wide & self.trits.negative.any()
            return wanted
        if not config.multipliers:
            return 1
        starts = Array(quarter * config.quarter_rows for quarter in range(4))
        fed: Value = ~self.i.wide | (self.i.rows_used > starts[self.i.quarter])
        return fed

    def _written(self) -> Value:
        """The entry that arrives, as :func:`_queued` lays it out."""
        config = self.config
        bank = self.i.tag[: index_shape(config.banks).width]
        starts = range(0, config.rows, _GROUP)
        if config.skip_zero_weights:
            some = Cat(self.trits.nonzero[start : start + _GROUP].any() for start in starts)
        else:
            some = Cat(self.i.rows_used > start for start in starts)
        rows_used = () if config.skip_zero_weights else (self.i.rows_used,)
        if not config.multipliers:
            return Cat(self.trits, bank, some, *rows_used)
        part = _part_width(config)
        own = Cat(self.i.quarter[part:] == index for index in range(len(some)))
        some = Mux(self.i.wide, own if len(some) > 1 else 1, some)
        wide = (self.i.wide, *((self.i.quarter[:part],) if part else ()))
        return Cat(self.trits, bank, some, *rows_used, *wide)

    def _next_group(self, m: Module, fetched: data.View) -> _Groups:
        """Finds the lowest group with a row to visit."""
        count = len(fetched.some)
        left, open_groups = Signal(count, init=(1 << count) - 1), Signal(count)
        group, last_group = Signal(index_shape(count)), Signal()
        m.d.comb += [
            open_groups.eq(fetched.some & left),
            last_group.eq(~(open_groups & (open_groups - 1)).any()),
        ]
        for index in reversed(range(count)):
            with m.If(open_groups[index]):
                m.d.comb += group.eq(index)
        left_then = Cat(last_group | open_groups[:index].any() for index in range(count))
        return _Groups(left, group, last_group, left_then)

    def _visit_rows(self, m: Module, entries: _Entries, groups: _Groups) -> _Row:
        """The group at work: its rows still to be visited, lowest first."""
        config, fetched, level = self.config, entries.fetched, entries.level
        bank = index_shape(config.banks)
        pending, negative = Signal(_GROUP), Signal(_GROUP, reset_less=True)
        lowest = Signal(_GROUP)
        at_group = Signal.like(groups.group, reset_less=True)
        at_bank = Signal(bank, reset_less=True)
        m.d.comb += [
            lowest.eq(pending & -pending),
            entries.load.eq(~(pending & ~lowest).any() & (level.any() | ~groups.left[0])),
            entries.pop.eq(entries.load & groups.left[0]),
        ]
        first_row = Cat(Const(0, (_GROUP - 1).bit_length()), groups.group)
        nonzero = Signal(_GROUP, reset_less=True)
        if config.skip_zero_weights:
            start_rows = fetched.trits.nonzero.bit_select(first_row, _GROUP)
        else:
            start_rows = Cat(Cat(row < fetched.rows_used for row in range(config.rows))).bit_select(
                first_row, _GROUP
            )
        negative_rows = fetched.trits.negative.bit_select(first_row, _GROUP)
        nonzero_rows = fetched.trits.nonzero.bit_select(first_row, _GROUP)
        weight = at_wide = None
        if config.multipliers:
            at_wide = Signal()
            wide_rows, own, weight = self._next_weights(m, entries, lowest, at_wide)
            start_rows = Mux(
                fetched.wide,
                wide_rows if config.skip_zero_weights else start_rows & own,
                start_rows,
            )
            nonzero_rows = Mux(fetched.wide, wide_rows, nonzero_rows)
            negative_rows = Mux(fetched.wide, 0, negative_rows)
        m.d.sync += pending.eq(Mux(entries.load, start_rows, pending & ~lowest))
        with m.If(entries.load):
            m.d.sync += [
                negative.eq(negative_rows),
                at_group.eq(groups.group),
                at_bank.eq(fetched.bank),
                entries.work_place.eq(entries.fetch_place),
                groups.left.eq(groups.left_then),
            ]
            if not config.skip_zero_weights:
                m.d.sync += nonzero.eq(nonzero_rows)
            with m.If(groups.last_group):
                m.d.sync += entries.fetch_place.eq(entries.fetch_place + 1)
        at_work = pending.any()
        first_bank = Mux(at_work, at_bank, fetched.bank)
        m.d.sync += self.busy.eq(
            (at_work | level.any()) & (first_bank == self.awaited[: bank.width])
        )
        return _Row(at_work, lowest, negative, nonzero, at_group, at_bank, weight, at_wide)

    def _next_weights(
        self, m: Module, entries: _Entries, lowest: Signal, at_wide: Signal
    ) -> tuple[Value, Value, Value]:
        """Of the fetched entry, if it is wide: rows of its group whose weights are not zero, and
        those whose quarter it is; of the one at work: the weight of the row that is visited."""
        config, fetched = self.config, entries.fetched
        count = config.quarter_rows
        word = fetched.trits.as_value()
        place: Value | int = 0
        if _part_width(config):
            place = Cat(Const(0, count.bit_length() - 1), fetched.part)
        some = Cat(word.word_select(row, WEIGHT_WIDTH).any() for row in range(count))
        weights = Signal(len(word), reset_less=True)
        with m.If(entries.load):
            m.d.sync += at_wide.eq(fetched.wide)
            with m.If(fetched.wide):
                m.d.sync += weights.eq(word)
        chosen = [
            weights.word_select(row, WEIGHT_WIDTH)
            & (at_wide & lowest[row::count].any()).replicate(WEIGHT_WIDTH)
            for row in range(count)
        ]
        weight = reduce(or_, chosen)
        own = Const((1 << count) - 1, _GROUP)
        return (some << place)[:_GROUP], (own << place)[:_GROUP], weight

    def _add(self, m: Module, row: _Row, products: data.View) -> None:
        """Row and product of the addition, then the accumulators."""
        config, lowest = self.config, row.lowest
        add = Signal(reset_less=True)
        add_row = Signal(index_shape(config.rows), reset_less=True)
        add_bank = Signal(index_shape(config.banks), reset_less=True)
        product = Signal(signed(config.product_width), reset_less=True)
        m.d.sync += [
            add.eq(row.at_work if config.skip_zero_weights else (lowest & row.nonzero).any()),
            add_row.eq(Cat(lowest[1] | lowest[3], lowest[2] | lowest[3], row.group)),
            add_bank.eq(row.bank),
            product.eq(Mux((lowest & row.negative).any(), products.minus, products.plus)),
        ]
        m.d.comb += self.added.eq(add)
        if row.weight is not None and row.wide is not None:
            add, add_row, add_bank, product = self._multiply(
                m, row.weight, row.wide, add, add_row, add_bank, product
            )

        m.submodules.accumulators = accumulators = Accumulators(config)
        m.d.comb += [
            accumulators.add.eq(add),
            accumulators.add_bank.eq(add_bank),
            accumulators.add_row.eq(add_row),
            accumulators.product.eq(product),
            accumulators.take.eq(self.take),
            accumulators.take_bank.eq(self.drain_bank),
            accumulators.take_row.eq(self.drain_row),
            self.value.eq(accumulators.value),
        ]

    def _multiply(
        self,
        m: Module,
        next_weight: Value,
        next_wide: Signal,
        add: Signal,
        add_row: Signal,
        add_bank: Signal,
        product: Signal,
    ) -> tuple[Signal, Signal, Signal, Signal]:
        """The addition a cycle later, of a weight times the product.

        A trit's weight is 1: an FPGA's multiplier costs as much if it rests. On a chip it has 0 to
        multiply with, and the product goes around it.
        """
        config = self.config
        wide = Signal(reset_less=True)
        weight = Signal(signed(WEIGHT_WIDTH), reset_less=True)
        later = Signal(name="add_later")
        later_row = Signal.like(add_row, name="add_row_later", reset_less=True)
        later_bank = Signal.like(add_bank, name="add_bank_later", reset_less=True)
        addend = Signal(signed(config.addend_width), reset_less=True)
        total: Value = weight * product
        if config.gate_clocks:
            m.d.sync += [wide.eq(next_wide), weight.eq(next_weight)]
            total = Mux(wide, total, product)
        else:
            m.d.sync += weight.eq(next_weight | ~next_wide)
        m.d.sync += later.eq(add)
        with m.If(add):
            m.d.sync += [later_row.eq(add_row), later_bank.eq(add_bank), addend.eq(total)]
        return later, later_row, later_bank, addend


def _part_width(config: Config) -> int:
    """Bits of a quarter that say which part of a select's group it is."""
    return (_GROUP // config.quarter_rows).bit_length() - 1


def _queued(config: Config) -> data.StructLayout:
    """An entry without its products."""
    fields: dict[str, ShapeLike] = {
        "trits": trit_word(config),
        "bank": index_shape(config.banks),
        "some": unsigned(-(-config.rows // _GROUP)),  # groups with a row to visit
    }
    if not config.skip_zero_weights:
        fields["rows_used"] = range(config.rows + 1)
    if config.multipliers:
        fields["wide"] = 1
        if _part_width(config):
            fields["part"] = unsigned(_part_width(config))
    return data.StructLayout(fields)
