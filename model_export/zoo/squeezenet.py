"""SqueezeNet with batch norm before each conv, for Tiny ImageNet.

The network that TropComplique/trained-ternary-quantization (MIT) trains with TTQ; parameters have
its names.
"""

import torch
from torch import Tensor, nn

__all__ = ["squeezenet"]


class _Fire(nn.Module):
    """A 1x1 conv to ``squeezed`` channels, then a 1x1 and a 3x3 conv to ``rows`` each, side by
    side; batch norm and ReLU before each."""

    def __init__(self, channels: int, squeezed: int, rows: int) -> None:
        super().__init__()
        self.squeeze_bn = nn.BatchNorm2d(channels)
        self.squeeze = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.expand1x1_bn = nn.BatchNorm2d(squeezed)
        self.expand1x1 = nn.Conv2d(squeezed, rows, 1, bias=False)
        self.expand3x3_bn = nn.BatchNorm2d(squeezed)
        self.expand3x3 = nn.Conv2d(squeezed, rows, 3, padding=1, bias=False)
        self.residual = channels == 2 * rows

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(self.squeeze_bn(x).relu())
        expanded = torch.cat(
            [
                self.expand1x1(self.expand1x1_bn(squeezed).relu()),
                self.expand3x3(self.expand3x3_bn(squeezed).relu()),
            ],
            1,
        )
        return expanded + x if self.residual else expanded


class _SqueezeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # 28 x 28
            _Fire(64, 16, 64),
            _Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # 14 x 14
            _Fire(128, 32, 128),
            _Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # 7 x 7
            _Fire(256, 48, 192),
            _Fire(384, 48, 192),
            _Fire(384, 64, 256),
            _Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.6), nn.Conv2d(512, 200, 1), nn.ReLU(), nn.AvgPool2d(7)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x)).flatten(1)
        return logits


def squeezenet() -> nn.Module:
    """SqueezeNet: input (N, 3, 56, 56), output (N, 200)."""
    return _SqueezeNet()
