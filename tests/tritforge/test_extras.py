"""What is not installed is a sentence that names the extra, and only for tasks that need it."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tritforge.support import export_arguments
from tritforge.common.extras import MissingExtraError, extra

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

#: Module -> package, of all that extras install as modules.
EXTRAS = {
    "amaranth_boards": "amaranth-boards",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
}
DRAWN = ["--model", "zoo:alexnet_dorefa"]


def without(arguments, folder, more="", **environment):
    """Run the command line in ``folder`` where no module of an extra can be imported."""
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({list(EXTRAS)}))\n{more}\n"
        "from tritforge.cli import run\n"
        f"sys.exit(run({[str(argument) for argument in arguments]}))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
    )


def test_the_error():
    with (
        pytest.raises(
            MissingExtraError,
            match=r"^a board needs the package no_such_package, which is not installed; install it "
            r"with: pip install 'tritforge\[fpga\]'$",
        ),
        extra("fpga", "a board"),
    ):
        importlib.import_module("no_such_package")
    with (
        pytest.raises(
            MissingExtraError,
            match=r"^a board needs a package that cannot be imported \(libX\.so: no such file\); "
            r"it comes with tritforge\[fpga\], reinstall it$",
        ),
        extra("fpga", "a board"),
    ):
        raise ImportError("libX.so:\nno such file")


def test_extras_are_those_of_the_project():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = [
        one.partition(">")[0]
        for name in ("demo", "estimate", "fpga")
        for one in settings["optional-dependencies"][name]
    ]
    assert {*EXTRAS.values()} <= {*names}
    assert not {*names} & {one.partition(">")[0] for one in settings["dependencies"]}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["demo", "-o", "out"], "demo"),
        (["bench", "alexnet", "--out", "out"], "demo"),
        (["export", "--drawn", "0", *DRAWN, "--config", "tiny", "-o", "out"], "demo"),
        (["fit", "image", "--board", "icebreaker"], "fpga"),
        (["build", "--board", "icebreaker", "-o", "out"], "fpga"),
        (["run", "--image", "image", "--input", "x.npy", "--virtual"], "fpga"),
        (["report", "run"], "estimate"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_commands_that_need_an_extra_name_it(tmp_path, arguments, name):
    done = without(arguments, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("tritforge: ") and done.stderr.count("\n") == 1
    assert f"pip install 'tritforge[{name}]'" in done.stderr


def test_estimate_names_the_extra_of_yosys(exported, tmp_path):
    places = os.environ["PATH"].split(os.pathsep)
    done = without(
        ["estimate", exported / "image", "--input", exported / "x.npy"],
        tmp_path,
        "sys.executable = '/nowhere/python'",
        TRITFORGE_CACHE=str(tmp_path),
        PATH=os.pathsep.join(place for place in places if not list(Path(place).glob("*yosys"))),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "pip install 'tritforge[estimate]'" in done.stderr


def test_the_others_need_none(files):
    image, inputs = files / "image", ["--input", files / "x.npy"]
    for arguments in (
        export_arguments(files, image),
        ["simulate", image, *inputs, "--backend", "cycle", "-o", files / "run"],
        ["verify", image, *inputs, "--backend", "memory"],
        ["generate", "--config", "tiny", "-o", files / "verilog"],
    ):
        done = without(arguments, files)
        assert (done.returncode, done.stderr) == (0, "")
