"""Addresses of tensors: what may overlap, by the definition, pixel by pixel."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.memory.test_emit import ROOMY, chain
from tests.model_export.networks import compile_network, random_config, random_network, random_shape
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.addresses import assign, distances, lifetimes, sizes
from tritforge.model_export.memory.placement import place
from tritforge.model_export.network import Pool


def accesses(network, placement, config, layer, source):
    """Words that each tile and pixel of a layer reads of a source, and that it writes, in order."""
    tensor, layouts = network.tensors[source], placement.layouts
    words, own = layouts[source].words, layouts[layer.output].words
    pool = layer.pool
    width = layer.output_shape[2]
    for tile in placement.tiles[layer.name]:
        channels = tile.rows // layer.block_pixels
        written = sorted(set(layouts[layer.output].word[channels].tolist()))
        for oy in range(layer.height):
            for ox in range(layer.width):
                read = set()
                for group in (one for one in tile.groups if one.source == source):
                    rule = layer.groups[group.group]
                    first, count, _ = placement.read_range(group, config)
                    (ys, y_in), (xs, x_in) = (
                        rule.positions(axis, [place], size)
                        for axis, place, size in (
                            (0, oy, tensor.height),
                            (1, ox, tensor.width),
                        )
                    )
                    read |= {
                        (y * tensor.width + x) * words + first + word
                        for y in ys[0][y_in[0]].tolist()
                        for x in xs[0][x_in[0]].tolist()
                        for word in range(count)
                    }
                if layer.blocks is not None:
                    top, left = (layer.blocks.origin(n)[at] for n, at in enumerate((oy, ox)))
                    places = [(top + y, left + x) for y, x in np.ndindex(layer.blocks.block)]
                elif pool is None:
                    places = [(oy, ox)]
                else:
                    places = [
                        (py, px)
                        for py in range(pool.height)
                        for px in range(pool.width)
                        if all(
                            0 <= at - p * s + e < k
                            for at, p, s, e, k in zip(
                                (oy, ox),
                                (py, px),
                                pool.stride,
                                pool.padding,
                                pool.kernel,
                                strict=True,
                            )
                        )
                    ]
                if places:
                    yield (
                        read,
                        {(py * width + px) * own + word for py, px in places for word in written},
                    )


def harmless(steps, distance):
    """Whether an output ``distance`` words below its source overwrites nothing that is read."""
    written = set()
    for read, out in steps:
        if written & read:
            return False
        written |= {word - distance for word in out}
    return True


@pytest.mark.parametrize("seed", range(24))
def test_outputs_overwrite_nothing_that_is_still_read(seed):
    rng = np.random.default_rng([seed, 5])
    config = random_config(rng)
    network = random_network(rng, config, max_size=6)
    if seed % 2:
        network = random_shape(rng, network, config)
    try:
        placement = place(network, config)
    except ExportError:  # an array too small for the blocks
        pytest.skip("no placement")
    _, died = lifetimes(network, placement)
    near = distances(network, placement, config)
    for index, layer in enumerate(network.layers[:-1]):
        for source in {group.source for group in layer.groups}:
            assert ((source, layer.output) not in near) or died[source] == index
            if (source, layer.output) in near:
                steps = list(accesses(network, placement, config, layer, source))
                several = len(placement.tiles[layer.name]) > 1
                step = placement.layouts[source].words if several else 1
                for more in (0, 1, 2, 7):
                    assert harmless(steps, near[source, layer.output] + more * step)


def test_distances_are_the_least():
    """Of layers of one tile whose pixels all compute."""
    network = chain([8, 8, 8], size=(5, 6))
    (group,) = network.layers[0].groups
    config = dataclasses.replace(ROOMY, scan_width=2)
    words = 2  # 8 channels on 2 slices of 2 lanes
    for kernel, stride, padding, expected in (
        ((1, 1), (1, 1), (0, 0), 0),
        ((3, 3), (1, 1), (1, 1), 6 + 1),  # a row and a pixel
        ((3, 1), (1, 1), (1, 0), 6),
        ((1, 3), (1, 1), (0, 1), 1),
    ):
        group.kernel, group.stride, group.padding = kernel, stride, padding
        group.trits = np.ones((8, 8, *kernel), np.int8)
        placement = place(network, config)
        assert distances(network, placement, config) == {("t0", "t1"): expected * words}
        steps = list(accesses(network, placement, config, network.layers[0], "t0"))
        assert harmless(steps, expected * words)
        assert not harmless(steps, expected * words - 1)


def test_a_layer_of_several_tiles_reads_its_source_again():
    network = chain([8, 20, 4])  # 20 rows are two tiles
    placement = place(network, ROOMY)
    assert len(placement.tiles["layer0"]) > 1
    assert distances(network, placement, ROOMY) == {}


def test_a_chain_of_outputs_on_their_sources():
    network = chain([4] * 8)
    memory = compile_network(network, ROOMY, tight=True)
    assert memory.activation_words == 16
    assert compile_network(network, ROOMY).activation_words == 32
    pooled = chain([4, 4, 4], size=(5, 7), pool=Pool((3, 3), (2, 2), (1, 1), 3, 4))
    assert compile_network(pooled, ROOMY, tight=True).activation_words == 35


def test_first_fit_honours_pairs_and_lifetimes():
    size = {"a": 10, "b": 10, "c": 10}
    times = {"a": -1, "b": 0, "c": 1}, {"a": 0, "b": 1, "c": 1}
    assert assign(size, times, 20, {}) == {"a": 0, "b": 10, "c": 0}
    near = {("a", "b"): 3, ("b", "c"): 2}
    bases = assign(size, times, 15, near)
    assert bases["b"] <= bases["a"] - 3 and bases["c"] <= bases["b"] - 2
    assert max(bases.values()) == 5
    alone = assign(size, times, 0, near, frozenset("a"))
    assert all(alone[name] >= alone["a"] + 10 or alone[name] + 10 <= alone["a"] for name in "bc")


@pytest.mark.parametrize("seed", range(8))
def test_tight_networks_take_no_more_words(seed):
    rng = np.random.default_rng([seed, 6])
    config = random_config(rng)
    network = random_network(rng, config)
    tight = compile_network(network, config, tight=True).activation_words
    assert tight <= compile_network(network, config).activation_words
    placement = place(network, config)
    assert tight >= max(sizes(network, placement).values())
    small = dataclasses.replace(config, activation_depth=max(2, tight - 1))
    if tight > 2:
        with pytest.raises(ExportError, match="activation memory is too small"):
            compile_network(network, small)
