"""The base of all errors that a user can cause, and of what users are warned of."""

import sys
import warnings
from types import FrameType

__all__ = ["TritforgeError", "TritforgeWarning", "warn"]


class TritforgeError(Exception):
    """Something that a user can cause; the message is one sentence.

    Every error class of the package derives from it: ``except TritforgeError`` catches what the
    command line prints without a traceback.
    """


class TritforgeWarning(UserWarning):
    """What was done as asked, but is probably not what was meant; the message is one sentence.

    The command line prints it on standard error, and in the ``warnings`` of its JSON.
    """


def warn(sentence: str) -> None:
    """Warn the user, by :mod:`warnings`, of the line that called the package."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, TritforgeWarning, stacklevel=level)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("tritforge", "contextlib")
