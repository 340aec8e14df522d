"""The cycle model alone; ``test_random_networks.py`` shows that its cycles are the RTL's."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from tests.model_export.networks import compile_network, random_codes, random_config, random_network
from tests.sim.agreement import tensors_of
from tritforge.hw.presets import PRESETS
from tritforge.sim.cycle.model import CycleModel, CycleModelError

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


def make(seed, **fixed):
    """A random network on a random configuration: network, memory contents, input codes."""
    rng = np.random.default_rng([seed, 5])
    config = random_config(rng, **fixed)
    network = random_network(rng, config)
    return network, compile_network(network, config), random_codes(rng, network)


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(40, 46))
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
    assert CycleModel(network, memory).run(tensors, log={}) == whole  # logging changes nothing
    # one layer at a time, and in runs of two
    alone = [
        CycleModel(network, memory).run(tensors, [layer.name])[0] for layer in network.layers[:1]
    ]
    assert alone == single[:1]
    pairs = CycleModel(network, memory).run(tensors, batch=2)
    assert pairs[::2] == single[::2] and pairs[1::2] == whole[1::2]
    assert CycleModel(network, memory).run(tensors, batch=len(network.layers)) == whole
    assert CycleModel(network, memory).run(tensors, batch=1) == single


def slow():
    """A network that the model takes some time for: every zero costs a cycle."""
    rng = np.random.default_rng(0)
    config = dataclasses.replace(PRESETS["tiny"], skip_zero_weights=False)
    network = random_network(rng, config)
    return network, compile_network(network, config), random_codes(rng, network)


@pytest.mark.compiles
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


@pytest.mark.compiles
def test_a_program_that_leaves_its_memory_is_refused():
    network, memory, codes = slow()
    tensors = tensors_of(network, codes)
    short = dataclasses.replace(memory, trits=memory.trits[:, :1])
    with pytest.raises(CycleModelError, match=r"layer \S+ addresses memory that is not there"):
        CycleModel(network, short).run(tensors)


@pytest.mark.compiles
def test_skipping_of_activations_can_be_turned_off_for_the_same_contents():
    network, memory, codes = make(3, skip_zero_weights=True, skip_zero_activations=True)
    tensors = tensors_of(network, codes)
    off = dataclasses.replace(memory.config, skip_zero_activations=False)
    compiled = CycleModel(network, compile_network(network, off)).run(tensors)
    model = CycleModel(network, dataclasses.replace(memory, config=off))
    assert model.run(tensors) == compiled
    assert all(one["skipped_activations"] == 0 for one in compiled)
