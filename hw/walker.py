"""Walker: visits the activation words of an output pixel."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.memory import ChunkMemory
from hw.payloads import address_width, scan_word, walk_job

__all__ = ["Walker", "job_places"]

#: Words between the walker and the zero skip; covers the memory's latency at one word per cycle.
WORD_PLACES = 8


def job_places(config: Config) -> int:
    """Jobs waiting in front of a walker.

    With several sets the sequencer must get to the other sets while one works on a pixel of
    several column groups.
    """
    return 2 if config.sets == 1 else 16


class Walker(wiring.Component):
    """Reads the words of a job: kernel rows, then kernel columns, then channel words.

    ::

        i -> [jobs] -> address -> (activation memory, 2 cycles) -> [words] -> o

    For ky < ``count_y``, kx < ``count_x`` and w < ``word_count`` it reads
    ``address + ky*step_y + kx*step_x + w``, and the trit column moves along:
    ``trit + ky*trit_step_y + kx*trit_step_x + w*S``. A job with nothing to read gives one word
    without lanes.

    Timing: one word per cycle while ``read_ready`` and the word queue has room; the first
    word of a job leaves the word queue 5 cycles after the job arrived; no gap between jobs.

    Cost: three address registers and adders; queues of ``job_places`` jobs and 8 words.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of walk_job)
    o : Out(stream of scan_word)
    idle : Out(1)
        No job is left, no word on its way.
    read_valid, read_address : Out
        Request to the activation memory, served in this cycle where ``read_ready``.
    read_data : In
        Data of the request of two cycles ago.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(walk_job(config))),
            "o": Out(stream.Signature(scan_word(config))),
            "idle": Out(1),
            "read_valid": Out(1),
            "read_ready": In(1),
            "read_address": Out(address_width(config.activation_depth)),
            "read_data": In(config.memory_width("activations")),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        job_layout, word_layout = walk_job(config), scan_word(config)

        m.submodules.jobs = jobs = fifo.SyncFIFO(width=job_layout.size, depth=job_places(config))
        m.submodules.words = words = fifo.SyncFIFO(width=word_layout.size, depth=WORD_PLACES)
        new = Signal(job_layout)
        m.d.comb += [
            jobs.w_data.eq(self.i.payload),
            jobs.w_en.eq(self.i.valid),
            self.i.ready.eq(jobs.w_rdy),
            new.eq(jobs.r_data),
        ]

        # Counters hold what is left after the word at hand.
        active = Signal()
        job = Signal(job_layout, reset_less=True)
        address = Signal(address_width(config.activation_depth), reset_less=True)
        position = Signal.like(address)
        row = Signal.like(address)
        trit = Signal(address_width(config.trit_depth), reset_less=True)
        trit_position = Signal.like(trit)
        trit_row = Signal.like(trit)
        words_left = Signal.like(address)
        columns_left = Signal(8, reset_less=True)
        rows_left = Signal(8, reset_less=True)
        empty = Signal()

        credit = Signal(range(WORD_PLACES + 1), init=WORD_PLACES)
        issue = Signal()
        final = Signal()
        m.d.comb += [
            final.eq(empty | ~(words_left.any() | columns_left.any() | rows_left.any())),
            self.read_address.eq(address),
            self.read_valid.eq(active & credit.any() & ~empty),
            issue.eq(active & credit.any() & (empty | self.read_ready)),
            jobs.r_en.eq(~active | (issue & final)),
            self.idle.eq(~jobs.r_rdy & ~active & (credit == WORD_PLACES)),
        ]
        m.d.sync += credit.eq(credit - issue + (words.r_rdy & words.r_en))

        next_position, next_row = position + job.step_x, row + job.step_y
        next_trit_position = trit_position + job.trit_step_x
        next_trit_row = trit_row + job.trit_step_y
        with m.If(jobs.r_en):
            nothing = (new.count_x == 0) | (new.count_y == 0)
            m.d.sync += [
                active.eq(jobs.r_rdy),
                job.eq(new),
                address.eq(new.address),
                position.eq(new.address),
                row.eq(new.address),
                trit.eq(new.trit),
                trit_position.eq(new.trit),
                trit_row.eq(new.trit),
                words_left.eq(new.word_count - 1),
                columns_left.eq(new.count_x - 1),
                rows_left.eq(new.count_y - 1),
                empty.eq(nothing),
            ]
        with m.Elif(issue):
            with m.If(words_left.any()):
                m.d.sync += [
                    words_left.eq(words_left - 1),
                    address.eq(address + 1),
                    trit.eq(trit + config.scan_width),
                ]
            with m.Else():
                m.d.sync += words_left.eq(job.word_count - 1)
                with m.If(columns_left.any()):
                    m.d.sync += [
                        columns_left.eq(columns_left - 1),
                        address.eq(next_position),
                        position.eq(next_position),
                        trit.eq(next_trit_position),
                        trit_position.eq(next_trit_position),
                    ]
                with m.Else():
                    m.d.sync += [
                        columns_left.eq(job.count_x - 1),
                        rows_left.eq(rows_left - 1),
                        address.eq(next_row),
                        position.eq(next_row),
                        row.eq(next_row),
                        trit.eq(next_trit_row),
                        trit_position.eq(next_trit_row),
                        trit_row.eq(next_trit_row),
                    ]

        # What belongs to a word travels beside the memory's pipeline.
        valid = issue
        word = Signal(word_layout)
        m.d.comb += [
            word.lanes.eq(Mux(empty, 0, Mux(words_left.any(), config.scan_width, job.last_lanes))),
            word.trit.eq(trit),
            word.plus.eq(job.plus),
            word.minus.eq(job.minus),
            word.signed.eq(job.signed),
            word.rows_used.eq(job.rows_used),
            word.last.eq(job.last & final),
        ]
        for stage in range(ChunkMemory.latency):
            valid_after = Signal(name=f"valid_{stage}")
            word_after = Signal(word_layout, name=f"word_{stage}", reset_less=True)
            m.d.sync += [valid_after.eq(valid), word_after.eq(word)]
            valid, word = valid_after, word_after
        arrived = Signal(word_layout)
        m.d.comb += [
            arrived.eq(word),
            arrived.activations.eq(self.read_data),
            words.w_data.eq(arrived),
            words.w_en.eq(valid),
            self.o.payload.eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        return m
