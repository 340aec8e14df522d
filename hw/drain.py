"""Drain: takes finished pixels out of the array, one accumulator row per step."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import (
    address_width,
    drain_command,
    drain_job,
    drain_step,
    following,
    index_shape,
)
from tritforge.hw.timing import clear_latency, clear_sweeps, pixels_ahead

__all__ = ["Drain"]


class Drain(wiring.Component):
    """Steps through the accumulators of finished pixels in order.

    ::

        for row < rows_used: for block < P/W: one step

    The first step of a row takes the accumulators of all elements; its blocks are put on the chain
    one after the other. That of the last row frees the pixel's bank (``command.last``). Pixels
    come from the sets in turn, as the sequencer hands them out.

    Timing: one step per cycle, except two cycles after ``stop``; a pixel's first step comes two
    cycles after every cluster of its set has reported it finished, behind the last step of the
    pixel before. Clusters report the next pixel from ``BEGIN_LATENCY + COMPLETE_LATENCY`` cycles
    after this one's beginning on. When told to ``clear``, and after a reset, all accumulators are
    taken once, so that nothing is left in them whatever ran before; until then ``ready`` is low.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of drain_job)
        Pixels in the order in which the walkers get them.
    complete : In(sets)
        By set: all clusters have finished the awaited pixel, and mean this ``parity``.
    parity : Out(sets)
        By set: lowest bit of the awaited pixel's tag.
    begins : Out(sets)
        By set: a pixel has been begun in the cycle before; the next one is awaited.
    set : Out
        Set of the oldest pixel.
    restart : In(1)
        The next pixel is the first set's; only while ``idle``.
    command : Out(drain_command)
        For the first clusters of ``selected`` sets; others get no ``take`` and no ``last``.
    selected : Out(sets)
    clear : In(1)
        Clear the accumulators; only while ``idle``.
    ready : Out(1)
        The accumulators have been cleared.
    stop : In(1)
        ``step.valid`` is low two cycles later.
    step : Out(drain_step)
        A step; it belongs to ``command``.
    draining : Out(1)
        The oldest pixel is complete.
    drained : Out(1)
        The oldest pixel has its last step in this cycle.
    stalled : Out(1)
        A step was due, but ``stop`` was high in the cycle before.
    idle : Out(1)
        Nothing to do and nothing waiting.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(drain_job(config))),
                "complete": In(config.sets),
                "parity": Out(config.sets),
                "begins": Out(config.sets),
                "set": Out(index_shape(config.sets)),
                "restart": In(1),
                "command": Out(drain_command(config)),
                "selected": Out(config.sets),
                "clear": In(1),
                "ready": Out(1),
                "stop": In(1),
                "step": Out(drain_step(config)),
                "draining": Out(1),
                "drained": Out(1),
                "stalled": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = drain_job(config)
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=layout.size, depth=pixels_ahead(config))
        job = Signal(layout)
        m.d.comb += [
            jobs.w_data.eq(self.i.payload),
            jobs.w_en.eq(self.i.valid),
            self.i.ready.eq(jobs.w_rdy),
            job.eq(jobs.r_data),
        ]

        row = Signal(index_shape(config.rows))
        block = Signal(index_shape(config.blocks))
        entry = Signal(address_width(config.row_depth))
        next_entry = Signal.like(entry)
        pause = Signal(range(clear_latency(config) + 1))
        sweep = Signal(range(clear_sweeps(config)))
        clearing, finish, stepping = Signal(), Signal(), Signal()
        complete, next_complete, stop = Signal(), Signal(), Signal()
        last_block, last_row = block == config.blocks - 1, row == job.rows_used - 1
        next_set = Signal.like(self.set)
        own, begun = Signal(config.sets), Signal(config.sets)
        m.d.comb += [
            next_set.eq(following(self.set, config.sets)),
            own.eq(_one_hot(self.set, config.sets)),
            complete.eq(jobs.r_rdy & Array(self.complete)[self.set]),
            next_complete.eq((jobs.level > 1) & Array(self.complete)[next_set]),
        ]
        m.d.sync += stop.eq(self.stop)
        with m.If(self.restart):
            m.d.sync += self.set.eq(0)

        with m.FSM():
            with m.State("CLEAR"):
                # Twice around the banks, so that the clusters' tags end where they began.
                m.d.comb += clearing.eq(1)
                m.d.sync += row.eq(row + 1)
                with m.If(row == config.rows - 1):
                    m.d.comb += finish.eq(1)
                    m.d.sync += [row.eq(0), sweep.eq(sweep + 1)]
                    with m.If(sweep == clear_sweeps(config) - 1):
                        m.d.sync += sweep.eq(0)
                        m.d.sync += pause.eq(clear_latency(config))
                        m.next = "CLEARED"
            with m.State("CLEARED"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.d.sync += [pause.eq(0), self.ready.eq(1)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += [row.eq(0), block.eq(0)]
                with m.If(self.clear):
                    m.d.sync += self.ready.eq(0)
                    m.next = "CLEAR"
                with m.Elif(complete):
                    m.d.comb += begun.eq(own)
                    m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += [stepping.eq(~stop), self.stalled.eq(stop)]
                with m.If(stepping):
                    m.d.sync += next_entry.eq(entry + 1)
                    m.d.comb += finish.eq(last_row & (block == 0))
                    with m.If(~last_block):
                        m.d.sync += block.eq(block + 1)
                    with m.Else():
                        m.d.sync += [block.eq(0), row.eq(row + 1)]
                        with m.If(last_row):
                            m.d.comb += [jobs.r_en.eq(1), self.drained.eq(1)]
                            m.d.sync += [row.eq(0), self.set.eq(next_set)]
                            with m.If(next_complete):
                                m.d.comb += begun.eq(_one_hot(next_set, config.sets))
                            with m.Else():
                                m.next = "WAIT"
                m.d.comb += self.draining.eq(1)

        first = (row == 0) & (block == 0)
        m.d.comb += entry.eq(Mux(first, job.row_base, next_entry))
        m.d.sync += [
            self.begins.eq(begun),
            self.parity.eq(self.parity ^ begun),
            self.step.valid.eq(stepping),
            self.step.begin.eq(stepping & first),
            self.step.source.eq(self.set),
            self.step.window.eq(job.window),
            self.step.row_address.eq(entry),
            self.command.take.eq(clearing | (stepping & (block == 0))),
            self.command.row.eq(row),
            self.command.block.eq(block),
            self.command.last.eq(finish),
            *([self.command.step.eq(stepping)] if self.config.gate_clocks else []),
            self.selected.eq(own | clearing.replicate(config.sets)),
        ]
        m.d.comb += self.idle.eq(~jobs.r_rdy & ~stepping)
        with m.If(complete):
            m.d.comb += self.draining.eq(1)
        return m


def _one_hot(number: Value, count: int) -> Value:
    return Cat(number == index for index in range(count))
