"""Networks known by name.

They are plain ``nn.Module`` objects with random weights: train them, make them ternary with
:func:`tritforge.model_export.training.ttq.ternarize_model`, or give them a checkpoint with
:func:`tritforge.model_export.formats.checkpoint.load_into`.
"""

from collections.abc import Callable

from torch import nn

from tritforge.model_export.alexnet.topologies import TOPOLOGIES
from tritforge.model_export.zoo.densenet import densenet
from tritforge.model_export.zoo.digits import digits
from tritforge.model_export.zoo.mnist import Mnist, mnist
from tritforge.model_export.zoo.mobilenet import mobilenet
from tritforge.model_export.zoo.resnet18 import resnet18
from tritforge.model_export.zoo.resnet_cifar import resnet20, resnet20_projected, resnet56
from tritforge.model_export.zoo.squeezenet import squeezenet
from tritforge.model_export.zoo.vgg7 import vgg7

__all__ = ["ZOO", "Mnist", "digits", "mnist"]

ZOO: dict[str, Callable[[], nn.Module]] = {
    **TOPOLOGIES,
    **{
        build.__name__: build
        for build in (
            densenet,
            digits,
            mnist,
            mobilenet,
            resnet18,
            resnet20,
            resnet20_projected,
            resnet56,
            squeezenet,
            vgg7,
        )
    },
}
"""Networks by name."""
