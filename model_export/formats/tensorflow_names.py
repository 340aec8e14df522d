"""Names and layouts of the authors' TensorFlow code, as PyTorch has them."""

import math
import re
from collections.abc import Iterable

from torch import Tensor, nn

from tritforge.model_export.errors import CheckpointError

__all__ = ["from_tensorflow", "is_tensorflow"]

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


def is_tensorflow(names: Iterable[str]) -> bool:
    """Whether a checkpoint has the names of the authors' code: ``conv1/W:0``."""
    return any(re.search(r"/W(:0)?$", name) for name in names)


def from_tensorflow(state: dict[str, Tensor], target: nn.Module, where: str) -> dict[str, Tensor]:
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
