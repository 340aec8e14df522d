"""How tables and their numbers look."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

__all__ = ["captioned_table", "significant"]


def captioned_table(
    title: str, caption: str | None, left: Sequence[str], right: Sequence[str]
) -> Table:
    """An empty table with a title and, below, an explanation: columns of names, and of numbers."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right")
    return table


def significant(value: float, digits: int) -> str:
    """A number with so many significant digits, but no fewer than its whole part has."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
