"""Counts that an estimate is made of: a run's events by layer, and what its input makes them."""

import numpy as np
from numpy.typing import NDArray

from tritforge.cost.components import HOST_EVENTS
from tritforge.cost.events import nonzero_products
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.hw.widths import PORT_WIDTH, RESULT_WIDTH
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.golden import GoldenModel
from tritforge.sim.result import RunReport

__all__ = ["HOST", "count_products", "run_events"]

#: The pseudo-layer of what the host sends before a run and reads after it.
HOST = "input and results"
#: Images that the golden model holds at a time.
_CHUNK = 16


def count_products(
    compiled: CompiledNetwork, codes: NDArray[np.integer], keep: bool
) -> tuple[dict[str, int], dict[str, float], list[dict[str, NDArray[np.int64]]]]:
    """Additions of every layer, share of nonzero activations of every tensor, and, where they
    are kept, all tensors of each image."""
    golden = GoldenModel(compiled.network)
    expected: dict[str, int] = {}
    nonzero: dict[str, int] = {}
    sizes: dict[str, int] = {}
    kept = []
    for start in range(0, len(codes), _CHUNK):
        part = golden.run_all(codes[start : start + _CHUNK], unpooled=keep)
        for name, count in nonzero_products(
            compiled.computed, part, not compiled.config.skip_zero_activations
        ).items():
            expected[name] = expected.get(name, 0) + count
        for name, values in part.items():
            nonzero[name] = nonzero.get(name, 0) + int(np.count_nonzero(values))
            sizes[name] = sizes.get(name, 0) + values.size
        if keep:
            kept += [
                {name: values[index] for name, values in part.items()}
                for index in range(len(part[compiled.network.input]))
            ]
    return expected, {name: nonzero[name] / sizes[name] for name in nonzero}, kept


def run_events(report: RunReport, compiled: CompiledNetwork) -> dict[str, dict[str, float]]:
    """Counts by layer, an image, and those of the host before and after a run."""
    images = report.images
    memory, config = compiled.memory, compiled.config
    schedule = memory.schedule
    result = {}
    for layer in report.layers:
        counts = {name: layer.counters[name] / images for name in COUNTERS if name != "cycles"}
        counts["cycles"] = (layer.cycles or 0) / images
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
    """Port words of the results of one pixel: whole entries of ``drain_width``."""
    return -(-rows // config.drain_width) * config.drain_width * RESULT_WIDTH // PORT_WIDTH
