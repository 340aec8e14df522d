"""Boards: what a host has to know of each."""

from dataclasses import dataclass

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True)
class Board:
    """A board that tritforge knows.

    Parameters
    ----------
    name : str
    config_name : str
        Preset of :data:`hw.config.PRESETS` that fits it.
    clock_hz : int
        Clock of the accelerator.
    baud : int
        Bits per second of its UART; divides ``clock_hz``.
    """

    name: str
    config_name: str
    clock_hz: int
    baud: int

    @property
    def divisor(self) -> int:
        """Clock cycles per bit."""
        return self.clock_hz // self.baud


BOARDS: dict[str, Board] = {board.name: board for board in (
    Board("icebreaker", "icebreaker", 12_000_000, 1_000_000),
    Board("ulx3s_85f", "ulx3s_85f", 60_000_000, 3_000_000),
)}
