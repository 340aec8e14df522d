"""Counters: sums the events of a layer and keeps them, layer by layer, for the host."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Member, Out

from tritforge.hw.config import Config
from tritforge.hw.lookup_memory import LookupMemory
from tritforge.hw.payloads import EVENTS, event_layout, index_shape
from tritforge.hw.program import COUNTERS
from tritforge.hw.timing import COUNTERS_SETTLE
from tritforge.hw.widths import COUNTER_SLOTS

__all__ = ["Counters", "NoCounters"]

#: Events counted outside the clusters.
CENTRAL_EVENTS = (
    "drain_steps",
    "stall_write_back",
    "merge_reads",
    "write_backs",
    "result_writes",
    "stall_refill",
)


class Counters(wiring.Component):
    """Adds events up while a layer runs; ``dump`` writes the sums to memory and clears them.

    Every counter gathers the events of ``COUNTER_SLOTS`` cycles in a few bits. Then it is its turn
    to be added to its sum, so all sums share one adder and stand in one memory.

    Timing: a dump takes ``COUNTER_SLOTS`` cycles, one counter each in the order of
    :data:`tritforge.hw.program.COUNTERS`; an event of cycle t is in a dump that begins in cycle
    t+3. ``cycles`` comes last and includes its own. Events count from ``COUNTER_SLOTS`` cycles
    after a reset on. The host's read data stand two cycles after the address.

    Parameters
    ----------
    config : Config

    Members
    -------
    events : In(event_layout).array(cluster_count)
    drain_steps, stall_write_back, merge_reads, write_backs, result_writes : In
        Events of the drain and of write-back.
    stall_refill : In(1)
        The program waits for the host.
    run : In(1)
        A program runs: ``cycles`` counts.
    prepare : In(1)
        High in the cycle before a dump, which need not follow.
    dump : In(1), done : Out(1)
        Held during the dump; ``done`` in its last cycle.
    layer : In
        Number of the layer in the run: where the dump goes.
    read_address : In, read_data : Out(32)
    """

    #: Cycles after the last event before a dump may begin.
    settle = COUNTERS_SETTLE

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.storage = storage = memory.Memory(
            shape=32, depth=config.memory_depth("counters"), init=[]
        )
        write, read = storage.write_port(), storage.read_port()
        output = Signal(32)
        m.d.sync += output.eq(read.data)
        m.d.comb += [read.addr.eq(self.read_address), self.read_data.eq(output)]

        # Whose turn it is; a dump begins with the first.
        turn = Signal(range(COUNTER_SLOTS))
        following = Signal.like(turn)
        last = Signal()  # turn of the last one
        cleared = Signal()  # the memory, which keeps its contents in a reset
        m.d.comb += [
            following.eq(Mux(self.prepare, 0, turn + 1)),
            self.done.eq(self.dump & last),
        ]
        m.d.sync += [
            turn.eq(following),
            last.eq(following == COUNTER_SLOTS - 1),
            cleared.eq(cleared | last),
        ]
        assert 1 << len(turn) == COUNTER_SLOTS

        gathered: list[Value] = []
        for number, name in enumerate(COUNTERS):
            if name == "cycles":
                cycles = Signal(32)
                m.d.sync += cycles.eq(Mux(self.done | ~self.run, 0, cycles + 1))
                gathered.append(Const(0))
                continue
            if name in EVENTS:
                layout = event_layout(config, config.cluster_count)
                step = Signal(layout[name].shape, name=f"step_{name}")
                counts = [events[name] for events in self.events]
                m.d.sync += step.eq(sum(counts[1:], counts[0]))
            else:
                step = Signal.like(getattr(self, name), name=f"step_{name}")
                m.d.sync += step.eq(getattr(self, name))
            most = (1 << len(step)) - 1
            # A dump that begins delays the last turn by as many cycles again.
            part = Signal(range(2 * COUNTER_SLOTS * most), name=f"gathered_{name}")
            m.d.sync += part.eq(Mux(following == number, 0, part) + step)
            gathered.append(part)
        # What has been gathered before a counter's turn; what comes later stays for the next one.
        chosen = Signal(max(len(part) for part in gathered))
        m.d.sync += chosen.eq(Array(gathered)[following])
        m.submodules.sums = sums = LookupMemory(width=32, depth=COUNTER_SLOTS)
        total = Signal(32)
        m.d.comb += [
            total.eq(sums.read_data + chosen),
            sums.read_address.eq(turn),
            sums.write_address.eq(turn),
            sums.write_enable.eq(1),
            sums.write_data.eq(Mux(self.dump | ~cleared, 0, total)),
            write.addr.eq(Cat(turn, self.layer)),
            write.data.eq(Mux(last, cycles + 1, total)),
            write.en.eq(self.dump),
        ]
        return m


class NoCounters(wiring.Component):
    """In the place of :class:`Counters`, to save what they cost: a dump takes as long, and what is
    read is zero.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        super().__init__(_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index = Signal(range(COUNTER_SLOTS))
        m.d.comb += self.done.eq(self.dump & (index == COUNTER_SLOTS - 1))
        with m.If(self.dump):
            m.d.sync += index.eq(index + 1)
        return m


def _signature(config: Config) -> dict[str, Member]:
    clusters = range(config.clusters + 1)
    return {
        "events": In(event_layout(config)).array(config.cluster_count),
        "drain_steps": In(1),
        "stall_write_back": In(1),
        "merge_reads": In(clusters),
        "write_backs": In(clusters),
        "result_writes": In(1),
        "stall_refill": In(1),
        "run": In(1),
        "prepare": In(1),
        "dump": In(1),
        "done": Out(1),
        "layer": In(index_shape(config.layer_count)),
        "read_address": In(index_shape(config.memory_depth("counters"))),
        "read_data": Out(32),
    }
