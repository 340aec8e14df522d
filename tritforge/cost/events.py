"""Counted events of a run, and whether they add up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.config import Config
from hw.program import COUNTERS
from model_export.image import Image
from model_export.network import Layer, Network, Pool
from tritforge.cost.errors import CostError

__all__ = ["check_adds", "check_layer", "check_run", "nonzero_products"]

_STALLS = ("stall_queue_full", "stall_imbalance", "stall_drain")


def check_run(report: Mapping[str, Any], image: Image) -> None:
    """That a run (``report.json`` of ``simulate`` or ``run``) is one of this image, and whole.

    Raises
    ------
    CostError
        Another configuration or image, one layer alone, no counters, or counters that do not add
        up.
    """
    config = image.config
    try:
        identity, name = report["configuration_identity"], report["configuration"]
        made, layers = report["image_manifest_sha256"], report["layers"]
        images, alone, cycles = report["images"], report["layer"], report["total_cycles"]
        found = [layer["name"] for layer in layers]
    except (KeyError, TypeError) as error:
        raise CostError(f"the run's report lacks {error}") from error
    if identity != config.identity:
        raise CostError(f"the run is of configuration {name} ({str(identity)[:8]}), the image of "
                        f"{config.name} ({config.identity[:8]})")
    if made != image.manifest.get("manifest_sha256", ""):
        raise CostError("the run is of another image than this one: their manifests differ")
    if alone is not None:
        raise CostError(f"the run is of layer {alone} alone; an estimate needs the whole network")
    if cycles is None:
        raise CostError(f"the run is of backend {report.get('backend')}, which counts no events; "
                        f"cycle and rtl do")
    names = [layer.name for layer in image.network.layers]
    if found != names:
        raise CostError(f"the run has layers {', '.join(map(str, found))}, the image "
                        f"{', '.join(names)}")
    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise CostError(f"the run has {images!r} images")
    for layer in layers:
        check_layer(config, layer)
    if sum(layer["cycles"] for layer in layers) != cycles:
        raise CostError(f"counters do not add up: the layers' cycles are "
                        f"{sum(layer['cycles'] for layer in layers):,} in all, the run's "
                        f"{cycles:,}")


def check_layer(config: Config, layer: Mapping[str, Any]) -> None:
    """That the counters of one layer of a report can be true of one run of this configuration.

    Raises
    ------
    CostError
        One is missing, or they do not add up; the message says which.
    """
    name = layer.get("name")
    counters = layer.get("counters")
    if not isinstance(counters, Mapping):
        raise CostError(f"layer {name} of the run has no counters")
    values: dict[str, int] = {}
    for counter in COUNTERS:
        value = layer.get("cycles") if counter == "cycles" else counters.get(counter)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise CostError(f"counter {counter} of layer {name} is {value!r}, not a count")
        values[counter] = value

    def refuse(sentence: str) -> None:
        raise CostError(f"counters of layer {name} do not add up: {sentence}")

    cycles, adds, writes = values["cycles"], values["adds"], values["queue_writes"]
    spent = sum(values[one] for one in ("broadcasts", "empty_scans", *_STALLS))
    if spent > config.cluster_count * cycles:
        refuse(f"broadcasts, empty scans and stalls are {spent:,} cluster cycles, of "
               f"{config.cluster_count * cycles:,} that there were")
    if adds > config.adders * cycles:
        refuse(f"{adds:,} adds by {config.adders} adders in {cycles:,} cycles")
    if writes > config.elements * values["broadcasts"]:
        refuse(f"{writes:,} queue writes of {values['broadcasts']:,} broadcasts to "
               f"{config.elements} elements")
    if not (writes if config.skip_zero_weights else 0) <= adds <= config.rows * writes:
        refuse(f"{adds:,} adds of {writes:,} queue entries of 1 to {config.rows} nonzero trits")
    if values["broadcasts"] + values["skipped_activations"] > (
            config.scan_width * values["activation_reads"]):
        refuse(f"{values['broadcasts']:,} broadcasts and {values['skipped_activations']:,} skipped "
               f"activations of {values['activation_reads']:,} words of {config.scan_width}")


def check_adds(report: Mapping[str, Any], image: Image,
               expected: Mapping[str, int]) -> None:
    """That every layer made as many additions as its nonzero trits met nonzero activations.

    Of a streamed layer whose strips overlap, at least as many.

    Raises
    ------
    CostError
        They differ.
    """
    for layer in report["layers"]:
        adds, want = layer["counters"]["adds"], expected[layer["name"]]
        if adds != want if not layer.get("passes") else adds < want:
            raise CostError(
                f"counters of layer {layer['name']} do not add up: {adds:,} adds, but nonzero "
                f"trits meet nonzero activations {want:,} times")


def nonzero_products(network: Network, tensors: Mapping[str, NDArray[np.integer]],
                     zeros: bool = False) -> dict[str, int]:
    """Additions of each layer: how often a nonzero trit meets a nonzero activation.

    Counted from weights and activations, without any model of hardware: for each kernel position,
    nonzero trits of a channel times its nonzero activations at the output pixels that are computed.

    Parameters
    ----------
    tensors
        Codes (images, channels, height, width) of all tensors, as
        :meth:`sim.golden.GoldenModel.run_all` gives them.
    zeros
        Activations that are zero count too, as on an array that does not skip them.
    """
    return {layer.name: _products(network, layer, tensors, zeros) for layer in network.layers}


def _products(network: Network, layer: Layer, tensors: Mapping[str, NDArray[np.integer]],
              zeros: bool) -> int:
    places = [_computed(length, layer.pool, axis)
              for axis, length in enumerate((layer.height, layer.width))]
    count = 0
    for group in layer.groups:
        tensor = network.tensors[group.source]
        for codes in tensors[group.source]:
            nonzero = np.asarray(tensor.stored(np.asarray(codes)) != 0) | zeros
            nonzero = nonzero[slice(*group.channels)]
            weights = np.count_nonzero(group.trits, axis=0)         # (channels, kh, kw)
            for ky in range(group.kernel[0]):
                for kx in range(group.kernel[1]):
                    rows, columns = (
                        _sources(places[axis], group.stride[axis], group.padding[axis],
                                 at * group.dilation[axis], nonzero.shape[1 + axis])
                        for axis, at in enumerate((ky, kx)))
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
        seen[max(first, 0):first + pool.kernel[axis]] = True
    return np.nonzero(seen)[0]


def _sources(places: NDArray[np.int64], stride: int, padding: int, offset: int,
             length: int) -> NDArray[np.int64]:
    """Source rows (or columns) that one kernel position reads, padding left out."""
    sources = places * stride - padding + offset
    return sources[(sources >= 0) & (sources < length)]
