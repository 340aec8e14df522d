"""Networks known by name, and networks that a user's Python file defines.

A model specification is ``zoo:NAME`` or ``FILE.py:NAME``; :func:`load_model` builds either. The
networks of the zoo are plain ``nn.Module`` objects with random weights: train them, make them
ternary with :func:`tritforge.model_export.training.ttq.ternarize_model`, or give them a checkpoint
with :func:`tritforge.model_export.formats.checkpoint.load_into`.
"""

import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from tritforge.common.errors import TritforgeError

__all__ = [
    "ZOO",
    "Mnist",
    "ModelError",
    "alexnet_dorefa",
    "alexnet_krizhevsky",
    "alexnet_torchvision",
    "digits",
    "load_model",
    "mnist",
]


class ModelError(TritforgeError, ValueError):
    """A model specification that gives no ``nn.Module``; the message is one sentence."""


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


ZOO: dict[str, Callable[[], nn.Module]] = {
    "alexnet_dorefa": alexnet_dorefa,
    "alexnet_krizhevsky": alexnet_krizhevsky,
    "alexnet_torchvision": alexnet_torchvision,
    "digits": digits,
    "mnist": mnist,
}


def load_model(spec: str) -> nn.Module:
    """The network that ``spec`` names, with the weights it is built with.

    Parameters
    ----------
    spec
        ``zoo:NAME``, or ``FILE.py:NAME`` where NAME is a class or function that takes no
        arguments and gives an ``nn.Module`` (or is one). The file is run as Python code, with
        its folder importable, as ``python FILE.py`` would.

    Raises
    ------
    ModelError
        No such network, file or name; the file or the builder raises; the result is no
        ``nn.Module``.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise ModelError(f"model {spec!r} is neither FILE.py:NAME nor zoo:NAME")
    if place == "zoo":
        if name not in ZOO:
            raise ModelError(f"the zoo has no network {name!r}; it has {', '.join(sorted(ZOO))}")
        return ZOO[name]()
    path = Path(place)
    if not path.is_file():
        raise ModelError(
            f"model file {place} is a folder"
            if path.is_dir()
            else f"model file {place} does not exist"
        )
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        module = _run_file(path)
        if not hasattr(module, name):
            raise ModelError(f"model file {place} defines no {name!r}")
        made = getattr(module, name)
        if not isinstance(made, nn.Module):
            if not callable(made):
                raise ModelError(
                    f"{name} in {place} is of type {type(made).__name__}, not a "
                    f"class or function that gives an nn.Module"
                )
            try:
                made = made()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise ModelError(f"building {name} of {place} failed: {_reason(error)}") from error
        if not isinstance(made, nn.Module):
            raise ModelError(
                f"{name} in {place} gives an object of type {type(made).__name__}, not an nn.Module"
            )
        return made
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _run_file(path: Path) -> ModuleType:
    """The module that ``path`` defines.

    It is entered in ``sys.modules``, where dataclasses and the like look their module up, under a
    name that shadows none.
    """
    module_name = f"_model_file_{path.stem}"
    loader_spec = importlib.util.spec_from_file_location(module_name, path)
    if loader_spec is None or loader_spec.loader is None:
        raise ModelError(f"model file {path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(loader_spec)
    sys.modules[module_name] = module
    try:
        loader_spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[module_name]
        raise ModelError(f"running model file {path} failed: {_reason(error)}") from error
    return module


def _reason(error: BaseException) -> str:
    """One line: what was raised, and its message."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # an exception of the user's that cannot be printed
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
