"""Models of random operations: movement, arithmetic, pools, convolutions, writes in place."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["RandomModel"]

#: Most elements of one sample, so that models stay small.
MOST = 700


class RandomModel(nn.Module):
    """A network drawn from a seed; ``steps`` names what it does."""

    def __init__(self, seed, *, tables=True):
        super().__init__()
        torch.manual_seed(seed)
        self.seed, self.tables = seed, tables
        rng = np.random.default_rng(seed)
        self.shape = [(2, 6, 6), (1, 8, 7), (3, 5, 4), (4, 9), (12,)][rng.integers(5)]
        self.layers = nn.ModuleList()
        self.steps = []
        self.eval()
        kept = [torch.randn(2, *self.shape)]
        for _ in range(int(rng.integers(3, 9))):
            for _ in range(20):  # until one fits
                operation = OPERATIONS[rng.integers(len(OPERATIONS))]
                if operation.__name__ in FUNCTIONS and not tables:
                    continue
                layer, arguments = operation(rng, kept)
                if layer is False:
                    continue
                made = _apply(layer, arguments, [one.clone() for one in kept])
                if 0 < made[0].numel() <= MOST and made.abs().max() < 100:
                    break
            else:
                continue
            if isinstance(layer, nn.Module):
                self.layers.append(layer)
                layer = len(self.layers) - 1
            self.steps.append((operation.__name__, layer, arguments))
            kept = self._run(kept[0])
        self.last = nn.Linear(kept[-1][0].numel(), 4)

    def _run(self, x):
        kept = [x]
        for _, layer, arguments in self.steps:
            function = self.layers[layer] if isinstance(layer, int) else layer
            kept.append(_apply(function, arguments, kept))
        return kept

    def forward(self, x):
        return self.last(self._run(x)[-1].flatten(1))


def _apply(function, arguments, kept):
    return function(*(kept[number] for number in arguments))


def _recent(rng, kept, dims=(2, 3, 4)):
    """Number of a tensor, the last ones most often; None if it has another number of axes."""
    number = len(kept) - 1 - min(int(rng.geometric(0.6)) - 1, len(kept) - 1)
    return number if kept[number].dim() in dims else None


def conv(rng, kept):
    number = _recent(rng, kept, (3, 4))
    if number is None:
        return False, ()
    shape = kept[number].shape
    size = [int(rng.integers(1, min(3, length) + 1)) for length in shape[2:]]
    groups = shape[1] if rng.random() < 0.2 else 1
    width = groups * int(rng.integers(1, 3)) if groups > 1 else int(rng.integers(1, 9))
    options = {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 2))}
    if rng.random() < 0.2:
        kind = nn.ConvTranspose1d if len(shape) == 3 else nn.ConvTranspose2d
        return kind(shape[1], width, size, groups=groups, stride=options["stride"]), (number,)
    if rng.random() < 0.2:
        options["padding_mode"] = ["reflect", "replicate", "circular"][rng.integers(3)]
    if any(length < 3 for length in shape[2:]):
        options["padding"] = 0
        options.pop("padding_mode", None)
    kind = nn.Conv1d if len(shape) == 3 else nn.Conv2d
    return kind(shape[1], width, size, groups=groups, **options), (number,)


def linear(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    return nn.Linear(kept[number].shape[-1], int(rng.integers(1, 9))), (number,)


def batch_norm(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    shape = kept[number].shape
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    layer = kind(shape[1]).eval()
    nn.init.uniform_(layer.running_mean, -0.5, 0.5)
    nn.init.uniform_(layer.running_var, 0.5, 1.5)
    nn.init.uniform_(layer.weight, -1.5, 1.5)
    nn.init.uniform_(layer.bias, -0.5, 0.5)
    return layer, (number,)


def pool(rng, kept):
    number = _recent(rng, kept, (4,))
    if number is None or min(kept[number].shape[2:]) < 3:
        return False, ()
    kernel, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    padding, ceil = int(rng.integers(0, kernel // 2 + 1)), bool(rng.integers(2))
    function = [F.max_pool2d, F.avg_pool2d][rng.integers(2)]
    return lambda x: function(x, kernel, stride, padding, ceil_mode=ceil), (number,)


def adaptive(rng, kept):
    number = _recent(rng, kept, (4,))
    if number is None:
        return False, ()
    size = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    return lambda x: F.adaptive_avg_pool2d(x, size), (number,)


def reduce(rng, kept):
    number = _recent(rng, kept, (3, 4))
    if number is None:
        return False, ()
    dims = kept[number].dim()
    axes = tuple(rng.permutation(np.arange(1, dims))[: rng.integers(1, dims)].tolist())
    name, keep = ["mean", "sum", "amax", "amin"][rng.integers(4)], bool(rng.integers(2))
    if len(axes) == dims - 1:
        keep = True
    return lambda x: getattr(x, name)(axes, keepdim=keep), (number,)


def clamp(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    functions = [
        torch.relu,
        F.relu6,
        lambda x: x.clamp(-0.5, 0.7),
        lambda x: x.clamp(max=0.4),
        lambda x: torch.maximum(x, torch.tensor(-0.2)),
        lambda x: x.clone().relu_(),
    ]
    return functions[rng.integers(len(functions))], (number,)


def function(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    functions = [
        torch.sigmoid,
        torch.tanh,
        F.silu,
        F.leaky_relu,
        lambda x: x * torch.sigmoid(x),
        lambda x: torch.where(x > 0, x, 0.2 * x),
        lambda x: x.abs(),
        lambda x: x * x / (1 + x * x),
    ]
    return functions[rng.integers(len(functions))], (number,)


def scale(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    shape = kept[number].shape
    size = (1, shape[1], *[1] * (len(shape) - 2)) if rng.random() < 0.5 else ()
    gain, offset = (torch.from_numpy(np.asarray(rng.normal(size=size), np.float32)) for _ in "ab")
    return lambda x: x * gain + offset, (number,)


def add(rng, kept):
    one, two = rng.integers(len(kept), size=2).tolist()
    try:
        torch.broadcast_shapes(kept[one].shape, kept[two].shape)
    except RuntimeError:
        return False, ()
    if kept[one].dim() != kept[two].dim():
        return False, ()
    functions = [torch.add, torch.sub, lambda x, y: 0.5 * x - 2 * y, torch.maximum, torch.minimum]
    return functions[rng.integers(len(functions))], (one, two)


def joined(rng, kept):
    one, two = rng.integers(len(kept), size=2).tolist()
    if kept[one].dim() < 2 or kept[one].dim() != kept[two].dim():
        return False, ()
    for axis in rng.permutation(np.arange(1, kept[one].dim())).tolist():
        shapes = [list(kept[number].shape) for number in (one, two)]
        for shape in shapes:
            shape[axis] = 0
        if shapes[0] == shapes[1]:
            return lambda x, y, axis=axis: torch.cat([x, y], axis), (one, two)
    return False, ()


def moved(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    shape = kept[number].shape
    axis = int(rng.integers(1, len(shape)))
    size = shape[axis]
    low = int(rng.integers(0, size))
    step = int(rng.integers(1, 3))
    index = torch.from_numpy(rng.integers(0, size, size=int(rng.integers(1, 6))))
    functions = [
        lambda x: x.flip(axis),
        lambda x: x.roll(low, axis),
        lambda x: x.narrow(axis, low, size - low),
        lambda x: x[(slice(None),) * axis + (slice(low, None, step),)],
        lambda x: x.index_select(axis, index),
        lambda x: x.repeat_interleave(2, axis),
        lambda x: torch.cat(x.split(max(1, size // 2), axis)[::-1], axis),
        lambda x: F.pad(x, (1, 2)) if x.dim() < 4 else F.pad(x, (0, 1, 2, 0)),
        lambda x: x.unsqueeze(1).squeeze(1),
    ]
    return functions[rng.integers(len(functions))], (number,)


def reshaped(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    shape = tuple(kept[number].shape)
    functions = [lambda x: x.flatten(1)]
    if len(shape) == 4:
        functions += [lambda x: x.flatten(2), lambda x: x.flatten(1, 2)]
        if shape[1] % 4 == 0:
            functions.append(lambda x: F.pixel_shuffle(x, 2))
        if shape[2] % 2 == 0 and shape[3] % 2 == 0:
            functions.append(lambda x: F.pixel_unshuffle(x, 2))
    if len(shape) == 3:
        functions += [lambda x: x.unsqueeze(2), lambda x: x.unsqueeze(1)]
    for size in (2, 3):
        if shape[1] % size == 0 and len(shape) < 4:
            functions.append(lambda x, size=size: x.unflatten(1, (size, -1)))
    return functions[rng.integers(len(functions))], (number,)


def written(rng, kept):
    number = _recent(rng, kept)
    if number is None:
        return False, ()
    shape = kept[number].shape
    axis = int(rng.integers(1, len(shape)))
    low = int(rng.integers(0, shape[axis]))
    where = (slice(None),) * axis + (slice(low, None, int(rng.integers(1, 3))),)
    value = float(rng.normal())
    kind = int(rng.integers(5))

    def write(x):
        x = x.clone()
        if kind == 0:
            x[where] = 0
        elif kind == 1:
            x[where].relu_()
        elif kind == 2:
            x[where] *= value
        elif kind == 3:
            x[where] = x.flip(1)[where]
        else:
            x.view(len(x), -1).clamp_(-0.5, 1)
        return x

    return write, (number,)


FUNCTIONS = {"function"}
OPERATIONS = [
    conv,
    conv,
    linear,
    batch_norm,
    pool,
    adaptive,
    reduce,
    clamp,
    clamp,
    function,
    scale,
    add,
    add,
    joined,
    moved,
    moved,
    reshaped,
    written,
]
