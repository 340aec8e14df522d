"""The sentence on what a run is bound by."""

import pytest

from tritforge.hw.presets import PRESETS
from tritforge.hw.program import COUNTERS
from tritforge.sim.result import CLUSTER_CYCLES, LayerRun
from tritforge.sim.verdict import CAUSES, cause_of_kind, verdict

CONFIG = PRESETS["ulx3s_85f"]


def run(kind="conv", macs=1000, planes=False, cycles=100, **counters):
    """A layer of one image; counters that are not given are 0, so that clusters are idle."""
    layer = LayerRun("one", kind, 4, (1, 1), macs, planes)
    layer.add(dict.fromkeys(COUNTERS, 0) | {"cycles": cycles} | counters)
    return layer


def test_causes_add_up_to_the_cycles():
    clusters = CONFIG.cluster_count
    layer = run(
        broadcasts=40 * clusters,
        stall_queue_full=10 * clusters,
        adds=30 * CONFIG.adders,
        empty_scans=5 * clusters,
        stall_imbalance=6 * clusters,
        stall_drain=7 * clusters,
        stall_refill=20,
    )
    spent = layer.causes(CONFIG)
    assert spent == pytest.approx(
        {
            "adders": 30,
            "broadcasts": 20,
            "empty words": 5,
            "imbalance": 6,
            "drain": 7,
            "host port": 20,
            "sequencer": 12,
        }
    )
    assert set(spent) <= set(CAUSES)
    assert sum(layer.cluster_cycles(CONFIG).values()) == 100 * clusters
    assert set(layer.cluster_cycles(CONFIG)) == set(CLUSTER_CYCLES)


def test_whole_layers_have_one_cause():
    assert run(planes=True).causes(CONFIG) == {"planes": 100}
    assert run("add", 0).causes(CONFIG) == {"residual sums": 100}
    assert run("pool", 0).causes(CONFIG) == {"pools": 100}
    assert run("norm", 0).causes(CONFIG) == {"norms": 100}
    assert LayerRun("golden", "conv", 4, (1, 1), 9).causes(CONFIG) == {}
    assert {cause_of_kind(kind) for kind in ("add", "pool", "identity", "concat")} <= set(CAUSES)


@pytest.mark.parametrize(
    ("spent", "dense", "words"),
    [
        (
            {"sequencer": 60, "residual sums": 40},
            50,
            "slower than dense, 0.50 times as fast, bound by handing out jobs (60% of the cycles), "
            "then residual sums (40%); layers with more channels, or a smaller array would help",
        ),
        (
            {"adders": 90, "drain": 10},
            310,
            "3.1 times as fast as dense, bound by adders at work (90% of the cycles); more "
            "elements would help",
        ),
        (
            {"drain": 30, "imbalance": 25, "adders": 45},
            100,
            "1.0 times as fast as dense, bound by the drain (30% of the cycles), then waiting for "
            f"the busiest elements (25%); a drain_width above {CONFIG.drain_width} would help",
        ),
    ],
)
def test_the_sentence(spent, dense, words):
    found = verdict(spent, dense, CONFIG)
    assert found.sentence == words
    assert found.cycles == sum(spent.values()) and found.dense_cycles == dense
    assert sum(found.shares.values()) == pytest.approx(1)
    assert list(found.shares) == sorted(spent, key=lambda name: -spent[name])
    about = verdict(spent, dense, CONFIG, estimated=True)
    number = f"{found.dense_cycles / found.cycles:.{1 if dense >= found.cycles else 2}f} times"
    assert about.estimated and about.sentence == words.replace(number, f"about {number}")


def test_every_cause_has_a_sentence():
    for name, cause in CAUSES.items():
        found = verdict({name: 5}, 10, CONFIG)
        assert cause.what in found.sentence and cause.remedy(CONFIG) in found.sentence


def test_nothing_is_said_of_nothing():
    assert verdict({}, 10, CONFIG) is None
    assert verdict({"norms": 5}, 0, CONFIG) is None
