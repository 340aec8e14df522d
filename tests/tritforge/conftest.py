"""Exports the small network once for all tests of this folder."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
support = importlib.import_module("support")


@pytest.fixture
def files(tmp_path):
    """A fresh folder with checkpoint, model file, calibration and input."""
    return support.prepare(tmp_path)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A folder as ``files``, with the network exported to ``image``; not to be changed."""
    folder = support.prepare(tmp_path_factory.mktemp("exported"))
    assert support.run([*support.export_arguments(folder, folder / "image")]) == 0
    return folder
