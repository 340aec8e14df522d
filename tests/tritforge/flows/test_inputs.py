"""Inputs: one meaning for one file, and a warning where it is probably not what was meant."""

import dataclasses

import numpy as np
import pytest

from tests.tritforge.support import samples, small_model
from tritforge.common.errors import TritforgeWarning
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.flows.simulate import simulate


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return export(None, small_model(), samples(), "tiny", folder / "image").image


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """A network calibrated on pixels of 0 to 179, given as bytes."""
    folder = tmp_path_factory.mktemp("pixels")
    x = np.random.default_rng(0).integers(0, 180, (12, 2, 4, 4)).astype(np.uint8)
    return export(None, small_model(), x, "tiny", folder / "image").image, x


def test_integers_mean_the_same_for_calibration_and_for_input(pixels):
    image, x = pixels
    given = read_inputs(image, x)
    assert given.codes.max() == 255 and given.facts.highest == 179
    np.testing.assert_array_equal(given.codes, read_inputs(image, x.astype(np.float32)).codes)
    np.testing.assert_array_equal(given.codes, np.rint(x / 179 * 255))
    codes = read_inputs(image, given.codes, codes=True)
    np.testing.assert_array_equal(codes.codes, given.codes)
    assert codes.facts == dataclasses.replace(given.facts, codes=True)


def test_what_a_run_was_given_is_kept(image):
    x = samples(3)
    run = simulate(image, x, "golden")
    assert run.input == read_inputs(image, x).facts
    assert not run.input.codes and run.input.clipped == 0
    assert run.input.range[0] <= run.input.lowest < run.input.highest <= run.input.range[1]


def test_a_few_clipped_values_are_counted_but_not_warned_of(image):
    x = samples(12)
    x[0, 0, 0, 0] = 1.5 * np.abs(x).max()
    assert read_inputs(image, x).facts.clipped == pytest.approx(1 / x.size)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 50, r"\d\d\.\d\d% of the values are beyond .*normalized as the cal"),
        (lambda x: np.where(x == x.max(), 1e9, x), r"the farthest is 1e\+09; are they normalized"),
        (lambda x: (x * 40).astype(np.int8), "activation codes are given with --codes"),
        (lambda x: x / 1000, r"use 0\.\d\d% of the range that calibration set .*normalized"),
    ],
)
def test_inputs_of_another_normalization(image, change, words):
    with pytest.warns(TritforgeWarning, match=words):
        read_inputs(image, change(samples(3)))


def test_negative_values_where_calibration_had_none(pixels):
    image, x = pixels
    with pytest.warns(TritforgeWarning, match=r"\(0 to 179\) and are clipped, the farthest is -90"):
        given = read_inputs(image, x.astype(np.float32) - 90)
    assert 0.4 < given.facts.clipped < 0.6
