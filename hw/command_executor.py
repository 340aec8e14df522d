"""Command executor: carries out one packet after the other."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.command_check import CommandCheck
from tritforge.hw.command_registers import CommandRegisters
from tritforge.hw.config import Config
from tritforge.hw.payloads import (
    host_write,
    index_shape,
    memory_address_width,
    port_word,
    pulse,
    run_command,
    run_state,
)
from tritforge.hw.program import MEMORIES
from tritforge.hw.protocol import COUNT_WIDTH, ERROR_WIDTH, ErrorCode, Opcode
from tritforge.hw.unpacker import can_unpack, trit_chunk, unpack_job
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["CommandExecutor", "request"]


def request(config: Config) -> data.StructLayout:
    """What is to be answered: a READ, a STATUS, or a packet that was refused."""
    address = memory_address_width(config)
    return data.StructLayout(
        {
            "opcode": unsigned(7),
            "error": unsigned(ERROR_WIDTH),
            "memory": unsigned(8),
            "tag": unsigned(8),
            "cluster": index_shape(config.cluster_count),
            "address": unsigned(address),
            "count": unsigned(address + 1),  # memory words to read, or 0
        }
    )


class CommandExecutor(wiring.Component):
    """Takes the words of a packet, has it checked, and does what it says or asks for an answer.

    ::

        words -> [registers] -> command -> [check] -> refused, error
          |                        |
          |                        +-> runs, signal, take, requests, jobs
          +-> writes <- chunks     +-> packed

    Timing: as :class:`tritforge.hw.host_port.HostPort` says of packets. WAIT waits until the
    program has released something or has ended; WRITE and WRITE_PACKED while ``writes`` is not
    ready; all but these two until ``written``.

    Cost: the registers and the check; 2 counters of 16 bits, the label of 32 bits.

    Parameters
    ----------
    config : Config
    contents : int
        What STATUS says of the memories when power comes.

    Members
    -------
    packets, words : In(stream), skip : Out
        From the :class:`tritforge.hw.packet_buffer.PacketBuffer`.
    writes : Out(stream of host_write), written : In(1)
        All earlier ones have been taken by their memories where ``written``.
    jobs, packed : Out(stream), chunks : In(stream), unpacked, fault : In(1)
        To and from the :class:`tritforge.hw.unpacker.Unpacker`; ``unpacked`` is its ``idle``.
    requests : Out(stream of request)
        A request that is not taken at once is dropped, and counted.
    runs : Out(pulse of run_command)
    unanswered : In(1)
        The last run's answer is not on its way: no other run may start.
    state : In(run_state)
    signal, take : Out(1)
        A SIGNAL for the running program; one of its releases is taken.
    errors, dropped : Out(16)
        Packets refused, requests dropped.
    contents : Out(32)
        What the last LABEL said, while it is true. A reset leaves it.
    """

    def __init__(self, config: Config, *, contents: int = 0) -> None:
        self.config = config
        self._contents = contents
        super().__init__(
            {
                "packets": In(stream.Signature(unsigned(ERROR_WIDTH))),
                "words": In(stream.Signature(unsigned(PORT_WIDTH))),
                "skip": Out(range(config.packet_words + 1)),
                "writes": Out(stream.Signature(host_write(config))),
                "written": In(1),
                **(
                    {
                        "jobs": Out(stream.Signature(unpack_job(config))),
                        "packed": Out(stream.Signature(port_word())),
                        "chunks": In(stream.Signature(trit_chunk(config))),
                        "unpacked": In(1),
                        "fault": In(1),
                    }
                    if can_unpack(config)
                    else {}
                ),
                "requests": Out(stream.Signature(request(config))),
                "runs": Out(pulse(run_command(config))),
                "unanswered": In(1),
                "state": In(run_state()),
                "signal": Out(1),
                "take": Out(1),
                "errors": Out(COUNT_WIDTH),
                "dropped": Out(COUNT_WIDTH),
                "contents": Out(PORT_WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = CommandRegisters(self.config)
        m.submodules.check = check = CommandCheck(self.config)
        command = registers.command
        problem = Signal(ERROR_WIDTH)
        number = Signal(range(check.most_chunks))  # chunk of the memory word being written
        # After a packet that writes what a label is of, the label is no longer true.
        dirty = Signal()
        contents = Signal(PORT_WIDTH, init=self._contents, reset_less=True)
        with m.If(dirty & (command.memory != MEMORIES.index("activations"))):
            m.d.sync += contents.eq(0)
        write, run, asked = self.writes.payload, self.runs.payload, self.requests.payload
        m.d.comb += [
            self.contents.eq(contents),
            registers.word.eq(self.words.payload),
            registers.take.eq(self.words.ready),
            check.command.eq(command),
            check.busy.eq(self.state.running | self.unanswered),
            self.skip.eq(command.left),
            write.memory.eq(command.memory),
            write.cluster.eq(command.cluster),
            write.address.eq(command.address),
            write.chunk.eq(number),
            write.data.eq(self.words.payload),
            run.address.eq(command.address),
            run.layer_count.eq(
                Mux(command.vast_count | command.count[16:].any(), 0xFFFF, command.count[:16])
            ),
            run.waits.eq(command.waits),
            run.tag.eq(command.tag),
            asked.opcode.eq(command.opcode),
            asked.error.eq(problem),
            asked.memory.eq(command.memory),
            asked.tag.eq(command.tag),
            asked.cluster.eq(command.cluster),
            asked.address.eq(command.address),
            asked.count.eq(Mux((command.opcode == Opcode.READ) & ~problem.any(), command.count, 0)),
        ]
        with m.FSM():
            self._take_arguments(m, registers, check, problem)
            with m.State("CHECK"):
                m.d.comb += check.examine.eq(1)
                m.d.sync += number.eq(0)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(~check.transfer):
                    m.next = "START"
                with m.Elif(command.opcode == Opcode.WRITE):
                    m.next = "WRITE"
                    with m.If(check.empty):
                        m.next = "END"
                with m.Else():
                    m.next = "QUEUE"
                    if can_unpack(self.config):
                        with m.If(check.packed):
                            m.next = "JOB"
                with m.If(check.refused):
                    m.d.sync += problem.eq(check.error)
                    m.next = "REFUSE"
            with m.State("LABEL"), m.If(self.words.valid):
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += contents.eq(self.words.payload)
                m.next = "END"
            with m.State("SIGNAL"):
                m.d.comb += self.signal.eq(1)
                m.next = "END"
            with m.State("WAIT"):
                with m.If(self.state.released | ~self.state.running):
                    m.d.comb += self.take.eq(1)
                    m.next = "END"
                with m.Elif(self.state.refilling):
                    m.d.sync += problem.eq(ErrorCode.STUCK)
                    m.next = "REFUSE"
            with m.State("START"):
                m.d.comb += self.runs.valid.eq(1)
                m.next = "END"
            with m.State("WRITE"), m.If(self.words.valid):
                m.d.comb += [self.writes.valid.eq(1), dirty.eq(1)]
                with m.If(self.writes.ready):
                    m.d.comb += self.words.ready.eq(1)
                    m.d.sync += number.eq(number + 1)
                    with m.If(number == check.chunks - 1):
                        m.d.comb += registers.advance.eq(1)
                        m.d.sync += number.eq(0)
                    with m.If(command.left == 1):
                        m.next = "END"
            if can_unpack(self.config):
                self._unpack(m, registers, problem, dirty)
            with m.State("REFUSE"):
                m.d.sync += self.errors.eq(self.errors + 1)
                m.next = "QUEUE"
            with m.State("QUEUE"):
                m.d.comb += self.requests.valid.eq(1)
                with m.If(~self.requests.ready):
                    m.d.sync += self.dropped.eq(self.dropped + 1)
                m.next = "END"
            with m.State("END"):
                m.d.comb += self.packets.ready.eq(1)
                m.d.sync += problem.eq(0)
                m.next = "HEADER"
        return m

    def _take_arguments(
        self, m: Module, registers: CommandRegisters, check: CommandCheck, problem: Signal
    ) -> None:
        """States up to the check: header, length, what they tell, arguments."""
        words, part, opcode = self.words, registers.part, registers.command.opcode
        with m.State("HEADER"), m.If(self.packets.valid):
            m.d.sync += problem.eq(self.packets.payload)
            with m.If(self.packets.payload.any()):
                m.d.comb += registers.clear.eq(1)
                m.next = "REFUSE"
            with m.Elif(words.valid):
                m.d.comb += [words.ready.eq(1), part.header.eq(1)]
                m.next = "LENGTH"
        with m.State("LENGTH"), m.If(words.valid):
            m.d.comb += [words.ready.eq(1), part.length.eq(1)]
            m.next = "OPCODE"
        with (
            m.State("OPCODE"),
            m.If((opcode == Opcode.WRITE) | check.packed | self.written),
        ):
            m.next = "ADDRESS"
            with m.If(check.malformed):
                m.d.sync += problem.eq(check.malformed_error)
                m.next = "REFUSE"
            with m.Elif(opcode == Opcode.STATUS):
                m.next = "QUEUE"
            with m.Elif(opcode == Opcode.SIGNAL):
                m.next = "SIGNAL"
            with m.Elif(opcode == Opcode.WAIT):
                m.next = "WAIT"
            with m.Elif(opcode == Opcode.LABEL):
                m.next = "LABEL"
        with m.State("ADDRESS"), m.If(words.valid):
            m.d.comb += [words.ready.eq(1), part.address.eq(1)]
            m.next = "COUNT"
        with m.State("COUNT"), m.If(words.valid):
            m.d.comb += [words.ready.eq(1), part.count.eq(1)]
            m.next = "CHECK"
            if can_unpack(self.config):
                with m.If(check.packed):
                    m.next = "ROWS"
        if can_unpack(self.config):
            with m.State("ROWS"), m.If(words.valid):
                m.d.comb += [words.ready.eq(1), part.rows_used.eq(1)]
                m.next = "CHECK"

    def _unpack(
        self, m: Module, registers: CommandRegisters, problem: Signal, dirty: Signal
    ) -> None:
        """States of WRITE_PACKED after the checks."""
        command = registers.command
        job, word, chunk = self.jobs.payload, self.packed.payload, self.chunks.payload
        m.d.comb += [
            job.address.eq(command.address),
            job.count.eq(command.count),
            job.rows_used.eq(command.rows_used),
            word.data.eq(self.words.payload),
            word.last.eq(command.left == 1),
        ]
        with m.State("JOB"):
            # Ready: the job before was over when its packet ended.
            m.d.comb += [self.jobs.valid.eq(1), dirty.eq(1)]
            m.next = "UNPACK"
        with m.State("UNPACK"):
            m.d.comb += [
                self.packed.valid.eq(self.words.valid),
                self.words.ready.eq(self.packed.ready & self.words.valid),
                self.writes.valid.eq(self.chunks.valid),
                self.chunks.ready.eq(self.writes.ready),
                self.writes.payload.address.eq(chunk.address),
                self.writes.payload.chunk.eq(chunk.chunk),
                self.writes.payload.data.eq(chunk.data),
            ]
            with m.If(self.fault):
                m.d.sync += problem.eq(ErrorCode.PACKED)
            with m.If(self.unpacked):
                m.next = "END"
                with m.If(problem.any()):
                    m.next = "REFUSE"
