"""The whole estimate: sums, densities, baselines, runs of others, another configuration."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from tests.common.documents import broken, every_place
from tests.model_export.networks import compile_network, random_codes, random_network, streamed
from tests.tritforge.cost.mini import MINI
from tritforge.common.json_types import JsonError
from tritforge.cost.components import COMPONENTS
from tritforge.cost.counts import HOST
from tritforge.cost.errors import CostError
from tritforge.cost.estimate import estimate, recompiled, run_estimate
from tritforge.cost.results import Estimate
from tritforge.flows.inputs import read_inputs
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.image.folder import load_image, write_image
from tritforge.sim.backend import CycleBackend
from tritforge.sim.report import build_report

#: Seconds of simulation, or of programs that are started: not a part of `make check`.
pytestmark = pytest.mark.long

KEYS = ("low", "typical", "high")


def made(tmp_path, seed=4, stream=False):
    rng = np.random.default_rng(seed)
    network = random_network(rng, MINI)
    memory = streamed(rng, network, MINI) if stream else compile_network(network, MINI)
    image = load_image(write_image(tmp_path / "image", CompiledNetwork(network, memory)))
    codes = np.stack([random_codes(rng, network, 0.6) for _ in range(3)])
    return image, codes.reshape(-1, *codes.shape[-3:])


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return made(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def document(example, technology):
    return estimate(*example, technology, codes=True).to_json()


def test_document(document):
    """It comes back from JSON as it was; a value of another type is refused wherever it stands."""
    report = Estimate.from_json(document)
    assert report.to_json() == document
    without = Estimate.from_json(document | {"baselines": {}})
    assert without.baselines is None and without.to_json()["baselines"] == {}
    refused = 0
    for path in every_place(document):
        # one figure and one term are as good as all
        if path[0] not in ("technology", "terms") or path[1:2] in ((0,), ("name",)):
            with pytest.raises(JsonError):
                Estimate.from_json(broken(document, path))
            refused += 1
    assert refused > 500


def test_document_that_lacks_a_field(document):
    for key in document:
        with pytest.raises(JsonError, match=f"lacks '{key}'"):
            Estimate.from_json({name: document[name] for name in document if name != key})


def add(bands):
    bands = list(bands)
    return {key: sum(band[key] for band in bands) for key in KEYS}


@pytest.mark.compiles
def test_sums(document):
    """Layers and the host add up to the whole, components to each, at either end of the band."""
    json.dumps(document, allow_nan=False)
    rows = [*document["layers"], document["host"]]
    assert document["host"]["name"] == HOST
    for component in COMPONENTS:
        assert add(row["components"][component] for row in rows) == pytest.approx(
            document["energy"]["components"][component]
        )
    for row in [*rows, document["energy"]]:
        assert add(
            band for name, band in row["components"].items() if name != "off chip"
        ) == pytest.approx(row["on_chip"])
        assert row["components"]["off chip"] == row["off_chip"]
    everything = document["totals"]["all layers"]
    assert add(layer["on_chip"] for layer in document["layers"]) == pytest.approx(
        everything["on_chip"]
    )
    adds = sum(layer["events"]["adds"] for layer in document["layers"])
    assert everything["adds"] == adds > 0
    assert everything["pj_per_add"] == pytest.approx(
        {key: everything["on_chip"][key] / adds for key in KEYS}
    )


@pytest.mark.compiles
def test_energy_is_terms_times_events(document):
    """From the JSON alone: what it says of terms and events gives its energies."""
    for row in [*document["layers"], document["host"]]:
        for component in COMPONENTS:
            for key in KEYS:
                assert row["components"][component][key] == pytest.approx(
                    sum(
                        term["pj_per_event"][key] * row["events"].get(term["event"], 0)
                        for term in document["terms"]
                        if term["component"] == component
                    )
                )


@pytest.mark.compiles
def test_densities(document, example):
    image, codes = example
    assert document["adds_checked"]
    first = document["layers"][0]
    assert first["activation_density"] == pytest.approx(np.mean(codes != 0))
    for layer, one in zip(image.network.layers, document["layers"], strict=True):
        trits = np.concatenate([group.trits.ravel() for group in layer.groups])
        assert one["weight_density"] == pytest.approx(np.mean(trits != 0))
        assert 0 <= one["broadcast_density"] <= 1


@pytest.mark.compiles
def test_power(document):
    everything, clock = document["energy"], document["clock_mhz"]["typical"]
    assert document["microseconds"] == pytest.approx(document["cycles"] / clock)
    # pJ over us is uW
    assert document["average_power_mw"]["typical"] == pytest.approx(
        everything["on_chip"]["typical"] / document["microseconds"] / 1e3
    )


@pytest.mark.compiles
def test_baselines(document):
    """Nothing skipped takes more cycles and more energy; dense units multiply every weight."""
    plain, dense, reused = (
        document["baselines"][name] for name in ("without_skipping", "dense", "dense_reused")
    )
    assert plain["cycles"] > document["cycles"]
    assert plain["times_energy"]["typical"] > 1
    assert [layer["name"] for layer in plain["layers"]] == [
        layer["name"] for layer in document["layers"]
    ]
    macs = sum(layer["mac_count"] for layer in document["layers"])
    assert dense["cycles"] == pytest.approx(macs / MINI.adders)
    (term,) = (
        term
        for term in dense["terms"]
        if term["component"] == "scalers" and term["event"] == "macs"
    )
    assert dense["components"]["scalers"]["typical"] == pytest.approx(
        macs * term["pj_per_event"]["typical"]
    )
    # a weight is read for each multiplication, or once
    (term,) = (term for term in dense["terms"] if term["event"] == "weight_reads")
    weights = sum(layer["weights"] for layer in document["layers"])
    assert dense["components"]["trit memory"]["typical"] == pytest.approx(
        macs / MINI.elements * term["pj_per_event"]["typical"]
    )
    assert reused["components"]["trit memory"]["typical"] == pytest.approx(
        weights / MINI.elements * term["pj_per_event"]["typical"]
    )
    for one in (dense, reused):  # it has no use for trits, and its input is not a layer's
        assert one["off_chip"]["high"] == one["components"]["host port"]["high"] == 0


@pytest.mark.compiles
def test_a_run_gives_the_same(document, example, technology):
    """Its counters are those of the cycle model; with the inputs they are compared too."""
    image, codes = example
    with CycleBackend(image) as backend:
        simulation = backend.run(codes)
    report = build_report(simulation, str(image.path), image.manifest.manifest_sha256)
    with pytest.raises(CostError, match="run is of another image"):
        run_estimate(dataclasses.replace(report, image_manifest_sha256="1" * 64), image, technology)
    for inputs in (None, codes):
        found = run_estimate(report, image, technology, codes=inputs, baselines=True).to_json()
        for layer, other in zip(found["layers"], document["layers"], strict=True):
            assert layer["components"] == other["components"]
            assert layer["events"] == other["events"]
        assert found["adds_checked"] == (inputs is not None)
        assert bool(found["baselines"]) == (inputs is not None)
    other = copy.deepcopy(report)
    layer = next(one for one in other.layers if one.counters["adds"] > 1)
    layer.counters["adds"] -= 1
    with pytest.raises(CostError, match="nonzero trits meet nonzero activations"):
        run_estimate(other, image, technology, codes=codes)
    with pytest.raises(CostError, match="run is of 3 images, the input has 2"):
        run_estimate(report, image, technology, codes=codes[:2])
    given = read_inputs(image, codes, codes=True)
    told = dataclasses.replace(report, input=given.facts)
    assert run_estimate(told, image, technology, codes=given.codes).adds_checked
    for inputs, words in (
        (codes[::-1], "of other inputs than these"),
        (codes[:2], "run is of 3 images, the input has 2"),
    ):
        with pytest.raises(CostError, match=words):
            run_estimate(told, image, technology, codes=inputs.astype(np.int64))


@pytest.mark.compiles
def test_clock(document, example, technology):
    slow = estimate(*example, technology, codes=True, clock=80.0, baselines=False).to_json()
    assert slow["baselines"] == {}
    assert slow["microseconds"] == pytest.approx(10 * document["microseconds"])
    for one, other in zip(slow["layers"], document["layers"], strict=True):
        assert one["dynamic"] == pytest.approx(other["dynamic"])
        assert one["components"]["leakage"]["typical"] == pytest.approx(
            10 * other["components"]["leakage"]["typical"]
        )


@pytest.mark.compiles
def test_streamed(tmp_path, technology, area, monkeypatch):
    """All that is sent in a run is counted off the chip, 32 bits a word."""
    monkeypatch.setattr("tritforge.cost.estimate.measure_area", lambda *args, **options: area)
    image, codes = made(tmp_path, stream=True)
    found = estimate(image, codes, technology, codes=True, baselines=False).to_json()
    assert found["loading"] is None
    schedule = image.memory.schedule
    words = sum(
        sum(schedule.port_words(image.config, schedule.of_layer(layer.name)))
        for layer in image.network.layers
    )
    counted = sum(
        layer["events"][name]
        for layer in found["layers"]
        for name in ("sent_trit_words", "sent_activation_words", "read_words")
    )
    assert counted == words > 0
    assert add(layer["off_chip"] for layer in found["layers"])["low"] == pytest.approx(
        words * 32 * technology["off_chip"].low
    )


@pytest.mark.compiles
def test_another_configuration(example, technology, area, monkeypatch):
    monkeypatch.setattr("tritforge.cost.estimate.measure_area", lambda *args, **options: area)
    image, codes = example
    assert recompiled(image, image.config, codes) is image
    wide = dataclasses.replace(MINI, name="wide", elements=4, trit_depth=512)
    other = recompiled(image, wide, codes)
    assert other.config == wide
    found = estimate(image, codes, technology, codes=True, config=wide, baselines=False).to_json()
    assert found["image_manifest_sha256"] == image.manifest.manifest_sha256
    assert found["adders"] == 8
    assert found["adds_checked"]
    narrow = dataclasses.replace(MINI, name="narrow", coefficient_width=2)
    with pytest.raises(CostError, match=r"compiled for configuration narrow as it is: .*; export"):
        recompiled(image, narrow, codes)
