"""The published MNIST network, every layer on the hardware."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tritforge.hw.presets import PRESETS
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.memory.emit import emit
from tritforge.model_export.memory.placement import place
from tritforge.model_export.model_file import load_model
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.sim.device import Device
from tritforge.sim.golden import GoldenModel, quantize_input
from tritforge.sim.native import NativeLink
from tritforge.sim.pysim import PythonLink

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason=f"the MNIST files are not in {DATA}"),
]


@pytest.fixture(scope="module")
def mnist():
    """Images (10 000, 1, 28, 28) float32, labels, traced and calibrated network."""
    pixels, labels = (
        np.frombuffer(
            gzip.decompress((DATA / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset
        )
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    images = pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255
    model = load_into(load_model("zoo:mnist"), DATA / "mnist_ttq_cnn.ckpt")
    return images, labels, calibrate(trace(model, (1, 28, 28)), images[:200])


def run_images(link, network, memory, codes):
    device = Device(link)
    device.check_identity()
    device.load(memory)
    results = []
    for image in codes:
        device.write_tensor(memory, network.input, image)
        device.run(memory.layers[0].address, len(memory.layers))
        results.append(device.read_results(memory))
    return np.stack(results)


@pytest.mark.compiles
def test_native_rtl_gives_equal_logits(mnist):
    images, labels, traced = mnist
    config = PRESETS["ulx3s_85f"]
    network = quantize(traced, config)
    golden = GoldenModel(network)
    codes = quantize_input(images, network.tensors[network.input])
    predicted = golden.run(codes).reshape(len(codes), -1).argmax(axis=1)
    assert (predicted == labels).mean() >= 0.983
    memory = emit(network, place(network, config), config)
    with NativeLink(config) as link:
        np.testing.assert_array_equal(
            run_images(link, network, memory, codes[:200]), golden.run(codes[:200])
        )


def test_amaranth_simulator_gives_equal_logits(mnist):
    images, _, traced = mnist
    config = PRESETS["tiny"]
    network = quantize(traced, config)
    memory = emit(network, place(network, config), config)
    codes = quantize_input(images[:2], network.tensors[network.input])
    with PythonLink(config) as link:
        np.testing.assert_array_equal(
            run_images(link, network, memory, codes), GoldenModel(network).run(codes)
        )
