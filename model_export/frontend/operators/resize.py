"""Resizing with weights in between: sums of neighbours, along rows and then along columns."""

from collections.abc import Sequence

import torch

from tritforge.model_export.frontend.elements import Elements
from tritforge.model_export.frontend.recorder import Handler, Recorder

__all__ = ["RESIZE"]


def _bilinear(
    recorder: Recorder,
    x: Elements,
    size: Sequence[int],
    align_corners: bool,
    scale_y: float | None = None,
    scale_x: float | None = None,
) -> Elements:
    for axis, out, scale in ((-2, size[0], scale_y), (-1, size[1], scale_x)):
        x = _along(recorder, x, axis, int(out), align_corners, scale)
    return x


def _linear(
    recorder: Recorder,
    x: Elements,
    size: Sequence[int],
    align_corners: bool,
    scale: float | None = None,
) -> Elements:
    return _along(recorder, x, -1, int(size[0]), align_corners, scale)


def _along(
    recorder: Recorder,
    x: Elements,
    axis: int,
    out: int,
    align_corners: bool,
    scale: float | None,
) -> Elements:
    count = x.shape[axis]
    if out == count and (align_corners or scale in (None, 1.0)):
        return x
    outputs = torch.arange(out, dtype=torch.float64)
    if align_corners:
        at = outputs * ((count - 1) / (out - 1) if out > 1 else 0.0)
    else:
        at = ((outputs + 0.5) * (1 / scale if scale else count / out) - 0.5).clamp(min=0)
    at = at.clamp(max=count - 1)
    below = at.floor().long()
    above = (below + 1).clamp(max=count - 1)
    share = (at - below).mul(1 << 20).round().div(1 << 20)
    shape = (-1, *[1] * (-axis - 1))
    terms = [
        x.moved(lambda values: values.index_select(axis, below)).affine((1 - share).reshape(shape)),
        x.moved(lambda values: values.index_select(axis, above)).affine(share.reshape(shape)),
    ]
    found = recorder.sum_of_parts(terms)
    if found is None:
        raise recorder.unsupported(
            f"{recorder.operation} from {count} to {out} pixels",
            "use a whole scale_factor with align_corners=False, or nearest up-sampling",
        )
    return found


RESIZE: dict[str, Handler] = {"upsample_bilinear2d": _bilinear, "upsample_linear1d": _linear}
