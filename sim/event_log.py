"""Event logs: what happened in which clock cycle, as every simulator with a clock writes it.

Two logs of one program and one input are equal record for record, or one simulator is wrong;
:func:`compare_logs` names the first difference. A file is a line of JSON that says what was
simulated, then one line per record. Reading parses numbers and names; nothing is executed.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from tritforge.common.errors import TritforgeError
from tritforge.common.files import file_obstacle, new_file
from tritforge.common.json_types import Json, JsonError, JsonObject

__all__ = [
    "KINDS",
    "EventLog",
    "EventLogError",
    "LogComparison",
    "LogHeader",
    "Record",
    "check_log_file",
    "compare_logs",
    "first_difference",
    "in_order",
    "read_log",
    "write_log",
]

#: What a log begins with.
FORMAT = "tritforge event log"
FORMAT_VERSION = 1

#: Kinds of records, in the order that they have within one cycle, and which of a record's
#: numbers each of them has; the others are 0. The cycle model is compiled with this list, the
#: hardware's side is :class:`tritforge.sim.observer.Observer`.
KINDS: dict[str, tuple[str, ...]] = {
    "layer_started": (),  # first fetch of a run, or the layer before is counted
    "tile_started": ("tile",),  # the clusters get its first column group
    "refill_wait_began": (),  # the program waits for the host's
    "refill_wait_ended": (),  # signal, until this cycle
    "pixel_started": ("set", "tile", "pixel"),  # the clusters get its last column group
    "drain_stall_began": ("set", "tile", "pixel"),  # the drain has a step to make and waits
    "drain_stall_ended": ("set", "tile", "pixel"),  # for write-backs, until this cycle
    "pixel_drained": ("set", "tile", "pixel"),  # last drain step
    "tile_drained": ("tile",),  # last drain step of its last pixel
    "layer_settled": (),  # all is written; counters follow
}
_ORDER = {kind: number for number, kind in enumerate(KINDS)}

_NUMBERS = ("time", "set", "tile", "pixel")
#: Numbers in a log are below this, lines shorter than that many characters.
_MOST, _LONGEST = 1 << 62, 1 << 16


class EventLogError(TritforgeError, ValueError):
    """A log that cannot be written, read or compared; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event; ``time`` in clock cycles from the layer's start, ``pixel`` is
    ``y * width + x`` of the layer's output before pooling; of its blocks where it computes
    several pixels at a time."""

    layer: str
    time: int
    kind: str
    set: int = 0
    tile: int = 0
    pixel: int = 0

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {getattr(self, name)}" for name in KINDS[self.kind])
        return f"{self.kind} ({numbers})" if numbers else self.kind


_FIELDS = tuple(field.name for field in dataclasses.fields(Record))


@dataclass(frozen=True)
class EventLog:
    """Records of one run on one input image, and what was run.

    Members
    -------
    network, configuration : str
        Names.
    configuration_identity : str
        As :attr:`tritforge.hw.config.Config.identity`.
    image_manifest_sha256 : str
        Checksum that the image's manifest states of itself; empty without a file.
    input_sha256 : str
        SHA-256 of the input's activation codes, int64, (1, channels, height, width).
    layer : str or None
        The layer that ran alone; None: the whole network.
    backend : str
        Who wrote the log; the one entry in which logs to compare may differ.
    records : sequence of Record
        Layer by layer, each as :func:`in_order` has it.
    """

    network: str
    configuration: str
    configuration_identity: str
    image_manifest_sha256: str
    input_sha256: str
    layer: str | None
    backend: str
    records: Sequence[Record] = dataclasses.field(repr=False)

    def header(self) -> "LogHeader":
        """First line of the file."""
        return LogHeader(
            FORMAT,
            FORMAT_VERSION,
            self.network,
            self.configuration,
            self.configuration_identity,
            self.image_manifest_sha256,
            self.input_sha256,
            self.layer,
            self.backend,
            len(self.records),
            {"time": "clock cycles from the layer's start"},
        )


@dataclass(frozen=True)
class LogHeader(JsonObject):
    """What a log's first line says, as :class:`EventLog` has it; how many records follow."""

    format: str
    format_version: int
    network: str
    configuration: str
    configuration_identity: str
    image_manifest_sha256: str
    input_sha256: str
    layer: str | None
    backend: str
    records: int
    units: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class LogComparison(JsonObject):
    """Two logs side by side; ``difference`` is a sentence, None if they are equal."""

    first: LogHeader
    second: LogHeader
    records: int  # of the first
    layers: int
    difference: str | None

    @property
    def equal(self) -> bool:
        return self.difference is None

    def to_json(self) -> dict[str, Json]:
        """JSON values: the fields, and whether they are equal."""
        return {"equal": self.equal, **super().to_json()}


def in_order(records: Sequence[Record]) -> list[Record]:
    """Records of one layer by time, those of one cycle as :data:`KINDS` has them."""
    return sorted(records, key=lambda record: (record.time, _ORDER[record.kind]))


# ----- comparison


def first_difference(
    a: Sequence[Record],
    b: Sequence[Record],
    names: tuple[str, str] = ("the first log", "the second log"),
) -> str | None:
    """Where two lists of records differ first, as one sentence; None: nowhere.

    ``names`` is what the sentence calls them.
    """
    for number, (one, other) in enumerate(zip(a, b, strict=False), 1):
        if one == other:
            continue
        earlier = other if one.layer == other.layer and other.time < one.time else one
        says = [
            f"{name} has {record} in cycle {record.time:,}"
            + ("" if record.layer == earlier.layer else f" of layer {record.layer}")
            for name, record in zip(names, (one, other), strict=True)
        ]
        return (
            f"layer {earlier.layer}, cycle {earlier.time:,}, record {number:,}: {says[0]}, "
            f"{says[1]}"
        )
    if len(a) == len(b):
        return None
    short, long = (a, b) if len(a) < len(b) else (b, a)
    ended, goes_on = names if short is a else names[::-1]
    after = long[len(short)]
    where = f" in layer {short[-1].layer}" if short else ""
    return (
        f"layer {after.layer}, cycle {after.time:,}, record {len(short) + 1:,}: {ended} ended "
        f"after {len(short):,} records{where}, {goes_on} goes on with {after}"
    )


def compare_logs(
    first: str | os.PathLike[str] | EventLog, second: str | os.PathLike[str] | EventLog
) -> LogComparison:
    """The first difference between two logs, or the files that hold them.

    Raises
    ------
    EventLogError
        A file cannot be read or is no log, or the logs are of different configurations,
        networks, images, inputs or layers, so that no record of one has to be in the other.
    """
    names: list[str] = []
    logs: list[EventLog] = []
    for given in (first, second):
        log = given if isinstance(given, EventLog) else read_log(given)
        logs.append(log)
        names.append(
            f"the log of backend {log.backend}" if isinstance(given, EventLog) else os.fspath(given)
        )
    if names[0] == names[1]:
        names = ["the first log", "the second log"]
    for entry, what in (
        ("configuration_identity", "configuration"),
        ("network", "network"),
        ("image_manifest_sha256", "image"),
        ("input_sha256", "input"),
        ("layer", "layer"),
    ):
        values = [getattr(log, entry) for log in logs]
        if values[0] == values[1]:
            continue
        said = (
            [f"{log.configuration} ({log.configuration_identity[:16]})" for log in logs]
            if what == "configuration"
            else [
                "all"
                if value is None
                else value
                if what in ("network", "layer")
                else value[:16] or "none"
                for value in values
            ]
        )
        raise EventLogError(
            f"{names[0]} is of {what} {said[0]}, {names[1]} of {what} {said[1]}: "
            f"such logs cannot be compared"
        )
    a, b = (log.records for log in logs)
    return LogComparison(
        logs[0].header(),
        logs[1].header(),
        len(a),
        len({record.layer for record in a}),
        first_difference(a, b, (names[0], names[1])),
    )


# ----- files


def check_log_file(path: str | os.PathLike[str]) -> None:
    """Refuse to replace anything but a former log.

    Raises
    ------
    EventLogError
    """

    def known(text: str) -> bool:
        _header(text.split("\n")[0])
        return True

    if sentence := file_obstacle(Path(path), f"is not a {FORMAT}", known, _LONGEST):
        raise EventLogError(sentence)


def write_log(path: str | os.PathLike[str], log: EventLog) -> Path:
    """Write a log, UTF-8; the file appears whole or not at all, a former log is replaced.

    Raises
    ------
    EventLogError
        Something that is not a log is in the way, or the file cannot be written.
    """
    check_log_file(path)
    target = Path(path)
    try:
        with (
            new_file(target) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.write(json.dumps(log.header().to_json()) + "\n")
            for record in log.records:
                file.write(json.dumps({name: getattr(record, name) for name in _FIELDS}) + "\n")
    except OSError as error:
        raise EventLogError(f"log {path} cannot be written: {error.strerror}") from error
    return target


def read_log(path: str | os.PathLike[str]) -> EventLog:
    """The log in a file.

    Raises
    ------
    EventLogError
        It cannot be read, is no log, is damaged or incomplete, or is another version's.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            header = _header(file.readline(_LONGEST))
            lines = iter(lambda: file.readline(_LONGEST), "")
            records = [_record(line, number) for number, line in enumerate(lines, 2)]
    except OSError as error:
        raise EventLogError(f"log {path} cannot be read: {error.strerror}") from error
    except EventLogError as error:
        raise EventLogError(f"{path} {error}") from error
    except UnicodeDecodeError as error:
        raise EventLogError(f"{path} is not a {FORMAT}") from error
    if len(records) != header.records:
        raise EventLogError(
            f"{path} is incomplete or damaged: it has {len(records):,} records, "
            f"its first line says {header.records:,}"
        )
    return EventLog(
        header.network,
        header.configuration,
        header.configuration_identity,
        header.image_manifest_sha256,
        header.input_sha256,
        header.layer,
        header.backend,
        records,
    )


def _parsed(line: str) -> dict[str, object]:
    """The JSON object in a line; empty if there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _header(line: str) -> LogHeader:
    values = _parsed(line)
    if values.get("format") != FORMAT:
        raise EventLogError(f"is not a {FORMAT}")
    if values.get("format_version") != FORMAT_VERSION:
        raise EventLogError(
            f"is a {FORMAT} of version {values.get('format_version')!r:.40}; this "
            f"program reads version {FORMAT_VERSION}"
        )
    try:
        header = LogHeader.from_json(values, "the first line")
    except JsonError as error:
        raise EventLogError(f"has a damaged first line: {error}") from error
    if not _is_number(header.records):
        raise EventLogError("has a damaged first line")
    return header


def _record(line: str, number: int) -> Record:
    values = _parsed(line)
    layer, kind = values.get("layer"), values.get("kind")
    numbers = [value for name in _NUMBERS if _is_number(value := values.get(name))]
    if set(values) != set(_FIELDS) or not isinstance(layer, str) or len(numbers) != len(_NUMBERS):
        raise EventLogError(f"is damaged in line {number}: it is no record")
    if not isinstance(kind, str) or kind not in KINDS:
        raise EventLogError(
            f"has a record of kind {str(kind)[:40]!r} in line {number}; "
            f"this program knows {', '.join(KINDS)}"
        )
    time, *places = numbers
    return Record(layer, time, kind, *places)


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _MOST
