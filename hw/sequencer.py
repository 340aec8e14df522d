"""Sequencer: reads the program and hands out the work of every output pixel."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.hand_out import HandOut
from tritforge.hw.job_assembler import JobAssembler
from tritforge.hw.payloads import address_width, drain_job, index_shape, probe, walk_job
from tritforge.hw.program import LAYER, layer_layout, record_words
from tritforge.hw.program_fetch import ProgramFetch, Word
from tritforge.hw.read_ahead import ReadAhead
from tritforge.hw.run_control import RunControl
from tritforge.hw.tile_reader import TileReader

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Runs layers: for each tile, each output pixel, each column group, one job for the walkers.

    ::

        control --- LAYER, SYNC ---> fetch <-> program memory
           | layer                     |  words
           +----> reader -- records ->-+-> [read ahead] -> assembler -> jobs -> hand-out

    The parts say what they do: :class:`RunControl`, :class:`TileReader`, :class:`ProgramFetch`,
    :class:`ReadAhead`, :class:`JobAssembler`, :class:`HandOut`.

    What the host does meanwhile is kept apart by two counts. Signals: the host says that what it
    has sent is there; SYNC records, groups with ``wait`` and the start of a run take one, and wait
    if there is none. Releases: SYNC records and groups with ``release`` count that what they used
    is free; the host takes them. Both begin with 0 in every run.

    Timing, where a program word takes one read and groups have places: a pixel of one group takes 3
    cycles at least, groups of one geometry 2 each, others 2 for each geometry and 1 for the pixel;
    a line 5 or more. With one place for groups a pixel of one group takes 8. Meanwhile the walkers
    work on what they have queued. A SYNC record takes 17 cycles, 18 with a wait for a signal that
    is there; a group's wait takes 1; a group's release 2 at least, until all clusters have read
    what they were given. A layer settles ``settle`` cycles after its last drain step, then the
    counters are written, while the next layer's records are read.

    Parameters
    ----------
    config : Config
    settle : int
        Cycles to wait after the drain and the write-back have become idle.

    Members
    -------
    start : In(1), address, layer_count : In
        Begin a run; only while not ``running``.
    wait_first : In(1)
        With ``start``: the first layer waits for a signal.
    signal : In(1)
        The host signals.
    released : Out(1), take : In(1)
        There is a release that the host has not taken; it takes one.
    refilling : Out(1)
        The program waits for a signal, and there is none.
    clusters_idle : In(1)
        All clusters have read their jobs, those of the last two cycles apart.
    running : Out(1)
    finished : Out(1), error : Out(ErrorCode)
        For one cycle at the end of a run.
    layers : Out
        Layers finished.
    fetch_address : Out, fetch_half : Out(1), fetch_data : In(32)
        Program memory; the half that is read where a word takes two reads.
    walk : Out(stream of walk_job)
        For all clusters of ``set``; ready when all are.
    set : Out
        Set whose turn it is: the first one at a layer's start, the next one for every pixel.
    drain : Out(stream of drain_job)
    drain_idle : In(1)
    layer_start : Out(1)
        A layer's record is in ``layer`` from this cycle on.
    layer : Out(layer_layout)
    dump_prepare : Out(1), dump : Out(1), dump_done : In(1)
        Counters.
    probe : Out(probe)
        For an observer; what it says of the drain is 0 here.
    """

    def __init__(self, config: Config, *, settle: int) -> None:
        self.config = config
        self.settle = settle
        program = address_width(config.program_depth)
        super().__init__(
            {
                "start": In(1),
                "address": In(program),
                "layer_count": In(16),
                "wait_first": In(1),
                "signal": In(1),
                "released": Out(1),
                "take": In(1),
                "refilling": Out(1),
                "clusters_idle": In(1),
                "running": Out(1),
                "finished": Out(1),
                "error": Out(8),
                "layers": Out(16),
                "fetch_address": Out(program),
                "fetch_half": Out(1),
                "fetch_data": In(32),
                "walk": Out(stream.Signature(walk_job(config))),
                "set": Out(index_shape(config.sets)),
                "drain": Out(stream.Signature(drain_job(config))),
                "drain_idle": In(1),
                "layer_start": Out(1),
                "layer": Out(layer_layout(config)),
                "dump_prepare": Out(1),
                "dump": Out(1),
                "dump_done": In(1),
                "counter_layer": Out(index_shape(config.layer_count)),
                "probe": Out(probe(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.control = control = RunControl(config, settle=self.settle)
        m.submodules.reader = reader = TileReader(config)
        m.submodules.fetch = fetch = ProgramFetch(config)
        m.submodules.assembler = assembler = JobAssembler(config)
        m.submodules.hand_out = hand_out = HandOut(config)
        for name in (
            *("start", "address", "layer_count", "wait_first", "signal", "take", "drain_idle"),
            "dump_done",
        ):
            m.d.comb += getattr(control, name).eq(getattr(self, name))
        for name in (
            *("released", "refilling", "running", "finished", "error", "layers", "layer_start"),
            *("layer", "dump_prepare", "dump", "counter_layer"),
        ):
            m.d.comb += getattr(self, name).eq(getattr(control, name))
        wiring.connect(m, hand_out.walk, wiring.flipped(self.walk))
        wiring.connect(m, hand_out.drain, wiring.flipped(self.drain))
        wiring.connect(m, assembler.o, hand_out.i)

        # The fetch serves the control between layers, the reader in one.
        layer_wanted = control.valid
        m.d.comb += [
            fetch.request.eq(reader.request),
            fetch.valid.eq(reader.valid | layer_wanted),
            reader.done.eq(fetch.done),
            control.done.eq(fetch.done),
            fetch.jump.eq(control.jump),
            fetch.address.eq(control.pointer),
            fetch.mark.eq(reader.mark),
            fetch.skip.eq(reader.skip),
            fetch.group_count.eq(reader.group_count),
            fetch.fetch_data.eq(self.fetch_data),
            self.fetch_address.eq(fetch.fetch_address),
            self.fetch_half.eq(fetch.fetch_half),
            control.arrived.payload.eq(fetch.arrived.payload),
            control.arrived.valid.eq(fetch.arrived.valid),
            reader.arrived.payload.eq(fetch.arrived.payload),
            reader.arrived.valid.eq(fetch.arrived.valid),
            reader.start.eq(control.layer_start),
            reader.layer.eq(control.layer),
            reader.group_free.eq(self.clusters_idle if not config.job_places else 1),
            assembler.base.eq(control.layer.base),
            assembler.restart.eq(control.layer_start),
            hand_out.restart.eq(control.layer_start),
            hand_out.hold.eq(control.dump),
            hand_out.clusters_idle.eq(self.clusters_idle),
            hand_out.signal.eq(control.group_signal),
            control.group_waiting.eq(hand_out.waiting),
            control.group_release.eq(hand_out.release),
            control.tiles_bad.eq(reader.bad),
            self.set.eq(hand_out.set),
        ]
        with m.If(layer_wanted):
            m.d.comb += [
                fetch.request.kind.eq(Word.LAYER),
                fetch.request.final.eq(record_words(LAYER) - 1),
                fetch.request.following.eq(1),
            ]
        for_assembler = fetch.arrived.valid & (fetch.arrived.payload.tag.kind != Word.LAYER)
        if config.group_places > 1:
            m.submodules.ahead = ahead = ReadAhead(config)
            wiring.connect(m, ahead.o, assembler.i)
            m.d.comb += [
                ahead.i.payload.eq(fetch.arrived.payload),
                ahead.i.valid.eq(for_assembler),
                ahead.reserve.eq(fetch.issued & reader.valid),
                fetch.room.eq(ahead.room | layer_wanted),
                control.tiles_finished.eq(reader.finished & ahead.empty & assembler.empty),
            ]
        else:
            # A job that is on its way or waits is made of the records at hand.
            on_its_way = Signal()
            m.d.comb += [
                assembler.i.payload.eq(fetch.arrived.payload),
                assembler.i.valid.eq(for_assembler),
                fetch.room.eq(~on_its_way),
                control.tiles_finished.eq(reader.finished & ~on_its_way),
            ]
            with m.If(fetch.done & reader.job_requested):
                m.d.sync += on_its_way.eq(1)
            with m.Elif(assembler.dropped | (assembler.o.valid & assembler.o.ready)):
                m.d.sync += on_its_way.eq(0)
        self._observe(m, control, fetch, assembler, hand_out)
        return m

    def _observe(
        self,
        m: Module,
        control: RunControl,
        fetch: ProgramFetch,
        assembler: JobAssembler,
        hand_out: HandOut,
    ) -> None:
        """What happens, for an observer."""
        job = assembler.o.payload
        dumped = Signal()
        m.d.sync += dumped.eq(self.dump_done & ~control.finished)
        m.d.comb += [
            self.probe.layer_started.eq(dumped | (fetch.started & control.valid & ~control.dump)),
            self.probe.tile_started.eq(hand_out.walk.valid & job.begins),
            self.probe.pixel_started.eq(hand_out.drain.valid),
            self.probe.layer_settled.eq(control.settled),
            self.probe.refilling.eq(control.refilling),
            self.probe.set.eq(hand_out.set),
            self.probe.tile.eq(job.tile),
            self.probe.x.eq(job.x),
            self.probe.y.eq(job.y),
        ]
