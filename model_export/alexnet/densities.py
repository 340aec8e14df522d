"""Share of nonzero activations at the input of every layer: measured, and set.

The accelerator broadcasts nonzero activations only, so its cycles depend on how many there are
and how evenly they lie over channels. "Nonzero" is meant as the hardware means it: after ReLU
and max-pool, rounded to 8-bit codes with one scale per tensor, the largest value over the
calibration images being the largest code.

Networks here are nested ``nn.Sequential`` of conv or linear layers, each followed by batch norm,
ReLU, max-pool, flatten and dropout in any order, with a ReLU after every layer but the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "Stage",
    "density_shifts",
    "input_densities",
    "input_scales",
    "set_input_densities",
    "spread",
    "stages",
]

#: Images computed at a time; limits memory.
_BATCH = 8
#: How often, and how far per excess of density, in standard deviations, references pull.
_PULLS, _PULL = 40, 2.0
#: Pixels of a channel that suffice for it.
_PULLED_PIXELS = 256
#: A channel to be always or never active is so by this many standard deviations.
_MARGIN = 0.1


@dataclass(eq=False)
class Stage:
    """A layer with weights and what follows it, up to the next.

    Members
    -------
    name
        Of the layer, as in ``model.named_modules()``.
    norm
        The batch norm after it, if any.
    pools
        The max-pools after it. With a batch norm of positive gain it makes no difference whether
        batch norm and ReLU stand before or after them.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None
    pools: list[nn.MaxPool2d] = field(default_factory=list)

    def before_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sums without bias, (N, rows, h, w) or (N, rows), and the same after max-pool."""
        if isinstance(self.layer, nn.Conv2d):
            sums = self.layer._conv_forward(x, self.layer.weight, None)
        else:
            sums = nn.functional.linear(x, self.layer.weight)
        pooled = sums
        for pool in self.pools:
            pooled = pool(pooled)
        return sums, pooled


def stages(model: nn.Module) -> list[Stage]:
    """The layers of a network in order.

    Raises
    ------
    TypeError
        A module of a kind that this module does not know.
    """
    result: list[Stage] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            result.append(Stage(name, module))
        elif isinstance(module, nn.Sequential | nn.ReLU | nn.Dropout | nn.Flatten):
            continue
        elif not result:
            raise TypeError(f"{name}, a {type(module).__name__}, precedes all weights")
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and result[-1].norm is None:
            result[-1].norm = module
        elif isinstance(module, nn.MaxPool2d):
            result[-1].pools.append(module)
        else:
            raise TypeError(f"{name}, a {type(module).__name__}, has no place here")
    return result


def spread(
    mean: float, concentration: float, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """``count`` densities between 0 and 1 that average ``mean``, from a beta distribution.

    Their variance is about ``mean * (1 - mean) / (concentration + 1)``: the larger the
    concentration, the more they are alike.

    Raises
    ------
    ValueError
        The mean is not between 0 and 1 (exclusive), or the concentration not positive.
    """
    if not 0 < mean < 1:
        raise ValueError(f"a mean density must be between 0 and 1, not {mean}")
    if not concentration > 0:
        raise ValueError(f"a concentration must be positive, not {concentration}")
    values = rng.beta(mean * concentration, (1 - mean) * concentration, count)
    for _ in range(8):  # a few values meet the end 1; the others make up for it
        values = np.minimum(values * (mean / values.mean()), 1.0)
    return values


def input_scales(model: nn.Module, images: NDArray[np.float32]) -> list[float]:
    """The real value of one code at each layer's input, as calibration on ``images`` sets it.

    Parameters
    ----------
    images : array (N, channels, height, width)
    """
    largest = [0.0] * len(stages(model))
    with torch.no_grad():
        for batch in _batches(images):
            for n, x in enumerate(_inputs(model, batch)):
                largest[n] = max(largest[n], _scale(x))
    return largest


def input_densities(
    model: nn.Module, images: NDArray[np.float32], scales: Sequence[float]
) -> NDArray[np.float64]:
    """Share of nonzero codes, (N images, layers), at each layer's input.

    Parameters
    ----------
    images : array (N, channels, height, width)
    scales
        As :func:`input_scales` gives them.
    """
    rows = []
    with torch.no_grad():
        for batch in _batches(images):
            inputs = _inputs(model, batch)
            rows.append(
                np.stack(
                    [
                        _nonzero(x, scale).double().flatten(1).mean(1).numpy()
                        for x, scale in zip(inputs, scales, strict=True)
                    ],
                    axis=1,
                )
            )
    return np.concatenate(rows)


def set_input_densities(
    model: nn.Module,
    images: NDArray[np.float32],
    densities: Sequence[float],
    *,
    concentration: float,
    rng: np.random.Generator,
    references: int = 0,
) -> list[float]:
    """Give batch norms and biases the values for which layer inputs have given densities.

    Layer by layer: statistics of the sums over ``images`` become a batch norm's running mean and
    variance, its gain is 1, and its shift is, channel by channel, the quantile of the pooled sums
    that leaves the wanted share above half a code; then shifts are corrected until each
    reference image by itself has the layer's density. Without a batch norm the bias is the shift,
    and the weights are scaled so that the sums have unit variance: row by row in the first layer,
    by one factor (which keeps them ternary) in the others. A row whose sums never change stays
    off.

    Parameters
    ----------
    images : array (N, channels, height, width)
    densities
        Mean share of nonzero codes at the input of every layer but the first. Each channel draws
        its own by :func:`spread`.
    concentration
        See :func:`spread`.
    references
        How many of the images, from the first on, are references; none by default.

    Returns
    -------
    As :func:`input_scales`: the real value of one code at each layer's input.

    Raises
    ------
    ValueError
        Another number of densities than layers after the first; a layer with neither batch norm
        nor bias.
    """
    chain = stages(model)
    if len(densities) != len(chain) - 1:
        raise ValueError(
            f"{len(chain) - 1} densities are needed, one for the input of every "
            f"layer after the first, not {len(densities)}"
        )
    with torch.no_grad():
        x = torch.from_numpy(images)
        scales = [_scale(x)]
        for n, (stage, density) in enumerate(zip(chain, densities, strict=False)):
            pooled, mean, deviation = _statistics(stage, _rounded(x, scales[-1]))
            shift_of = stage.layer.bias if stage.norm is None else stage.norm.bias
            if shift_of is None:
                raise ValueError(f"{stage.name} has neither batch norm nor bias to set")
            if stage.norm is not None:
                stage.norm.running_mean = mean
                stage.norm.running_var = deviation.square()
                stage.norm.weight.fill_(1.0)
                gain = 1 / (deviation.square() + stage.norm.eps).sqrt()
                pooled -= _column(mean, pooled)
            else:
                gain = torch.where(deviation > 0, 1 / deviation, 0.0)
                if n > 0:
                    rms = deviation.square().mean().sqrt()
                    gain = torch.full_like(gain, 1 / rms.item() if rms > 0 else 1.0)
                stage.layer.weight *= _column(gain, stage.layer.weight, axis=0)
            pooled *= _column(gain, pooled)
            wanted = spread(density, concentration, len(gain), rng)
            shift = torch.from_numpy(density_shifts(pooled, wanted, pooled[:references]))
            shift_of.copy_(shift)
            x = (pooled + _column(shift_of, pooled)).relu_()
            if isinstance(chain[n + 1].layer, nn.Linear):
                x = x.flatten(1)
            scales.append(_scale(x))
    return scales


# ----- steps


def _batches(images: NDArray[np.float32]) -> Sequence[Tensor]:
    batches: Sequence[Tensor] = torch.from_numpy(np.ascontiguousarray(images)).split(_BATCH)
    return batches


def _inputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What each layer reads, in real numbers."""
    found: list[Tensor] = []
    hooks = [
        stage.layer.register_forward_pre_hook(lambda layer, args: found.append(args[0]))
        for stage in stages(model)
    ]
    try:
        model.eval()(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _scale(x: Tensor) -> float:
    """As the calibration pass has it: the largest value is code 255, or 127 (-128) if signed."""
    low, high = (end.item() for end in torch.aminmax(x))
    scale = max(high / 127, -low / 128) if low < 0 else high / 255
    return scale or 1.0


def _nonzero(x: Tensor, scale: float) -> Tensor:
    return x.abs() >= scale / 2


def _rounded(x: Tensor, scale: float) -> Tensor:
    """The values that the codes stand for."""
    return (x / scale + 0.5).floor_().mul_(scale)


def _statistics(stage: Stage, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled sums (N, rows, ...), and each row's mean and standard deviation before pooling."""
    count, pieces = 0, []
    total = torch.zeros(stage.layer.weight.shape[0], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for batch in x.split(_BATCH):
        sums, pooled = stage.before_shift(batch)
        axes = [axis for axis in range(sums.dim()) if axis != 1]
        count += sums.numel() // sums.shape[1]
        total += sums.sum(axes, dtype=torch.float64)
        squares += sums.square().sum(axes, dtype=torch.float64)
        pieces.append(pooled)
    mean = total / count
    # rounding may leave a constant row a tiny variance; it counts as none
    variance = squares / count - mean.square()
    variance = torch.where(variance > 1e-9 * squares / count, variance, 0.0)
    return torch.cat(pieces), mean.float(), variance.sqrt().float()


def _column(values: Tensor, like: Tensor, axis: int = 1) -> Tensor:
    """``values`` shaped to act along ``axis`` of ``like``."""
    return values.reshape([-1 if n == axis else 1 for n in range(like.dim())])


def density_shifts(
    pooled: Tensor, wanted: NDArray[np.float64], references: Tensor
) -> NDArray[np.float32]:
    """What to add to each channel so that the wanted share of it reaches half a code.

    Half a code is 1/510 of the largest value, which itself depends on the shifts.
    """
    rows = pooled.transpose(0, 1).flatten(1).numpy()
    count = rows.shape[1]
    thresholds, tops = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
    for n, (row, share) in enumerate(zip(rows, wanted, strict=True)):
        low, tops[n] = row.min(), row.max()
        active = round(share * count)
        if active == 0 or low == tops[n]:
            thresholds[n] = tops[n] + _MARGIN
        elif active == count:
            thresholds[n] = low - _MARGIN
        else:
            thresholds[n] = _between(row, active)
    if len(references):
        thresholds += _moves(
            references - _column(torch.from_numpy(thresholds), references), float(wanted.mean())
        )
    half_code = max(float((tops - thresholds).max()), 0.0) / 509
    return (half_code - thresholds).astype(np.float32)


def _moves(above: Tensor, density: float) -> NDArray[np.float32]:
    """How far to raise each channel's threshold so that every reference has the density.

    ``above`` (references, channels, ...) is by how much the sums exceed the thresholds. All
    thresholds move together until the mean is right. An image that is still too dense pulls up
    those of channels that are more active in it than in the others.
    """
    above = above.reshape(*above.shape[:2], -1)
    above = above[:, :, :: -(-above.shape[2] // _PULLED_PIXELS)]
    count = min(max(round(density * above.numel()), 1), above.numel() - 1)
    active = (above >= 0).float().mean(2)
    own = active - active.mean(0)
    own /= own.square().mean().sqrt().clamp(min=1e-6)
    pull = torch.zeros(len(above))
    best, smallest = pull @ own, float("inf")
    for _ in range(_PULLS):
        moves = pull @ own
        moved = above - moves[:, None]
        moves += _between(moved.numpy().ravel(), count)
        excess = (above >= moves[:, None]).float().mean((1, 2)) - density
        if excess.abs().max() < smallest:
            best, smallest = moves, float(excess.abs().max())
        pull += _PULL * excess
    result: NDArray[np.float32] = best.numpy()
    return result


def _between(values: NDArray[np.float32], count: int) -> float:
    """A number that ``count`` of the values exceed."""
    first = len(values) - count - 1
    return float(np.partition(values, (first, first + 1))[first : first + 2].mean())
