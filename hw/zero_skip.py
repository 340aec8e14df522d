"""Zero skip: picks the nonzero activations out of each word, one broadcast per cycle."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width, index_shape, scan_word, tag_width
from tritforge.hw.widths import ACTIVATION_WIDTH

__all__ = ["ZeroSkip"]


class ZeroSkip(wiring.Component):
    """Turns words of S activations into single nonzero activations with their trit column.

    A word with k nonzero activations takes ``max(k, 1)`` cycles. The pixel's ``tag`` moves on
    when its last word is done. Nothing moves while ``stop`` (an element's queue is full)
    or while the pixel's accumulator bank is not yet free.

    Timing: a word taken in cycle t gives its first activation in t+1 (outputs are
    combinational from the held word).

    Cost: one word of flip-flops, a select of S.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of scan_word)
    valid, activation, is_signed, column, plus, minus, rows_used : Out
        One activation to broadcast, its trit column and coefficients.
    wide, quarter : Out
        Where elements have multipliers: its column is one of weights, for this quarter of the rows.
    idle : Out(1)
        No word is held.
    tag : Out
        The pixel that the held word belongs to.
    stop : In(1)
    oldest : In
        Tag of the oldest pixel that is not yet drained.
    advance : In(1)
        ``oldest`` is one more from the next cycle on.
    draining : In(1)
        That pixel is complete everywhere; only used to name the stall.
    skipped, empty_scan, stall_queue_full, stall_imbalance, stall_drain : Out
        Events for the counters.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(scan_word(config))),
                "idle": Out(1),
                "valid": Out(1),
                "activation": Out(ACTIVATION_WIDTH),
                "is_signed": Out(1),
                "column": Out(address_width(config.trit_depth)),
                "plus": Out(scan_word(config)["plus"].shape),
                "minus": Out(scan_word(config)["minus"].shape),
                "rows_used": Out(range(config.rows + 1)),
                **({"wide": Out(1), "quarter": Out(2)} if config.multipliers else {}),
                "tag": Out(tag_width(config)),
                "stop": In(1),
                "oldest": In(tag_width(config)),
                "advance": In(1),
                "draining": In(1),
                "skipped": Out(range(config.scan_width + 1)),
                "empty_scan": Out(1),
                "stall_queue_full": Out(1),
                "stall_imbalance": Out(1),
                "stall_drain": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes = config.scan_width

        held = Signal()
        word = Signal(scan_word(config), reset_less=True)
        pending = Signal(lanes)
        rest = Signal(lanes)
        lane = Signal(index_shape(lanes))
        m.d.comb += rest.eq(pending & (pending - 1))
        for index in reversed(range(lanes)):
            with m.If(pending[index]):
                m.d.comb += lane.eq(index)

        # Tags count modulo twice the banks, so the distance tells whether the bank is free. That is
        # known a cycle before it is needed, as is whether anything is pending.
        distance, staying, moved = (
            Signal(unsigned(tag_width(config)), name=name)
            for name in ("distance", "staying", "moved")
        )
        bank_free = Signal(init=1)
        some = Signal()
        go = Signal()
        done = Signal()
        m.d.comb += [
            distance.eq(self.tag - self.oldest),
            staying.eq(distance - self.advance),
            moved.eq(distance + ~self.advance),
            go.eq(held & bank_free & ~(self.stop & some)),
            done.eq(go & ~rest.any()),
            self.valid.eq(go & some),
            self.activation.eq(Array(word.activations[index] for index in range(lanes))[lane]),
            self.is_signed.eq(word.signed),
            self.column.eq(word.trit + lane),
            self.plus.eq(word.plus),
            self.minus.eq(word.minus),
            self.rows_used.eq(word.rows_used),
            self.i.ready.eq(~held | done),
            self.idle.eq(~held),
        ]
        if config.multipliers:
            m.d.comb += [self.wide.eq(word.wide), self.quarter.eq(word.quarter)]

        new = self.i.payload
        used = Cat(index < new.lanes for index in range(lanes))
        nonzero = Cat(new.activations[index].any() for index in range(lanes))
        picked = used & nonzero if config.skip_zero_activations else used
        with m.If(self.i.ready):
            m.d.sync += [
                held.eq(self.i.valid),
                word.eq(new),
                pending.eq(Mux(self.i.valid, picked, 0)),
                some.eq(self.i.valid & picked.any()),
            ]
        with m.Elif(go):
            m.d.sync += [pending.eq(rest), some.eq(rest.any())]
        m.d.sync += bank_free.eq(staying < config.banks)
        with m.If(done & word.last):
            m.d.sync += [self.tag.eq(self.tag + 1), bank_free.eq(moved < config.banks)]

        zeros = used & ~picked
        m.d.comb += [
            self.skipped.eq(
                Mux(
                    self.i.ready & self.i.valid,
                    sum((zeros[index] for index in range(1, lanes)), zeros[0]),
                    0,
                )
            ),
            self.empty_scan.eq(go & ~some),
            self.stall_queue_full.eq(held & bank_free & self.stop & some),
            self.stall_imbalance.eq(held & ~bank_free & ~self.draining),
            self.stall_drain.eq(held & ~bank_free & self.draining),
        ]
        return m
