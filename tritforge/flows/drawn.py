"""Networks with drawn weights, for which there is no checkpoint."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tritforge.common.progress import Progress
from tritforge.model_export.alexnet.network import Provenance, alexnet
from tritforge.model_export.alexnet.photographs import calibration_images
from tritforge.model_export.alexnet.topologies import TOPOLOGIES
from tritforge.model_export.errors import ModelError

__all__ = ["DRAWN_SAMPLES", "drawn"]

#: Photographs, and crops of them, that calibrate networks with drawn weights.
DRAWN_SAMPLES = 8


def drawn(
    model: str, seed: int, progress: Progress | None = None
) -> tuple[nn.Module, Provenance, NDArray[np.float32]]:
    """An AlexNet of the zoo with drawn weights, where they come from, and samples to calibrate
    with; see :func:`tritforge.model_export.alexnet.network.alexnet`.

    Parameters
    ----------
    model : str
        ``zoo:alexnet_dorefa``, ``zoo:alexnet_krizhevsky`` or ``zoo:alexnet_torchvision``.
    seed : int

    Raises
    ------
    ModelError
        Another model, or a negative seed.
    """
    scheme, _, topology = model.partition(":")
    if scheme != "zoo" or topology not in TOPOLOGIES:
        raise ModelError(
            f"only the AlexNets of the zoo draw their weights "
            f"({', '.join(f'zoo:{name}' for name in TOPOLOGIES)}), not {model}; give "
            f"a checkpoint"
        )
    if progress is not None:
        progress("drawing weights, setting densities", 0.0)
    module, provenance = alexnet(topology, seed=seed)
    return module, provenance, calibration_images(topology, DRAWN_SAMPLES)
