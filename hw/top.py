"""The accelerator: host port, program, sequencer, clusters, drain, requantizers, counters."""

from itertools import pairwise

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.activation_slice import ActivationSlice
from tritforge.hw.cluster import Cluster
from tritforge.hw.config import Config
from tritforge.hw.counters import Counters, NoCounters
from tritforge.hw.delay import delayed
from tritforge.hw.drain import Drain
from tritforge.hw.hierarchy import repeated
from tritforge.hw.host_port import HostPort
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import command_word, port_word, probe
from tritforge.hw.program import MEMORIES
from tritforge.hw.program_memory import ProgramMemory
from tritforge.hw.sequencer import Sequencer
from tritforge.hw.timing import (
    room_latency,
    settle,
)
from tritforge.hw.write_back import WriteBack

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Everything that ``config`` describes, behind one command and one result stream.

    ::

        commands -> host port -> memories
                        |  start
                    sequencer -> jobs -> sets of clusters (N x G)  <- drain command
                                            | partial sums, from the sets in turn
                                         requantizers (W) -> activation slices (G)
                                                          -> result memory

    Parameters
    ----------
    config : Config
    contents : int
        As for :class:`tritforge.hw.host_port.HostPort`.
    counters : bool
        Without them a READ of counters gives zeros; nothing else changes, no cycle either.

    Members
    -------
    commands : In(stream of command_word)
    results : Out(stream of port_word)
    probe : Out(probe)
        For an observer, such as a simulator that writes an event log; nothing depends on it, and
        a board leaves it unconnected.
    """

    def __init__(self, config: Config, *, contents: int = 0, counters: bool = True) -> None:
        self.config = config
        self.contents = contents
        self.counters = counters
        super().__init__(
            {
                "commands": In(stream.Signature(command_word())),
                "results": Out(stream.Signature(port_word())),
                "probe": Out(probe(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.host = host = HostPort(config, contents=self.contents)
        m.submodules.program_memory = program = ProgramMemory(config)
        m.submodules.sequencer = sequencer = Sequencer(config, settle=settle(config))
        m.submodules.drain = drain = Drain(config)
        counters = Counters(config) if self.counters else NoCounters(config)
        m.submodules.counters = counters
        clusters = []
        for index in range(config.cluster_count):
            cluster = repeated(platform, "cluster", lambda: Cluster(config))
            m.submodules[f"cluster_{index}"] = cluster
            clusters.append(cluster)
        slices = []
        for index in range(config.clusters):
            part = repeated(platform, "activation_slice", lambda: ActivationSlice(config))
            m.submodules[f"activation_slice_{index}"] = part
            slices.append(part)

        wiring.connect(m, wiring.flipped(self.commands), host.i)
        wiring.connect(m, host.o, wiring.flipped(self.results))
        m.d.comb += [
            self.probe.eq(sequencer.probe),
            self.probe.pixel_drained.eq(drain.drained),
            self.probe.drain_stalled.eq(drain.stalled),
            self.probe.drain_set.eq(drain.set),
        ]
        # The only port of a memory is the program's while it runs: the host waits.
        free = ~sequencer.running if config.memory_ports == 1 else Const(1)
        write = _LateWrites(m, host, free)
        self._run(m, host, free, write, sequencer, program, drain, clusters, slices)
        self._share_activations(m, host, sequencer, clusters, slices)
        self._count(m, sequencer, drain, counters, clusters, slices)
        results = self._write_back(m, sequencer, drain, counters, clusters, slices, host, write)
        self._host_reads(m, host, counters, results, slices)
        return m

    def _run(
        self,
        m: Module,
        host: HostPort,
        free: Value,
        write: "_LateWrites",
        sequencer: Sequencer,
        program: ProgramMemory,
        drain: Drain,
        clusters: list[Cluster],
        slices: list[ActivationSlice],
    ) -> None:
        """Start and end of a run, program memory, jobs, trit writes."""
        cycles = Signal(32)
        with m.If(host.runs.valid):
            m.d.sync += cycles.eq(0)
        with m.Elif(sequencer.running):
            m.d.sync += cycles.eq(cycles + 1)

        program_write = write.mask("program")
        late_program_write = write.late("program", program_write)
        # Whether all walkers of a set have room may be of the cycle before: those that have it keep
        # it until they get a job, and for a set there is not a job in every cycle.
        room = [
            delayed(
                m,
                f"room_{number}",
                Cat(cluster.jobs.ready for cluster in members).all(),
                room_latency(self.config),
            )
            for number, members in enumerate(self._by_set(clusters))
        ]
        m.d.comb += [
            sequencer.start.eq(host.runs.valid),
            sequencer.address.eq(host.runs.payload.address),
            sequencer.layer_count.eq(host.runs.payload.layer_count),
            sequencer.wait_first.eq(host.runs.payload.waits),
            sequencer.signal.eq(host.signal),
            sequencer.take.eq(host.take),
            host.state.released.eq(sequencer.released),
            host.state.refilling.eq(sequencer.refilling),
            sequencer.clusters_idle.eq(Cat(cluster.idle for cluster in clusters).all()),
            host.state.running.eq(sequencer.running),
            host.state.finished.eq(sequencer.finished),
            host.state.error.eq(sequencer.error),
            host.state.layers.eq(sequencer.layers),
            host.state.cycles.eq(cycles),
            program.write_enable.eq(late_program_write),
            sequencer.walk.ready.eq(drain.ready & Array(room)[sequencer.set]),
            drain.clear.eq(host.runs.valid),
            drain.restart.eq(sequencer.layer_start),
            drain.i.payload.eq(sequencer.drain.payload),
            drain.i.valid.eq(sequencer.drain.valid),
            sequencer.drain.ready.eq(drain.i.ready),
            drain.complete.eq(
                Cat(
                    Cat(
                        cluster.oldest_complete & (cluster.parity == drain.parity[number])
                        for cluster in members
                    ).all()
                    for number, members in enumerate(self._by_set(clusters))
                )
            ),
        ]
        m.d.sync += sequencer.drain_idle.eq(drain.idle & Cat(part.idle for part in slices).all())
        for index, cluster in enumerate(clusters):
            number = index // self.config.clusters
            m.d.comb += [
                cluster.jobs.payload.eq(sequencer.walk.payload),
                cluster.jobs.valid.eq(sequencer.walk.valid & (sequencer.set == number)),
                cluster.draining.eq(drain.draining & (drain.set == number)),
                cluster.host_data.eq(write.data),
                cluster.trit_write_mask.eq(
                    write.late(f"trits_{index}", write.mask("trits", index))
                ),
                cluster.trit_write_address.eq(write.address),
            ]
        given = host.writes.payload
        for index, part in enumerate(slices):
            m.d.comb += [
                part.host_data.eq(given.data),
                part.host_write_valid.eq(
                    host.writes.valid
                    & free
                    & _is(given.memory, "activations")
                    & (given.cluster == index)
                ),
                part.host_write_address.eq(given.address),
                part.host_write_chunk.eq(given.chunk),
            ]
        m.d.comb += [
            program.fetch_address.eq(sequencer.fetch_address),
            program.fetch_half.eq(sequencer.fetch_half),
            sequencer.fetch_data.eq(program.fetch_data),
            program.write_address.eq(write.address),
            program.write_data.eq(write.data),
        ]
        # With one port a word is written in two halves.
        program_ready: Value = Const(1)
        if self.config.program_reads == 2:
            program_ready = second = Signal()
            m.d.sync += second.eq(program_write & ~second)
            m.d.comb += program.write_half.eq(write.late("second", second))
        with m.Switch(given.memory):
            with m.Case(MEMORIES.index("activations")):
                m.d.comb += host.writes.ready.eq(
                    free & Array(part.host_write_ready for part in slices)[given.cluster]
                )
            with m.Case(MEMORIES.index("program")):
                m.d.comb += host.writes.ready.eq(free & program_ready)
            with m.Default():
                m.d.comb += host.writes.ready.eq(free)

    def _by_set(self, clusters: list[Cluster]) -> list[list[Cluster]]:
        size = self.config.clusters
        return [clusters[first : first + size] for first in range(0, len(clusters), size)]

    def _share_activations(
        self,
        m: Module,
        host: HostPort,
        sequencer: Sequencer,
        clusters: list[Cluster],
        slices: list[ActivationSlice],
    ) -> None:
        """Every slice's memory for the walkers of all sets, and for host reads."""
        for index, part in enumerate(slices):
            m.d.comb += [
                part.restart.eq(sequencer.layer_start),
                part.step_x.eq(sequencer.layer.step_x),
                part.step_y.eq(sequencer.layer.step_y),
                part.host_read_address.eq(host.reads.payload.address),
            ]
            for number, cluster in enumerate(clusters[index :: self.config.clusters]):
                m.d.comb += [
                    part.read_valid[number].eq(cluster.read_valid),
                    part.read_address[number].eq(cluster.read_address),
                    cluster.read_ready.eq(part.read_ready[number]),
                    cluster.read_data.eq(part.read_data),
                ]

    def _count(
        self,
        m: Module,
        sequencer: Sequencer,
        drain: Drain,
        counters: Counters | NoCounters,
        clusters: list[Cluster],
        slices: list[ActivationSlice],
    ) -> None:
        m.d.comb += [
            counters.run.eq(sequencer.running),
            counters.prepare.eq(sequencer.dump_prepare),
            counters.dump.eq(sequencer.dump),
            sequencer.dump_done.eq(counters.done),
            counters.layer.eq(sequencer.counter_layer),
            counters.drain_steps.eq(drain.step.valid),
            counters.stall_write_back.eq(drain.stalled),
            counters.stall_refill.eq(sequencer.refilling),
            counters.merge_reads.eq(_sum([part.merge_read for part in slices])),
            counters.write_backs.eq(_sum([part.written for part in slices])),
        ]
        for index, cluster in enumerate(clusters):
            m.d.comb += counters.events[index].eq(cluster.events)

    def _write_back(
        self,
        m: Module,
        sequencer: Sequencer,
        drain: Drain,
        counters: Counters | NoCounters,
        clusters: list[Cluster],
        slices: list[ActivationSlice],
        host: HostPort,
        write: "_LateWrites",
    ) -> Value:
        """Drain, chains of partial sums, write-back, activation slices and result memory."""
        config = self.config
        m.submodules.write_path = back = WriteBack(config)
        # The drain command passes the clusters of a set; their partial sums follow it.
        for number, members in enumerate(self._by_set(clusters)):
            m.d.comb += [
                members[0].command_i.eq(drain.command),
                members[0].command_i.take.eq(drain.command.take & drain.selected[number]),
                members[0].command_i.last.eq(drain.command.last & drain.selected[number]),
            ]
            for before, after in pairwise(members):
                m.d.comb += after.command_i.eq(before.command_o)
                m.d.comb += [i.eq(o) for i, o in zip(after.sums_i, before.sums_o, strict=True)]
            m.d.comb += [
                i.eq(o) for i, o in zip(back.sums[number], members[-1].sums_o, strict=True)
            ]
        m.d.comb += [
            back.layer.eq(sequencer.layer),
            back.layer_start.eq(sequencer.layer_start),
            back.step.eq(drain.step),
            back.row_write_address.eq(write.address),
            back.row_write_data.eq(write.data),
            back.row_write_mask.eq(write.late("rows", write.mask("rows"))),
            drain.stop.eq(Cat(part.full for part in slices).any()),
            counters.result_writes.eq(back.result_valid),
        ]
        m.d.comb += [
            part.write_back.eq(one) for part, one in zip(slices, back.write_backs, strict=True)
        ]
        if config.shared_results:
            m.d.comb += [
                host.result_writes.valid.eq(back.result_valid),
                host.result_writes.payload.address.eq(back.result_address),
                host.result_writes.payload.data.eq(back.result),
            ]
            shared: Value = host.result_word
            return shared
        width = config.memory_width("results")
        m.submodules.results = results = ChunkMemory(
            width=width,
            depth=config.result_depth,
            chunk_width=width,
            register_address=config.few_stages,
        )
        m.d.comb += [
            results.write_address.eq(back.result_address),
            results.write_data.eq(back.result),
            results.write_mask.eq(back.result_valid),
            results.read_address.eq(host.reads.payload.address),
        ]
        word: Value = results.read_data
        return word

    def _host_reads(
        self,
        m: Module,
        host: HostPort,
        counters: Counters | NoCounters,
        results: Value,
        slices: list[ActivationSlice],
    ) -> None:
        """Host reads: all memories answer after ``ChunkMemory.latency`` cycles."""
        asked = host.reads.payload
        activations = asked.memory == MEMORIES.index("activations")
        m.d.comb += [
            counters.read_address.eq(asked.address),
            host.reads.ready.eq(
                Mux(
                    activations,
                    Array(part.host_read_ready for part in slices)[asked.cluster],
                    1,
                )
            ),
        ]
        valid: Signal = host.reads.valid & host.reads.ready
        for stage in range(ChunkMemory.latency):
            after = Signal(name=f"read_valid_{stage}")
            m.d.sync += after.eq(valid)
            valid = after
        m.d.comb += host.read_data.valid.eq(valid)
        with m.Switch(asked.memory):
            with m.Case(MEMORIES.index("activations")):
                m.d.comb += host.read_data.payload.eq(
                    Array(part.read_data for part in slices)[asked.cluster]
                )
            with m.Case(MEMORIES.index("results")):
                m.d.comb += host.read_data.payload.eq(results)
            with m.Default():
                m.d.comb += host.read_data.payload.eq(counters.read_data)


class _LateWrites:
    """The host's writes to memories that are always ready, two cycles later: they go far, so they
    are decoded in front of the registers. Where stages are few they are not late, and these are the
    port's own."""

    def __init__(self, m: Module, host: HostPort, free: Value) -> None:
        self.m, self.host, self.free = m, host, free
        self.address, self.data = (
            self.late(name, getattr(host.writes.payload, name), reset_less=True)
            for name in ("address", "data")
        )

    def mask(self, memory: str, cluster: int | None = None) -> Value:
        """By chunk of its words: a write to ``memory``, of ``cluster``, in this cycle."""
        host = self.host
        given = host.writes.payload
        valid = host.writes.valid & self.free & _is(given.memory, memory)
        if cluster is not None:
            valid &= given.cluster == cluster
        chunks = host.config.memory_chunks(memory)
        return Cat(
            valid & (given.chunk == chunk) if chunks > 1 else valid for chunk in range(chunks)
        )

    def late(self, name: str, value: Value, *, reset_less: bool = False) -> Value:
        stages = 0 if self.host.config.few_stages else 2
        return delayed(self.m, f"late_{name}", value, stages, reset_less=reset_less)


def _is(memory: Value, name: str) -> Value:
    return memory == MEMORIES.index(name)


def _sum(terms: list[Signal]) -> object:
    return sum(terms[1:], terms[0])
