"""Tensors whose first axis does not simply count samples: stacks of several results, or several
frames of each sample one after the other."""

import functools
from typing import Any

import torch

from tritforge.model_export.frontend.elements import Elements
from tritforge.model_export.frontend.recorder import Handler, Recorder

__all__ = ["by_rows", "rows_by_sample", "sample_axis"]

#: Parts of a sample that are computed one by one.
_MOST_PARTS = 64


def sample_axis(recorder: Recorder, x: Elements) -> int:
    """The axis that counts samples; 0 where none does."""
    number = x.samples()
    for axis, size in enumerate(x.shape):
        if size == recorder.batch:
            steps = torch.arange(size).reshape(-1, *[1] * (len(x.shape) - axis - 1))
            if bool(((number == steps) | (number < 0)).all()):
                return axis
    return 0


def rows_by_sample(recorder: Recorder, x: Elements) -> torch.Tensor | None:
    """Indices along the first axis, (parts, samples), where it counts several parts of every
    sample; None where it counts samples, or something else."""
    if not x.shape or x.source.numel() == 0:
        return None
    number = x.samples().flatten(1)
    first = number.amax(dim=1)
    rows = len(first)
    alone = (number == first[:, None]) | (number < 0)
    if rows % recorder.batch or not bool(alone.all()) or bool((first < 0).any()):
        return None
    order = torch.argsort(first, stable=True).reshape(recorder.batch, -1)
    if not 1 <= order.shape[1] <= _MOST_PARTS or rows == recorder.batch:
        return None
    if not torch.equal(first[order], torch.arange(recorder.batch)[:, None].expand(order.shape)):
        return None
    return order.t()


def by_rows(handler: Handler) -> Handler:
    """A handler whose first argument counts samples, for tensors that count several parts of each:
    it is called for one part after the other."""

    @functools.wraps(handler)
    def wrapped(recorder: Recorder, x: Any, *args: Any, **kwargs: Any) -> Any:
        rows = rows_by_sample(recorder, x) if isinstance(x, Elements) else None
        if rows is None:
            return handler(recorder, x, *args, **kwargs)
        results = []
        for part in rows:
            own = x.moved(functools.partial(_taken, rows=part))
            found = handler(recorder, own, *args, **kwargs)
            results.append(found[0] if isinstance(found, tuple) else found)
        back = torch.argsort(rows.reshape(-1))
        joined = Elements.joined(results, torch.cat).moved(lambda values: values[back])
        return (joined, None) if isinstance(found, tuple) else joined

    return wrapped


def _taken(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return values[rows]
