"""Arrays as users give them: right, or one sentence."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from tritforge.flows.arrays import read_array
from tritforge.model_export.errors import ExportError

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    "array",
    [
        VALUES,
        np.asfortranarray(VALUES),
        VALUES.astype(">f4"),
        VALUES.astype("<f2"),
        VALUES.astype(">i2"),
        VALUES[::-1, :, ::-1],
        VALUES.tolist(),
        torch.from_numpy(VALUES).requires_grad_(),
        torch.from_numpy(VALUES).to(torch.bfloat16),
    ],
)
def test_values_are_the_same_in_every_layout(tmp_path, array):
    found = read_array(array, "input")
    assert found.dtype.isnative
    expected = np.asarray(array) if isinstance(array, np.ndarray) else VALUES
    np.testing.assert_array_equal(found, expected)
    torch.from_numpy(np.ascontiguousarray(found))  # which refuses another byte order
    if isinstance(array, np.ndarray):
        np.testing.assert_array_equal(read_array(saved(tmp_path / "x.npy", array), "input"), array)


@pytest.mark.parametrize("shape", [(), (0,), (0, 2, 4)])
def test_arrays_without_axes_or_values_are_read(tmp_path, shape):
    array = np.zeros(shape, np.float32)
    assert read_array(saved(tmp_path / "x.npy", array), "input").shape == shape


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([{}], object), "Python objects"),
        (np.zeros(3, bool), "array of real numbers, not of bool"),
        (np.zeros(3, complex), "not of complex128"),
        (np.array(["a"]), "not of <U1"),
        (np.zeros(3, "M8[s]"), "not of datetime64"),
        (np.zeros(3, [("a", "f4")]), "array of real numbers"),
        (np.ma.masked_array([1.0], [True]), "masked array"),
        ([[1.0], [1.0, 2.0]], "cannot be made an array"),
    ],
)
def test_what_is_no_array_of_real_numbers(tmp_path, array, words):
    with pytest.raises(ExportError, match=f"^input .*{words}"):
        read_array(array, "input")
    if isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray):
        path = saved(tmp_path / "x.npy", array)
        with pytest.raises(ExportError, match=words):
            read_array(path, "input")


def header(shape, dtype="<f4"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (118 - len(text) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((",
        b"\x93NUMPY\x09\x00" + bytes(200),
        header("(2, 3)"),
        header("(2, 3)") + bytes(23),
        header("(1000000, 1000000, 1000)") + bytes(64),
        header("(99999999999999999999999,)") + bytes(64),
        header("(-1, 3)") + bytes(64),
        header("(2,)", "<q4") + bytes(64),
        header("__import__('os')") + bytes(64),
    ],
)
def test_damaged_files(tmp_path, content):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"^labels .*x\.npy is damaged or truncated; "):
        read_array(path, "labels")


def test_other_kinds_of_files_are_named(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3), b=np.zeros(2))
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("notes.txt", "notes")
    (tmp_path / "half.npz").write_bytes((tmp_path / "arrays.npz").read_bytes()[:100])
    (tmp_path / "objects.pkl").write_bytes(pickle.dumps([1.0]))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "values.csv").write_text("1,2,3\n")
    for name, words in {
        "tensor.pt": r"a PyTorch file \(\.pt\)",
        "arrays.npz": r"an archive of arrays \(\.npz: a, b\)",
        "some.zip": "a zip archive",
        "half.npz": "a damaged archive",
        "objects.pkl": "a pickle, of which no code is run",
        "picture.png": "a PNG picture",
        "empty.npy": "empty",
        "values.csv": r"no \.npy file",
    }.items():
        with pytest.raises(ExportError, match=f"{name} is {words}; one array in a .npy file"):
            read_array(tmp_path / name, "input")
    with pytest.raises(ExportError, match=r"absent\.npy cannot be read: No such file"):
        read_array(tmp_path / "absent.npy", "input")
    with pytest.raises(ExportError, match="cannot be read: Is a directory"):
        read_array(tmp_path, "input")
