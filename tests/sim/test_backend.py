"""Backends: the same integers behind one interface, and costs that add up."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.networks import (
    compile_network,
    random_codes,
    random_network,
    windows_network,
)
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import COUNTERS
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.sim.backend import (
    BACKENDS,
    CycleBackend,
    InterpreterBackend,
    RtlBackend,
    SimulationError,
    create,
    port_word_count,
)
from tritforge.sim.device import DeviceError
from tritforge.sim.report import build_report
from tritforge.sim.result import CLUSTER_CYCLES, Loading

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

TINY = PRESETS["tiny"]


def make(seed, config=TINY, images=2, **sizes):
    """An image of a random network, and codes (images, C, H, W)."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, config, **sizes)
    image = CompiledNetwork(network, compile_network(network, config))
    codes = np.stack([random_codes(rng, network, 0.6) for _ in range(images)])
    return image, codes


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(6))
def test_rtl_equals_golden(seed):
    image, codes = make(seed)
    with create("golden", image) as golden, create("rtl", image) as rtl:
        expected, found = golden.run(codes), rtl.run(codes)
        np.testing.assert_array_equal(found.output, expected.output)
        for name, values in golden.capture(codes).items():
            np.testing.assert_array_equal(rtl.capture(codes)[name], values, err_msg=name)
        again = rtl.run(codes)  # after running layer by layer
        np.testing.assert_array_equal(again.output, expected.output)
        for layer in image.network.layers:
            alone = rtl.run(codes, layer.name)
            np.testing.assert_array_equal(alone.output, golden.run(codes, layer.name).output)
            assert [one.name for one in alone.layers] == [layer.name]
            assert alone.output_layer == layer.name


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(6))
def test_costs_add_up(seed):
    image, codes = make(seed)
    config = image.config
    with RtlBackend(image) as rtl, InterpreterBackend(image) as memory:
        found, expected = rtl.run(codes), memory.run(codes)
    assert found.total_cycles == sum(found.cycles_per_image)
    assert len(found.cycles_per_image) == found.images == len(codes)
    assert found.loading.how == "host port"
    assert found.loading.port_words == port_word_count(image.memory)
    assert found.loading_cycles > found.loading.sent_words > 0
    assert expected.total_cycles is None and expected.layers[0].cycles is None
    layer_cycles = sum(layer.cycles for layer in found.layers)
    assert layer_cycles <= found.total_cycles <= layer_cycles + 64 * len(codes)
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        assert ours.cycles == sum(ours.cycles_per_image)
        assert set(ours.counters) == set(COUNTERS) - {"cycles"}
        for name, value in theirs.counters.items():
            assert ours.counters[name] == value, (ours.name, name)
        spent = ours.cluster_cycles(config)
        assert tuple(spent) == CLUSTER_CYCLES
        assert min(spent.values()) >= 0
        assert sum(spent.values()) == config.cluster_count * ours.cycles
        assert ours.utilization(config) == pytest.approx(
            ours.counters["adds"] / (ours.cycles * config.cluster_count * config.elements)
        )


@pytest.mark.compiles
def test_pysim_and_rtl_give_the_same_cycles():
    image, codes = make(3, images=1, max_layers=3, max_channels=6, max_size=4)
    with create("pysim", image) as pysim, create("rtl", image) as rtl:
        one, other = pysim.run(codes), rtl.run(codes)
    np.testing.assert_array_equal(one.output, other.output)
    assert one.cycles_per_image == other.cycles_per_image
    for ours, theirs in zip(one.layers, other.layers, strict=True):
        assert ours.counters == theirs.counters


def same_costs(ours, theirs):
    """Everything of two simulations but who made them, how long it took, and loading."""
    np.testing.assert_array_equal(ours.output, theirs.output)
    assert ours.cycles_per_image == theirs.cycles_per_image
    assert ours.total_cycles == theirs.total_cycles
    assert [vars(layer) for layer in ours.layers] == [vars(layer) for layer in theirs.layers]


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(8))
def test_the_cycle_backend_reports_what_the_rtl_does(seed):
    """Several images, whole and one layer alone, in the same order on the same memories."""
    image, codes = make(seed, images=3)
    codes[1] //= 3  # leaves other zeros behind
    with create("cycle", image) as cycle, create("rtl", image) as rtl:
        one, other = cycle.run(codes), rtl.run(codes)
        same_costs(one, other)
        ours, theirs = (build_report(each, "here", "") for each in (one, other))
        assert ours.backend == "cycle"
        assert ours.layers == theirs.layers
        assert ours.loading == Loading("not modelled", theirs.loading.port_words)
        assert theirs.loading.how != "not modelled"
        for layer in image.network.layers:
            same_costs(cycle.run(codes[:2], layer.name), rtl.run(codes[:2], layer.name))
        same_costs(cycle.run(codes[::-1]), rtl.run(codes[::-1]))
        captured = rtl.capture(codes)
        for name, values in cycle.capture(codes).items():
            np.testing.assert_array_equal(captured[name], values)


@pytest.mark.compiles
def test_the_cycle_backend_splits_runs_as_the_hardware_needs_it():
    image, codes = next(
        pair for pair in (make(seed) for seed in range(30)) if len(pair[0].network.layers) >= 5
    )
    few = dataclasses.replace(TINY, layer_count=2)
    split = CompiledNetwork(image.network, compile_network(image.network, few))
    with create("cycle", split) as cycle, create("rtl", split) as rtl:
        one, other = cycle.run(codes), rtl.run(codes)
    same_costs(one, other)
    with create("cycle", image) as cycle:
        assert cycle.run(codes).total_cycles <= one.total_cycles  # every run is cleared for


@pytest.mark.compiles
def test_large_contents_go_through_the_back_door(monkeypatch):
    image, codes = make(5)
    with create("rtl", image) as rtl:
        expected = rtl.run(codes)
    words = port_word_count(image.memory)
    monkeypatch.setattr("tritforge.sim.backend.BACK_DOOR_WORDS", words)
    with create("rtl", image) as rtl:
        assert rtl.run(codes).loading.how == "host port"
    monkeypatch.setattr("tritforge.sim.backend.BACK_DOOR_WORDS", words - 1)
    with create("rtl", image) as rtl:
        found = rtl.run(codes)
        same_costs(found, expected)
        assert rtl.run(codes).loading == found.loading == Loading("back door", words)


@pytest.mark.compiles
def test_an_interrupt_ends_the_cycle_model_at_once():
    image, codes = make(6)

    def interrupt(message, done):
        raise KeyboardInterrupt

    with CycleBackend(image) as cycle:
        with pytest.raises(KeyboardInterrupt):
            cycle.run(codes, progress=interrupt)
        assert cycle.run(codes).total_cycles > 0


@pytest.mark.parametrize(("sets", "is_signed"), [(1, True), (3, False)])
def test_the_drain_waits_for_overlapping_windows(sets, is_signed):
    """Nine windows for every value: the write-back queues are full most of the time."""
    rng = np.random.default_rng(0)
    config = Config(
        sets=sets,
        clusters=1,
        elements=2,
        rows=4,
        scan_width=8,
        activation_depth=128,
        trit_depth=64,
        program_depth=128,
    )
    network = windows_network(rng, is_signed)
    image = CompiledNetwork(network, compile_network(network, config))
    codes = rng.integers(0, 256, (1, 2, 6, 5))
    with (
        create("golden", image) as golden,
        create("pysim", image) as pysim,
        InterpreterBackend(image) as memory,
    ):
        expected, found, counted = golden.run(codes), pysim.run(codes), memory.run(codes)
    np.testing.assert_array_equal(found.output, expected.output)
    conv, last = (layer.counters for layer in found.layers)
    assert {name: conv[name] for name in counted.layers[0].counters} == counted.layers[0].counters
    assert conv["stall_write_back"] > 100 and last["stall_write_back"] == 0
    if is_signed:  # each value visits every pixel that it feeds
        assert conv["write_backs"] == 8 * 16 * 13
        assert conv["merge_reads"] == 8 * (16 * 13 - 6 * 5)


def test_the_golden_model_has_no_cycles():
    image, codes = make(1)
    with create("golden", image) as golden:
        found = golden.run(codes)
    assert found.total_cycles is None and found.utilization is None
    assert found.loading_cycles is None and found.cycles_per_image == []
    assert all(layer.cycles is None and layer.counters == {} for layer in found.layers)
    assert all(
        layer.utilization(TINY) is None and layer.cluster_cycles(TINY) == {}
        for layer in found.layers
    )


def test_more_layers_than_the_hardware_counts():
    """Their counters come from several runs; nothing else changes."""
    image, codes = next(
        pair for pair in (make(seed) for seed in range(30)) if len(pair[0].network.layers) >= 4
    )
    few = dataclasses.replace(TINY, layer_count=2)
    memory = compile_network(image.network, few)
    with (
        InterpreterBackend(image) as all_at_once,
        InterpreterBackend(CompiledNetwork(image.network, memory)) as in_parts,
    ):
        expected, found = all_at_once.run(codes), in_parts.run(codes)
    np.testing.assert_array_equal(found.output, expected.output)
    assert [layer.counters for layer in found.layers] == [
        layer.counters for layer in expected.layers
    ]


@pytest.mark.compiles
def test_refusals():
    image, codes = make(0)
    with pytest.raises(
        SimulationError, match="no backend 'gpu'; there are golden, cycle, rtl, pysim"
    ):
        create("gpu", image)
    for name in ("golden", "cycle", "rtl"):
        with (
            create(name, image) as backend,
            pytest.raises(SimulationError, match="has no layer 'nope'; it has"),
        ):
            backend.run(codes, "nope")
    with create("golden", image) as golden, pytest.raises(ExportError):
        golden.run(codes[:, :, :, :, None])
    large = Config(name="large", clusters=8, elements=16)
    with pytest.raises(DeviceError, match="128 processing elements"):
        create(
            "pysim", CompiledNetwork(image.network, dataclasses.replace(image.memory, config=large))
        )


@pytest.mark.compiles
def test_hardware_of_another_configuration_is_refused():
    image, codes = make(0)
    other = dataclasses.replace(TINY, queue_depth=5)
    with RtlBackend(image) as rtl:
        rtl.device.config = other
        with pytest.raises(DeviceError, match="the accelerator has configuration"):
            rtl.run(codes)


@pytest.mark.compiles
def test_every_backend_says_its_name():
    assert tuple(BACKENDS) == ("golden", "cycle", "rtl", "pysim")
    assert all(name == backend.name for name, backend in BACKENDS.items())


@pytest.mark.compiles
def test_progress_is_told():
    image, codes = make(2)
    told = []
    with create("rtl", image, lambda message, done: told.append(done)) as rtl:
        rtl.run(codes, progress=lambda message, done: told.append((message, done)))
    assert ("rtl image 2 of 2", 0.5) in told
