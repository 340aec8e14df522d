"""Requantizer against the one function that states the rounding."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from tests.hw.benches import lint, multiplications, simulate, to_signed
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.hw.requantizer import Requantizer
from tritforge.hw.timing import multiplier_parts, requantizer_latency, result_latency
from tritforge.sim.golden import requantize

CONFIGS = [
    Config(),
    Config(accumulator_width=32, multiplier_width=18),
    Config(accumulator_width=8, multiplier_width=4),
    Config(accumulator_width=28),
    Config(accumulator_width=18),
    Config(accumulator_width=19),
    PRESETS["icebreaker"],
]

NAMES = [f"{config.accumulator_width}{'-few' * config.few_stages}" for config in CONFIGS]


def run(config, cases, low, high):
    """Cases (accumulator, multiplier, bias, shift), one per cycle; returns the activations.

    The clamp belongs to a layer, so it stands still.
    """
    block = Requantizer(config)
    activations = []
    latency = requantizer_latency(config)

    async def bench(ctx):
        ctx.set(block.low, low)
        ctx.set(block.high, high)
        results = deque([None] * result_latency(config))
        late = deque([None] * latency)
        for accumulator, multiplier, bias, shift in [*cases, *[(0, 0, 0, 0)] * latency]:
            offset = bias + (1 << shift >> 1)
            ctx.set(block.accumulator, accumulator)
            ctx.set(block.multiplier, multiplier)
            ctx.set(block.offset, offset)
            ctx.set(block.shift, shift)
            results.append(to_signed(accumulator * multiplier + offset, 32))
            late.append(int(requantize(accumulator, multiplier, bias, shift, low, high)))
            expected = results.popleft()
            if expected is not None:
                assert ctx.get(block.result) == expected
            expected = late.popleft()
            if expected is not None:
                got = ctx.get(block.activation)
                assert (to_signed(got, 8) if low < 0 else got) == expected
                activations.append(expected)
            await ctx.tick()

    simulate(block, bench)
    return activations


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize(("low", "high"), [(0, 255), (-128, 127), (3, 200), (-5, -2)])
def test_random(config, low, high):
    rng = np.random.default_rng(high + 9)
    top = 1 << (config.accumulator_width - 1)
    factor = 1 << (config.multiplier_width - 1)
    room = 1 << (config.offset_width - 1)
    cases = []
    while len(cases) < 500:
        shift = int(rng.integers(0, config.offset_width - 1))
        accumulator = int(rng.integers(-top, top)) >> int(rng.integers(0, 8))
        multiplier = int(rng.integers(-factor, factor))
        # Aim at the range of codes, so that not everything is clamped.
        wanted = int(rng.integers(low - 20, high + 21)) << shift
        bias = wanted - accumulator * multiplier + int(rng.integers(-2, 3))
        half = 1 << shift >> 1
        if not -room <= bias + half < room or not -room <= wanted + half + 2 < room:
            continue
        cases.append((accumulator, multiplier, bias, shift))
    values = run(config, cases, low, high)
    assert min(values) == low and max(values) == high
    assert len(set(values)) > min(50, (high - low) // 2)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_extremes(config):
    top, factor = 1 << (config.accumulator_width - 1), 1 << (config.multiplier_width - 1)
    cases = [
        (accumulator, multiplier, 0, shift)
        for accumulator in (-top, -top + 1, -1, 0, 1, top - 1)
        for multiplier in (-factor, -1, 0, 1, factor - 1)
        for shift in (0, 1, config.offset_width // 2, config.offset_width - 2)
        if accumulator * multiplier + (1 << shift >> 1) < 2 * top * factor
    ]
    assert len(cases) == 6 * 5 * 4
    for low, high in ((0, 255), (-128, 127)):
        values = run(config, cases, low, high)
        assert {low, high} <= set(values)


def test_ties_go_up():
    """x.5 becomes x + 1, -x.5 becomes -x, for every position of the binary point."""
    config = Config()
    cases, expected = [], []
    for shift in range(1, 13):
        for whole in range(-9, 9):
            cases.append((2 * whole + 1, 1 << (shift - 1), 0, shift))
            expected.append(whole + 1)
    values = run(config, cases, -128, 127)
    assert values[: len(expected)] == expected


def test_negative_sums_round_down():
    """Shifts of negative numbers are towards minus infinity, up to the largest shift."""
    config = Config()
    cases = [(-1, 1, 0, shift) for shift in range(36)]
    assert run(config, cases, -128, 127)[:3] == [-1, 0, 0]
    cases = [(-7, 1, -1, 2), (-3, 1, 0, 2), (-6, 1, 0, 2), (-2, 1, 0, 2)]
    assert run(config, cases, -128, 127)[:4] == [-2, -1, -1, 0]


def test_large_shifts():
    """A shift beyond the sum's width leaves its sign; the offset then holds no rounding."""
    config = Config()
    block = Requantizer(config)

    async def bench(ctx):
        ctx.set(block.low, -128)
        ctx.set(block.high, 127)
        ctx.set(block.multiplier, 1)
        for accumulator, code in ((-5, 255), (5, 0), (-1 << 23, 255), ((1 << 23) - 1, 0)):
            ctx.set(block.accumulator, accumulator)
            for shift in (40, 63):
                ctx.set(block.shift, shift)
                await ctx.tick().repeat(requantizer_latency(config))
                assert ctx.get(block.activation) == code

    simulate(block, bench)


@pytest.mark.parametrize(("stages", "latencies"), [("full", (5, 3)), ("few", (4, 2))])
def test_latencies(stages, latencies):
    config = replace(PRESETS["icebreaker"], register_stages=stages)
    assert (requantizer_latency(config), result_latency(config)) == latencies


@pytest.mark.compiles
@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_verilog(config, tmp_path):
    text = lint(Requantizer(config), "requantizer", tmp_path)
    assert multiplications(text) == multiplier_parts(config)
