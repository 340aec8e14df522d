"""Builds the designs and runs the cocotb testbenches on every simulator that there is."""

import contextlib
import json
import logging
import shutil
import sys

import pytest
from cocotb_tools.runner import get_results, get_runner

from tests.cocotb.stream_drivers import CONFIG_VARIABLE
from tritforge.hw.activation_slice import ActivationSlice
from tritforge.hw.cluster import Cluster
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.hw.processing_element import ProcessingElement
from tritforge.hw.verilog import TOP_NAME, convert, generate_verilog
from tritforge.sim.native import verilator_folder

pytestmark = pytest.mark.compiles

#: Testbench, top module, configuration, Verilog of it.
DESIGNS = {
    "processing_element": (
        "tb_processing_element",
        "processing_element",
        Config(rows=5, banks=4, queue_depth=3),
        lambda config: convert(ProcessingElement(config), "processing_element"),
    ),
    "cluster": (
        "tb_cluster",
        "cluster",
        Config(rows=3, scan_width=3, drain_width=2, trit_depth=200, activation_depth=100),
        lambda config: convert(Cluster(config), "cluster"),
    ),
    "activation_slice": (
        "tb_activation_slice",
        "activation_slice",
        Config(sets=3, scan_width=5, activation_depth=64),
        lambda config: convert(ActivationSlice(config), "activation_slice"),
    ),
    "tiny": ("tb_tiny", TOP_NAME, PRESETS["tiny"], generate_verilog),
}
SIMULATORS = [
    "verilator",
    pytest.param(
        "icarus",
        marks=pytest.mark.skipif(
            shutil.which("iverilog") is None, reason="Icarus Verilog is not installed"
        ),
    ),
]


def verilator_arguments(monkeypatch, folder):
    """Make the Verilator of the Python package usable by cocotb; returns its build arguments."""
    root = verilator_folder()
    folder.mkdir()
    (folder / "verilator").symlink_to(root / "bin" / "verilator_bin")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("VERILATOR_ROOT", str(root))
    # Its makefile has the Python of the machine that it was built on, and leaves the two
    # variables of the precompiled header empty.
    monkeypatch.setenv(
        "MAKEFLAGS",
        f"-s -- PYTHON3={sys.executable} OPT_FAST=-O0 OPT_SLOW=-O0 "
        "OPT_GLOBAL=-O0 "
        "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG=",
    )
    return ["-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--x-initial", "fast"]


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("design", DESIGNS)
def test_design(design, simulator, tmp_path, monkeypatch):
    """All tests of the testbench pass; where one fails, a second run keeps the waveforms."""
    bench, top, config, generate = DESIGNS[design]
    source = tmp_path / f"{top}.v"
    source.write_text(generate(config), encoding="utf-8")
    log = tmp_path / "test.log"
    arguments = (
        verilator_arguments(monkeypatch, tmp_path / "bin") if simulator == "verilator" else []
    )
    for name in ("MAKELEVEL", "MFLAGS", "WAVES", "GUI"):
        monkeypatch.delenv(name, raising=False)

    def run(folder, waves):
        runner = get_runner(simulator)
        runner.log.setLevel(logging.WARNING)
        runner.build(
            sources=[source],
            hdl_toplevel=top,
            build_dir=folder,
            waves=waves,
            build_args=arguments,
            timescale=("1ns", "1ps"),
            always=True,
            log_file=tmp_path / "build.log",
        )
        results = folder / "results.xml"
        # The runner leaves the process where a test failed; the results say which.
        with contextlib.suppress(SystemExit):
            runner.test(
                test_module=f"tests.cocotb.{bench}",
                hdl_toplevel=top,
                build_dir=folder,
                waves=waves,
                seed=1,
                results_xml=str(results),
                timescale=("1ns", "1ps"),
                log_file=log,
                extra_env={CONFIG_VARIABLE: json.dumps(config.to_dict())},
            )
        return get_results(results)

    count, failed = run(tmp_path / "build", False)
    if failed:
        run(tmp_path / "waves", True)
    assert not failed, (
        f"{failed} of {count} tests failed; log and waveforms are in {tmp_path}\n"
        + log.read_text(encoding="utf-8")[-4000:]
    )
    assert count == 2
