"""``tritforge estimate`` from the command line."""

import json
import re

import numpy as np
import pytest

from tests.tritforge.support import call, refused
from tritforge.cost.technology_file import load_technology

pytestmark = pytest.mark.compiles


@pytest.fixture(scope="module")
def estimated(exported, tmp_path_factory):
    """An estimate's file."""
    from tritforge.cli import run

    place = tmp_path_factory.mktemp("estimate") / "estimate.json"
    assert (
        run(
            [
                "estimate",
                str(exported / "image"),
                "--input",
                str(exported / "x.npy"),
                "-o",
                str(place),
            ]
        )
        == 0
    )
    return place


def arguments(exported, *more):
    return "estimate", exported / "image", "--input", exported / "x.npy", "--no-baselines", *more


def test_tables(exported, capsys, estimated):
    code, out, err = call(capsys, *arguments(exported))
    assert (code, err) == (0, "")
    document = json.loads(estimated.read_text())
    for title in ("energy of one image by layer", "by component", "area by block", "wall time"):
        assert title in out
    for layer in document["layers"]:
        assert re.search(rf"^ {re.escape(layer['name'])} +[\d,]+ ", out, re.MULTILINE)
    assert "no timing analysis" in out
    assert "every layer's additions equal what its trits and activations say" in out


def test_json_is_what_the_file_holds(exported, capsys, estimated):
    code, out, _ = call(
        capsys, "estimate", exported / "image", "--input", exported / "x.npy", "--json"
    )
    assert code == 0
    printed, kept = json.loads(out), json.loads(estimated.read_text())
    for document in (printed, kept):
        del document["seconds"]
    assert printed.pop("warnings") == []
    assert printed == kept
    assert set(kept["baselines"]) == {"without_skipping", "dense", "dense_reused"}


def test_sources_are_in_the_file(estimated):
    technology = json.loads(estimated.read_text())["technology"]
    shipped = load_technology("45nm")
    for name, figure in technology["figures"].items():
        assert figure["source"] == shipped.figures[name].source
        assert figure["unit"] == shipped.figures[name].unit


def test_other_technologies(exported, capsys, estimated):
    """Another file with the same figures gives the same; the clock counts for leakage only."""
    kept = json.loads(estimated.read_text())
    code, out, _ = call(capsys, *arguments(exported, "--clock", "8", "--json"))
    assert code == 0
    slow = json.loads(out)
    assert slow["clock_mhz"] == {"low": 8, "typical": 8, "high": 8}
    for one, other in zip(slow["layers"], kept["layers"], strict=True):
        assert one["dynamic"] == other["dynamic"]
        assert one["on_chip"]["typical"] > other["on_chip"]["typical"]


def test_a_run(exported, capsys, estimated, tmp_path):
    run = tmp_path / "run"
    assert (
        call(
            capsys,
            "simulate",
            exported / "image",
            "--input",
            exported / "x.npy",
            "--backend",
            "cycle",
            "-o",
            run,
        )[0]
        == 0
    )
    code, out, _ = call(capsys, *arguments(exported, "--run", run, "--json"))
    assert code == 0
    assert json.loads(out)["layers"] == json.loads(estimated.read_text())["layers"]
    report = json.loads((run / "report.json").read_text())
    report["layers"][0]["counters"]["adds"] += 1
    (run / "report.json").write_text(json.dumps(report))
    assert "adds, but nonzero trits meet nonzero activations" in refused(
        capsys, *arguments(exported, "--run", run)
    )
    report["configuration_identity"] = "0" * 64
    (run / "report.json").write_text(json.dumps(report))
    assert "the run is of configuration tiny (00000000), the image of tiny" in refused(
        capsys, *arguments(exported, "--run", run)
    )
    assert "not of alexnet" in refused(
        capsys, *arguments(exported, "--run", run, "--config", "alexnet")
    )


@pytest.mark.parametrize(
    "more, sentence",
    [
        (("--technology", "3nm"), "neither one that ships with tritforge"),
        (("--technology", "none.toml"), "technology file none.toml cannot be read"),
        (("--liberty", "none.lib"), "liberty file none.lib cannot be read"),
        (("--memories", "none.toml"), "memory table none.toml cannot be read"),
        (("--run", "nowhere"), "run nowhere cannot be read"),
        (("--config", "huge"), "configuration 'huge' is neither a preset"),
    ],
)
def test_refused(exported, capsys, more, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, *arguments(exported, *more))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clock", ["0", "-5", "nan", "inf", "fast", "1e308"])
def test_clocks_that_are_none(exported, capsys, clock):
    refused(capsys, *arguments(exported, "--clock", clock), code=2)


def test_output_in_the_way(exported, capsys, estimated, tmp_path):
    """A former estimate is replaced, nothing else is; nothing is written into an image."""
    foreign = tmp_path / "mine.json"
    foreign.write_text("{}")
    assert "it is left as it is" in refused(capsys, *arguments(exported, "-o", foreign))
    assert foreign.read_text() == "{}"
    refused(capsys, *arguments(exported, "-o", exported / "image" / "estimate.json"))
    assert "cannot be written" in refused(capsys, *arguments(exported, "-o", foreign / "e.json"))
    for odd in ("/dev/zero", "/dev/null"):
        assert "it is left as it is" in refused(capsys, *arguments(exported, "-o", odd))
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    assert "it is left as it is" in refused(capsys, *arguments(exported, "-o", loop))
    loop.unlink()
    former = tmp_path / "former.json"
    former.write_text(estimated.read_text())
    assert call(capsys, *arguments(exported, "-o", former))[0] == 0
    assert json.loads(former.read_text())["baselines"] == {}
    assert {path.name for path in tmp_path.iterdir()} == {"mine.json", "former.json"}


def test_inputs_of_another_network(exported, capsys, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((2, 3, 9, 9), np.float32))
    refused(capsys, "estimate", exported / "image", "--input", tmp_path / "other.npy")


def test_a_users_files(exported, capsys, estimated, tmp_path):
    """A memory table with one macro, and a library that lacks a flip-flop."""
    table = tmp_path / "memories.toml"
    table.write_text(
        '[[memories]]\nunits = { read = "pJ", write = "pJ", leakage = "mW", '
        'area = "um2" }\nsource = "data sheet of a compiler"\n'
        "macros = [{ words = 512, width = 32, read = 2.0, "
        "write = [2.0, 2.5, 3.0], leakage = 0.1, area = 9000 }]\n"
    )
    code, out, _ = call(capsys, *arguments(exported, "--memories", table, "--json"))
    assert code == 0
    assert json.loads(out)["technology"]["title"].endswith(f"; memories of {table}")
    (trits,) = (
        one
        for block in json.loads(out)["area"]["blocks"]
        for one in block["memories"]
        if one["holds"] == "trits"
    )
    assert trits["composition"] == "1 x 4 macros of 512 x 32 bits"
    assert trits["total_um2"]["typical"] == 2 * 4 * 9000
    library = tmp_path / "mine.lib"
    library.write_text(
        "library(mine) { cell(inv) { area : 1; pin(a) { direction : input; } "
        'pin(y) { direction : output; function : "!a"; } } }'
    )
    assert "mine.lib has no flip-flop" in refused(
        capsys, *arguments(exported, "--liberty", library)
    )
