"""Weights that hooks, parametrizations or ``forward`` compute, shared and stored in odd places."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from tests.model_export.frontend.corpus.outcomes import Family, Lambda, headed, lively
from tritforge.model_export.training.ttq import ternarize_model

FAMILY = Family("computed weights")
IMAGE = (1, 8, 8)


def net(change=None):
    """An ordinary network, of which ``change`` may alter layers."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 4),
    )
    if change is not None:
        change(model)
    return model


def of_a_conv(function):
    """A network whose second conv has its weight computed: ``function(weight)``."""

    class Conv(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, function(self.weight), self.bias, padding=1)

    def build():
        torch.manual_seed(1)
        return net(lambda model: model.__setitem__(2, Conv(8, 8, 3)))

    return build


# ----- hooks and parametrizations


def _prune(method, *arguments, **options):
    return lambda: net(lambda m: method(m[2], "weight", *arguments, **options))


for name, build in {
    "spectral_norm": lambda: net(lambda m: spectral_norm(m[2])),
    "spectral_norm_of_linear": lambda: net(lambda m: spectral_norm(m[6])),
    "weight_norm": lambda: net(lambda m: weight_norm(m[2])),
    "weight_norm_of_the_whole": lambda: net(lambda m: weight_norm(m[2], dim=None)),
    "weight_norm_of_inputs": lambda: net(lambda m: weight_norm(m[6], dim=1)),
    "parametrized_weight_norm": lambda: net(lambda m: parametrizations.weight_norm(m[2])),
    "parametrized_spectral_norm": lambda: net(lambda m: parametrizations.spectral_norm(m[2])),
    "orthogonal": lambda: net(lambda m: parametrizations.orthogonal(m[6])),
    "pruned_by_size": _prune(prune.l1_unstructured, 0.5),
    "pruned_at_random": _prune(prune.random_unstructured, 0.5),
    "pruned_filters": _prune(prune.ln_structured, 0.5, n=2, dim=0),
    "pruned_by_mask": _prune(prune.custom_from_mask, torch.ones(8, 8, 3, 3).triu()),
    "weight_norm_on_everything": lambda: net(
        lambda m: [weight_norm(one) for one in m if hasattr(one, "weight")]
    ),
}.items():
    FAMILY.add(name, build, IMAGE)


@FAMILY.right(*IMAGE)
def pruned_twice():
    def change(m):
        prune.l1_unstructured(m[2], "weight", 0.3)
        prune.random_structured(m[2], "weight", 0.3, dim=1)

    return net(change)


@FAMILY.right(*IMAGE)
def pruned_globally_and_removed():
    def change(m):
        chosen = [(m[2], "weight"), (m[6], "weight")]
        prune.global_unstructured(chosen, prune.L1Unstructured, amount=0.5)
        prune.remove(m[2], "weight")

    return net(change)


class Symmetric(nn.Module):
    def forward(self, w):
        return (w + w.flip(-1)) / 2


class Positive(nn.Module):
    def forward(self, w):
        return F.softplus(w)


class Lora(nn.Module):
    def __init__(self, rows, columns):
        super().__init__()
        self.a = nn.Parameter(torch.randn(rows, 2) * 0.2)
        self.b = nn.Parameter(torch.randn(2, columns) * 0.2)

    def forward(self, w):
        return w + self.a @ self.b


for name, index, make in [
    ("parametrized_symmetric", 2, Symmetric),
    ("parametrized_positive", 2, Positive),
    ("parametrized_with_lora", 6, lambda: Lora(4, 128)),
]:
    FAMILY.add(
        name,
        lambda index=index, make=make: net(
            lambda m: parametrize.register_parametrization(m[index], "weight", make())
        ),
        IMAGE,
    )


@FAMILY.right(*IMAGE)
def hook_that_scales_the_input():
    return net(lambda m: m[2].register_forward_pre_hook(lambda module, args: (args[0] * 2,)))


@FAMILY.right(*IMAGE)
def hook_with_keywords():
    def change(m):
        m[2].register_forward_pre_hook(
            lambda module, args, kwargs: ((args[0] - 0.5,), kwargs), with_kwargs=True
        )

    return net(change)


@FAMILY.right(*IMAGE)
def hook_that_changes_the_output():
    return net(lambda m: m[2].register_forward_hook(lambda module, args, out: out * 3 + 1))


@FAMILY.right(*IMAGE)
def hook_on_the_whole_model():
    return net(lambda m: m.register_forward_hook(lambda module, args, out: out - 1))


@FAMILY.right(*IMAGE)
def hook_that_sets_the_weight():
    def change(m):
        weight = m[2].weight.detach().clone()

        def hook(module, args):
            module.weight.data = weight.sign() * weight.abs().mean()

        m[2].register_forward_pre_hook(hook)

    return net(change)


@FAMILY.right(*IMAGE)
def hook_that_keeps_activations():
    kept = {}

    def change(m):
        m[2].register_forward_hook(lambda module, args, out: kept.update(last=out.detach()))

    return net(change)


# ----- quantizers as people write them


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        return w.sign()

    @staticmethod
    def backward(ctx, grad):
        (w,) = ctx.saved_tensors
        return grad * (w.abs() <= 1)


class Ternary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        threshold = 0.7 * w.abs().mean()
        mask = w.abs() > threshold
        return w.sign() * mask * w.abs()[mask].mean()

    @staticmethod
    def backward(ctx, grad):
        return grad


class RoundSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        return torch.round(x / scale).clamp(-7, 7) * scale

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def dorefa(bits):
    def quantized(w):
        levels = 2**bits - 1
        t = torch.tanh(w)
        t = t / (2 * t.abs().max()) + 0.5
        return 2 * (torch.round(t * levels) / levels) - 1

    return quantized


def detached(w):
    hard = w.sign() * w.abs().mean((1, 2, 3), keepdim=True)
    return (hard - w).detach() + w


def twn(w):
    threshold = 0.7 * w.abs().mean(dim=(1, 2, 3), keepdim=True)
    mask = (w.abs() > threshold).to(w.dtype)
    alpha = (w.abs() * mask).sum((1, 2, 3), keepdim=True) / mask.sum((1, 2, 3), keepdim=True)
    return alpha * mask * w.sign()


def twn_by_loop(w):
    parts = []
    for one in w:
        threshold = 0.7 * float(one.abs().mean())
        parts.append(torch.where(one.abs() > threshold, one.sign() * 0.3, torch.zeros_like(one)))
    return torch.stack(parts)


def by_numpy(w):
    array = w.detach().cpu().numpy()
    size = np.abs(array).mean()
    return torch.from_numpy(np.sign(array) * (np.abs(array) > size) * size)


def by_item(w):
    scale = w.abs().max().item() / 127
    return torch.round(w / scale) * scale


def standardized(w):
    mean = w.mean(dim=(1, 2, 3), keepdim=True)
    std = w.std(dim=(1, 2, 3), keepdim=True)
    return (w - mean) / (std + 1e-5)


def by_tolist(w):
    flat = sorted(w.abs().flatten().tolist())
    return w * (w.abs() >= flat[len(flat) // 2])


def by_topk(w):
    flat = w.abs().flatten()
    kept = flat.topk(flat.numel() // 3).values.min()
    return torch.where(w.abs() >= kept, w.sign() * 0.25, w * 0)


def by_quantile(w):
    low, high = w.quantile(0.3), w.quantile(0.7)
    return (w > high).float() * 0.2 - (w < low).float() * 0.3


def mixed(w):
    return torch.einsum("oihw,ok->kihw", w, torch.eye(8).flip(0))


for function in [
    Sign.apply,
    Ternary.apply,
    lambda w: RoundSte.apply(w, 0.05),
    lambda w: RoundSte.apply(w, w.abs().max() / 7),
    dorefa(1),
    dorefa(4),
    detached,
    twn,
    twn_by_loop,
    by_numpy,
    by_item,
    standardized,
    by_tolist,
    by_topk,
    by_quantile,
    mixed,
    lambda w: w.clone().clamp_(-0.1, 0.1),
    lambda w: w.half().float(),
    lambda w: w.to(torch.bfloat16).to(torch.float32),
    lambda w: torch.fake_quantize_per_tensor_affine(w, 0.02, 0, -8, 7),
    lambda w: w / w.norm(),
    lambda w: F.normalize(w.flatten(1), dim=1).view_as(w),
    lambda w: w - w.mean(),
    lambda w: w * torch.linspace(0.5, 1.5, 8).view(8, 1, 1, 1),
    lambda w: torch.rot90(w, 1, (2, 3)),
    lambda w: w.tanh() * 2,
    lambda w: torch.where(w > 0, 0.3, -0.3),
]:
    FAMILY.add(f"quantizer {len(FAMILY.cases)}", of_a_conv(function), IMAGE)


class XnorConv(nn.Module):
    """Signs of the input too, and their scale: as in XNOR-Net."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x):
        alpha = self.weight.abs().mean((1, 2, 3), keepdim=True)
        return F.conv2d(self.bn(x).sign(), self.weight.sign() * alpha, padding=1)


class LsqConv(nn.Conv2d):
    """Learned step size of weights and of activations."""

    def __init__(self):
        super().__init__(8, 8, 3, padding=1)
        self.step = nn.Parameter(torch.tensor(0.05))
        self.step_x = nn.Parameter(torch.tensor(0.1))

    def forward(self, x):
        x = torch.clamp(torch.round(x / self.step_x), 0, 15) * self.step_x
        w = torch.clamp(torch.round(self.weight / self.step), -4, 3) * self.step
        return self._conv_forward(x, w, self.bias)


class DorefaNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(128, 4)

    def forward(self, x):
        x = torch.clamp(self.conv(x), 0, 1)
        x = torch.round(x * 15) / 15
        x = F.conv2d(x, dorefa(2)(self.conv2.weight), self.conv2.bias, padding=1)
        return self.fc(F.max_pool2d(torch.clamp(x, 0, 1), 2).flatten(1))


# One step of an 8-bit code decides a rounding to few levels, so integers differ more.
FAMILY.add("xnor_net", lambda: net(lambda m: m.__setitem__(2, lively(XnorConv()))), IMAGE,
           tables=True, error=0.5)  # fmt: skip
FAMILY.add("xnor_net_without_tables", lambda: net(lambda m: m.__setitem__(2, XnorConv())), IMAGE,
           r"activation_tables")  # fmt: skip
FAMILY.add("lsq", lambda: net(lambda m: m.__setitem__(2, LsqConv())), IMAGE, tables=True,
           error=0.1)  # fmt: skip
FAMILY.add("dorefa_net", DorefaNet, IMAGE, tables=True, error=0.2)


# ----- weights in odd places


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(16, 6)
        self.bias = nn.Parameter(torch.randn(16))

    def forward(self, x):
        return F.linear(torch.relu(self.enc(x)), self.enc.weight.t(), self.bias)


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([torch.randn(8, 16) / 4, torch.randn(3, 8) / 3])
        self.biases = nn.ParameterDict({"b0": torch.randn(8), "b1": torch.randn(3)})

    def forward(self, x):
        for n, w in enumerate(self.weights):
            x = x @ w.T + self.biases[f"b{n}"]
            x = x.relu() if n == 0 else x
        return x


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.randn(6, 3, 3, 3) / 5)
        self.register_buffer("mean", torch.rand(3, 1, 1))
        self.register_buffer("std", torch.rand(3, 1, 1) + 0.5, persistent=False)

    def forward(self, x):
        return F.conv2d((x - self.mean) / self.std, self.w, padding=1)


class Einsum(nn.Module):
    def __init__(self, equation, *shape):
        super().__init__()
        self.equation = equation
        self.w = nn.Parameter(torch.randn(*shape) / 3)

    def forward(self, x):
        return torch.einsum(self.equation, x, self.w)


class PlainAttribute(nn.Module):
    """The weight is no parameter."""

    def __init__(self):
        super().__init__()
        self.w = torch.randn(16, 5)

    def forward(self, x):
        return x @ self.w


class Ema(nn.Module):
    """Runs with moving averages when it does not train."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.register_buffer("average", torch.randn(4, 1, 3, 3))

    def forward(self, x):
        weight = self.conv.weight if self.training else self.average
        return F.conv2d(x, weight, self.conv.bias)


class Generated(nn.Module):
    """A network makes the weights of another, of a constant code."""

    def __init__(self):
        super().__init__()
        self.code = nn.Parameter(torch.randn(6))
        self.maker = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4 * 9))

    def forward(self, x):
        return F.conv2d(x, self.maker(self.code).view(4, 1, 3, 3))


class Assigned(nn.Module):
    """Binarizes its weights in place, and puts them back, as BinaryConnect does."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x):
        for layer in (self.fc1, self.fc2):
            saved = layer.weight.data.clone()
            layer.weight.data = layer.weight.data.sign() * 0.1
            x = torch.relu(layer(x)) if layer is self.fc1 else layer(x)
            layer.weight.data.copy_(saved)
        return x


class BinarizedInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8)

    def forward(self, x):
        with torch.no_grad():
            self.fc.weight.copy_(self.fc.weight.sign())
        return self.fc(x)


class SameWeightTwice(nn.Module):
    """One weight, written anew between its uses."""

    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.eye(6))

    def forward(self, x):
        x = x @ self.w.mul_(0).add_(torch.eye(6).flip(0))
        return torch.relu(x) @ self.w.copy_(torch.eye(6) * 2)


class DataSetOutside(nn.Linear):
    def __init__(self):
        super().__init__(16, 4)
        self.weight.data = torch.randn(4, 16).round()


class Circulant(nn.Module):
    def __init__(self):
        super().__init__()
        self.row = nn.Parameter(torch.randn(8))

    def forward(self, x):
        return x @ torch.stack([self.row.roll(n) for n in range(8)])


class Experts(nn.Module):
    """A batched product with one matrix for each of its groups."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(2, 8, 5))

    def forward(self, x):
        return torch.cat([x[:, n * 8 : n * 8 + 8] @ self.w[n] for n in range(2)], 1)


class Kronecker(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return F.linear(x, torch.kron(self.a, self.b))


for build, shape in [
    (Tied, (16,)),
    (Listed, (16,)),
    (Buffers, (3, 8, 8)),
    (lambda: Einsum("nchw,oc->nohw", 5, 3), (3, 6, 6)),
    (lambda: Einsum("nf,fo->no", 12, 5), (12,)),
    (lambda: Einsum("nlc,co->nlo", 6, 5), (7, 6)),
    (lambda: Einsum("nchw,chwo->no", 3, 4, 4, 5), (3, 4, 4)),
    (lambda: Einsum("nchw,c->nchw", 3), (3, 4, 4)),
    (lambda: Einsum("nchw,c->nhw", 3), (3, 4, 4)),
    (PlainAttribute, (16,)),
    (Ema, IMAGE),
    (Generated, IMAGE),
    (Assigned, (16,)),
    (BinarizedInPlace, (16,)),
    (SameWeightTwice, (6,)),
    (DataSetOutside, (16,)),
    (Circulant, (8,)),
    (Experts, (16,)),
    (Kronecker, (16,)),
]:
    FAMILY.add(f"place {len(FAMILY.cases)}", build, shape)


@FAMILY.right(*IMAGE)
def shared_conv():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    return headed(lambda m, x: conv(torch.relu(conv(x))))


@FAMILY.right(*IMAGE)
def shared_parameter():
    def function(m, x):
        return m.b(torch.relu(F.conv2d(x, m.a.weight, m.b.bias, padding=1)))

    return headed(function)


@FAMILY.right(*IMAGE)
def shared_batch_norm():
    return headed(lambda m, x: m.bn(m.a(torch.relu(m.bn(m.b(x))))))


# ----- our own modules


def _ternarized(**options):
    return lambda: ternarize_model(net(), **options)


FAMILY.add("ternarized", _ternarized(), IMAGE)
FAMILY.add("ternarized_everywhere", _ternarized(first_last=True), IMAGE)
FAMILY.add("ternarized_sparse", _ternarized(sparsity=0.6), IMAGE)
FAMILY.add("ternarized_with_threshold", _ternarized(threshold=0.05), IMAGE)


@FAMILY.refused("random", *IMAGE)
def weights_drawn_in_forward():
    return net(lambda m: m.__setitem__(6, Noisy(128, 4)))


class Noisy(nn.Linear):
    """A noisy linear layer that forgets to ask whether it trains."""

    def forward(self, x):
        return F.linear(x, self.weight + 0.1 * torch.randn_like(self.weight), self.bias)


@FAMILY.refused("product of two activations", *IMAGE)
def weights_from_the_input():
    return headed(lambda m, x: F.conv2d(x, x[:1, :, :3, :3].expand(8, 8, 3, 3)))


@FAMILY.refused("product of two activations|depend on the input", 16)
def gated_by_its_own_product():
    return Lambda(lambda m, x: m.fc(x) * m.gate(x), fc=nn.Linear(16, 4), gate=nn.Linear(16, 4))
