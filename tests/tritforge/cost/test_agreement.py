"""The event model beside switching activity: what is compared with what."""

import pytest

from tritforge.cost.band import Band
from tritforge.cost.netlist.activity import BlockActivity
from tritforge.cost.netlist.agreement import compare_blocks
from tritforge.cost.terms.term import Part, term


def band(typical):
    return Band(typical / 2, typical, typical * 2)


def part(figure, typical):
    return Part(figure, (), Band.exact(1.0), "", band(typical))


def block(energy, needed_clocks=0):
    return BlockActivity(0, {}, 0, 0, {}, 0.0, 0.0, needed_clocks, energy, Band.exact(0.0))


def test_like_with_like(technology):
    """Wires, memories, leakage and clocks that never stop are left out on either side; the clocks
    that gated flip-flops need are in both."""
    terms = [
        term("", "scaler", "broadcasts", "", (part("multiply_bit2", 3.0), part("wire", 100.0))),
        term("", "scaler", "cycles", "", (part("clock_bit", 7.0),)),
        term(
            "",
            "walker",
            "broadcasts",
            "",
            (part("register_bit", 1.0), part("register_file_read", 50.0)),
        ),
    ]
    events = [{"broadcasts": 4, "cycles": 9}, {"broadcasts": 6, "cycles": 9}]
    energy = {
        name: band(value)
        for name, value in (
            ("logic", 20.0),
            ("registers", 8.0),
            ("memory_outputs", 2.0),
            ("clock", 900.0),
            ("all", 930.0),
        )
    }
    nothing = {name: band(0.0) for name in energy}
    blocks = {"scaler": block(energy), "walker": block(nothing, 1000), "idle": block(nothing)}
    rows = {row.block: row for row in compare_blocks(terms, events, blocks, 2, technology)}
    assert rows["scaler"].events_pj == band(30.0)
    assert rows["scaler"].activity_pj == band(15.0)
    assert rows["scaler"].ratio == 2.0
    clock = technology.cells["DFF"].clock_energy.typical
    assert rows["walker"].activity_pj.typical == pytest.approx(500 * clock)
    assert rows["walker"].ratio == pytest.approx(10.0 / (500 * clock))
    assert rows["idle"].ratio is None
    assert rows["all"].events_pj.typical == 40.0
    assert rows["all"].activity_pj.typical == pytest.approx(15.0 + 500 * clock)
