"""Terms: what one event costs in one component, traced to figures."""

from dataclasses import dataclass, field

from tritforge.common.json_types import JsonObject, named
from tritforge.cost.band import Band, total

__all__ = ["Part", "Term", "term"]


@dataclass(frozen=True)
class Part(JsonObject):
    """One figure in a term.

    Members
    -------
    figure : str
        Name in the technology file, with ``cells.`` or ``memories.`` in front where it is not under
        ``figures``.
    factors : tuple of str
        Other figures that are in ``times``; "area" stands for all figures of areas.
    times : Band
        How often: bits, square bits, millimetres, microseconds; a band where it has one.
    what : str
        What that number is.
    energy : Band
        pJ: figure times ``times``.
    """

    figure: str
    factors: tuple[str, ...]
    times: Band
    what: str
    energy: Band = field(metadata=named("pj"))


@dataclass(frozen=True)
class Term(JsonObject):
    """What one event costs in one component.

    Members
    -------
    component : str
        Of :data:`tritforge.cost.components.COMPONENTS`.
    block : str
        Kind of block in which it is spent, as :func:`tritforge.fpga.fit.structure.kind_of`;
        "memories" for memories that are read at a clock edge, "" for what is outside.
    event : str
        A counter of :data:`tritforge.hw.program.COUNTERS`, or of
        :data:`tritforge.cost.components.DERIVED_EVENTS` or ``HOST_EVENTS``.
    what : str
        What the event is to the component.
    energy : Band
        pJ an event.
    parts : tuple of Part
        Whose sum that is.
    """

    component: str
    block: str
    event: str
    what: str
    energy: Band = field(metadata=named("pj_per_event"))
    parts: tuple[Part, ...]


def term(component: str, block: str, event: str, what: str, parts: tuple[Part, ...]) -> Term:
    """A term that costs the sum of its parts."""
    return Term(component, block, event, what, total(part.energy for part in parts), parts)
