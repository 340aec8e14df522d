"""Bands: arithmetic keeps low, typical and high apart."""

import pytest

from tritforge.cost.band import Band, total


def test_arithmetic():
    one, other = Band(1, 2, 4), Band(0.5, 1, 3)
    assert one + other == Band(1.5, 3, 7)
    assert one * 2 == 2 * one == Band(2, 4, 8)
    assert one * other == Band(0.5, 2, 12)
    assert one / 2 == Band(0.5, 1, 2)
    assert total([one, other, one]) == Band(2.5, 5, 11)
    assert total([]) == Band(0, 0, 0)
    assert Band.exact(3).to_json() == {"low": 3, "typical": 3, "high": 3}


def test_contains_its_ends():
    assert [Band(1, 2, 4).contains(value) for value in (0.9, 1, 4, 4.1)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "values, complaint",
    [
        ((2, 1, 3), "rising order"),
        ((1, 3, 2), "rising order"),
        ((-1, 0, 1), "negative"),
        ((0, 1, float("inf")), "finite"),
        ((0, float("nan"), 1), "finite"),
    ],
)
def test_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        Band(*values)
