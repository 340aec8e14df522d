"""tritforge build: an image becomes a bitstream whose netlist runs it; what is refused."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.tritforge import support
from tests.tritforge.support import call, refused
from tritforge.fpga.bitstream.report import digest
from tritforge.fpga.run import netlist

CONFIG = """
clusters = 1
elements = 1
rows = 2
queue_depth = 1
scan_width = 1
trit_depth = 512
activation_depth = 128
program_depth = 512
row_depth = 64
result_depth = 16
layer_count = 4
packet_words = 34
response_places = 2
unpack_trits = false
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with the small network's ``image`` for the smallest array, and input."""
    folder = support.prepare(tmp_path_factory.mktemp("small"))
    (folder / "mini.toml").write_text(CONFIG)
    arguments = support.export_arguments(
        folder, folder / "image", **{"--config": folder / "mini.toml"}
    )
    assert support.run([*arguments, "--resident"]) == 0
    return folder


@pytest.mark.compiles
def test_bitstream(small, tmp_path, capsys, monkeypatch):
    """Synthesis, place and route, packing; then the netlist runs the image it holds."""
    out = tmp_path / "build"
    arguments = (
        "build",
        "--board",
        "ulx3s_85f",
        "--image",
        small / "image",
        "--clock",
        25,
        "-o",
        out,
    )
    code, text, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    report = json.loads(text)
    assert report["fresh"] and report["timing"]["met"]
    assert report["contents"]["host_sends"] == "inputs only"
    assert [one["memory"] for one in report["contents"]["preloaded"]] == [
        "program",
        "rows",
        "trits of cluster 0",
    ]
    assert (out / "ulx3s_85f.bit").stat().st_size == report["bitstream"]["bytes"] > 100_000
    assert 2000 < report["resources"]["luts"]["used"] < 8000
    assert report["critical_path"]["steps"]
    blocks = {row["block"]: row for row in report["blocks"]}
    assert blocks["cluster_*.element_*"]["instances"] == 1
    for what in ("luts", "block_rams", "dsps"):
        assert sum(row[what] for row in blocks.values()) > 0
    assert report["configuration"]["trit_depth"] == 512

    # More than the clock is asked for, and heard of.
    placed = json.loads((out / "placed.json").read_text())
    assert [clock["constraint"] for clock in placed["fmax"].values()] == pytest.approx([30.0], 0.01)
    assert "ignoring clock constraint" not in (out / "place.txt").read_text()

    # The same again is not built again; a clock that is missed is told.
    code, text, _ = call(capsys, *arguments)
    assert code == 0 and "holds this build already" in text and "4-input lookup tables" in text
    changed = json.loads((out / "report.json").read_text())
    changed["timing"].update(fmax_mhz=20.0, met=False)
    del changed["digest"]
    (out / "report.json").write_text(json.dumps(changed | {"digest": digest(changed)}))
    code, text, err = call(capsys, *arguments)
    assert code == 1 and "20.0 MHz reached, 25 MHz asked for" in text
    assert "the clock is missed: mini reaches 20.0 MHz on ulx3s_85f, not 25 MHz" in err

    simulated = netlist.netlist_board
    monkeypatch.setattr(
        netlist,
        "netlist_board",
        lambda *found, **options: simulated(*found, **options, optimize=False),
    )
    code, text, err = call(
        capsys,
        "run",
        "--netlist",
        out,
        "--image",
        small / "image",
        "--input",
        small / "x.npy",
        "--json",
    )
    result = json.loads(text)
    assert (code, err) == (0, "")
    assert result["already_there"] and result["checked"] and result["different_images"] == 0
    np.testing.assert_equal(result["report"]["images"], 3)


@pytest.mark.compiles
def test_unknown_board(tmp_path, capsys):
    assert "board 'toaster' is not known; known are icebreaker, ulx3s_85f" in refused(
        capsys, "build", "--board", "toaster", "-o", tmp_path / "build"
    )


@pytest.mark.compiles
def test_impossible_clock(tmp_path, capsys):
    assert "the PLL of family ecp5 cannot make 900 MHz from 25 MHz" in refused(
        capsys, "build", "--board", "ulx3s_85f", "--clock", 900, "-o", tmp_path / "build"
    )


@pytest.mark.compiles
@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "--board", "icebreaker", "--clock", "nan", "-o", "x"),
        ("fit", "image", "--board", "icebreaker", "--clock", "nan"),
        ("fit", "image", "--board", "icebreaker", "--target", "inf"),
        ("run", "--virtual", "--image", "image", "--input", "x.npy", "--noise", "nan"),
    ],
)
def test_numbers_that_are_none(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *arguments)
    assert code == 2 and "is not a finite number" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.compiles
def test_the_folder_that_one_is_in(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for output in (".", tmp_path.parent):
        assert "is the folder that you are in, or holds it; give another one" in refused(
            capsys, "build", "--board", "icebreaker", "-o", output
        )


@pytest.mark.compiles
def test_memories_that_never_fit(tmp_path, capsys):
    """Refused before synthesis, whose tools are not even looked for."""
    (tmp_path / "deep.toml").write_text('preset = "icebreaker"\nactivation_depth = 65536\n')
    sentence = refused(
        capsys,
        "build",
        "--board",
        "icebreaker",
        "--config",
        tmp_path / "deep.toml",
        "-o",
        tmp_path / "build",
    )
    assert (
        "configuration deep does not fit iCEBreaker (Lattice iCE40UP5K-SG48): it needs " in sentence
    )
    assert " 7 single-port RAMs of 4; the nearest configuration that would fit has " in sentence
    assert sentence.endswith("activation_depth = 16384")


@pytest.mark.compiles
def test_image_of_another_configuration(small, tmp_path, capsys):
    assert "was compiled for" in refused(
        capsys,
        "build",
        "--board",
        "ulx3s_85f",
        "--config",
        "tiny",
        "--image",
        small / "image",
        "-o",
        tmp_path / "build",
    )


@pytest.mark.compiles
def test_folder_of_something_else(small, capsys):
    assert "exists and is not a tritforge build; it is left as it is" in refused(
        capsys, "build", "--board", "ulx3s_85f", "--config", "tiny", "-o", small / "image"
    )


@pytest.mark.compiles
def test_flash_and_load(tmp_path, capsys, monkeypatch):
    assert "give --flash or --load, not both" in refused(
        capsys, "build", "--board", "ulx3s_85f", "--flash", "--load", "-o", tmp_path, code=2
    )
    monkeypatch.setenv("PATH", os.devnull)
    assert "openFPGALoader is not on PATH; install it" in refused(
        capsys, "build", "--board", "ulx3s_85f", "--flash", "-o", tmp_path / "build"
    )
    assert not (tmp_path / "build").exists()


@pytest.mark.compiles
def test_tool_fails(small, tmp_path, capsys, monkeypatch):
    """Its last complaint is shown, its log kept, and nothing else."""
    tool = tmp_path / "bin" / "yosys"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\n[ $1 = -V ] && echo Yosys 0.0 && exit\n"
        "echo reading; echo 'ERROR: no luck'; exit 3\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    sentence = refused(
        capsys,
        "build",
        "--board",
        "ulx3s_85f",
        "--config",
        small / "mini.toml",
        "-o",
        tmp_path / "build",
    )
    log = tmp_path / "build.synthesis.failed.txt"
    assert sentence == (f"tritforge: yosys failed with exit code 3: ERROR: no luck (log: {log})")
    assert log.read_text() == "reading\nERROR: no luck\n"
    shutil.rmtree(tool.parent)
    assert list(tmp_path.iterdir()) == [log]


def test_netlist_of_no_build(small, tmp_path, capsys):
    assert f"{tmp_path} is not a tritforge build" in refused(
        capsys, "run", "--netlist", tmp_path, "--image", small / "image", "--input", small / "x.npy"
    )
