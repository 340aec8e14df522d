"""Counted events must add up; additions are counted a second time from weights and activations."""

import copy

import numpy as np
import pytest

from tests.model_export.networks import (
    compile_network,
    random_codes,
    random_config,
    random_network,
    streamed,
)
from tritforge.cost.counts import count_products, run_events
from tritforge.cost.errors import CostError
from tritforge.cost.events import check_adds, check_run, nonzero_products
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.backend import CycleBackend
from tritforge.sim.golden import GoldenModel
from tritforge.sim.report import build_report
from tritforge.sim.result import RunReport


def simulated(tmp_path, seed, stream=False, **fields):
    """An image of a random network, and the report of a run on two inputs."""
    rng = np.random.default_rng([seed, 5])
    config = random_config(rng, **fields)
    network = random_network(rng, config)
    memory = streamed(rng, network, config) if stream else compile_network(network, config)
    image = CompiledNetwork(network, memory)
    codes = np.stack([random_codes(rng, network, 0.6) for _ in range(2)])
    codes = codes.reshape(-1, *codes.shape[-3:])
    with CycleBackend(image) as backend:
        simulation = backend.run(codes)
    report = build_report(simulation, str(tmp_path), "0" * 64)
    return image, codes, report


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(12))
def test_additions_follow_from_weights_and_activations(tmp_path, seed):
    """Strides, dilation, padding, pooling, groups, shared trits: all that random networks have."""
    image, codes, report = simulated(tmp_path, seed, skip_zero_activations=True)
    check_run(report, image)
    expected = nonzero_products(image.network, GoldenModel(image.network).run_all(codes))
    assert {layer.name: layer.counters["adds"] for layer in report.layers} == expected
    check_adds(report, image, expected)


@pytest.mark.compiles
@pytest.mark.parametrize("rows", [4, 8, 16])
def test_wide_additions(tmp_path, rows):
    """All of a layer's of wide groups alone, none of one of trits; of others a share that inputs
    decide, or about the one that weights have."""
    kinds = set()
    for seed in range(4):
        image, codes, report = simulated(tmp_path, seed, rows=rows, multipliers=True)
        products = count_products(image, codes, keep=False)
        check_adds(report, image, products.adds)
        exact, guessed = (run_events(report, image, known) for known in (products, None))
        for layer in image.network.layers:
            wide = {group.wide for group in layer.groups}
            kinds.add(frozenset(wide))
            for events in (exact, guessed):
                adds, found = (events[layer.name][name] for name in ("adds", "wide_adds"))
                assert 0 <= found <= adds
                if len(wide) == 1:
                    assert found == (adds if True in wide else 0)
            assert exact[layer.name]["wide_adds"] == pytest.approx(
                products.wide_adds[layer.name] / len(codes)
            )
    assert kinds == {frozenset({True}), frozenset({False}), frozenset({False, True})}


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(3))
def test_an_array_that_does_not_skip(tmp_path, seed):
    """It adds products of zero activations; zero trits it visits, but does not add."""
    image, codes, report = simulated(
        tmp_path, seed, skip_zero_activations=False, skip_zero_weights=bool(seed)
    )
    tensors = GoldenModel(image.network).run_all(codes)
    check_run(report, image)
    check_adds(report, image, nonzero_products(image.network, tensors, zeros=True))
    with pytest.raises(CostError, match="do not add up"):
        check_adds(report, image, nonzero_products(image.network, tensors))


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(3))
def test_streamed(tmp_path, seed):
    image, codes, report = simulated(tmp_path, seed, stream=True)
    check_run(report, image)
    expected = nonzero_products(image.network, GoldenModel(image.network).run_all(codes))
    check_adds(report, image, expected)


@pytest.mark.compiles
def test_one_addition_more(tmp_path):
    image, codes, report = simulated(tmp_path, 3)
    expected = nonzero_products(image.network, GoldenModel(image.network).run_all(codes))
    name = report.layers[-1].name
    expected[name] += 1
    with pytest.raises(CostError, match=rf"layer {name} do not add up: .* adds, but nonzero trits"):
        check_adds(report, image, expected)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("run"), 1, sets=1, clusters=2)


def broken(run, change):
    image, _, report = run
    document = copy.deepcopy(report.to_json())
    change(document)
    with pytest.raises(CostError) as caught:
        check_run(RunReport.from_json(document), image)
    return str(caught.value)


@pytest.mark.compiles
@pytest.mark.parametrize(
    "field, value, complaint",
    [
        ("configuration_identity", "f" * 64, "run is of configuration"),
        ("layer", "conv1", "run is of layer conv1 alone"),
        ("total_cycles", None, "which counts no events"),
        ("images", 0, "run has 0 images"),
        ("total_cycles", 1, "do not add up: the layers' cycles are"),
    ],
)
def test_another_run(run, field, value, complaint):
    assert complaint in broken(run, lambda report: report.__setitem__(field, value))


@pytest.mark.compiles
def test_other_layers(run):
    assert "the run has layers" in broken(run, lambda report: report["layers"].pop())


@pytest.mark.compiles
@pytest.mark.parametrize(
    "counter, value, complaint",
    [
        ("adds", -1, "counter adds of layer"),
        ("adds", 0, "0 adds of"),
        ("adds", 1 << 40, "adds by"),
        ("queue_writes", 1 << 40, "queue writes of"),
        ("broadcasts", 1 << 40, "cluster cycles, of"),
        ("stall_imbalance", 1 << 40, "cluster cycles, of"),
        ("skipped_activations", 1 << 40, "skipped activations of"),
        ("activation_reads", 0, "skipped activations of 0 words"),
        ("activation_reads", 1 << 40, "words read by walkers"),
        ("drain_steps", 1 << 40, "drain_steps is 1,099,511,627,776 in"),
        ("drain_steps", 0, "drain_steps is 0, the program makes"),
        ("result_writes", 1, "result_writes is 1, the program makes"),
        ("stall_refill", 1 << 40, "stall_refill is"),
        ("write_backs", 1 << 40, "write-backs to"),
        ("merge_reads", 1 << 20, "do not add up"),
    ],
)
def test_counters_that_cannot_be(run, counter, value, complaint):
    def change(report):
        report["layers"][0]["counters"][counter] = value

    assert complaint in broken(run, change)


@pytest.mark.compiles
def test_missing_counter(run):
    assert "counter merge_reads of layer" in broken(
        run, lambda report: report["layers"][0]["counters"].pop("merge_reads")
    )


@pytest.mark.compiles
def test_cycles_of_images(run):
    def change(report):
        report["layers"][0]["cycles_per_image"][0] += 1

    assert "those of its images are not" in broken(run, change)
