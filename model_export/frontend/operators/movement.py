"""Operations that only move, copy or drop elements: the same is done to the elements' numbers."""

from collections.abc import Sequence
from typing import Any

import torch

from tritforge.model_export.frontend.elements import Elements
from tritforge.model_export.frontend.graph import Unary, present
from tritforge.model_export.frontend.operators.arithmetic import ARITHMETIC
from tritforge.model_export.frontend.operators.functions import apply
from tritforge.model_export.frontend.recorder import Handler, Recorder
from tritforge.model_export.functions import Function

__all__ = ["MOVEMENT"]

#: Steps that end a function which is a mask.
_COMPARISONS = frozenset(["gt", "ge", "lt", "le", "eq", "ne"])

Operand = Elements | torch.Tensor


def _only_constants(recorder: Recorder, arguments: object) -> None:
    """Refuse positions that depend on activations."""
    parts = arguments if isinstance(arguments, tuple | list) else (arguments,)
    for one in parts:
        if isinstance(one, tuple | list):
            _only_constants(recorder, one)
        elif isinstance(one, Elements):
            raise recorder.refuse(
                "an activation's value chooses what is read",
                "where it chooses between two values, use torch.where",
            )


def _same(recorder: Recorder, x: Elements, *args: Any, **kwargs: Any) -> Elements:
    return x


def _moving(name: str, overload: str = "default", *, real: bool = False) -> Handler:
    """A handler that runs the operation itself; ``real`` where it takes floating point only."""
    function = getattr(getattr(torch.ops.aten, name), overload)

    def handler(recorder: Recorder, x: Operand, *args: Any, **kwargs: Any) -> Elements:
        _only_constants(recorder, (args, tuple(kwargs.values())))

        def move(values: torch.Tensor) -> torch.Tensor:
            if not real or values.is_floating_point():
                return function(values, *args, **kwargs)  # type: ignore[no-any-return]
            return function(values.double(), *args, **kwargs).long()  # type: ignore[no-any-return]

        return Elements.of(x).moved(move)

    return handler


def _filling(name: str) -> Handler:
    """As :func:`_moving`, for an operation that puts zeros where nothing is."""
    function = getattr(torch.ops.aten, name).default

    def handler(recorder: Recorder, x: Elements, *args: Any) -> Elements:
        def move(values: torch.Tensor) -> torch.Tensor:
            return function(values.double(), *args).to(values.dtype)  # type: ignore[no-any-return]

        return x.filled(move)

    return handler


def _pad(recorder: Recorder, x: Elements, pad: Sequence[int], value: float = 0.0) -> Elements:
    return x.filled(lambda values: torch.constant_pad_nd(values, pad, 0), float(value))


def _to_copy(recorder: Recorder, x: Elements, *, dtype: Any = None, **kwargs: Any) -> Elements:
    if dtype is None or dtype.is_floating_point:
        return x
    if dtype == torch.bool:
        return apply(recorder, x, Function("nonzero", "x 0 ne"))
    return apply(recorder, x, Function("trunc", "x trunc"))


def _cat(recorder: Recorder, tensors: Sequence[Operand], dim: int = 0) -> Elements:
    parts = [Elements.of(one) for one in tensors if not (len(one.shape) == 1 and one.shape[0] == 0)]
    return Elements.joined(parts, lambda arrays: torch.cat(arrays, dim))


def _stack(recorder: Recorder, tensors: Sequence[Operand], dim: int = 0) -> Elements:
    return Elements.joined(map(Elements.of, tensors), lambda arrays: torch.stack(arrays, dim))


def _two(name: str, overload: str = "default") -> Handler:
    """An operation that puts elements of its second tensor among those of its first."""
    function = getattr(getattr(torch.ops.aten, name), overload)

    def handler(recorder: Recorder, x: Operand, y: Operand, *args: Any, **kw: Any) -> Elements:
        _only_constants(recorder, (args, tuple(kw.values())))
        return Elements.joined(
            (Elements.of(x), Elements.of(y)),
            lambda arrays: function(arrays[0], arrays[1], *args, **kw),
        )

    return handler


def _split(recorder: Recorder, x: Elements, sizes: Any, dim: int = 0) -> list[Elements]:
    def part(number: int) -> Elements:
        return x.moved(lambda values: values.split(sizes, dim)[number])

    return [part(number) for number in range(len(x.source.split(sizes, dim)))]


def _index_put(
    recorder: Recorder,
    x: Operand,
    indices: Sequence[Any],
    values: Operand,
    accumulate: bool = False,
) -> Elements:
    if _is_mask(recorder, x, indices) and not accumulate:
        return _masked_fill(recorder, x, indices[0], values)
    _only_constants(recorder, tuple(indices))
    if accumulate:
        raise recorder.unsupported("index_put with accumulate")
    places = list(indices)
    return Elements.joined(
        (Elements.of(x), Elements.of(values)),
        lambda arrays: torch.ops.aten.index_put(arrays[0], places, arrays[1]),
    )


def _is_mask(recorder: Recorder, x: Operand, indices: Sequence[Any]) -> bool:
    """Whether the one index is a comparison of activations, element by element."""
    if len(indices) != 1 or not isinstance(indices[0], Elements) or indices[0].shape != x.shape:
        return False
    owner, _ = recorder.graph.owners(indices[0].source)
    nodes = [recorder.graph.nodes[index] for index in present(owner)]
    return all(
        isinstance(node, Unary) and node.function.steps.split()[-1] in _COMPARISONS
        for node in nodes
    )


def _into(name: str, overload: str = "default") -> Handler:
    """An operation (x, axis, positions, what) that puts elements, or a number, at constant
    positions along an axis."""
    function = getattr(getattr(torch.ops.aten, name), overload)

    def handler(recorder: Recorder, x: Operand, dim: int, index: Any, what: Any) -> Elements:
        _only_constants(recorder, index)
        if name != "scatter":
            shape: tuple[int, ...] = (*x.shape[:dim], len(index), *x.shape[dim:][1:])
        elif isinstance(what, Elements | torch.Tensor):
            shape = tuple(what.shape)
        else:
            shape = tuple(index.shape)
        given = Elements.of(what)
        return Elements.joined(
            (Elements.of(x), given.expanded(shape)),
            lambda arrays: function(arrays[0], dim, index, arrays[1]),
        )

    return handler


def _copy(recorder: Recorder, x: Operand, source: Operand, *args: Any) -> Elements:
    shape = x.shape
    return Elements.of(source).moved(lambda values: values.expand(shape))


def _fill(recorder: Recorder, x: Elements, value: Any) -> Elements:
    if isinstance(value, Elements):
        return value.moved(lambda values: values.expand(x.shape))
    return Elements.constant(torch.full(x.shape, float(value), dtype=torch.float64))


def _zero(recorder: Recorder, x: Elements) -> Elements:
    return _fill(recorder, x, 0.0)


def _masked_fill(recorder: Recorder, x: Operand, mask: Any, value: Any) -> Elements:
    if isinstance(mask, Elements):
        found: Elements = ARITHMETIC["where"](recorder, mask, value, x)
        return found
    return Elements.joined(
        (Elements.of(value), Elements.of(x)), lambda arrays: torch.where(mask, arrays[0], arrays[1])
    )


MOVEMENT: dict[str, Handler] = {
    "cat": _cat,
    "stack": _stack,
    "copy": _copy,
    "fill": _fill,
    "zero": _zero,
    "masked_fill": _masked_fill,
    "index_put": _index_put,
    "unsafe_split": _split,
    "unsafe_split_with_sizes": _split,
    "index_copy": _into("index_copy"),
    "index_fill": _into("index_copy"),
    "scatter": _into("scatter", "src"),
    "constant_pad_nd": _pad,
    "_to_copy": _to_copy,
    "slice_scatter": _two("slice_scatter"),
    "select_scatter": _two("select_scatter"),
    "im2col": _filling("im2col"),
    "tril": _filling("tril"),
    "triu": _filling("triu"),
    "index": _moving("index", "Tensor"),
    "upsample_nearest1d": _moving("upsample_nearest1d", real=True),
    "upsample_nearest2d": _moving("upsample_nearest2d", real=True),
    "_upsample_nearest_exact1d": _moving("_upsample_nearest_exact1d", real=True),
    "_upsample_nearest_exact2d": _moving("_upsample_nearest_exact2d", real=True),
    **{
        name: _moving(name, real=True)
        for name in (
            "reflection_pad1d",
            "reflection_pad2d",
            "replication_pad1d",
            "replication_pad2d",
        )
    },
    **{
        name: _moving(name)
        for name in (
            "flip",
            "rot90",
            "roll",
            "repeat",
            "index_select",
            "gather",
            "channel_shuffle",
            "native_channel_shuffle",
            "pixel_shuffle",
            "pixel_unshuffle",
        )
    },
    "_unsafe_view": lambda recorder, x, size: x.reshaped(*size),
    **dict.fromkeys(("clone", "lift_fresh", "lift_fresh_copy", "detach", "nan_to_num"), _same),
}
