"""Packet buffer: lets a command in only when all of it has arrived and is well-formed."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width, command_word
from tritforge.hw.protocol import ERROR_WIDTH, HEADER_WORDS, ErrorCode
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
    packet_valid : Out(1), packet_error : Out(4)
        A packet (or, with a nonzero ErrorCode, what is left of one) waits.
    word : Out(32)
        Current word of the packet, valid the cycle after ``packet_valid`` or ``take`` at
        the earliest, hence ``word_valid``.
    word_valid : Out(1)
    take : In(1)
        On to the next word.
    skip : In(range(packet_words + 1))
        Words to pass over when ``end`` is given.
    end : In(1)
        The packet is finished; the next one may show.
    result_write, result_write_address, result : In
        With ``shared_results``: a result to write.
    result_read, result_read_address : In
        Likewise one to read; it shows as ``word`` in the next cycle, while ``word_valid`` is low.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        result = address_width(config.result_depth)
        super().__init__(
            {
                "i": In(stream.Signature(command_word())),
                "packet_valid": Out(1),
                "packet_error": Out(ERROR_WIDTH),
                "word": Out(PORT_WIDTH),
                "word_valid": Out(1),
                "take": In(1),
                "skip": In(range(config.packet_words + 1)),
                "end": In(1),
                **(
                    {
                        "result_write": In(1),
                        "result_write_address": In(result),
                        "result": In(PORT_WIDTH),
                        "result_read": In(1),
                        "result_read_address": In(result),
                    }
                    if config.shared_results
                    else {}
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        longest = self.config.packet_words + HEADER_WORDS
        depth = buffer_words(self.config)
        shared = self.config.shared_results
        m.submodules.storage = storage = memory.Memory(
            shape=PORT_WIDTH, depth=depth + (self.config.result_depth if shared else 0), init=[]
        )
        m.submodules.packets = packets = fifo.SyncFIFO(width=2, depth=self.config.packet_places)
        write, read = storage.write_port(), storage.read_port()
        writes_result = self.result_write if shared else Const(0)
        reads_result = self.result_read if shared else Const(0)

        # Receive side. Pointers have one bit more than an address, to tell full from empty.
        received = Signal(range(2 * depth))  # next word to write
        begin = Signal.like(received)  # first word of the packet being received
        consumed = Signal.like(received)  # first word not yet taken
        left = Signal(range(longest))  # words to come, after what the packet states
        vast = Signal()  # more than there can be
        index = Signal(range(longest + 2))  # words so far; stops when there are too many
        most, beyond = Signal(), Signal()  # as many as there can be, more
        # Whether the words are as many as stated, without the word at hand or with it.
        exact, exact_with = Signal(), Signal()
        given = self.i.payload
        full = Signal()
        accept = Signal()
        excess = Signal()
        store = Signal()
        differs = Signal()
        bad = Signal()
        m.d.comb += [
            excess.eq(beyond | (most & ~given.empty)),
            self.i.ready.eq(
                given.abort | (packets.w_rdy & ~writes_result & (~full | excess | given.empty))
            ),
            accept.eq(self.i.ready & self.i.valid),
            write.addr.eq(received[:-1]),
            write.data.eq(given.data),
            store.eq(accept & ~excess & ~given.empty & ~given.abort),
            write.en.eq(store | writes_result),
        ]
        with m.If(index == 1):
            m.d.comb += differs.eq(given.empty | given.data.any())
        with m.Else():
            m.d.comb += differs.eq(vast | ~Mux(given.empty, exact, exact_with))
        m.d.comb += bad.eq(excess | (index == 0) | differs)
        with m.If(accept & ~given.empty & ~beyond):
            m.d.sync += [
                index.eq(index + 1),
                most.eq(index == longest - 1),
                beyond.eq(most),
                left.eq(left - 1),
                exact.eq(exact_with),
                exact_with.eq(left == 2),
            ]
        with m.If(store):
            m.d.sync += received.eq(received + 1)
            with m.If(index == 1):
                m.d.sync += [
                    left.eq(given.data),
                    vast.eq(given.data[len(left) :].any()),
                    exact.eq(given.data == 0),
                    exact_with.eq(given.data == 1),
                ]
        with m.If(accept & given.last):
            m.d.comb += packets.w_en.eq(~given.abort)
            m.d.sync += [index.eq(0), most.eq(0), beyond.eq(0)]
            with m.If(bad | given.abort):
                m.d.sync += received.eq(begin)
            with m.Else():
                m.d.sync += begin.eq(received + ~given.empty)
        m.d.comb += packets.w_data.eq(Cat(bad, excess))
        if self.config.few_stages:
            m.d.comb += full.eq((received ^ consumed) == depth)
        else:
            # Known a cycle ahead; a cycle too long where words are dropped.
            m.d.sync += full.eq(
                ~(self.take & ~self.end)
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
            self.packet_valid.eq(packets.r_rdy),
            self.packet_error.eq(
                Mux(
                    packets.r_data[1],
                    ErrorCode.TOO_LONG,
                    Mux(packets.r_data[0], ErrorCode.LENGTH, ErrorCode.OK),
                )
            ),
            packets.r_en.eq(self.end),
            self.word.eq(read.data),
            self.word_valid.eq(packets.r_rdy & fresh & ~packets.r_data[0]),
        ]
        with m.If(self.end):
            m.d.comb += following.eq(consumed + self.skip)
        with m.Elif(self.take):
            m.d.comb += following.eq(consumed + 1)
        # A word shows only if its packet was complete when it was read.
        m.d.sync += [consumed.eq(following), fresh.eq(packets.r_rdy & ~self.end & ~reads_result)]
        if shared:
            with m.If(writes_result):
                m.d.comb += [
                    write.addr.eq(depth + self.result_write_address),
                    write.data.eq(self.result),
                ]
            with m.If(reads_result):
                m.d.comb += read.addr.eq(depth + self.result_read_address)
        return m
