"""Errors between a checkpoint and an image that a user can cause."""

from tritforge.common.errors import TritforgeError

__all__ = ["CheckpointError", "ExportError", "ImageError", "ModelError"]


class CheckpointError(TritforgeError, ValueError):
    """A checkpoint that cannot be read or does not fit; the message is one sentence."""


class ExportError(TritforgeError, ValueError):
    """A network, array or file that cannot be exported; the message is one clear sentence."""


class ImageError(TritforgeError, ValueError):
    """An image folder that is missing, incomplete, altered, foreign or for other hardware."""


class ModelError(TritforgeError, ValueError):
    """A model that cannot be had or copied; the message is one sentence."""
