"""The whole estimate of a network on a configuration: events, energy, area, baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.progress import Progress
from tritforge.cost.area import measure_area
from tritforge.cost.band import Band, Extremes
from tritforge.cost.baselines import compare_baselines
from tritforge.cost.components import COMPONENTS
from tritforge.cost.counts import HOST, Products, count_products, run_events
from tritforge.cost.energy import LayerEnergy, energy_terms, layer_energy, sum_of
from tritforge.cost.errors import CostError
from tritforge.cost.events import check_adds, check_image, check_run
from tritforge.cost.library import Library
from tritforge.cost.results import (
    FORMAT,
    FORMAT_VERSION,
    UNITS,
    Energy,
    Estimate,
    HostEstimate,
    LayerEstimate,
    Loading,
    Total,
    spent,
)
from tritforge.cost.technology import Technology
from tritforge.cost.technology_file import load_technology
from tritforge.cost.terms.term import Term
from tritforge.flows.densities import DENSITY_SAMPLES, activity
from tritforge.flows.inputs import array_digest, opened, read_inputs
from tritforge.flows.simulate import report_of
from tritforge.flows.wall_clock import WallClock
from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.image.folder import Image
from tritforge.model_export.memory.shaping import compile_network
from tritforge.model_export.network import Layer
from tritforge.sim.backend import CycleBackend
from tritforge.sim.golden import GoldenModel
from tritforge.sim.result import LayerReport, RunReport

__all__ = ["estimate", "recompiled", "run_estimate"]

#: Sums over layers.
ALL, TERNARY_CONVS, LINEAR = "all layers", "ternary conv layers", "fully connected layers"


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
    found = activity(network, samples, GoldenModel(network))
    try:
        return compile_network(network, config, found.densities, windows=found.windows)
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
    codes: bool = False,
    config: Config | None = None,
    library: Library | None = None,
    clock: float | None = None,
    baselines: bool = True,
    progress: Progress | None = None,
) -> Estimate:
    """Energy and area of an image on inputs: the cycle model counts, and its additions are
    compared with what weights and activations say.

    Parameters
    ----------
    image : path or Image
    inputs : path or array (images, channels, height, width)
        Real numbers as the network was trained on, whatever the type of the array.
    codes : bool
        The inputs are activation codes instead.
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

    Raises
    ------
    CostError
        Counters that do not add up; as :func:`recompiled`,
        :func:`tritforge.cost.technology_file.load_technology` and
        :func:`tritforge.cost.area.measure_area`.
    ImageError, ExportError
        As :func:`tritforge.flows.simulate.simulate`.
    """
    if not isinstance(technology, Technology):
        technology = load_technology(str(technology))
    loaded = opened(image)
    given = read_inputs(loaded, inputs, codes=codes)
    compiled: CompiledNetwork = loaded
    if config is not None:
        if progress is not None:
            progress(f"compiling for {config.name}", 0.0)
        compiled = recompiled(loaded, config, given.codes)
    timer = WallClock(progress)
    with timer.step("cycle model"), CycleBackend(compiled, progress) as backend:
        simulation = backend.run(given.codes, progress=progress)
    simulation.input = given.facts
    return _estimate(
        report_of(simulation, loaded),
        compiled,
        given.codes,
        technology,
        library,
        clock,
        baselines,
        timer,
    )


def run_estimate(
    report: RunReport,
    image: Image,
    technology: Technology,
    *,
    codes: NDArray[np.integer] | None = None,
    library: Library | None = None,
    clock: float | None = None,
    baselines: bool = False,
    progress: Progress | None = None,
) -> Estimate:
    """Energy and area from a run's counters (``report.json``).

    With ``codes``, the inputs of that run, its additions are compared with what weights and
    activations say; baselines need them.

    Raises
    ------
    CostError
        The run is of another configuration, image or input, or its counters do not add up.
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
    report: RunReport,
    compiled: CompiledNetwork,
    codes: NDArray[np.integer] | None,
    technology: Technology,
    library: Library | None,
    clock: float | None,
    baselines: bool,
    timer: WallClock,
) -> Estimate:
    check_run(report, compiled)
    images = report.images
    if codes is not None and len(codes) != images:
        raise CostError(f"the run is of {images} images, the input has {len(codes)}")
    told = None if codes is None or report.input is None else report.input.sha256
    if codes is not None and told not in (None, array_digest(codes)):
        raise CostError("the run is of other inputs than these: their activation codes differ")
    products: Products | None = None
    if codes is not None:
        with timer.step("count products of nonzero trits and activations"):
            products = count_products(compiled, codes, keep=baselines)
            check_adds(report, compiled, products.adds)
    streamed = compiled.memory.schedule is not None
    with timer.step("area"):
        area = measure_area(
            compiled.config, technology, library=library, streamed=streamed, progress=timer.progress
        )
    terms = energy_terms(compiled.config, technology, area, clock)
    priced = _Priced(
        compiled,
        images,
        run_events(report, compiled, products),
        terms,
        technology["clock"] if clock is None else Band.exact(clock),
    )
    compared = None
    if baselines and products is not None:
        with timer.step("baselines"):
            compared = compare_baselines(
                compiled,
                technology,
                area,
                terms,
                priced.events,
                products.tensors,
                clock,
                _told(timer.progress, "cycle model, nothing skipped"),
            )
    everything = sum_of("all", priced.energies.values())
    return Estimate(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        tritforge=report.tritforge,
        network=report.network,
        image=report.image,
        image_manifest_sha256=report.image_manifest_sha256,
        configuration=compiled.config.to_dict(),
        configuration_identity=compiled.config.identity,
        adders=compiled.config.adders,
        backend=report.backend,
        images=images,
        adds_checked=codes is not None,
        clock_mhz=priced.clock,
        cycles=priced.cycles,
        microseconds=priced.cycles / priced.clock.typical,
        layers=priced.layers(report.layers, products.densities if products else {}),
        host=priced.host(),
        totals=priced.totals(),
        energy=Energy(**spent(everything)),
        loading=None if streamed else priced.loading(report.loading.port_words or 0),
        average_power_mw=_power(everything.on_chip, priced.cycles, priced.clock),
        components=COMPONENTS,
        terms=tuple(terms),
        area=area.report(),
        baselines=compared,
        technology=technology.report(),
        seconds=timer.summary(),
        units=UNITS,
    )


def _told(progress: Progress | None, message: str) -> Callable[[float], None] | None:
    return None if progress is None else lambda done: progress(message, done)


@dataclass(frozen=True)
class _Priced:
    """A run's events, and what they cost.

    Members
    -------
    images : int
        Of the run.
    events : dict
        Counts by layer and event, an image; see :func:`tritforge.cost.counts.run_events`.
    terms : list of Term
    clock : Band
        MHz.
    """

    compiled: CompiledNetwork
    images: int
    events: Mapping[str, Mapping[str, float]]
    terms: Sequence[Term]
    clock: Band

    @cached_property
    def energies(self) -> dict[str, LayerEnergy]:
        return {name: layer_energy(name, self.terms, one) for name, one in self.events.items()}

    @property
    def cycles(self) -> float:
        """Clock cycles an image."""
        return sum(self.events[layer.name]["cycles"] for layer in self.compiled.network.layers)

    def layers(
        self, reported: Sequence[LayerReport], densities: Mapping[str, float]
    ) -> tuple[LayerEstimate, ...]:
        """``reported``: layers of the run's report; ``densities``: of activations, by tensor."""
        layers = self.compiled.network.layers
        return tuple(
            self._layer(layer, one, densities.get(layer.groups[0].source))
            for layer, one in zip(layers, reported, strict=True)
        )

    def _layer(self, layer: Layer, reported: LayerReport, density: float | None) -> LayerEstimate:
        events, energy = self.events[layer.name], self.energies[layer.name]
        trits = sum(group.trits.size for group in layer.groups)
        seen = events["broadcasts"] + events["skipped_activations"]
        return LayerEstimate(
            name=layer.name,
            kind=layer.kind,
            rows=layer.rows,
            pixels=(layer.height, layer.width),
            ternary=layer.is_ternary,
            mac_count=layer.mac_count,
            weights=layer.weight_count,
            weight_density=layer.nonzero_trits / trits if trits else None,
            trits_per_weight=(
                layer.nonzero_trits / layer.weight_count if layer.weight_count else None
            ),
            activation_density=density,
            broadcast_density=events["broadcasts"] / seen if seen else None,
            cycles=events["cycles"],
            utilization=reported.utilization,
            lower_bound=(reported.lower_bound or 0) / self.images,
            microseconds=events["cycles"] / self.clock.typical,
            events=events,
            **spent(energy),
            pj_per_mac=_per(energy.on_chip, layer.mac_count),
            pj_per_add=_per(energy.on_chip, events["adds"]),
            cluster_cycles={
                name: value / self.images for name, value in reported.cluster_cycles.items()
            },
        )

    def host(self) -> HostEstimate:
        events = self.events[HOST]
        return HostEstimate(HOST, events, sum(events.values()), **spent(self.energies[HOST]))

    def loading(self, words: int) -> Loading:
        energy = layer_energy("loading", self.terms, {"sent_trit_words": words})
        return Loading(words, energy.on_chip, energy.off_chip)

    def totals(self) -> dict[str, Total]:
        """Sums over groups of layers, those that have any."""
        layers = self.compiled.network.layers
        groups = {
            ALL: layers,
            TERNARY_CONVS: [one for one in layers if one.is_ternary and one.kind == "conv"],
            LINEAR: [one for one in layers if one.kind == "linear"],
        }
        return {name: self._total(chosen) for name, chosen in groups.items() if chosen}

    def _total(self, layers: Sequence[Layer]) -> Total:
        energy = sum_of("", [self.energies[layer.name] for layer in layers])
        macs = sum(layer.mac_count for layer in layers)
        adds = sum(self.events[layer.name]["adds"] for layer in layers)
        cycles = sum(self.events[layer.name]["cycles"] for layer in layers)
        dynamic = energy.dynamic
        return Total(
            layers=tuple(layer.name for layer in layers),
            mac_count=macs,
            adds=adds,
            cycles=cycles,
            microseconds=cycles / self.clock.typical,
            **spent(energy),
            pj_per_mac=_per(energy.on_chip, macs),
            pj_per_add=_per(energy.on_chip, adds),
            dynamic_pj_per_mac=_per(dynamic, macs),
            dynamic_pj_per_add=_per(dynamic, adds),
        )


def _per(energy: Band, count: float) -> Band | None:
    return energy / count if count else None


def _power(energy: Band, cycles: float, clock: Band) -> Extremes | None:
    """mW: pJ over us is uW."""
    if not cycles:
        return None
    return Extremes(
        energy.low / (cycles / clock.low) * 1e-3,
        energy.typical / (cycles / clock.typical) * 1e-3,
        energy.high / (cycles / clock.high) * 1e-3,
    )
