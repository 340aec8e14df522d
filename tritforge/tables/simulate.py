"""What a run cost: sentences and tables of its ``report.json``."""

from rich.table import Table

from tritforge.flows.inputs import clipping_sentence
from tritforge.sim.report import DEFAULT_CLOCK
from tritforge.sim.result import CLUSTER_CYCLES, LayerReport, Loading, RunReport
from tritforge.tables.table import captioned_table

__all__ = [
    "causes_table",
    "input_sentences",
    "layer_tables",
    "loading_sentence",
    "summary",
    "transfer_tables",
]


def summary(report: RunReport, clock: float = DEFAULT_CLOCK) -> str:
    """Two or three sentences on the whole run; ``clock`` in MHz."""
    images = report.images
    plural = "image" if images == 1 else "images"
    what = "the network" if report.layer is None else f"layer {report.layer} alone"
    head = (
        f"{what} on {images} {plural}, backend {report.backend}, "
        f"configuration {report.configuration} ({report.adders} adders)"
    )
    more = "".join(f" {sentence}" for sentence in input_sentences(report))
    if report.verdict is not None:
        more += f"\nspeed: {report.verdict.sentence}"
    if report.total_cycles is None:
        return f"{head}: integers only, this backend has no clock.{more}"
    each = report.total_cycles / images
    rate = report.total_cycles / max(report.wall_seconds, 1e-3)
    return (
        f"{head}: {report.total_cycles:,} cycles in all, {each:,.0f} cycles an image, "
        f"{each / clock / 1000:.3f} ms at {clock:g} MHz, utilization "
        f"{report.utilization or 0:.1%}. {loading_sentence(report.loading)} Simulated in "
        f"{report.wall_seconds:.1f} s, loading included ({rate:,.0f} computing cycles/s).{more}"
    )


def input_sentences(report: RunReport) -> list[str]:
    """How many images are in their class, where there are labels; how much of them is clipped."""
    told = []
    if report.accuracy is not None:
        right = round(report.accuracy * report.images)
        told.append(f"Accuracy {report.accuracy:.2%}: {right:,} of {report.images:,} images.")
    if report.input is not None and report.input.clipped:
        told.append(f"Of the input, {clipping_sentence(report.input)}.")
    return told


def loading_sentence(loading: Loading) -> str:
    """What of loading is in the cycles (nothing), and what it is."""
    words = f"{loading.port_words:,} port words"
    taken = "" if loading.cycles is None else f", in {loading.cycles:,} cycles"
    return {
        "host port": f"Loading is not included (the image: {words}, sent as "
        f"{loading.sent_words or 0:,}{taken}, once).",
        "back door": f"Loading is not included: {words} were put into the memories by the back "
        f"door of the simulation, without a clock cycle.",
        "streamed": f"The image ({words}) does not fit the memories at once: it is sent while the "
        f"array computes, in every run, and that is in the cycles.",
        "already there": f"The image ({words}) was on the board already.",
        "not modelled": f"Loading is not included and not modelled (the image: {words}, once).",
    }[loading.how]


def layer_tables(report: RunReport, clock: float = DEFAULT_CLOCK) -> list[Table]:
    """What each layer cost, how that compares with other machines, and what its cluster cycles
    were spent on: means per image, narrow enough for 80 columns; ``clock`` in MHz. Only the first
    is left where there are no cycles."""
    images = report.images
    costs = captioned_table(
        f"per layer, mean over images; time at {clock:g} MHz",
        None,
        ("layer", "kind"),
        ("rows", "pixels", "cycles", "time, us", "adds", "utilization, %"),
    )
    for layer in report.layers:
        cells = [
            layer.name,
            layer.kind,
            str(layer.rows),
            "x".join(map(str, layer.pixels)),
        ]
        costs.add_row(
            *cells,
            *(
                ["-"] * 4
                if layer.cycles is None
                else _cost(layer.cycles, layer.counters["adds"], images, layer.utilization, clock)
            ),
        )
    if report.total_cycles is None:
        return [costs]
    if len(report.layers) > 1:
        adds = sum(layer.counters["adds"] for layer in report.layers)
        costs.add_section()
        costs.add_row(
            "all",
            "",
            "",
            "",
            *_cost(report.total_cycles, adds, images, report.utilization, clock),
        )
    return [costs, _bounds_table(report), causes_table(report), *transfer_tables(report)]


def _bounds_table(report: RunReport) -> Table:
    table = captioned_table(
        "against the least and against dense execution, cycles per image",
        "dense: MACs / adders; speed-up: dense / cycles; least: no schedule on this "
        "configuration takes fewer; of least: least / cycles",
        ("layer",),
        ("dense MACs", "dense", "cycles", "speed-up", "least", "of least, %"),
    )
    images = report.images

    def row(name: str, layers: list[LayerReport], cycles: int, least: int) -> None:
        macs = sum(layer.mac_count for layer in layers)
        dense = sum(layer.dense_cycles or 0 for layer in layers)
        table.add_row(
            name,
            f"{macs:,}",
            f"{dense / images:,.0f}",
            f"{cycles / images:,.0f}",
            f"{dense / max(1, cycles):.2f}x" if macs else "-",
            f"{least / images:,.0f}",
            f"{100 * least / max(1, cycles):.1f}",
        )

    for layer in report.layers:
        row(layer.name, [layer], layer.cycles or 0, layer.lower_bound or 0)
    if len(report.layers) > 1:
        table.add_section()
        row("all", report.layers, report.total_cycles or 0, report.lower_bound or 0)
    return table


def causes_table(report: RunReport) -> Table:
    """What cluster cycles were spent on, in per cent, by layer; and in which cycles the array as a
    whole waited."""
    table = captioned_table(
        "where cluster cycles went, %; beside them the array's waits, % of cycles",
        "broadcast: an activation goes to the elements; empty: a word held only "
        "zeros; full: waiting for a queue, whose adder has work; imbalance, drain: "
        "waiting for others, for a bank; idle: the rest, most of refill included. "
        "The drain waited for write-backs and pooling (write-back), the program for "
        "trits or activations from the host (refill)",
        ("layer",),
        ("broadcast", "empty", "full", "imbalance", "drain", "idle", "| write-back", "refill"),
    )

    def row(name: str, layers: list[LayerReport]) -> None:
        spent = {
            cause: sum(layer.cluster_cycles[cause] for layer in layers) for cause in CLUSTER_CYCLES
        }
        cycles = max(1, sum(layer.cycles or 0 for layer in layers))
        waits = [
            sum(layer.counters[wait] for layer in layers)
            for wait in ("stall_write_back", "stall_refill")
        ]
        table.add_row(name, *_shares(spent), *(f"{100 * wait / cycles:.1f}" for wait in waits))

    for layer in report.layers:
        row(layer.name, [layer])
    if len(report.layers) > 1:
        table.add_section()
        row("all", report.layers)
    return table


def transfer_tables(report: RunReport) -> list[Table]:
    """What a streamed image cost at the host port, by layer; nothing for others."""
    layers = report.layers
    if not any(layer.passes for layer in layers):
        return []
    table = captioned_table(
        "through the host port, per image",
        "a word is 32 bits, the port takes one per cycle, and 9 cycles more per "
        "packet; waited: for trits or activations that were not there yet",
        ("layer",),
        ("passes", "sent, words", "read, words", "waited, cycles", "of cycles, %"),
    )
    images = report.images

    def row(name: str, chosen: list[LayerReport]) -> None:
        waited = sum(layer.counters["stall_refill"] for layer in chosen)
        table.add_row(
            name,
            *(
                f"{sum(counts):,}"
                for counts in zip(
                    *((layer.passes, layer.sent_words, layer.read_words) for layer in chosen),
                    strict=True,
                )
            ),
            f"{waited / images:,.0f}",
            f"{100 * waited / max(1, sum(layer.cycles or 0 for layer in chosen)):.1f}",
        )

    for layer in layers:
        row(layer.name, [layer])
    if len(layers) > 1:
        table.add_section()
        row("all", layers)
    return [table]


def _cost(
    cycles: int, adds: int, images: int, utilization: float | None, clock: float
) -> list[str]:
    return [
        f"{cycles / images:,.0f}",
        f"{cycles / images / clock:,.1f}",
        f"{adds / images:,.0f}",
        "-" if utilization is None else f"{100 * utilization:.1f}",
    ]


def _shares(spent: dict[str, int]) -> list[str]:
    every = max(1, sum(spent.values()))
    return [f"{100 * spent[name] / every:.1f}" for name in CLUSTER_CYCLES]
