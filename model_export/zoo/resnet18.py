"""ResNet-18 for ImageNet (He et al., 2016)."""

from torch import Tensor, nn

__all__ = ["resnet18"]


class _Block(nn.Module):
    """Two 3x3 convs and a shortcut, with a 1x1 conv where size and width change."""

    def __init__(self, channels: int, rows: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, rows, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(rows)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(rows, rows, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(rows)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, rows, 1, stride, bias=False), nn.BatchNorm2d(rows))
            if stride != 1 or rows != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        sums: Tensor = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + skip)
        return sums


class _ResNet18(nn.Module):
    """Parameters have torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def resnet18() -> nn.Module:
    """ResNet-18: input (N, 3, 224, 224), output (N, 1000)."""
    return _ResNet18()
