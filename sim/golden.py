"""The golden model: a network's integers, computed by PyTorch convolutions.

Every backend must give the integers that this module gives. Rounding is stated in
:func:`requantize` and :func:`quantize_input` and nowhere else.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Layer, Network, Pool, Requantization, Tensor
from tritforge.model_export.passes.quantize import EffectiveGroup, effective_groups

__all__ = [
    "FloatReference",
    "GoldenModel",
    "LayerResult",
    "quantize_input",
    "requantize",
    "requantize_rows",
]

#: Sums of integers below this are exact in float32, in any order.
_FLOAT32_EXACT = 1 << 24
#: Values of a batch's largest tensor; limits memory, and keeps work in the cache.
_BATCH_VALUES = 1 << 21


def requantize(
    acc: NDArray[np.int64],
    multiplier: NDArray[np.int64] | int,
    bias: NDArray[np.int64] | int,
    shift: NDArray[np.int64] | int,
    low: int,
    high: int,
) -> NDArray[np.int64]:
    """``clamp((acc * multiplier + bias + half) >> shift, low, high)``, exact.

    ``half`` is ``1 << shift >> 1``, half of the shift's unit and 0 for shift 0, and ``>>``
    rounds down, so halves are rounded up (towards plus infinity). This is the rounding of every
    backend.

    Parameters
    ----------
    acc, multiplier, bias, shift : int64 arrays that broadcast, or integers
        ``shift`` is 0 to 62; the sum must fit 64 bits.
    low, high : int
        Clamp, inclusive.
    """
    shifts = np.asarray(shift, np.int64)
    half = (np.int64(1) << shifts) >> np.int64(1)
    total = np.asarray(acc, np.int64) * multiplier + (np.asarray(bias, np.int64) + half)
    return np.clip(total >> shifts, low, high)


def requantize_rows(acc: NDArray[np.int64], rows: Requantization) -> NDArray[np.int64]:
    """:func:`requantize` of accumulators (images, rows, height, width)."""
    multiplier, bias, shift = (
        values[:, None, None] for values in (rows.multiplier, rows.bias, rows.shift)
    )
    return requantize(acc, multiplier, bias, shift, rows.low, rows.high)


def quantize_input(x: NDArray[np.generic], tensor: Tensor) -> NDArray[np.int64]:
    """Activation codes of an input array.

    Parameters
    ----------
    x : array (images, channels, height, width); (images, features) for one pixel
        As users give it, not folded. Real numbers become ``clamp(round(x / scale))``, halves
        rounded to even. Integers are codes already.
    tensor : Tensor
        Calibrated.

    Returns
    -------
    int64 array (images, channels, height, width)

    Raises
    ------
    ExportError
        Another shape, no images, NaN or infinite numbers, codes out of range, not numbers.
    """
    x = _checked(x, tensor, "input")
    if x.dtype.kind in "iu":
        low, high = int(x.min()), int(x.max())
        if low < tensor.low or high > tensor.high:
            raise ExportError(
                f"input holds activation codes from {low} to {high}; codes of tensor "
                f"{tensor.name} go from {tensor.low} to {tensor.high} (pass real numbers as float)"
            )
        return x.astype(np.int64)
    if not tensor.scale > 0:
        raise ExportError(f"tensor {tensor.name} has no scale; calibrate the network first")
    # Clamped in real numbers first: a quotient may be beyond any number.
    reach = np.clip(
        x.astype(np.float64), tensor.scale * (tensor.low - 1), tensor.scale * (tensor.high + 1)
    )
    return np.clip(np.rint(reach / tensor.scale), tensor.low, tensor.high).astype(np.int64)


def _checked(x: NDArray[np.generic], tensor: Tensor, what: str) -> NDArray[np.generic]:
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


class _Convolution:
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
        edges: list[int] = []  # left, right, top, bottom, as F.pad takes them
        for axis, out, size in (
            (1, layer.width, source.shape[3]),
            (0, layer.height, source.shape[2]),
        ):
            before = group.padding[axis]
            reach = (
                (out - 1) * group.stride[axis] + group.dilation[axis] * (group.kernel[axis] - 1) + 1
            )
            edges += [before, reach - before - size]
        left, right, top, bottom = edges
        padding = (0, 0)
        if left == right >= 0 and top == bottom >= 0 and not group.shared:
            padding = (top, left)  # without a copy
        elif any(edges):
            source = F.pad(source, edges)
        if group.shared and group.dilation == (1, 1):
            source = F.avg_pool2d(source, group.kernel, group.stride, divisor_override=1)
            return F.conv2d(source, weights)
        if group.shared:
            weights = weights.expand(-1, -1, *group.kernel)
        return F.conv2d(source, weights, None, group.stride, padding, group.dilation)


def _max_pool(values: torch.Tensor, pool: Pool) -> torch.Tensor:
    edges: list[int] = []
    for axis, out in ((1, pool.width), (0, pool.height)):
        reach = (out - 1) * pool.stride[axis] + pool.kernel[axis]
        edges += [pool.padding[axis], reach - pool.padding[axis] - values.shape[2 + axis]]
    if any(edges):
        values = F.pad(values, edges, value=float("-inf"))
    return F.max_pool2d(values, pool.kernel, pool.stride)


def _batch_size(network: Network) -> int:
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
        self._convolutions = [_Convolution(layer, torch.float32, False) for layer in network.layers]

    def run(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Results (images, rows, height, width) of inputs (images, channels, height, width)."""
        checked = _checked(x, self.network.tensors[self.network.input], "input")
        size = _batch_size(self.network)
        return np.concatenate(
            [
                self._batch(checked[n : n + size])[self.network.final.output].numpy()
                for n in range(0, len(checked), size)
            ]
        )

    def run_all(self, x: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        """Every tensor by name, (images, channels, height, width)."""
        checked = _checked(x, self.network.tensors[self.network.input], "input")
        size = _batch_size(self.network)
        batches = [self._batch(checked[n : n + size]) for n in range(0, len(checked), size)]
        return {
            name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]
        }

    def ranges(
        self, samples: NDArray[np.floating], percentile: float | None = None
    ) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of every tensor over all samples, or with ``percentile``
        the values at ``100 - percentile`` and ``percentile`` (all tensors in memory at once)."""
        if percentile is not None:
            ends = (100 - percentile, percentile)
            result = {}
            for name, values in self.run_all(samples).items():
                low, high = np.percentile(values, ends)
                # where nothing is negative, nothing is clipped below
                result[name] = (float(low) if values.min() < 0 else 0.0, float(high))
            return result
        checked = _checked(samples, self.network.tensors[self.network.input], "calibration samples")
        size = _batch_size(self.network)
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
                if layer.relu:
                    limit = self.network.tensors[layer.output].limit
                    y = y.clamp(0, limit) if limit else y.relu()
                if layer.pool is not None:
                    y = _max_pool(y, layer.pool)
                tensors[layer.output] = y
        return tensors | {source.name: given}


@dataclass
class LayerResult:
    """What one layer gives: (images, rows, height, width) each, int64."""

    accumulators: NDArray[np.int64]  # before requantization and pooling
    codes: NDArray[np.int64]  # after requantization, before pooling
    output: NDArray[np.int64]  # codes, pooled; results for a network's last layer


class GoldenModel:
    """A quantized network's integers.

    Sums are computed in float32 where the proven accumulator bound is below 2^24, so that
    every partial sum is exact, else in float64.

    Raises
    ------
    ExportError
        The network is not quantized.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._convolutions = []
        for layer in network.layers:
            if layer.requantization is None:
                raise ExportError(
                    f"layer {layer.name} has no requantization; quantize the network first"
                )
            bound = max(int(-layer.accumulator_low.min()), int(layer.accumulator_high.max()))
            dtype = torch.float32 if bound < _FLOAT32_EXACT else torch.float64
            self._convolutions.append(_Convolution(layer, dtype, True))

    def run(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Results of the last layer.

        Parameters
        ----------
        codes : integer array (images, channels, height, width)
            Input codes, as :func:`quantize_input` gives them.

        Returns
        -------
        int64 array (images, rows, height, width), in units of ``network.final.result_scale``

        Raises
        ------
        ExportError
            Another shape, or codes out of range.
        """
        codes = self._codes(codes)
        size = _batch_size(self.network)
        return np.concatenate(
            [
                self._batch(codes[n : n + size])[self.network.final.output]
                for n in range(0, len(codes), size)
            ]
        )

    def run_all(
        self, codes: NDArray[np.integer], accumulators: bool = False, unpooled: bool = False
    ) -> dict[str, NDArray[np.int64]]:
        """Codes of every tensor by name (results for the last), the input included; with
        ``accumulators`` also those of every layer, as ``"<layer>.accumulators"``, before
        requantization and pooling; with ``unpooled`` the codes of every layer with a max-pool
        before it, as ``"<layer>.unpooled"``."""
        codes = self._codes(codes)
        size = _batch_size(self.network)
        batches = [
            self._batch(codes[n : n + size], accumulators, unpooled)
            for n in range(0, len(codes), size)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def run_layer(self, name: str, sources: dict[str, NDArray[np.integer]]) -> LayerResult:
        """One layer alone, on the codes (images, channels, height, width) of its sources.

        Raises
        ------
        KeyError
            No such layer.
        ExportError
            A source is missing, has another shape, or codes out of range.
        """
        layer = self.network.layer(name)
        index = next(n for n, other in enumerate(self.network.layers) if other is layer)
        tensors = {}
        for source in {group.source for group in layer.groups}:
            if source not in sources:
                raise ExportError(f"layer {name} reads tensor {source}, which is not given")
            tensor = self.network.tensors[source]
            codes = quantize_input(_integers(sources[source]), tensor)
            tensors[source] = torch.from_numpy(tensor.stored(codes))
        with torch.no_grad():
            return self._layer(index, tensors)

    def _codes(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        return quantize_input(_integers(codes), self.network.tensors[self.network.input])

    def _batch(
        self, codes: NDArray[np.int64], accumulators: bool = False, unpooled: bool = False
    ) -> dict[str, NDArray[np.int64]]:
        source = self.network.tensors[self.network.input]
        result = {source.name: codes}
        tensors = {source.name: torch.from_numpy(source.stored(codes))}
        with torch.no_grad():
            for index, layer in enumerate(self.network.layers):
                values = self._layer(index, tensors)
                if accumulators:
                    result[f"{layer.name}.accumulators"] = values.accumulators
                if unpooled and layer.pool is not None:
                    result[f"{layer.name}.unpooled"] = values.codes
                result[layer.output] = values.output
                tensors[layer.output] = torch.from_numpy(values.output)
        return result

    def _layer(self, index: int, tensors: dict[str, torch.Tensor]) -> LayerResult:
        layer = self.network.layers[index]
        rows = layer.requantization
        assert rows is not None
        acc = self._convolutions[index](tensors).to(torch.int64).numpy()
        output = codes = requantize_rows(acc, rows)
        if layer.pool is not None:
            pooled = _max_pool(torch.from_numpy(output).float(), layer.pool)
            output = pooled.to(torch.int64).numpy()
        return LayerResult(acc, codes, output)


def _integers(codes: NDArray[np.generic]) -> NDArray[np.generic]:
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise ExportError(f"activation codes must be integers, not {codes.dtype}")
    return codes
