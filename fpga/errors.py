"""Errors of board builds that a user can cause; each is one sentence."""

__all__ = ["BuildError"]


class BuildError(Exception):
    """A board cannot be built, or a tool is missing or has failed; the message says which."""
