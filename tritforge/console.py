"""What commands have in common at the terminal: progress, tables or JSON, two options."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = [
    "FiniteRange",
    "captioned_table",
    "input_option",
    "json_option",
    "progress_bar",
    "show",
    "significant",
]


class FiniteRange(click.FloatRange):
    """A range of numbers that are no NaN and not infinite."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON instead of tables, and nothing else, on standard output.",
)
input_option = click.option(
    "--input",
    "inputs",
    required=True,
    metavar="X.npy",
    type=click.Path(path_type=Path),
    help="Images, (N, C, H, W), or one, (C, H, W). Float arrays hold real numbers as the network "
    "was trained on, and are quantized; integer arrays hold activation codes.",
)


def captioned_table(title: str, caption: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """An empty table with a title and an explanation: columns of names, and of numbers."""
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


def _console() -> Console:
    """Standard output; wide enough for the tables where it is not a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def _print(text: str) -> None:
    _console().print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None] | None]:
    """A progress bar on standard error, or nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=1.0)
        yield lambda message, done: bars.update(task, description=message, completed=done)


def show(as_json: bool, document: Any, *parts: str | Table) -> None:
    """Either JSON alone, or texts and tables."""
    if as_json:
        from tritforge.sim.report import dump

        click.echo(dump(document), nl=False)
        return
    console = _console()
    for part in parts:
        if isinstance(part, Table):
            # a table's own title would be broken at the table's width
            if part.title:
                _print(f"\n{part.title}")
                part.title = None
            console.print(part)
        else:
            _print(part)
