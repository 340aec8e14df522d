"""Activation densities are those of the golden model."""

import numpy as np

import tritforge
from tests.tritforge.support import samples, small_model
from tritforge.flows.densities import WINDOW, WINDOWS, activity
from tritforge.sim.golden import GoldenModel, quantize_input


def test_densities_come_from_the_golden_model(tmp_path):
    network = tritforge.export(
        None, small_model(), samples(), "tiny", tmp_path / "image", check=False
    ).image.network
    found = activity(network, samples())
    codes = quantize_input(samples().astype(np.float64), network.tensors[network.input])
    assert set(found.densities) == set(network.tensors)
    assert set(found.windows) == set(network.tensors) - {network.input}
    for name, values in GoldenModel(network).run_all(codes).items():
        tensor = network.tensors[name]
        expected = tensor.stored(values != 0).mean(axis=(0, 2, 3))
        np.testing.assert_allclose(found.densities[name], expected)
        if name != network.input:
            windows = found.windows[name]
            assert windows.shape == (tensor.channels, WINDOWS)
            assert ((windows >= 0) & (windows <= 1)).all()
            positions = min(WINDOW, tensor.height) * min(WINDOW, tensor.width)
            np.testing.assert_allclose(windows * positions, np.rint(windows * positions))


def test_windows_are_the_same_every_time(tmp_path):
    network = tritforge.export(
        None, small_model(), samples(), "tiny", tmp_path / "image", check=False
    ).image.network
    one, other = (activity(network, samples()).windows for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
