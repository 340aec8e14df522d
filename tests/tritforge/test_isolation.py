"""The package and its command line beside folders of a user's that are called as ours are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

NAMES = ("common", "hw", "sim", "model_export", "fpga", "tests", "benchmarks")
SCRIPT = Path(sys.executable).with_name("tritforge")


@pytest.fixture(params=[True, False], ids=["package", "folder"])
def beside(request, tmp_path):
    """A folder with such folders, with and without ``__init__.py``; each knows whose it is."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        for module in ("config", "verilog", "errors", "files", "report", "zoo", "uart"):
            (tmp_path / name / f"{module}.py").write_text(f"WHOSE = 'a user, {name}'\n")
        if request.param:
            (tmp_path / name / "__init__.py").write_text("")
    return tmp_path


def run(folder, arguments, path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(folder)
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", [False, True], ids=["", "path"])
def test_both_are_imported(beside, path):
    program = "\n".join(
        [
            "import tritforge",
            "import tritforge.common.files, tritforge.hw.config, tritforge.sim.report",
            "import tritforge.model_export.zoo, tritforge.fpga.errors, tritforge.cli",
            "assert tritforge.Config is tritforge.hw.config.Config",
            "assert all(hasattr(tritforge, name) for name in tritforge.__all__)",
            *(
                f"import {name}.uart, {name}.config\n"
                f"assert {name}.config.WHOSE == 'a user, {name}'\n"
                f"assert not hasattr({name}.config, 'Config')"
                for name in NAMES
            ),
        ]
    )
    done = run(beside, [sys.executable, "-c", program], path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [False, True], ids=["", "path"])
@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "tritforge"], [SCRIPT]], ids=["module", "script"]
)
def test_the_command_line_works(beside, path, command):
    done = run(beside, [*command, "generate", "--config", "tiny", "-o", "made"], path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "top module accelerator" in done.stdout
    done = run(beside, [*command, "--version"], path)
    assert done.stdout.startswith("tritforge, version ")
    assert {entry.name for entry in beside.iterdir()} == {*NAMES, "made"}
