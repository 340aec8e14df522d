"""What commands have in common at the terminal: progress, and tables or JSON."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

__all__ = [
    "progress_bar",
    "show",
]


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
        from tritforge.common.json_types import dump

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
