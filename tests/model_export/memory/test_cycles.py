"""Estimated cycles of random layers against the cycle model's."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.memory.thin import conv_network, sparse_codes
from tritforge.hw.config import LIMITS
from tritforge.hw.presets import PRESETS
from tritforge.model_export.memory.cycles import estimate_cycles
from tritforge.model_export.memory.emit import emit
from tritforge.model_export.memory.placement import place
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel

#: Memories that hold any of the layers.
DEPTHS = {
    "trit_depth": 1 << 16,
    "activation_depth": LIMITS["activation_depth"][1],
    "program_depth": LIMITS["program_depth"][1],
    "row_depth": 1 << 14,
}


def ratios(preset, seed, count):
    """Estimated over counted cycles of random layers on a preset, and both's slowest parts."""
    config = dataclasses.replace(PRESETS[preset], **DEPTHS)
    rng = np.random.default_rng(seed)
    large = config.adders > 100
    found = []
    for _ in range(count):
        side = int(rng.integers(6, 20))
        channels = int(rng.choice([1, 3, 12, 16, 27, 48, 64, 128] if large else [1, 3, 8, 16]))
        rows = int(rng.choice([8, 16, 24, 32, 64, 96, 128, 200] if large else [4, 8, 16]))
        network = conv_network(
            rng,
            (channels, side, side),
            rows,
            int(rng.choice([1, 3, 3, 5])),
            float(rng.choice([0.15, 0.3, 0.45, 0.6, 0.8])),
            stride=int(rng.choice([1, 1, 1, 2])),
            pool=[None, None, None, (2, 2), (3, 2)][int(rng.integers(5))],
            planes=int(rng.choice([1, 1, 1, 3])),
        )
        codes, channels = sparse_codes(rng, network, float(rng.choice([0.15, 0.3, 0.5, 0.7, 0.95])))
        golden = GoldenModel(network).run_all(codes[None], unpooled=True)
        tensors = {name: values[0] for name, values in golden.items()}
        densities = {
            "input": channels,
            "hidden": (tensors["hidden"] != 0).mean(axis=(1, 2)),
        }
        placement = place(network, config, densities)
        model = CycleModel(network, emit(network, placement, config))
        cycles = model.run(tensors)[0]["cycles"]
        estimate = estimate_cycles(network, placement, config, densities)["conv"]
        assert estimate.limit in estimate.parts
        assert max(estimate.parts.values()) < estimate.cycles
        found.append(estimate.cycles / cycles)
    return np.array(found)


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("preset", "typical", "worst"),
    [
        ("ulx3s_85f", 0.05, 0.16),
        ("alexnet", 0.06, 0.2),
        ("tiny", 0.06, 0.15),
        ("icebreaker", 0.15, 0.35),
    ],
)
def test_random_layers(preset, typical, worst):
    """Half of the layers are within ``typical`` of the counted cycles, nearly all in ``worst``."""
    errors = np.abs(ratios(preset, 5, 40) - 1)
    assert np.median(errors) < typical
    assert np.quantile(errors, 0.95) < worst
