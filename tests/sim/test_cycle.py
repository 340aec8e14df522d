"""The cycle model alone; that its cycles are the RTL's is shown in ``test_rtl_fuzz.py``."""

import dataclasses
import threading
import time
from collections import Counter

import numpy as np
import pytest

from tests.model_export.networks import compile_network, random_codes, random_config, random_network
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import COUNTERS
from tritforge.sim.cycle.model import CycleModel, CycleModelError, lower_bound
from tritforge.sim.event_log import in_order
from tritforge.sim.golden import GoldenModel
from tritforge.sim.interpreter import Interpreter

TIMELESS = (
    "broadcasts",
    "skipped_activations",
    "activation_reads",
    "queue_writes",
    "adds",
    "drain_steps",
    "merge_reads",
    "write_backs",
    "result_writes",
)
STALLS = ("stall_queue_full", "stall_imbalance", "stall_drain")


def make(seed, **fixed):
    """A random network on a random configuration: network, memory contents, input codes."""
    rng = np.random.default_rng([seed, 5])
    config = random_config(rng, **fixed)
    network = random_network(rng, config)
    return network, compile_network(network, config), random_codes(rng, network)


def tensors_of(network, codes):
    return {
        name: values[0]
        for name, values in GoldenModel(network).run_all(codes[None], unpooled=True).items()
    }


def check_costs(config, memory, counters):
    """What must hold for any layer's counters, whatever the timing."""
    for place, one in zip(memory.layers, counters, strict=True):
        assert set(one) == set(COUNTERS)
        spent = one["broadcasts"] + one["empty_scans"] + sum(one[name] for name in STALLS)
        assert 0 <= spent <= config.cluster_count * one["cycles"]
        assert 0 < lower_bound(config, one, place.pixels * place.groups) <= one["cycles"]


@pytest.mark.parametrize("seed", range(40))
def test_counters_are_the_interpreters(seed):
    """On one to four sets, with both kinds of skipping and without; the memories of the second
    image hold what the first one left."""
    network, memory, codes = make(
        seed,
        skip_zero_weights=seed % 4 != 1,
        skip_zero_activations=seed % 4 != 2,
        sets=1 + seed % 4,
    )
    config = memory.config
    model, interpreter = CycleModel(network, memory), Interpreter(config, memory)
    for image in (codes, codes[:, ::-1, ::-1] // 2):
        interpreter.load(memory.tensors[network.input].base, memory.input_words(image))
        expected = interpreter.run(memory.layers[0].address, len(network.layers))
        found = model.run(tensors_of(network, image))
        for layer, one, other in zip(network.layers, found, expected, strict=True):
            for name in TIMELESS:
                assert one[name] == other[name], (layer.name, name)
        check_costs(config, memory, found)


@pytest.mark.parametrize("seed", range(40, 60))
def test_a_run_or_one_for_every_layer(seed):
    """Work is the same, and so are cycles but for what a run has to clear first."""
    network, memory, codes = make(seed, rows=7, banks=8)  # 112 cycles to clear
    tensors = tensors_of(network, codes)
    whole = CycleModel(network, memory).run(tensors)
    model = CycleModel(network, memory)
    single = model.run(tensors, whole=False)
    assert whole[0] == single[0]
    for one, other in zip(whole, single, strict=True):
        assert one["cycles"] <= other["cycles"]
        assert [one[name] for name in TIMELESS] == [other[name] for name in TIMELESS]
    assert len(whole) == 1 or sum(one["cycles"] for one in whole) < sum(
        one["cycles"] for one in single
    )
    check_costs(memory.config, memory, single)
    # one layer at a time, and in runs of two
    alone = [
        CycleModel(network, memory).run(tensors, [layer.name])[0] for layer in network.layers[:1]
    ]
    assert alone == single[:1]
    pairs = CycleModel(network, memory).run(tensors, batch=2)
    assert pairs[::2] == single[::2] and pairs[1::2] == whole[1::2]
    assert CycleModel(network, memory).run(tensors, batch=len(network.layers)) == whole
    assert CycleModel(network, memory).run(tensors, batch=1) == single


@pytest.mark.parametrize("seed", range(60, 75))
def test_the_event_log_agrees_with_the_counters(seed):
    network, memory, codes = make(seed, sets=1 + seed % 3)
    tensors = tensors_of(network, codes)
    log = {}
    model = CycleModel(network, memory)
    counters = model.run(tensors, log=log)
    assert CycleModel(network, memory).run(tensors) == counters  # logging changes nothing
    assert list(log) and set(log) == {layer.name for layer in network.layers}
    for place, one in zip(memory.layers, counters, strict=True):
        records = log[place.name]
        kinds = Counter(record.kind for record in records)
        waits = [record for record in records if record.kind.startswith("drain_stall")]
        jobs = place.pixels * place.tiles
        assert kinds - Counter(record.kind for record in waits) == {
            "layer_started": 1,
            "tile_started": place.tiles,
            "pixel_started": jobs,
            "pixel_drained": jobs,
            "tile_drained": place.tiles,
            "layer_settled": 1,
        }
        assert {record.layer for record in records} == {place.name}
        assert records == in_order(records)
        assert records[0].kind == "layer_started" and records[0].time == 0
        assert records[-1].kind == "layer_settled" and records[-1].time < one["cycles"]
        assert [record.tile for record in records if record.kind == "tile_drained"] == list(
            range(place.tiles)
        )
        assert [record.kind for record in waits[:2]] in (
            [],
            ["drain_stall_began", "drain_stall_ended"],
        )
        assert (
            sum(record.time if record.kind.endswith("ended") else -record.time for record in waits)
            == one["stall_write_back"]
        )
        started = {
            (record.tile, record.pixel): record
            for record in records
            if record.kind == "pixel_started"
        }
        drained = [record for record in records if record.kind == "pixel_drained"]
        assert len(started) == jobs
        for order, record in enumerate(drained):
            begin = started[record.tile, record.pixel]
            assert begin.time < record.time and begin.set == record.set
            assert record.set == order % memory.config.sets
        assert [(one.tile, one.pixel) for one in drained] == sorted(started)


def slow():
    """A network that the model takes some time for: every zero costs a cycle."""
    rng = np.random.default_rng(0)
    config = dataclasses.replace(PRESETS["tiny"], skip_zero_weights=False)
    network = random_network(rng, config)
    return network, compile_network(network, config), random_codes(rng, network)


def test_an_interrupt_ends_the_run_and_leaves_the_model_usable():
    network, memory, codes = slow()
    tensors = tensors_of(network, codes)
    model = CycleModel(network, memory)
    expected = model.run(tensors)
    original = threading.Event.wait

    def interrupted(event, timeout=None):
        if timeout == 0.1:
            raise KeyboardInterrupt
        return original(event, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Event, "wait", interrupted)
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            model.run(tensors)
        assert time.monotonic() - begin < 5
    assert threading.active_count() == 1
    assert model.run(tensors) == expected


def test_a_program_that_leaves_its_memory_is_refused():
    network, memory, codes = slow()
    tensors = tensors_of(network, codes)
    short = dataclasses.replace(memory, trits=memory.trits[:, :1])
    with pytest.raises(CycleModelError, match=r"layer \S+ addresses memory that is not there"):
        CycleModel(network, short).run(tensors)


def test_skipping_of_activations_can_be_turned_off_for_the_same_contents():
    network, memory, codes = make(3, skip_zero_weights=True, skip_zero_activations=True)
    tensors = tensors_of(network, codes)
    off = dataclasses.replace(memory.config, skip_zero_activations=False)
    compiled = CycleModel(network, compile_network(network, off)).run(tensors)
    model = CycleModel(network, dataclasses.replace(memory, config=off))
    assert model.run(tensors) == compiled
    assert all(one["skipped_activations"] == 0 for one in compiled)


def test_lower_bounds_take_the_largest_of_what_is_needed():
    config = PRESETS["tiny"]
    none = dict.fromkeys(COUNTERS, 0)
    assert lower_bound(config, none, 3) == 24
    assert lower_bound(config, none | {"adds": 8 * config.adders + 1}, 1) == 9
    assert (
        lower_bound(
            config,
            none | {"broadcasts": 10 * config.cluster_count, "empty_scans": config.cluster_count},
            1,
        )
        == 11
    )
    assert lower_bound(config, none | {"drain_steps": 99}, 1) == 99
    assert (
        lower_bound(config, none | {"activation_reads": 50 * config.clusters, "merge_reads": 1}, 1)
        == 51
    )
