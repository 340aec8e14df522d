"""How many activations are not zero, by channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.network import Network
from tritforge.sim.golden import GoldenModel, quantize_input

__all__ = ["DENSITY_SAMPLES", "Activity", "activity"]

#: Calibration samples from which activation densities are taken.
DENSITY_SAMPLES = 64
#: Of these, how many the golden model runs at a time.
BATCH = 16
#: Windows of each tensor in which activations are counted apart.
WINDOWS = 64
#: Rows and columns of a window: what many kernels read for a pixel.
WINDOW = 5


@dataclass(eq=False)
class Activity:
    """Shares of nonzero codes, 0..1, of every tensor's channels on the chip.

    ``densities`` are (channels,), over all samples; ``windows`` (channels, windows), in small
    windows anywhere in the samples, but not of the input.
    """

    densities: dict[str, NDArray[np.float64]]
    windows: dict[str, NDArray[np.float64]]


def activity(
    network: Network, samples: NDArray[Any], golden: GoldenModel | None = None
) -> Activity:
    """How many codes are not zero, by the golden model on sample inputs: what
    :func:`tritforge.model_export.memory.placement.place` balances with."""
    codes = quantize_input(samples.astype(np.float64), network.tensors[network.input])
    model = GoldenModel(network) if golden is None else golden
    totals = {name: np.zeros(tensor.channels) for name, tensor in network.tensors.items()}
    windows: dict[str, list[NDArray[np.float64]]] = {
        name: [] for name in network.tensors if name != network.input
    }
    rng = np.random.default_rng(0)
    share = -(-WINDOWS // -(-len(codes) // BATCH))  # windows of a batch
    for start in range(0, len(codes), BATCH):
        for name, values in model.run_all(codes[start : start + BATCH]).items():
            nonzero = network.tensors[name].stored(values != 0)
            totals[name] += nonzero.mean(axis=(2, 3)).sum(axis=0)
            if name in windows:
                windows[name] += [_window(nonzero, rng) for _ in range(share)]
    return Activity(
        {name: total / len(codes) for name, total in totals.items()},
        {name: np.stack(found[:WINDOWS], axis=1) for name, found in windows.items()},
    )


def _window(nonzero: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Share (channels,) of a window of one of the samples (samples, channels, height, width)."""
    sample = nonzero[rng.integers(len(nonzero))]
    height, width = (min(WINDOW, size) for size in sample.shape[1:])
    y, x = (
        int(rng.integers(size - own + 1))
        for size, own in zip(sample.shape[1:], (height, width), strict=True)
    )
    own: NDArray[np.float64] = sample[:, y : y + height, x : x + width].mean(axis=(1, 2))
    return own
