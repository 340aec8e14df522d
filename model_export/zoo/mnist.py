"""The MNIST CNN whose trained ternary weights are public."""

from torch import Tensor, nn

__all__ = ["Mnist", "mnist"]


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
