"""Verilog of a configuration that is an object."""

import dataclasses

import pytest

import tritforge
from tritforge.hw.presets import PRESETS
from tritforge.sim.report import ReportError


@pytest.mark.compiles
def test_generate_with_a_configuration(tmp_path):
    config = dataclasses.replace(PRESETS["tiny"], clusters=1, elements=2, name="least")
    verilog, sidecar = tritforge.generate(config, tmp_path / "v")
    assert verilog.read_text().startswith("// tritforge accelerator, configuration least")
    assert sidecar.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="is not a folder"):
        tritforge.generate(config, tmp_path / "file")
    assert {entry.name for entry in tmp_path.iterdir()} == {"v", "file"}
