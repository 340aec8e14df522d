"""First pass: a PyTorch module becomes layers of column groups, in real numbers."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from tritforge.model_export.frontend.lower import Planes, lower
from tritforge.model_export.frontend.record import record
from tritforge.model_export.network import Network

__all__ = ["trace"]


def trace(
    model: nn.Module,
    sample_shape: Sequence[int],
    *,
    digits: int = 8,
    name: str = "network",
    known: Planes | None = None,
) -> Network:
    """A module as a network of layers in real numbers, recorded on a sample of ones.

    Parameters
    ----------
    model : nn.Module
    sample_shape : tuple of int
        Shape of one sample.
    digits, name, known
        As :func:`~tritforge.model_export.frontend.lower.lower` and
        :func:`~tritforge.model_export.frontend.record.record`.

    Raises
    ------
    ExportError
        As these.
    """
    samples = np.ones((1, *sample_shape), np.float32)
    return lower(record(model, samples, name=name), digits=digits, known=known).network
