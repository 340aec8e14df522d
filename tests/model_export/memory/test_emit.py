"""Addresses, records, maps between tensors and memory words, and what does not fit."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.model_export.networks import (
    bound_network,
    compile_network,
    random_codes,
    random_config,
    random_network,
    reference_run,
)
from tritforge.hw.config import Config
from tritforge.hw.program import DESTINATION, LAYER, LAYER_OPCODE, MOST_WINDOWS, record_words
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.placement import place
from tritforge.model_export.network import ColumnGroup, Layer, Network, Pool, Requantization, Tensor
from tritforge.model_export.passes.quantize import partial_bounds
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.records import decode

ROOMY = Config(
    name="roomy",
    trit_depth=1 << 16,
    activation_depth=1 << 15,
    program_depth=1 << 14,
    row_depth=1 << 12,
    result_depth=1 << 14,
)


def chain(sizes, size=(4, 4), pool=None):
    """1x1 convolutions through these channel counts; every second trit is +."""
    tensors = {"t0": Tensor("t0", sizes[0], *size, 1.0)}
    layers = []
    for number, (channels, rows) in enumerate(itertools.pairwise(sizes)):
        trits = (np.arange(rows * channels) % 2).astype(np.int8).reshape(rows, channels, 1, 1)
        group = ColumnGroup(
            f"t{number}",
            (0, channels),
            (0, rows),
            trits,
            (1, 1),
            1.0,
            1.0,
            coefficient_plus=1,
            coefficient_minus=1,
        )
        ones, zeros = np.ones(rows, np.int64), np.zeros(rows, np.int64)
        final = number == len(sizes) - 2
        layers.append(
            Layer(
                f"layer{number}",
                "conv",
                f"t{number + 1}",
                rows,
                *size,
                [group],
                np.ones(rows),
                np.zeros(rows),
                final=final,
                pool=None if final else pool,
                requantization=Requantization(ones, zeros, zeros, 0, 0 if final else 255),
            )
        )
        after = size if pool is None or final else (pool.height, pool.width)
        tensors[f"t{number + 1}"] = Tensor(f"t{number + 1}", rows, *after, 1.0)
        size = after
    return Network("chain", "t0", tensors, layers)


def test_layouts_invert():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        memory = compile_network(network, config)
        tensors = reference_run(network, random_codes(rng, network, 0.7))
        for name, where in memory.tensors.items():
            words = memory.tensor_words(name, tensors[name])
            assert words.shape == (config.clusters, where.size, config.scan_width)
            assert words.dtype == np.uint8
            assert np.count_nonzero(words) == np.count_nonzero(tensors[name])  # gaps are zero
            np.testing.assert_array_equal(memory.tensor_from_words(name, words), tensors[name])
            port = memory.activation_port_words(words[0])
            assert port.shape == (where.size, config.memory_chunks("activations"))
            np.testing.assert_array_equal(memory.activations_from_port_words(port), words[0])


def test_memory_shapes_and_records():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        memory = compile_network(network, config)
        assert memory.program.dtype == memory.rows.dtype == np.uint32
        assert len(memory.program) <= config.program_depth
        assert memory.port_words("program").shape == (len(memory.program), 1)
        assert memory.port_words("rows").shape[1] == config.memory_chunks("rows")
        trits = memory.port_words("trits", config.clusters - 1)
        assert trits.shape == (memory.trits.shape[1], config.memory_chunks("trits"))
        assert trits.shape[0] <= config.trit_depth and len(memory.rows) <= config.row_depth
        for where in memory.layers:
            words = memory.program[where.address : where.address + record_words(LAYER)].tolist()
            record = decode(LAYER, sum(word << 32 * n for n, word in enumerate(words)))
            assert record["opcode"] == LAYER_OPCODE
            assert record["tile_count"] == where.tiles
        low, high = partial_bounds(network, network.final)
        assert memory.layers[-1].accumulator_low == low.min()
        assert memory.layers[-1].accumulator_high == high.max()


def test_trit_word_bits():
    """Element p owns bits [2*R*p, 2*R*(p+1)): R nonzero flags, then R signs."""
    config = Config(clusters=1, elements=2, rows=3, scan_width=1)
    network = chain([1, 5])
    network.layers[0].groups[0].trits[:, 0, 0, 0] = [1, -1, 0, -1, 1]
    memory = compile_network(network, config)
    word = int.from_bytes(memory.trits[0, 0].tobytes(), "little")
    (tile,) = place(network, config).tiles["layer0"]
    expected = 0
    for row, element, accumulator in zip(tile.rows, tile.element, tile.accumulator, strict=True):
        trit = int(network.layers[0].groups[0].trits[row, 0, 0, 0])
        bit = 2 * 3 * int(element) + int(accumulator)
        expected |= (trit != 0) << bit | (trit < 0) << (bit + 3)
    assert word == expected


def test_live_tensors_do_not_overlap():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        memory = compile_network(network, config)
        for index, layer in enumerate(network.layers):
            live = {group.source for later in network.layers[index:] for group in later.groups}
            born = {network.input} | {item.output for item in network.layers[:index]}
            places = [memory.tensors[name] for name in live & born]
            if not layer.final:
                places.append(memory.tensors[layer.output])
            spans = sorted((place.base, place.base + place.size) for place in places)
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
            assert not spans or spans[-1][1] <= memory.activation_words


def test_memory_is_reused_in_a_chain():
    memory = compile_network(chain([4] * 8), Config(activation_depth=32))
    assert memory.activation_words == 32


def test_gaps_are_kept_clean_where_there_is_room():
    sizes = [4, 3, 3, 3, 3, 2]  # 3 channels on 2 clusters leave a lane that is read
    roomy = compile_network(chain(sizes), ROOMY)
    assert not roomy.stale_lanes
    tight = dataclasses.replace(ROOMY, activation_depth=32)
    memory = compile_network(chain(sizes), tight)
    assert memory.stale_lanes and memory.activation_words == 32
    codes = np.full((4, 4, 4), 200)
    for config, image in ((ROOMY, roomy), (tight, memory)):
        machine = Interpreter(config, image)
        machine.activations[:] = 77 if image.stale_lanes else 0
        machine.load(image.tensors["t0"].base, image.input_words(codes))
        machine.run(0, 5)
        np.testing.assert_array_equal(
            image.results_from_entries(machine.results), reference_run(chain(sizes), codes)["t5"]
        )


def test_equal_trits_are_stored_once():
    assert compile_network(chain([4, 4, 4, 4]), ROOMY).trits.shape[1] == 2
    assert compile_network(chain([4, 4, 2]), ROOMY).trits.shape[1] == 4


def test_overlapping_pool_overwrites_first():
    network = chain([2, 3, 3], size=(5, 7), pool=Pool((3, 3), (2, 2), (1, 1), 3, 4))
    memory = compile_network(network, ROOMY)
    machine = Interpreter(ROOMY, memory)
    rng = np.random.default_rng(0)
    for _ in range(2):
        codes = rng.integers(0, 100, (2, 5, 7))
        machine.load(0, memory.input_words(codes))
        machine.run(0, 2)
        np.testing.assert_array_equal(
            memory.results_from_entries(machine.results), reference_run(network, codes)["t2"]
        )


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        # (last pooled row fed, how many, of them the first time) by input row
        (None, [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)]),
        (
            Pool((2, 1), (2, 1), (0, 0), 2, 1),
            [(0, 1, 1), (0, 1, 0), (1, 1, 1), (1, 1, 0), (0, 0, 0)],
        ),
        (
            Pool((3, 1), (2, 1), (1, 0), 3, 1),
            [(0, 1, 1), (1, 2, 1), (1, 1, 0), (2, 2, 1), (2, 1, 0)],
        ),
        (
            Pool((4, 1), (1, 1), (2, 0), 6, 1),
            [(2, 3, 3), (3, 4, 1), (4, 4, 1), (5, 4, 1), (5, 3, 0)],
        ),
        (
            Pool((1, 1), (3, 1), (0, 0), 2, 1),
            [(0, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1), (0, 0, 0)],
        ),
    ],
)
def test_destination_table(pool, expected):
    network = chain([2, 2, 2], size=(5, 1), pool=pool)
    memory = compile_network(network, ROOMY)

    def record(layout, address):
        words = memory.program[address : address + record_words(layout)].tolist()
        return decode(layout, sum(word << 32 * n for n, word in enumerate(words)))

    layer = record(LAYER, memory.layers[0].address)
    table = [record(DESTINATION, layer["destination_y"] + row) for row in range(5)]
    assert [
        (entry["offset"] // layer["step_y"], entry["count"], entry["fresh"]) for entry in table
    ] == expected
    single = record(DESTINATION, layer["destination_x"])
    assert (single["offset"], single["count"], single["fresh"]) == (0, 1, 1)


def test_as_many_windows_as_the_hardware_can_feed():
    for kernel, stride in ((MOST_WINDOWS, 1), (MOST_WINDOWS * 2, 2)):
        pool = Pool((kernel, 1), (stride, 1), (0, 0), 2, 4)
        network = chain([1, 1, 1], size=(kernel + stride, 4), pool=pool)
        compile_network(network, ROOMY)
        network.layers[0].pool = dataclasses.replace(pool, kernel=(kernel + 1, 1))
        with pytest.raises(
            ExportError,
            match=(
                f"layer layer0 has a max-pool of kernel {kernel + 1} and stride {stride}; at "
                f"most {MOST_WINDOWS} windows may overlap each way"
            ),
        ):
            compile_network(network, ROOMY)


def test_sets_hold_the_trits_that_they_need():
    """A layer of several pixels: all alike. Of one pixel: tile t in set t mod N only."""
    config = dataclasses.replace(ROOMY, sets=3, clusters=2, elements=2, rows=2)
    one = dataclasses.replace(config, sets=1)
    for size, tiles in (((2, 2), 1), ((1, 1), 5)):
        network = chain([3, 4 * tiles], size=size)
        memory, alone = compile_network(network, config), compile_network(network, one)
        by_set = memory.trits.reshape(3, 2, -1, memory.trits.shape[2])
        assert memory.layers[0].tiles == tiles
        if tiles == 1:
            for trits in by_set:
                np.testing.assert_array_equal(trits, alone.trits)
        else:
            # Equal trits of one set are held once, so two columns in each suffice.
            assert all(trits.any() for trits in by_set)
            assert memory.trits.shape[1] <= alone.trits.shape[1]
        machine = Interpreter(config, memory)
        codes = np.arange(3 * size[0] * size[1]).reshape(3, *size)
        machine.load(0, memory.input_words(codes))
        machine.run(0, 1)
        np.testing.assert_array_equal(
            memory.results_from_entries(machine.results), reference_run(network, codes)["t1"]
        )
    # Different trits in every tile: each set holds those of its tiles.
    rng = np.random.default_rng(0)
    network.layers[0].groups[0].trits[:] = rng.integers(-1, 2, (20, 3, 1, 1))
    memory, alone = compile_network(network, config), compile_network(network, one)
    columns = alone.trits.shape[1] // 5
    assert memory.trits.shape[1] == 2 * columns
    by_set = memory.trits.reshape(3, 2, 2, columns, -1)
    for tile in range(5):
        np.testing.assert_array_equal(
            by_set[tile % 3, :, tile // 3], alone.trits[:, tile * columns : (tile + 1) * columns]
        )
    assert not by_set[2, :, 1].any()


def test_results_as_unsigned_words():
    rng = np.random.default_rng(0)
    network, codes = bound_network(rng, Config())
    memory = compile_network(network, Config())
    machine = Interpreter(Config(), memory)
    machine.load(0, memory.input_words(codes))
    machine.run(0, 2)
    results = memory.results_from_entries(machine.results.view(np.uint32))
    assert results.dtype == np.int32 and results.min() < 0
    np.testing.assert_array_equal(results, memory.results_from_entries(machine.results))
    with pytest.raises(ValueError, match="1 result entries given; there are 8"):
        memory.results_from_entries(machine.results[:1])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "trit_depth",
            10,
            r"trit memory is too small at layer layer2: network chain needs "
            r"14 columns per cluster, configuration roomy has 10",
        ),
        (
            "activation_depth",
            40,
            r"activation memory is too small at layer layer0: network chain "
            r"needs 48 words per cluster, configuration roomy has 40",
        ),
        (
            "program_depth",
            90,
            r"program memory is too small at layer layer2: network chain needs "
            r"100 words, configuration roomy has 90",
        ),
        (
            "row_depth",
            5,
            r"row memory is too small at layer layer0: network chain needs 24 entries, "
            r"configuration roomy has 5",
        ),
        (
            "result_depth",
            60,
            r"result memory is too small at layer layer2: network chain needs 64 "
            r"entries, configuration roomy has 60",
        ),
    ],
)
def test_does_not_fit(field, value, message):
    network = chain([8, 8, 12, 4])
    network.layers[1].groups[0].trits[0] = -1
    compile_network(network, ROOMY)
    with pytest.raises(ExportError, match=message):
        compile_network(network, dataclasses.replace(ROOMY, **{field: value}))


def test_values_that_do_not_fit():
    network = chain([4, 4, 4])
    first = network.layers[0]
    first.groups[0].coefficient_plus = 512
    with pytest.raises(ExportError, match="layer layer0 has a coefficient 512"):
        compile_network(network, ROOMY)
    first.groups[0].coefficient_plus = 511
    with pytest.raises(ExportError, match="layer layer0 has accumulators from 0 to 260610"):
        compile_network(network, dataclasses.replace(ROOMY, accumulator_width=16))
    compile_network(network, ROOMY)
    first.requantization.multiplier[2] = 1 << 15
    with pytest.raises(ExportError, match=r"layer layer0 does not fit .* multiplier is 32768"):
        compile_network(network, ROOMY)
    first.requantization.multiplier[2] = 1
    first.requantization.bias[3] = 1 << 39
    with pytest.raises(ExportError, match="layer layer0, row 3, scales accumulators up to"):
        compile_network(network, ROOMY)
    first.requantization.bias[3] = 0
    network.final.requantization.bias[0] = (1 << 31) - 1
    with pytest.raises(ExportError, match="layer layer1 has results up to"):
        compile_network(network, ROOMY)
    network.final.requantization.bias[0] = 0
    network.final.requantization.shift[0] = 1
    with pytest.raises(ExportError, match="layer layer1 is the last; its results cannot"):
        compile_network(network, ROOMY)


def test_shapes_that_do_not_fit():
    network = chain([2, 2], size=(1, 300))
    network.layers[0].groups[0].kernel = (1, 300)
    network.layers[0].groups[0].trits = np.ones((2, 2, 1, 300), np.int8)
    with pytest.raises(ExportError, match="kernel of 1x300"):
        compile_network(network, ROOMY)
    network = chain([2, 2, 2], pool=Pool((2, 2), (2, 2), (0, 0), 3, 2))
    with pytest.raises(ExportError, match=r"window \(number 2 along y\) that lies entirely"):
        compile_network(network, ROOMY)
    network = chain([2, 2])
    network.layers[0].pool = Pool((2, 2), (2, 2), (0, 0), 2, 2)
    with pytest.raises(ExportError, match="is the last and has a max-pool"):
        compile_network(network, ROOMY)
    network = chain([2, 2, 2])
    network.tensors["t1"].width = 9
    with pytest.raises(ExportError, match="layer layer0 computes"):
        compile_network(network, ROOMY)
    network = chain([2, 2, 2])
    network.layers.reverse()
    with pytest.raises(ExportError, match="reads tensor t1 before any layer has written it"):
        compile_network(network, ROOMY)


def tabled(count, tables):
    """A chain of layers, of which the first ones have these activation tables."""
    network = chain([4] * (count + 1))
    for layer, table in zip(network.layers, tables, strict=False):
        layer.requantization.table = table
    for layer in network.layers:
        layer.accumulator_low, layer.accumulator_high = partial_bounds(network, layer)
    rule = network.final.requantization
    rule.low, rule.high = -1 << 31, (1 << 31) - 1
    return network


def test_equal_activation_tables_are_held_once():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 256))
    network = tabled(6, [first, None, second, first.copy(), second])
    network.tensors["t5"].signed = True  # -128 .. 127 there, the same bytes
    network.layers[4].requantization.table = (second + 128) % 256 - 128
    memory = compile_network(network, dataclasses.replace(ROOMY, activation_tables=2))
    np.testing.assert_array_equal(memory.tables, np.concatenate([first, second]))
    assert memory.port_words("tables").tolist() == [[entry] for entry in memory.tables.tolist()]
    records = [
        decode(LAYER, sum(int(word) << 32 * n for n, word in enumerate(words)))
        for words in (memory.program[place.address :][:6] for place in memory.layers)
    ]
    assert [(one["look_up"], one["table"], one["table_signed"]) for one in records] == [
        (1, 0, 0),
        (0, 0, 0),
        (1, 1, 0),
        (1, 0, 0),
        (1, 1, 1),
        (0, 0, 0),
    ]
    with pytest.raises(
        ExportError,
        match="memory of activation tables is too small at layer layer2: network chain needs 2 "
        "tables, configuration roomy has 1",
    ):
        compile_network(network, dataclasses.replace(ROOMY, activation_tables=1))


def test_activation_tables_that_hardware_cannot_have():
    table = np.arange(256)
    config = dataclasses.replace(ROOMY, activation_tables=1)
    network = tabled(2, [table])
    compile_network(network, config)
    with pytest.raises(
        ExportError,
        match="layer layer0 applies a function, which takes an activation table; configuration "
        "roomy has none: use ReLU or a clamp, or a configuration file with a preset and",
    ):
        compile_network(network, ROOMY)
    network.tensors["t1"].signed = True
    with pytest.raises(
        ExportError, match="layer0 has an activation table of codes from 0 to 255; codes of tensor"
    ):
        compile_network(network, config)
    network = tabled(2, [table])
    for low, high in ((-1, 200), (-129, 0), (3, 256), (5, 4)):
        network.layers[0].requantization.low, network.layers[0].requantization.high = low, high
        with pytest.raises(ExportError, match=f"layer0 clamps to {low} .. {high} in front of its"):
            compile_network(network, config)
    network = tabled(2, [None, table])
    with pytest.raises(ExportError, match="layer1 is the last and has an activation table"):
        compile_network(network, config)


def test_bad_codes():
    memory = compile_network(chain([2, 2]), ROOMY)
    with pytest.raises(ValueError, match=r"tensor t0 has shape \(2, 4, 4\), not \(2, 4\)"):
        memory.input_words(np.zeros((2, 4), int))
    with pytest.raises(ValueError, match="must be integers, not float64"):
        memory.input_words(np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="run from -1 to -1; they must lie between 0 and 255"):
        memory.input_words(np.full((2, 4, 4), -1))
    with pytest.raises(KeyError, match="the image has no layer 'x'"):
        memory.layer("x")
    with pytest.raises(KeyError, match="not counters"):
        memory.port_words("counters")
