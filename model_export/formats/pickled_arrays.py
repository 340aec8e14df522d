"""A ``.npy`` file that holds a pickled dictionary of arrays, read without running any of it.

This is how tensorpack kept weights for years (``np.save`` of a dictionary). Such a file is a
program for Python's unpickler, which may name any function to be called. Here the few names that
arrays need stand for small objects of our own, which build arrays of numbers and nothing else;
every other name is refused.
"""

import math
import pickle
import re
from typing import Any, BinaryIO, Never

import numpy as np
from numpy.typing import NDArray

__all__ = ["RefusedPickleError", "numpy_stand_ins", "plain_numbers", "read_pickled_arrays"]


_MAGIC = b"\x93NUMPY"


class RefusedPickleError(ValueError):
    """The file asks for something that arrays of numbers do not need; the message names it."""


def read_pickled_arrays(file: BinaryIO) -> object:
    """The one object in a ``.npy`` file of Python objects, its arrays as arrays of numbers.

    Parameters
    ----------
    file
        Open at its first byte.

    Raises
    ------
    RefusedPickleError
        It holds more than containers, strings, numbers and arrays of numbers.
    ValueError, pickle.UnpicklingError, and what else broken bytes give
        It is damaged.
    """
    start = file.read(len(_MAGIC) + 2)
    if not start.startswith(_MAGIC) or len(start) < len(_MAGIC) + 2:
        raise ValueError("it is no .npy file")
    length = int.from_bytes(file.read(2 if start[-2] == 1 else 4), "little")
    header = file.read(length)
    # numpy's own reader would evaluate the header as a Python literal
    if len(header) < length or not re.search(rb"'descr': *'\|O\d?'", header):
        raise ValueError("it holds one array without a name")
    if not re.search(rb"'shape': *\( *\)", header):
        raise RefusedPickleError("an array of Python objects")
    content = _Unpickler(file, encoding="latin1").load()
    if not isinstance(content, _Array) or not isinstance(content.value, list):
        raise ValueError("it holds no array")
    return _plain(content.value[0])


def numpy_stand_ins() -> list[tuple[Any, str]]:
    """What stands for NumPy's names in a pickle, and those names, for
    ``torch.serialization.safe_globals``: what is read then goes through :func:`plain_numbers`.

    Arrays of other things than numbers are read as nothing.
    """
    named: list[tuple[Any, str]] = [
        (_MakeType(strict=False) if made is _MakeType else made(), f"{module}.{name}")
        for (module, name), made in _NAMES.items()
    ]
    # whose instances may be given a state
    built = [(kind, f"{__name__}.{kind.__name__}") for kind in (_Type, _Array)]
    return [entry for entry in named if not entry[1].startswith("_codecs")] + built


class _Type:
    """A ``numpy.dtype``, of numbers; or Python objects, for the outermost array alone."""

    __slots__ = ("code", "order", "strict")

    def __init__(self, code: object, strict: bool = True) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.order, self.strict = "=", strict
        if strict and self.code != "O8" and not self.of_numbers:
            raise RefusedPickleError(f"an array of type {self.code[:20]}")

    @property
    def of_numbers(self) -> bool:
        return self.code[:1] in set("fiub") and self.code[1:] in ("1", "2", "4", "8")

    def __setstate__(self, state: Any) -> None:
        if not self.of_numbers:
            return
        order = state[1]
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "=", "|"):
            raise ValueError("a number type without byte order")
        self.order = order

    def array(self, data: bytes | str, shape: tuple[int, ...], fortran: bool) -> NDArray[Any]:
        if isinstance(data, str):  # what Python 2 called a string, read as Latin-1
            data = data.encode("latin1")
        kind = np.dtype(self.order + self.code)
        if len(data) != kind.itemsize * math.prod(shape):
            raise ValueError("an array with too few or too many numbers")
        array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
        return array.astype(kind.newbyteorder("="))


class _Array:
    """A ``numpy.ndarray`` in the making."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | list[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]
        if not isinstance(kind, _Type) or not isinstance(shape, tuple):
            raise ValueError("an array without shape or type")
        if kind.of_numbers:
            self.value = kind.array(data, shape, bool(fortran))
        elif shape == () and isinstance(data, list) and len(data) == 1:
            self.value = data
        elif kind.strict:
            raise RefusedPickleError("an array of Python objects")


class _MakeType:
    __slots__ = ("strict",)

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def __call__(self, code: object, *flags: object) -> _Type:
        return _Type(code, self.strict)


class _MakeArray:
    __slots__ = ()

    def __call__(self, *arguments: object) -> _Array:
        return _Array()


class _MakeScalar:
    __slots__ = ()

    def __call__(self, kind: object, data: object) -> Any:
        if isinstance(kind, _Type) and not kind.strict and not kind.of_numbers:
            return None
        if not isinstance(kind, _Type) or not isinstance(data, bytes | str) or kind.code == "O8":
            raise RefusedPickleError("a scalar of Python objects")
        return kind.array(data, (), False).item()


class _Encode:
    """``_codecs.encode``: how old pickles write bytes."""

    __slots__ = ()

    def __call__(self, text: object, codec: object) -> bytes:
        if not isinstance(text, str) or codec != "latin1":
            raise RefusedPickleError("_codecs.encode")
        return text.encode("latin1")


class _NoCall:
    """A name that is only passed on."""

    __slots__ = ()

    def __call__(self, *arguments: object) -> Never:
        raise RefusedPickleError("numpy.ndarray")


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _MakeType,
    ("numpy", "ndarray"): _NoCall,
    ("_codecs", "encode"): _Encode,
} | {
    (f"numpy.{core}.multiarray", name): made
    for core in ("core", "_core")
    for name, made in (("_reconstruct", _MakeArray), ("scalar", _MakeScalar))
}


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python: that in C takes gigabytes where a file numbers an object
    with a large number."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise RefusedPickleError(f"{module}.{name}")
        return _NAMES[module, name]()

    def persistent_load(self, pid: Any) -> Never:
        raise RefusedPickleError("a persistent object")


def plain_numbers(content: object) -> object:
    """``content``, or the array that it stands for; None for one of other things than numbers."""
    if isinstance(content, _Array):
        return content.value if isinstance(content.value, np.ndarray) else None
    return content


def _plain(content: object) -> object:
    """A dictionary with arrays in place of their stand-ins."""
    if isinstance(content, _Array):
        return _number_array(content)
    if not isinstance(content, dict):
        return content
    return {
        key: _number_array(value) if isinstance(value, _Array) else value
        for key, value in content.items()
    }


def _number_array(array: _Array) -> NDArray[Any]:
    if not isinstance(array.value, np.ndarray):
        raise RefusedPickleError("an array of Python objects")
    return array.value
