"""The table of operators and its documentation."""

from pathlib import Path

import torch

from tritforge.model_export.frontend.operators.table import (
    FAMILIES,
    HINTS,
    NOTES,
    OPERATORS,
    markdown,
)

PAGE = Path(__file__).parents[3] / "docs" / "operators.md"


def test_the_page_has_the_table():
    assert PAGE.read_text(encoding="utf-8").endswith("\n\n" + markdown())


def test_names_are_pytorchs():
    for name in [*OPERATORS, *HINTS]:
        assert hasattr(torch.ops.aten, name), name


def test_no_operator_is_in_two_families():
    assert len(OPERATORS) == sum(len(family) for family in FAMILIES.values())


def test_notes_are_of_operators_and_hints_of_others():
    assert NOTES.keys() <= OPERATORS.keys()
    assert not HINTS.keys() & OPERATORS.keys()
