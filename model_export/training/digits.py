"""scikit-learn's handwritten digits: 1 797 real images of 8 x 8 pixels, in a fixed split."""

import numpy as np
from numpy.typing import NDArray

from tritforge.common.extras import extra

with extra("demo", "the set of handwritten digits"):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

__all__ = ["digits_data"]

TEST_COUNT = 360  # a fifth of the images


def digits_data() -> tuple[
    NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]
]:
    """Training images and labels, test images and labels; the same split in every call.

    Returns
    -------
    train_x, train_y, test_x, test_y
        Images are (1437 or 360, 1, 8, 8) float32, pixel / 16, so 0..1 in steps of 1/16; labels
        are 0..9, int64. The split is stratified: each digit has the same share in both.
    """
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_COUNT, random_state=0, stratify=labels
    )
    return train_x, train_y, test_x, test_y
