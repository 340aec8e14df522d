"""Networks on a virtual board, over its pseudo-terminal: logits, noise, speed, stillness."""

import time

import numpy as np
import pytest

from tests.fpga.model_board import ModelBoard
from tests.model_export.networks import compile_network, random_codes, random_network, reference_run
from tritforge.fpga.link.label import memory_label
from tritforge.fpga.link.serial_link import SerialLink
from tritforge.fpga.run.backend import BoardBackend
from tritforge.fpga.run.virtual import IDLE_CYCLES, virtual_board
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.device import Device, DeviceError

pytestmark = pytest.mark.compiles

CONFIG = Config(
    name="virtual",
    clusters=1,
    elements=2,
    rows=2,
    scan_width=2,
    trit_depth=256,
    activation_depth=256,
    program_depth=256,
    row_depth=64,
    result_depth=32,
    layer_count=4,
    packet_words=40,
    response_places=2,
    unpack_trits=False,
    activation_tables=1,
)


@pytest.fixture(scope="module")
def network():
    return random_network(
        np.random.default_rng(4), CONFIG, max_layers=3, max_channels=6, max_size=4
    )


@pytest.fixture(scope="module")
def memory(network):
    found = compile_network(network, CONFIG)
    assert len(found.tables)
    return found


def image_of(network, memory):
    return CompiledNetwork(network, memory)


def run(network, memory, count, noise=0.0, seed=0):
    """Images' results are the reference's; the link's statistics."""
    rng = np.random.default_rng(seed)
    codes = np.stack([random_codes(rng, network) for _ in range(count)])
    expected = [reference_run(network, one)[network.final.output] for one in codes]
    with (
        virtual_board(CONFIG, noise=noise, seed=seed, optimize=False) as board,
        BoardBackend(
            image_of(network, memory),
            SerialLink.open(CONFIG, board.port, 3_000_000, clock=board.seconds),
        ) as backend,
    ):
        simulation = backend.run(codes)
        np.testing.assert_array_equal(simulation.output, np.stack(expected))
        return backend.device.link.statistics, simulation


def test_results(network, memory):
    statistics, simulation = run(network, memory, 3)
    assert statistics.crc_errors == statistics.refused == 0
    assert simulation.total_cycles > 0
    assert len(simulation.cycles_per_image) == 3


@pytest.mark.parametrize("noise", [0.001, 0.004])
def test_noise(network, memory, noise):
    statistics, _ = run(network, memory, 4, noise, seed=5)
    assert statistics.crc_errors + statistics.refused > 0


def test_the_image_stays_for_the_next_host(network, memory):
    codes = random_codes(np.random.default_rng(0), network)[np.newaxis]
    with virtual_board(CONFIG, optimize=False) as board:
        for kept in (False, True):
            link = SerialLink.open(CONFIG, board.port, 3_000_000, clock=board.seconds)
            with BoardBackend(image_of(network, memory), link) as backend:
                backend.run(codes)
                assert backend.kept == kept
                assert backend.device.status().contents == memory_label(memory)


def test_another_configuration(network, memory):
    other = Config(
        clusters=1,
        elements=1,
        rows=2,
        scan_width=1,
        trit_depth=32,
        activation_depth=32,
        program_depth=64,
        row_depth=4,
        result_depth=4,
        layer_count=1,
        packet_words=34,
    )
    for held, name in ((other, f"{other.identity_word:08x}"), (PRESETS["tiny"], "tiny")):
        link = SerialLink(CONFIG, ModelBoard(held))
        with (
            BoardBackend(image_of(network, memory), link) as backend,
            pytest.raises(
                DeviceError,
                match=rf"^the board holds configuration {name}, the image is for "
                rf"virtual \({CONFIG.identity_word:08x}\)$",
            ),
        ):
            backend.run(random_codes(np.random.default_rng(0), network)[np.newaxis])


def test_the_clock_stands_still_when_nothing_happens():
    with virtual_board(CONFIG, optimize=False) as board:
        limit = time.monotonic() + 60
        while board.cycles < IDLE_CYCLES and time.monotonic() < limit:
            time.sleep(0.2)
        time.sleep(0.5)
        cycles = board.cycles
        time.sleep(0.5)
        assert board.cycles == cycles
        seconds = board.seconds()
        time.sleep(0.5)
        assert board.seconds() >= seconds + 0.5
        with SerialLink.open(CONFIG, board.port, 3_000_000, clock=board.seconds) as link:
            assert Device(link).status().identity == CONFIG.identity_word
        assert board.cycles > cycles
