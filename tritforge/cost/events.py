"""Counted events of a run, and whether they add up."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tritforge.cost.errors import CostError
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.image.folder import Image
from tritforge.model_export.network import ColumnGroup, Layer, Network, Pool
from tritforge.sim.result import LayerReport, RunReport

__all__ = ["check_adds", "check_layer", "check_run", "nonzero_products"]

#: No count of a run is greater.
_MOST = 1 << 62
_STALLS = ("stall_queue_full", "stall_imbalance", "stall_drain")


def check_image(report: RunReport, image: Image) -> None:
    """That a run is one of this image.

    Raises
    ------
    CostError
    """
    if report.image_manifest_sha256 != image.manifest.manifest_sha256:
        raise CostError("the run is of another image than this one: their manifests differ")


def check_run(report: RunReport, compiled: CompiledNetwork) -> None:
    """That a run (``report.json`` of ``simulate`` or ``run``) is one of this network, and whole.

    Raises
    ------
    CostError
        Another configuration, one layer alone, no counters, or counters that do not add up.
    """
    layers = report.layers
    config = compiled.config
    if report.configuration_identity != config.identity:
        raise CostError(
            f"the run is of configuration {report.configuration} "
            f"({report.configuration_identity[:8]}), the image of {config.name} "
            f"({config.identity[:8]})"
        )
    if report.layer is not None:
        raise CostError(
            f"the run is of layer {report.layer} alone; an estimate needs the whole network"
        )
    if report.total_cycles is None:
        raise CostError(
            f"the run is of backend {report.backend}, which counts no events; cycle and rtl do"
        )
    names = [layer.name for layer in compiled.network.layers]
    found = [layer.name for layer in layers]
    if found != names:
        raise CostError(f"the run has layers {', '.join(found)}, the image {', '.join(names)}")
    images = report.images
    if images < 1:
        raise CostError(f"the run has {images} images")
    if report.loading.port_words is None or report.loading.port_words < 0:
        raise CostError(f"the run says that loading took {report.loading.port_words} words")
    for layer in layers:
        check_layer(config, layer)
        if layer.lower_bound is None or layer.utilization is None:
            raise CostError(
                f"layer {layer.name} of the run's report has no lower_bound or no utilization"
            )
        each = layer.cycles_per_image
        if len(each) != images or sum(each) != layer.cycles:
            raise CostError(
                f"counters of layer {layer.name} do not add up: its cycles are "
                f"{layer.cycles:,}, those of its images are not"
            )
        if compiled.memory.schedule is None:
            _check_drain(compiled, layer, images)
    cycles = sum(layer.cycles or 0 for layer in layers)
    if cycles != report.total_cycles:
        raise CostError(
            f"counters do not add up: the layers' cycles are {cycles:,} in all, the run's "
            f"{report.total_cycles:,}"
        )


def _check_drain(compiled: CompiledNetwork, layer: LayerReport, images: int) -> None:
    """Steps of the drain follow from the program: pixels, rows in use, blocks; results from them.

    Raises
    ------
    CostError
    """
    place = compiled.memory.layer(layer.name)
    steps = images * place.pixels * place.rows_used * compiled.config.blocks
    results = steps if compiled.network.layer(layer.name).final else 0
    for name, want in (("drain_steps", steps), ("result_writes", results)):
        if layer.counters[name] != want:
            raise CostError(
                f"counters of layer {layer.name} do not add up: {name} is "
                f"{layer.counters[name]:,}, the program makes {want:,}"
            )


def check_layer(config: Config, layer: LayerReport) -> None:
    """That the counters of one layer of a report can be true of one run of this configuration.

    Raises
    ------
    CostError
        One is missing, or they do not add up; the message says which.
    """
    name = layer.name
    values: dict[str, int] = {}
    for counter in COUNTERS:
        value = layer.cycles if counter == "cycles" else layer.counters.get(counter)
        if value is None or not 0 <= value <= _MOST:
            raise CostError(f"counter {counter} of layer {name} is {value!r:.40}, not a count")
        values[counter] = value

    def refuse(sentence: str) -> None:
        raise CostError(f"counters of layer {name} do not add up: {sentence}")

    cycles, adds, writes = values["cycles"], values["adds"], values["queue_writes"]
    spent = sum(values[one] for one in ("broadcasts", "empty_scans", *_STALLS))
    if spent > config.cluster_count * cycles:
        refuse(
            f"broadcasts, empty scans and stalls are {spent:,} cluster cycles, of "
            f"{config.cluster_count * cycles:,} that there were"
        )
    for one in ("drain_steps", "result_writes", "stall_write_back", "stall_refill"):
        if values[one] > cycles:
            refuse(f"{one} is {values[one]:,} in {cycles:,} cycles")
    reads = values["activation_reads"] + values["merge_reads"]
    if values["activation_reads"] > config.clusters * cycles or reads > (
        config.clusters * (1 + config.window_count) * cycles
    ):
        refuse(
            f"{reads:,} words read by walkers and for pooling from {config.clusters} memories "
            f"in {cycles:,} cycles"
        )
    if values["write_backs"] > config.clusters * config.window_count * cycles:
        refuse(
            f"{values['write_backs']:,} write-backs to {config.clusters} memories in "
            f"{cycles:,} cycles"
        )
    if values["merge_reads"] > values["write_backs"]:
        refuse(f"{values['merge_reads']:,} merge reads of {values['write_backs']:,} write-backs")
    if adds > config.adders * cycles:
        refuse(f"{adds:,} adds by {config.adders} adders in {cycles:,} cycles")
    if writes > config.elements * values["broadcasts"]:
        refuse(
            f"{writes:,} queue writes of {values['broadcasts']:,} broadcasts to "
            f"{config.elements} elements"
        )
    if not (writes if config.skip_zero_weights else 0) <= adds <= config.rows * writes:
        refuse(f"{adds:,} adds of {writes:,} queue entries of 1 to {config.rows} nonzero trits")
    if values["broadcasts"] + values["skipped_activations"] > (
        config.scan_width * values["activation_reads"]
    ):
        refuse(
            f"{values['broadcasts']:,} broadcasts and {values['skipped_activations']:,} skipped "
            f"activations of {values['activation_reads']:,} words of {config.scan_width}"
        )


def check_adds(report: RunReport, compiled: CompiledNetwork, expected: Mapping[str, int]) -> None:
    """That every layer made as many additions as its nonzero trits met nonzero activations.

    Of a streamed layer whose strips overlap, at least as many.

    Raises
    ------
    CostError
        They differ.
    """
    for layer in report.layers:
        adds, want = layer.counters["adds"], expected[layer.name]
        if adds != want if compiled.memory.schedule is None else adds < want:
            raise CostError(
                f"counters of layer {layer.name} do not add up: {adds:,} adds, but nonzero "
                f"trits meet nonzero activations {want:,} times; is the run of these inputs?"
            )


def nonzero_products(
    network: Network,
    tensors: Mapping[str, NDArray[np.integer]],
    zeros: bool = False,
    *,
    wide: bool = False,
) -> dict[str, int]:
    """Additions of each layer: how often a nonzero trit, or weight of a wide column group, meets a
    nonzero activation.

    Counted from weights and activations, without any model of hardware: for each kernel position,
    nonzero trits of a channel times its nonzero activations at the output pixels that are computed.

    Parameters
    ----------
    tensors
        Codes (images, channels, height, width) of all tensors, as
        :meth:`tritforge.sim.golden.GoldenModel.run_all` gives them.
    zeros
        Activations that are zero count too, as on an array that does not skip them.
    wide
        Those of wide column groups alone.
    """
    result = {}
    for layer in network.layers:
        groups = [group for group in layer.groups if group.wide or not wide]
        result[layer.name] = _products(network, layer, groups, tensors, zeros)
    return result


def _products(
    network: Network,
    layer: Layer,
    groups: Sequence[ColumnGroup],
    tensors: Mapping[str, NDArray[np.integer]],
    zeros: bool,
) -> int:
    places = [
        _computed(length, layer.pool, axis)
        for axis, length in enumerate((layer.height, layer.width))
    ]
    count = 0
    for group in groups:
        tensor = network.tensors[group.source]
        for codes in tensors[group.source]:
            nonzero = np.asarray(tensor.stored(np.asarray(codes)) != 0) | zeros
            nonzero = nonzero[slice(*group.channels)]
            weights = np.count_nonzero(group.trits, axis=0)  # (channels, kh, kw)
            met = [
                group.positions(axis, places[axis], nonzero.shape[1 + axis]) for axis in range(2)
            ]
            for ky in range(group.kernel[0]):
                for kx in range(group.kernel[1]):
                    rows, columns = (
                        met[axis][0][:, at][met[axis][1][:, at]] for axis, at in enumerate((ky, kx))
                    )
                    visits = np.count_nonzero(nonzero[:, rows][:, :, columns], axis=(1, 2))
                    here = weights[:, 0, 0] if group.shared else weights[:, ky, kx]
                    count += int(visits @ here)
    return count


def _computed(length: int, pool: Pool | None, axis: int) -> NDArray[np.int64]:
    """Output rows (or columns) that are computed: those that a pooling window sees."""
    if pool is None:
        return np.arange(length)
    seen = np.zeros(length, bool)
    for place in range((pool.height, pool.width)[axis]):
        first = place * pool.stride[axis] - pool.padding[axis]
        seen[max(first, 0) : first + pool.kernel[axis]] = True
    return np.nonzero(seen)[0]
