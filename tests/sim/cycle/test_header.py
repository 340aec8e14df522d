"""What the compiled model shares with the hardware: a change there changes the model, or the model
does not compile."""

import enum
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.model_export.networks import (
    compile_network,
    random_codes,
    random_config,
    random_network,
    streamed,
)
from tritforge.hw import config, program, protocol, timing
from tritforge.sim import event_log, host
from tritforge.sim.cycle import header, library, model, structs
from tritforge.sim.cycle.header import machine_header
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel
from tritforge.sim.native import compiler

pytestmark = pytest.mark.compiles

FOLDER = Path(library.__file__).parent
SOURCES = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.[ch]pp"))
#: What the model allows one value of only.
FIXED = {"CLUSTERS_IDLE_LATENCY", "RELEASE_LATENCY"}
#: What shows where one cycle more would not: something else takes longer, or two places are enough.
CHANGES = {"OLDEST_LATENCY": 40, "READ_AHEAD_PLACES": -14, "WRITE_PLACES": -1}


def tensors_of(network, codes):
    golden = GoldenModel(network).run_all(codes[None], unpooled=True)
    return {name: values[0] for name, values in golden.items()}


@pytest.fixture(scope="module")
def work():
    """A network in memories that hold it, and one that is streamed."""
    rng = np.random.default_rng(8)
    one = random_config(
        rng, queue_depth=1, memory_ports=2, register_stages="full", job_places=1, group_places=2
    )
    network = random_network(rng, one)
    resident = (
        network,
        compile_network(network, one),
        tensors_of(network, random_codes(rng, network, 1)),
    )
    rng = np.random.default_rng(7)  # passes, and groups that are released
    small = config.Config(clusters=2, elements=2, rows=2, scan_width=2)
    network = random_network(rng, small, max_layers=3, max_channels=9, max_size=4)
    memory = streamed(rng, network, small)
    return resident, (network, memory, tensors_of(network, random_codes(rng, network, 1)))


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Compiled quickly, and not kept; the drain has to wait for write-backs."""
    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path))
    monkeypatch.setattr(library, "_FLAGS", (*library._FLAGS, "-O0"))
    monkeypatch.setattr(timing, "merge_level", lambda config: 1)


def run(work):
    """Counters and event logs."""
    (network, memory, tensors), (other, schedule, streams) = work
    logs = {}, {}
    counters = CycleModel(network, memory).run(tensors, log=logs[0])
    return counters, CycleModel(other, schedule).run_schedule(streams, log=logs[1]), logs


def errors(text, folder):
    """What the compiler says of the model with this header."""
    (folder / "machine.hpp").write_text(text, encoding="utf-8")
    command = [compiler(), "-std=c++17", "-fsyntax-only", f"-I{folder}", FOLDER / "simulation.cpp"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.fixture
def before(work, quick):
    return run(work)


def test_it_compiles_as_it_is(tmp_path):
    assert not errors(machine_header(), tmp_path)


@pytest.mark.parametrize("name", header._TIMING)
def test_latencies(name, work, before, monkeypatch, tmp_path):
    assert re.search(rf"\b{name}\b", SOURCES)
    monkeypatch.setattr(timing, name, getattr(timing, name) + CHANGES.get(name, 1))
    if name in FIXED:
        assert "static assertion failed" in errors(machine_header(), tmp_path)
    else:
        assert run(work) != before


@pytest.mark.parametrize(
    "name",
    [
        "fetch_latency",
        "job_latency",
        "clear_cycles",
        "write_back_latency",
        "merge_head_latency",
        "settle",
    ],
)
def test_latencies_of_a_configuration(name, work, before, monkeypatch):
    own = getattr(timing, name)
    monkeypatch.setattr(timing, name, lambda config: own(config) + 1)
    if name == "merge_head_latency":  # there is a register, or none
        monkeypatch.setattr(timing, name, lambda config: 0)
    assert run(work) != before


def test_every_figure_of_a_configuration_counts():
    for name in structs.MACHINE.members:
        assert re.search(rf"\b(c|machine)\.{name}\b", SOURCES), name


@pytest.mark.parametrize(
    ("field", "high"),
    [("scan_width", 17), ("rows", 256), ("window_count", 256)],
)
def test_limits_that_a_type_cannot_hold(field, high, monkeypatch, tmp_path):
    monkeypatch.setitem(config.LIMITS, field, (1, high))
    assert "static assertion failed" in errors(machine_header(), tmp_path)


@pytest.mark.parametrize(
    ("field", "high"),
    [("clusters", 100), ("elements", 100), ("job_places", 40), ("response_places", 20)],
)
def test_limits_size_arrays(field, high, monkeypatch, tmp_path):
    """The arrays are as long as the limit; none has a length of its own."""
    name = f"MOST_{field.upper()}"
    monkeypatch.setitem(config.LIMITS, field, (1, high))
    assert f"{name} = {high};" in machine_header()
    assert re.search(rf"(\[|, |: ){name}[\]>]", SOURCES)
    assert not re.search(r"\w\[\d{2,}\]", SOURCES)
    assert not errors(machine_header(), tmp_path)


def test_counters_follow_their_order(work, before, monkeypatch):
    turned = program.COUNTERS[::-1]
    monkeypatch.setattr(program, "COUNTERS", turned)
    monkeypatch.setattr(model, "COUNTERS", turned)
    assert run(work) == before


def test_counters_are_those_of_the_hardware(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "COUNTERS", (*program.COUNTERS[1:], "sums"))
    assert "BROADCASTS" in errors(machine_header(), tmp_path)
    monkeypatch.setattr(program, "COUNTERS", (*program.COUNTERS[1:], "broadcasts", "sums"))
    assert "static assertion failed" in errors(machine_header(), tmp_path)


def test_opcodes(work, before, monkeypatch, tmp_path):
    codes = {opcode.name: 100 - opcode for opcode in protocol.Opcode}
    for module in (protocol, host):
        monkeypatch.setattr(module, "Opcode", enum.IntEnum("Opcode", codes))
    assert run(work) == before
    del codes["SIGNAL"]
    monkeypatch.setattr(protocol, "Opcode", enum.IntEnum("Opcode", codes))
    assert "SIGNAL" in errors(machine_header(), tmp_path)


def test_kinds_of_events(work, before, monkeypatch, tmp_path):
    turned = dict(reversed(event_log.KINDS.items()))
    for module in (event_log, model):
        monkeypatch.setattr(module, "KINDS", turned)
    assert run(work) == before
    del turned["tile_drained"]
    assert "TILE_DRAINED" in errors(machine_header(), tmp_path)


def test_sizes_of_records(work, before, monkeypatch):
    words = program.record_words
    monkeypatch.setattr(program, "record_words", lambda layout: words(layout) + 1)
    assert run(work) != before


@pytest.mark.parametrize("struct", structs.STRUCTS, ids=lambda struct: struct.name)
def test_structs(struct, tmp_path):
    """A member that has another type or place in C++ than in Python does not compile."""
    text, (first, *_) = machine_header(), struct.members
    own = struct.members[first]
    other = "int64_t" if own == "int32_t" else "int32_t"
    changed = text.replace(
        f"struct {struct.name} {{\n    {own} {first};",
        f"struct {struct.name} {{\n    {other} {first}_before, {first};",
    )
    assert changed != text
    assert "static assertion failed" in errors(changed, tmp_path)
