"""Files that hold trained weights, read without running anything that is in them.

PyTorch's own reader of weights builds tensors, numbers, strings and containers, and refuses every
other name. Beside a state dict people save settings, paths, dates and numbers of NumPy's; for
those few names stand objects that hold nothing, so that the rest can be read.
"""

import errno
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from tritforge.model_export.errors import CheckpointError
from tritforge.model_export.formats.names import printable
from tritforge.model_export.formats.pickled_arrays import (
    RefusedPickleError,
    numpy_stand_ins,
    plain_numbers,
    read_pickled_arrays,
)

__all__ = ["read_file"]

#: First bytes of files that people take for checkpoints, and what to do with them.
_FOREIGN = {
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run git lfs pull",
}
#: What torch.save wrote before PyTorch 1.6, after the number of the pickle protocol.
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_SUPPORTED = "PyTorch checkpoint, .npz archive or .npy file of a dictionary"
_DEEPEST = 8  # dictionaries in dictionaries
_LONGEST_HEADER = 10_000  # of an array in a .npz archive, as NumPy has it


def read_file(path: Path) -> object:
    """Whatever the file holds: tensors, arrays, numbers, strings, containers, and objects that
    stand for others and hold nothing.

    Raises
    ------
    CheckpointError
        It is missing, damaged, of another kind, or asks for a name that is not known to be
        harmless.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # They are about versions of pickles and arrays. Those are read, or refused here.
            warnings.simplefilter("ignore")
            return _read(file, path)
    except CheckpointError:
        raise
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # a place outside the file, a broken stream
            raise CheckpointError(_damaged(path)) from error
        reason = error.strerror or " ".join(str(error).split())
        raise CheckpointError(f"checkpoint {path} cannot be read: {reason}") from error
    except RefusedPickleError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it asks for {printable(str(error))}, but no code "
            f"is run, only dictionaries of arrays of numbers are read from .npy files"
        ) from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL:? (\w+(?:\.\w+)*)", str(error))
        if refused is None:
            raise CheckpointError(_damaged(path)) from error
        raise CheckpointError(_refusal(path, refused[1])) from error
    except Exception as error:  # anything: readers meet arbitrary bytes
        raise CheckpointError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return f"checkpoint {path} is truncated or damaged, or not a {_SUPPORTED}"


def _refusal(path: Path, name: str) -> str:
    return (
        f"checkpoint {path} is refused: it asks for {printable(name)}, but no code is run, only "
        f"tensors in dictionaries are read; where you trust it, load it and save the model's "
        f"state_dict() alone"
    )


def _other_pickle(path: Path) -> str:
    return (
        f"checkpoint {path} is a pickle of another kind than torch.save writes by itself; save the "
        f"state_dict() with torch.save, or its arrays with numpy.savez"
    )


def _read(file: BinaryIO, path: Path) -> object:
    start = file.read(64)
    file.seek(0)
    foreign = _foreign(start)
    if foreign:
        raise CheckpointError(
            f"checkpoint {path} is {foreign}; a state_dict() saved by torch.save, or a .npz "
            f"archive, would be right"
        )
    if start[:1] == b"\x80" and not start[2:].startswith(_LEGACY[: len(start) - 2]):
        raise CheckpointError(_other_pickle(path))
    if start.startswith(b"\x93NUM"):
        return _tensors(read_pickled_arrays(file))
    sizes = None
    if start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            _check_archive(archive, names, path)
            if names and all(name.endswith(".npy") for name in names):
                return _tensors(_arrays(archive, names, path))
            sizes = {entry.file_size for entry in archive.infolist()}
        file.seek(0)
    with torch.serialization.safe_globals([*_STAND_INS, *numpy_stand_ins()]):
        content = torch.load(file, map_location="cpu", weights_only=True)
    if sizes is not None:
        _check_sizes(content, sizes)
    return _tensors(content)


def _foreign(start: bytes) -> str | None:
    if len(start) > 9 and start[8:9] == b"{" and start[9:10] in b'"} ':
        (length,) = struct.unpack("<Q", start[:8])
        if length < 1 << 32:
            return "a safetensors file, which is not read"
    return next((kind for magic, kind in _FOREIGN.items() if start.startswith(magic)), None)


def _check_archive(archive: zipfile.ZipFile, names: list[str], path: Path) -> None:
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"checkpoint {path} is a TorchScript program; save the state_dict() of the model "
            f"instead"
        )
    if any(
        name.endswith("/archive_format") or name == "serialized_exported_program.json"
        for name in names
    ):
        raise CheckpointError(
            f"checkpoint {path} is a program of torch.export; save the state_dict() of the model "
            f"instead"
        )
    inner = [name for name in names if name.endswith((".pt", ".pth", ".ckpt", ".npz"))]
    if inner:
        raise CheckpointError(
            f"checkpoint {path} is an archive that holds {printable(inner[0])}; unpack it first"
        )
    for name in names:
        if name.endswith("/data.pkl") and archive.open(name).read(2) in (b"\x80\4", b"\x80\5"):
            raise CheckpointError(_other_pickle(path))
    broken = archive.testzip()
    if broken is not None:
        raise CheckpointError(
            f"checkpoint {path} is damaged: {printable(broken)} has a wrong checksum"
        )


def _arrays(archive: zipfile.ZipFile, names: list[str], path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` archive, each no larger than its header and the file both say."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in names:
        with archive.open(name) as member:
            version = np.lib.format.read_magic(member)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, kind = read(member, max_header_size=_LONGEST_HEADER)
            if kind.hasobject:
                raise CheckpointError(
                    f"checkpoint {path} is refused: it holds arrays of Python objects; only arrays "
                    f"of numbers are read"
                )
            data = member.read()
        if min(shape, default=0) < 0:
            raise ValueError("an array with a negative length")
        array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
        arrays[name.removesuffix(".npy")] = array.astype(kind.newbyteorder("="))
    return arrays


def _check_sizes(content: object, sizes: set[int], depth: int = _DEEPEST) -> None:
    """Raise where a tensor claims more memory than a part of the file has: PyTorch reads on."""
    if isinstance(content, torch.Tensor):
        if content.layout == torch.strided and content.device.type == "cpu":
            count = content.untyped_storage().nbytes()
            if count and count not in sizes:
                raise ValueError("a tensor is not as large as its part of the file")
    elif isinstance(content, dict | list | tuple) and depth:
        for value in content.values() if isinstance(content, dict) else content:
            _check_sizes(value, sizes, depth - 1)


def _tensors(content: object, depth: int = _DEEPEST) -> object:
    """Dictionaries, however deep, with arrays as tensors and NumPy's numbers as Python's."""
    content = plain_numbers(content)
    if isinstance(content, np.generic):
        return content.item()
    if isinstance(content, np.ndarray) and content.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(content).reshape(content.shape))
    if isinstance(content, dict) and depth:
        return {key: _tensors(value, depth - 1) for key, value in content.items()}
    return content


# ---- what stands for the names that people's checkpoints ask for --------------------------------


class _Nothing:
    """An object of some class, of which nothing is kept."""

    __slots__ = ()

    def __new__(cls, *arguments: object) -> "_Nothing":
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _empty_dictionary(*arguments: object) -> OrderedDict[object, object]:
    return OrderedDict()


def _empty_list(*arguments: object) -> list[object]:
    return []


_HARMLESS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "datetime.datetime",
    "datetime.date",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.Path",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "uuid.UUID",
    "fractions.Fraction",
    "decimal.Decimal",
    "builtins.list",
    "builtins.dict",
    "builtins.int",
    "builtins.float",
    "builtins.str",
    "builtins.tuple",
    "builtins.frozenset",
    "builtins.slice",
    "builtins.range",
)
#: Pairs of an object and the name that it stands for.
_STAND_INS: list[tuple[Any, str]] = [
    *((type(name.rpartition(".")[2], (_Nothing,), {}), name) for name in _HARMLESS),
    (_empty_dictionary, "collections.defaultdict"),
    (_empty_list, "collections.deque"),
    *(
        (OrderedDict, f"{place}.AttributeDict")
        for place in (
            "lightning_fabric.utilities.data",
            "lightning.fabric.utilities.data",
            "pytorch_lightning.utilities.parsing",
            "lightning.pytorch.utilities.parsing",
        )
    ),
]
