"""Trained Ternary Quantization (Zhu, Han, Mao, Dally, ICLR 2017) as PyTorch modules.

A ternary layer holds full-precision *latent* weights and two learned scalars, Wp and Wn. It
computes with +Wp where the latent weight is above a threshold, -Wn where it is below minus that
threshold, and 0 elsewhere. Either scalar may become negative in training.

>>> model = ternarize_model(float_model)      # first and last layer stay in full precision
>>> train(model)                              # an ordinary training loop
>>> plain = bake(model)                       # nn.Conv2d and nn.Linear with ternary weights

Equation numbers are the paper's.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tritforge.model_export.copying import WEIGHT_HOOKS, copy_model, uninitialized

__all__ = [
    "ConstantSparsity",
    "FractionOfMax",
    "TernaryConv1d",
    "TernaryConv2d",
    "TernaryLayer",
    "TernaryLinear",
    "bake",
    "heuristic_for",
    "replace_ternary",
    "ternarize",
    "ternarize_model",
]


@dataclass(frozen=True)
class FractionOfMax:
    """Threshold ``fraction * max |w|`` (eq. 9; the paper uses 0.05 for every layer).

    Raises
    ------
    ValueError
        ``fraction`` is not in [0, 1).
    """

    fraction: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(
                f"threshold must be a fraction of max |w| in [0, 1), not {self.fraction}"
            )

    def delta(self, latent: Tensor) -> Tensor:
        """The threshold for ``latent`` (any shape), a scalar tensor in units of the weights."""
        return self.fraction * latent.detach().abs().amax()


@dataclass(frozen=True)
class ConstantSparsity:
    """The threshold that makes ``sparsity`` of a layer's weights zero, the same in all layers.

    Exactly ``round(sparsity * count)`` weights become zero, or more where magnitudes tie.

    Raises
    ------
    ValueError
        ``sparsity`` is not in [0, 1).
    """

    sparsity: float

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise ValueError(
                f"sparsity must be a share of zero weights in [0, 1), not {self.sparsity}"
            )

    def delta(self, latent: Tensor) -> Tensor:
        """The threshold for ``latent`` (any shape), a scalar tensor in units of the weights."""
        magnitudes = latent.detach().abs().flatten()
        zeros = round(self.sparsity * magnitudes.numel())
        if zeros == 0:
            return magnitudes.new_zeros(())
        return magnitudes.kthvalue(zeros).values


def heuristic_for(
    threshold: float = 0.05, sparsity: float | None = None
) -> FractionOfMax | ConstantSparsity:
    """The threshold heuristic for two numbers; ``threshold`` is unused where ``sparsity`` is set.

    Raises
    ------
    ValueError
        The number used is not in [0, 1).
    """
    return FractionOfMax(threshold) if sparsity is None else ConstantSparsity(sparsity)


class _Ternarize(torch.autograd.Function):
    """Equations 6 to 8. The threshold is a constant: no gradient flows through it."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, wp: Tensor, wn: Tensor, delta: Tensor) -> Tensor:
        positive = latent > delta
        negative = latent < -delta
        ctx.save_for_backward(positive, negative, wp, wn)
        zero = latent.new_zeros(())
        return torch.where(positive, wp, torch.where(negative, -wn, zero))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        positive, negative, wp, wn = ctx.saved_tensors
        # Eq. 8: the straight-through gradient, scaled by the magnitude that each weight has now.
        one = wp.new_ones(())
        latent_grad = grad * torch.where(positive, wp, torch.where(negative, wn, one))
        zero = grad.new_zeros(())
        wp_grad = torch.where(positive, grad, zero).sum()
        # Eq. 7 is printed with a plain sum for Wn too. The weight there is -Wn, so the chain rule
        # gives minus that sum, and it is what the authors' code computes (it differentiates
        # -Wn automatically). With the printed sign Wn would climb the loss.
        wn_grad = -torch.where(negative, grad, zero).sum()
        return latent_grad, wp_grad, wn_grad, None


def ternarize(latent: Tensor, wp: Tensor, wn: Tensor, delta: Tensor) -> Tensor:
    """Ternary weights, with the paper's gradients.

    ``w = +wp where latent > delta, -wn where latent < -delta, else 0``; both inequalities are
    strict.

    Parameters
    ----------
    latent
        Full-precision weights, any shape.
    wp, wn, delta
        Scalars (shape ``()``) of the same dtype. ``delta`` receives no gradient.

    Returns
    -------
    Tensor
        Shape and dtype of ``latent``.
    """
    weight: Tensor = _Ternarize.apply(latent, wp, wn, delta)  # type: ignore[no-untyped-call]
    return weight


class TernaryLayer(nn.Module):
    """What ternary convolutions and :class:`TernaryLinear` share.

    The heuristic lives in two buffers, so that a saved ``state_dict`` says by itself which
    weights are zero: ``threshold`` (the number) and ``threshold_kind`` (0: it is a fraction of
    max |w|; 1: it is a sparsity).

    Members
    -------
    weight
        Latent weights. The paper divides them by their largest magnitude; that would change
        neither the codes nor Wp and Wn, and is not done (nor do the authors).
    wp, wn
        Learned scalars, shape ``()``, any sign.
    """

    weight: Tensor
    wp: nn.Parameter
    wn: nn.Parameter
    threshold: Tensor
    threshold_kind: Tensor

    def __init__(
        self, *args: Any, threshold: float = 0.05, sparsity: float | None = None, **kwargs: Any
    ) -> None:
        heuristic = heuristic_for(threshold, sparsity)
        super().__init__(*args, **kwargs)
        self._add_scales(heuristic)

    @classmethod
    def from_plain(cls, plain: nn.Module, heuristic: FractionOfMax | ConstantSparsity) -> Self:
        """A ternary layer that takes over the parameters of ``plain`` as latent weights.

        Wp and Wn start as the mean magnitudes of the weights that they replace.
        """
        layer = cls(**_arguments(plain), device="meta")
        assert isinstance(plain.weight, Tensor)
        _take_over(layer, plain, plain.weight)
        layer._add_scales(heuristic)
        return layer

    def to_plain(self) -> "_Plain":
        """The same layer as PyTorch has it, weights +Wp, 0 or -Wn."""
        kind = next(kind for kind in TERNARY if isinstance(self, kind))
        plain = kind(**_arguments(self), device="meta")
        _take_over(plain, self, nn.Parameter(self.ternary_weight().detach()))
        return plain

    def _add_scales(self, heuristic: FractionOfMax | ConstantSparsity) -> None:
        """Register (again) what a ternary layer has beyond a plain one."""
        sparse = isinstance(heuristic, ConstantSparsity)
        value = (
            heuristic.sparsity if isinstance(heuristic, ConstantSparsity) else (heuristic.fraction)
        )
        # float64: the same number comes back, so a saved layer has the threshold it was given.
        device = self.weight.device
        self.register_buffer("threshold", torch.tensor(value, dtype=torch.float64, device=device))
        self.register_buffer("threshold_kind", torch.tensor(int(sparse), device=device))
        wp, wn = _mean_magnitudes(self.weight.detach(), heuristic)
        self.wp = nn.Parameter(wp)
        self.wn = nn.Parameter(wn)

    @property
    def heuristic(self) -> FractionOfMax | ConstantSparsity:
        """The threshold heuristic, as the buffers have it."""
        value = self.threshold.item()
        return ConstantSparsity(value) if self.threshold_kind.item() else FractionOfMax(value)

    def ternary_weight(self) -> Tensor:
        """The weights the layer computes with: +Wp, 0 or -Wn; differentiable."""
        return ternarize(self.weight, self.wp, self.wn, self.heuristic.delta(self.weight))

    def codes(self) -> Tensor:
        """Signs of the weights: int8, 1 for +Wp, -1 for -Wn, 0; shape of ``weight``."""
        latent = self.weight.detach()
        delta = self.heuristic.delta(latent)
        return (latent > delta).to(torch.int8) - (latent < -delta).to(torch.int8)

    @property
    def density(self) -> float:
        """Share of nonzero trits, 0..1."""
        return self.codes().ne(0).double().mean().item()


class TernaryConv2d(TernaryLayer, nn.Conv2d):
    """A convolution with ternary weights; a bias, where there is one, is full precision.

    Parameters
    ----------
    threshold, sparsity
        See :func:`heuristic_for`. All others are those of :class:`torch.nn.Conv2d`.

    Raises
    ------
    ValueError
        The number used as threshold or sparsity is not in [0, 1).
    """

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(input, self.ternary_weight(), self.bias)
        return output


class TernaryConv1d(TernaryLayer, nn.Conv1d):
    """A convolution over one dimension with ternary weights; see :class:`TernaryConv2d`.

    Raises
    ------
    ValueError
        The number used as threshold or sparsity is not in [0, 1).
    """

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(input, self.ternary_weight(), self.bias)
        return output


class TernaryLinear(TernaryLayer, nn.Linear):
    """A fully connected layer with ternary weights; a bias, if any, is full precision.

    Parameters
    ----------
    threshold, sparsity
        See :func:`heuristic_for`. All others are those of :class:`torch.nn.Linear`.

    Raises
    ------
    ValueError
        The number used as threshold or sparsity is not in [0, 1).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.ternary_weight(), self.bias)


_Plain = nn.Conv1d | nn.Conv2d | nn.Linear
#: Layers that can be ternary, by the plain ones that they are.
TERNARY: dict[type[_Plain], type[TernaryLayer]] = {
    nn.Conv1d: TernaryConv1d,
    nn.Conv2d: TernaryConv2d,
    nn.Linear: TernaryLinear,
}


def ternarize_model(
    model: nn.Module,
    *,
    threshold: float = 0.05,
    sparsity: float | None = None,
    first_last: bool = False,
    keep: Collection[str] = (),
) -> nn.Module:
    """A copy of ``model`` whose conv and linear layers are ternary; ``model`` is unchanged.

    Layers of exactly the types :class:`torch.nn.Conv1d`, :class:`torch.nn.Conv2d` and
    :class:`torch.nn.Linear` are replaced; their weights become the latent weights, so a trained
    network is a good start. A parameter or layer used twice stays shared.

    Parameters
    ----------
    threshold, sparsity
        See :func:`heuristic_for`; the same for all layers, as in the paper.
    first_last
        Make the first and the last of these layers ternary too (the paper does not). First and
        last are in order of definition in the model.
    keep
        Names (as in ``model.named_modules()``) of further layers to leave in full precision.

    Raises
    ------
    ValueError
        A number is out of range, ``keep`` names something that is no such layer, no layer
        is left to make ternary, or a hook or parametrization computes the weight of one, as
        ``weight_norm``, ``spectral_norm`` and pruning do.
    ModelError
        The model cannot be copied.
    """
    heuristic = heuristic_for(threshold, sparsity)
    result = copy_model(model)
    plain_types = (*TERNARY, nn.LazyConv1d, nn.LazyConv2d, nn.LazyLinear)
    names = [
        name
        for name, module in result.named_modules()
        if parametrize.type_before_parametrizations(module) in plain_types
    ]
    unknown = sorted(set(keep) - set(names))
    if unknown:
        raise ValueError(
            f"keep names {', '.join(unknown)}, but the model's conv and linear "
            f"layers are {', '.join(names) or 'none'}"
        )
    skipped = set(keep)
    if not first_last:
        skipped.update(names[:1] + names[-1:])
    chosen = [name for name in names if name not in skipped]
    if not chosen:
        raise ValueError(
            f"no layer is left to make ternary: the model's conv and linear layers "
            f"are {', '.join(names) or 'none'}, and all of them are to stay in full "
            f"precision"
        )
    replacements: dict[int, nn.Module] = {}
    for name in chosen:
        module = result.get_submodule(name)
        _refuse_computed_weight(module, name)
        kind = next(kind for kind in TERNARY if isinstance(module, kind))
        replacements[id(module)] = TERNARY[kind].from_plain(module, heuristic)
    return _replaced(result, replacements)


def _refuse_computed_weight(module: nn.Module, name: str) -> None:
    """A layer that has no weight of its own has no latent weight either."""
    lazy = uninitialized(module)
    if lazy:
        kind = type(module).__name__
        raise ValueError(
            f"{name or 'the model'} is a {kind} that has seen no input; run the model once first"
        )
    if parametrize.is_parametrized(module):
        tensor, what = next(iter(module.parametrizations.items()))  # type: ignore[operator, union-attr]
        kind = " and ".join(type(step).__name__.lstrip("_") for step in what)
        remove = f"torch.nn.utils.parametrize.remove_parametrizations(layer, {tensor!r})"
    else:
        hook = next(
            (hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WEIGHT_HOOKS)),
            None,
        )
        if hook is None:
            return
        kind = type(hook).__name__
        remove = {
            "WeightNorm": "torch.nn.utils.remove_weight_norm(layer)",
            "SpectralNorm": "torch.nn.utils.remove_spectral_norm(layer)",
        }.get(kind, "torch.nn.utils.prune.remove(layer, 'weight')")
    raise ValueError(
        f"layer {name or 'itself'} has {kind}, which computes its weight; call {remove} first, or "
        f"leave the layer in full precision (keep)"
    )


def bake(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in eval mode without ternary modules; ``model`` is unchanged.

    Each :class:`TernaryLayer` becomes a plain layer whose weights hold
    exactly +Wp, 0 or -Wn.
    """
    return replace_ternary(copy_model(model).eval())


def replace_ternary(model: nn.Module, names: Collection[str] | None = None) -> nn.Module:
    """``model`` itself with plain layers where it had ternary ones: those of the given names, or
    all."""
    replacements: dict[int, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, TernaryLayer) and (names is None or name in names):
            replacements[id(module)] = module.to_plain()
    return _replaced(model, replacements)


def _replaced(model: nn.Module, replacements: dict[int, nn.Module]) -> nn.Module:
    """``model`` with the modules of the given ids replaced wherever they are registered."""
    if id(model) in replacements:
        return replacements[id(model)]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in replacements:
                setattr(parent, name, replacements[id(child)])
    return model


def _mean_magnitudes(
    latent: Tensor, heuristic: FractionOfMax | ConstantSparsity
) -> tuple[Tensor, Tensor]:
    """Mean magnitude of the weights above the threshold and of those below minus it.

    The value that loses least at the start. An empty set gets the other's; if both are empty, 1.
    """
    delta = heuristic.delta(latent)
    zero, one = latent.new_zeros(()), latent.new_ones(())
    sums, counts = [], []
    for chosen in (latent > delta, latent < -delta):
        sums.append(torch.where(chosen, latent.abs(), zero).sum())
        counts.append(chosen.sum())
    means = [total / count.clamp(min=1) for total, count in zip(sums, counts, strict=True)]
    either = torch.where(counts[0] + counts[1] > 0, means[0] + means[1], one)
    wp, wn = (
        torch.where(count > 0, mean, either) for count, mean in zip(counts, means, strict=True)
    )
    return wp, wn


#: Where a module keeps hooks on its calls, and what goes with them.
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """What builds a layer like this one."""
    if isinstance(layer, nn.Linear):
        names = ["in_features", "out_features"]
    else:
        names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"]
        names += ["groups", "padding_mode"]
    return {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None}


def _take_over(target: nn.Module, source: nn.Module, weight: Tensor) -> None:
    """Give ``target`` (built without memory, on the meta device) the weight and all else that
    ``source`` has, hooks on its calls included.

    Building it that way draws no random numbers: converting a model leaves the seed alone.
    """
    target.weight = weight
    target.bias = source.bias
    target.train(source.training)
    for hooks in _HOOKS:
        setattr(target, hooks, getattr(source, hooks))
    # the weight that those of pruning and the like would compute is known
    for key, hook in source._forward_pre_hooks.items():
        if not isinstance(hook, WEIGHT_HOOKS):
            target._forward_pre_hooks[key] = hook
