"""Random quantized networks and configurations, and a plain reference that runs them.

The networks are built directly as integers and use everything that the intermediate form can
say; real numbers in them (scales, gains) are placeholders. The same seed gives the same network.
"""

import dataclasses

import numpy as np

from tritforge.hw.config import CHOICES, Config, ConfigError
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.emit import MemoryImage, emit
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import emit_streamed
from tritforge.model_export.network import (
    ColumnGroup,
    Layer,
    Network,
    Pool,
    Requantization,
    Tensor,
    Window,
)
from tritforge.model_export.passes.blocks import allows_blocks, in_blocks
from tritforge.model_export.passes.fold import fold_candidates, fold_input
from tritforge.model_export.passes.quantize import partial_bounds

__all__ = [
    "bound_network",
    "compile_network",
    "random_codes",
    "random_config",
    "random_network",
    "random_shape",
    "reference_run",
    "streamed",
    "windows_network",
]

KINDS = (
    "conv",
    "conv",
    "conv",
    "grouped",
    "depthwise",
    "linear",
    "pool",
    "add",
    "concat",
    "mixed",
    "avgpool",
    "identity",
)


def reference_run(network, codes):
    """Every tensor's codes and, under the last layer's output, its results: int64 (C, H, W)."""
    tensors = {network.input: np.asarray(codes, np.int64)}
    for layer in network.layers:
        tensors[layer.output] = run_layer(layer, tensors, network.tensors[layer.output].signed)
    return tensors


def accumulate(layer, tensors):
    """Accumulators (rows, height, width) of one layer, straight from the definition."""
    result = np.zeros((layer.rows, layer.height, layer.width), np.int64)
    for group in layer.groups:
        source = tensors[group.source][slice(*group.channels)]
        trits = group.trits.astype(np.int64)
        weights = np.where(trits > 0, group.coefficient_plus, 0) + np.where(
            trits < 0, -group.coefficient_minus, 0
        )
        if group.wide:
            weights = trits * group.coefficient_plus
        for ky in range(group.kernel[0]):
            y = _met(group, 0, layer.height, ky)
            for kx in range(group.kernel[1]):
                x = _met(group, 1, layer.width, kx)
                oy = np.flatnonzero((y >= 0) & (y < source.shape[1]))
                ox = np.flatnonzero((x >= 0) & (x < source.shape[2]))
                values = source[:, y[oy]][:, :, x[ox]]
                matrix = weights[:, :, 0, 0] if group.shared else weights[:, :, ky, kx]
                rows = np.arange(*group.rows)
                result[np.ix_(rows, oy, ox)] += np.einsum("rc,chw->rhw", matrix, values)
    return result


def _met(group, axis, outputs, tap):
    """The source's row (column) that a kernel position meets, for every output; -1: none."""
    window, dilation = group.windows[axis], group.dilation[axis]
    if window is None:
        return np.arange(outputs) * group.stride[axis] - group.padding[axis] + tap * dilation
    first, begin, end = (np.array(part) for part in (window.first, window.begin, window.end))
    return np.where((begin <= tap) & (tap < end), first + tap * dilation, -1)


def run_layer(layer, tensors, signed=False):
    """Output codes, or results of the last layer; ``signed`` says what a sum at write-back is."""
    rule = layer.requantization
    multiplier, bias, shift = (
        values[:, None, None] for values in (rule.multiplier, rule.bias, rule.shift)
    )
    scaled = accumulate(layer, tensors) * multiplier + bias
    if layer.final:
        return scaled
    codes = np.clip((scaled + ((1 << shift) >> 1)) >> shift, rule.low, rule.high)
    if rule.table is not None:
        codes = rule.table[codes % 256]
    if layer.addend is not None:
        least, most = (-128, 127) if signed else (0, 255)
        return np.minimum(np.maximum(tensors[layer.addend] + codes, least), most)
    if layer.pool is None:
        return codes
    pool = layer.pool
    result = np.zeros((layer.rows, pool.height, pool.width), np.int64)
    for py in range(pool.height):
        top = py * pool.stride[0] - pool.padding[0]
        for px in range(pool.width):
            left = px * pool.stride[1] - pool.padding[1]
            window = codes[
                :, max(top, 0) : top + pool.kernel[0], max(left, 0) : left + pool.kernel[1]
            ]
            result[:, py, px] = window.max(axis=(1, 2))
    return result


def random_codes(rng, network, density=None):
    """Codes of the input (C, H, W) int64; a share of them zero, extremes included."""
    tensor = network.tensors[network.input]
    shape = (tensor.channels, tensor.height, tensor.width)
    density = rng.choice([0.0, 0.3, 0.7, 1.0]) if density is None else density
    codes = rng.integers(tensor.low, tensor.high + 1, shape)
    codes = np.where(rng.random(shape) < 0.1, rng.choice([tensor.low, tensor.high], shape), codes)
    return np.where(rng.random(shape) < density, codes, 0).astype(np.int64)


def random_config(rng, **fixed):
    """A small configuration; G, P, R, D and S need not be powers of two."""
    while True:
        drain_width = int(rng.choice([1, 1, 2, 3]))
        values = {
            "name": "random",
            "sets": int(rng.choice([1, 1, 2, 3, 4])),
            "clusters": drain_width * int(rng.integers(1, 4 if drain_width > 1 else 6)),
            "elements": drain_width * int(rng.integers(1, 4 if drain_width > 1 else 7)),
            "rows": int(rng.integers(1, 8)),
            "queue_depth": int(rng.integers(1, 10)),
            "scan_width": int(rng.integers(1, 6)),
            "coefficient_width": int(rng.integers(2, 13)),
            "accumulator_width": int(rng.integers(16, 33)),
            "banks": int(rng.choice([2, 4, 8])),
            "drain_width": drain_width,
            "multiplier_width": int(rng.integers(4, 19)),
            "trit_depth": int(rng.integers(600, 3000)),
            "activation_depth": int(rng.integers(600, 3000)),
            "program_depth": int(rng.integers(600, 2000)),
            "row_depth": int(rng.integers(100, 500)),
            "result_depth": int(rng.integers(200, 1500)),
            "layer_count": 16,
            "packet_words": int(rng.integers(34, 200)),
            "memory_ports": int(rng.choice([1, 2])),
            "register_stages": str(rng.choice(CHOICES["register_stages"])),
            "job_places": int(rng.choice([0, 0, 1, 2, 16])),
            "word_places": int(rng.choice([2, 3, 4, 8, 16])),
            "pixel_places": int(rng.choice([2, 3, 8, 16])),
            "packet_places": int(rng.choice([2, 3, 8])),
            "shared_results": bool(rng.integers(2)),
            "gate_clocks": bool(rng.integers(2)),
        }
        own = rng.spawn(1)[0]  # for what came later: all else does not depend on it
        values["activation_tables"] = int(own.choice([0, 0, 1, 2, 3, 8]))
        values |= fixed
        values.setdefault("multipliers", values["rows"] in (4, 8, 16) and own.random() < 0.5)
        values.setdefault("row_merges", bool(own.random() < 0.6))
        values.setdefault("write_back_sums", bool(own.integers(2)))
        places = int(own.spawn(1)[0].choice([1, 2, 3, 5, 16]))
        values.setdefault("group_places", places if values["job_places"] else 1)
        values |= _several_to_a_slice(own.spawn(1)[0], values, fixed)
        later = own.spawn(1)[0]
        values.setdefault("logic_scalers", bool(later.random() < 0.3))
        values.setdefault(
            "result_lanes", int(later.integers(values["drain_width"])) * int(later.integers(2))
        )
        try:
            return Config(**values)
        except ConfigError:
            continue


def _several_to_a_slice(rng, values, fixed):
    """A ``drain_width`` of several times the clusters, by chance, and what goes with it."""
    if rng.random() < 0.7 or {"drain_width", "clusters", "elements", "scan_width"} & fixed.keys():
        return {}
    clusters, each = int(rng.integers(1, 5)), int(rng.choice([2, 2, 3, 4]))
    return {
        "clusters": clusters,
        "drain_width": clusters * each,
        "elements": clusters * each * int(rng.integers(1, 3)),
        "scan_width": max(values["scan_width"], each),
        "shared_results": False,
    }


def compile_network(network, config, densities=None, *, tight=False) -> MemoryImage:
    return emit(network, place(network, config, densities), config, tight=tight)


class _Builder:
    def __init__(self, rng, config, max_layers, max_channels, max_size):
        self.rng = rng
        self.config = config
        self.table_rng, self.window_rng, self.wide_rng = rng.spawn(3)
        self.sum_rng = self.window_rng.spawn(1)[0]
        self.tables = []
        self.names = ["input"]  # tensors to read; a sum is there for what it was added to
        self.max_layers = max_layers
        self.max_channels = max_channels
        self.max_size = max_size
        channels, height, width = self.channels(), self.size(), self.size()
        tensor = Tensor("input", channels, height, width, 1.0, bool(rng.random() < 0.4))
        self.network = Network("random", "input", {"input": tensor}, [])
        self.values = {"input": random_codes(rng, self.network, 0.8)}

    def pick(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def chance(self, share):
        return bool(self.rng.random() < share)

    def channels(self):
        top = self.max_channels if self.chance(0.4) else min(self.max_channels, 9)
        return self.pick(1, max(1, top))

    def size(self):
        return self.pick(1, max(1, self.max_size))

    def trits(self, rows, channels, kernel):
        shape = (rows, channels, *kernel)
        density = self.rng.choice([0.1, 0.3, 0.6, 1.0])
        values = self.rng.choice(np.array([-1, 1], np.int8), shape)
        values[self.rng.random(shape) >= density] = 0
        values[self.rng.random(rows) < 0.1] = 0  # rows of zeros
        if self.chance(0.2):
            values[:, self.rng.random(channels) < 0.3] = 0  # channels of zeros
        return values

    def coefficients(self):
        """(plus, minus) of any sign, extremes included."""
        top = self.config.coefficient_max
        if self.chance(0.3):
            top = min(top, 3)
        plus, minus = (
            self.pick(-top, top) if self.chance(0.4) else self.pick(1, top) for _ in range(2)
        )
        return (plus, minus) if self.chance(0.8) else (plus, plus)

    def planes(self):
        """Coefficient pairs of one set of weights: one, or digits of several powers of two."""
        if self.chance(0.7):
            return [self.coefficients()]
        top = self.config.coefficient_max.bit_length() - 1
        digits = sorted(self.rng.choice(top + 1, self.pick(1, min(4, top + 1)), replace=False))
        return [(1 << int(digit), 1 << int(digit)) for digit in digits]

    def group(self, source, channels, rows, trits, kernel, pair, **geometry):
        """Weights of several bits in place of the trits, sometimes, where elements can multiply."""
        rng = self.wide_rng
        if self.config.multipliers and rng.random() < 0.5:
            size = int(rng.choice([2, 10, 128]))
            weights = rng.integers(-size, size, trits.shape)
            weights[rng.random(trits.shape) < 0.1] = size - 1
            trits = np.where(trits != 0, weights, 0).astype(np.int8)
            top = self.config.coefficient_max
            each = int(rng.integers(-top, top + 1)) if rng.random() < 0.5 else 1
            pair, geometry = (each, each), geometry | {"wide": True}
        return ColumnGroup(
            source,
            channels,
            rows,
            trits,
            kernel,
            float(pair[0]),
            float(pair[1]),
            coefficient_plus=pair[0],
            coefficient_minus=pair[1],
            **geometry,
        )

    def groups(self, source, channels, rows, kernel, planes=None, **geometry):
        count = (rows[1] - rows[0], channels[1] - channels[0])
        return [
            self.group(source, channels, rows, self.trits(*count, kernel), kernel, pair, **geometry)
            for pair in planes or self.planes()
        ]

    def diagonal(self, source, channels, rows, planes=None, **geometry):
        count = rows[1] - rows[0]
        result = []
        for pair in planes or self.planes():
            trits = np.zeros((count, count, 1, 1), np.int8)
            signs = self.rng.choice(np.array([-1, 0, 1, 1], np.int8), count)
            trits[np.arange(count), np.arange(count), 0, 0] = signs
            kernel = geometry.get("kernel", (1, 1))
            result.append(
                self.group(
                    source, channels, rows, trits, pair=pair, **(geometry | {"kernel": kernel})
                )
            )
        return result

    def geometry(self, source):
        """(kernel, stride, padding, dilation, out_height, out_width) of an ordinary window."""
        kernel, stride, padding, dilation, out = [], [], [], [], []
        for size in (source.height, source.width):
            while True:
                k, s, d = self.pick(1, 4), self.pick(1, 3), 1 if self.chance(0.8) else 2
                before, after = self.pick(0, k), self.pick(0, k)
                count = (size + before + after - (k - 1) * d - 1) // s + 1
                if 1 <= count <= self.max_size + 2 and before <= (count - 1) * s + (k - 1) * d:
                    break  # some position lies inside the source
            kernel.append(k)
            stride.append(s)
            padding.append(before)
            dilation.append(d)
            out.append(count)
        return (
            tuple(kernel),
            {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)},
            *out,
        )

    def window(self, out, size):
        """(kernel, stride, padding, dilation) for ``out`` positions over ``size``: any that
        meets the source somewhere, cropped at the top (negative padding) or mostly outside."""
        kernel, stride, dilation = self.pick(1, 4), self.pick(1, 3), self.pick(1, 2)
        reach = (out - 1) * stride + (kernel - 1) * dilation
        return kernel, stride, self.pick(-min(1, size - 1), min(4, reach)), dilation

    def irregular(self, out, size, kernel, dilation):
        """A window that follows no stride, sometimes: forwards, backwards, repeated, cut."""
        rng = self.window_rng
        if rng.random() < 0.6:
            return None
        first = rng.integers(-kernel * dilation, size + 1, out)
        if rng.random() < 0.3:
            first = np.arange(size - 1, size - 1 - out, -1)
        begin = rng.integers(0, kernel + 1, out) * (rng.random(out) < 0.3)
        end = np.maximum(begin, rng.integers(0, kernel + 1, out))
        return Window(*(tuple(part.tolist()) for part in (first, begin, end)))

    def source(self):
        """Mostly the newest tensor, sometimes an earlier one."""
        names = self.names
        return self.network.tensors[
            names[-1] if self.chance(0.7) else names[self.pick(0, len(names) - 1)]
        ]

    # ----- layer kinds: (rows, height, width, groups)

    def make(self, kind):
        source = self.source()
        everything = (0, source.channels)
        if kind == "conv":
            kernel, where, height, width = self.geometry(source)
            rows = self.channels()
            return (
                rows,
                height,
                width,
                self.groups(source.name, everything, (0, rows), kernel, **where),
            )
        if kind == "linear":
            rows = self.channels()
            return (
                rows,
                1,
                1,
                self.groups(source.name, everything, (0, rows), (source.height, source.width)),
            )
        if kind in ("grouped", "depthwise"):
            divisors = [n for n in range(1, source.channels + 1) if source.channels % n == 0]
            count = source.channels if kind == "depthwise" else int(self.rng.choice(divisors))
            each = self.pick(1, max(1, min(3, self.max_channels // count)))
            width_in = source.channels // count
            kernel, where, height, width = self.geometry(source)
            planes = self.planes()
            own = self.chance(0.2)
            groups = []
            for number in range(count):
                groups += self.groups(
                    source.name,
                    (number * width_in, (number + 1) * width_in),
                    (number * each, (number + 1) * each),
                    kernel,
                    None if own else planes,
                    **where,
                )
            rows = count * each
            if self.chance(0.3):  # a residual beside the groups
                other = self.source()
                groups += self.groups(other.name, (0, other.channels), (0, rows), (1, 1))
            if self.chance(0.2) and rows == source.channels:
                groups += self.diagonal(source.name, everything, (0, rows))
            return rows, height, width, groups
        if kind in ("pool", "identity"):
            return (
                source.channels,
                source.height,
                source.width,
                self.diagonal(source.name, everything, (0, source.channels)),
            )
        if kind == "avgpool":
            kernel, where, height, width = self.geometry(source)
            return (
                source.channels,
                height,
                width,
                self.diagonal(
                    source.name,
                    everything,
                    (0, source.channels),
                    kernel=kernel,
                    shared=True,
                    **where,
                ),
            )
        if kind == "add":
            alike = [
                t
                for t in (self.network.tensors[name] for name in self.names)
                if t.channels == source.channels
            ]
            other = alike[self.pick(0, len(alike) - 1)]
            return (
                source.channels,
                source.height,
                source.width,
                [
                    *self.diagonal(source.name, everything, everything),
                    *self.diagonal(other.name, everything, everything),
                ],
            )
        if kind == "concat":
            other = self.source()
            rows = source.channels + other.channels
            return (
                rows,
                source.height,
                source.width,
                [
                    *self.diagonal(source.name, everything, everything),
                    *self.diagonal(other.name, (0, other.channels), (source.channels, rows)),
                ],
            )
        if kind == "mixed":  # several sources, slices of them, any geometry
            rows, height, width = self.channels(), self.size(), self.size()
            groups = []
            for _ in range(self.pick(1, 3)):
                other = self.source()
                start = self.pick(0, other.channels - 1)
                stop = self.pick(start + 1, other.channels)
                first = self.pick(0, rows - 1)
                last = self.pick(first + 1, rows)
                (ky, sy, py, dy), (kx, sx, px, dx) = (
                    self.window(out, size)
                    for out, size in ((height, other.height), (width, other.width))
                )
                groups += self.groups(
                    other.name,
                    (start, stop),
                    (first, last),
                    (ky, kx),
                    stride=(sy, sx),
                    padding=(py, px),
                    dilation=(dy, dx),
                    windows=(
                        self.irregular(height, other.height, ky, dy),
                        self.irregular(width, other.width, kx, dx),
                    ),
                )
            return rows, height, width, groups
        raise AssertionError(kind)

    def pool(self, height, width):
        """A max-pool all of whose windows meet the layer's output, or None; of some, windows
        neither overlap nor leave gaps."""
        axes = []
        apart = self.window_rng.random() < 0.6
        for size in (height, width):
            kernel = self.pick(1, min(4, size))
            stride = self.pick(1, 3)
            padding = self.pick(0, kernel // 2)
            count = (size + 2 * padding - kernel) // stride + 1
            if self.chance(0.3) and (count * stride - padding) < size:
                count += 1  # as with ceil_mode
            if apart and size >= 2:
                kernel = stride = int(self.window_rng.integers(2, min(3, size) + 1))
                padding, count = 0, size // kernel
            if count < 1:
                return None
            axes.append((kernel, stride, padding, count))
        (ky, sy, py, ny), (kx, sx, px, nx) = axes
        return Pool((ky, kx), (sy, sx), (py, px), ny, nx)

    def add_layer(self, final):
        """A layer, and perhaps sums at write-back."""
        self.layer(final)
        if final or not self.config.write_back_sums:
            return
        others = self.rng, self.table_rng  # all else does not depend on sums
        self.rng = self.table_rng = self.sum_rng
        while len(self.names) > 2 and self.chance(0.41):
            self.layer(False, self.network.tensors[self.names[self.pick(1, len(self.names) - 1)]])
        self.rng, self.table_rng = others

    def layer(self, final, addend=None):
        number = len(self.network.layers)
        if addend is None:
            kind = "linear" if final and self.chance(0.5) else str(self.rng.choice(KINDS))
            rows, height, width, groups = self.make(kind)
        else:
            kind = "sum"
            rows, height, width, groups = self.summed(addend)
        layer = Layer(
            f"{kind}{number}",
            kind,
            f"t{number}",
            rows,
            height,
            width,
            groups,
            np.ones(rows),
            np.zeros(rows),
            final=final,
            addend=None if addend is None else addend.name,
        )
        if not final and addend is None and (kind == "pool" or self.chance(0.25)):
            layer.pool = self.pool(height, width)
        limit = self.config.accumulator_max
        while True:
            low, high = partial_bounds(self.network, layer)
            if -limit - 1 <= low.min() and high.max() <= limit:
                break
            for group in groups:
                group.coefficient_plus = int(group.coefficient_plus / 2)
                group.coefficient_minus = int(group.coefficient_minus / 2)
        layer.accumulator_low, layer.accumulator_high = low, high
        signed = self.chance(0.35)
        sums = accumulate(layer, self.values)
        table = None if final else self.table(signed)
        requantized_signed = signed if table is None else bool(self.table_rng.integers(2))
        layer.requantization = (
            self.raw_rule(layer)
            if final
            else self.rule(rows, np.abs(sums).max(axis=(1, 2)), requantized_signed)
        )
        layer.requantization.table = table
        if addend is not None:
            layer.requantization.low, layer.requantization.high = self.sum_rng.choice(
                [(-256, 255), (-256, 255), (-128, 127), (0, 255), (-200, 100), (0, 0)]
            ).tolist()
            if table is not None and layer.requantization.low < 0:
                layer.requantization.low, layer.requantization.high = -128, 127
        self.network.layers.append(layer)
        pooled = layer.pool or Pool((1, 1), (1, 1), (0, 0), height, width)
        self.network.tensors[layer.output] = Tensor(
            layer.output, rows, pooled.height, pooled.width, 1.0, signed
        )
        self.values[layer.output] = run_layer(layer, self.values, signed)
        if addend is None:
            self.names.append(layer.output)
        else:
            self.names[self.names.index(addend.name)] = layer.output

    def summed(self, addend):
        """A layer of the shape of what it adds to: several sources but that one."""
        others = [name for name in self.names if name != addend.name]
        groups = []
        for number in range(self.pick(1, 2)):
            other = self.network.tensors[others[self.pick(0, len(others) - 1)]]
            first = 0 if number == 0 else self.pick(0, addend.channels - 1)
            (ky, sy, py, dy), (kx, sx, px, dx) = (
                self.window(out, size)
                for out, size in ((addend.height, other.height), (addend.width, other.width))
            )
            groups += self.groups(
                other.name,
                (0, other.channels),
                (first, addend.channels),
                (ky, kx),
                stride=(sy, sx),
                padding=(py, px),
                dilation=(dy, dx),
            )
        return addend.channels, addend.height, addend.width, groups

    def table(self, signed):
        """An activation table of a layer, where the configuration has any; not more different ones
        than it holds."""
        rng, most = self.table_rng, self.config.activation_tables
        if not most or rng.random() < 0.35:
            return None
        low, high = (-128, 127) if signed else (0, 255)
        known = [one for one in self.tables if low <= one.min() and one.max() <= high]
        if len(self.tables) == most or (known and rng.random() < 0.2):
            return known[int(rng.integers(len(known)))] if known else None
        kind = int(rng.integers(3))
        if kind == 0:
            table = rng.integers(low, high + 1, 256)
        elif kind == 1:  # many zeros
            table = np.where(rng.random(256) < 0.8, 0, rng.integers(low, high + 1, 256))
        else:  # a curve through zero
            codes = np.arange(256)
            codes[128:] -= 256
            curve = 120 * np.tanh(codes / rng.uniform(10, 90))
            table = np.clip(np.rint(curve), low, high).astype(np.int64)
        self.tables.append(table)
        return table

    def rule(self, rows, largest, signed):
        """Requantization that spreads the sums seen over the codes, some clamped."""
        top = (1 << (self.config.multiplier_width - 1)) - 1
        widest = self.config.accumulator_width + self.config.multiplier_width - 2
        multiplier = self.rng.integers(max(1, top // 2), top + 1, rows)
        small = self.rng.random(rows) < 0.2
        multiplier[small] = self.rng.integers(0, 4, int(small.sum())) % (top + 1)
        target = self.rng.choice([30, 200, 600], rows)
        ratio = np.maximum(1.0, multiplier * np.maximum(1.0, largest) / target)
        shift = np.minimum(np.round(np.log2(ratio)).astype(np.int64), min(63, widest))
        multiplier = np.where(self.rng.random(rows) < 0.2, -multiplier, multiplier)
        span = np.minimum(np.int64(100) << np.minimum(shift, 40), np.int64(1) << (widest - 1))
        bias = (self.rng.uniform(-1, 1, rows) * span).astype(np.int64)
        low, high = (-128, 127) if signed else (0, 255)
        if self.chance(0.2):
            high = self.pick(max(low, 0) + 1, high)
            low = 0 if signed and self.chance(0.5) else low
        return Requantization(multiplier.astype(np.int64), bias, shift, low, high)

    def raw_rule(self, layer):
        rows = layer.rows
        reach = np.maximum(np.abs(layer.accumulator_low), np.abs(layer.accumulator_high))
        top = (1 << (self.config.multiplier_width - 1)) - 1
        most = np.minimum(((1 << 31) - 1) // 2 // np.maximum(reach, 1), top)
        multiplier = np.where(
            self.rng.random(rows) < 0.5, np.minimum(most, 1), self.rng.integers(-most, most + 1)
        )
        multiplier = np.where(most == 0, 1, multiplier)
        wide = min(31, self.config.offset_width - 1)
        room = (1 << wide) - 1 - np.abs(multiplier) * (reach + 1)
        bias = (self.rng.uniform(-1, 1, rows) * np.maximum(room, 0)).astype(np.int64)
        return Requantization(
            multiplier.astype(np.int64), bias, np.zeros(rows, np.int64), -1 << 31, (1 << 31) - 1
        )


def random_network(rng, config, max_layers=5, max_channels=30, max_size=8) -> Network:
    """A quantized network of every kind of layer that fits ``config``.

    Sizes shrink until it fits; AssertionError if nothing does.
    """
    for attempt in range(60):
        shrink = 0.93**attempt
        builder = _Builder(
            rng, config, max_layers, int(max_channels * shrink), int(max_size * shrink)
        )
        count = builder.pick(1, max(1, int(max_layers * shrink)))
        for number in range(count):
            builder.add_layer(final=number == count - 1)
        try:
            compile_network(builder.network, config)
        except ExportError:
            continue
        return builder.network
    raise AssertionError(f"no random network fits {config}")


def random_shape(rng, network, config):
    """The network in another shape, by chance and where it has any: some layers in blocks of
    pixels, its input folded."""
    blocks = {}
    for layer in network.layers:
        block = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        if layer.pool is not None:  # whole windows
            block = tuple(
                max(1, size - 1) * kernel
                for size, kernel in zip(block, layer.pool.kernel, strict=True)
            )
        room = config.elements // config.drain_width * config.rows
        possible = block[0] * block[1] <= room and allows_blocks(
            layer, block, pooled=config.row_merges
        )
        if rng.random() < 0.6 and block != (1, 1) and possible:
            blocks[layer.name] = block
    network = in_blocks(network, blocks) if blocks else network
    folds = fold_candidates(network)
    if not folds or rng.random() < 0.3:
        return network
    return fold_input(network, folds[int(rng.integers(len(folds)))])


def streamed(rng, network, config):
    """Memory contents for ``config`` with memories that are too small, each by chance; some as
    small as they can be."""
    config = dataclasses.replace(config, memory_ports=2)  # one port cannot be refilled meanwhile
    whole = compile_network(network, config)
    used = {
        "trit_depth": whole.trits.shape[1],
        "activation_depth": whole.activation_words,
        "program_depth": len(whole.program),
        "row_depth": len(whole.rows),
    }
    if len(whole.tables):
        used["activation_tables"] = len(whole.tables) // 256
    memory = None
    for field in rng.permutation(list(used)).tolist():
        for share in (1, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08):
            if memory is not None and rng.random() < 0.12:
                break
            least = {"program_depth": 64, "activation_tables": 1}.get(field, 2)
            depth = max(least, int(used[field] * share))
            smaller = dataclasses.replace(config, **{field: depth})
            try:
                memory = emit_streamed(network, place(network, smaller), smaller)
            except ExportError:
                break
            config = smaller
    if memory is None:
        memory = emit_streamed(network, place(network, config), config)
    return memory


def windows_network(rng, is_signed, height=6) -> Network:
    """Two 1x1 layers; of the first each value is in nine pooling windows, and the drain waits."""
    trits = rng.integers(-1, 2, (8, 2, 1, 1)).astype(np.int8)
    ones, zeros = np.ones(8, np.int64), np.zeros(8, np.int64)
    low, high = (-128, 127) if is_signed else (0, 255)
    layers = [
        Layer(
            "conv",
            "conv",
            "pooled",
            8,
            height,
            5,
            [
                ColumnGroup(
                    "input",
                    (0, 2),
                    (0, 8),
                    trits,
                    (1, 1),
                    1.0,
                    1.0,
                    coefficient_plus=1,
                    coefficient_minus=1,
                )
            ],
            np.ones(8),
            np.zeros(8),
            pool=Pool((3, 3), (1, 1), (1, 1), height, 5),
            requantization=Requantization(ones, zeros, zeros, low, high),
        ),
        Layer(
            "last",
            "conv",
            "out",
            8,
            height,
            5,
            [
                ColumnGroup(
                    "pooled",
                    (0, 8),
                    (0, 8),
                    np.eye(8, dtype=np.int8)[:, :, None, None],
                    (1, 1),
                    1.0,
                    1.0,
                    coefficient_plus=1,
                    coefficient_minus=1,
                )
            ],
            np.ones(8),
            np.zeros(8),
            final=True,
            requantization=Requantization(ones, zeros, zeros, -1 << 31, (1 << 31) - 1),
        ),
    ]
    for layer in layers:
        layer.accumulator_low, layer.accumulator_high = np.full(8, -510), np.full(8, 510)
    return Network(
        "windows",
        "input",
        {
            "input": Tensor("input", 2, height, 5, 1.0),
            "pooled": Tensor("pooled", 8, height, 5, 1.0, is_signed),
            "out": Tensor("out", 8, height, 5, 1.0),
        },
        layers,
    )


def bound_network(rng, config, signed=False):
    """Two linear layers whose accumulators come as close to their bounds as a code allows.

    Returns the network and input codes that drive row 0 of both layers to its greatest sum and
    row 1 to its least (or near it, in the second layer).
    """
    limit = config.accumulator_max
    tensors = {"input": Tensor("input", 0, 1, 1, 1.0, signed)}
    network = Network("bound", "input", tensors, [])
    codes = None
    count = int(rng.integers(2, 25))
    for index, name in enumerate(("first", "second")):
        source = list(tensors.values())[-1]
        reach = max(-source.low, source.high)
        if index == 0:
            source.channels = count
            codes = np.full((count, 1, 1), source.low if signed else source.high, np.int64)
        each = min(config.coefficient_max, limit // (reach * source.channels))
        rest = min(config.coefficient_max, (limit - each * reach * source.channels) // reach)
        rows = 5
        # With signed codes at -128, a trit of - and a coefficient of + gives the greatest sum.
        trits = np.zeros((rows, source.channels, 1, 1), np.int8)
        trits[0], trits[1] = (-1, 1) if source.signed else (1, -1)
        trits[2:] = rng.integers(-1, 2, (rows - 2, source.channels, 1, 1))
        extra = trits[:, :1].copy()
        groups = [
            ColumnGroup(
                source.name,
                (0, source.channels),
                (0, rows),
                trits,
                (1, 1),
                float(each),
                float(each),
                coefficient_plus=each,
                coefficient_minus=each,
            ),
            ColumnGroup(
                source.name,
                (0, 1),
                (0, rows),
                extra,
                (1, 1),
                float(rest),
                float(rest),
                coefficient_plus=rest,
                coefficient_minus=rest,
            ),
        ]
        layer = Layer(
            name,
            "linear",
            f"{name}_out",
            rows,
            1,
            1,
            groups,
            np.ones(rows),
            np.zeros(rows),
            final=index == 1,
        )
        layer.accumulator_low, layer.accumulator_high = partial_bounds(network, layer)
        if layer.final:
            rule = Requantization(
                np.ones(rows, np.int64),
                np.zeros(rows, np.int64),
                np.zeros(rows, np.int64),
                -1 << 31,
                (1 << 31) - 1,
            )
        else:
            top = (1 << (config.multiplier_width - 1)) - 1
            shift = max(0, min(63, (limit * top // 255).bit_length() - 1))
            rule = Requantization(
                np.array([top, -top, top, -top - 1, 1], np.int64),
                np.zeros(rows, np.int64),
                np.full(rows, shift, np.int64),
                0,
                255,
            )
        layer.requantization = rule
        network.layers.append(layer)
        tensors[layer.output] = Tensor(layer.output, rows, 1, 1, 1.0, False)
    return network, codes
