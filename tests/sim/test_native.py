"""The native simulation: its back door equals the port, in one program and with apart clusters."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.model_export.networks import compile_network, random_codes, random_network
from tritforge.hw.config import Config
from tritforge.sim import native
from tritforge.sim.device import Device, DeviceError
from tritforge.sim.golden import GoldenModel
from tritforge.sim.native import NativeLink

pytestmark = pytest.mark.compiles

CONFIG = Config(
    sets=2,
    clusters=2,
    elements=4,
    rows=4,
    scan_width=3,
    drain_width=2,
    packet_words=60,
    activation_tables=2,
)


@pytest.fixture(params=[False, True], ids=["whole", "apart"])
def apart(request, monkeypatch, tmp_path):
    """Clusters compiled as a library of their own, as large configurations have them."""
    if request.param:
        monkeypatch.setattr(native, "_INLINE_LIMIT", 0)
        monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path))
    return request.param


def test_the_back_door_equals_the_port(apart):
    rng = np.random.default_rng(5)
    network = random_network(rng, CONFIG)
    codes = random_codes(rng, network)
    codes = codes[0] if codes.ndim == 4 else codes
    memory = compile_network(network, CONFIG)
    assert len(memory.tables)
    expected = GoldenModel(network).run(codes[None])[0]
    outcomes = []
    for back_door in (False, True):
        with NativeLink(CONFIG, optimize=False) as link:
            device = Device(link)
            before = link.cycles
            device.load(memory, back_door=back_door)
            loading = link.cycles - before
            assert (loading == 0) == back_door
            device.write_tensor(memory, network.input, codes)
            counters = device.run(memory.layers[0].address, len(memory.layers))
            results = device.read_results(memory)
            np.testing.assert_array_equal(results, expected)
            outcomes.append(counters)
    assert outcomes[0] == outcomes[1]


def test_the_back_door_knows_its_limits():
    with NativeLink(CONFIG, optimize=False) as link:
        width = CONFIG.memory_chunks("trits")
        assert not link.poke("results", 0, 0, np.zeros((1, 1), np.uint32))
        with pytest.raises(DeviceError, match=r"words 2047 to 2048 of memory trits are written"):
            link.poke("trits", 3, 2047, np.zeros((2, width), np.uint32))
        assert not link.poke("trits", 4, 0, np.zeros((1, width), np.uint32))


def test_configurations_compile_apart():
    one = native.compile_native(CONFIG, optimize=False)
    other = native.compile_native(dataclasses.replace(CONFIG, banks=4), optimize=False)
    assert one != other


def test_a_broken_library_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path))
    built = []

    def build(config, folder, report, optimize):
        built.append(config)
        (folder / "library.so").write_bytes(b"a library")
        return folder / "library.so"

    monkeypatch.setattr(native, "_build", build)
    path = native.compile_native(CONFIG, optimize=False)
    path.write_bytes(path.read_bytes()[:-1])
    assert native.compile_native(CONFIG, optimize=False) == path
    assert path.read_bytes() == b"a library" and len(built) == 2


def test_without_a_compiler_it_is_said_what_works(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(native.SimulatorError, match=r"no C\+\+ compiler .* golden .* pysim"):
        native.compiler()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gcc", r"CXX is gcc, which compiles C; a C\+\+ compiler such as g\+\+ would"),
        ("clang-18", r"such as clang\+\+-18 would"),
        ("x86_64-linux-gnu-gcc-13", r"such as x86_64-linux-gnu-g\+\+-13 would"),
        ("cc", r"such as c\+\+ would"),
        ("g++ -O2", "CXX is 'g\\+\\+ -O2', which is no program; .* without options"),
        ("absent", "CXX is 'absent', which is no program"),
    ],
)
def test_what_cxx_must_not_be(monkeypatch, tmp_path, given, words):
    for name in ("gcc", "clang-18", "x86_64-linux-gnu-gcc-13", "cc", "g++", "clang++-18"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", given)
    with pytest.raises(native.SimulatorError, match=words):
        native.compiler()
    for right in ("clang++-18", str(tmp_path / "g++")):
        monkeypatch.setenv("CXX", right)
        assert native.compiler() == str(tmp_path / Path(right).name)


def test_a_tool_that_fails_and_says_nothing():
    with pytest.raises(native.SimulatorError, match=r"^false failed: exit code 1$"):
        native.run_tool(["false"])
