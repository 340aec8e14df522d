"""A wrong pass is noticed by the checks between passes."""

import numpy as np
import pytest

import tritforge
from tests.tritforge.support import samples, small_model
from tritforge.flows import export as export_module
from tritforge.flows import export_checks, model_checks
from tritforge.flows.layer_errors import LayerError
from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Layer, Network, Tensor


def test_a_network_that_is_not_the_model_is_noticed(tmp_path, monkeypatch):
    original = model_checks.lower

    def wrong(*arguments, **options):
        lowered = original(*arguments, **options)
        lowered.network.layers[1].gain *= 1.5
        return lowered

    monkeypatch.setattr(model_checks, "lower", wrong)
    with pytest.raises(ExportError, match=r"differs from the model .* first in layer 4;"):
        tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "image")
    assert not list(tmp_path.iterdir())


def test_memory_contents_that_are_wrong_are_noticed(tmp_path, monkeypatch):
    original = export_module.compile_network

    def wrong(*arguments, **options):
        compiled = original(*arguments, **options)
        compiled.memory.trits[:] ^= 1
        return compiled

    monkeypatch.setattr(export_module, "compile_network", wrong)
    with pytest.raises(ExportError, match=r"memory differs .* layer .* fault of the compiler"):
        tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "image")
    assert not list(tmp_path.iterdir())


def quantized(real, integers, rms=0.01):
    """What is said of outputs (samples, rows, height, width)."""
    rows, height, width = integers.shape[1:]
    ones = np.ones(rows)
    layer = Layer("fc", "linear", "out", rows, height, width, [], ones, ones, final=True)
    network = Network("net", "input", {"out": Tensor("out", rows, height, width)}, [layer])
    error = LayerError("fc", "linear", rms, rms, 0.0)
    return export_checks.check_quantized(network, {"out": real}, {"out": integers}, error)


def classes(labels, rows=3):
    return np.eye(rows, dtype=int)[labels][..., None, None]


def test_outputs_that_agree_are_not_warned_of():
    right = classes([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    wrong = classes([0, 1, 2, 0, 1, 2, 0, 1, 2, 1])
    assert quantized(right * 1.0, right) == (
        "golden model: rms error 1.00% of the outputs' rms, largest output the same in 10 of 10 "
        "samples"
    )
    assert quantized(right * 1.0, wrong).endswith("9 of 10 samples")
    assert quantized(right[:, :1] * 1.0, right[:, :1]).endswith("rms (10 samples)")


def test_outputs_that_do_not_agree_are_warned_of():
    right, wrong = classes([0, 1, 2, 0]), classes([0, 1, 2, 1])
    with pytest.warns(tritforge.TritforgeWarning, match="in only 3 of 4 samples; the errors of"):
        quantized(right * 1.0, wrong)
    with pytest.warns(tritforge.TritforgeWarning, match="rms error is 20% of the outputs' rms on"):
        quantized(right * 1.0, right, rms=0.2)
    pixels = right.transpose(2, 1, 0, 3), wrong.transpose(2, 1, 0, 3)
    with pytest.warns(tritforge.TritforgeWarning, match="in only 3 of 4 output pixels"):
        quantized(pixels[0] * 1.0, pixels[1])
