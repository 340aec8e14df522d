"""What the benchmarks share: AlexNet with drawn weights in the memories of a configuration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.flows.densities import activity
from tritforge.hw.config import Config
from tritforge.model_export.alexnet.network import alexnet
from tritforge.model_export.alexnet.photographs import calibration_images, sample_photographs
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.shaping import Shaping, compile_network
from tritforge.model_export.network import Network
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.sim.golden import GoldenModel, quantize_input

__all__ = ["Prepared", "prepare"]


@dataclass(eq=False)
class Prepared:
    """A quantized AlexNet of the paper's author, and golden activations of one photograph."""

    network: Network
    densities: dict[str, NDArray[np.float64]]
    tensors: dict[str, NDArray[np.int64]]
    provenance: Any

    def memory(self, config: Config) -> MemoryImage:
        """Memory contents for a configuration of the same widths, everything resident."""
        return compile_network(
            self.network, config, self.densities, shaping=Shaping("stride", "none"), resident=True
        ).memory


def prepare(config: Config) -> Prepared:
    """Draw, calibrate and quantize the network for the widths of ``config``."""
    module, provenance = alexnet("alexnet_dorefa")
    images = calibration_images("alexnet_dorefa", 8)
    network = quantize(calibrate(trace(module, images.shape[1:]), images), config)
    photograph = next(iter(sample_photographs("alexnet_dorefa").values()))
    codes = quantize_input(photograph[None], network.tensors[network.input])
    tensors = {
        name: values[0]
        for name, values in GoldenModel(network).run_all(codes, unpooled=True).items()
    }
    return Prepared(network, activity(network, images).densities, tensors, provenance)
