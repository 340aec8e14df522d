"""Host port: carries out packets and answers them."""

from amaranth.hdl import Module
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.command_executor import CommandExecutor, request
from tritforge.hw.config import Config
from tritforge.hw.packet_buffer import PacketBuffer
from tritforge.hw.payloads import (
    command_word,
    host_read,
    host_write,
    port_word,
    pulse,
    read_word,
    result_write,
    run_command,
    run_state,
)
from tritforge.hw.program import MEMORIES
from tritforge.hw.responder import Responder
from tritforge.hw.run_record import RunRecord
from tritforge.hw.timing import write_places
from tritforge.hw.unpacker import Unpacker, can_unpack
from tritforge.hw.widths import PORT_WIDTH
from tritforge.hw.write_buffer import WriteBuffer

__all__ = ["HostPort"]


class HostPort(wiring.Component):
    """Executes WRITE, WRITE_PACKED, RUN, READ, STATUS, SIGNAL, WAIT and LABEL packets.

    ::

        i -> [buffer] -> [executor] ----------------> [writes] -> writes
                         ^ |  |  +--> runs, signal, take
                [unpacker]-+  |            |
                              v            v
                         [requests]  [run record] <- state
                              v            v
                             [  responder   ] -> reads, o
                                     ^ read_data

    A packet is checked as a whole before anything is changed; only whether packed words are those
    of their columns shows at the end, when the columns are written. Commands never wait for the
    result stream: requests that need an answer are queued, and dropped (and counted) when
    ``response_places`` of them wait already. The answer to RUN has a place of its own.
    READ is served when its turn to answer comes. WAIT holds the packets behind it until the program
    has released something; it is refused where the program itself waits for a SIGNAL. What LABEL
    sets survives a reset, as the memories do, until program, trits or rows are written.

    Timing: WRITE takes one cycle per word plus 9 per packet; WRITE_PACKED one per 32 bits of trit
    memory plus 17 per packet (18 with 32 rows); READ 5 cycles per memory word plus one per
    further port word.

    Cost: registers of as many bits as the deepest memory and the longest packet need; 51 flip-flops
    and the LUTs to choose among them for each of the ``response_places``. On an iCE40 940 LUTs
    without the unpacker (P = 8, R = 4), with it 1 000 more.

    Parameters
    ----------
    config : Config
    contents : int
        What STATUS says of the memories when power comes: the label of an image that is in them
        from the start, or 0.

    Members
    -------
    i : In(stream of command_word), o : Out(stream of port_word)
    writes : Out(stream of host_write)
    reads : Out(stream of host_read)
    read_data : In(pulse of read_word)
        The memory word of each read, later.
    runs : Out(pulse of run_command)
        Starts a program.
    signal : Out(1)
        A SIGNAL for the running program.
    take : Out(1)
        Takes one of its releases.
    state : In(run_state)
        From the sequencer.
    result_writes : In(pulse of result_write)
        With ``shared_results``: results to write into the packet buffer's memory.
    result_word : Out(32)
        The result that was asked for with ``reads`` two cycles ago.
    """

    def __init__(self, config: Config, *, contents: int = 0) -> None:
        self.config = config
        self.contents = contents
        super().__init__(
            {
                "i": In(stream.Signature(command_word())),
                "o": Out(stream.Signature(port_word())),
                "writes": Out(stream.Signature(host_write(config))),
                "reads": Out(stream.Signature(host_read(config))),
                "read_data": In(pulse(read_word(config))),
                "runs": Out(pulse(run_command(config))),
                "signal": Out(1),
                "take": Out(1),
                "state": In(run_state()),
                **(
                    {
                        "result_writes": In(pulse(result_write(config))),
                        "result_word": Out(PORT_WIDTH),
                    }
                    if config.shared_results
                    else {}
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.buffer = buffer = PacketBuffer(config)
        m.submodules.executor = executor = CommandExecutor(config, contents=self.contents)
        m.submodules.requests = requests = fifo.SyncFIFO(
            width=request(config).size, depth=config.response_places
        )
        m.submodules.record = record = RunRecord(config)
        m.submodules.responder = responder = Responder(config)

        wiring.connect(m, wiring.flipped(self.i), buffer.i)
        wiring.connect(m, buffer.packets, executor.packets)
        wiring.connect(m, buffer.words, executor.words)
        if not write_places(config):
            # A packet's words wait in the packet buffer until they are taken.
            wiring.connect(m, executor.writes, wiring.flipped(self.writes))
            m.d.comb += executor.written.eq(1)
        else:
            # So that the executor need not know at once whether a word was taken.
            m.submodules.writes = writes = WriteBuffer(config)
            wiring.connect(m, executor.writes, writes.i)
            wiring.connect(m, writes.o, wiring.flipped(self.writes))
            m.d.comb += executor.written.eq(writes.empty)
        if can_unpack(config):
            m.submodules.unpacker = unpacker = Unpacker(config)
            wiring.connect(m, executor.jobs, unpacker.jobs)
            wiring.connect(m, executor.packed, unpacker.i)
            wiring.connect(m, unpacker.o, executor.chunks)
            m.d.comb += [executor.unpacked.eq(unpacker.idle), executor.fault.eq(unpacker.fault)]
        wiring.connect(m, executor.requests, requests.w_stream)
        wiring.connect(m, requests.r_stream, responder.requests)
        wiring.connect(m, executor.runs, record.runs, wiring.flipped(self.runs))
        wiring.connect(m, record.ends, responder.ends)
        wiring.connect(m, responder.reads, wiring.flipped(self.reads))
        wiring.connect(m, wiring.flipped(self.read_data), responder.read_data)
        wiring.connect(m, responder.o, wiring.flipped(self.o))

        status = responder.status
        m.d.comb += [
            buffer.skip.eq(executor.skip),
            executor.unanswered.eq(record.unanswered),
            executor.state.eq(self.state),
            self.signal.eq(executor.signal),
            self.take.eq(executor.take),
            record.finished.eq(self.state.finished),
            record.error.eq(self.state.error),
            status.identity.eq(config.identity_word),
            status.running.eq(self.state.running),
            status.layers.eq(self.state.layers),
            status.cycles.eq(self.state.cycles),
            status.errors.eq(executor.errors),
            status.dropped.eq(executor.dropped),
            status.finished.eq(record.word),
            status.contents.eq(executor.contents),
        ]
        if config.shared_results:
            wiring.connect(m, wiring.flipped(self.result_writes), buffer.result_writes)
            read = self.reads.payload
            m.d.sync += buffer.result_reads.valid.eq(
                self.reads.valid & (read.memory == MEMORIES.index("results"))
            )
            m.d.comb += [
                buffer.result_reads.payload.eq(read.address),
                self.result_word.eq(buffer.words.payload),
            ]
        return m
