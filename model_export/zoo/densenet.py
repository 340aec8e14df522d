"""A DenseNet with pre-activation for Tiny ImageNet (Huang et al., 2017; DenseNet-BC, k = 12)."""

import torch
from torch import Tensor, nn

__all__ = ["densenet"]

#: Channels that each layer adds, and layers of each block.
GROWTH, BLOCKS = 12, (8, 12, 10)


class _DenseLayer(nn.Module):
    """Batch norm, ReLU, 1x1 conv to 4k, batch norm, ReLU, 3x3 conv to k, beside its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return torch.cat([x, new], 1)


class _Transition(nn.Sequential):
    """Batch norm, ReLU, 1x1 conv to half of the channels, average pool."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add_module("norm", nn.BatchNorm2d(channels))
        self.add_module("relu", nn.ReLU())
        self.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
        self.add_module("pool", nn.AvgPool2d(2))


class _DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        channels = 4 * GROWTH
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, channels, 3, padding=1, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(channels))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, padding=1))
        for number, count in enumerate(BLOCKS, 1):
            layers = [_DenseLayer(channels + GROWTH * index) for index in range(count)]
            self.features.add_module(f"block{number}", nn.Sequential(*layers))
            channels += GROWTH * count
            if number < len(BLOCKS):
                self.features.add_module(f"transition{number}", _Transition(channels))
                channels //= 2
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.AvgPool2d(7)
        self.classifier = nn.Linear(channels, 200)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.norm(self.features(x)).relu())
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def densenet() -> nn.Module:
    """A DenseNet of three blocks: input (N, 3, 56, 56), output (N, 200)."""
    return _DenseNet()
