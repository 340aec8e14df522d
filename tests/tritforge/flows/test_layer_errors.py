"""What integers cost, layer by layer: figures that can be computed by hand, and an export's."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import tritforge
from tests.tritforge.support import samples, small_model
from tritforge.flows.layer_errors import measure_errors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    return tritforge.export(None, small_model(), samples(), "tiny", folder / "image")


def tensors(network):
    """Real numbers that are exactly those of integers, and these."""
    rng = np.random.default_rng(0)
    integers = {
        name: rng.integers(tensor.low, tensor.high + 1, (2, *tensor.shape))
        for name, tensor in network.tensors.items()
    }
    scales = {name: tensor.scale for name, tensor in network.tensors.items()}
    scales[network.final.output] = network.final.result_scale
    return {name: values * scales[name] for name, values in integers.items()}, integers


def test_integers_that_stand_for_the_real_numbers_have_no_error(made):
    network = made.image.network
    errors = measure_errors(network, *tensors(network))
    assert [error.name for error in errors] == ["input", *(one.name for one in network.layers)]
    assert [error.kind for error in errors] == ["input", *(one.kind for one in network.layers)]
    for error in errors:
        assert max(error.rms, error.worst) < 1e-12 and error.clipped == 0


def test_shares_are_those_of_the_layer(made):
    network = made.image.network
    layer, source = network.layers[0], network.tensors[network.layers[0].output]
    real, integers = tensors(network)
    integers[layer.output] = np.full_like(integers[layer.output], source.high)
    real[layer.output] = np.full(integers[layer.output].shape, source.high * source.scale)
    real[layer.output].flat[:4] = 2 * source.high * source.scale
    error = measure_errors(network, real, integers)[1]
    count = real[layer.output].size
    assert error.clipped == pytest.approx(4 / count)
    assert error.worst == pytest.approx(0.5)
    assert error.rms == pytest.approx(np.sqrt((4 / count) / (4 * 4 / count + (count - 4) / count)))
    real[layer.output][:] = 0
    integers[layer.output][:] = 0
    assert dataclasses.astuple(measure_errors(network, real, integers)[1])[2:] == (0, 0, 0)


def test_an_export_keeps_the_errors_of_its_check(made):
    extra = made.image.manifest.extra["errors"]
    assert extra == {"samples": 12, "layers": [error.to_json() for error in made.errors]}
    assert made.to_dict()["extra"]["errors"] == extra
    for error in made.errors:
        assert 0 < error.rms < 0.05 and 0 < error.worst < 0.05 and error.clipped == 0


def test_no_errors_without_a_check(tmp_path):
    made = tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "i", check=False)
    assert made.errors == []
    assert made.image.manifest.extra["errors"] == {"samples": 0, "layers": []}


def test_the_layer_that_clips_is_told(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1)
    )
    with pytest.warns(tritforge.TritforgeWarning, match=r"rms error is \d\d% of the outputs' rms"):
        made = tritforge.export(
            None, model.eval(), samples(), "tiny", tmp_path / "image", percentile=70
        )
    assert made.errors[0].clipped > 0.3
    assert made.errors[1].clipped > 0.1 and made.errors[-1].rms > 0.1
