"""Boards: what a host has to know of each."""

from dataclasses import dataclass

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True)
class Board:
    """A board that tritforge knows.

    Parameters
    ----------
    name : str
    clock_hz : int
        Clock of the accelerator.
    baud : int
        Bits per second of its UART; divides ``clock_hz``.
    """

    name: str
    clock_hz: int
    baud: int


BOARDS: dict[str, Board] = {board.name: board for board in (
    Board("icebreaker", 12_000_000, 1_000_000),
    Board("ulx3s_85f", 60_000_000, 3_000_000),
)}
