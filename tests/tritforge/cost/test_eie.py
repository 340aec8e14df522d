"""EIE: encoding, time and energy by hand and by brute force, and what the comparison measures."""

import json
from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from tritforge.cost.band import Band, total
from tritforge.cost.errors import CostError
from tritforge.cost.published import eie
from tritforge.cost.published.eie import cycles_of, entries_of, expected_entries, simulate
from tritforge.cost.published.eie_figures import LAYERS, PUBLISHED, Layer
from tritforge.cost.technology import Technology
from tritforge.cost.technology_file import load_technology

#: Model over published actual time with seed 0: at published densities, at published entries.
MEASURED = {
    "Alex-6": (0.951, 0.960),
    "Alex-7": (1.048, 0.989),
    "Alex-8": (0.826, 0.967),
    "VGG-6": (0.730, 0.869),
    "VGG-7": (0.957, 0.983),
    "VGG-8": (0.985, 0.956),
    "NT-We": (0.937, 0.978),
    "NT-Wd": (0.973, 0.994),
    "NT-LSTM": (0.891, 0.923),
}


@pytest.fixture(scope="module")
def technology() -> Technology:
    return load_technology("45nm")


@pytest.fixture(scope="module")
def result(technology):
    comparison = eie.compare(technology)
    assert eie.Comparison.from_json(comparison.to_json()) == comparison
    return comparison.to_json()


# ----- encoding


def encode(column: list[int]) -> list[tuple[int, int]]:
    """Entries (zeros before, weight) of a part of a column, one at a time."""
    entries, zeros = [], 0
    for weight in column:
        if weight == 0:
            zeros += 1
            continue
        while zeros > 15:
            entries.append((15, 0))
            zeros -= 16
        entries.append((zeros, weight))
        zeros = 0
    return entries


def decode(entries: list[tuple[int, int]], rows: int) -> list[int]:
    column, row = [0] * rows, 0
    for zeros, weight in entries:
        row += zeros
        column[row] = weight
        row += 1
    return column


@pytest.mark.parametrize(
    ("zeros", "entries"), [(0, 1), (15, 1), (16, 2), (18, 2), (31, 2), (32, 3), (48, 4)]
)
def test_a_weight_after_more_than_15_zeros_takes_padding(zeros, entries):
    column = np.zeros((zeros + 1, 1), bool)
    column[-1] = True
    assert entries_of(column).tolist() == [entries]


def test_zeros_at_the_end_take_no_entries():
    column = np.zeros((64, 2), bool)
    column[0, 1] = True
    assert entries_of(column).tolist() == [0, 1]


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
def test_entries_are_those_of_an_encoder_whose_output_decodes(density):
    weights = (np.random.default_rng(3).random((70, 40)) < density).astype(int)
    encoded = [encode(column) for column in weights.T.tolist()]
    for entries, column in zip(encoded, weights.T.tolist(), strict=True):
        assert decode(entries, 70) == column
        assert all(0 <= zeros <= 15 for zeros, _ in entries)
    assert entries_of(weights != 0).tolist() == [len(entries) for entries in encoded]


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 18])
def test_expected_entries_are_the_mean_over_all_columns(rows):
    patterns = np.arange(2**rows)
    nonzero = (patterns >> np.arange(rows)[:, None] & 1).astype(bool)
    ones = nonzero.sum(axis=0)
    density = 0.07
    chance = density**ones * (1 - density) ** (rows - ones)
    assert expected_entries(rows, density) == pytest.approx(
        float(np.sum(chance * entries_of(nonzero))), rel=1e-12
    )


def test_the_density_gives_the_entries_of_the_theoretical_time():
    for layer in LAYERS:
        timing = simulate(layer, eie.density_for(layer))
        assert timing.theoretical_us == pytest.approx(layer.theoretical_us, rel=0.002)


# ----- time


def cycle_by_cycle(costs: np.ndarray, depth: int) -> int:
    """Cycles until all is done, with queues that are filled and worked on cycle by cycle."""
    count, elements = costs.shape
    queues: list[deque[int]] = [deque() for _ in range(elements)]
    sent, cycle = 0, 0
    while sent < count or any(queues):
        free = all(len(queue) < depth for queue in queues)
        for queue in queues:
            if queue:
                queue[0] -= 1
                if queue[0] == 0:
                    queue.popleft()
        if free and sent < count:
            for queue, cost in zip(queues, costs[sent].tolist(), strict=True):
                queue.append(cost)
            sent += 1
        cycle += 1
    return cycle


def test_one_element_works_without_pause():
    # One cycle to broadcast the first, then 3 + 1 + 2.
    assert cycles_of(np.array([[3], [1], [2]])) == 7


def test_a_queue_of_one_waits_for_the_slowest_of_each_column():
    # (1 + 4) + (1 + 3): the broadcast waits until both are done.
    assert cycles_of(np.array([[4, 1], [1, 3]]), queue=1) == 9
    # With two places the second element goes on: 1 + 1 + 3, the first takes 1 + 4 + 1.
    assert cycles_of(np.array([[4, 1], [1, 3]]), queue=2) == 6


def test_a_full_queue_stops_the_broadcast_for_all():
    # The third can be broadcast in cycle 11, when the first element is done with the first; the
    # second element has nothing to do until then.
    costs = np.array([[10, 1], [1, 1], [1, 5]])
    assert cycles_of(costs, queue=2) == 11 + 1 + 5
    assert cycles_of(costs, queue=3) == 1 + 10 + 1 + 1


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_the_recurrence_is_the_cycle_by_cycle_machine(depth):
    rng = np.random.default_rng(depth)
    for _ in range(40):
        costs = np.maximum(rng.poisson(2, (rng.integers(1, 40), rng.integers(1, 6))), 1)
        assert cycles_of(costs, depth) == cycle_by_cycle(costs, depth)


def test_a_dense_layer_takes_its_rows_and_empty_parts_a_cycle():
    # Outputs in batches of 4096 and 4: 10 columns of 64 rows, then 10 of one row in four elements
    # and of none in sixty.
    timing = simulate(Layer("", 10, 4100, 1.0, 1.0, 1, 1), 1.0)
    assert timing.cycles == (1 + 10 * 64) + (1 + 10)
    assert timing.entries == timing.weights == 10 * 4100
    assert timing.empty_parts == 10 * 60
    assert timing.parts == 2 * 10 * 64
    # 64 entries touch 71 / 8 words on average, one entry one word.
    assert timing.words == 10 * (64 * 71 / 8 + 4)


def test_inputs_beyond_the_registers_come_in_batches():
    timing = simulate(Layer("", 5000, 64, 1.0, 1.0, 1, 1), 1.0)
    assert timing.cycles == (1 + 4096) + (1 + 904)


def test_a_seed_repeats_and_another_differs():
    layer = LAYERS[8]
    assert simulate(layer, 0.1, 1) == simulate(layer, 0.1, 1)
    assert simulate(layer, 0.1, 1) != simulate(layer, 0.1, 2)


# ----- energy and area


def test_an_element_that_only_waits_is_clocked_and_leaks(technology):
    idle = eie.Timing(cycles=100, weights=0, entries=0, parts=0, empty_parts=0, words=0)
    energy = eie.element_energy(technology, idle)
    queue_bits = 8 * 28
    leakage = (
        technology["register_file_area"] * queue_bits * technology["logic_leakage"] * (1e3 / 800)
    )
    assert energy["Act queue"] == leakage
    assert energy["PtrRead"].typical == pytest.approx(
        2 * 0.135 * 1e3 / 800 + 32 * 14.3e-3 + 32 * 4.522 * 19e-6 * 1e3 / 800
    )


def test_energy_of_reads_follows_events(technology):
    one = eie.Timing(cycles=100, weights=0, entries=3200, parts=640, empty_parts=0, words=640)
    more = replace(one, words=1280)
    low, high = (eie.memory_energy(technology, timing)["SpmatRead"] for timing in (one, more))
    # 0.1 words more for each of 6400 element-cycles, of 15.4 pJ.
    assert high.typical - low.typical == pytest.approx(1.54)
    assert eie.memory_energy(technology, one)["PtrRead"].typical == pytest.approx(
        2 * (0.1 * 4.16 + 0.135 * 1e3 / 800)
    )


def test_an_entry_multiplies_adds_and_writes_flip_flops(technology):
    # Half an entry and a tenth of an activation in each of 6400 element-cycles.
    timing = eie.Timing(cycles=100, weights=0, entries=3200, parts=640, empty_parts=0, words=640)
    idle = replace(timing, entries=0, parts=0, words=0)
    busy, still = (eie.element_energy(technology, one) for one in (timing, idle))
    figure = {name: technology[name].typical for name in technology.figures}
    written = figure["register_bit"] - figure["clock_bit"]
    assert busy["ArithmUnit"].typical - still["ArithmUnit"].typical == pytest.approx(
        0.5
        * (
            256 * figure["multiply_bit2"]
            + 22 * figure["add_bit"]
            + 16 * figure["register_file_read"]
            + 82 * written
        )
    )
    assert busy["PtrRead"].typical - still["PtrRead"].typical == pytest.approx(
        0.1 * (2 * 4.16 + 32 * written)
    )
    assert busy["SpmatRead"].typical - still["SpmatRead"].typical == pytest.approx(
        0.1 * 15.4
        + 64 * 0.1 * written
        + 0.5
        * (16 * written + 16 * figure["add_bit"] + 24 * figure["select_bit"] * figure["toggle"])
    )
    assert busy["ActRW"].typical - still["ActRW"].typical == pytest.approx(
        0.5 * (16 * (figure["register_file_read"] + figure["register_file_write"]) + 22 * written)
    )
    assert busy["Act queue"].typical - still["Act queue"].typical == pytest.approx(
        0.1 * 28 * (figure["register_file_read"] + figure["register_file_write"])
    )


def test_units_add_up_to_the_element(result):
    for unit in ("mW", "um2"):
        parts = {row["name"]: row["model"] for row in result["parts"] if row["unit"] == unit}
        units = total(Band(**parts[name]) for name in PUBLISHED)
        whole = Band(**parts["total"])
        if unit == "mW":
            assert whole.to_json() == pytest.approx(units.to_json())
        else:
            memory = Band(**parts["memory"])
            cells = units.typical - memory.typical
            assert whole.typical == pytest.approx(memory.typical + cells / 0.55)
            assert whole.low < whole.typical < whole.high


@pytest.mark.compiles
def test_published_units_add_up_to_the_published_element():
    assert sum(power for power, _ in PUBLISHED.values()) == pytest.approx(9.157, abs=0.002)
    filler = 23_961
    assert sum(area for _, area in PUBLISHED.values()) + filler == 638_024


def test_a_technology_without_the_memories_is_refused():
    with pytest.raises(
        CostError,
        match=r"^technology file 65nm\.toml has no memory of 512 x 32 "
        r"bits, which a published machine needs$",
    ):
        eie.compare(load_technology("65nm"))


# ----- what is measured


def test_layers_come_out_as_documented(result):
    for row in result["layers"]:
        ratios = (row["densities"]["ratio"], row["entries"]["ratio"])
        assert ratios == pytest.approx(MEASURED[row["name"]], abs=0.001)


def test_which_layers_miss_by_more_than_a_tenth(result):
    def missed(variant: str) -> list[str]:
        return [row["name"] for row in result["layers"] if abs(row[variant]["ratio"] - 1) > 0.1]

    assert missed("densities") == ["Alex-8", "VGG-6", "NT-LSTM"]
    assert missed("entries") == ["VGG-6"]


def test_a_queue_of_eight_is_where_more_brings_little(result):
    # The paper: about half of the cycles idle at a depth of 1, diminishing returns beyond 8.
    balance = {row["depth"]: row["balance"] for row in result["queue"]}
    assert balance[1] == pytest.approx(0.5, abs=0.05)
    assert sorted(balance.values()) == list(balance.values())
    assert balance[8] - balance[1] > 0.4
    assert balance[32] - balance[8] < 0.02


def test_parts_within_and_outside_their_bands(result):
    outside = {(row["name"], row["unit"]) for row in result["parts"] if not row["within"]}
    assert outside == {("SpmatRead", "um2"), ("ArithmUnit", "mW")}
    for row in result["parts"]:
        assert row["within"] == Band(**row["model"]).contains(row["published"])


def test_the_comparison_is_json(result):
    assert json.loads(json.dumps(result)) == result
