"""Scales and signs of tensors."""

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.reference import FloatReference


def small_network():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.MaxPool2d(2), nn.Conv2d(3, 2, 1)
    )
    return trace(model, (2, 6, 5))


def samples(count=20):
    return np.random.default_rng(0).normal(size=(count, 2, 6, 5)).astype(np.float32)


def test_scales_cover_every_value():
    network = small_network()
    result = calibrate(network, samples())
    for name, values in FloatReference(network).run_all(samples()).items():
        tensor = result.tensors[name]
        assert tensor.signed == (values.min() < 0)
        codes = values / tensor.scale
        assert codes.max() <= tensor.high + 1e-3
        assert codes.min() >= tensor.low - 1e-3
        # and one of the ends is used
        assert codes.max() > tensor.high - 1e-3 or codes.min() < tensor.low + 1e-3
    assert [tensor.signed for tensor in result.tensors.values()] == [True, False, True, True]


def test_the_network_given_is_not_changed():
    network = small_network()
    calibrate(network, samples())
    assert all(tensor.scale == 0 for tensor in network.tensors.values())


def test_batches_give_what_one_gives(monkeypatch):
    network = small_network()
    whole = calibrate(network, samples())
    monkeypatch.setattr("tritforge.model_export.reference._BATCH_VALUES", 1)
    one_by_one = calibrate(network, samples())
    for name, tensor in whole.tensors.items():
        assert one_by_one.tensors[name].scale == pytest.approx(tensor.scale)


def test_unsigned_input():
    result = calibrate(small_network(), np.abs(samples()) / np.abs(samples()).max())
    assert not result.tensors["input"].signed
    assert result.tensors["input"].scale == pytest.approx(1 / 255)


def test_signed_uses_the_larger_side():
    network = trace(nn.Sequential(nn.Identity()), (1, 1, 2))
    tensors = calibrate(network, np.array([[[[-2.0, 1.0]]]])).tensors
    assert tensors["input"].scale == 2 / 128
    tensors = calibrate(network, np.array([[[[-1.0, 2.0]]]])).tensors
    assert tensors["input"].scale == 2 / 127


def test_percentile():
    x = np.zeros((10, 1, 10, 10), np.float32)
    x.flat[:] = np.arange(1000)
    network = trace(nn.Sequential(nn.Identity()), (1, 10, 10))
    assert calibrate(network, x, percentile=99).tensors["input"].scale * 255 == pytest.approx(
        989, abs=1
    )
    assert calibrate(network, x).tensors["input"].scale * 255 == pytest.approx(999)
    signed = calibrate(network, x - 500, percentile=90).tensors["input"]
    assert signed.signed
    assert signed.scale * 128 == pytest.approx(402, abs=4)
    with pytest.raises(ExportError, match="percentile must be above 50 and at most 100, not 5"):
        calibrate(network, x, percentile=5)


def test_all_zero():
    result = calibrate(small_network(), np.zeros((2, 2, 6, 5)))
    assert result.tensors["input"].scale == 1
    assert not result.tensors["input"].signed


def test_copies_keep_their_codes():
    model = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1))
    x = np.zeros((1, 1, 5, 5), np.float32)
    x[0, 0, 4, 4] = 9  # outside every window
    x[0, 0, 0, 0] = 5
    tensors = calibrate(trace(model, (1, 5, 5)), x).tensors
    assert tensors["0"].scale == tensors["1"].scale == tensors["input"].scale == 9 / 255


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 2, 6, 5)), r"calibration samples are empty \(shape \(0, 2, 6, 5\)\)"),
        (np.zeros((2, 6, 5)), r"has shape \(2, 6, 5\); expected is \(images, 2, 6, 5\)"),
        (np.zeros((3, 2, 5, 6)), r"has shape \(3, 2, 5, 6\); expected is \(images, 2, 6, 5\)"),
        (np.full((3, 2, 6, 5), np.nan), "180 values that are NaN or infinite"),
        (np.full((1, 2, 6, 5), np.inf), "60 values that are NaN or infinite"),
        (np.full((1, 2, 6, 5), "x"), "must be an array of numbers"),
    ],
)
def test_bad_samples(bad, message):
    with pytest.raises(ExportError, match=message):
        calibrate(small_network(), bad)
