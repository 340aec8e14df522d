"""Plans of memory images: what stays, what moves, and what would have to grow."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.memory.test_emit import ROOMY, chain, tabled
from tests.model_export.networks import compile_network, random_config, random_network, streamed
from tritforge.model_export.memory.emit import DoesNotFitError, emit
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.plan import MemoryUse, layer_uses, memory_uses
from tritforge.model_export.memory.schedule import Need, Store
from tritforge.model_export.memory.streaming import emit_streamed, fit

FIELDS = {
    "activations": "activation_depth",
    "trits": "trit_depth",
    "program": "program_depth",
    "rows": "row_depth",
    "tables": "activation_tables",
}


@pytest.mark.parametrize("seed", range(12))
def test_a_network_fits_where_memories_have_grown_by_what_is_lacking(seed):
    rng = np.random.default_rng([seed, 31])
    config = random_config(rng)
    network = random_network(rng, config)
    memory = streamed(rng, network, config)
    small = memory.config
    uses = memory_uses(memory)
    assert [one.words for one in uses] == [getattr(small, FIELDS[one.memory]) for one in uses]
    grown = dataclasses.replace(
        small, **{FIELDS[one.memory]: one.words + one.lacking for one in uses}
    )
    whole = emit(network, place(network, grown), grown)
    assert whole.schedule is None
    # Equal trits are stored once, and counted as often as they are read.
    for one in memory_uses(whole):
        needed = next(other.needed for other in uses if other.memory == one.memory)
        assert one.stays and one.lacking == 0
        assert one.needed == needed or (one.memory in ("trits", "activations"))
        assert one.memory == "activations" or one.needed <= needed
    for one in uses:
        if one.lacking and one.memory == "activations":
            less = {FIELDS[one.memory]: one.words + one.lacking - 1}
            with pytest.raises(DoesNotFitError, match="activation memory is too small"):
                tight = dataclasses.replace(grown, **less)
                emit(network, place(network, tight), tight)


@pytest.mark.parametrize("seed", range(8))
def test_words_are_those_of_the_schedule(seed):
    rng = np.random.default_rng([seed, 32])
    config = random_config(rng)
    network = random_network(rng, config)
    memory = streamed(rng, network, config)
    schedule = memory.schedule
    layers = layer_uses(network, memory)
    assert [one.layer for one in layers] == [layer.name for layer in network.layers]
    assert sum(one.passes for one in layers) == len(schedule.passes)
    for one in layers:
        numbers = schedule.of_layer(one.layer)
        sent = one.activation_words + one.trit_words + one.other_words
        assert (sent, one.read_words) == schedule.port_words(memory.config, numbers)
        assert bool(one.from_host) == any(schedule.passes[n].loads for n in numbers)
        assert one.to_host == any(
            isinstance(step, Store) for step in schedule.steps(memory.config, numbers)
        )
        assert 1 <= one.strips <= one.passes
        assert 0 < one.chip_words <= memory.activation_words
    assert max(one.chip_words for one in layers) <= memory.config.activation_depth


def test_what_fits_stays():
    network = chain([8, 8, 12, 4])
    memory = compile_network(network, ROOMY)
    assert layer_uses(network, memory) == []
    assert memory_uses(memory) == (
        MemoryUse("activations", ROOMY.activation_depth, memory.activation_words, True),
        MemoryUse("trits", ROOMY.trit_depth, memory.trits.shape[1], True),
        MemoryUse("program", ROOMY.program_depth, len(memory.program), True),
        MemoryUse("rows", ROOMY.row_depth, len(memory.rows), True),
    )


def test_of_a_chain_in_too_small_a_memory():
    network = chain([8, 8, 12, 4])
    config = dataclasses.replace(ROOMY, activation_depth=40)
    memory = fit(network, place(network, config), config)
    activations, trits, *_ = memory_uses(memory)
    assert activations == MemoryUse("activations", 40, 48, False) and activations.lacking == 8
    assert trits.stays and trits.lacking == 0
    first, second, third = layer_uses(network, memory)
    # Beside one row of the second's output there is no room for all of its source.
    assert [one.from_host for one in (first, second, third)] == [("t0",), ("t1",), ("t2",)]
    assert [one.to_host for one in (first, second, third)] == [True, True, False]
    sent = [one.activation_words for one in (first, second, third)]
    assert sent == [size * ROOMY.clusters for size in (32, 32, 48)]
    assert [one.read_words for one in (first, second, third)] == [*sent[1:], 0]


def test_activation_tables_are_counted():
    tables = list(np.random.default_rng(0).integers(0, 256, (2, 256)))
    network = tabled(3, tables)
    config = dataclasses.replace(ROOMY, activation_tables=1)
    memory = emit_streamed(network, place(network, config), config)
    assert Need("tables", 2) in memory.schedule.needed
    uses = {one.memory: one for one in memory_uses(memory)}
    assert uses["tables"] == MemoryUse("tables", 1, 2, False) and uses["tables"].lacking == 1
