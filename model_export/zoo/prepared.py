"""Networks ready to be measured: a module with its weights, images, and where both come from."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from torch import nn

from tritforge.common.json_types import JsonObject
from tritforge.model_export.alexnet.densities import set_input_densities
from tritforge.model_export.alexnet.network import ACTIVATION_CONCENTRATION, alexnet
from tritforge.model_export.alexnet.photographs import calibration_images
from tritforge.model_export.errors import ModelError
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.training.ttq import bake, ternarize_model
from tritforge.model_export.zoo import ZOO
from tritforge.model_export.zoo.images import (
    Images,
    cifar,
    digit_images,
    mnist_images,
    photograph_names,
    photographs,
)
from tritforge.model_export.zoo.weights import (
    draw_weights,
    layers_with_weights,
    settle_norms,
)

__all__ = ["PREPARED", "Origin", "Prepared", "prepare"]

#: Images that set batch norms of ternarized and drawn networks, by their size.
SETTLING = {32: 256, 56: 64, 224: 16}
SEED = 0


@dataclass(frozen=True)
class Origin(JsonObject):
    """Where weights come from.

    Members
    -------
    weights
        ``"trained"``, ``"drawn"``, or ``"trained, ternarized"``: trained in full precision, and
        made ternary without further training.
    statement
        The same in a sentence, with densities where they were drawn.
    images
        What the network is calibrated and measured on.
    """

    weights: str
    statement: str
    images: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network in eval mode, its images and its origin."""

    module: nn.Module
    images: Images
    origin: Origin


def prepare(name: str, data: Path | None, count: int = 4) -> Prepared:
    """The network ``name`` of :data:`PREPARED` with ``count`` inputs.

    Parameters
    ----------
    data
        Folder of trained weights and images, as
        :func:`tritforge.model_export.zoo.images.data_folder` finds it. What is not there is drawn.

    Raises
    ------
    ModelError
        No such network.
    CheckpointError, ExportError
        A file in the folder is not what its name says.
    """
    if name not in PREPARED:
        raise ModelError(
            f"there is no network {name!r} to measure; there are {', '.join(PREPARED)}"
        )
    return PREPARED[name](data, count)


def _drawn(
    name: str,
    images: Images,
    density: Callable[[str], float | None],
    statement: str,
    activations: Callable[[str], float | None] = lambda name: None,
    positions: int = 1,
) -> Prepared:
    module = ZOO[name]().eval().requires_grad_(False)
    draw_weights(module, density, SEED, positions)
    settle_norms(module, images.samples, activations, SEED)
    return Prepared(module, images, Origin("drawn", statement, images.source))


def _kept(name: str, share: float) -> Callable[[str], float | None]:
    """A density of all layers but the first and the last, which stay in full precision."""
    names = list(layers_with_weights(ZOO[name]()))
    return lambda layer: None if layer in (names[0], names[-1]) else share


# ----- trained where the file is there


def _digits(data: Path | None, count: int) -> Prepared:
    images = digit_images(count, 256)
    with as_file(files("tritforge") / "data" / "digits_ttq.pt") as path:
        module = bake(load_into(ZOO["digits"](), path))
    return Prepared(
        module, images, Origin("trained", "trained with TTQ, ships with tritforge", images.source)
    )


def _mnist(data: Path | None, count: int) -> Prepared:
    images = mnist_images(data, count, 200)
    path = None if data is None else data / "mnist_ttq_cnn.ckpt"
    if path is None or not path.is_file():
        return _drawn(
            "mnist", images, lambda name: 0.4, "all layers ternary, 40 % dense", positions=49
        )
    module = bake(load_into(ZOO["mnist"](), path))
    return Prepared(
        module,
        images,
        Origin("trained", f"trained with TTQ, all layers ternary ({path.name})", images.source),
    )


def _squeezenet(data: Path | None, count: int) -> Prepared:
    images = photographs(56, count, SETTLING[56])
    path = None if data is None else data / "tinyimagenet_ttq_squeezenet.pth"
    if path is None or not path.is_file():
        return _drawn(
            "squeezenet",
            images,
            _kept("squeezenet", 0.36),
            "36 % dense, first and last layer in full precision, batch norms set on the images",
        )
    module = bake(load_into(ZOO["squeezenet"](), path))
    return Prepared(
        module,
        images,
        Origin(
            "trained",
            f"trained with TTQ, first and last layer in full precision ({path.name})",
            images.source,
        ),
    )


def _cifar_resnet(name: str, weights: str | None, data: Path | None, count: int) -> Prepared:
    """Half of the weights of each layer but the first and the last become zeros."""
    images = cifar(data, count, SETTLING[32])
    path = None if data is None or weights is None else data / "cifar10_resnets" / weights
    if path is None or not path.is_file():
        return _drawn(
            name,
            images,
            _kept(name, 0.5),
            "50 % dense, first and last layer in full precision, batch norms set on the images",
        )
    module = load_into(ZOO[name](), path)
    module = bake(ternarize_model(module, sparsity=0.5)).requires_grad_(False)
    settle_norms(module, images.samples)
    return Prepared(
        module,
        images,
        Origin(
            "trained, ternarized",
            f"trained in full precision ({path.name}), half of the weights of each layer but first "
            f"and last made zeros, batch norms set anew on the images",
            images.source,
        ),
    )


def _resnet20(data: Path | None, count: int) -> Prepared:
    return _cifar_resnet("resnet20", "resnet20.th", data, count)


def _resnet56(data: Path | None, count: int) -> Prepared:
    return _cifar_resnet("resnet56", "resnet56.th", data, count)


def _resnet20_projected(data: Path | None, count: int) -> Prepared:
    """ResNet-20's trained weights; only the two 1x1 convs are drawn."""
    plain = _resnet20(data, count)
    if plain.origin.weights == "drawn":
        return _cifar_resnet("resnet20_projected", None, data, count)
    module = ZOO["resnet20_projected"]().eval().requires_grad_(False)
    draw_weights(module, lambda name: 0.5, SEED)
    module.load_state_dict(plain.module.state_dict(), strict=False)
    settle_norms(module, plain.images.samples)
    return Prepared(
        module,
        plain.images,
        dataclasses.replace(
            plain.origin,
            statement=f"{plain.origin.statement}; the two 1x1 convs are drawn, 50 % dense",
        ),
    )


# ----- drawn


def _vgg7(data: Path | None, count: int) -> Prepared:
    images = cifar(data, count, SETTLING[32])
    module = ZOO["vgg7"]().eval().requires_grad_(False)
    shares = dict(
        zip(
            layers_with_weights(module),
            (0.45, 0.23, 0.24, 0.25, 0.24, 0.25, 0.24, 0.42),
            strict=True,
        )
    )
    draw_weights(module, shares.get, SEED, positions=16)
    set_input_densities(
        module,
        images.samples[:64],
        [0.5] * (len(shares) - 1),
        concentration=ACTIVATION_CONCENTRATION,
        rng=np.random.default_rng(SEED),
    )
    return Prepared(
        module,
        images,
        Origin(
            "drawn",
            "all layers ternary, 45, 23, 24, 25, 24, 25, 24, 42 % dense as in a trained TWN, "
            "half of each layer's inputs nonzero",
            images.source,
        ),
    )


def _resnet18(data: Path | None, count: int) -> Prepared:
    return _drawn(
        "resnet18",
        photographs(224, count, SETTLING[224]),
        _kept("resnet18", 0.45),
        "45 % dense, first and last layer in full precision, batch norms set on the images",
    )


def _mobilenet(data: Path | None, count: int) -> Prepared:
    return _drawn(
        "mobilenet",
        photographs(224, count, SETTLING[224]),
        _kept("mobilenet", 0.5),
        "50 % dense, first and last layer in full precision, batch norms set on the images",
    )


def _densenet(data: Path | None, count: int) -> Prepared:
    """Densities spread over layers as in a trained one: 38 to 74 % of weights, 17 to 60 % of the
    layers' inputs."""
    model = ZOO["densenet"]()
    rng = np.random.default_rng(SEED)
    names = list(layers_with_weights(model))
    norms = [name for name, one in model.named_modules() if isinstance(one, nn.BatchNorm2d)]
    weights = dict(zip(names, rng.triangular(0.38, 0.72, 0.76, len(names)), strict=True))
    activations = dict(zip(norms, rng.triangular(0.17, 0.46, 0.60, len(norms)), strict=True))
    return _drawn(
        "densenet",
        photographs(56, count, SETTLING[56]),
        lambda name: None if name in (names[0], names[-1]) else float(weights[name]),
        "62 % dense (38 to 76 by layer), 41 % of layer inputs nonzero (17 to 60), first and last "
        "layer in full precision",
        lambda name: float(activations[name]),
    )


def _alexnet(topology: str) -> Callable[[Path | None, int], Prepared]:
    def made(data: Path | None, count: int) -> Prepared:
        module, provenance = alexnet(topology)
        images = calibration_images(topology, max(8, count))
        return Prepared(
            module,
            Images(images[:count], photograph_names(count), images, "scikit-learn's photographs"),
            Origin(provenance.origin, provenance.statement, "scikit-learn's photographs"),
        )

    return made


#: What prepares each network, by name.
PREPARED: dict[str, Callable[[Path | None, int], Prepared]] = {
    **{
        f"alexnet_{topology}": _alexnet(f"alexnet_{topology}")
        for topology in ("dorefa", "krizhevsky", "torchvision")
    },
    "densenet": _densenet,
    "digits": _digits,
    "mnist": _mnist,
    "mobilenet": _mobilenet,
    "resnet18": _resnet18,
    "resnet20": _resnet20,
    "resnet20_projected": _resnet20_projected,
    "resnet56": _resnet56,
    "squeezenet": _squeezenet,
    "vgg7": _vgg7,
}
