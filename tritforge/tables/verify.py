"""Which backends agree."""

from rich.table import Table

from tritforge.sim.verify import Verification
from tritforge.tables.table import captioned_table

__all__ = ["verification_table"]


def verification_table(result: Verification) -> Table:
    """A row per backend."""
    accuracy = ""
    if result.accuracy is not None:
        accuracy = (
            f". Accuracy of the golden model: {result.accuracy:.2%} of {result.images} images"
        )
    table = captioned_table(
        f"network {result.network}, configuration {result.configuration}: every integer of layers "
        f"{', '.join(result.layers)} against the golden model{accuracy}",
        None,
        ("backend",),
        ("images", "integers compared"),
    )
    table.add_column("result")
    for one in result.comparisons:
        outcome = (
            f"skipped: {one.skipped}"
            if one.skipped
            else str(one.difference)
            if one.difference is not None
            else "equal"
        )
        table.add_row(one.backend, str(one.images), f"{one.values:,}", outcome)
    return table
