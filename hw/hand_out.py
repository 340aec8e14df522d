"""Hands jobs out to the walkers of a set, and pixels to the drain."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.job_assembler import pixel_job
from tritforge.hw.payloads import drain_job, following, index_shape, walk_job

__all__ = ["HandOut"]


class HandOut(wiring.Component):
    """Gives each job to all walkers of the set whose turn it is; with a pixel's last job the drain
    gets the pixel, and it is the next set's turn.

    Timing: a job is handed out in the first cycle in which it is there, all walkers and, with a
    pixel's last job, the drain have room. A group's ``wait`` takes a cycle in which there is a
    signal; its ``release`` is counted when the clusters have read all they were given, two cycles
    after the job at the earliest, and the next job follows in the cycle after.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of pixel_job)
    walk : Out(stream of walk_job)
        For all clusters of ``set``; ready when all are.
    drain : Out(stream of drain_job)
    set : Out
        Set whose turn it is.
    hold : In(1)
        Nothing is handed out, or waits for a signal.
    restart : In(1)
        It is the first set's turn.
    waiting : Out(1)
        The job at hand wants a signal.
    signal : In(1)
        There is one; it is taken where ``waiting``.
    clusters_idle : In(1)
        All clusters have read their jobs, those of the last two cycles apart.
    release : Out(1)
        For one cycle: a release is counted.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(pixel_job(config))),
                "walk": Out(stream.Signature(walk_job(config))),
                "drain": Out(stream.Signature(drain_job(config))),
                "set": Out(index_shape(config.sets)),
                "hold": In(1),
                "restart": In(1),
                "waiting": Out(1),
                "signal": In(1),
                "clusters_idle": In(1),
                "release": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.i.payload
        last = job.walk.last
        signalled = Signal()  # the job at hand has its signal
        holding, held = Signal(), Signal()  # a release is to be counted; it shows in clusters_idle
        there, accepted = Signal(), Signal()
        m.d.comb += [
            self.waiting.eq(there & job.wait & ~signalled),
            there.eq(self.i.valid & ~holding & ~self.hold),
            accepted.eq(
                there & (~job.wait | signalled) & self.walk.ready & (~last | self.drain.ready)
            ),
            self.walk.payload.eq(job.walk),
            self.walk.valid.eq(accepted),
            self.drain.payload.eq(job.drain),
            self.drain.valid.eq(accepted & last),
            self.i.ready.eq(accepted),
            self.release.eq(held & self.clusters_idle),
        ]
        m.d.sync += held.eq(holding & ~self.release)
        with m.If(self.waiting):
            m.d.sync += signalled.eq(self.signal)
        with m.If(self.release):
            m.d.sync += holding.eq(0)
        with m.If(accepted):
            m.d.sync += [signalled.eq(0), holding.eq(job.release & ~last)]
            with m.If(last):
                m.d.sync += self.set.eq(following(self.set, self.config.sets))
        with m.If(self.restart):
            m.d.sync += self.set.eq(0)
        return m
