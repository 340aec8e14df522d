"""Wall time by step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tritforge.common.progress import Progress

__all__ = ["WallClock"]


class WallClock:
    """Wall seconds by step; tells of each as it begins."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self.progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(name, 0.0)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 2)

    def summary(self) -> dict[str, float]:
        """Seconds of every step, and of all under ``in all``."""
        return {**self.seconds, "in all": round(sum(self.seconds.values()), 2)}
