"""Output folders that are whole or not there, and replace nothing but their own kind."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_replaceable", "new_folder"]


def check_replaceable(path: Path, marker: str, marker_format: str, files: set[str]) -> bool:
    """Whether ``path`` may be written: it is free, an empty folder, or a folder of ``files``
    only whose JSON file ``marker`` states ``marker_format``."""
    if not path.is_symlink() and not path.exists():
        return True
    if not path.is_dir() or path.is_symlink():
        return False
    names = {entry.name for entry in path.iterdir()}
    if not names:
        return True
    if marker not in names or not names <= files:
        return False
    try:
        return bool(json.loads((path / marker).read_bytes())["format"] == marker_format)
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
