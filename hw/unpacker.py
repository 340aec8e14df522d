"""Unpacker: packed trits from the port become chunks of trit-memory words."""

from dataclasses import dataclass
from typing import Self

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width, index_shape, port_word
from tritforge.hw.timing import UNPACKER_LATENCY
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["Unpacker", "can_unpack", "trit_chunk", "unpack_job"]

#: Trits of a group; each has a bit in both halves of a 32-bit chunk.
GROUP = PORT_WIDTH // 2


def can_unpack(config: Config) -> bool:
    """Whether there is an unpacker for a configuration: it is wanted, and R is a power of two."""
    return config.unpack_trits and config.rows & (config.rows - 1) == 0


def unpack_job(config: Config) -> data.StructLayout:
    """Columns that one stretch of packed words holds."""
    return data.StructLayout(
        {
            "address": unsigned(address_width(config.trit_depth)),  # first column
            "count": range(config.trit_depth + 1),  # columns, at least 1
            "rows_used": range(config.rows + 1),  # rows coded, at least 1
        }
    )


def trit_chunk(config: Config) -> data.StructLayout:
    """32 bits of a word of the trit memory."""
    return data.StructLayout(
        {
            "address": unsigned(address_width(config.trit_depth)),
            "chunk": index_shape(config.memory_chunks("trits")),
            "data": unsigned(PORT_WIDTH),
        }
    )


@dataclass(frozen=True)
class _Decoder:
    """First stage: the next group's mask and the held one's signs at ``position``."""

    job: data.View  #: columns left
    busy: Signal  #: decoding
    flush: Signal  #: dropping surplus words
    move: Signal  #: the pipeline moves
    step: Signal  #: and takes a group
    words: list[Signal]
    have: Signal  #: words that are there; others are zero
    ended: Signal  #: the job's last word was taken
    position: Signal
    window: Signal
    index: Signal  #: group of the next mask
    last_group: Signal  #: of a column
    tail: Signal  #: all masks were read
    width: Signal  #: of the next mask
    held: data.View  #: what is known of the group whose signs come next
    end: Signal  #: where the next mask and these signs end
    job_done: Signal

    @classmethod
    def create(cls, config: Config) -> Self:
        """The signals."""
        job = Signal(unpack_job(config))
        busy, flush = Signal(), Signal()
        move, step = Signal(), Signal()
        words = [Signal(PORT_WIDTH, name=name) for name in ("current", "following", "spare")]
        have = Signal(range(len(words) + 1))
        index = Signal(index_shape(_groups(config)))
        last_group, tail = Signal(), Signal()
        held = Signal(
            data.StructLayout(
                {
                    "mask": GROUP,
                    "ones": range(GROUP + 1),
                    "address": len(job.address),
                    "index": len(index),
                    "valid": 1,
                }
            )
        )
        return cls(
            job=job,
            busy=busy,
            flush=flush,
            move=move,
            step=step,
            words=words,
            have=have,
            ended=Signal(name="ended"),
            position=Signal(range(PORT_WIDTH), name="position"),
            window=Signal(PORT_WIDTH, name="window"),
            index=index,
            last_group=last_group,
            tail=tail,
            width=Signal(range(GROUP + 1), name="width"),
            held=held,
            end=Signal(range(2 * PORT_WIDTH), name="end"),
            job_done=Signal(name="job_done"),
        )


class Unpacker(wiring.Component):
    """Decodes what :func:`tritforge.model_export.image.packing.pack_columns` makes.

    A group of up to 16 trits is a mask, a bit per trit, and a sign for every 1 of the mask; the
    mask of the next group stands before the signs, so its ones are counted a cycle ahead. With
    E = 16 / R elements to a group, mask bit e*rows_used + a is row a of element e, and becomes bit
    2R*e + a of a chunk; the sign that belongs to it becomes bit 2R*e + R + a. With R = 32 an
    element is two groups (rows below 16, the others) and two chunks (nonzero, negative).

    ::

                 i -> spare -> following -> current        words
                                     v         v
                                [funnel shift by position] -> mask of group n+1 -> ones
                                              v
        position += mask bits + ones     signs of group n
        of the mask before                    v
        o <- [rows to their places] <- [signs to their places] <- mask of group n

    Timing: a group and a chunk per cycle, whatever the density: the pace in chunks of a plain
    write, with fewer words. A group takes ``rows_used * E`` bits and one for each nonzero trit, so
    a word is taken every 2 / (1 + density) cycles on average where all rows are in use, and every
    cycle where no trit is zero. Decoding starts when two words (or the last one) have been taken;
    the first chunk stands on ``o`` 6 cycles after the job where words wait (one less if there is
    one word, one more with R = 32). Between the last chunk of a job and the first of the next one
    are 4 cycles, 3 if that takes one word. Waits where ``i`` has no word or ``o`` is not ready.

    Cost: three 32-bit words, a funnel shifter of 32 bits, 16 selections among up to 16 signs with
    their prefix sums; for R < 16 selections that put rows in their places. No memory. On an ECP5:
    1 200 LUTs, 260 flip-flops, 82 MHz (P = R = 16).

    Parameters
    ----------
    config : Config
        R must be a power of two and ``unpack_trits`` set; ``ValueError`` otherwise.

    Members
    -------
    jobs : In(stream of unpack_job)
        Taken when the one before is decoded.
    i : In(stream of port_word)
        Packed words of the job, ``last`` with its last one; none is taken without a job.
    o : Out(stream of trit_chunk)
        Every chunk of every column, in order.
    idle : Out(1)
        No job, nothing on its way to ``o``.
    fault : Out(1)
        For one cycle at the end of a job: it had fewer or more words than its columns
        take. Columns whose bits are missing have been filled with zeros; surplus words are dropped.
    """

    #: Cycles from the decoding of a group's signs to its chunk on ``o``.
    latency = UNPACKER_LATENCY

    def __init__(self, config: Config) -> None:
        if not can_unpack(config):
            raise ValueError(
                f"packed trits can be unpacked where rows is a power of two and "
                f"unpack_trits is set; they are {config.rows} and "
                f"{config.unpack_trits}"
            )
        self.config = config
        super().__init__(
            {
                "jobs": In(stream.Signature(unpack_job(config))),
                "i": In(stream.Signature(port_word())),
                "o": Out(stream.Signature(trit_chunk(config))),
                "idle": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        decoder = _Decoder.create(self.config)
        self._read_groups(m, decoder)
        taken = self._take_words(m, decoder)
        self._bound_jobs(m, decoder, taken)

        # Second stage: signs to their places.
        valid, group = self._take_group(m, decoder)
        negative = Signal(GROUP)
        m.d.comb += [
            negative[bit].eq(
                group.mask[bit] & group.signs[: bit + 1].bit_select(_ones(group.mask[:bit]), 1)
            )
            for bit in range(GROUP)
        ]

        # Third stage: rows to their places.
        pending = Signal()  # an element's second chunk waits
        m.d.comb += [
            decoder.move.eq(~self.o.valid | self.o.ready),
            self.idle.eq(~decoder.busy & ~decoder.flush & ~valid & ~self.o.valid & ~pending),
        ]
        with m.If(decoder.move):
            if _halves(self.config) == 1:
                self._one_chunk(m, group, valid, negative)
            else:
                self._two_chunks(m, group, valid, negative, pending)
        return m

    def _read_groups(self, m: Module, decoder: _Decoder) -> None:
        """Reads a mask and moves on, by its width and by the signs of the mask before."""
        job, held, index, width = decoder.job, decoder.held, decoder.index, decoder.width
        mask = Signal(GROUP)
        m.d.comb += [
            decoder.window.eq(Cat(decoder.words[0], decoder.words[1]) >> decoder.position),
            decoder.last_group.eq(index == _groups(self.config) - 1),
            width.eq(Mux(decoder.tail, 0, self._width(job.rows_used, index, decoder.last_group))),
            mask.eq(decoder.window[:GROUP] & Cat(width > bit for bit in range(GROUP))),
            decoder.end.eq(decoder.position + width + held.ones),
            decoder.step.eq(decoder.move & decoder.busy & ((decoder.have >= 2) | decoder.ended)),
            decoder.job_done.eq(decoder.step & decoder.tail),
        ]
        with m.If(decoder.step):
            m.d.sync += [
                decoder.position.eq(decoder.end),
                index.eq(index + 1),
                held.mask.eq(mask),
                held.ones.eq(_ones(mask)),
                held.address.eq(job.address),
                held.index.eq(index),
                held.valid.eq(~decoder.tail),
            ]
            with m.If(decoder.last_group):
                m.d.sync += [
                    index.eq(0),
                    job.address.eq(job.address + 1),
                    job.count.eq(job.count - 1),
                    decoder.tail.eq(job.count == 1),
                ]

    def _take_words(self, m: Module, decoder: _Decoder) -> Signal:
        """Words in, words used up; returns whether a word is taken."""
        words, have = decoder.words, decoder.have
        advance, taken = Signal(), Signal()
        after = Signal.like(have)
        m.d.comb += [
            advance.eq(decoder.step & (decoder.end >= PORT_WIDTH)),
            after.eq(have - (advance & have.any())),
            self.i.ready.eq((decoder.busy & ~decoder.ended & (have < len(words))) | decoder.flush),
            taken.eq(self.i.ready & self.i.valid),
        ]
        m.d.sync += have.eq(after + taken)
        with m.If(advance):
            m.d.sync += [words[0].eq(words[1]), words[1].eq(words[2]), words[2].eq(0)]
        with m.If(taken):
            m.d.sync += decoder.ended.eq(self.i.payload.last)
            with m.Switch(after):
                for number, word in enumerate(words):
                    with m.Case(number):
                        m.d.sync += word.eq(self.i.payload.data)
        return taken

    def _bound_jobs(self, m: Module, decoder: _Decoder, taken: Signal) -> None:
        """Jobs begin and end; a job is sound if its last group ends in its last word."""
        have, end, busy, flush = decoder.have, decoder.end, decoder.busy, decoder.flush
        needed = Signal(range(3))  # words in which the group lies
        short, missing = Signal(), Signal()
        m.d.comb += [
            needed.eq(Mux(end > PORT_WIDTH, 2, end.any())),
            missing.eq(decoder.step & (needed > have)),
            self.jobs.ready.eq(~busy & ~flush),
        ]
        m.d.sync += self.fault.eq(
            decoder.job_done & (short | missing | (have > needed) | ~decoder.ended)
        )
        with m.If(missing):
            m.d.sync += short.eq(1)
        with m.If(self.jobs.ready & self.jobs.valid):
            m.d.sync += [
                decoder.job.eq(self.jobs.payload),
                busy.eq(1),
                decoder.ended.eq(0),
                short.eq(0),
                decoder.tail.eq(0),
                decoder.index.eq(0),
                decoder.position.eq(0),
                have.eq(0),
                *(word.eq(0) for word in decoder.words),
            ]
        with m.If(decoder.job_done):
            m.d.sync += [busy.eq(0), flush.eq(~decoder.ended & ~(taken & self.i.payload.last))]
        with m.If(flush & taken & self.i.payload.last):
            m.d.sync += flush.eq(0)

    def _take_group(self, m: Module, decoder: _Decoder) -> tuple[Signal, data.View]:
        """Registers of the second stage: whether there is a group, and the group."""
        held, job = decoder.held, decoder.job
        valid = Signal()
        group = Signal(
            data.StructLayout(
                {
                    "mask": GROUP,
                    "signs": GROUP,
                    "address": len(held.address),
                    "index": len(held.index),
                    "rows_used": len(job.rows_used),
                }
            ),
            reset_less=True,
        )
        with m.If(decoder.move):
            m.d.sync += [
                valid.eq(decoder.step & held.valid),
                group.mask.eq(held.mask),
                group.signs.eq(decoder.window >> decoder.width),
                group.address.eq(held.address),
                group.index.eq(held.index),
                group.rows_used.eq(job.rows_used),
            ]
        return valid, group

    def _width(self, used: Signal, index: Signal, last_group: Signal) -> Value:
        """Mask bits of a group."""
        together = _together(self.config)
        if self.config.rows > GROUP:
            return Mux(index[0], Mux(used > GROUP, used - GROUP, 0), Mux(used > GROUP, GROUP, used))
        full = used << (together.bit_length() - 1)
        rest = self.config.elements % together
        return Mux(last_group, sum((used for _ in range(1, rest)), used), full) if rest else full

    def _one_chunk(self, m: Module, group: data.View, valid: Signal, negative: Signal) -> None:
        """Every group is a chunk; where not all rows are in use, its rows move apart."""
        together = _together(self.config)
        out, rows = self.o.payload, self.config.rows
        m.d.sync += [
            self.o.valid.eq(valid),
            out.address.eq(group.address),
            out.chunk.eq(group.index),
        ]
        if together == 1:
            m.d.sync += out.data.eq(Cat(group.mask, negative))
            return
        with m.Switch(group.rows_used):
            for count in range(1, rows + 1):
                with m.Case(count):
                    m.d.sync += out.data.eq(
                        Cat(
                            Cat(plane[element * count : (element + 1) * count], C(0, rows - count))
                            for element in range(together)
                            for plane in (group.mask, negative)
                        )
                    )

    def _two_chunks(
        self, m: Module, group: data.View, valid: Signal, negative: Signal, pending: Signal
    ) -> None:
        """A lower group waits for the upper one, which gives two chunks; the second of them goes
        out while the next lower group passes."""
        out = self.o.payload
        low, second = Signal(PORT_WIDTH), Signal(PORT_WIDTH)
        upper = valid & group.index[0]
        m.d.sync += [self.o.valid.eq(upper | pending), pending.eq(upper)]
        with m.If(pending):
            m.d.sync += [out.chunk.eq(out.chunk | 1), out.data.eq(second)]
        with m.If(upper):
            m.d.sync += [
                out.address.eq(group.address),
                out.chunk.eq(group.index - 1),
                out.data.eq(Cat(low[:GROUP], group.mask)),
                second.eq(Cat(low[GROUP:], negative)),
            ]
        with m.Elif(valid):
            m.d.sync += low.eq(Cat(group.mask, negative))


def _ones(bits: Value) -> Value:
    """Number of ones, as a balanced tree."""
    if len(bits) < 2:
        return bits
    return _ones(bits[: len(bits) // 2]) + _ones(bits[len(bits) // 2 :])


def _together(config: Config) -> int:
    """Elements of a group."""
    return max(1, GROUP // config.rows)


def _halves(config: Config) -> int:
    """Groups of an element."""
    return max(1, config.rows // GROUP)


def _groups(config: Config) -> int:
    """Groups of a column."""
    return -(-config.elements // _together(config)) * _halves(config)
