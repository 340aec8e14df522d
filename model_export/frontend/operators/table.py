"""All operators that may depend on a model's input, by the name that PyTorch has for them."""

from tritforge.model_export.frontend.operators.arithmetic import ARITHMETIC
from tritforge.model_export.frontend.operators.functions import FUNCTIONS
from tritforge.model_export.frontend.operators.movement import MOVEMENT
from tritforge.model_export.frontend.operators.pools import POOLS
from tritforge.model_export.frontend.operators.resize import RESIZE
from tritforge.model_export.frontend.operators.weights import WEIGHTS
from tritforge.model_export.frontend.recorder import Handler

__all__ = ["FAMILIES", "HINTS", "OPERATORS", "markdown"]

#: Operators by what they do, for documentation.
FAMILIES: dict[str, dict[str, Handler]] = {
    "weights": WEIGHTS,
    "pools, means and maxima": POOLS,
    "sums and products with constants": ARITHMETIC,
    "functions of one value": FUNCTIONS,
    "movement": MOVEMENT,
    "resizing": RESIZE,
}
OPERATORS: dict[str, Handler] = {
    name: handler for family in FAMILIES.values() for name, handler in family.items()
}

_ATTENTION = "attention multiplies activations with one another, which the array cannot"
_NORM = "it divides by statistics of its input; batch norm with running statistics is supported"
_RECURRENT = "recurrent layers are not supported"
#: What of an operator is supported, or what becomes of it, where that is not all and obvious.
NOTES: dict[str, str] = {
    "convolution": "in one and two dimensions; any kernel, stride, padding, dilation and groups; "
    "a transposed one is a convolution of a copy with zeros between its pixels",
    "mm": "one factor is made of weights, along channels, rows or columns of the other; so "
    "are `addmm`, `bmm`, `baddbmm` and `mv`",
    "native_batch_norm": "with running statistics; `SyncBatchNorm` too",
    "max_pool2d_with_indices": "max-pool in one and two dimensions, without dilation; the "
    "positions may not be used",
    "adaptive_max_pool2d": "windows of one size, or copies of single pixels",
    "amax": "over rows and columns, and by a copy over at most 64 channels; so are `amin`, `max` "
    "and `min`",
    "avg_pool2d": "any, also ragged ones (`ceil_mode`, `count_include_pad=False`)",
    "_adaptive_avg_pool2d": "any, also to more pixels than there are",
    "mean": "over channels, rows, columns, or axes that are made of them; `sum` too",
    "_softmax": "at the network's end, where it is left to the host; `log_softmax` too",
    "add": "of two activations, a residual sum; of an activation and constants, part of the layer "
    "before; `sub`, `rsub` and `addcmul` too",
    "mul": "with constants; of two functions of one activation, such as `x * sigmoid(x)`, a table",
    "div": "by constants; of two functions of one activation, a table",
    "where": "of functions of one activation, a table; with a constant mask, movement",
    "maximum": "with a constant, a clamp; of two functions of one activation, a table; of two "
    "activations, by a copy; `minimum` too",
    "gt": "within functions of one activation, as `torch.where(x > 0, x, a * x)`; all comparisons",
    "relu": "a clamp; so are `relu6`, `hardtanh` and `clamp`, between any two numbers",
    "_prelu_kernel": "one slope for all channels",
    "cat": "over channels for free, over rows and columns by a copy",
    "index": "with constant indices",
    "index_put": "with constant indices; `x[:, :4] = y` and other writes through views too",
    "constant_pad_nd": "in any dimension, with any number; negative sizes cut",
    "upsample_nearest2d": "nearest up-sampling, by a copy",
    "pixel_shuffle": "by a copy",
    "masked_fill": "with a constant mask; where functions of one activation are compared, a table",
    "upsample_bilinear2d": "by whole factors up to 4 with `align_corners=False`: a sum of copies, "
    "along rows and then along columns; `upsample_linear1d` too",
    "_to_copy": "to floating point; to integers, `trunc` by a table",
}
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
    "upsample_bicubic2d": "use bilinear or nearest up-sampling",
    "_upsample_bilinear2d_aa": "pass antialias=False",
    "col2im": "a transposed convolution is",
    "any": "only what is the same for every input can become hardware",
    "all": "only what is the same for every input can become hardware",
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


def markdown() -> str:
    """The list of operators, as ``docs/operators.md`` has it."""
    lines = []
    for family, handlers in FAMILIES.items():
        lines += [f"## {family[0].upper()}{family[1:]}", ""]
        noted = [name for name in handlers if name in NOTES]
        if noted:
            lines += ["| operator | what is supported |", "|---|---|"]
            lines += [f"| `{name}` | {NOTES[name]} |" for name in noted]
            lines += [""]
        others = ", ".join(f"`{name}`" for name in handlers if name not in NOTES)
        if others:
            lines += [f"{'Also ' if noted else ''}{others}.", ""]
    lines += ["## Refused by name", "", "| operator | |", "|---|---|"]
    lines += [f"| `{name}` | {hint} |" for name, hint in HINTS.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
