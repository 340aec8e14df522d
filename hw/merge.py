"""Max-pool merge: writes requantized activations back, keeping the maximum of a window."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ACTIVATION_WIDTH, Config
from hw.memory import ChunkMemory
from hw.payloads import address_width, write_back

__all__ = ["MERGE_LATENCY", "Merge"]

#: Cycles from a write-back at ``Merge.i`` to the first cycle in which a read sees it.
MERGE_LATENCY = ChunkMemory.latency + 2


class Merge(wiring.Component):
    """``memory[address][lane] = max(memory[address][lane], value)`` or plain overwriting.

    Timing: one write-back per cycle, no waiting; a merge reads in the cycle it arrives and
    writes ``ChunkMemory.latency + 1`` cycles later. Two write-backs to one lane must be
    ``MERGE_LATENCY`` cycles apart (the drain sees to it).

    Parameters
    ----------
    config : Config

    Members
    -------
    number : In(8)
        This cluster; write-backs for others are ignored.
    i : In(write_back)
    read_valid, read_address, read_data
        Read port of the activation memory; the request is always served.
    write_mask, write_address, write_data : Out
        One activation to write, its lane in the mask.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        address = address_width(config.activation_depth)
        super().__init__({
            "number": In(8),
            "i": In(write_back(config)),
            "read_valid": Out(1),
            "read_address": Out(address),
            "read_data": In(config.memory_width("activations")),
            "write_mask": Out(config.scan_width),
            "write_address": Out(address),
            "write_data": Out(ACTIVATION_WIDTH),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.scan_width
        mine = Signal()
        m.d.comb += [
            mine.eq(self.i.valid & (self.i.cluster == self.number)),
            self.read_valid.eq(mine & self.i.merge),
            self.read_address.eq(self.i.address),
        ]
        valid, op = mine, self.i
        for stage in range(ChunkMemory.latency):
            valid_after = Signal(name=f"valid_{stage}")
            op_after = Signal(self.i.shape(), name=f"op_{stage}", reset_less=True)
            m.d.sync += [valid_after.eq(valid), op_after.eq(op)]
            valid, op = valid_after, op_after
        old = Array(self.read_data.word_select(lane, ACTIVATION_WIDTH)
                    for lane in range(lanes))[op.lane]
        flip = op.signed << (ACTIVATION_WIDTH - 1)   # signed order is unsigned order, sign flipped
        keep = op.merge & ((old ^ flip) > (op.value ^ flip))
        m.d.sync += [
            self.write_mask.eq(Mux(valid, Cat(op.lane == lane for lane in range(lanes)), 0)),
            self.write_address.eq(op.address),
            self.write_data.eq(Mux(keep, old, op.value)),
        ]
        return m
