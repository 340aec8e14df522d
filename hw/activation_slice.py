"""Activation slice: the memory of one slice of the channels, and all who use it."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.merge import Merge
from tritforge.hw.payloads import address_width, following, index_shape, write_back
from tritforge.hw.widths import ACTIVATION_WIDTH, PORT_WIDTH

__all__ = ["ActivationSlice"]


class ActivationSlice(wiring.Component):
    """Activation memory of one slice, shared by that slice's walkers of all sets.

    ::

        write-backs -> merge -+-> memory <-+- walkers, in turn
                      host ---+            +- merge, before the walkers; host, after them

    The read port serves the merge, then one walker, then the host; the walkers take turns: the one
    after the last served comes first. The read port is kept for a merge that has to wait. The write
    port serves the merge, then the host. If it is the same port, writes come first, and the host
    writes only while nothing else reads or writes.

    Timing: data stand ``ChunkMemory.latency`` cycles after a request that was ``ready``.

    Cost: activation memory ``activation_depth`` x 8S bits.

    Parameters
    ----------
    config : Config

    Members
    -------
    restart : In(1)
        The first walker's turn comes next.
    read_valid, read_ready, read_address : arrays of ``sets``
        Requests of the walkers.
    read_data : Out
        Data of the request of two cycles ago, whoever made it.
    write_back : In(write_back)
        Requantized activations.
    step_x, step_y : In
        Words between pooled pixels.
    add, stored_signed : In(1)
        With ``write_back_sums``: the layer adds to what is there, which is signed.
    full, idle : Out(1)
        Of the write-back.
    host_data : In(32)
    host_write_valid, host_write_ready, host_write_address, host_write_chunk
        Host: 32 bits of ``host_data`` to write.
    host_read_ready : Out(1), host_read_address : In
        Host: the memory is read at this address wherever ``host_read_ready``.
    merge_read, written : Out(1)
        Events for the counters.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        address = address_width(config.activation_depth)
        super().__init__(
            {
                "restart": In(1),
                "read_valid": In(1).array(config.sets),
                "read_ready": Out(1).array(config.sets),
                "read_address": In(address).array(config.sets),
                "read_data": Out(config.memory_width("activations")),
                "write_back": In(write_back(config)),
                "step_x": In(address),
                "step_y": In(address),
                **({"add": In(1), "stored_signed": In(1)} if config.write_back_sums else {}),
                "full": Out(1),
                "idle": Out(1),
                "host_data": In(PORT_WIDTH),
                "host_write_valid": In(1),
                "host_write_ready": Out(1),
                "host_write_address": In(address),
                "host_write_chunk": In(index_shape(config.memory_chunks("activations"))),
                "host_read_ready": Out(1),
                "host_read_address": In(address),
                "merge_read": Out(1),
                "written": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.memory = memory = ChunkMemory(
            width=config.memory_width("activations"),
            depth=config.activation_depth,
            chunk_width=ACTIVATION_WIDTH,
            single_port=config.memory_ports == 1,
        )
        m.submodules.merge = merge = Merge(config)
        m.d.comb += [
            merge.i.eq(self.write_back),
            merge.step_x.eq(self.step_x),
            merge.step_y.eq(self.step_y),
            merge.read_data.eq(memory.read_data),
            self.full.eq(merge.full),
            self.idle.eq(merge.idle),
            self.read_data.eq(memory.read_data),
        ]

        if config.write_back_sums:
            m.d.comb += [merge.add.eq(self.add), merge.stored_signed.eq(self.stored_signed)]

        # Neither a merge is to read, now or when it need not wait, nor its write has the only port.
        free = merge.spares_read
        if config.memory_ports == 1:
            free &= ~merge.writing
        # ``turn`` is the walker that comes first; of those that ask, the next in turn is served.
        turn = Signal(index_shape(config.sets))
        chosen = Signal(index_shape(config.sets))
        asking = Cat(self.read_valid)
        for distance in reversed(range(config.sets)):
            for first in range(config.sets):
                index = (first + distance) % config.sets
                with m.If((turn == first) & self.read_valid[index]):
                    m.d.comb += chosen.eq(index)
        for index in range(config.sets):
            m.d.comb += self.read_ready[index].eq(free & (chosen == index))
        with m.If(self.restart):
            m.d.sync += turn.eq(0)
        with m.Elif(asking.any() & free):
            m.d.sync += turn.eq(following(chosen, config.sets))
        m.d.comb += [
            self.host_read_ready.eq(
                free & ~asking.any() & ~(self.host_write_valid if config.memory_ports == 1 else 0)
            ),
            memory.read_address.eq(
                Mux(
                    merge.wants_read,
                    merge.read_address,
                    Mux(asking.any(), Array(self.read_address)[chosen], self.host_read_address),
                )
            ),
        ]

        per_chunk = PORT_WIDTH // ACTIVATION_WIDTH
        lanes = range(config.scan_width)
        host_mask = Cat(self.host_write_chunk == lane // per_chunk for lane in lanes)
        host_data = Cat(
            self.host_data.word_select(lane % per_chunk, ACTIVATION_WIDTH) for lane in lanes
        )
        m.d.comb += self.host_write_ready.eq(1 if config.memory_ports == 1 else ~merge.writing)
        with m.If(merge.writing):
            m.d.comb += [
                memory.write_address.eq(merge.write_address),
                memory.write_mask.eq(merge.write_mask),
                memory.write_data.eq(merge.write_data),
            ]
        with m.Else():
            m.d.comb += [
                memory.write_address.eq(self.host_write_address),
                memory.write_mask.eq(Mux(self.host_write_valid, host_mask, 0)),
                memory.write_data.eq(host_data),
            ]
        m.d.sync += [
            self.merge_read.eq(merge.read_valid),
            self.written.eq(merge.writing),
        ]
        return m
