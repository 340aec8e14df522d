"""The accelerator: host port, program, sequencer, clusters, drain, requantizers, counters."""

from itertools import pairwise

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.cluster import Cluster
from hw.config import PORT_WIDTH, RESULT_WIDTH, Config
from hw.counters import Counters
from hw.drain import Drain
from hw.hierarchy import repeated
from hw.host_port import HostPort
from hw.memory import ChunkMemory
from hw.merge import MERGE_LATENCY
from hw.payloads import address_width, port_word, write_back
from hw.program import MEMORIES, row_layout
from hw.requantizer import Requantizer
from hw.sequencer import Sequencer

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Everything that ``config`` describes, behind one command and one result stream.

    ::

        commands -> host port -> memories
                        |  start
                    sequencer -> jobs -> clusters (G)  <- drain command
                                            | partial sums
                                         requantizers (W) -> clusters' activation memories
                                                          -> result memory

    Parameters
    ----------
    config : Config

    Members
    -------
    commands : In(stream of port_word)
    results : Out(stream of port_word)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "commands": In(stream.Signature(port_word())),
            "results": Out(stream.Signature(port_word())),
        })

    @property
    def chain_latency(self) -> int:
        """Cycles from a drain command to its partial sums at the end of the chain."""
        return self.config.clusters + 1

    @property
    def write_back_latency(self) -> int:
        """Cycles from a drain command until its activation is in memory."""
        return self.chain_latency + Requantizer.latency + 1 + MERGE_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.host = host = HostPort(config)
        m.submodules.program = program = ChunkMemory(
            width=PORT_WIDTH, depth=config.program_depth, chunk_width=PORT_WIDTH)
        m.submodules.sequencer = sequencer = Sequencer(config, settle=self.write_back_latency + 2)
        m.submodules.drain = drain = Drain(config)
        m.submodules.counters = counters = Counters(config)
        clusters = []
        for index in range(config.clusters):
            cluster = repeated(platform, "cluster", lambda: Cluster(config))
            m.submodules[f"cluster_{index}"] = cluster
            m.d.comb += cluster.number.eq(index)
            clusters.append(cluster)

        for ours, theirs in ((host.i, self.commands), (self.results, host.o)):
            m.d.comb += [
                ours.payload.eq(theirs.payload),
                ours.valid.eq(theirs.valid),
                theirs.ready.eq(ours.ready),
            ]
        self._run(m, host, sequencer, program, drain, clusters)
        self._count(m, sequencer, drain, counters, clusters)
        results = self._write_back(m, sequencer, drain, counters, clusters, host)
        self._host_reads(m, host, counters, results, clusters)
        return m

    def _run(self, m: Module, host: HostPort, sequencer: Sequencer, program: ChunkMemory,
             drain: Drain, clusters: list[Cluster]) -> None:
        """Start and end of a run, program memory, jobs, trit and activation writes."""
        cycles = Signal(32)
        with m.If(host.start):
            m.d.sync += cycles.eq(0)
        with m.Elif(sequencer.running):
            m.d.sync += cycles.eq(cycles + 1)

        def writes(name: str) -> object:
            return host.write_valid & (host.write_memory == MEMORIES.index(name))

        m.d.comb += [
            sequencer.start.eq(host.start),
            sequencer.address.eq(host.start_address),
            sequencer.layer_count.eq(host.start_layers),
            host.running.eq(sequencer.running),
            host.finished.eq(sequencer.finished),
            host.error.eq(sequencer.error),
            host.layers.eq(sequencer.layers),
            host.cycles.eq(cycles),
            program.read_address.eq(sequencer.fetch_address),
            sequencer.fetch_data.eq(program.read_data),
            program.write_address.eq(host.write_address),
            program.write_data.eq(host.write_data),
            program.write_mask.eq(writes("program")),
            sequencer.walk.ready.eq(
                drain.ready & Cat(cluster.jobs.ready for cluster in clusters).all()),
            drain.clear.eq(host.start),
            drain.i.payload.eq(sequencer.drain.payload),
            drain.i.valid.eq(sequencer.drain.valid),
            sequencer.drain.ready.eq(drain.i.ready),
            sequencer.drain_idle.eq(drain.idle),
            drain.step_x.eq(sequencer.layer.step_x),
            drain.step_y.eq(sequencer.layer.step_y),
            drain.complete.eq(Cat(cluster.oldest_complete & (cluster.parity == drain.parity)
                                  for cluster in clusters).all()),
        ]
        readies = []
        for index, cluster in enumerate(clusters):
            here = host.write_cluster == index
            m.d.comb += [
                cluster.jobs.payload.eq(sequencer.walk.payload),
                cluster.jobs.valid.eq(sequencer.walk.valid),
                cluster.draining.eq(drain.draining),
                cluster.host_data.eq(host.write_data),
                cluster.trit_write_valid.eq(writes("trits") & here),
                cluster.trit_write_address.eq(host.write_address),
                cluster.trit_write_chunk.eq(host.write_chunk),
                cluster.activation_write_valid.eq(writes("activations") & here),
                cluster.activation_write_address.eq(host.write_address),
                cluster.activation_write_chunk.eq(host.write_chunk),
            ]
            readies.append(cluster.activation_write_ready)
        m.d.comb += host.write_ready.eq(
            Mux(host.write_memory == MEMORIES.index("activations"),
                Array(readies)[host.write_cluster], 1))

    def _count(self, m: Module, sequencer: Sequencer, drain: Drain, counters: Counters,
               clusters: list[Cluster]) -> None:
        config = self.config
        m.d.comb += [
            counters.run.eq(sequencer.running),
            counters.dump.eq(sequencer.dump),
            sequencer.dump_done.eq(counters.done),
            counters.layer.eq(sequencer.counter_layer),
            counters.drain_steps.eq(drain.step & ~drain.repeat),
            counters.pool_repeats.eq(drain.repeat),
            counters.merge_reads.eq(_sum([cluster.merge_read for cluster in clusters])),
            counters.write_backs.eq(_sum([cluster.written for cluster in clusters])),
        ]
        for index in range(config.clusters):
            m.d.comb += counters.events[index].eq(clusters[index].events)

    def _write_back(self, m: Module, sequencer: Sequencer, drain: Drain, counters: Counters,
                    clusters: list[Cluster], host: HostPort) -> ChunkMemory:
        """From the drain's steps to activation and result memories, a pipeline without stalls."""
        config = self.config
        layer = sequencer.layer
        entry_width = config.row_entry_width
        m.submodules.rows = rows = ChunkMemory(
            width=config.memory_width("rows"), depth=config.row_depth, chunk_width=PORT_WIDTH)
        m.submodules.results = results = ChunkMemory(
            width=config.memory_width("results"), depth=config.result_depth,
            chunk_width=RESULT_WIDTH)
        chunk_count = rows.chunks
        m.d.comb += [
            rows.write_address.eq(host.write_address),
            rows.write_data.eq(host.write_data.replicate(chunk_count)),
            rows.write_mask.eq(Cat(
                host.write_valid & (host.write_memory == MEMORIES.index("rows"))
                & (host.write_chunk == chunk) for chunk in range(chunk_count))),
        ]

        # The drain command passes the clusters; their partial sums follow it.
        m.d.comb += clusters[0].command_i.eq(drain.command)
        for before, after in pairwise(clusters):
            m.d.comb += after.command_i.eq(before.command_o)
            for lane in range(config.drain_width):
                m.d.comb += after.sums_i[lane].eq(before.sums_o[lane])
        sums = clusters[-1].sums_o

        # What else a step needs travels beside the chain and the requantizer.
        delay = _Delay(m)
        chain = self.chain_latency
        m.d.comb += rows.read_address.eq(
            delay("row_address", drain.row_address, chain - ChunkMemory.latency))
        step = delay("step", drain.step, chain)
        repeat = delay("repeat", drain.repeat, chain)
        address = delay("address", drain.address, chain + Requantizer.latency)
        merge = delay("merge", drain.merge, chain + Requantizer.latency)
        step_out = delay("step_out", step, Requantizer.latency)
        result_step = delay("result_step", step & ~repeat & layer.raw, Requantizer.result_latency)

        result_entry = Signal(address_width(config.result_depth))
        with m.If(sequencer.layer_start):
            m.d.sync += result_entry.eq(layer.base)
        with m.Elif(result_step):
            m.d.sync += result_entry.eq(result_entry + 1)
        m.d.comb += [
            results.write_address.eq(result_entry),
            results.write_mask.eq(result_step.replicate(results.chunks)),
            counters.result_writes.eq(result_step),
        ]

        for lane in range(config.drain_width):
            requantizer = Requantizer(config)
            m.submodules[f"requantizer_{lane}"] = requantizer
            row = Signal(row_layout(config), name=f"row_{lane}")
            m.d.comb += [
                row.eq(rows.read_data[lane * entry_width:]),
                requantizer.accumulator.eq(sums[lane]),
                requantizer.multiplier.eq(row.multiplier),
                requantizer.offset.eq(row.offset),
                requantizer.shift.eq(row.shift),
                requantizer.low.eq(layer.low),
                requantizer.high.eq(layer.high),
                results.write_data.word_select(lane, RESULT_WIDTH).eq(requantizer.result),
            ]
            enable, cluster, word, place = (
                delay(f"{name}_{lane}", row[name], Requantizer.latency)
                for name in ("enable", "cluster", "word", "lane"))
            back = Signal(write_back(config), name=f"write_back_{lane}")
            m.d.sync += [
                back.valid.eq(step_out & enable & ~layer.raw),
                back.cluster.eq(cluster),
                back.address.eq(address + word),
                back.lane.eq(place),
                back.value.eq(requantizer.activation),
                back.merge.eq(merge),
                back.signed.eq(layer.low < 0),
            ]
            for index in range(lane, config.clusters, config.drain_width):
                m.d.comb += clusters[index].write_back.eq(back)
        return results

    def _host_reads(self, m: Module, host: HostPort, counters: Counters, results: ChunkMemory,
                    clusters: list[Cluster]) -> None:
        """Host reads: all memories answer after ``ChunkMemory.latency`` cycles."""
        activations = host.read_memory == MEMORIES.index("activations")
        for cluster in clusters:
            m.d.comb += cluster.read_address.eq(host.read_address)
        m.d.comb += [
            counters.read_address.eq(host.read_address),
            results.read_address.eq(host.read_address),
            host.read_ready.eq(Mux(
                activations,
                Array(cluster.read_ready for cluster in clusters)[host.read_cluster], 1)),
        ]
        valid: Signal = host.read_valid & host.read_ready
        for stage in range(ChunkMemory.latency):
            after = Signal(name=f"read_valid_{stage}")
            m.d.sync += after.eq(valid)
            valid = after
        m.d.comb += host.read_data_valid.eq(valid)
        with m.Switch(host.read_memory):
            with m.Case(MEMORIES.index("activations")):
                m.d.comb += host.read_data.eq(
                    Array(cluster.read_data for cluster in clusters)[host.read_cluster])
            with m.Case(MEMORIES.index("results")):
                m.d.comb += host.read_data.eq(results.read_data)
            with m.Default():
                m.d.comb += host.read_data.eq(counters.read_data)


class _Delay:
    """Adds registers: ``delay(name, value, cycles)``."""

    def __init__(self, m: Module) -> None:
        self.m = m

    def __call__(self, name: str, value: object, cycles: int) -> Signal:
        assert cycles >= 0
        for stage in range(cycles):
            after = Signal.like(value, name=f"{name}_{stage}")
            self.m.d.sync += after.eq(value)
            value = after
        return value


def _sum(terms: list[Signal]) -> object:
    return sum(terms[1:], terms[0])
