"""The whole estimate of a network on a configuration: events, energy, area, baselines."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.progress import Progress
from tritforge.cost.area import Area, measure_area
from tritforge.cost.band import Band, total
from tritforge.cost.baselines import DenseArray, without_skipping
from tritforge.cost.components import COMPONENTS, HOST_EVENTS
from tritforge.cost.energy import LayerEnergy, energy_terms, layer_energy
from tritforge.cost.errors import CostError
from tritforge.cost.events import check_adds, check_image, check_run, nonzero_products
from tritforge.cost.library import Library
from tritforge.cost.technology import Technology, load_technology
from tritforge.cost.terms.term import Term
from tritforge.flows.densities import DENSITY_SAMPLES, activation_densities
from tritforge.flows.inputs import input_codes, opened
from tritforge.flows.simulate import report_of
from tritforge.flows.wall_clock import WallClock
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.hw.widths import PORT_WIDTH, RESULT_WIDTH
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.image.folder import Image
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import fit
from tritforge.model_export.network import Layer
from tritforge.sim.backend import CycleBackend
from tritforge.sim.golden import GoldenModel
from tritforge.sim.report import FORMAT as RUN_FORMAT
from tritforge.sim.report import REPORT

__all__ = ["FORMAT", "UNITS", "estimate", "recompiled", "run_estimate"]

FORMAT = "tritforge estimate"
FORMAT_VERSION = 1
#: The pseudo-layer of what the host sends before a run and reads after it.
HOST = "input and results"
#: Sums over layers.
ALL, TERNARY_CONVS, LINEAR = "all layers", "ternary conv layers", "fully connected layers"
#: Images that the golden model holds at a time.
_CHUNK = 16

UNITS = {
    "low, typical, high": "of every estimate: what the low, typical and high figures of the "
    "technology give, each at once",
    "components, on_chip, off_chip, dynamic": "pJ an image; dynamic: on the chip without leakage",
    "pj_per_mac": "pJ on the chip per dense multiply-accumulate of the trained layer",
    "pj_per_add": "pJ on the chip per addition of a nonzero trit",
    "events": "counts an image, mean over images, as docs/hardware.md explains each; cycles are "
    "clock cycles; sent and read words are 32 bits",
    "terms": "pJ of one event, and the figures that it takes: figure x times",
    "area": "um2; mm2 where it is said",
    "energy": "all layers, input and results",
    "host.port_words": "32-bit words of input and results; the port takes one per cycle at best, "
    "which is not in the cycles",
    "average_power_mw": "mW on the chip: energy of an image, input and results included, over the "
    "time of its cycles",
    "loading": "pJ, once: writing trits, rows and program into the memories",
}


def recompiled(
    compiled: CompiledNetwork, config: Config, codes: NDArray[np.integer]
) -> CompiledNetwork:
    """The same network on another configuration.

    Raises
    ------
    CostError
        It does not fit it: its numbers are as wide as the image's configuration has them.
    """
    if config.identity == compiled.config.identity:
        return compiled
    network = compiled.network
    samples = codes[:DENSITY_SAMPLES] * network.tensors[network.input].scale
    densities = activation_densities(network, samples, GoldenModel(network))
    try:
        return CompiledNetwork(network, fit(network, place(network, config, densities), config))
    except ExportError as error:
        raise CostError(
            f"the image's network cannot be compiled for configuration {config.name} "
            f"as it is: {error}; export it for that one"
        ) from error


def estimate(
    image: str | Path | Image,
    inputs: str | Path | NDArray[Any],
    technology: str | Technology = "45nm",
    *,
    config: Config | None = None,
    library: Library | None = None,
    clock: float | None = None,
    baselines: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Energy and area of an image on inputs: the cycle model counts, and its additions are
    compared with what weights and activations say.

    Parameters
    ----------
    image : path or Image
    inputs : path or array (images, channels, height, width)
        Real numbers are quantized, integers are activation codes.
    technology : name, path of a TOML file, or Technology
    config : Config, optional
        Estimate the image's network on this configuration; it is compiled anew where the image
        was compiled for another.
    library : Library, optional
        A user's cells.
    clock : float, optional
        MHz; the technology's where it is not given.
    baselines : bool
        Also what the same network costs without skipping and as dense multiply-accumulates.

    Returns
    -------
    JSON values; units under ``units``.

    Raises
    ------
    CostError
        Counters that do not add up; as :func:`recompiled`,
        :func:`tritforge.cost.technology.load_technology` and
        :func:`tritforge.cost.area.measure_area`.
    ImageError, ExportError
        As :func:`tritforge.flows.simulate.simulate`.
    """
    if not isinstance(technology, Technology):
        technology = load_technology(str(technology))
    loaded = opened(image)
    codes = input_codes(loaded, inputs)
    compiled: CompiledNetwork = loaded
    if config is not None:
        if progress is not None:
            progress(f"compiling for {config.name}", 0.0)
        compiled = recompiled(loaded, config, codes)
    timer = WallClock(progress)
    with timer.step("cycle model"), CycleBackend(compiled, progress) as backend:
        simulation = backend.run(codes, progress=progress)
    return _estimate(
        report_of(simulation, loaded),
        compiled,
        codes,
        technology,
        library,
        clock,
        baselines,
        timer,
    )


def run_estimate(
    report: Mapping[str, Any],
    image: Image,
    technology: Technology,
    *,
    codes: NDArray[np.integer] | None = None,
    library: Library | None = None,
    clock: float | None = None,
    baselines: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Energy and area from a run's counters (``report.json``).

    With ``codes``, the inputs of that run, its additions are compared with what weights and
    activations say; baselines need them.

    Raises
    ------
    CostError
        The run is of another configuration or image, or its counters do not add up.
    """
    check_image(report, image)
    return _estimate(
        report,
        image,
        codes,
        technology,
        library,
        clock,
        baselines and codes is not None,
        WallClock(progress),
    )


def _estimate(
    report: Mapping[str, Any],
    compiled: CompiledNetwork,
    codes: NDArray[np.integer] | None,
    technology: Technology,
    library: Library | None,
    clock: float | None,
    baselines: bool,
    timer: WallClock,
) -> dict[str, Any]:
    check_run(report, compiled)
    images = report["images"]
    if codes is not None and len(codes) != images:
        raise CostError(f"the run is of {images} images, the input has {len(codes)}")
    tensors: list[dict[str, NDArray[np.int64]]] = []
    densities: dict[str, float] = {}
    if codes is not None:
        with timer.step("count products of nonzero trits and activations"):
            expected, densities, tensors = _counted(compiled, codes, keep=baselines)
            check_adds(report, compiled, expected)
    streamed = compiled.memory.schedule is not None
    with timer.step("area"):
        area = measure_area(
            compiled.config, technology, library=library, streamed=streamed, progress=timer.progress
        )
    terms = energy_terms(compiled.config, technology, area, clock)
    events = _events(report, compiled)
    energies = {name: layer_energy(name, terms, counts) for name, counts in events.items()}
    compared = {}
    if baselines:
        with timer.step("baselines"):
            compared = _baselines(
                compiled, technology, area, terms, events, tensors, clock, timer.progress
            )
    chosen_clock = technology["clock"] if clock is None else Band.exact(clock)
    layers = [
        _layer(
            layer, one, events[layer.name], energies[layer.name], densities, images, chosen_clock
        )
        for layer, one in zip(compiled.network.layers, report["layers"], strict=True)
    ]
    groups = {
        ALL: compiled.network.layers,
        TERNARY_CONVS: [
            one for one in compiled.network.layers if one.is_ternary and one.kind == "conv"
        ],
        LINEAR: [one for one in compiled.network.layers if one.kind == "linear"],
    }
    cycles = sum(events[layer.name]["cycles"] for layer in compiled.network.layers)
    totals = {
        name: _total(chosen, events, energies, chosen_clock)
        for name, chosen in groups.items()
        if chosen
    }
    host = energies[HOST]
    everything = _energy(_sum("all", [*energies.values()]))
    loading = report["loading"]["port_words"]
    once = layer_energy("loading", terms, {"sent_trit_words": loading}) if not streamed else None
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tritforge": report["tritforge"],
        "network": report["network"],
        "image": report["image"],
        "image_manifest_sha256": report["image_manifest_sha256"],
        "configuration": compiled.config.to_dict(),
        "configuration_identity": compiled.config.identity,
        "adders": compiled.config.adders,
        "backend": report["backend"],
        "images": images,
        "adds_checked": codes is not None,
        "clock_mhz": chosen_clock.to_dict(),
        "cycles": cycles,
        "microseconds": cycles / chosen_clock.typical,
        "layers": layers,
        "host": {
            "name": HOST,
            "events": events[HOST],
            "port_words": sum(events[HOST].values()),
            **_energy(host),
        },
        "totals": totals,
        "energy": everything,
        "loading": None
        if once is None
        else {
            "port_words": loading,
            "on_chip": once.on_chip.to_dict(),
            "off_chip": once.off_chip.to_dict(),
        },
        "average_power_mw": _power(everything["on_chip"], cycles, chosen_clock),
        "components": dict(COMPONENTS),
        "terms": [term.to_dict() for term in terms],
        "area": area.to_dict(),
        "baselines": compared,
        "technology": technology.to_dict(),
        "seconds": timer.summary(),
        "units": UNITS,
    }


def _counted(
    compiled: CompiledNetwork, codes: NDArray[np.integer], keep: bool
) -> tuple[dict[str, int], dict[str, float], list[dict[str, NDArray[np.int64]]]]:
    """Additions of every layer, share of nonzero activations of every tensor, and, where they
    are kept, all tensors of each compiled."""
    golden = GoldenModel(compiled.network)
    expected: dict[str, int] = {}
    nonzero: dict[str, int] = {}
    sizes: dict[str, int] = {}
    kept = []
    for start in range(0, len(codes), _CHUNK):
        part = golden.run_all(codes[start : start + _CHUNK], unpooled=keep)
        for name, count in nonzero_products(
            compiled.network, part, not compiled.config.skip_zero_activations
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


def _events(report: Mapping[str, Any], compiled: CompiledNetwork) -> dict[str, dict[str, float]]:
    """Counts by layer, an image, and those of the host before and after a run."""
    images = report["images"]
    memory, config = compiled.memory, compiled.config
    schedule = memory.schedule
    result = {}
    for layer in report["layers"]:
        counts = {name: layer["counters"][name] / images for name in COUNTERS if name != "cycles"}
        counts["cycles"] = layer["cycles"] / images
        counts |= dict.fromkeys(HOST_EVENTS, 0.0)
        if schedule is not None:
            activations = sum(
                strip.words * config.clusters * config.memory_chunks("activations")
                for number in schedule.of_layer(layer["name"])
                for strip in schedule.passes[number].loads
            )
            counts["sent_activation_words"] = float(activations)
            counts["sent_trit_words"] = float(layer["sent_words"] - activations)
            counts["read_words"] = float(layer["read_words"])
        result[layer["name"]] = counts
    final = compiled.network.final
    read = result_words(config, final.rows) * final.height * final.width
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


def result_words(config: Config, rows: int) -> int:
    """Port words of the results of one pixel: whole entries of ``drain_width``."""
    return -(-rows // config.drain_width) * config.drain_width * RESULT_WIDTH // PORT_WIDTH


def _energy(energy: LayerEnergy) -> dict[str, Any]:
    return {
        "components": {name: band.to_dict() for name, band in energy.components.items()},
        "on_chip": energy.on_chip.to_dict(),
        "dynamic": energy.dynamic.to_dict(),
        "off_chip": energy.off_chip.to_dict(),
    }


def _per(energy: Band, count: float) -> dict[str, float] | None:
    return (energy / count).to_dict() if count else None


def _layer(
    layer: Layer,
    reported: Mapping[str, Any],
    events: Mapping[str, float],
    energy: LayerEnergy,
    densities: Mapping[str, float],
    images: int,
    clock: Band,
) -> dict[str, Any]:
    trits = sum(group.trits.size for group in layer.groups)
    seen = events["broadcasts"] + events["skipped_activations"]
    return {
        "name": layer.name,
        "kind": layer.kind,
        "rows": layer.rows,
        "pixels": [layer.height, layer.width],
        "ternary": layer.is_ternary,
        "mac_count": layer.mac_count,
        "weights": layer.weight_count,
        "weight_density": layer.nonzero_trits / trits if trits else None,
        "trits_per_weight": layer.nonzero_trits / layer.weight_count
        if layer.weight_count
        else None,
        "activation_density": densities.get(layer.groups[0].source),
        "broadcast_density": events["broadcasts"] / seen if seen else None,
        "cycles": events["cycles"],
        "utilization": reported["utilization"],
        "lower_bound": reported["lower_bound"] / images,
        "microseconds": events["cycles"] / clock.typical,
        "events": dict(events),
        **_energy(energy),
        "pj_per_mac": _per(energy.on_chip, layer.mac_count),
        "pj_per_add": _per(energy.on_chip, events["adds"]),
        "cluster_cycles": {
            name: value / images for name, value in reported["cluster_cycles"].items()
        },
    }


def _sum(name: str, energies: Iterable[LayerEnergy]) -> LayerEnergy:
    chosen = list(energies)
    return LayerEnergy(
        name,
        {component: total(one.components[component] for one in chosen) for component in COMPONENTS},
    )


def _total(
    layers: Sequence[Layer],
    events: Mapping[str, Mapping[str, float]],
    energies: Mapping[str, LayerEnergy],
    clock: Band,
) -> dict[str, Any]:
    energy = _sum("", [energies[layer.name] for layer in layers])
    macs = sum(layer.mac_count for layer in layers)
    adds = sum(events[layer.name]["adds"] for layer in layers)
    cycles = sum(events[layer.name]["cycles"] for layer in layers)
    dynamic = energy.dynamic
    return {
        "layers": [layer.name for layer in layers],
        "mac_count": macs,
        "adds": adds,
        "cycles": cycles,
        "microseconds": cycles / clock.typical,
        **_energy(energy),
        "pj_per_mac": _per(energy.on_chip, macs),
        "pj_per_add": _per(energy.on_chip, adds),
        "dynamic_pj_per_mac": _per(dynamic, macs),
        "dynamic_pj_per_add": _per(dynamic, adds),
    }


def _power(energy: Mapping[str, float], cycles: float, clock: Band) -> dict[str, float] | None:
    """mW: pJ over us is uW."""
    if not cycles:
        return None
    times = {
        "low": cycles / clock.low,
        "typical": cycles / clock.typical,
        "high": cycles / clock.high,
    }
    values = [energy[name] / times[name] * 1e-3 for name in ("low", "typical", "high")]
    return dict(zip(("low", "typical", "high"), values, strict=True))


def _baselines(
    compiled: CompiledNetwork,
    technology: Technology,
    area: Area,
    terms: Sequence[Term],
    events: Mapping[str, Mapping[str, float]],
    tensors: Sequence[Mapping[str, NDArray[np.integer]]],
    clock: float | None,
    progress: Progress | None,
) -> dict[str, Any]:
    def tell(done: float) -> None:
        if progress is not None:
            progress("cycle model, nothing skipped", done)

    plain = without_skipping(compiled, tensors, tell)
    network = compiled.network
    host = {
        layer.name: {name: events[layer.name][name] for name in HOST_EVENTS}
        for layer in network.layers
    }
    slow = {
        layer.name: {**counts, **host[layer.name]}
        for layer, counts in zip(network.layers, plain, strict=True)
    }
    dense = DenseArray(
        compiled.config, technology, area, sum(layer.weight_count for layer in network.layers)
    )
    dense_terms = dense.terms(terms, clock)
    own = {
        layer.name: layer_energy(layer.name, terms, events[layer.name]) for layer in network.layers
    }

    def document(
        title: str, counts: Mapping[str, Mapping[str, float]], priced: Sequence[Term]
    ) -> dict[str, Any]:
        energies = {name: layer_energy(name, priced, values) for name, values in counts.items()}
        everything = _sum("all", energies.values())
        mine = _sum("all", own.values())
        return {
            "title": title,
            "layers": [
                {"name": name, "cycles": counts[name]["cycles"], **_energy(energies[name])}
                for name in counts
            ],
            "cycles": sum(values["cycles"] for values in counts.values()),
            **_energy(everything),
            "times_energy": {
                key: getattr(everything.on_chip, key) / max(getattr(mine.on_chip, key), 1e-30)
                for key in ("low", "typical", "high")
            },
            "times_cycles": sum(values["cycles"] for values in counts.values())
            / max(1.0, sum(events[name]["cycles"] for name in counts)),
        }

    def macs(once: bool) -> dict[str, dict[str, float]]:
        return {
            layer.name: dense.events(layer, events[layer.name], once) for layer in network.layers
        }

    units = f"{compiled.config.adders} dense 8-bit MAC units"
    return {
        "without_skipping": document("the same array, no zero skipped", slow, terms),
        "dense": {
            **document(f"{units}, a weight read for each MAC", macs(False), dense_terms),
            **dense.to_dict(),
            "terms": [term.to_dict() for term in dense_terms],
        },
        "dense_reused": document(f"{units}, each weight read once", macs(True), dense_terms),
    }


def _not_finite(name: str) -> float:
    raise ValueError(f"{name} is no number that JSON has")


def load_run(folder: Path) -> dict[str, Any]:
    """``report.json`` of a run folder.

    Raises
    ------
    CostError
        There is none.
    """
    path = folder / REPORT
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite)
    except OSError as error:
        raise CostError(f"run {folder} cannot be read: {path.name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CostError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != RUN_FORMAT:
        raise CostError(f"{path} is not a {RUN_FORMAT}")
    return document
