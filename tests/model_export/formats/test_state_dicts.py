"""State dicts as people save them: the copy computes what the trained model computes."""

import collections
import copy
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from tritforge.model_export.errors import CheckpointError, ModelError
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.training.ttq import bake, ternarize_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning"),
]
State = dict[str, object]


class Net(nn.Module):
    """Parts of several kinds, one of them nested."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(4 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).flatten(1))


class Wrapper(nn.Module):
    """A module around another, under any name."""

    def __init__(self, inner: nn.Module, name: str = "module") -> None:
        super().__init__()
        self.name = name
        self.add_module(name, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(self.name)(x)


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(5))


def trained(model: nn.Module | None = None) -> nn.Module:
    """With other numbers than a new one has, batch statistics included."""
    model = Net(seed=7) if model is None else model
    with torch.no_grad():
        model.train()(images(8) * 3 + 1)
        for parameter in model.parameters():
            parameter.mul_(1.1).add_(0.01)
        model.eval()(images())
    return model


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def put(pattern: str, into: str, state: State) -> State:
    return {re.sub(pattern, into, name): tensor for name, tensor in state.items()}


def agree(loaded: nn.Module, right: nn.Module) -> bool:
    with torch.no_grad():
        expected = right.eval()(images())
        found = loaded(images())
    return not loaded.training and torch.allclose(
        found.double(), expected.double(), rtol=1e-5, atol=1e-6
    )


# ---- names ------------------------------------------------------------------------------------

NAMES = {
    "as it is": lambda s: s,
    "module.": lambda s: under("module.", s),
    "module.module.": lambda s: under("module.module.", s),
    "_orig_mod.": lambda s: under("_orig_mod.", s),
    "_orig_mod.module.": lambda s: under("_orig_mod.module.", s),
    "module._orig_mod.": lambda s: under("module._orig_mod.", s),
    "model.": lambda s: under("model.", s),
    "net.": lambda s: under("net.", s),
    "backbone.": lambda s: under("backbone.", s),
    "model.module.": lambda s: under("model.module.", s),
    "any.odd.prefix.": lambda s: under("any.odd.prefix.", s),
    "a part in DataParallel": lambda s: put(r"^features\.", "features.module.", s),
    "a part compiled": lambda s: put(r"^features\.", "features._orig_mod.", s),
    "each layer wrapped": lambda s: put(r"\.(\w+)$", r".module.\1", s),
    "both": lambda s: under("module.", put(r"^features\.", "features._orig_mod.", s)),
    "Lightning": lambda s: {"epoch": 3, "state_dict": under("model.", s), "loops": {"a": {"b": 1}}},
    "Lightning, loss weights": lambda s: {
        "state_dict": under("net.", s) | {"criterion.weight": torch.ones(4)},
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning, metrics": lambda s: {
        "state_dict": under("model.", s) | {"train_acc.correct": torch.ones(4)}
    },
    "AveragedModel": lambda s: under("module.", s) | {"n_averaged": torch.tensor(3)},
    "AveragedModel compiled": lambda s: (
        under("module._orig_mod.", s) | {"n_averaged": torch.tensor(3)}
    ),
    "loss beside": lambda s: s | {"criterion.weight": torch.ones(4), "loss_fn.pos": torch.ones(2)},
    "losses beside": lambda s: s | {"ce_loss.weight": torch.ones(3)},
    "thop counters": lambda s: s | {"total_ops": torch.zeros(1), "fc.total_params": torch.zeros(1)},
    "no counts of batches": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    "a count of batches too many": lambda s: s | {"fc.num_batches_tracked": torch.tensor(1)},
    "a counter": lambda s: s | {"step": torch.tensor(100)},
    "whole training": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "best": 0.9,
        "args": None,
    },
    "deep": lambda s: {"checkpoint": {"run": {"weights": under("module.", s)}}},
    "EMA alone": lambda s: {"ema": s, "decay": 0.99},
    "state_dict_ema alone": lambda s: {"state_dict_ema": under("module.", s)},
    "a model and its average": lambda s: {
        "state_dict": s,
        "ema_state_dict": {k: v * 2 for k, v in s.items()},
    },
    "an average inside": lambda s: (
        under("model.", s) | {f"model_ema.{k}": v * 2 for k, v in s.items()}
    ),
    "an average beside the names": lambda s: (
        s | {f"ema.{k}": v * 2 if v.is_floating_point() else v for k, v in s.items()}
    ),
    "the same twice": lambda s: under("a.", s) | under("b.", s),
    "parts apart": lambda s: {
        "features": {k[9:]: v for k, v in s.items() if k.startswith("features.")},
        "fc": {k[3:]: v for k, v in s.items() if k.startswith("fc.")},
    },
    "generator and others": lambda s: {"G": s, "D": {"conv.weight": torch.ones(3, 1, 3, 3)}},
    "double": lambda s: {k: v.double() for k, v in s.items()},
    "arrays": lambda s: {k: v.numpy() for k, v in s.items()},
    "arrays, another byte order": lambda s: {
        k: v.numpy().astype(v.numpy().dtype.newbyteorder(">")) for k, v in s.items()
    },
    "parameters": lambda s: {
        k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()
    },
    "not contiguous": lambda s: {
        k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in s.items()
    },
    "a mapping": lambda s: collections.UserDict(s),
    "an old count": lambda s: {
        k: v.reshape(1) if k.endswith("tracked") else v for k, v in s.items()
    },
    "strings beside": lambda s: s | {"arch": "net", "classes": ["a", "b"], "note": None},
}
MODELS = {
    "plain": lambda net: net,
    "in a wrapper called module": Wrapper,
    "in a wrapper called net": lambda net: Wrapper(net, "net"),
    "in two wrappers": lambda net: Wrapper(Wrapper(net), "model"),
    "in DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "compiled in DataParallel": lambda net: nn.DataParallel(torch.compile(net)),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    right = trained()
    model = Net()
    before = copy.deepcopy(model.state_dict())
    assert agree(load_into(model, NAMES[name](right.state_dict())), right)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("wrapped", MODELS)
@pytest.mark.parametrize("name", ["as it is", "module.", "model.module.", "whole training"])
def test_names_of_wrapped_models(name, wrapped):
    right = trained()
    loaded = load_into(MODELS[wrapped](Net()), NAMES[name](right.state_dict()))
    assert agree(loaded, right)


@pytest.mark.parametrize("wrapped", MODELS)
def test_a_models_own_state_dict_and_own_weights(wrapped):
    right = trained()
    model = MODELS[wrapped](right)
    assert agree(load_into(model, model.state_dict()), right)
    assert agree(load_into(model, None), right)


def test_a_part_of_a_larger_network():
    right = trained()
    whole = nn.ModuleDict({"encoder": right, "head": nn.Linear(3, 2)})
    notes: list[str] = []
    assert agree(load_into(Net(), whole.state_dict(), notes=notes), right)
    assert notes == ["ignored: head.* (2)"]


def test_submodules_that_differ_in_a_wrapper_only():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3))
            self.module = nn.Linear(3, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :3] @ self.weight @ self.module.weight

    right = Both()
    assert agree(load_into(Both(), right.state_dict()), right)
    assert agree(load_into(Both(), under("model.", right.state_dict())), right)


def test_a_single_layer_is_not_looked_for_among_others():
    layer = nn.Linear(4, 3)
    for model in (nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3))):
        for state in (under("net.", layer.state_dict()), nn.Sequential(layer).state_dict()):
            loaded = load_into(model, state | {"criterion.weight": torch.ones(3)})
            assert torch.equal(loaded(torch.ones(4)), layer(torch.ones(4)))
        two = under("head.", layer.state_dict()) | under("body.", nn.Linear(4, 4).state_dict())
        with pytest.raises(CheckpointError, match=r"tensors that do: 0 of 2\): missing .*weight"):
            load_into(model, two)


def test_distributed_data_parallel():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        right = trained()
        model = nn.parallel.DistributedDataParallel(right)
        assert agree(load_into(model, model.state_dict()), right)
        assert agree(load_into(Net(), model.state_dict()), right)
    finally:
        torch.distributed.destroy_process_group()


def test_what_is_ignored_is_said():
    state = trained().state_dict()
    notes: list[str] = []
    load_into(Net(), under("module.", state) | {"n_averaged": torch.tensor(1)}, notes=notes)
    assert notes == ["ignored: n_averaged"]
    notes.clear()
    loss = {"criterion.weight": torch.ones(2), "step": torch.tensor(3)}
    load_into(Net(), {"state_dict": under("model.", state) | loss}, notes=notes)
    assert notes == ["ignored: criterion.weight, step"]
    notes.clear()
    load_into(Net(), {"ema": state, "model": state | {"x": torch.tensor(1)}}, notes=notes)
    assert notes == ["taken: model; also there: ema", "ignored: ema.* (10), x"]


# ---- weights in parts -------------------------------------------------------------------------


def layer_of(model: nn.Module) -> nn.Conv2d:
    return model.features[3]


def with_old_weight_norm(model: nn.Module) -> nn.Module:
    weight_norm(layer_of(model))
    weight_norm(model.fc, dim=None)
    return model


def with_new_weight_norm(model: nn.Module) -> nn.Module:
    parametrizations.weight_norm(layer_of(model))
    parametrizations.weight_norm(model.fc, dim=None)
    return model


def with_old_spectral_norm(model: nn.Module) -> nn.Module:
    spectral_norm(layer_of(model))
    return model


def with_new_spectral_norm(model: nn.Module) -> nn.Module:
    parametrizations.spectral_norm(layer_of(model))
    return model


def pruned(model: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer_of(model), "weight", 0.5)
    prune.random_unstructured(model.fc, "bias", 1)
    return model


def pruned_twice(model: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer_of(model), "weight", 0.3)
    prune.ln_structured(layer_of(model), "weight", 1, n=2, dim=0)
    return model


class Halved(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


def with_own_parametrization(model: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer_of(model), "weight", Halved())
    return model


class Computed(nn.Conv2d):
    """A layer with weights of its own making."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, torch.sign(self.weight) * self.scale, self.bias, padding=1)


def with_computed_weights(model: nn.Module) -> nn.Module:
    model.features[3] = Computed(3, 4, 3, padding=1)
    return model


def with_sync_batch_norm(model: nn.Module) -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def with_hook(model: nn.Module) -> nn.Module:
    layer_of(model).register_forward_hook(lambda module, args, output: output * 2)
    return model


MAKERS = [
    with_old_weight_norm,
    with_new_weight_norm,
    with_old_spectral_norm,
    with_new_spectral_norm,
    pruned,
    pruned_twice,
    with_own_parametrization,
    with_computed_weights,
    with_sync_batch_norm,
    with_hook,
]


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
@pytest.mark.parametrize("make", MAKERS)
def test_models_with_hooks_and_parametrizations(make, prefix):
    right = trained(make(Net(7)))
    loaded = load_into(make(Net()), under(prefix, right.state_dict()))
    assert agree(loaded, right)
    assert type(layer_of(loaded)).__name__ == type(layer_of(right)).__name__
    assert loaded.state_dict().keys() == right.state_dict().keys()
    assert agree(load_into(right, None), right)


PARTS = [
    (with_old_weight_norm, with_new_weight_norm),
    (with_new_weight_norm, with_old_weight_norm),
    (with_old_spectral_norm, with_new_spectral_norm),
    (with_new_spectral_norm, with_old_spectral_norm),
    *((make, Net.eval) for make in MAKERS[:6]),
    (Net.eval, with_old_weight_norm),
    (Net.eval, with_new_weight_norm),
    (with_sync_batch_norm, Net.eval),
    (Net.eval, with_sync_batch_norm),
]


@pytest.mark.parametrize("prefix", ["", "net.module."])
@pytest.mark.parametrize(("saved", "model"), PARTS)
def test_parts_into_a_model_that_keeps_others(saved, model, prefix):
    right = trained(saved(Net(7)))
    assert agree(load_into(model(Net()), under(prefix, right.state_dict())), right)


def test_whole_weights_into_a_pruned_model():
    right = trained(pruned(Net(7)))
    whole = Net()
    load = load_into(Net(), right.state_dict()).state_dict()
    whole.load_state_dict(load)
    assert agree(load_into(right, whole.state_dict()), right)  # zero where the mask is
    with pytest.raises(CheckpointError, match=r"missing features\.3\.weight_orig"):
        load_into(pruned(Net()), trained().state_dict())


def test_parts_that_cannot_be_computed():
    with pytest.raises(CheckpointError, match=r"missing features\.3\.weight; unexpected feat") as e:
        load_into(Net(), with_own_parametrization(Net()).state_dict())
    assert "features.3.parametrizations.weight.original" in str(e.value)
    with pytest.raises(CheckpointError, match=r"missing .*parametrizations\.weight\.original"):
        load_into(with_own_parametrization(Net()), Net().state_dict())


def test_a_computed_weight_is_said():
    notes: list[str] = []
    load_into(Net(), with_old_spectral_norm(Net(3)).state_dict(), notes=notes)
    assert notes == [
        "features.3.weight: computed of features.3.weight_orig and features.3.weight_u and "
        "features.3.weight_v"
    ]


# ---- ternary ----------------------------------------------------------------------------------


def ternary(model: nn.Module) -> nn.Module:
    made = ternarize_model(model, threshold=0.3)
    with torch.no_grad():
        layer_of(made).wp.fill_(-0.5)
        layer_of(made).wn.fill_(0.25)
    return made


def latent(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if "threshold" not in name}


TERNARY = {
    "as it is": lambda s: s,
    "module.": lambda s: under("module.", s),
    "Lightning": lambda s: {"state_dict": under("model.", s)},
    "a part in DataParallel": lambda s: put(r"^features\.", "features.module.", s),
    "threshold beside": lambda s: latent(s) | {"threshold": 0.3},
    "threshold above": lambda s: {"threshold": 0.3, "state_dict": latent(s)},
    "threshold above, a prefix": lambda s: {"t": 0.3, "state_dict": under("module.", latent(s))},
    "threshold above two": lambda s: {"t": 0.3, "a": {"model": latent(s)}, "b": torch.ones(2)},
    "numbers": lambda s: {k: v.item() if k.endswith(("wp", "wn")) else v for k, v in s.items()},
    "another spelling": lambda s: put(r"\.w([pn])$", r".W\1", s),
}


@pytest.mark.parametrize("model", [Net.eval, ternary, lambda net: Wrapper(ternary(net))])
@pytest.mark.parametrize("name", TERNARY)
def test_ternary_state_dicts(name, model):
    right = ternary(trained())
    loaded = load_into(model(Net()), TERNARY[name](right.state_dict()))
    assert agree(loaded, right)
    assert agree(bake(loaded), right)


@pytest.mark.parametrize("model", [Net.eval, ternary])
def test_ternary_values_in_the_weights(model):
    right = bake(ternary(trained()))
    for state in (right.state_dict(), under("module.", right.state_dict())):
        loaded = load_into(model(Net()), state)
        assert agree(loaded, right)
        assert type(layer_of(loaded)) is nn.Conv2d


def test_a_ternary_model_in_half_precision_takes_the_checkpoints_threshold():
    right = ternary(trained())
    loaded = load_into(ternary(Net()).half(), right.state_dict())
    assert layer_of(loaded).heuristic == layer_of(right).heuristic
    assert agree(loaded, right)


def test_a_pruned_ternary_layer_keeps_its_hook():
    def make(net: nn.Module) -> nn.Module:
        made = ternary(net)
        prune.l1_unstructured(layer_of(made), "weight", 0.5)
        return made

    right = trained(make(Net(7)))
    loaded = load_into(make(Net()), right.state_dict())
    assert agree(loaded, right)
    assert agree(bake(loaded), right)


def test_a_contradicting_threshold_without_a_checkpoint():
    model = ternary(Net())
    assert agree(load_into(model, None, 0.3), model)
    with pytest.raises(CheckpointError, match=r"the model was trained with threshold 0\.3 in feat"):
        load_into(model, None, 0.1)


# ---- other kinds of models and tensors --------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_models_and_checkpoints_in_other_precisions(kind):
    right = trained()
    rounded = copy.deepcopy(right).to(kind)
    expected = copy.deepcopy(rounded).float()
    assert agree(load_into(rounded, None), expected)
    assert agree(load_into(Net(), rounded.state_dict()), expected)
    assert agree(load_into(Net().to(kind), right.state_dict()), right)
    assert agree(load_into(rounded, rounded.state_dict()), expected)
    assert next(rounded.parameters()).dtype == kind


def test_a_tensor_that_is_not_registered_changes_precision_too():
    model = Net().double()
    model.features[3].mean = torch.ones(3, dtype=torch.float64)
    assert load_into(model, None).features[3].mean.dtype == torch.float32
    assert model.features[3].mean.dtype == torch.float64


class Lazy(Net):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.features = nn.Sequential(
            nn.LazyConv2d(3, 3, padding=1),
            nn.LazyBatchNorm2d(),
            nn.ReLU(),
            nn.LazyConv2d(4, 3, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.LazyLinear(3)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_lazy_layers_take_their_shapes_from_the_checkpoint(prefix):
    right = trained()
    loaded = load_into(Lazy(), under(prefix, right.state_dict()))
    assert type(loaded.fc) is nn.Linear and type(loaded.features[1]) is nn.BatchNorm2d
    assert loaded.fc.in_features == 64 and loaded.features[3].in_channels == 3
    assert agree(loaded, right)


def test_lazy_layers_without_a_checkpoint_stay_so():
    loaded = load_into(Lazy(), None)
    assert type(loaded.fc) is nn.LazyLinear
    loaded(images())
    assert type(loaded.fc) is nn.Linear
    state = {k: v for k, v in trained().state_dict().items() if not k.startswith("fc.")}
    with pytest.raises(CheckpointError, match=r"missing fc\.weight, fc\.bias"):
        load_into(Lazy(), state)


def test_meta_models():
    right = trained()
    with torch.device("meta"):
        model = Net()
    assert agree(load_into(model, right.state_dict()), right)
    assert next(model.parameters()).is_meta
    with pytest.raises(ModelError, match="the model is on the meta device, where features"):
        load_into(model, None)
    model.register_buffer("mean", torch.ones(3, device="meta"), persistent=False)
    with pytest.raises(ModelError, match="no checkpoint has its buffers mean; build it on the CPU"):
        load_into(model, right.state_dict())
    with pytest.raises(CheckpointError, match=r"holds features\.0\.weight as a sparse, quantized"):
        load_into(Net(), model.state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_models():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    made = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    with pytest.raises(ModelError, match="layer 1 is a quantized Linear of PyTorch; give the"):
        load_into(made, None)


@pytest.mark.parametrize("compile_", [torch.jit.script, lambda m: torch.jit.trace(m, images())])
def test_torchscript_models(compile_):
    right, model = trained(), compile_(Net().eval())
    assert agree(load_into(model, right.state_dict()), right)
    assert agree(load_into(model, None), model)
    assert agree(load_into(Net(), compile_(right.eval()).state_dict()), right)


def test_tied_weights_need_one_name():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x.flatten(1)))

    right = Tied()
    state = right.state_dict()
    del state["b.weight"]
    loaded = load_into(Tied(), state)
    assert agree(loaded, right)
    assert loaded.a.weight is loaded.b.weight


def test_extra_state():
    class Counting(nn.Linear):
        count = 0

        def get_extra_state(self) -> object:
            return {"count": self.count}

        def set_extra_state(self, state: dict[str, int]) -> None:
            self.count = state["count"]

    right = nn.Sequential(nn.Flatten(), Counting(16, 3))
    right[1].count = 5
    loaded = load_into(nn.Sequential(nn.Flatten(), Counting(16, 3)), right.state_dict())
    assert loaded[1].count == 5 and agree(loaded, right)


def test_a_load_state_dict_that_raises():
    class Odd(nn.Linear):
        def load_state_dict(self, *args, **kwargs):
            raise RuntimeError("not\ntoday")

    model = Odd(2, 2)
    with pytest.raises(CheckpointError, match="its load_state_dict raises RuntimeError: not today"):
        load_into(model, model.state_dict())


# ---- what does not fit ------------------------------------------------------------------------

DOES_NOT_FIT = {
    "another network": (
        lambda s: {"conv.weight": torch.ones(1)},
        r"\(tensors that do: 0 of 11\): missing features\.0\.weight.* more; unexpected conv",
    ),
    "a layer too many": (lambda s: s | {"fc2.weight": torch.ones(3)}, r"unexpected fc2\.weight"),
    "a coefficient too many": (lambda s: s | {"fc.alpha": torch.ones(())}, "unexpected fc.alpha"),
    "a tensor too few": (lambda s: {k: v for k, v in s.items() if k != "fc.bias"}, "missing fc.bi"),
    "a wrong shape": (
        lambda s: under("module.", s | {"fc.weight": torch.ones(3, 2)}),
        r"of a wrong shape fc\.weight 3x2 instead of 3x64",
    ),
    "NaN": (lambda s: s | {"fc.bias": torch.full((3,), torch.nan)}, "NaN or infinite fc.bias"),
    "two networks": (
        lambda s: under("student.", s) | {f"teacher.{k}": v + 1 for k, v in s.items()},
        "has the network's tensors 2 times, under student and teacher; give",
    ),
    "a name twice": (
        lambda s: put(r"^fc\.", "fc.module.", s) | {"module.fc.bias": torch.ones(3)},
        "has fc.bias twice, under names that differ in a wrapper",
    ),
    "no tensors": (lambda s: {"epoch": 3}, "holds no tensors"),
    "sparse": (lambda s: s | {"fc.bias": torch.ones(3).to_sparse()}, "holds fc.bias as a sparse"),
    "complex": (lambda s: s | {"fc.bias": torch.ones(3) * 1j}, "holds fc.bias as a sparse, quan"),
    "a name with a line in it": (lambda s: s | {"a\nb": torch.ones(3)}, r"unexpected a\?b"),
}


@pytest.mark.parametrize("name", DOES_NOT_FIT)
def test_what_does_not_fit(name):
    make, message = DOES_NOT_FIT[name]
    with pytest.raises(CheckpointError, match=message) as caught:
        load_into(Net(), make(trained().state_dict()))
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_misfit_of_many_tensors_is_short():
    block = nn.Sequential(*(nn.Linear(2, 2) for _ in range(100)))
    state = {f"other_network.of_long_names.{k}_x": v for k, v in block.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"tensors that do: 0 of 200.* and \d+ more"
    ) as caught:
        load_into(block, state)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("source", [3, [torch.ones(2)], nn.Linear(2, 2), np.zeros(3)])
def test_what_is_no_checkpoint(source):
    with pytest.raises(CheckpointError, match="a file or a state dict, not an object of type"):
        load_into(nn.Linear(2, 2), source)
