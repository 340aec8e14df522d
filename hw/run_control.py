"""Runs layers one after the other: their records, what the host signals, and how a run ends."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width, following, index_shape, pulse
from tritforge.hw.program import LAYER, LAYER_OPCODE, SYNC, SYNC_OPCODE, layer_layout, record_words
from tritforge.hw.program_fetch import Word, program_word
from tritforge.hw.protocol import ErrorCode
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["RunControl"]


class RunControl(wiring.Component):
    """One layer after the other, until there is none or the program is bad.

    ::

        LAYER -> its tiles -> wait for the drain -> dump the counters, next LAYER or end
        SYNC (in a LAYER's place) -> release -> wait for a signal -> LAYER elsewhere

    Timing: LAYER takes 8 reads, ``fetch_latency`` cycles and one more; SYNC as many, and one where
    it waits for a signal that is there. A layer settles ``settle`` cycles after the drain and the
    write-back have become idle, then the counters are written. Meanwhile the next LAYER is read,
    and its tiles begin, but for their jobs; a SYNC waits until the counters are written.

    Parameters
    ----------
    config : Config
    settle : int

    Members
    -------
    start, address, layer_count, wait_first, signal, released, take, refilling, running, finished, \
error, layers, drain_idle, layer_start, layer, dump_prepare, dump, dump_done, counter_layer
        As :class:`tritforge.hw.sequencer.Sequencer` has them.
    valid : Out(1), done : In(1)
        A LAYER record is requested, until ``done``.
    jump : Out(1), pointer : Out
        The next record is at ``pointer``.
    arrived : In(pulse of program_word)
    tiles_finished : In(1), tiles_bad : In(1)
        All jobs of the layer have been handed out, or those before a bad record.
    group_waiting : In(1), group_signal : Out(1)
        A column group wants a signal; there is one, and it is taken.
    group_release : In(1)
        A column group counts a release.
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
                "running": Out(1),
                "finished": Out(1),
                "error": Out(8),
                "layers": Out(16),
                "valid": Out(1),
                "done": In(1),
                "jump": Out(1),
                "pointer": Out(program),
                "arrived": In(pulse(program_word(config))),
                "tiles_finished": In(1),
                "tiles_bad": In(1),
                "group_waiting": In(1),
                "group_signal": Out(1),
                "group_release": In(1),
                "drain_idle": In(1),
                "layer_start": Out(1),
                "layer": Out(layer_layout(config)),
                "settled": Out(1),
                "dump_prepare": Out(1),
                "dump": Out(1),
                "dump_done": In(1),
                "counter_layer": Out(index_shape(config.layer_count)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        width = len(self.pointer)
        # A layer takes more than 8 words; layers only outnumber them where the program is refilled.
        layers_left = Signal(width - 3 if config.memory_ports == 1 else 16)
        layers = Signal.like(layers_left)
        dumping = Signal()
        settling = Signal(range(self.settle + 1))
        sync, synced = Signal(SYNC), Signal()  # the record before was a SYNC
        known = self._receive(m)
        signal, release = self._count(m)
        # The words that these depend on arrive some cycles before they are used.
        is_sync, is_layer = Signal(), Signal()
        m.d.sync += [
            is_sync.eq(layers_left.any() & (sync.opcode == SYNC_OPCODE) & ~synced),
            is_layer.eq(
                layers_left.any()
                & (layer.opcode == LAYER_OPCODE)
                & (layer.tile_count[: width - 3] != 0)
                & (layer.out_height[:width] != 0)
                & (layer.out_width[:width] != 0)
            ),
        ]
        m.d.comb += [
            sync.eq(layer.as_value()),
            self.layers.eq(layers),
            self.pointer.eq(self.address),
            self.dump.eq(dumping),
        ]
        with m.If(self.dump_done):
            m.d.sync += [
                dumping.eq(0),
                layers.eq(layers + 1),
                self.counter_layer.eq(following(self.counter_layer, config.layer_count)),
            ]

        def finish(error: object) -> None:
            m.d.comb += [self.finished.eq(1), self.error.eq(error)]
            m.d.sync += self.running.eq(0)
            m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.comb += self.jump.eq(1)
                m.d.sync += [
                    layers_left.eq(
                        Mux(self.layer_count[len(layers_left) :].any(), -1, self.layer_count)
                    ),
                    layers.eq(0),
                    self.counter_layer.eq(0),
                    self.running.eq(1),
                    synced.eq(0),
                ]
                m.next = "LAYER"
                with m.If(self.wait_first):
                    m.next = "SIGNAL"
            with m.State("SIGNAL"):
                m.d.comb += signal.wanted.eq(1)
                with m.If(signal.there):
                    m.next = "LAYER"
            with m.State("LAYER"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.done):
                    m.next = "LAYER_CHECK"
            with m.State("LAYER_CHECK"), m.If(known & (~dumping | is_layer)):
                m.d.comb += self.pointer.eq(sync.next)
                with m.If(is_sync):
                    m.d.comb += [release.eq(sync.release), self.jump.eq(1)]
                    m.d.sync += synced.eq(1)
                    m.next = "LAYER"
                    with m.If(sync.wait):
                        m.next = "SIGNAL"
                with m.Elif(~is_layer):
                    finish(Mux(layers == 0, ErrorCode.EMPTY_PROGRAM, ErrorCode.BAD_PROGRAM))
                with m.Else():
                    m.d.comb += self.layer_start.eq(1)
                    m.d.sync += synced.eq(0)
                    m.next = "TILES"
            with m.State("TILES"):
                m.d.sync += settling.eq(self.settle)
                with m.If(self.tiles_finished):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += self.dump_prepare.eq(settling == 1)
                with m.If(~self.drain_idle):
                    m.d.sync += settling.eq(self.settle)
                with m.Elif(settling.any()):
                    m.d.sync += settling.eq(settling - 1)
                with m.Elif(self.tiles_bad):
                    finish(ErrorCode.BAD_PROGRAM)
                with m.Else():
                    m.d.comb += self.settled.eq(1)
                    m.d.sync += [dumping.eq(1), layers_left.eq(layers_left - 1)]
                    m.next = "LAYER"
                    with m.If(layers_left == 1):
                        m.next = "LAST"
            with m.State("LAST"), m.If(self.dump_done):
                finish(ErrorCode.OK)
        return m

    def _receive(self, m: Module) -> Signal:
        """Keeps the record; returns whether all of it is there."""
        tag = self.arrived.payload.tag
        known = Signal()
        with m.If(self.valid):
            m.d.sync += known.eq(0)
        for index in range(record_words(LAYER)):
            with m.If(self.arrived.valid & (tag.kind == Word.LAYER) & (tag.index == index)):
                m.d.sync += [
                    self.layer.as_value()
                    .word_select(index, PORT_WIDTH)
                    .eq(self.arrived.payload.data),
                    known.eq(index == record_words(LAYER) - 1),
                ]
        return known

    def _count(self, m: Module) -> "tuple[_Wanted, Signal]":
        """Signals and releases; returns who takes the former, and what counts the latter."""
        # Few where a program that is refilled meanwhile is not possible.
        signals, releases = (
            Signal(4 if self.config.memory_ports == 1 else 16, name=name)
            for name in ("signals", "releases")
        )
        wanted, release = _Wanted(Signal(name="wanted"), Signal(name="there")), Signal()
        any_wanted = Signal()
        m.d.comb += [
            any_wanted.eq(wanted.wanted | self.group_waiting),
            wanted.there.eq(signals.any()),
            self.group_signal.eq(wanted.there),
            self.refilling.eq(any_wanted & ~wanted.there),
            self.released.eq(releases.any()),
        ]
        with m.If(self.start):
            m.d.sync += [signals.eq(0), releases.eq(0)]
        with m.Else():
            taken = any_wanted & wanted.there
            m.d.sync += [
                signals.eq(signals + self.signal - taken),
                releases.eq(
                    releases + (release | self.group_release) - (self.take & self.released)
                ),
            ]
        return wanted, release


@dataclass(frozen=True)
class _Wanted:
    """A signal."""

    wanted: Signal
    there: Signal
