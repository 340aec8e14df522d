"""Energy and area: by layer, component, block, and beside other machines."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from tritforge.tables.table import captioned_table, significant

__all__ = ["estimate_parts"]

#: Layers beyond which the table of components by layer gives way to the JSON.
_MOST_COLUMNS = 9


def estimate_parts(document: Mapping[str, Any]) -> list[str | Table]:
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
