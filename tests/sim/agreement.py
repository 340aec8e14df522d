"""Whether all that runs a network agrees: RTL, cycle model, interpreter and golden model."""

from collections import Counter

import numpy as np

from tritforge.cost.events import nonzero_products
from tritforge.hw.program import COUNTERS
from tritforge.sim.bounds import drained_values, layer_least, least_cycles, needed_cycles
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.device import Device
from tritforge.sim.event_log import first_difference, in_order
from tritforge.sim.golden import GoldenModel
from tritforge.sim.host import HostTensors
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.observer import Observer

__all__ = ["check_streamed", "check_whole", "tensors_of"]

#: What a cluster's cycles are spent on but broadcasts.
STALLS = ("empty_scans", "stall_queue_full", "stall_imbalance", "stall_drain")


def tensors_of(network, codes):
    """Codes (C, H, W) of every tensor, and of what is pooled."""
    golden = GoldenModel(network).run_all(codes[None], unpooled=True)
    return {name: values[0] for name, values in golden.items()}


# ----- what holds for every run


def check_counters(config, names, rtl, modelled, timeless):
    """Of layers or passes: the RTL has all counters of the cycle model, and the interpreter's."""
    assert set(STALLS) < set(COUNTERS)
    for name, got, other, counted in zip(names, rtl, modelled, timeless, strict=True):
        assert set(got) == set(other) == set(COUNTERS)
        assert got == other, name
        assert {key: got[key] for key in counted} == counted, name
        spent = got["broadcasts"] + sum(got[key] for key in STALLS)
        assert 0 <= spent <= config.cluster_count * got["cycles"], name


def check_events(parts, observer, log):
    """The RTL's event log is the cycle model's; ``parts`` are (name, width) in order."""
    modelled = [record for name, _ in parts for record in log[name]]
    difference = first_difference(modelled, observer.records(parts), ("the cycle model", "the RTL"))
    assert difference is None, difference


def check_adds(config, network, tensors, found, schedule=None):
    """Additions of layers, counted a second time from trits and activations.

    Where strips of a streamed layer overlap, their common rows are computed again.
    """
    batch = {name: values[None] for name, values in tensors.items()}
    expected = nonzero_products(network, batch, zeros=not config.skip_zero_activations)
    assert found.keys() == expected.keys()
    for name, counters in found.items():
        if schedule is not None and overlap(schedule, name, network.layer(name).height):
            assert counters["adds"] >= expected[name], name
        else:
            assert counters["adds"] == expected[name], name


def overlap(schedule, name, height):
    """Whether two strips of a layer have rows in common."""
    rows = {one.rows for one in schedule.passes if one.layer == name}
    return sum(last - first for first, last in rows) > height


def check_log(config, place, records, counters):
    """A layer's events are complete and in order, and agree with its counters."""
    kinds = Counter(record.kind for record in records)
    waits = [record for record in records if record.kind.startswith("drain_stall")]
    jobs = place.pixels * place.tiles
    assert kinds - Counter(record.kind for record in waits) == {
        "layer_started": 1,
        "tile_started": place.tiles,
        "pixel_started": jobs,
        "pixel_drained": jobs,
        "tile_drained": place.tiles,
        "layer_settled": 1,
    }
    assert {record.layer for record in records} == {place.name}
    assert records == in_order(records)
    assert records[0].kind == "layer_started" and records[0].time == 0
    assert records[-1].kind == "layer_settled" and records[-1].time < counters["cycles"]
    ended = [record.tile for record in records if record.kind == "tile_drained"]
    assert ended == list(range(place.tiles))
    assert [record.kind for record in waits[:2]] in (
        [],
        ["drain_stall_began", "drain_stall_ended"],
    )
    assert (
        sum(record.time if record.kind.endswith("ended") else -record.time for record in waits)
        == counters["stall_write_back"]
    )
    started = {
        (record.tile, record.pixel): record for record in records if record.kind == "pixel_started"
    }
    drained = [record for record in records if record.kind == "pixel_drained"]
    assert len(started) == jobs
    for order, record in enumerate(drained):
        begin = started[record.tile, record.pixel]
        assert begin.time < record.time and begin.set == record.set
        assert record.set == order % config.sets
    assert [(one.tile, one.pixel) for one in drained] == sorted(started)


# ----- networks that fit the memories


def check_whole(link, case):
    """One run of all layers, a run for every layer, runs of two; each finds in the memories what
    the one before left."""
    config, network, memory = link.config, case.network, case.memory
    computed = case.compiled.computed
    device, model = Device(link), CycleModel(network, memory)
    interpreter = Interpreter(config, memory)
    device.load(memory)
    count = len(memory.layers)
    for codes, each in zip((*case.inputs, case.inputs[0]), (count, 1, 2), strict=True):
        tensors = tensors_of(network, codes)
        device.write_tensor(memory, network.input, codes)
        interpreter.load(memory.tensors[network.input].base, memory.input_words(codes))
        observer, log = Observer(config), {}
        assert link.observe(observer)
        rtl, timeless = [], []
        for start in range(0, count, each):
            address, own = memory.layers[start].address, min(each, count - start)
            rtl += device.run(address, own)
            timeless += interpreter.run(address, own)
            if each == 1 and start + 1 < count:
                name = memory.layers[start].output
                np.testing.assert_array_equal(
                    device.read_tensor(memory, name), tensors[name], err_msg=name
                )
        np.testing.assert_array_equal(device.read_results(memory), tensors[network.final.output])
        modelled = model.run(tensors, batch=each, log=log)
        check_counters(config, [place.name for place in memory.layers], rtl, modelled, timeless)
        check_events([(layer.name, layer.width) for layer in computed.layers], observer, log)
        check_adds(
            config,
            computed,
            tensors,
            dict(zip([layer.name for layer in network.layers], rtl, strict=True)),
        )
        for place, one in zip(memory.layers, rtl, strict=True):
            check_log(config, place, log[place.name], one)
            needed = needed_cycles(config, one, drained_values(network.layer(place.name)))
            assert 0 < layer_least(needed) <= one["cycles"]
        if each == count:  # counters of layers add up to the run
            assert sum(one["cycles"] for one in rtl) == device.status().cycles


# ----- networks that do not fit, and are streamed


def check_streamed(link, case):
    """One run of all passes, and a run for every layer; returns the cycles spent waiting."""
    config, network, memory = link.config, case.network, case.memory
    schedule, computed = memory.schedule, case.compiled.computed
    device, model = Device(link), CycleModel(network, memory)
    interpreter = Interpreter(config, memory)
    device.load(memory)
    host, other = HostTensors(memory), HostTensors(memory)
    waited = 0

    def run(numbers, tensors):
        nonlocal waited
        observer, log = Observer(config), {}
        assert link.observe(observer)
        rtl = device.run_schedule(memory, host, numbers)
        link.observe(None)
        modelled = model.run_schedule(tensors, numbers, log=log)
        timeless = interpreter.run_schedule(other, numbers)
        names = [schedule.pass_name(number) for number in numbers]
        check_counters(config, names, rtl, modelled, timeless)
        layers = [computed.layer(schedule.passes[number].layer) for number in numbers]
        check_events(
            [(name, layer.width) for name, layer in zip(names, layers, strict=True)], observer, log
        )
        status = device.status()
        assert sum(one["cycles"] for one in rtl) == status.cycles
        assert status.errors == status.dropped == 0
        waited += sum(one["stall_refill"] for one in rtl)
        return schedule.sum_by_layer(rtl, numbers)

    def read(name):
        if memory.tensors[name].external:
            return host.read(name)
        return device.read_tensor(memory, name)

    everything = range(len(schedule.passes))
    for codes, is_whole in zip(case.inputs, (True, False), strict=True):
        tensors = tensors_of(network, codes)
        host.write(network.input, codes)
        other.write(network.input, codes)
        if is_whole:
            found = run(everything, tensors)
            needed = [
                needed_cycles(
                    config,
                    counters,
                    drained_values(network.layer(name)),
                    max(schedule.port_words(config, schedule.of_layer(name))),
                )
                for name, counters in found.items()
            ]
            assert all(
                0 < layer_least(one) <= counters["cycles"]
                for one, counters in zip(needed, found.values(), strict=True)
            )
            assert least_cycles(needed) <= sum(one["cycles"] for one in found.values())
            for name, place in memory.tensors.items():
                if place.external:
                    np.testing.assert_array_equal(host.read(name), tensors[name], err_msg=name)
        else:
            found = {}
            for layer in network.layers:
                found |= run(schedule.of_layer(layer.name), tensors)
                if not layer.final:
                    np.testing.assert_array_equal(
                        read(layer.output), tensors[layer.output], err_msg=layer.name
                    )
        np.testing.assert_array_equal(device.read_results(memory), tensors[network.final.output])
        check_adds(config, computed, tensors, found, schedule)
    return waited
