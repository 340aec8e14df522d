"""Networks that do not fit the memories: simulators agree, and find out what cannot go on."""

import dataclasses
import threading

import numpy as np
import pytest

from tests.model_export.draws import Case
from tests.model_export.networks import random_codes, random_network, streamed
from tests.sim.agreement import check_streamed, tensors_of
from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.memory.schedule import Await, Schedule, Signal
from tritforge.sim.backend import CycleBackend, PythonBackend
from tritforge.sim.cycle.model import CycleModel, CycleModelError
from tritforge.sim.host import HostTensors
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.pysim import PythonLink

pytestmark = pytest.mark.compiles


def small_network(seed=1, tables=0):
    rng = np.random.default_rng(seed)
    config = Config(clusters=2, elements=2, rows=2, scan_width=2, activation_tables=tables)
    network = random_network(rng, config, max_layers=3, max_channels=9, max_size=4)
    return network, streamed(rng, network, config), random_codes(rng, network)


@pytest.mark.parametrize(("seed", "tables"), [(1, 0), (15, 2)])
def test_amaranths_simulator(seed, tables):
    network, memory, codes = small_network(seed, tables)
    assert bool(tables) == ("tables" not in memory.schedule.resident and len(memory.tables) > 0)
    with PythonLink(memory.config) as link:
        assert check_streamed(link, Case(network, memory, (codes, codes)))


def test_a_host_that_never_signals_is_found_out(monkeypatch):
    """Program and host that wait for each other: a sentence from every simulator, no hang."""
    network, memory, codes = small_network()
    golden = tensors_of(network, codes)
    original = Schedule.steps

    def steps(self, config, numbers):
        """The last signal is missing."""
        every = list(original(self, config, numbers))
        last = max(index for index, step in enumerate(every) if isinstance(step, Signal))
        return iter([*every[:last], *every[last + 1 :], Await(1000)])

    monkeypatch.setattr(Schedule, "steps", steps)
    numbers = range(len(memory.schedule.passes))
    with pytest.raises(CycleModelError, match="program and host wait for each other in layer"):
        CycleModel(network, memory).run_schedule(golden, numbers)
    host = HostTensors(memory)
    host.write(network.input, codes)
    with pytest.raises(ValueError, match="program and host wait for each other"):
        Interpreter(memory.config, memory).run_schedule(host, numbers)


def test_an_interrupt_ends_the_run_and_leaves_the_model_usable(monkeypatch):
    network, memory, codes = small_network()
    golden = tensors_of(network, codes)
    model = CycleModel(network, memory)
    expected = model.run_schedule(golden)

    def interrupted(thread):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "is_alive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.run_schedule(golden)
    assert threading.active_count() == 1
    assert model.run_schedule(golden) == expected


def test_skipping_of_activations_can_be_turned_off_for_the_same_contents():
    network, memory, codes = small_network()
    golden = tensors_of(network, codes)
    off = dataclasses.replace(memory.config, skip_zero_activations=False)
    found = CycleModel(network, dataclasses.replace(memory, config=off)).run_schedule(golden)
    assert all(one["skipped_activations"] == 0 for one in found)
    assert sum(one["adds"] for one in found) >= 0


def test_backends_agree_whatever_ran_before():
    """Layers alone and whole networks, several images: the cycle model knows what is left in
    memory. A host that writes a tensor on the chip clears the lanes of no channel."""
    rng = np.random.default_rng([100504, 8])
    config = Config(clusters=2, elements=2, rows=2, scan_width=2)
    network = random_network(rng, config, max_layers=4, max_channels=9, max_size=4)
    memory = streamed(rng, network, config)
    codes = np.stack([random_codes(rng, network) for _ in range(2)])
    image = CompiledNetwork(network, memory)
    names = [layer.name for layer in network.layers]
    with CycleBackend(image) as modelled, PythonBackend(image) as simulated:
        for layer in (*names[-2:], None, names[-1], None):
            one, other = (backend.run(codes, layer) for backend in (modelled, simulated))
            np.testing.assert_array_equal(one.output, other.output)
            assert one.cycles_per_image == other.cycles_per_image
            assert [run.counters for run in one.layers] == [run.counters for run in other.layers]
