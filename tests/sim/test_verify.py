"""Verification finds what differs and names it."""

import numpy as np
import pytest

from tests.model_export.networks import compile_network, random_codes, random_network
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.backend import SimulationError
from tritforge.sim.verify import CHECKED, compare, verify


def make(seed, config=None, images=2, **sizes):
    config = config or PRESETS["tiny"]
    rng = np.random.default_rng(seed)
    network = random_network(rng, config, **sizes)
    image = CompiledNetwork(network, compile_network(network, config))
    return image, np.stack([random_codes(rng, network, 0.8) for _ in range(images)])


@pytest.mark.compiles
def test_all_backends_agree():
    image, codes = make(3, max_layers=3, max_channels=6, max_size=4)
    result = verify(image, codes)
    assert result.equal
    assert [one.backend for one in result.comparisons] == list(CHECKED)
    assert [one.images for one in result.comparisons] == [2, 2, 1]
    values = sum(
        layer.rows
        * (
            layer.height * layer.width
            if layer.pool is None
            else layer.pool.height * layer.pool.width
        )
        for layer in image.network.layers
    )
    final = image.network.final
    values += final.rows * final.height * final.width  # once more in one RUN
    assert [one.values for one in result.comparisons] == [2 * values, 2 * values, values]
    assert result.to_json()["equal"] is True


@pytest.mark.compiles
@pytest.mark.parametrize("backend", ["memory", "rtl"])
def test_an_altered_trit_is_found_and_named(backend):
    """A weight that the memory holds otherwise than the network shows in its layer first."""
    for seed in range(40):
        image, codes = make(seed, max_layers=4)
        if len(image.network.layers) < 2:
            continue
        image.memory.trits[:, :, 0] ^= 1  # the first accumulator's trit of every column
        result = verify(image, codes, backends=(backend,))
        difference = result.comparisons[0].difference
        if difference is None:
            continue
        assert not result.equal
        names = [layer.name for layer in image.network.layers]
        assert difference.layer in names
        layer = image.network.layer(difference.layer)
        assert 0 <= difference.row < layer.rows
        assert difference.expected != difference.found
        assert difference.backend == backend
        sentence = str(difference)
        assert (
            f"layer {difference.layer}, row {difference.row}, pixel (y {difference.y}, "
            f"x {difference.x}) of image {difference.image}" in sentence
        )
        entry = result.to_json()["comparisons"][0]
        assert entry["equal"] is False and entry["difference"]["sentence"] == sentence
        return
    raise AssertionError("no altered trit made a difference")


@pytest.mark.compiles
def test_the_first_difference_is_named():
    expected = np.arange(24).reshape(2, 3, 4)
    found = expected.copy()
    found[1, 0, 2] += 7
    found[1, 2, 0] -= 1
    difference = compare("rtl", "conv1", 5, expected, found)
    assert str(difference) == (
        "rtl differs from the golden model in layer conv1, row 1, pixel "
        "(y 0, x 2) of image 5: 21 instead of 14"
    )
    assert compare("rtl", "conv1", 5, expected, expected) is None
    with pytest.raises(SimulationError, match="shape"):
        compare("rtl", "conv1", 5, expected, found[:1])


def test_a_configuration_too_large_for_pysim_is_skipped_and_says_so():
    large = Config(name="large", clusters=8, elements=16, trit_depth=512)
    image, codes = make(0, large)
    result = verify(image, codes, backends=("memory", "pysim"))
    memory, pysim = result.comparisons
    assert not memory.skipped and memory.values
    assert "128 processing elements" in pysim.skipped and pysim.values == 0
    assert result.equal
    assert result.to_json()["comparisons"][1]["equal"] is None


def test_nothing_compared_is_not_equal():
    image, codes = make(0)
    assert not verify(image, codes, backends=("pysim",), pysim_images=0).equal
    with pytest.raises(SimulationError, match="cannot compare 'gpu'"):
        verify(image, codes, backends=("gpu",))
    with pytest.raises(SimulationError, match="cannot compare nothing"):
        verify(image, codes, backends=())
