"""What an image's network and layout must be for everything else to read them.

Checksums say that a folder is what was written; these checks, that what was written makes sense.
"""

import numpy as np
from numpy.typing import NDArray

from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.errors import ExportError
from tritforge.model_export.in_place import check_sums, places
from tritforge.model_export.memory.emit import MemoryImage, ResultPlace, TensorPlace, table_bytes
from tritforge.model_export.network import ColumnGroup, Layer, Network, Pool, Tensor

__all__ = ["check_memory", "check_network"]

_MOST_SHIFT = 63
#: Most rows or columns of padding; all of it is made in memory where a layer is computed.
_MOST_REACH = 4096


def check_network(network: Network) -> None:
    """``ValueError`` unless layers, their column groups and tensors fit one another."""
    _require(bool(network.layers), f"network {network.name} has no layers")
    known = {network.input: network.tensors.get(network.input)}
    for tensor in network.tensors.values():
        sizes = tensor.channels, tensor.height, tensor.width
        _require(min(sizes) > 0, f"tensor {tensor.name} is {sizes}")
    try:
        check_sums(network)
    except ExportError as error:
        raise ValueError(str(error)) from error
    for layer in network.layers:
        _check_layer(layer, network.tensors.get(layer.output))
        for group in layer.groups:
            _check_group(layer, group, known.get(group.source))
        known[layer.output] = network.tensors[layer.output]
    names = [layer.name for layer in network.layers]
    _require(len(set(names)) == len(names), "two layers have one name")
    final = [layer.final for layer in network.layers]
    _require(final == [False] * (len(final) - 1) + [True], "not the last layer alone is final")


def check_memory(memory: MemoryImage, network: Network) -> None:
    """``ValueError`` unless the places in memory are those of the network's tensors and layers."""
    _require(memory.input == network.input, f"the input is {memory.input} in memory")
    needed = {network.input, *(layer.output for layer in network.layers[:-1])}
    _require(
        needed <= memory.tensors.keys() <= network.tensors.keys(),
        "the tensors in memory are not those of the network",
    )
    _require(
        [place.name for place in memory.layers] == [layer.name for layer in network.layers],
        "the layers in memory are not those of the network",
    )
    for place in memory.tensors.values():
        _check_place(memory, place, network.tensors[place.name])
    for name, first in places(network).items():
        if name != first:
            _require(
                _same_place(memory.tensors[name], memory.tensors[first]),
                f"tensor {name} is not in the place of {first}",
            )
    for layer in memory.layers:
        start, size = layer.address, len(memory.program)
        _require(0 <= start < size, f"layer {layer.name} begins at word {start} of {size}")
    for name, found, wanted in (
        ("row entries", len(memory.rows), sum(layer.row_entries for layer in memory.layers)),
        ("activation tables", len(memory.tables) // TABLE_ENTRIES, _table_count(network)),
    ):
        _require(found >= wanted, f"there are {found} {name}, the layers have {wanted}")
    if memory.results is not None:
        _check_results(memory, memory.results, network.final)


def _table_count(network: Network) -> int:
    """Different activation tables; equal ones are held once."""
    tables = (table_bytes(layer) for layer in network.layers)
    return len({table.tobytes() for table in tables if table is not None})


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _each(values: NDArray[np.number], count: int, limit: int | None = None) -> bool:
    """Whether there are ``count`` values, from 0 to below ``limit`` where one is given."""
    if values.shape != (count,):
        return False
    return limit is None or bool(((values >= 0) & (values < limit)).all())


def _check_layer(layer: Layer, output: Tensor | None) -> None:
    what = f"layer {layer.name}"
    sizes = layer.rows, layer.height, layer.width
    _require(min(sizes) > 0, f"{what} is {sizes}")
    _require(output is not None, f"{what} has no output tensor {layer.output}")
    assert output is not None
    pooled = sizes if layer.pool is None else _pooled(what, layer.rows, layer.pool)
    shape = output.channels, output.height, output.width
    _require(shape == pooled, f"{what} gives {pooled}, its tensor {output.name} is {shape}")
    parts = layer.gain, layer.offset
    _require(all(_each(part, layer.rows) for part in parts), f"{what} has no gain for every row")
    bounds = layer.accumulator_low, layer.accumulator_high
    bounded = all(len(bound) == 0 or _each(bound, layer.rows) for bound in bounds)
    _require(bounded, f"{what} has no bounds for every row")
    rule = layer.requantization
    _require(rule is not None, f"{what} has no requantization")
    assert rule is not None
    fits = _each(rule.multiplier, layer.rows) and _each(rule.bias, layer.rows)
    fits = fits and _each(rule.shift, layer.rows, _MOST_SHIFT + 1)
    _require(fits, f"{what} has no multiplier, bias and shift from 0 to 63 for every row")


def _pooled(what: str, rows: int, pool: Pool) -> tuple[int, int, int]:
    least = min(*pool.kernel, *pool.stride)
    _require(least > 0 and min(pool.padding) >= 0, f"{what} has an impossible max-pool")
    return rows, pool.height, pool.width


def _check_group(layer: Layer, group: ColumnGroup, source: Tensor | None) -> None:
    what = f"a column group of layer {layer.name}"
    _require(source is not None, f"{what} reads {group.source}, which nothing before it computes")
    assert source is not None
    for name, (start, stop), size in (
        ("channels", group.channels, source.channels),
        ("rows", group.rows, layer.rows),
    ):
        _require(0 <= start < stop <= size, f"{what} has {name} {start} to {stop} of {size}")
    least = min(*group.kernel, *group.stride, *group.dilation)
    _require(least > 0, f"{what} has a kernel, stride or dilation below 1")
    rows, channels = (stop - start for start, stop in (group.rows, group.channels))
    shape = (rows, channels, *((1, 1) if group.shared else group.kernel))
    _require(group.trits.shape == shape, f"{what} has trits {group.trits.shape}, not {shape}")
    ternary = group.wide or -1 <= int(group.trits.min()) <= int(group.trits.max()) <= 1
    _require(ternary, f"{what} has weights of several bits, but is not wide")
    for window, count in zip(group.windows, (layer.height, layer.width), strict=True):
        fits = window is None or len(window.first) == count
        _require(fits, f"{what} has windows for another number of outputs than {count}")
    for axis, (size, count) in enumerate(
        ((source.height, layer.height), (source.width, layer.width))
    ):
        places, _ = group.positions(axis, [0, count - 1], size)
        reach = max(-int(places.min()), int(places.max()) - size)
        _require(reach <= _MOST_REACH, f"{what} reads {reach} pixels beyond tensor {source.name}")


def _check_place(memory: MemoryImage, place: TensorPlace, tensor: Tensor) -> None:
    config, what = memory.config, f"tensor {place.name}"
    sizes, wanted = (*place.shape, place.signed), (*tensor.shape, tensor.signed)
    _require(sizes == wanted, f"{what} is in memory as {sizes}, not {wanted}")
    fits = (
        _each(place.cluster, place.channels, config.clusters)
        and _each(place.word, place.channels, place.words)
        and _each(place.lane, place.channels, config.scan_width)
    )
    _require(fits, f"{what} has channels outside the activation memories")
    end = config.activation_depth
    inside = place.external or 0 <= place.base <= place.base + place.size <= end
    _require(inside, f"{what} takes words {place.base} and following {place.size} of {end}")


def _same_place(one: TensorPlace, other: TensorPlace) -> bool:
    return (
        (one.base, one.words, one.external) == (other.base, other.words, other.external)
        and np.array_equal(one.cluster, other.cluster)
        and np.array_equal(one.word, other.word)
        and np.array_equal(one.lane, other.lane)
    )


def _check_results(memory: MemoryImage, results: ResultPlace, final: Layer) -> None:
    sizes = results.rows, results.height, results.width
    wanted = final.rows, final.height, final.width
    _require(sizes == wanted, f"results are {sizes} in memory, layer {final.name} is {wanted}")
    last = results.first + results.step * (results.height * results.width - 1)
    fits = all(
        (
            _each(results.first, results.rows, results.entries),
            _each(results.step, results.rows),
            _each(last, results.rows, results.entries),
            _each(results.lane, results.rows, memory.config.results),
            results.entries <= memory.config.result_depth,
        )
    )
    _require(fits, "results lie outside of the entries that are read")
