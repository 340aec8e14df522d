"""Labels, and the share of images whose largest output is theirs."""

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.errors import ExportError

__all__ = ["accuracy", "check_labels"]


def check_labels(
    labels: NDArray[np.generic], images: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Labels, one for each image: the number of its output channel.

    Parameters
    ----------
    labels : integer array (images,)
    images : int
    shape : tuple
        Of one image's output: (rows, height, width).

    Raises
    ------
    ExportError
        Labels of another type or shape, another number of them, or ones that no output has; an
        output that is not one number for each of several classes.
    """
    labels = np.asarray(labels)
    rows = shape[0]
    if rows < 2 or any(size != 1 for size in shape[1:]):
        outputs = "one number" if shape == (1, 1, 1) else f"of shape {shape}"
        raise ExportError(
            f"labels go with one output for each of two or more classes; "
            f"this network's output is {outputs}"
        )
    if labels.ndim == 2 and labels.shape[1] == rows and rows > 1:
        raise ExportError(
            f"labels have shape {labels.shape}, one column per class; "
            f"the number of each image's class would be right (labels.argmax(axis=1))"
        )
    if labels.ndim != 1:
        raise ExportError(f"labels have shape {labels.shape}; expected is ({images},)")
    if labels.dtype.kind not in "iu":
        raise ExportError(
            f"labels must be integers, the numbers of the classes, not {labels.dtype}"
        )
    if len(labels) != images:
        raise ExportError(f"there are {len(labels)} labels for {images} images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= rows:
        raise ExportError(
            f"labels go from {low} to {high}; the network has {rows} outputs, so they must be "
            f"from 0 to {rows - 1}"
        )
    return labels.astype(np.int64)


def accuracy(output: NDArray[np.generic], labels: NDArray[np.generic]) -> float:
    """Share of the images whose largest output is that of their label, 0..1.

    Parameters
    ----------
    output : array (images, rows, 1, 1)
    labels : integer array (images,)

    Raises
    ------
    ExportError
        As :func:`check_labels`.
    """
    checked = check_labels(labels, len(output), output.shape[1:])
    return float((output.reshape(len(output), -1).argmax(axis=1) == checked).mean())
