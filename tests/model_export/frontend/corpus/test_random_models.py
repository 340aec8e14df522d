"""Random models: real numbers against PyTorch, memory contents against the golden model."""

import numpy as np
import pytest
import torch

import tritforge
from tests.model_export.frontend.corpus.outcomes import STRUCTURE, TABLES
from tests.model_export.frontend.corpus.random_models import RandomModel
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.lower import lower
from tritforge.model_export.frontend.record import record
from tritforge.model_export.reference import FloatReference, arranged

#: What a random model may be refused for.
REFUSALS = (
    "does not depend on its input",
    "over more than 64 channels",
    "in an order that is no channels",
    "of two activations is not supported",
    "another number for each element",
)


def drawn(seed):
    model = RandomModel(seed).eval()
    generator = np.random.default_rng(seed)
    return model, generator.normal(size=(3, *model.shape)).astype(np.float32)


def difference(seed):
    """The largest, as a part of the largest output; None where the model is refused."""
    model, samples = drawn(seed)
    try:
        graph = record(model, samples)
    except ExportError as error:
        assert any(one in str(error) for one in REFUSALS), f"seed {seed}: {error}"
        return None
    network = lower(graph, digits=16).network
    given = arranged(samples, network.tensors[network.input], "samples")
    found = FloatReference(network).run(given).reshape(len(samples), -1)
    with torch.no_grad():
        expected = model(torch.from_numpy(samples)).numpy()
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_real_numbers(request):
    differences = {
        seed: difference(seed) for seed in request.config.getoption("seeds") or range(60)
    }
    known = {seed: one for seed, one in differences.items() if one is not None}
    assert not {seed: one for seed, one in known.items() if not one < STRUCTURE}
    assert len(known) >= 0.9 * len(differences)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [0, 3, 7, 12, 20, 33, 41, 55])
def test_memory_contents(seed, tmp_path):
    model, samples = drawn(seed)
    made = tritforge.export(None, model, samples, TABLES, tmp_path / "image")
    checks = {step.name: step.check for step in made.steps}
    assert checks["trace"].startswith("structure agrees with the model")
    assert checks["check"].startswith("memory contents give the golden model's integers, all")
