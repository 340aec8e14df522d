"""Walker: visits the activation words of an output pixel."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.lookup_memory import Queue
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, scan_word, walk_job

__all__ = ["Walker"]


class Walker(wiring.Component):
    """Reads the words of a job: kernel rows, then kernel columns, then channel words.

    ::

        i -> [jobs] -> address -> (activation memory, 2 cycles) -> [words] -> o

    For ky < ``count_y``, kx < ``count_x`` and w < ``word_count`` it reads
    ``address + ky*step_y + kx*step_x + w``, and the trit column moves along:
    ``trit + ky*trit_step_y + kx*trit_step_x + w*S``. A job with nothing to read gives one word
    without lanes.

    Timing: one word per cycle while ``read_ready`` and the word queue has room; the first
    word of a job leaves the word queue 5 cycles after the job arrived; no gap between jobs, with a
    single place for jobs a cycle after a job of one word. Without a place for jobs these are 4
    cycles and one.

    Cost: three address registers and adders; queues of ``job_places`` jobs and ``word_places``
    words.

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
        super().__init__(
            {
                "i": In(stream.Signature(walk_job(config))),
                "o": Out(stream.Signature(scan_word(config))),
                "idle": Out(1),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_address": Out(address_width(config.activation_depth)),
                "read_data": In(config.memory_width("activations")),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        job_layout, word_layout = walk_job(config), scan_word(config)

        places = config.word_places
        # Without a queue of jobs, what is the same in all jobs of a group is not kept here.
        of_group = (
            (
                "step_x",
                "step_y",
                "word_count",
                "last_lanes",
                "trit_step_x",
                "trit_step_y",
                "plus",
                "minus",
                "signed",
            )
            if not config.job_places
            else ()
        )
        unused = ("rows_used",) if config.skip_zero_weights else ()
        queued_layout = data.StructLayout(
            {name: field.shape for name, field in word_layout if name not in (*of_group, *unused)}
        )
        kind = Queue if config.few_stages else fifo.SyncFIFO
        m.submodules.words = words = kind(width=queued_layout.size, depth=places)
        new = Signal(job_layout)
        waiting, ended = Signal(), Signal()
        waiting_jobs: Value = Const(0)
        active = Signal()
        if config.job_places > 1:
            m.submodules.jobs = jobs = fifo.SyncFIFO(width=job_layout.size, depth=config.job_places)
            m.d.comb += [
                jobs.w_data.eq(self.i.payload),
                jobs.w_en.eq(self.i.valid),
                self.i.ready.eq(jobs.w_rdy),
                new.eq(jobs.r_data),
                waiting.eq(jobs.r_rdy),
                jobs.r_en.eq(ended),
            ]
            waiting_jobs = jobs.r_rdy
        elif config.job_places:
            held, occupied = Signal(job_layout, reset_less=True), Signal()
            m.d.comb += [
                new.eq(held),
                waiting.eq(occupied),
                self.i.ready.eq(~occupied),
            ]
            with m.If(~occupied):
                m.d.sync += [held.eq(self.i.payload), occupied.eq(self.i.valid)]
            with m.Elif(ended):
                m.d.sync += occupied.eq(0)
            waiting_jobs = occupied
        else:
            m.d.comb += [new.eq(self.i.payload), waiting.eq(self.i.valid), self.i.ready.eq(~active)]

        # Counters hold what is left, the word at hand included.
        job = Signal(job_layout)
        kept = Signal(job_layout, reset_less=True)
        m.d.comb += [
            job[name].eq((new if name in of_group else kept)[name]) for name, _ in job_layout
        ]
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

        credit = Signal(range(places + 1), init=places)
        some_credit = Signal(init=1)  # in a register of its own
        issue, returned = Signal(), Signal()
        # Whether the word at hand is the last of its kernel column, of its kernel row, of its job,
        # told a cycle ahead from what is left.
        last = {
            name: Signal(name=f"{name}_last", reset_less=True) for name in ("column", "row", "job")
        }
        final = last["job"]
        several_words, several_columns, more_columns, more_rows = (
            Signal(name=name, reset_less=True)
            for name in ("several_words", "several_columns", "more_columns", "more_rows")
        )

        def ahead(words: Value, columns: Value, rows: Value, nothing: Value | int = 0) -> None:
            """What follows the next word; ``nothing``: it is a word for which nothing is read."""
            m.d.sync += [
                more_columns.eq(columns),
                more_rows.eq(rows),
                last["column"].eq(~words | nothing),
                last["row"].eq(~(words | columns) | nothing),
                last["job"].eq(~(words | columns | rows) | nothing),
            ]

        m.d.comb += [
            self.read_address.eq(address),
            self.read_valid.eq(active & some_credit & ~empty),
            issue.eq(active & some_credit & (empty | self.read_ready)),
            returned.eq(words.r_rdy & words.r_en),
            ended.eq(~active | (issue & final)),
            self.idle.eq(~waiting_jobs & ~active & (credit == places)),
        ]
        with m.If(issue != returned):
            m.d.sync += [
                credit.eq(credit + Mux(issue, -1, 1)),
                some_credit.eq(returned | (credit != 1)),
            ]

        next_position, next_row = position + job.step_x, row + job.step_y
        next_trit_position = trit_position + job.trit_step_x
        next_trit_row = trit_row + job.trit_step_y
        with m.If(ended):
            nothing = (new.count_x == 0) | (new.count_y == 0)
            ahead(new.word_count != 1, new.count_x != 1, new.count_y != 1, nothing)
            m.d.sync += [
                active.eq(waiting if config.job_places else waiting & self.i.ready),
                kept.eq(new),
                address.eq(new.address),
                position.eq(new.address),
                row.eq(new.address),
                trit.eq(new.trit),
                trit_position.eq(new.trit),
                trit_row.eq(new.trit),
                words_left.eq(new.word_count),
                columns_left.eq(new.count_x),
                rows_left.eq(new.count_y),
                several_words.eq(new.word_count != 1),
                several_columns.eq(new.count_x != 1),
                empty.eq(nothing),
            ]
        with m.Elif(issue):
            with m.If(~last["column"]):
                ahead(words_left != 2, more_columns, more_rows)
                m.d.sync += [
                    words_left.eq(words_left - 1),
                    address.eq(address + 1),
                    trit.eq(trit + config.scan_width),
                ]
            with m.Else():
                m.d.sync += words_left.eq(job.word_count)
                with m.If(~last["row"]):
                    ahead(several_words, columns_left != 2, more_rows)
                    m.d.sync += [
                        columns_left.eq(columns_left - 1),
                        address.eq(next_position),
                        position.eq(next_position),
                        trit.eq(next_trit_position),
                        trit_position.eq(next_trit_position),
                    ]
                with m.Else():
                    ahead(several_words, several_columns, rows_left != 2)
                    m.d.sync += [
                        columns_left.eq(job.count_x),
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
        word = Signal(queued_layout)
        word_names = [name for name, _ in queued_layout]
        m.d.comb += [
            word.lanes.eq(Mux(empty, 0, Mux(last["column"], job.last_lanes, config.scan_width))),
            word.trit.eq(trit),
            word.last.eq(job.last & final),
        ]
        m.d.comb += [
            word[name].eq(job[name])
            for name in ("plus", "minus", "signed", "rows_used")
            if name in word_names
        ]
        for stage in range(ChunkMemory.latency):
            valid_after = Signal(name=f"valid_{stage}")
            word_after = Signal(queued_layout, name=f"word_{stage}", reset_less=True)
            m.d.sync += [valid_after.eq(valid), word_after.eq(word)]
            valid, word = valid_after, word_after
        arrived, leaving = Signal(queued_layout), Signal(queued_layout)
        m.d.comb += [
            arrived.eq(word),
            arrived.activations.eq(self.read_data),
            words.w_data.eq(arrived),
            words.w_en.eq(valid),
            leaving.eq(words.r_data),
            *(self.o.payload[name].eq(leaving[name]) for name, _ in queued_layout),
            *(
                self.o.payload[name].eq(job[name])
                for name in ("plus", "minus", "signed")
                if name in of_group
            ),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        return m
