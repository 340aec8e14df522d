"""The error that everything between a checkpoint and an image raises for a user's mistake."""

__all__ = ["ExportError", "ImageError"]


class ExportError(ValueError):
    """A network, array or file that cannot be exported; the message is one clear sentence."""


class ImageError(ValueError):
    """An image folder that is missing, incomplete, altered, foreign or for other hardware."""
