"""Layouts and tiles: completeness, evenness, balance, constraints of wide drains."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.networks import random_config, random_network
from tritforge.hw.config import Config
from tritforge.model_export.errors import ExportError
from tritforge.model_export.in_place import places
from tritforge.model_export.memory.placement import place, place_layer
from tritforge.model_export.network import ColumnGroup, Layer, Network, Requantization, Tensor


def requantization(rows):
    return Requantization(
        np.ones(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64), 0, 255
    )


def layer(name, source, rows, groups, final=False, size=(1, 1)):
    return Layer(
        name,
        "conv",
        f"{name}_out",
        rows,
        *size,
        groups,
        np.ones(rows),
        np.zeros(rows),
        final=final,
        requantization=requantization(rows),
    )


def group(source, channels, rows, trits, kernel=(1, 1), pair=(1, 1), **more):
    return ColumnGroup(
        source,
        channels,
        rows,
        trits,
        kernel,
        1.0,
        1.0,
        coefficient_plus=pair[0],
        coefficient_minus=pair[1],
        **more,
    )


def dense(rng, rows, channels, kernel=(1, 1), density=0.5):
    values = rng.choice(np.array([-1, 1], np.int8), (rows, channels, *kernel))
    values[rng.random(values.shape) >= density] = 0
    return values


def two_layers(groups, channels, rows, final_reads=None):
    """Input -> layer "a" with these groups -> a dense final layer."""
    rng = np.random.default_rng(0)
    tensors = {
        "input": Tensor("input", channels, 1, 1, 1.0),
        "a_out": Tensor("a_out", rows, 1, 1, 1.0),
        "z_out": Tensor("z_out", 3, 1, 1, 1.0),
    }
    reads = final_reads or [(0, rows)]
    final = [group("a_out", part, (0, 3), dense(rng, 3, part[1] - part[0])) for part in reads]
    return Network(
        "two",
        "input",
        tensors,
        [layer("a", "input", rows, groups), layer("z", "a_out", 3, final, final=True)],
    )


def place_in_pixel(layout, channels, config):
    chosen = slice(*channels)
    return layout.word[chosen] * config.scan_width + layout.lane[chosen]


def test_invariants_on_random_networks():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        placement = place(network, config)
        for name, layout in placement.layouts.items():
            channels = network.tensors[name].channels
            own = set(zip(layout.cluster, layout.word, layout.lane, strict=True))
            assert len(own) == channels == len(layout.cluster)
            assert layout.lane.max() < config.scan_width and layout.word.max() < layout.words
            assert [part.start for part in layout.segments][1:] == [
                part.stop for part in layout.segments
            ][:-1]
            for part in layout.segments:
                counts = np.bincount(
                    layout.cluster[part.start : part.stop], minlength=config.clusters
                )
                assert counts.max() - counts.min() <= 1
                assert part.lanes == int(counts.max())
            last = layout.segments[-1]
            assert layout.words >= -(-(last.first + last.lanes) // config.scan_width)
        for first in set(placement.places.values()):
            beside = [
                name
                for name, place_ in places(network).items()
                if name == place_ and placement.place(name) == first
            ]
            layouts = [placement.layouts[name] for name in beside]
            assert len({layout.words for layout in layouts}) == 1
            everything = [
                place
                for layout in layouts
                for place in zip(layout.cluster, layout.word, layout.lane, strict=True)
            ]
            assert len(set(everything)) == len(everything)
        for name, first in places(network).items():  # sums are where what they are added to was
            if name in placement.layouts:
                found, expected = placement.layouts[name], placement.layouts[first]
                assert placement.place(name) == placement.place(first)
                assert (found.words, found.segments) == (expected.words, expected.segments)
                for part in ("cluster", "word", "lane"):
                    np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
        for item in network.layers:
            tiles = placement.tiles[item.name]
            rows = np.concatenate([tile.rows for tile in tiles])
            assert sorted(rows) == list(range(item.rows))
            for tile in tiles:
                slots = set(zip(tile.element, tile.accumulator, strict=True))
                assert len(slots) == len(tile.rows)
                assert tile.rows_used <= config.rows and tile.element.max() < config.elements
                if not item.final:
                    cluster = placement.layouts[item.output].cluster[tile.rows]
                    width = config.drain_classes
                    assert np.array_equal(cluster % width, tile.element % width)
                    words = placement.layouts[item.output].word[tile.rows]
                    steps: dict[tuple[int, ...], set[int]] = {}
                    block = tile.element // config.drain_width
                    for key, word in zip(
                        zip(tile.accumulator, block, cluster, strict=True), words, strict=True
                    ):
                        steps.setdefault(key, set()).add(int(word))
                    assert all(len(own) == 1 for own in steps.values())
            for tile in tiles:
                for part in tile.groups:
                    word, words, lanes = placement.read_range(part, config)
                    stop = (word + words - 1) * config.scan_width + lanes
                    assert 1 <= lanes <= config.scan_width
                    positions = [
                        place_in_pixel(placement.layouts[name], channels, config)
                        for name, channels in part.parts
                    ]
                    assert min(found.min() for found in positions) >= word * config.scan_width
                    assert max(found.max() for found in positions) + 1 == stop
                    assert len({placement.place(name) for name, _ in part.parts}) == 1
            for number, column_group in enumerate(item.groups):
                seen = np.zeros(column_group.trits.shape[:2], int)
                done = set()
                for tile in tiles:
                    for part in tile.groups:
                        for block in part.blocks:
                            if block.group != number or block in done:
                                continue
                            done.add(block)
                            ((_, stop),) = [
                                channels
                                for name, channels in part.parts
                                if name == column_group.source
                                and channels[0] <= block.channels[0] < channels[1]
                            ]
                            assert block.channels[1] <= stop
                            row, channel = column_group.rows[0], column_group.channels[0]
                            seen[
                                block.rows[0] - row : block.rows[1] - row,
                                block.channels[0] - channel : block.channels[1] - channel,
                            ] += 1
                nonzero = column_group.trits.any(axis=(2, 3))
                assert seen.max() <= 1 and (seen[nonzero] == 1).all()


def test_deterministic():
    rng = np.random.default_rng(4)
    config = random_config(rng)
    network = random_network(rng, config)
    one, other = place(network, config), place(network, config)
    for name, layout in one.layouts.items():
        assert np.array_equal(layout.cluster, other.layouts[name].cluster)
    for name, tiles in one.tiles.items():
        for tile, again in zip(tiles, other.tiles[name], strict=True):
            assert np.array_equal(tile.element, again.element)
            assert np.array_equal(tile.rows, again.rows)


def test_rows_are_spread_evenly_over_tiles():
    config = Config(clusters=8, elements=16, rows=16, scan_width=4, drain_width=2)
    rng = np.random.default_rng(0)
    network = two_layers([group("input", (0, 32), (0, 384), dense(rng, 384, 32))], 32, 384)
    tiles = place(network, config).tiles["a"]
    assert [len(tile.rows) for tile in tiles] == [192, 192]
    assert [tile.rows_used for tile in tiles] == [12, 12]


def test_full_tile_despite_wide_drain():
    """256 rows fill one 256-slot tile although each element takes only some clusters."""
    config = Config(clusters=8, elements=16, rows=16, scan_width=4, drain_width=2)
    rng = np.random.default_rng(0)
    for reads in ([(0, 256)], [(0, 101), (101, 256)]):
        network = two_layers([group("input", (0, 8), (0, 256), dense(rng, 256, 8))], 8, 256, reads)
        assert len(place(network, config).tiles["a"]) == 1


def test_elements_are_balanced():
    config = Config(clusters=1, elements=8, rows=8)
    rng = np.random.default_rng(0)
    trits = np.concatenate(
        [dense(rng, 1, 200, density=share) for share in np.linspace(0.02, 0.9, 64)]
    )
    network = two_layers([group("input", (0, 200), (0, 64), trits)], 200, 64)
    (tile,) = place(network, config).tiles["a"]
    work = np.bincount(tile.element, np.count_nonzero(trits, axis=(1, 2, 3))[tile.rows])
    assert work.max() < 1.02 * work.mean()


@pytest.mark.parametrize(("rows", "drain_width", "tiles"), [(64, 1, 1), (192, 1, 3), (128, 2, 2)])
def test_elements_are_balanced_in_every_cluster(rows, drain_width, tiles):
    """Rows favour clusters: what an element gets of a tile is even in each of them."""
    config = Config(clusters=4, elements=8, rows=8, drain_width=drain_width)
    rng = np.random.default_rng(3)
    trits = dense(rng, rows, 256, density=1)
    network = two_layers([group("input", (0, 256), (0, rows), trits)], 256, rows)
    part = np.arange(256) % 8  # eight kinds of channels, each row likes some of them
    keep = rng.random((rows, 8))[:, part] > rng.random((rows, 256))
    trits[~keep] = 0
    density = rng.uniform(0.2, 1, 256)
    placement = place(network, config, {"input": density})
    cluster = placement.layouts["input"].cluster
    work = np.stack(
        [(trits[:, :, 0, 0] != 0) @ (density * (cluster == number)) for number in range(4)], axis=1
    )
    assert len(placement.tiles["a"]) == tiles
    load = np.zeros((tiles, 8, 4))
    by_index = np.zeros((tiles, 8, 4))
    for number, tile in enumerate(placement.tiles["a"]):
        np.add.at(load[number], tile.element, work[tile.rows])
        np.add.at(
            by_index[number],
            np.arange(len(tile.rows)) % 8,
            work[number * 64 : number * 64 + len(tile.rows)],
        )
    uneven, plain = (
        array.max(axis=1).sum() / array.mean(axis=1).sum() for array in (load, by_index)
    )
    assert uneven < 1.09 and uneven - 1 < 0.4 * (plain - 1)


def test_channels_are_balanced_with_density():
    config = Config(clusters=4, elements=4, rows=4)
    rng = np.random.default_rng(0)
    trits = dense(rng, 16, 64)
    trits[:, :16] = 0
    network = two_layers([group("input", (0, 64), (0, 16), trits)], 64, 16)
    density = rng.random(64)
    layout = place(network, config, {"input": density}).layouts["input"]
    load = np.bincount(layout.cluster, np.count_nonzero(trits, axis=(0, 2, 3)) * density)
    assert load.max() < 1.05 * load.mean()


def test_depthwise_is_merged():
    config = Config(clusters=2, elements=4, rows=4, scan_width=2)
    trits = np.ones((1, 1, 3, 3), np.int8)
    groups = [group("input", (n, n + 1), (n, n + 1), trits, (3, 3)) for n in range(32)]
    tiles = place(two_layers(groups, 32, 32), config).tiles["a"]
    assert [(tile.groups[0].channels, len(tile.groups)) for tile in tiles] == [
        ((0, 16), 1),
        ((16, 32), 1),
    ]


def test_missing_digit_of_a_depthwise_group_cuts_no_segment():
    config = Config(clusters=2, elements=4, rows=4, scan_width=2)
    trits = np.ones((1, 1, 3, 3), np.int8)
    groups = [
        group("input", (n, n + 1), (n, n + 1), trits, (3, 3), (1 << digit, 1 << digit))
        for n in range(16)
        for digit in range(3)
        if (n + digit) % 5
    ]
    placement = place(two_layers(groups, 16, 16), config)
    assert [part.channels for part in placement.tiles["a"][0].groups] == [(0, 16)] * 3
    assert len(placement.layouts["input"].segments) == 1


def test_wide_identity_reads_only_its_channels():
    config = Config(clusters=2, elements=4, rows=4, scan_width=2)
    trits = np.zeros((48, 48, 1, 1), np.int8)
    trits[np.arange(48), np.arange(48)] = 1
    tiles = place(two_layers([group("input", (0, 48), (0, 48), trits)], 48, 48), config).tiles["a"]
    assert [tile.groups[0].channels for tile in tiles] == [(0, 16), (16, 32), (32, 48)]


def test_large_groups_keep_their_own_words():
    config = Config(clusters=2, elements=4, rows=4, scan_width=2)
    rng = np.random.default_rng(0)
    groups = [
        group("input", (9 * n, 9 * n + 9), (16 * n, 16 * n + 16), dense(rng, 16, 9))
        for n in range(2)
    ]
    placement = place(two_layers(groups, 18, 32), config)
    assert [part.start for part in placement.layouts["input"].segments] == [0, 9]
    assert [tile.groups[0].channels for tile in placement.tiles["a"]] == [(0, 9), (9, 18)]


def test_errors():
    config = Config()
    rng = np.random.default_rng(0)
    network = two_layers([group("input", (0, 4), (0, 8), dense(rng, 8, 4))], 4, 8)
    with pytest.raises(ExportError, match="densities of tensor input have shape"):
        place(network, config, {"input": np.ones(3)})
    with pytest.raises(ExportError, match="layer a is not quantized"):
        place(
            dataclasses.replace(
                network, layers=[dataclasses.replace(network.layers[0], requantization=None)]
            ),
            config,
        )
    with pytest.raises(ExportError, match="layer a has no column group"):
        place(
            dataclasses.replace(
                network, layers=[dataclasses.replace(network.layers[0], groups=[])]
            ),
            config,
        )
    with pytest.raises(
        ExportError, match="layer z reads tensor a_out before any layer has written it"
    ):
        place(dataclasses.replace(network, layers=network.layers[::-1]), config)
    network.layers[0].groups[0].source = "nowhere"
    with pytest.raises(ExportError, match="reads tensor nowhere"):
        place(network, config)


def test_a_layer_by_itself():
    """What it reads is there, whoever computes it, and two tensors that are read as one lie side by
    side."""
    rng = np.random.default_rng(1)
    rows = 9
    tensors = {
        name: Tensor(name, count, 1, 1, 1.0)
        for name, count in (("input", 5), ("a_out", rows), ("b_out", rows), ("z_out", 3))
    }
    reads = [group(name, (0, rows), (0, 3), dense(rng, 3, rows)) for name in ("a_out", "b_out")]
    layers = [
        *(
            layer(name, "input", rows, [group("input", (0, 5), (0, rows), dense(rng, rows, 5))])
            for name in "ab"
        ),
        layer("z", None, 3, reads, final=True),
    ]
    placement = place_layer(Network("joined", "input", tensors, layers), layers[-1], Config())
    (tile,) = placement.tiles["z"]
    (part,) = tile.groups
    assert [name for name, _ in part.parts] == ["a_out", "b_out"]
    assert placement.place("b_out") == "a_out"
    assert placement.layouts.keys() >= {"a_out", "b_out"}


def test_clusters_are_even_in_every_window():
    """Channels that are busy together go to different clusters, alike as they are on average."""
    config = Config(clusters=4, elements=4, rows=8, scan_width=4)
    rng = np.random.default_rng(0)
    network = two_layers([group("input", (0, 8), (0, 32), dense(rng, 32, 8))], 8, 32)
    kinds = rng.permutation(np.repeat(np.eye(4), 8, axis=0))  # each busy in one window of four
    work = np.count_nonzero(network.layers[1].groups[0].trits, axis=(0, 2, 3))[:, None] * kinds

    def most(**windows):
        cluster = place(network, config, **windows).layouts["a_out"].cluster
        return np.stack([work[cluster == one].sum(axis=0) for one in range(4)]).max(axis=0)

    assert most(windows={"a_out": kinds}).sum() < 0.8 * most().sum()


def test_rows_of_a_step_go_to_one_word():
    """Where a slice gets several activations at once, no step is half empty without need."""
    config = Config(clusters=4, elements=16, rows=4, scan_width=4, drain_width=8)
    rng = np.random.default_rng(0)
    network = two_layers([group("input", (0, 8), (0, 64), dense(rng, 64, 8))], 8, 64)
    placement = place(network, config)
    (tile,) = placement.tiles["a"]
    assert tile.rows_used == 4
    layout = placement.layouts["a_out"]
    steps = tile.accumulator * config.blocks + tile.element // config.drain_width
    for step in range(tile.rows_used * config.blocks):
        for one in range(config.clusters):
            own = tile.rows[(steps == step) & (layout.cluster[tile.rows] == one)]
            assert len(own) == 2
            assert len(set(layout.word[own])) == 1 and len(set(layout.lane[own])) == 2
