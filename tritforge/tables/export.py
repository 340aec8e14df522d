"""What became of a network's weights, and how large its image is."""

from pathlib import Path

from rich.table import Table

from tritforge.model_export.image.manifest import Manifest, Streaming
from tritforge.tables.table import captioned_table

__all__ = ["export_parts", "export_sentence"]


def export_parts(manifest: Manifest) -> list[str | Table]:
    """What became of every layer's weights: a table, and a sentence per layer."""
    table = captioned_table(
        "what became of the weights",
        "error: largest |stored - trained| / largest |trained| weight, before coefficients; "
        "density: nonzero trits / all; bits: of an accumulator, by the proven bound; bytes: trits "
        "as they are stored, packed",
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
