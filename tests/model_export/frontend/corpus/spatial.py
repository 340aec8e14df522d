"""Convolutions, pools, means, padding and resizing in the spellings that people use."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.model_export.frontend.corpus.outcomes import Family, Lambda, headed

FAMILY = Family("spatial")

# ----- pools, means and maxima; x is (N, 8, 8, 8)

for function in [
    lambda m, x: F.max_pool2d(x, 2),
    lambda m, x: F.max_pool2d(x, 3, 2, 1),
    lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    lambda m, x: F.max_pool2d(x, (1, 8)),
    lambda m, x: F.max_pool2d(x, 2, stride=1),
    lambda m, x: F.max_pool2d(x, 2, stride=3),
    lambda m, x: F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1),
    lambda m, x: F.max_pool2d(F.pad(x, (1, 0, 1, 0), value=float("-inf")), 2, 1),
    lambda m, x: -F.max_pool2d(-x, 2),
    lambda m, x: F.max_pool2d(x.flip(3), 2),
    lambda m, x: F.adaptive_max_pool2d(x, 1),
    lambda m, x: F.adaptive_max_pool2d(x, (4, 2)),
    lambda m, x: F.adaptive_max_pool2d(x, (8, None)),
    lambda m, x: F.avg_pool2d(x, 2),
    lambda m, x: F.avg_pool2d(x, 3, 2, 1),
    lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    lambda m, x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    lambda m, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    lambda m, x: F.avg_pool2d(x, x.shape[2:]),
    lambda m, x: F.avg_pool2d(x, kernel_size=x.size()[2:]).squeeze(3).squeeze(2),
    lambda m, x: F.avg_pool2d(x, 2, divisor_override=1),
    lambda m, x: F.adaptive_avg_pool2d(x, 1),
    lambda m, x: F.adaptive_avg_pool2d(x, (2, 4)),
    lambda m, x: F.adaptive_avg_pool2d(x, 3),
    lambda m, x: F.adaptive_avg_pool2d(x, 5),
    lambda m, x: F.adaptive_avg_pool2d(x, 16),
    lambda m, x: F.adaptive_avg_pool2d(x, (None, 1)),
    lambda m, x: nn.AdaptiveAvgPool2d((1, 1))(x).view(x.size(0), -1),
    lambda m, x: x.mean((2, 3)),
    lambda m, x: x.mean([-1, -2], keepdim=True),
    lambda m, x: x.mean(3).mean(2),
    lambda m, x: x.view(x.size(0), x.size(1), -1).mean(2),
    lambda m, x: torch.mean(x.flatten(2), dim=-1),
    lambda m, x: x.flatten(start_dim=2).sum(-1) / 64,
    lambda m, x: torch.einsum("nchw->nc", x) / 64,
    lambda m, x: torch.einsum("nchw->nhw", x),
    lambda m, x: x.sum((2, 3)),
    lambda m, x: x.sum(1),
    lambda m, x: x.mean(1, keepdim=True),
    lambda m, x: x.mean(2),
    lambda m, x: x.mean(-1, keepdim=True),
    lambda m, x: x.mean((1, 2, 3), keepdim=True),
    lambda m, x: x.permute(0, 2, 3, 1).mean((1, 2)),
    lambda m, x: x.permute(0, 2, 3, 1).reshape(len(x), 64, 8).mean(1),
    lambda m, x: x.reshape(len(x), 4, 2, 8, 8).mean(2),
    lambda m, x: x.reshape(len(x), 2, 4, 8, 8).sum(1),
    lambda m, x: x.reshape(len(x), 8, 4, 2, 4, 2).mean((3, 5)),
    lambda m, x: x.view(len(x), 8, 4, 2, 4, 2).amax(5).amax(3),
    lambda m, x: x.view(len(x), 8, 4, 2, 8).amax(3),
    lambda m, x: x.amax((2, 3)),
    lambda m, x: x.max(3)[0].max(2)[0],
    lambda m, x: x.flatten(2).max(2).values,
    lambda m, x: torch.max(x.flatten(2), 2)[0],
    lambda m, x: x.amin((2, 3)),
    lambda m, x: x.min(-1).values,
    lambda m, x: x.amax(3) - x.amin(3),
    lambda m, x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
    lambda m, x: x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)),
    lambda m, x: x.unfold(2, 4, 4).sum(-1),
    lambda m, x: (x[:, :, ::2] + x[:, :, 1::2]) / 2,
    lambda m, x: x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2],
    lambda m, x: torch.stack([x[..., ::2, :], x[..., 1::2, :]]).mean(0),
    lambda m, x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 2),
    lambda m, x: F.avg_pool2d(m.a(x) + 1, 3, 1, 1),
    lambda m, x: F.avg_pool2d(m.bn(x), 3, 1, 1, count_include_pad=False),
    lambda m, x: F.max_pool2d(m.bn(x) * -2, 2),
    lambda m, x: F.avg_pool2d(torch.cat([x, m.a(x)], 1), 2),
    lambda m, x: F.max_pool2d(torch.cat([x, m.a(x)], 1), 2),
]:
    FAMILY.add(f"pool {len(FAMILY.cases)}", lambda function=function: headed(function), (1, 8, 8))

# ----- convolutions and paddings


def _made(make):
    return lambda: headed(lambda m, x: m.layer(x), layer=make())


for make in [
    lambda: nn.Conv2d(8, 8, 3, groups=8, padding=1),
    lambda: nn.Conv2d(8, 16, 3, groups=8),
    lambda: nn.Conv2d(8, 4, 3, groups=2, stride=2),
    lambda: nn.Conv2d(8, 4, 3, dilation=2),
    lambda: nn.Conv2d(8, 4, 3, dilation=(1, 3), padding=(1, 3)),
    lambda: nn.Conv2d(8, 4, (1, 7), padding=(0, 3)),
    lambda: nn.Conv2d(8, 4, (3, 1), stride=(2, 1)),
    lambda: nn.Conv2d(8, 4, 8),
    lambda: nn.Conv2d(8, 4, 5, padding=4),
    lambda: nn.Conv2d(8, 4, 1, stride=2),
    lambda: nn.Conv2d(8, 4, 1, padding=1),
    lambda: nn.Conv2d(8, 4, 2, padding="same"),
    lambda: nn.Conv2d(8, 4, 3, padding="same", dilation=2),
    lambda: nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"),
    lambda: nn.Conv2d(8, 4, 3, padding=2, padding_mode="replicate"),
    lambda: nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular"),
    lambda: nn.Conv2d(8, 4, (3, 5), padding=(1, 2), padding_mode="circular", stride=2),
    lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 4, 3, stride=2)),
    lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(8, 4, 3)),
    lambda: nn.Sequential(nn.ReflectionPad2d((2, 1, 0, 3)), nn.Conv2d(8, 4, 3)),
    lambda: nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(8, 4, 3, stride=2)),
    lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5), nn.Conv2d(8, 4, 3)),
    lambda: nn.Sequential(nn.ConstantPad2d((-1, -1, -2, 0), 0), nn.Conv2d(8, 4, 3)),
    lambda: nn.Sequential(nn.CircularPad2d(2), nn.Conv2d(8, 4, 3, dilation=2)),
    lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ReLU(), nn.Conv2d(8, 4, 3)),
    lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ZeroPad2d(1), nn.Conv2d(8, 4, 3)),
    lambda: nn.Sequential(nn.ZeroPad2d(1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3)),
    lambda: nn.ConvTranspose2d(8, 4, 2, stride=2),
    lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1),
    lambda: nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1),
    lambda: nn.ConvTranspose2d(8, 4, 3),
    lambda: nn.ConvTranspose2d(8, 4, 1, stride=2, padding=0),
    lambda: nn.ConvTranspose2d(8, 4, 3, stride=(1, 2), padding=(2, 0), dilation=(1, 2)),
    lambda: nn.ConvTranspose2d(8, 8, 3, stride=2, groups=4, bias=False),
    lambda: nn.ConvTranspose2d(8, 4, 1, padding=1),
    lambda: nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2), nn.BatchNorm2d(4), nn.ReLU()),
    lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 4, 3, 2), nn.ReLU()),
    lambda: nn.Unfold(3, padding=1),
    lambda: nn.Unfold(2, stride=2),
]:
    FAMILY.add(f"conv {len(FAMILY.cases)}", _made(make), (1, 8, 8))


def _same_by_hand(m, x):
    """SAME as TensorFlow has it."""
    height, width = x.shape[-2:]
    down = max((-(-height // 2) - 1) * 2 + 3 - height, 0)
    right = max((-(-width // 2) - 1) * 2 + 3 - width, 0)
    x = F.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])
    return F.conv2d(x, m.a.weight, m.a.bias, stride=2)


def _option_a(m, x):
    """The shortcut without weights of the first ResNets."""
    skip = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
    y = torch.cat([m.a(x)[:, :, ::2, ::2]] * 2, 1)
    return F.relu(y + skip)


def _option_a_by_pool(m, x):
    skip = F.avg_pool2d(x, 2)
    skip = torch.cat([skip, torch.zeros_like(skip)], 1)
    y = torch.cat([F.max_pool2d(m.a(x), 2), F.max_pool2d(m.b(x), 2)], 1)
    return y + skip


def _option_a_by_mul(m, x):
    return torch.cat((x, x.mul(0)), 1)


def _blur(m, x):
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel)[None, None] / 16
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel.expand(8, 1, 3, 3), stride=2,
                    groups=8)  # fmt: skip


for function in [
    _same_by_hand,
    _option_a,
    _option_a_by_pool,
    _option_a_by_mul,
    _blur,
    lambda m, x: F.interpolate(x, scale_factor=2),
    lambda m, x: F.interpolate(x, size=(12, 16)),
    lambda m, x: F.interpolate(x, (5, 3), mode="nearest"),
    lambda m, x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    lambda m, x: F.interpolate(x, scale_factor=0.5),
    lambda m, x: nn.Upsample(scale_factor=(1, 2))(x),
    lambda m, x: m.a(F.interpolate(x, scale_factor=2)),
    lambda m, x: x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3),
    lambda m, x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(len(x), 8, 16, 16),
    lambda m, x: torch.kron(x, torch.ones(1, 1, 2, 2)),
    lambda m, x: x.repeat(1, 1, 2, 1),
    lambda m, x: torch.tile(x, (1, 2, 1, 1)),
    lambda m, x: F.pixel_shuffle(x, 2),
    lambda m, x: F.pixel_unshuffle(x, 2),
    lambda m, x: m.a(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)),
    lambda m, x: F.channel_shuffle(x, 2),
    lambda m, x: x.view(len(x), 2, 4, 8, 8).transpose(1, 2).reshape(len(x), 8, 8, 8),
    lambda m, x: m.a(torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1)[:, ::2]),
    lambda m, x: m.a(x[:, :, 1:7, ::2]),
    lambda m, x: m.a(x[:, :, :, torch.arange(7, -1, -1)]),
    lambda m, x: m.a(x.roll(1, 1)),
    lambda m, x: m.a(x.roll((2, -3), (2, 3))),
    lambda m, x: m.a(x.flip((2, 3))),
    lambda m, x: m.a(x[:, :, :5]),
    lambda m, x: m.a(x.narrow(2, 1, 6).narrow(3, 0, 3)),
    lambda m, x: torch.nn.functional.unfold(x, 2, stride=2).view(len(x), 32, 4, 4),
    lambda m, x: m.b(torch.nn.functional.pad(x, (-1, -1))),
    lambda m, x: m.a(F.pad(x, (0, 0, 0, 0, 2, -2))),
    lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    lambda m, x: nn.Upsample(scale_factor=4, mode="bilinear")(x[:, :2, :4, :4]),
    lambda m, x: F.interpolate(m.a(x), scale_factor=(1, 2), mode="bilinear"),
    lambda m, x: F.interpolate(x.mean(2), scale_factor=2, mode="linear"),
    lambda m, x: torch.maximum(x, m.a(x)),
    lambda m, x: torch.max(m.a(x), m.b(x)),
    lambda m, x: torch.minimum(m.a(x), x),
    lambda m, x: torch.stack([m.a(x), m.b(x), x], 0).amax(0),
    lambda m, x: torch.stack([m.a(x), m.b(x)]).mean(0),
    lambda m, x: torch.stack([m.a(x), m.b(x)]).sum(dim=0),
    lambda m, x: torch.stack([m.a(x), m.b(x)], -1).sum(-1),
    lambda m, x: (torch.stack([m.a(x), m.b(x)]) + x).mean(0),
    lambda m, x: m.a(x).view(len(x), 2, 4, 8, 8).amax(1),
    lambda m, x: m.a(x).max(1, keepdim=True).values,
    lambda m, x: m.a(torch.cat([x, x.flip(3)], 0)).unflatten(0, (2, -1)).mean(0),
    lambda m, x: F.avg_pool2d(x.view(-1, 1, 8, 8), 2).view(len(x), 8, 4, 4),
    lambda m, x: m.a(x.repeat_interleave(2, 0)).view(len(x), 2, 8, 8, 8)[:, 0],
    lambda m, x: F.interpolate(x, size=(4, 4), mode="bilinear"),
]:
    FAMILY.add(
        f"movement {len(FAMILY.cases)}", lambda function=function: headed(function), (1, 8, 8)
    )

# ----- refused

for function, sentence in [
    (lambda m, x: F.max_pool2d(x, 3, dilation=2), "max-pool with dilation is not supported"),
    (lambda m, x: F.adaptive_max_pool2d(x, 5), "use max_pool2d with a kernel"),
    (
        lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1].float(),
        "uses result 2 of max_pool2d",
    ),
    (lambda m, x: F.fold(F.unfold(x, 2), (8, 8), 2), "col2im is not supported"),
    (lambda m, x: nn.UpsamplingBilinear2d(scale_factor=2)(x), "use a whole scale_factor"),
    (lambda m, x: nn.BatchNorm2d(8)(x), "eval.. does not reach this batch norm.*nn.ModuleList"),
    (lambda m, x: F.interpolate(x, scale_factor=2, mode="bicubic"), "use bilinear or nearest"),
    (lambda m, x: F.lp_pool2d(x, 2, 2), "activation_tables|power"),
    (lambda m, x: m.a(x.transpose(2, 3)), "rows and columns"),
    (
        lambda m, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        "uses result 2|max_unpool",
    ),
    (lambda m, x: F.grid_sample(x, torch.zeros(len(x), 4, 4, 2)), "grid_sampl"),
    (lambda m, x: x.std((2, 3)), "divides by statistics"),
    (lambda m, x: x.median(3).values, "median is not supported"),
    (lambda m, x: x.norm(dim=1), "norm"),
    (lambda m, x: x.cumsum(2), "cumsum is not supported"),
    (lambda m, x: torch.fft.rfft(x).real, "complex numbers|fft"),
    (lambda m, x: F.local_response_norm(x, 2), "avg_pool3d"),
    (lambda m, x: F.conv3d(x[:, None], torch.ones(1, 1, 3, 3, 3)), "three dimensions"),
]:
    FAMILY.add(
        f"refused {len(FAMILY.cases)}",
        lambda function=function: headed(function),
        (1, 8, 8),
        sentence,
    )
for layer, shape, sentence in [
    (lambda: nn.Conv2d(1, 2, 11), (1, 8, 8), "the kernel does not fit its input|Kernel size"),
    (lambda: nn.MaxPool2d(9), (1, 8, 8), "9 x 9 window does not fit|too small"),
    (lambda: nn.AvgPool2d(9), (1, 8, 8), "9 x 9 window does not fit|too small"),
    (lambda: nn.Conv2d(3, 2, 1), (1, 8, 8), "expected input.* to have 3 channels"),
    (lambda: nn.Linear(9, 2), (1, 8, 8), "shapes cannot be multiplied"),
    (lambda: nn.ReflectionPad2d(9), (1, 8, 8), "[Pp]adding size"),
]:
    FAMILY.add(
        f"shapes {len(FAMILY.cases)}",
        lambda layer=layer: nn.Sequential(layer()),
        shape,
        sentence,
    )

# ----- one-dimensional


def audio(*layers):
    return lambda: nn.Sequential(*(make() for make in layers))


for layers, shape in [
    ([lambda: nn.Conv1d(2, 8, 5, stride=2), nn.ReLU, lambda: nn.Conv1d(8, 4, 3)], (2, 32)),
    ([lambda: nn.Conv1d(2, 8, 3, padding=1), lambda: nn.MaxPool1d(2), nn.Flatten,
      lambda: nn.Linear(128, 4)], (2, 32)),
    ([lambda: nn.Conv1d(2, 8, 3, dilation=4, padding="same"), nn.ReLU,
      lambda: nn.AdaptiveAvgPool1d(1), nn.Flatten, lambda: nn.Linear(8, 4)], (2, 32)),
    ([lambda: nn.Conv1d(2, 8, 9), lambda: nn.BatchNorm1d(8), nn.ReLU, lambda: nn.AvgPool1d(4),
      lambda: nn.Conv1d(8, 4, 3)], (2, 32)),
    ([lambda: nn.Conv1d(2, 8, 3, padding=1, padding_mode="circular"), lambda: nn.AvgPool1d(3, 2, 1),
      nn.Flatten, lambda: nn.Linear(128, 4)], (2, 32)),
    ([lambda: nn.ReflectionPad1d(2), lambda: nn.Conv1d(2, 8, 5, groups=2)], (2, 32)),
    ([lambda: nn.ConvTranspose1d(2, 4, 4, stride=2, padding=1), nn.ReLU,
      lambda: nn.Conv1d(4, 2, 3)], (2, 16)),
    ([lambda: nn.Conv1d(1, 8, 16, stride=8), nn.ReLU, lambda: nn.Upsample(scale_factor=2),
      lambda: nn.Conv1d(8, 2, 3)], (1, 64)),
    ([lambda: nn.ConstantPad1d((2, 0), 0), lambda: nn.Conv1d(2, 4, 3)], (2, 16)),
    ([lambda: nn.AdaptiveMaxPool1d(4), lambda: nn.Conv1d(2, 4, 3)], (2, 16)),
]:  # fmt: skip
    FAMILY.add(f"audio {len(FAMILY.cases)}", audio(*layers), shape)


@FAMILY.right(1, 64)
def wave_to_spectrum():
    """Frames, windowed and multiplied with a matrix of cosines."""
    basis = torch.cos(torch.outer(torch.arange(16.0), torch.arange(8.0)) / 4)
    return Lambda(lambda m, x: m.fc(x.squeeze(1).unfold(1, 16, 8) @ basis), fc=nn.Linear(8, 3))


@FAMILY.right(64)
def wave_without_channels():
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x.unsqueeze(1))).mean(2)),
        conv=nn.Conv1d(1, 8, 8, stride=4),
        fc=nn.Linear(8, 3),
    )


@FAMILY.right(16, 6)
def sequence_last_channels():
    """(N, L, C) into a Conv1d."""
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x.transpose(1, 2))).amax(2)),
        conv=nn.Conv1d(6, 8, 3, padding=1),
        fc=nn.Linear(8, 3),
    )


@FAMILY.right(1, 12, 10)
def spectrogram_as_channels():
    """(N, 1, F, T) whose frequencies become a Conv1d's channels."""
    return Lambda(
        lambda m, x: m.conv(x.squeeze(1)).mean(-1),
        conv=nn.Conv1d(12, 8, 3),
    )


@FAMILY.right(2, 40)
def causal_blocks():
    def function(m, x):
        x = m.first(x)
        for n, layer in enumerate((m.one, m.two)):
            y = F.relu(layer(F.pad(x, (2 * 2**n, 0))))
            x = x + y
        return m.last(x)[..., -1]

    return Lambda(
        function,
        first=nn.Conv1d(2, 6, 1),
        one=nn.Conv1d(6, 6, 3),
        two=nn.Conv1d(6, 6, 3, dilation=2),
        last=nn.Conv1d(6, 3, 1),
    )


@FAMILY.right(1, 8, 9)
def linear_on_frequencies():
    """A linear layer along the last axis of an image, as audio networks have."""
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x))).flatten(1),
        conv=nn.Conv2d(1, 4, 3, padding=1),
        fc=nn.Linear(9, 3),
    )


@FAMILY.right(1, 8, 9)
def linear_on_channels_and_rows():
    """(N, C, H, W) -> (N, W, C * H) -> linear: what comes before a recurrent layer."""
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x)).flatten(1, 2).transpose(1, 2)).mean(1),
        conv=nn.Conv2d(1, 4, 3, padding=1),
        fc=nn.Linear(32, 3),
    )


@FAMILY.right(6, 8)
def mixer():
    """Linear layers over tokens and over channels, as in an MLP-Mixer without its norms."""

    def function(m, x):
        x = x + m.tokens(x.transpose(1, 2)).transpose(1, 2)
        x = torch.relu(x)
        return m.fc((x + m.channels(x)).mean(1))

    return Lambda(function, tokens=nn.Linear(6, 6), channels=nn.Linear(8, 8), fc=nn.Linear(8, 3))
