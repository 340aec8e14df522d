"""The same run in Amaranth's own simulator: slow, no compiler needed, for small configurations."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from amaranth.sim import Simulator

from tritforge.hw.config import Config
from tritforge.hw.top import Accelerator
from tritforge.sim.device import DeviceError, Link
from tritforge.sim.observer import Observer

__all__ = ["PythonLink"]

#: Seconds; any period will do, nothing depends on it.
_PERIOD = 1e-6
#: Amaranth's simulator takes minutes to elaborate more than this many elements.
ELEMENT_LIMIT = 64


class PythonLink(Link):
    """An accelerator simulated by Amaranth in this process.

    Raises
    ------
    DeviceError
        More elements than this simulator is meant for.
    """

    def __init__(self, config: Config) -> None:
        elements = config.adders
        if elements > ELEMENT_LIMIT:
            raise DeviceError(
                f"configuration {config.name} has {elements} processing elements; Amaranth's "
                f"simulator is for up to {ELEMENT_LIMIT}: use the rtl backend"
            )
        self.config = config
        self._commands: deque[tuple[int, int]] = deque()
        self._words: list[int] = []
        self._responses: deque[list[int]] = deque()
        self._cycles = 0
        self._observer: Observer | None = None
        self._top = Accelerator(config)
        self._simulator = Simulator(self._top)
        self._simulator.add_clock(_PERIOD)
        self._simulator.add_testbench(self._bench, background=True)

    @property
    def cycles(self) -> int:
        return self._cycles

    def observe(self, observer: Observer | None) -> bool:
        """As :meth:`Link.observe`."""
        self._observer = observer
        return True

    async def _bench(self, ctx: Any) -> None:
        commands, results = self._top.commands, self._top.results
        ctx.set(results.ready, 1)
        offered = False
        while True:
            if not offered and self._commands:
                word, last = self._commands[0]
                ctx.set(commands.payload, {"data": word, "last": last})
                ctx.set(commands.valid, 1)
                offered = True
            _, _, taken, given, payload, probe = await ctx.tick().sample(
                commands.ready, results.valid, results.payload, self._top.probe.as_value()
            )
            if self._observer is not None:
                self._observer.sample(self._cycles, probe)
            self._cycles += 1
            if offered and taken:
                self._commands.popleft()
                ctx.set(commands.valid, 0)
                offered = False
            if given:
                self._words.append(payload["data"])
                if payload["last"]:
                    self._responses.append(self._words)
                    self._words = []
            if not self._commands:
                # What an answer brings about is sent in the cycle after it, as by other links.
                await ctx.delay(_PERIOD / 4)

    def exchange(
        self, packets: Sequence[Sequence[int]], answers: int, limit: int | None = None
    ) -> list[list[int]]:
        """As :meth:`Link.exchange`; ``limit`` bounds the clock cycles spent waiting."""
        for packet in packets:
            last = len(packet) - 1
            self._commands.extend((word, int(n == last)) for n, word in enumerate(packet))
        begin = self._cycles
        while self._commands or len(self._responses) < answers:
            self._simulator.advance()
            if limit is not None and self._cycles - begin > limit:
                raise DeviceError(f"the accelerator did not answer within {limit} cycles")
        return [self._responses.popleft() for _ in range(answers)]

    def close(self) -> None:
        self._commands.clear()
