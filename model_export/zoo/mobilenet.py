"""MobileNetV1 for ImageNet (Howard et al., 2017)."""

from torch import nn

__all__ = ["mobilenet"]

#: Output channels and stride of the thirteen pairs of a depthwise and a 1x1 conv.
PAIRS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


def _conv(channels: int, rows: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(channels, rows, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(rows), nn.ReLU()]


def mobilenet() -> nn.Module:
    """MobileNetV1 of full width: input (N, 3, 224, 224), output (N, 1000)."""
    channels = 32
    layers = _conv(3, channels, 3, 2)
    for rows, stride in PAIRS:
        layers += _conv(channels, channels, 3, stride, groups=channels)
        layers += _conv(channels, rows, 1, 1)
        channels = rows
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
