"""The command ``tritforge estimate``: energy and area of a network on a configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tritforge.console import (
    FiniteRange,
    captioned_table,
    input_option,
    json_option,
    progress_bar,
    show,
    significant,
)

__all__ = ["cost_options", "costs", "estimate_command"]

#: Layers beyond which the table of components by layer gives way to the JSON.
_MOST_COLUMNS = 9


def cost_options(command: Any) -> Any:
    """Options of all commands that estimate: technology, clock, a user's cells and memories."""
    for option in reversed(
        (
            click.option(
                "--technology",
                "technology_name",
                metavar="NAME|FILE.toml",
                default="45nm",
                show_default=True,
                help="Figures for energy and area: one that ships (an unknown name lists "
                "them) or a file, see docs/estimate.md.",
            ),
            click.option(
                "--clock",
                type=FiniteRange(min=1e-3, max=1e6),
                metavar="MHZ",
                help="Clock; leakage and power depend on it. [default: the technology's]",
            ),
            click.option(
                "--liberty",
                metavar="FILE.lib",
                type=click.Path(path_type=Path),
                help="Cells to map the design to instead of the technology's: area, and "
                "by it wires and leakage.",
            ),
            click.option(
                "--memories",
                metavar="FILE.toml",
                type=click.Path(path_type=Path),
                help="Memory macros instead of the technology's: a file with its "
                "[[memories]] alone.",
            ),
        )
    ):
        command = option(command)
    return command


def costs(technology_name: str, liberty: Path | None, memories: Path | None) -> tuple[Any, Any]:
    """The technology, with a user's macros if there are any, and the user's library or None.

    Raises
    ------
    CostError
        One of the files is not as it should be.
    """
    import dataclasses

    from tritforge.cost.library import user_library
    from tritforge.cost.technology import load_macros, load_technology

    technology = load_technology(technology_name)
    if memories is not None:
        technology = dataclasses.replace(
            technology,
            macros=load_macros(memories),
            title=f"{technology.title}; memories of {memories}",
        )
    return technology, None if liberty is None else user_library(liberty)


@click.command("estimate")
@click.argument("image", type=click.Path(path_type=Path))
@input_option
@click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="Estimate the image's network on this configuration; it is compiled anew where "
    "that is another one. [default: the image's]",
)
@click.option(
    "--run",
    "run_folder",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Take the counters of this run (simulate or run) of IMAGE on the same inputs, "
    "instead of the cycle model's.",
)
@cost_options
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Also estimate the same array without skipping, and dense 8-bit "
    "multiply-accumulate units.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="Also write everything to this file: every count, figure and source. A former "
    "estimate there is replaced.",
)
@json_option
def estimate_command(
    image: Path,
    inputs: Path,
    config: str | None,
    run_folder: Path | None,
    technology_name: str,
    clock: float | None,
    liberty: Path | None,
    memories: Path | None,
    baselines: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Energy per image, by layer and component, and area of IMAGE on its configuration.

    Energy is counted events (the cycle model's, which equal the RTL's) times published figures of
    a technology; area is the generated Verilog mapped to its cells, and its memories composed of
    its macros. Published figures differ, so all results are bands: low, typical, high. The first
    estimate of a configuration maps its Verilog (20 s for tiny, a minute for alexnet); the result
    is kept.

    No layout and no timing analysis stands behind it: whether the clock is reached is not known.
    """
    from tritforge.common.files import new_file
    from tritforge.cost.errors import CostError
    from tritforge.cost.estimate import estimate, load_run, recompiled, run_estimate
    from tritforge.flows import network as flows
    from tritforge.sim.report import ReportError, dump

    technology, library = costs(technology_name, liberty, memories)
    if output is not None:
        _check_output(output)
    run = None if run_folder is None else load_run(run_folder)
    with progress_bar() as progress:
        if progress is not None:
            progress("loading image", 0.0)
        loaded = flows.opened(image)
        codes = flows.input_codes(loaded, inputs)
        if config is not None:
            from tritforge.hw.presets import load_config

            chosen = load_config(config)
            if run is not None and chosen.identity != loaded.config.identity:
                raise CostError(
                    f"the run is of the image's configuration, {loaded.config.name}, "
                    f"not of {chosen.name}"
                )
            if progress is not None:
                progress(f"compiling for {chosen.name}", 0.0)
            loaded = recompiled(loaded, chosen, codes)
        if run is None:
            document = estimate(
                loaded,
                codes,
                technology,
                library=library,
                clock=clock,
                baselines=baselines,
                progress=progress,
            )
        else:
            document = run_estimate(
                run,
                loaded,
                technology,
                codes=codes,
                library=library,
                clock=clock,
                baselines=baselines,
                progress=progress,
            )
    if output is not None:
        try:
            with new_file(output) as place:
                place.write_text(dump(document), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"estimate {output} cannot be written: {error.strerror}") from error
    show(
        as_json,
        document,
        *parts(document),
        *([] if output is None else [f"{output}: all counts, terms, figures and sources"]),
    )


def _check_output(path: Path) -> None:
    """Refuse a file that is somebody else's, or that would lie in a finished folder.

    Raises
    ------
    ReportError
    """
    import json

    from tritforge.common.files import file_obstacle
    from tritforge.cost.estimate import FORMAT
    from tritforge.sim.report import ReportError

    begin = f'{{\n  "format": {json.dumps(FORMAT)},'  # as tritforge.sim.report.dump() has it
    if sentence := file_obstacle(path, f"is not a {FORMAT}", lambda text: text.startswith(begin)):
        raise ReportError(sentence)


# ----- showing


def parts(document: Mapping[str, Any]) -> list[str | Table]:
    """Texts and tables of an estimate."""
    unit = _unit(document["totals"]["all layers"]["on_chip"]["typical"])
    return [
        *_sentences(document, *unit),
        _layer_table(document, *unit),
        _component_table(document, *unit),
        _area_table(document),
        *_baseline_tables(document, *unit),
        _last(document),
    ]


def _unit(energy: float) -> tuple[str, float]:
    """Unit of energies in which the whole is at least 10, and pJ of one."""
    return next(
        (name, scale)
        for name, scale in (("mJ", 1e9), ("uJ", 1e6), ("nJ", 1e3), ("pJ", 1.0))
        if energy >= 10 * scale or scale == 1
    )


def _band(band: Mapping[str, float] | None, scale: float) -> str:
    """``typical (low-high)``: three significant digits, and two of what is doubtful anyway."""
    if band is None:
        return "-"
    if band["high"] == 0:
        return "0"
    low, high = (significant(band[name] / scale, 2) for name in ("low", "high"))
    return f"{significant(band['typical'] / scale, 3)} ({low}-{high})"


def _sentences(document: Mapping[str, Any], unit: str, scale: float) -> list[str]:
    energy, technology, images = document["energy"], document["technology"], document["images"]
    checked = (
        "every layer's additions equal what its trits and activations say"
        if document["adds_checked"]
        else "its additions were not compared with an input"
    )
    library = document["area"]["library"]
    cells = "" if library == technology["name"] else f"; cells of {library}"
    words = document["host"]["port_words"]
    lines = [
        f"network {document['network']} on configuration {document['configuration']['name']} "
        f"({document['adders']} adders), {images} image{'s' * (images != 1)}; counters of backend "
        f"{document['backend']}, {checked}.",
        f"technology {technology['name']}: {technology['title']}{cells}",
        f"{_band(energy['on_chip'], scale)} {unit} an image on the chip, typical (low-high), input "
        f"and results included; off the chip {_band(energy['off_chip'], scale)} {unit}",
        f"{document['cycles']:,.0f} cycles, {document['microseconds']:,.1f} us at "
        f"{document['clock_mhz']['typical']:g} MHz (no timing analysis), "
        f"{_band(document['average_power_mw'], 1)} mW; input and results are {words:,.0f} port "
        f"words, a word a cycle at best, not in the cycles",
        f"area {_band(document['area']['total_um2'], 1e6)} mm2, pads not included",
    ]
    for name, total in document["totals"].items():
        lines.append(
            f"{name}: {_band(total['on_chip'], scale)} {unit}, "
            f"{_band(total['pj_per_add'], 1)} pJ an addition of a nonzero trit, "
            f"{_band(total['pj_per_mac'], 1)} pJ a dense multiply-accumulate"
        )
    if (loading := document["loading"]) is not None:
        lines.append(
            f"once, not in these figures: loading {loading['port_words']:,} words, "
            f"{_band(loading['on_chip'], scale)} {unit} on the chip, "
            f"{_band(loading['off_chip'], scale)} {unit} off it"
        )
    return ["\n".join(lines)]


def _layer_table(document: Mapping[str, Any], unit: str, scale: float) -> Table:
    table = captioned_table(
        "energy of one image by layer, typical (low-high)",
        "on chip, leakage included; add: addition of a nonzero trit; MAC: dense "
        "multiply-accumulate of the trained layer",
        ("layer",),
        ("cycles", "adds", unit, "pJ / add", "pJ / MAC", f"off chip, {unit}"),
    )
    for layer in document["layers"]:
        table.add_row(
            layer["name"],
            f"{layer['cycles']:,.0f}",
            f"{layer['events']['adds']:,.0f}",
            _band(layer["on_chip"], scale),
            _band(layer["pj_per_add"], 1),
            _band(layer["pj_per_mac"], 1),
            _band(layer["off_chip"], scale),
        )
    host = document["host"]
    table.add_row(
        host["name"], "", "", _band(host["on_chip"], scale), "", "", _band(host["off_chip"], scale)
    )
    return table


def _component_table(document: Mapping[str, Any], unit: str, scale: float) -> Table:
    names = [layer["name"] for layer in document["layers"]]
    shown = names if len(names) <= _MOST_COLUMNS else []
    table = captioned_table(
        f"by component, {unit} an image",
        "all: typical (low-high), input and results included; layers: typical"
        if shown
        else "typical (low-high); by layer: --json",
        ("component",),
        ("all", "%", *shown),
    )
    energy = document["energy"]
    whole = energy["on_chip"]["typical"]
    for component in document["components"]:
        band = energy["components"][component]
        share = "-" if component == "off chip" else f"{100 * band['typical'] / whole:.1f}"
        table.add_row(
            component,
            _band(band, scale),
            share,
            *(
                significant(layer["components"][component]["typical"] / scale, 2)
                for layer in document["layers"]
                if shown
            ),
        )
    return table


def _area_table(document: Mapping[str, Any]) -> Table:
    area = document["area"]
    table = captioned_table(
        "area by block, mm2, typical (low-high)",
        "all blocks of a kind, without those inside them that have their own line; "
        "logic: cells and the space between them",
        ("block",),
        ("count", "logic", "memory", "flip-flops"),
    )
    for block in sorted(area["blocks"], key=lambda one: -one["area_um2"]["typical"]):
        table.add_row(
            block["name"],
            str(block["count"]),
            _band(block["logic_um2"], 1e6),
            _band(block["memory_um2"], 1e6),
            f"{block['all_flip_flops']:,}",
        )
    table.add_section()
    table.add_row("all", "", _band(area["logic_um2"], 1e6), _band(area["memory_um2"], 1e6), "")
    return table


def _baseline_tables(document: Mapping[str, Any], unit: str, scale: float) -> list[str | Table]:
    if not document["baselines"]:
        return []
    table = captioned_table(
        "beside it, with the same figures; layers only",
        "x: times this design. MAC units lose no cycle, pay for no wires and no "
        "control, and have all weights on the chip in 8 bits; reuse of a weight is "
        "free",
        ("machine",),
        ("cycles", "x", f"{unit} on chip", "x", "without leakage", "x"),
    )
    mine = document["totals"]["all layers"]

    def row(title: str, one: Mapping[str, Any]) -> None:
        table.add_row(
            title,
            f"{one['cycles']:,.0f}",
            f"{one['cycles'] / max(1, mine['cycles']):.2f}",
            *(
                text
                for name in ("on_chip", "dynamic")
                for text in (
                    _band(one[name], scale),
                    f"{one[name]['typical'] / mine[name]['typical']:.2f}",
                )
            ),
        )

    row("this design", mine)
    for one in document["baselines"].values():
        row(one["title"], one)
    return [table]


def _last(document: Mapping[str, Any]) -> str:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in document["seconds"].items())
    return f"wall time: {seconds}"
