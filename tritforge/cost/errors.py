"""Errors of estimates that a user can cause; each is one sentence."""

__all__ = ["CostError"]


class CostError(ValueError):
    """A technology, library, memory table or run that no estimate can be made of; the message says
    which and why."""
