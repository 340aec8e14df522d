"""Arrays in a binary file, pointed to from JSON.

All numbers are little-endian. Integers take the fewest whole bytes, trits the smaller of two forms:
2 bits each, or 1 + density (:mod:`tritforge.model_export.image.packing`). Weights of wide column
groups take a byte each.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import JsonError, JsonObject, from_json
from tritforge.model_export.image.packing import pack_flat, pack_plain, unpack_flat, unpack_plain

__all__ = ["Array", "ArrayEntry", "ArrayReader", "ArrayWriter"]

#: What is stored.
Array: TypeAlias = NDArray[np.number]

_INTEGERS: tuple["_Dtype", ...] = ("|i1", "<i2", "<i4", "<i8")
_Dtype = Literal["<f8", "|i1", "<i2", "<i4", "<i8", "trit", "packed trit", "weight"]


@dataclass(frozen=True)
class ArrayEntry(JsonObject):
    """Where an array is in its file; ``trit`` and ``packed trit`` are the two forms of trits."""

    dtype: _Dtype
    shape: tuple[int, ...]
    offset: int  # bytes
    bytes: int

    def __post_init__(self) -> None:
        if min(*self.shape, self.offset, self.bytes) < 0:
            raise ValueError(f"{self} has a negative size")


class ArrayWriter:
    """Collects the arrays of one file.

    Members
    -------
    entries : list of ArrayEntry
        Those that have been added, in order.
    """

    def __init__(self) -> None:
        self.entries: list[ArrayEntry] = []
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: Array, trits: bool = False) -> ArrayEntry:
        """Append an array, in the smallest form, and say where it is."""
        dtype: _Dtype
        codes = array.astype(np.int8, copy=False) if trits else np.zeros(0, np.int8)
        if trits and codes.size and not -1 <= int(codes.min()) <= int(codes.max()) <= 1:
            dtype, raw = "weight", codes.tobytes()
        elif trits:
            plain, packed = pack_plain(codes), pack_flat(codes)
            dtype, raw = ("trit", plain) if len(plain) <= len(packed) else ("packed trit", packed)
        else:
            dtype = "<f8" if array.dtype.kind == "f" else _smallest(array)
            raw = np.ascontiguousarray(array, dtype).tobytes()
        entry = ArrayEntry(dtype, array.shape, self._size, len(raw))
        self._parts.append(raw)
        self._size += len(raw)
        self.entries.append(entry)
        return entry

    def to_json(self, value: object) -> object:
        """``default`` of :func:`tritforge.common.json_types.to_json`: an array's entry; int8 arrays
        are trits, or weights where they have other values."""
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return self.add(value, trits=value.dtype == np.int8)
        raise TypeError(f"an image has no {type(value).__name__}")

    def bytes(self) -> bytes:
        """The file's contents."""
        return b"".join(self._parts)


class ArrayReader:
    """Gives the arrays of one file.

    Parameters
    ----------
    raw : bytes
        The file's contents.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._end = 0

    def get(self, entry: ArrayEntry) -> Array:
        """The array at ``entry``: int64, float64, or int8 for trits and weights.

        Raises
        ------
        ValueError
            It reaches beyond the file, or has another size than its shape.
        """
        if entry.offset + entry.bytes > len(self._raw):
            raise ValueError(f"array entry {entry} reaches beyond its file")
        self._end = max(self._end, entry.offset + entry.bytes)
        part = self._raw[entry.offset : entry.offset + entry.bytes]
        if entry.dtype == "trit":
            return unpack_plain(part, math.prod(entry.shape)).reshape(entry.shape)
        if entry.dtype == "packed trit":
            return unpack_flat(part, math.prod(entry.shape)).reshape(entry.shape)
        if entry.dtype == "weight":
            return np.frombuffer(part, np.int8).reshape(entry.shape)
        native = np.float64 if entry.dtype == "<f8" else np.int64
        return np.frombuffer(part, entry.dtype).astype(native).reshape(entry.shape)

    def from_json(self, kind: object, value: object, where: str) -> Array:
        """``other`` of :func:`tritforge.common.json_types.from_json`: the array at an entry, of the
        dtype that ``kind`` says.

        Raises
        ------
        ValueError
            No entry, or as :meth:`get`.
        """
        (wanted,) = get_args(get_args(kind)[1])
        array = self.get(from_json(ArrayEntry, value, where))
        if array.dtype != wanted:
            raise JsonError(f"{where} is an array of {array.dtype}, not of {wanted.__name__}")
        return array

    def finish(self) -> None:
        """``ValueError`` if the file holds more than the arrays read from it."""
        if self._end != len(self._raw):
            raise ValueError(f"arrays take {self._end} bytes of a file of {len(self._raw)}")


def _smallest(array: Array) -> _Dtype:
    """The narrowest integer type that holds all of an array."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    bits = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1
    return next(kind for kind in _INTEGERS if bits <= 8 * np.dtype(kind).itemsize)
