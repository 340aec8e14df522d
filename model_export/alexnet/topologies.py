"""Three AlexNets by name, with random weights: as the authors of TTQ trained it, as it was
published, and as torchvision has it."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from tritforge.model_export.errors import ModelError

__all__ = ["TOPOLOGIES", "alexnet_dorefa", "alexnet_krizhevsky", "alexnet_torchvision"]


def alexnet_dorefa(*, divisor: int = 1, first_bias: bool = False) -> nn.Module:
    """AlexNet as the authors of TTQ trained it: input (N, 3, 224, 224), output (N, 1000).

    The topology of DoReFa-Net's AlexNet: 60 961 280 weights, batch norm, then max-pool, then
    ReLU; the first conv is 12 x 12, stride 4, without batch norm. TensorFlow's "SAME" max-pool
    pads 54 to 55 below and right, which is ``ceil_mode`` here, and 27 to 29 on all four sides.

    Parameters
    ----------
    divisor
        The width of every hidden layer is divided by it (16 at most), for quick trials.
    first_bias
        The first conv has a bias: not in the authors' network, but in later versions of their
        code.

    Raises
    ------
    ModelError
        The divisor leaves no whole, even number of channels.
    """

    def norm(channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=1e-4)

    def norm_fc(features: int) -> nn.BatchNorm1d:
        return nn.BatchNorm1d(features, eps=1e-4)

    c96, c256, c384, c4096 = _narrowed(divisor, 96, 256, 384, 4096)
    return nn.Sequential(
        OrderedDict(
            conv0=nn.Conv2d(3, c96, 12, stride=4, bias=first_bias),  # 54 x 54
            relu0=nn.ReLU(),
            conv1=nn.Conv2d(c96, c256, 5, padding=2, groups=2, bias=False),
            bn1=norm(c256),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),  # 27 x 27
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(c256, c384, 3, padding=1, bias=False),
            bn2=norm(c384),
            pool2=nn.MaxPool2d(3, 2, padding=1),  # 14 x 14
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(c384, c384, 3, padding=1, groups=2, bias=False),
            bn3=norm(c384),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(c384, c256, 3, padding=1, groups=2, bias=False),
            bn4=norm(c256),
            pool4=nn.MaxPool2d(3, 2),  # 6 x 6
            relu4=nn.ReLU(),
            flatten=nn.Flatten(),
            fc0=nn.Linear(36 * c256, c4096, bias=False),
            bnfc0=norm_fc(c4096),
            relufc0=nn.ReLU(),
            fc1=nn.Linear(c4096, c4096, bias=False),
            bnfc1=norm_fc(c4096),
            relufc1=nn.ReLU(),
            fct=nn.Linear(c4096, 1000),
        )
    )


def alexnet_krizhevsky(*, divisor: int = 1) -> nn.Module:
    """AlexNet of 2012 with batch norm: input (N, 3, 227, 227), output (N, 1000).

    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks": maps of 55, 27 and 13 pixels, the second, fourth and fifth conv in two groups.
    Batch norm follows every layer but the last, in place of local response normalization,
    biases and dropout, which the authors of TTQ left out as well. 60 954 656 weights, layers
    named as in Caffe's copy.

    Parameters
    ----------
    divisor
        As for :func:`alexnet_dorefa`.

    Raises
    ------
    ModelError
        As :func:`alexnet_dorefa`.
    """
    c96, c256, c384, c4096 = _narrowed(divisor, 96, 256, 384, 4096)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, c96, 11, stride=4, bias=False),  # 55 x 55
            bn1=nn.BatchNorm2d(c96),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, 2),  # 27 x 27
            conv2=nn.Conv2d(c96, c256, 5, padding=2, groups=2, bias=False),
            bn2=nn.BatchNorm2d(c256),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, 2),  # 13 x 13
            conv3=nn.Conv2d(c256, c384, 3, padding=1, bias=False),
            bn3=nn.BatchNorm2d(c384),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(c384, c384, 3, padding=1, groups=2, bias=False),
            bn4=nn.BatchNorm2d(c384),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(c384, c256, 3, padding=1, groups=2, bias=False),
            bn5=nn.BatchNorm2d(c256),
            relu5=nn.ReLU(),
            pool5=nn.MaxPool2d(3, 2),  # 6 x 6
            flatten=nn.Flatten(),
            fc6=nn.Linear(36 * c256, c4096, bias=False),
            bn6=nn.BatchNorm1d(c4096),
            relu6=nn.ReLU(),
            fc7=nn.Linear(c4096, c4096, bias=False),
            bn7=nn.BatchNorm1d(c4096),
            relu7=nn.ReLU(),
            fc8=nn.Linear(c4096, 1000),
        )
    )


def alexnet_torchvision(*, divisor: int = 1) -> nn.Module:
    """AlexNet as torchvision has it: input (N, 3, 224, 224), output (N, 1000).

    Widths 64, 192, 384, 256, 256, no conv groups, biases instead of batch norm (Krizhevsky, "One
    weird trick for parallelizing convolutional neural networks", 2014). 61 090 496 weights;
    parameters are named as in torchvision's state dicts. Its adaptive average pool is left out:
    at this input size it copies 6 x 6 pixels, and it has no parameters.

    Parameters
    ----------
    divisor
        As for :func:`alexnet_dorefa`.

    Raises
    ------
    ModelError
        As :func:`alexnet_dorefa`.
    """
    c64, c192, c384, c256, c4096 = _narrowed(divisor, 64, 192, 384, 256, 4096)
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(
                nn.Conv2d(3, c64, 11, stride=4, padding=2),
                nn.ReLU(),  # 55 x 55
                nn.MaxPool2d(3, 2),  # 27 x 27
                nn.Conv2d(c64, c192, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(3, 2),  # 13 x 13
                nn.Conv2d(c192, c384, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(c384, c256, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(c256, c256, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(3, 2),
            ),  # 6 x 6
            flatten=nn.Flatten(),
            classifier=nn.Sequential(
                nn.Dropout(),
                nn.Linear(36 * c256, c4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(c4096, c4096),
                nn.ReLU(),
                nn.Linear(c4096, 1000),
            ),
        )
    )


def _narrowed(divisor: int, *widths: int) -> list[int]:
    """The widths divided by ``divisor``; all must stay even, for convs in two groups."""
    if divisor < 1 or any(width % (2 * divisor) for width in widths):
        raise ModelError(
            f"divisor {divisor} does not leave an even number of channels of "
            f"{', '.join(map(str, widths))}; 1, 2, 4, 8 and 16 do"
        )
    return [width // divisor for width in widths]


#: By name in the zoo.
TOPOLOGIES: dict[str, Callable[..., nn.Module]] = {
    "alexnet_dorefa": alexnet_dorefa,
    "alexnet_krizhevsky": alexnet_krizhevsky,
    "alexnet_torchvision": alexnet_torchvision,
}
