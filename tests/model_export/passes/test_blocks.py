"""Blocks of output pixels as rows: every integer as before, pixel by pixel."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.memory.thin import conv_network
from tests.model_export.networks import random_config, random_network, run_layer
from tritforge.model_export.network import Blocks, Pool, Window
from tritforge.model_export.passes.blocks import allows_blocks, in_blocks, layer_in_blocks
from tritforge.sim.golden import GoldenModel

BLOCKS = [(1, 2), (2, 1), (2, 2), (1, 4), (3, 2), (4, 4)]


def joined(blocks, values):
    """The output (channels, height, width) that rows of blocks (rows, y, x) stand for."""
    by, bx = blocks.block
    ky, kx = blocks.pool
    size = (blocks.height * ky, blocks.width * kx)
    result = np.full((len(values) // blocks.pixels, *size), -(1 << 40))
    for y, top in enumerate(blocks.origin(0)):
        for x, left in enumerate(blocks.origin(1)):
            assert top % ky == left % kx == 0
            part = values[:, y, x].reshape(-1, by, bx)
            there = result[:, top : top + by, left : left + bx]
            assert ((there == part) | (there == -(1 << 40))).all()  # computed twice, and alike
            there[:] = part
    return result.reshape(-1, blocks.height, ky, blocks.width, kx).max(axis=(2, 4))


@pytest.mark.parametrize("seed", range(40))
def test_random_layers(seed):
    """Golden model and definition of the layer in blocks give its output, in another order."""
    rng = np.random.default_rng([seed, 7])
    config = random_config(rng, write_back_sums=False)
    network = random_network(rng, config)
    codes = rng.integers(0, 256, network.tensors[network.input].shape)
    codes = np.where(rng.random(codes.shape) < 0.5, codes, 0)
    if network.tensors[network.input].signed:
        codes -= 128
    tensors = {
        name: values[0] for name, values in GoldenModel(network).run_all(codes[None]).items()
    }
    for layer in network.layers:
        for block in BLOCKS:
            if layer.pool is not None:
                assert not allows_blocks(layer, block)
            if not allows_blocks(layer, block, pooled=True):
                continue
            other = layer_in_blocks(layer, block)
            pool = (1, 1) if layer.pool is None else layer.pool.kernel
            assert other.blocks == Blocks(block, *layer.output_shape[1:], pool)
            assert other.pool is None
            assert other.output_shape == layer.output_shape
            assert other.rows == layer.rows * block[0] * block[1]
            assert other.nonzero_trits == sum(
                np.count_nonzero(group.trits)
                * (group.kernel[0] * group.kernel[1] if group.shared else 1)
                for group in layer.groups
            ) * (block[0] * block[1])
            found = joined(other.blocks, run_layer(other, tensors))
            np.testing.assert_array_equal(found, tensors[layer.output], err_msg=layer.name)


def test_known_shapes():
    network = conv_network(np.random.default_rng(0), (16, 32, 32), 16, 3, 0.5)
    (group,) = in_blocks(network, {"conv": (2, 2)}).layers[0].groups
    assert group.kernel == (4, 4) and group.stride == (2, 2) and group.padding == (1, 1)
    assert group.rows == (0, 64) and group.windows == (None, None)
    (group,) = in_blocks(network, {"conv": (3, 4)}).layers[0].groups  # 32 rows are no 3s
    assert group.kernel == (5, 6) and isinstance(group.windows[0], Window)
    assert group.windows[0].first == (*range(-1, 29, 3), 28) and group.windows[1] is None
    pointwise = conv_network(np.random.default_rng(0), (16, 8, 8), 16, 1, 0.5)
    (group,) = in_blocks(pointwise, {"conv": (2, 2)}).layers[0].groups
    assert group.kernel == (2, 2) and group.dilation == (1, 1)
    strided = conv_network(np.random.default_rng(0), (16, 9, 9), 16, 1, 0.5, stride=2)
    (group,) = in_blocks(strided, {"conv": (1, 2)}).layers[0].groups
    assert group.kernel == (1, 2) and group.dilation == (1, 2) and group.stride == (2, 4)


def test_what_is_left_alone():
    network = conv_network(np.random.default_rng(1), (4, 6, 5), 8, 3, 0.5)
    layer = network.layers[0]
    assert allows_blocks(layer, (6, 5)) and not allows_blocks(layer, (7, 1))
    assert not allows_blocks(layer, (1, 6)) and not allows_blocks(network.layers[1], (1, 1))
    pool = Pool((2, 2), (2, 2), (0, 0), 3, 2)
    pooled = dataclasses.replace(layer, pool=pool)
    assert allows_blocks(pooled, (2, 4), pooled=True)
    for block in ((1, 2), (3, 2), (2, 6)):  # no whole windows, or more than there are
        assert not allows_blocks(pooled, block, pooled=True)
    for change in (
        {"stride": (1, 2)},
        {"padding": (1, 0)},
        {"height": 4},  # reaches beyond the layer
    ):
        other = dataclasses.replace(layer, pool=dataclasses.replace(pool, **change))
        assert not allows_blocks(other, (2, 2), pooled=True)
    windows = (Window((0,) * 6, (0,) * 6, (1,) * 6), None)
    irregular = dataclasses.replace(layer.groups[0], windows=windows)
    for change in ({"pool": pool}, {"groups": [irregular]}):
        assert not allows_blocks(dataclasses.replace(layer, **change), (2, 2))
    assert not allows_blocks(layer_in_blocks(layer, (2, 1)), (2, 1))
    assert layer_in_blocks(layer, (1, 1)) is layer
    with pytest.raises(ValueError, match=r"blocks of \(3, 1\) pixels do not fit an output of"):
        Blocks((3, 1), 2, 5)
