"""Checkpoints as people have them, read without running code, loaded into a copy of a model.

:func:`load_checkpoint` reads a file into named tensors. :func:`load_into` puts them into a copy
of the user's model, whatever its layers and hooks are. It knows

* the state dict of the model itself, and of the same network under other names or in other parts
  (:mod:`tritforge.model_export.formats.names`,
  :mod:`tritforge.model_export.formats.computed_weights`);
* ordinary state dicts with ternary values baked into the weights;
* latent weights with Wp and Wn beside them, as PyTorch names (``conv2.weight``, ``conv2.Wp``) or
  as those of the authors' TensorFlow code (``conv1/W:0``, ``conv1/Wp:0``).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tritforge.model_export.copying import (
    copy_model,
    refresh_weights,
    remove_wrappers,
    settle_lazy,
    uninitialized,
    unwrapped,
)
from tritforge.model_export.errors import CheckpointError, ModelError
from tritforge.model_export.formats.computed_weights import fit_parts
from tritforge.model_export.formats.files import read_file
from tritforge.model_export.formats.names import align, common_prefix, is_beside, join, printable
from tritforge.model_export.formats.tensorflow_names import from_tensorflow, is_tensorflow
from tritforge.model_export.formats.ternary_state import (
    SPELLINGS,
    TernaryState,
    distinct_values,
    has_ternary_values,
    split_scales,
)
from tritforge.model_export.training.ttq import TernaryLayer, replace_ternary

__all__ = ["CheckpointError", "distinct_values", "load_checkpoint", "load_into"]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params")
PREFIXES = ("module.", "_orig_mod.")  # of nn.DataParallel and torch.compile
_DEEPEST = 8  # dictionaries in dictionaries
#: Characters of one list of names in a message.
_LONGEST = 64
_SPELLINGS = {spelling for spellings in SPELLINGS.values() for spelling in spellings}


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, by name, on the CPU. Runs no code from the file.

    Formats: what ``torch.save`` writes today (zip), what it wrote before PyTorch 1.6 (a sequence
    of pickles), ``.npz`` archives of plain arrays, and ``.npy`` files of a dictionary of arrays,
    as tensorpack wrote them. The state dict may be inside a dictionary,
    under ``state_dict``, ``model`` and the like; prefixes that ``nn.DataParallel`` and
    ``torch.compile`` put before every name are removed. Python numbers become scalar tensors;
    other entries are left out.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or of another kind, asks for Python objects that are not
        known to be harmless, or holds no tensors.
    """
    where = f"checkpoint {path}"
    tensors = _unwrapped(read_file(Path(path)), where)
    for name, tensor in tensors.items():
        tensors[name] = _ordinary(name, tensor, where)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def load_into(
    model: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, object] | None,
    threshold: float | None = None,
    *,
    label: str | None = None,
    notes: list[str] | None = None,
) -> nn.Module:
    """A copy of ``model`` with the weights of ``source``: eval mode, float32, on the CPU.

    The copy has the model's hooks, parametrizations and ternary layers; wrappers of
    ``torch.compile`` and ``nn.DataParallel`` are left out, and so is nothing else. ``model`` is
    unchanged. The names of ``source`` may differ from the model's by prefixes and wrappers.

    A layer that has Wp and Wn beside its weight gets ``+Wp where weight > delta, -Wn where
    weight < -delta, else 0`` (both strict) with ``delta = t * max |weight|``. Weights under the
    TensorFlow names follow the authors' code also where ``|weight| = delta``: +-1 there. A weight
    whose values are already among +Wp, 0, -Wn, or all of one magnitude, needs no t. A ternary
    layer keeps latent weight, Wp and Wn; where ``source`` has ternary values, a plain layer takes
    its place.

    Under the TensorFlow names, conv kernels are transposed from HWIO and matrices from
    (in, out), and the first linear layer after a conv is taken to follow a square map flattened
    as height, width, channel.

    Parameters
    ----------
    source
        A file for :func:`load_checkpoint`, names and tensors, or None: the model's own weights.
    threshold
        t as a fraction of max |weight|, where the checkpoint does not hold it.
    label
        What errors call names and tensors.
    notes
        Gets a line for what was ignored or computed.

    Raises
    ------
    CheckpointError
        As :func:`load_checkpoint`; or tensors are missing, unexpected, of a wrong shape, NaN or
        infinite (one message says how many fit and names the first); or t is needed and absent,
        contradicts the one in the checkpoint, or changes nothing.
    ModelError
        The model is quantized, cannot be copied, or has no values of its own.
    """
    if threshold is not None and not 0 <= threshold < 1:
        raise CheckpointError(f"threshold must be a fraction of max |w| in [0, 1), not {threshold}")
    _refuse_quantized(model)
    target = copy_model(unwrapped(model)).eval()
    remove_wrappers(target)
    _to_float32(target)
    said: list[str] = [] if notes is None else notes
    if source is None:
        _own_weights(target, threshold)
    else:
        target = _loaded(target, source, threshold, label, said)
    settle_lazy(target)
    refresh_weights(target)
    return target


def _loaded(
    target: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, object],
    threshold: float | None,
    label: str | None,
    notes: list[str],
) -> nn.Module:
    """``target``, or what replaces it, with the weights of ``source``."""
    if isinstance(source, Mapping):
        where, content = label or "the state dict", source
    elif isinstance(source, str | os.PathLike):
        where = label or f"checkpoint {os.fspath(source)}"
        read = read_file(Path(source))
        if isinstance(read, list | tuple) and any(isinstance(item, Mapping) for item in read):
            read = {str(n): item for n, item in enumerate(read)}
        content = _dictionary(read, where)
    else:
        raise CheckpointError(
            f"a checkpoint is a file or a state dict, not an object of type {type(source).__name__}"
        )
    expected = _expected(target)
    tensors = dict(_flat(content, expected))
    if not tensors:
        raise CheckpointError(f"{where} holds no tensors")
    author = is_tensorflow(tensors)
    if author:
        tensors = from_tensorflow(_unwrapped(content, where), target, where)
    layers = dict(target.named_modules())
    aligned = align(tensors, expected, layers, where)
    notes += aligned.notes
    for name in list(aligned.beside):
        parent, _, last = name.rpartition(".")
        above = aligned.prefix[: len(parent.split("."))] if parent else ()
        if last in SPELLINGS["threshold"] and ".".join(above) == parent:
            aligned.tensors[last] = aligned.beside.pop(name)  # a threshold beside the state dict
    state = {name: _ordinary(name, value, where) for name, value in aligned.tensors.items()}
    state = fit_parts(state, expected, target, notes)
    ignored = [*aligned.beside]
    ternary = split_scales(state, target, where)
    for name in [name for name in ternary.state if name not in expected]:
        if is_beside(name, ternary.state[name]):
            ignored.append(name)
            del ternary.state[name]
    _add_tied(ternary.state, expected)
    _check_fit(ternary, target, expected, where)
    ternary.settle(layers, threshold, author, where)
    target = replace_ternary(target, ternary.plain)
    if ignored := [name for name in ignored if not name.endswith("num_batches_tracked")]:
        notes.append(f"ignored: {_ignored(ignored, aligned.prefix)}")
    _load(target, ternary.state, content, where)
    return target


def _ignored(names: Iterable[str], prefix: tuple[str, ...]) -> str:
    """Names without what they have in common with the network's prefix, groups of them as one."""
    groups: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        shared = common_prefix([tuple(parts), (*prefix, "")])
        rest = parts[len(shared) :]
        groups.setdefault(rest[0], []).append(".".join(rest))
    return _some(
        group[0] if len(group) == 1 else f"{first}.* ({len(group)})"
        for first, group in groups.items()
    )


# ---- what a checkpoint holds ------------------------------------------------------------------


def _dictionary(content: object, where: str) -> Mapping[str, object]:
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{where} holds an object of type {type(content).__name__}, not a dictionary of tensors"
        )
    return content


def _unwrapped(content: object, where: str) -> dict[str, Tensor]:
    """The tensors and numbers of the state dict that stands under the usual names."""
    common: dict[str, object] = {}  # a threshold beside the state dict
    content = _dictionary(content, where)
    for _ in range(_DEEPEST):
        inner: object = next(
            (content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None
        )
        if not isinstance(inner, Mapping):
            break
        common |= {name: content[name] for name in SPELLINGS["threshold"] if name in content}
        content = inner
    found = {
        str(key): tensor
        for key, value in {**common, **content}.items()
        if (tensor := _tensor(value)) is not None
    }
    if not any(isinstance(value, Tensor | np.ndarray) for value in content.values()):
        raise CheckpointError(f"{where} holds no tensors")
    return found


def _flat(
    content: Mapping[str, object], expected: Mapping[str, Tensor], path: str = "", depth: int = 0
) -> Iterator[tuple[str, Tensor]]:
    """Tensors by their names, those in inner dictionaries after the names of these; numbers where
    the name says that they belong to the weights."""
    for key, value in content.items():
        name = join(path, str(key))
        if isinstance(value, nn.Module):
            value = value.state_dict()
        if isinstance(value, Mapping):
            if depth < _DEEPEST and not name.endswith("_extra_state"):
                yield from _flat(value, expected, name, depth + 1)
            continue
        tensor = _tensor(value)
        known = name in expected or str(key).rpartition(".")[2] in _SPELLINGS
        if tensor is not None and (isinstance(value, Tensor | np.ndarray) or known):
            yield name, tensor


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        numbers = value.dtype.kind in "fiub"
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="))) if numbers else None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float):
        return torch.tensor(value, dtype=torch.float64)
    return None


def _ordinary(name: str, tensor: Tensor, where: str) -> Tensor:
    """A tensor of real numbers on the CPU; those of few bits as float32."""
    if (
        tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.is_complex()
        or tensor.device.type == "meta"
        or is_lazy(tensor)
    ):
        raise CheckpointError(
            f"{where} holds {printable(name)} as a sparse, quantized, complex or absent tensor; "
            f"save it as an ordinary tensor of real numbers"
        )
    tensor = tensor.cpu()
    few_bits = tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64)
    return tensor.float() if few_bits else tensor


# ---- the model --------------------------------------------------------------------------------


def _refuse_quantized(model: nn.Module) -> None:
    for name, module in model.named_modules():
        kind = type(module)
        of_torch = kind.__module__.startswith(("torch.ao.nn.", "torch.nn.quantized"))
        tensors = [*module._parameters.values(), *module._buffers.values()]
        if (of_torch and "quantized" in kind.__module__) or any(
            tensor is not None and not is_lazy(tensor) and tensor.is_quantized for tensor in tensors
        ):
            raise ModelError(
                f"layer {name or 'itself'} is a quantized {kind.__name__} of PyTorch; give the "
                f"floating-point model that it was made from"
            )


def _to_float32(model: nn.Module) -> None:
    """Convert floating-point tensors in place, and bring them to the CPU.

    The thresholds of ternary layers keep their precision: a weight may equal them.
    """
    kept = {m: m.threshold for m in model.modules() if isinstance(m, TernaryLayer)}
    own = [
        tensor
        for tensor in (*model.parameters(), *model.buffers())
        if not any(tensor is threshold for threshold in kept.values())
    ]
    if any(tensor.device.type not in ("cpu", "meta") for tensor in own):
        model.cpu()
    others = {
        tensor.dtype for tensor in own if tensor.is_floating_point() and not _is_float32(tensor)
    }
    if not others:
        return
    model.float()
    for layer, threshold in kept.items():
        layer.threshold = threshold.cpu().double()
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, value in vars(module).items():  # tensors that are not registered
            if isinstance(value, Tensor) and value.dtype in others:
                vars(module)[name] = value.float()


def _is_float32(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32


def _own_weights(target: nn.Module, threshold: float | None) -> None:
    """Check the weights that a model is built with."""
    tensors = {
        name: tensor
        for name, tensor in (*target.named_parameters(), *target.named_buffers())
        if not is_lazy(tensor)
    }
    if absent := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise ModelError(
            f"the model is on the meta device, where {_some(absent)} have no values; give a "
            f"checkpoint"
        )
    kept = target.state_dict().keys()
    state = {n: _ordinary(n, value, "the model") for n, value in tensors.items() if n in kept}
    if broken := [name for name, tensor in state.items() if not _is_finite(tensor)]:
        raise ModelError(f"the model has values that are NaN or infinite in {_some(broken)}")
    scales = split_scales(state, target, "the model")
    scales.settle(dict(target.named_modules()), threshold, False, "the model")


def _expected(target: nn.Module) -> dict[str, Tensor]:
    """The model's state dict; tied tensors are the same objects."""
    state = target.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _add_tied(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Tensors that the model has under two names need one of them."""
    names: dict[int, str] = {id(expected[name]): name for name in state if name in expected}
    for name, tensor in expected.items():
        if name not in state and id(tensor) in names:
            state[name] = state[names[id(tensor)]]


def _load(
    target: nn.Module, state: Mapping[str, Tensor], content: Mapping[str, object], where: str
) -> None:
    """Give ``state`` to the model's own ``load_state_dict``."""
    if any(tensor.is_meta for tensor in (*target.parameters(), *target.buffers())):
        persistent = target.state_dict().keys()
        absent = [n for n, b in target.named_buffers() if b.is_meta and n not in persistent]
        if absent:
            raise ModelError(
                f"the model is on the meta device, and no checkpoint has its buffers "
                f"{_some(absent)}; build it on the CPU"
            )
        target._apply(lambda t: torch.zeros_like(t, device="cpu") if t.is_meta else t)
    # what get_extra_state gives may be anything
    own = target.state_dict()
    extra = {n: v for n, v in content.items() if n in own and n.endswith("_extra_state")}
    try:
        result = target.load_state_dict({**state, **extra}, strict=False)
        lacking = [*(result.missing_keys if result is not None else ())]
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{where} fits the model by its names, but its load_state_dict raises "
            f"{type(error).__name__}: {text}"
        ) from error
    lacking = [name for name in lacking if not name.endswith("num_batches_tracked")]
    if lacking:
        raise CheckpointError(f"{where} does not fit the model: missing {_some(lacking)}")
    if lazy := uninitialized(target):
        raise CheckpointError(f"{where} does not fit the model: {lazy[0]}")


# ---- whether they fit -------------------------------------------------------------------------


def _check_fit(
    ternary: TernaryState, target: nn.Module, expected: Mapping[str, Tensor], where: str
) -> None:
    """Raise one error for everything that does not fit."""
    state = ternary.state
    layers = dict(target.named_modules())
    apart = {
        join(layer, scale)
        for layer, module in layers.items()
        if isinstance(module, TernaryLayer)
        and (layer in ternary.scales or join(layer, "weight") in state)
        for scale in SPELLINGS
    }
    needed = {name: tensor for name, tensor in expected.items() if name not in apart}
    missing = [
        name for name in needed if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in needed]
    known = [name for name in state if name in needed]
    wrong = [
        f"{name} {_shape(state[name])} instead of {_shape(needed[name])}"
        for name in known
        if not _same_shape(state[name], needed[name])
    ]
    infinite = [
        name
        for name in known
        if _same_shape(state[name], needed[name]) and not _is_finite(state[name])
    ]
    for layer, values in ternary.scales.items():
        scales = {"wp", "wn"} & values.keys()
        if scales and not isinstance(layers.get(layer), nn.Conv1d | nn.Conv2d | nn.Linear):
            unexpected += [join(layer, name) for name in sorted(scales)]
        elif scales:
            missing += [join(layer, name) for name in sorted({"wp", "wn"} - scales)]
        for name, tensor in values.items():
            if tensor.numel() != 1:
                wrong.append(f"{join(layer, name)} {_shape(tensor)} instead of ()")
            elif not _is_finite(tensor):
                infinite.append(join(layer, name))
    for layer, module in layers.items():
        weight = state.get(join(layer, "weight"))
        if (
            isinstance(module, TernaryLayer)
            and weight is not None
            and "wp" not in ternary.scales.get(layer, {})
            and not has_ternary_values(weight)
        ):
            missing += [join(layer, "wp"), join(layer, "wn")]
    clauses = [
        f"{title} {_some(dict.fromkeys(names))}"
        for title, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of a wrong shape", wrong),
            ("NaN or infinite", infinite),
        )
        if names
    ]
    if clauses:
        right = len(known) - len(wrong) - len(infinite)
        raise CheckpointError(
            f"{where} does not fit the model (tensors that do: {max(right, 0)} of "
            f"{len(expected)}): {'; '.join(clauses)}"
        )


def _some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = [*names]
    shown: list[str] = []
    for name in every:
        short = printable(name, _LONGEST)
        if shown and len(", ".join(shown)) + len(short) > _LONGEST:
            return f"{', '.join(shown)} .. and {len(every) - len(shown)} more"
        shown.append(short)
    return ", ".join(shown)


def _same_shape(given: Tensor, wanted: Tensor) -> bool:
    return (
        is_lazy(wanted)
        or given.shape == wanted.shape
        or (wanted.dim() == 0 and given.numel() == 1 and given.dim() == 1)
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(str(length) for length in tensor.shape) or "()"


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
