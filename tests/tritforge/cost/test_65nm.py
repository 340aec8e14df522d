"""65 nm: figures that are scaled are those of 45 nm times the factors that the file states."""

import itertools

import pytest

from tritforge.cost.technology import Technology
from tritforge.cost.technology_file import load_technology


@pytest.fixture(scope="module")
def old() -> Technology:
    return load_technology("45nm")


@pytest.fixture(scope="module")
def new() -> Technology:
    return load_technology("65nm")


def gate(coefficients: tuple[float, float, float], volts: float) -> float:
    """Energy of a gate in Stillmaker and Baas' fit, in units that only ratios have a use for."""
    square, linear, constant = coefficients
    return square * volts**2 + linear * volts + constant


AT_65, AT_45 = (3.755, -4.398, 1.975), (1.103, -0.362, 0.2767)
A, B, C = (gate(AT_65, 1.0) / gate(AT_45, volts) for volts in (1.1, 1.0, 0.9))


def test_factors_are_those_of_the_file():
    for factor, stated in ((A, 1.098), (B, 1.309), (C, 1.578)):
        assert factor == pytest.approx(stated, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("select_bit", (A, A, A)),
        ("clock_bit", (A, A, A)),
        ("add_bit", (B, C, B)),
        ("multiply_bit2", (C, C, B)),
        ("register_file_area", (1.5, 1.5, 1.5)),
        ("toggle", (1, 1, 1)),
        ("placement", (1, 1, 1)),
        ("logic_leakage", (0.000107 / 1.5, 0.0256 / 1.5, 1.12 / 1.5)),
    ],
)
def test_figures_are_scaled_as_stated(old, new, name, factors):
    before, after = old[name], new[name]
    assert (after.low, after.typical, after.high) == pytest.approx(
        (before.low * factors[0], before.typical * factors[1], before.high * factors[2]), rel=1e-3
    )


@pytest.mark.compiles
def test_cells_are_scaled_as_stated(old, new):
    for kind, cell in new.cells.items():
        before = old.cells[kind]
        assert cell.area.typical == pytest.approx(before.area.typical * 1.5, rel=1e-3)
        assert cell.energy.typical == pytest.approx(before.energy.typical * A, rel=1e-3)
        assert cell.energy.high == pytest.approx(before.energy.high * B, rel=1e-3)
        assert cell.leakage.typical == pytest.approx(before.leakage.typical * 0.0256, rel=1e-3)


def test_larger_memories_of_one_width_take_more(new):
    for width in {macro.width for macro in new.macros}:
        rows = sorted((one for one in new.macros if one.width == width), key=lambda one: one.words)
        for small, large in itertools.pairwise(rows):
            for field in ("read", "write", "leakage", "area"):
                before, after = getattr(small, field), getattr(large, field)
                assert before.low < after.low
                assert before.typical < after.typical
                assert before.high < after.high


@pytest.mark.compiles
def test_a_memory_takes_more_than_at_45_nm(old, new):
    sizes = {(one.words, one.width): one for one in old.macros}
    shared = [one for one in new.macros if (one.words, one.width) in sizes]
    assert len(shared) > 12
    for macro in shared:
        before = sizes[macro.words, macro.width]
        assert macro.read.low > before.read.low
        assert macro.area.typical > before.area.typical
