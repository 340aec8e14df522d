"""Photographs as inputs of AlexNet: read, cropped, normalised as each topology was trained.

What is common to all three: the orientation in the file (EXIF) is honoured, the short side
becomes 256 pixels (bilinear, antialiased), the centre is cut out. What differs is in
:data:`PREPROCESSING`.

Means: the authors of TTQ subtract a mean *image*, and so did Krizhevsky; that file is not
published with either network. Its mean over all pixels is (BVLC's Caffe, ``ilsvrc_2012_mean``:
blue 104.00698793, green 116.66876762, red 122.67891434), and takes its place here. torchvision
documents its own means and standard deviations.
"""

import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritforge.common.extras import extra
from tritforge.model_export.errors import ExportError, ModelError

with extra("demo", "a photograph"):
    from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    "PREPROCESSING",
    "PhotographError",
    "Preprocessing",
    "calibration_images",
    "load_photograph",
    "preprocessing_of",
    "sample_photographs",
]

#: Pixels of the short side before the centre is cut out.
SHORT_SIDE = 256
#: A photograph whose short side has fewer pixels is refused: it would be nothing but blur.
SMALLEST_SIDE = 32
#: More pixels are refused before they are decoded; Pillow warns from here on.
MOST_PIXELS = 89_478_485
#: Augmented images show a square of this part of the short side.
CROPS = (0.75, 1.0)

_CAFFE_BGR = (104.00698793, 116.66876762, 122.67891434)


class PhotographError(ExportError):
    """A photograph that cannot be read or used; the message is one sentence."""


@dataclass(frozen=True)
class Preprocessing:
    """How 8-bit pixels become a network's input: ``(pixel - mean) / divisor`` per channel.

    Members
    -------
    size
        Height and width of the input, pixels.
    bgr
        Channels are blue, green, red; else red, green, blue.
    mean, divisor
        Per channel, in that order, in units of 8-bit pixels (0..255).
    source
        Where the numbers come from.
    """

    size: int
    bgr: bool
    mean: tuple[float, float, float]
    divisor: tuple[float, float, float]
    source: str

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB pixels (size, size, 3) as an input (3, size, size)."""
        ordered = pixels[:, :, ::-1] if self.bgr else pixels
        values = (ordered.astype(np.float64) - self.mean) / self.divisor
        return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)


#: By name in the zoo.
PREPROCESSING = {
    "alexnet_dorefa": Preprocessing(
        224,
        True,
        _CAFFE_BGR,
        (255.0, 255.0, 255.0),
        "BGR, minus a mean, / 255 (the authors' code); their mean per pixel is not published "
        "with it, Caffe's mean per channel takes its place",
    ),
    "alexnet_krizhevsky": Preprocessing(
        227, True, _CAFFE_BGR, (1.0, 1.0, 1.0), "BGR, minus Caffe's mean per channel"
    ),
    "alexnet_torchvision": Preprocessing(
        224,
        False,
        (255 * 0.485, 255 * 0.456, 255 * 0.406),
        (255 * 0.229, 255 * 0.224, 255 * 0.225),
        "RGB / 255, minus (0.485, 0.456, 0.406), / (0.229, 0.224, 0.225)",
    ),
}


def preprocessing_of(topology: str | Preprocessing) -> Preprocessing:
    """The entry of :data:`PREPROCESSING`; one that is given is it.

    Raises
    ------
    ModelError
        No such topology.
    """
    if isinstance(topology, Preprocessing):
        return topology
    if topology not in PREPROCESSING:
        raise ModelError(
            f"there is no AlexNet topology {topology!r}; there are {', '.join(PREPROCESSING)}"
        )
    return PREPROCESSING[topology]


def load_photograph(path: str | Path, topology: str) -> NDArray[np.float32]:
    """A picture file as input (3, height, width) of a topology.

    Any format and mode that Pillow decodes by itself: palettes, greyscale, CMYK (converted
    without its colour profile) and 16 bits become 8-bit RGB; what is transparent is laid over
    white. Of an animation the first frame is taken.

    Parameters
    ----------
    path
        The file.
    topology
        A key of :data:`PREPROCESSING`.

    Raises
    ------
    PhotographError
        The file is missing, damaged, truncated, of an unknown format, too small (short side
        below 32 pixels), too large (over 89 million pixels), or of a mode without a defined
        brightness (32-bit integers, floats).
    ModelError
        No such topology.
    """
    preprocessing = preprocessing_of(topology)
    return preprocessing.apply(_centre(_open(Path(path)), preprocessing.size))


def sample_photographs(topology: str | Preprocessing) -> dict[str, NDArray[np.float32]]:
    """The two photographs that scikit-learn ships, as inputs, by file name.

    ``china.jpg`` (a Chinese pavilion) and ``flower.jpg``, 640 x 427 pixels, both CC BY 2.0.

    Raises
    ------
    ModelError
        No such topology.
    """
    preprocessing = preprocessing_of(topology)
    return {
        name: preprocessing.apply(_centre(image, preprocessing.size))
        for name, image in _samples().items()
    }


def calibration_images(
    topology: str | Preprocessing,
    count: int = 32,
    *,
    seed: int = 0,
    photographs: Sequence[str | Path] | None = None,
) -> NDArray[np.float32]:
    """Inputs (count, 3, height, width) made from a few photographs.

    First the photographs themselves, as :func:`load_photograph` gives them, then crops of them
    in turn: a square of three quarters to all of the short side, anywhere in the picture,
    mirrored or not.

    Parameters
    ----------
    count
        How many; fewer than there are photographs leaves the last of them out.
    photographs
        Files; by default those of :func:`sample_photographs`.

    Raises
    ------
    PhotographError
        As :func:`load_photograph`; or no photographs, or a count below 1.
    ModelError
        No such topology.
    """
    preprocessing = preprocessing_of(topology)
    if count < 1:
        raise PhotographError(f"calibration needs at least one image, not {count}")
    if photographs is not None and not photographs:
        raise PhotographError("calibration needs at least one photograph, none is given")
    pictures = (
        list(_samples().values())
        if photographs is None
        else [_open(Path(path)) for path in photographs]
    )
    rng = np.random.default_rng(seed)
    result = np.empty((count, 3, preprocessing.size, preprocessing.size), np.float32)
    for n in range(count):
        picture = pictures[n % len(pictures)]
        pixels = (
            _centre(picture, preprocessing.size)
            if n < len(pictures)
            else _augmented(picture, preprocessing.size, rng)
        )
        result[n] = preprocessing.apply(pixels)
    return result


# ----- pixels


def _centre(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The central (size, size, 3) pixels of an RGB image whose short side is made 256.

    Both in one step, so that a long, narrow image never exists at full length.
    """
    side = min(image.size) * size / SHORT_SIDE
    left, top = ((length - side) / 2 for length in image.size)
    return np.asarray(
        image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
    )


def _augmented(image: Image.Image, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    side = min(image.size) * rng.uniform(*CROPS)
    left, top = (rng.uniform(0, length - side) for length in image.size)
    crop = image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(ImageOps.mirror(crop) if rng.random() < 0.5 else crop)


def _samples() -> dict[str, Image.Image]:
    # here, since the import takes a second and few need it
    with extra("demo", "a sample photograph"):
        from sklearn.datasets import load_sample_images

    samples = load_sample_images()
    return {
        Path(name).name: Image.fromarray(pixels)
        for name, pixels in zip(samples.filenames, samples.images, strict=True)
    }


# ----- files


def _open(path: Path) -> Image.Image:
    """The picture in a file as upright 8-bit RGB."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PhotographError(f"photograph {path} is no ordinary file")
        with warnings.catch_warnings():
            # Pillow warns of oddities in what surrounds the pixels; broken pixels raise.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check(image, path)
                image.load()
                return _rgb(_upright(image), path)
    except PhotographError:
        raise
    except UnidentifiedImageError as error:
        raise PhotographError(
            f"photograph {path} is in no format that Pillow reads, or its start is damaged"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotographError(
            f"photograph {path} is too large: at most {MOST_PIXELS:,} pixels are read"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise PhotographError(f"photograph {path} cannot be read: {error.strerror}") from error
        raise PhotographError(_damaged(path, error)) from error
    except Exception as error:
        # A decoder given arbitrary bytes may raise anything.
        raise PhotographError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"photograph {path} is truncated or damaged ({reason})"


def _check(image: Image.Image, path: Path) -> None:
    """Refuse, before any pixel is decoded, what would be useless, huge or run a program."""
    if image.format == "EPS":
        raise PhotographError(
            f"photograph {path} is a PostScript program, which is not run; save it as PNG or JPEG"
        )
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise PhotographError(
            f"photograph {path} is too large: {width} x {height} pixels, at "
            f"most {MOST_PIXELS:,} are read"
        )
    if min(width, height) < SMALLEST_SIDE:
        raise PhotographError(
            f"photograph {path} is too small: {width} x {height} pixels, the "
            f"short side must have at least {SMALLEST_SIDE}"
        )


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data says; unreadable EXIF data says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "floating-point" if image.mode == "F" else "32-bit integer"
        raise PhotographError(
            f"photograph {path} holds {kind} pixels, of which nothing says "
            f"what is black and white; save it with 8 or 16 bits per channel"
        )
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise PhotographError(
            f"photograph {path} has colours of mode {image.mode}, which cannot be converted to RGB"
        ) from error
