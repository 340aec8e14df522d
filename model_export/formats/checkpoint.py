"""Checkpoints as people have them, read without running code, loaded into a plain network.

:func:`load_checkpoint` reads a file into named tensors. :func:`load_into` puts them into the
user's model and gives back a network of ordinary PyTorch layers whose weights are those that the
network computes with. It knows

* the modules of :mod:`tritforge.model_export.training.ttq` (latent weights, ``wp``, ``wn`` and the
threshold);
* ordinary state dicts with ternary values baked into the weights;
* latent weights with Wp and Wn beside them, as PyTorch names (``conv2.weight``, ``conv2.Wp``) or
  as those of the authors' TensorFlow code (``conv1/W:0``, ``conv1/Wp:0``).
"""

import math
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from tritforge.common.errors import TritforgeError
from tritforge.model_export.formats.pickled_arrays import RefusedPickleError, read_pickled_arrays
from tritforge.model_export.training.ttq import (
    ConstantSparsity,
    FractionOfMax,
    TernaryLayer,
    bake,
    heuristic_for,
    ternarize,
)

__all__ = ["CheckpointError", "distinct_values", "load_checkpoint", "load_into"]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params")
DEEPEST_WRAPPING = 3
PREFIXES = ("module.", "_orig_mod.")  # of nn.DataParallel and torch.compile
SPELLINGS = {
    "wp": ("wp", "Wp", "WP", "W_p", "w_p", "pos"),
    "wn": ("wn", "Wn", "WN", "W_n", "w_n", "neg"),
    "threshold": ("threshold", "t"),
    "threshold_kind": ("threshold_kind",),
}
TENSORFLOW_NAMES = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "mean/EMA": "running_mean",
    "variance/EMA": "running_var",
    "Wp": "wp",
    "Wn": "wn",
}
TENSORFLOW_KEY = re.compile(
    rf"^(?:tower\d+/)?(?P<layer>.+)/(?P<name>{'|'.join(TENSORFLOW_NAMES)})(?::0)?$"
)
TENSORFLOW_TRAINING = re.compile(
    r"(/(Adam|Momentum|RMSProp)(_\d+)?|(^|/)(global_step|learning_rate|beta[12]_power))(:0)?$"
)


class CheckpointError(TritforgeError, ValueError):
    """A checkpoint that cannot be read or does not fit; the message is one sentence."""


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, by name, on the CPU. Runs no code from the file.

    Formats: what ``torch.save`` writes today (zip), what it wrote before PyTorch 1.6 (a sequence
    of pickles), ``.npz`` archives of plain arrays, and ``.npy`` files of a dictionary of arrays,
    as tensorpack wrote them. The state dict may be inside a dictionary,
    under ``state_dict``, ``model`` and the like; prefixes that ``nn.DataParallel`` and
    ``torch.compile`` put before every name are removed. Python numbers become scalar tensors.

    Raises
    ------
    CheckpointError
        The file is missing, truncated or of another kind, holds Python objects other than
        tensors in containers, or holds no tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = _read(file, path)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {error.strerror or error}"
        ) from error
    return _named_tensors(content, f"checkpoint {path}")


def load_into(
    model: nn.Module,
    source: str | Path | Mapping[str, object],
    threshold: float | None = None,
    *,
    label: str | None = None,
) -> nn.Module:
    """A copy of ``model`` with the weights of ``source``: plain layers, eval mode.

    A layer that has Wp and Wn beside its weight gets ``+Wp where weight > delta, -Wn where
    weight < -delta, else 0`` (both strict) with ``delta = t * max |weight|``. Weights under the
    TensorFlow names follow the authors' code also where ``|weight| = delta``: +-1 there. A weight
    whose values are already among +Wp, 0, -Wn, or all of one magnitude, needs no t.

    ``model`` may be plain or have ternary modules where the checkpoint has ternary layers; it is
    unchanged. Under the TensorFlow names, conv kernels are transposed from HWIO and matrices from
    (in, out), and the first linear layer after a conv is taken to follow a square map flattened
    as height, width, channel.

    Parameters
    ----------
    source
        A file for :func:`load_checkpoint`, or names and tensors.
    threshold
        t as a fraction of max |weight|, where the checkpoint does not hold it.
    label
        What errors call names and tensors.

    Raises
    ------
    CheckpointError
        As :func:`load_checkpoint`; or tensors are missing, unexpected, of a wrong shape, NaN or
        infinite (one message names them all); or t is needed and absent, or contradicts the one
        in the checkpoint.
    """
    if isinstance(source, Mapping):
        where = label or "the state dict"
        state = _named_tensors(source, where)
    else:
        where = f"checkpoint {source}"
        state = load_checkpoint(source)
    if threshold is not None and not 0 <= threshold < 1:
        raise CheckpointError(f"threshold must be a fraction of max |w| in [0, 1), not {threshold}")
    target = bake(model)
    author = any(re.search(r"/W(:0)?$", name) for name in state)
    if author:
        state = _from_tensorflow(state, target, where)
    state, companions = _split(state, model, where)
    _check_fit(state, companions, model, target, where)

    common = companions.pop("", {}) if "weight" not in state else {}
    without = []
    for layer, values in companions.items():
        if "wp" not in values:  # a threshold alone, beside baked weights
            continue
        name = _join(layer, "weight")
        if "threshold" not in values and _is_baked(state[name], values):
            continue
        rule = _rule(state[name], {**common, **values}, threshold, layer, where)
        if rule is None:
            without.append(layer)
        else:
            state[name] = _ternary(state[name], values["wp"], values["wn"], rule, author)
    if without:
        raise CheckpointError(
            f"{where} has latent weights, Wp and Wn for {', '.join(without)}, but not the "
            f"threshold t; give it with --threshold (the paper uses 0.05)"
        )
    target.load_state_dict(state, strict=False)
    return target


# ---- reading files ----------------------------------------------------------------------------


def _read(file: BinaryIO, path: Path) -> object:
    """Whatever the file holds; nothing but tensors, numbers, strings and containers is built."""
    start = file.read(4)
    file.seek(0)
    is_zip = start == b"PK\x03\x04"
    try:
        if is_zip:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                broken = archive.testzip()
            if any(name.endswith("/constants.pkl") for name in names):
                raise CheckpointError(
                    f"checkpoint {path} is a TorchScript program; "
                    f"save the state_dict() of the model instead"
                )
            if broken is not None:
                raise CheckpointError(
                    f"checkpoint {path} is damaged: {broken} has a wrong checksum"
                )
            file.seek(0)
            if names and all(name.endswith(".npy") for name in names):
                with np.load(file, allow_pickle=False) as arrays:
                    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if start == b"\x93NUM":
            return _tensors(read_pickled_arrays(file))
        with warnings.catch_warnings():
            # It warns of pickle protocols it may not know. It reads them, or we raise.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except OSError:
        raise
    except RefusedPickleError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it asks for {error}, but no code is run, only "
            f"dictionaries of arrays of numbers are read from .npy files"
        ) from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL:? (\w+(?:\.\w+)+)", str(error))
        if refused:
            raise CheckpointError(
                f"checkpoint {path} is refused: it asks for {refused[1]}, but no code is run, "
                f"only tensors in dictionaries are read, such as a state_dict()"
            ) from error
        raise CheckpointError(_no_checkpoint(path)) from error
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise CheckpointError(
                f"checkpoint {path} is refused: it holds arrays of Python "
                f"objects; only arrays of numbers are read"
            ) from error
        raise CheckpointError(_no_checkpoint(path)) from error
    except (
        RuntimeError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        EOFError,
        MemoryError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        # What a file of arbitrary bytes makes the readers raise.
        raise CheckpointError(_no_checkpoint(path)) from error


def _no_checkpoint(path: Path) -> str:
    return (
        f"checkpoint {path} is truncated, or not a PyTorch checkpoint, .npz archive or .npy "
        f"file of a dictionary"
    )


def _tensors(content: object) -> object:
    """The dictionary with arrays as tensors."""
    if not isinstance(content, dict):
        return content
    return {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in content.items()
    }


def _named_tensors(content: object, where: str) -> dict[str, Tensor]:
    """The state dict inside ``content``, without wrappers and prefixes."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{where} holds an object of type {type(content).__name__}, not a dictionary of tensors"
        )
    common: dict[str, object] = {}  # a threshold beside the state dict
    for _ in range(DEEPEST_WRAPPING):
        inner: object = next(
            (content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None
        )
        if not isinstance(inner, Mapping):
            break
        common |= {name: content[name] for name in SPELLINGS["threshold"] if name in content}
        content = inner
    content = {**common, **content}
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if isinstance(value, bool | int | float):
            value = torch.tensor(value, dtype=torch.float64)
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{where} is no state dict: its entry {key!r} is of type "
                f"{type(value).__name__}, not a tensor"
            )
        if (
            value.layout != torch.strided
            or value.is_quantized
            or value.is_complex()
            or value.device.type != "cpu"
        ):
            raise CheckpointError(
                f"{where} holds {key} as a sparse, quantized, complex or "
                f"absent tensor; save it as an ordinary tensor of real numbers"
            )
        tensors[key] = value.detach()
    if not tensors:
        raise CheckpointError(f"{where} holds no tensors")
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _from_tensorflow(state: dict[str, Tensor], target: nn.Module, where: str) -> dict[str, Tensor]:
    """``state`` under PyTorch names and in PyTorch's layouts; the optimizer's share is dropped."""
    first_linear, channels = _first_linear(target)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if TENSORFLOW_TRAINING.search(key):
            continue
        match = TENSORFLOW_KEY.match(key)
        if match is None:
            renamed[key] = value
            continue
        layer = match["layer"].replace("/", ".")
        if match["name"] == "W" and value.dim() == 4:
            value = value.permute(3, 2, 0, 1)
        elif match["name"] == "W" and value.dim() == 2:
            if layer == first_linear and channels and len(value) != channels:
                side = math.isqrt(len(value) // channels)
                if side * side * channels != len(value):
                    raise CheckpointError(
                        f"{where} has {len(value)} inputs for {layer}, which is no square map of "
                        f"the {channels} channels before it, so their order is unknown"
                    )
                value = value.reshape(side, side, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
            value = value.t()
        renamed[f"{layer}.{TENSORFLOW_NAMES[match['name']]}"] = value.contiguous()
    return renamed


def _first_linear(model: nn.Module) -> tuple[str | None, int]:
    """Name of the first linear layer after a conv, and that conv's output channels."""
    channels = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, nn.Linear) and channels:
            return name, channels
    return None, 0


# ---- fitting them to a model ------------------------------------------------------------------


def _join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name


def _split(
    state: dict[str, Tensor], model: nn.Module, where: str
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Apart: what plain layers have, and per layer Wp, Wn and threshold, in our spelling.

    A threshold for all layers is under the name "".
    """
    own = {name for name, _ in model.named_parameters()} | {
        name for name, _ in model.named_buffers()
    }
    ternary = {name for name, module in model.named_modules() if isinstance(module, TernaryLayer)}
    canonical = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
    rest: dict[str, Tensor] = {}
    companions: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        layer, _, last = key.rpartition(".")
        name = canonical.get(last)
        belongs = _join(layer, "weight") in state or (not layer and name == "threshold")
        if name is None or not belongs or (key in own and layer not in ternary):
            rest[key] = value
            continue
        found = companions.setdefault(layer, {})
        if name in found:
            raise CheckpointError(
                f"{where} has {name} of {layer or 'the layer'} twice, under two spellings"
            )
        found[name] = value
    return rest, companions


def _check_fit(
    state: dict[str, Tensor],
    companions: dict[str, dict[str, Tensor]],
    model: nn.Module,
    target: nn.Module,
    where: str,
) -> None:
    """Raise one error for everything that does not fit."""
    expected = {
        name: tensor for name, tensor in target.state_dict().items() if isinstance(tensor, Tensor)
    }
    missing = [
        name for name in expected if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in expected]
    wrong = [
        f"{name} {_shape(tensor)} instead of {_shape(expected[name])}"
        for name, tensor in state.items()
        if name in expected
        and tensor.shape != expected[name].shape
        and not (name.endswith("num_batches_tracked") and tensor.numel() == 1)
    ]
    infinite = [
        name
        for name, tensor in state.items()
        if name in expected
        and tensor.shape == expected[name].shape
        and not bool(torch.isfinite(tensor).all())
    ]
    layers = dict(target.named_modules())
    for layer, values in companions.items():
        scales = {"wp", "wn"} & values.keys()
        if scales and not isinstance(layers.get(layer), nn.Conv2d | nn.Linear):
            unexpected += [_join(layer, name) for name in sorted(scales)]
        elif scales:
            missing += [_join(layer, name) for name in sorted({"wp", "wn"} - scales)]
        for name, tensor in values.items():
            if tensor.numel() != 1:
                wrong.append(f"{_join(layer, name)} {_shape(tensor)} instead of ()")
            elif not bool(torch.isfinite(tensor).all()):
                infinite.append(_join(layer, name))
    for layer, module in model.named_modules():
        weight = state.get(_join(layer, "weight"))
        if (
            isinstance(module, TernaryLayer)
            and weight is not None
            and "wp" not in companions.get(layer, {})
            and not _is_ternary(weight)
        ):
            missing += [_join(layer, "wp"), _join(layer, "wn")]
    clauses = [
        f"{title} {', '.join(dict.fromkeys(names))}"
        for title, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of a wrong shape", wrong),
            ("NaN or infinite", infinite),
        )
        if names
    ]
    if clauses:
        raise CheckpointError(f"{where} does not fit the model: {'; '.join(clauses)}")


def _shape(tensor: Tensor) -> str:
    return "x".join(str(length) for length in tensor.shape) or "()"


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


def _is_ternary(weight: Tensor) -> bool:
    """Has at most one positive and at most one negative value."""
    values = distinct_values(weight, 3)
    return (
        values is not None and sum(v > 0 for v in values) <= 1 and sum(v < 0 for v in values) <= 1
    )


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
