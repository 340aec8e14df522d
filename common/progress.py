"""How long work tells how far it is."""

from collections.abc import Callable

__all__ = ["Progress"]

#: Told of progress: a message and the fraction done, 0..1.
Progress = Callable[[str, float], None]
