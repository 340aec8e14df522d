"""First pass: a PyTorch module becomes layers of column groups, in real numbers.

The module's graph (``torch.fx``) is walked once. A value on the way is an ordered list of
channel ranges of tensors, so concatenation and splitting cost nothing. The layer that produced
a value stays open while that value has one reader: batch norm, ReLU and max-pool then fold into
it where that is exact, and otherwise become an identity layer.
"""

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import ColumnGroup, Layer, Network, Pool, Tensor
from tritforge.model_export.passes.weights import Plane, WeightPlanes, classify

__all__ = ["SUPPORTED", "Planes", "trace"]

#: What a network may consist of, for error messages.
SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, ReLU6, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, "
    "mean over (2, 3), flatten, add, subtract, multiply by a constant, cat, chunk, "
    "split, Dropout, Identity, a trailing softmax"
)

#: Convolution groups beyond this many are joined into block-diagonal column groups, since a tile
#: holds at most 255 column groups and each costs a walk.
_MOST_BLOCKS = 16


#: Planes by the name of the weights, and whether they are the last layer's.
Planes = dict[tuple[str, bool], WeightPlanes]


def trace(
    model: nn.Module,
    sample_shape: Sequence[int],
    *,
    digits: int = 8,
    name: str = "network",
    known: Planes | None = None,
) -> Network:
    """Turn a module into a network of layers in real numbers.

    Precondition: an ordinary module; ternary weights stand as values in its Conv2d and Linear
    layers. It is traced as in ``eval()``.

    Parameters
    ----------
    model : nn.Module
    sample_shape : (channels, height, width), or (features,)
        Shape of one sample.
    digits : int
        Bits of weights that are not ternary; 0 refuses them.
    name : str
        Name of the network.
    known : dict, optional
        Planes of this model's weights from another call; filled in. Those that are exact
        are used again.

    Returns
    -------
    Network
        Tensors without scales; the last layer is ``final``.

    Raises
    ------
    ExportError
        An operation that is not supported (named, with what is), shapes that do not match, NaN
        or infinite weights or none, weights that are not ternary while ``digits`` is 0.
    """
    shape = tuple(sample_shape)
    if len(shape) not in (1, 3) or any(size < 1 for size in shape):
        raise ExportError(
            f"sample shape must be (channels, height, width) with positive sizes, not {shape}"
        )
    if any(one.is_meta for one in (*model.parameters(), *model.buffers())):
        raise ExportError(f"network {name} has weights on the device meta, which have no values")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        graph = torch.fx.Tracer().trace(model)
    except Exception as error:
        raise ExportError(f"network {name} cannot be traced: {error}") from error
    finally:
        for module, mode in modes:
            module.training = mode
    with torch.no_grad():
        return _Walk(model, shape, digits, name, {} if known is None else known).run(graph)


@dataclass(eq=False)
class _Draft:
    """A layer under construction: weights still in real numbers, what follows still folding in."""

    name: str
    kind: str
    rows: int
    height: int  # before pooling
    width: int
    groups: list[ColumnGroup]  # those that are trits already
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    weights: list["_Weights"] = field(default_factory=list)
    relu: bool = False
    limit: float = 0.0
    pool: Pool | None = None
    closed: bool = False  # more than one reader: nothing may be folded in
    note: str = ""


@dataclass(eq=False)
class _Part:
    """Channels [start, stop) of a tensor; ``draft`` is the layer that produces it."""

    tensor: str
    start: int
    stop: int
    draft: _Draft | None

    @property
    def channels(self) -> int:
        return self.stop - self.start


@dataclass(eq=False)
class _Value:
    """What a graph node holds: channel ranges, one below the other, of equal height and width."""

    parts: list[_Part]
    height: int
    width: int
    flat: bool  # the module sees (N, channels*height*width)

    @property
    def channels(self) -> int:
        return sum(part.channels for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """What the module sees, for a batch of one."""
        if self.flat:
            return (1, self.channels * self.height * self.width)
        return (1, self.channels, self.height, self.width)


@dataclass(eq=False)
class _Weights:
    """A trained tensor and where it reads."""

    name: str
    tensor: NDArray[np.float32]  # (rows, channels per convolution group, kh, kw)
    value: _Value
    conv_groups: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


class _Walk:
    """One walk over a graph; a handler per operation returns the node's value."""

    def __init__(
        self, model: nn.Module, shape: tuple[int, ...], digits: int, name: str, known: Planes
    ) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.digits = digits
        self.name = name
        self.known = known
        channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
        self.tensors = {"input": Tensor("input", channels, height, width)}
        self.input = _Value([_Part("input", 0, channels, None)], height, width, len(shape) == 1)
        self.drafts: list[_Draft] = []
        self.env: dict[torch.fx.Node, Any] = {}
        self.where = ""  # the node being handled, for error messages
        self.base = ""  # name of the layer that it may become
        self.final_note = ""

    # ----- the walk

    def run(self, graph: torch.fx.Graph) -> Network:
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise ExportError(f"network {self.name} takes {len(inputs)} inputs; one is supported")
        result: Any = None
        for node in graph.nodes:
            self.where = f"{node.target if node.op == 'call_module' else node.name}"
            self.base = str(node.target) if node.op == "call_module" else node.name
            args = torch.fx.node.map_arg(node.args, lambda n: self.env[n])
            kwargs = torch.fx.node.map_arg(node.kwargs, lambda n: self.env[n])
            if node.op == "placeholder":
                value: Any = self.input
            elif node.op == "get_attr":
                value = operator.attrgetter(str(node.target))(self.model)
            elif node.op == "output":
                result = args[0]
                break
            elif node.op == "call_module":
                value = self._call_module(node, *args, **kwargs)
            else:
                value = self._call(node, args, kwargs)
            self.env[node] = value
            readers = [user for user in node.users if not _asks_for_shape(user)]
            if len(readers) > 1:
                _close(value)
        if isinstance(result, (tuple, list)) and len(result) == 1:
            result = result[0]
        if not isinstance(result, _Value):
            raise ExportError(
                f"network {self.name} returns {type(result).__name__}; one tensor is supported"
            )
        return self._finish(result)

    def _call(self, node: torch.fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target: Any = node.target
        if not _contains_value((args, kwargs)):
            if node.op == "call_method":
                return getattr(args[0], str(target))(*args[1:], **kwargs)
            return target(*args, **kwargs)
        if target is operator.getitem and isinstance(args[0], (tuple, list)):
            return args[0][args[1]]
        handler = _FUNCTIONS.get(target)
        if handler is None:
            label = target if isinstance(target, str) else getattr(target, "__name__", str(target))
            raise self._unsupported(f"operation {label}")
        if target in _SOFTMAX and any(user.op != "output" for user in node.users):
            raise self._unsupported("a softmax that is not the network's end")
        value = self._handle(handler, args, kwargs)
        if target in _IN_PLACE or kwargs.get("inplace"):
            self._replace(node, args[0], value)
        return value

    def _call_module(self, node: torch.fx.Node, *args: Any, **kwargs: Any) -> Any:
        module = self.modules[str(node.target)]
        handler = next((h for kind, h in _MODULES if isinstance(module, kind)), None)
        if handler is None:
            raise self._unsupported(f"module {type(module).__name__}")
        if isinstance(module, _SOFTMAX_MODULES) and any(u.op != "output" for u in node.users):
            raise self._unsupported("a softmax that is not the network's end")
        if kwargs or len(args) != 1 or not isinstance(args[0], _Value):
            raise self._unsupported(f"module {type(module).__name__} with these arguments")
        value = self._handle(handler, (module, args[0]), {})
        if getattr(module, "inplace", False):
            self._replace(node, args[0], value)
        return value

    def _handle(
        self, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            inspect.signature(handler).bind(self, *args, **kwargs)
        except TypeError as error:
            raise self._unsupported(f"this form of the operation ({error})") from error
        return handler(self, *args, **kwargs)

    def _replace(self, node: torch.fx.Node, old: Any, new: Any) -> None:
        """After an operation in place every other name of ``old`` stands for ``new``."""
        for other, value in self.env.items():
            if value is old:
                self.env[other] = new
                if any(user is not node and not _asks_for_shape(user) for user in other.users):
                    _close(new)

    def _unsupported(self, what: str) -> ExportError:
        return ExportError(
            f"layer {self.where}: {what} is not supported; supported are {SUPPORTED}"
        )

    # ----- layers

    def _unique(self, name: str) -> str:
        taken = {draft.name for draft in self.drafts} | set(self.tensors)
        unique, n = name, 1
        while unique in taken:
            unique, n = f"{name}_{n}", n + 1
        return unique

    def _add(
        self,
        kind: str,
        rows: int,
        height: int,
        width: int,
        groups: list[ColumnGroup],
        flat: bool = False,
        gain: float = 1.0,
    ) -> _Value:
        if height < 1 or width < 1:
            raise ExportError(
                f"layer {self.where}: its output would have {height} x {width} "
                "pixels; the kernel does not fit its input"
            )
        draft = _Draft(
            self._unique(self.base),
            kind,
            rows,
            height,
            width,
            groups,
            np.full(rows, gain),
            np.zeros(rows),
        )
        self.drafts.append(draft)
        return _Value([_Part(draft.name, 0, rows, draft)], height, width, flat)

    def _identity(self, value: _Value, kind: str = "identity") -> _Value:
        """A layer that copies a value, for what cannot fold into the layers before it."""
        return self._add(
            kind, value.channels, value.height, value.width, _diagonal(value), value.flat
        )

    def _open_drafts(self, value: _Value) -> list[_Draft] | None:
        """The layers of all parts, if every one may still take in what follows."""
        drafts: list[_Draft] = []
        for part in value.parts:
            draft = part.draft
            if (
                draft is None
                or draft.closed
                or (part.start, part.stop) != (0, draft.rows)
                or any(draft is other for other in drafts)
            ):
                return None
            drafts.append(draft)
        return drafts

    def _weighted(
        self,
        kind: str,
        value: _Value,
        weight: torch.Tensor,
        bias: Any,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        conv_groups: int,
        height: int,
        width: int,
        flat: bool,
    ) -> _Value:
        rows = weight.shape[0]
        result = self._add(kind, rows, height, width, [], flat)
        draft = self.drafts[-1]
        label = f"{draft.name}.weight"
        draft.weights.append(
            _Weights(
                label,
                weight.detach().cpu().float().numpy(),
                value,
                conv_groups,
                stride,
                padding,
                dilation,
            )
        )
        if bias is not None:
            draft.offset = _finite(bias, f"{draft.name}.bias")
        return result

    # ----- operations with weights

    def conv2d(
        self,
        value: _Value,
        weight: torch.Tensor,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> _Value:
        self._need_image(value)
        kernel = (int(weight.shape[2]), int(weight.shape[3]))
        stride, dilation = _pair(stride), _pair(dilation)
        size = (value.height, value.width)
        if value.channels != weight.shape[1] * groups:
            raise ExportError(
                f"layer {self.where}: it takes {weight.shape[1] * groups} channels, "
                f"its input has {value.channels}"
            )
        if padding == "same":
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            before, out = (total[0] // 2, total[1] // 2), size
        else:
            before = (0, 0) if padding == "valid" else _pair(padding)
            out = (
                (size[0] + 2 * before[0] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1,
                (size[1] + 2 * before[1] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1,
            )
        return self._weighted(
            "conv", value, weight, bias, stride, before, dilation, groups, *out, False
        )

    def conv_module(self, module: nn.Conv2d, value: _Value) -> _Value:
        if module.padding_mode != "zeros" and module.padding not in ((0, 0), "valid"):
            raise self._unsupported(f"padding mode {module.padding_mode}")
        return self.conv2d(
            value,
            module.weight,
            module.bias,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
        )

    def linear(self, value: _Value, weight: torch.Tensor, bias: Any = None) -> _Value:
        if not value.flat:
            raise self._unsupported(
                f"Linear on an input of shape {value.shape} that is not flattened"
            )
        if weight.shape[1] != value.shape[1]:
            raise ExportError(
                f"layer {self.where}: it takes {weight.shape[1]} features, "
                f"its input has {value.shape[1]}"
            )
        weight = weight.reshape(weight.shape[0], value.channels, value.height, value.width)
        return self._weighted("linear", value, weight, bias, (1, 1), (0, 0), (1, 1), 1, 1, 1, True)

    def linear_module(self, module: nn.Linear, value: _Value) -> _Value:
        return self.linear(value, module.weight, module.bias)

    # ----- what folds in

    def _affine(
        self, value: _Value, gain: NDArray[np.float64], offset: NDArray[np.float64]
    ) -> _Value:
        """Per channel, gain * value + offset."""
        drafts = self._open_drafts(value)
        if drafts is not None:
            start = 0
            for draft in drafts:
                factors = gain[start : start + draft.rows]
                # a maximum over a window commutes with a factor only where that is not negative
                if draft.relu or (draft.pool is not None and (factors < 0).any()):
                    drafts = None
                    break
                start += draft.rows
        if drafts is None:
            value = self._identity(value)
            drafts = [self.drafts[-1]]
        start = 0
        for draft in drafts:
            factors = gain[start : start + draft.rows]
            draft.gain = draft.gain * factors
            draft.offset = draft.offset * factors + offset[start : start + draft.rows]
            start += draft.rows
        return value

    def batch_norm(
        self,
        value: _Value,
        running_mean: Any,
        running_var: Any,
        weight: Any = None,
        bias: Any = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> _Value:
        if running_mean is None or running_var is None:
            raise self._unsupported("batch norm without running statistics")
        if value.flat and value.height * value.width > 1:
            raise self._unsupported(
                f"batch norm over the {value.shape[1]} features of a flattened image (put it "
                "before the flatten or after a Linear)"
            )
        mean = _finite(running_mean, f"{self.where}.running_mean")
        variance = _finite(running_var, f"{self.where}.running_var")
        if len(mean) != value.channels:
            raise ExportError(
                f"layer {self.where}: it takes {len(mean)} channels, its input has {value.channels}"
            )
        if (variance + eps <= 0).any():
            raise ExportError(f"layer {self.where}: its running variance is not positive")
        gain = np.ones(len(mean)) if weight is None else _finite(weight, f"{self.where}.weight")
        gain = gain / np.sqrt(variance + eps)
        shift = np.zeros(len(mean)) if bias is None else _finite(bias, f"{self.where}.bias")
        return self._affine(value, gain, shift - gain * mean)

    def batch_norm_module(self, module: nn.BatchNorm2d | nn.BatchNorm1d, value: _Value) -> _Value:
        return self.batch_norm(
            value,
            module.running_mean,
            module.running_var,
            module.weight,
            module.bias,
            eps=module.eps,
        )

    def relu(self, value: _Value, inplace: bool = False) -> _Value:
        return self.clamp(value, 0.0)

    def relu_module(self, module: nn.Module, value: _Value) -> _Value:
        return self.clamp(value, 0.0)

    def relu6(self, value: _Value, inplace: bool = False) -> _Value:
        return self.clamp(value, 0.0, 6.0)

    def hardtanh(
        self, value: _Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> _Value:
        return self.clamp(value, min_val, max_val)

    def hardtanh_module(self, module: nn.Hardtanh, value: _Value) -> _Value:
        return self.clamp(value, module.min_val, module.max_val)

    def clamp(self, value: _Value, min: float | None = None, max: float | None = None) -> _Value:
        if min is None or float(min) != 0 or (max is not None and float(max) <= 0):
            raise self._unsupported(f"a clamp to [{min}, {max}] (its lower end must be 0)")
        drafts = self._open_drafts(value)
        if drafts is None:
            value = self._identity(value)
            drafts = [self.drafts[-1]]
        for draft in drafts:
            draft.relu = True
            if max is not None and not 0 < draft.limit <= float(max):
                draft.limit = float(max)
        return value

    def max_pool2d(
        self,
        value: _Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> _Value:
        self._need_image(value)
        if _pair(dilation) != (1, 1) or return_indices:
            raise self._unsupported("max-pool with dilation or indices")
        kernel, padding = _pair(kernel_size), _pair(padding)
        stride = kernel if stride is None or stride == [] else _pair(stride)
        pool = Pool(
            kernel,
            stride,
            padding,
            *(
                _pooled(size, k, s, p, ceil_mode)
                for size, k, s, p in zip(
                    (value.height, value.width), kernel, stride, padding, strict=True
                )
            ),
        )
        if pool.height < 1 or pool.width < 1:
            raise ExportError(
                f"layer {self.where}: a {kernel[0]} x {kernel[1]} window does not "
                f"fit an input of {value.height} x {value.width} pixels"
            )
        drafts = self._open_drafts(value)
        if drafts is None or any(draft.pool is not None for draft in drafts):
            value = self._identity(value, "pool")
            drafts = [self.drafts[-1]]
        for draft in drafts:
            draft.pool = pool
        return _Value(value.parts, pool.height, pool.width, False)

    def max_pool_module(self, module: nn.MaxPool2d, value: _Value) -> _Value:
        return self.max_pool2d(
            value,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            module.ceil_mode,
            module.return_indices,
        )

    def adaptive_max_pool2d(
        self, value: _Value, output_size: Any, return_indices: bool = False
    ) -> _Value:
        return self.max_pool2d(
            value, self._regular(value, output_size), return_indices=return_indices
        )

    def adaptive_max_pool_module(self, module: nn.AdaptiveMaxPool2d, value: _Value) -> _Value:
        return self.adaptive_max_pool2d(value, module.output_size, module.return_indices)

    # ----- averages

    def avg_pool2d(
        self,
        value: _Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> _Value:
        self._need_image(value)
        kernel, padding = _pair(kernel_size), _pair(padding)
        stride = kernel if stride is None or stride == [] else _pair(stride)
        size = (value.height, value.width)
        out = [
            _pooled(n, k, s, p, ceil_mode)
            for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
        ]
        floor = [
            _pooled(n, k, s, p, False)
            for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
        ]
        if out != floor or (padding != (0, 0) and not count_include_pad):
            raise self._unsupported("an average pool whose windows differ in size")
        groups = _diagonal(value)
        for group in groups:
            group.kernel, group.stride, group.padding = kernel, stride, padding
            group.shared = True
        return self._add(
            "pool",
            value.channels,
            out[0],
            out[1],
            groups,
            gain=1.0 / (divisor_override or kernel[0] * kernel[1]),
        )

    def avg_pool_module(self, module: nn.AvgPool2d, value: _Value) -> _Value:
        return self.avg_pool2d(
            value,
            module.kernel_size,
            module.stride,
            module.padding,
            module.ceil_mode,
            module.count_include_pad,
            module.divisor_override,
        )

    def adaptive_avg_pool2d(self, value: _Value, output_size: Any) -> _Value:
        return self.avg_pool2d(value, self._regular(value, output_size))

    def adaptive_avg_pool_module(self, module: nn.AdaptiveAvgPool2d, value: _Value) -> _Value:
        return self.adaptive_avg_pool2d(value, module.output_size)

    def mean(self, value: _Value, dim: Any = None, keepdim: bool = False) -> _Value:
        self._need_image(value)
        axes = {axis % 4 for axis in dim} if isinstance(dim, (tuple, list)) else None
        if axes != {2, 3}:
            raise self._unsupported(f"a mean over {dim} (it must be over (2, 3))")
        value = self.avg_pool2d(value, (value.height, value.width))
        value.flat = not keepdim
        return value

    def _regular(self, value: _Value, output_size: Any) -> tuple[int, int]:
        """The window of an adaptive pool, where all windows are alike."""
        self._need_image(value)
        pair = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
        sizes = (value.height, value.width)
        out = [size if n is None else int(n) for n, size in zip(pair, sizes, strict=True)]
        if any(n < 1 or size % n for n, size in zip(out, sizes, strict=True)):
            raise self._unsupported(
                f"an adaptive pool from {sizes} to {tuple(out)} pixels, "
                "whose windows differ in size,"
            )
        return (sizes[0] // out[0], sizes[1] // out[1])

    # ----- values: nothing is computed

    def same(self, value: _Value, *args: Any, **kwargs: Any) -> _Value:
        return value

    def same_module(self, module: nn.Module, value: _Value) -> _Value:
        return value

    def flatten(self, value: _Value, start_dim: int = 0, end_dim: int = -1) -> _Value:
        if start_dim != 1 or end_dim not in (-1, len(value.shape) - 1):
            raise self._unsupported(f"flatten from axis {start_dim} to {end_dim}; only from 1")
        return _Value(value.parts, value.height, value.width, True)

    def flatten_module(self, module: nn.Flatten, value: _Value) -> _Value:
        return self.flatten(value, module.start_dim, module.end_dim)

    def view(self, value: _Value, *shape: Any) -> _Value:
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        total = math.prod(value.shape)
        if wanted.count(-1) == 1:
            known = -math.prod(wanted)
            if known > 0 and total % known == 0:
                wanted[wanted.index(-1)] = total // known
        if tuple(wanted) == value.shape:
            return value
        if wanted == [1, total]:
            return _Value(value.parts, value.height, value.width, True)
        if tuple(wanted) == (1, value.channels, value.height, value.width):
            return _Value(value.parts, value.height, value.width, False)
        raise self._unsupported(
            f"a view of {value.shape} as {tuple(shape)}, which is no flattening,"
        )

    def squeeze(self, value: _Value, *dim: Any) -> _Value:
        if value.height * value.width != 1:
            raise self._unsupported(f"squeeze of {value.shape}")
        return _Value(value.parts, 1, 1, True)

    def cat(self, tensors: Sequence[_Value], dim: int = 0) -> _Value:
        values = list(tensors)
        if not values or not all(isinstance(value, _Value) for value in values):
            raise self._unsupported("concatenation with a constant")
        first = values[0]
        if dim not in ((1, -1) if first.flat else (1, -3)):
            raise self._unsupported(f"concatenation on axis {dim} (only channels, axis 1)")
        for value in values:
            if (value.height, value.width, value.flat) != (first.height, first.width, first.flat):
                raise ExportError(
                    f"layer {self.where}: it concatenates {first.shape} and "
                    f"{value.shape}; all but axis 1 must agree"
                )
        # flattening keeps channels outermost, so flat images of one size concatenate like images
        parts = [part for value in values for part in value.parts]
        return _Value(parts, first.height, first.width, first.flat)

    def chunk(self, value: _Value, chunks: int, dim: int = 0) -> tuple[_Value, ...]:
        return self.split(value, -(-value.channels // chunks), dim)

    def split(self, value: _Value, split_size: Any, dim: int = 0) -> tuple[_Value, ...]:
        if dim not in (1, -3) or value.flat:
            raise self._unsupported(f"a split on axis {dim} (only channels, axis 1)")
        if isinstance(split_size, int):
            sizes = [
                min(split_size, value.channels - start)
                for start in range(0, value.channels, split_size)
            ]
        else:
            sizes = [int(size) for size in split_size]
        values, start = [], 0
        for size in sizes:
            parts = []
            for part, first, count in _overlaps(value, start, start + size):
                parts.append(_Part(part.tensor, first, first + count, part.draft))
            values.append(_Value(parts, value.height, value.width, False))
            start += size
        _close(value)
        return tuple(values)

    def softmax(self, value: _Value, dim: int | None = None, **kwargs: Any) -> _Value:
        if dim not in ((1, -1, None) if value.flat else (1, -3)):
            raise self._unsupported(f"softmax over axis {dim}")
        self.final_note = "the softmax after it is dropped"
        return value

    def softmax_module(self, module: nn.Softmax, value: _Value) -> _Value:
        return self.softmax(value, module.dim)

    def size(self, value: _Value, dim: int | None = None) -> Any:
        return value.shape if dim is None else value.shape[dim]

    def dim(self, value: _Value) -> int:
        return len(value.shape)

    def attribute(self, value: _Value, name: str) -> Any:
        if name == "shape":
            return value.shape
        if name == "ndim":
            return len(value.shape)
        raise self._unsupported(f"attribute {name} of a tensor")

    # ----- arithmetic

    def add(self, left: Any, right: Any, *, alpha: float = 1) -> _Value:
        if alpha != 1:
            raise self._unsupported(f"an addition with alpha = {alpha}")
        if isinstance(left, _Value) and isinstance(right, _Value):
            return self._sum(left, right, 1.0)
        value, constant = (left, right) if isinstance(left, _Value) else (right, left)
        return self._affine(value, np.ones(value.channels), self._constant(value, constant))

    def sub(self, left: Any, right: Any, *, alpha: float = 1) -> _Value:
        if alpha != 1:
            raise self._unsupported(f"a subtraction with alpha = {alpha}")
        if isinstance(left, _Value) and isinstance(right, _Value):
            return self._sum(left, right, -1.0)
        if isinstance(left, _Value):
            return self._affine(left, np.ones(left.channels), -self._constant(left, right))
        return self._affine(right, -np.ones(right.channels), self._constant(right, left))

    def mul(self, left: Any, right: Any) -> _Value:
        if isinstance(left, _Value) and isinstance(right, _Value):
            raise self._unsupported("the product of two tensors")
        value, constant = (left, right) if isinstance(left, _Value) else (right, left)
        return self._affine(value, self._constant(value, constant), np.zeros(value.channels))

    def div(self, left: Any, right: Any) -> _Value:
        if not isinstance(left, _Value) or isinstance(right, _Value):
            raise self._unsupported("division by a tensor")
        divisor = self._constant(left, right)
        if (divisor == 0).any():
            raise ExportError(f"layer {self.where}: it divides by zero")
        return self._affine(left, 1 / divisor, np.zeros(left.channels))

    def neg(self, value: _Value) -> _Value:
        return self._affine(value, -np.ones(value.channels), np.zeros(value.channels))

    def _constant(self, value: _Value, constant: Any) -> NDArray[np.float64]:
        """A number, or a tensor with one value per channel, as (channels,)."""
        if isinstance(constant, (int, float)):
            constant = torch.tensor(float(constant))
        if not isinstance(constant, torch.Tensor):
            raise self._unsupported(f"arithmetic with {type(constant).__name__}")
        numbers = _finite(constant, self.where)
        if constant.numel() == 1:
            return np.full(value.channels, numbers[0])
        shape = tuple(constant.shape)
        rank = len(value.shape)
        if len(shape) < rank:
            shape = (1,) * (rank - len(shape)) + shape
        if shape != (1, value.channels, 1, 1)[:rank] or (value.flat and value.width > 1):
            raise self._unsupported(
                f"arithmetic of {value.shape} with a constant of shape {tuple(constant.shape)}"
            )
        return numbers

    def _sum(self, left: _Value, right: _Value, sign: float) -> _Value:
        if (left.shape, left.height, left.width) != (right.shape, right.height, right.width):
            raise self._unsupported(f"the sum of {left.shape} and {right.shape}, which differ,")
        groups = _diagonal(left) + _diagonal(right, int(sign))
        return self._add("add", left.channels, left.height, left.width, groups, left.flat)

    def _need_image(self, value: _Value) -> None:
        if value.flat:
            raise ExportError(
                f"layer {self.where}: it takes (N, C, H, W), its input is {value.shape}"
            )

    # ----- the end

    def _finish(self, value: _Value) -> Network:
        self.where = self.base = "output"
        self._drop_unread(value)
        last = value.parts[0].draft
        if (
            last is None
            or self._open_drafts(value) != [last]
            or last.relu
            or last.pool is not None
            or last is not self.drafts[-1]
        ):
            self._identity(value)
            last = self.drafts[-1]
        last.note = self.final_note
        layers = [self._layer(draft, draft is last) for draft in self.drafts]
        for draft in self.drafts:
            pool = draft.pool
            self.tensors[draft.name] = Tensor(
                draft.name,
                draft.rows,
                pool.height if pool else draft.height,
                pool.width if pool else draft.width,
                limit=draft.limit,
            )
        return Network(self.name, "input", self.tensors, layers)

    def _drop_unread(self, value: _Value) -> None:
        """Remove layers that the result does not depend on."""
        read = {part.tensor for part in value.parts}
        for draft in reversed(self.drafts):
            if draft.name in read:
                read |= {group.source for group in draft.groups}
                read |= {part.tensor for weights in draft.weights for part in weights.value.parts}
        self.drafts = [draft for draft in self.drafts if draft.name in read]

    def _layer(self, draft: _Draft, final: bool) -> Layer:
        groups = list(draft.groups)
        gain, notes, error = draft.gain, [], 0.0
        for weights in draft.weights:
            planes = self.known.get((weights.name, final))
            if planes is None or planes.error:
                planes = classify(
                    weights.tensor,
                    name=weights.name,
                    digits=self.digits,
                    per_tensor=final,
                    stride=weights.stride,
                )
                self.known[weights.name, final] = planes
            gain = gain * planes.gain
            notes.append(planes.note)
            error = max(error, planes.error)
            for plane in planes.planes:
                groups += _column_groups(weights, plane, keep_empty=plane is planes.planes[0])
        if not (np.isfinite(gain).all() and np.isfinite(draft.offset).all()):
            raise ExportError(
                f"layer {draft.name}: its batch norm and bias give gains or offsets "
                "that are not finite"
            )
        if draft.note:
            notes.append(draft.note)
        return Layer(
            draft.name,
            draft.kind,
            draft.name,
            draft.rows,
            draft.height,
            draft.width,
            groups,
            gain,
            draft.offset,
            draft.relu,
            draft.pool,
            final,
            note="; ".join(notes),
            weight_error=error,
            weight_count=sum(weights.tensor.size for weights in draft.weights),
        )


def _column_groups(weights: _Weights, plane: Plane, keep_empty: bool) -> list[ColumnGroup]:
    """One column group for each convolution group and each tensor that it reads."""
    trits, conv_groups = plane.trits, weights.conv_groups
    rows, channels = len(trits) // conv_groups, trits.shape[1]
    joined = -(-conv_groups // _MOST_BLOCKS)
    result = []
    for first in range(0, conv_groups, joined):
        last = min(first + joined, conv_groups)
        block = np.zeros(
            ((last - first) * rows, (last - first) * channels, *trits.shape[2:]), np.int8
        )
        for n in range(last - first):
            block[n * rows : (n + 1) * rows, n * channels : (n + 1) * channels] = trits[
                (first + n) * rows : (first + n + 1) * rows
            ]
        column = 0
        for part, start, count in _overlaps(weights.value, first * channels, last * channels):
            piece = block[:, column : column + count]
            column += count
            if keep_empty or piece.any():
                result.append(
                    ColumnGroup(
                        part.tensor,
                        (start, start + count),
                        (first * rows, last * rows),
                        np.ascontiguousarray(piece),
                        (int(trits.shape[2]), int(trits.shape[3])),
                        plane.wp,
                        plane.wn,
                        weights.stride,
                        weights.padding,
                        weights.dilation,
                        step=plane.step,
                    )
                )
    return result


def _overlaps(value: _Value, start: int, stop: int) -> list[tuple[_Part, int, int]]:
    """Channels [start, stop) of a value as (part, first channel of its tensor, count)."""
    result, position = [], 0
    for part in value.parts:
        low, high = max(start, position), min(stop, position + part.channels)
        if low < high:
            result.append((part, part.start + low - position, high - low))
        position += part.channels
    return result


def _diagonal(value: _Value, sign: int = 1) -> list[ColumnGroup]:
    """Groups that add a value, channel by channel, into the rows of a layer."""
    groups, row = [], 0
    for part in value.parts:
        trits = (sign * np.eye(part.channels, dtype=np.int8))[:, :, None, None]
        groups.append(
            ColumnGroup(
                part.tensor,
                (part.start, part.stop),
                (row, row + part.channels),
                trits,
                (1, 1),
                1.0,
                1.0,
            )
        )
        row += part.channels
    return groups


def _close(value: Any) -> None:
    if isinstance(value, (tuple, list)):
        for item in value:
            _close(item)
    if isinstance(value, _Value):
        for part in value.parts:
            if part.draft is not None:
                part.draft.closed = True


def _contains_value(item: Any) -> bool:
    if isinstance(item, dict):
        return any(_contains_value(entry) for entry in item.values())
    if isinstance(item, (tuple, list)):
        return any(_contains_value(entry) for entry in item)
    return isinstance(item, _Value)


def _asks_for_shape(node: torch.fx.Node) -> bool:
    return (node.op, node.target) in (
        ("call_method", "size"),
        ("call_method", "dim"),
        ("call_function", getattr),
    )


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, (tuple, list)):
        if len(size) == 1:
            return (int(size[0]), int(size[0]))
        return (int(size[0]), int(size[1]))
    return (int(size), int(size))


def _pooled(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Windows along one axis; with ceil_mode the last must start inside the input or its left
    padding (PyTorch's rule)."""
    span = size + 2 * padding - kernel
    out = (-(-span // stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    return out


def _finite(tensor: torch.Tensor, name: str) -> NDArray[np.float64]:
    array = tensor.detach().cpu().double().numpy().reshape(-1)
    broken = int(np.count_nonzero(~np.isfinite(array)))
    if broken:
        raise ExportError(f"tensor {name} has {broken} values that are NaN or infinite")
    return array


_MODULES: list[tuple[Any, Callable[..., Any]]] = [
    (nn.Conv2d, _Walk.conv_module),
    (nn.Linear, _Walk.linear_module),
    ((nn.BatchNorm2d, nn.BatchNorm1d), _Walk.batch_norm_module),
    (nn.ReLU, _Walk.relu_module),
    (nn.Hardtanh, _Walk.hardtanh_module),  # ReLU6 is one
    (nn.MaxPool2d, _Walk.max_pool_module),
    (nn.AdaptiveMaxPool2d, _Walk.adaptive_max_pool_module),
    (nn.AvgPool2d, _Walk.avg_pool_module),
    (nn.AdaptiveAvgPool2d, _Walk.adaptive_avg_pool_module),
    (nn.Flatten, _Walk.flatten_module),
    ((nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout), _Walk.same_module),
    ((nn.Softmax, nn.LogSoftmax), _Walk.softmax_module),
]
_SOFTMAX_MODULES = (nn.Softmax, nn.LogSoftmax)
_SOFTMAX = {F.softmax, torch.softmax, "softmax", F.log_softmax, torch.log_softmax, "log_softmax"}
_IN_PLACE = {
    "relu_",
    "add_",
    "sub_",
    "mul_",
    "div_",
    "clamp_",
    F.relu_,
    torch.relu_,
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
}

_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    target: handler
    for handler, targets in (
        (_Walk.conv2d, (F.conv2d, torch.conv2d)),
        (_Walk.linear, (F.linear,)),
        (_Walk.batch_norm, (F.batch_norm,)),
        (_Walk.relu, (F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_")),
        (_Walk.relu6, (F.relu6,)),
        (_Walk.hardtanh, (F.hardtanh,)),
        (_Walk.clamp, (torch.clamp, "clamp", "clamp_", torch.clamp_min, "clamp_min")),
        (_Walk.max_pool2d, (F.max_pool2d, torch.max_pool2d)),
        (_Walk.adaptive_max_pool2d, (F.adaptive_max_pool2d,)),
        (_Walk.avg_pool2d, (F.avg_pool2d,)),
        (_Walk.adaptive_avg_pool2d, (F.adaptive_avg_pool2d,)),
        (_Walk.mean, (torch.mean, "mean")),
        (
            _Walk.same,
            (F.dropout, F.dropout2d, "contiguous", "clone", torch.clone, "detach", "float"),
        ),
        (_Walk.flatten, (torch.flatten, "flatten")),
        (_Walk.view, ("view", "reshape", torch.reshape)),
        (_Walk.squeeze, ("squeeze", torch.squeeze)),
        (_Walk.cat, (torch.cat, torch.concat, torch.concatenate)),
        (_Walk.chunk, (torch.chunk, "chunk")),
        (_Walk.split, (torch.split, "split")),
        (_Walk.softmax, tuple(_SOFTMAX)),
        (_Walk.size, ("size",)),
        (_Walk.dim, ("dim",)),
        (_Walk.attribute, (getattr,)),
        (_Walk.add, (operator.add, operator.iadd, torch.add, "add", "add_")),
        (_Walk.sub, (operator.sub, operator.isub, torch.sub, "sub", "sub_")),
        (_Walk.mul, (operator.mul, operator.imul, torch.mul, "mul", "mul_")),
        (_Walk.div, (operator.truediv, operator.itruediv, torch.div, "div", "div_")),
        (_Walk.neg, (operator.neg, torch.neg, "neg")),
    )
    for target in targets
}
