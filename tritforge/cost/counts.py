"""Counts that an estimate is made of: a run's events by layer, and what its input makes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.cost.components import HOST_EVENTS
from tritforge.cost.events import nonzero_products
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.hw.widths import PORT_WIDTH, RESULT_WIDTH
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.network import Layer
from tritforge.sim.golden import GoldenModel
from tritforge.sim.result import RunReport

__all__ = ["HOST", "Products", "count_products", "run_events"]

#: The pseudo-layer of what the host sends before a run and reads after it.
HOST = "input and results"
#: Images that the golden model holds at a time.
_CHUNK = 16


@dataclass(frozen=True)
class Products:
    """What inputs make of a network.

    Members
    -------
    adds, wide_adds : dict
        Additions of every layer, and those of its wide column groups.
    densities : dict
        Share of nonzero activations of every tensor.
    tensors : list
        All tensors of each image, where they are kept.
    """

    adds: dict[str, int]
    wide_adds: dict[str, int]
    densities: dict[str, float]
    tensors: list[dict[str, NDArray[np.int64]]]


def count_products(compiled: CompiledNetwork, codes: NDArray[np.integer], keep: bool) -> Products:
    """Counted without any model of hardware."""
    golden = GoldenModel(compiled.network)
    every = not compiled.config.skip_zero_activations
    expected: dict[str, int] = {}
    wide: dict[str, int] = {}
    nonzero: dict[str, int] = {}
    sizes: dict[str, int] = {}
    kept = []
    for start in range(0, len(codes), _CHUNK):
        part = golden.run_all(codes[start : start + _CHUNK], unpooled=keep)
        for counts, only in ((expected, False), (wide, True)):
            for name, count in nonzero_products(compiled.computed, part, every, wide=only).items():
                counts[name] = counts.get(name, 0) + count
        for name, values in part.items():
            nonzero[name] = nonzero.get(name, 0) + int(np.count_nonzero(values))
            sizes[name] = sizes.get(name, 0) + values.size
        if keep:
            kept += [
                {name: values[index] for name, values in part.items()}
                for index in range(len(part[compiled.network.input]))
            ]
    return Products(expected, wide, {name: nonzero[name] / sizes[name] for name in nonzero}, kept)


def _wide_share(layer: Layer, products: Products | None) -> float:
    """Share of a layer's additions that are of wide column groups: of weights and trits that are
    not zero, where it is not known which activations they meet."""
    if products is not None:
        return products.wide_adds[layer.name] / max(1, products.adds[layer.name])
    wide = sum(np.count_nonzero(group.trits) for group in layer.groups if group.wide)
    return wide / max(1, layer.nonzero_trits)


def run_events(
    report: RunReport, compiled: CompiledNetwork, products: Products | None = None
) -> dict[str, dict[str, float]]:
    """Counts by layer, an image, and those of the host before and after a run; ``products`` of the
    run's inputs, if they are known."""
    images = report.images
    memory, config = compiled.memory, compiled.config
    schedule = memory.schedule
    result = {}
    for layer in report.layers:
        counts = {name: layer.counters[name] / images for name in COUNTERS if name != "cycles"}
        counts["cycles"] = (layer.cycles or 0) / images
        share = _wide_share(compiled.network.layer(layer.name), products)
        counts["wide_adds"] = share * counts["adds"]
        counts |= dict.fromkeys(HOST_EVENTS, 0.0)
        if schedule is not None:
            activations = sum(
                strip.words * config.clusters * config.memory_chunks("activations")
                for number in schedule.of_layer(layer.name)
                for strip in schedule.passes[number].loads
            )
            counts["sent_activation_words"] = float(activations)
            counts["sent_trit_words"] = float(layer.sent_words - activations)
            counts["read_words"] = float(layer.read_words)
        result[layer.name] = counts
    final = compiled.network.final
    read = _result_words(config, final.rows) * final.height * final.width
    sent = (
        0
        if schedule is not None
        else (
            memory.tensors[memory.input].size
            * config.clusters
            * config.memory_chunks("activations")
        )
    )
    result[HOST] = {"sent_activation_words": float(sent), "result_words": float(read)}
    return result


def _result_words(config: Config, rows: int) -> int:
    """Port words of the results of one pixel: whole entries."""
    return -(-rows // config.results) * config.results * RESULT_WIDTH // PORT_WIDTH
