"""From the hardware's port ``probe`` to the records of an event log."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tritforge.hw.config import Config
from tritforge.hw.payloads import PROBE_LEVELS, PROBE_PULSES, probe
from tritforge.sim.event_log import EventLogError, Record, in_order

__all__ = ["Observer"]


@dataclass
class _Event:
    time: int
    kind: str
    set: int = 0
    tile: int = 0
    x: int = 0
    y: int = 0


@dataclass
class _Layer:
    """Events of one layer; ``started`` are pixels on their way: set, tile, x, y."""

    begin: int
    settled: bool = False
    events: list[_Event] = field(default_factory=list)
    started: deque[tuple[int, int, int, int]] = field(default_factory=deque)


class Observer:
    """Collects what happens during one run, whatever simulates it.

    What the drain is at is not on the port: it takes pixels in the order in which they started.
    A record that is fetched where a layer could begin, but is none, belongs to the next layer. What
    the program waits for before its first layer is in no log.

    Parameters
    ----------
    config : Config

    Members
    -------
    pulses, levels : int
        Bits of the port. A cycle is of interest if one of the first is high, or one of the others
        is not as it was in the cycle before.
    """

    def __init__(self, config: Config) -> None:
        self._fields = {name: (part.offset, (1 << part.width) - 1) for name, part in probe(config)}
        self.pulses, self.levels = (
            sum(1 << self._fields[name][0] for name in names)
            for names in (PROBE_PULSES, PROBE_LEVELS)
        )
        self._layers: list[_Layer] = []
        self._before = 0

    def sample(self, cycle: int, word: int) -> None:
        """The port was ``word`` in clock cycle ``cycle``, counted from anywhere; in order, cycles
        of no interest may be left out.

        Raises
        ------
        EventLogError
            The hardware does what no program makes it do.
        """
        changed = (word ^ self._before) & self.levels
        self._before = word
        if not word & self.pulses and not changed:
            return
        see = {name: word >> offset & mask for name, (offset, mask) in self._fields.items()}
        if see["layer_started"] and (not self._layers or self._layers[-1].settled):
            self._layers.append(_Layer(cycle))
            self._add(cycle, "layer_started")
        if changed >> self._fields["refilling"][0] & 1 and self._layers:
            self._add(cycle, "refill_wait_began" if see["refilling"] else "refill_wait_ended")
        if see["tile_started"]:
            self._add(cycle, "tile_started", tile=see["tile"])
        if see["pixel_started"]:
            pixel = see["set"], see["tile"], see["x"], see["y"]
            self._add(cycle, "pixel_started", *pixel)
            self._layers[-1].started.append(pixel)
        if changed >> self._fields["drain_stalled"][0] & 1:
            self._add(
                cycle,
                "drain_stall_began" if see["drain_stalled"] else "drain_stall_ended",
                see["drain_set"],
                *self._oldest()[1:],
            )
        if see["pixel_drained"]:
            self._add(cycle, "pixel_drained", see["drain_set"], *self._oldest()[1:])
            self._layers[-1].started.popleft()
        if see["layer_settled"]:
            self._add(cycle, "layer_settled")
            self._layers[-1].settled = True

    def records(self, layers: Sequence[tuple[str, int]]) -> list[Record]:
        """All records, layer by layer.

        Parameters
        ----------
        layers : name and width of the output before pooling, in the order in which they ran

        Raises
        ------
        EventLogError
            Another number of layers ran.
        """
        if len(layers) != len(self._layers):
            raise EventLogError(f"the hardware ran {len(self._layers)} layers, not {len(layers)}")
        result: list[Record] = []
        for (name, width), layer in zip(layers, self._layers, strict=True):
            events = list(layer.events)
            # What was the last pixel of a tile shows when the layer has ended.
            last = {one.tile: one for one in layer.events if one.kind == "pixel_drained"}
            events += [_Event(one.time, "tile_drained", tile=tile) for tile, one in last.items()]
            result += in_order(
                [
                    Record(name, one.time, one.kind, one.set, one.tile, one.y * width + one.x)
                    for one in events
                ]
            )
        return result

    def _add(
        self, cycle: int, kind: str, set: int = 0, tile: int = 0, x: int = 0, y: int = 0
    ) -> None:
        if not self._layers:
            raise EventLogError(f"the hardware says {kind} before its first layer")
        layer = self._layers[-1]
        layer.events.append(_Event(cycle - layer.begin, kind, set, tile, x, y))

    def _oldest(self) -> tuple[int, int, int, int]:
        if not self._layers or not self._layers[-1].started:
            raise EventLogError("the hardware drains a pixel that has not started")
        return self._layers[-1].started[0]
