"""AlexNet's ternary conv layers: clock cycles of STONNE's SIGMA and of tritforge, equal arithmetic.

    python benchmarks/stonne.py

STONNE's cycles were measured once (snapshot 22634b8b, SIGMA mode: sparse weights by dense
activations, weights drawn at the same densities, one group of a grouped layer, its own output check
passed); they are repeated here, doubled for the layer. tritforge's are computed now by the cycle
model: configurations with as many adders as SIGMA had multipliers, weights resident, all else as
preset ``alexnet``. SIGMA does not skip zero activations: both are shown, with and without that.
"""

import argparse
import dataclasses

from alexnet_memory import prepare

from tritforge.hw.presets import PRESETS
from tritforge.sim.cycle.model import CycleModel

#: (multipliers, layer): cycles of one of its two groups.
SIGMA = {
    (128, "conv1"): 1_091_617,
    (128, "conv3"): 238_295,
    (128, "conv4"): 163_219,
    (256, "conv4"): 83_227,
}


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    prepared = prepare(PRESETS["alexnet"])
    fewer = True
    for adders in sorted({units for units, _ in SIGMA}):
        preset = PRESETS["alexnet"]
        config = dataclasses.replace(
            preset, sets=adders * preset.sets // preset.adders, trit_depth=1 << 16
        )
        assert config.adders == adders
        memory = prepared.memory(config)
        off = dataclasses.replace(config, skip_zero_activations=False)
        models = [
            CycleModel(prepared.network, memory),
            CycleModel(prepared.network, dataclasses.replace(memory, config=off)),
        ]
        for units, layer in SIGMA:
            if units != adders:
                continue
            ours, alone = (
                model.run(prepared.tensors, [layer], whole=False)[0]["cycles"] for model in models
            )
            theirs = 2 * SIGMA[units, layer]
            fewer &= ours < theirs
            print(
                f"{layer}, {units} multipliers or adders: SIGMA {theirs:,} cycles, tritforge "
                f"{ours:,} ({theirs / ours:.2f}x fewer), {alone:,} without skipping of zero "
                f"activations ({theirs / alone:.2f}x)"
            )
    print("fewer cycles in every row" if fewer else "NOT fewer cycles in every row")


if __name__ == "__main__":
    main()
