"""Packages that only some tasks need, and that come with an extra of this one."""

from collections.abc import Iterator
from contextlib import contextmanager

from tritforge.common.errors import TritforgeError

__all__ = ["MissingExtraError", "extra"]


class MissingExtraError(TritforgeError, ImportError):
    """A package that a task needs is missing or broken; the message says how to install it."""


@contextmanager
def extra(name: str, what_for: str) -> Iterator[None]:
    """Around imports of packages that the extra ``name`` installs, as ``pyproject.toml`` has it.

    >>> with extra("fpga", "a serial port"):
    ...     import serial

    Raises
    ------
    MissingExtraError
        One of them is not installed, or cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{what_for} needs the package {error.name}, which is not installed; install it with: "
            f"pip install 'tritforge[{name}]'"
        ) from error
    except ImportError as error:  # of another Python or numpy, or a system's library is missing
        reason = " ".join(str(error).split())
        raise MissingExtraError(
            f"{what_for} needs a package that cannot be imported ({reason}); it comes with "
            f"tritforge[{name}], reinstall it"
        ) from error
