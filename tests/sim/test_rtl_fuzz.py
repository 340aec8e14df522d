"""Random networks on random configurations: the RTL equals the golden model in every integer.

Whole programs and single layers, results and every tensor; the cycles, all counters and the event
log equal the cycle model's, and counters that do not depend on timing the interpreter's of the
memory contents.
"""

import numpy as np
import pytest

from tests.model_export.networks import (
    bound_network,
    compile_network,
    random_codes,
    random_config,
    random_network,
)
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.hw.verilog import generate_verilog
from tritforge.sim import native
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.device import Device
from tritforge.sim.event_log import first_difference
from tritforge.sim.golden import GoldenModel
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.native import NativeLink
from tritforge.sim.observer import Observer

#: Clock cycles after which a small network counts as hung.
LIMIT = 3_000_000
STALLS = ("empty_scans", "stall_queue_full", "stall_imbalance", "stall_drain")


def check(link, network, codes):
    """Run ``codes`` (channels, height, width) in one run, then layer by layer."""
    config = link.config
    memory = compile_network(network, config)
    golden = GoldenModel(network).run_all(codes[None], unpooled=True)
    cycle_model = CycleModel(network, memory)
    device = Device(link)
    device.load(memory)
    model = Interpreter(config, memory)
    for single in (False, True):
        device.write_tensor(memory, network.input, codes)
        model.load(memory.tensors[network.input].base, memory.input_words(codes))
        runs = (
            [(place.address, 1) for place in memory.layers]
            if single
            else [(memory.layers[0].address, len(memory.layers))]
        )
        counters = []
        observer = Observer(config)
        assert link.observe(observer)
        for n, (address, count) in enumerate(runs):
            got = device.run(address, count)
            expected = model.run(address, count)
            counters += list(zip(got, expected, strict=True))
            layer = network.layers[n]
            if single and not layer.final:
                np.testing.assert_array_equal(
                    device.read_tensor(memory, layer.output),
                    golden[layer.output][0],
                    err_msg=layer.name,
                )
        np.testing.assert_array_equal(device.read_results(memory), golden[network.final.output][0])
        tensors = {name: values[0] for name, values in golden.items()}
        log = {}
        for layer, (got, _), modelled in zip(
            network.layers,
            counters,
            cycle_model.run(tensors, whole=not single, log=log),
            strict=True,
        ):
            assert got == modelled, layer.name
        modelled = [record for layer in network.layers for record in log[layer.name]]
        observed = observer.records([(layer.name, layer.width) for layer in network.layers])
        difference = first_difference(modelled, observed, ("the cycle model", "the RTL"))
        assert difference is None, difference
        for got, expected in counters:
            for name, value in expected.items():
                assert got[name] == value, name
            spent = got["broadcasts"] + sum(got[name] for name in STALLS)
            assert spent <= config.cluster_count * got["cycles"]
        if not single:
            # Counters of layers add up to the run.
            assert sum(got["cycles"] for got, _ in counters) == device.status().cycles


def run_configuration(seed, networks):
    rng = np.random.default_rng([seed, 17])
    config = random_config(
        rng,
        skip_zero_weights=seed % 5 != 3,
        skip_zero_activations=seed % 5 != 4,
    )
    for n in range(networks):
        with NativeLink(config, optimize=False) as link:
            if n == 0:
                network, codes = bound_network(rng, config, signed=bool(seed % 2))
            else:
                network = random_network(rng, config)
                codes = random_codes(rng, network)
            codes = codes[0] if codes.ndim == 4 else codes
            if n == 1:
                codes = np.zeros_like(codes)
            check(link, network, codes)


@pytest.mark.parametrize("banks", [2, 4])
def test_accumulators_as_they_are_synthesized(monkeypatch, tmp_path, banks):
    """Verilator has its own text of them; here it gets what an FPGA does."""

    def generate(config):
        before, begin, after = generate_verilog(config).partition("module accumulators ")
        own = "`ifdef VERILATOR"
        assert begin and own in after
        return before + begin + after.replace(own, "`ifdef NEITHER", 1)

    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "generate_verilog", generate)
    config = Config(banks=banks, accumulator_width=20)
    rng = np.random.default_rng(banks)
    for _ in range(4):
        network = random_network(rng, config)
        with NativeLink(config, optimize=False) as link:
            check(link, network, random_codes(rng, network))


def test_counters_are_all_known():
    assert set(STALLS) < set(COUNTERS)


@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed):
    run_configuration(seed, 12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 30))
def test_many_random_networks(seed):
    run_configuration(seed, 10)
