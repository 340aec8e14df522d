"""Processing element: a queue, a select of the next nonzero trit, one adder, accumulators."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.accumulators import Accumulators
from hw.config import Config
from hw.lookup_memory import LookupMemory
from hw.payloads import broadcast, index_shape, tag_width, trit_word

__all__ = ["BROADCAST_FLIGHT", "ProcessingElement", "queue_places"]

#: Broadcasts that can still arrive after an element's queue has reached its usable depth: the
#: stages between the zero skip and the queue, plus the register of the stop signal.
BROADCAST_FLIGHT = 5
#: Rows that the select looks at together.
_GROUP = 4


def queue_places(config: Config) -> int:
    """Physical places of an element's queue: usable depth and what may be in flight."""
    current = int(_late_bits(config) > 0)
    return 1 << (config.queue_depth + BROADCAST_FLIGHT + current - 1).bit_length()


def _late_bits(config: Config) -> int:
    """Bits of the products that are read when their entry is the current one, not before: with
    small queues as many as fill block RAMs of 16 bits."""
    return 2 * config.product_width // 16 * 16 if config.short_queues else 0


class ProcessingElement(wiring.Component):
    """Adds one product per cycle to one of its accumulators, visiting nonzero trits only.

    ::

        i, trits -> [queue] -> [current: pending trits] -> [row, product] -> accumulators
                                  ^ lowest nonzero trit                        | take
                                                                               v
                                                                             value

    For each entry and each row r with a nonzero trit, in rising order of r:
    ``accumulator[bank(tag)][r] += minus if negative[r] else plus``. Taking an accumulator
    leaves zero in it.

    Timing: an entry whose word has k nonzero trits takes k cycles, an all-zero word none (it is
    not queued); entries follow each other without a gap. An entry that arrives in cycle t at
    an empty queue makes its first addition in cycle t+3, readable in t+4. There is no ready: the
    sender stops issuing when ``full`` shows, and ``queue_places`` leaves room for what is then
    still in flight. All outputs are registers: they show the state of the cycle before.

    Cost: a queue of ``queue_places`` entries; :class:`hw.accumulators.Accumulators`, which must
    hold zeros at the start: the drain takes everything once after a reset. It never takes from the
    bank that is being added to, so no adder cycle is lost.

    Parameters
    ----------
    config : Config

    Members
    -------
    valid, trits, i : In
        An entry: the element's trit word, products and tag.
    full : Out(1)
        The queue holds ``queue_depth`` entries or more.
    oldest : In
        Tag of the oldest pixel that is not yet drained.
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
        super().__init__({
            "valid": In(1),
            "trits": In(trit_word(config)),
            "i": In(broadcast(config)),
            "full": Out(1),
            "oldest": In(tag_width(config)),
            "busy": Out(1),
            "take": In(1),
            "drain_row": In(index_shape(config.rows)),
            "drain_bank": In(index_shape(config.banks)),
            "value": Out(signed(config.accumulator_width)),
            "pushed": Out(1),
            "added": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        rows = config.rows
        places = queue_places(config)

        # Queue: one memory, or two, so that each is narrow enough for a machine word.
        trit_read, product_read = Signal(self.trits.shape()), Signal(self.i.shape())
        others = [name for name, _ in self.i.shape() if name not in ("plus", "minus")]
        products = Cat(self.i.plus, self.i.minus)
        late = _late_bits(config)
        early = len(products) - late
        write = Cat(self.trits, *(self.i[name] for name in others), products[:early])
        read = Cat(trit_read, *(product_read[name] for name in others),
                   Cat(product_read.plus, product_read.minus)[:early])
        cuts = (0, len(write)) if len(write) <= 64 else (0, self.trits.shape().size, len(write))
        queues: list[LookupMemory] = []
        for first, last in pairwise(cuts):
            queue = LookupMemory(width=last - first, depth=places)
            m.submodules[f"queue_{len(queues)}"] = queue
            queues.append(queue)
        write_place = Signal(range(places))
        read_place = Signal(range(places))
        level = Signal(range(places + 1))
        push = Signal()
        pop = Signal()
        wanted = self.trits.nonzero.any() if config.skip_zero_weights else 1
        m.d.comb += [
            push.eq(self.valid & wanted),
            Cat(queue.write_data for queue in queues).eq(write),
            read.eq(Cat(queue.read_data for queue in queues)),
        ]
        for queue in queues:
            m.d.comb += [
                queue.write_enable.eq(push),
                queue.write_address.eq(write_place),
                queue.read_address.eq(read_place),
            ]
        m.d.sync += [
            level.eq(level + push - pop),
            self.pushed.eq(push),
            self.full.eq(level >= config.queue_depth),
        ]
        with m.If(push):
            m.d.sync += write_place.eq(write_place + 1)

        # Current entry: the rows still to be visited, lowest first.
        pending = Signal(rows)
        negative = Signal(rows, reset_less=True)
        current = Signal(self.i.shape())
        kept = Signal(self.i.shape(), reset_less=True)
        m.d.comb += current.eq(kept)
        if late:
            # The widest part of an entry stays in memory while it is the current one.
            m.submodules.late_queue = queue = LookupMemory(width=late, depth=places)
            current_place = Signal(range(places))
            with m.If(pop):
                m.d.sync += current_place.eq(read_place)
            m.d.comb += [
                queue.write_data.eq(products[early:]),
                queue.write_enable.eq(push),
                queue.write_address.eq(write_place),
                queue.read_address.eq(current_place),
                Cat(current.plus, current.minus)[early:].eq(queue.read_data),
            ]
        row, sign, rest, more = _select(m, pending, negative)
        m.d.comb += pop.eq(~more & level.any())
        m.d.sync += pending.eq(rest)
        if config.skip_zero_weights:
            start = trit_read.nonzero
        else:
            nonzero = Signal(rows, reset_less=True)
            start = Cat(row < product_read.rows_used for row in range(rows))
        with m.If(pop):
            m.d.sync += [
                pending.eq(start),
                negative.eq(trit_read.negative),
                kept.eq(product_read),
                read_place.eq(read_place + 1),
            ]
            if not config.skip_zero_weights:
                m.d.sync += nonzero.eq(trit_read.nonzero)
        at_work = pending.any()
        first_tag = Mux(at_work, current.tag, product_read.tag)
        m.d.sync += self.busy.eq((at_work | level.any()) & (first_tag == self.oldest))

        # Row and product of the addition.
        add = Signal(reset_less=True)
        add_row = Signal(index_shape(rows), reset_less=True)
        add_bank = Signal(index_shape(config.banks), reset_less=True)
        product = Signal(signed(config.product_width), reset_less=True)
        m.d.sync += [
            add.eq(at_work if config.skip_zero_weights else nonzero.bit_select(row, 1) & at_work),
            add_row.eq(row),
            add_bank.eq(current.tag),
            product.eq(Mux(sign, current.minus, current.plus)),
        ]
        m.d.comb += self.added.eq(add)

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
        return m


def _select(m: Module, pending: Signal, negative: Signal) -> tuple[Value, Value, Value, Value]:
    """Lowest 1 of ``pending``, as tables of four inputs want it: first the group of four that has
    it, then its place there.

    Returns
    -------
    Its number, its bit of ``negative``, ``pending`` without it, and whether that is not zero.
    """
    starts = range(0, len(pending), _GROUP)
    some = Signal(len(starts))                  # groups with a 1
    first = Signal(len(starts))                 # the lowest of them, one-hot
    bits, signs, lowest = Signal(_GROUP), Signal(_GROUP), Signal(_GROUP)
    group: Value = Const(len(starts) - 1, (len(starts) - 1).bit_length())
    for index in reversed(range(len(starts) - 1)):
        group = Mux(some[index], index, group)
    at = Cat(Const(0, (_GROUP - 1).bit_length()), group)
    m.d.comb += [
        some.eq(Cat(pending[start:start + _GROUP].any() for start in starts)),
        first.eq(Cat(some[index] & ~some[:index].any() for index in range(len(starts)))),
        bits.eq(pending.bit_select(at, _GROUP)),
        signs.eq(negative.bit_select(at, _GROUP)),
        lowest.eq(Cat(bits[index] & ~bits[:index].any() for index in range(_GROUP))),
    ]
    place = Cat(lowest[1] | lowest[3], lowest[2] | lowest[3])
    rest = Cat(bit & ~(first[index // _GROUP] & lowest[index % _GROUP])
               for index, bit in enumerate(pending))
    more = (bits & ~lowest).any() | (some & ~first).any()
    return Cat(place, group), (signs & lowest).any(), rest, more
