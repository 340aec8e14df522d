"""Terms: what one event costs in one component, traced to figures."""

from dataclasses import dataclass
from typing import Any

from tritforge.cost.band import Band, total

__all__ = ["Part", "Term"]


@dataclass(frozen=True)
class Part:
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
    energy: Band

    def to_dict(self) -> dict[str, Any]:
        return {
            "figure": self.figure,
            "factors": list(self.factors),
            "times": self.times.to_dict(),
            "what": self.what,
            "pj": self.energy.to_dict(),
        }


@dataclass(frozen=True)
class Term:
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
        :data:`tritforge.cost.components.HOST_EVENTS`.
    what : str
        What the event is to the component.
    parts : tuple of Part
    """

    component: str
    block: str
    event: str
    what: str
    parts: tuple[Part, ...]

    @property
    def energy(self) -> Band:
        """pJ an event."""
        return total(part.energy for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "component": self.component,
            "block": self.block,
            "event": self.event,
            "what": self.what,
            "pj_per_event": self.energy.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
        }
