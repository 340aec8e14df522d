"""Energy and area: by layer, component, block, and beside other machines."""

from rich.table import Table

from tritforge.cost.band import Band, Extremes
from tritforge.cost.results import Baseline, Estimate, Total
from tritforge.tables.table import captioned_table, significant

__all__ = ["estimate_parts"]

#: Layers beyond which the table of components by layer gives way to the JSON.
_MOST_COLUMNS = 9


def estimate_parts(estimate: Estimate) -> list[str | Table]:
    """Texts and tables of an estimate."""
    unit = _unit(estimate.totals["all layers"].on_chip.typical)
    return [
        *_sentences(estimate, *unit),
        _layer_table(estimate, *unit),
        _component_table(estimate, *unit),
        _area_table(estimate),
        *_baseline_tables(estimate, *unit),
        _last(estimate),
    ]


def _unit(energy: float) -> tuple[str, float]:
    """Unit of energies in which the whole is at least 10, and pJ of one."""
    return next(
        (name, scale)
        for name, scale in (("mJ", 1e9), ("uJ", 1e6), ("nJ", 1e3), ("pJ", 1.0))
        if energy >= 10 * scale or scale == 1
    )


def _band(band: Band | Extremes | None, scale: float) -> str:
    """``typical (low-high)``: three significant digits, and two of what is doubtful anyway."""
    if band is None:
        return "-"
    if band.high == 0:
        return "0"
    low, high = (significant(end / scale, 2) for end in (band.low, band.high))
    return f"{significant(band.typical / scale, 3)} ({low}-{high})"


def _sentences(estimate: Estimate, unit: str, scale: float) -> list[str]:
    energy, technology, images = estimate.energy, estimate.technology, estimate.images
    checked = (
        "every layer's additions equal what its trits and activations say"
        if estimate.adds_checked
        else "its additions were not compared with an input"
    )
    library = estimate.area.library
    cells = "" if library == technology.name else f"; cells of {library}"
    words = estimate.host.port_words
    lines = [
        f"network {estimate.network} on configuration {estimate.configuration['name']} "
        f"({estimate.adders} adders), {images} image{'s' * (images != 1)}; counters of backend "
        f"{estimate.backend}, {checked}.",
        f"technology {technology.name}: {technology.title}{cells}",
        f"{_band(energy.on_chip, scale)} {unit} an image on the chip, typical (low-high), input "
        f"and results included; off the chip {_band(energy.off_chip, scale)} {unit}",
        f"{estimate.cycles:,.0f} cycles, {estimate.microseconds:,.1f} us at "
        f"{estimate.clock_mhz.typical:g} MHz (no timing analysis), "
        f"{_band(estimate.average_power_mw, 1)} mW; input and results are {words:,.0f} port "
        f"words, a word a cycle at best, not in the cycles",
        f"area {_band(estimate.area.total_um2, 1e6)} mm2, pads not included",
    ]
    for name, total in estimate.totals.items():
        lines.append(
            f"{name}: {_band(total.on_chip, scale)} {unit}, "
            f"{_band(total.pj_per_add, 1)} pJ an addition of a nonzero trit, "
            f"{_band(total.pj_per_mac, 1)} pJ a dense multiply-accumulate"
        )
    if (loading := estimate.loading) is not None:
        lines.append(
            f"once, not in these figures: loading {loading.port_words:,} words, "
            f"{_band(loading.on_chip, scale)} {unit} on the chip, "
            f"{_band(loading.off_chip, scale)} {unit} off it"
        )
    return ["\n".join(lines)]


def _layer_table(estimate: Estimate, unit: str, scale: float) -> Table:
    table = captioned_table(
        "energy of one image by layer, typical (low-high)",
        "on chip, leakage included; add: addition of a nonzero trit; MAC: dense "
        "multiply-accumulate of the trained layer",
        ("layer",),
        ("cycles", "adds", unit, "pJ / add", "pJ / MAC", f"off chip, {unit}"),
    )
    for layer in estimate.layers:
        table.add_row(
            layer.name,
            f"{layer.cycles:,.0f}",
            f"{layer.events['adds']:,.0f}",
            _band(layer.on_chip, scale),
            _band(layer.pj_per_add, 1),
            _band(layer.pj_per_mac, 1),
            _band(layer.off_chip, scale),
        )
    host = estimate.host
    table.add_row(
        host.name, "", "", _band(host.on_chip, scale), "", "", _band(host.off_chip, scale)
    )
    return table


def _component_table(estimate: Estimate, unit: str, scale: float) -> Table:
    names = [layer.name for layer in estimate.layers]
    shown = names if len(names) <= _MOST_COLUMNS else []
    table = captioned_table(
        f"by component, {unit} an image",
        "all: typical (low-high), input and results included; layers: typical"
        if shown
        else "typical (low-high); by layer: --json",
        ("component",),
        ("all", "%", *shown),
    )
    energy = estimate.energy
    whole = energy.on_chip.typical
    for component in estimate.components:
        band = energy.components[component]
        share = "-" if component == "off chip" else f"{100 * band.typical / whole:.1f}"
        table.add_row(
            component,
            _band(band, scale),
            share,
            *(
                significant(layer.components[component].typical / scale, 2)
                for layer in estimate.layers
                if shown
            ),
        )
    return table


def _area_table(estimate: Estimate) -> Table:
    area = estimate.area
    table = captioned_table(
        "area by block, mm2, typical (low-high)",
        "all blocks of a kind, without those inside them that have their own line; "
        "logic: cells and the space between them",
        ("block",),
        ("count", "logic", "memory", "flip-flops"),
    )
    for block in sorted(area.blocks, key=lambda one: -one.area_um2.typical):
        table.add_row(
            block.name,
            str(block.count),
            _band(block.logic_um2, 1e6),
            _band(block.memory_um2, 1e6),
            f"{block.all_flip_flops:,}",
        )
    table.add_section()
    table.add_row("all", "", _band(area.logic_um2, 1e6), _band(area.memory_um2, 1e6), "")
    return table


def _baseline_tables(estimate: Estimate, unit: str, scale: float) -> list[str | Table]:
    if estimate.baselines is None:
        return []
    table = captioned_table(
        "beside it, with the same figures; layers only",
        "x: times this design. MAC units lose no cycle, pay for no wires and no "
        "control, and have all weights on the chip in 8 bits; reuse of a weight is "
        "free",
        ("machine",),
        ("cycles", "x", f"{unit} on chip", "x", "without leakage", "x"),
    )
    mine = estimate.totals["all layers"]

    def row(title: str, one: Total | Baseline) -> None:
        table.add_row(
            title,
            f"{one.cycles:,.0f}",
            f"{one.cycles / max(1, mine.cycles):.2f}",
            _band(one.on_chip, scale),
            f"{one.on_chip.typical / mine.on_chip.typical:.2f}",
            _band(one.dynamic, scale),
            f"{one.dynamic.typical / mine.dynamic.typical:.2f}",
        )

    row("this design", mine)
    for one in estimate.baselines.by_name().values():
        row(one.title, one)
    return [table]


def _last(estimate: Estimate) -> str:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in estimate.seconds.items())
    return f"wall time: {seconds}"
