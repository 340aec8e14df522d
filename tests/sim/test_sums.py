"""Residual streams on the RTL: sums of sums, in memories that hold them and in strips of them."""

import dataclasses

import pytest

from tests.model_export.draws import Case
from tests.model_export.networks import compile_network
from tests.model_export.passes.test_sums import CASES, CONFIG, samples, traced
from tests.sim.agreement import check_streamed, check_whole
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import emit_streamed
from tritforge.model_export.passes.blocks import allows_blocks, layer_in_blocks
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.model_export.passes.sums import fuse_sums
from tritforge.sim.golden import quantize_input
from tritforge.sim.native import NativeLink

SMALL = dataclasses.replace(CONFIG, sets=2, drain_width=2, clusters=4, scan_width=3)


def compiled(name):
    body, options, _, _ = CASES[name]
    x = samples()
    network = quantize(calibrate(fuse_sums(traced(body, options)[1])[0], x), SMALL)
    codes = quantize_input(x[:2], network.tensors["input"])
    return network, (codes[0], codes[1])


@pytest.mark.compiles
@pytest.mark.parametrize(
    "name", ["chain", "projection", "padded shortcut", "a sum of another sign"]
)
def test_whole(name):
    network, inputs = compiled(name)
    with NativeLink(SMALL, optimize=False) as link:
        check_whole(link, Case(network, compile_network(network, SMALL), inputs))


@pytest.mark.compiles
def test_blocks_of_pixels():
    """Layers that add compute several output pixels at a time, each of them once."""
    network, inputs = compiled("chain")
    assert not any(allows_blocks(layer, (2, 1)) for layer in network.layers if layer.addend)
    layers = [
        layer_in_blocks(layer, (5, 1)) if allows_blocks(layer, (5, 1)) else layer
        for layer in network.layers
    ]
    assert sum(layer.addend is not None and layer.blocks is not None for layer in layers) == 3
    shaped = dataclasses.replace(network, layers=layers)
    with NativeLink(SMALL, optimize=False) as link:
        check_whole(link, Case(network, compile_network(shaped, SMALL), inputs))


@pytest.mark.compiles
def test_in_strips():
    network, inputs = compiled("chain")
    sums = {layer.name: layer.addend for layer in network.layers}
    depth = compile_network(network, SMALL).activation_words
    for words in range(depth, 0, -1):
        config = dataclasses.replace(SMALL, activation_depth=words)
        memory = emit_streamed(network, place(network, config, side_by_side=False), config)
        loads = [
            strip
            for one in memory.schedule.passes
            for strip in one.loads
            if strip.tensor == sums[one.layer]
        ]
        if len(loads) > 2:
            break
    with NativeLink(config, optimize=False) as link:
        check_streamed(link, Case(network, memory, inputs))
