"""Area: sums, bands, whose cells, how many ports."""

import dataclasses
import json

import pytest

from tests.tritforge.cost.mini import MINI
from tritforge.cost.area import AreaReport, measure_area
from tritforge.cost.band import total
from tritforge.cost.library import user_library

pytestmark = pytest.mark.compiles


def close(one, other):
    return all(
        getattr(one, key) == pytest.approx(getattr(other, key))
        for key in ("low", "typical", "high")
    )


def test_sums(area):
    assert close(area.total, total(block.area for block in area.blocks))
    assert close(area.total, area.logic + area.memory)
    for block in area.blocks:
        assert close(
            block.area,
            block.logic + total(one.cost.area * one.memory.count for one in block.memories),
        )
    names = ("element", "accumulators")
    assert close(area.element * MINI.adders, total(area.block(name).area for name in names))
    report = area.report()
    json.dumps(report.to_json(), allow_nan=False)
    assert AreaReport.from_json(report.to_json()) == report


def test_cells_take_more_room_than_they_have(area, technology):
    share = technology["placement"]
    for block in area.blocks:
        assert block.logic.low == pytest.approx(block.cells.low / share.high)
        assert block.logic.typical == pytest.approx(block.cells.typical / share.typical)
        assert block.logic.high == pytest.approx(block.cells.high / share.low)


def test_what_is_not_there_is_empty(area):
    assert area.block("unpacker").area.high == 0
    assert area.block("unpacker").memories == ()


def test_streamed_networks_need_two_ports(area, technology):
    streamed = measure_area(MINI, technology, streamed=True)
    for name, factor in (
        ("trits", True),
        ("program", True),
        ("rows", True),
        ("activations", False),
        ("results", False),
    ):
        before, after = area.memory_of(name), streamed.memory_of(name)
        if before.cost.macro is None:
            continue
        assert (after.area.typical > before.area.typical) == factor, name
        assert "two ports" in after.cost.composition, name


def test_a_users_cells(area, technology, tmp_path):
    """Half the area of every cell is half the area of all logic, and the same memories."""
    lines = ["library(mine) {"]
    for cell in technology.cells.values():
        lines += [f"cell({cell.cell}) {{ area : {cell.area.typical / 2};"]
        from tritforge.cost.figures import CELL_KINDS

        pins, function = CELL_KINDS[cell.kind]
        lines += [f"pin({pin}) {{ direction : input; }}" for pin in pins]
        if cell.kind == "DFF":
            lines += ['ff(IQ, IQN) { clocked_on : "CK"; next_state : "D"; }']
        output = "Q" if cell.kind == "DFF" else "Y"
        lines += [f'pin({output}) {{ direction : output; function : "{function}"; }} }}']
    path = tmp_path / "mine.lib"
    path.write_text("\n".join([*lines, "}"]))
    mine = measure_area(MINI, technology, library=user_library(path))
    assert mine.library == "mine.lib"
    assert mine.logic.typical == pytest.approx(area.logic.typical / 2, rel=0.02)
    assert mine.memory == area.memory


def test_a_wider_design_is_larger(area, technology):
    wider = measure_area(dataclasses.replace(MINI, accumulator_width=24), technology)
    for name in ("accumulators", "requantizer", "cluster"):
        assert wider.block(name).area.typical > area.block(name).area.typical
    for name in ("walker", "slice", "sequencer"):
        assert (wider.block(name).flip_flops, wider.block(name).gated_flip_flops) == (
            area.block(name).flip_flops,
            area.block(name).gated_flip_flops,
        )
