"""What ``tritforge fit --json`` prints."""

from collections.abc import Mapping
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.fpga.fit.resources import Use

__all__ = ["CandidateReport", "FitReport"]


@dataclass(frozen=True)
class CandidateReport(JsonObject):
    """A configuration that fits.

    Members
    -------
    configuration : dict
        Fields of :class:`tritforge.hw.config.Config`.
    cycles : float
        Clock cycles of an input, the mean of several.
    frames_per_second : float
    streamed : bool
        The network is sent in every run; that is in the cycles.
    resources : dict[str, Use]
        By the names of :data:`tritforge.fpga.fit.resources.RESOURCES`.
    """

    configuration: Mapping[str, bool | int | str]
    cycles: float
    frames_per_second: float
    streamed: bool
    resources: Mapping[str, Use]


@dataclass(frozen=True)
class FitReport(JsonObject):
    """The best configurations of a board for a network.

    Members
    -------
    board, network : str
    clock_hz : float
    fill : float
        Share of the lookup tables that may be used.
    target : float, optional
        Frames/s that were asked for; None: as many as possible.
    input : str
        Where the inputs come from whose cycles count.
    inputs : int
        How many.
    chosen : CandidateReport
    others : tuple of CandidateReport
        The next best.
    file : str, optional
        Where the chosen configuration was written.
    """

    board: str
    network: str
    clock_hz: float
    fill: float
    target: float | None
    input: str
    inputs: int
    chosen: CandidateReport
    others: tuple[CandidateReport, ...]
    file: str | None
