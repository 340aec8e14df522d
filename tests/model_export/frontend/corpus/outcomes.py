"""Cases of the corpus: a model, the shape of its samples, and what is to become of it."""

import dataclasses
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tritforge
from tritforge.common.errors import TritforgeError
from tritforge.hw.presets import PRESETS
from tritforge.model_export.frontend.lower import lower
from tritforge.model_export.frontend.record import one_output, plain_running, record
from tritforge.model_export.reference import FloatReference, arranged
from tritforge.sim.golden import GoldenModel, quantize_input

#: Hardware without and with activation tables, wide enough that rounding hides nothing.
WIDE = dataclasses.replace(
    PRESETS["tiny"],
    name="wide",
    coefficient_width=12,
    accumulator_width=32,
    program_depth=16384,
    result_depth=4096,
    trit_depth=16384,
)
TABLES = dataclasses.replace(WIDE, name="tables", activation_tables=8)
#: Root mean square of the integers' error, as a part of the outputs'.
ERROR = 0.05
#: Largest difference in real numbers, as a part of the largest output.
STRUCTURE = 1e-3
LONGEST = 400


@dataclass(frozen=True)
class Case:
    """``refused`` is a pattern of the sentence; None: the hardware gives what the model gives."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    refused: str | None = None
    tables: bool = False
    error: float = ERROR
    rounds: bool = False  # values at the edge of a step fall to either side

    def model(self) -> nn.Module:
        torch.manual_seed(1)
        return self.build()

    def samples(self, count: int, seed: int):
        generator = np.random.default_rng(seed)
        return generator.uniform(-1.7, 1.7, (count, *self.shape)).astype(np.float32)

    def expected(self, samples):
        """What a fresh model gives, one sample after the other."""
        model = self.model()
        with plain_running(model), torch.no_grad():
            outputs = [one_output(model(torch.from_numpy(one[None])), "it") for one in samples]
        return np.stack([one.detach().float().numpy().reshape(-1) for one in outputs])


class Family:
    """Cases that have something in common; its methods declare them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: list[Case] = []

    def add(self, name, build, shape, refused=None, **options) -> None:
        assert name not in {case.name for case in self.cases}, name
        self.cases.append(Case(name, build, shape, refused, **options))

    def right(self, *shape: int, **options):
        """Decorates a function that builds a model which can be exported."""

        def declare(build):
            self.add(build.__name__, build, shape, **options)
            return build

        return declare

    def refused(self, pattern: str, *shape: int, **options):
        """Decorates a function that builds a model which is refused with such a sentence."""

        def declare(build):
            self.add(build.__name__, build, shape, pattern, **options)
            return build

        return declare


class Lambda(nn.Module):
    """Submodules by name, and a function of (module, x)."""

    def __init__(self, function, **modules) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def headed(function, channels=1, width=8, size=8, **layers):
    """conv, ReLU, a function of (module, x), and a linear layer of what it gives; the module has
    some more layers for the function."""
    model = Lambda(
        lambda m, x: m.fc(function(m, torch.relu(m.conv(x))).flatten(1)),
        conv=nn.Conv2d(channels, width, 3, padding=1),
        a=nn.Conv2d(width, width, 3, padding=1),
        b=nn.Conv2d(width, width, 1),
        bn=nn.BatchNorm2d(width),
        **layers,
    )
    lively(model).eval()
    with torch.no_grad():
        count = function(model, torch.zeros(1, width, size, size))[0].numel()
    model.fc = nn.Linear(count, 5)
    return model


def lively(model):
    """Batch norms with gains, offsets and statistics as after training."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


def problem(case: Case, folder: Path) -> str:
    """What is wrong with what became of a case; nothing if it is as declared."""
    image = folder / "image"
    config = TABLES if case.tables else WIDE
    try:
        made = tritforge.export(None, case.model(), case.samples(24, 0), config, image)
    except TritforgeError as error:
        if case.refused is None:
            return f"refused: {error}"
        return _wrong_sentence(str(error), case.refused) or _left_behind(folder)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"traceback: {''.join(traceback.format_exception(error)[-4:])}"
    if case.refused is not None:
        return "exported"
    graph = record(case.model(), case.samples(4, 8))
    return _wrong_structure(case, graph) or _wrong_integers(case, graph, made.image.network)


def _wrong_sentence(sentence: str, pattern: str) -> str:
    if not re.search(pattern, sentence):
        return f"the sentence is {sentence!r}"
    if len(sentence) >= LONGEST:
        return f"the sentence has {len(sentence)} characters: {sentence}"
    if "\n" in sentence or "fault of" in sentence or "Traceback" in sentence:
        return f"this is no sentence for a user: {sentence}"
    return ""


def _left_behind(folder: Path) -> str:
    left = sorted(path.name for path in folder.iterdir())
    return f"left behind: {', '.join(left)}" if left else ""


def _wrong_structure(case: Case, graph) -> str:
    samples = case.samples(4, 8)
    network = lower(graph, digits=16).network
    given = arranged(samples, network.tensors[network.input], "samples")
    found = _as_returned(graph, FloatReference(network).run(given))
    expected = case.expected(samples)
    if expected.shape != found.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    if case.rounds:
        worst = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) / 100
    return "" if worst < STRUCTURE else f"real numbers differ by {worst:.2g}"


def _wrong_integers(case: Case, graph, network) -> str:
    samples = case.samples(8, 7)
    source = network.tensors[network.input]
    codes = quantize_input(arranged(samples, source, "samples"), source)
    found = GoldenModel(network).run(codes).astype(np.float32) * network.final.result_scale
    found, expected = _as_returned(graph, found), case.expected(samples)
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    return "" if error < case.error else f"integers differ by {error:.1%} (rms)"


def _as_returned(graph, results):
    """Results with what is left to the host, (samples, values)."""
    results = results.reshape(len(results), *graph.output_shape)
    if graph.tail is not None:
        results = graph.tail.apply(torch.from_numpy(results.astype(np.float32))).numpy()
    return results.reshape(len(results), -1)
