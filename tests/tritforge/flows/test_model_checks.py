"""What the comparison with the user's model says of models that are not what was recorded."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tritforge
from tritforge.model_export.errors import ExportError


class Small(nn.Module):
    def __init__(self, around):
        super().__init__()
        self.c, self.fc, self.around, self.runs = nn.Conv2d(1, 4, 3), nn.Linear(144, 4), around, 0

    def body(self, x):
        return self.fc(F.relu(self.c(x)).flatten(1))

    def forward(self, x):
        self.runs += 1
        return self.around(self, x)


def small(around):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small(around).eval()


def samples():
    return np.random.default_rng(0).standard_normal((24, 1, 8, 8)).astype(np.float32)


def in_bfloat16(model, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.body(x).float()


def changed_input(model, x):
    return model.body(x.sub_(0.5).div_(0.25))


@pytest.mark.parametrize(
    "around, said",
    [
        (in_bfloat16, r"but for its rounding \(it computes in bfloat16\)"),
        (changed_input, "within"),
        (lambda model, x: model.body(x) * 1e30, r"changes outputs by 0\.[0-9]+%"),
    ],
)
def test_models_that_agree(tmp_path, around, said):
    given, before = samples(), samples()
    made = tritforge.export(None, small(around), given, "tiny", tmp_path / "image")
    check = next(step.check for step in made.steps if step.name == "trace")
    assert "structure agrees with the model" in check
    assert re.search(said, check)
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(
    "around, said",
    [
        (lambda model, x: model.body(x) * model.runs, "something else each time it is run"),
        (lambda model, x: model.body(x) * min(model.runs, 2), "something else each time it is run"),
        (lambda model, x: model.body(x) * len(x), "depends on the others of the batch"),
    ],
)
def test_models_that_differ(tmp_path, around, said):
    with pytest.raises(ExportError, match=said):
        tritforge.export(None, small(around), samples(), "tiny", tmp_path / "image")
    assert not list(tmp_path.iterdir())
