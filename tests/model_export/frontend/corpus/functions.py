"""Activation functions in all spellings, on hardware with and without activation tables."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.model_export.frontend.corpus.outcomes import Family, Lambda, headed

FAMILY = Family("functions")


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


# ----- clamps and affine maps, which need no table; x is a conv's output

for function in [
    lambda x: F.relu(x),
    lambda x: x.relu(),
    lambda x: torch.relu(x),
    lambda x: x.clamp(min=0),
    lambda x: x.clamp_min(0),
    lambda x: torch.clamp(x, 0),
    lambda x: torch.maximum(x, torch.zeros(())),
    lambda x: torch.maximum(x, torch.zeros_like(x)),
    lambda x: torch.max(x, torch.tensor(0.0)),
    lambda x: F.threshold(x, 0, 0),
    lambda x: F.relu6(x * 4),
    lambda x: F.hardtanh(x),
    lambda x: F.hardtanh(x, -0.2, 0.3),
    lambda x: F.hardtanh(x, 0, 1),
    lambda x: x.clamp(-0.5, 0.25),
    lambda x: x.clip(-0.5, None),
    lambda x: x.clamp(max=0.1),
    lambda x: x.clamp(0.1, 0.3),
    lambda x: torch.minimum(torch.maximum(x, torch.tensor(-0.3)), torch.tensor(0.4)),
    lambda x: -F.relu(-x),
    lambda x: 1 - F.relu(1 - x),
    lambda x: F.relu(x) - F.relu(-x),
    lambda x: torch.cat([F.relu(x), F.relu(-x)], 1),
    lambda x: F.relu(x - 0.1) * 3,
    lambda x: F.relu(x) * -2 + 1,
    lambda x: F.relu(x) / 255,
    lambda x: F.relu(F.relu6(F.relu(x))),
    lambda x: F.relu(x).clamp(0.1, 0.2).clamp(0, 0.15),
    lambda x: F.leaky_relu(x, 1.0),
    lambda x: F.leaky_relu(x, 0.0),
    lambda x: (x + 1) * 0.5,
    lambda x: x * 0 + x,
    lambda x: x * torch.linspace(-1, 1, 8).view(8, 1, 1),
    lambda x: x * torch.tensor([0.0, 1.0] * 4).view(1, 8, 1, 1),
    lambda x: x - x.new_tensor(0.3),
    lambda x: 2 * x - x / 3,
    lambda x: torch.addcmul(x, torch.ones(8, 1, 1), torch.full((8, 1, 1), 0.2), value=2),
    lambda x: torch.lerp(x, torch.zeros_like(x), 0.25),
    lambda x: torch.add(x, F.relu(x), alpha=-0.5),
    lambda x: torch.sub(x, 1, alpha=0.3),
    lambda x: x.mul(math.pi).div(2),
    lambda x: x.true_divide(3).neg(),
    lambda x: F.dropout(F.relu(x), 0.5, training=False),
    lambda x: nn.Identity()(x),
    lambda x: x.relu().relu_().add_(0.1),
    lambda x: x**1,
    lambda x: x.pow(1.0),
    lambda x: +x,
    lambda x: x.real,
    lambda x: x.float(),
    lambda x: x.to(torch.float64).float(),
    lambda x: torch.ops.aten.relu(x),
    lambda x: torch.special.expit(x) * 0 + x,
    lambda x: torch.nan_to_num(x),
]:
    FAMILY.add(
        f"clamp {len(FAMILY.cases)}",
        lambda function=function: headed(lambda m, x: function(m.a(x))),
        (1, 8, 8),
    )

# ----- what takes a table

TABLE = [
    lambda x: F.silu(x),
    lambda x: x * torch.sigmoid(x),
    lambda x: torch.sigmoid(x) * x,
    Swish.apply,
    lambda x: x / (1 + torch.exp(-x)),
    lambda x: x.sigmoid().mul(x),
    lambda x: F.gelu(x),
    lambda x: F.gelu(x, approximate="tanh"),
    lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    lambda x: x * torch.sigmoid(1.702 * x),
    lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    lambda x: F.mish(x),
    lambda x: x * torch.tanh(F.softplus(x)),
    lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    lambda x: F.hardswish(x),
    lambda x: x * F.relu6(x + 3) / 6,
    lambda x: F.hardsigmoid(x * 3),
    lambda x: F.relu6(x * 4 + 3) / 6,
    lambda x: torch.sigmoid(x),
    lambda x: 1 / (1 + torch.exp(-x)),
    lambda x: torch.tanh(x),
    lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    lambda x: F.leaky_relu(x, 0.1),
    lambda x: torch.max(x, 0.1 * x),
    lambda x: torch.where(x > 0, x, 0.1 * x),
    lambda x: F.relu(x) - 0.1 * F.relu(-x),
    lambda x: x.clamp(min=0) + 0.2 * x.clamp(max=0),
    lambda x: F.prelu(x, torch.tensor([0.25])),
    lambda x: F.rrelu(x),
    lambda x: F.elu(x),
    lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    lambda x: F.selu(x),
    lambda x: F.celu(x, 0.5),
    lambda x: F.softplus(x),
    lambda x: F.softplus(x, beta=2),
    lambda x: F.softsign(x),
    lambda x: x / (1 + x.abs()),
    lambda x: F.softshrink(x, 0.1),
    lambda x: F.tanhshrink(x),
    lambda x: F.logsigmoid(x),
    lambda x: x.abs(),
    lambda x: torch.max(x, -x),
    lambda x: x**2,
    lambda x: x * x,
    lambda x: x.square(),
    lambda x: x**3,
    lambda x: F.relu(x) ** 2,
    lambda x: torch.sqrt(F.relu(x) + 0.1),
    lambda x: torch.exp(-x),
    lambda x: torch.exp(-(x**2)),
    lambda x: torch.log1p(x.abs()),
    lambda x: x.sin(),
    lambda x: torch.atan(x),
    lambda x: x + torch.sin(x),
    lambda x: x * (x > 0),
    lambda x: x.abs().sqrt(),
]
for function in TABLE:
    FAMILY.add(
        f"table {len(FAMILY.cases)}",
        lambda function=function: headed(lambda m, x: function(m.a(x))),
        (1, 8, 8),
        tables=True,
        error=0.1,
    )
STEPS = [
    lambda x: torch.round(x * 4) / 4,
    lambda x: x.sign(),
    lambda x: torch.floor(x * 8) / 8,
    lambda x: (x > 0).float(),
    lambda x: torch.where(x > 0.1, 1.0, -1.0),
    lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7),
    lambda x: F.hardshrink(x, 0.1),
    lambda x: F.threshold(x, 0.1, -1),
]
for function in STEPS:
    FAMILY.add(
        f"step {len(FAMILY.cases)}",
        lambda function=function: headed(lambda m, x: function(m.a(x))),
        (1, 8, 8),
        tables=True,
        rounds=True,
        error=0.3,
    )
for number, function in enumerate(TABLE[::8]):
    FAMILY.add(
        f"without tables {number}",
        lambda function=function: headed(lambda m, x: function(m.a(x))),
        (1, 8, 8),
        "activation table; configuration wide has none: use .* preset and activation_tables = 1",
    )

# ----- functions of parts, of several layers, and before pools

for function in [
    lambda m, x: F.max_pool2d(F.silu(m.a(x)), 2),
    lambda m, x: F.avg_pool2d(torch.tanh(m.a(x)), 2),
    lambda m, x: m.bn(F.silu(m.bn(m.a(x)))),
    lambda m, x: torch.cat([torch.tanh(m.a(x)[:, :4]), F.relu(x[:, 4:])], 1),
    lambda m, x: torch.sigmoid(m.a(x) + x),
    lambda m, x: torch.tanh(F.max_pool2d(m.a(x), 2)),
    lambda m, x: m.b(torch.tanh(m.a(torch.sigmoid(m.b(x))))),
    lambda m, x: F.silu(m.a(x)).flatten(1),
    lambda m, x: F.elu(torch.cat([x, m.a(x)], 1)),
    lambda m, x: torch.tanh(m.a(x)).permute(0, 2, 3, 1),
    lambda m, x: F.pad(torch.exp(-m.a(x)), (1, 1, 1, 1)),
    lambda m, x: m.a(F.pad(torch.exp(-m.a(x)), (1, 1, 1, 1))),
    lambda m, x: F.silu(m.a(x)) + x,
    lambda m, x: nn.Sequential(nn.Tanh(), nn.Sigmoid())(m.a(x)),
]:
    FAMILY.add(
        f"composed {len(FAMILY.cases)}",
        lambda function=function: headed(function),
        (1, 8, 8),
        tables=True,
    )
FAMILY.add("input normalized", lambda: Lambda(lambda m, x: m.c((x / 255 - 0.45) / 0.22),
           c=nn.Conv2d(3, 4, 3)), (3, 6, 6))  # fmt: skip
FAMILY.add("input normalized by channel", lambda: Lambda(
    lambda m, x: m.c((x - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / 0.25),
    c=nn.Conv2d(3, 4, 3, padding=1)), (3, 6, 6))  # fmt: skip
FAMILY.add("input through a function", lambda: Lambda(
    lambda m, x: m.c(torch.log1p(x.abs())), c=nn.Conv2d(3, 4, 3)), (3, 6, 6),
           tables=True)  # fmt: skip
FAMILY.add("input clamped", lambda: Lambda(
    lambda m, x: m.c(x.clamp(-1, 1)), c=nn.Conv2d(3, 4, 3)), (3, 6, 6))  # fmt: skip

for function, sentence in [
    (lambda m, x: x * m.a(x), "the product of two activations is not supported"),
    (lambda m, x: x * torch.sigmoid(m.a(x)), "the product of two activations is not supported"),
    (lambda m, x: x / (m.a(x).abs() + 1), "the quotient of two activations is not supported"),
    (lambda m, x: F.glu(m.a(x), 1), "glu is not supported; it multiplies two activations"),
    (lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid(), "the product of two activations"),
    (lambda m, x: F.normalize(x, dim=1), "statistics of its input|norm"),
    (lambda m, x: x / x.max(), "quotient of two activations|others of the batch"),
    (lambda m, x: x / x.amax((1, 2, 3), keepdim=True), "quotient of two activations|maximum over"),
    (
        lambda m, x: F.prelu(x, torch.arange(8.0)),
        "another slope for each channel.*num_parameters=1",
    ),
    (lambda m, x: x.clamp(-torch.rand(8, 1, 1), torch.rand(8, 1, 1)), "random|another number for"),
    (lambda m, x: x.clamp(max=torch.arange(8.0).view(8, 1, 1)), "another number for each"),
    (lambda m, x: torch.where(x > 0, m.a(x), m.b(x)), "is not supported"),
    (lambda m, x: torch.where(m.a(x) > 0, x, 0), "is not supported"),
    (lambda m, x: x / 0, "NaN or infinite"),
    (lambda m, x: x + float("nan"), "NaN or infinite"),
    (lambda m, x: x * float("inf"), "NaN or infinite"),
    (lambda m, x: torch.log(m.a(x)), "NaN or infinite|calibration samples"),
    (lambda m, x: x @ x.transpose(2, 3), "product of two activations"),
    (lambda m, x: torch.atan2(x, m.a(x)), "atan2 is not supported"),
    (lambda m, x: torch.special.i0(x), "i0 is not supported"),
    (lambda m, x: torch.cdist(x.flatten(2), x.flatten(2)), "cdist.*is not supported"),
    (lambda m, x: torch.hypot(x, m.a(x)), "hypot is not supported"),
    (lambda m, x: F.gumbel_softmax(x, dim=1), "random"),
    (lambda m, x: F.dropout(x), "dropout is random in evaluation mode too; pass training"),
    (lambda m, x: F.dropout2d(x, 0.2, True), "random in evaluation mode too"),
    (lambda m, x: F.rrelu(x, training=True), "random"),
    (lambda m, x: x + torch.randn_like(x), "randn_like is random.*buffer"),
    (lambda m, x: torch.bernoulli(x.sigmoid()), "random"),
    (lambda m, x: x * torch.rand(1), "rand is random"),
]:
    FAMILY.add(
        f"refused {len(FAMILY.cases)}",
        lambda function=function: headed(function),
        (1, 8, 8),
        sentence,
    )
