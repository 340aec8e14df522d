"""Plans of networks that do not fit the memories: run by the interpreter, as late and as early as
the schedule allows, they must give the golden model's integers."""

import dataclasses
import json

import numpy as np
import pytest

from tests.model_export import networks
from tests.model_export.memory.test_emit import ROOMY, chain, tabled
from tests.model_export.networks import (
    compile_network,
    random_codes,
    random_config,
    random_network,
    reference_run,
    streamed,
)
from tritforge.hw.config import Config
from tritforge.hw.program import LAYER_OPCODE, SYNC_OPCODE
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.emit import Columns, DoesNotFitError, emit
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.schedule import (
    Await,
    Load,
    ReadCounters,
    Schedule,
    Signal,
    Store,
    Write,
    lap,
)
from tritforge.model_export.memory.streaming import _Ring, _Streamer, emit_streamed, fit
from tritforge.model_export.network import Pool
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.golden import GoldenModel
from tritforge.sim.host import HostTensors, packet_shapes
from tritforge.sim.interpreter import Interpreter


def make(seed, **fixed):
    """Network, streamed memory contents, input codes, golden tensors."""
    rng = np.random.default_rng([seed, 99])
    config = random_config(rng, **fixed)
    network = random_network(rng, config)
    codes = random_codes(rng, network)
    golden = {name: values[0] for name, values in GoldenModel(network).run_all(codes[None]).items()}
    return network, streamed(rng, network, config), codes, golden


def check(network, memory, codes, golden, *, eager):
    """The whole network in one run, then layer by layer."""
    machine, host = Interpreter(memory.config, memory), HostTensors(memory)
    host.write(network.input, codes)
    passes = range(len(memory.schedule.passes))
    counters = machine.run_schedule(host, passes, eager=eager)
    place = memory.results
    np.testing.assert_array_equal(
        memory.results_from_entries(machine.results[place.base : place.base + place.entries]),
        golden[network.final.output],
    )
    for name, tensor in memory.tensors.items():
        if tensor.external:
            np.testing.assert_array_equal(host.read(name), golden[name], err_msg=name)
    machine, host = Interpreter(memory.config, memory), HostTensors(memory)
    host.write(network.input, codes)
    for layer in network.layers:
        machine.run_schedule(host, memory.schedule.of_layer(layer.name), eager=not eager)
        if layer.final:
            continue
        tensor = memory.tensors[layer.output]
        found = (
            host.read(layer.output)
            if tensor.external
            else memory.tensor_from_words(layer.output, machine.read(tensor.base, tensor.size))
        )
        np.testing.assert_array_equal(found, golden[layer.output], err_msg=layer.name)
    return counters


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_in_memories_too_small(seed):
    network, memory, codes, golden = make(seed)
    for eager in (False, True):
        check(network, memory, codes, golden, eager=eager)
    memories = [("program", memory.program), ("rows", memory.rows), ("trits", memory.trits[0])]
    if memory.config.activation_tables:
        memories.append(("tables", memory.tables))
    for name, contents in memories:
        fits = len(contents) <= memory.config.memory_depth(name)
        assert fits == (name in memory.schedule.resident)
    assert memory.activation_words <= memory.config.activation_depth


def test_work_is_that_of_the_resident_network():
    """Cut into tiles and blocks but not into strips, a layer makes the same additions."""
    compared = cut = 0
    for seed in range(60, 75):
        rng = np.random.default_rng([seed, 99])
        config = random_config(rng, memory_ports=2)
        network = random_network(rng, config)
        codes = random_codes(rng, network)
        whole = compile_network(network, config)
        machine = Interpreter(config, whole)
        machine.load(whole.tensors[network.input].base, whole.input_words(codes))
        expected = machine.run(whole.layers[0].address, len(network.layers))
        small = dataclasses.replace(config, trit_depth=max(2, whole.trits.shape[1] // 2))
        try:
            memory = emit_streamed(network, place(network, small), small)
        except ExportError:
            continue
        counters = check(network, memory, codes, reference_run(network, codes), eager=False)
        sums = memory.schedule.sum_by_layer(counters)
        for layer, other in zip(network.layers, expected, strict=True):
            own = [one for one in memory.schedule.passes if one.layer == layer.name]
            if len({one.rows for one in own}) > 1:
                continue
            compared += 1
            cut += len(own) > 1 or len(own[0].units) > 1
            for name in ("adds", "drain_steps", "write_backs", "result_writes"):
                assert sums[layer.name][name] == other[name], (layer.name, name)
    assert compared > 15 and cut > 3


def test_what_fits_is_not_streamed():
    network = chain([8, 8, 12, 4])
    placement = place(network, ROOMY)
    assert fit(network, placement, ROOMY).schedule is None
    small = dataclasses.replace(ROOMY, activation_depth=40)
    with pytest.raises(DoesNotFitError, match="activation memory is too small"):
        fit(network, place(network, small), small, resident=True)
    assert fit(network, place(network, small), small).schedule is not None


def test_a_fully_connected_layer_is_cut_into_column_blocks():
    network = chain([30, 20, 4], size=(1, 1))
    network.layers[0].groups[0].trits[:] = 1
    config = dataclasses.replace(ROOMY, trit_depth=8)
    memory = emit_streamed(network, place(network, config), config)
    first = memory.schedule.passes[0]
    columns = 30 // ROOMY.clusters
    assert len(first.units) == -(-columns // (8 // 4))
    assert sum(part.count for unit in first.units for part in unit) == columns
    # A block's place is free when the block that stood there has been read, not later.
    assert [unit[0].after for unit in first.units[4:]] == list(range(1, len(first.units) - 3))
    codes = np.arange(30).reshape(30, 1, 1)
    check(network, memory, codes, reference_run(network, codes), eager=True)


@pytest.mark.parametrize(
    ("columns", "limit", "expected"),
    [
        (Columns(3, 5, 2, range(1), range(1), 4), 100, [(3, 5, 2, (0, 1), (0, 1))]),
        (
            Columns(3, 5, 2, range(1), range(1), 4),
            8,
            [(3, 2, 4, (0, 1), (0, 1)), (5, 2, 4, (0, 1), (0, 1)), (7, 1, 2, (0, 1), (0, 1))],
        ),
        (
            Columns(0, 2, 1, range(3), range(2), 2),
            8,
            [
                (0, 1, 2, (0, 2), (0, 2)),
                (0, 1, 2, (2, 3), (0, 2)),
                (1, 1, 1, (0, 2), (0, 2)),
                (1, 1, 1, (2, 3), (0, 2)),
            ],
        ),
        (
            Columns(0, 1, 2, range(2), range(3), 2),
            4,
            [
                (0, 1, 2, (0, 1), (0, 2)),
                (0, 1, 2, (0, 1), (2, 3)),
                (0, 1, 2, (1, 2), (0, 2)),
                (0, 1, 2, (1, 2), (2, 3)),
            ],
        ),
        (
            Columns(0, 4, 1, range(3), range(3), 2, shared=True),
            4,
            [(0, 2, 2, (0, 3), (0, 3)), (2, 2, 1, (0, 3), (0, 3))],
        ),
    ],
)
def test_blocks_of_columns(columns, limit, expected):
    network = chain([2, 2])
    streamer = _Streamer(network, place(network, ROOMY), ROOMY)
    found = list(streamer.split(columns, limit))
    assert [
        (
            one.word,
            one.words,
            one.lanes,
            (one.kernel_y.start, one.kernel_y.stop),
            (one.kernel_x.start, one.kernel_x.stop),
        )
        for one in found
    ] == expected
    assert sum(one.count for one in found) == columns.count


def test_a_ring_frees_what_was_there():
    ring = _Ring(Config(trit_depth=16), "trits")
    for number, size in enumerate((6, 6), 1):
        _, parts = ring.place(size, number)
        assert [part.after for part in parts] == [0]
    _, parts = ring.place(10, 3)  # four free words, six of the first, wrapping around
    assert [(part.start, part.count, part.after) for part in parts] == [(12, 4, 0), (16, 6, 1)]
    _, parts = ring.place(16, 4)
    assert [(part.start, part.count, part.after) for part in parts] == [(22, 6, 2), (28, 10, 3)]


def test_a_ring_of_another_size_skips_the_addresses_that_are_not_there():
    config = Config(trit_depth=11)
    assert lap(config, "trits") == 16
    ring = _Ring(config, "trits")
    starts = [ring.place(4, number)[0].start for number in range(1, 6)]
    assert starts == [0, 4, 16, 20, 32]
    _, parts = ring.place(11, 6)
    assert [(part.start, part.count, part.after) for part in parts] == [
        (48, 4, 5),
        (52, 4, 4),
        (56, 3, 0),
    ]


@pytest.mark.parametrize("seed", range(10))
def test_schedules_are_json(seed):
    _, memory, _, _ = make(seed)
    document = json.loads(json.dumps(memory.schedule.to_json()))
    assert Schedule.from_json(document) == memory.schedule
    broken = json.loads(json.dumps(document))
    broken["passes"][0]["done"] = -1
    with pytest.raises(ValueError, match="Pass of a schedule holds -1"):
        Schedule.from_json(broken)
    del document["passes"][0]["done"]
    with pytest.raises(ValueError, match=r"passes\[0\] lacks 'done'"):
        Schedule.from_json(document)


@pytest.mark.parametrize(
    ("seed", "kinds"),
    [([100617, 8], None), ([101123, 8], ("conv", "add", "concat", "linear", "add"))],
)
def test_sources_on_the_chip_and_outside_in_one_layer(seed, kinds, monkeypatch):
    """Their tables differ by the first row that is in memory: the section's size must know it."""
    if kinds:
        monkeypatch.setattr(networks, "KINDS", kinds)
    rng = np.random.default_rng(seed)
    config = Config(clusters=2, elements=2, rows=2, scan_width=2)
    network = random_network(rng, config, max_layers=4, max_channels=9, max_size=4)
    memory = streamed(rng, network, config)
    codes = random_codes(rng, network)
    check(network, memory, codes, reference_run(network, codes), eager=True)


def spoil(document, path, value):
    """The same with another value at ``path``."""
    document = json.loads(json.dumps(document))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("passes",), []),
        (("passes", 0, "layer"), "x"),
        (("passes", 0, "units"), []),
        (("passes", 0, "units", 0), []),
        (("passes", 0, "program"), []),
        (("passes", 0, "program", 0, "count"), 1 << 20),
        (("passes", 0, "program", 0, "after"), 1),
        (("passes", 0, "row_start"), 1 << 20),
        (("passes", 0, "row_parts"), []),
        (("passes", 0, "address"), 1 << 20),
        (("passes", 0, "done"), 2**31),
        (("passes", 0, "sets"), 99),
        (("passes", 0, "rows"), [3, 3]),
        (("passes", 0, "loads", 0, "tensor"), "x"),
        (("passes", 0, "loads", 0, "base"), 1 << 16),
        (("passes", 0, "loads", 0, "first"), 99),
        (("passes", 0, "loads", 0, "rows"), 0),
        (("passes", 0, "loads", 0, "words"), 1),
        (("passes", 0, "stored"), [99]),
        (("passes", 0, "output", "tensor"), "input"),
        (("passes", 0, "tiles"), [0]),
        (("resident",), ["results"]),
        *(
            (("passes", 0, field), value)
            for value in (None, "x", 1.5, True, 1 << 50)
            for field in ("address", "row_start", "row_count", "done", "sets")
        ),
        *(
            (("passes", 0, "loads", 0, field), value)
            for value in (None, "x", 0.5)
            for field in ("base", "first", "rows", "words")
        ),
    ],
)
def test_a_schedule_that_is_none_is_refused(path, value):
    _, memory, _, _ = make(6)
    outputs = {place.name: place.output for place in memory.layers}
    sizes = {
        "program": len(memory.program),
        "rows": len(memory.rows),
        "trits": memory.trits.shape[1],
        "tables": len(memory.tables),
    }
    document = memory.schedule.to_json()
    Schedule.from_json(document).check(memory.config, memory.tensors, outputs, sizes)
    with pytest.raises((ValueError, TypeError, KeyError)):
        Schedule.from_json(spoil(document, path, value)).check(
            memory.config, memory.tensors, outputs, sizes
        )


@pytest.mark.parametrize(("held", "sent"), [(1, 5), (2, 5), (3, 0), (8, 0)])
def test_activation_tables_come_before_their_layers(held, sent):
    """Three different ones for five layers: all stay, or each layer's is sent before it."""
    rng = np.random.default_rng(held)
    a, b, c = rng.integers(0, 256, (3, 256))
    config = dataclasses.replace(ROOMY, activation_tables=held)
    network = tabled(6, [a, b, a, c, b])
    if not sent:
        emit(network, place(network, config), config)
    memory = emit_streamed(network, place(network, config), config)
    schedule = memory.schedule
    assert ("tables" in schedule.resident) == (not sent)
    writes = [
        step
        for step in schedule.steps(config, range(len(schedule.passes)))
        if isinstance(step, Write) and step.memory == "tables"
    ]
    assert sum(step.count for step in writes) == 256 * sent
    parts = [part for one in schedule.passes for part in one.table_parts]
    layers = [one.layer for one in schedule.passes if one.table_parts]
    if sent:
        assert layers == [f"layer{number}" for number in range(5)]
        assert {part.start // 256 % held for part in parts} == set(range(held))
        # A table is free when the layer that had its place before is over.
        over = {one.layer: one.done for one in schedule.passes}
        for number, part in enumerate(parts):
            before = number - held
            assert part.after == (0 if before < 0 else over[f"layer{before}"])
    else:
        assert layers == ["layer0", "layer1", "layer3"]
    codes = random_codes(rng, network)
    golden = {name: values[0] for name, values in GoldenModel(network).run_all(codes[None]).items()}
    for eager in (False, True):
        check(network, memory, codes, golden, eager=eager)


def test_more_activation_tables_than_there_are_need_two_ports():
    network = tabled(3, list(np.random.default_rng(0).integers(0, 256, (2, 256))))
    config = dataclasses.replace(ROOMY, activation_tables=1)
    assert fit(network, place(network, config), config).schedule is not None
    with pytest.raises(DoesNotFitError, match="memory of activation tables is too small"):
        fit(network, place(network, config), config, resident=True)
    config = dataclasses.replace(config, memory_ports=1)
    with pytest.raises(ExportError, match="memories with one port cannot be refilled"):
        fit(network, place(network, config), config)


@pytest.mark.parametrize("seed", range(25))
def test_steps_keep_what_they_promise(seed):
    """Signals and releases pair up, waits come in time, memories end where they end."""
    network, memory, _, _ = make(seed, layer_count=1 + seed % 3)
    schedule, config = memory.schedule, memory.config
    for numbers in (
        range(len(schedule.passes)),
        *(schedule.of_layer(layer.name) for layer in network.layers),
    ):
        steps = list(schedule.steps(config, numbers))
        signals = [step for step in steps if isinstance(step, Signal)]
        assert len(signals) == sum(len(schedule.passes[n].units) for n in numbers)
        awaited = sum(step.count for step in steps if isinstance(step, Await))
        assert awaited <= schedule.passes[numbers[-1]].done - schedule.passes[numbers[0]].before
        for step in steps:
            if isinstance(step, Write):
                depth = config.memory_depth(step.memory)
                assert step.start % lap(config, step.memory) + step.count <= depth
                assert step.memory not in schedule.resident
            elif isinstance(step, Load | Store):
                assert step.strip.base + step.strip.words <= config.activation_depth
        kept = [step for step in steps if isinstance(step, ReadCounters)]
        read = sum(step.count for step in kept)
        assert len(numbers) - read <= config.layer_count
        assert all(step.slot + step.count <= config.layer_count for step in kept)
        shapes = packet_shapes(memory, numbers)
        assert all(length <= config.packet_words for _, _, _, length, _ in shapes)


@pytest.mark.compiles
@pytest.mark.parametrize("seed", range(8))
def test_addresses_beyond_16_bits(seed, monkeypatch):
    """Pointers in records have 16 bits; programs of many passes count on beyond."""
    original = _Ring.__init__

    def late(self, config, memory):
        original(self, config, memory)
        self.head = (1 << 16) - self.lap * (memory != "program") - 20 * (memory == "program")

    monkeypatch.setattr(_Ring, "__init__", late)
    network, memory, codes, golden = make(seed)
    assert memory.schedule.passes[-1].address > 1 << 16 or len(memory.schedule.passes) < 3
    counters = check(network, memory, codes, golden, eager=bool(seed % 2))
    tensors = {
        name: values[0]
        for name, values in GoldenModel(network).run_all(codes[None], unpooled=True).items()
    }
    modelled = CycleModel(network, memory).run_schedule(tensors)
    for one, other in zip(counters, modelled, strict=True):
        assert one == {name: other[name] for name in one}


def test_programs_are_layers_with_records_between():
    _, memory, _, _ = make(5)
    for one in memory.schedule.passes:
        assert memory.program[one.address] & 0xFF == LAYER_OPCODE
    assert np.count_nonzero((memory.program & 0xFF) == SYNC_OPCODE) >= len(memory.schedule.passes)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "trit_depth",
            2,
            r"trit memory is too small at layer layer0: one tile of network chain needs "
            r"4 columns per cluster, configuration roomy has 2",
        ),
        (
            "activation_depth",
            6,
            r"activation memory is too small at layer layer0: one output row of "
            r"network chain needs \d+ words per slice, configuration roomy has 6",
        ),
        (
            "row_depth",
            3,
            r"row memory is too small at layer layer0: one pass of network chain needs "
            r"8 entries, configuration roomy has 3",
        ),
        (
            "result_depth",
            60,
            r"result memory is too small at layer layer2: network chain needs 64 "
            r"entries, configuration roomy has 60",
        ),
    ],
)
def test_not_even_the_smallest_piece_fits(field, value, message):
    network = chain([8, 8, 12, 4])
    network.layers[1].groups[0].trits[:] = 1
    config = dataclasses.replace(ROOMY, **{field: value})
    with pytest.raises(ExportError, match=message):
        emit_streamed(network, place(network, config), config)


def test_a_program_too_long_for_its_memory_is_refused():
    network = chain([8, 8, 4], size=(30, 30))
    config = dataclasses.replace(
        ROOMY, program_depth=64, activation_depth=20000, result_depth=20000
    )
    with pytest.raises(
        ExportError,
        match=r"program memory is too small at layer layer0: one pass "
        r"of network chain needs \d+ words",
    ):
        emit_streamed(network, place(network, config), config)


def test_pooled_strips_overlap_by_the_rows_that_both_need():
    network = chain([8, 8, 4], size=(12, 5), pool=Pool((3, 3), (2, 2), (1, 1), 6, 3))
    whole = emit(network, place(network, ROOMY), ROOMY)
    config = dataclasses.replace(ROOMY, activation_depth=whole.activation_words // 3)
    memory = emit_streamed(network, place(network, config), config)
    own = [one for one in memory.schedule.passes if one.layer == "layer0"]
    assert len(own) > 1
    for one in own:
        assert one.rows == (max(0, 2 * one.places[0] - 1), min(12, 2 * one.places[1]))
    assert [one.places[0] for one in own[1:]] == [one.places[1] for one in own[:-1]]
