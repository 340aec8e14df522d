"""Every layer's integers, on every backend, against the golden model."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import Json, JsonObject, to_json
from tritforge.common.progress import Progress
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.backend import (
    Backend,
    GoldenBackend,
    InterpreterBackend,
    PythonBackend,
    RtlBackend,
    SimulationError,
)
from tritforge.sim.pysim import ELEMENT_LIMIT

__all__ = ["CHECKED", "Comparison", "Difference", "Verification", "compare", "verify"]

#: What is compared with the golden model, by name.
CHECKED: dict[str, type[Backend]] = {
    backend.name: backend for backend in (InterpreterBackend, RtlBackend, PythonBackend)
}
#: Images for Amaranth's simulator where nothing else is said: it takes about a minute each.
PYSIM_IMAGES = 1


@dataclass(frozen=True)
class Difference(JsonObject):
    """The first integer that differs: images in order, layers in order, then row, y, x."""

    backend: str
    image: int  # index in the input
    layer: str
    row: int  # output channel
    y: int  # output pixel, after pooling
    x: int
    expected: int  # of the golden model
    found: int
    one_run: bool = False  # seen in the results of one RUN over all layers

    def to_json(self) -> dict[str, Json]:
        """JSON values: the fields, and the sentence that they make."""
        return {**super().to_json(), "sentence": str(self)}

    def __str__(self) -> str:
        how = " in one RUN over all layers" if self.one_run else ""
        return (
            f"{self.backend} differs from the golden model in layer {self.layer}, "
            f"row {self.row}, pixel (y {self.y}, x {self.x}) of image {self.image}{how}: "
            f"{self.found} instead of {self.expected}"
        )


@dataclass
class Comparison:
    """One backend against the golden model."""

    backend: str
    images: int = 0
    values: int = 0  # integers compared
    difference: Difference | None = None
    skipped: str = ""  # why, if it did not run

    def to_json(self) -> dict[str, Json]:
        """JSON values."""
        return {
            "backend": self.backend,
            "images": self.images,
            "values": self.values,
            "equal": None if self.skipped else self.difference is None,
            "skipped": self.skipped or None,
            "difference": None if self.difference is None else self.difference.to_json(),
        }


@dataclass
class Verification:
    """All comparisons of an image."""

    network: str
    configuration: str
    images: int
    layers: list[str]
    comparisons: list[Comparison] = field(default_factory=list)
    accuracy: float | None = None  # of the golden model, 0..1, where there are labels

    @property
    def equal(self) -> bool:
        """Nothing that was compared differs, and something was."""
        return all(one.difference is None for one in self.comparisons) and any(
            one.values for one in self.comparisons
        )

    def to_json(self) -> dict[str, Json]:
        """JSON values."""
        return {
            "network": self.network,
            "configuration": self.configuration,
            "images": self.images,
            "layers": to_json(self.layers),
            "equal": self.equal,
            "comparisons": [one.to_json() for one in self.comparisons],
            "accuracy": self.accuracy,
        }


def compare(
    backend: str,
    layer: str,
    image: int,
    expected: NDArray[np.integer],
    found: NDArray[np.integer],
    one_run: bool = False,
) -> Difference | None:
    """The first difference between two outputs (rows, height, width) of a layer, or None."""
    if expected.shape != found.shape:
        raise SimulationError(
            f"{backend} gives layer {layer} the shape {found.shape} instead of {expected.shape}"
        )
    places = np.argwhere(expected != found)
    if not len(places):
        return None
    row, y, x = (int(value) for value in places[0])
    return Difference(
        backend, image, layer, row, y, x, int(expected[row, y, x]), int(found[row, y, x]), one_run
    )


def verify(
    compiled: CompiledNetwork,
    codes: NDArray[np.integer],
    *,
    backends: str | tuple[str, ...] = tuple(CHECKED),
    pysim_images: int = PYSIM_IMAGES,
    progress: Progress | None = None,
) -> Verification:
    """Compare backends with the golden model: every layer's output codes, layer by layer, and
    the results of one RUN over the whole network.

    Parameters
    ----------
    codes : integer array (images, channels, height, width)
        Input codes.
    backends : names from :data:`CHECKED`
        ``memory`` is :mod:`tritforge.sim.interpreter`. ``pysim`` is skipped, and the result says
        so, where the configuration is too large for it.
    pysim_images : int
        How many of the images, from the first on, ``pysim`` computes.

    Raises
    ------
    SimulationError
        No such backend.
    ExportError
        Codes of another shape or out of range.
    DeviceError, SimulatorError
        An accelerator or its simulator fails.
    """
    if isinstance(backends, str):
        backends = (backends,)
    unknown = [name for name in backends if name not in CHECKED]
    if unknown or not backends:
        raise SimulationError(
            f"cannot compare {', '.join(map(repr, unknown)) or 'nothing'}; "
            f"there are {', '.join(CHECKED)}"
        )
    golden = GoldenBackend(compiled)
    result = Verification(
        compiled.network.name,
        compiled.config.name,
        len(codes),
        [layer.name for layer in compiled.network.layers],
    )
    for name in backends:
        comparison = Comparison(name)
        result.comparisons.append(comparison)
        elements = compiled.config.adders
        if name == PythonBackend.name and elements > ELEMENT_LIMIT:
            comparison.skipped = (
                f"configuration {compiled.config.name} has {elements} processing "
                f"elements; Amaranth's simulator is for up to {ELEMENT_LIMIT}"
            )
            continue
        count = min(len(codes), pysim_images) if name == PythonBackend.name else len(codes)
        if not count:
            comparison.skipped = "no images were asked for"
            continue
        with CHECKED[name](compiled, progress) as backend:
            for index in range(count):
                if progress is not None:
                    progress(f"{name} image {index + 1} of {count}", index / count)
                if not _one_image(backend, golden, comparison, codes[index : index + 1], index):
                    break
    return result


def _one_image(
    backend: Backend,
    golden: GoldenBackend,
    comparison: Comparison,
    codes: NDArray[np.integer],
    index: int,
) -> bool:
    """Whether all integers of one image agree; what was compared goes to ``comparison``."""
    expected = golden.capture(codes)
    found = backend.capture(codes)
    comparison.images += 1
    for layer, values in expected.items():
        comparison.values += values.size
        comparison.difference = compare(backend.name, layer, index, values[0], found[layer][0])
        if comparison.difference is not None:
            return False
    final = golden.compiled.network.final.name
    whole = backend.run(codes).output
    comparison.values += whole.size
    comparison.difference = compare(backend.name, final, index, expected[final][0], whole[0], True)
    return comparison.difference is None
