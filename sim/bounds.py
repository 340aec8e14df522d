"""Clock cycles that a compiled network takes at least, whatever the order of its work.

Each part of the machine has work that no schedule can spare it, and does so much of it in a cycle:

===============  ===================================================  =========================
part             work                                                 in a cycle
===============  ===================================================  =========================
``adders``       additions of nonzero trits or weights                one an adder
``broadcasts``   nonzero activations                                  one a cluster
``drain``        values of the layer's output, before pooling         ``drain_width``
``write-backs``  activations written that were not there before       one a slice
``port``         words to the host or from it, whichever are more     one
===============  ===================================================  =========================

Control, waiting, imbalance and words of zeros are in none of them. A layer takes at least the most
that any part but the port needs for it, since words can be sent while others compute. A network
takes at least the most that any part needs for all layers, which is less than the sum over layers:
another schedule could have them overlap.
"""

from collections.abc import Iterable, Mapping

from tritforge.hw.config import Config
from tritforge.model_export.memory.geometry import computed, pool_axis
from tritforge.model_export.network import Layer

__all__ = ["PARTS", "drained_values", "layer_least", "least_cycles", "needed_cycles"]

PARTS = ("adders", "broadcasts", "drain", "write-backs", "port")


def drained_values(layer: Layer) -> int:
    """Values of a layer's output before pooling; pixels that no pooled one takes are not
    computed."""
    height, width = (
        computed(range(size), pool_axis(layer.pool, axis), range(pooled))
        for axis, (size, pooled) in enumerate(
            (
                (layer.height, layer.pool.height if layer.pool else layer.height),
                (layer.width, layer.pool.width if layer.pool else layer.width),
            )
        )
    )
    return layer.rows * height * width


def needed_cycles(
    config: Config, counters: Mapping[str, int], values: int, words: int = 0
) -> dict[str, int]:
    """Clock cycles that each of :data:`PARTS` needs at least for a layer and an image.

    Parameters
    ----------
    counters
        Of the layer, by the names of :data:`tritforge.hw.program.COUNTERS`.
    values
        As :func:`drained_values` gives them.
    words
        Port words sent or read, whichever are more; none where the network is in the memories.
    """
    return {
        "adders": -(-counters["adds"] // config.adders),
        "broadcasts": -(-counters["broadcasts"] // config.cluster_count),
        "drain": -(-values // config.drain_width),
        "write-backs": -(-(counters["write_backs"] - counters["merge_reads"]) // config.clusters),
        "port": words,
    }


def layer_least(needed: Mapping[str, int]) -> int:
    """Clock cycles that a layer takes at least by itself."""
    return max(cycles for part, cycles in needed.items() if part != "port")


def least_cycles(layers: Iterable[Mapping[str, int]]) -> int:
    """Clock cycles that layers take at least together: the most that a part needs for all. Of
    layers without parts nothing is known."""
    totals: dict[str, int] = {}
    for needed in layers:
        for part, cycles in needed.items():
            totals[part] = totals.get(part, 0) + cycles
    return max(totals.values(), default=0)
