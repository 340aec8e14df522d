"""Accumulators: what is added and taken, and when it stands at the output."""

import numpy as np
import pytest

from tests.hw.benches import simulate, to_signed
from tritforge.hw.accumulators import Accumulators
from tritforge.hw.config import Config


@pytest.mark.parametrize(("rows", "banks", "width"), [(4, 2, 24), (5, 4, 12), (3, 8, 32)])
def test_random_traffic(rows, banks, width):
    """A taken value stands from the next cycle until the next one is taken."""
    config = Config(rows=rows, banks=banks, accumulator_width=width, coefficient_width=4)
    block = Accumulators(config)
    rng = np.random.default_rng(rows)
    stored = np.zeros((banks, rows), object)
    taken = []

    async def bench(ctx):
        value = 0
        for _ in range(2_000):
            add, take = (int(bit) for bit in rng.integers(0, 2, 2))
            add_bank = int(rng.integers(banks))
            take_bank = (add_bank + 1 + int(rng.integers(banks - 1))) % banks
            add_row, take_row = (int(row) for row in rng.integers(0, rows, 2))
            limit = 1 << (config.product_width - 1)
            product = int(rng.integers(-limit, limit))
            ctx.set(block.add, add)
            ctx.set(block.add_bank, add_bank)
            ctx.set(block.add_row, add_row)
            ctx.set(block.product, product)
            ctx.set(block.take, take)
            ctx.set(block.take_bank, take_bank)
            ctx.set(block.take_row, take_row)
            assert ctx.get(block.value) == value
            await ctx.tick()
            if add:
                total = stored[add_bank, add_row] + product
                stored[add_bank, add_row] = to_signed(total, width)
            if take:
                value = stored[take_bank, take_row]
                stored[take_bank, take_row] = 0
                taken.append(value)

    simulate(block, bench)
    assert sum(value != 0 for value in taken) > 200
