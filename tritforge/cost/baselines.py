"""What the same work costs elsewhere: without skipping, and as dense multiply-accumulates."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.cost.area import Area
from tritforge.cost.band import Band, total
from tritforge.cost.memory import MemoryCost, memory_cost
from tritforge.cost.technology import Technology
from tritforge.cost.terms.term import Part, Term
from tritforge.hw.config import Config
from tritforge.hw.widths import ACTIVATION_WIDTH
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.network import Layer
from tritforge.sim.cycle.model import CycleModel

__all__ = ["DenseArray", "without_skipping"]

#: Bits of a weight of the dense array.
_WEIGHT_WIDTH = 8
#: Events that cost the dense array what they cost the array it is compared with.
_KEPT = ("drain_steps", "merge_reads", "write_backs", "result_writes")
#: Memories that the dense array has too, by what they hold.
_LEAKING = ("activations", "rows", "results", "program")


def without_skipping(
    image: CompiledNetwork,
    tensors: Sequence[Mapping[str, NDArray[np.integer]]],
    progress: Callable[[float], None] | None = None,
) -> list[dict[str, float]]:
    """Counters of every layer, mean over images, of the same array that spends a cycle on every
    zero: zero activations are broadcast, zero trits visited (not added).

    Parameters
    ----------
    tensors
        Codes of all tensors of each image, unpooled ones included.
    """
    config = dataclasses.replace(image.config, skip_zero_weights=False, skip_zero_activations=False)
    model = CycleModel(image.network, dataclasses.replace(image.memory, config=config))
    schedule = image.memory.schedule
    sums: list[dict[str, float]] = [{} for _ in image.network.layers]
    for number, one in enumerate(tensors):

        def tell(done: float, number: int = number) -> None:
            if progress is not None:
                progress((number + done) / len(tensors))

        if schedule is None:
            counters = model.run(one, batch=config.layer_count, progress=tell)
        else:
            counters = list(schedule.sum_by_layer(model.run_schedule(one, progress=tell)).values())
        for layer, values in zip(sums, counters, strict=True):
            for name, value in values.items():
                layer[name] = layer.get(name, 0.0) + value / len(tensors)
    return sums


class DenseArray:
    """As many multiply-accumulate units as there are adders, with 8-bit weights.

    It is arranged as the array is: an activation goes to all elements of a cluster, each of which
    multiplies it by its own weights and adds to one of ``rows`` accumulators. All weights of the
    network are on the chip, one byte each, and leak there. Drain, requantization and activation
    memories are those of the array; queues, zero skip and trit memories are not there.

    In its favour: no cycle is lost, its wires, control and multipliers' leakage cost nothing, and
    weights that are read once an image are kept for nothing. What a real machine takes lies above
    that; how far it reuses weights, between the two ways of reading them.

    Parameters
    ----------
    config : Config
        Of the array that it is compared with.
    technology : Technology
    area : Area
        Of that array.
    weights : int
        Weights of the network.
    """

    def __init__(self, config: Config, technology: Technology, area: Area, weights: int) -> None:
        self.config = config
        self.technology = technology
        self.array = area
        depth = max(1, math.ceil(weights / config.adders))
        self.weights: MemoryCost = memory_cost(
            technology, _WEIGHT_WIDTH * config.elements, depth, two_port=False, spread=True
        )

    def terms(self, terms: Sequence[Term], clock: float | None) -> list[Term]:
        """Terms of the dense array, from those of the array it is compared with."""
        return [
            *(term for term in terms if term.event in _KEPT),
            *(
                term
                for term in terms
                if term.event == "activation_reads" and term.component == "activation memory"
            ),
            *self._units(),
            self._leakage(clock),
        ]

    def _units(self) -> Iterator[Term]:
        """Multiply-accumulates, weights and the clock."""
        stored = self.config.accumulator_width
        registers = ACTIVATION_WIDTH + _WEIGHT_WIDTH + 2 * ACTIVATION_WIDTH
        product = self._part(
            "multiply_bit2", ACTIVATION_WIDTH * _WEIGHT_WIDTH, "product of the bits"
        )
        yield Term("scalers", "", "macs", "a product of activation and weight", (product,))
        addition = self._part("add_bit", stored, "bits of an accumulator")
        yield Term("adders", "", "macs", "an addition", (addition,))
        yield Term(
            "accumulators",
            "",
            "macs",
            "old value read, sum written",
            (
                self._part("register_file_read", stored, "bits"),
                self._part("register_file_write", stored, "bits"),
            ),
        )
        yield Term(
            "trit memory",
            "",
            "weight_reads",
            "weights for all elements of a cluster",
            tuple(
                Part(
                    share.figure,
                    share.factors,
                    share.times,
                    f"weights: {share.what}",
                    share.energy,
                )
                for share in self.weights.read_shares
            ),
        )
        clocked = self._part("clock_bit", self.config.adders * registers, "flip-flops")
        yield Term("clock", "", "cycles", "flip-flops of all units", (clocked,))

    def _part(self, figure: str, times: float, what: str) -> Part:
        return Part(figure, (), Band.exact(times), what, self.technology[figure] * times)

    def _leakage(self, clock: float | None) -> Term:
        technology = self.technology
        period = technology["clock"] if clock is None else Band.exact(clock)
        microseconds = Band(1 / period.high, 1 / period.typical, 1 / period.low)
        leakage = self.weights.leakage * self.config.cluster_count + total(
            one.leakage
            for block in self.array.blocks
            for one in block.memories
            if one.memory.name in _LEAKING
        )
        cells = self.array.block("accumulators").cells + self.array.block("top").cells
        leakage = leakage + technology["logic_leakage"] * cells
        part = Part(
            "leakage",
            ("area", "clock"),
            microseconds * 1e3,
            "all of it, times 1000 microseconds a cycle",
            leakage * microseconds * 1e3,
        )
        return Term("leakage", "", "cycles", "cells and memories", (part,))

    def events(self, layer: Layer, counters: Mapping[str, float], once: bool) -> dict[str, float]:
        """Events of one layer: its dense multiply-accumulates, and what any array does.

        ``once``: each weight is read once an image, not for each multiplication.
        """
        config = self.config
        kept = {name: counters.get(name, 0.0) for name in (*_KEPT, "activation_reads")}
        return {
            **kept,
            "macs": float(layer.mac_count),
            "weight_reads": (layer.weight_count if once else layer.mac_count) / config.elements,
            "cycles": layer.mac_count / config.adders,
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "weight_memory": self.weights.to_dict(),
            "weight_memories": self.config.cluster_count,
            "weight_memory_um2": (self.weights.area * self.config.cluster_count).to_dict(),
        }
