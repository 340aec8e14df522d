"""Networks that do not fit the memories on random configurations: RTL, golden model, interpreter
and cycle model agree, in one run of the whole network and in one for every layer."""

import dataclasses
import threading

import numpy as np
import pytest

from tests.model_export.networks import random_codes, random_config, random_network, streamed
from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.schedule import Await, Schedule, Signal
from tritforge.model_export.memory.streaming import emit_streamed
from tritforge.sim.backend import CycleBackend, PythonBackend
from tritforge.sim.cycle.model import CycleModel, CycleModelError
from tritforge.sim.device import Device
from tritforge.sim.event_log import first_difference
from tritforge.sim.golden import GoldenModel
from tritforge.sim.host import HostTensors
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.native import NativeLink
from tritforge.sim.observer import Observer
from tritforge.sim.pysim import PythonLink


def tensors_of(network, codes):
    return {
        name: values[0]
        for name, values in GoldenModel(network).run_all(codes[None], unpooled=True).items()
    }


def check(link, network, memory, codes):
    golden = tensors_of(network, codes)
    device, model = Device(link), CycleModel(network, memory)
    device.load(memory)
    host, other = HostTensors(memory), HostTensors(memory)
    machine = Interpreter(memory.config, memory)
    host.write(network.input, codes)
    other.write(network.input, codes)
    schedule = memory.schedule
    runs = [
        range(len(schedule.passes)),
        *(schedule.of_layer(layer.name) for layer in network.layers),
    ]
    waited = 0
    for index, numbers in enumerate(runs):
        observer, log = Observer(memory.config), {}
        assert link.observe(observer)
        got = device.run_schedule(memory, host, numbers)
        link.observe(None)
        modelled_counters = model.run_schedule(golden, numbers, log=log)
        seen = observer.records(
            [
                (schedule.pass_name(number), network.layer(schedule.passes[number].layer).width)
                for number in numbers
            ]
        )
        expected = [record for records in log.values() for record in records]
        assert first_difference(seen, expected) is None
        for number, one, modelled, timeless in zip(
            numbers, got, modelled_counters, machine.run_schedule(other, numbers), strict=True
        ):
            assert one == modelled, (schedule.passes[number].layer, number)
            assert {name: one[name] for name in timeless} == timeless
            waited += one["stall_refill"]
        status = device.status()
        assert sum(one["cycles"] for one in got) == status.cycles
        assert status.errors == status.dropped == 0
        if index:
            layer = network.layers[index - 1]
            if layer.final:
                continue
            found = (
                host.read(layer.output)
                if memory.tensors[layer.output].external
                else device.read_tensor(memory, layer.output)
            )
            np.testing.assert_array_equal(found, golden[layer.output], err_msg=layer.name)
            continue
        for name, place_ in memory.tensors.items():
            if place_.external:
                np.testing.assert_array_equal(host.read(name), golden[name], err_msg=name)
        np.testing.assert_array_equal(device.read_results(memory), golden[network.final.output])
    np.testing.assert_array_equal(device.read_results(memory), golden[network.final.output])
    assert waited


def run_configuration(seed, networks):
    """A configuration made too small for one network, and others that can be streamed on it."""
    rng = np.random.default_rng([seed, 23])
    config = random_config(
        rng,
        skip_zero_weights=seed % 5 != 3,
        skip_zero_activations=seed % 5 != 4,
        layer_count=int(rng.integers(1, 9)),
    )
    network = random_network(rng, config)
    memory = streamed(rng, network, config)
    small = memory.config
    for _ in range(networks):
        with NativeLink(small, optimize=False) as link:
            check(link, network, memory, random_codes(rng, network))
        for _ in range(100):
            network = random_network(rng, config)
            try:
                memory = emit_streamed(network, place(network, small), small)
                break
            except ExportError:
                pass
        else:
            return  # nothing else fits: its own network was enough


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_in_memories_too_small(seed):
    run_configuration(seed, 6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 24))
def test_many_random_networks_in_memories_too_small(seed):
    run_configuration(seed, 6)


def small_network(seed=1):
    rng = np.random.default_rng(seed)
    config = Config(clusters=2, elements=2, rows=2, scan_width=2)
    network = random_network(rng, config, max_layers=3, max_channels=9, max_size=4)
    return network, streamed(rng, network, config), random_codes(rng, network)


def test_amaranths_simulator():
    network, memory, codes = small_network()
    with PythonLink(memory.config) as link:
        check(link, network, memory, codes)


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
        for layer in (*names, None, names[-1], None):
            one, other = (backend.run(codes, layer) for backend in (modelled, simulated))
            np.testing.assert_array_equal(one.output, other.output)
            assert one.cycles_per_image == other.cycles_per_image
            assert [run.counters for run in one.layers] == [run.counters for run in other.layers]
