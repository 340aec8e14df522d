"""What flows are given: images and arrays, by path or as they are."""

import hashlib
import os
import tokenize
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.image.folder import Image, load_image
from tritforge.sim.golden import quantize_input

__all__ = ["StrPath", "array_digest", "input_codes", "opened", "read_array"]

StrPath = str | os.PathLike[str]


def opened(image: StrPath | Image, config: str | Config | None = None) -> Image:
    """An image, loaded and verified if it is not yet; for ``config``, where one is demanded.

    Raises
    ------
    ImageError, ConfigError
    """
    loaded = image if isinstance(image, Image) else load_image(image)
    if config is not None:
        loaded.require(load_config(config) if isinstance(config, str) else config)
    return loaded


def read_array(source: StrPath | NDArray[Any], what: str) -> NDArray[Any]:
    """An array, or that of a ``.npy`` file; no code from the file is run.

    Raises
    ------
    ExportError
        The file is missing, damaged, of another kind, or holds Python objects.
    """
    if isinstance(source, np.ndarray):
        return source
    if not isinstance(source, str | os.PathLike):
        return np.asarray(source)
    try:
        array = np.load(source, allow_pickle=False)
    except OSError as error:
        raise ExportError(
            f"{what} {source} cannot be read: {error.strerror or 'it is no .npy file'}"
        ) from error
    except (
        ValueError,
        EOFError,
        MemoryError,
        SyntaxError,
        tokenize.TokenError,
        zipfile.BadZipFile,
    ) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise ExportError(
                f"{what} {source} is refused: it holds Python objects or is no .npy "
                f"file; only arrays of numbers are read"
            ) from error
        raise ExportError(f"{what} {source} is truncated or no .npy file") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ExportError(
            f"{what} {source} is an archive of arrays (.npz); one array in a .npy "
            f"file would be right"
        )
    return array


def input_codes(image: CompiledNetwork, source: StrPath | NDArray[Any]) -> NDArray[np.int64]:
    """Activation codes (images, channels, height, width) of an input array or ``.npy`` file.

    One image may come without the first dimension. Real numbers are quantized with the scale of
    the network's input; integers are codes already.

    Raises
    ------
    ExportError
        Not readable, not numbers, empty, mis-shaped, NaN or infinite, codes out of range.
    """
    array = read_array(source, "input")
    tensor = image.network.tensors[image.network.input]
    shape = tensor.shape
    if array.shape == shape or (array.shape == shape[:1] and shape[1:] == (1, 1)):
        array = array[np.newaxis]
    return quantize_input(array, tensor)


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
