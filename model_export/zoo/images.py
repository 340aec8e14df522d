"""Images that networks of the zoo are calibrated and measured on."""

import dataclasses
import gzip
import os
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritforge.common.extras import extra
from tritforge.model_export.alexnet.photographs import (
    PREPROCESSING,
    Preprocessing,
    calibration_images,
)
from tritforge.model_export.errors import ExportError
from tritforge.model_export.training.digits import digits_data

__all__ = ["Images", "cifar", "data_folder", "digit_images", "mnist_images", "photographs"]

#: Where files are looked for that are no part of this package.
VARIABLE = "TRITFORGE_DATA"
#: Archive of all of CIFAR-10 as JPEG files, and MNIST's test images.
CIFAR, MNIST = "cifar10_jpeg.zip", "t10k-images-idx3-ubyte.gz"


@dataclass(frozen=True, eq=False)
class Images:
    """Inputs (images, channels, height, width) float32 of a network.

    Members
    -------
    inputs, names
        What cycles are measured on, and what each is.
    samples
        What the network is calibrated on.
    source
        Where they come from, in a few words.
    """

    inputs: NDArray[np.float32]
    names: tuple[str, ...]
    samples: NDArray[np.float32]
    source: str


def data_folder() -> Path | None:
    """The folder ``$TRITFORGE_DATA`` (empty: none), else ``shared/data`` beside this repository or
    farther up; None where there is none.

    Raises
    ------
    ExportError
        The variable names no folder.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        if chosen and not Path(chosen).is_dir():
            raise ExportError(f"{VARIABLE} is {chosen}, which is no folder")
        return Path(chosen) if chosen else None
    for folder in Path(__file__).resolve().parents[2:]:
        if (folder / "shared" / "data").is_dir():
            return folder / "shared" / "data"
    return None


def imagenet(size: int) -> Preprocessing:
    """Pixels as torchvision's networks take them, (3, size, size)."""
    return dataclasses.replace(PREPROCESSING["alexnet_torchvision"], size=size)


def photographs(size: int, count: int, samples: int) -> Images:
    """scikit-learn's two photographs and crops of them, (3, size, size), with ImageNet's mean and
    deviation."""
    made = calibration_images(imagenet(size), max(count, samples))
    return Images(
        made[:count], photograph_names(count), made[:samples], "scikit-learn's photographs"
    )


def photograph_names(count: int) -> tuple[str, ...]:
    """What :func:`tritforge.model_export.alexnet.photographs.calibration_images` gives."""
    files = ("china.jpg", "flower.jpg")
    return tuple(files[n % 2] if n < 2 else f"{files[n % 2]}, crop {n // 2}" for n in range(count))


def cifar(folder: Path | None, count: int, samples: int) -> Images:
    """Images of CIFAR-10, (3, 32, 32), with ImageNet's mean and deviation: the first of the test
    set's classes in turn, samples of the training set; small photographs where there is no
    archive."""
    if folder is None or not (folder / CIFAR).is_file():
        return photographs(32, count, samples)
    try:
        with zipfile.ZipFile(folder / CIFAR) as archive:
            known = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            tested, trained = (
                _in_turn([name for name in known if name.startswith(part)], number)
                for part, number in (("test/", count), ("train/", samples))
            )
            inputs, calibration = (
                np.stack([_picture(archive.read(name)) for name in names])
                for names in (tested, trained)
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise ExportError(f"{folder / CIFAR} cannot be read: {error}") from error
    return Images(inputs, tuple(tested), calibration, "CIFAR-10")


def mnist_images(folder: Path | None, count: int, samples: int) -> Images:
    """Images of MNIST's test set, (1, 28, 28), pixel / 255: the first are inputs, the last are
    samples; scikit-learn's digits, enlarged, where there is no such file."""
    if folder is None or not (folder / MNIST).is_file():
        small = digit_images(count, samples)
        return Images(
            _enlarged(small.inputs),
            small.names,
            _enlarged(small.samples),
            f"{small.source}, enlarged",
        )
    path = folder / MNIST
    try:
        pixels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16)
    except (OSError, EOFError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error
    images = (pixels.reshape(-1, 1, 28, 28) / 255).astype(np.float32)
    return Images(
        images[:count],
        tuple(f"test image {n}" for n in range(count)),
        images[-samples:],
        "MNIST",
    )


def digit_images(count: int, samples: int) -> Images:
    """scikit-learn's handwritten digits, (1, 8, 8), pixel / 16: inputs of the test part, samples of
    the training part."""
    train, _, test, _ = digits_data()
    return Images(
        test[:count],
        tuple(f"test image {n}" for n in range(count)),
        train[:samples],
        "scikit-learn's digits",
    )


# ----- steps


def _in_turn(names: list[str], count: int) -> list[str]:
    """So many names, the first of each folder, then the second of each."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    folders = list(by_folder.values())
    return [folders[n % len(folders)][n // len(folders)] for n in range(count)]


def _picture(content: bytes) -> NDArray[np.float32]:
    with extra("demo", "a photograph"):
        from PIL import Image
    with Image.open(BytesIO(content)) as image:
        return imagenet(32).apply(np.asarray(image.convert("RGB")))


def _enlarged(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 1, 8, 8) as (N, 1, 28, 28): three times as large, with a margin of two pixels."""
    large = images.repeat(3, axis=2).repeat(3, axis=3)
    return np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)))
