"""Errors between a checkpoint and an image that a user can cause."""

from tritforge.common.errors import TritforgeError

__all__ = ["ExportError", "ImageError", "ModelError"]


class ExportError(TritforgeError, ValueError):
    """A network, array or file that cannot be exported; the message is one clear sentence."""


class ImageError(TritforgeError, ValueError):
    """An image folder that is missing, incomplete, altered, foreign or for other hardware."""


class ModelError(TritforgeError, ValueError):
    """A model specification that gives no ``nn.Module``; the message is one sentence."""
