"""What commands have in common at the terminal: progress, warnings, and tables or JSON."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from tritforge.common.errors import TritforgeWarning

__all__ = [
    "progress_bar",
    "sentence",
    "show",
    "warnings_shown",
]


def _console() -> Console:
    """Standard output; wide enough for the tables where it is not a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def _print(text: str) -> None:
    _console().print(text, highlight=False, markup=False, soft_wrap=True)


def sentence(message: str) -> str:
    """One line that a terminal shows as it is."""
    line = " ".join(message.split())
    return "".join(one if one.isprintable() else "?" for one in line)


@contextmanager
def warnings_shown() -> Iterator[list[str]]:
    """Warnings of this program as sentences on standard error, and in the list that it gives;
    those of others as Python shows them."""
    told: list[str] = []
    with warnings.catch_warnings():
        others = warnings.showwarning
        warnings.simplefilter("always", TritforgeWarning)

        def showwarning(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, TritforgeWarning):
                others(message, category, filename, lineno, file, line)
                return
            told.append(sentence(str(message)))
            print(f"tritforge: warning: {told[-1]}", file=sys.stderr)

        warnings.showwarning = showwarning
        yield told


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None] | None]:
    """A progress bar on standard error, or nothing where that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=1.0)
        yield lambda message, done: bars.update(task, description=message, completed=done)


def show(as_json: bool, document: Any, *parts: str | Table) -> None:
    """Either JSON alone, with the warnings of this command, or texts and tables."""
    if as_json:
        from tritforge.common.json_types import dump, to_json

        values = to_json(document)
        assert isinstance(values, dict)
        told = click.get_current_context().find_object(list)
        click.echo(dump({**values, "warnings": told}), nl=False)
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
