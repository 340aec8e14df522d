"""What a page derives from an estimate."""

import math

import numpy as np
import pytest

from tests.tritforge.report.synthetic import ALEXNET, DIGITS, documents, drawn_kernels
from tritforge.model_export.network import ColumnGroup, Layer, Network
from tritforge.report.facts import Derived, derive, kernels_of


@pytest.mark.parametrize("streamed", [False, True])
def test_ledger_adds_up_to_the_energy(streamed):
    """All energy is in the terms: nothing is missing, nothing counted twice."""
    estimate, run, image = documents(DIGITS, "tiny", streamed=streamed)
    derived = derive(estimate, run, image).to_json()
    for key in ("low", "typical", "high"):
        sums = {}
        for term, entry in zip(estimate.terms, derived["ledger"], strict=True):
            name = term.component
            sums[name] = sums.get(name, 0.0) + entry["pj"][key]
        for name, value in sums.items():
            assert math.isclose(
                value, getattr(estimate.energy.components[name], key), rel_tol=1e-9
            ), name


def test_rates_and_shares():
    estimate, run, image = documents(ALEXNET)
    derived = derive(estimate, run, image).to_json()
    assert derived["frames_per_second"]["typical"] == pytest.approx(800e6 / estimate.cycles)
    assert derived["adds"] == pytest.approx(sum(ALEXNET.values()))
    assert derived["utilization"] == pytest.approx(sum(ALEXNET.values()) / (512 * estimate.cycles))
    assert sum(one["cycle_share"] for one in derived["layers"]) == pytest.approx(1)
    for one in derived["layers"]:
        assert sum(one["cause_shares"].values()) == pytest.approx(1)
    assert derived["component_shares"]["off chip"] is None
    assert sum(one or 0 for one in derived["component_shares"].values()) == pytest.approx(1)


def test_roofline():
    """Bandwidths of the preset: 32 trit memories of 64 bytes, 8 activation memories of 8."""
    estimate, run, image = documents(ALEXNET)
    roof = derive(estimate, run, image).to_json()["roofline"]
    assert roof["peak_adds_per_cycle"] == 512
    assert (roof["trit_bytes_per_cycle"], roof["activation_bytes_per_cycle"]) == (2048, 64)
    assert roof["on_chip_bytes_per_cycle"] == 2112 and roof["host_bytes_per_cycle"] == 4
    layer, events = roof["layers"][0], estimate.layers[0].events
    assert layer["on_chip_bytes"] == pytest.approx(
        64 * events["broadcasts"] + 8 * events["activation_reads"]
    )
    assert layer["adds_per_host_byte"] is None
    assert layer["adds_per_packed_byte"] == pytest.approx(
        events["adds"] / image.layers[0].packed_bytes
    )


def test_derived_comes_back():
    derived = derive(*documents(DIGITS, "tiny"), [drawn_kernels()])
    assert Derived.from_json(derived.to_json()).to_json() == derived.to_json()


def test_nothing_at_all():
    estimate, run, image = documents({"pool": 0.0}, "tiny")
    derived = derive(estimate, run, image, [drawn_kernels()]).to_json()
    assert derived["utilization"] == 0
    assert derived["roofline"]["layers"][0]["adds_per_on_chip_byte"] is None
    assert derived["kernels"][0]["shown"] == [16, 12, 3, 3]


def layer(name, kind, shape, groups=1, weights=10, step=0.0):
    trits = np.ones(shape, np.int8)
    return Layer(
        name,
        kind,
        name,
        shape[0],
        1,
        1,
        [ColumnGroup("input", (0, shape[1]), (0, shape[0]), trits, shape[2:], 1.0, 1.0, step=step)]
        * groups,
        np.ones(shape[0]),
        np.zeros(shape[0]),
        weight_count=weights,
    )


def test_which_kernels():
    """The first ternary convolutions; where there is none, another ternary layer."""
    planes = layer("planes", "conv", (4, 2, 3, 3), groups=8, step=0.5)
    convs = [layer(name, "conv", (64, 40, 3, 3)) for name in "abc"]
    linear = layer("fc", "linear", (200, 300, 1, 1))
    pool = layer("pool", "pool", (4, 4, 2, 2), weights=0)
    found = kernels_of(Network("n", "input", {}, [planes, *convs, pool, linear]))
    assert [one.layer for one in found] == ["a", "b"]
    assert found[0].trits.shape == (16, 32, 3, 3) and found[0].shape == (64, 40, 3, 3)
    found = kernels_of(Network("n", "input", {}, [planes, pool, linear]))
    assert [(one.layer, one.trits.shape) for one in found] == [("fc", (48, 96, 1, 1))]
    assert found[0].zero == 0
    assert kernels_of(Network("n", "input", {}, [planes, pool])) == []
