"""Random networks on random configurations: all that runs them agrees in everything.

The golden model, the definition of the network in plain numpy, the interpreter of the memory
contents, the RTL and the cycle model: integers, cycles, all counters and event logs, in one run,
in runs of two layers and layer by layer, streamed or not. ``make fuzz SEEDS=100-200`` tries others.
"""

import numpy as np
import pytest

from tests.model_export.draws import FEATURES, FEW, MANY, Case, draw, features
from tests.model_export.networks import (
    compile_network,
    random_codes,
    random_network,
    reference_run,
)
from tests.sim.agreement import check_streamed, check_whole, tensors_of
from tritforge.hw.bodies import BODIES, Target
from tritforge.hw.config import Config
from tritforge.sim.host import HostTensors
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.native import NativeLink


def pytest_generate_tests(metafunc):
    """Seeds of the command line, or those of `make test` and, marked slow, of `make test-slow`."""
    if "seed" not in metafunc.fixturenames:
        return
    seeds = metafunc.config.getoption("seeds")
    if seeds is None:
        many = [pytest.param(seed, marks=pytest.mark.slow) for seed in MANY]
        seeds = [*FEW, *many]
    metafunc.parametrize("seed", seeds)


def test_golden_model_and_interpreter_are_the_definition(seed):
    for case in draw(seed):
        network, memory = case.network, case.memory
        interpreter = Interpreter(memory.config, memory)
        host = HostTensors(memory) if memory.schedule is not None else None
        for codes in case.inputs:  # the second run meets what the first one left
            expected = reference_run(network, codes)
            golden = tensors_of(network, codes)
            for name, values in expected.items():
                np.testing.assert_array_equal(golden[name], values, err_msg=name)
            if host is not None:
                host.write(network.input, codes)
                interpreter.run_schedule(host, range(len(memory.schedule.passes)))
            else:
                interpreter.load(memory.tensors[network.input].base, memory.input_words(codes))
                interpreter.run(memory.layers[0].address, len(network.layers))
            place = memory.results
            entries = interpreter.results[place.base : place.base + place.entries]
            np.testing.assert_array_equal(
                memory.results_from_entries(entries), expected[network.final.output]
            )


@pytest.mark.compiles
def test_hardware_and_cycle_model_agree(seed):
    for case in draw(seed):
        print(f"seed {seed}:", case.memory.config)  # shown where the test fails
        with NativeLink(case.memory.config, optimize=False) as link:
            if case.memory.schedule is None:
                check_whole(link, case)
            else:
                assert check_streamed(link, case)


def test_the_few_seeds_have_every_feature():
    found = set()
    for seed in FEW:
        for case in draw(seed):
            found |= features(case)
    assert found == FEATURES


@pytest.mark.compiles
@pytest.mark.parametrize("banks", [2, 4])
def test_accumulators_as_they_are_synthesized(monkeypatch, tmp_path, banks):
    """Verilator has its own body of them; here it gets the one that any tool can read."""
    for module in ("accumulators", "accumulators_sum"):
        monkeypatch.setitem(BODIES[module], Target.VERILATOR, "portable")
    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path))
    config = Config(banks=banks, accumulator_width=20)
    rng = np.random.default_rng(banks)
    for _ in range(4):
        network = random_network(rng, config)
        with NativeLink(config, optimize=False) as link:
            codes = random_codes(rng, network)
            memory = compile_network(network, config)
            check_whole(link, Case(network, memory, (codes, codes // 2)))
