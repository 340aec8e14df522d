"""VGG-7 for CIFAR-10, the network of Ternary Weight Networks (Li et al., 2016), at half width."""

from collections import OrderedDict

from torch import nn

__all__ = ["vgg7"]


def vgg7() -> nn.Module:
    """VGG-7: input (N, 3, 32, 32), output (N, 10)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for stage, rows in enumerate((64, 128, 256), 1):
        for number in (1, 2):
            name = f"{stage}_{number}"
            layers[f"conv{name}"] = nn.Conv2d(channels, rows, 3, padding=1, bias=False)
            layers[f"bn{name}"] = nn.BatchNorm2d(rows)
            layers[f"relu{name}"] = nn.ReLU()
            channels = rows
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(16 * channels, 128, bias=False)
    layers["bn4"] = nn.BatchNorm1d(128)
    layers["relu4"] = nn.ReLU()
    layers["fc2"] = nn.Linear(128, 10)
    return nn.Sequential(layers)
