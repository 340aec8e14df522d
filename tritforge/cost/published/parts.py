"""What the descriptions of published machines share: looking up memories, and rows that compare."""

from typing import Any

from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.cost.technology import Macro, Technology

__all__ = ["macro_of", "part"]


def macro_of(technology: Technology, kilobytes: float, width: int) -> Macro:
    """The technology's macro of just that size and width.

    Parameters
    ----------
    kilobytes : float
        Size in units of 1024 bytes.
    width : int
        Bits of a word.

    Raises
    ------
    CostError
        The technology has none; nothing is interpolated, so that a comparison rests on figures
        that its source states.
    """
    words = round(kilobytes * 8192 / width)
    for macro in technology.macros:
        if (macro.words, macro.width) == (words, width):
            return macro
    raise CostError(
        f"{technology.where} has no memory of {words} x {width} bits, which a "
        f"published machine needs"
    )


def part(name: str, what: str, unit: str, model: Band, published: float) -> dict[str, Any]:
    """A row of JSON values: the model's band against a published figure, both in ``unit``."""
    return {
        "name": name,
        "what": what,
        "unit": unit,
        "model": model.to_json(),
        "published": published,
        "within": model.contains(published),
    }
