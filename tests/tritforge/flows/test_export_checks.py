"""A wrong pass is noticed by the checks between passes."""

import pytest

import tritforge
from tests.tritforge.support import samples, small_model
from tritforge.flows import export as export_module
from tritforge.flows import export_checks
from tritforge.model_export.errors import ExportError


def test_a_tracer_that_is_wrong_is_noticed(tmp_path, monkeypatch):
    original = export_module.trace

    def wrong(*arguments, **options):
        network = original(*arguments, **options)
        network.layers[1].gain *= 1.5
        return network

    for module in (export_module, export_checks):
        monkeypatch.setattr(module, "trace", wrong)
    with pytest.raises(ExportError, match="its trace differs from the model"):
        tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "image")
    assert not list(tmp_path.iterdir())


def test_memory_contents_that_are_wrong_are_noticed(tmp_path, monkeypatch):
    original = export_module.fit

    def wrong(*arguments, **options):
        memory = original(*arguments, **options)
        memory.trits[:] ^= 1
        return memory

    monkeypatch.setattr(export_module, "fit", wrong)
    with pytest.raises(ExportError, match=r"memory differs .* layer .* fault of the compiler"):
        tritforge.export(None, small_model(), samples(), "tiny", tmp_path / "image")
    assert not list(tmp_path.iterdir())
