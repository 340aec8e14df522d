"""Least cycles: each part's work over what it does in a cycle, and their greatest."""

import dataclasses

import numpy as np
import pytest

from tritforge.hw.presets import PRESETS
from tritforge.hw.program import COUNTERS
from tritforge.model_export.network import ColumnGroup, Layer, Pool
from tritforge.sim.bounds import (
    PARTS,
    drained_values,
    layer_least,
    least_cycles,
    needed_cycles,
)

CONFIG = PRESETS["ulx3s_85f"]
NOTHING = dict.fromkeys(COUNTERS, 0)


def layer(height, width, pool=None):
    group = ColumnGroup("input", (0, 1), (0, 3), np.ones((3, 1, 1, 1), np.int8), (1, 1), 1.0, 1.0)
    return Layer(
        "one", "conv", "out", 3, height, width, [group], np.ones(3), np.zeros(3), pool=pool
    )


@pytest.mark.parametrize(
    ("counts", "values", "words", "part", "cycles"),
    [
        ({"adds": 8 * CONFIG.adders + 1}, 0, 0, "adders", 9),
        ({"broadcasts": 10 * CONFIG.cluster_count}, 0, 0, "broadcasts", 10),
        ({}, CONFIG.drain_width + 1, 0, "drain", 2),
        ({"write_backs": 50, "merge_reads": 33}, 0, 0, "write-backs", 3),
        ({}, 0, 77, "port", 77),
    ],
)
def test_every_part_has_its_work(counts, values, words, part, cycles):
    needed = needed_cycles(CONFIG, NOTHING | counts, values, words)
    assert needed == dict.fromkeys(PARTS, 0) | {part: cycles}


def test_control_and_scanning_are_in_no_part():
    spent = {name: 10**6 for name in COUNTERS if name.startswith("stall_")}
    spent |= {"empty_scans": 10**6, "cycles": 10**6, "drain_steps": 10**6}
    assert set(needed_cycles(CONFIG, NOTHING | spent, 0).values()) == {0}


def test_words_may_be_sent_while_other_layers_compute():
    one = {"adders": 5, "broadcasts": 7, "drain": 2, "port": 100}
    other = {"adders": 9, "broadcasts": 1, "drain": 2, "port": 0}
    assert [layer_least(one), layer_least(other)] == [7, 9]
    assert least_cycles([one, other]) == 100
    del one["port"], other["port"]
    assert least_cycles([one, other]) == 14 < layer_least(one) + layer_least(other)
    assert least_cycles([]) == least_cycles([{}]) == 0


def test_pixels_that_nothing_takes_are_not_drained():
    assert drained_values(layer(6, 5)) == 3 * 30
    pool = Pool((1, 2), (2, 2), (0, 0), 3, 2)
    assert drained_values(layer(6, 5, pool)) == 3 * 3 * 4
    overlapping = Pool((3, 3), (2, 2), (1, 1), 3, 3)
    assert drained_values(dataclasses.replace(layer(6, 5), pool=overlapping)) == 3 * 6 * 5
