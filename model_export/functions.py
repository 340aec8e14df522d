"""Functions of one value, as data: what a layer may apply to its activations through a table.

A function is a list of steps on a stack, so that it can be stored with a network and never runs
code: ``x`` pushes the value, a number pushes itself, and an operation takes its operands from the
stack. ``x x sigmoid mul`` is SiLU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.widths import TABLE_ENTRIES

__all__ = ["IDENTITY", "OPERATIONS", "Function", "combine", "compose", "number"]

_Values = NDArray[np.float64]


def _sigmoid(x: _Values) -> _Values:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _softplus(x: _Values) -> _Values:
    return np.logaddexp(0, x)


def _erf(x: _Values) -> _Values:
    return np.array([math.erf(one) for one in x.ravel()]).reshape(x.shape)


def _where(mask: _Values, a: _Values, b: _Values) -> _Values:
    chosen: _Values = np.where(mask != 0, a, b)
    return chosen


def _normal(x: _Values) -> _Values:
    """Cumulative distribution of the normal distribution: GELU is ``x * normal(x)``."""
    return 0.5 * (1 + _erf(x / math.sqrt(2)))


#: Operations by name: how many operands, and what they give in float64.
OPERATIONS: dict[str, tuple[int, Callable[..., _Values]]] = {
    "add": (2, np.add),
    "sub": (2, np.subtract),
    "mul": (2, np.multiply),
    "div": (2, np.divide),
    "max": (2, np.maximum),
    "min": (2, np.minimum),
    "pow": (2, np.power),
    "gt": (2, lambda a, b: (a > b).astype(np.float64)),
    "ge": (2, lambda a, b: (a >= b).astype(np.float64)),
    "lt": (2, lambda a, b: (a < b).astype(np.float64)),
    "le": (2, lambda a, b: (a <= b).astype(np.float64)),
    "eq": (2, lambda a, b: (a == b).astype(np.float64)),
    "ne": (2, lambda a, b: (a != b).astype(np.float64)),
    "fmod": (2, np.fmod),
    "remainder": (2, np.mod),
    "where": (3, _where),
    "abs": (1, np.abs),
    "neg": (1, np.negative),
    "exp": (1, np.exp),
    "expm1": (1, np.expm1),
    "log": (1, np.log),
    "log1p": (1, np.log1p),
    "log2": (1, np.log2),
    "log10": (1, np.log10),
    "sqrt": (1, np.sqrt),
    "rsqrt": (1, lambda x: 1 / np.sqrt(x)),
    "reciprocal": (1, lambda x: 1 / x),
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "tan": (1, np.tan),
    "atan": (1, np.arctan),
    "asinh": (1, np.arcsinh),
    "sinh": (1, np.sinh),
    "cosh": (1, np.cosh),
    "tanh": (1, np.tanh),
    "erf": (1, _erf),
    "normal": (1, _normal),
    "sigmoid": (1, _sigmoid),
    "softplus": (1, _softplus),
    "round": (1, np.rint),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "trunc": (1, np.trunc),
    "sign": (1, np.sign),
}


@dataclass(frozen=True)
class Function:
    """A function of one value.

    ``name`` is for people. Once it is calibrated, its table has an entry for each of 256 values
    ``start + n*step``; the step is 0 before.
    """

    name: str
    steps: str
    start: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        depth = 0
        for word in self.steps.split():
            if word in OPERATIONS:
                needed = OPERATIONS[word][0]
                if depth < needed:
                    raise ValueError(f"function {self.name} lacks operands of {word}")
                depth -= needed - 1
            elif word == "x" or _is_number(word):
                depth += 1
            else:
                raise ValueError(f"function {self.name} has an unknown step {word[:20]!r}")
        if depth != 1:
            raise ValueError(f"function {self.name} leaves {depth} values, not 1")

    def __call__(self, values: NDArray[np.floating]) -> _Values:
        """The function of every value, in float64; infinite or NaN where it has none."""
        x = np.asarray(values, np.float64)
        stack: list[_Values] = []
        with np.errstate(all="ignore"):
            for word in self.steps.split():
                if word == "x":
                    stack.append(x)
                elif word in OPERATIONS:
                    needed, operation = OPERATIONS[word]
                    operands = stack[-needed:]
                    del stack[-needed:]
                    stack.append(operation(*operands))
                else:
                    stack.append(np.array(float(word)))
        return np.broadcast_to(stack[0], x.shape).astype(np.float64)

    def inputs(self) -> _Values:
        """The values that the table has entries for, (256,)."""
        values: _Values = np.arange(TABLE_ENTRIES, dtype=np.float64) * self.step + self.start
        return values


#: Gives its value back.
IDENTITY = Function("x", "x")
#: Operations that people write between their operands.
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "gt": ">", "lt": "<"}
#: Characters of a name.
_LONGEST_NAME = 60


def compose(outer: Function, inner: Function, gain: float = 1.0, offset: float = 0.0) -> Function:
    """``outer(gain * inner(x) + offset)``."""
    steps = inner.steps + (f" {gain!r} mul" if gain != 1 else "")
    steps += f" {offset!r} add" if offset != 0 else ""
    words = [steps if word == "x" else word for word in outer.steps.split()]
    if inner.steps == "x":
        name = outer.name
    else:
        name = inner.name if outer.steps == "x" else f"{outer.name} of {inner.name}"
    return Function(name[:_LONGEST_NAME], " ".join(words))


def combine(operation: str, *parts: Function) -> Function:
    """``operation(parts[0](x), parts[1](x), ..)``, called by what it computes."""
    names = [part.name for part in parts]
    sign = _SIGNS.get(operation)
    if sign is not None:
        name = f" {sign} ".join(f"({one})" if " " in one else one for one in names)
    else:
        name = f"{operation}({', '.join(names)})"
    return Function(name[:_LONGEST_NAME], " ".join([*(part.steps for part in parts), operation]))


def number(value: float) -> Function:
    """The function that is ``value`` everywhere."""
    return Function(f"{value:.4g}", repr(float(value)))


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
