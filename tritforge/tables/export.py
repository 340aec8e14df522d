"""What became of a network's weights, and how large its image is."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from tritforge.flows.export import Accuracy
from tritforge.flows.layer_errors import LayerError
from tritforge.model_export.image.manifest import Manifest, Streaming
from tritforge.model_export.memory.plan import LayerUse
from tritforge.tables.table import captioned_table

__all__ = ["accuracy_sentence", "error_tables", "export_parts", "export_sentence", "memory_tables"]


def export_parts(manifest: Manifest) -> list[str | Table]:
    """What became of every layer's weights: a table, and a sentence per layer."""
    table = captioned_table(
        "what became of the weights",
        "error: largest |stored - trained| / largest |trained| weight, before coefficients; "
        "density: nonzero trits, or nonzero bytes, / all; bits: of an accumulator, by the proven "
        "bound; bytes: trits as they are stored, packed",
        ("layer", "kind"),
        ("weights", "error, %", "groups", "density, %", "Wp, Wn", "bits", "bytes"),
    )
    for layer in manifest.layers:
        groups = layer.groups
        pair = (
            f"{groups[0].coefficient_plus}, {groups[0].coefficient_minus}"
            if len(groups) == 1
            else "several"
        )
        table.add_row(
            layer.name,
            layer.kind,
            f"{layer.weights:,}",
            f"{100 * layer.weight_error:.2f}" if layer.weights else "-",
            str(len(groups)),
            f"{100 * layer.density:.1f}",
            pair,
            str(layer.accumulator_bits),
            f"{layer.packed_bytes:,}",
        )
    return [
        table,
        *(f"{layer.name}: {layer.note}" for layer in manifest.layers if layer.note),
    ]


def memory_tables(manifest: Manifest) -> list[Table]:
    """What the memories hold, and for a streamed network a row per layer of what stays on the
    chip and what moves."""
    if not manifest.memories:
        return []
    table = captioned_table(
        "what the memories hold",
        "words: of one memory of that kind; needed: in use, or to hold everything at once; what "
        "does not stay passes through the port for every image",
        ("memory", ""),
        ("words", "needed", "lacking"),
    )
    for one in manifest.memories:
        lacking = one.lacking
        table.add_row(
            one.memory,
            "stays" if one.stays else "passes through",
            f"{one.words:,}",
            "-" if one.needed is None else f"{one.needed:,}",
            "-" if not lacking else f"{lacking:,}",
        )
    layers = [] if manifest.streaming is None else manifest.streaming.layers
    return [table, *([_layer_table(layers)] if layers else [])]


def _layer_table(layers: Sequence[LayerUse]) -> Table:
    table = captioned_table(
        "what moves, for every image",
        "output: whether it stays on the chip or goes to the host; cuts: strips of rows; on chip: "
        "activation words in use in each slice; port words that are sent for strips of "
        "activations, for trits, and for program, rows and tables; back: port words that are read",
        ("layer", "output"),
        ("passes", "cuts", "on chip", "strips", "trits", "rest", "back"),
    )
    for one in layers:
        numbers = (
            one.passes,
            one.strips,
            one.chip_words,
            one.activation_words,
            one.trit_words,
            one.other_words,
            one.read_words,
        )
        where = "host" if one.to_host else "-" if one is layers[-1] else "stays"
        table.add_row(one.layer, where, *(f"{n:,}" if n else "-" for n in numbers))
    return table


def error_tables(errors: Sequence[LayerError]) -> list[Table]:
    """Where accuracy is lost: a row per layer; no table where nothing was compared."""
    if not errors:
        return []
    table = captioned_table(
        "what integers cost, on the samples that were checked",
        "rms: of the difference from real numbers, over the rms of these; worst: largest "
        "difference over the largest magnitude; clipped: values beyond the scale's range. Every "
        "layer has in it what those before it have lost",
        ("layer", "kind"),
        ("rms error, %", "worst, %", "clipped, %"),
    )
    for error in errors:
        shares = (error.rms, error.worst, error.clipped)
        table.add_row(error.name, error.kind, *(f"{100 * share:.2f}" for share in shares))
    return [table]


def accuracy_sentence(accuracy: Accuracy) -> str:
    """What integers cost in accuracy."""
    return (
        f"accuracy on {accuracy.samples:,} calibration samples: {accuracy.real:.2%} in real "
        f"numbers, {accuracy.integers:.2%} in integers"
    )


def export_sentence(manifest: Manifest, output: Path) -> str:
    """What was written, and how large it is."""
    sizes = manifest.sizes.whole
    ratio = sizes.float32_over_packed
    small = f", {ratio:.1f} times smaller than 32-bit weights" if ratio else ""
    return (
        f"{output}: network {manifest.network} for configuration "
        f"{manifest.configuration['name']}; {sizes.weights:,} weights in "
        f"{sizes.packed_bytes:,} bytes of trits{small}; {sizes.memory_bytes:,} bytes of "
        f"memory contents{_streaming_clause(manifest.streaming)}"
    )


def _streaming_clause(streaming: Streaming | None) -> str:
    """How an image that does not fit is run."""
    if streaming is None:
        return ""
    kept = ", ".join(streaming.external_tensors)
    return (
        f", which do not fit at once: streamed in {streaming.passes} passes, "
        f"{streaming.sent_words:,} port words to the accelerator and "
        f"{streaming.read_words:,} back for every image (tensors kept by the host: {kept})"
    )
