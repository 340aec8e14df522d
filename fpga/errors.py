"""Errors of board builds that a user can cause; each is one sentence."""

from tritforge.common.errors import TritforgeError

__all__ = ["BuildError"]


class BuildError(TritforgeError):
    """A board cannot be built, or a tool is missing or has failed; the message says which."""
