"""Functions of one value as steps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tritforge.model_export.functions import (
    IDENTITY,
    OPERATIONS,
    Function,
    combine,
    compose,
    number,
)

X = np.concatenate([np.linspace(-12, 12, 1001), [0.0, -30.0, 30.0]])


@pytest.mark.parametrize(
    "steps, torch_function",
    [
        ("x x sigmoid mul", F.silu),
        ("x x normal mul", F.gelu),
        ("x tanh", torch.tanh),
        ("x x softplus tanh mul", F.mish),
        ("x x 3 add 0 max 6 min mul 6 div", F.hardswish),
        ("x 0 gt x x 0.1 mul where", lambda x: F.leaky_relu(x, 0.1)),
        ("x neg softplus neg", F.logsigmoid),
        ("x round", torch.round),
        ("x abs sqrt", lambda x: x.abs().sqrt()),
        ("2 x pow", torch.exp2),
    ],
)
def test_values_are_pytorchs(steps, torch_function):
    expected = torch_function(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(Function("f", steps)(X), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "steps, message",
    [
        ("", "leaves 0 values"),
        ("x x", "leaves 2 values"),
        ("add", "lacks operands of add"),
        ("x mul", "lacks operands of mul"),
        ("x __import__", "unknown step '__import__'"),
        ("x nan add", "unknown step 'nan'"),
        ("x 1e999 add", "unknown step '1e999'"),
    ],
)
def test_steps_that_are_no_function(steps, message):
    with pytest.raises(ValueError, match=message):
        Function("f", steps)


def test_composition():
    outer, inner = Function("tanh", "x tanh"), Function("square", "x x mul")
    made = compose(outer, inner, 0.5, -1.0)
    np.testing.assert_allclose(made(X), np.tanh(0.5 * X * X - 1))
    assert made.name == "tanh of square"
    assert compose(outer, IDENTITY, 1.0, 0.0) == outer


def test_combination():
    made = combine("mul", IDENTITY, combine("add", Function("tanh", "x tanh"), number(2.0)))
    np.testing.assert_allclose(made(X), X * (np.tanh(X) + 2))
    assert made.name == "x * (tanh + 2)"


def test_a_table_has_an_entry_for_each_code():
    function = Function("f", "x", start=-1.5, step=0.25)
    np.testing.assert_array_equal(function.inputs(), -1.5 + 0.25 * np.arange(256))


def test_functions_without_a_value_are_not_finite():
    assert not np.isfinite(Function("log", "x log")(X)).all()


def test_operations_take_as_many_operands_as_they_say():
    for name, (count, operation) in OPERATIONS.items():
        with np.errstate(all="ignore"):
            assert operation(*[np.array([0.5, 2.0])] * count).shape == (2,), name
