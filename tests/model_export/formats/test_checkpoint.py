"""Checkpoints: every format there is, nothing executed, one sentence for what is wrong."""

import collections
import gzip
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.model_export import zoo
from tritforge.model_export.formats.checkpoint import CheckpointError, load_checkpoint, load_into
from tritforge.model_export.training.ttq import bake, ternarize_model

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def shared(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is absent: it is not part of the repository")
    return path


def small_net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        collections.OrderedDict(
            conv0=nn.Conv2d(1, 3, 3),
            bn0=nn.BatchNorm2d(3),
            relu=nn.ReLU(),
            conv1=nn.Conv2d(3, 4, 3, bias=False),
            flatten=nn.Flatten(),
            fc=nn.Linear(16, 2),
        )
    )


def ternary_net(**options: float) -> nn.Module:
    model = ternarize_model(small_net(), **options)
    with torch.no_grad():
        model.conv1.wp.fill_(-0.75)
        model.conv1.wn.fill_(1.5)
    return model


def latent_state(wp: str = "wp", wn: str = "wn") -> dict[str, torch.Tensor]:
    """A state dict with latent weights, Wp = -0.75, Wn = 1.5 and no threshold."""
    state = dict(ternary_net().state_dict())
    del state["conv1.threshold"], state["conv1.threshold_kind"]
    state[f"conv1.{wp}"] = state.pop("conv1.wp")
    state[f"conv1.{wn}"] = state.pop("conv1.wn")
    return state


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


class Evil:
    """Unpickled by a careless reader, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# ---- reading files ----------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_both_pickle_formats(tmp_path, zipped):
    state = small_net().state_dict()
    path = tmp_path / "net.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(path)
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_npz(tmp_path):
    state = small_net().state_dict()
    np.savez(tmp_path / "net.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    assert same(load_into(small_net(), tmp_path / "net.npz"), bake(small_net()))
    np.savez(tmp_path / "evil.npz", a=np.array([Evil(tmp_path / "ran")], dtype=object))
    with pytest.raises(CheckpointError, match=r"evil\.npz is refused: .* Python objects"):
        load_checkpoint(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {"state_dict": state}, "acc": 0.9},
        lambda state: {"net": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: collections.OrderedDict(
            (f"module._orig_mod.{name}", tensor) for name, tensor in state.items()
        ),
    ],
)
def test_wrappers_and_prefixes(tmp_path, wrap):
    state = small_net().state_dict()
    torch.save(wrap(state), tmp_path / "net.pt")
    assert list(load_checkpoint(tmp_path / "net.pt")) == list(state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(tmp_path, zipped):
    path = tmp_path / "evil.pt"
    torch.save(
        {"conv0.weight": Evil(tmp_path / "ran")}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointError, match=r"evil\.pt is refused: it asks for \w+\.mkdir"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_that_runs_code_is_refused(tmp_path):
    path = tmp_path / "evil.pkl"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(Evil(tmp_path / "ran"), protocol))
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
        assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(small_net(), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="only tensors in dictionaries are read"):
        load_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_anywhere(tmp_path, zipped):
    whole = tmp_path / "whole.pt"
    torch.save(small_net().state_dict(), whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    cut = tmp_path / "cut.pt"
    for length in [*range(0, len(data), 97), len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(
            CheckpointError, match=r"truncated or damaged, or not a|is refused: it asks"
        ):
            load_checkpoint(cut)


def test_foreign_files(tmp_path):
    path = tmp_path / "x.pt"
    generator = np.random.default_rng(0)
    for data in (
        b"",
        b"P",
        b"PK\x03\x04",
        b"hello\n" * 50,
        b"\x80\x02.",
        b"\x89PNG\r\n\x1a\n",
        *(generator.bytes(200) for _ in range(50)),
        *(b"\x80\x02" + generator.bytes(100) for _ in range(50)),
    ):
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/data.pkl", b"")
    with pytest.raises(CheckpointError, match="is a TorchScript program"):
        load_checkpoint(path)


def test_altered_bytes_never_raise_anything_else(tmp_path):
    path = tmp_path / "x.pt"
    generator = np.random.default_rng(1)
    for zipped in (True, False):
        torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(300):
            altered = data.copy()
            altered[generator.integers(len(data))] = generator.integers(256)
            path.write_bytes(altered.tobytes())
            try:
                load_checkpoint(path)
            except CheckpointError as error:
                assert "\n" not in str(error)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pt cannot be read: No such file"):
        load_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "object of type list, not a dictionary"),
        (torch.ones(2), "object of type Tensor, not a dictionary"),
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
        ({"a": "text"}, "holds no tensors"),
        ({"a": 3, "b": [torch.ones(2)]}, "holds no tensors"),
        ({"a": torch.ones(2, device="meta")}, "holds a as a sparse, quantized, complex or absent"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "holds a as a sparse, quantized, complex"),
    ],
)
def test_contents_that_are_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "x.pt")


def test_a_dictionary_that_holds_itself(tmp_path):
    content: dict[str, object] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_checkpoint(tmp_path / "x.pt")


# ---- loading into a model ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"threshold": 0.3}, {"sparsity": 0.6}])
@pytest.mark.parametrize("model_is_ternary", [True, False])
def test_our_own_modules(tmp_path, options, model_is_ternary):
    trained = ternary_net(**options)
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    model = ternarize_model(small_net()) if model_is_ternary else small_net()
    loaded = load_into(model, tmp_path / "net.pt")
    assert not loaded.training and model.training
    assert type(loaded.conv1) is type(model.conv1)
    loaded = bake(loaded)
    assert same(loaded, bake(trained))
    assert set(loaded.conv1.weight.unique().tolist()) == {-0.75, 0.0, -1.5}


@pytest.mark.parametrize("model_is_ternary", [True, False])
def test_baked_weights(model_is_ternary):
    baked = bake(ternary_net())
    with torch.no_grad():
        baked.conv1.weight[baked.conv1.weight == -0.75] = 0.75
    model = ternarize_model(small_net()) if model_is_ternary else small_net()
    assert same(load_into(model, baked.state_dict()), baked)


@pytest.mark.parametrize(
    ("wp", "wn"), [("wp", "wn"), ("Wp", "Wn"), ("W_p", "W_n"), ("w_p", "w_n"), ("pos", "neg")]
)
def test_latent_weights_in_any_spelling(wp, wn):
    expected = bake(ternary_net(threshold=0.25))
    assert same(load_into(small_net(), latent_state(wp, wn), 0.25), expected)
    with_t = latent_state(wp, wn) | {"conv1.t": torch.tensor(0.25)}
    assert same(load_into(small_net(), with_t), expected)
    wrapped = {"state_dict": latent_state(wp, wn), "t": 0.25}
    assert same(load_into(small_net(), wrapped), expected)


def test_a_single_layer_as_the_model():
    state = {"weight": torch.tensor([[0.9, -0.9, 0.1]]), "Wp": 2.0, "Wn": torch.tensor([3.0])}
    loaded = load_into(nn.Linear(3, 1, bias=False), state, 0.5)
    assert loaded.weight.tolist() == [[2.0, -3.0, 0.0]]


def test_threshold_needed_and_absent():
    with pytest.raises(
        CheckpointError,
        match=r"latent weights, Wp and Wn for conv1, .*give it "
        r"with --threshold",
    ):
        load_into(small_net(), latent_state())


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_threshold_out_of_range(threshold):
    with pytest.raises(CheckpointError, match=r"fraction of max \|w\| in \[0, 1\), not"):
        load_into(small_net(), latent_state(), threshold)


def test_threshold_in_the_checkpoint_wins_or_contradicts():
    state = ternary_net(threshold=0.25).state_dict()
    assert same(load_into(small_net(), state, 0.25), load_into(small_net(), state))
    with pytest.raises(
        CheckpointError,
        match=r"trained with threshold 0\.25 in conv1, which a "
        r"threshold of 0\.1 contradicts",
    ):
        load_into(small_net(), state, 0.1)
    with pytest.raises(CheckpointError, match=r"trained with sparsity 0\.5 in conv1"):
        load_into(small_net(), ternary_net(sparsity=0.5).state_dict(), 0.5)
    bad = dict(state) | {"conv1.threshold": torch.tensor(1.5)}
    with pytest.raises(CheckpointError, match=r"has threshold 1\.5 of kind 0 for conv1"):
        load_into(small_net(), bad)


def test_no_threshold_needed_where_it_makes_no_difference():
    state = latent_state()
    state["conv1.weight"] = state["conv1.weight"].sign() * 0.2
    loaded = load_into(small_net(), state)
    assert torch.equal(loaded.conv1.weight, torch.where(state["conv1.weight"] > 0, -0.75, -1.5))
    state["conv1.weight"] = torch.where(state["conv1.weight"] > 0, -0.75, 0.0)  # +Wp already
    assert torch.equal(load_into(small_net(), state).conv1.weight, state["conv1.weight"])


def test_weights_at_the_threshold():
    weight = torch.tensor([[1.0, 0.5, -0.5, 0.25, -0.75, -1.0]])
    plain = {"fc.weight": weight, "fc.wp": 3.0, "fc.wn": 2.0}
    model = nn.Sequential(collections.OrderedDict(fc=nn.Linear(6, 1, bias=False)))
    assert load_into(model, plain, 0.5).fc.weight.tolist() == [[3, 0, 0, 0, -2, -2]]
    author = {"fc/W:0": weight.t(), "fc/Wp:0": 3.0, "fc/Wn:0": 2.0}
    assert load_into(model, author, 0.5).fc.weight.tolist() == [[3, 1, -1, 0, -2, -2]]


def test_tensorflow_names_and_layouts(tmp_path):
    model = bake(small_net())
    with torch.no_grad():
        for parameter in (*model.bn0.parameters(), *model.bn0.buffers()):
            if parameter.dim():
                parameter.copy_(torch.rand(3) + 0.5)
    arrays = {
        "conv0/W:0": model.conv0.weight.permute(2, 3, 1, 0),
        "conv0/b:0": model.conv0.bias,
        "bn0/gamma:0": model.bn0.weight,
        "bn0/beta:0": model.bn0.bias,
        "bn0/mean/EMA:0": model.bn0.running_mean,
        "bn0/variance/EMA:0": model.bn0.running_var,
        "conv1/W:0": model.conv1.weight.permute(2, 3, 1, 0),
        "fc/W:0": model.fc.weight.reshape(2, 4, 2, 2).permute(2, 3, 1, 0).reshape(16, 2),
        "fc/b:0": model.fc.bias,
        "conv0/W/Adam:0": torch.ones(3),
        "global_step:0": torch.tensor(5),
    }
    np.savez(
        tmp_path / "x.npz", **{name: tensor.detach().numpy() for name, tensor in arrays.items()}
    )
    assert same(load_into(small_net(), tmp_path / "x.npz"), model)
    renamed = {f"tower0/{name.removesuffix(':0')}": tensor for name, tensor in arrays.items()}
    assert same(load_into(small_net(), renamed), model)
    ternary = arrays | {"conv1/Wp:0": torch.tensor(-0.5), "conv1/Wn:0": torch.tensor(0.25)}
    loaded = load_into(small_net(), ternary, 0.1)
    assert set(loaded.conv1.weight.unique().tolist()) == {-0.5, 0.0, -0.25}


def test_one_error_names_everything_that_does_not_fit():
    state = latent_state()
    del state["fc.bias"], state["bn0.running_var"]
    state["extra.weight"] = torch.ones(2)
    state["conv0.weight"] = torch.ones(3, 1, 5, 5)
    state["conv1.weight"][0, 0, 0, 0] = float("nan")
    state["conv1.wn"] = torch.tensor(float("inf"))
    with pytest.raises(CheckpointError) as caught:
        load_into(small_net(), state, 0.05)
    assert str(caught.value) == (
        "the state dict does not fit the model (tensors that do: 5 of 10): "
        "missing bn0.running_var, fc.bias; "
        "unexpected extra.weight; of a wrong shape conv0.weight 3x1x5x5 instead of 3x1x3x3; "
        "NaN or infinite conv1.weight, conv1.wn"
    )


def test_incomplete_and_misplaced_scales():
    state = latent_state()
    del state["conv1.wn"]
    with pytest.raises(CheckpointError, match=r"missing conv1\.wn"):
        load_into(small_net(), state, 0.05)
    state = latent_state() | {"conv1.wp": torch.ones(4)}
    with pytest.raises(CheckpointError, match=r"of a wrong shape conv1\.wp 4 instead of \(\)"):
        load_into(small_net(), state, 0.05)
    state = latent_state() | {"conv1.Wp": torch.tensor(1.0)}
    with pytest.raises(CheckpointError, match="has wp of conv1 twice"):
        load_into(small_net(), state, 0.05)
    state = latent_state() | {"bn0.wp": torch.tensor(1.0), "bn0.wn": torch.tensor(1.0)}
    with pytest.raises(CheckpointError, match=r"unexpected bn0\.wn, bn0\.wp"):
        load_into(small_net(), state, 0.05)
    with pytest.raises(CheckpointError, match=r"missing conv1\.wp, conv1\.wn"):
        load_into(ternarize_model(small_net()), small_net().state_dict())


def test_old_batch_norm_without_count():
    state = small_net().state_dict()
    del state["bn0.num_batches_tracked"]
    assert same(load_into(small_net(), state), bake(small_net()))


# ---- trained networks of others ---------------------------------------------------------------


def mnist_test() -> tuple[torch.Tensor, torch.Tensor]:
    with gzip.open(shared("t10k-images-idx3-ubyte.gz")) as file:
        count, height, width = struct.unpack(">4xIII", file.read(16))
        images = np.frombuffer(file.read(), np.uint8).reshape(count, 1, height, width)
    with gzip.open(shared("t10k-labels-idx1-ubyte.gz")) as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    return torch.tensor(images).float() / 255, torch.tensor(labels)


def test_mnist_ttq_accuracy():
    model = load_into(zoo.mnist(), shared("mnist_ttq_cnn.ckpt"))
    for layer in (model.layer1[0], model.layer2[0], model.fc):
        assert len(layer.weight.unique()) == 3
    images, labels = mnist_test()
    with torch.no_grad():
        right = sum(
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    assert right == 9843


def test_mnist_float_and_squeezenet_are_read():
    loaded = load_into(zoo.mnist(), shared("mnist_float_cnn.ckpt"))
    assert len(loaded.fc.weight.unique()) > 10000
    state = load_checkpoint(shared("tinyimagenet_ttq_squeezenet.pth"))
    ternary = [
        tensor for name, tensor in state.items() if tensor.dim() == 4 and len(tensor.unique()) == 3
    ]
    assert len(ternary) == 24
    assert sum(tensor.numel() for tensor in ternary) == 717824


def test_the_digits_network_that_ships():
    path = Path(__file__).resolve().parents[3] / "tritforge" / "data" / "digits_ttq.pt"
    assert path.stat().st_size < 200_000
    loaded = load_into(zoo.digits(), path)
    assert len(loaded.conv2.weight.unique()) == len(loaded.conv3.weight.unique()) == 3
    with pytest.raises(
        CheckpointError,
        match=r"digits_ttq\.pt does not fit the model \(tensors that do: 1 of 16\): missing ",
    ):
        load_into(zoo.mnist(), path)
