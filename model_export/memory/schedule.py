"""Schedules: how a network that does not fit the memories is run in passes.

A pass is one LAYER of the program: some tiles of a network's layer, over some of its output
rows. Program, rows and trits of the passes follow each other through memories that are used as
rings: what a pass needs is written while the passes before it compute, as soon as what
stood there is free. Tensors too large for the activation memories stay with the host; strips
of their rows are written before the passes that read them, and read back after those that write
them.

Addresses count on beyond the end of a memory: a memory of ``depth`` words has address
``a % lap``, where ``lap`` is the next power of two, as the hardware's addresses wrap. Program and
host keep in step by two counts: the program *releases* what it has used up, and the
host *signals* that what comes next is there (:class:`tritforge.hw.sequencer.Sequencer`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tritforge.common.json_types import SPARSE, JsonObject
from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width

__all__ = [
    "Await",
    "Load",
    "Need",
    "Part",
    "Pass",
    "ReadCounters",
    "Schedule",
    "Signal",
    "Step",
    "Store",
    "Strip",
    "Write",
    "lap",
]


#: Addresses, counts and releases are below this.
_MOST = 1 << 40


def lap(config: Config, memory: str) -> int:
    """Addresses after which a memory's begin again: its depth, or the next power of two."""
    return 1 << address_width(config.memory_depth(memory))


@dataclass(frozen=True)
class Part:
    """Words [start, start + count) of a memory, free when ``after`` releases have been counted."""

    start: int
    count: int
    after: int


@dataclass(frozen=True)
class Strip:
    """Rows [first, first + rows) of a tensor at activation address ``base``.

    The place is free when ``after`` releases have been counted.
    """

    tensor: str
    first: int
    rows: int
    base: int
    words: int  # activation words that they take in each slice
    after: int = 0

    def overlaps(self, other: "Strip") -> bool:
        """Whether the two share memory."""
        return self.base < other.base + other.words and other.base < self.base + self.words


@dataclass(frozen=True)
class Need:
    """Words that a memory would take to hold everything of a network at once."""

    memory: str
    words: int


@dataclass(frozen=True)
class Pass:
    """One LAYER of the program."""

    layer: str
    tiles: tuple[int, int]  # [first, stop)
    rows: tuple[int, int]  # of the layer, before pooling
    places: tuple[int, int]  # rows of its output tensor, or of the results
    address: int  # of its LAYER record
    row_start: int  # its row-memory entries
    row_count: int
    sets: int  # sets that hold its trits, from 0 on
    program: tuple[Part, ...]  # to be written
    row_parts: tuple[Part, ...]
    units: tuple[tuple[Part, ...], ...]  # trit columns; each unit but the first has a signal
    loads: tuple[Strip, ...]
    output: Strip | None  # where its output goes; None: results
    stored: tuple[int, ...]  # slices of the output to read back
    done: int  # releases counted when it is over
    table_parts: tuple[Part, ...] = field(default=(), metadata=SPARSE)  # its activation table

    @property
    def before(self) -> int:
        """Releases counted before it gives its first."""
        return self.done - len(self.units)


@dataclass(frozen=True)
class Write:
    """Words [start, start + count) of memory number ``number`` of a kind, not wrapped."""

    memory: str
    number: int
    start: int
    count: int


@dataclass(frozen=True)
class Load:
    """A strip of a tensor to write into all slices."""

    strip: Strip


@dataclass(frozen=True)
class Store:
    """The output of pass ``number`` to read back from ``slices``."""

    number: int
    strip: Strip
    slices: tuple[int, ...]


@dataclass(frozen=True)
class ReadCounters:
    """Counters of passes [first, first + count) to read; they begin at ``slot``."""

    first: int
    count: int
    slot: int


@dataclass(frozen=True)
class Signal:
    """SIGNAL."""


@dataclass(frozen=True)
class Await:
    """WAIT, once for each of so many releases."""

    count: int


Step = Write | Load | Store | ReadCounters | Signal | Await


class _Place(Protocol):
    """What must be known of a tensor."""

    height: int
    width: int
    words: int


@dataclass(frozen=True)
class Schedule(JsonObject):
    """All passes of a network, in the order of the program.

    ``resident`` names the memories of program, rows, trits and activation tables that hold all of
    theirs: they are loaded once, not in every run. ``needed`` says what each kind of memory would
    have to hold for the network not to be streamed.

    Raises
    ------
    ValueError
        A number is below 0, or too large for any memory.
    """

    passes: tuple[Pass, ...]
    resident: tuple[str, ...]
    needed: tuple[Need, ...] = field(default=(), metadata=SPARSE)

    def __post_init__(self) -> None:
        for one in self.passes:
            strips = one.loads if one.output is None else (*one.loads, one.output)
            units = [part for unit in one.units for part in unit]
            parts = [*one.program, *one.row_parts, *one.table_parts, *units]
            _check_numbers([one, *parts, *strips])

    def pass_name(self, number: int) -> str:
        """What event logs call a pass: its layer's name and its number in it, from 0 on."""
        name = self.passes[number].layer
        return f"{name} pass {number - self.of_layer(name).start}"

    def sum_by_layer(
        self, counters: Sequence[Mapping[str, int]], numbers: range | None = None
    ) -> dict[str, dict[str, int]]:
        """Counters of passes, all by default, added up for each layer, in order."""
        sums: dict[str, dict[str, int]] = {}
        chosen = range(len(self.passes)) if numbers is None else numbers
        for number, values in zip(chosen, counters, strict=True):
            total = sums.setdefault(self.passes[number].layer, {})
            for name, value in values.items():
                total[name] = total.get(name, 0) + value
        return sums

    def check(
        self,
        config: Config,
        tensors: Mapping[str, _Place],
        outputs: Mapping[str, str],
        sizes: Mapping[str, int],
    ) -> None:
        """Refuse a schedule that a memory image cannot have.

        Parameters
        ----------
        tensors : by name
        outputs : output tensor by layer name, in order
        sizes : words of ``program``, ``rows``, ``trits`` and ``tables``

        Raises
        ------
        ValueError
        """
        order = list(outputs)
        ran = [one.layer for one in self.passes]
        if list(dict.fromkeys(ran)) != order or ran != sorted(ran, key=order.index):
            raise ValueError("the schedule does not run the layers in their order")
        if not set(self.resident) <= set(sizes):
            raise ValueError(f"the schedule keeps memories {self.resident}")
        done = 0
        for number, one in enumerate(self.passes):
            first = number == 0 or ran[number - 1] != one.layer
            try:
                _check_pass(one, first, done, config, tensors, outputs[one.layer], sizes)
            except ValueError as error:
                raise ValueError(f"pass {number} of the schedule has {error}") from error
            done = one.done

    def port_words(self, config: Config, numbers: range) -> tuple[int, int]:
        """Words of the port that the host sends and reads while passes run: contents of the
        memories, without packet headers and counters."""
        sent = read = 0
        for step in self.steps(config, numbers):
            if isinstance(step, Write):
                sent += step.count * config.memory_chunks(step.memory)
            elif isinstance(step, Load):
                sent += step.strip.words * config.clusters * config.memory_chunks("activations")
            elif isinstance(step, Store):
                read += step.strip.words * len(step.slices) * config.memory_chunks("activations")
        return sent, read

    def of_layer(self, name: str) -> range:
        """Numbers of a layer's passes, which follow each other."""
        numbers = [number for number, one in enumerate(self.passes) if one.layer == name]
        return range(numbers[0], numbers[-1] + 1)

    def steps(self, config: Config, numbers: range) -> Iterator[Step]:
        """What the host does while passes ``numbers`` run, in order, after their RUN.

        The first must be a layer's first. The host goes on after a Store or ReadCounters when it
        has what it asked for.
        """
        taken = self.passes[numbers.start].before
        counted = numbers.start
        pending: list[Store] = []

        def wait(after: int) -> Iterator[Step]:
            nonlocal taken
            if after > taken:
                yield Await(after - taken)
                taken = after

        def flush() -> Iterator[Step]:
            while pending:
                one = pending.pop(0)
                yield from wait(self.passes[one.number].done)
                yield one

        def counters(stop: int) -> Iterator[Step]:
            nonlocal counted
            yield from wait(self.passes[stop - 1].done)
            while counted < stop:  # not around the end of the memory
                slot = (counted - numbers.start) % config.layer_count
                count = min(stop - counted, config.layer_count - slot)
                yield ReadCounters(counted, count, slot)
                counted += count

        for number in numbers:
            one = self.passes[number]
            if any(
                store.strip.overlaps(load) or store.strip.tensor == load.tensor
                for store in pending
                for load in one.loads
            ):
                yield from flush()
            # What is free at once goes first.
            todo: list[tuple[int, list[Step]]] = [
                (part.after, list(_writes(config, memory, copies, part)))
                for memory, copies, parts in (
                    ("program", 1, one.program),
                    ("rows", 1, one.row_parts),
                    ("tables", 1, one.table_parts),
                    ("trits", one.sets * config.clusters, one.units[0]),
                )
                if memory not in self.resident
                for part in parts
            ]
            todo += [(strip.after, [Load(strip)]) for strip in one.loads]
            for after, steps in sorted(todo, key=lambda item: item[0]):
                yield from wait(after)
                yield from steps
            if one.output is not None and any(
                store.strip.overlaps(one.output) for store in pending
            ):
                yield from flush()
            if number - counted >= config.layer_count:
                yield from counters(number)
            yield Signal()
            yield from flush()
            if number - counted >= max(1, config.layer_count // 2) < config.layer_count:
                yield from counters(number)
            for unit in one.units[1:]:
                for part in unit if "trits" not in self.resident else ():
                    yield from wait(part.after)
                    yield from _writes(config, "trits", one.sets * config.clusters, part)
                yield Signal()
            if one.stored:
                assert one.output is not None
                pending.append(Store(number, one.output, one.stored))
        yield from flush()


def _writes(config: Config, memory: str, copies: int, part: Part) -> Iterator[Step]:
    """Writes of a part, cut where the memory ends."""
    size = lap(config, memory)
    for number in range(copies):
        start, left = part.start, part.count
        while left:
            count = min(left, size - start % size)
            yield Write(memory, number, start, count)
            start, left = start + count, left - count


def _check_numbers(items: Sequence[Pass | Part | Strip]) -> None:
    """``ValueError`` if a number is below 0 or too large for a memory."""
    for item in items:
        for value in vars(item).values():
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, int) and not 0 <= one < _MOST:
                    raise ValueError(f"{type(item).__name__} of a schedule holds {one}")


def _check_pass(
    one: Pass,
    first: bool,
    done: int,
    config: Config,
    tensors: Mapping[str, _Place],
    output: str,
    sizes: Mapping[str, int],
) -> None:
    """One pass of :meth:`Schedule.check`; ``first`` of its layer, after ``done`` releases."""

    def strips(given: tuple[Strip, ...]) -> None:
        for strip in given:
            _require(strip.tensor in tensors, f"a strip of {strip.tensor}")
            place = tensors[strip.tensor]
            _require(
                strip.rows > 0
                and strip.first + strip.rows <= place.height
                and strip.words == strip.rows * place.width * place.words
                and strip.base + strip.words <= config.activation_depth
                and strip.after <= done,
                f"no such strip as {strip}",
            )

    def parts(memory: str, given: tuple[Part, ...], done: int) -> None:
        for part in given:
            _require(
                part.count > 0 and part.start + part.count <= sizes[memory] and part.after <= done,
                f"no such {memory} as {part}",
            )

    _require(
        len(one.units) > 0 and one.done == done + len(one.units),
        f"{len(one.units)} units and is over after {one.done} releases",
    )
    _require(1 <= one.sets <= config.sets, f"{one.sets} sets")
    _require(one.row_start + one.row_count <= sizes["rows"], "no such rows")
    _require(one.address < sizes["program"], "no such program")
    _require(
        all(len(span) == 2 and span[0] < span[1] for span in (one.tiles, one.rows, one.places)),
        "nothing to do",
    )
    _require(
        bool(one.program) and (not first or bool(one.row_parts and one.units[0])),
        "no program, rows or trits",
    )
    parts("program", one.program, done)
    parts("rows", one.row_parts, done)
    parts("tables", one.table_parts, done)
    for index, unit in enumerate(one.units):
        parts("trits", unit, done + index)
    strips(one.loads)
    if one.output is not None:
        strips((one.output,))
        _require(one.output.tensor == output, "another's output")
    _require(
        set(one.stored) <= set(range(config.clusters))
        and (one.output is not None or not one.stored),
        f"slices {one.stored} to read back",
    )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
