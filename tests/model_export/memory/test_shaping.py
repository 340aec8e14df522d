"""What shape the compiler chooses, and that it is faster on the cycle model."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.model_export.memory.thin import conv_network, sparse_codes
from tritforge.hw.presets import PRESETS
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.emit import DoesNotFitError
from tritforge.model_export.memory.shaping import Shaping, compile_network, shape_network
from tritforge.model_export.passes.fold import fold_candidates
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel
from tritforge.sim.interpreter import Interpreter


def conv_cycles(compiled, codes):
    """Clock cycles of the first layer."""
    golden = GoldenModel(compiled.network).run_all(codes[None], unpooled=True)
    tensors = {name: values[0] for name, values in golden.items()}
    return CycleModel(compiled.network, compiled.memory).run(tensors)[0]["cycles"]


def results(compiled, codes):
    """What the memory contents compute."""
    memory = compiled.memory
    machine = Interpreter(memory.config, memory)
    machine.load(memory.tensors["input"].base, memory.input_words(codes))
    machine.run(memory.layers[0].address, len(memory.layers))
    place = memory.results
    return memory.results_from_entries(machine.results[place.base : place.base + place.entries])


@pytest.mark.compiles
@pytest.mark.parametrize("preset", ["ulx3s_85f", "alexnet"])
@pytest.mark.parametrize(
    ("shape", "rows", "kernel", "stride", "most"),
    [((1, 28, 28), 16, 5, 1, 0.7), ((3, 32, 32), 16, 3, 1, 1.0), ((3, 32, 32), 16, 7, 2, 0.7)],
)
def test_first_layers_are_unfolded(preset, shape, rows, kernel, stride, most):
    """What is chosen takes at most ``most`` of the cycles of the layer as it stands, and at most
    a tenth more than the best of all choices that send no more words."""
    rng = np.random.default_rng(1)
    network = conv_network(rng, shape, rows, kernel, 0.5, stride=stride)
    codes, density = sparse_codes(rng, network, 0.8)
    config = dataclasses.replace(PRESETS[preset], activation_depth=1 << 14)
    golden = GoldenModel(network).run(codes[None])[0]
    cycles, sizes = {}, {}
    for block in ["none", "auto", *{f"{by}x{bx}" for by, bx in blocks(network)}]:
        shaping = Shaping(block, "none")
        compiled = compile_network(network, config, {"input": density}, shaping=shaping)
        cycles[block] = conv_cycles(compiled, codes)
        sizes[block] = compiled.memory.tensors["input"].size
        if block in ("none", "auto"):
            np.testing.assert_array_equal(results(compiled, codes), golden)
        assert bool(compiled.memory.layers[0].note) == (block != "none")
        assert not compiled.memory.layers[1].note
    assert cycles["auto"] <= most * cycles["none"]
    small = [one for block, one in cycles.items() if sizes[block] <= sizes["auto"]]
    assert cycles["auto"] <= 1.1 * min(small)


def blocks(network):
    return [fold.block for fold in fold_candidates(network)]


def test_the_port_counts():
    """A fold is not chosen where it makes the input larger than it saves cycles."""
    network = conv_network(np.random.default_rng(2), (4, 16, 16), 4, 7, 0.1)
    config = dataclasses.replace(PRESETS["tiny"], activation_depth=1 << 15)
    fold = shape_network(network, config).network.tensors["input"].fold
    sizes = [np.prod(one.folded_shape) for one in fold_candidates(network)]
    assert fold is None or np.prod(fold.folded_shape) < max(sizes)


def test_the_largest_that_fits():
    """Where the memories do not hold the best shape, the next one that takes less is tried."""
    rng = np.random.default_rng(3)
    network = conv_network(rng, (3, 24, 24), 4, 5, 0.5)
    config = dataclasses.replace(PRESETS["tiny"], activation_depth=1 << 14, trit_depth=4096)
    pixels = Shaping(blocks="none")
    wide = compile_network(network, config, shaping=pixels).memory
    assert wide.tensors["input"].fold is not None
    found = set()
    for depth in itertools.takewhile(lambda depth: depth, range(1 << 13, 0, -128)):
        smaller = dataclasses.replace(config, activation_depth=depth)
        try:
            memory = compile_network(network, smaller, resident=True, shaping=pixels).memory
        except DoesNotFitError as error:
            assert error.memory == "activations"
            break
        found.add(memory.tensors["input"].size)
        assert memory.schedule is None and memory.activation_words <= depth
    assert len(found) > 1 and max(found) == wide.tensors["input"].size
    assert compile_network(network, smaller).memory.schedule is not None


def test_bad_choices():
    network = conv_network(np.random.default_rng(4), (3, 8, 8), 4, 3, 0.5)
    with pytest.raises(ExportError, match="cannot be folded by '3 x 3'; it can be auto, none"):
        Shaping("3 x 3")
    with pytest.raises(ExportError, match="cannot be folded by 4x4; it can by 1x2, 1x3, 2x1"):
        compile_network(network, PRESETS["tiny"], shaping=Shaping("4x4", "none"))
    pointwise = conv_network(np.random.default_rng(4), (3, 8, 8), 4, 1, 0.5)
    with pytest.raises(ExportError, match="cannot be folded by 2x2; it cannot be folded at all"):
        compile_network(pointwise, PRESETS["tiny"], shaping=Shaping("2x2", "none"))
    stands = compile_network(network, PRESETS["tiny"], shaping=Shaping("stride", "none"))
    assert stands.memory.tensors["input"].fold is None and stands.computed is network


@pytest.mark.compiles
@pytest.mark.parametrize("preset", ["ulx3s_85f", "alexnet"])
@pytest.mark.parametrize(
    ("shape", "rows", "kernel", "most"),
    [((16, 32, 32), 16, 3, 0.8), ((12, 13, 11), 8, 3, 0.8), ((24, 20, 20), 16, 1, 0.8)],
)
def test_thin_layers_compute_blocks(preset, shape, rows, kernel, most):
    """What is chosen takes at most ``most`` of the cycles of single pixels, and at most a sixth
    more than the best of several blocks."""
    rng = np.random.default_rng(6)
    network = conv_network(rng, shape, rows, kernel, 0.5)
    codes, density = sparse_codes(rng, network, 0.5)
    golden = GoldenModel(network).run(codes[None])[0]
    cycles = {}
    for blocks in ("none", "auto", "1x2", "2x2", "2x4", "4x2"):
        shaping = Shaping("none", blocks)
        compiled = compile_network(network, PRESETS[preset], {"input": density}, shaping=shaping)
        cycles[blocks] = conv_cycles(compiled, codes)
        np.testing.assert_array_equal(results(compiled, codes), golden)
        place = compiled.memory.layers[0]
        if blocks == "2x2":
            assert place.note == "computed 2x2 output pixels at a time" and place.block == (2, 2)
            assert compiled.computed.layers[0].rows == 4 * rows
        assert compiled.memory.layers[1].block == (1, 1)
    assert cycles["auto"] <= most * cycles["none"]
    assert cycles["auto"] <= 7 / 6 * min(cycles.values())


def test_blocks_are_given_back_where_trits_are_short():
    """Each depth of the trit memory in which single pixels fit is enough, and more is used."""
    rng = np.random.default_rng(7)
    network = conv_network(rng, (8, 16, 16), 4, 3, 0.5)
    config = dataclasses.replace(PRESETS["tiny"], elements=16, activation_depth=1 << 13)
    taken = {}
    for depth in (2048, 160, 120, 100, 80, 60, 40):
        smaller = dataclasses.replace(config, trit_depth=depth)
        memory = compile_network(network, smaller, shaping=Shaping("none"), resident=True).memory
        assert memory.trits.shape[1] <= depth
        taken[depth] = memory.layers[0].block
    assert taken[2048] != (1, 1) and taken[40] == (1, 1)
    pixels = [block[0] * block[1] for block in taken.values()]
    assert pixels == sorted(pixels, reverse=True) and len(set(pixels)) > 2


def test_depthwise_layers_compute_blocks():
    """Rows that read a channel each fill more tiles, and read less for it."""
    rng = np.random.default_rng(8)
    network = conv_network(rng, (64, 24, 24), 64, 3, 0.6)
    (group,) = network.layers[0].groups
    group.trits[~np.eye(64, dtype=bool)] = 0
    codes, density = sparse_codes(rng, network, 0.5)
    golden = GoldenModel(network).run(codes[None])[0]
    for preset in ("ulx3s_85f", "alexnet"):
        config = dataclasses.replace(PRESETS[preset], activation_depth=1 << 14)
        compiled = compile_network(network, config, {"input": density})
        assert compiled.memory.layers[0].block != (1, 1)
        np.testing.assert_array_equal(results(compiled, codes), golden)


def test_no_such_block():
    with pytest.raises(ExportError, match="cannot compute blocks of '2'; they can be auto, none"):
        Shaping(blocks="2")
    network = conv_network(np.random.default_rng(9), (3, 8, 8), 4, 3, 0.5)
    compiled = compile_network(network, PRESETS["tiny"], shaping=Shaping("none", "9x1"))
    assert compiled.memory.layers[0].block == (1, 1)


@pytest.mark.compiles
@pytest.mark.parametrize("preset", ["ulx3s_85f", "alexnet"])
def test_layers_with_a_pool_compute_blocks_where_rows_merge(preset):
    rng = np.random.default_rng(10)
    network = conv_network(rng, (8, 30, 28), 16, 3, 0.5, pool=(2, 2))
    codes, density = sparse_codes(rng, network, 0.5)
    golden = GoldenModel(network).run(codes[None])[0]
    cycles = {}
    for merges in (False, True):
        config = dataclasses.replace(PRESETS[preset], row_merges=merges)
        compiled = compile_network(network, config, {"input": density})
        np.testing.assert_array_equal(results(compiled, codes), golden)
        cycles[merges] = conv_cycles(compiled, codes)
        assert (compiled.memory.layers[0].block != (1, 1)) == merges
    assert cycles[True] < 0.75 * cycles[False]


def test_the_least_shape_is_streamed_where_the_best_cannot():
    """Strips of blocks take more words than strips of pixels."""
    rng = np.random.default_rng(11)
    network = conv_network(rng, (4, 16, 16), 4, 3, 0.5)
    config = dataclasses.replace(PRESETS["tiny"], elements=16, trit_depth=2048)
    blocks = set()
    for depth in range(600, 100, -10):
        smaller = dataclasses.replace(config, activation_depth=depth)
        try:
            compile_network(network, smaller, shaping=Shaping("none", "none"))
        except ExportError:
            break
        memory = compile_network(network, smaller, shaping=Shaping("none")).memory
        if memory.schedule is not None:
            blocks.add(memory.layers[0].block)
    assert (1, 1) in blocks and len(blocks) > 1
