"""All operators that may depend on a model's input, by the name that PyTorch has for them."""

from tritforge.model_export.frontend.operators.arithmetic import ARITHMETIC
from tritforge.model_export.frontend.operators.functions import FUNCTIONS
from tritforge.model_export.frontend.operators.movement import MOVEMENT
from tritforge.model_export.frontend.operators.pools import POOLS
from tritforge.model_export.frontend.operators.weights import WEIGHTS
from tritforge.model_export.frontend.recorder import Handler

__all__ = ["FAMILIES", "HINTS", "OPERATORS"]

#: Operators by what they do, for documentation.
FAMILIES: dict[str, dict[str, Handler]] = {
    "weights": WEIGHTS,
    "pools, means and maxima": POOLS,
    "sums and products with constants": ARITHMETIC,
    "functions of one value": FUNCTIONS,
    "movement": MOVEMENT,
}
OPERATORS: dict[str, Handler] = {
    name: handler for family in FAMILIES.values() for name, handler in family.items()
}

_ATTENTION = "attention multiplies activations with one another, which the array cannot"
_NORM = "it divides by statistics of its input; batch norm with running statistics is supported"
_RECURRENT = "recurrent layers are not supported"
#: What to do about operations that are not supported.
HINTS: dict[str, str] = {
    "native_layer_norm": _NORM,
    "native_group_norm": _NORM,
    "linalg_vector_norm": _NORM,
    "var": _NORM,
    "var_mean": _NORM,
    "std": _NORM,
    "_scaled_dot_product_flash_attention_for_cpu": _ATTENTION,
    "_scaled_dot_product_attention_math": _ATTENTION,
    "mkldnn_rnn_layer": _RECURRENT,
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
    "rnn_tanh": _RECURRENT,
    "upsample_bilinear2d": "use nearest up-sampling",
    "upsample_linear1d": "use nearest up-sampling",
    "upsample_bicubic2d": "use nearest up-sampling",
    "index_add": "add tensors, and put the parts together with torch.cat",
    "scatter_add": "add tensors, and put the parts together with torch.cat",
    "embedding": "an activation's value cannot choose what is read",
    "argmax": "return the scores; their largest is found on the host",
    "argmin": "return the scores; their smallest is found on the host",
    "topk": "return the scores; the host can sort them",
    "sort": "return the scores; the host can sort them",
    "glu": "it multiplies two activations",
    "cumsum": "sums over a whole axis are supported",
}
