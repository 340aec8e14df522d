"""Drain: takes finished pixels out of the array, one accumulator row per step."""

from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.merge import MERGE_LATENCY
from hw.payloads import address_width, drain_command, drain_job, index_shape

__all__ = ["Drain"]

#: Pixels that the sequencer may be ahead of the drain.
JOB_PLACES = 8


class Drain(wiring.Component):
    """Steps through the accumulators of finished pixels in order.

    ::

        for row < rows_used: for block < P/W: for y < count_y: for x < count_x: one step

    The first step of a row takes the accumulators of all elements; its blocks are put on the chain
    one after the other. The steps of one block write the same values, each to one pooled pixel
    of an overlapping window.

    Timing: one step per cycle; a pixel starts when every cluster has finished it, and at least
    ``MERGE_LATENCY`` cycles after the last step of the pixel before (so that merges of one
    window never overlap). After a reset, and when told to ``clear``, all accumulators are taken
    once, so that nothing is left in them whatever ran before; until then ``ready`` is low.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of drain_job)
        Pixels in the order in which the walkers get them.
    complete : In(1)
        All clusters have finished the oldest pixel, and mean this ``parity``.
    parity : Out(1)
        Lowest bit of the oldest pixel's tag.
    step_x, step_y : In
        Words between pooled pixels.
    command : Out(drain_command)
        For the first cluster.
    clear : In(1)
        Clear the accumulators; only while ``idle``.
    ready : Out(1)
        The accumulators have been cleared.
    step, repeat : Out(1)
        A step; it repeats the value of the step before. These and the following belong to
        ``command``.
    address : Out
        Activation word of the pooled pixel.
    merge : Out(1)
        The pooled pixel has a value already.
    row_address : Out
        Row-memory entry.
    draining : Out(1)
        The oldest pixel is complete.
    idle : Out(1)
        Nothing to do and nothing waiting.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        #: Cycles after the last clearing command until every cluster reports the first pixel.
        self.clear_latency = config.clusters + 8
        activation = address_width(config.activation_depth)
        super().__init__({
            "i": In(stream.Signature(drain_job(config))),
            "complete": In(1),
            "parity": Out(1),
            "step_x": In(activation),
            "step_y": In(activation),
            "command": Out(drain_command(config)),
            "clear": In(1),
            "ready": Out(1),
            "step": Out(1),
            "repeat": Out(1),
            "address": Out(activation),
            "merge": Out(1),
            "row_address": Out(address_width(config.row_depth)),
            "draining": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = drain_job(config)
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=layout.size, depth=JOB_PLACES)
        job = Signal(layout)
        m.d.comb += [
            jobs.w_data.eq(self.i.payload),
            jobs.w_en.eq(self.i.valid),
            self.i.ready.eq(jobs.w_rdy),
            job.eq(jobs.r_data),
        ]

        row = Signal(index_shape(config.rows))
        block = Signal(index_shape(config.blocks))
        x, y = Signal(8), Signal(8)
        pixel, line = Signal.like(self.address), Signal.like(self.address)
        entry = Signal.like(self.row_address)
        pause = Signal(range(max(MERGE_LATENCY, self.clear_latency) + 1))
        sweep = Signal(range(2 * config.banks))
        clearing, finish = Signal(), Signal()
        last_x, last_y = x == job.count_x - 1, y == job.count_y - 1
        last_block, last_row = block == config.blocks - 1, row == job.rows_used - 1
        stepping = Signal()

        with m.FSM():
            with m.State("CLEAR"):
                # Twice around the banks, so that the clusters' tags end where they began.
                m.d.comb += clearing.eq(1)
                m.d.sync += row.eq(row + 1)
                with m.If(row == config.rows - 1):
                    m.d.comb += finish.eq(1)
                    m.d.sync += [row.eq(0), sweep.eq(sweep + 1)]
                    with m.If(sweep == 2 * config.banks - 1):
                        m.d.sync += sweep.eq(0)
                        m.d.sync += pause.eq(self.clear_latency)
                        m.next = "CLEARED"
            with m.State("CLEARED"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.d.sync += [pause.eq(0), self.ready.eq(1)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += [
                    row.eq(0), block.eq(0), x.eq(0), y.eq(0),
                    pixel.eq(job.address), line.eq(job.address), entry.eq(job.row_base),
                ]
                with m.If(self.clear):
                    m.d.sync += self.ready.eq(0)
                    m.next = "CLEAR"
                with m.Elif(pause.any()):
                    m.d.sync += pause.eq(pause - 1)
                with m.Elif(jobs.r_rdy & self.complete):
                    m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += stepping.eq(1)
                with m.If(~last_x):
                    m.d.sync += [x.eq(x + 1), pixel.eq(pixel + self.step_x)]
                with m.Elif(~last_y):
                    m.d.sync += [
                        x.eq(0), y.eq(y + 1),
                        pixel.eq(line + self.step_y), line.eq(line + self.step_y),
                    ]
                with m.Else():
                    m.d.sync += [
                        x.eq(0), y.eq(0), pixel.eq(job.address), line.eq(job.address),
                        entry.eq(entry + 1),
                    ]
                    with m.If(~last_block):
                        m.d.sync += block.eq(block + 1)
                    with m.Else():
                        m.d.sync += [block.eq(0), row.eq(row + 1)]
                        with m.If(last_row):
                            m.d.comb += [jobs.r_en.eq(1), finish.eq(1)]
                            m.d.sync += [self.parity.eq(~self.parity), pause.eq(MERGE_LATENCY)]
                            m.next = "WAIT"

        m.d.sync += [
            self.step.eq(stepping),
            self.repeat.eq(stepping & (x.any() | y.any())),
            self.address.eq(pixel),
            self.merge.eq((x < job.first_x) | (y < job.first_y)),
            self.row_address.eq(entry),
            self.command.take.eq(clearing | (stepping & (block == 0) & ~(x.any() | y.any()))),
            self.command.row.eq(row),
            self.command.block.eq(block),
            self.command.last.eq(finish),
        ]
        m.d.comb += self.idle.eq(~jobs.r_rdy & ~stepping)
        m.d.comb += self.draining.eq(stepping | (jobs.r_rdy & self.complete))
        return m
