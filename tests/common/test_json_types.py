"""Dataclasses come back from JSON as they were; what is of another type is named."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

from tritforge.common.errors import TritforgeError
from tritforge.common.json_types import (
    Json,
    JsonError,
    JsonObject,
    dump,
    from_json,
    named,
    parse,
    to_json,
)


@dataclass(frozen=True)
class Point(JsonObject):
    x: int
    y: float


@dataclass(frozen=True)
class Drawing(JsonObject):
    kind: Literal["drawing", 3]
    name: str
    closed: bool
    points: tuple[Point, ...]
    size: tuple[int, str]
    marks: list[list[int]]
    names: Sequence[str]
    weights: dict[str, float]
    others: Mapping[str, Point | None]
    origin: Point | None
    either: int | str | list[int]
    anything: Json
    class_name: str = field(metadata=named("class"))
    note: str | None = None
    tags: list[str] = field(default_factory=list)


DRAWING = Drawing(
    "drawing",
    "a",
    True,
    (Point(1, 2.5), Point(-3, 4)),
    (1, "b"),
    [[1], []],
    ["c"],
    {"d": 0.5, "e": 2},
    {"f": Point(5, 6.0), "g": None},
    None,
    [7],
    {"h": [None, "i", {"j": 1.5}]},
    "k",
)


def test_round_trip():
    document = DRAWING.to_json()
    assert document["class"] == "k" and document["points"] == [
        {"x": 1, "y": 2.5},
        {"x": -3, "y": 4},
    ]
    assert list(document)[:3] == ["kind", "name", "closed"]
    assert Drawing.from_json(parse(dump(DRAWING))) == DRAWING
    assert dump(Drawing.from_json(json.loads(dump(DRAWING)))) == dump(DRAWING)


def test_keys_that_are_missing_or_unknown():
    document = DRAWING.to_json()
    del document["note"], document["tags"]
    assert Drawing.from_json({**document, "later": 1}) == DRAWING
    del document["class"]
    with pytest.raises(JsonError) as caught:
        Drawing.from_json(document, "drawing.json")
    assert str(caught.value) == "drawing.json lacks 'class'"
    assert isinstance(caught.value, TritforgeError)


@pytest.mark.parametrize(
    "key, value, sentence",
    [
        ("kind", "photograph", "kind is 'photograph', not 'drawing' or 3"),
        ("kind", 3.0, "kind is 3.0, not 'drawing' or 3"),
        ("name", None, "name is None, not a string"),
        ("closed", 1, "closed is 1, not true or false"),
        ("points", {}, "points is an object, not a list"),
        ("points", [7], "points[0] is 7, not an object"),
        ("points", [{"x": 1, "y": 1}, {"x": "z", "y": 1}], "points[1].x is 'z', not a whole"),
        ("points", [{"x": 1}], "points[0] lacks 'y'"),
        ("points", [{"x": True, "y": 1}], "points[0].x is True, not a whole number"),
        ("points", [{"x": 1.0, "y": 1}], "points[0].x is 1.0, not a whole number"),
        ("points", [{"x": 1 << 63, "y": 1}], "points[0].x is 9223372036854775808, not a whole"),
        ("points", [{"x": 1, "y": float("nan")}], "points[0].y is nan, not a number"),
        ("points", [{"x": 1, "y": 10**400}], "points[0].y is 1000"),
        ("points", [{"x": 1, "y": False}], "points[0].y is False, not a number"),
        ("size", [1], "size is a list of 1, not a list of 2"),
        ("size", [1, 2], "size[1] is 2, not a string"),
        ("marks", [[], [1, None]], "marks[1][1] is None, not a whole number"),
        ("names", "c", "names is 'c', not a list"),
        ("weights", {"d": "e"}, "weights.d is 'e', not a number"),
        ("weights", [], "weights is a list of 0, not an object"),
        ("others", {"f": {"x": 1}}, "others.f lacks 'y'"),
        ("others", {"f": 1}, "others.f is 1, not an object or null"),
        ("origin", [], "origin is a list of 0, not an object or null"),
        ("either", 1.5, "either is 1.5, not a whole number of at most 64 bits or a string or a"),
        ("either", [1, "2"], "either[1] is '2', not a whole number"),
    ],
)
def test_values_of_another_type(key, value, sentence):
    with pytest.raises(JsonError) as caught:
        Drawing.from_json({**DRAWING.to_json(), key: value}, "drawing.json")
    assert str(caught.value).startswith(f"drawing.json: {sentence}")
    assert len(str(caught.value)) < 160


def test_values_without_a_document():
    assert from_json(dict[str, int], {"a": 1}) == {"a": 1}
    with pytest.raises(JsonError, match=r"^the list is 'a', not a list$"):
        from_json(list[int], "a", "the list")


@pytest.mark.parametrize("text", ["", "{", "[NaN]", '{"a": Infinity}', "[" * 100_000, b"\xff\xfe{"])
def test_text_that_is_not_json(text):
    with pytest.raises(JsonError, match=r"^is not JSON: "):
        parse(text)


def test_values_that_json_does_not_have():
    with pytest.raises(TypeError, match="JSON has no set"):
        dump({"a": {1}})
    with pytest.raises(ValueError):
        dump([float("nan")])


@dataclass
class Span:
    start: int
    stop: int

    def __post_init__(self):
        if self.stop < self.start:
            raise ValueError(f"{self} ends before it begins")


@dataclass
class Spans(JsonObject):
    spans: list[Span]


def test_fields_that_do_not_go_together():
    spans = [{"start": 0, "stop": 1}, {"start": 2, "stop": 1}]
    with pytest.raises(JsonError) as caught:
        Spans.from_json({"spans": spans}, "spans.json")
    assert str(caught.value) == (
        "spans.json: spans[1]: Span(start=2, stop=1) ends before it begins"
    )


def test_types_that_json_does_not_have():
    seen = []

    def other(kind, value, where):
        seen.append((kind, where))
        return set(value)

    made = {"a": [{"x", "y"}]}
    document = to_json(made, default=sorted)
    assert document == {"a": [["x", "y"]]}
    assert from_json(dict[str, list[set[str]]], document, "sets.json", other) == made
    assert seen == [(set[str], "sets.json: a[0]")]
    assert from_json(list[set[str] | None], [None, ["z"]], "sets.json", other) == [None, {"z"}]
    assert seen[1:] == [(set[str], "sets.json: [1]")]
    with pytest.raises(JsonError, match=r"^sets\.json: a\[0\] is a list of 2, not set"):
        from_json(dict[str, list[set[str]]], document, "sets.json")
