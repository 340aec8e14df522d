"""The compiler's intermediate form: tensors, column groups, layers.

A network is a list of layers in execution order. A layer is a list of column groups that add
into one accumulator per row, a per-row affine map, a clamp and an optional max-pool; nothing
else exists. The passes fill it in, in this order:

=================  ==================================================================
pass               adds
=================  ==================================================================
``trace``          layers in real numbers (``gain``, ``offset``, ``wp``, ``wn``)
``calibrate``      ``Tensor.scale`` and ``Tensor.signed``
``quantize``       integer coefficients, ``accumulator_scale``, requantization
``fold``           ``Tensor.fold`` of the input
=================  ==================================================================

Up to here the network depends on ``coefficient_width``, ``accumulator_width`` and
``multiplier_width`` only; places, addresses and memory contents are in
:mod:`tritforge.model_export.memory.placement` and :mod:`tritforge.model_export.memory.emit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import SPARSE
from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.functions import Function

__all__ = [
    "Arrangement",
    "Blocks",
    "ColumnGroup",
    "Fold",
    "Layer",
    "Network",
    "Pool",
    "Requantization",
    "Tensor",
    "Window",
]


@dataclass(frozen=True)
class Arrangement:
    """How a sample as users give it becomes channels x height x width.

    Value (c, y, x) is number ``c*steps[0] + y*steps[1] + x*steps[2]`` of the sample's values in
    their own order. So images may come with their channels last, or as features in one row.
    """

    shape: tuple[int, ...]  # of a sample
    steps: tuple[int, int, int]

    def apply(self, samples: NDArray[Any], size: tuple[int, int, int]) -> NDArray[Any]:
        """(samples, channels, height, width) of (samples, *shape*); ``size`` is the last three."""
        return np.ascontiguousarray(samples.reshape(len(samples), -1)[:, self.numbers(size)])

    def numbers(self, size: tuple[int, int, int]) -> NDArray[np.int64]:
        """Number, among a sample's values, of each of channels x height x width values."""
        c, y, x = (
            np.arange(n, dtype=np.int64) * step for n, step in zip(size, self.steps, strict=True)
        )
        return c[:, None, None] + y[:, None] + x


@dataclass(frozen=True)
class Fold:
    """Windows of by x bx pixels of a tensor become the channels of one pixel.

    Channel ``(c*by + j)*bx + i`` of folded pixel (y, x) is channel c of pixel
    ``(y*sy + j - top, x*sx + i - left)``, zero where there is none. With steps (sy, sx) as large as
    the window this is space-to-depth; with smaller ones windows overlap, and a pixel of the tensor
    stands in several folded ones.
    """

    channels: int  # of the tensor before folding
    height: int
    width: int
    block: tuple[int, int]  # by, bx
    padding: tuple[int, int] = (0, 0)  # top, left; the bottom and right fill the last windows
    step: tuple[int, int] | None = field(default=None, metadata=SPARSE)  # sy, sx; None: the block
    size: tuple[int, int] | None = field(  # folded height, width; None: as few as hold all pixels
        default=None, metadata=SPARSE
    )

    def __post_init__(self) -> None:
        fits = min(*self.shape, *self.block, *self.steps) > 0 and all(
            0 <= before < block and step <= block
            for before, block, step in zip(self.padding, self.block, self.steps, strict=True)
        )
        if fits and self.size is not None:
            # more windows would hold nothing, fewer not all
            fits = all(
                least <= count <= -(-(size + before) // step)
                for least, count, size, before, step in zip(
                    self._least, self.size, self.shape[1:], self.padding, self.steps, strict=True
                )
            )
        if not fits:
            raise ValueError(
                f"{self} is no fold: sizes must be positive, padding less than a block, steps at "
                f"most a block, and all pixels inside"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width before folding."""
        return self.channels, self.height, self.width

    @property
    def steps(self) -> tuple[int, int]:
        """Pixels from one window to the next: sy, sx."""
        return self.block if self.step is None else self.step

    @property
    def _least(self) -> tuple[int, int]:
        """Windows each way that hold every pixel."""
        height, width = (
            max(0, -(-(size + before - block) // step)) + 1
            for size, before, block, step in zip(
                self.shape[1:], self.padding, self.block, self.steps, strict=True
            )
        )
        return height, width

    @property
    def folded_shape(self) -> tuple[int, int, int]:
        """Channels, height, width after folding."""
        return self.channels * self.block[0] * self.block[1], *(self.size or self._least)

    def apply(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Folded codes of (.., channels, height, width), of the same dtype."""
        codes = np.asarray(codes)
        if codes.shape[-3:] != self.shape:
            raise ValueError(
                f"a tensor to fold must have shape {self.shape}, not {codes.shape[-3:]}"
            )
        channels, height, width = self.folded_shape
        rows, columns = (
            np.arange(count)[:, None] * step + np.arange(block)
            for count, step, block in zip((height, width), self.steps, self.block, strict=True)
        )
        top, left = self.padding
        padded = np.zeros(
            (
                *codes.shape[:-2],
                max(top + self.height, int(rows[-1, -1]) + 1),
                max(left + self.width, int(columns[-1, -1]) + 1),
            ),
            codes.dtype,
        )
        padded[..., top : top + self.height, left : left + self.width] = codes
        windows = padded[..., rows[:, :, None, None], columns]  # .., c, y, j, x, i
        return np.moveaxis(windows, (-3, -1), (-4, -3)).reshape(
            *codes.shape[:-3], channels, height, width
        )

    def undo(self, folded: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`apply`."""
        folded = np.asarray(folded)
        if folded.shape[-3:] != self.folded_shape:
            raise ValueError(
                f"a folded tensor must have shape {self.folded_shape}, not {folded.shape[-3:]}"
            )
        _, height, width = self.folded_shape
        split = folded.reshape(*folded.shape[:-3], self.channels, *self.block, height, width)
        (y, j), (x, i) = (self._windows(axis, count) for axis, count in enumerate((height, width)))
        found: NDArray[Any] = split[..., j[:, None], i, y[:, None], x]
        return found

    def _windows(self, axis: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A window that holds each row (column) of the tensor, of ``count``, and where in it."""
        places = np.arange(self.shape[1 + axis]) + self.padding[axis]
        window = np.minimum(places // self.steps[axis], count - 1)
        return window, places - window * self.steps[axis]


@dataclass
class Tensor:
    """An activation tensor (one image): channels x height x width, 8-bit codes on the chip.

    ``real value = scale * code``; codes are 0..255, or -128..127 where ``signed``. Where there
    is a ``fold``, sizes are those on the chip; :attr:`shape` is what everyone else sees.
    """

    name: str
    channels: int
    height: int
    width: int
    scale: float = 0.0  # 0 until calibrated
    signed: bool = False
    fold: Fold | None = None  # the input only: how it is rearranged on its way to the chip
    arrangement: Arrangement | None = None  # the input only: where samples are shaped otherwise

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the codes that go in and out, before any fold."""
        return (self.channels, self.height, self.width) if self.fold is None else self.fold.shape

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one value of the tensor as users give it."""
        if self.arrangement is not None:
            return self.arrangement.shape
        return self.shape if self.shape[1:] != (1, 1) else self.shape[:1]

    def stored(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Codes (.., *shape*) as layers read them: (.., channels, height, width), folded."""
        return codes if self.fold is None else self.fold.apply(codes)

    @property
    def low(self) -> int:
        return -128 if self.signed else 0

    @property
    def high(self) -> int:
        return 127 if self.signed else 255


@dataclass(frozen=True)
class Window:
    """Where a kernel lies along one axis, where that follows no stride.

    For output position o, the kernel's position k in [begin[o], end[o]) meets row (or column)
    ``first[o] + k*dilation`` of the source. The others meet none.
    """

    first: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.first) == len(self.begin) == len(self.end):
            raise ValueError("the parts of a window must be of one length")


@dataclass
class ColumnGroup:
    """Columns that share one source tensor, one kernel geometry and one (Wp, Wn) pair.

    It adds, for output pixel (oy, ox) and each of its rows r,
    ``sum over ky, kx, c of w[r, c, ky, kx] * x[c, oy*sy - top + ky*dy, ox*sx - left + kx*dx]``
    with ``w = wp`` where the trit is 1, ``-wn`` where it is -1, else 0; positions outside the
    source add nothing. A ``wide`` group has weights of 8 bits in place of trits, -128 to 127, and
    ``w = trit * wp``; its wp and wn are equal.
    """

    source: str  # tensor name
    channels: tuple[int, int]  # source channels [start, stop) that it reads
    rows: tuple[int, int]  # layer rows [start, stop) that it feeds
    trits: NDArray[np.int8]  # (stop-start rows, channels, kh, kw); kh = kw = 1 if shared
    kernel: tuple[int, int]
    wp: float  # weight of a + trit, in real numbers
    wn: float  # minus the weight of a - trit
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)  # top, left; the bottom and right follow from the output
    dilation: tuple[int, int] = (1, 1)
    shared: bool = False  # same trits at every kernel position (average pooling)
    windows: tuple[Window | None, Window | None] = (None, None)  # instead of stride and padding
    step: float = 0.0  # wp and wn are integers times this; 0: any two numbers
    coefficient_plus: int = 0  # integers that stand for wp and wn; set by ``quantize``
    coefficient_minus: int = 0  # stands for wn: a - trit adds -coefficient_minus * x
    wide: bool = field(default=False, metadata=SPARSE)

    def __post_init__(self) -> None:
        if self.wide and (self.wp != self.wn or self.coefficient_plus != self.coefficient_minus):
            raise ValueError(f"a wide column group of tensor {self.source} has two weights")

    @property
    def geometry(self) -> tuple[object, ...]:
        """Equal for groups that read the same positions of their sources."""
        return self.kernel, self.stride, self.padding, self.dilation, self.shared, self.windows

    def positions(
        self, axis: int, outputs: Sequence[int] | NDArray[np.int64], size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """What the kernel meets along an axis (0: rows, 1: columns).

        Returns
        -------
        places : int array (outputs, kernel)
            Rows (columns) of the source, which has ``size`` of them.
        inside : bool array (outputs, kernel)
            Where there is one; the others add nothing.
        """
        outputs = np.asarray(outputs, np.int64)
        taps = np.arange(self.kernel[axis])
        window = self.windows[axis]
        if window is None:
            first = outputs * self.stride[axis] - self.padding[axis]
            counted = np.ones((len(outputs), len(taps)), bool)
        else:
            first = np.array(window.first, np.int64)[outputs]
            begin, end = (np.array(ends)[outputs, None] for ends in (window.begin, window.end))
            counted = (taps >= begin) & (taps < end)
        places = first[:, None] + taps * self.dilation[axis]
        return places, counted & (places >= 0) & (places < size)


@dataclass
class Pool:
    """Max-pool after the clamp. Positions outside the layer's output never win."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]  # top, left
    height: int  # pooled size
    width: int


@dataclass(frozen=True)
class Blocks:
    """Pixels of a layer that its rows stand for, where these are more than one each.

    Row ``(r*by + j)*bx + i`` at position (y, x) is channel r of pixel
    ``(origin(y) + j, origin(x) + i)``; where a max-pool rides along, of kernel and stride
    ``pool``, that feeds output pixel ``(origin(y) + j) // pool``. Where blocks do not divide the
    output, the last ones lie at its border, and some pixels are computed twice.
    """

    block: tuple[int, int]  # by, bx: multiples of the pool
    height: int  # of the output
    width: int
    pool: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not all(
            0 < block <= size * pool and block % pool == 0
            for block, size, pool in zip(self.block, self.size, self.pool, strict=True)
        ):
            raise ValueError(f"blocks of {self.block} pixels do not fit an output of {self.size}")

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """Pixels of a block."""
        return self.block[0] * self.block[1]

    @property
    def divide(self) -> tuple[bool, bool]:
        """Whether every row and column of the output is in one block only."""
        y, x = (
            size * pool % block == 0
            for size, pool, block in zip(self.size, self.pool, self.block, strict=True)
        )
        return y, x

    def count(self, axis: int) -> int:
        """Blocks along an axis (0: rows, 1: columns)."""
        return -(-self.size[axis] * self.pool[axis] // self.block[axis])

    def origin(self, axis: int) -> NDArray[np.int64]:
        """First row (column) of every block along an axis, before the max-pool."""
        first = np.arange(self.count(axis)) * self.block[axis]
        return np.minimum(first, self.size[axis] * self.pool[axis] - self.block[axis])

    def target(self, axis: int) -> NDArray[np.int64]:
        """First row (column) of the output that every block along an axis feeds."""
        return self.origin(axis) // self.pool[axis]

    @property
    def windows(self) -> tuple[int, int]:
        """Output pixels of a block, each way."""
        return self.block[0] // self.pool[0], self.block[1] // self.pool[1]

    def pixel(self, window: NDArray[np.int64], inner: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number, in a block, of the pixels ``inner`` of the windows that feed its output pixels
        ``window``; all count row by row."""
        y, x = np.divmod(window, self.windows[1])
        j, i = np.divmod(inner, self.pool[1])
        number: NDArray[np.int64] = (y * self.pool[0] + j) * self.block[1] + x * self.pool[1] + i
        return number

    def fed(self, pixel: int) -> tuple[tuple[int, int], bool]:
        """Where, from a block's first output pixel on, a pixel of it goes, and whether it is the
        first that does."""
        at = divmod(pixel, self.block[1])
        y, x = (place // pool for place, pool in zip(at, self.pool, strict=True))
        return (y, x), at == (y * self.pool[0], x * self.pool[1])


@dataclass
class Requantization:
    """Integers per row: ``clamp((acc * multiplier + bias + half) >> shift, low, high)``.

    Where there is a ``table``, the clamped code c is an index, and the activation is
    ``table[c & 0xFF]``: any function of one value. The clamp is then within -128..127 or within
    0..255, and the entries are codes of the layer's output.

    For the last layer (``Layer.final``): the result is ``acc * multiplier + bias``, 32 bits,
    neither shifted nor clamped nor looked up.
    """

    multiplier: NDArray[np.int64]  # (rows,)
    bias: NDArray[np.int64]  # (rows,)
    shift: NDArray[np.int64]  # (rows,), 0..63
    low: int
    high: int
    table: NDArray[np.int64] | None = field(default=None, metadata=SPARSE)  # (256,)

    def __post_init__(self) -> None:
        if self.table is None:
            return
        if self.table.shape != (TABLE_ENTRIES,):
            raise ValueError(
                f"an activation table has {TABLE_ENTRIES} entries, not the shape {self.table.shape}"
            )
        least, most = int(self.table.min()), int(self.table.max())
        if not (-128 <= least <= most <= 127 or 0 <= least <= most <= 255):
            raise ValueError(
                f"an activation table holds codes from {least} to {most}; codes go from 0 to 255 "
                f"or from -128 to 127"
            )


@dataclass
class Layer:
    """A list of column groups, per-row requantization, an optional max-pool.

    In real numbers: ``y = gain[r] * (sum of groups) + offset[r]``, clamped to ``low`` and ``high``
    where they are given, then ``function`` if there is one, then max-pool. Rows are output
    channels.

    Where there is an ``addend``, a tensor of the same shape is added as the values are written,
    and the sum takes its place in memory: nothing may read that tensor from this layer on. Both
    have one scale. In integers: ``clamp(stored + value)`` to the codes of the output.
    """

    name: str
    kind: str  # what the user wrote: "conv", "linear", "pool", "add", ...
    output: str  # tensor name
    rows: int
    height: int  # output pixels before pooling
    width: int
    groups: list[ColumnGroup]
    gain: NDArray[np.float64]  # (rows,)
    offset: NDArray[np.float64]  # (rows,)
    low: float | None = None  # clamp, in real numbers
    high: float | None = None
    function: Function | None = None
    pool: Pool | None = None
    final: bool = False  # last layer: its results are accumulators
    accumulator_scale: float = 0.0  # real value of one accumulator unit, before gain
    accumulator_low: NDArray[np.int64] = field(  # per row: proven bounds for any input codes
        default_factory=lambda: np.zeros(0, np.int64)
    )
    accumulator_high: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    requantization: Requantization | None = None
    result_scale: float = 0.0  # final layer: real value of one result unit
    note: str = ""  # what became of the weights, for the reader of a report
    weight_count: int = 0  # weights of the trained layer, 0 if it has none
    weight_error: float = 0.0  # largest |stored - trained| / largest |trained| weight
    addend: str | None = field(default=None, metadata=SPARSE)  # tensor that is added to y
    relu_of_sum: bool = field(default=False, metadata=SPARSE)  # and then what is below 0 is 0
    blocks: Blocks | None = field(default=None, metadata=SPARSE)  # set for one configuration only

    @property
    def block_pixels(self) -> int:
        """Output pixels that its rows stand for, at each of its positions."""
        return 1 if self.blocks is None else self.blocks.pixels

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the tensor that it writes."""
        if self.blocks is not None:
            return self.rows // self.blocks.pixels, *self.blocks.size
        if self.pool is not None:
            return self.rows, self.pool.height, self.pool.width
        return self.rows, self.height, self.width

    @property
    def relu(self) -> bool:
        """Whether nothing negative comes out of the clamp."""
        return self.low == 0

    @property
    def reads(self) -> list[str]:
        """Tensors that it needs, by name, once each."""
        addend = [] if self.addend is None else [self.addend]
        return list(dict.fromkeys([*(group.source for group in self.groups), *addend]))

    @property
    def nonzero_trits(self) -> int:
        """Nonzero trits over all groups (those of a multi-bit weight count one each), and weights
        of wide groups that are not zero: additions that each is good for."""
        return sum(int(np.count_nonzero(group.trits)) for group in self.groups)

    @property
    def is_ternary(self) -> bool:
        """Trained weights, each of which is one trit."""
        seen = {(group.source, group.channels, group.rows) for group in self.groups}
        several_bits = len(seen) < len(self.groups) or any(group.wide for group in self.groups)
        return self.weight_count > 0 and not several_bits

    @property
    def mac_count(self) -> int:
        """Dense multiply-accumulates of the trained layer, per image (padding included); 0 for
        layers without weights."""
        return self.weight_count * self.height * self.width


@dataclass
class Network:
    """Layers in execution order; the first tensor is the input, the last layer is ``final``."""

    name: str
    input: str
    tensors: dict[str, Tensor]
    layers: list[Layer]

    @property
    def final(self) -> Layer:
        return self.layers[-1]

    def layer(self, name: str) -> Layer:
        """The layer called ``name``.

        Raises
        ------
        KeyError
            No such layer; the message lists those there are.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(
            f"network {self.name} has no layer {name!r}; "
            f"it has {', '.join(layer.name for layer in self.layers)}"
        )
