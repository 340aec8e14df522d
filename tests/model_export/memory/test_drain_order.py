"""Rows of blocks in the order of the drain: each its pixel, and far from what it would wait for."""

import itertools

import numpy as np
import pytest

from tritforge.hw.config import Config
from tritforge.model_export.memory.drain_order import rows_of_pixels, spread_rows
from tritforge.model_export.network import Blocks


def drawn(seed, blocks, channels):
    """Elements, slices and channels of a tile's rows."""
    rng = np.random.default_rng(seed)
    config = Config(clusters=4, elements=8, rows=16)
    channel = np.repeat(np.arange(5, 5 + channels), blocks.pixels)
    count = len(channel)
    element = np.tile(np.arange(config.elements), -(-count // config.elements))[:count]
    return config, rng.permutation(channel), rng.permutation(element), channel % config.clusters


@pytest.mark.parametrize("seed", range(10))
def test_every_pixel_once(seed):
    blocks = [
        Blocks((2, 2), 8, 8),
        Blocks((2, 2), 4, 4, (2, 2)),
        Blocks((4, 2), 4, 4, (2, 2)),
        Blocks((1, 4), 8, 8),
    ][seed % 4]
    config, channel, element, _ = drawn(seed, blocks, 6)
    slices = channel % config.clusters
    accumulator = spread_rows(channel, element, config.elements)
    for index in range(config.elements):  # accumulators from 0 on, in every element
        own = np.sort(accumulator[element == index])
        np.testing.assert_array_equal(own, np.arange(len(own)))
    step = accumulator * config.blocks + element // config.drain_width
    rows = rows_of_pixels(blocks, channel, slices, step)
    np.testing.assert_array_equal(np.sort(rows), np.arange(5 * blocks.pixels, 11 * blocks.pixels))
    np.testing.assert_array_equal(rows // blocks.pixels, channel)
    order = np.argsort(step, kind="stable")
    for one in range(5, 11):
        found: dict[tuple[int, int], list[int]] = {}
        for row in rows[order]:
            if row // blocks.pixels == one:
                place, first = blocks.fed(int(row % blocks.pixels))
                assert first == (place not in found)  # drained before the others of its window
                found.setdefault(place, []).append(int(row))
        assert len(found) == blocks.windows[0] * blocks.windows[1]
        assert all(own == sorted(own) for own in found.values())


def test_rows_of_a_channel_are_far_from_one_another():
    blocks = Blocks((2, 2), 4, 4, (2, 2))
    config, channel, element, _ = drawn(1, blocks, 32)
    accumulator = spread_rows(channel, element, config.elements)
    step = accumulator * config.blocks + element // config.drain_width
    near = [
        b - a
        for one in np.unique(channel)
        for a, b in itertools.pairwise(np.sort(step[channel == one]).tolist())
    ]
    # 32 channels on 8 elements: about 4 accumulators of 8 steps from one row to the next
    assert np.mean(near) > 24 and np.quantile(near, 0.1) >= 8


def test_words_alternate():
    """Values of a slice go to another output pixel than those just before."""
    blocks = Blocks((2, 2), 8, 8)
    config, channel, element, _ = drawn(2, blocks, 32)
    slices = channel % config.clusters
    accumulator = spread_rows(channel, element, config.elements)
    step = accumulator * config.blocks + element // config.drain_width
    rows = rows_of_pixels(blocks, channel, slices, step)
    same = total = 0
    for one in range(config.clusters):
        own = rows[slices == one][np.argsort(step[slices == one], kind="stable")] % blocks.pixels
        same += int((own[1:] == own[:-1]).sum())
        total += len(own) - 1
    assert same < 0.35 * total
