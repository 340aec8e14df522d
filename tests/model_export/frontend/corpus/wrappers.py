"""Precisions, wrappers, compiled and scripted models, and layers that no array computes."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn

from tests.model_export.frontend.corpus.outcomes import Family, Lambda, lively

FAMILY = Family("wrappers")
IMAGE = (1, 8, 8)


def net():
    return lively(
        nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 4),
        )
    )


def quietly(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Cast(nn.Module):
    """Converts its input to another precision, and back."""

    def __init__(self, dtype):
        super().__init__()
        self.inner, self.dtype = net().to(dtype), dtype

    def forward(self, x):
        return self.inner(x.to(self.dtype)).float()


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x).float()


def lazy(seen):
    model = nn.Sequential(
        nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    )
    if seen:
        with torch.no_grad():
            model(torch.randn(2, *IMAGE))
    return model


def fused():
    model = net().eval()
    return quietly(lambda: torch.ao.quantization.fuse_modules(model, [["0", "1", "2"]]))


for name, build in {
    "plain": net,
    "frozen": lambda: net().requires_grad_(False).eval(),
    "training": lambda: net().train(),
    "channels_last": lambda: net().to(memory_format=torch.channels_last),
    "data_parallel": lambda: nn.DataParallel(net()),
    "data_parallel_inside": lambda: nn.Sequential(nn.DataParallel(net()), nn.Linear(4, 2)),
    "sequential_of_sequentials": lambda: nn.Sequential(nn.Sequential(nn.Sequential(net()))),
    "sync_batch_norm": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(net()),
    "lazy_that_has_seen_input": lambda: lazy(True),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(net()),
    "scripted": lambda: quietly(lambda: torch.jit.script(net().eval())),
    "traced": lambda: quietly(lambda: torch.jit.trace(net().eval(), torch.ones(1, *IMAGE))),
    "fused": fused,
    "fx": lambda: torch.fx.symbolic_trace(net()),
    "shared_layer": lambda: (lambda relu: nn.Sequential(net(), relu, nn.Linear(4, 4), relu,
                                                        nn.Linear(4, 2)))(nn.ReLU()),
    "large_batch_norm_eps": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, eps=1.0)),
    "batch_norm_without_affine": lambda: nn.Sequential(nn.Conv2d(1, 4, 3),
                                                       lively_without_affine()),
    "instance_norm_with_statistics": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True)),
    "alpha_dropout": lambda: nn.Sequential(net(), nn.AlphaDropout(), nn.FeatureAlphaDropout()),
    "identity_layers": lambda: nn.Sequential(nn.Identity(), net(), nn.Identity(3, key=2)),
}.items():  # fmt: skip
    FAMILY.add(name, build, IMAGE)
FAMILY.add("autocast", Autocast, IMAGE, rounds=True)


def lively_without_affine():
    norm = nn.BatchNorm2d(4, affine=False)
    nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


# ----- refused


def after_a_conv(make, function=None):
    """conv, then a layer that takes (N, 8, 8, 8)."""
    called = function or (lambda layer, x: layer(x))
    return lambda: Lambda(
        lambda m, x: called(m.layer, torch.relu(m.conv(x))),
        conv=nn.Conv2d(1, 8, 3, padding=1),
        layer=make(),
    )


def sequence(layer, x):
    return layer(x.flatten(2))[0]


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x):
        s = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(s))


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)


class HandAttention(SelfAttention):
    def forward(self, x):
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        return (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v


class RmsNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)


class Maxout(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return torch.max(self.a(x), self.b(x))


FAMILY.add("maxout", after_a_conv(Maxout), IMAGE)
FAMILY.add("transposed", after_a_conv(lambda: nn.ConvTranspose2d(8, 4, 2, 2)), IMAGE)
for name, make, function, sentence in [
    ("layer_norm", lambda: nn.LayerNorm([8, 8, 8]), None, "layer_norm is not .*batch norm"),
    ("group_norm", lambda: nn.GroupNorm(2, 8), None, "group_norm is not supported; .*batch norm"),
    ("instance_norm", lambda: nn.InstanceNorm2d(8), None, "mean and variance from the batch"),
    ("rms_norm", RmsNorm, None, "product of two activations|activation_tables|activation table"),
    ("rms_norm_of_pytorch", lambda: nn.RMSNorm([8, 8, 8]), None, "rms_norm|product|statistics"),
    ("batch_statistics", lambda: nn.BatchNorm2d(8, track_running_stats=False), None,
     "mean and variance from the batch"),
    ("local_response_norm", lambda: nn.LocalResponseNorm(2), None, "is not supported"),
    ("lstm", lambda: nn.LSTM(64, 4, batch_first=True), sequence, "recurrent|product of two"),
    ("gru", lambda: nn.GRU(64, 4, batch_first=True), sequence, "recurrent|product of two"),
    ("attention", SelfAttention, None, "attention multiplies activations|product of two"),
    ("attention_by_hand", HandAttention, None, "product of two activations"),
    ("multihead", lambda: nn.MultiheadAttention(64, 4, batch_first=True),
     lambda layer, x: layer(*[x.flatten(2)] * 3)[0], "attention multiplies|product of two"),
    ("transformer", lambda: nn.TransformerEncoderLayer(64, 4, 16, batch_first=True),
     lambda layer, x: layer(x.flatten(2)), "transformer|attention|product of two|layer_norm"),
    ("squeeze_excite", SqueezeExcite, None, "product of two activations"),
    ("embedding", lambda: nn.Embedding(10, 4), lambda layer, x: layer(x.long().clamp(0, 9)),
     "embedding is not supported; an activation's value cannot choose"),
    ("bilinear", lambda: nn.Bilinear(8, 8, 4), lambda layer, x: layer(x, x.flip(1)),
     "product of two activations|is not supported"),
    ("stft", nn.Identity, lambda layer, x: torch.stft(
        x.flatten(1), 16, window=torch.ones(16), return_complex=True).abs(), "fft|complex"),
    ("conv3d", lambda: nn.Conv3d(1, 2, 3), lambda layer, x: layer(x[:, None]), "three dimensions"),
    ("glu", lambda: nn.GLU(1), None, "glu is not supported; it multiplies two activations"),
    ("prelu_by_channel", lambda: nn.PReLU(8), None, "activation table|another slope"),
    ("fractional_pool", lambda: nn.FractionalMaxPool2d(2, 4), None, "random|fractional"),
    ("pairwise", lambda: nn.PairwiseDistance(), lambda layer, x: layer(x, x.flip(1)),
     "is not supported"),
    ("cosine", lambda: nn.CosineSimilarity(), lambda layer, x: layer(x, x.flip(1)),
     "is not supported"),
    ("softmax_in_the_middle", lambda: nn.Sequential(nn.Softmax(1), nn.Conv2d(8, 2, 1)), None,
     "softmax that is not the network's end"),
    ("dynamic_weights", nn.Identity, lambda layer, x: F.linear(x, x.mean((0, 2))[:, :8]),
     "product of two activations|others of the batch"),
]:  # fmt: skip
    FAMILY.add(name, after_a_conv(make, function), IMAGE, sentence)
for name, build, sentence in [
    ("double", lambda: Cast(torch.float64), r"Input type \(double\) and bias type \(float\)"),
    ("on_meta", lambda: net().to("meta"), "is on the meta device, where .* have no values"),
    ("lazy", lambda: lazy(False), "is a Lazy.* that has seen no input"),
    ("dynamic_quantized", lambda: quietly(lambda: torch.ao.quantization.quantize_dynamic(
        net().eval(), {nn.Linear})), "quantized|is not supported"),
    ("no_layers_for_input", lambda: nn.Linear(5, 2), "shapes cannot be multiplied"),
]:  # fmt: skip
    FAMILY.add(f"{name}_refused", build, IMAGE, sentence)
