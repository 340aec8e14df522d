"""Scaler: both products of every activation and coefficient; two multipliers, no more."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import lint, multiplications, simulate, to_signed
from tritforge.hw.config import Config
from tritforge.hw.scaler import Scaler


def run(config, inputs):
    """Feed one input per cycle, compare each output ``latency`` cycles later."""
    scaler = Scaler(config)

    async def bench(ctx):
        expected = deque([None] * scaler.latency)
        for code, is_signed, plus, minus in [*inputs, *[(0, 0, 0, 0)] * scaler.latency]:
            ctx.set(scaler.activation, code)
            ctx.set(scaler.is_signed, is_signed)
            ctx.set(scaler.coefficient_plus, plus)
            ctx.set(scaler.coefficient_minus, minus)
            x = to_signed(code, 8) if is_signed else code
            expected.append((x * plus, x * minus))
            arrived = expected.popleft()
            if arrived is not None:
                assert (ctx.get(scaler.plus), ctx.get(scaler.minus)) == arrived
            await ctx.tick()

    simulate(scaler, bench)


@pytest.mark.parametrize("logic", [False, True])
@pytest.mark.parametrize("width", [2, 4])
def test_exhaustive(width, logic):
    """All codes, both signs, all coefficients on both multipliers."""
    count = 1 << width
    run(
        Config(coefficient_width=width, logic_scalers=logic),
        [
            (code, is_signed, coefficient - count // 2, (coefficient * 3 + 1) % count - count // 2)
            for code in range(256)
            for is_signed in (0, 1)
            for coefficient in range(count)
        ],
    )


@pytest.mark.parametrize("logic", [False, True])
@pytest.mark.parametrize("width", [10, 16])
def test_random_and_extremes(width, logic):
    rng = np.random.default_rng(width)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    corners = [
        (code, is_signed, plus, minus)
        for code in (0, 1, 127, 128, 255)
        for is_signed in (0, 1)
        for plus in (low, -1, 0, high)
        for minus in (low, 1, high)
    ]
    run(
        Config(coefficient_width=width, logic_scalers=logic),
        corners
        + [
            (
                int(rng.integers(256)),
                int(rng.integers(2)),
                int(rng.integers(low, high + 1)),
                int(rng.integers(low, high + 1)),
            )
            for _ in range(1000)
        ],
    )


def test_latency_is_two():
    assert Scaler.latency == 2


@pytest.mark.compiles
@pytest.mark.parametrize("logic", [False, True])
@pytest.mark.parametrize("width", [2, 10, 16])
def test_verilog(width, logic, tmp_path):
    config = Config(coefficient_width=width, logic_scalers=logic)
    text = lint(Scaler(config), "scaler", tmp_path)
    assert multiplications(text) == (0 if logic else 2)
