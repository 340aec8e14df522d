"""The golden model: a network's integers, computed by PyTorch convolutions.

Every backend must give the integers that this module gives. Rounding is stated in
:func:`requantize` and :func:`quantize_input` and nowhere else, what a sum at write-back is in
:func:`add_stored`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Network, Requantization, Tensor
from tritforge.model_export.reference import Convolution, batch_size, checked_images, max_pool

__all__ = [
    "GoldenModel",
    "LayerResult",
    "add_stored",
    "check_codes",
    "look_up",
    "quantize_input",
    "requantize",
    "requantize_rows",
]

#: Sums of integers below this are exact in float32, in any order.
_FLOAT32_EXACT = 1 << 24


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
    clamped: NDArray[np.int64] = np.clip(total >> shifts, low, high)
    return clamped


def requantize_rows(acc: NDArray[np.int64], rows: Requantization) -> NDArray[np.int64]:
    """:func:`requantize` of accumulators (images, rows, height, width), then the table if there
    is one."""
    multiplier, bias, shift = (
        values[:, None, None] for values in (rows.multiplier, rows.bias, rows.shift)
    )
    codes = requantize(acc, multiplier, bias, shift, rows.low, rows.high)
    return codes if rows.table is None else look_up(rows.table, codes)


def look_up(table: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """``table[code & 0xFF]`` of requantized codes: an activation table (256,), entry by entry."""
    found: NDArray[np.int64] = table[codes & (TABLE_ENTRIES - 1)]
    return found


def add_stored(
    stored: NDArray[np.int64], values: NDArray[np.int64], low: int, high: int
) -> NDArray[np.int64]:
    """``clamp(stored + value, low, high)`` of codes in memory and requantized values of the same
    scale: a sum at write-back, whose codes go from ``low`` to ``high``."""
    total: NDArray[np.int64] = np.clip(stored + values, low, high)
    return total


def quantize_input(x: NDArray[np.generic], tensor: Tensor) -> NDArray[np.int64]:
    """Activation codes of real numbers.

    Parameters
    ----------
    x : array (images, channels, height, width); (images, features) for one pixel
        As users give it, not folded. Numbers of any type, integers too, are real numbers as the
        network was trained on: they become ``clamp(round(x / scale))``, halves rounded to even.
    tensor : Tensor
        Calibrated.

    Returns
    -------
    int64 array (images, channels, height, width)

    Raises
    ------
    ExportError
        Another shape, no images, NaN or infinite numbers, not numbers.
    """
    x = checked_images(x, tensor, "input")
    if not tensor.scale > 0:
        raise ExportError(f"tensor {tensor.name} has no scale; calibrate the network first")
    # Clamped in real numbers first: a quotient may be beyond any number.
    reach = np.clip(
        x.astype(np.float64), tensor.scale * (tensor.low - 1), tensor.scale * (tensor.high + 1)
    )
    return np.clip(np.rint(reach / tensor.scale), tensor.low, tensor.high).astype(np.int64)


def check_codes(codes: NDArray[np.generic], tensor: Tensor) -> NDArray[np.int64]:
    """Activation codes (images, channels, height, width), as they are.

    Raises
    ------
    ExportError
        Another shape, no images, no integers, codes that the tensor does not have.
    """
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise ExportError(f"activation codes must be integers, not {codes.dtype}")
    codes = checked_images(codes, tensor, "input")
    low, high = int(codes.min()), int(codes.max())
    if low < tensor.low or high > tensor.high:
        raise ExportError(
            f"input holds activation codes from {low} to {high}; codes of tensor "
            f"{tensor.name} go from {tensor.low} to {tensor.high}"
        )
    return codes.astype(np.int64)


@dataclass
class LayerResult:
    """What one layer gives: (images, rows, height, width) each, int64."""

    accumulators: NDArray[np.int64]  # before requantization and pooling
    codes: NDArray[np.int64]  # after requantization, before pooling or a sum
    output: NDArray[np.int64]  # codes, pooled or added up; results for a network's last layer


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
            self._convolutions.append(Convolution(layer, dtype, True))

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
        size = batch_size(self.network)
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
        requantization and pooling; with ``unpooled`` the codes of every layer with a max-pool or an
        addend before that, as ``"<layer>.unpooled"``."""
        codes = self._codes(codes)
        size = batch_size(self.network)
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
        for source in layer.reads:
            if source not in sources:
                raise ExportError(f"layer {name} reads tensor {source}, which is not given")
            tensor = self.network.tensors[source]
            codes = check_codes(sources[source], tensor)
            tensors[source] = torch.from_numpy(tensor.stored(codes))
        with torch.no_grad():
            return self._layer(index, tensors)

    def _codes(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        return check_codes(codes, self.network.tensors[self.network.input])

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
                if unpooled and (layer.pool is not None or layer.addend is not None):
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
        if layer.addend is not None:
            target = self.network.tensors[layer.output]
            stored = tensors[layer.addend].to(torch.int64).numpy()
            output = add_stored(stored, codes, target.low, target.high)
        if layer.pool is not None:
            pooled = max_pool(torch.from_numpy(output).float(), layer.pool)
            output = pooled.to(torch.int64).numpy()
        return LayerResult(acc, codes, output)
