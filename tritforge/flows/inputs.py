"""What flows are given: images and inputs, by path or as they are."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.errors import warn
from tritforge.flows.arrays import StrPath, read_array
from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.image.folder import Image, load_image
from tritforge.model_export.network import Tensor
from tritforge.model_export.reference import arranged
from tritforge.sim.accuracy import check_labels
from tritforge.sim.golden import check_codes, quantize_input
from tritforge.sim.result import InputFacts

__all__ = ["Inputs", "array_digest", "clipping_sentence", "opened", "read_inputs", "read_labels"]

#: Share of clipped values, and how far beyond the range one may be, from which on a user is warned.
#: A test set has now and then a value that is larger than all of the calibration samples.
MOST_CLIPPED = 0.01
MOST_BEYOND = 2.0
#: Inputs that use less than this part of the range are of another normalization: pixels of 0 to 1
#: where calibration had 0 to 255 use 0.4 %.
LEAST_USED = 0.05


@dataclass(frozen=True, eq=False)
class Inputs:
    """Activation codes (images, channels, height, width), int64, and what they were made from."""

    codes: NDArray[np.int64]
    facts: InputFacts


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


def read_inputs(
    image: CompiledNetwork, source: StrPath | NDArray[Any], *, codes: bool = False
) -> Inputs:
    """Inputs of an image: an array, or that of a ``.npy`` file.

    One input may come without the first dimension. Numbers of any type are real numbers as the
    network was trained on, and are quantized with the scale of the network's input; with ``codes``
    they are integers, and activation codes already. Warns of inputs that are clipped, or that use
    next to nothing of the range that calibration set.

    Raises
    ------
    ExportError
        Not readable, not numbers, empty, mis-shaped, NaN or infinite, codes out of range.
    """
    array = read_array(source, "input")
    tensor = image.network.tensors[image.network.input]
    if array.shape in (tensor.sample_shape, tensor.shape):
        array = array[np.newaxis]
    array = arranged(array, tensor, "input")
    given = check_codes(array, tensor) if codes else quantize_input(array, tensor)
    facts = _facts(array, tensor, given, codes)
    if not codes:
        _check_range(facts, array.dtype, tensor)
    return Inputs(given, facts)


def read_labels(
    source: StrPath | NDArray[Any], images: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Labels of so many images, from an array or a ``.npy`` file; ``shape`` is that of an image's
    output.

    Raises
    ------
    ExportError
        As :func:`tritforge.flows.arrays.read_array` and
        :func:`tritforge.sim.accuracy.check_labels`.
    """
    return check_labels(read_array(source, "labels"), images, shape)


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def clipping_sentence(facts: InputFacts) -> str:
    """Which share of the inputs is clipped, and how far they are beyond the range."""
    low, high = facts.range
    share = "less than 0.01 %" if facts.clipped < 1e-4 else f"{facts.clipped:.2%}"
    return (
        f"{share} of the values are beyond the range that calibration set "
        f"({low:.4g} to {high:.4g}) and are clipped, the farthest is {facts.farthest:.4g}"
    )


def _facts(
    array: NDArray[Any], tensor: Tensor, given: NDArray[np.int64], codes: bool
) -> InputFacts:
    reach = (tensor.scale * tensor.low, tensor.scale * tensor.high)
    lowest, highest = float(array.min()), float(array.max())
    clipped = 0.0
    if codes:
        lowest, highest = lowest * tensor.scale, highest * tensor.scale
    else:
        half = tensor.scale / 2  # it is rounded to the range's end, not clipped
        low, high = np.float64(reach[0] - half), np.float64(reach[1] + half)
        beyond = (array < low) | (array > high)
        clipped = float(np.count_nonzero(beyond)) / array.size
    return InputFacts(array_digest(given), codes, lowest, highest, reach, clipped)


def _check_range(facts: InputFacts, dtype: np.dtype[Any], tensor: Tensor) -> None:
    """Warn of what looks like activation codes, or like another normalization."""
    question = "are they normalized as the calibration samples were?"
    if facts.clipped >= MOST_CLIPPED or (facts.clipped and facts.factor >= MOST_BEYOND):
        if dtype.kind in "iu" and tensor.low <= facts.lowest and facts.highest <= tensor.high:
            question = "integers are real numbers too; activation codes are given with --codes"
        warn(f"input: {clipping_sentence(facts)}; {question}")
    elif 0 < facts.factor < LEAST_USED:
        low, high = facts.range
        warn(
            f"input: the values, {facts.lowest:.4g} to {facts.highest:.4g}, use {facts.factor:.2%} "
            f"of the range that calibration set ({low:.4g} to {high:.4g}); {question}"
        )
