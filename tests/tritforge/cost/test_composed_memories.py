"""Memories composed of macros."""

import dataclasses

import pytest

from tritforge.cost.band import Band
from tritforge.cost.memory import memory_cost, register_file
from tritforge.cost.technology import Macro

pytestmark = pytest.mark.compiles


def macro(words, width, read=1.0, area=100.0):
    one = Band(0.5, 1.0, 2.0)
    return Macro(words, width, one * read, one * (2 * read), one * 0.01, one * area, "made up")


def made_of(technology, *macros):
    return dataclasses.replace(technology, macros=macros)


def test_one_macro(technology):
    """Exactly what the table says: nothing is beside a single macro."""
    one = macro(512, 64, read=3.0, area=800.0)
    cost = memory_cost(made_of(technology, one), 64, 512, two_port=False)
    assert (cost.read, cost.write, cost.leakage, cost.area) == (
        one.read,
        one.write,
        one.leakage,
        one.area,
    )
    assert cost.composition == "1 x 1 macros of 512 x 64 bits"


def test_side_by_side_and_behind_each_other(technology):
    one = macro(512, 64, area=10_000.0)
    cost = memory_cost(made_of(technology, one), 100, 1500, two_port=False)
    assert cost.composition == "2 x 3 macros of 512 x 64 bits"
    assert cost.area == one.area * 6
    assert cost.leakage.typical == pytest.approx(one.leakage.typical * 6)
    access, wires, address, choices = cost.read_shares
    assert access.energy == one.read * 2
    # half of the side of a square of 60 000 um2, in mm
    length = 60_000**0.5 / 2e3
    assert wires.energy.typical == pytest.approx(
        technology["wire"].typical * technology["toggle"].typical * 100 * length
    )
    # 11 lines along the whole side
    assert address.energy.typical == pytest.approx(
        technology["wire"].typical * technology["toggle"].typical * 11 * 2 * length
    )
    assert choices.energy.typical == pytest.approx(
        technology["select_bit"].typical * technology["toggle"].typical * 100 * 1.584962500721156
    )
    assert cost.read.typical == pytest.approx(
        sum(share.energy.typical for share in cost.read_shares)
    )
    assert cost.write.typical - cost.read.typical == pytest.approx(2 * one.read.typical)


def test_narrow_words_share_one_of_the_macro(technology):
    one = macro(512, 64, area=10_000.0)
    cost = memory_cost(made_of(technology, one), 16, 4096, two_port=False)
    assert cost.composition == "1 x 2 macros of 512 x 64 bits"
    assert cost.read_shares[0].energy == one.read
    # one of two macros, and of its four words
    assert cost.read_shares[3].energy.typical == pytest.approx(
        technology["select_bit"].typical * technology["toggle"].typical * 16 * 3
    )


def test_words_that_are_used_where_they_are_stored(technology):
    """Bits go half of one column's square, not half of the whole one's."""
    one = made_of(technology, macro(256, 32, area=10_000.0))
    whole, spread = (
        memory_cost(one, 512, 1024, two_port=False, spread=spread) for spread in (False, True)
    )
    assert spread.area == whole.area
    wires = [cost.read_shares[1].energy.typical for cost in (whole, spread)]
    assert wires[0] / wires[1] == pytest.approx(16**0.5)


def test_two_ports(technology):
    one = made_of(technology, macro(512, 64))
    single, double = (memory_cost(one, 64, 512, two_port=two) for two in (False, True))
    assert double.area == single.area * technology["two_port_area"]
    assert double.leakage == single.leakage * technology["two_port_area"]
    assert double.read == single.read * technology["two_port_energy"]
    assert "two ports" in double.composition


def test_least_energy_of_those_that_are_not_much_larger(technology):
    small, frugal, large = (
        macro(256, 32, read=9.0, area=1_000.0),
        macro(512, 64, read=9.0, area=4_150.0),
        macro(256, 32, read=1.0, area=1_300.0),
    )
    assert memory_cost(
        made_of(technology, small, frugal, large), 64, 512, two_port=False
    ).area.typical == pytest.approx(4_150)
    assert memory_cost(
        made_of(technology, small, large), 64, 512, two_port=False
    ).area.typical == pytest.approx(4_000)


def test_small_memories_become_registers(technology):
    cost = memory_cost(technology, 8, 4, two_port=False)
    assert cost == register_file(technology, 8, 4)
    assert cost.area == technology["register_file_area"] * 32
    assert cost.read == technology["register_file_read"] * 8


@pytest.mark.parametrize("width, depth", [(512, 13312), (128, 8192), (16, 2048), (96, 256)])
def test_a_larger_memory_costs_more(technology, width, depth):
    first = memory_cost(technology, width, depth, two_port=False)
    wider = memory_cost(technology, 2 * width, depth, two_port=False)
    deeper = memory_cost(technology, width, 2 * depth, two_port=False)
    assert first.area.typical < min(wider.area.typical, deeper.area.typical)
    assert first.leakage.typical < min(wider.leakage.typical, deeper.leakage.typical)
    assert first.read.typical < wider.read.typical
    assert first.read.typical < 1.02 * deeper.read.typical
