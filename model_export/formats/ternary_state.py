"""Latent weights with Wp and Wn beside them, as a checkpoint holds them for a model's layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tritforge.model_export.errors import CheckpointError
from tritforge.model_export.formats.names import join, split_name
from tritforge.model_export.training.ttq import (
    ConstantSparsity,
    FractionOfMax,
    TernaryLayer,
    heuristic_for,
    ternarize,
)

__all__ = ["SPELLINGS", "TernaryState", "distinct_values", "has_ternary_values", "split_scales"]

SPELLINGS = {
    "wp": ("wp", "Wp", "WP", "W_p", "w_p", "pos"),
    "wn": ("wn", "Wn", "WN", "W_n", "w_n", "neg"),
    "threshold": ("threshold", "t"),
    "threshold_kind": ("threshold_kind",),
}


@dataclass
class TernaryState:
    """A checkpoint's tensors for a model, apart: Wp, Wn and threshold by layer, in our spelling.

    Members
    -------
    state
        What ordinary layers have; latent weights until :meth:`settle`.
    scales
        Per layer; a threshold for all layers is under the name "".
    plain
        Names of ternary layers that shall become plain ones, since the checkpoint has the values
        that they compute with.
    """

    state: dict[str, Tensor]
    scales: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    plain: list[str] = field(default_factory=list)

    def settle(
        self, layers: Mapping[str, nn.Module], threshold: float | None, author: bool, where: str
    ) -> None:
        """Turn latent weights into what each layer takes: ternary values, or Wp, Wn and threshold.

        Precondition: everything is there and has the right shape.

        Parameters
        ----------
        layers
            The model's, by name.
        author
            The authors' code decides what becomes of weights that equal the threshold.

        Raises
        ------
        CheckpointError
            t is needed and absent, contradicts the one in the checkpoint, or changes nothing.
        """
        common = self.scales.pop("", {}) if "weight" not in self.state else {}
        without = []
        latent = 0
        for layer, values in self.scales.items():
            if "wp" not in values:  # a threshold alone, beside baked weights
                continue
            name = join(layer, "weight")
            weight = self.state[name]
            ternary = isinstance(layers[layer], TernaryLayer)
            if "threshold" not in values and _is_baked(weight, values):
                self.plain += [layer] if ternary else []
                continue
            latent += 1
            rule = _rule(weight, {**common, **values}, threshold, layer, where)
            if rule is None:
                without.append(layer)
            elif ternary and not author:
                self.state |= {
                    join(layer, "wp"): values["wp"].reshape(()),
                    join(layer, "wn"): values["wn"].reshape(()),
                    **_heuristic_buffers(layer, rule),
                }
            else:
                self.plain += [layer] if ternary else []
                self.state[name] = _ternary(weight, values["wp"], values["wn"], rule, author)
        if without:
            raise CheckpointError(
                f"{where} has latent weights, Wp and Wn for {', '.join(without)}, but not the "
                f"threshold t; give it with --threshold (the paper uses 0.05)"
            )
        if threshold is not None and not latent:
            raise CheckpointError(
                f"no layer of {where} has Wp and Wn beside latent weights, so a threshold of "
                f"{threshold:g} changes nothing; leave it out"
            )
        self.plain += [
            layer
            for layer, module in layers.items()
            if isinstance(module, TernaryLayer)
            and join(layer, "weight") in self.state
            and "wp" not in self.scales.get(layer, {})
        ]


def _heuristic_buffers(layer: str, rule: FractionOfMax | ConstantSparsity) -> dict[str, Tensor]:
    sparse = isinstance(rule, ConstantSparsity)
    value = rule.sparsity if isinstance(rule, ConstantSparsity) else rule.fraction
    return {
        join(layer, "threshold"): torch.tensor(value, dtype=torch.float64),
        join(layer, "threshold_kind"): torch.tensor(int(sparse)),
    }


def split_scales(state: Mapping[str, Tensor], model: nn.Module, where: str) -> TernaryState:
    """Wp, Wn and thresholds apart from all other tensors.

    Raises
    ------
    CheckpointError
        One of them is there twice, under two spellings.
    """
    own = model.state_dict().keys()
    ternary = {name for name, module in model.named_modules() if isinstance(module, TernaryLayer)}
    canonical = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
    result = TernaryState({})
    for key, value in state.items():
        layer, last = split_name(key)
        name = canonical.get(last)
        if name == "threshold" and all(own_name.startswith(f"{layer}.") for own_name in own):
            layer = ""  # beside the network's own prefix
        belongs = join(layer, "weight") in state or (not layer and name == "threshold")
        if name is None or not belongs or (key in own and layer not in ternary):
            result.state[key] = value
            continue
        found = result.scales.setdefault(layer, {})
        if name in found:
            raise CheckpointError(
                f"{where} has {name} of {layer or 'the layer'} twice, under two spellings"
            )
        found[name] = value
    return result


def distinct_values(tensor: Tensor, most: int) -> list[float] | None:
    """Distinct values, in ascending order, or None if there are more than ``most``; -0 is 0."""
    rest = tensor.flatten()
    found: set[float] = set()
    while rest.numel():
        if len(found) == most:
            return None
        value = rest[0]
        found.add(value.item() + 0.0)
        rest = rest[rest != value]
    return sorted(found)


def has_ternary_values(weight: Tensor) -> bool:
    """Whether a weight has at most two values beside 0."""
    values = distinct_values(weight, 3)
    return values is not None and len(set(values) - {0.0}) <= 2


def _rule(
    weight: Tensor, values: dict[str, Tensor], threshold: float | None, layer: str, where: str
) -> FractionOfMax | ConstantSparsity | None:
    """How ``weight`` becomes ternary; None if that takes a t which nobody gave."""
    if "threshold" in values:
        stored = values["threshold"].item()
        kind = values["threshold_kind"].item() if "threshold_kind" in values else 0
        if kind not in (0, 1) or not 0 <= stored < 1:
            raise CheckpointError(
                f"{where} has threshold {stored} of kind {kind} for {layer}; "
                f"a fraction of max |w| (kind 0) or a sparsity (kind 1), "
                f"in [0, 1), would be right"
            )
        if threshold is not None and (kind == 1 or abs(threshold - stored) > 1e-6):
            meaning = "sparsity" if kind == 1 else "threshold"
            raise CheckpointError(
                f"{where} was trained with {meaning} {stored:g} in {layer}, "
                f"which a threshold of {threshold:g} contradicts; give none"
            )
        return heuristic_for(stored, stored if kind == 1 else None)
    found = distinct_values(weight, 3)
    if found is not None and len({abs(value) for value in found} - {0.0}) <= 1:
        return FractionOfMax(0.0)  # all of one magnitude: the same result for any t
    return None if threshold is None else FractionOfMax(threshold)


def _is_baked(weight: Tensor, values: dict[str, Tensor]) -> bool:
    """Consists of +Wp, 0 and -Wn already."""
    wp, wn = (values[name].reshape(()).to(weight.dtype).item() for name in ("wp", "wn"))
    found = distinct_values(weight, 3)
    return found is not None and set(found) <= {wp, 0.0, -wn}


def _ternary(
    weight: Tensor, wp: Tensor, wn: Tensor, rule: FractionOfMax | ConstantSparsity, author: bool
) -> Tensor:
    """The weights that the layer computes with; shape and dtype of ``weight``."""
    if not weight.is_floating_point():
        weight = weight.float()
    wp, wn = (scale.reshape(()).to(weight.dtype) for scale in (wp, wn))
    delta = rule.delta(weight)
    result = ternarize(weight, wp, wn, delta)
    if author:
        # ``tw_ternarize`` starts from sign(W) and overwrites it where |W| is above or below the
        # threshold; a weight that equals it keeps +-1.
        result = torch.where(weight.abs() == delta, weight.sign(), result)
    return result
