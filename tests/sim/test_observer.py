"""What the observation port says becomes the cycle model's event log, whoever simulates it."""

import dataclasses

import numpy as np
import pytest

from tests.model_export.networks import (
    compile_network,
    random_codes,
    random_network,
    windows_network,
)
from tritforge.hw.config import Config
from tritforge.hw.payloads import probe
from tritforge.hw.presets import PRESETS
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.backend import InterpreterBackend, SimulationError, create
from tritforge.sim.event_log import EventLogError, Record, first_difference
from tritforge.sim.observer import Observer

CONFIG = Config(sets=3)


def word(**values):
    return probe(CONFIG).const(values).as_value().value


def collected(*samples):
    observer = Observer(CONFIG)
    for cycle, values in samples:
        observer.sample(cycle, word(**values))
    return observer


# ----- one sample after the other


def test_records_of_two_layers():
    pixel = {"tile": 1, "y": 2, "x": 3, "set": 2}
    observer = collected(
        (50, {}),
        (70, {"layer_started": 1}),
        (75, {"tile_started": 1, "tile": 1}),
        (80, pixel | {"pixel_started": 1}),
        (81, pixel | {"x": 4, "set": 0, "pixel_started": 1}),
        (90, {"drain_stalled": 1, "drain_set": 2}),
        (91, {"drain_stalled": 1, "drain_set": 2}),
        (95, {"drain_set": 2}),
        (96, {"drain_set": 2, "pixel_drained": 1}),
        (99, {"drain_set": 0, "pixel_drained": 1}),
        (120, {"layer_settled": 1}),
        (140, {"layer_started": 1}),
        (150, {"layer_settled": 1}),
    )
    assert observer.records([("a", 10), ("b", 1)]) == [
        Record("a", 0, "layer_started"),
        Record("a", 5, "tile_started", tile=1),
        Record("a", 10, "pixel_started", 2, 1, 23),
        Record("a", 11, "pixel_started", 0, 1, 24),
        Record("a", 20, "drain_stall_began", 2, 1, 23),
        Record("a", 25, "drain_stall_ended", 2, 1, 23),
        Record("a", 26, "pixel_drained", 2, 1, 23),
        Record("a", 29, "pixel_drained", 0, 1, 24),
        Record("a", 29, "tile_drained", tile=1),
        Record("a", 50, "layer_settled"),
        Record("b", 0, "layer_started"),
        Record("b", 10, "layer_settled"),
    ]


def test_a_record_that_is_no_layer_belongs_to_the_next_one():
    observer = collected(
        (3, {"layer_started": 1}), (9, {"layer_started": 1}), (20, {"layer_settled": 1})
    )
    assert [record.time for record in observer.records([("a", 1)])] == [0, 17]


def test_a_stall_and_a_start_in_one_cycle():
    pixel = {"pixel_started": 1, "drain_stalled": 1}
    observer = collected(
        (0, {"layer_started": 1}),
        (1, {"pixel_started": 1}),
        (2, pixel),
        (3, pixel),
        (4, {"pixel_drained": 1}),
    )
    assert [record.kind for record in observer.records([("a", 1)])] == [
        "layer_started",
        "pixel_started",
        "pixel_started",
        "drain_stall_began",
        "pixel_started",
        "drain_stall_ended",
        "pixel_drained",
        "tile_drained",
    ]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([(0, {"tile_started": 1})], "says tile_started before its first layer"),
        ([(0, {"pixel_drained": 1})], "drains a pixel that has not started"),
        (
            [(0, {"layer_started": 1}), (1, {"drain_stalled": 1})],
            "drains a pixel that has not started",
        ),
        (
            [
                (0, {"layer_started": 1}),
                (1, {"pixel_started": 1}),
                (2, {"pixel_drained": 1}),
                (3, {"pixel_drained": 1}),
            ],
            "drains a pixel that has not started",
        ),
    ],
)
def test_what_no_program_does_is_refused(samples, words):
    with pytest.raises(EventLogError, match=words):
        collected(*samples)


def test_another_number_of_layers_is_refused():
    with pytest.raises(EventLogError, match="the hardware ran 1 layers, not 2"):
        collected((0, {"layer_started": 1})).records([("a", 1), ("b", 1)])


# ----- simulators


def same_logs(image, codes, backends, layer=None):
    """The one event log that all backends write for one image."""
    logs = []
    for name in backends:
        log = []
        with create(name, image) as backend:
            run = backend.run(codes[None], layer, log=log)
            if name != "pysim":
                once = list(log)
                again = backend.run(codes[None], layer)
                assert log == once and again.cycles_per_image == run.cycles_per_image
        logs.append(log)
    for name, log in zip(backends[1:], logs[1:], strict=True):
        difference = first_difference(logs[0], log, (backends[0], name))
        assert difference is None, difference
    return logs[0]


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("config", "backends"),
    [
        (PRESETS["tiny"], ["cycle", "rtl", "pysim"]),
        (
            Config(
                sets=3,
                clusters=1,
                elements=2,
                rows=4,
                scan_width=8,
                activation_depth=128,
                trit_depth=64,
                program_depth=128,
            ),
            ["cycle", "pysim"],
        ),
    ],
    ids=["tiny", "three sets"],
)
def test_waits_of_the_drain_are_logged_alike(config, backends):
    rng = np.random.default_rng(0)
    network = windows_network(rng, is_signed=True, height=10)
    image = CompiledNetwork(network, compile_network(network, config))
    codes = rng.integers(0, 256, (2, 10, 5))
    log = same_logs(image, codes, backends)
    assert [record.layer for record in log if record.kind == "layer_started"] == ["conv", "last"]
    assert sum(record.kind == "drain_stall_began" for record in log) > 15
    alone = same_logs(image, codes, backends[:2], "conv")
    assert alone == [record for record in log if record.layer == "conv"]


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(3))
def test_all_simulators_write_the_same_log(seed):
    rng = np.random.default_rng([seed, 23])
    config = PRESETS["tiny"]
    network = random_network(rng, config, max_layers=3, max_channels=6, max_size=4)
    image = CompiledNetwork(network, compile_network(network, config))
    codes = random_codes(rng, network, 0.6)
    assert same_logs(image, codes, ["cycle", "rtl", "pysim"])
    last = network.layers[-1].name
    assert {record.layer for record in same_logs(image, codes, ["cycle", "rtl"], last)} == {last}


@pytest.mark.compiles
def test_a_log_goes_on_through_several_runs():
    """More layers than the hardware keeps counters of."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        few = dataclasses.replace(PRESETS["tiny"], layer_count=2)
        network = random_network(rng, few)
        if len(network.layers) >= 4:
            break
    image = CompiledNetwork(network, compile_network(network, few))
    log = same_logs(image, random_codes(rng, network, 0.6), ["cycle", "rtl"])
    assert [record.layer for record in log if record.kind == "layer_settled"] == [
        layer.name for layer in network.layers
    ]


@pytest.mark.compiles
def test_logs_that_cannot_be_written_are_refused(monkeypatch):
    rng = np.random.default_rng(1)
    config = PRESETS["tiny"]
    network = random_network(rng, config)
    image = CompiledNetwork(network, compile_network(network, config))
    codes = np.stack([random_codes(rng, network) for _ in range(2)])
    for name in ("cycle", "rtl"):
        with (
            create(name, image) as backend,
            pytest.raises(
                SimulationError, match="an event log is of one input image, and 2 are given"
            ),
        ):
            backend.run(codes, log=[])
    for backend in (create("golden", image), InterpreterBackend(image)):
        with pytest.raises(
            SimulationError,
            match=f"backend {backend.name} knows no clock cycles "
            "and writes no event log; cycle, rtl, pysim do",
        ):
            backend.run(codes[:1], log=[])
    with create("rtl", image) as backend:
        monkeypatch.setattr(backend.device.link, "observe", lambda observer: False)
        with pytest.raises(SimulationError, match="backend rtl has no observation port"):
            backend.run(codes[:1], log=[])
