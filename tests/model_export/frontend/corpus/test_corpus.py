"""Every model of the corpus is exported as it computes, or refused in one sentence."""

import pytest

from tests.model_export.frontend.corpus import (
    computed_weights,
    functions,
    in_place,
    python_code,
    shapes,
    spatial,
    wrappers,
)
from tests.model_export.frontend.corpus.outcomes import problem

CASES = [
    pytest.param(case, id=f"{module.FAMILY.name}, {case.name}")
    for module in (computed_weights, functions, in_place, python_code, shapes, spatial, wrappers)
    for case in module.FAMILY.cases
]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_outcome(case, tmp_path):
    assert problem(case, tmp_path) == ""


def test_there_are_both_kinds():
    refused = [case for case in (param.values[0] for param in CASES) if case.refused is not None]
    assert len(CASES) >= 700
    assert len(refused) >= 100
