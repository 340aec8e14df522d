"""Strips: which tensors stay on the chip, and how layers work on parts of the others.

Tensors keep their places on the chip while they fit. Some of those that do not stay with the host:
the largest, or those that cost the fewest cycles for their size, whichever makes the faster
network by estimate. Layers that read or write them work on strips of rows, in one or two buffers
each.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tritforge.hw.config import Config
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.addresses import assign, distances, lifetimes
from tritforge.model_export.memory.cycles import estimate_layer
from tritforge.model_export.memory.emit import Emitter, Window
from tritforge.model_export.network import Layer, Network

__all__ = ["Buffers", "StripPlanner", "too_small"]

#: Share of activations that are taken to be nonzero where strips are chosen.
_DENSITY = 0.4
#: Cycles in which a word of activations is read back, besides those of its port words.
_READ_CYCLES = 3
#: Cycles that a port word costs where the array computes meanwhile.
_HIDDEN = 0.1
#: Numbers of strips that are tried: all up to this, and above it those so much apart.
_EACH, _APART = 12, 1.12


@dataclass(eq=False)
class Buffers:
    """How a layer's tensors stand in the activation memories, and the strips it is cut into."""

    windows: list[Window]
    places: dict[str, list[int]]  # base addresses of an external tensor's buffers
    sizes: dict[str, int]  # words of each of them
    cycles: float  # that strips add, by estimate


class StripPlanner:
    """Plans the activation memories of a network that does not fit them.

    Parameters
    ----------
    emitter : Emitter
        Of the placed network.

    Members
    -------
    row_words, size : dict[str, int]
        Activation words of a tensor's row, and of all of it, in each slice.
    """

    def __init__(self, emitter: Emitter) -> None:
        network, placement = emitter.network, emitter.placement
        self.network = network
        self.placement = placement
        self.config = emitter.config
        self.emitter = emitter
        self._cycles: dict[str, float] = {}
        self.row_words = {
            name: network.tensors[name].width * layout.words
            for name, layout in placement.layouts.items()
        }
        self.size = {
            name: network.tensors[name].height * words for name, words in self.row_words.items()
        }

    def source_rows(self, layer: Layer, source: str, rows: range) -> range:
        """Rows of a tensor that a layer reads to compute ``rows``; at least one."""
        height = self.network.tensors[source].height
        low, high = height, 0
        for group in layer.groups:
            if group.source != source:
                continue
            places, inside = group.positions(0, rows, height)
            if inside.any():
                read = places[inside]
                low, high = min(low, int(read.min())), max(high, int(read.max()) + 1)
        return range(low, high) if low < high else range(1)

    def most_strips(self, layer: Layer) -> int:
        """Rows, or rows of blocks, of a layer's output: what it can be cut into."""
        return layer.height if layer.blocks is not None else layer.output_shape[1]

    def windows(self, layer: Layer, count: int) -> list[Window]:
        """A layer's output cut evenly into ``count`` strips, at most :meth:`most_strips`."""
        result = []
        for part in np.array_split(np.arange(self.most_strips(layer)), count):
            places = range(int(part[0]), int(part[-1]) + 1)
            rows = places
            if layer.blocks is not None:
                first = layer.blocks.target(0)
                count = layer.blocks.block[0] // layer.blocks.pool[0]
                places = range(int(first[part[0]]), int(first[part[-1]]) + count)
            if layer.pool is not None:
                kernel, stride, padding = (
                    values[0]
                    for values in (layer.pool.kernel, layer.pool.stride, layer.pool.padding)
                )
                rows = range(
                    max(0, places.start * stride - padding),
                    min(layer.height, (places.stop - 1) * stride - padding + kernel),
                )
            result.append(Window(rows, places))
        return result

    def plan(self) -> tuple[dict[str, int], dict[str, Buffers]]:
        """Addresses of the tensors that stay on the chip, buffers of every layer for others."""
        near = distances(self.network, self.placement, self.config)
        plans = []
        problem: ExportError | None = None
        for choose in (self.largest, self.cheapest):
            try:
                bases, buffers = self.plan_by(choose, near)
            except ExportError as error:
                problem = problem or error
                continue
            plans.append((sum(one.cycles for one in buffers.values()), bases, buffers))
            if len(bases) == len(self.size) - 1:
                break  # only the input is with the host: there was nothing to choose
        if not plans:
            assert problem is not None
            raise problem
        _, bases, buffers = min(plans, key=lambda plan: plan[0])
        return bases, buffers

    def plan_by(
        self,
        choose: Callable[[list[str], set[str]], str],
        near: dict[tuple[str, str], int],
    ) -> tuple[dict[str, int], dict[str, Buffers]]:
        """:meth:`plan` where ``choose(candidates, external)`` says which of the tensors that
        are in the way goes to the host next."""
        network, depth = self.network, self.config.activation_depth
        times = born, died = lifetimes(network, self.placement)
        placement = self.placement
        first_of = {name: placement.place(name) for name in placement.layouts}
        outside = {network.input}  # places, by their first tensor
        while True:
            external = {name for name, place in first_of.items() if place in outside}
            bases = assign(
                {name: self.size[name] for name in born if name not in outside},
                times,
                depth,
                self.without_strips(near, external),
            )
            full = next(
                (name for name, base in bases.items() if base + self.size[name] > depth), None
            )
            problem = None if full is None else born[full]
            buffers = {}
            if problem is None:
                for index, layer in enumerate(network.layers):
                    live = [
                        (bases[name], bases[name] + self.size[name])
                        for name in bases
                        if born[name] <= index <= died[name]
                    ]
                    found = self.buffers(layer, external, live)
                    if found is None:
                        problem = index
                        break
                    buffers[layer.name] = found
                else:
                    held = {
                        name: bases[place] for name, place in first_of.items() if place in bases
                    }
                    return held, buffers
            candidates = [name for name in bases if born[name] <= problem <= died[name]]
            if not candidates:
                layer = network.layers[problem]
                window = self.windows(layer, self.most_strips(layer))
                raise too_small(
                    self.config,
                    self.network,
                    "activations",
                    layer.name,
                    max(sum(self.strip_sizes(layer, external, [one]).values()) for one in window),
                    "words per slice",
                    "one output row",
                )
            outside.add(choose(candidates, outside))

    def largest(self, candidates: list[str], external: set[str]) -> str:
        """The largest tensor, of these the latest."""
        del external
        order = {name: number for number, name in enumerate(self.network.tensors)}
        return max(candidates, key=lambda name: (self.size[name], -order[name]))

    def cheapest(self, candidates: list[str], external: set[str]) -> str:
        """The tensor that costs the fewest cycles for its size where it stays with the host."""

        def cost(name: str) -> float:
            total = 0.0
            for layer in self.network.layers:
                touched = {self.placement.place(one) for one in (layer.output, *layer.reads)}
                if name not in touched:
                    continue
                before = sum(self.moved(layer, one) for one in touched & external)
                more = self.moved(layer, name)
                waited = max(0.0, before + more - max(before, self.compute(layer)))
                total += waited + _HIDDEN * more
            return total

        return min(candidates, key=lambda name: (cost(name) / self.size[name], -self.size[name]))

    def moved(self, layer: Layer, place: str) -> float:
        """Cycles in which the port moves all of a layer's source, or of its output, there and back
        where the layer adds to it."""
        chunks = self.config.memory_chunks("activations")
        each = chunks
        if place == self.placement.place(layer.output):
            each += _READ_CYCLES + (chunks if layer.addend is not None else 0)
        return float(self.config.clusters * each * self.size[place])

    def compute(self, layer: Layer) -> float:
        """About the cycles that a layer computes."""
        if layer.name not in self._cycles:
            densities = {
                name: np.full(tensor.channels, _DENSITY)
                for name, tensor in self.network.tensors.items()
            }
            self._cycles[layer.name] = estimate_layer(
                self.network, layer, self.placement, self.config, densities
            ).cycles
        return self._cycles[layer.name]

    def without_strips(
        self, near: dict[tuple[str, str], int], external: set[str]
    ) -> dict[tuple[str, str], int]:
        """The pairs of ``near`` that may overlap: where a layer with a max-pool works on strips,
        rows are read again that its output may have overwritten."""
        strips = {
            layer.output
            for layer in self.network.layers
            if layer.pool is not None and external & {group.source for group in layer.groups}
        }
        return {
            (source, output): distance
            for (source, output), distance in near.items()
            if not external & {source, output} and output not in strips
        }

    def strip_sizes(
        self, layer: Layer, external: set[str], windows: list[Window]
    ) -> dict[str, int]:
        """Words of the largest strip of every external tensor that a layer reads or writes."""
        sizes = {}
        for source in sorted({group.source for group in layer.groups} & external):
            sizes[source] = self.row_words[source] * max(
                len(self.source_rows(layer, source, window.rows)) for window in windows
            )
        if layer.output in external:
            sizes[layer.output] = self.row_words[layer.output] * max(
                len(window.places) for window in windows
            )
        return sizes

    def buffers(
        self, layer: Layer, external: set[str], live: list[tuple[int, int]]
    ) -> Buffers | None:
        """The strips and buffers, one or two for sources and output each, that should take the
        fewest cycles; None: no room even for single rows."""
        depth = self.config.activation_depth
        best: tuple[float, Buffers] | None = None
        most = self.most_strips(layer)
        if not (external & {layer.output, *(group.source for group in layer.groups)}):
            most = 1
        for count in _counts(most):
            windows = self.windows(layer, count)
            sizes = self.strip_sizes(layer, external, windows)
            for copies in itertools.product((2, 1), repeat=2) if count > 1 else ((1, 1),):
                cost = self.cost(layer, external, windows, *copies)
                if best is not None and cost >= best[0]:
                    continue
                taken = list(live)
                places: dict[str, list[int]] = {name: [] for name in sizes}
                for name in sorted(sizes, key=lambda one: -sizes[one]):
                    for _ in range(copies[name == layer.output]):
                        base = _first_fit(sizes[name], taken)
                        places[name].append(base)
                        taken.append((base, base + sizes[name]))
                if all(base + sizes[name] <= depth for name in sizes for base in places[name]):
                    best = cost, Buffers(windows, places, sizes, cost)
        return None if best is None else best[1]

    def cost(
        self,
        layer: Layer,
        external: set[str],
        windows: list[Window],
        source_copies: int,
        output_copies: int,
    ) -> float:
        """About the clock cycles that strips add to a layer: overlapping windows are computed
        twice, and what has no second buffer is moved while the array waits."""
        config = self.config
        chunks = config.memory_chunks("activations")
        sources = {group.source for group in layer.groups} & external
        if not sources and layer.output not in external:
            return 0.0
        per_row = self.compute(layer) / layer.height
        total = 0.0
        for window in windows:
            compute = len(window.rows) * per_row
            load = (
                config.clusters
                * chunks
                * sum(
                    self.row_words[source] * len(self.source_rows(layer, source, window.rows))
                    for source in sources
                )
            )
            store = 0
            if layer.output in external:
                store = (
                    config.clusters
                    * (chunks + _READ_CYCLES)
                    * len(window.places)
                    * self.row_words[layer.output]
                )
                if layer.addend is not None:  # which comes in where the sum goes out
                    load += (
                        config.clusters * chunks * len(window.places) * self.row_words[layer.output]
                    )
            hidden = load * (source_copies == 2) + store * (output_copies == 2)
            total += compute + load + store - min(hidden, compute)
        return total - self.compute(layer)


def _counts(most: int) -> list[int]:
    """Numbers of strips to try, up to ``most``."""
    counts = list(range(1, min(most, _EACH) + 1))
    while counts[-1] < most:
        counts.append(min(most, max(counts[-1] + 1, int(counts[-1] * _APART))))
    return counts


def _first_fit(size: int, taken: list[tuple[int, int]]) -> int:
    """The lowest address at which ``size`` words overlap none of the intervals ``taken``."""
    base = 0
    for start, stop in sorted(taken):
        if base + size <= start:
            break
        base = max(base, stop)
    return base


def too_small(
    config: Config, network: Network, memory: str, layer: str, needed: int, unit: str, what: str
) -> ExportError:
    """What to raise where not even ``what`` of a network fits a memory."""
    return ExportError(
        f"the {memory.removesuffix('s')} memory is too small at layer {layer}: {what} of network "
        f"{network.name} needs {needed} {unit}, configuration {config.name} has "
        f"{config.memory_depth(memory)}"
    )
