"""What people write around the layers: control flow, state, oddities of classes."""

import collections
import copy
import functools
import logging
import math
import random
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.model_export.frontend.corpus.outcomes import Family, Lambda, headed, lively

FAMILY = Family("python code")
IMAGE = (1, 8, 8)

# ----- control flow on what is the same for every input; x is (N, 8, 8, 8)


def _by_shape(m, x):
    if x.shape[2] % 2:
        x = F.pad(x, (0, 1, 0, 1))
    assert x.dim() == 4, "an image"
    return m.a(x) if x.size(1) == 8 else m.b(x)


def _by_training(m, x):
    if m.training:
        x = F.dropout(x, 0.5)
    return m.a(x)


def _by_grad(m, x):
    return m.a(x) if torch.is_grad_enabled() else m.b(x)


def _by_weight(m, x):
    if m.a.weight.abs().max() > 100:
        return x
    return m.a(x)


def _by_tracing(m, x):
    if torch.jit.is_tracing() or torch.jit.is_scripting() or torch.compiler.is_compiling():
        return x
    return m.a(x)


def _by_device(m, x):
    return m.a(x.to(next(m.parameters()).device).type_as(m.a.weight))


def _loop(m, x):
    for n in range(len([m.a, m.b])):
        x = getattr(m, "ab"[n])(x)
    return x


def _while(m, x):
    while x.shape[-1] > 2:
        x = F.max_pool2d(m.a(x), 2)
    return x


def _over_samples(m, x):
    return torch.stack([m.a(one[None])[0] for one in x])


def _over_samples_by_index(m, x):
    outputs = []
    for n in range(x.shape[0]):
        outputs.append(m.b(x[n : n + 1]))
    return torch.cat(outputs, 0)


def _over_samples_in_place(m, x):
    out = torch.zeros(len(x), 8, 8, 8)
    for n, one in enumerate(x):
        out[n] = m.b(one.unsqueeze(0)).squeeze(0)
    return out


def _over_channels(m, x):
    return torch.cat([m.one(x[:, c : c + 1]) for c in range(x.shape[1])], 1)


def _recursion(m, x, depth=3):
    return x if depth == 0 else _recursion(m, torch.relu(m.b(x)), depth - 1)


def _generator(m, x):
    def features():
        y = x
        for layer in (m.a, m.b):
            y = layer(y)
            yield y

    return torch.cat([*features()], 1)


def _comprehension(m, x):
    return sum(layer(x) for layer in (m.a, m.b))


def _reduce(m, x):
    return functools.reduce(lambda y, layer: torch.relu(layer(y)), [m.a, m.b, m.a], x)


def _try(m, x):
    try:
        return m.missing(x)
    except AttributeError:
        return m.a(x)


def _dictionary(m, x):
    layers = {"one": m.a, "two": m.b}
    outputs = collections.OrderedDict((key, layer(x)) for key, layer in layers.items())
    return outputs["one"] + outputs["two"]


def _prints(m, x):
    print("shape", x.shape)
    logging.getLogger("corpus").warning("mean of the weights %s", m.a.weight.mean())
    return m.a(x)


def _shows(m, x):
    text = f"{x} {x.mean()!r}"
    return m.a(x) if text else x


def _warns(m, x):
    warnings.warn("this model is old", UserWarning, stacklevel=2)
    return m.a(x)


def _seeds(m, x):
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return m.a(x)


def _time(m, x):
    start = time.perf_counter()
    y = m.a(x)
    m.took = time.perf_counter() - start
    return y


def _numpy_constants(m, x):
    window = np.hanning(8).astype(np.float32)
    return m.a(x) * torch.from_numpy(window).view(8, 1, 1)


def _numpy_scalars(m, x):
    return m.a(x) * np.float32(0.5) + np.float64(1) * math.sqrt(2)


def _no_grad(m, x):
    with torch.no_grad():
        y = m.a(x)
    with torch.enable_grad():
        return m.b(y)


def _inference(m, x):
    with torch.inference_mode():
        return m.a(x) + 0


def _checkpointed(m, x):
    return torch.utils.checkpoint.checkpoint(m.a, x, use_reentrant=False)


def _autocast(m, x):
    with torch.autocast("cpu", enabled=False):
        return m.a(x)


def _profiled(m, x):
    with torch.profiler.record_function("layer"):
        return m.a(x)


def _vmapped(m, x):
    return torch.vmap(lambda one: F.conv2d(one[None], m.a.weight, m.a.bias, padding=1)[0])(x)


def _shape_arithmetic(m, x):
    _, _, h, w = x.shape
    out = math.prod((h, w)) // int(math.sqrt(h * w)) // 2
    return F.adaptive_avg_pool2d(x, int(torch.tensor(out)))


def _unused(m, x):
    m.b(x).sigmoid().mean().exp()
    x.argmax(1)
    return m.a(x)


def _assert_values(m, x):
    assert not torch.isnan(m.a.weight).any()
    torch._assert(x.shape[1] == 8, "channels")
    return m.a(x)


def _twice(m, x):
    return m.a(x) + m.a(x)


def _unused_branch(m, x):
    y = m.a(x)
    m.aux = m.b(y)
    return y


def _deep_copy(m, x):
    return copy.deepcopy(m.a)(x)


def _functional_call(m, x):
    return torch.func.functional_call(m.a, {"weight": m.a.weight * 2}, (x,))


def _partial(m, x):
    return functools.partial(F.conv2d, weight=m.a.weight, bias=None, padding=1)(x)


def _keyword(m, x):
    return F.max_pool2d(input=m.a(input=x), kernel_size=2)


for function in [
    _by_shape,
    _by_training,
    _by_grad,
    _by_weight,
    _by_tracing,
    _by_device,
    _loop,
    _while,
    _over_samples,
    _over_samples_by_index,
    _over_samples_in_place,
    _recursion,
    _generator,
    _comprehension,
    _reduce,
    _try,
    _dictionary,
    _prints,
    _shows,
    _warns,
    _seeds,
    _time,
    _numpy_constants,
    _numpy_scalars,
    _no_grad,
    _inference,
    _checkpointed,
    _autocast,
    _profiled,
    _vmapped,
    _shape_arithmetic,
    _unused,
    _assert_values,
    _twice,
    _unused_branch,
    _deep_copy,
    _functional_call,
    _partial,
    _keyword,
]:
    FAMILY.add(function.__name__.strip("_"), lambda function=function: headed(function), IMAGE)
FAMILY.add(
    "over_channels", lambda: headed(_over_channels, one=nn.Conv2d(1, 1, 3, padding=1)), IMAGE
)

# ----- classes


def layers():
    return {
        "conv": nn.Conv2d(1, 4, 3),
        "bn": nn.BatchNorm2d(4),
        "fc": nn.Linear(144, 3),
    }


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        for name, layer in layers().items():
            self.add_module(name, layer)
        lively(self)

    def forward(self, x):
        return self.fc(torch.relu(self.bn(self.conv(x))).flatten(1))


class Defaults(Base):
    def forward(self, x, mask=None, return_features=False, scale=1.0):
        x = torch.relu(self.conv(x)) * scale
        if mask is not None:
            x = x * mask
        return (self.fc(x.flatten(1)), x) if return_features else self.fc(x.flatten(1))


class Starred(Base):
    def forward(self, *args, **kwargs):
        (x,) = args
        return super().forward(x)


class KeywordOnly(Base):
    def forward(self, x, *, flip=False):
        return super().forward(x.flip(3) if flip else x)


class Attributes(Base):
    """Layers behind ``__getattr__`` and properties."""

    def __getattr__(self, name):
        if name == "backbone":
            return self._modules["conv"]
        return super().__getattr__(name)

    @property
    def head(self):
        return self.fc

    def forward(self, x):
        return self.head(torch.relu(self.backbone(x)).flatten(1))


class OwnCall(Base):
    def __call__(self, x):
        return self.forward(x) * 2


class Proxy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Base()

    def forward(self, x):
        return self.inner.forward(x)


class Counter(Base):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        self.seen += len(x)
        return super().forward(x)


class Cache(Base):
    """Keeps what depends on shapes alone."""

    def __init__(self):
        super().__init__()
        self.cache = {}

    def forward(self, x):
        key = tuple(x.shape[2:])
        if key not in self.cache:
            self.cache[key] = torch.linspace(0.5, 1.5, key[1])
        return super().forward(x * self.cache[key])


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(1 if n == 0 else 4, 4, 3) for n in range(3))
        self.ends = nn.ModuleDict({"a": nn.Linear(16, 3), "b": nn.Linear(16, 3)})

    def forward(self, x):
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.ends["b"](x.flatten(1))


class PlainList(nn.Module):
    """Layers that PyTorch does not know."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Half(Base):
    """Has a train method of its own, that keeps batch norm frozen."""

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self


class Switched(Base):
    """Ternary layers that choose what they do by an attribute."""

    mode = "deploy"

    def forward(self, x):
        return getattr(self, f"forward_{self.mode}")(x)

    def forward_deploy(self, x):
        return super().forward(x)


class Batchless(Base):
    """Takes one sample at a time."""

    def forward(self, x):
        assert len(x) == 1, "one image at a time"
        return super().forward(x)


class Typed(Base):
    class Features(NamedTuple):
        deep: torch.Tensor
        shallow: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(x))
        features = self.Features(self.bn(y), y)
        return self.fc((features.deep + features.shallow).flatten(1))


class TensorSubclass(torch.Tensor):
    """A tensor with a name."""


class Wrapped(Base):
    def forward(self, x):
        return super().forward(x.as_subclass(TensorSubclass)).as_subclass(torch.Tensor)


class Stochastic(Base):
    """Drops whole blocks while it trains, as stochastic depth does."""

    def forward(self, x):
        y = self.bn(torch.relu(self.conv(x)))
        if self.training and random.random() < 0.5:
            y = torch.zeros_like(y)
        return self.fc(y.flatten(1))


class Conditional(nn.Module):
    """Chooses a batch norm by a constant, as slimmable networks do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.norms = nn.ModuleList(lively(nn.BatchNorm2d(width)) for width in (4, 8))
        self.width = 4

    def forward(self, x):
        x = F.conv2d(x, self.conv.weight[: self.width], self.conv.bias[: self.width])
        return self.norms[self.width == 8](x)


for build in [
    Base,
    Defaults,
    Starred,
    KeywordOnly,
    Attributes,
    OwnCall,
    Proxy,
    Counter,
    Cache,
    Lists,
    PlainList,
    Half,
    Switched,
    Batchless,
    Typed,
    Wrapped,
    Stochastic,
    Conditional,
]:
    FAMILY.add(build.__name__, build, IMAGE)


def dozens_of_layers():
    return nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(40)),
                         nn.Linear(6, 2))  # fmt: skip


FAMILY.add(
    "very_wide", lambda: nn.Sequential(nn.Linear(8, 700), nn.ReLU(), nn.Linear(700, 3)), (8,)
)

# ----- what a model does wrong, or what no hardware does


def _raises(m, x):
    raise ValueError("this model is not finished")


def _raises_at_length(m, x):
    raise RuntimeError("unfinished " * 500)


def _raises_lines(m, x):
    raise RuntimeError("one line\n\n  another line\n")


def _asserts(m, x):
    assert x.shape[1] == 3
    return x


def _exits(m, x):
    sys.exit(3)


def _exits_with_words(m, x):
    raise SystemExit("no license")


def _interrupts(m, x):
    raise GeneratorExit


def _recurses(m, x):
    return _recurses(m, m.b(x))


def _divides(m, x):
    return m.a(x) / (len(x.shape) - 4)


def _index(m, x):
    return x[:, 99]


def _attribute(m, x):
    return m.layer_that_is_missing(x)


def _type(m, x):
    return x + "1"


def _arguments(m, x):
    return m.a(x, x)


def _cuda(m, x):
    return m.a(x.cuda())


def _by_value(m, x):
    return m.a(x) if x.mean() > 0 else m.b(x)


def _by_item(m, x):
    return m.a(x) * x.max().item()


def _by_float(m, x):
    return m.a(x) / float(x.abs().mean())


def _by_list(m, x):
    return m.a(x) * sum(x.flatten().tolist())


def _by_numpy(m, x):
    return m.a(torch.from_numpy(np.maximum(x.numpy(), 0)))


def _by_numpy_ufunc(m, x):
    return m.a(torch.as_tensor(np.asarray(x.detach().cpu()) * 2))


def _by_nonzero(m, x):
    return m.a(x)[:, : len(x.nonzero()) % 3 + 1]


def _early_exit(m, x):
    y = m.a(x)
    return y if bool((y.amax() > 1).any()) else m.b(y)


def _loop_by_value(m, x):
    for _ in range(int(x.sum()) % 3 + 1):
        x = m.b(x)
    return x


def _sorted(m, x):
    return m.a(x.sort(1)[0])


def _embedding(m, x):
    return F.embedding(x.long().clamp(0, 3), torch.eye(4))


def _indexed(m, x):
    return torch.arange(9.0)[x.argmax(1)]


def _batch_mean(m, x):
    return m.a(x - x.mean(0, keepdim=True))


def _batch_order(m, x):
    return m.a(x.flip(0))


def _batch_norm(m, x):
    return F.batch_norm(x, None, None, training=True)


def _instance_norm(m, x):
    return F.instance_norm(x)


def _first_of_the_batch(m, x):
    return m.a(x) + x[:1]


def _random_choice(m, x):
    return m.a(x) * torch.randint(1, 3, (1,))


def _swallows(m, x):
    try:
        return m.a(x) * x.mean().item()
    except Exception:
        return m.a(x)


for function, sentence in [
    (_raises, "cannot be run .*python_code.py line [0-9]+: ValueError: this model is not finished"),
    (_raises_at_length, r"RuntimeError: unfinished .* \.\."),
    (_raises_lines, "RuntimeError: one line another line"),
    (_asserts, "AssertionError"),
    (_exits, "SystemExit: "),
    (_exits_with_words, "SystemExit: "),
    (_recurses, "RecursionError"),
    (_divides, "NaN or infinite"),
    (_index, "IndexError"),
    (_attribute, "AttributeError.*layer_that_is_missing"),
    (_type, "TypeError"),
    (_arguments, "TypeError"),
    (_cuda, "CUDA|cuda"),
    (_by_value, "decides by the value of an activation"),
    (_by_item, "decides by the value|takes an activation's value"),
    (_by_float, "decides by the value|takes an activation's value"),
    (_by_list, "tolist takes an activation's values out of PyTorch"),
    (_by_numpy, "numpy takes an activation's values out of PyTorch"),
    (_by_numpy_ufunc, "takes an activation's values out of PyTorch"),
    (_by_nonzero, "decides by the value"),
    (_early_exit, "any is not supported; only what is the same for every input|decides"),
    (_loop_by_value, "decides by the value"),
    (_sorted, "sort is not supported; return the scores"),
    (_embedding, "embedding is not supported|chooses what is read"),
    (_indexed, "return the scores|chooses what is read"),
    (_batch_mean, "others of the batch"),
    (_batch_order, "others of the batch"),
    (_batch_norm, "mean and variance from the batch"),
    (_instance_norm, "mean and variance from the batch"),
    (_first_of_the_batch, "others of the batch|depends on the others"),
    (_random_choice, "randint is random"),
    (_swallows, "decides by the value|takes an activation's value"),
]:
    FAMILY.add(
        function.__name__.strip("_") + "_refused",
        lambda function=function: Lambda(
            function, a=nn.Conv2d(8, 8, 3, padding=1), b=nn.Conv2d(8, 8, 1)
        ),
        (8, 4, 4),
        sentence,
    )


class TwoInputs(Base):
    def forward(self, x, y):
        return super().forward(x + y)


class NoInput(Base):
    def forward(self):
        return super().forward(torch.zeros(1, 1, 8, 8))


class NeedsKeyword(Base):
    def forward(self, x, *, scale):
        return super().forward(x * scale)


class NoForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)


class Drifts(Base):
    """A running mean that is updated in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 8, 8))

    def forward(self, x):
        self.mean.mul_(0.5).add_(0.5 * x.mean(0))
        return super().forward(x - self.mean)


class Recurrent(Base):
    """Keeps what it has seen for the next call."""

    def __init__(self):
        super().__init__()
        self.state = None

    def forward(self, x):
        y = x if self.state is None else x + self.state.mean(0)
        self.state = x.detach()
        return super().forward(y)


class Alternates(Base):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x * (self.calls % 2 + 1))


class PythonRandom(Base):
    def forward(self, x):
        return super().forward(x * random.random())


class NumpyRandom(Base):
    def forward(self, x):
        return super().forward(x + np.random.rand())


class NanWeight(Base):
    def __init__(self):
        super().__init__()
        nn.init.constant_(self.fc.bias, float("nan"))


class HugeWeight(Base):
    def __init__(self):
        super().__init__()
        nn.init.constant_(self.fc.weight, 3e38)


for build, shape, sentence in [
    (TwoInputs, IMAGE, r"takes 2 inputs \(x, y\); one is supported"),
    (NoInput, IMAGE, "takes no input|takes 1 positional argument but 2 were given"),
    (NeedsKeyword, IMAGE, "scale"),
    (NoForward, (3,), "forward"),
    (Drifts, IMAGE, "computes something else each time it is run"),
    (Recurrent, IMAGE, "computes something else each time it is run"),
    (Alternates, IMAGE, "computes something else each time it is run"),
    (PythonRandom, IMAGE, "computes something else each time it is run"),
    (NumpyRandom, IMAGE, "computes something else each time it is run"),
    (NanWeight, IMAGE, "NaN or infinite"),
    (HugeWeight, IMAGE, "NaN or infinite"),
    (Base, (1, 9, 8), "shapes cannot be multiplied"),
    (Base, (3, 8, 8), "to have 1 channels"),
    (Base, (8,), "Expected 3D|4D|RuntimeError"),
]:
    FAMILY.add(f"{build.__name__}_{'x'.join(map(str, shape))}_refused", build, shape, sentence)
FAMILY.add("dozens_of_layers", dozens_of_layers, (6,))
