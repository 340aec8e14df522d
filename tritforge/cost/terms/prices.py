"""Prices: parts of terms, made from a technology's figures for one design."""

from collections.abc import Iterable
from dataclasses import dataclass

from tritforge.cost.area import Area, MemoryArea
from tritforge.cost.band import Band, square_side
from tritforge.cost.technology import Technology
from tritforge.cost.terms.term import Part
from tritforge.hw.config import Config

__all__ = ["Prices", "widest"]


@dataclass(frozen=True)
class Prices:
    """Makes parts from a technology's figures.

    Parameters
    ----------
    config : Config
    technology : Technology
    area : Area
        Of this configuration: memories, flip-flops, lengths of wires.
    """

    config: Config
    technology: Technology
    area: Area

    def part(self, figure: str, times: float | Band, what: str, *factors: str) -> Part:
        """A figure, ``times`` of it."""
        count = times if isinstance(times, Band) else Band.exact(times)
        return Part(figure, factors, count, what, self.technology[figure] * count)

    def wires(self, bits: float, what: str) -> Part:
        """Bits that cross a cluster."""
        technology = self.technology
        return self.part(
            "wire",
            technology["toggle"] * square_side(self.area.cluster) * bits,
            f"mm of {what}, times the share of bits that change",
            "toggle",
            "area",
        )

    def changes(self, flip_flops: float, what: str) -> Part:
        """Flip-flops, clocked in every cycle, that take new data."""
        technology = self.technology
        times = technology["toggle"] * flip_flops
        return Part(
            "cells.DFF.energy",
            ("toggle",),
            times,
            f"{what}, times the share that changes",
            technology.cells["DFF"].energy * times,
        )

    def access(self, memory: MemoryArea, *, write: bool, times: float = 1.0) -> tuple[Part, ...]:
        """An access to one memory, or to a share of its word."""
        cost = memory.cost
        where = f"{memory.memory.name}, {cost.width} bits x {cost.depth} words"
        return tuple(
            Part(
                share.figure,
                share.factors,
                share.times * times,
                f"{where}: {share.what}",
                share.energy * times,
            )
            for share in (cost.write_shares if write else cost.read_shares)
        )

    @property
    def chain(self) -> float:
        """Gated flip-flops of a cluster that hold values and sums of the drain."""
        config = self.config
        return min(
            self.area.block("cluster").gated_flip_flops / config.cluster_count,
            2.0 * config.drain_width * config.accumulator_width,
        )

    @property
    def results(self) -> MemoryArea:
        """The result memory; where it is a part of the packet buffer, that."""
        try:
            return self.area.memory_of("results")
        except StopIteration:
            return self.area.memory_of("packet buffer")


def widest(memories: Iterable[MemoryArea]) -> int:
    """Bits of the widest word; 0 where there is no memory."""
    return max((one.memory.width for one in memories), default=0)
