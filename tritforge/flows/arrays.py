"""Arrays that users give: read without running code, of real numbers, or refused."""

import os
import tokenize
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError

__all__ = ["StrPath", "read_array"]

StrPath = str | os.PathLike[str]

#: What files begin with that are given instead of a .npy file, and what they are.
_OTHERS = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x80", "a pickle, of which no code is run"),
)
_WANTED = "one array in a .npy file, as numpy.save writes it, would be right"


def read_array(source: StrPath | NDArray[Any], what: str) -> NDArray[Any]:
    """Real numbers in the machine's byte order, from an array or a ``.npy`` file; no code from the
    file is run.

    Raises
    ------
    ExportError
        The file is missing, damaged or of another kind; or the array is not of real numbers.
    """
    if isinstance(source, str | os.PathLike):
        array, where = _read_file(Path(source), f"{what} {source}"), f"{what} {source}"
    else:
        array, where = _as_array(source, what), what
    if array.dtype.kind == "O":
        raise ExportError(f"{where} is refused: it holds Python objects, not an array of numbers")
    if array.dtype.kind not in "iuf":
        raise ExportError(f"{where} must be an array of real numbers, not of {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _as_array(source: Any, what: str) -> NDArray[Any]:
    """Arrays, tensors of PyTorch, lists of numbers."""
    if isinstance(source, np.ma.MaskedArray):
        raise ExportError(f"{what} is a masked array; an ordinary array would be right")
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        source = source.float() if source.dtype == torch.bfloat16 else source
    try:
        return np.asarray(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ExportError(
            f"{what} cannot be made an array: {' '.join(str(error).split())}"
        ) from error


def _read_file(path: Path, where: str) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            start = file.read(6)
            if start != np.lib.format.MAGIC_PREFIX:
                raise ExportError(f"{where} is {_kind(file, start)}; {_WANTED}")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Reading `.npy`", category=UserWarning)
            # Mapped first: a header may declare more than the file, or any memory, holds.
            return np.array(np.lib.format.open_memmap(path, mode="r"))
    except OSError as error:
        raise ExportError(f"{where} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ExportError(f"{where} is too large for this computer's memory") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        SyntaxError,
        OverflowError,
        RecursionError,
        tokenize.TokenError,
    ) as error:
        if isinstance(error, ExportError):
            raise
        if "Python objects" in str(error):
            raise ExportError(
                f"{where} is refused: it holds Python objects; only arrays of numbers are read"
            ) from error
        raise ExportError(f"{where} is damaged or truncated; {_WANTED}") from error


def _kind(file: BinaryIO, start: bytes) -> str:
    """What a file is that is no .npy file, as far as its beginning says."""
    if not start:
        return "empty"
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return "a damaged archive"
        if any(name.endswith("data.pkl") for name in names):
            return "a PyTorch file (.pt)"
        if names and all(name.endswith(".npy") for name in names):
            inside = ", ".join(name.removesuffix(".npy") for name in names[:5])
            return f"an archive of arrays (.npz: {inside}{', ..' * (len(names) > 5)})"
        return "a zip archive"
    return next((kind for begin, kind in _OTHERS if start.startswith(begin)), "no .npy file")
