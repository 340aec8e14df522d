"""A network in real numbers, and the parts that it shares with the golden model."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import ColumnGroup, Layer, Network, Pool, Tensor
from tritforge.model_export.passes.quantize import EffectiveGroup, effective_groups

__all__ = [
    "Convolution",
    "FloatReference",
    "arranged",
    "batch_size",
    "before_function",
    "before_sum",
    "checked_images",
    "max_pool",
]

#: Values of a batch's largest tensor; limits memory, and keeps work in the cache.
_BATCH_VALUES = 1 << 21


def checked_images(x: NDArray[np.generic], tensor: Tensor, what: str) -> NDArray[np.generic]:
    """The array as (images, channels, height, width), finite numbers, at least one image."""
    x = np.asarray(x)
    expected = tensor.shape
    if x.dtype.kind not in "iuf":
        raise ExportError(f"{what} must be an array of numbers, not of {x.dtype}")
    if x.ndim == 2 and expected == (x.shape[1], 1, 1):
        x = x.reshape(*x.shape, 1, 1)
    if x.ndim != 4 or x.shape[1:] != expected:
        raise ExportError(
            f"{what} has shape {x.shape}; expected is (images, "
            f"{expected[0]}, {expected[1]}, {expected[2]})"
        )
    if len(x) == 0:
        raise ExportError(f"{what} is empty (shape {x.shape})")
    if x.dtype.kind == "f":
        broken = int(np.count_nonzero(~np.isfinite(x)))
        if broken:
            raise ExportError(f"{what} has {broken} values that are NaN or infinite")
    return x


def arranged(samples: NDArray[Any], tensor: Tensor, what: str) -> NDArray[Any]:
    """Samples as users give them, (samples, ..), as (samples, channels, height, width).

    Raises
    ------
    ExportError
        A sample has another shape than the network takes.
    """
    expected = tensor.sample_shape
    if samples.shape[1:] != expected and samples.shape[1:] != (
        *expected,
        *(1,) * (3 - len(expected)),
    ):
        wanted = "".join(f", {size}" for size in expected)
        cure = ""
        if len(expected) == 3 and samples.shape[1:] == (*expected[1:], expected[0]):
            cure = ", as x.transpose(0, 3, 1, 2) gives it"
        raise ExportError(f"{what} has shape {samples.shape}; expected is (samples{wanted}){cure}")
    if tensor.arrangement is None:
        return samples.reshape(len(samples), *tensor.shape)
    return tensor.arrangement.apply(samples, tensor.shape)


class Convolution:
    """The sum of a layer's column groups, in one floating-point type."""

    def __init__(self, layer: Layer, dtype: torch.dtype, integer: bool) -> None:
        self.layer = layer
        self.dtype = dtype
        single = np.float32 if dtype == torch.float32 else np.float64
        self.groups = [
            (effective, torch.from_numpy(effective.weights).to(dtype))
            for effective in effective_groups(layer, integer=integer, single=single)
        ]

    def __call__(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """(images, rows, height, width) from source tensors (images, channels, h, w)."""
        layer = self.layer
        images = len(next(iter(tensors.values())))
        if len(self.groups) == 1 and self.groups[0][0].group.rows == (0, layer.rows):
            return self._add_up(*self.groups[0], tensors)
        total = torch.zeros(images, layer.rows, layer.height, layer.width, dtype=self.dtype)
        for effective, weights in self.groups:
            first, last = effective.group.rows
            total[:, first:last] += self._add_up(effective, weights, tensors)
        return total

    def _add_up(
        self, effective: EffectiveGroup, weights: torch.Tensor, tensors: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        group, layer = effective.group, self.layer
        source = tensors[group.source][:, group.channels[0] : group.channels[1]].to(self.dtype)
        stride, dilation = list(group.stride), list(group.dilation)
        edges: list[int] = []  # left, right, top, bottom, as F.pad takes them
        for axis, out, size in (
            (1, layer.width, source.shape[3]),
            (0, layer.height, source.shape[2]),
        ):
            if group.windows[axis] is not None:
                source = _gathered(source, group, axis, out)
                stride[axis], dilation[axis] = group.kernel[axis], 1
                edges += [0, 0]
                continue
            before = group.padding[axis]
            reach = (out - 1) * stride[axis] + dilation[axis] * (group.kernel[axis] - 1) + 1
            edges += [before, reach - before - size]
        left, right, top, bottom = edges
        padding = (0, 0)
        if left == right >= 0 and top == bottom >= 0 and not group.shared:
            padding = (top, left)  # without a copy
        elif any(edges):
            source = F.pad(source, edges)
        if group.shared and dilation == [1, 1]:
            source = F.avg_pool2d(source, group.kernel, stride, divisor_override=1)
            return F.conv2d(source, weights)
        if group.shared:
            weights = weights.expand(-1, -1, *group.kernel)
        return F.conv2d(source, weights, None, stride, padding, dilation)


def _gathered(source: torch.Tensor, group: ColumnGroup, axis: int, out: int) -> torch.Tensor:
    """The rows (columns) that every output position meets, one after the other, zero for none."""
    places, inside = group.positions(axis, range(out), source.shape[2 + axis])
    index = torch.from_numpy(np.where(inside, places, 0).ravel())
    mask = torch.from_numpy(inside.ravel()).to(source.dtype)
    shape = (-1, 1) if axis == 0 else (1, -1)
    return source.index_select(2 + axis, index) * mask.reshape(shape)


def max_pool(values: torch.Tensor, pool: Pool) -> torch.Tensor:
    edges: list[int] = []
    for axis, out in ((1, pool.width), (0, pool.height)):
        reach = (out - 1) * pool.stride[axis] + pool.kernel[axis]
        edges += [pool.padding[axis], reach - pool.padding[axis] - values.shape[2 + axis]]
    if any(edges):
        values = F.pad(values, edges, value=float("-inf"))
    return F.max_pool2d(values, pool.kernel, pool.stride)


def before_function(layer: Layer) -> str:
    """What :meth:`FloatReference.ranges` calls the values that go into a layer's function."""
    return f"{layer.name} before its function"


def before_sum(layer: Layer) -> str:
    """What it calls the values that a layer adds to a tensor."""
    return f"{layer.name} before its sum"


def batch_size(network: Network) -> int:
    largest = max(
        max(tensor.channels * tensor.height * tensor.width for tensor in network.tensors.values()),
        max(layer.rows * layer.height * layer.width for layer in network.layers),
    )
    return max(1, _BATCH_VALUES // largest)


class FloatReference:
    """A traced network in real numbers (float32), to compare with the module it came from.

    Precondition: a network from ``trace``; calibration and quantization make no difference.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._convolutions = [Convolution(layer, torch.float32, False) for layer in network.layers]

    def run(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Results (images, rows, height, width) of inputs (images, channels, height, width)."""
        checked = checked_images(x, self.network.tensors[self.network.input], "input")
        size = batch_size(self.network)
        return np.concatenate(
            [
                self._batch(checked[n : n + size])[self.network.final.output].numpy()
                for n in range(0, len(checked), size)
            ]
        )

    def run_all(self, x: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        """Every tensor by name, (images, channels, height, width); and what goes into functions
        and sums."""
        checked = checked_images(x, self.network.tensors[self.network.input], "input")
        size = batch_size(self.network)
        batches = [self._batch(checked[n : n + size]) for n in range(0, len(checked), size)]
        return {
            name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]
        }

    def ranges(
        self, samples: NDArray[np.floating], percentile: float | None = None
    ) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of every tensor over all samples, and of what goes into each
        layer's function or sum; or with ``percentile`` the values at ``100 - percentile`` and
        ``percentile`` (all tensors in memory at once)."""
        if percentile is not None:
            ends = (100 - percentile, percentile)
            result = {}
            for name, values in self.run_all(samples).items():
                low, high = np.percentile(values, ends)
                # where nothing is negative, nothing is clipped below
                result[name] = (float(low) if values.min() < 0 else 0.0, float(high))
            return result
        checked = checked_images(
            samples, self.network.tensors[self.network.input], "calibration samples"
        )
        size = batch_size(self.network)
        ranges: dict[str, tuple[float, float]] = {}
        for n in range(0, len(checked), size):
            for name, batch in self._batch(checked[n : n + size]).items():
                low, high = (float(end) for end in torch.aminmax(batch))
                if name in ranges:
                    low, high = min(low, ranges[name][0]), max(high, ranges[name][1])
                ranges[name] = (low, high)
        return ranges

    def _batch(self, x: NDArray[np.generic]) -> dict[str, torch.Tensor]:
        source = self.network.tensors[self.network.input]
        given = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        tensors = {source.name: torch.from_numpy(source.stored(given.numpy()))}
        with torch.no_grad():
            for layer, convolution in zip(self.network.layers, self._convolutions, strict=True):
                gain, offset = (
                    torch.from_numpy(values).float()[:, None, None]
                    for values in (layer.gain, layer.offset)
                )
                y = convolution(tensors) * gain + offset
                if layer.low is not None or layer.high is not None:
                    y = y.clamp(layer.low, layer.high)
                if layer.function is not None:
                    tensors[before_function(layer)] = y
                    y = torch.from_numpy(layer.function(y.numpy()).astype(np.float32))
                if layer.addend is not None:
                    tensors[before_sum(layer)] = y
                    y = y + tensors[layer.addend]
                    y = y.clamp(0) if layer.relu_of_sum else y
                if layer.pool is not None:
                    y = max_pool(y, layer.pool)
                tensors[layer.output] = y
        return tensors | {source.name: given}
