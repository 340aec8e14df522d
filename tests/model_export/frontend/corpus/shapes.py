"""Inputs of other shapes, rearrangements, concatenations, heads, and what models return."""

import collections
import dataclasses
import itertools

import torch
import torch.nn.functional as F
from torch import nn

from tests.model_export.frontend.corpus.outcomes import Family, Lambda, headed

FAMILY = Family("shapes")

# ----- flattening, in the spellings that people use; x is (N, 8, 8, 8)

for function in [
    lambda m, x: x.view(x.size(0), -1),
    lambda m, x: x.view(-1, 512),
    lambda m, x: x.view(-1, x.shape[1] * x.shape[2] * x.shape[3]),
    lambda m, x: x.reshape(len(x), -1),
    lambda m, x: torch.reshape(x, (-1, 8 * 8 * 8)),
    lambda m, x: torch.flatten(x, 1),
    lambda m, x: nn.Flatten()(x),
    lambda m, x: nn.Flatten(1, 2)(x),
    lambda m, x: nn.Unflatten(1, (2, 4))(x),
    lambda m, x: x.flatten(1).unflatten(1, (4, 128)),
    lambda m, x: x.contiguous().view(x.size()[0], -1),
    lambda m, x: x.permute(0, 2, 3, 1).contiguous().view(len(x), -1),
    lambda m, x: x.permute(0, 3, 1, 2).reshape(len(x), -1),
    lambda m, x: x.transpose(1, 3).flatten(1),
    lambda m, x: x.movedim(1, -1).flatten(1),
    lambda m, x: torch.einsum("nchw->nhwc", x).flatten(1),
    lambda m, x: x.swapdims(1, 2).flatten(1),
    lambda m, x: x.flatten(2).transpose(1, 2),
    lambda m, x: x.flatten(2).mT.reshape(len(x), -1),
    lambda m, x: x.view(len(x), 8, -1).permute(0, 2, 1).flatten(1),
    lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    lambda m, x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0],
    lambda m, x: x[:, :, 3, 4],
    lambda m, x: x[..., -1].flatten(1),
    lambda m, x: x.unsqueeze(1).squeeze(1),
    lambda m, x: x[None].squeeze(0),
    lambda m, x: x.view(x.shape),
    lambda m, x: x.view_as(x),
    lambda m, x: x.expand_as(x),
    lambda m, x: torch.atleast_2d(x),
    lambda m, x: x.reshape(len(x), 4, 2, 8, 8).transpose(1, 2).reshape(len(x), 8, 8, 8),
    lambda m, x: x.unfold(2, 4, 2).flatten(1),
    lambda m, x: x.reshape(len(x), 8, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(len(x), 4, -1),
    lambda m, x: torch.cat(x.split(2, 1)[::-1], 1),
    lambda m, x: torch.cat(torch.chunk(x, 4, dim=2), 1),
    lambda m, x: torch.cat(x.unbind(3), 1),
    lambda m, x: torch.hstack([x, x[:, :2]]),
    lambda m, x: torch.stack([x, m.a(x)], dim=1).flatten(1, 2),
    lambda m, x: torch.stack([x, m.a(x)], dim=2).flatten(1, 2),
    lambda m, x: torch.column_stack([x.flatten(1), x.mean((2, 3))]),
    lambda m, x: x[:, torch.tensor([3, 1, 4, 1, 5])],
    lambda m, x: x.index_select(1, torch.tensor([7, 0])),
    lambda m, x: torch.take_along_dim(x, torch.tensor([1, 0]).view(1, 2, 1, 1), 1),
    lambda m, x: x.gather(1, torch.zeros(len(x), 1, 8, 8, dtype=torch.long)),
    lambda m, x: torch.narrow(x, 1, 0, 3),
    lambda m, x: x.diagonal(dim1=2, dim2=3),
    lambda m, x: x.tril().flatten(1),
    lambda m, x: x.rot90(2, (2, 3)),
    lambda m, x: x.flatten(1)[:, ::3],
    lambda m, x: x.flatten(1).roll(5, 1),
    lambda m, x: x.flatten(1).flip(1),
    lambda m, x: F.pad(x.flatten(1), (3, 2)),
]:
    FAMILY.add(f"flat {len(FAMILY.cases)}", lambda function=function: headed(function), (1, 8, 8))

# ----- concatenations


def _dense_block(m, x):
    features = [x]
    for layer in (m.d1, m.d2):
        features.append(torch.relu(layer(torch.cat(features, 1))))
    return torch.cat(features, 1)


def _inception(m, x):
    return torch.cat([m.b(x), m.a(x), m.five(m.b(x)), m.b(F.max_pool2d(x, 3, 1, 1))], 1)


def _unet(m, x):
    one = torch.relu(m.a(x))
    two = torch.relu(m.b(F.max_pool2d(one, 2)))
    return m.d1(torch.cat([F.interpolate(two, scale_factor=2), one[:, :4]], 1)[:, :8])


def _fpn(m, x):
    down = F.max_pool2d(m.a(x), 2)
    return m.b(x) + F.interpolate(m.b(down), scale_factor=2, mode="nearest")


def _shuffle_unit(m, x):
    one, two = x.chunk(2, dim=1)
    y = torch.cat([one, torch.relu(m.part(two))], 1)
    return y.view(len(x), 2, 4, 8, 8).transpose(1, 2).reshape(len(x), 8, 8, 8)


def _ghost(m, x):
    one = torch.relu(m.a(x))[:, :4]
    return torch.cat([one, m.cheap(one)], 1)


def _res2net(m, x):
    parts = list(x.chunk(2, 1))
    parts[1] = m.part(parts[1] + parts[0])
    return torch.cat(parts, 1) + x


def _csp(m, x):
    one, two = m.b(x).split(4, 1)
    for _ in range(2):
        two = two + torch.relu(m.part(two))
    return m.b(torch.cat((one, two), 1))


def _spp(m, x):
    return torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (3, 5, 7))], 1)


def _sppf(m, x):
    y1 = F.max_pool2d(x, 5, 1, 2)
    y2 = F.max_pool2d(y1, 5, 1, 2)
    return torch.cat((x, y1, y2), 1)


def _pyramid(m, x):
    return torch.cat([F.adaptive_avg_pool2d(x, k).flatten(1) for k in (1, 2, 4)], 1)


def _aspp(m, x):
    pooled = F.interpolate(x.mean((2, 3), keepdim=True), size=x.shape[2:])
    return torch.cat([m.b(x), F.conv2d(x, m.a.weight, padding=2, dilation=2), pooled], 1)


def _coordinates(m, x):
    rows = torch.linspace(-1, 1, 8).view(1, 1, 8, 1).expand(len(x), 1, 8, 8)
    return torch.cat([x, rows], 1)


def _constant_channel(m, x):
    return m.nine(torch.cat([x, torch.ones(len(x), 1, 8, 8)], 1))


def _focus(m, x):
    return m.a(torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1)[:, 4:12])


def _highway(m, x):
    for layer in (m.a, m.b, m.a):
        x = x + layer(torch.relu(x))
    return x


def _pre_activation(m, x):
    return x + m.a(torch.relu(m.bn(m.b(torch.relu(m.bn(x))))))


def _inverted(m, x):
    y = F.relu6(m.wide(x))
    y = F.relu6(m.depthwise(y))
    return x + m.narrow(y)


for function, layers in [
    (_dense_block, lambda: {"d1": nn.Conv2d(8, 4, 3, padding=1), "d2": nn.Conv2d(12, 4, 1)}),
    (_inception, lambda: {"five": nn.Conv2d(8, 4, 5, padding=2)}),
    (_unet, lambda: {"d1": nn.Conv2d(8, 4, 3, padding=1)}),
    (_fpn, dict),
    (_shuffle_unit, lambda: {"part": nn.Conv2d(4, 4, 3, padding=1, groups=4)}),
    (_ghost, lambda: {"cheap": nn.Conv2d(4, 4, 3, padding=1, groups=4)}),
    (_res2net, lambda: {"part": nn.Conv2d(4, 4, 3, padding=1)}),
    (_csp, lambda: {"part": nn.Conv2d(4, 4, 3, padding=1)}),
    (_spp, dict),
    (_sppf, dict),
    (_pyramid, dict),
    (_aspp, dict),
    (_coordinates, dict),
    (_constant_channel, lambda: {"nine": nn.Conv2d(9, 4, 3, padding=1)}),
    (_focus, dict),
    (_highway, dict),
    (_pre_activation, dict),
    (_inverted, lambda: {"wide": nn.Conv2d(8, 24, 1), "narrow": nn.Conv2d(24, 8, 1),
                         "depthwise": nn.Conv2d(24, 24, 3, padding=1, groups=24)}),
]:  # fmt: skip
    FAMILY.add(
        function.__name__.strip("_"),
        lambda function=function, layers=layers: headed(function, **layers()),
        (1, 8, 8),
    )

# ----- inputs of other shapes


def _channels_last():
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x.permute(0, 3, 1, 2))).flatten(1)),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(144, 5),
    )


def _channels_last_dense():
    """A linear layer on the channels of (N, H, W, C), as Keras's Dense."""
    return Lambda(
        lambda m, x: m.two(torch.relu(m.one(x)).mean((1, 2))),
        one=nn.Linear(3, 6),
        two=nn.Linear(6, 4),
    )


def _keras_flatten():
    """A port from Keras: flattens channels last."""
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x)).permute(0, 2, 3, 1).reshape(len(x), -1)),
        conv=nn.Conv2d(1, 4, 3),
        fc=nn.Linear(144, 5),
    )


def _without_channels():
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x[:, None])).flatten(1)),
        conv=nn.Conv2d(1, 4, 3),
        fc=nn.Linear(144, 5),
    )


def _reshaped_input():
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x.view(-1, 1, 8, 8))).flatten(1)),
        conv=nn.Conv2d(1, 4, 3),
        fc=nn.Linear(144, 5),
    )


def mlp(*widths, norm=False, act=nn.ReLU):
    layers = []
    for before, after in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def _patches():
    def function(m, x):
        x = x.unfold(2, 4, 4).unfold(3, 4, 4)
        x = x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return m.fc(torch.relu(m.embed(x)).mean(1))

    return Lambda(function, embed=nn.Linear(16, 8), fc=nn.Linear(8, 3))


def _video():
    """Frames folded into the batch, then averaged."""
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x.flatten(0, 1))).mean((2, 3)).view(-1, 3, 4).mean(1)),
        conv=nn.Conv2d(1, 4, 3),
        fc=nn.Linear(4, 2),
    )


def _frames_as_channels():
    return Lambda(
        lambda m, x: m.fc(torch.relu(m.conv(x.flatten(1, 2))).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(4, 2),
    )


def _siamese():
    """Two images of one sample through the same layers."""

    def function(m, x):
        one, two = (torch.relu(m.conv(part)).flatten(1) for part in x.chunk(2, 1))
        return m.fc(one - two)

    return Lambda(function, conv=nn.Conv2d(1, 4, 3), fc=nn.Linear(144, 1))


def _siamese_in_the_batch():
    def function(m, x):
        both = torch.cat([x[:, :1], x[:, 1:]], 0)
        one, two = torch.relu(m.conv(both)).flatten(1).chunk(2, 0)
        return m.fc(torch.cat([one, two], 1))

    return Lambda(function, conv=nn.Conv2d(1, 4, 3), fc=nn.Linear(288, 2))


def _two_branches():
    """A tabular part and an image part of one vector."""

    def function(m, x):
        image, rest = x[:, :64].view(-1, 1, 8, 8), x[:, 64:]
        return m.fc(torch.cat([torch.relu(m.conv(image)).flatten(1), torch.relu(m.a(rest))], 1))

    return Lambda(function, conv=nn.Conv2d(1, 4, 3), a=nn.Linear(6, 4), fc=nn.Linear(148, 2))


for build, shape in [
    (_channels_last, (8, 8, 3)),
    (_channels_last_dense, (5, 6, 3)),
    (_keras_flatten, (1, 8, 8)),
    (_without_channels, (8, 8)),
    (_reshaped_input, (64,)),
    (lambda: mlp(16, 12, 4), (16,)),
    (lambda: mlp(16, 12, 8, 4, norm=True), (16,)),
    (lambda: nn.Sequential(nn.BatchNorm1d(16), *mlp(16, 12, 4)), (16,)),
    (lambda: nn.Sequential(nn.Flatten(), *mlp(48, 12, 4)), (3, 4, 4)),
    (lambda: mlp(1, 8, 1), (1,)),
    (lambda: nn.Linear(16, 4), (16,)),
    (lambda: nn.Conv2d(3, 4, 3), (3, 6, 6)),
    (lambda: mlp(6, 8, 3), (5, 6)),
    (lambda: mlp(6, 8, 3), (4, 5, 6)),
    (lambda: mlp(6, 8, 3), (2, 3, 2, 6)),
    (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(16, 3)), (4, 4, 4)),
    (lambda: nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 3, 3)), (64,)),
    (_patches, (1, 8, 8)),
    (_video, (3, 1, 8, 8)),
    (_frames_as_channels, (3, 1, 8, 8)),
    (_siamese, (2, 8, 8)),
    (_siamese_in_the_batch, (2, 8, 8)),
    (_two_branches, (70,)),
    (lambda: nn.Identity(), (3, 4, 4)),
    (lambda: nn.Sequential(), (8,)),
    (lambda: nn.BatchNorm2d(3), (3, 4, 4)),
    (lambda: nn.ReLU(), (3, 4, 4)),
    (lambda: nn.MaxPool2d(2), (3, 4, 4)),
    (lambda: nn.AdaptiveAvgPool2d(1), (3, 4, 4)),
    (lambda: Lambda(lambda m, x: x[:, 1:]), (3, 4, 4)),
    (lambda: Lambda(lambda m, x: x), (2, 3, 4, 5)),
    (lambda: nn.Sequential(*(nn.Linear(1, 1) for _ in range(3))), (7, 1)),
    (lambda: nn.Linear(2000, 3), (2000,)),
    (lambda: nn.Linear(3, 2000), (3,)),
    (lambda: nn.Conv2d(1, 300, 1), (1, 2, 2)),
]:
    FAMILY.add(f"input {len(FAMILY.cases)}", build, shape)

# ----- ends

Result = collections.namedtuple("Result", "logits aux")


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


def ending(function):
    """conv, ReLU, conv and ``function`` of (module, what that gives)."""
    return lambda: Lambda(
        lambda m, x: function(m, m.head(torch.relu(m.conv(x)))),
        conv=nn.Conv2d(1, 6, 3, padding=1),
        head=nn.Conv2d(6, 6, 1),
    )


for function in [
    lambda m, y: y,
    lambda m, y: y.permute(0, 2, 3, 1),
    lambda m, y: y.permute(0, 2, 3, 1).reshape(len(y), -1, 3),
    lambda m, y: y.permute(0, 2, 3, 1).reshape(len(y), -1),
    lambda m, y: y.view(len(y), 2, 3, 8, 8).permute(0, 1, 3, 4, 2).contiguous(),
    lambda m, y: y.flatten(2).transpose(1, 2),
    lambda m, y: y.flatten(2),
    lambda m, y: (y,),
    lambda m, y: [y],
    lambda m, y: y.softmax(1),
    lambda m, y: F.log_softmax(y, dim=1),
    lambda m, y: F.softmax(y.flatten(1), dim=-1),
    lambda m, y: F.log_softmax(y.mean((2, 3)), dim=1),
    lambda m, y: y.permute(0, 2, 3, 1).softmax(-1),
    lambda m, y: nn.Softmax2d()(y),
    lambda m, y: F.relu(y),
    lambda m, y: y * 2 - 1,
    lambda m, y: y[:, :1],
    lambda m, y: F.interpolate(y, scale_factor=2),
    lambda m, y: F.max_pool2d(y, 2),
    lambda m, y: y + 1,
    lambda m, y: torch.cat([y, y], 1),
    lambda m, y: torch.cat([y.flatten(1), y.mean((2, 3))], 1),
    lambda m, y: y.mean((1, 2, 3)),
    lambda m, y: y.sum(1),
    lambda m, y: y[:, 0],
    lambda m, y: y.detach(),
    lambda m, y: y.double(),
    lambda m, y: y.half(),
    lambda m, y: y.transpose(2, 3),
]:
    FAMILY.add(f"end {len(FAMILY.cases)}", ending(function), (1, 8, 8))
for function in [lambda m, y: y.sigmoid(), lambda m, y: torch.tanh(y.mean((2, 3)))]:
    FAMILY.add(f"end {len(FAMILY.cases)}", ending(function), (1, 8, 8), tables=True)
for function, sentence in [
    (lambda m, y: (y, y), "returns 2 results; it must return one tensor, so wrap it"),
    (lambda m, y: {"logits": y, "aux": y}, r"returns a dictionary \(logits, aux\)"),
    (lambda m, y: {"out": y}, "returns a dictionary"),
    (lambda m, y: Result(y, None), "returns .*; it must return one tensor"),
    (lambda m, y: Output(y), "returns an object of type Output; it must return one tensor"),
    (lambda m, y: None, r"returns nothing \(None\)"),
    (lambda m, y: (), "returns 0 results"),
    (lambda m, y: y.sum().item(), "item|returns"),
    (lambda m, y: y.argmax(1), "return the scores"),
    (lambda m, y: y.topk(2, 1)[0], "return the scores"),
    (lambda m, y: y.softmax(1) * 2, "softmax that is not the network's end"),
    (lambda m, y: y.softmax(1).mean((2, 3)), "softmax that is not the network's end"),
    (lambda m, y: y[:0], r"without elements, of shape \(0, 6, 8, 8\)"),
    (lambda m, y: y[:, :0], "without elements"),
    (lambda m, y: y.sum(), "others of the batch"),
    (lambda m, y: y.flatten(), "others of the batch"),
    (lambda m, y: torch.zeros(len(y), 3), "does not depend on its input"),
    (lambda m, y: y * 0, "does not depend on its input"),
    (lambda m, y: "logits", "returns"),
    (lambda m, y: y > 0, "activation_tables"),
    (lambda m, y: torch.complex(y, y), "complex"),
    (lambda m, y: y.to_sparse(), "returns a sparse tensor"),
    (lambda m, y: y.numpy(), "returns an object of type ndarray"),
]:
    FAMILY.add(f"refused end {len(FAMILY.cases)}", ending(function), (1, 8, 8), sentence)


@FAMILY.right(1, 24, 24)
def detection_head():
    """As YOLO's: anchors x (box, classes), all pixels in one list."""

    def function(m, x):
        y = m.head(torch.relu(m.conv(x)))
        return y.view(len(y), 3, 7, 6, 6).permute(0, 1, 3, 4, 2).reshape(len(y), -1, 7)

    return Lambda(function, conv=nn.Conv2d(1, 8, 4, stride=4), head=nn.Conv2d(8, 21, 1))


@FAMILY.right(1, 16, 16)
def heads_of_two_scales():
    """As SSD's: predictions of two feature maps, one after the other."""

    def function(m, x):
        one = torch.relu(m.conv(x))
        two = torch.relu(m.down(one))
        heads = [(m.one, one), (m.two, two)]
        return torch.cat([h(y).permute(0, 2, 3, 1).reshape(len(y), -1, 4) for h, y in heads], 1)

    return Lambda(
        function,
        conv=nn.Conv2d(1, 8, 4, stride=4),
        down=nn.Conv2d(8, 8, 2, stride=2),
        one=nn.Conv2d(8, 8, 1),
        two=nn.Conv2d(8, 8, 1),
    )


@FAMILY.right(1, 16, 16)
def segmentation():
    def function(m, x):
        one = torch.relu(m.conv(x))
        two = torch.relu(m.down(one))
        return m.out(torch.cat([m.up(two), one], 1))

    return Lambda(
        function,
        conv=nn.Conv2d(1, 6, 3, padding=1),
        down=nn.Conv2d(6, 8, 3, stride=2, padding=1),
        up=nn.ConvTranspose2d(8, 6, 2, stride=2),
        out=nn.Conv2d(12, 3, 1),
    )


@FAMILY.right(1, 16, 16)
def autoencoder():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 1, 3, stride=2, padding=1, output_padding=1),
    )


@FAMILY.right(1, 8, 8)
def super_resolution():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1),
                         nn.PixelShuffle(2))  # fmt: skip
