"""Host port: carries out packets and answers them."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.packet_buffer import PacketBuffer
from tritforge.hw.payloads import address_width, command_word, index_shape, port_word
from tritforge.hw.program import MEMORIES, READABLE_MEMORIES, WRITABLE_MEMORIES
from tritforge.hw.protocol import (
    COUNT_WIDTH,
    ERROR_WIDTH,
    FINISHED,
    PACKED_ARGUMENTS,
    RESPONSE,
    STATUS_WORDS,
    ErrorCode,
    Opcode,
)
from tritforge.hw.unpacker import Unpacker, can_unpack
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["HostPort", "memory_address_width"]


def memory_address_width(config: Config) -> int:
    """Bits of an address into the deepest memory."""
    return max(address_width(config.memory_depth(kind)) for kind in MEMORIES)


def _times(value: Signal, factor: int) -> object:
    """``value * factor`` without a multiplier."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    return sum(terms[1:], terms[0])


class HostPort(wiring.Component):
    """Executes WRITE, WRITE_PACKED, RUN, READ, STATUS, SIGNAL, WAIT and LABEL packets.

    ::

        i -> [packet buffer] -> check -> [unpacker] -> writes
                                  |  +--------------^
                                  +-> start, signal
                                  +-> wait <- released
                                  +-> [requests] -> answer -> o

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
    write_valid, write_ready, write_memory, write_cluster, write_address, write_chunk, write_data
        32 bits for chunk ``write_chunk`` of a memory word.
    read_valid, read_ready, read_memory, read_cluster, read_address : request
    read_data_valid : In(1), read_data : In
        Its memory word, later.
    start, start_address, start_layers, start_waits : Out
    signal : Out(1)
        A SIGNAL for the running program.
    released : In(1), take : Out(1)
        The program has counted a release; ``take`` takes one.
    refilling : In(1)
        The program waits for a SIGNAL.
    running, finished, error, layers, cycles : In
        From the sequencer.
    result_write, result_write_address, result : In
        With ``shared_results``: a result to write into the packet buffer's memory.
    result_word : Out(32)
        The result that was asked for with ``read_valid`` two cycles ago.
    """

    def __init__(self, config: Config, *, contents: int = 0) -> None:
        self.config = config
        self.contents = contents
        address = memory_address_width(config)
        self.read_width = max(config.memory_width(kind) for kind in READABLE_MEMORIES)
        memory_shape = range(len(MEMORIES))
        cluster = index_shape(config.cluster_count)
        result = address_width(config.result_depth)
        super().__init__(
            {
                "i": In(stream.Signature(command_word())),
                "o": Out(stream.Signature(port_word())),
                "write_valid": Out(1),
                "write_ready": In(1),
                "write_memory": Out(memory_shape),
                "write_cluster": Out(cluster),
                "write_address": Out(address),
                "write_chunk": Out(8),
                "write_data": Out(PORT_WIDTH),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_memory": Out(memory_shape),
                "read_cluster": Out(cluster),
                "read_address": Out(address),
                "read_data_valid": In(1),
                "read_data": In(self.read_width),
                "start": Out(1),
                "start_address": Out(address_width(config.program_depth)),
                "start_layers": Out(16),
                "start_waits": Out(1),
                "signal": Out(1),
                "released": In(1),
                "take": Out(1),
                "refilling": In(1),
                "running": In(1),
                "finished": In(1),
                "error": In(8),
                "layers": In(16),
                "cycles": In(32),
                **(
                    {
                        "result_write": In(1),
                        "result_write_address": In(result),
                        "result": In(PORT_WIDTH),
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
        m.d.comb += [
            buffer.i.payload.eq(self.i.payload),
            buffer.i.valid.eq(self.i.valid),
            self.i.ready.eq(buffer.i.ready),
        ]
        request_layout = data.StructLayout(
            {
                "opcode": 7,
                "error": ERROR_WIDTH,
                "memory": 8,
                "tag": 8,
                "cluster": self.read_cluster.shape(),
                "address": len(self.read_address),
                "count": len(self.read_address) + 1,
            }
        )
        m.submodules.requests = requests = fifo.SyncFIFO(
            width=request_layout.size, depth=config.response_places
        )
        # Where stages are few, a packet's words wait in the packet buffer until they are taken;
        # else in a queue of two, so that the buffer need not know at once whether one was. Packets
        # that do more than write wait until it is empty.
        self._write, self._room, self._written = Signal(), Signal(), Signal()
        # The end of a run comes from far away.
        self._finished, self._error = Signal(), Signal(ERROR_WIDTH)
        end = m.d.comb if config.few_stages else m.d.sync
        end += [self._finished.eq(self.finished), self._error.eq(self.error)]
        errors, dropped = Signal(COUNT_WIDTH), Signal(COUNT_WIDTH)
        run_done = Signal()  # the answer to a RUN waits
        self._run_tag = Signal(8)
        self._contents = Signal(PORT_WIDTH, init=self.contents, reset_less=True)
        unpacker = None
        if can_unpack(config):
            m.submodules.unpacker = unpacker = Unpacker(config)
        self._execute(m, buffer, unpacker, requests, request_layout, run_done, errors, dropped)
        self._answer(m, requests, request_layout, run_done, errors, dropped)
        if config.shared_results:
            reads_result = Signal()
            m.d.sync += reads_result.eq(
                self.read_valid & (self.read_memory == MEMORIES.index("results"))
            )
            m.d.comb += [
                buffer.result_write.eq(self.result_write),
                buffer.result_write_address.eq(self.result_write_address),
                buffer.result.eq(self.result),
                buffer.result_read.eq(reads_result),
                buffer.result_read_address.eq(self.read_address),
                self.result_word.eq(buffer.word),
            ]
        return m

    def _execute(
        self,
        m: Module,
        buffer: PacketBuffer,
        unpacker: Unpacker | None,
        requests: fifo.SyncFIFO,
        request_layout: data.StructLayout,
        run_done: Signal,
        errors: Signal,
        dropped: Signal,
    ) -> None:
        config = self.config
        opcode, kind, cluster, tag = Signal(8), Signal(8), Signal(8), Signal(8)
        address = Signal(len(self.write_address))
        count = Signal(max(len(address) + 1, len(self.start_layers)))
        vast_address, vast_count, waits = Signal(), Signal(), Signal()  # bits beyond these
        rows_used = Signal(PORT_WIDTH)
        left = Signal(range(config.packet_words + 1))  # words of the packet not yet taken
        most = max(config.memory_chunks(name) for name in WRITABLE_MEMORIES)
        number = Signal(range(most))  # chunk of the memory word being written
        problem = Signal(ERROR_WIDTH)
        request = Signal(request_layout)
        m.d.comb += requests.w_data.eq(request)

        # What the checks need to know of the memory.
        depth, chunks = Signal(len(address) + 1), Signal(range(most + 1))
        # Words of the memory words to write; more than a packet can state is wrong anyway.
        few = count[: len(left)]
        size = Signal(len(left) + most.bit_length())
        allowed, packed = Signal(), Signal()
        copies = Signal(8)
        # Registers cost as much as tables where stages are few.
        early = m.d.comb if config.few_stages else m.d.sync
        early += [depth.eq(0), chunks.eq(0), copies.eq(0), allowed.eq(0)]  # no such memory
        with m.Switch(kind):
            for index, name in enumerate(MEMORIES):
                with m.Case(index):
                    m.d.comb += size.eq(
                        _times(few, config.memory_chunks(name)) if name in WRITABLE_MEMORIES else 0
                    )
                    early += [  # some cycles before they are used
                        depth.eq(config.memory_depth(name)),
                        chunks.eq(config.memory_chunks(name)),
                        copies.eq(config.memory_count(name)),
                        allowed.eq(
                            Mux(
                                opcode == Opcode.READ,
                                name in READABLE_MEMORIES,
                                Mux(packed, name == "trits", name in WRITABLE_MEMORIES),
                            )
                        ),
                    ]
        m.d.comb += packed.eq(0 if unpacker is None else opcode == Opcode.WRITE_PACKED)
        bare = Signal()  # a packet without arguments
        label = Signal()
        m.d.comb += label.eq(opcode == Opcode.LABEL)
        m.d.comb += bare.eq(
            (opcode == Opcode.STATUS) | (opcode == Opcode.SIGNAL) | (opcode == Opcode.WAIT)
        )
        unknown = (opcode < Opcode.WRITE) | (opcode > Opcode.LABEL)
        if unpacker is None:
            unknown |= opcode == Opcode.WRITE_PACKED
        transfer = (opcode == Opcode.WRITE) | (opcode == Opcode.READ) | packed
        faults, empty, excess = Signal(5), Signal(), Signal()  # found by CHECK
        wanted = Signal.like(size)
        beyond = Signal()
        m.d.comb += beyond.eq(vast_address | vast_count | (address + count > depth))
        arguments = Mux(bare, 0, Mux(label, 1, Mux(packed, PACKED_ARGUMENTS, 2)))
        # After a packet that writes what a label is of, the label is no longer true.
        dirty = Signal()
        with m.If(dirty & (kind != MEMORIES.index("activations"))):
            m.d.sync += self._contents.eq(0)

        target = {
            "memory": kind,
            "cluster": cluster,
            "address": Signal.like(self.write_address),
            "chunk": Signal.like(self.write_chunk),
            "data": Signal.like(self.write_data),
        }
        outputs = {name: getattr(self, f"write_{name}") for name in target}
        if config.few_stages:
            m.d.comb += [
                self.write_valid.eq(self._write),
                self._room.eq(self.write_ready),
                self._written.eq(1),
                *(output.eq(target[name]) for name, output in outputs.items()),
            ]
        else:
            another = Signal()
            second = {
                name: Signal.like(output, name=f"second_{name}", reset_less=True)
                for name, output in outputs.items()
            }
            m.d.comb += [
                self._room.eq(~another),
                self._written.eq(~self.write_valid & ~another),
            ]
            with m.If(~another):
                m.d.sync += [second[name].eq(value) for name, value in target.items()]
            with m.If(~self.write_valid | self.write_ready):
                m.d.sync += [
                    self.write_valid.eq(another | self._write),
                    another.eq(0),
                    *(
                        output.eq(Mux(another, second[name], target[name]))
                        for name, output in outputs.items()
                    ),
                ]
            with m.Elif(self._write):
                m.d.sync += another.eq(1)
        m.d.comb += [
            target["address"].eq(address),
            target["chunk"].eq(number),
            target["data"].eq(buffer.word),
            self.start_address.eq(address),
            self.start_layers.eq(Mux(vast_count | count[16:].any(), 0xFFFF, count[:16])),
            self.start_waits.eq(waits),
            buffer.skip.eq(left),
        ]
        with m.FSM():
            with m.State("HEADER"), m.If(buffer.packet_valid):
                m.d.sync += problem.eq(buffer.packet_error)
                with m.If(buffer.packet_error.any()):
                    m.d.sync += [opcode.eq(0), kind.eq(0), tag.eq(0), left.eq(0)]
                    m.next = "REFUSE"
                with m.Elif(buffer.word_valid):
                    m.d.comb += buffer.take.eq(1)
                    m.d.sync += [
                        opcode.eq(buffer.word[:8]),
                        kind.eq(buffer.word[8:16]),
                        cluster.eq(buffer.word[16:24]),
                        tag.eq(buffer.word[24:]),
                    ]
                    m.next = "LENGTH"
            with m.State("LENGTH"), m.If(buffer.word_valid):
                m.d.comb += buffer.take.eq(1)
                m.d.sync += left.eq(buffer.word)
                m.next = "OPCODE"
            with m.State("OPCODE"), m.If((opcode == Opcode.WRITE) | packed | self._written):
                m.next = "ADDRESS"
                with m.If(unknown):
                    m.d.sync += problem.eq(ErrorCode.OPCODE)
                    m.next = "REFUSE"
                with m.Elif(
                    (left < arguments) | ((opcode != Opcode.WRITE) & ~packed & (left != arguments))
                ):
                    m.d.sync += problem.eq(ErrorCode.LENGTH)
                    m.next = "REFUSE"
                with m.Elif(opcode == Opcode.STATUS):
                    m.next = "QUEUE"
                with m.Elif(opcode == Opcode.SIGNAL):
                    m.next = "SIGNAL"
                with m.Elif(opcode == Opcode.WAIT):
                    m.next = "WAIT"
                with m.Elif(label):
                    m.next = "LABEL"
            with m.State("LABEL"), m.If(buffer.word_valid):
                m.d.comb += buffer.take.eq(1)
                m.d.sync += [self._contents.eq(buffer.word), left.eq(0)]
                m.next = "END"
            with m.State("SIGNAL"):
                m.d.comb += self.signal.eq(1)
                m.next = "END"
            with m.State("WAIT"):
                with m.If(self.released | ~self.running):
                    m.d.comb += self.take.eq(1)
                    m.next = "END"
                with m.Elif(self.refilling):
                    m.d.sync += problem.eq(ErrorCode.STUCK)
                    m.next = "REFUSE"
            with m.State("ADDRESS"), m.If(buffer.word_valid):
                m.d.comb += buffer.take.eq(1)
                m.d.sync += [
                    address.eq(buffer.word),
                    left.eq(left - 1),
                    vast_address.eq(buffer.word[len(address) :].any()),
                ]
                m.next = "COUNT"
            with m.State("COUNT"), m.If(buffer.word_valid):
                m.d.comb += buffer.take.eq(1)
                m.d.sync += [
                    count.eq(buffer.word),
                    vast_count.eq(
                        buffer.word[len(count) : -1].any()
                        | (buffer.word[-1] & (opcode != Opcode.RUN))
                    ),
                    waits.eq(buffer.word[-1]),
                    left.eq(left - 1),
                ]
                m.next = "CHECK"
                if unpacker is not None:
                    with m.If(packed):
                        m.next = "ROWS"
            with m.State("CHECK"):
                m.d.sync += [
                    number.eq(0),
                    faults.eq(
                        Cat(
                            transfer & ~allowed,
                            transfer & (cluster >= copies),
                            Mux(transfer, beyond, vast_address | (address >= config.program_depth)),
                            packed & ((count == 0) | (left == 0)),
                            packed & ((rows_used == 0) | (rows_used > config.rows)),
                        )
                    ),
                    empty.eq(count == 0),
                    excess.eq(count[len(left) :].any()),
                    wanted.eq(size),
                ]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(~transfer):
                    m.next = "START"
                with m.Elif(opcode == Opcode.WRITE):
                    m.next = "WRITE"
                    with m.If(empty):
                        m.next = "END"
                with m.Else():
                    m.next = "QUEUE"
                    if unpacker is not None:
                        with m.If(packed):
                            m.next = "JOB"
                busy = ~transfer & (self.running | self._finished | run_done)
                length = faults[3] | ((opcode == Opcode.WRITE) & ((wanted != left) | excess))
                with m.If(busy | faults.any() | length):
                    m.d.sync += problem.eq(ErrorCode.BUSY)
                    for fault, code in (
                        (faults[4], ErrorCode.ROWS),
                        (length, ErrorCode.LENGTH),
                        (faults[2], ErrorCode.ADDRESS),
                        (faults[1], ErrorCode.CLUSTER),
                        (faults[0], ErrorCode.MEMORY),
                    ):
                        with m.If(~busy & fault):
                            m.d.sync += problem.eq(code)
                    m.next = "REFUSE"
            with m.State("START"):
                m.d.comb += self.start.eq(1)
                m.d.sync += self._run_tag.eq(tag)
                m.next = "END"
            with m.State("WRITE"), m.If(buffer.word_valid):
                m.d.comb += [self._write.eq(1), dirty.eq(1)]
                with m.If(self._room):
                    m.d.comb += buffer.take.eq(1)
                    m.d.sync += [left.eq(left - 1), number.eq(number + 1)]
                    with m.If(number == chunks - 1):
                        m.d.sync += [number.eq(0), address.eq(address + 1)]
                    with m.If(left == 1):
                        m.next = "END"
            if unpacker is not None:
                self._unpack(
                    m, buffer, unpacker, address, count, rows_used, left, problem, dirty, target
                )
            with m.State("REFUSE"):
                m.d.sync += errors.eq(errors + 1)
                m.next = "QUEUE"
            with m.State("QUEUE"):
                m.d.comb += [
                    request.opcode.eq(opcode),
                    request.error.eq(problem),
                    request.memory.eq(kind),
                    request.tag.eq(tag),
                    request.cluster.eq(cluster),
                    request.address.eq(address),
                    request.count.eq(Mux((opcode == Opcode.READ) & ~problem.any(), count, 0)),
                    requests.w_en.eq(1),
                ]
                with m.If(~requests.w_rdy):
                    m.d.sync += dropped.eq(dropped + 1)
                m.next = "END"
            with m.State("END"):
                m.d.comb += buffer.end.eq(1)
                m.d.sync += problem.eq(0)
                m.next = "HEADER"

    def _unpack(
        self,
        m: Module,
        buffer: PacketBuffer,
        unpacker: Unpacker,
        address: Signal,
        count: Signal,
        rows_used: Signal,
        left: Signal,
        problem: Signal,
        dirty: Signal,
        target: dict[str, Signal],
    ) -> None:
        """States of WRITE_PACKED: third argument, and after the checks the job."""
        job, word, chunk = unpacker.jobs.payload, unpacker.i.payload, unpacker.o.payload
        m.d.comb += [
            job.address.eq(address),
            job.count.eq(count),
            job.rows_used.eq(rows_used),
            word.data.eq(buffer.word),
            word.last.eq(left == 1),
        ]
        with m.State("ROWS"), m.If(buffer.word_valid):
            m.d.comb += buffer.take.eq(1)
            m.d.sync += [rows_used.eq(buffer.word), left.eq(left - 1)]
            m.next = "CHECK"
        with m.State("JOB"):
            # Ready: the job before was over when its packet ended.
            m.d.comb += [unpacker.jobs.valid.eq(1), dirty.eq(1)]
            m.next = "UNPACK"
        with m.State("UNPACK"):
            m.d.comb += [
                unpacker.i.valid.eq(buffer.word_valid),
                buffer.take.eq(unpacker.i.ready & buffer.word_valid),
                self._write.eq(unpacker.o.valid),
                unpacker.o.ready.eq(self._room),
                target["address"].eq(chunk.address),
                target["chunk"].eq(chunk.chunk),
                target["data"].eq(chunk.data),
            ]
            with m.If(buffer.take):
                m.d.sync += left.eq(left - 1)
            with m.If(unpacker.fault):
                m.d.sync += problem.eq(ErrorCode.PACKED)
            with m.If(unpacker.idle):
                m.next = "END"
                with m.If(problem.any()):
                    m.next = "REFUSE"

    def _answer(
        self,
        m: Module,
        requests: fifo.SyncFIFO,
        request_layout: data.StructLayout,
        run_done: Signal,
        errors: Signal,
        dropped: Signal,
    ) -> None:
        config = self.config
        waiting = Signal(request_layout)
        current = Signal(request_layout)
        run_error = Signal(ERROR_WIDTH)
        ended = Signal()  # a run has ended, and none started since
        is_status = Signal()
        most = max(config.memory_chunks(name) for name in READABLE_MEMORIES)
        chunks, length = Signal(range(most + 1)), Signal(len(current.count) + most.bit_length())
        chunk = Signal(range(most))
        index = Signal(range(STATUS_WORDS + 1))
        left = Signal(len(current.count))
        word = Signal(self.read_width)
        m.d.comb += [
            waiting.eq(requests.r_data),
            is_status.eq((current.opcode == Opcode.STATUS) & ~current.error.any()),
        ]
        with m.Switch(current.memory):
            for number, name in enumerate(MEMORIES):
                if name in READABLE_MEMORIES:
                    with m.Case(number):
                        m.d.comb += [
                            chunks.eq(config.memory_chunks(name)),
                            length.eq(_times(current.count, config.memory_chunks(name))),
                        ]
        state_words = Array(
            [
                config.identity_word,
                self.running,
                self.layers,
                self.cycles,
                errors,
                dropped,
                Mux(ended, run_error | self._run_tag << 8 | FINISHED, 0),
                self._contents,
            ]
        )
        assert len(state_words) == STATUS_WORDS

        m.d.comb += [
            self.read_memory.eq(current.memory),
            self.read_cluster.eq(current.cluster),
            self.read_address.eq(current.address),
        ]
        out = self.o.payload
        with m.FSM():
            with m.State("IDLE"):
                with m.If(run_done):
                    m.d.sync += [
                        current.eq(0),
                        current.opcode.eq(Opcode.RUN),
                        current.error.eq(run_error),
                        current.tag.eq(self._run_tag),
                        run_done.eq(0),
                    ]
                    m.next = "HEADER"
                with m.Elif(requests.r_rdy):
                    m.d.comb += requests.r_en.eq(1)
                    m.d.sync += current.eq(waiting)
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(
                        current.opcode
                        | RESPONSE
                        | current.error << 8
                        | current.memory << 16
                        | current.tag << 24
                    ),
                ]
                with m.If(self.o.ready):
                    m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(Mux(is_status, STATUS_WORDS, length)),
                    out.last.eq((current.count == 0) & ~is_status),
                ]
                m.d.sync += [left.eq(current.count), chunk.eq(0)]
                with m.If(self.o.ready):
                    # The state goes on changing; a word that is offered must not.
                    m.d.sync += [word.eq(state_words[0]), index.eq(1)]
                    m.next = "FETCH"
                    with m.If(is_status):
                        m.next = "STATUS"
                    with m.Elif(current.count == 0):
                        m.next = "IDLE"
            with m.State("STATUS"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(word),
                    out.last.eq(index == STATUS_WORDS),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(state_words[index]), index.eq(index + 1)]
                    with m.If(out.last):
                        m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += self.read_valid.eq(1)
                with m.If(self.read_ready):
                    m.next = "ARRIVE"
            with m.State("ARRIVE"), m.If(self.read_data_valid):
                m.d.sync += word.eq(self.read_data)
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    out.data.eq(word),
                    out.last.eq((left == 1) & (chunk == chunks - 1)),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [chunk.eq(chunk + 1), word.eq(word >> PORT_WIDTH)]
                    with m.If(chunk == chunks - 1):
                        m.d.sync += [
                            chunk.eq(0),
                            left.eq(left - 1),
                            current.address.eq(current.address + 1),
                        ]
                        m.next = "FETCH"
                        with m.If(left == 1):
                            m.next = "IDLE"
        with m.If(self._finished):
            m.d.sync += [run_done.eq(1), ended.eq(1), run_error.eq(self._error)]
        with m.Elif(self.start):
            m.d.sync += ended.eq(0)
