"""Convolutions, matrix products with weights, and batch norm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.elements import Elements
from tritforge.model_export.frontend.graph import Convolution, Dense, extract, present
from tritforge.model_export.frontend.layouts import pair_of
from tritforge.model_export.frontend.operators.arithmetic import ARITHMETIC
from tritforge.model_export.frontend.operators.pools import as_computed
from tritforge.model_export.frontend.operators.rows import by_rows
from tritforge.model_export.frontend.recorder import Handler, Recorder, checksum

__all__ = ["WEIGHTS"]


def _finite(recorder: Recorder, tensor: torch.Tensor, what: str) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().double().numpy()
    broken = int(np.count_nonzero(~np.isfinite(array)))
    if broken:
        raise ExportError(
            f"tensor {recorder.layer_name(recorder.operation)}.{what} has {broken} values that are "
            "NaN or infinite"
        )
    return array.copy()


def _weight(recorder: Recorder, tensor: torch.Tensor) -> NDArray[np.float32]:
    """A weight tensor, not copied where it is float32 already."""
    values = tensor.detach().float()
    broken = int(torch.count_nonzero(~torch.isfinite(values)))
    if broken:
        _finite(recorder, tensor, "weight")
    array = values.numpy()
    if recorder.copies:
        return array.copy()
    recorder.shared.append((array, checksum(array)))
    return array


def _known(recorder: Recorder, weight: Any, what: str = "weights") -> torch.Tensor:
    if isinstance(weight, Elements):
        if bool(weight.live.any()):
            raise recorder.refuse(
                f"its {what} depend on the input: the product of two activations, as in attention, "
                "is not supported"
            )
        return weight.offsets()
    assert isinstance(weight, torch.Tensor)
    return weight


def _convolution(
    recorder: Recorder,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Elements:
    weight = _known(recorder, weight)
    if not isinstance(x, Elements):
        raise recorder.refuse("it convolves a constant")
    if weight.dim() not in (3, 4):
        raise recorder.unsupported("a convolution in three dimensions")
    one = recorder.one_sample(x)
    flat = weight.dim() == 3
    if flat:
        weight, one = weight.unsqueeze(2), one.moved(lambda values: values.unsqueeze(1))
    s, p, d = (
        (fill, int(pair[0])) if flat else pair_of(pair)
        for pair, fill in ((stride, 1), (padding, 0), (dilation, 1))
    )
    if transposed:
        extra = (0, int(output_padding[0])) if flat else pair_of(output_padding)
        one, weight = _transposed(one, weight, s, p, d, extra, int(groups))
        s, p = (1, 1), (0, 0)
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    height, width = (
        (size + 2 * before - step * (taps - 1) - 1) // jump + 1
        for size, before, step, taps, jump in zip(one.shape[1:], p, d, kernel, s, strict=True)
    )
    node = Convolution(
        recorder.layer_name("conv"),
        recorder.place(),
        (int(weight.shape[0]), height, width),
        value=recorder.image(one),
        weight=_weight(recorder, weight),
        bias=None if bias is None else _finite(recorder, _known(recorder, bias), "bias"),
        stride=s,
        padding=p,
        dilation=d,
        groups=int(groups),
    )
    found = recorder.add(node)
    return found.moved(lambda values: values.squeeze(2)) if flat else found


def _scripted_convolution(recorder: Recorder, x: Any, weight: Any, *args: Any) -> Elements:
    """As TorchScript calls it, with settings of libraries at the end."""
    found: Elements = by_rows(_convolution)(recorder, x, weight, *args[:7])
    return found


def _transposed(
    one: Elements,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    extra: tuple[int, int],
    groups: int,
) -> tuple[Elements, torch.Tensor]:
    """Input and weights of the convolution with stride 1 and no padding that a transposed one is:
    zeros between the pixels and around them, and the kernel turned around."""
    edges: list[int] = []  # left, right, top, bottom
    for axis in (1, 0):
        reach = dilation[axis] * (weight.shape[2 + axis] - 1) - padding[axis]
        edges += [reach, reach + extra[axis]]

    def spread(values: torch.Tensor) -> torch.Tensor:
        channels, height, width = values.shape
        between = values.new_zeros(
            channels, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1
        )
        between[:, :: stride[0], :: stride[1]] = values
        return torch.constant_pad_nd(between, edges)

    parts = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return one.filled(spread), parts.flip(2, 3)


def _mm(recorder: Recorder, x: Any, y: Any) -> Elements:
    if not isinstance(x, Elements) or (isinstance(y, Elements) and not bool(x.live.any())):
        found = _mm(recorder, y.moved(torch.t), torch.t(_known(recorder, x)))
        return found.moved(torch.t)
    return _product(recorder, x, _known(recorder, y), None)


def _product(
    recorder: Recorder, x: Elements, matrix: torch.Tensor, bias: NDArray[np.float64] | None
) -> Elements:
    """Rows of ``x`` (rows, features) times a matrix (features, outputs)."""
    weight = _weight(recorder, matrix.t())
    order = torch.argsort(x.samples().amax(dim=1), stable=True)
    rows, features = x.shape
    each = rows // recorder.batch
    sorted_rows = x.moved(
        lambda values: (
            values[order].reshape(recorder.batch, -1, features)
            if rows % recorder.batch == 0
            else values.reshape(1, -1, features)
        )
    )
    one = recorder.one_sample(sorted_rows)
    name, where, count = recorder.layer_name("linear"), recorder.place(), len(weight)
    if each == 1:
        node: Dense | Convolution = Dense(
            name,
            where,
            (count, 1, 1),
            elements=recorder.graph.scattered(one),
            weight=weight,
            bias=bias,
        )
        found = recorder.add(node).reshaped(recorder.batch, 1, count)
    elif (along := _along_rows_or_columns(recorder, sorted_rows, weight, bias)) is not None:
        found = along
    else:
        height, width = _sides(recorder, one)
        image = one.moved(lambda values: values.t().reshape(features, height, width))
        node = Convolution(
            name,
            where,
            (count, height, width),
            value=recorder.image(image),
            weight=weight[:, :, None, None],
            bias=bias,
            kind="linear",
        )
        found = recorder.add(node).moved(lambda values: values.flatten(2).transpose(1, 2))
    flat = found.reshaped(rows, count)
    back = torch.argsort(order)
    return flat.moved(lambda values: values[back])


def _along_pixels(
    recorder: Recorder,
    one: Elements,
    weight: NDArray[np.float32],
    bias: NDArray[np.float64] | None,
) -> Elements | None:
    """A product (batch, positions, outputs) along rows or columns of what computed ``one``, as a
    convolution with a kernel of that height or width; None where the features are others."""
    computed = as_computed(recorder, one, (1,))
    if computed is None or not computed[2]:
        return None
    elements, classes, spatial, order = computed
    _, place = recorder.graph.owners(one.source.reshape(-1))
    feature = np.argsort(place).reshape(elements.shape) % one.shape[1]
    taps = feature[:, : None if 1 in spatial else 1, : None if 2 in spatial else 1]
    count = int(classes.max()) + 1
    if not (feature == taps).all() or (np.bincount(classes) != len(classes) // count).any():
        return None
    channels = np.argsort(classes, kind="stable")
    groups = taps[channels].reshape(count, -1, *taps.shape[1:])
    height, width = (1 if axis in spatial else elements.shape[axis] for axis in (1, 2))
    node = Convolution(
        recorder.layer_name("linear"),
        recorder.place(),
        (count * len(weight), height, width),
        value=recorder.image(elements.moved(lambda values: values[torch.from_numpy(channels)])),
        weight=np.concatenate([weight[:, group] for group in groups]),
        bias=None if bias is None else np.tile(bias, count),
        groups=count,
        kind="linear",
    )
    found = recorder.add(node).reshaped(recorder.batch, count, len(weight), height * width)
    return found.moved(lambda values: values.transpose(2, 3).flatten(1, 2)[:, order])


def _along_rows_or_columns(
    recorder: Recorder,
    x: Elements,
    weight: NDArray[np.float32],
    bias: NDArray[np.float64] | None,
) -> Elements | None:
    """:func:`_along_pixels`, of a copy where ``x`` (batch, positions, features) comes from several
    nodes; None where features are channels."""
    one = recorder.one_sample(x)
    found = _along_pixels(recorder, one, weight, bias)
    height, width = _sides(recorder, one)
    image = one.moved(lambda values: values.t().reshape(-1, height, width))
    if found is not None or extract(recorder.graph, image) is not None:
        return found
    return _along_pixels(recorder, recorder.one_sample(recorder.settled(x)), weight, bias)


def _sides(recorder: Recorder, one: Elements) -> tuple[int, int]:
    """Height and width of the positions (positions, features) that a matrix is applied to."""
    positions, features = one.shape
    owner, _ = recorder.graph.owners(one.source.reshape(-1))
    for index in present(owner):
        _, height, width = recorder.graph.nodes[index].shape
        if height * width == positions:
            return height, width
    columns = one.moved(torch.t)
    for height in range(1, positions + 1):
        if positions % height == 0:
            shape = (features, height, positions // height)
            if extract(recorder.graph, columns.reshaped(*shape)) is not None:
                return height, positions // height
    return 1, positions


def _addmm(
    recorder: Recorder, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1
) -> Elements:
    if (
        isinstance(x, Elements)
        and isinstance(bias, torch.Tensor)
        and beta == alpha == 1
        and bias.dim() == 1
    ):
        return _product(recorder, x, _known(recorder, y), _finite(recorder, bias, "bias"))
    found = _mm(recorder, x, y)
    found = found if alpha == 1 else found.affine(float(alpha))
    return ARITHMETIC["add"](recorder, found, bias, alpha=beta)  # type: ignore[no-any-return]


def _bmm(recorder: Recorder, x: Any, y: Any) -> Elements:
    if not isinstance(x, Elements):
        found = _bmm(recorder, y.moved(torch.mT.fget), x.mT)  # type: ignore[attr-defined]
        return found.moved(lambda values: values.mT)
    matrix = _known(recorder, y)
    batches, rows, features = x.shape
    if not torch.equal(matrix, matrix[:1].expand(matrix.shape)):
        raise recorder.unsupported("a matrix product with another matrix for each of a batch")
    found = _product(recorder, x.reshaped(batches * rows, features), matrix[0], None)
    return found.reshaped(batches, rows, matrix.shape[2])


def _baddbmm(
    recorder: Recorder, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1
) -> Elements:
    found = _bmm(recorder, x, y).affine(float(alpha))
    return ARITHMETIC["add"](recorder, found, bias, alpha=beta)  # type: ignore[no-any-return]


def _mv(recorder: Recorder, x: Any, y: Any) -> Elements:
    if isinstance(x, Elements):
        found = _mm(recorder, x, _known(recorder, y)[:, None])
    else:
        found = _mm(recorder, x, y.moved(lambda values: values[:, None]))
    return found.moved(lambda values: values[:, 0])


def _batch_norm(
    recorder: Recorder,
    x: Elements,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Elements, None, None]:
    if not recorder.registered:
        raise recorder.refuse(
            "eval() does not reach this batch norm, since it is no submodule of the model",
            "keep it as an attribute or in an nn.ModuleList",
        )
    if training or mean is None or variance is None:
        raise recorder.refuse(
            "it takes its mean and variance from the batch in evaluation mode too "
            "(batch or instance norm without running statistics), which is not supported"
        )
    center = _finite(recorder, _known(recorder, mean), "running_mean")
    spread = _finite(recorder, _known(recorder, variance), "running_var") + eps
    if (spread <= 0).any():
        raise recorder.refuse("its running variance is not positive")
    gain = np.ones(len(center))
    if weight is not None:
        gain = _finite(recorder, _known(recorder, weight), "weight")
    gain = gain / np.sqrt(spread)
    shift = -gain * center
    if bias is not None:
        shift = shift + _finite(recorder, _known(recorder, bias), "bias")
    if not (np.isfinite(gain).all() and np.isfinite(shift).all()):
        raise recorder.refuse("its batch norm gives gains or offsets that are not finite")
    shape = (1, -1, *[1] * (len(x.shape) - 2))
    found = x.affine(torch.from_numpy(gain).reshape(shape), torch.from_numpy(shift).reshape(shape))
    return found, None, None


def _batch_norm_no_training(
    recorder: Recorder,
    x: Elements,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    momentum: float,
    eps: float,
) -> tuple[Elements, None, None]:
    return _batch_norm(recorder, x, weight, bias, mean, variance, False, momentum, eps)


WEIGHTS: dict[str, Handler] = {
    "convolution": by_rows(_convolution),
    "_convolution": _scripted_convolution,
    "mm": _mm,
    "addmm": _addmm,
    "bmm": _bmm,
    "baddbmm": _baddbmm,
    "mv": _mv,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm_no_training,
}
