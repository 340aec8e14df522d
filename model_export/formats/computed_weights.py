"""Weights that a checkpoint keeps as parts, for a model that keeps them otherwise.

``weight_norm``, ``spectral_norm`` and pruning keep a weight as parts, of which it is computed
before each forward pass. A checkpoint and a model may differ in whether they do so, and in which
of PyTorch's two spellings: ``weight_g`` and ``weight_v``, or ``parametrizations.weight.original0``
and ``original1``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from tritforge.model_export.formats.names import join, split_name, weight_of

__all__ = ["fit_parts"]

#: Former and present names of the same parts, {} for the weight.
_WEIGHT_NORM = {
    "{}_g": "parametrizations.{}.original0",
    "{}_v": "parametrizations.{}.original1",
}
_SPECTRAL_NORM = {
    "{}_orig": "parametrizations.{}.original",
    "{}_u": "parametrizations.{}.0._u",
    "{}_v": "parametrizations.{}.0._v",
}
_PRUNED = {"{}_orig": "{}_orig", "{}_mask": "{}_mask"}


def fit_parts(
    state: dict[str, Tensor], expected: Mapping[str, Tensor], model: nn.Module, notes: list[str]
) -> dict[str, Tensor]:
    """``state`` with the parts, or the whole weights, that the model has names for.

    What the model has a name for is left as it is, and so is what cannot be computed.

    Parameters
    ----------
    expected
        The model's state dict.
    notes
        Says what was computed.
    """
    fitting = _Fitting(dict(state), expected, _norms(model), notes)
    # a part may be in parts itself: a pruned weight_g
    while any(fitting.step(name) for name in [*fitting.state] if name not in expected):
        pass
    return fitting.state


def _norms(model: nn.Module) -> dict[str, Mapping[str, str]]:
    """Tensors that ``weight_norm`` or ``spectral_norm`` compute, by name, and their parts."""
    found: dict[str, Mapping[str, str]] = {}
    for layer, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList) and len(module) == 1:
            outer, name = split_name(layer + ".original")
            parts = {_WeightNorm: _WEIGHT_NORM, _SpectralNorm: _SPECTRAL_NORM}.get(type(module[0]))
            if parts is not None:
                found[join(outer, weight_of(name))] = parts
        for hook in getattr(module, "_forward_pre_hooks", {}).values():
            if isinstance(hook, WeightNorm | SpectralNorm):
                parts = _WEIGHT_NORM if isinstance(hook, WeightNorm) else _SPECTRAL_NORM
                found[join(layer, hook.name)] = parts
    return found


@dataclass
class _Fitting:
    state: dict[str, Tensor]
    expected: Mapping[str, Tensor]
    norms: Mapping[str, Mapping[str, str]]
    notes: list[str]

    def step(self, name: str) -> bool:
        """Replace a tensor that the model has no name for, and those that belong to it."""
        layer, tensor = split_name(name)
        if name not in self.state:
            return False
        if weight_of(tensor) == tensor:
            made = self._in_parts(name)
            if made is None:
                return False
            self._replace([name], made)
            return True
        whole = join(layer, weight_of(tensor))
        for parts in (_PRUNED, _SPECTRAL_NORM, _WEIGHT_NORM):
            former = [join(layer, part.format(weight_of(tensor))) for part in parts]
            present = [join(layer, part.format(weight_of(tensor))) for part in parts.values()]
            for have, want in ((former, present), (present, former)):
                if name not in have or not all(part in self.state for part in have):
                    continue
                values = [self.state[part] for part in have]
                if self.norms.get(whole) is parts and all(part in self.expected for part in want):
                    self._replace(have, dict(zip(want, values, strict=True)))
                    return True
                value = _whole(parts, [value.float() for value in values])
                if value is not None and whole not in self.state:
                    self.notes.append(f"{whole}: computed of {' and '.join(have)}")
                    self._replace(have, {whole: value})
                    return True
        return False

    def _replace(self, names: list[str], made: dict[str, Tensor]) -> None:
        for name in names:
            del self.state[name]
        self.state |= made

    def _in_parts(self, name: str) -> dict[str, Tensor] | None:
        """A whole weight in the parts that the model keeps; None where it keeps others."""
        value = self.state[name].float()
        layer, weight = split_name(name)
        if self.norms.get(name) is _WEIGHT_NORM:
            for spelling in (_WEIGHT_NORM.keys(), _WEIGHT_NORM.values()):
                names = [join(layer, part.format(weight)) for part in spelling]
                if not all(part in self.expected for part in names):
                    continue
                size, direction = (self.expected[part] for part in names)
                if is_lazy(size) or direction.shape != value.shape:
                    return None
                axis = _axis(size, direction)
                if axis is None:
                    return None
                sizes = torch.norm_except_dim(value, 2, axis).reshape(size.shape)
                return {names[0]: sizes, names[1]: value}
        original, mask = f"{name}_orig", f"{name}_mask"
        if original in self.expected and mask in self.expected:
            kept = self.expected[mask]
            if kept.shape == value.shape and not bool(value[kept == 0].any()):
                return {original: value, mask: kept.detach()}
        return None


def _whole(parts: Mapping[str, str], values: list[Tensor]) -> Tensor | None:
    """The weight that the parts stand for; None where their shapes do not go together."""
    if parts is _PRUNED:
        weight, mask = values
        return weight * mask if weight.shape == mask.shape else None
    if parts is _WEIGHT_NORM:
        size, direction = values
        axis = _axis(size, direction)
        return None if axis is None else torch._weight_norm(direction, size, axis)
    weight, left, right = values
    matrix = weight.flatten(1) if weight.dim() > 1 else weight[:, None]
    if matrix.shape != (left.numel(), right.numel()):
        return None
    return weight / torch.dot(left.flatten(), torch.mv(matrix, right.flatten()))


def _axis(size: Tensor, direction: Tensor) -> int | None:
    """The dimension that ``weight_norm`` keeps apart; -1 for none; None if it cannot be."""
    if size.dim() == 0:
        return -1
    if size.dim() != direction.dim():
        return None
    for axis in range(size.dim()):
        apart = [1] * size.dim()
        apart[axis] = direction.shape[axis]
        if list(size.shape) == apart:
            return axis
    return None
