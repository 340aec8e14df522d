"""Files of every kind, whole, damaged and hostile: numbers or one sentence, nothing is run."""

import argparse
import collections
import datetime
import io
import json
import os
import pathlib
import pickle
import struct
import types
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.model_export.errors import CheckpointError
from tritforge.model_export.formats.checkpoint import load_checkpoint, load_into


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))


def saved(content: object, zipped: bool = True, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def arrays(save) -> bytes:
    file = io.BytesIO()
    save(file, **{name: tensor.numpy() for name, tensor in net().state_dict().items()})
    return file.getvalue()


def dictionary() -> bytes:
    file = io.BytesIO()
    content = {name: tensor.numpy() for name, tensor in net().state_dict().items()}
    np.save(file, np.array(content, object), allow_pickle=True)
    return file.getvalue()


def program() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(net()), file)
    return file.getvalue()


def safetensors() -> bytes:
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


def training() -> dict[str, object]:
    """What people save beside a state dict."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 1, 3, 6)).sum().backward()
    optimizer.step()
    return {
        "state_dict": net().state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, out=pathlib.Path("x"), when=datetime.timedelta(1)),
        "config": types.SimpleNamespace(a=1),
        "best": np.float64(0.5),
        "count": np.int64(3),
        "history": np.arange(3.0),
        "classes": np.array(["cat", "dog"]),
        "when": np.datetime64("2020-01-01"),
        "anything": np.array([None, "x"], object),
        "losses": collections.defaultdict(list, a=[1.0]),
        "window": collections.deque([1, 2], 5),
        "seen": {1, 2},
        "date": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        "epoch": 3,
        "name": "net",
        "none": None,
    }


WHOLE = {
    "zip.pt": lambda: saved(net().state_dict()),
    "legacy.pt": lambda: saved(net().state_dict(), False),
    "training.pt": lambda: saved(training()),
    "training_legacy.pt": lambda: saved(training(), False),
    "arrays.pt": lambda: saved({k: v.numpy() for k, v in net().state_dict().items()}),
    "third.pt": lambda: saved(net().state_dict(), protocol=3),
    "third_legacy.pt": lambda: saved(net().state_dict(), False, 3),
    "plain.npz": lambda: arrays(np.savez),
    "packed.npz": lambda: arrays(np.savez_compressed),
    "dictionary.npy": dictionary,
}
OTHERS = {
    "module.pt": (lambda: saved(net()), r"asks for torch\.nn\.modules\.container\.Sequential, but"),
    "module_legacy.pt": (lambda: saved(net(), False), "save the model's state_dict.. alone"),
    "program.pt": (program, "is a TorchScript program; save the state_dict"),
    "x.safetensors": (safetensors, "is a safetensors file, which is not read; a state_dict"),
    "keras.h5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file, as Keras writes"),
    "net.pt.gz": (lambda: b"\x1f\x8b" + bytes(100), "is a gzip archive; unpack it first"),
    "lfs.pt": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "other.pkl": (lambda: pickle.dumps({"a": 1}), "is a pickle of another kind than torch.save"),
    "fourth.pt": (lambda: saved({}, protocol=4), "is a pickle of another kind than torch.save"),
    "fourth_legacy.pt": (lambda: saved({}, False, protocol=4), "is a pickle of another kind"),
    "empty.pt": (lambda: b"", "is truncated or damaged, or not a PyTorch checkpoint, .npz"),
    "text.pt": (lambda: b"hello\n" * 30, "is truncated or damaged, or not a PyTorch checkpoint"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(WHOLE[name]())
    loaded = load_into(net(), path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in net().state_dict().items())
    assert load_checkpoint(path).keys() == loaded.keys()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_other_files(tmp_path, name):
    make, message = OTHERS[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_in_a_list(tmp_path, zipped):
    (tmp_path / "x.pt").write_bytes(saved([net().state_dict(), {"lr": 0.1}, 3], zipped))
    loaded = load_into(net(), tmp_path / "x.pt").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in net().state_dict().items())


def test_an_archive_of_checkpoints(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/net.pt", saved(net().state_dict()))
    with pytest.raises(CheckpointError, match=r"an archive that holds folder/net\.pt; unpack it"):
        load_checkpoint(tmp_path / "x.zip")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("call", ["posix.system", "builtins.exec", "builtins.getattr", "my.Config"])
def test_what_is_not_known_to_be_harmless_is_named(tmp_path, zipped, call):
    class Asking:
        def __reduce__(self):
            return Asking, (f"touch {tmp_path / 'ran'}",)

    module, name = call.split(".")
    Asking.__module__, Asking.__qualname__, Asking.__name__ = "common", name, name
    placeholder = b"ccollections\nOrderedDict\n"
    content = saved({"a": torch.ones(2), "args": collections.OrderedDict()}, False)
    assert placeholder in content
    content = content.replace(placeholder, f"c{module}\n{name}\n".encode())
    if zipped:
        inner = zipfile.ZipFile(io.BytesIO(saved({"args": collections.OrderedDict()})))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for member in inner.namelist():
                data = inner.read(member)
                archive.writestr(member, data.replace(placeholder, f"c{module}\n{name}\n".encode()))
        content = file.getvalue()
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=rf"asks for (\w+\.)?{name}, but no code is run, .*save"
    ):
        load_checkpoint(tmp_path / "x.pt")
    assert os.listdir(tmp_path) == ["x.pt"]


def test_tensors_of_a_device_that_is_absent(tmp_path):
    inner = zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(3)})))
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in inner.namelist():
            data = inner.read(name)
            archive.writestr(name, data.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:3"))
    assert b"cuda:3" in (tmp_path / "x.pt").read_bytes()
    assert load_checkpoint(tmp_path / "x.pt")["a"].tolist() == [1, 1, 1]


def test_a_tensor_that_claims_more_than_the_file_has(tmp_path):
    inner = zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(3)})))
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in inner.namelist():
            data = inner.read(name)
            if name.endswith("data.pkl"):
                assert data.count(b"K\x03") == 2  # numbers in the storage, and the shape
                data = data.replace(b"K\x03", b"J\x00\x00\x00\x01")
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="is truncated or damaged"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': ((((((, }",
        b"{'descr': 'nonsense', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_headers_of_arrays(tmp_path, header):
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", head + bytes(12))
    with pytest.raises(CheckpointError, match=r"is truncated or damaged|arrays of Python objects"):
        load_checkpoint(tmp_path / "x.npz")


def altered(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, changed, shortened or lengthened somewhere."""
    data = bytearray(content)
    place = int(rng.integers(max(len(data), 1)))
    match rng.integers(6):
        case 0:
            del data[place:]
        case 1:
            data[place : place + 1] = rng.bytes(1)
        case 2:
            for other in rng.integers(max(len(data), 1), size=8):
                data[other : other + 1] = rng.bytes(1)
        case 3:
            del data[place : place + int(rng.integers(1, 40))]
        case 4:
            data[place:place] = rng.bytes(int(rng.integers(1, 40)))
        case _:
            data[place : place + 4] = b"\xff\xff\xff\x7f"
    return bytes(data)


def altered_inside(content: bytes, rng: np.random.Generator) -> bytes:
    """An archive with an altered member and right checksums."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(file, "w") as archive:
        names = whole.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        chosen = rng.choice(pickles if pickles and rng.random() < 0.6 else names)
        for name in names:
            data = whole.read(name)
            archive.writestr(name, altered(data, rng) if name == chosen else data)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", [*WHOLE, *OTHERS])
def test_damaged_files_give_numbers_or_one_sentence(tmp_path, name):
    content = WHOLE[name]() if name in WHOLE else OTHERS[name][0]()
    rng = np.random.default_rng(len(content))
    path = tmp_path / name
    model = net()
    for n in range(150):
        inside = n % 2 and content.startswith(b"PK")
        path.write_bytes(altered_inside(content, rng) if inside else altered(content, rng))
        try:
            assert all(isinstance(t, torch.Tensor) for t in load_checkpoint(path).values())
            load_into(model, path)
        except CheckpointError as error:
            assert "\n" not in str(error) and len(str(error)) < 300 + 2 * len(str(path))
