"""Photographs: every mode that Pillow decodes, and one sentence for every file that will not do."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tritforge.model_export.alexnet.photographs import (
    MOST_PIXELS,
    PREPROCESSING,
    PhotographError,
    calibration_images,
    load_photograph,
    sample_photographs,
)
from tritforge.model_export.errors import ExportError, ModelError

TOPOLOGY = "alexnet_torchvision"


def pixels_of(x: np.ndarray, topology: str = TOPOLOGY) -> np.ndarray:
    """The RGB pixels that an input stands for, (size, size, 3), by the documented formula."""
    recipe = PREPROCESSING[topology]
    values = x.transpose(1, 2, 0) * recipe.divisor + recipe.mean
    return values[:, :, ::-1] if recipe.bgr else values


def saved(tmp_path: Path, image: Image.Image, name: str = "x.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def middle(path: Path, topology: str = TOPOLOGY) -> list[int]:
    """The colour in the middle, rounded."""
    pixels = pixels_of(load_photograph(path, topology), topology)
    return np.rint(pixels[len(pixels) // 2, len(pixels) // 2]).astype(int).tolist()


@pytest.mark.parametrize(
    ("topology", "size", "expected"),
    [
        (
            "alexnet_dorefa",
            224,
            ((30 - 104.00698793) / 255, (20 - 116.66876762) / 255, (10 - 122.67891434) / 255),
        ),
        ("alexnet_krizhevsky", 227, (30 - 104.00698793, 20 - 116.66876762, 10 - 122.67891434)),
        (
            "alexnet_torchvision",
            224,
            ((10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225),
        ),
    ],
)
def test_channels_are_ordered_and_normalised_as_each_topology_wants(
    tmp_path, topology, size, expected
):
    x = load_photograph(saved(tmp_path, Image.new("RGB", (300, 280), (10, 20, 30))), topology)
    assert x.shape == (3, size, size) and x.dtype == np.float32 and x.flags.c_contiguous
    assert np.allclose(x, np.array(expected)[:, None, None], atol=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_centre_of_an_image_with_a_short_side_of_256_is_cut_out_exactly(tmp_path, transposed):
    pixels = np.random.default_rng(0).integers(0, 256, (256, 400, 3), np.uint8)
    expected = pixels[16:240, 88:312]
    if transposed:
        pixels, expected = pixels.swapaxes(0, 1), expected.swapaxes(0, 1)
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(pixels)))
    assert np.allclose(pixels_of(load_photograph(path, TOPOLOGY)), expected, atol=1e-3)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B"]
)
def test_modes(tmp_path, mode):
    grey = 255 if mode == "1" else 200
    if mode.startswith("I;16"):
        values = np.full((64, 64), 200 * 257, "<u2" if mode == "I;16" else ">u2")
        image = Image.frombytes(mode, (64, 64), values.tobytes())
    else:
        picture = Image.new("RGB", (64, 64), (grey, grey, grey))
        image = picture.convert(mode, palette=Image.Palette.ADAPTIVE)
    path = saved(tmp_path, image, "x.tif")
    assert max(abs(value - grey) for value in middle(path)) <= 2


def test_16_bit_png(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((64, 64), 200 * 257, np.uint16)))
    assert middle(path) == [200, 200, 200]


def test_what_is_transparent_is_white(tmp_path):
    assert middle(saved(tmp_path, Image.new("RGBA", (64, 64), (255, 0, 0, 0)))) == [255] * 3
    palette = Image.new("P", (64, 64), 3)
    palette.putpalette([0] * 768)
    assert middle(saved(tmp_path, palette, transparency=3)) == [255] * 3
    assert middle(saved(tmp_path, palette, "opaque.png")) == [0] * 3


def test_orientation(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: top becomes right
    path = saved(tmp_path, Image.fromarray(pixels), exif=exif)
    turned = pixels_of(load_photograph(path, TOPOLOGY))
    assert turned[:, :100].max() < 1 and turned[:, -100:].min() > 254


def test_broken_exif_data_is_ignored(tmp_path):
    path = saved(
        tmp_path,
        Image.new("RGB", (64, 64), (9, 9, 9)),
        "x.jpg",
        exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f",
    )
    assert middle(path) == [9, 9, 9]


# ----- refused


def refused(path: Path, match: str) -> None:
    with pytest.raises(PhotographError, match=match) as caught:
        load_photograph(path, TOPOLOGY)
    assert isinstance(caught.value, ExportError)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_files_that_are_no_photographs(tmp_path):
    refused(tmp_path / "absent.jpg", "cannot be read: No such file")
    refused(tmp_path, "is no ordinary file")
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path / "empty.png", "in no format that Pillow reads")
    (tmp_path / "text.png").write_text("hello")
    refused(tmp_path / "text.png", "in no format that Pillow reads")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.gif", "x.bmp"])
def test_truncated_and_altered_files(tmp_path, name):
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    whole = saved(tmp_path, picture, name).read_bytes()
    cut = tmp_path / f"cut-{name}"
    for length in (len(whole) // 2, 30, 8):
        cut.write_bytes(whole[:length])
        refused(cut, "truncated or damaged|in no format")
    for _ in range(30):  # whatever comes out, it is an array or one sentence
        altered = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 200), 4):
            altered[place] = rng.integers(256)
        cut.write_bytes(altered)
        try:
            assert load_photograph(cut, TOPOLOGY).shape == (3, 224, 224)
        except PhotographError as error:
            assert "\n" not in str(error)


def png(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_500, 20_000, 100_000])
def test_huge_images_are_refused_before_they_are_decoded(tmp_path, side):
    (tmp_path / "huge.png").write_bytes(png(side, side))
    refused(tmp_path / "huge.png", f"too large: .*at most {MOST_PIXELS:,}")


@pytest.mark.parametrize("size", [(1, 1), (31, 500), (500, 31)])
def test_tiny_images(tmp_path, size):
    refused(saved(tmp_path, Image.new("RGB", size)), f"too small: {size[0]} x {size[1]} pixels")


def test_long_narrow_images_are_cut_before_they_grow(tmp_path):
    path = saved(tmp_path, Image.new("L", (60_000, 32), 7))
    assert middle(path) == [7, 7, 7]


@pytest.mark.parametrize(("mode", "kind"), [("F", "floating-point"), ("I", "32-bit integer")])
def test_modes_without_black_and_white(tmp_path, mode, kind):
    refused(saved(tmp_path, Image.new(mode, (64, 64)), "x.tif"), f"holds {kind} pixels")


def test_postscript_is_not_run(tmp_path):
    refused(saved(tmp_path, Image.new("RGB", (64, 64)), "x.eps"), "PostScript program")


def test_unknown_topology(tmp_path):
    for call in (
        lambda: load_photograph(tmp_path, "vgg"),
        lambda: sample_photographs("vgg"),
        lambda: calibration_images("vgg"),
    ):
        with pytest.raises(ModelError, match="no AlexNet topology 'vgg'; there are alexnet_dorefa"):
            call()


# ----- calibration images


def test_calibration_images_start_with_the_photographs():
    samples = sample_photographs("alexnet_dorefa")
    assert list(samples) == ["china.jpg", "flower.jpg"]
    images = calibration_images("alexnet_dorefa", 5)
    assert images.shape == (5, 3, 224, 224) and images.dtype == np.float32
    assert np.array_equal(images[:2], np.stack(list(samples.values())))
    assert np.array_equal(images, calibration_images("alexnet_dorefa", 5))
    assert not np.array_equal(images, calibration_images("alexnet_dorefa", 5, seed=1))
    assert len({image.tobytes() for image in images}) == 5


def test_calibration_images_of_given_photographs(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (40, 80), (1, 2, 3)))
    images = calibration_images(TOPOLOGY, 3, photographs=[path])
    assert np.allclose(images, load_photograph(path, TOPOLOGY))
    with pytest.raises(PhotographError, match="at least one photograph"):
        calibration_images(TOPOLOGY, photographs=[])
    with pytest.raises(PhotographError, match="at least one image, not 0"):
        calibration_images(TOPOLOGY, 0)
