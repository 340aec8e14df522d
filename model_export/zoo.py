"""Networks known by name.

They are plain ``nn.Module`` objects with random weights: train them, make them ternary with
:func:`tritforge.model_export.training.ttq.ternarize_model`, or give them a checkpoint with
:func:`tritforge.model_export.formats.checkpoint.load_into`.
"""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from tritforge.model_export.alexnet.topologies import TOPOLOGIES

__all__ = ["ZOO", "Mnist", "digits", "mnist"]


def digits() -> nn.Module:
    """A small CNN for 8 x 8 digits: input (N, 1, 8, 8), output (N, 10); 25 744 weights."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(32),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3, padding=1, bias=False),
            bn3=nn.BatchNorm2d(64),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(256, 10),
        )
    )


class Mnist(nn.Module):
    """The MNIST CNN of vinsis/ternary-quantization, with its parameter names.

    Input (N, 1, 28, 28), pixel / 255; output (N, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(7 * 7 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.flatten(self.layer2(self.layer1(x))))
        return logits


def mnist() -> nn.Module:
    """The MNIST CNN whose trained ternary weights are public; see :class:`Mnist`."""
    return Mnist()


ZOO: dict[str, Callable[[], nn.Module]] = {**TOPOLOGIES, "digits": digits, "mnist": mnist}
