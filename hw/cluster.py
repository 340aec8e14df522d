"""Cluster: walker, zero skip, scaler, trits and elements for one slice of the channels."""

from contextlib import nullcontext
from typing import Any

from amaranth.hdl import Array, Module, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from tritforge.hw.config import Config
from tritforge.hw.delay import delayed
from tritforge.hw.hierarchy import repeated
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import (
    address_width,
    broadcast,
    drain_command,
    event_layout,
    tag_width,
    trit_word,
    walk_job,
)
from tritforge.hw.processing_element import ProcessingElement
from tritforge.hw.scaler import Scaler
from tritforge.hw.timing import BROADCAST_LATENCY, sums_latency
from tritforge.hw.walker import Walker
from tritforge.hw.widths import PORT_WIDTH
from tritforge.hw.zero_skip import ZeroSkip

__all__ = ["Cluster"]


class Cluster(wiring.Component):
    """One slice of the input channels, for all rows of a tile.

    ::

        jobs -> walker -> zero skip -+-> scaler ------+-> register -> P elements -> one per lane
                  |                  +-> trit memory -+                               |
            activation slice                               partial sums in -> + -> partial sums out

    Every nonzero activation x of a job is multiplied by Wp and -Wn and broadcast together with
    the trits of its column. When the clusters have finished a pixel, a drain command travels
    from cluster to cluster and each adds its accumulators to the partial sums that pass.

    Timing: zero skip to element queue ``BROADCAST_LATENCY`` cycles; one broadcast per cycle. Drain
    command and partial sums: ``command_o`` is ``command_i`` one cycle later; ``sums_o`` belongs to
    the command of ``sums_latency`` cycles ago, so ``sums_i`` must arrive a cycle less after its
    command.

    Cost: two weight multipliers; P elements; trit memory ``trit_depth`` x 2PR bits.

    Parameters
    ----------
    config : Config

    Members
    -------
    jobs : In(stream of walk_job)
    idle : Out(1)
        All jobs have been read and broadcast (of the cycle before; a job shows two cycles later).
    begun : In(1)
        The drain begins a pixel: the next one is awaited.
    awaited_complete : Out(1)
        Every element has finished the awaited pixel, whose tag's lowest bit is ``parity``.
    parity : Out(1)
    draining : In(1)
        The oldest pixel is complete in all clusters (names the stall).
    command_i, command_o, sums_i, sums_o
        Drain command and partial sums, from and to the neighbours.
    read_valid, read_ready, read_address, read_data
        The walker's requests to the activation slice.
    trit_write_mask, trit_write_address : In
        Host: 32 bits of ``host_data`` for a chunk of the trit memory; always taken.
    host_data : In(32)
    events : Out(event_layout)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        activation = address_width(config.activation_depth)
        trit = address_width(config.trit_depth)
        super().__init__(
            {
                "jobs": In(stream.Signature(walk_job(config))),
                "idle": Out(1),
                "begun": In(1),
                "awaited_complete": Out(1),
                "parity": Out(1),
                "draining": In(1),
                "command_i": In(drain_command(config)),
                "command_o": Out(drain_command(config)),
                "sums_i": In(signed(config.accumulator_width)).array(config.drain_width),
                "sums_o": Out(signed(config.accumulator_width)).array(config.drain_width),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_address": Out(activation),
                "read_data": In(config.memory_width("activations")),
                "host_data": In(PORT_WIDTH),
                "trit_write_mask": In(config.memory_chunks("trits")),
                "trit_write_address": In(trit),
                "events": Out(event_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.walker = walker = Walker(config)
        m.submodules.zero_skip = zero_skip = ZeroSkip(config)
        connect(m, walker=walker.o, zero_skip=zero_skip.i)
        m.d.comb += [
            walker.i.payload.eq(self.jobs.payload),
            walker.i.valid.eq(self.jobs.valid),
            self.jobs.ready.eq(walker.i.ready),
        ]
        m.d.comb += [
            self.read_valid.eq(walker.read_valid),
            self.read_address.eq(walker.read_address),
            walker.read_ready.eq(self.read_ready),
            walker.read_data.eq(self.read_data),
        ]

        m.d.sync += self.idle.eq(walker.idle & zero_skip.idle & ~self.jobs.valid)

        # The oldest undrained pixel, moved on by the drain command that frees its bank, and the one
        # that the drain begins next: it learns of that while the other is on its way out.
        oldest, awaited = Signal(tag_width(config)), Signal(tag_width(config))
        command = Signal(drain_command(config))
        m.d.sync += [
            command.eq(self.command_i),
            oldest.eq(oldest + command.last),
            awaited.eq(awaited + self.begun),
        ]
        m.d.comb += self.command_o.eq(command)
        m.d.comb += [
            zero_skip.oldest.eq(oldest),
            zero_skip.advance.eq(command.last),
            zero_skip.draining.eq(self.draining),
        ]

        entry, valid, trits = self._broadcast(m, zero_skip)

        full, busy, added, pushed = (
            Signal(config.elements, name=name) for name in ("full", "busy", "added", "pushed")
        )
        values = []
        for index in range(config.elements):
            element = repeated(platform, "processing_element", lambda: ProcessingElement(config))
            m.submodules[f"element_{index}"] = element
            m.d.comb += [
                element.valid.eq(valid),
                element.trits.eq(trits.word_select(index, 2 * config.rows)),
                element.i.eq(entry),
                element.awaited.eq(awaited),
                element.take.eq(command.take),
                element.drain_row.eq(command.row),
                element.drain_bank.eq(oldest),
                full[index].eq(element.full),
                busy[index].eq(element.busy),
                added[index].eq(element.added),
                pushed[index].eq(element.pushed),
            ]
            values.append(element.value)
        # ``busy`` is of the cycle before, so the tags that it is compared with are too.
        passed, parity = Signal(), Signal()
        m.d.sync += [
            zero_skip.stop.eq(full.any()),
            passed.eq(entry.tag != awaited),
            parity.eq(awaited[0]),
            self.awaited_complete.eq(passed & ~busy.any()),
            self.parity.eq(parity),
        ]

        # Partial sums: element b*W + l stands in block b, lane l.
        block = Signal.like(command.block)
        m.d.sync += block.eq(command.block)
        stages = sums_latency(config) - 3
        # Whether what each stage of values, and then the sums, would take is a step's.
        steps = (
            [delayed(m, f"step_{stage}", command.step, 1 + stage) for stage in range(stages + 1)]
            if config.gate_clocks
            else []
        )
        for lane in range(config.drain_width):
            value = delayed(
                m,
                f"value_{lane}",
                Array(values[lane :: config.drain_width])[block],
                stages,
                steps[:-1],
                reset_less=True,
            )
            with m.If(steps[-1]) if steps else nullcontext():
                m.d.sync += self.sums_o[lane].eq(self.sums_i[lane] + value)

        m.d.sync += [
            self.events.broadcasts.eq(zero_skip.valid),
            self.events.skipped_activations.eq(zero_skip.skipped),
            self.events.activation_reads.eq(walker.read_valid & walker.read_ready),
            self.events.queue_writes.eq(_count(pushed)),
            self.events.adds.eq(_count(added)),
            self.events.empty_scans.eq(zero_skip.empty_scan),
            self.events.stall_queue_full.eq(zero_skip.stall_queue_full),
            self.events.stall_imbalance.eq(zero_skip.stall_imbalance),
            self.events.stall_drain.eq(zero_skip.stall_drain),
        ]
        return m

    def _broadcast(self, m: Module, zero_skip: ZeroSkip) -> tuple[Any, Signal, Signal]:
        """Register, trit memory beside scaler (2 cycles), register: what the elements see.

        Where stages are few there is a second register in front, where there is less to register,
        in the last one's place.
        """
        config = self.config
        m.submodules.scaler = scaler = Scaler(config)
        m.submodules.trit_memory = trits = ChunkMemory(
            width=config.memory_width("trits"),
            depth=config.trit_depth,
            chunk_width=PORT_WIDTH,
            single_port=config.memory_ports == 1,
            register_address=config.few_stages or config.gate_clocks,
        )
        assert scaler.latency == trits.latency
        before = 2 if config.few_stages else 1
        m.d.comb += [
            scaler.activation.eq(
                delayed(m, "activation", zero_skip.activation, before, reset_less=True)
            ),
            trits.read_address.eq(delayed(m, "column", zero_skip.column, before, reset_less=True)),
        ]
        if not config.job_places:  # the job's coefficients are still there
            job = self.jobs.payload
            coefficients = [job.signed, job.plus, job.minus]
        else:
            coefficients = [
                delayed(m, f"coefficient_{index}", value, before, reset_less=True)
                for index, value in enumerate(
                    (zero_skip.is_signed, zero_skip.plus, zero_skip.minus)
                )
            ]
        m.d.comb += [
            port.eq(value)
            for port, value in zip(
                (scaler.is_signed, scaler.coefficient_plus, scaler.coefficient_minus),
                coefficients,
                strict=True,
            )
        ]
        # The host's writes reach many block RAMs from a register, unless stages are few.
        chunks = trits.chunks
        stages = 0 if config.few_stages else 1
        write_address, write_mask, write_data = (
            delayed(m, f"write_{name}", value, stages, reset_less=name != "mask")
            for name, value in (
                ("address", self.trit_write_address),
                ("mask", self.trit_write_mask),
                ("data", self.host_data),
            )
        )
        m.d.comb += [
            trits.write_address.eq(write_address),
            trits.write_mask.eq(write_mask),
            trits.write_data.eq(
                write_data.replicate(chunks) if trits.chunk_width == PORT_WIDTH else write_data
            ),
        ]
        latency = BROADCAST_LATENCY
        entry = Signal(broadcast(config))
        m.d.comb += entry.tag.eq(delayed(m, "tag", zero_skip.tag, latency))
        if not config.skip_zero_weights:
            m.d.comb += entry.rows_used.eq(
                delayed(m, "rows_used", zero_skip.rows_used, latency, reset_less=True)
            )
        if config.multipliers:
            m.d.comb += [
                entry.wide.eq(delayed(m, "wide", zero_skip.wide, latency, reset_less=True)),
                entry.quarter.eq(
                    delayed(m, "quarter", zero_skip.quarter, latency, reset_less=True)
                ),
            ]
        after = latency - before - scaler.latency
        arrives = (
            [
                delayed(m, f"arrives_{stage}", zero_skip.valid, before + scaler.latency + stage)
                for stage in range(after)
            ]
            if config.gate_clocks
            else ()
        )
        m.d.comb += [
            entry.plus.eq(delayed(m, "plus", scaler.plus, after, arrives, reset_less=True)),
            entry.minus.eq(delayed(m, "minus", scaler.minus, after, arrives, reset_less=True)),
        ]
        entry_valid = delayed(m, "valid", zero_skip.valid, latency)
        entry_trits = delayed(m, "trits", trits.read_data, after, arrives, reset_less=True)
        assert trit_word(config).size == 2 * config.rows
        return entry, entry_valid, entry_trits


def _count(bits: Signal) -> Value:
    """Number of ones."""
    return sum((bits[index] for index in range(1, len(bits))), bits[0])
