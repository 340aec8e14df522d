"""Memory contents, executed by the rules of the hardware, give the integers of the definition."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.networks import (
    bound_network,
    compile_network,
    random_codes,
    random_config,
    random_network,
    reference_run,
)
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.hw.program import GROUP, LAYER, TILE, encode, row_layout
from tritforge.model_export.network import ColumnGroup, Layer, Network, Requantization, Tensor
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.records import decode


def run(machine, memory, network, codes):
    """Results of one image through all layers."""
    machine.load(memory.tensors[network.input].base, memory.input_words(codes))
    counters = machine.run(memory.layers[0].address, len(network.layers))
    place = memory.results
    entries = machine.results[place.base : place.base + place.entries]
    return memory.results_from_entries(entries), counters


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets(name):
    config = PRESETS[name]
    for seed in range(6):
        rng = np.random.default_rng(1000 + seed)
        network = random_network(rng, config, max_channels=60)
        memory = compile_network(network, config)
        codes = random_codes(rng, network, 0.5)
        results, _ = run(Interpreter(config, memory), memory, network, codes)
        np.testing.assert_array_equal(results, reference_run(network, codes)[network.final.output])


def test_every_layer_alone():
    """A layer run by itself on given sources writes the tensor that the whole run has there."""
    for seed in range(2000, 2025):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        memory = compile_network(network, config)
        tensors = reference_run(network, random_codes(rng, network, 0.7))
        for layer, place in zip(network.layers, memory.layers, strict=True):
            machine = Interpreter(config, memory)
            for name in layer.reads:
                machine.load(memory.tensors[name].base, memory.tensor_words(name, tensors[name]))
            before = machine.activations.copy()
            machine.run(place.address, 1)
            if layer.final:
                entries = machine.results[memory.results.base :]
                np.testing.assert_array_equal(
                    memory.results_from_entries(entries), tensors[layer.output]
                )
                continue
            target = memory.tensors[layer.output]
            written = machine.read(target.base, target.size)
            np.testing.assert_array_equal(
                memory.tensor_from_words(layer.output, written), tensors[layer.output]
            )
            before[:, target.base : target.base + target.size] = written
            np.testing.assert_array_equal(machine.activations, before)  # and nothing else


@pytest.mark.parametrize("signed", [False, True])
def test_accumulators_at_their_bound(signed):
    closest = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network, codes = bound_network(rng, config, signed)
        memory = compile_network(network, config)
        results, _ = run(Interpreter(config, memory), memory, network, codes)
        tensors = reference_run(network, codes)
        np.testing.assert_array_equal(results, tensors[network.final.output])
        high = int(network.layers[0].accumulator_high.max())
        closest = max(closest, high / config.accumulator_max)
    assert closest > 0.99


def test_counters_of_a_dense_layer():
    config = Config(clusters=2, elements=2, rows=2, scan_width=2)
    trits = np.ones((4, 4, 3, 3), np.int8)
    group = ColumnGroup(
        "input",
        (0, 4),
        (0, 4),
        trits,
        (3, 3),
        1.0,
        1.0,
        padding=(1, 1),
        coefficient_plus=1,
        coefficient_minus=1,
    )
    ones, zeros = np.ones(4, np.int64), np.zeros(4, np.int64)
    layer = Layer(
        "a",
        "conv",
        "out",
        4,
        5,
        5,
        [group],
        ones,
        zeros,
        final=True,
        requantization=Requantization(ones, zeros, zeros, 0, 0),
    )
    network = Network("one", "input", {"input": Tensor("input", 4, 5, 5, 1.0)}, [layer])
    memory = compile_network(network, config)
    machine = Interpreter(config, memory)
    positions = 169  # kernel positions inside the source: (3*3 + 2*2) squared
    _, (counters,) = run(machine, memory, network, np.zeros((4, 5, 5), np.int64))
    assert counters["broadcasts"] == counters["adds"] == counters["queue_writes"] == 0
    assert counters["empty_scans"] == counters["activation_reads"] == 2 * positions
    assert counters["skipped_activations"] == 4 * positions
    results, (counters,) = run(machine, memory, network, np.ones((4, 5, 5), np.int64))
    assert results.sum() == counters["adds"] == 4 * 4 * positions
    assert counters["broadcasts"] == 4 * positions and counters["queue_writes"] == 8 * positions
    assert counters["empty_scans"] == counters["skipped_activations"] == 0
    assert counters["drain_steps"] == counters["result_writes"] == 25 * 2 * 2


def test_decode_inverts_encode():
    rng = np.random.default_rng(0)
    for layout in (LAYER, TILE, GROUP, row_layout(Config())):
        for _ in range(20):
            values = {}
            for name, field in layout:
                signed = getattr(field.shape, "signed", False)
                low = -(1 << (field.width - 1)) if signed else 0
                values[name] = low + int(rng.integers(0, 1 << min(field.width, 62)))
            assert decode(layout, encode(layout, **values)) == values


def test_errors():
    config = Config()
    rng = np.random.default_rng(1)
    network, codes = bound_network(rng, config)
    memory = compile_network(network, config)
    machine = Interpreter(config, memory)
    machine.load(memory.tensors["input"].base, memory.input_words(codes))
    with pytest.raises(ValueError, match="no layer at program address 1"):
        machine.run(1, 1)
    with pytest.raises(ValueError, match="ends inside a record"):
        machine.run(len(memory.program), 1)
    with pytest.raises(OverflowError, match=r"an accumulator reaches .* it has 12 bits"):
        narrow = dataclasses.replace(config, accumulator_width=12, multiplier_width=16)
        other = Interpreter(narrow, memory)
        other.load(memory.tensors["input"].base, memory.input_words(codes))
        other.run(0, 1)
    with_table = dataclasses.replace(config, activation_tables=1)
    network.layers[0].requantization.table = np.arange(256)
    other_memory = compile_network(network, with_table)
    other_memory.tables = other_memory.tables[:255]
    with pytest.raises(ValueError, match="activation table 0 is read; 0 exist"):
        Interpreter(with_table, other_memory).run(0, 1)
    memory.trits = memory.trits[:, :0]
    with pytest.raises(ValueError, match="trit column"):
        Interpreter(config, memory).run(0, 1)
