"""Command check: whether a packet may be carried out."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.command_registers import command
from tritforge.hw.config import Config
from tritforge.hw.program import READABLE_MEMORIES, WRITABLE_MEMORIES, memories
from tritforge.hw.protocol import ERROR_WIDTH, PACKED_ARGUMENTS, ErrorCode, Opcode
from tritforge.hw.unpacker import can_unpack

__all__ = ["CommandCheck", "times"]


def times(value: Value, factor: int) -> Value:
    """``value * factor`` without a multiplier."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    return sum(terms[1:], terms[0])


class CommandCheck(wiring.Component):
    """Compares a command with what the memories are, and with the length of its packet.

    Timing: ``malformed`` is of the header and length in this cycle, everything else of the command
    in the cycle of ``examine``. Header and memory must have stood for a cycle then: what is known
    of the memory comes from registers, except where stages are few.

    Cost: comparisons of the address, count and length; 8 flip-flops and those of a packet's
    length. Unless stages are few, registers for depth, chunks and copies.

    Parameters
    ----------
    config : Config

    Members
    -------
    command : In(command)
    examine : In(1)
        All arguments are there.
    busy : In(1)
        A run could not start now.
    packed, transfer : Out(1)
        WRITE_PACKED; that, WRITE or READ.
    malformed : Out(1), malformed_error : Out(4)
        The opcode is unknown, or the packet is too short or too long for it.
    refused : Out(1), error : Out(4)
        The arguments are wrong, with the reason.
    empty : Out(1)
        There is no word to transfer.
    chunks : Out
        Of a word of the memory.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        #: Chunks of the widest memory that is written.
        self.most_chunks = max(config.memory_chunks(name) for name in WRITABLE_MEMORIES)
        super().__init__(
            {
                "command": In(command(config)),
                "examine": In(1),
                "busy": In(1),
                "packed": Out(1),
                "transfer": Out(1),
                "malformed": Out(1),
                "malformed_error": Out(ERROR_WIDTH),
                "refused": Out(1),
                "error": Out(ERROR_WIDTH),
                "empty": Out(1),
                "chunks": Out(range(self.most_chunks + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, given = self.config, self.command
        opcode, left = given.opcode, given.left
        unpacks = can_unpack(config)
        self._check_form(m)

        # What the checks need to know of the memory.
        depth = Signal(len(given.address) + 1)
        copies, allowed = Signal(8), Signal()
        # Words of the memory words to write; more than a packet can state is wrong anyway.
        few = given.count[: len(left)]
        size = Signal(len(left) + self.most_chunks.bit_length())
        # Registers cost as much as tables where stages are few.
        early = m.d.comb if config.few_stages else m.d.sync
        early += [depth.eq(0), self.chunks.eq(0), copies.eq(0), allowed.eq(0)]  # no such memory
        with m.Switch(given.memory):
            for name, index in memories(config).items():
                with m.Case(index):
                    m.d.comb += size.eq(
                        times(few, config.memory_chunks(name)) if name in WRITABLE_MEMORIES else 0
                    )
                    early += [  # some cycles before they are used
                        depth.eq(config.memory_depth(name)),
                        self.chunks.eq(config.memory_chunks(name)),
                        copies.eq(config.memory_count(name)),
                        allowed.eq(
                            Mux(
                                opcode == Opcode.READ,
                                name in READABLE_MEMORIES,
                                Mux(self.packed, name == "trits", name in WRITABLE_MEMORIES),
                            )
                        ),
                    ]

        faults, excess = Signal(5), Signal()
        wanted = Signal.like(size)
        beyond = Signal()
        rows_used = given.rows_used if unpacks else Value.cast(0)
        m.d.comb += beyond.eq(
            given.vast_address | given.vast_count | (given.address + given.count > depth)
        )
        with m.If(self.examine):
            m.d.sync += [
                faults.eq(
                    Cat(
                        self.transfer & ~allowed,
                        self.transfer & (given.cluster >= copies),
                        Mux(
                            self.transfer,
                            beyond,
                            given.vast_address | (given.address >= config.program_depth),
                        ),
                        self.packed & ((given.count == 0) | (left == 0)),
                        self.packed & ((rows_used == 0) | (rows_used > config.rows)),
                    )
                ),
                self.empty.eq(given.count == 0),
                excess.eq(given.count[len(left) :].any()),
                wanted.eq(size),
            ]
        busy, length = Signal(), Signal()
        m.d.comb += [
            busy.eq(~self.transfer & self.busy),
            length.eq(faults[3] | ((opcode == Opcode.WRITE) & ((wanted != left) | excess))),
            self.refused.eq(busy | faults.any() | length),
            self.error.eq(ErrorCode.BUSY),
        ]
        for fault, code in (
            (faults[4], ErrorCode.ROWS),
            (length, ErrorCode.LENGTH),
            (faults[2], ErrorCode.ADDRESS),
            (faults[1], ErrorCode.CLUSTER),
            (faults[0], ErrorCode.MEMORY),
        ):
            with m.If(~busy & fault):
                m.d.comb += self.error.eq(code)
        return m

    def _check_form(self, m: Module) -> None:
        """What header and length alone tell."""
        opcode, left, packed = self.command.opcode, self.command.left, self.packed
        unpacks = can_unpack(self.config)
        bare, label, unknown = Signal(), Signal(), Signal()  # bare: a packet without arguments
        arguments = Mux(bare, 0, Mux(label, 1, Mux(packed, PACKED_ARGUMENTS, 2)))
        m.d.comb += [
            packed.eq((opcode == Opcode.WRITE_PACKED) if unpacks else 0),
            self.transfer.eq((opcode == Opcode.WRITE) | (opcode == Opcode.READ) | packed),
            label.eq(opcode == Opcode.LABEL),
            bare.eq(
                (opcode == Opcode.STATUS) | (opcode == Opcode.SIGNAL) | (opcode == Opcode.WAIT)
            ),
            unknown.eq(
                (opcode < Opcode.WRITE)
                | (opcode > Opcode.LABEL)
                | (0 if unpacks else opcode == Opcode.WRITE_PACKED)
            ),
            self.malformed.eq(
                unknown
                | (left < arguments)
                | ((opcode != Opcode.WRITE) & ~packed & (left != arguments))
            ),
            self.malformed_error.eq(Mux(unknown, ErrorCode.OPCODE, ErrorCode.LENGTH)),
        ]
