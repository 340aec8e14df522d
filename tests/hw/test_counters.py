"""Counters: sums of every event, cycles, layer by layer."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.counters import CENTRAL_EVENTS, Counters
from tritforge.hw.payloads import EVENTS, event_layout
from tritforge.hw.program import COUNTERS
from tritforge.hw.widths import COUNTER_SLOTS

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

CONFIGS = [
    Config(clusters=3, elements=5, scan_width=3, layer_count=4),
    Config(clusters=1, elements=1, scan_width=1, layer_count=1, packet_words=126),
    Config(clusters=4, elements=8, drain_width=4, layer_count=3),
    Config(clusters=2, sets=3, elements=5),
]


def random_events(rng, config, most=False):
    layout = event_layout(config)

    def count(limit):
        return limit if most else int(rng.integers(0, limit + 1))

    limits = {
        "skipped_activations": config.scan_width,
        "queue_writes": config.elements,
        "adds": config.elements,
    }
    assert {name for name, _ in layout} == set(EVENTS)
    clusters = [
        {name: count(limits.get(name, 1)) for name in EVENTS} for _ in range(config.cluster_count)
    ]
    central = {
        "drain_steps": count(1),
        "stall_write_back": count(1),
        "merge_reads": count(config.clusters),
        "write_backs": count(config.clusters),
        "result_writes": count(1),
    }
    return clusters, central


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"N{config.sets}G{config.clusters}")
@pytest.mark.parametrize("most", [False, True])
def test_layers(config, most):
    """A run of all layers, then the same again: sums start from nothing each time."""
    counters = Counters(config)
    rng = np.random.default_rng(config.clusters)

    async def bench(ctx):
        async def quiet():
            for index in range(config.cluster_count):
                ctx.set(counters.events[index], dict.fromkeys(EVENTS, 0))
            for name in CENTRAL_EVENTS:
                ctx.set(getattr(counters, name), 0)

        await ctx.tick().repeat(COUNTER_SLOTS)  # after the reset
        for _ in range(2):
            expected = []
            ctx.set(counters.run, 1)
            for layer in range(config.layer_count):
                ctx.set(counters.layer, layer)
                sums = dict.fromkeys(COUNTERS, 0)
                for _ in range(int(rng.integers(1, 150))):
                    clusters, central = random_events(rng, config, most)
                    for index, events in enumerate(clusters):
                        ctx.set(counters.events[index], events)
                        for name, value in events.items():
                            sums[name] += value
                    for name, value in central.items():
                        ctx.set(getattr(counters, name), value)
                        sums[name] += value
                    sums["cycles"] += 1
                    await ctx.tick()
                await quiet()
                await ctx.tick().repeat(Counters.settle - 1)
                ctx.set(counters.prepare, 1)
                await ctx.tick()
                ctx.set(counters.prepare, 0)
                ctx.set(counters.dump, 1)
                for index in range(COUNTER_SLOTS):
                    assert ctx.get(counters.done) == (index == COUNTER_SLOTS - 1)
                    await ctx.tick()
                ctx.set(counters.dump, 0)
                sums["cycles"] += Counters.settle + COUNTER_SLOTS
                expected += sums.values()
            ctx.set(counters.run, 0)
            await ctx.tick().repeat(5)  # between runs nothing is counted
            for address, value in enumerate(expected):
                ctx.set(counters.read_address, address)
                await ctx.tick().repeat(2)
                assert ctx.get(counters.read_data) == value, COUNTERS[address % COUNTER_SLOTS]

    simulate(counters, bench)


@pytest.mark.parametrize(("before", "expected"), [(2, 0), (3, 1)])
def test_an_event_is_in_the_sum_after_three_cycles(before, expected):
    """A dump reads its first counter in its first cycle; begin it ``before`` cycles later."""
    counters = Counters(CONFIGS[0])
    assert COUNTERS[0] == "broadcasts"
    seen = []

    async def bench(ctx):
        ctx.set(counters.events[1], dict.fromkeys(EVENTS, 0) | {"broadcasts": 1})
        await ctx.tick()
        ctx.set(counters.events[1], dict.fromkeys(EVENTS, 0))
        for _ in range(before - 2):
            await ctx.tick()
        ctx.set(counters.prepare, 1)
        await ctx.tick()
        ctx.set(counters.prepare, 0)
        ctx.set(counters.dump, 1)
        await ctx.tick().repeat(4)
        seen.append(ctx.get(counters.read_data))

    simulate(counters, bench)
    assert seen == [expected]


def test_every_counter_has_a_source():
    assert {*EVENTS, *CENTRAL_EVENTS, "cycles"} == set(COUNTERS)


@pytest.mark.compiles
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"N{config.sets}G{config.clusters}")
def test_verilog(config, tmp_path):
    lint(Counters(config), "counters", tmp_path)
