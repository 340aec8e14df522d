"""Numbers on a page: what they say, and where they say that it is from."""

import math

import pytest

from tritforge.report.numbers import KINDS, Numbers, rounded


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (0.0, "0"),
        (12.0, "12.0"),
        (1234.5678, "1,235"),
        (0.00123456, "0.00123"),
        (9.996, "10.00"),
        (99.96, "100.0"),
        (1.88e-12, "1.88e-12"),
        (-2.5, "-2.50"),
        (5e9, "5,000,000,000"),
    ],
)
def test_rounded(value, text):
    assert rounded(value) == text
    assert math.isclose(float(text.replace(",", "")), value, rel_tol=5e-3, abs_tol=0)


def test_units():
    numbers = Numbers({})
    assert numbers.unit([3.6e9, 1.0], "energy") == "mJ"
    assert numbers.unit([999.0, None], "energy") == "pJ"
    assert numbers.unit([0.5], "energy") == "pJ"
    assert numbers.unit([0.0], "time") == "µs"
    assert numbers.unit([], "bytes") == "bytes"
    for units in KINDS.values():
        assert list(units.values()) == sorted(units.values())


def test_text():
    """Whole numbers stay whole where they are settings, not where they stand beside others."""
    numbers = Numbers({})
    assert numbers.text(800.0, "clock", "MHz") == "800"
    assert numbers.text(3000.0, "power", "W") == "3.00"
    assert numbers.text(12.0, "count", "") == "12" and numbers.text(0.25, "count", "") == "0.250"
    assert numbers.text(0.4567, "share", "%") == "45.7" and numbers.text(0.0, "share", "%") == "0"


def test_number():
    numbers = Numbers({"estimate": {"a b": [{"x": 1234567.5}], "none": None}})
    assert numbers("a b.0.x", "energy") == (
        '<data value="1234567.5" data-in="estimate" data-path="a b.0.x" data-kind="energy" '
        'data-unit="µJ">1.23</data>\N{NO-BREAK SPACE}µJ'
    )
    assert ">1,234,568<" in numbers.bare("a b.0.x", "count")
    for path in ("none", "none.typical", "none.0.x"):
        assert "<data" not in numbers(path) and "none" in numbers.bare(path)
    with pytest.raises(KeyError):
        numbers("a b.0.y")


def test_band():
    numbers = Numbers(
        {
            "derived": {
                "e": {"low": 1.0e6, "typical": 2.0e6, "high": 3.0e9},
                "same": {"low": 5.0, "typical": 5.0, "high": 5.0},
            }
        }
    )
    text = numbers.band("e", source="derived")
    assert [text.count(f'data-path="e.{key}"') for key in ("low", "typical", "high")] == [1, 1, 1]
    assert text.count('data-unit="µJ"') == 3  # one unit, so that they can be compared
    assert "exact" in numbers.band("same", "pJ", "derived")


def test_markup_in_what_is_written():
    numbers = Numbers({"estimate": {'"><b>': 1.0}})
    assert "<b>" not in numbers('"><b>') and '"><b>' not in numbers.attributes(
        '"><b>', "estimate", "number", ""
    )
