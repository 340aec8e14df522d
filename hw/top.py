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
from tritforge.hw.payloads import address_width, command_word, port_word, probe, write_back
from tritforge.hw.program import MEMORIES, row_layout
from tritforge.hw.requantizer import CODE_WIDTH, Requantizer
from tritforge.hw.sequencer import Sequencer
from tritforge.hw.timing import (
    chain_latency,
    requantizer_latency,
    result_latency,
    room_latency,
    settle,
)
from tritforge.hw.widths import PORT_WIDTH, RESULT_WIDTH

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
        program_width = PORT_WIDTH // config.program_reads
        m.submodules.program = program = ChunkMemory(
            width=program_width,
            depth=config.program_depth * config.program_reads,
            chunk_width=program_width,
            single_port=config.memory_ports == 1,
        )
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

        for ours, theirs in ((host.i, self.commands), (self.results, host.o)):
            m.d.comb += [
                ours.payload.eq(theirs.payload),
                ours.valid.eq(theirs.valid),
                theirs.ready.eq(ours.ready),
            ]
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
        program: ChunkMemory,
        drain: Drain,
        clusters: list[Cluster],
        slices: list[ActivationSlice],
    ) -> None:
        """Start and end of a run, program memory, jobs, trit writes."""
        cycles = Signal(32)
        with m.If(host.start):
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
            sequencer.start.eq(host.start),
            sequencer.address.eq(host.start_address),
            sequencer.layer_count.eq(host.start_layers),
            sequencer.wait_first.eq(host.start_waits),
            sequencer.signal.eq(host.signal),
            sequencer.take.eq(host.take),
            host.released.eq(sequencer.released),
            host.refilling.eq(sequencer.refilling),
            sequencer.clusters_idle.eq(Cat(cluster.idle for cluster in clusters).all()),
            host.running.eq(sequencer.running),
            host.finished.eq(sequencer.finished),
            host.error.eq(sequencer.error),
            host.layers.eq(sequencer.layers),
            host.cycles.eq(cycles),
            program.write_mask.eq(late_program_write),
            sequencer.walk.ready.eq(drain.ready & Array(room)[sequencer.set]),
            drain.clear.eq(host.start),
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
        for index, part in enumerate(slices):
            m.d.comb += [
                part.host_data.eq(host.write_data),
                part.host_write_valid.eq(
                    host.write_valid
                    & free
                    & _is(host.write_memory, "activations")
                    & (host.write_cluster == index)
                ),
                part.host_write_address.eq(host.write_address),
                part.host_write_chunk.eq(host.write_chunk),
            ]
        program_ready: Value = Const(1)
        if self.config.program_reads == 1:
            m.d.comb += [
                program.read_address.eq(sequencer.fetch_address),
                sequencer.fetch_data.eq(program.read_data),
                program.write_address.eq(write.address),
                program.write_data.eq(write.data),
            ]
        else:
            half = PORT_WIDTH // 2
            second, lower = Signal(), Signal(half)
            program_ready = second
            m.d.sync += [second.eq(program_write & ~second), lower.eq(program.read_data)]
            late = write.late("second", second)
            m.d.comb += [
                program.read_address.eq(Cat(sequencer.fetch_half, sequencer.fetch_address)),
                sequencer.fetch_data.eq(Cat(lower, program.read_data)),
                program.write_address.eq(Cat(late, write.address)),
                program.write_data.eq(Mux(late, write.data[half:], write.data[:half])),
            ]
        with m.Switch(host.write_memory):
            with m.Case(MEMORIES.index("activations")):
                m.d.comb += host.write_ready.eq(
                    free & Array(part.host_write_ready for part in slices)[host.write_cluster]
                )
            with m.Case(MEMORIES.index("program")):
                m.d.comb += host.write_ready.eq(free & program_ready)
            with m.Default():
                m.d.comb += host.write_ready.eq(free)

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
                part.host_read_address.eq(host.read_address),
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
            counters.drain_steps.eq(drain.step),
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
        """From the drain's steps to activation slices and result memory, a fixed pipeline."""
        config = self.config
        layer = sequencer.layer
        low, high = (bound[:CODE_WIDTH].as_signed() for bound in (layer.low, layer.high))
        entry_width = config.row_entry_width
        m.submodules.rows = rows = ChunkMemory(
            width=config.memory_width("rows"),
            depth=config.row_depth,
            chunk_width=PORT_WIDTH,
            register_address=config.few_stages,
        )
        m.d.comb += [
            rows.write_address.eq(write.address),
            rows.write_data.eq(write.data.replicate(rows.chunks)),
            rows.write_mask.eq(write.late("rows", write.mask("rows"))),
        ]

        # The drain command passes the clusters of a set; their partial sums follow it.
        for number, members in enumerate(self._by_set(clusters)):
            m.d.comb += [
                members[0].command_i.eq(drain.command),
                members[0].command_i.take.eq(drain.command.take & drain.selected[number]),
                members[0].command_i.last.eq(drain.command.last & drain.selected[number]),
            ]
            for before, after in pairwise(members):
                m.d.comb += after.command_i.eq(before.command_o)
                for lane in range(config.drain_width):
                    m.d.comb += after.sums_i[lane].eq(before.sums_o[lane])
        m.d.comb += drain.stop.eq(Cat(part.full for part in slices).any())

        # What else a step needs travels beside the chain and the requantizer.
        delay = _Delay(m)
        chain, latency = chain_latency(config), requantizer_latency(config)
        m.d.comb += rows.read_address.eq(
            delay("row_address", drain.row_address, chain - ChunkMemory.latency)
        )
        step = delay("step", drain.step, chain)
        # A pixel's window is there for as long as its steps, at least one for each block.
        begin, window = drain.begin, drain.window
        for hop, cycles in enumerate(_hops(chain, config.blocks)):
            begin, window = delay.hold(f"window_{hop}", begin, window, cycles)
        counts = window
        for hop, cycles in enumerate(_hops(latency, config.blocks)):
            begin, counts = delay.hold(f"counts_{hop}", begin, counts, cycles)
        source = delay("source", drain.source, chain)
        ends = self._by_set(clusters)
        sums = [
            Array(members[-1].sums_o[lane] for members in ends)[source]
            for lane in range(config.drain_width)
        ]
        step_out = delay("step_out", step, latency)
        result_step = delay("result_step", step & layer.raw, result_latency(config))

        result_entry = Signal(address_width(config.result_depth))
        with m.If(sequencer.layer_start):
            m.d.sync += result_entry.eq(layer.base)
        with m.Elif(result_step):
            m.d.sync += result_entry.eq(result_entry + 1)
        results = Signal(config.memory_width("results"))
        m.d.comb += counters.result_writes.eq(result_step)
        if config.shared_results:
            m.d.comb += [
                host.result_write.eq(result_step),
                host.result_write_address.eq(result_entry),
                host.result.eq(results),
            ]
            result_read: Value = host.result_word
        else:
            m.submodules.results = memory = ChunkMemory(
                width=len(results),
                depth=config.result_depth,
                chunk_width=len(results),
                register_address=config.few_stages,
            )
            m.d.comb += [
                memory.write_address.eq(result_entry),
                memory.write_data.eq(results),
                memory.write_mask.eq(result_step),
                memory.read_address.eq(host.read_address),
            ]
            result_read = memory.read_data

        for lane in range(config.drain_width):
            requantizer = Requantizer(config)
            m.submodules[f"requantizer_{lane}"] = requantizer
            row = Signal(row_layout(config), name=f"row_{lane}")
            m.d.comb += [
                row.eq(rows.read_data[lane * entry_width :]),
                requantizer.accumulator.eq(sums[lane]),
                requantizer.multiplier.eq(row.multiplier),
                requantizer.offset.eq(row.offset),
                requantizer.shift.eq(row.shift),
                requantizer.low.eq(low),
                requantizer.high.eq(high),
                results.word_select(lane, RESULT_WIDTH).eq(requantizer.result),
            ]
            enable, cluster, place = (
                delay(f"{name}_{lane}", row[name], latency)
                for name in ("enable", "cluster", "lane")
            )
            address = Signal.like(window.address, name=f"address_{lane}")
            m.d.sync += address.eq(window.address + row.word)
            address = delay(f"address_{lane}", address, latency - 1)
            # To slices far away.
            back = Signal(write_back(config), name=f"write_back_{lane}")
            domain = "comb" if config.few_stages else "sync"
            m.d[domain] += [
                back.window.eq(counts),
                back.window.address.eq(address),
                back.lane.eq(place),
                back.value.eq(requantizer.activation),
                back.signed.eq(low < 0),
                back.nothing.eq(~requantizer.activation.any() & (low >= 0)),
            ]
            for number in range(lane, config.clusters, config.drain_width):
                valid = Signal(name=f"write_back_valid_{number}")
                m.d[domain] += valid.eq(step_out & enable & ~layer.raw & (cluster == number))
                m.d.comb += [
                    slices[number].write_back.eq(back),
                    slices[number].write_back.valid.eq(valid),
                ]
        return result_read

    def _host_reads(
        self,
        m: Module,
        host: HostPort,
        counters: Counters | NoCounters,
        results: Value,
        slices: list[ActivationSlice],
    ) -> None:
        """Host reads: all memories answer after ``ChunkMemory.latency`` cycles."""
        activations = host.read_memory == MEMORIES.index("activations")
        m.d.comb += [
            counters.read_address.eq(host.read_address),
            host.read_ready.eq(
                Mux(
                    activations,
                    Array(part.host_read_ready for part in slices)[host.read_cluster],
                    1,
                )
            ),
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
                    Array(part.read_data for part in slices)[host.read_cluster]
                )
            with m.Case(MEMORIES.index("results")):
                m.d.comb += host.read_data.eq(results)
            with m.Default():
                m.d.comb += host.read_data.eq(counters.read_data)


class _LateWrites:
    """The host's writes to memories that are always ready, two cycles later: they go far, so they
    are decoded in front of the registers. Where stages are few they are not late, and these are the
    port's own."""

    def __init__(self, m: Module, host: HostPort, free: Value) -> None:
        self.m, self.host, self.free = m, host, free
        self.address, self.data = (
            self.late(name, getattr(host, f"write_{name}"), reset_less=True)
            for name in ("address", "data")
        )

    def mask(self, memory: str, cluster: int | None = None) -> Value:
        """By chunk of its words: a write to ``memory``, of ``cluster``, in this cycle."""
        host = self.host
        valid = host.write_valid & self.free & _is(host.write_memory, memory)
        if cluster is not None:
            valid &= host.write_cluster == cluster
        chunks = host.config.memory_chunks(memory)
        return Cat(
            valid & (host.write_chunk == chunk) if chunks > 1 else valid for chunk in range(chunks)
        )

    def late(self, name: str, value: Value, *, reset_less: bool = False) -> Signal:
        stages = 0 if self.host.config.few_stages else 2
        return delayed(self.m, f"late_{name}", value, stages, reset_less=reset_less)


def _is(memory: Value, name: str) -> Value:
    return memory == MEMORIES.index(name)


class _Delay:
    """Adds registers: ``delay(name, value, cycles)``."""

    def __init__(self, m: Module) -> None:
        self.m = m

    def __call__(self, name: str, value: object, cycles: int) -> Signal:
        return delayed(self.m, name, value, cycles)

    def hold(self, name: str, begin: Signal, value: Signal, cycles: int) -> tuple[Signal, Signal]:
        """The same with one register, for a value that stays for ``cycles`` after its ``begin``."""
        for stage in range(cycles):
            if stage == cycles - 1:
                held = Signal.like(value, name=name)
                with self.m.If(begin):
                    self.m.d.sync += held.eq(value)
            begin = self(f"{name}_begin_{stage}", begin, 1)
        return begin, held


def _hops(cycles: int, longest: int) -> list[int]:
    """``cycles`` in as few parts as can be, none above ``longest``."""
    return [min(longest, cycles - start) for start in range(0, cycles, longest)]


def _sum(terms: list[Signal]) -> object:
    return sum(terms[1:], terms[0])
