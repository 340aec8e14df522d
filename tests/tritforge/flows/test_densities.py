"""Activation densities are those of the golden model."""

import tritforge
from tests.tritforge.support import samples, small_model
from tritforge.flows.densities import activation_densities


def test_densities_come_from_the_golden_model(tmp_path):
    image = tritforge.export(
        None, small_model(), samples(), "tiny", tmp_path / "image", check=False
    ).image
    densities = activation_densities(image.network, samples())
    assert set(densities) == set(image.network.tensors)
    for name, tensor in image.network.tensors.items():
        assert densities[name].shape == (tensor.channels,)
        assert ((densities[name] >= 0) & (densities[name] <= 1)).all()
