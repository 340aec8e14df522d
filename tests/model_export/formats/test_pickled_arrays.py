"""Dictionaries of arrays in .npy files: read as numbers, never run."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tritforge.model_export.formats.checkpoint import CheckpointError, load_checkpoint
from tritforge.model_export.formats.pickled_arrays import RefusedPickleError, read_pickled_arrays

ARRAYS = {
    "conv1/W:0": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "conv1/Wp:0": np.array(0.75, np.float32),
    "scalar": np.float64(-2.5),
    "number": 3,
}


def npy(content: object, protocol: int = 2) -> io.BytesIO:
    """What ``np.save`` writes of an object, in any protocol of pickle."""
    cell = np.empty((), object)
    cell[()] = content
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": (), "fortran_order": False, "descr": "|O"})
    file.write(pickle.dumps(cell, protocol))
    file.seek(0)
    return file


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_protocol(protocol):
    found = read_pickled_arrays(npy(ARRAYS, protocol))
    assert found.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        assert np.array_equal(found[name], value), name
        assert np.asarray(found[name]).dtype.isnative


def test_python_2_strings():
    # BINSTRING (T, U): what Python 2 wrote where Python 3 writes bytes
    content = npy({"x": np.array([1.5, -2.0])}, 3).read()
    data = np.array([1.5, -2.0]).tobytes()
    altered = content.replace(b"C\x10" + data, b"U\x10" + data)
    assert altered != content
    assert read_pickled_arrays(io.BytesIO(altered))["x"].tolist() == [1.5, -2.0]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_run(tmp_path):
    target, path = tmp_path / "made", tmp_path / "x.npy"
    for content in (Evil(target), {"x": Evil(target)}, {"x": np.array([Evil(target)], object)}):
        path.write_bytes(npy(content).read())
        with pytest.raises(CheckpointError, match=r"it asks for posix\.mkdir") as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
        assert not target.exists()


def test_names_that_are_refused_are_printable(tmp_path):
    content = npy({"x": np.zeros(2)}, 4).read()
    name = b"numpy._core.multiarray" if b"numpy._core" in content else b"numpy.core.multiarray"
    assert name in content
    (tmp_path / "x.npy").write_bytes(content.replace(name, name.replace(b"c", b"\n")))
    with pytest.raises(
        CheckpointError, match=r"it asks for numpy\._?\?ore\.multiarray\._"
    ) as caught:
        load_checkpoint(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"x": np.array([1, "a"], object)}, "an array of Python objects"),
        ({"x": np.array(["a"])}, "an array of type U1"),
        ({"x": np.zeros(2, "c16")}, "an array of type c16"),
        ({"x": np.zeros(2, "f4,i4")}, "an array of type V8"),
        ({"x": Path("x")}, "pathlib"),
        ({"x": np.ndarray}, "numpy.ndarray|holds no tensors"),
    ],
)
def test_refused_content(tmp_path, content, what):
    path = tmp_path / "x.npy"
    path.write_bytes(npy(content).read())
    with pytest.raises(CheckpointError, match=what):
        load_checkpoint(path)


def test_files_without_a_dictionary(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(
        CheckpointError, match=r"x\.npy is truncated or damaged, or not a PyTorch checkpoint"
    ):
        load_checkpoint(path)
    np.save(path, np.array([{"a": 1}, {"b": 2}], object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="asks for an array of Python objects"):
        load_checkpoint(path)
    np.save(path, np.array(None, object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="NoneType, not a dictionary of tensors"):
        load_checkpoint(path)


def test_damaged_files_give_one_sentence(tmp_path):
    whole = npy({"x": np.arange(4.0), "y": np.float32(2)}).read()
    path = tmp_path / "x.npy"
    rng = np.random.default_rng(0)
    for n in range(400):
        altered = bytearray(whole[: n % len(whole)] if n % 2 else whole)
        for place in rng.integers(0, max(len(altered), 1), 3):
            altered[place : place + 1] = rng.bytes(1)
        path.write_bytes(altered)
        try:
            tensors = load_checkpoint(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_the_outermost_array_is_needed():
    file = npy(ARRAYS)
    start = file.read().index(b"\x80\x02")
    file.seek(0)
    with pytest.raises(ValueError, match="no array"):
        read_pickled_arrays(io.BytesIO(file.read(start) + pickle.dumps({"a": 1}, 2)))
    assert issubclass(RefusedPickleError, ValueError)
