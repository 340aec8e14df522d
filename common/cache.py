"""What takes long to make is kept for the next time.

It is kept in ``$TRITFORGE_CACHE``, else in ``$XDG_CACHE_HOME/tritforge``, else in
``~/.cache/tritforge``. Where that folder cannot be written (read-only, a file in its way, no home
folder), a temporary folder takes its place until the program ends, and a note on standard error
says so: making something again costs a minute, a refusal would cost the result.

A file's name has a digest of all that it is made from, and one of what it holds: a file that is
damaged is made again. What is in the folder already is used also where it cannot be written.
"""

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tritforge.common.errors import TritforgeError

__all__ = ["CacheError", "cache_folder", "cached"]


class CacheError(TritforgeError, RuntimeError):
    """Something cannot be made, because there is no room for it; the message is one sentence."""


def cache_folder() -> Path:
    """The folder where things are kept, which exists and can be written.

    Raises
    ------
    CacheError
        Not even a temporary folder can be written.
    """
    folder = _chosen_folder()
    try:
        # a home that is not there is no place to make folders in
        if os.environ.get("TRITFORGE_CACHE") or os.environ.get("XDG_CACHE_HOME"):
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.parents[1].is_dir():
            raise OSError(0, f"there is no folder {folder.parents[1]}")
        else:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return _temporary_folder(folder, error.strerror or str(error))
    return folder


def cached(
    name: str,
    key: bytes,
    build: Callable[[Path], Path],
    suffix: str = ".so",
    keep: int | None = None,
) -> Path:
    """The file ``name`` from the cache, or what ``build`` makes in an empty folder.

    Parameters
    ----------
    key : bytes
        All that the file is made from.
    build : callable(folder) -> path
        Makes the file somewhere in the folder, which is removed afterwards.
    suffix : str
        What the file's name ends in.
    keep : int, optional
        Of all files of this name so many are left, those that were made last.

    Raises
    ------
    CacheError
        There is no room for it. And what ``build`` raises, except OSError.
    """
    stem = f"{name}-{hashlib.sha256(key).hexdigest()[:32]}"
    if (found := _find(_chosen_folder(), stem, suffix)) is not None:
        return found
    folder = cache_folder()
    if (found := _find(folder, stem, suffix)) is not None:
        return found
    try:
        with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as place:
            made = build(Path(place))
            target = folder / f"{stem}-{_digest(made)}{suffix}"
            made.replace(target)
    except OSError as error:
        raise CacheError(
            f"{name} cannot be made in {folder}: {error.strerror or error}; TRITFORGE_CACHE names "
            f"another folder"
        ) from error
    if keep is not None:
        _remove_old(folder, name, suffix, keep)
    return target


def _chosen_folder() -> Path:
    if chosen := os.environ.get("TRITFORGE_CACHE"):
        return Path(chosen)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "tritforge"
    return Path(os.path.expanduser("~")) / ".cache" / "tritforge"


@functools.cache
def _temporary_folder(instead_of: Path, reason: str) -> Path:
    """A folder that goes when the program ends; tells of it the first time."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="tritforge-"))
    except OSError as error:
        raise CacheError(
            f"neither {instead_of} ({reason}) nor a temporary folder "
            f"({error.strerror or error}) can be written; TRITFORGE_CACHE names another folder"
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(
        f"tritforge: {instead_of} cannot be written ({reason}): what is compiled is kept in "
        f"{folder} until this program ends; TRITFORGE_CACHE names another folder",
        file=sys.stderr,
    )
    return folder


def _remove_old(folder: Path, name: str, suffix: str, keep: int) -> None:
    with contextlib.suppress(OSError):
        made = sorted(folder.glob(f"{name}-*{suffix}"), key=lambda path: -path.stat().st_mtime_ns)
        for path in made[keep:]:
            path.unlink()


def _find(folder: Path, stem: str, suffix: str) -> Path | None:
    """A whole file of that name; damaged ones are removed."""
    for path in sorted(folder.glob(f"{stem}-*{suffix}")):
        try:
            about = path.stat()
            if path.name == f"{stem}-{_digest_of(path, about.st_size, about.st_mtime_ns)}{suffix}":
                return path
        except OSError:
            continue
        with contextlib.suppress(OSError):
            path.unlink()
    return None


@functools.lru_cache(64)
def _digest_of(path: Path, size: int, time: int) -> str:
    """Digest of a file that has this size and time of change."""
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
