"""Output files and folders that are whole or not there; folders replace only their own kind."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["file_obstacle", "finished_parent", "new_file", "new_folder", "obstacle"]

#: JSON files by which finished folders are known.
_MARKERS = ("manifest.json", "report.json")


def obstacle(path: Path, marker: str, marker_format: str, files: set[str]) -> str | None:
    """Why ``path`` must not be written, as a sentence; None if it may.

    It may if it is free, an empty folder, or a folder of ``files`` only whose JSON file ``marker``
    states ``marker_format``, and does not lie in another finished folder, whose files are checked.
    """
    if sentence := finished_parent(path):
        return sentence
    if not path.is_symlink() and not path.exists():
        return None
    if path.is_dir() and Path.cwd().is_relative_to(os.path.realpath(path)):
        return f"{path} is the folder that you are in, or holds it; give another one"
    if path.is_dir() and not path.is_symlink():
        names = {entry.name for entry in path.iterdir()}
        if not names or (
            marker in names and names <= files and _format(path / marker) == marker_format
        ):
            return None
    return f"{path} exists and is not a {marker_format}; it is left as it is"


def finished_parent(path: Path) -> str | None:
    """That ``path`` lies in a finished folder, whose files are checked, as a sentence, or None."""
    for parent in Path(os.path.realpath(path)).parents:
        for name in _MARKERS:
            if (parent / name).is_file() and str(_format(parent / name)).startswith("tritforge"):
                return f"{path} lies in {parent}, which is a {_format(parent / name)}"
    return None


def file_obstacle(
    path: Path, reason: str, known: Callable[[str], bool], head: int = 1000
) -> str | None:
    """Why the file ``path`` must not be written, as a sentence; None if it may.

    It may if it is free, or a file that ``known`` takes for one of its kind by its first ``head``
    characters (a ValueError means that it does not), and does not lie in a finished folder.
    ``reason`` says of any other that it is none: "is not a ..".
    """
    if sentence := finished_parent(path):
        return sentence
    if not path.is_symlink() and not path.exists():
        return None
    try:
        if path.is_file() and not path.is_symlink():
            with path.open(encoding="utf-8") as file:
                if known(file.read(head)):
                    return None
    except (OSError, ValueError):
        pass
    return f"{path} exists and {reason}; it is left as it is"


def _format(path: Path) -> object:
    """What the JSON file says it is, or None."""
    try:
        return json.loads(path.read_bytes())["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, empty, that takes its place if the block ends well.

    Raises
    ------
    OSError
        The file cannot be made or moved; what stood at ``path`` still does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.partial-", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place if the block ends well.

    Raises
    ------
    OSError
        The folder cannot be made or moved; what stood at ``path`` still does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    try:
        os.rename(path, aside / "old")
        try:
            os.rename(temporary, path)
        except BaseException:
            os.rename(aside / "old", path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
