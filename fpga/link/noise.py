"""Noise on a serial line: bytes corrupted, lost and added, reproducibly."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Noise"]


@dataclass
class Noise:
    """Damages bytes on their way.

    Parameters
    ----------
    corrupt, drop, insert : float
        Probabilities per byte, 0..1: that it becomes another one, that it is lost, that a random
        byte comes before it.
    seed : int

    Members
    -------
    corrupted, dropped, inserted : int
        Bytes so far.
    """

    corrupt: float = 0.0
    drop: float = 0.0
    insert: float = 0.0
    seed: int = 0
    corrupted: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)
    inserted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("corrupt", "drop", "insert"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"noise: probability {name} is {getattr(self, name)}; it must be "
                    f"between 0 and 1"
                )
        self._random = np.random.default_rng(self.seed)

    @classmethod
    def of(cls, probability: float, seed: int) -> "Noise":
        """A third of all accidents each are corruption, loss and insertion."""
        return cls(probability / 3, probability / 3, probability / 3, seed)

    def apply(self, data: bytes) -> bytes:
        """What arrives of ``data``."""
        values = np.frombuffer(data, np.uint8).copy()
        chance = self._random.random((3, len(values)))
        changed, lost, added = (
            chance[row] < limit for row, limit in enumerate((self.corrupt, self.drop, self.insert))
        )
        changed &= ~lost
        values[changed] ^= self._random.integers(1, 256, int(changed.sum()), dtype=np.uint8)
        self.corrupted += int(changed.sum())
        self.dropped += int(lost.sum())
        self.inserted += int(added.sum())
        new = self._random.integers(0, 256, int(added.sum()), dtype=np.uint8)
        numbers = np.flatnonzero(~lost)
        # The bytes that are kept, and the new ones before their places.
        order = np.argsort(
            np.concatenate([2 * numbers + 1, 2 * np.flatnonzero(added)]), kind="stable"
        )
        arrived: np.ndarray = np.concatenate([values[numbers], new])[order]
        return arrived.tobytes()
