"""Functions of one value, however a model spells them.

A function of every element commutes with all movement, so it is recorded for the node whose
elements they are. Products, quotients and choices of functions of the same element, such as
``x * sigmoid(x)``, are functions of one value too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.frontend.elements import CONSTANT, Elements
from tritforge.model_export.frontend.graph import Node, Sum, Unary, present
from tritforge.model_export.frontend.recorder import Handler, Recorder
from tritforge.model_export.functions import IDENTITY, Function, combine, compose, number

__all__ = ["FUNCTIONS", "apply", "clamp", "combined", "root"]

#: Ratios that differ by less than this, relatively, are the same but for rounding.
_SAME = 1e-6
#: Combinations of nodes that are counted in an array.
_MOST_KINDS = 1 << 20


@dataclass(frozen=True)
class _Root:
    """``function(gain[c] * node + offset[c])``; NaN for channels that nobody asked for."""

    node: Node
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    function: Function


def apply(recorder: Recorder, x: Elements, function: Function) -> Elements:
    """A function of every element."""
    return _unary(recorder, x, function, None)


def clamp(
    recorder: Recorder, x: Elements, low: float | None = None, high: float | None = None
) -> Elements:
    """Every element clamped; None: not at that end."""
    if low is None and high is None:
        return x
    function = IDENTITY
    if low is not None:
        function = combine("max", function, number(float(low)))
    if high is not None:
        function = combine("min", function, number(float(high)))
    return _unary(
        recorder,
        x,
        function,
        (None if low is None else float(low), None if high is None else float(high)),
    )


def _unary(
    recorder: Recorder,
    x: Elements,
    function: Function,
    limits: tuple[float | None, float | None] | None,
) -> Elements:
    graph = recorder.graph
    owner, place = graph.owners(x.source)
    affine = [
        _per_channel(graph.nodes[index], owner == index, place, x) for index in present(owner)
    ]
    if any(one is None for one in affine):
        return _unary(recorder, recorder.settled(x), function, limits)
    constants = function(x.offsets().numpy()) if (owner < 0).any() else np.zeros(())
    source = x.source.clone()
    call = len(graph.nodes)
    for index, found in zip(present(owner), affine, strict=True):
        assert found is not None
        parent = graph.nodes[index]
        gain, offset, used = found
        node = Unary(
            recorder.layer_name(recorder.common_name()),
            recorder.place(),
            parent.shape,
            source=parent,
            gain=gain,
            offset=offset,
            used=used,
            function=function,
            clamp=limits,
            call=call,
        )
        recorder.add(node)
        mask = torch.as_tensor(owner == index)
        source = torch.where(mask, x.source + (node.number - parent.number), source)
    offsets = None
    if (owner < 0).any():
        offsets = torch.from_numpy(np.where(owner < 0, constants, 0.0))
    return Elements(source, None, offsets)


def _per_channel(
    node: Node, mask: NDArray[np.bool_], place: NDArray[np.int64], x: Elements
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]] | None:
    """Gain and offset of each of a node's channels, and which of them are there; None where they
    differ within a channel."""
    channels, height, width = node.shape
    of = place[mask] // (height * width)
    found = []
    used = np.zeros(channels, bool)
    used[of] = True
    for values, default in ((x.gain, 1.0), (x.offset, 0.0)):
        array = np.full(channels, default)
        if values is not None:
            own = values.numpy()[mask]
            array[of] = own
            if not (array[of] == own).all():
                return None
        found.append(array)
    return found[0], found[1], used


# ----- functions of the same element


def root(node: Node) -> _Root:
    """What a node is a function of."""
    if isinstance(node, Sum) and node.function is not None:
        return root(node.function)
    if not isinstance(node, Unary):
        return _Root(node, np.ones(node.shape[0]), np.zeros(node.shape[0]), IDENTITY)
    inner = root(node.source)
    gain = np.where(node.used, node.gain, np.nan)
    offset = np.where(node.used, node.offset, np.nan)
    if inner.function == IDENTITY and (inner.gain == 1).all() and (inner.offset == 0).all():
        return _Root(node.source, gain, offset, node.function)
    one = _one(gain), _one(offset)
    if one[0] is None or one[1] is None:
        return _Root(node.source, gain, offset, node.function)
    function = compose(node.function, inner.function, one[0], one[1])
    used = np.where(node.used, 1.0, np.nan)
    return _Root(inner.node, inner.gain * used, inner.offset * used, function)


def combined(
    recorder: Recorder, operation: str, operands: Sequence[Elements | float]
) -> Elements | None:
    """``operation(operands)`` where all are functions of the same elements; None where they are
    not. Numbers stand for themselves."""
    shape = torch.broadcast_shapes(*(one.shape for one in operands if isinstance(one, Elements)))
    wide = [one.expanded(tuple(shape)) if isinstance(one, Elements) else one for one in operands]
    graph = recorder.graph
    owners = [graph.owners(one.source) for one in wide if isinstance(one, Elements)]
    arrays = [one for one in wide if isinstance(one, Elements)]
    combinations = _combinations([owner for owner, _ in owners])
    source = torch.full(shape, CONSTANT)
    for combination in combinations:
        mask = np.ones(shape, bool)
        for (owner, _), index in zip(owners, combination, strict=True):
            mask &= owner == index
        made = _combine(recorder, operation, wide, arrays, owners, combination, mask)
        if made is None:
            return None
        node, numbers = made
        source[torch.from_numpy(mask)] = numbers + node.number
    return Elements(source)


def _combinations(owners: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The different columns of arrays of one shape that hold indices, or -1."""
    most = max(int(owner.max()) for owner in owners) + 2
    key = np.zeros(owners[0].shape, np.int64)
    for owner in owners:
        key = key * most + owner + 1
    kinds = (
        np.flatnonzero(np.bincount(key.ravel()))
        if most ** len(owners) <= _MOST_KINDS
        else (np.unique(key))
    )
    powers = most ** np.arange(len(owners))[::-1]
    columns: NDArray[np.int64] = kinds[:, None] // powers % most - 1
    return columns


def _combine(
    recorder: Recorder,
    operation: str,
    operands: Sequence[Elements | float],
    arrays: Sequence[Elements],
    owners: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    combination: NDArray[np.int64],
    mask: NDArray[np.bool_],
) -> tuple[Unary, torch.Tensor] | None:
    """A node for the elements in ``mask``, of which every operand has its own node."""
    if (combination < 0).any():
        return None
    nodes = [recorder.graph.nodes[index] for index in combination]
    roots = [root(node) for node in nodes]
    places = [place[mask] for _, place in owners]
    first = roots[0]
    if any(one.node is not first.node for one in roots) or any(
        not np.array_equal(place, places[0]) for place in places
    ):
        return None
    affine = [
        _per_channel(node, mask, place, x)
        for node, (_, place), x in zip(nodes, owners, arrays, strict=True)
    ]
    if any(one is None for one in affine):
        return None
    gains = [np.where(one[2], one[0], np.nan) for one in affine if one is not None]
    offsets = [np.where(one[2], one[1], np.nan) for one in affine if one is not None]
    # t = gain * root + offset is what all functions are of
    base = next((index for index, one in enumerate(roots) if one.function != IDENTITY), None)
    if base is None:
        gain, offset = gains[0], offsets[0]
    else:
        gain, offset = roots[base].gain, roots[base].offset
    if (gain == 0).any():
        return None
    parts: list[Function] = []
    for index, one in enumerate(roots):
        if one.function == IDENTITY:
            inner = _one(gains[index] / gain)
            shift = _one(offsets[index] - offset * gains[index] / gain)
            outer: tuple[float | None, float | None] = (1.0, 0.0)
        else:
            inner = _one(one.gain / gain)
            shift = _one(one.offset - offset * one.gain / gain)
            outer = _one(gains[index]), _one(offsets[index])
        if inner is None or shift is None or outer[0] is None or outer[1] is None:
            return None
        part = compose(one.function, IDENTITY, inner, shift)
        parts.append(compose(IDENTITY, part, outer[0], outer[1]))
    functions = iter(parts)
    terms = [
        next(functions) if isinstance(one, Elements) else number(float(one)) for one in operands
    ]
    used = ~np.isnan(gain)
    node = Unary(
        recorder.layer_name(recorder.common_name()),
        recorder.place(),
        first.node.shape,
        source=first.node,
        gain=np.where(used, gain, 1.0),
        offset=np.where(used, offset, 0.0),
        used=used,
        function=combine(operation, *terms),
        clamp=None,
    )
    recorder.add(node)
    samples = arrays[0].source.numpy()[mask] - places[0] - nodes[0].number
    return node, torch.from_numpy(samples + places[0])


def _one(values: NDArray[np.float64]) -> float | None:
    """The one number of an array, NaN left out; None if there are several."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return 1.0
    least, most = float(known.min()), float(known.max())
    if most - least > _SAME * max(abs(most), abs(least), _SAME):
        return None
    middle = float(np.median(known))
    return float(round(middle)) if abs(middle - round(middle)) < _SAME else middle


# ----- the table


def _named(name: str, steps: str) -> Handler:
    function = Function(name, steps)

    def handler(recorder: Recorder, x: Elements, *args: Any, **kwargs: Any) -> Elements:
        if args or any(value is not None for value in kwargs.values()):
            raise recorder.unsupported(f"{name} with these arguments")
        return apply(recorder, x, function)

    return handler


def _relu(recorder: Recorder, x: Elements) -> Elements:
    return clamp(recorder, x, 0.0)


def _hardtanh(
    recorder: Recorder, x: Elements, min_val: float = -1.0, max_val: float = 1.0
) -> Elements:
    return clamp(recorder, x, min_val, max_val)


def _clamp(recorder: Recorder, x: Elements, min: Any = None, max: Any = None) -> Elements:
    ends = []
    for end in (min, max):
        if isinstance(end, Elements):
            raise recorder.refuse("an activation is clamped by another")
        if isinstance(end, torch.Tensor):
            if end.numel() != 1:
                raise recorder.unsupported("a clamp by another number for each element")
            end = end.item()
        ends.append(None if end is None or math.isinf(end) else float(end))
    low, high = ends
    if low is not None and high is not None and low > high:
        low = high
    return clamp(recorder, x, low, high)


def _clamp_min(recorder: Recorder, x: Elements, min: Any) -> Elements:
    return _clamp(recorder, x, min)


def _clamp_max(recorder: Recorder, x: Elements, max: Any) -> Elements:
    return _clamp(recorder, x, None, max)


def _threshold(recorder: Recorder, x: Elements, threshold: float, value: float) -> Elements:
    if float(threshold) == float(value):
        return clamp(recorder, x, float(value))
    steps = f"x {float(threshold)!r} gt x {float(value)!r} where"
    return apply(recorder, x, Function("threshold", steps))


def _leaky_relu(recorder: Recorder, x: Elements, negative_slope: float = 0.01) -> Elements:
    if negative_slope in (0, 1):
        return x if negative_slope else clamp(recorder, x, 0.0)
    steps = f"x 0 gt x x {float(negative_slope)!r} mul where"
    return apply(recorder, x, Function("leaky_relu", steps))


def _prelu(recorder: Recorder, x: Elements, weight: torch.Tensor) -> Elements:
    slopes = torch.unique(weight)
    if len(slopes) != 1:
        raise recorder.unsupported(
            "PReLU with another slope for each channel", "use one slope for all (num_parameters=1)"
        )
    return _leaky_relu(recorder, x, float(slopes))


def _rrelu(
    recorder: Recorder,
    x: Elements,
    noise: Any,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,
    generator: object = None,
) -> Elements:
    return _leaky_relu(recorder, x, (float(lower) + float(upper)) / 2)


def _elu(
    recorder: Recorder,
    x: Elements,
    alpha: float = 1.0,
    scale: float = 1.0,
    input_scale: float = 1.0,
) -> Elements:
    a, s, i = float(alpha), float(scale), float(input_scale)
    steps = f"x 0 gt x {s!r} mul x {i!r} mul expm1 {a * s!r} mul where"
    return apply(recorder, x, Function("elu", steps))


def _celu(recorder: Recorder, x: Elements, alpha: float = 1.0) -> Elements:
    a = float(alpha)
    steps = f"x 0 gt x x {a!r} div expm1 {a!r} mul where"
    return apply(recorder, x, Function("celu", steps))


def _gelu(recorder: Recorder, x: Elements, *, approximate: str = "none") -> Elements:
    if approximate == "tanh":
        inner = f"x x 3 pow 0.044715 mul add {math.sqrt(2 / math.pi)!r} mul tanh 1 add"
        return apply(recorder, x, Function("gelu", f"x {inner} mul 0.5 mul"))
    return apply(recorder, x, Function("gelu", "x x normal mul"))


def _softplus(
    recorder: Recorder, x: Elements, beta: float = 1.0, threshold: float = 20.0
) -> Elements:
    b, t = float(beta), float(threshold)
    steps = f"x {b!r} mul {t!r} gt x x {b!r} mul softplus {b!r} div where"
    return apply(recorder, x, Function("softplus", steps))


def _shrink(hard: bool) -> Handler:
    def handler(recorder: Recorder, x: Elements, lambd: float = 0.5) -> Elements:
        size = float(lambd)
        name = "hardshrink" if hard else "softshrink"
        kept = "x" if hard else f"x x sign {size!r} mul sub"
        return apply(recorder, x, Function(name, f"x abs {size!r} gt {kept} 0 where"))

    return handler


def _pow(recorder: Recorder, x: Any, exponent: Any) -> Elements:
    if isinstance(x, Elements) and isinstance(exponent, int | float):
        if float(exponent) == 1:
            return x
        return apply(recorder, x, Function("pow", f"x {float(exponent)!r} pow"))
    if isinstance(x, int | float) and isinstance(exponent, Elements):
        return apply(recorder, exponent, Function("pow", f"{float(x)!r} x pow"))
    raise recorder.unsupported("a power of two tensors")


def _log_sigmoid(recorder: Recorder, x: Elements) -> tuple[Elements, None]:
    return apply(recorder, x, Function("log_sigmoid", "x neg softplus neg")), None


def _fake_quantize(
    recorder: Recorder, x: Elements, scale: Any, zero_point: Any, low: int, high: int
) -> tuple[Elements, None]:
    size, zero = float(scale), float(zero_point)
    steps = f"x {size!r} div round {zero!r} add {low} max {high} min {zero!r} sub {size!r} mul"
    return apply(recorder, x, Function("fake_quantize", steps)), None


_STEPS = {
    "silu": "x x sigmoid mul",
    "sigmoid": "x sigmoid",
    "tanh": "x tanh",
    "mish": "x x softplus tanh mul",
    "hardswish": "x x 3 add 0 max 6 min mul 6 div",
    "hardsigmoid": "x 3 add 0 max 6 min 6 div",
    "abs": "x abs",
    "square": "x x mul",
    "reciprocal": "x reciprocal",
    "logical_not": "x 0 eq",
    **{
        name: f"x {name}"
        for name in [
            "exp",
            "expm1",
            "log",
            "log1p",
            "log2",
            "log10",
            "sqrt",
            "rsqrt",
            "sin",
            "cos",
            "tan",
            "atan",
            "asinh",
            "sinh",
            "cosh",
            "erf",
            "round",
            "floor",
            "ceil",
            "trunc",
            "sign",
        ]
    },
}

FUNCTIONS: dict[str, Handler] = {
    **{name: _named(name, steps) for name, steps in _STEPS.items()},
    "sgn": _named("sign", "x sign"),
    "erfc": _named("erfc", "1 x erf sub"),
    "exp2": _named("exp2", "2 x pow"),
    "relu": _relu,
    "relu6": lambda recorder, x: clamp(recorder, x, 0.0, 6.0),
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "threshold": _threshold,
    "leaky_relu": _leaky_relu,
    "_prelu_kernel": _prelu,
    "rrelu_with_noise": _rrelu,
    "elu": _elu,
    "celu": _celu,
    "gelu": _gelu,
    "softplus": _softplus,
    "softshrink": _shrink(False),
    "hardshrink": _shrink(True),
    "pow": _pow,
    "log_sigmoid_forward": _log_sigmoid,
    "fake_quantize_per_tensor_affine_cachemask": _fake_quantize,
}
