"""How many activations are not zero, by channel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.network import Network
from tritforge.sim.golden import GoldenModel, quantize_input

__all__ = ["DENSITY_SAMPLES", "activation_densities"]

#: Calibration samples from which activation densities are taken.
DENSITY_SAMPLES = 64
#: Of these, how many the golden model runs at a time.
BATCH = 16


def activation_densities(
    network: Network, samples: NDArray[Any], golden: GoldenModel | None = None
) -> dict[str, NDArray[np.float64]]:
    """Share of nonzero codes per channel on the chip (channels,), 0..1, of every tensor, by the
    golden model on sample inputs: what :func:`tritforge.model_export.memory.placement.place`
    balances with."""
    codes = quantize_input(samples.astype(np.float64), network.tensors[network.input])
    model = GoldenModel(network) if golden is None else golden
    totals = {name: np.zeros(tensor.channels) for name, tensor in network.tensors.items()}
    for start in range(0, len(codes), BATCH):
        for name, values in model.run_all(codes[start : start + BATCH]).items():
            nonzero = network.tensors[name].stored(values != 0)
            totals[name] += nonzero.mean(axis=(2, 3)).sum(axis=0)
    return {name: total / len(codes) for name, total in totals.items()}
