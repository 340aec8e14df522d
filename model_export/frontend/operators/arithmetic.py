"""Sums, products with constants, comparisons."""

import math
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import torch

from tritforge.model_export.frontend.elements import CONSTANT, Elements
from tritforge.model_export.frontend.graph import (
    MaxPool,
    Node,
    Sum,
    Unary,
    each_once,
    extract,
)
from tritforge.model_export.frontend.layouts import images
from tritforge.model_export.frontend.operators.functions import apply, clamp, combined, root
from tritforge.model_export.frontend.operators.rows import rows_by_sample, sample_axis
from tritforge.model_export.frontend.recorder import Handler, Recorder
from tritforge.model_export.functions import Function
from tritforge.model_export.network import Pool

__all__ = ["ARITHMETIC", "add_up", "largest"]

Operand = Elements | torch.Tensor | float


def _number(recorder: Recorder, one: Operand) -> torch.Tensor | float:
    """A constant as numbers, finite."""
    assert not isinstance(one, Elements)
    values = torch.as_tensor(one)
    if values.is_complex():
        raise recorder.unsupported("arithmetic with complex numbers")
    if not bool(torch.isfinite(values.double()).all()):
        raise recorder.refuse("it computes with a constant that is NaN or infinite")
    return values.double()


def _add(recorder: Recorder, x: Operand, y: Operand, *, alpha: float = 1) -> Elements:
    if isinstance(x, Elements) and isinstance(y, Elements):
        return _sum(recorder, x, y.affine(float(alpha)) if alpha != 1 else y)
    if isinstance(x, Elements):
        return x.affine(1.0, _number(recorder, y) * alpha)
    assert isinstance(y, Elements)
    return y.affine(float(alpha), _number(recorder, x))


def _sub(recorder: Recorder, x: Operand, y: Operand, *, alpha: float = 1) -> Elements:
    return _add(recorder, x, y, alpha=-alpha)


def _rsub(recorder: Recorder, x: Operand, y: Operand, alpha: float = 1) -> Elements:
    return _add(recorder, y, x, alpha=-alpha)


def _sum(recorder: Recorder, x: Elements, y: Elements) -> Elements:
    """The sum of two tensors, both of which depend on the input."""
    shape = torch.broadcast_shapes(x.shape, y.shape)
    x, y = (one.expanded(tuple(shape)) for one in (x, y))
    if not bool((x.live & y.live).any()):  # each element is one's plus a constant
        source = torch.where(x.live, x.source, y.source)
        gain = torch.where(x.live, x.gains(), y.gains())
        return Elements(source, gain, x.offsets() + y.offsets())
    same = bool((x.source == y.source).all())
    if same:
        gain = x.gains() + y.gains()
        source = torch.where(gain == 0, CONSTANT, x.source)
        return Elements(source, gain, x.offsets() + y.offsets())
    return add_up(recorder, [x, y])


def add_up(recorder: Recorder, terms: list[Elements]) -> Elements:
    """The sum of tensors of one shape."""
    return _joined(recorder, terms, _sum_node)


def largest(recorder: Recorder, terms: list[Elements]) -> Elements:
    """The largest of tensors of one shape, element by element."""
    return _joined(recorder, terms, _largest_node)


def _joined(
    recorder: Recorder,
    terms: list[Elements],
    make: Callable[[Recorder, list[Elements], list[Elements], torch.Tensor], Node],
) -> Elements:
    """A node that computes each element from the same one of all terms: ``make(recorder, terms,
    samples in an order that a layer can read, that order)``."""
    shape = terms[0].shape
    axis = sample_axis(recorder, terms[0])
    if axis:
        moved = [term.moved(lambda values: values.movedim(axis, 0)) for term in terms]
        return _joined(recorder, moved, make).moved(lambda values: values.movedim(0, axis))
    rows = rows_by_sample(recorder, terms[0])
    if rows is not None:
        found = [
            _joined(recorder, [term.moved(itemgetter(part)) for term in terms], make)
            for part in rows
        ]
        back = torch.argsort(rows.reshape(-1))
        return Elements.joined(found, torch.cat).moved(itemgetter(back))
    singles = [recorder.one_sample(term) for term in terms]
    order = _order(recorder, singles)
    if order is None:
        terms = [recorder.settled(term) for term in terms]
        singles = [recorder.one_sample(term) for term in terms]
        order = _order(recorder, singles)
        if order is None:
            raise recorder.refuse(
                "it joins activations that are in orders which no layer can read together"
            )
    node = make(recorder, terms, [single.picked(order) for single in singles], order)
    back = torch.empty(order.numel(), dtype=torch.int64)
    back[order.reshape(-1)] = torch.arange(order.numel())
    return recorder.add(node).each_picked(back).reshaped(*shape)


def _sum_node(
    recorder: Recorder, terms: list[Elements], singles: list[Elements], order: torch.Tensor
) -> Node:
    values = [recorder.image(single) for single in singles]
    function, alike = None, None
    if len(terms) == 2 and _may_be_alike(recorder, terms):
        alike = combined(recorder, "add", terms)
        last = recorder.graph.nodes[-1]
        if alike is not None and isinstance(last, Unary):
            function = last
    node = Sum(
        recorder.layer_name("add"),
        recorder.place(),
        values[0].shape,
        values=tuple(values),
        function=function,
    )
    if function is not None and not _aligned(recorder, node, order, alike):
        node.function = None
    return node


def _largest_node(
    recorder: Recorder, terms: list[Elements], singles: list[Elements], order: torch.Tensor
) -> Node:
    """A max-pool over rows that are those of one term after the other."""
    channels, height, width = singles[0].shape
    count = len(singles)
    rows = Elements.joined(singles, lambda arrays: torch.stack(arrays, dim=2).flatten(1, 2))
    pool = Pool((count, 1), (count, 1), (0, 0), height, width)
    name, value = recorder.layer_name("max"), recorder.image(rows)
    return MaxPool(name, recorder.place(), (channels, height, width), value=value, pool=pool)


def _may_be_alike(recorder: Recorder, terms: list[Elements]) -> bool:
    """Whether the first elements are functions of one node."""
    owners = [recorder.graph.owners(term.source.reshape(-1)[:1])[0][0] for term in terms]
    if min(owners) < 0:
        return False
    return len({root(recorder.graph.nodes[owner]).node.index for owner in owners}) == 1


def _aligned(recorder: Recorder, node: Sum, order: torch.Tensor, alike: Elements | None) -> bool:
    """Whether element n of the node is element n of its function."""
    function = node.function
    if function is None or alike is None or function.shape != node.shape:
        return False
    single = recorder.one_sample(alike).source.reshape(-1)[order]
    count = order.numel()
    expected = torch.arange(function.number, function.number + count).reshape(order.shape)
    return torch.equal(single, expected)


def _order(recorder: Recorder, singles: list[Elements]) -> torch.Tensor | None:
    """Numbers of the elements, as channels x height x width that a layer can read; None where there
    is no such order."""
    count = singles[0].source.numel()
    candidates = []
    for single in singles:  # as one of them was computed
        owner, place = recorder.graph.owners(single.source.reshape(-1))
        node = recorder.graph.nodes[int(owner[0])] if owner[0] >= 0 else None
        if node is None or (owner != owner[0]).any():
            continue
        if count == math.prod(node.shape) and each_once(place, count):
            numbers = torch.empty(count, dtype=torch.int64)
            numbers[torch.from_numpy(place)] = torch.arange(count)
            candidates.append(numbers.reshape(node.shape))
    candidates += [torch.arange(count).reshape(image) for image in _images(singles[0].shape)]
    for order in candidates:
        moved = [single.picked(order) for single in singles]
        if all(extract(recorder.graph, one) is not None for one in moved):
            return order
    return None


def _images(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Ways to see one sample as channels, rows and columns; neighbouring axes may be one."""
    if len(shape) <= 3:
        return [*images(shape)]
    return [
        (math.prod(shape[:i]), math.prod(shape[i:j]), math.prod(shape[j:]))
        for i in range(1, len(shape) - 1)
        for j in range(i + 1, len(shape))
    ]


def _mul(recorder: Recorder, x: Operand, y: Operand) -> Elements:
    if isinstance(x, Elements) and isinstance(y, Elements):
        if not bool((x.live & y.live).any()):
            left, right = (x, y) if bool(x.live.any()) else (y, x)
            if not bool(right.live.any()):
                return left.affine(right.offsets())
        return _together(recorder, "mul", x, y)
    if isinstance(x, Elements):
        return x.affine(_number(recorder, y))
    assert isinstance(y, Elements)
    return y.affine(_number(recorder, x))


def _together(recorder: Recorder, operation: str, *operands: Elements | float) -> Elements:
    names = {"mul": "product", "div": "quotient"}
    name = names.get(operation, operation)
    found = combined(recorder, operation, operands)
    if found is None:  # they may be functions of a copy that one of them has been made of
        copies = [
            recorder.as_settled(one) if isinstance(one, Elements) else one for one in operands
        ]
        found = combined(recorder, operation, copies)
    if found is None:
        raise recorder.refuse(
            f"the {name} of two activations is not supported",
            "only functions of one and the same activation are",
        )
    return found


def _div(recorder: Recorder, x: Operand, y: Operand, *, rounding_mode: Any = None) -> Elements:
    if isinstance(y, Elements):
        if isinstance(x, Elements):
            found = _together(recorder, "div", x, y)
        else:
            found = apply(recorder, y, Function("reciprocal", "x reciprocal"))
            found = found.affine(_number(recorder, x))
    else:
        assert isinstance(x, Elements)
        divisor = torch.as_tensor(_number(recorder, y))
        if bool((divisor == 0).any()):
            raise recorder.refuse("it divides by zero")
        found = x.affine(1 / divisor)
    if rounding_mode is None:
        return found
    return apply(recorder, found, Function(rounding_mode, f"x {rounding_mode}"))


def _floor_divide(recorder: Recorder, x: Operand, y: Operand) -> Elements:
    return _div(recorder, x, y, rounding_mode="floor")


def _neg(recorder: Recorder, x: Elements) -> Elements:
    return x.affine(-1.0)


def _addcmul(
    recorder: Recorder, x: Operand, y: Operand, z: Operand, *, value: float = 1
) -> Elements:
    if not isinstance(y, Elements) and not isinstance(z, Elements):
        return _add(recorder, x, torch.as_tensor(y) * torch.as_tensor(z), alpha=value)
    return _add(recorder, x, _mul(recorder, y, z), alpha=value)


def _addcdiv(
    recorder: Recorder, x: Operand, y: Operand, z: Operand, *, value: float = 1
) -> Elements:
    if not isinstance(y, Elements) and not isinstance(z, Elements):
        return _add(recorder, x, torch.as_tensor(y) / torch.as_tensor(z), alpha=value)
    return _add(recorder, x, _div(recorder, y, z), alpha=value)


def _lerp(recorder: Recorder, x: Operand, y: Operand, weight: Any) -> Elements:
    if isinstance(weight, Elements):
        raise recorder.refuse("the share of two activations in a sum depends on the input")
    ends = [
        one.affine(share) if isinstance(one, Elements) else torch.as_tensor(one) * share
        for one, share in ((x, 1 - weight), (y, weight))
    ]
    return _add(recorder, ends[0], ends[1])


def _extremum(operation: str) -> Handler:
    def handler(recorder: Recorder, x: Operand, y: Operand) -> Elements:
        if isinstance(x, Elements) and isinstance(y, Elements):
            for one, other in ((x, y), (y, x)):
                if not bool(other.live.any()) and other.offsets().unique().numel() == 1:
                    return handler(recorder, one, other.offsets().reshape(-1)[0])
            return _extreme(recorder, operation, x, y)
        elements, end = (x, y) if isinstance(x, Elements) else (y, x)
        assert isinstance(elements, Elements)
        values = torch.as_tensor(_number(recorder, end)).unique()
        if len(values) != 1:
            raise recorder.unsupported("a clamp by another number for each element")
        number = float(values)
        return clamp(
            recorder, elements, *((number, None) if operation == "max" else (None, number))
        )

    return handler


def _extreme(recorder: Recorder, operation: str, x: Elements, y: Elements) -> Elements:
    """The larger or smaller of two activations."""
    found = combined(recorder, operation, (x, y))
    if found is not None:
        return found
    sign = 1.0 if operation == "max" else -1.0
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    return largest(recorder, [one.expanded(shape).affine(sign) for one in (x, y)]).affine(sign)


def _compare(operation: str) -> Handler:
    def handler(recorder: Recorder, x: Operand, y: Operand) -> Elements:
        operands: list[Elements | float] = []
        for one in (x, y):
            if isinstance(one, Elements):
                operands.append(one)
                continue
            values = torch.as_tensor(_number(recorder, one)).unique()
            if len(values) != 1:
                raise recorder.unsupported("a comparison with another number for each element")
            operands.append(float(values))
        return _together(recorder, operation, *operands)

    return handler


def _logical(operation: str) -> Handler:
    """``logical_and`` and ``logical_or``: the smaller and the larger of two truths, 0 or 1."""
    compare = _compare(operation)

    def handler(recorder: Recorder, x: Any, y: Any) -> Elements:
        truths = [
            _compare("ne")(recorder, one, 0.0)
            if isinstance(one, Elements)
            else torch.as_tensor(one) != 0
            for one in (x, y)
        ]
        return compare(recorder, *truths)  # type: ignore[no-any-return]

    return handler


def _finite(answer: float) -> Handler:
    """``isnan`` and the like: hardware has no such numbers."""

    def handler(recorder: Recorder, x: Elements) -> Elements:
        return Elements.constant(torch.full(x.shape, answer, dtype=torch.float64))

    return handler


def _where(recorder: Recorder, mask: Any, x: Any, y: Any) -> Elements:
    if isinstance(mask, torch.Tensor):
        return Elements.joined(
            map(Elements.of, (x, y)), lambda arrays: torch.where(mask, arrays[0], arrays[1])
        )
    operands: list[Elements | float] = []
    for one in (mask, x, y):
        if isinstance(one, Elements) and bool(one.live.any()):
            operands.append(one)
            continue
        values = one.offsets() if isinstance(one, Elements) else _number(recorder, one)
        distinct = torch.as_tensor(values).unique()
        if len(distinct) != 1:
            raise recorder.unsupported("torch.where with another number for each element")
        operands.append(float(distinct))
    return _together(recorder, "where", *operands)


ARITHMETIC: dict[str, Handler] = {
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "floor_divide": _floor_divide,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    "maximum": _extremum("max"),
    "minimum": _extremum("min"),
    "where": _where,
    "remainder": _compare("remainder"),
    "fmod": _compare("fmod"),
    "logical_and": _logical("min"),
    "logical_or": _logical("max"),
    "isnan": _finite(0.0),
    "isinf": _finite(0.0),
    "isfinite": _finite(1.0),
    **{name: _compare(name) for name in ("gt", "ge", "lt", "le", "eq", "ne")},
}
