"""AlexNet ready for export: a user's trained weights, or drawn ones with published densities.

No trained TTQ AlexNet is published. Without a checkpoint :func:`alexnet` therefore draws one that
loads the accelerator as the trained network would: as many nonzero weights in every layer as
Table 4 of the paper has, and as many nonzero activations as were published for AlexNet. Its
outputs mean nothing, and its :class:`Provenance` says so.

>>> module, provenance = alexnet("alexnet_dorefa")
>>> print(provenance)
>>> export(None, module, calibration_images("alexnet_dorefa"), config, "image")
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tritforge.common.json_types import JsonObject
from tritforge.model_export.alexnet.densities import (
    Stage,
    input_densities,
    input_scales,
    set_input_densities,
    stages,
)
from tritforge.model_export.alexnet.draw import draw_filters, draw_last, draw_ternary
from tritforge.model_export.alexnet.photographs import (
    calibration_images,
    preprocessing_of,
    sample_photographs,
)
from tritforge.model_export.alexnet.topologies import TOPOLOGIES
from tritforge.model_export.errors import ModelError
from tritforge.model_export.formats.checkpoint import (
    CheckpointError,
    distinct_values,
    load_checkpoint,
    load_into,
)

__all__ = [
    "ACTIVATION_CONCENTRATION",
    "PUBLISHED",
    "LayerRecord",
    "Provenance",
    "Published",
    "alexnet",
]


@dataclass(frozen=True)
class Published:
    """What is published about one of AlexNet's eight layers with weights.

    Members
    -------
    paper
        Its name in the TTQ paper.
    density
        Share of nonzero weights (the paper's Table 4); None: kept in full precision.
    wp, wn
        At the end of the authors' training log.
    input_density
        Share of nonzero activations at its input; None: the photograph itself. Convs: those of a
        pruned AlexNet, from the workloads of Sparseloop's artifact (MICRO 2022), close to what
        Eyeriss reports. Fully connected layers: about 35 %, as in EIE.
    """

    paper: str
    density: float | None = None
    wp: float = 0.0
    wn: float = 0.0
    input_density: float | None = None


PUBLISHED = (
    Published("conv1"),
    Published("conv2", 0.23, 0.723, 1.282, 0.60),
    Published("conv3", 0.24, 0.897, 1.108, 0.275),
    Published("conv4", 0.40, 0.926, 1.079, 0.207),
    Published("conv5", 0.43, 0.885, 1.119, 0.23),
    Published("fc1", 0.30, 0.881, 1.122, 0.35),
    Published("fc2", 0.36, 0.931, 1.067, 0.35),
    Published("fc3", input_density=0.35),
)

#: Concentration of the beta distribution (variance = d * (1 - d) / (concentration + 1)) of the
#: channels' activation densities: the median over 25 tensors of a SqueezeNet trained with TTQ
#: (TropComplique/trained-ternary-quantization) on crops of the two photographs.
ACTIVATION_CONCENTRATION = 7.0
#: Weights at the very threshold that are taken for zeros; more are no coincidence.
_MOST_TIES = 64


@dataclass(frozen=True)
class LayerRecord:
    """One layer with weights; densities are shares of nonzero values, 0 to 1.

    Members
    -------
    name, paper
        In the module, and in the TTQ paper.
    weights, macs
        Counts; MACs are dense, of one image, padding included.
    ternary
        Whether its weights are +Wp, 0, -Wn; otherwise full precision.
    density, density_requested
        Of weights; requested is None where nothing was (a checkpoint, full precision).
    wp, wn
        None where there is no one pair of values.
    input_density, input_density_requested
        Of 8-bit activations at the layer's input, mean over the calibration images.
    input_density_of
        The same of single photographs, by name.
    """

    name: str
    paper: str
    weights: int
    macs: int
    ternary: bool
    density: float
    density_requested: float | None
    wp: float | None
    wn: float | None
    input_density: float
    input_density_requested: float | None
    input_density_of: dict[str, float]


@dataclass(frozen=True)
class Provenance(JsonObject):
    """Where a network's weights and batch norms come from, and what came out.

    Members
    -------
    topology
        Name in the zoo.
    origin
        ``"drawn"`` (not trained) or ``"checkpoint"``.
    statement
        The same in a sentence, for whoever reads a report.
    seed
        Of drawn weights, else None.
    checkpoint, sha256, threshold
        File name, checksum and t, else None.
    calibration
        What images the densities were set with (drawn) and measured on.
    preprocessing
        What was done to pixels.
    notes
        Further sentences.
    layers
        In order.
    """

    topology: str
    origin: str
    statement: str
    seed: int | None
    checkpoint: str | None
    sha256: str | None
    threshold: float | None
    calibration: str
    preprocessing: str
    notes: tuple[str, ...]
    layers: tuple[LayerRecord, ...]

    def __str__(self) -> str:
        lines = [
            self.statement,
            *self.notes,
            f"calibration: {self.calibration}",
            "nonzero shares in %, wanted in brackets; input: 8-bit activations, mean over "
            "calibration images, then single photographs",
        ]
        for layer in self.layers:
            single = ", ".join(
                f"{name} {100 * value:.1f}" for name, value in layer.input_density_of.items()
            )
            kind = "ternary" if layer.ternary else "full precision"
            lines.append(
                f"{layer.name} ({layer.paper}, {kind}): weights "
                f"{100 * layer.density:.1f}{_wanted(layer.density_requested)}, input "
                f"{100 * layer.input_density:.1f}{_wanted(layer.input_density_requested)}"
                + (f"; {single}" if single else "")
            )
        return "\n".join(lines)


def _wanted(share: float | None) -> str:
    return "" if share is None else f" [{100 * share:.1f}]"


def alexnet(
    topology: str = "alexnet_dorefa",
    *,
    checkpoint: str | Path | None = None,
    threshold: float | None = None,
    seed: int = 0,
    photographs: Sequence[str | Path] | None = None,
    images: NDArray[np.floating] | None = None,
    divisor: int = 1,
) -> tuple[nn.Module, Provenance]:
    """An AlexNet in eval mode, of plain layers whose ternary weights stand as values.

    The first conv and the last fully connected layer are in full precision, all others ternary.

    With a checkpoint, everything comes from it. Without one, weights are drawn
    (:mod:`tritforge.model_export.alexnet.draw`): ternary ones at the densities of :data:`PUBLISHED`
    with its Wp and Wn, full-precision ones normally distributed; then batch norms are set
    (:func:`tritforge.model_export.alexnet.densities.set_input_densities`) so that layer inputs have
    the densities of :data:`PUBLISHED`, on average over the calibration images and on each
    photograph alone. Where there is no batch norm the bias takes its place, and scales the weights:
    in the first conv of ``alexnet_dorefa``, which so gets a bias, as in later versions of the
    authors' code, and in all of ``alexnet_torchvision``, whose Wp and Wn keep only the ratio of the
    authors'.

    Parameters
    ----------
    topology
        A key of :data:`TOPOLOGIES`.
    checkpoint
        What :func:`tritforge.model_export.formats.checkpoint.load_checkpoint` reads, with the zoo's
        names or, for ``alexnet_dorefa``, those of the authors' code (``conv1/W``, ``conv1/Wp:0``,
        ``bn1/mean/EMA``; HWIO kernels, (in, out) matrices, features in the order height, width,
        channel).
    threshold
        t of latent weights, as a fraction of max \\|w\\|, where the checkpoint does not hold it:
        0.05 is the default of the authors' code, 0.049 stands in their AlexNet log.
    seed
        Of drawn weights.
    photographs
        Picture files from which
        :func:`tritforge.model_export.alexnet.photographs.calibration_images` makes 32 images; by
        default the two that scikit-learn ships.
    images : array (N, 3, height, width), optional
        Calibration images in place of those.
    divisor
        Hidden layers are narrowed by it, for quick trials.

    Returns
    -------
    The module and where it comes from.

    Raises
    ------
    ModelError
        No such topology or divisor, a negative seed, images that do not fit, both images and
        photographs.
    CheckpointError
        As :func:`tritforge.model_export.formats.checkpoint.load_into`; or layers that should be
        ternary are not.
    PhotographError
        As :func:`tritforge.model_export.alexnet.photographs.load_photograph`.
    """
    preprocessing = preprocessing_of(topology)
    if images is not None and photographs is not None:
        raise ModelError("images and photographs are both given; one of them is enough")
    if seed < 0:
        raise ModelError(f"a seed must not be negative, as {seed} is")
    notes: list[str] = []
    if checkpoint is not None:
        path = Path(checkpoint)
        module = _loaded(topology, path, threshold, divisor, notes)
        source, names = _images(topology, images, photographs)
        scales = input_scales(module, source)
        origin, wanted = "checkpoint", [Published(layer.paper) for layer in PUBLISHED]
        statement = f"{topology} with the weights of checkpoint {path.name}"
    else:
        if threshold is not None:
            raise ModelError("a threshold goes with a checkpoint, and none is given")
        module = _empty(topology, divisor, first_bias=True)
        source, names = _images(topology, images, photographs)
        scales = _draw(module, source, len(names), seed)
        origin, wanted = "drawn", list(PUBLISHED)
        statement = (
            f"{topology} with weights drawn at random (seed {seed}), not trained: its "
            f"outputs mean nothing, its densities are the published ones"
        )
        notes += _notes_on_drawing(topology)
    shares = input_densities(module, source, scales)
    layers = _records(module, preprocessing.size, wanted, shares, names)
    calibration = (
        f"{len(source)} given images"
        if images is not None
        else f"{len(source)} images, {', '.join(names)} and crops of them"
    )
    return module, Provenance(
        topology,
        origin,
        statement,
        seed if checkpoint is None else None,
        None if checkpoint is None else path.name,
        None if checkpoint is None else hashlib.sha256(path.read_bytes()).hexdigest(),
        threshold,
        calibration,
        preprocessing.source,
        tuple(notes),
        tuple(layers),
    )


# ----- building


def _empty(topology: str, divisor: int, first_bias: bool) -> nn.Module:
    """The topology in eval mode, its weights not set; no random number is drawn."""
    options = {"first_bias": first_bias} if topology == "alexnet_dorefa" else {}
    with torch.device("meta"):
        model = TOPOLOGIES[topology](divisor=divisor, **options)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
    return model.eval()


def _images(
    topology: str, images: NDArray[np.floating] | None, photographs: Sequence[str | Path] | None
) -> tuple[NDArray[np.float32], list[str]]:
    """Calibration images, and the names of those in front that are whole photographs."""
    if images is None:
        names = (
            list(sample_photographs(topology))
            if photographs is None
            else [Path(path).name for path in photographs]
        )
        return calibration_images(topology, photographs=photographs), names
    size = preprocessing_of(topology).size
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[1:] != (3, size, size) or len(array) == 0:
        raise ModelError(
            f"images for {topology} have shape {array.shape}; expected is (N, 3, {size}, {size})"
        )
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ModelError(f"images for {topology} must be finite numbers")
    return np.ascontiguousarray(array, np.float32), []


def _draw(model: nn.Module, images: NDArray[np.float32], references: int, seed: int) -> list[float]:
    """Set all parameters; the scales of the layers' inputs."""
    chain = stages(model)
    streams = np.random.SeedSequence(seed).spawn(len(chain) + 1)
    pixels = 1
    for n, (stage, layer) in enumerate(zip(chain, PUBLISHED, strict=True)):
        rng = np.random.default_rng(streams[n])
        shape = tuple(stage.layer.weight.shape)
        if n == 0:
            weight = draw_filters(shape, rng)
        elif layer.density is None:
            weight = draw_last((shape[0], shape[1]), rng)
        else:
            if isinstance(stage.layer, nn.Linear):
                before = chain[n - 1].layer.weight.shape[0]
                pixels = shape[1] // before
            weight = draw_ternary(
                shape,
                density=layer.density,
                wp=layer.wp,
                wn=layer.wn,
                rng=rng,
                positions=pixels,
                groups=stage.layer.groups if isinstance(stage.layer, nn.Conv2d) else 1,
            )
        stage.layer.weight = nn.Parameter(weight, requires_grad=False)
        if stage.layer.bias is not None:
            stage.layer.bias = nn.Parameter(torch.zeros(shape[0]), requires_grad=False)
    densities = [layer.input_density for layer in PUBLISHED if layer.input_density is not None]
    return set_input_densities(
        model.requires_grad_(False),
        images,
        densities,
        concentration=ACTIVATION_CONCENTRATION,
        rng=np.random.default_rng(streams[-1]),
        references=references,
    )


def _notes_on_drawing(topology: str) -> list[str]:
    notes = [
        "densities of rows, channels and activations vary as in a SqueezeNet trained with "
        "TTQ; the share of positive weights is an assumption"
    ]
    if topology == "alexnet_dorefa":
        notes.append(
            "the first conv has a bias, which the authors' network has not: without it "
            "its density could not be set"
        )
    if topology == "alexnet_torchvision":
        notes.append(
            "there is no batch norm: biases set the densities, and Wp and Wn are scaled "
            "for sums of unit variance"
        )
    return notes


# ----- checkpoints


def _loaded(
    topology: str, path: Path, threshold: float | None, divisor: int, notes: list[str]
) -> nn.Module:
    """The topology with a checkpoint's weights."""
    state = load_checkpoint(path)
    has_bias = any(re.fullmatch(r"(tower\d+/)?conv0(/b(:0)?|\.bias)", name) for name in state)
    model = load_into(
        _empty(topology, divisor, has_bias), state, threshold, label=f"checkpoint {path}"
    ).requires_grad_(False)
    full = []
    for stage, layer in zip(stages(model), PUBLISHED, strict=True):
        if layer.density is None:
            continue
        weight = stage.layer.weight
        ties = _clear_ties(weight)
        if ties:
            notes.append(
                f"{ties} weights of {stage.name} equal the threshold and are 0, as in "
                f"the paper; the authors' code would make them 1 or -1"
            )
        if distinct_values(weight, 3) is None and not _ternary_by_row(weight):
            full.append(stage.name)
    if full:
        raise CheckpointError(
            f"checkpoint {path} has weights of more than three values in {', '.join(full)}; "
            f"ternary values, or latent weights with Wp and Wn beside them, would be right"
        )
    return model


def _clear_ties(weight: Tensor) -> int:
    """Set to 0 what the authors' code makes of weights that equal the threshold: a few of +-1.

    Of some 10^7 float32 weights it is likely that one does, and the layer would not be ternary.
    """
    values = distinct_values(weight, 5)
    if values is None or len(values) <= 3:
        return 0
    cleared = 0
    for sign in (1.0, -1.0):
        of_sign = [value for value in values if value * sign > 0]
        count = int((weight == sign).sum())
        if len(of_sign) == 2 and sign in of_sign and count <= _MOST_TIES:
            weight[weight == sign] = 0
            cleared += count
    return cleared


def _ternary_by_row(weight: Tensor) -> bool:
    """One magnitude per output channel, as in Ternary Weight Networks."""
    magnitudes = weight.flatten(1).abs()
    largest = magnitudes.amax(1, keepdim=True)
    return bool(((magnitudes == 0) | (magnitudes == largest)).all())


# ----- the record


def _records(
    model: nn.Module,
    size: int,
    wanted: Sequence[Published],
    shares: NDArray[np.float64],
    names: Sequence[str],
) -> list[LayerRecord]:
    chain = stages(model)
    outputs = _output_pixels(model, chain, size)
    records = []
    for n, (stage, layer) in enumerate(zip(chain, wanted, strict=True)):
        weight = stage.layer.weight
        count = weight.numel()
        ternary = PUBLISHED[n].density is not None
        values = distinct_values(weight, 3) if ternary else None
        records.append(
            LayerRecord(
                stage.name,
                layer.paper,
                count,
                count * outputs[n],
                ternary,
                int(torch.count_nonzero(weight)) / count,
                layer.density,
                None if values is None else max(values),
                None if values is None else -min(values),
                float(shares[:, n].mean()),
                layer.input_density,
                {name: float(shares[k, n]) for k, name in enumerate(names)},
            )
        )
    return records


def _output_pixels(model: nn.Module, chain: Sequence[Stage], size: int) -> list[int]:
    """Output pixels of every layer with weights."""
    pixels: list[int] = []
    hooks = [
        stage.layer.register_forward_hook(
            lambda layer, args, output: pixels.append(output[0, 0].numel())
        )
        for stage in chain
    ]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    finally:
        for hook in hooks:
            hook.remove()
    return pixels
