"""ResNets for CIFAR-10: post-activation, 16, 32 and 64 channels (He et al., 2016, section 4.2)."""

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CifarResNet", "resnet20", "resnet20_projected", "resnet56"]


class _Block(nn.Module):
    """Two 3x3 convs and a shortcut.

    Where size and width change, the shortcut is option A of the paper (every second pixel, channels
    padded with zeros on both sides) or, ``projected``, a 1x1 conv with batch norm (option B).
    """

    def __init__(self, channels: int, rows: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, rows, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(rows)
        self.conv2 = nn.Conv2d(rows, rows, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(rows)
        self.stride, self.padded = stride, (rows - channels) // 2
        self.shortcut = (
            nn.Sequential(nn.Conv2d(channels, rows, 1, stride, bias=False), nn.BatchNorm2d(rows))
            if projected and (stride != 1 or rows != channels)
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        sums = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            skip = self.shortcut(x)
        elif self.padded or self.stride != 1:
            skip = F.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padded, self.padded)
            )
        else:
            skip = x
        return F.relu(sums + skip)


class CifarResNet(nn.Module):
    """A ResNet of ``6 * blocks + 2`` layers: input (N, 3, 32, 32), output (N, 10).

    Parameters have the names of akamaster/pytorch_resnet_cifar10 (BSD-2-Clause), whose trained
    weights fit where shortcuts are not ``projected``.
    """

    def __init__(self, blocks: int, *, projected: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1, projected)
        self.layer2 = self._stage(16, 32, blocks, 2, projected)
        self.layer3 = self._stage(32, 64, blocks, 2, projected)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(
        channels: int, rows: int, blocks: int, stride: int, projected: bool
    ) -> nn.Sequential:
        return nn.Sequential(
            _Block(channels, rows, stride, projected),
            *(_Block(rows, rows, 1, projected) for _ in range(blocks - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def resnet20() -> nn.Module:
    """ResNet-20 with shortcuts of option A; see :class:`CifarResNet`."""
    return CifarResNet(3)


def resnet20_projected() -> nn.Module:
    """ResNet-20 whose two shortcuts that change the width are 1x1 convs (option B)."""
    return CifarResNet(3, projected=True)


def resnet56() -> nn.Module:
    """ResNet-56 with shortcuts of option A; see :class:`CifarResNet`."""
    return CifarResNet(9)
