"""The suite's results: a row a pair, where cycles went, and layers."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from tritforge.flows.suite_result import CAUSES, PairResult, SuiteResult, mean_speed_up
from tritforge.tables.table import captioned_table

__all__ = ["suite_parts"]

#: Columns of kinds of layers, and the kinds in each; all others are under "other".
KINDS = {
    "conv": ("conv",),
    "linear": ("linear",),
    "add": ("add",),
    "norm": ("norm", "identity"),
    "pool": ("pool", "avgpool", "maxpool"),
}
_HEADS = dict(
    zip(
        CAUSES,
        ("bcast", "zeros", "full", "imbal", "drain", "port", "idle"),
        strict=True,
    )
)
#: Layers with weights below this speed-up are marked.
SLOW = 0.5


def suite_parts(
    result: SuiteResult,
    output: Path | None,
    *,
    layers: bool = False,
    former: SuiteResult | None = None,
) -> list[str | Table]:
    """Texts and tables that show a result; with ``layers`` a table of each pair's layers, with
    ``former`` the speed-ups of a former suite, pair by pair of the same network and preset."""
    parts: list[str | Table] = []
    if result.pairs:
        parts += [_speed_table(result.pairs, former), _causes_table(result.pairs)]
        if all(one.energy_uj is not None for one in result.pairs):
            parts.append(_cost_table(result.pairs))
        if layers:
            parts += [_layer_table(one) for one in result.pairs]
        parts.append(_sentences(result.pairs))
    parts += [f"{one.name} was not measured: {one.error}" for one in result.unmeasured]
    if result.mean_speed_up is not None:
        parts.append(
            f"geometric mean of {len(result.mean_of)} (marked *): {result.mean_speed_up:.3f} times "
            f"as fast as dense" + _mean_before(result, former)
        )
    parts.append(f"wall time: {result.seconds:.0f} s")
    if output is not None:
        parts.append(f"all figures: {output}/suite.json, picture {output}/suite.png")
    return parts


def _mean_before(result: SuiteResult, former: SuiteResult | None) -> str:
    """The former mean, over the same pairs."""
    if former is None:
        return ""
    wanted = {(one.network, one.preset) for one in result.pairs if one.in_mean}
    same = [one for one in former.pairs if (one.network, one.preset) in wanted]
    mean = mean_speed_up(same) if len(same) == len(wanted) else None
    return "" if mean is None else f", before {mean:.3f}"


def _speed_table(pairs: Sequence[PairResult], former: SuiteResult | None) -> Table:
    known = {} if former is None else {(one.network, one.preset): one for one in former.pairs}
    table = captioned_table(
        "times as fast as dense, mean over the images",
        "dense: MACs of layers with weights / adders; least: additions, broadcasts, drain, "
        "write-backs and port words alone; others: cycles in layers without weights; worst: of the "
        "layers with weights that take 1 % of the cycles or more, ! below 0.5; *: in the mean; "
        "~: weights drawn",
        ("network@configuration",),
        (
            "cycles",
            "dense",
            "speed-up",
            *(() if former is None else ("before",)),
            "least, %",
            "frames/s",
            "others, %",
            "worst layer",
        ),
    )
    for one in pairs:
        table.add_row(
            one.title + " ~" * (one.weights == "drawn") + " *" * one.in_mean,
            f"{one.cycles:,.0f}",
            f"{one.dense_cycles:,.0f}",
            f"{one.speed_up:.2f}",
            *(() if former is None else (_before(known.get((one.network, one.preset))),)),
            f"{100 * one.least_cycles / one.cycles:.0f}",
            f"{one.frames_per_second:,.0f}",
            f"{100 * one.without_weights:.0f}",
            _worst(one),
        )
    return table


def _before(one: PairResult | None) -> str:
    return "-" if one is None else f"{one.speed_up:.2f}"


def _worst(one: PairResult) -> str:
    if one.worst_layer is None or one.worst_speed_up is None:
        return "-"
    mark = "!" if one.worst_speed_up < SLOW else " "
    return f"{_short(one.worst_layer, 12)} {one.worst_speed_up:.2f}{mark}"


def _cost_table(pairs: Sequence[PairResult]) -> Table:
    table = captioned_table(
        "energy an image and area, typical, at 45 nm",
        "leakage included, off-chip memory not; at the clock of the technology",
        ("network@configuration",),
        ("uJ", "pJ a MAC", "area, mm2"),
    )
    for one in pairs:
        energy, area = one.energy_uj or 0.0, one.area_mm2 or 0.0
        macs = one.dense_cycles * one.adders
        table.add_row(one.title, f"{energy:,.1f}", f"{1e6 * energy / macs:.2f}", f"{area:,.1f}")
    return table


def _causes_table(pairs: Sequence[PairResult]) -> Table:
    others = any(_other(one) for one in pairs)
    table = captioned_table(
        "where the cycles went, %",
        "left: of the cycles, by kind of layer; then of the cluster cycles: an activation goes to "
        "the elements, a word holds only zeros, a queue is full and its adder at work, waiting for "
        "other clusters (imbalance), for the drain, for the host port, for the sequencer (idle); "
        "adds: of the adders' cycles, those in which they add",
        ("network@configuration",),
        (
            *KINDS,
            *(("other",) if others else ()),
            *(f"| {name}" if cause == CAUSES[0] else name for cause, name in _HEADS.items()),
            "| adds",
        ),
    )
    for one in pairs:
        shares = [sum(one.by_kind.get(kind, 0) for kind in kinds) for kinds in KINDS.values()]
        table.add_row(
            one.title,
            *(f"{100 * share:.0f}" for share in shares),
            *((f"{100 * _other(one):.0f}",) if others else ()),
            *(f"{100 * one.causes[cause]:.0f}" for cause in CAUSES),
            f"{100 * one.utilization:.0f}",
        )
    return table


def _other(one: PairResult) -> float:
    known = {kind for kinds in KINDS.values() for kind in kinds}
    return sum(share for kind, share in one.by_kind.items() if kind not in known)


def _layer_table(one: PairResult) -> Table:
    table = captioned_table(
        f"layers of {one.title}",
        None,
        ("layer", "kind"),
        (
            "rows",
            "pixels",
            "groups",
            "cycles",
            "%",
            "a pixel",
            "dense",
            "speed-up",
            "least",
            "adders, %",
        ),
    )
    for layer in one.layers:
        height, width = layer.pixels
        table.add_row(
            _short(layer.name, 28),
            layer.kind,
            str(layer.rows),
            f"{height}x{width}",
            str(layer.groups),
            f"{layer.cycles:,.0f}",
            f"{100 * layer.cycles / one.cycles:.1f}",
            f"{layer.cycles / (height * width):,.1f}",
            "-" if layer.speed_up is None else f"{layer.dense_cycles:,.0f}",
            "-"
            if layer.speed_up is None
            else f"{layer.speed_up:.2f}{' !' if layer.speed_up < SLOW else ''}",
            f"{layer.least_cycles:,.0f}",
            f"{100 * layer.utilization:.0f}",
        )
    return table


def _short(name: str, most: int = 20) -> str:
    """The end of a long name."""
    return name if len(name) <= most else f"..{name[2 - most :]}"


def _sentences(pairs: Sequence[PairResult]) -> str:
    """What each pair is bound by, and what each network's weights and images are."""
    bound = [f"{one.title}: {one.verdict}" for one in pairs]
    origins = {
        one.network: f"{one.network}: {one.weights}; {one.statement}; {len(one.images)} of "
        f"{one.images_of}"
        for one in pairs
    }
    return "\n".join([*bound, "", *origins.values()])
