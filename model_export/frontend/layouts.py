"""Ways to see a sample as channels, rows and columns."""

import itertools
import math
from collections.abc import Iterator, Sequence

__all__ = ["arrangements", "as_image", "images", "layouts", "pair_of"]


def pair_of(size: int | Sequence[int]) -> tuple[int, int]:
    """Along rows and columns: two numbers, or one for both."""
    pair = size if isinstance(size, Sequence) else (size,)
    return (int(pair[0]), int(pair[-1]))


def layouts(
    shape: tuple[int, ...],
) -> list[tuple[tuple[int, int, int], tuple[int, ...]]]:
    """Ways to see one sample of at most three dimensions as channels, rows and columns."""
    if len(shape) == 3:
        return [((shape[0], shape[1], shape[2]), (0, 1, 2))]
    if len(shape) == 2:
        a, b = shape
        return [((a, 1, b), (0, 2)), ((a, b, 1), (0, 1)), ((1, a, b), (1, 2))]
    if len(shape) == 1:
        return [((shape[0], 1, 1), (0,)), ((1, 1, shape[0]), (2,)), ((1, shape[0], 1), (1,))]
    return []


def images(shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Ways to see one sample's shape as channels, height, width."""
    return [image for image, _ in layouts(shape)]


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """One sample's shape as channels, height, width, if it has at most three dimensions."""
    return next(iter(images(shape)), None)


def arrangements(
    shape: tuple[int, ...], image: tuple[int, ...]
) -> Iterator[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Sizes and steps with which samples of ``shape`` may be channels, height and width."""
    axes = [(size, math.prod(shape[axis + 1 :])) for axis, size in enumerate(shape)]
    if len(image) == 3 and math.prod(image) == math.prod(shape):
        sizes = (image[0], image[1], image[2])
        yield sizes, (sizes[1] * sizes[2], sizes[2], 1)
    missing = [(1, 1)] * (3 - len(axes))
    for order in itertools.permutations([*axes, *missing]) if len(axes) <= 3 else ():
        (channels, c), (height, y), (width, x) = order
        yield (channels, height, width), (c, y, x)
