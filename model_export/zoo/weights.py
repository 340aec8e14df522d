"""Weights for networks of the zoo: trained ones where there are any, else drawn ones.

Drawn ternary weights have stated densities, which vary over rows and channels as in trained layers
(:mod:`tritforge.model_export.alexnet.draw`). Then images go through the network, and its batch
norms take the statistics that they meet; where a density of activations is wanted, their shifts are
set for it.
"""

import zlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tritforge.model_export.alexnet.densities import density_shifts, spread
from tritforge.model_export.alexnet.draw import draw_filters, draw_last, draw_ternary
from tritforge.model_export.alexnet.network import ACTIVATION_CONCENTRATION

__all__ = ["draw_weights", "layers_with_weights", "settle_norms"]


def layers_with_weights(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convs and linear layers by name, in order of definition."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def draw_weights(
    model: nn.Module, density: Callable[[str], float | None], seed: int, positions: int = 1
) -> None:
    """Give each conv and linear layer drawn weights: ternary ones of ``density(name)``, normally
    distributed ones where that is None. Biases become 0, batch norms the identity.

    Parameters
    ----------
    density
        Share of nonzero weights of a layer, by name.
    seed
        A layer's weights depend on this and its name.
    positions
        Pixels per channel in front of the first linear layer.
    """
    with torch.no_grad():
        for name, layer in layers_with_weights(model).items():
            rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
            shape, share = tuple(layer.weight.shape), density(name)
            if share is not None:
                weight = draw_ternary(
                    shape,
                    density=share,
                    wp=(share * layer.weight[0].numel()) ** -0.5,
                    wn=(share * layer.weight[0].numel()) ** -0.5,
                    rng=rng,
                    groups=layer.groups if isinstance(layer, nn.Conv2d) else 1,
                    positions=positions if isinstance(layer, nn.Linear) else 1,
                )
            elif isinstance(layer, nn.Linear) or shape[2:] == (1, 1):
                weight = draw_last((shape[0], shape[1]), rng).reshape(shape)
            else:
                weight = draw_filters(shape, rng)
            if isinstance(layer, nn.Linear):
                positions = 1
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.zero_()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()


def settle_norms(
    model: nn.Module,
    images: NDArray[np.float32],
    density: Callable[[str], float | None] = lambda name: None,
    seed: int = 0,
) -> None:
    """Give batch norms, in the order in which the network meets them, the mean and variance of what
    they are given for ``images``.

    Parameters
    ----------
    model
        In eval mode.
    images : array (N, channels, height, width)
    density
        The share of nonzero values wanted behind a batch norm and its ReLU, by the batch norm's
        name: its gain becomes 1, and its shifts are set for shares that vary over channels as
        in a trained network. None: gain and shift stay.
    """

    def settle(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
            (x,) = given
            axes = [axis for axis in range(x.dim()) if axis != 1]
            mean, variance = x.mean(axes), x.var(axes, correction=0)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.copy_(mean)
            module.running_var.copy_(variance)
            share = density(name)
            if share is None:
                return
            rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
            shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
            sums = (x - mean.reshape(shape)) / (variance + module.eps).sqrt().reshape(shape)
            wanted = spread(share, ACTIVATION_CONCENTRATION, x.shape[1], rng)
            module.weight.fill_(1.0)
            module.bias.copy_(torch.from_numpy(density_shifts(sums, wanted, sums[:0])))

        return hook

    hooks = [
        module.register_forward_pre_hook(settle(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    try:
        with torch.no_grad():
            model.eval()(torch.from_numpy(images))
    finally:
        for one in hooks:
            one.remove()
