"""Cell libraries: a technology's, and what a user's Liberty file must have."""

import pytest

from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.cost.figures import CELL_KINDS
from tritforge.cost.library import built_in_library, user_library
from tritforge.cost.technology_file import TECHNOLOGIES, load_technology

INVERTER = (
    "cell(inv) {{ area : {area}; pin(i) {{ direction : input; }} "
    'pin(zn) {{ direction : output; function : "{function}"; }} }}'
)
NAND = (
    'cell("nd2") { area : "2.5" ; pin(x) { direction : input; } pin(y) { direction : input; } '
    'pin(z) { direction : output; function : "%s"; } }'
)
FLIP_FLOP = (
    "cell (dff) { pin(c) { direction : input; clock : true; } pin(d) { direction : "
    'input; } ff(IQ, IQN) { clocked_on : "c"; next_state : "d"; } area : 9; '
    'pin(q) { direction : output; function : "IQ"; } }'
)


def write(path, *cells):
    path.write_text("library(mine) {\n/* cell(no) { */\n" + "\n".join(cells) + "\n}\n")
    return path


BUFFER = (
    "cell(buf) { area : 1; pin(a) { direction : input; } "
    'pin(y) { direction : output; function : "a"; } }'
)


def whole(path, inverter="!i", nand="!(x & y)"):
    return write(path, INVERTER.format(area=1.5, function=inverter), NAND % nand, BUFFER, FLIP_FLOP)


@pytest.mark.compiles
@pytest.mark.parametrize("name", TECHNOLOGIES)
def test_built_in(name, tmp_path):
    """It passes the checks of a user's library, with the same areas."""
    technology = load_technology(name)
    library = built_in_library(technology)
    assert len(library.areas) == len(CELL_KINDS)
    path = tmp_path / "again.lib"
    path.write_text(library.text)
    again = user_library(path)
    assert {cell: area.typical for cell, area in library.areas.items()} == {
        cell: area.typical for cell, area in again.areas.items()
    }
    assert again.flip_flops == library.flip_flops == (technology.cells["DFF"].cell,)


def test_areas(tmp_path):
    library = user_library(whole(tmp_path / "mine.lib"))
    assert library.name == "mine.lib"
    assert library.areas == {
        "inv": Band.exact(1.5),
        "nd2": Band.exact(2.5),
        "buf": Band.exact(1),
        "dff": Band.exact(9),
    }
    assert library.flip_flops == ("dff",)


@pytest.mark.parametrize("inverter", ["!i", "i'", "(!i)", " ! i", "(i)'", "!(i)"])
@pytest.mark.parametrize(
    "nand",
    [
        "!(x & y)",
        "(x*y)'",
        "!(x y)",
        "(!x) | (!y)",
        "x'+y'",
        "((x * y)')",
        "!(x+y)",
        "((x)|(y))'",
        "!x & !y",
    ],
)
def test_functions_are_known_however_written(tmp_path, inverter, nand):
    assert user_library(whole(tmp_path / "mine.lib", inverter, nand)).flip_flops == ("dff",)


@pytest.mark.parametrize(
    "cells, complaint",
    [
        ((NAND % "!(x*y)", FLIP_FLOP), "mine.lib has no inverter"),
        ((INVERTER.format(area=1, function="i"), NAND % "!(x*y)", FLIP_FLOP), "has no inverter"),
        ((INVERTER.format(area=1, function="!i"), FLIP_FLOP), "neither a NAND nor a NOR"),
        ((INVERTER.format(area=1, function="!i"), NAND % "x*y", FLIP_FLOP), "neither a NAND"),
        ((INVERTER.format(area=1, function="!i"), NAND % "!(x*y)"), "has no flip-flop"),
        ((INVERTER.format(area=1, function="!i"), NAND % "!(x*y)", FLIP_FLOP), "has no buffer"),
        (
            (INVERTER.format(area="big", function="!i"), NAND % "!(x*y)", FLIP_FLOP),
            "cell inv of .* has no area",
        ),
        (
            (INVERTER.format(area="-1", function="!i"), NAND % "!(x*y)", FLIP_FLOP),
            "cell inv of .* has no area",
        ),
        (
            (INVERTER.format(area="1", function="!i").replace("area", "size"), FLIP_FLOP),
            "cell inv of .* has no area",
        ),
        ((), "has no cells"),
        (("cell(open) { area : 1; ",), "cell open of .* does not end"),
    ],
)
def test_refused(tmp_path, cells, complaint):
    path = write(tmp_path / "mine.lib", *cells)
    if "does not end" in complaint:
        path.write_text(path.read_text().replace("}", ""))
    with pytest.raises(CostError, match=complaint):
        user_library(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(CostError, match=r"liberty file .*none\.lib cannot be read: No such file"):
        user_library(tmp_path / "none.lib")
    path = tmp_path / "mine.lib"
    path.write_text("cell(x) { area : 1; }")
    with pytest.raises(CostError, match="has no library"):
        user_library(path)
    path.write_bytes(b"library(\xff)")
    with pytest.raises(CostError, match="has no cells"):
        user_library(path)


def test_comments_strings_and_fillers(tmp_path):
    """Comments in any alphabet and of both kinds, brackets in strings, cells that do nothing."""
    path = whole(tmp_path / "mine.lib")
    text = path.read_text().replace(
        "/* cell(no) { */",
        """
      /* \u00b5m2 } */ // cell(no) { }
      comment : "}}";
      cell(fill) { leakage : 1; }""",
    )
    path.write_bytes(text.encode("latin-1"))
    assert set(user_library(path).areas) == {"inv", "nd2", "buf", "dff"}


@pytest.mark.parametrize("name", ["chunk_memory_storage", "accelerator"])
def test_names_of_the_design(tmp_path, name):
    path = whole(tmp_path / "mine.lib")
    path.write_text(path.read_text().replace("cell(inv)", f"cell({name})"))
    with pytest.raises(CostError, match=f"has a cell {name}, as a module of the design"):
        user_library(path)
