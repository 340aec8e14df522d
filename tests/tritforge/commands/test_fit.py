# amaranth: UnusedElaboratable=no
"""tritforge fit: a configuration that loads, and what is refused."""

import json

import pytest

from tests.tritforge.support import call, refused
from tritforge.fpga.fit import search as fit
from tritforge.hw.presets import load_config
from tritforge.model_export.image.folder import load_image


@pytest.fixture
def few(monkeypatch):
    """A short search."""
    monkeypatch.setattr(fit, "MOST_ESTIMATED", 4)
    monkeypatch.setattr(
        fit.Search,
        "_shapes",
        lambda self: [
            self._config(sets=1, clusters=1, elements=elements, rows=2, scan_width=1, drain_width=1)
            for elements in (1, 2)
        ],
    )


@pytest.mark.compiles
def test_fit(exported, tmp_path, capsys, few):
    """The chosen configuration is written, loads, and compiles the image's network."""
    out = tmp_path / "found.toml"
    arguments = ("fit", exported / "image", "--board", "icebreaker", "-o", out)
    code, text, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(text)
    assert found["board"] == "icebreaker" and found["input"] == "random codes"
    chosen = found["chosen"]
    assert chosen["frames_per_second"] == pytest.approx(found["clock_hz"] / chosen["cycles"])
    assert chosen["resources"]["sprams"]["available"] == 4
    config = load_config(str(out))
    assert config.name == "found"
    assert {**config.to_dict(), "name": ""} == {**chosen["configuration"], "name": ""}
    assert list(tmp_path.iterdir()) == [out]

    # a former file is replaced; a table, with an input
    out.write_text(out.read_text() + "# more\n")
    code, text, err = call(capsys, *arguments, "--input", exported / "x.npy", "--clock", 24)
    assert (code, err) == (0, "")
    assert "frames/s" in text and "SPRAMs" in text and "at 24 MHz" in text
    assert "# more" not in out.read_text()
    network = load_image(exported / "image").network
    assert network.name in out.read_text().splitlines()[1]


@pytest.mark.compiles
def test_target(exported, capsys, few):
    code, text, _ = call(capsys, "fit", exported / "image", "--board", "icebreaker", "--target", 10)
    assert code == 0 and "the smallest of those tried that gives 10 frames/s" in text
    assert "gives 1e+09 frames/s at 21 MHz: the fastest of those tried" in refused(
        capsys, "fit", exported / "image", "--board", "icebreaker", "--target", 1e9
    )


def test_refusals(exported, tmp_path, capsys):
    image = exported / "image"
    assert "board 'toaster' is not known; known are icebreaker, ulx3s_85f" in refused(
        capsys, "fit", image, "--board", "toaster"
    )
    assert str(tmp_path) in refused(capsys, "fit", tmp_path, "--board", "icebreaker")
    assert "must end in .toml" in refused(
        capsys, "fit", image, "--board", "icebreaker", "-o", tmp_path / "found.txt"
    )
    own = tmp_path / "own.toml"
    own.write_text('preset = "tiny"\n')
    assert "exists and was not written by tritforge fit; it is left as it is" in refused(
        capsys, "fit", image, "--board", "icebreaker", "-o", own
    )
    assert own.read_text() == 'preset = "tiny"\n'
    assert "lies in" in refused(
        capsys, "fit", image, "--board", "icebreaker", "-o", image / "found.toml"
    )
    assert "is not in the range x>0" in refused(
        capsys, "fit", image, "--board", "icebreaker", "--target", -1, code=2
    )
