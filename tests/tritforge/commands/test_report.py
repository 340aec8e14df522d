"""tritforge report: the page of a real run, the same twice, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from tests.tritforge.support import call, refused
from tritforge.cost import estimate as estimates

pytestmark = pytest.mark.compiles


@pytest.fixture(scope="module")
def ran(exported, tmp_path_factory):
    """A folder with a run of the small network, and its image beside it."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copytree(exported / "image", folder / "image")
    shutil.copy(exported / "x.npy", folder / "x.npy")
    from tests.tritforge.support import run

    assert (
        run(
            [
                "simulate",
                str(folder / "image"),
                "--input",
                str(folder / "x.npy"),
                "--backend",
                "cycle",
                "-o",
                str(folder / "run"),
            ]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def measured():
    """Areas, each measured once."""
    return {}


@pytest.fixture(autouse=True)
def measured_once(measured, monkeypatch):
    real = estimates.measure_area

    def once(config, technology, **options):
        key = (config.identity, technology.name, options["library"] is None)
        if key not in measured:
            measured[key] = real(config, technology, **options)
        return measured[key]

    monkeypatch.setattr(estimates, "measure_area", once)


def test_report(ran, capsys):
    code, text, err = call(capsys, "report", ran / "run", "--input", ran / "x.npy", "--json")
    assert (code, err) == (0, "")
    shown = json.loads(text)
    page = ran / "run.html"
    assert shown["file"] == str(page) and shown["adds_checked"] and shown["baselines"]
    first = page.read_bytes()
    assert b'<meta name="generator" content="tritforge report">' in first
    inside = first.decode().partition('<script type="application/json" id="estimate">')[2]
    embedded = json.loads(inside.partition("</script>")[0])
    seconds = shown.pop("seconds"), shown.pop("file")
    assert shown.pop("warnings") == []
    assert seconds and embedded == shown
    assert f"tritforge report {ran / 'run'} --input {ran / 'x.npy'}" in first.decode()
    assert "--backend cycle" in first.decode()
    # nothing else is written, and the same files give the same page
    assert sorted(one.name for one in ran.iterdir()) == ["image", "run", "run.html", "x.npy"]
    assert sorted(one.name for one in (ran / "run").iterdir()) == ["output.npy", "report.json"]
    code, text, err = call(capsys, "report", ran / "run", "--input", ran / "x.npy")
    assert (code, err) == (0, "") and page.read_bytes() == first
    assert "uJ an image on the chip" in text and "mm2" in text and str(page) in text


def test_image_moved(ran, tmp_path, capsys):
    moved, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(ran / "image", moved)
    shutil.copytree(ran / "run", run)
    report = json.loads((run / "report.json").read_text())
    report["image"] = "somewhere/else"
    (run / "report.json").write_text(json.dumps(report))
    assert "image somewhere/else of run" in refused(capsys, "report", run)
    out = tmp_path / "pages" / "page.html"
    code, _, err = call(capsys, "report", run, "--image", moved, "--clock", 100, "-o", out)
    assert (code, err) == (0, "") and "--clock 100" in out.read_text(encoding="utf-8")
    assert "needs --input" in out.read_text(encoding="utf-8")


def test_refusals(ran, tmp_path, capsys):
    run = ran / "run"
    foreign = tmp_path / "mine.html"
    foreign.write_text("<html>mine")
    assert "was not written by tritforge report" in refused(capsys, "report", run, "-o", foreign)
    assert foreign.read_text() == "<html>mine"
    assert "must end in .html" in refused(capsys, "report", run, "-o", tmp_path / "x.txt")
    assert "lies in" in refused(capsys, "report", run, "-o", run / "page.html")
    assert "cannot be read" in refused(capsys, "report", tmp_path / "no", "-o", tmp_path / "x.html")
    assert "neither one that ships" in refused(capsys, "report", run, "--technology", "9nm")
    assert "is an image, not a run; tritforge simulate" in refused(
        capsys, "report", ran / "image", "-o", tmp_path / "x.html"
    )
    np.save(tmp_path / "other.npy", np.ones((2, 2, 4, 4), np.float32))
    assert "the run is of 3 images, the input has 2" in refused(
        capsys, "report", run, "--input", tmp_path / "other.npy"
    )
    np.save(tmp_path / "other.npy", np.load(ran / "x.npy")[::-1])
    for command in (["report", run], ["estimate", ran / "image", "--run", run]):
        said = refused(capsys, *command, "--input", tmp_path / "other.npy")
        assert "the run is of other inputs than these" in said
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"wall_seconds": None}, "report.json: wall_seconds is None, not a number"),
        ({"loading": {}}, "the run says that loading took None words"),
        ({"utilization": float("nan")}, "NaN is no number that JSON has"),
        ({"tritforge": ...}, "lacks 'tritforge'"),
        ({"image": ...}, "report.json lacks 'image'"),
        ({"layers": 3}, "report.json: layers is 3, not a list"),
        ({"layers": [{"name": "0"}]}, "report.json: layers[0] lacks 'kind'"),
    ],
)
def test_damaged_report(ran, tmp_path, capsys, change, sentence):
    run = tmp_path / "run"
    shutil.copytree(ran / "run", run)
    report = {**json.loads((run / "report.json").read_text()), **change}
    kept = {key: value for key, value in report.items() if value is not ...}
    (run / "report.json").write_text(json.dumps(kept))
    assert sentence in refused(capsys, "report", run)
