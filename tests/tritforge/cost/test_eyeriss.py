"""Eyeriss: events by hand, sums, and what the comparison measures."""

import json
from dataclasses import replace

import pytest

from tritforge.cost.band import Band, total
from tritforge.cost.errors import CostError
from tritforge.cost.published import eyeriss
from tritforge.cost.published.eyeriss_figures import (
    BANKS,
    COMPONENTS,
    ELEMENTS,
    LAYERS,
    PUBLISHED_PJ_PER_MAC,
    Layer,
)
from tritforge.cost.technology import Technology
from tritforge.cost.technology_file import load_technology

#: Typical value over published energy.
MEASURED = {"CONV1": 0.566, "CONV2": 0.642, "CONV3": 0.671, "CONV4": 0.741, "CONV5": 0.772}


@pytest.fixture(scope="module")
def technology() -> Technology:
    return load_technology("65nm")


@pytest.fixture(scope="module")
def result(technology):
    comparison = eyeriss.compare(technology)
    assert eyeriss.Comparison.from_json(comparison.to_json()) == comparison
    return comparison.to_json()


def layer(name: str) -> Layer:
    return next(one for one in LAYERS if one.name == name)


# ----- what was published is consistent


def test_shapes_give_the_published_multiplications():
    published = {"CONV1": 0.42, "CONV2": 0.90, "CONV3": 0.60, "CONV4": 0.45, "CONV5": 0.30}
    assert {one.name: round(one.macs / 1e9, 2) for one in LAYERS} == published
    assert layer("CONV1").macs == 4 * 96 * 3 * 11 * 11 * 55 * 55


def test_layers_add_up_to_the_published_totals():
    layers = LAYERS
    assert sum(one.total_ms for one in layers) == pytest.approx(115.3)
    assert sum(one.processing_ms for one in layers) == pytest.approx(103.5)
    assert sum(one.buffer_mb for one in layers) == pytest.approx(208.5, abs=0.15)
    energy = sum(one.energy_mj for one in layers)
    assert energy == pytest.approx(0.278 * 115.3, rel=0.002)
    macs = sum(one.macs for one in layers)
    assert energy * 1e9 / macs == pytest.approx(PUBLISHED_PJ_PER_MAC, abs=0.05)


def test_memories_are_the_published_ones():
    weights = ELEMENTS * 224 * 2
    assert BANKS * 4096 + weights == 181.5 * 1024
    assert ELEMENTS == 168


# ----- events


def test_events_of_a_layer_by_hand(technology):
    one = layer("CONV3")
    macs = 4 * 384 * 256 * 9 * 169
    live = macs * 0.275
    energy = eyeriss.layer_energy(technology, one)
    figure = {name: technology[name].typical for name in technology.figures}
    assert energy["multiplication"].typical == pytest.approx(
        live * (256 * figure["multiply_bit2"] + 16 * figure["add_bit"]) / 1e9
    )
    # An input serves 16 filters at 3 positions.
    assert energy["input pad"].typical == pytest.approx(
        16 * macs * (figure["register_file_read"] + figure["register_file_write"] / 48) / 1e9
    )
    # A weight serves 13 outputs of 4 images; 0.8164 and 2.235 pJ of 256 x 16 bits.
    assert energy["weight pad"].typical == pytest.approx((live * 0.8164 + macs / 52 * 2.235) / 1e9)
    assert energy["sum pad"].typical == pytest.approx(
        16 * macs * (figure["register_file_read"] + figure["register_file_write"]) / 1e9
    )
    assert energy["sum pad"].low == pytest.approx(
        16
        * live
        * (technology["register_file_read"].low + technology["register_file_write"].low)
        / 1e9
    )
    # 4.18 and 15.65 pJ of 512 x 64 bits, half each.
    assert energy["buffer"].typical == pytest.approx(50.2e6 / 8 * (4.18 + 15.65) / 2 / 1e9)
    assert energy["network"].typical == pytest.approx(
        (50.2e6 * 8 * 7 + 16 * macs / 12 * 0.25) * 0.23 * 0.5 / 1e9
    )


def test_zeros_save_multiplications_and_weights_but_not_inputs(technology):
    dense, zero = (replace(layer("CONV2"), zeros=share) for share in (0.0, 1.0))
    before, after = (eyeriss.layer_energy(technology, one) for one in (dense, zero))
    assert after["multiplication"] == Band.exact(0)
    assert after["weight pad"].typical < before["weight pad"].typical / 10
    assert after["input pad"] == before["input pad"]
    assert after["sum pad"].low == 0
    assert after["sum pad"].high == before["sum pad"].high


def test_leakage_and_clock_take_the_total_time(technology):
    short, long = (replace(layer("CONV5"), total_ms=time, zeros=1.0) for time in (10.5, 21.0))
    before, after = (eyeriss.layer_energy(technology, one) for one in (short, long))
    for name in ("leakage", "flip-flops"):
        assert after[name].to_json() == pytest.approx((before[name] * 2).to_json())
    assert before["flip-flops"].typical == pytest.approx(
        168 * 240 * 10.5e-3 * 200e6 * technology["clock_bit"].typical / 1e9
    )


def test_a_technology_without_the_memories_is_refused():
    with pytest.raises(
        CostError,
        match=r"^technology file 45nm\.toml has no memory of 256 x 16 "
        r"bits, which a published machine needs$",
    ):
        eyeriss.compare(load_technology("45nm"))


# ----- what is measured


def test_components_add_up_to_layers_and_layers_to_the_whole(result):
    layers = []
    for row in result["layers"]:
        assert tuple(row["components_mj"]) == COMPONENTS
        model = total(Band(**band) for band in row["components_mj"].values())
        assert row["model_mj"] == pytest.approx(model.to_json())
        layers.append(model)
    power = next(row for row in result["parts"] if row["name"] == "power")
    assert power["model"] == pytest.approx((total(layers) * (1e3 / 115.3)).to_json())


def test_layers_come_out_as_documented(result):
    assert {row["name"]: row["ratio"] for row in result["layers"]} == pytest.approx(
        MEASURED, abs=0.001
    )
    # Bands hold what was measured, and typical values lie below it everywhere.
    for row in result["layers"]:
        assert row["within"]
        assert row["model_mj"]["low"] < row["published_mj"] < row["model_mj"]["high"]
        assert row["ratio"] < 0.8


@pytest.mark.compiles
def test_the_core_is_larger_than_its_gates_and_memories_placed(result):
    within = {row["name"]: row["within"] for row in result["parts"]}
    assert within == {"energy": True, "power": True, "area": False}
    area = next(row for row in result["parts"] if row["name"] == "area")
    assert area["published"] > 2 * area["model"]["high"]


def test_a_multiplication_a_cycle_is_a_bound_of_the_time(result):
    for row in result["layers"]:
        assert 0.8 < row["time_ratio"] < 1


def test_the_comparison_is_json(result):
    assert json.loads(json.dumps(result)) == result
