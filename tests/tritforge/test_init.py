"""The Python interface: every name is there, and none is waited for."""

import subprocess
import sys

import pytest

import tritforge


def test_every_name_is_there_and_documented():
    for name in tritforge.__all__:
        value = getattr(tritforge, name)
        assert name in dir(tritforge)
        assert name == "PRESETS" or value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tritforge.nothing
    assert tritforge.__version__


def test_import_is_lazy():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tritforge; "
            "sys.exit(len({'torch', 'amaranth', 'numpy'} & set(sys.modules)))",
        ],
        check=False,
    )
    assert done.returncode == 0
