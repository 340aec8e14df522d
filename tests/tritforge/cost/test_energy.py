"""Energy: every picojoule is a count times figures; a figure changes only what it is in."""

import dataclasses

import pytest

from tests.tritforge.cost.mini import MINI
from tritforge.cost.area import area_of, measure_area
from tritforge.cost.band import Band
from tritforge.cost.components import COMPONENTS, DERIVED_EVENTS, HOST_EVENTS, OFF_CHIP
from tritforge.cost.energy import energy_terms, layer_energy
from tritforge.cost.figures import CELL_KINDS, FIGURES
from tritforge.cost.library import built_in_library
from tritforge.cost.mapping import map_design
from tritforge.cost.technology import Figure
from tritforge.hw.program import COUNTERS

pytestmark = pytest.mark.compiles

#: Figures that decide areas, and by these the lengths of wires and what leaks.
AREAS = {"register_file_area", "placement", "two_port_area"}
#: What no term depends on: it is said of the technology, or used for switching activity.
NOT_IN_ENERGY = {"node", "voltage"}


@pytest.fixture(scope="module")
def terms(technology, area):
    return energy_terms(MINI, technology, area)


def test_terms(terms):
    for term in terms:
        assert term.component in COMPONENTS
        assert term.event in (*COUNTERS, *HOST_EVENTS)  # DERIVED_EVENTS: with multipliers alone
        assert term.parts
        assert 0 < term.energy.low <= term.energy.typical <= term.energy.high, term
        assert term.energy.typical == pytest.approx(sum(part.energy.typical for part in term.parts))
    assert {term.component for term in terms} == set(COMPONENTS)


def test_activation_tables(technology):
    """Every lane reads its tables in every step of the drain."""
    config = dataclasses.replace(MINI, drain_width=2, activation_tables=1)
    area = measure_area(config, technology)
    (found,) = (
        term for term in energy_terms(config, technology, area) if "activation tables" in term.what
    )
    assert (found.component, found.block, found.event) == (
        "other memories",
        "memories",
        "drain_steps",
    )
    assert found.energy.typical == pytest.approx(2 * area.memory_of("tables").cost.read.typical)


def test_multipliers(technology, area, terms):
    """A product of a weight and a product costs energy in wide additions alone, and area."""
    plain = dataclasses.replace(MINI, rows=4)
    config = dataclasses.replace(plain, multipliers=True)
    smaller, larger = measure_area(plain, technology), measure_area(config, technology)
    multiplier = larger.element.typical - smaller.element.typical
    # 8 x 14 bits: an 8-bit one has 282 um2, and is not placed yet
    assert 282 < multiplier < 4000
    found = energy_terms(config, technology, larger)
    assert {term.event for term in found} - {term.event for term in terms} == set(DERIVED_EVENTS)
    (wide,) = (term for term in found if term.event == "wide_adds")
    product, registers = wide.parts
    assert (product.figure, product.times.typical) == ("multiply_bit2", 8 * 14)
    assert registers.times.typical == 2 * 4  # a word of weights for one row
    before = layer_energy("ternary", energy_terms(plain, technology, smaller), {"adds": 1000})
    ternary = layer_energy("ternary", found, {"adds": 1000})
    wide_layer = layer_energy("wide", found, {"adds": 1000, "wide_adds": 1000})
    assert wide_layer.on_chip.typical - ternary.on_chip.typical == pytest.approx(
        1000 * wide.energy.typical
    )
    assert before.on_chip.typical < ternary.on_chip.typical < 1.5 * before.on_chip.typical


def test_parts_are_figure_times_number(terms, technology):
    """The trace of each part leads to the file."""
    seen = set()
    for term in terms:
        for part in term.parts:
            figure = part.figure
            seen.add(figure.split(".")[0])
            if figure in FIGURES:
                value = technology[figure]
            elif figure == "cells.DFF.energy":
                value = technology.cells["DFF"].energy
            else:
                _, size, kind = figure.split(".")
                words, width = map(int, size.split("x"))
                (macro,) = (
                    one for one in technology.macros if (one.words, one.width) == (words, width)
                )
                value = {"read": macro.read, "write": macro.write, "leakage": macro.leakage}[kind]
            for key in ("low", "typical", "high"):
                assert getattr(part.energy, key) == pytest.approx(
                    getattr(value, key) * getattr(part.times, key)
                ), (term.component, part)
    assert {"memories", "cells", "wire", "clock_bit"} <= seen


def test_layers_are_sums_of_counts(terms):
    events = {name: 3 + 7 * number for number, name in enumerate((*COUNTERS, *HOST_EVENTS))}
    found = layer_energy("one", terms, events)
    for component in COMPONENTS:
        assert found.components[component].typical == pytest.approx(
            sum(
                term.energy.typical * events[term.event]
                for term in terms
                if term.component == component
            )
        )
    assert found.on_chip.high + found.off_chip.high == pytest.approx(
        sum(band.high for band in found.components.values())
    )
    assert found.dynamic.low == pytest.approx(found.on_chip.low - found.components["leakage"].low)
    assert found.off_chip == found.components[OFF_CHIP]


def test_events_that_did_not_happen_cost_nothing(terms):
    nothing = layer_energy("none", terms, {})
    assert all(band == Band(0, 0, 0) for band in nothing.components.values())
    only = layer_energy("adds", terms, {"adds": 10})
    assert {name for name, band in only.components.items() if band.high} == {
        "adders",
        "accumulators",
    }


def test_leakage_is_power_times_time(terms, area, technology):
    """An idle cycle costs what all cells and memories leak in it, at either clock."""
    power = technology["logic_leakage"].typical * sum(
        block.cells.typical for block in area.blocks
    ) + sum(one.leakage.typical for block in area.blocks for one in block.memories)  # mW
    for clock in (None, 100.0):
        found = layer_energy("idle", energy_terms(MINI, technology, area, clock), {"cycles": 1000})
        microseconds = 1000 / (clock or technology["clock"].typical)
        assert found.components["leakage"].typical == pytest.approx(power * microseconds * 1e3)
    slow, fast = (energy_terms(MINI, technology, area, clock) for clock in (100.0, 1000.0))
    for one, other in zip(slow, fast, strict=True):
        assert (one.energy == other.energy) == (one.component != "leakage")


def more(technology, name):
    """The technology with one figure a thousandth greater."""
    if name in FIGURES:
        old = technology.figures[name]
        return dataclasses.replace(
            technology,
            figures={
                **technology.figures,
                name: Figure(name, old.band * 1.001, old.unit, old.source),
            },
        )
    if name.startswith("cells."):
        _, kind, field = name.split(".")
        cell = technology.cells[kind]
        return dataclasses.replace(
            technology,
            cells={
                **technology.cells,
                kind: dataclasses.replace(cell, **{field: getattr(cell, field) * 1.001}),
            },
        )
    _, size, field = name.split(".")
    words, width = map(int, size.split("x"))
    return dataclasses.replace(
        technology,
        macros=tuple(
            dataclasses.replace(one, **{field: getattr(one, field) * 1.001})
            if (one.words, one.width) == (words, width)
            else one
            for one in technology.macros
        ),
    )


def names(technology):
    return [
        *FIGURES,
        *(
            f"cells.{kind}.{field}"
            for kind in CELL_KINDS
            for field in ("area", "energy", "leakage", "capacitance")
        ),
        *(
            f"memories.{one.words}x{one.width}.{field}"
            for one in technology.macros
            for field in ("read", "write", "leakage", "area")
        ),
    ]


def test_one_figure_changes_what_it_is_in(technology, area, terms):
    """And nothing else, by the trace that every term carries: each figure in turn."""
    moved = set()
    blocks = map_design(MINI, built_in_library(technology))
    for name in names(technology):
        changed = more(technology, name)
        again = area_of(MINI, blocks, changed, built_in_library(changed))
        for old, new in zip(terms, energy_terms(MINI, changed, again), strict=True):
            for before, after in zip(old.parts, new.parts, strict=True):
                if before.energy.high == 0:  # no such flip-flops in this configuration
                    continue
                in_area = name in AREAS or name.endswith(".area")
                expected = (
                    name == before.figure
                    or name in before.factors
                    or (in_area and "area" in before.factors)
                )
                same = before.energy == after.energy
                assert same or expected, (name, old.component, before.figure)
                if not in_area:  # another block's area changes no wire of this one
                    assert same != expected, (name, old.component, before.figure)
                if not same:
                    moved.add(name)
        in_area = name in AREAS or name.endswith(".area")
        if not in_area:
            assert again.total == area.total, name
        elif again.total != area.total:
            moved.add(name)
    assert set(FIGURES) - moved == NOT_IN_ENERGY
    unused = {
        kind
        for kind in CELL_KINDS
        if not any(block.cells[technology.cells[kind].cell] for block in blocks.values())
    }
    assert {f"cells.{kind}.area" for kind in CELL_KINDS} - moved == {
        f"cells.{kind}.area" for kind in unused
    }
    assert len(unused) < 4
    assert "cells.DFF.energy" in moved
