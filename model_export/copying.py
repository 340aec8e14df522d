"""Copies of a user's model: what the export takes, since the model itself is never changed.

Models carry more than parameters: tensors that a hook has computed, compiled wrappers, layers that
have seen no input yet. :func:`copy_model` copies them all as they are.
"""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from tritforge.model_export.errors import ModelError

__all__ = [
    "WEIGHT_HOOKS",
    "copy_model",
    "refresh_weights",
    "remove_wrappers",
    "settle_lazy",
    "uninitialized",
    "unwrapped",
]

#: Hooks that compute a layer's weight before each ``forward``, and keep it as a plain attribute.
WEIGHT_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)
_LONGEST = 120


class _DetachedCopies(TorchFunctionMode):
    """While it is active, ``copy.deepcopy`` copies all tensors: also those that were computed with
    gradients, and buffers that have no shape yet."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.__deepcopy__:
            tensor = args[0]
            if is_lazy(tensor):  # a buffer: lazy parameters copy themselves
                make: Callable[..., Tensor] = type(tensor)
                return make(False, tensor.data.device, tensor.data.dtype)
            if tensor.grad_fn is not None:
                return tensor.detach().clone()
        return func(*args, **(kwargs or {}))


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy of ``model`` that shares nothing with it, hooks and wrappers included.

    Tensors that were computed with gradients, such as the ``weight`` that ``weight_norm`` keeps,
    are copied without their history.

    Raises
    ------
    ModelError
        Something in it cannot be copied, such as an open file; the message names it.
    """
    try:
        with _DetachedCopies():
            return copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"the model cannot be copied, because of {_culprit(model)}: {_reason(error)}"
        ) from error


def _culprit(model: nn.Module) -> str:
    """The attribute that ``copy.deepcopy`` fails at."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute == "_modules" or (attribute, id(value)) == ("module", id(module)):
                continue
            try:
                with _DetachedCopies():
                    copy.deepcopy(value)
            except Exception:
                return f"attribute {attribute} of {name or type(module).__name__}"
    return f"its class {type(model).__name__}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} .."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def unwrapped(model: nn.Module) -> nn.Module:
    """The module that ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` wrap."""
    while (inner := _wrapped(model)) is not None:
        model = inner
    return model


def remove_wrappers(model: nn.Module) -> None:
    """Take such wrappers out of ``model``, in place, wherever they are inside it."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and _wrapped(child) is not None:
                setattr(parent, name, unwrapped(child))


def _wrapped(module: nn.Module) -> nn.Module | None:
    inner: object = None
    # Importing it takes seconds; where nobody has, nothing is compiled.
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None and isinstance(module, dynamo.OptimizedModule):
        inner = module._orig_mod
    elif type(module) in (nn.DataParallel, DistributedDataParallel):
        inner = module.module
    return inner if isinstance(inner, nn.Module) else None


def refresh_weights(model: nn.Module) -> None:
    """Compute anew, in place, what hooks of ``weight_norm``, ``spectral_norm`` and pruning keep.

    Precondition: eval mode, in which ``spectral_norm`` changes nothing else.
    """
    for module in model.modules():
        for hook in getattr(module, "_forward_pre_hooks", {}).values():
            if isinstance(hook, WEIGHT_HOOKS):
                with torch.no_grad():
                    hook(module, None)


# ---- lazy modules -----------------------------------------------------------------------------


def uninitialized(model: nn.Module) -> list[str]:
    """A clause for each layer whose shapes are unknown: ``fc is a LazyLinear that has seen no
    input``."""
    return [
        f"{name or 'the model'} is a {type(module).__name__} that has seen no input"
        for name, module in model.named_modules()
        if any(
            is_lazy(tensor)
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        )
    ]


def settle_lazy(model: nn.Module) -> None:
    """Make ordinary layers, in place, of lazy ones that have got their parameters."""
    for module in model.modules():
        if not isinstance(module, LazyModuleMixin) or module.has_uninitialized_params():
            continue
        shape = _input_shape(module)
        if shape is not None and hasattr(module, "_initialize_hook"):
            module._infer_parameters(module, (torch.empty(shape, device="meta"),), {})
            for count in ("in_features", "in_channels", "num_features"):
                if getattr(module, count, None) == 0:  # PyTorch leaves some of them so
                    setattr(module, count, shape[1])


def _input_shape(module: nn.Module) -> list[int] | None:
    """Shape of an input that a lazy layer with these parameters may have seen."""
    name = type(module).__name__
    weight = getattr(module, "weight", None)
    if weight is None:
        weight = getattr(module, "running_mean", None)
    if not isinstance(weight, Tensor):
        return None
    if name == "LazyLinear":
        return [1, weight.shape[1]]
    if isinstance(module, nn.modules.conv._ConvNd):
        channels = weight.shape[0] if module.transposed else weight.shape[1] * module.groups
        return [1, channels, *[1] * (weight.dim() - 2)]
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return [1, len(weight), *[1] * (int(name[-2]) if name[-2:-1].isdigit() else 0)]
    return None
