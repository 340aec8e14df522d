"""From an image and inputs to a comparison of all backends."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from tritforge.common.progress import Progress
from tritforge.flows.arrays import StrPath
from tritforge.flows.inputs import opened, read_inputs, read_labels
from tritforge.hw.config import Config
from tritforge.model_export.image.folder import Image
from tritforge.sim import verify as verification
from tritforge.sim.accuracy import accuracy
from tritforge.sim.golden import GoldenModel

__all__ = ["verify"]


def verify(
    image: StrPath | Image,
    inputs: StrPath | NDArray[Any],
    *,
    codes: bool = False,
    labels: StrPath | NDArray[Any] | None = None,
    backends: str | Sequence[str] | None = None,
    pysim_images: int = verification.PYSIM_IMAGES,
    config: str | Config | None = None,
    progress: Progress | None = None,
) -> verification.Verification:
    """Compare every layer's integers on all backends; see :func:`tritforge.sim.verify.verify`.

    Inputs are real numbers as the network was trained on; with ``codes``, activation codes. With
    ``labels``, integers (images,), the golden model's accuracy is in the result.

    Raises
    ------
    ImageError, ExportError, ConfigError, SimulationError, DeviceError, SimulatorError
        One sentence each.
    """
    loaded = opened(image, config)
    chosen = tuple(verification.CHECKED) if backends is None else backends
    given = read_inputs(loaded, inputs, codes=codes).codes
    final = loaded.network.tensors[loaded.network.final.output]
    known = None if labels is None else read_labels(labels, len(given), final.shape)
    result = verification.verify(
        loaded,
        given,
        backends=chosen if isinstance(chosen, str) else tuple(chosen),
        pysim_images=pysim_images,
        progress=progress,
    )
    if known is not None:
        result.accuracy = accuracy(GoldenModel(loaded.network).run(given), known)
    return result
