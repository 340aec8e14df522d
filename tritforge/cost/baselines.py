"""What the same work costs elsewhere: without skipping, and as dense multiply-accumulates."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.cost.area import Area
from tritforge.cost.band import Band, Extremes, total
from tritforge.cost.components import HOST_EVENTS
from tritforge.cost.energy import LayerEnergy, layer_energy, sum_of
from tritforge.cost.memory import MemoryCost, memory_cost
from tritforge.cost.results import Baseline, BaselineLayer, Baselines, DenseBaseline, spent
from tritforge.cost.technology import Technology
from tritforge.cost.terms.term import Part, Term, term
from tritforge.hw.config import Config
from tritforge.hw.widths import ACTIVATION_WIDTH
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.network import Layer
from tritforge.sim.cycle.model import CycleModel

__all__ = ["DenseArray", "compare_baselines", "without_skipping"]

#: Bits of a weight of the dense array.
_WEIGHT_WIDTH = 8
#: Events that cost the dense array what they cost the array it is compared with.
_KEPT = ("drain_steps", "merge_reads", "write_backs", "result_writes")
#: Memories that the dense array has too, by what they hold.
_LEAKING = ("activations", "rows", "results", "program", "tables")


def without_skipping(
    compiled: CompiledNetwork,
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
    config = dataclasses.replace(
        compiled.config, skip_zero_weights=False, skip_zero_activations=False
    )
    model = CycleModel(compiled.network, dataclasses.replace(compiled.memory, config=config))
    schedule = compiled.memory.schedule
    sums: list[dict[str, float]] = [{} for _ in compiled.network.layers]
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
            *(one for one in terms if one.event in _KEPT),
            *(
                one
                for one in terms
                if one.event == "activation_reads" and one.component == "activation memory"
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
        yield term("scalers", "", "macs", "a product of activation and weight", (product,))
        addition = self._part("add_bit", stored, "bits of an accumulator")
        yield term("adders", "", "macs", "an addition", (addition,))
        yield term(
            "accumulators",
            "",
            "macs",
            "old value read, sum written",
            (
                self._part("register_file_read", stored, "bits"),
                self._part("register_file_write", stored, "bits"),
            ),
        )
        yield term(
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
        yield term("clock", "", "cycles", "flip-flops of all units", (clocked,))

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
        return term("leakage", "", "cycles", "cells and memories", (part,))

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


@dataclass(frozen=True)
class _Compared:
    """Events of this design, and what they cost, by layer."""

    events: Mapping[str, Mapping[str, float]]
    energy: LayerEnergy

    def report(
        self, title: str, counts: Mapping[str, Mapping[str, float]], terms: Sequence[Term]
    ) -> Baseline:
        """Another machine that takes so many events, beside this design."""
        energies = {name: layer_energy(name, terms, values) for name, values in counts.items()}
        everything = sum_of("all", energies.values())
        theirs, mine = everything.on_chip, self.energy.on_chip
        cycles = sum(values["cycles"] for values in counts.values())
        return Baseline(
            title=title,
            layers=tuple(
                BaselineLayer(name, counts[name]["cycles"], **spent(energies[name]))
                for name in counts
            ),
            cycles=cycles,
            **spent(everything),
            times_energy=Extremes(
                theirs.low / max(mine.low, 1e-30),
                theirs.typical / max(mine.typical, 1e-30),
                theirs.high / max(mine.high, 1e-30),
            ),
            times_cycles=cycles / max(1.0, sum(self.events[name]["cycles"] for name in counts)),
        )


def compare_baselines(
    compiled: CompiledNetwork,
    technology: Technology,
    area: Area,
    terms: Sequence[Term],
    events: Mapping[str, Mapping[str, float]],
    tensors: Sequence[Mapping[str, NDArray[np.integer]]],
    clock: float | None,
    progress: Callable[[float], None] | None = None,
) -> Baselines:
    """What the run's work costs elsewhere, with the same figures; layers only.

    Parameters
    ----------
    terms, events
        Of this design, by layer's name.
    tensors
        As for :func:`without_skipping`.
    clock
        MHz; the technology's where it is None.
    """
    layers = compiled.network.layers
    plain = {}
    for layer, counts in zip(layers, without_skipping(compiled, tensors, progress), strict=True):
        own = events[layer.name]
        plain[layer.name] = {
            **counts,
            "wide_adds": counts["adds"] * own.get("wide_adds", 0.0) / max(1.0, own["adds"]),
            **{name: own[name] for name in HOST_EVENTS},
        }
    dense = DenseArray(
        compiled.config, technology, area, sum(layer.weight_count for layer in layers)
    )
    dense_terms = dense.terms(terms, clock)
    each, once = (
        {layer.name: dense.events(layer, events[layer.name], reused) for layer in layers}
        for reused in (False, True)
    )
    energies = (layer_energy(layer.name, terms, events[layer.name]) for layer in layers)
    compared = _Compared(events, sum_of("all", energies))
    units = f"{compiled.config.adders} dense 8-bit MAC units"
    read_each = compared.report(f"{units}, a weight read for each MAC", each, dense_terms)
    return Baselines(
        without_skipping=compared.report("the same array, no zero skipped", plain, terms),
        dense=DenseBaseline(
            **vars(read_each),
            weight_memory=dense.weights.report(),
            weight_memories=compiled.config.cluster_count,
            weight_memory_um2=dense.weights.area * compiled.config.cluster_count,
            terms=tuple(dense_terms),
        ),
        dense_reused=compared.report(f"{units}, each weight read once", once, dense_terms),
    )
