"""The accelerator: host port, program, sequencer, clusters, drain, requantizers, counters."""

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Array, Cat, Module, Signal
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
from tritforge.hw.host_reads import HostReads
from tritforge.hw.host_writes import HostWrites
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import command_word, port_word, probe
from tritforge.hw.program_memory import ProgramMemory
from tritforge.hw.sequencer import Sequencer
from tritforge.hw.timing import room_latency, settle
from tritforge.hw.write_back import WriteBack

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Everything that ``config`` describes, behind one command and one result stream.

    ::

        commands -> host port -> memories
                        |  start
                    sequencer -> jobs -> sets of clusters (N x G)  <- drain command
                                            | partial sums, from the sets in turn
                                         requantizers (W) -> [tables] -> activation slices (G)
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
        m.submodules.writes = writes = HostWrites(config)
        m.submodules.reads = reads = HostReads(config)
        m.submodules.program_memory = program = ProgramMemory(config)
        m.submodules.sequencer = sequencer = Sequencer(config, settle=settle(config))
        m.submodules.drain = drain = Drain(config)
        m.submodules.write_path = back = WriteBack(config)
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
        wiring.connect(m, host.writes, writes.i)
        wiring.connect(m, host.reads, reads.i)
        wiring.connect(m, reads.o, host.read_data)
        wiring.connect(m, sequencer.drain, drain.i)
        m.d.comb += [
            self.probe.eq(sequencer.probe),
            self.probe.pixel_drained.eq(drain.drained),
            self.probe.drain_stalled.eq(drain.stalled),
            self.probe.drain_set.eq(drain.set),
        ]
        blocks = _Blocks(
            config, host, writes, reads, program, sequencer, drain, back, counters, clusters, slices
        )
        _run(m, blocks)
        _hand_out(m, blocks)
        _write(m, blocks)
        _share_activations(m, blocks)
        _drain(m, blocks)
        _keep_results(m, blocks)
        _count(m, blocks)
        return m


@dataclass(frozen=True)
class _Blocks:
    """What the accelerator consists of."""

    config: Config
    host: HostPort
    writes: HostWrites
    reads: HostReads
    program: ProgramMemory
    sequencer: Sequencer
    drain: Drain
    write_back: WriteBack
    counters: Counters | NoCounters
    clusters: list[Cluster]
    slices: list[ActivationSlice]

    @property
    def sets(self) -> list[list[Cluster]]:
        """Clusters of each set."""
        size = self.config.clusters
        return [self.clusters[first : first + size] for first in range(0, len(self.clusters), size)]


def _run(m: Module, blocks: _Blocks) -> None:
    """Start and end of a run, and the program."""
    host, sequencer, program = blocks.host, blocks.sequencer, blocks.program
    cycles = Signal(32)
    with m.If(host.runs.valid):
        m.d.sync += cycles.eq(0)
    with m.Elif(sequencer.running):
        m.d.sync += cycles.eq(cycles + 1)
    m.d.comb += [
        sequencer.start.eq(host.runs.valid),
        sequencer.address.eq(host.runs.payload.address),
        sequencer.layer_count.eq(host.runs.payload.layer_count),
        sequencer.wait_first.eq(host.runs.payload.waits),
        sequencer.signal.eq(host.signal),
        sequencer.take.eq(host.take),
        host.state.released.eq(sequencer.released),
        host.state.refilling.eq(sequencer.refilling),
        host.state.running.eq(sequencer.running),
        host.state.finished.eq(sequencer.finished),
        host.state.error.eq(sequencer.error),
        host.state.layers.eq(sequencer.layers),
        host.state.cycles.eq(cycles),
        program.fetch_address.eq(sequencer.fetch_address),
        program.fetch_half.eq(sequencer.fetch_half),
        sequencer.fetch_data.eq(program.fetch_data),
    ]


def _hand_out(m: Module, blocks: _Blocks) -> None:
    """Jobs for the clusters of a set, and what they report of their pixels."""
    sequencer, drain = blocks.sequencer, blocks.drain
    # Whether all walkers of a set have room may be of the cycle before: those that have it keep it
    # until they get a job, and for a set there is not a job in every cycle.
    room = [
        delayed(
            m,
            f"room_{number}",
            Cat(cluster.jobs.ready for cluster in members).all(),
            room_latency(blocks.config),
        )
        for number, members in enumerate(blocks.sets)
    ]
    m.d.comb += [
        sequencer.clusters_idle.eq(Cat(cluster.idle for cluster in blocks.clusters).all()),
        sequencer.walk.ready.eq(drain.ready & Array(room)[sequencer.set]),
        drain.clear.eq(blocks.host.runs.valid),
        drain.restart.eq(sequencer.layer_start),
        drain.complete.eq(
            Cat(
                Cat(
                    cluster.awaited_complete & (cluster.parity == drain.parity[number])
                    for cluster in members
                ).all()
                for number, members in enumerate(blocks.sets)
            )
        ),
    ]
    idle = drain.idle & Cat(part.idle for part in blocks.slices).all()
    m.d.sync += sequencer.drain_idle.eq(idle)
    for number, members in enumerate(blocks.sets):
        for cluster in members:
            m.d.comb += [
                cluster.jobs.payload.eq(sequencer.walk.payload),
                cluster.jobs.valid.eq(sequencer.walk.valid & (sequencer.set == number)),
                cluster.begun.eq(drain.begins[number]),
                cluster.draining.eq(drain.draining & (drain.set == number)),
            ]


def _write(m: Module, blocks: _Blocks) -> None:
    """The host's writes to program, rows, tables, trits and activations."""
    writes, program, back = blocks.writes, blocks.program, blocks.write_back
    given = writes.i.payload
    m.d.comb += [
        writes.running.eq(blocks.sequencer.running),
        program.write_enable.eq(writes.program),
        program.write_half.eq(writes.program_half),
        program.write_address.eq(writes.address),
        program.write_data.eq(writes.data),
        back.row_write_mask.eq(writes.rows),
        back.row_write_address.eq(writes.address),
        back.row_write_data.eq(writes.data),
    ]
    if blocks.config.activation_tables:
        m.d.comb += [
            back.table_write_enable.eq(writes.tables),
            back.table_write_address.eq(writes.address),
            back.table_write_data.eq(writes.data),
        ]
    for cluster, mask in zip(blocks.clusters, writes.trits, strict=True):
        m.d.comb += [
            cluster.trit_write_mask.eq(mask),
            cluster.trit_write_address.eq(writes.address),
            cluster.host_data.eq(writes.data),
        ]
    for index, part in enumerate(blocks.slices):
        m.d.comb += [
            part.host_data.eq(given.data),
            part.host_write_valid.eq(writes.activations_valid[index]),
            part.host_write_address.eq(given.address),
            part.host_write_chunk.eq(given.chunk),
            writes.activations_ready[index].eq(part.host_write_ready),
        ]


def _share_activations(m: Module, blocks: _Blocks) -> None:
    """Every slice's memory for the walkers of all sets, and for host reads."""
    sequencer, reads = blocks.sequencer, blocks.reads
    for index, part in enumerate(blocks.slices):
        m.d.comb += [
            part.restart.eq(sequencer.layer_start),
            part.step_x.eq(sequencer.layer.step_x),
            part.step_y.eq(sequencer.layer.step_y),
            *(
                [
                    part.add.eq(sequencer.layer.add),
                    part.stored_signed.eq(sequencer.layer.stored_signed),
                ]
                if blocks.config.write_back_sums
                else []
            ),
            part.host_read_address.eq(reads.i.payload.address),
            reads.activations_ready[index].eq(part.host_read_ready),
            reads.activations[index].eq(part.read_data),
        ]
        for number, cluster in enumerate(blocks.clusters[index :: blocks.config.clusters]):
            m.d.comb += [
                part.read_valid[number].eq(cluster.read_valid),
                part.read_address[number].eq(cluster.read_address),
                cluster.read_ready.eq(part.read_ready[number]),
                cluster.read_data.eq(part.read_data),
            ]


def _drain(m: Module, blocks: _Blocks) -> None:
    """Drain, chains of partial sums, write-back, activation slices."""
    drain, back = blocks.drain, blocks.write_back
    # The drain command passes the clusters of a set; their partial sums follow it.
    for number, members in enumerate(blocks.sets):
        m.d.comb += [
            members[0].command_i.eq(drain.command),
            members[0].command_i.take.eq(drain.command.take & drain.selected[number]),
            members[0].command_i.last.eq(drain.command.last & drain.selected[number]),
        ]
        for before, after in pairwise(members):
            m.d.comb += after.command_i.eq(before.command_o)
            m.d.comb += [i.eq(o) for i, o in zip(after.sums_i, before.sums_o, strict=True)]
        m.d.comb += [i.eq(o) for i, o in zip(back.sums[number], members[-1].sums_o, strict=True)]
    m.d.comb += [
        back.layer.eq(blocks.sequencer.layer),
        back.layer_start.eq(blocks.sequencer.layer_start),
        back.step.eq(drain.step),
        drain.stop.eq(Cat(part.full for part in blocks.slices).any()),
    ]
    m.d.comb += [
        part.write_back.eq(one) for part, one in zip(blocks.slices, back.write_backs, strict=True)
    ]


def _keep_results(m: Module, blocks: _Blocks) -> None:
    """Results in a memory of their own, or in the packet buffer's."""
    config, host, back, reads = blocks.config, blocks.host, blocks.write_back, blocks.reads
    if config.shared_results:
        m.d.comb += [
            host.result_writes.valid.eq(back.result_valid),
            host.result_writes.payload.address.eq(back.result_address),
            host.result_writes.payload.data.eq(back.result),
            reads.results.eq(host.result_word),
        ]
        return
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
        results.read_address.eq(reads.i.payload.address),
        reads.results.eq(results.read_data),
    ]


def _count(m: Module, blocks: _Blocks) -> None:
    """Events for the counters, and the counters for the host."""
    sequencer, drain, counters = blocks.sequencer, blocks.drain, blocks.counters
    m.d.comb += [
        counters.run.eq(sequencer.running),
        counters.prepare.eq(sequencer.dump_prepare),
        counters.dump.eq(sequencer.dump),
        sequencer.dump_done.eq(counters.done),
        counters.layer.eq(sequencer.counter_layer),
        counters.drain_steps.eq(drain.step.valid),
        counters.stall_write_back.eq(drain.stalled),
        counters.stall_refill.eq(sequencer.refilling),
        counters.merge_reads.eq(_sum([part.merge_read for part in blocks.slices])),
        counters.write_backs.eq(_sum([part.written for part in blocks.slices])),
        counters.result_writes.eq(blocks.write_back.result_valid),
        counters.read_address.eq(blocks.reads.i.payload.address),
        blocks.reads.counters.eq(counters.read_data),
    ]
    for index, cluster in enumerate(blocks.clusters):
        m.d.comb += counters.events[index].eq(cluster.events)


def _sum(terms: list[Signal]) -> object:
    return sum(terms[1:], terms[0])
