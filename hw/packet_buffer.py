"""Packet buffer: lets a command in only when all of it has arrived and is well-formed."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.length_check import LengthCheck
from tritforge.hw.payloads import address_width, command_word, pulse, result_write
from tritforge.hw.protocol import ERROR_WIDTH, ErrorCode
from tritforge.hw.timing import buffer_words
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["PacketBuffer"]


class PacketBuffer(wiring.Component):
    """Collects the words of a packet up to ``last`` and passes on whole packets.

    A packet whose words differ from its stated length, or that is longer than
    ``packet_words``, is dropped; an error takes its place in the order of packets.

    A sender may take back what it has sent of a packet, with ``abort``, or end it after its last
    word, with ``empty``.

    Timing: a word per cycle on both sides; the buffer holds two packets of the greatest length,
    so that one can arrive while the other is carried out.

    Cost: one memory of 32 bits by at least twice ``packet_words``.

    With ``shared_results`` the result memory is the rest of the same memory: a result that is
    written or read there goes before the packets' words.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of command_word)
        ``ready`` depends on the payload: there is always room for ``abort``.
    packets : Out(stream of ErrorCode)
        A packet (or, with a nonzero ErrorCode, what is left of one) waits. ``ready`` says that it
        is finished, so that the next one may show; it is given with ``valid`` only.
    words : Out(stream of 32 bits)
        Current word of the packet, valid the cycle after ``packets`` or the last ``ready`` at the
        earliest. ``ready`` is given with ``valid`` only.
    skip : In(range(packet_words + 1))
        Words to pass over when the packet is finished.
    result_writes : In(pulse of result_write)
        With ``shared_results``: results to write.
    result_reads : In(pulse of address)
        Likewise results to read; one shows as ``words.payload`` in the next cycle, while
        ``words.valid`` is low.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        result = unsigned(address_width(config.result_depth))
        super().__init__(
            {
                "i": In(stream.Signature(command_word())),
                "packets": Out(stream.Signature(unsigned(ERROR_WIDTH))),
                "words": Out(stream.Signature(unsigned(PORT_WIDTH))),
                "skip": In(range(config.packet_words + 1)),
                **(
                    {
                        "result_writes": In(pulse(result_write(config))),
                        "result_reads": In(pulse(result)),
                    }
                    if config.shared_results
                    else {}
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = buffer_words(self.config)
        shared = self.config.shared_results
        m.submodules.storage = storage = memory.Memory(
            shape=PORT_WIDTH, depth=depth + (self.config.result_depth if shared else 0), init=[]
        )
        m.submodules.packets = packets = fifo.SyncFIFO(width=2, depth=self.config.packet_places)
        m.submodules.length = length = LengthCheck(self.config)
        write, read = storage.write_port(), storage.read_port()
        writes_result = self.result_writes.valid if shared else Const(0)
        reads_result = self.result_reads.valid if shared else Const(0)
        take, end = self.words.ready, self.packets.ready

        # Receive side. Pointers have one bit more than an address, to tell full from empty.
        received = Signal(range(2 * depth))  # next word to write
        begin = Signal.like(received)  # first word of the packet being received
        consumed = Signal.like(received)  # first word not yet taken
        given = self.i.payload
        full = Signal()
        accept = Signal()
        store = Signal()
        m.d.comb += [
            length.word.eq(given),
            length.accept.eq(accept),
            length.store.eq(store),
            self.i.ready.eq(
                given.abort
                | (packets.w_rdy & ~writes_result & (~full | length.excess | given.empty))
            ),
            accept.eq(self.i.ready & self.i.valid),
            write.addr.eq(received[:-1]),
            write.data.eq(given.data),
            store.eq(accept & ~length.excess & ~given.empty & ~given.abort),
            write.en.eq(store | writes_result),
        ]
        with m.If(store):
            m.d.sync += received.eq(received + 1)
        with m.If(accept & given.last):
            m.d.comb += packets.w_en.eq(~given.abort)
            with m.If(length.bad | given.abort):
                m.d.sync += received.eq(begin)
            with m.Else():
                m.d.sync += begin.eq(received + ~given.empty)
        m.d.comb += packets.w_data.eq(Cat(length.bad, length.excess))
        if self.config.few_stages:
            m.d.comb += full.eq((received ^ consumed) == depth)
        else:
            # Known a cycle ahead; a cycle too long where words are dropped.
            m.d.sync += full.eq(
                ~(take & ~end)
                & Mux(
                    store,
                    ((received + 1)[: len(received)] ^ consumed) == depth,
                    (received ^ consumed) == depth,
                )
            )

        # Carry-out side.
        following = Signal.like(consumed)
        fresh = Signal()  # the read data belong to ``consumed``
        m.d.comb += [
            following.eq(consumed),
            read.addr.eq(following[:-1]),
            self.packets.valid.eq(packets.r_rdy),
            self.packets.payload.eq(
                Mux(
                    packets.r_data[1],
                    ErrorCode.TOO_LONG,
                    Mux(packets.r_data[0], ErrorCode.LENGTH, ErrorCode.OK),
                )
            ),
            packets.r_en.eq(end),
            self.words.payload.eq(read.data),
            self.words.valid.eq(packets.r_rdy & fresh & ~packets.r_data[0]),
        ]
        with m.If(end):
            m.d.comb += following.eq(consumed + self.skip)
        with m.Elif(take):
            m.d.comb += following.eq(consumed + 1)
        # A word shows only if its packet was complete when it was read.
        m.d.sync += [consumed.eq(following), fresh.eq(packets.r_rdy & ~end & ~reads_result)]
        if shared:
            result = self.result_writes.payload
            with m.If(writes_result):
                m.d.comb += [write.addr.eq(depth + result.address), write.data.eq(result.data)]
            with m.If(reads_result):
                m.d.comb += read.addr.eq(depth + self.result_reads.payload)
        return m
