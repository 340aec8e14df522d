"""Technology files: every figure has unit, source and band; what has not is refused."""

import copy
import json
import tomllib
from pathlib import Path

import pytest

import tritforge.cost.technology as technology_module
from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.cost.figures import CELL_KINDS, FIGURES
from tritforge.cost.technology import TechnologyReport
from tritforge.cost.technology_file import TECHNOLOGIES, load_macros, load_technology

FOLDER = Path(technology_module.__file__).with_name("technologies")


def toml(value):
    """A value as TOML writes it inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and value != value:
        return "nan"
    if value == float("inf"):
        return "inf"
    return json.dumps(value)


def write(path, values):
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in values.items()))
    return str(path)


@pytest.fixture
def values():
    return tomllib.loads((FOLDER / "45nm.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TECHNOLOGIES)
def test_every_figure_has_a_source(name):
    """In the files that ship, and each source says where from, not only that there is one."""
    raw = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    for figure in FIGURES:
        assert len(raw["figures"][figure]["source"]) > 12, figure
    assert len(raw["cells"]["source"]) > 12
    for table in raw["memories"]:
        assert len(table["source"]) > 12
    loaded = load_technology(name)
    assert set(loaded.figures) == set(FIGURES)
    assert set(loaded.cells) == set(CELL_KINDS)
    for kind, cell in loaded.cells.items():
        assert cell.source and cell.kind == kind
    assert all(macro.source for macro in loaded.macros)
    report = loaded.report()
    json.dumps(report.to_json(), allow_nan=False)
    assert TechnologyReport.from_json(report.to_json()) == report


def test_a_rewritten_file_is_the_same(values, tmp_path):
    """The writer of these tests loses nothing, so what they refuse is refused for their change."""
    again = load_technology(write(tmp_path / "again.toml", values))
    first = load_technology("45nm")
    assert (again.figures, again.cells, again.macros) == (first.figures, first.cells, first.macros)


def test_units_are_converted(values, tmp_path):
    values["figures"]["add_bit"] |= {"low": 2e-6, "typical": 3e-6, "high": 4e-6, "unit": "nJ"}
    values["figures"]["wire"] |= {"low": 190, "typical": 230, "high": 270, "unit": "fJ/mm"}
    values["figures"]["clock"] |= {"low": 0.8, "typical": 0.8, "high": 0.8, "unit": "GHz"}
    found = load_technology(write(tmp_path / "units.toml", values))
    assert found["add_bit"].typical == pytest.approx(3e-3)
    assert found.figures["add_bit"].unit == "pJ"
    assert found["wire"].high == pytest.approx(0.27)
    assert found["clock"] == Band(800, 800, 800)


def test_based_on_another(tmp_path):
    """What a file does not say is the other's; a figure that it says, it says whole."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'format = "tritforge technology 1"\ntitle = "mine"\nbased_on = "45nm"\n'
        "[figures.add_bit]\nlow = 1\ntypical = 2\nhigh = 3\nunit = 'fJ'\n"
        "source = 'measured'\n"
    )
    mine, base = load_technology(str(path)), load_technology("45nm")
    assert mine.title == "mine"
    assert mine["add_bit"] == Band(1e-3, 2e-3, 3e-3)
    assert mine.figures["add_bit"].source == "measured"
    assert {name for name in FIGURES if mine.figures[name] != base.figures[name]} == {"add_bit"}
    assert (mine.cells, mine.macros) == (base.cells, base.macros)
    path.write_text(path.read_text().replace('"45nm"', '"3nm"'))
    with pytest.raises(CostError, match=r"mine\.toml is based on '3nm'; it must be one of"):
        load_technology(str(path))
    path.write_text(path.read_text().replace('"3nm"', '"45nm"').replace("high = 3\n", ""))
    with pytest.raises(CostError, match=r"figure add_bit of .* lacks high"):
        load_technology(str(path))


@pytest.mark.parametrize("name", FIGURES)
def test_missing_figure(values, tmp_path, name):
    del values["figures"][name]
    with pytest.raises(CostError, match=rf"less\.toml lacks figure {name} \("):
        load_technology(write(tmp_path / "less.toml", values))


@pytest.mark.parametrize(
    "change, complaint",
    [
        (
            {"unit": "parsec"},
            "figure add_bit of .* has unit 'parsec'; it must be one of pJ, fJ, nJ",
        ),
        ({"unit": "um2"}, "has unit 'um2'"),
        ({"unit": 3}, "has unit 3"),
        ({"low": 9.0}, "add_bit .*not in rising order"),
        ({"high": 1.0}, "add_bit .*not in rising order"),
        ({"low": -1.0}, "add_bit .*negative"),
        ({"typical": float("nan")}, "typical of figure add_bit .* not a finite number"),
        ({"high": float("inf")}, "high of figure add_bit .* not a finite number"),
        ({"high": "much"}, "high of figure add_bit .* is 'much', not a number"),
        ({"high": True}, "is True, not a number"),
        ({"low": 0, "typical": 0, "high": 0}, "add_bit .* is 0; it must be greater"),
        ({"low": 0}, "low of figure add_bit .* is 0; it must be greater"),
        ({"high": 1e308}, "high of figure add_bit .* out of all proportion"),
        ({"low": 1e-300}, "low of figure add_bit .* out of all proportion"),
        ({"high": 10**400}, "high of figure add_bit .* out of all proportion"),
        ({"source": "a\u001b[31m"}, "characters that cannot be printed"),
        ({"source": ""}, "figure add_bit of .* has no source"),
        ({"source": "  "}, "has no source"),
        ({"source": None}, "has no source"),
        ({"colour": "red"}, "has unknown entries colour"),
    ],
)
def test_bad_figure(values, tmp_path, change, complaint):
    one = values["figures"]["add_bit"] | change
    values["figures"]["add_bit"] = {key: value for key, value in one.items() if value is not None}
    with pytest.raises(CostError, match=complaint):
        load_technology(write(tmp_path / "bad.toml", values))


@pytest.mark.parametrize("field", ["low", "typical", "high", "unit"])
def test_figure_without_a_part(values, tmp_path, field):
    del values["figures"]["add_bit"][field]
    with pytest.raises(CostError, match=f"figure add_bit of .* lacks {field}"):
        load_technology(write(tmp_path / "bad.toml", values))


@pytest.mark.parametrize(
    "path, value, complaint",
    [
        (("format",), "tritforge technology 2", "does not begin with format"),
        (("title",), "", "has no title"),
        (("title",), "two\nlines", "has no title of printable"),
        (("figures", "placement", "high"), 70, "placement .* it must be at most 1"),
        (("figures", "toggle", "high"), 1.5, "toggle .* it must be at most 1"),
        (("figures", "two_port_area", "low"), 0.5, "two_port_area .* it must be at least 1"),
        (("cells", "NAND2", "cell"), "NAND\u00e9", "no name of a cell"),
        (("cells", "NAND2", "cell"), "chunk_memory_storage", "as something else is"),
        (("cells", "NAND2", "cell"), "DFF_X1", "as something else is"),
        (("memories", 0, "macros", 0, "words"), 512, "is there twice"),
        (("more",), 1, "unknown entries more"),
        (("figures", "subtract_bit"), {}, "unknown entries subtract_bit"),
        (("figures",), 3, r"has no table \[figures\]"),
        (("cells", "NAND2"), None, "lacks cell NAND2"),
        (("cells", "DFF", "clock_energy"), None, "cell DFF of .* lacks clock_energy"),
        (("cells", "NAND2", "area"), 0, "area of cell NAND2 .* is 0"),
        (("cells", "NAND2", "area"), [3, 2, 1], "area of cell NAND2 .*not in rising order"),
        (("cells", "NAND2", "area"), [1, 2], "has 2 values, not low, typical and high"),
        (("cells", "NAND2", "cell"), "a b", "no name of a cell"),
        (("cells", "units", "area"), "acre", "area of .* has unit 'acre'"),
        (("cells", "units"), None, "has no table units"),
        (("cells", "source"), None, "has no source"),
        (("memories",), None, "has no memories"),
        (("memories",), [], "has no memories"),
        (("memories", 0, "macros"), [], "have no macros"),
        (("memories", 0, "source"), "", "has no source"),
        (("memories", 0, "macros", 0, "words"), 0, "words of memory 0 x 32 .* at least 1"),
        (("memories", 0, "macros", 0, "width"), 1.5, "width of .* is 1.5; it must be an integer"),
        (("memories", 0, "macros", 0, "read"), None, "lacks read"),
        (("memories", 0, "macros", 0, "read"), [1, 3, 2], "read of memory .*not in rising order"),
    ],
)
def test_bad_file(values, tmp_path, path, value, complaint):
    place = values
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(CostError, match=complaint):
        load_technology(write(tmp_path / "bad.toml", values))


def test_files_that_are_none(tmp_path):
    with pytest.raises(CostError, match=r"'3nm' is neither one that ships .*45nm.* nor a \.toml"):
        load_technology("3nm")
    with pytest.raises(CostError, match="cannot be read: No such file"):
        load_technology(str(tmp_path / "none.toml"))
    path = tmp_path / "broken.toml"
    path.write_text("format = ")
    with pytest.raises(CostError, match="is not TOML"):
        load_technology(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CostError, match="is not TOML"):
        load_technology(str(path))


def test_memory_table(values, tmp_path):
    table = {"memories": copy.deepcopy(values["memories"])}
    table["memories"][0]["macros"] = table["memories"][0]["macros"][:2]
    path = tmp_path / "memories.toml"
    write(path, table)
    assert load_macros(path) == load_technology("45nm").macros[:2]
    write(path, table | {"figures": {}})
    with pytest.raises(CostError, match=r"memory table .*memories\.toml has unknown entries"):
        load_macros(path)
