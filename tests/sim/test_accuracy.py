"""Labels that fit, and those that do not; the share of images that are in their class."""

import numpy as np
import pytest

from tritforge.model_export.errors import ExportError
from tritforge.sim.accuracy import accuracy, check_labels

OUTPUT = np.array([[3, 1, 2], [-5, -4, -9], [0, 7, 8], [1, 0, 0]])[..., None, None]


def test_accuracy_is_the_share_of_largest_outputs():
    assert accuracy(OUTPUT, np.array([0, 1, 2, 0])) == 1
    assert accuracy(OUTPUT, np.array([0, 1, 2, 1], np.uint8)) == 0.75
    assert accuracy(OUTPUT, np.array([1, 0, 0, 2])) == 0


def test_a_constant_network_is_as_good_as_one_class():
    assert accuracy(np.zeros((4, 3, 1, 1), np.int64), np.array([0, 1, 2, 0])) == 0.5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, int), "there are 3 labels for 4 images"),
        (np.zeros(0, int), "there are 0 labels for 4 images"),
        (np.int64(0), r"labels have shape \(\); expected is \(4,\)"),
        (np.zeros((4, 1), int), r"labels have shape \(4, 1\); expected is \(4,\)"),
        (np.eye(4, 3), r"one column per class; .* \(labels\.argmax\(axis=1\)\)"),
        (np.zeros(4), "labels must be integers, the numbers of the classes, not float64"),
        (np.array(["cat"] * 4), "not <U3"),
        (np.zeros(4, bool), "not bool"),
        (np.array([0, 1, 2, 3]), "go from 0 to 3; the network has 3 outputs, .* from 0 to 2"),
        (np.array([0, 1, 2, -1]), "go from -1 to 2"),
        (np.array([0, 1, 2, 2**64 - 1], np.uint64), "go from 0 to 18446744073709551615"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(ExportError, match=message):
        accuracy(OUTPUT, labels)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 1, 1), "output is one number"), ((3, 8, 8), r"output is of shape \(3, 8, 8\)")],
)
def test_outputs_without_classes(shape, words):
    with pytest.raises(ExportError, match=words):
        check_labels(np.zeros(4, int), 4, shape)
