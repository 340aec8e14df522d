"""The error that everything between a checkpoint and an image raises for a user's mistake."""

from tritforge.common.errors import TritforgeError

__all__ = ["ExportError", "ImageError"]


class ExportError(TritforgeError, ValueError):
    """A network, array or file that cannot be exported; the message is one clear sentence."""


class ImageError(TritforgeError, ValueError):
    """An image folder that is missing, incomplete, altered, foreign or for other hardware."""
