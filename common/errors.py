"""The base of all errors that a user can cause."""

__all__ = ["TritforgeError"]


class TritforgeError(Exception):
    """Something that a user can cause; the message is one sentence.

    Every error class of the package derives from it: ``except TritforgeError`` catches what the
    command line prints without a traceback.
    """
