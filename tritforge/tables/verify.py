"""Which backends agree."""

from rich import box
from rich.table import Table

from tritforge.sim.verify import Verification

__all__ = ["verification_table"]


def verification_table(result: Verification) -> Table:
    """A row per backend."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title=f"network {result.network}, configuration {result.configuration}: every "
        f"integer of layers {', '.join(result.layers)} against the golden model",
    )
    for title in ("backend", "images", "integers compared", "result"):
        table.add_column(
            title, justify="right" if title in ("images", "integers compared") else "left"
        )
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
