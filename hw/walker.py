"""Walker: visits the activation words of an output pixel."""

from dataclasses import dataclass
from typing import Self

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.lookup_memory import Queue
from tritforge.hw.memory import ChunkMemory
from tritforge.hw.payloads import address_width, scan_word, walk_job

__all__ = ["Walker"]

#: Fields that are the same in all jobs of a group.
_OF_GROUP = (
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


@dataclass(frozen=True)
class _Jobs:
    """Where jobs wait."""

    new: data.View  #: the oldest one
    waiting: Signal  #: it is there
    ended: Signal  #: it is taken, if it is there: the walk through the one before has ended
    kept: Value  #: it is there, and kept here


@dataclass(frozen=True)
class _Walk:
    """Where the walk through a job is; the counters hold what is left, the word at hand included.

    Whether the word at hand is the last of its kernel column, of its kernel row, of its job, is
    told a cycle ahead from what is left.
    """

    active: Signal  #: there is a job
    kept: data.View  #: the job
    address: Signal  #: of the word at hand
    position: Signal  #: of the first word of its kernel column
    row: Signal  #: of the first word of its kernel row
    trit: Signal  #: trit columns of the same three
    trit_position: Signal
    trit_row: Signal
    words_left: Signal
    columns_left: Signal
    rows_left: Signal
    empty: Signal  #: nothing is to be read
    column_last: Signal
    row_last: Signal
    job_last: Signal
    several_words: Signal  #: in a kernel column
    several_columns: Signal  #: in a kernel row
    more_columns: Signal  #: after that of the word at hand
    more_rows: Signal

    @classmethod
    def create(cls, config: Config) -> Self:
        """The registers."""
        address = Signal(address_width(config.activation_depth), reset_less=True)
        trit = Signal(address_width(config.trit_depth), reset_less=True)
        return cls(
            active=Signal(name="active"),
            kept=Signal(walk_job(config), name="kept", reset_less=True),
            address=address,
            position=Signal.like(address, name="position"),
            row=Signal.like(address, name="row"),
            trit=trit,
            trit_position=Signal.like(trit, name="trit_position"),
            trit_row=Signal.like(trit, name="trit_row"),
            words_left=Signal.like(address, name="words_left"),
            columns_left=Signal(8, name="columns_left", reset_less=True),
            rows_left=Signal(8, name="rows_left", reset_less=True),
            empty=Signal(name="empty"),
            **{
                name: Signal(name=name, reset_less=True)
                for name in (
                    "column_last",
                    "row_last",
                    "job_last",
                    "several_words",
                    "several_columns",
                    "more_columns",
                    "more_rows",
                )
            },
        )

    def look_ahead(
        self, m: Module, words: Value, columns: Value, rows: Value, nothing: Value | int = 0
    ) -> None:
        """What follows the next word; ``nothing``: it is a word for which nothing is read."""
        m.d.sync += [
            self.more_columns.eq(columns),
            self.more_rows.eq(rows),
            self.column_last.eq(~words | nothing),
            self.row_last.eq(~(words | columns) | nothing),
            self.job_last.eq(~(words | columns | rows) | nothing),
        ]

    def begin(self, m: Module, new: data.View, waiting: Value) -> None:
        """To the first word of a job, if one is waiting."""
        nothing = (new.count_x == 0) | (new.count_y == 0)
        self.look_ahead(m, new.word_count != 1, new.count_x != 1, new.count_y != 1, nothing)
        m.d.sync += [
            self.active.eq(waiting),
            self.kept.eq(new),
            self.address.eq(new.address),
            self.position.eq(new.address),
            self.row.eq(new.address),
            self.trit.eq(new.trit),
            self.trit_position.eq(new.trit),
            self.trit_row.eq(new.trit),
            self.words_left.eq(new.word_count),
            self.columns_left.eq(new.count_x),
            self.rows_left.eq(new.count_y),
            self.several_words.eq(new.word_count != 1),
            self.several_columns.eq(new.count_x != 1),
            self.empty.eq(nothing),
        ]

    def move_on(self, m: Module, job: data.View, lanes: int) -> None:
        """To the next word of ``lanes`` lanes; else to the next kernel column; else row."""
        next_position, next_row = self.position + job.step_x, self.row + job.step_y
        next_trit_position = self.trit_position + job.trit_step_x
        next_trit_row = self.trit_row + job.trit_step_y
        with m.If(~self.column_last):
            self.look_ahead(m, self.words_left != 2, self.more_columns, self.more_rows)
            m.d.sync += [
                self.words_left.eq(self.words_left - 1),
                self.address.eq(self.address + 1),
                self.trit.eq(self.trit + lanes),
            ]
        with m.Else():
            m.d.sync += self.words_left.eq(job.word_count)
            with m.If(~self.row_last):
                self.look_ahead(m, self.several_words, self.columns_left != 2, self.more_rows)
                m.d.sync += [
                    self.columns_left.eq(self.columns_left - 1),
                    self.address.eq(next_position),
                    self.position.eq(next_position),
                    self.trit.eq(next_trit_position),
                    self.trit_position.eq(next_trit_position),
                ]
            with m.Else():
                self.look_ahead(m, self.several_words, self.several_columns, self.rows_left != 2)
                m.d.sync += [
                    self.columns_left.eq(job.count_x),
                    self.rows_left.eq(self.rows_left - 1),
                    self.address.eq(next_row),
                    self.position.eq(next_row),
                    self.row.eq(next_row),
                    self.trit.eq(next_trit_row),
                    self.trit_position.eq(next_trit_row),
                    self.trit_row.eq(next_trit_row),
                ]


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
        queued = _queued(config)
        kind = Queue if config.few_stages else fifo.SyncFIFO
        m.submodules.words = words = kind(width=queued.size, depth=config.word_places)
        walk = _Walk.create(config)
        jobs = self._queue_jobs(m, walk.active)
        new = jobs.new
        job = Signal.like(new)
        m.d.comb += [
            job[name].eq((new if name in _of_group(config) else walk.kept)[name])
            for name, _ in walk_job(config)
        ]
        issue, returned = Signal(), Signal()
        some_credit, all_credit = self._count_credit(m, issue, returned)
        m.d.comb += [
            self.read_address.eq(walk.address),
            self.read_valid.eq(walk.active & some_credit & ~walk.empty),
            issue.eq(walk.active & some_credit & (walk.empty | self.read_ready)),
            returned.eq(words.r_rdy & words.r_en),
            jobs.ended.eq(~walk.active | (issue & walk.job_last)),
            self.idle.eq(~jobs.kept & ~walk.active & all_credit),
        ]
        with m.If(jobs.ended):
            taken = jobs.waiting if config.job_places else jobs.waiting & self.i.ready
            walk.begin(m, new, taken)
        with m.Elif(issue):
            walk.move_on(m, job, config.scan_width)

        word = Signal(queued)
        m.d.comb += [
            word.lanes.eq(
                Mux(walk.empty, 0, Mux(walk.column_last, job.last_lanes, config.scan_width))
            ),
            word.trit.eq(walk.trit),
            word.last.eq(job.last & walk.job_last),
        ]
        m.d.comb += [
            word[name].eq(job[name])
            for name in ("plus", "minus", "signed", "rows_used", "wide", "quarter")
            if name in queued.members
        ]
        self._queue_words(m, words, issue, word)
        m.d.comb += [
            self.o.payload[name].eq(job[name])
            for name in ("plus", "minus", "signed")
            if name in _of_group(config)
        ]
        return m

    def _queue_jobs(self, m: Module, active: Signal) -> _Jobs:
        """Jobs wait in a queue, in one place, or outside until the one before has ended."""
        config = self.config
        new = Signal(walk_job(config))
        waiting, ended = Signal(), Signal()
        if config.job_places > 1:
            m.submodules.jobs = jobs = fifo.SyncFIFO(
                width=new.shape().size, depth=config.job_places
            )
            m.d.comb += [
                jobs.w_data.eq(self.i.payload),
                jobs.w_en.eq(self.i.valid),
                self.i.ready.eq(jobs.w_rdy),
                new.eq(jobs.r_data),
                waiting.eq(jobs.r_rdy),
                jobs.r_en.eq(ended),
            ]
            return _Jobs(new, waiting, ended, jobs.r_rdy)
        if config.job_places:
            held, occupied = Signal(new.shape(), reset_less=True), Signal()
            m.d.comb += [
                new.eq(held),
                waiting.eq(occupied),
                self.i.ready.eq(~occupied),
            ]
            with m.If(~occupied):
                m.d.sync += [held.eq(self.i.payload), occupied.eq(self.i.valid)]
            with m.Elif(ended):
                m.d.sync += occupied.eq(0)
            return _Jobs(new, waiting, ended, occupied)
        m.d.comb += [new.eq(self.i.payload), waiting.eq(self.i.valid), self.i.ready.eq(~active)]
        return _Jobs(new, waiting, ended, Const(0))

    def _count_credit(self, m: Module, issue: Signal, returned: Signal) -> tuple[Signal, Value]:
        """Counts free places of the word queue; returns whether any is free, whether all are."""
        places = self.config.word_places
        credit = Signal(range(places + 1), init=places)
        some_credit = Signal(init=1)  # in a register of its own
        with m.If(issue != returned):
            m.d.sync += [
                credit.eq(credit + Mux(issue, -1, 1)),
                some_credit.eq(returned | (credit != 1)),
            ]
        return some_credit, credit == places

    def _queue_words(
        self, m: Module, words: Queue | fifo.SyncFIFO, valid: Signal, word: data.View
    ) -> None:
        """What belongs to a word travels beside the memory's pipeline, and waits with its data."""
        layout = _queued(self.config)
        for stage in range(ChunkMemory.latency):
            valid_after = Signal(name=f"valid_{stage}")
            word_after = Signal(layout, name=f"word_{stage}", reset_less=True)
            m.d.sync += [valid_after.eq(valid), word_after.eq(word)]
            valid, word = valid_after, word_after
        arrived, leaving = Signal(layout), Signal(layout)
        m.d.comb += [
            arrived.eq(word),
            arrived.activations.eq(self.read_data),
            words.w_data.eq(arrived),
            words.w_en.eq(valid),
            leaving.eq(words.r_data),
            *(self.o.payload[name].eq(leaving[name]) for name, _ in layout),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]


def _of_group(config: Config) -> tuple[str, ...]:
    """Fields that are not kept here: without a queue of jobs, those of the group at hand stand."""
    return () if config.job_places else _OF_GROUP


def _queued(config: Config) -> data.StructLayout:
    """A word as it waits: without what stands beside it, and what nobody uses."""
    left_out = (*_of_group(config), *(("rows_used",) if config.skip_zero_weights else ()))
    return data.StructLayout(
        {name: field.shape for name, field in scan_word(config) if name not in left_out}
    )
