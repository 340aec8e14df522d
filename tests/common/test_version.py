"""Versions are stated once, and found for what is installed."""

import tomllib
from pathlib import Path

import numpy as np

import tritforge
from tritforge.common.version import package_version, tritforge_version


def test_versions():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert tritforge.__version__ == tritforge_version() == settings["project"]["version"]
    assert package_version("numpy") == np.__version__
    assert package_version("no-such-package") is None
