"""Errors of estimates that a user can cause; each is one sentence."""

from tritforge.common.errors import TritforgeError

__all__ = ["CostError"]


class CostError(TritforgeError, ValueError):
    """A technology, library, memory table or run that no estimate can be made of; the message says
    which and why."""
