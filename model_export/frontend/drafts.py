"""Layers under construction: weights in real numbers, what follows still folding in."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError
from tritforge.model_export.functions import IDENTITY, Function, compose
from tritforge.model_export.network import ColumnGroup, Layer, Pool, Tensor
from tritforge.model_export.passes.weights import Plane, WeightPlanes

__all__ = ["Draft", "Source", "Weights", "clamped"]


@dataclass(frozen=True)
class Source:
    """Channels of a tensor that a layer reads: as :class:`~.graph.Piece`, its affine settled."""

    tensor: str
    rows: NDArray[np.int64]
    channels: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    height: int  # of the tensor
    width: int
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    fill: NDArray[np.float64]

    @property
    def holes(self) -> bool:
        return bool((self.y < 0).any() or (self.x < 0).any())

    @property
    def plain(self) -> bool:
        """Whether it is the tensor's channels as they are, zero elsewhere."""
        return bool((self.gain == 1).all() and not self.offset.any() and not self.fill.any())


@dataclass(frozen=True)
class Weights:
    """A trained tensor; ``groups(plane)`` gives the column groups for a plane of its trits."""

    name: str
    tensor: NDArray[np.float32]  # (rows, ..)
    stride: tuple[int, int]
    groups: "GroupMaker"


class GroupMaker:
    """Column groups for planes of trits; see the subclasses in ``column_groups``."""

    def __call__(self, plane: Plane, keep_empty: bool) -> list[ColumnGroup]:
        raise NotImplementedError


@dataclass(eq=False)
class Draft:
    """A layer: column groups or weights, then an affine map, a clamp, a function, a max-pool."""

    name: str
    kind: str
    rows: int
    height: int  # before pooling
    width: int
    groups: list[ColumnGroup] = field(default_factory=list)  # those that are trits already
    weights: Weights | None = None
    gain: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    low: float | None = None
    high: float | None = None
    function: Function | None = None
    pool: Pool | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not len(self.gain):
            self.gain = np.ones(self.rows)
        if not len(self.offset):
            self.offset = np.zeros(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        if self.pool is not None:
            return self.rows, self.pool.height, self.pool.width
        return self.rows, self.height, self.width

    @property
    def clamps(self) -> bool:
        return self.low is not None or self.high is not None

    def tensor(self) -> Tensor:
        return Tensor(self.name, *self.shape)

    def take_affine(self, gain: NDArray[np.float64], offset: NDArray[np.float64]) -> bool:
        """Fold ``gain[r] * y + offset[r]`` in; False where that cannot be."""
        # a maximum over a window commutes with a factor only where that is not negative
        if self.pool is not None and (gain < 0).any():
            return False
        if self.clamps or self.function is not None:
            if (gain != gain[0]).any() or (offset != offset[0]).any():
                return False
            factor, shift = float(gain[0]), float(offset[0])
            if self.function is not None:
                self.function = compose(
                    Function(self.function.name, "x"), self.function, factor, shift
                )
                return True
            if factor == 0:
                return False
            ends = [None if end is None else factor * end + shift for end in (self.low, self.high)]
            self.low, self.high = ends if factor > 0 else ends[::-1]
        self.gain = self.gain * gain
        self.offset = self.offset * gain + offset
        return True

    def take_clamp(self, low: float | None, high: float | None) -> bool:
        """Fold a clamp in; it commutes with a max-pool."""
        if self.function is not None:
            self.function = compose(clamped(low, high), self.function)
            return True
        if self.clamps:
            ends = [
                None if end is None else _between(end, low, high) for end in (self.low, self.high)
            ]
            self.low = low if ends[0] is None else ends[0]
            self.high = high if ends[1] is None else ends[1]
        else:
            self.low, self.high = low, high
        return True

    def take_function(self, function: Function) -> bool:
        if self.pool is not None:
            return False
        self.function = function if self.function is None else compose(function, self.function)
        return True

    def take_pool(self, pool: Pool) -> bool:
        if self.pool is not None:
            return False
        self.pool = pool
        return True

    @property
    def linear(self) -> bool:
        """Whether it gives accumulators but for an affine map: what a last layer must be."""
        return not self.clamps and self.function is None and self.pool is None

    def layer(self, planes: WeightPlanes | None, final: bool) -> Layer:
        """The layer, with the column groups that ``planes`` of its weights make."""
        groups, gain, notes, error = list(self.groups), self.gain, [], 0.0
        if planes is not None and self.weights is not None:
            gain, error = gain * planes.gain, planes.error
            notes.append(planes.note)
            for plane in planes.planes:
                groups += self.weights.groups(plane, keep_empty=plane is planes.planes[0])
        if self.function is not None:
            notes.append(f"{self.function.name} by an activation table")
        if self.note:
            notes.append(self.note)
        if not (np.isfinite(gain).all() and np.isfinite(self.offset).all()):
            raise ExportError(
                f"layer {self.name}: its batch norm and bias give gains or offsets that are not "
                "finite"
            )
        return Layer(
            self.name,
            self.kind,
            self.name,
            self.rows,
            self.height,
            self.width,
            groups,
            gain,
            self.offset,
            self.low,
            self.high,
            self.function,
            self.pool,
            final,
            note="; ".join(notes),
            weight_error=error,
            weight_count=0 if self.weights is None else self.weights.tensor.size,
        )


def clamped(low: float | None, high: float | None) -> Function:
    """A clamp as a function."""
    steps = IDENTITY.steps
    steps += "" if low is None else f" {low!r} max"
    steps += "" if high is None else f" {high!r} min"
    return Function("clamp", steps)


def _between(value: float, low: float | None, high: float | None) -> float:
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)
