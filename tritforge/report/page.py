"""The page: a pure function of an estimate, the run's report, and what the image says of itself."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tritforge.cost.components import OFF_CHIP
from tritforge.cost.results import Estimate
from tritforge.report.facts import ImageFacts, Kernels, derive
from tritforge.report.numbers import Numbers
from tritforge.report.plots.areas import areas
from tritforge.report.plots.baselines import baselines
from tritforge.report.plots.components import components
from tritforge.report.plots.compression import compression
from tritforge.report.plots.cycles import cycles
from tritforge.report.plots.densities import densities
from tritforge.report.plots.energies import energies
from tritforge.report.plots.kernels import kernels as kernels_plot
from tritforge.report.plots.legend import CAUSES, GROUPS, MOST_NAMED
from tritforge.report.plots.roofline import roofline
from tritforge.report.plots.utilization import utilization
from tritforge.sim.result import RunReport

__all__ = ["GENERATOR", "build_page", "is_page"]

#: By which a page is known.
GENERATOR = '<meta name="generator" content="tritforge report">'

#: How the cycles of a backend came about.
_BACKENDS = {
    "cycle": "Yes. Cycles are those of the cycle model, which tests hold equal to the Verilog in "
    "every cycle and counter.",
    "rtl": "Yes. Cycles were counted by the hardware's own counters in the Verilog, simulated.",
    "pysim": "Yes. Cycles were counted by the hardware's own counters, in Amaranth's simulator.",
}
_OTHER_BACKEND = "Yes. Cycles were counted by the hardware's own counters."


def is_page(text: str) -> bool:
    """Whether what a file begins with is that of a page that was written here."""
    return GENERATOR in text


def build_page(
    estimate: Estimate,
    report: RunReport,
    facts: ImageFacts,
    kernels: Sequence[Kernels],
    *,
    commands: Sequence[tuple[str, str]] = (),
    versions: Mapping[str, str] | None = None,
) -> str:
    """HTML text; the same arguments give the same text.

    Parameters
    ----------
    estimate
        Of the run; the page has all of it but ``seconds``, which differ from one call to the next.
    report
        Of the run.
    facts
        Of the image.
    kernels
        As :func:`tritforge.report.facts.kernels_of` gives them.
    commands
        What it does, and the command, in the order in which they made the run and this page.
    versions
        Of the programs that made this page, by name.
    """
    document = {name: value for name, value in estimate.to_json().items() if name != "seconds"}
    derived = derive(estimate, report, facts, kernels).to_json()
    run = report.to_json()
    image = facts.to_json()
    documents = {"estimate": document, "run": run, "image": image, "derived": derived}
    numbers = Numbers(documents)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    template = environment.get_template("template.html")
    script = _source("page.js")
    text = template.render(
        n=numbers,
        generator=Markup(GENERATOR),
        estimate=document,
        run=run,
        image=image,
        names_width=max(10, min(26, max(len(one.name) for one in estimate.layers))),
        derived=derived,
        plots=_plots(numbers, kernels),
        kernels=kernels,
        causes=CAUSES,
        groups=GROUPS,
        named=len(estimate.layers) <= MOST_NAMED,
        off_chip=OFF_CHIP,
        commands=commands,
        versions=versions or {},
        backend=_BACKENDS.get(estimate.backend, _OTHER_BACKEND),
        streamed=any(layer.passes for layer in report.layers),
        units=_units(numbers, estimate),
        macro_sources=list(dict.fromkeys(one.source for one in estimate.technology.memories)),
        style=Markup(_source("page.css")),
        script=Markup(script),
        script_hash=_hash(script),
        documents={name: _json(document) for name, document in documents.items()},
    )
    return re.sub(r"\n{2,}", "\n", text)


def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").strip()


def _hash(script: str) -> str:
    """What a content security policy calls a script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(document: Any) -> Markup:
    """JSON for a ``script`` element, whose end no text in it can spell."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _units(numbers: Numbers, estimate: Estimate) -> dict[str, str]:
    """One unit for every column whose numbers are to be compared."""
    layers = estimate.layers
    components = [layer.components for layer in layers]
    return {
        "layer": numbers.unit([layer.on_chip.typical for layer in layers], "energy"),
        "host": numbers.unit(
            [*(layer.off_chip.high for layer in layers), estimate.host.off_chip.high], "energy"
        ),
        "component": numbers.unit(
            [band.typical for one in components for band in one.values()], "energy"
        ),
        "time": numbers.unit([layer.microseconds for layer in layers], "time"),
        "bytes": numbers.unit([4.0 * layer.weights for layer in layers], "bytes"),
    }


def _plots(numbers: Numbers, kernels: Sequence[Kernels]) -> dict[str, Markup | list[Markup] | None]:
    weights = numbers.value("sizes.whole.weights", "image")
    return {
        "cycles": cycles(numbers),
        "utilization": utilization(numbers),
        "densities": densities(numbers),
        "energies": energies(numbers),
        "components": components(numbers),
        "areas": areas(numbers),
        "roofline_chip": roofline(numbers, host=False),
        "roofline_host": roofline(numbers, host=True),
        "compression": compression(numbers) if weights else None,
        "baselines": baselines(numbers) if numbers.value("baselines") else None,
        "kernels": [kernels_plot(one) for one in kernels],
    }
