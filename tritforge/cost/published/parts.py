"""What the descriptions of published machines share: looking up memories, and rows that compare."""

from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.cost.technology import Macro, Technology

__all__ = ["PartComparison", "compare_part", "macro_of"]


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


@dataclass(frozen=True)
class PartComparison(JsonObject):
    """The model's band against a published figure, both in ``unit``; ``within`` it or not."""

    name: str
    what: str
    unit: str
    model: Band
    published: float
    within: bool


def compare_part(name: str, what: str, unit: str, model: Band, published: float) -> PartComparison:
    return PartComparison(name, what, unit, model, published, model.contains(published))
