"""Event logs: written and read back, compared, and everything else refused in one sentence."""

import dataclasses
import json

import numpy as np
import pytest

from tritforge.sim.event_log import (
    KINDS,
    EventLog,
    EventLogError,
    Record,
    check_log_file,
    compare_logs,
    first_difference,
    in_order,
    read_log,
    write_log,
)


def some_records(count=40, seed=0):
    """Records of two layers, in order."""
    rng = np.random.default_rng(seed)
    result = []
    for layer in ("conv1", 'fc "é"'):
        numbers = rng.integers(1000, size=(count, 4)).tolist()
        kinds = rng.choice(list(KINDS), count).tolist()
        result += in_order(
            [
                Record(layer, time, kind, *rest)
                for (time, *rest), kind in zip(numbers, kinds, strict=True)
            ]
        )
    return result


def make(records=None, **changes):
    values = {
        "network": "net",
        "configuration": "tiny",
        "configuration_identity": "1" * 64,
        "image_manifest_sha256": "2" * 64,
        "input_sha256": "3" * 64,
        "layer": None,
        "backend": "cycle",
        "records": some_records() if records is None else records,
    }
    return EventLog(**(values | changes))


def refusal(function, *arguments):
    with pytest.raises(EventLogError) as caught:
        function(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# ----- order and differences


def test_records_of_one_cycle_are_ordered_by_kind():
    records = [Record("a", time, kind) for time in (3, 1) for kind in reversed(KINDS)]
    assert [(record.time, record.kind) for record in in_order(records)] == [
        (time, kind) for time in (1, 3) for kind in KINDS
    ]


def test_records_say_what_they_have():
    assert str(Record("a", 5, "pixel_started", 1, 2, 3)) == "pixel_started (set 1, tile 2, pixel 3)"
    assert str(Record("a", 5, "tile_started", tile=2)) == "tile_started (tile 2)"
    assert str(Record("a", 5, "layer_settled")) == "layer_settled"


A = [
    Record("a", 0, "layer_started"),
    Record("a", 1000, "tile_started"),
    Record("a", 1020, "pixel_started", 0, 0, 7),
    Record("a", 1030, "layer_settled"),
    Record("b", 0, "layer_started"),
]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (A, A, None),
        ([], [], None),
        (
            A,
            [*A[:2], Record("a", 1020, "pixel_started", 1, 0, 7), *A[3:]],
            "layer a, cycle 1,020, record 3: X has pixel_started (set 0, tile 0, pixel 7) in "
            "cycle 1,020, "
            "Y has pixel_started (set 1, tile 0, pixel 7) in cycle 1,020",
        ),
        (
            A,
            [*A[:2], Record("a", 1010, "drain_stall_began", 0, 0, 6), *A[2:]],
            "layer a, cycle 1,010, record 3: X has pixel_started (set 0, tile 0, pixel 7) in "
            "cycle 1,020, "
            "Y has drain_stall_began (set 0, tile 0, pixel 6) in cycle 1,010",
        ),
        (
            A[:3] + A[4:],
            A,
            "layer b, cycle 0, record 4: X has layer_started in cycle 0, "
            "Y has layer_settled in cycle 1,030 of layer a",
        ),
        (
            A,
            A[:3],
            "layer a, cycle 1,030, record 4: Y ended after 3 records in layer a, "
            "X goes on with layer_settled",
        ),
        (
            [],
            A,
            "layer a, cycle 0, record 1: X ended after 0 records, Y goes on with layer_started",
        ),
    ],
)
def test_the_first_difference(a, b, expected):
    assert first_difference(a, b, ("X", "Y")) == expected


@pytest.mark.parametrize("name", ["layer", "time", "set", "tile", "pixel", "kind"])
def test_a_difference_in_any_entry_is_found(name):
    records = some_records()
    other = list(records)
    value = {"layer": "other", "kind": "layer_started"}.get(name, 1 << 40)
    other[33] = dataclasses.replace(records[33], **{name: value})
    sentence = first_difference(records, other)
    assert "record 34: the first log has " in sentence
    assert str(records[33]) in sentence and str(other[33]) in sentence


# ----- comparing logs


def test_logs_of_two_backends_are_equal(tmp_path):
    write_log(tmp_path / "a", make())
    result = compare_logs(tmp_path / "a", make(backend="rtl"))
    assert result.equal and result.difference is None
    assert (result.records, result.layers) == (80, 2)
    document = json.loads(json.dumps(result.to_json()))
    assert document["equal"] is True
    assert [document[name]["backend"] for name in ("first", "second")] == ["cycle", "rtl"]


def test_differences_name_files_or_backends(tmp_path):
    write_log(tmp_path / "a", make())
    shorter = make(some_records()[:-1], backend="rtl")
    write_log(tmp_path / "b", shorter)
    sentence = compare_logs(tmp_path / "a", tmp_path / "b").difference
    assert f"{tmp_path / 'b'} ended after 79 records" in sentence
    assert f"{tmp_path / 'a'} goes on" in sentence
    sentence = compare_logs(make(), shorter).difference
    assert "the log of backend rtl ended after 79 records" in sentence
    assert "the second log ended" in compare_logs(make(), make(some_records()[:-1])).difference


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"configuration_identity": "4" * 64, "configuration": "other"},
            "of configuration tiny (1111111111111111), the log of backend rtl of configuration "
            "other "
            "(4444444444444444)",
        ),
        ({"network": "web"}, "of network net, the log of backend rtl of network web"),
        (
            {"image_manifest_sha256": ""},
            "of image 2222222222222222, the log of backend rtl of image",
        ),
        ({"input_sha256": "4" * 64}, "of input 3333333333333333"),
        ({"layer": "conv1"}, "of layer all, the log of backend rtl of layer conv1"),
    ],
)
def test_logs_of_something_else_are_refused(changes, words):
    sentence = refusal(compare_logs, make(), make(backend="rtl", **changes))
    assert words in sentence and sentence.endswith("cannot be compared")
    with pytest.raises(EventLogError):
        compare_logs(make([]), make([], **changes))


def test_the_name_of_a_configuration_does_not_matter():
    assert compare_logs(make(), make(configuration="mine")).equal


# ----- files


@pytest.mark.parametrize("layer", [None, "conv1"])
def test_a_log_is_read_as_it_was_written(tmp_path, layer):
    log = make(layer=layer)
    path = write_log(tmp_path / "new" / "a.log", log)
    assert read_log(path) == log
    lines = path.read_text().splitlines()
    assert len(lines) == 81
    header = json.loads(lines[0])
    assert header["format"] == "tritforge event log" and header["records"] == 80
    assert set(json.loads(lines[1])) == {"layer", "time", "kind", "set", "tile", "pixel"}
    write_log(path, make([]))
    assert read_log(path).records == []
    assert [entry.name for entry in path.parent.iterdir()] == ["a.log"]


def test_a_log_replaces_nothing_but_a_log(tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "image.npy").write_bytes(b"\x93NUMPY\xff")
    write_log(tmp_path / "log", make())
    (tmp_path / "link").symlink_to("log")
    (tmp_path / "folder").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_text('{"format": "tritforge report"}')
    for name, words in (
        ("thesis", "is left as it is"),
        ("image.npy", "is left as it is"),
        ("link", "is left as it is"),
        ("folder", "is left as it is"),
        ("run/log", "which is a tritforge report"),
        ("thesis/log", "cannot be written"),
    ):
        assert words in refusal(write_log, tmp_path / name, make())
        if "written" not in words:
            assert words in refusal(check_log_file, tmp_path / name)
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert len(list(tmp_path.iterdir())) == 6 and len(list((tmp_path / "run").iterdir())) == 1
    check_log_file(tmp_path / "log")
    check_log_file(tmp_path / "new")


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = write_log(tmp_path / "log", make())

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_log(path, make([]))
    assert read_log(path) == make()
    assert [entry.name for entry in tmp_path.iterdir()] == ["log"]


def damaged(path, number, change):
    """The log at ``path`` with one line changed."""
    lines = path.read_text().splitlines(keepends=True)
    lines[number] = change(lines[number])
    path.write_text("".join(lines))


def entry(**changes):
    def change(line):
        return json.dumps(json.loads(line) | changes) + "\n"

    return change


def without(name):
    def change(line):
        values = json.loads(line)
        del values[name]
        return json.dumps(values) + "\n"

    return change


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (0, lambda line: "", "is not a tritforge event log"),
        (0, lambda line: line[:40], "is not a tritforge event log"),
        (0, lambda line: "[" * 10_000, "is not a tritforge event log"),
        (0, lambda line: '["tritforge event log"]\n', "is not a tritforge event log"),
        (0, entry(format="tritforge report"), "is not a tritforge event log"),
        (0, entry(format_version=2), "of version 2; this program reads version 1"),
        (0, entry(records="80"), "has a damaged first line"),
        (0, entry(records=-1), "has a damaged first line"),
        (0, entry(network=None), "has a damaged first line"),
        (0, entry(layer=3), "has a damaged first line"),
        (0, without("backend"), "has a damaged first line"),
        (0, without("layer"), "has a damaged first line"),
        (7, lambda line: "", "has 79 records, its first line says 80"),
        (80, lambda line: line[:20], "is damaged in line 81: it is no record"),
        (7, lambda line: line + line, "has 81 records, its first line says 80"),
        (7, lambda line: "\n", "is damaged in line 8: it is no record"),
        (7, lambda line: "[" * 10_000 + "\n", "is damaged in line 8"),
        (7, lambda line: "9" * 100_000 + "\n", "is damaged in line 8"),
        (7, without("pixel"), "is damaged in line 8"),
        (7, entry(more=1), "is damaged in line 8"),
        (7, entry(time=1.5), "is damaged in line 8"),
        (7, entry(time=True), "is damaged in line 8"),
        (7, entry(set=-1), "is damaged in line 8"),
        (7, entry(tile=1 << 70), "is damaged in line 8"),
        (7, entry(layer=["conv1"]), "is damaged in line 8"),
        (7, entry(kind="pixel_exploded"), "a record of kind 'pixel_exploded' in line 8"),
        (7, entry(kind=["pixel_started"]), "in line 8; this program knows layer_started, "),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path, number, change, words):
    path = write_log(tmp_path / "log", make())
    damaged(path, number, change)
    sentence = refusal(read_log, path)
    assert words in sentence and str(path) in sentence
    assert refusal(compare_logs, make(), path) == sentence


def test_files_that_are_no_text_are_refused(tmp_path):
    path = write_log(tmp_path / "log", make())
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    assert "is not a tritforge event log" in refusal(read_log, path)
    assert "Is a directory" in refusal(read_log, tmp_path)
    assert "No such file" in refusal(read_log, tmp_path / "absent")
