"""The host's end of the serial link, as any other way to an accelerator."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tritforge.fpga.link.serial_port import open_port
from tritforge.fpga.link.transport import Port, Statistics, Transport
from tritforge.hw.config import Config
from tritforge.hw.program import MEMORIES
from tritforge.hw.protocol import (
    RESPONSE,
    ErrorCode,
    Opcode,
    Packet,
    Status,
    read,
    status,
)
from tritforge.sim.device import DeviceError, Link

__all__ = ["SerialLink"]

#: Port words of a response, at most: a READ of more is made of several.
PIECE_WORDS = 64
#: Times that a request is repeated because its answer was lost.
REPEATS = 100
#: Seconds between questions for the end of a run: at first and most.
FIRST_QUESTION, MOST_QUESTION = 0.1, 1.0
#: Seconds, and questions, without any answer after which a board that takes packets is given up. A
#: program that holds all answers (WAIT) must not take longer.
MOST_SILENCE, MOST_UNANSWERED = 120.0, 100
#: Packets in an exchange from which on progress is told.
_MANY = 20


@dataclass(eq=False)
class _Piece:
    """A packet to be sent: a request or part of one, or a command."""

    packet: Packet
    request: "_Request | None" = None
    tag: int = 0
    answer: Packet | None = None
    repeats: int = 0


@dataclass(eq=False)
class _Request:
    """READ or STATUS, answered when all pieces are; ``probe``: by the link itself."""

    pieces: list[_Piece] = field(default_factory=list)
    probe: bool = False

    @property
    def done(self) -> bool:
        return all(piece.answer is not None for piece in self.pieces)


class SerialLink(Link):
    """An accelerator behind a board's UART.

    Every packet gets a tag, which its answer has too, so that nothing is taken for what it is not.
    Requests whose answer is lost are repeated; they change nothing, and nothing that could change
    what they find is sent before they are answered. RUN is carried out once; where its answer is
    lost, STATUS tells how it ended.

    Parameters
    ----------
    config : Config
        What the board must have: see :meth:`tritforge.sim.device.Device.check_identity`.
    port : Port
        :class:`serial.Serial`, or what has the same methods.
    name : str
        What messages call the port.
    clock_hz : int
        The board's clock, for :attr:`cycles`; 0 if unknown.
    progress : callable(message, fraction), optional
    clock : callable
        Seconds as they pass for the board: those of a simulated one are its own.

    Raises
    ------
    DeviceError
        From every method: the board does not answer, or too little comes through.
    """

    def __init__(
        self,
        config: Config,
        port: Port,
        *,
        name: str = "the serial port",
        clock_hz: int = 0,
        progress: Callable[[str, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._port = port
        self._progress = progress
        self._clock_hz = clock_hz
        self._now = clock
        try:
            self._transport = Transport(port, name, clock)
        except BaseException:
            port.close()
            raise
        self._name = name
        self._began = self._now()
        self._tag = 0
        self._tags: dict[int, _Piece] = {}
        self._todo: deque[_Piece] = deque()
        self._waiting: deque[_Piece] = deque()  # sent, to be answered, in order
        self._requests: deque[_Request] = deque()  # of exchange, in order
        self._run: _Piece | None = None  # a RUN that has not been answered
        self._ready: list[list[int]] = []
        self._refused = 0  # packets, by their answers
        self._question = FIRST_QUESTION
        self._asked = 0.0
        self._unanswered = 0  # questions since the last answer
        self._answered_at = self._now()

    @classmethod
    def open(
        cls,
        config: Config,
        path: str,
        baud: int,
        *,
        clock_hz: int = 0,
        progress: Callable[[str, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> "SerialLink":
        """A link over the serial port at ``path``."""
        return cls(
            config,
            open_port(path, baud),
            name=path,
            clock_hz=clock_hz,
            progress=progress,
            clock=clock,
        )

    @property
    def statistics(self) -> Statistics:
        """What the link has done so far."""
        return self._transport.statistics

    @property
    def cycles(self) -> int:
        """Clock cycles of the board since the session began, by the host's clock; 0 where the
        board's clock is unknown. Those of a run are in the board's STATUS and counters."""
        return int((self._now() - self._began) * self._clock_hz)

    def close(self) -> None:
        self._port.close()

    def exchange(self, packets: Sequence[Sequence[int]], answers: int) -> list[list[int]]:
        """As :meth:`Link.exchange`; returns when the board has taken all packets."""
        for words in packets:
            self._add(Packet.from_words(words))
        total = len(self._todo)
        self._asked = self._now()
        while self._todo or self._transport.unanswered or len(self._ready) < answers:
            if self._progress is not None and total >= _MANY:
                self._progress("serial link: sending packets", 1 - len(self._todo) / total)
            self._send()
            for response in self._transport.step():
                self._take(response)
            self._ask()
        self._ready, ready = [], self._ready
        return ready

    # ----- sending

    def _add(self, packet: Packet) -> None:
        if (
            packet.opcode == Opcode.READ
            and len(packet.payload) == 2
            and packet.memory < len(MEMORIES)
        ):
            request = _Request()
            address, count = packet.payload
            memory = MEMORIES[packet.memory]
            step = max(1, PIECE_WORDS // self.config.memory_chunks(memory))
            # What will be refused stays whole, so that it is refused as a whole.
            if address + count > self.config.memory_depth(memory):
                step = max(1, count)
            request.pieces = [
                _Piece(
                    read(memory, packet.cluster, address + start, min(step, count - start)), request
                )
                for start in range(0, max(1, count), step)
            ]
        elif packet.opcode in (Opcode.STATUS, Opcode.READ):
            request = _Request()
            request.pieces = [_Piece(packet, request)]
        else:
            self._todo.append(_Piece(packet))
            return
        self._requests.append(request)
        self._todo.extend(request.pieces)

    def _send(self) -> None:
        while self._todo and self._transport.room:
            piece = self._todo[0]
            if piece.request is not None:
                if len(self._waiting) >= self.config.response_places:
                    return
            elif self._waiting:
                return
            self._todo.popleft()
            self._put(piece)

    def _put(self, piece: _Piece) -> None:
        self._tag = self._tag % 255 + 1  # 0 is the tag of packets that nobody could read
        if self._run is not None and self._run.tag == self._tag:
            self._tag = self._tag % 255 + 1
        piece.tag = self._tag
        self._tags[piece.tag] = piece
        packet = piece.packet
        if packet.opcode == Opcode.RUN:
            self._run, self._question = piece, FIRST_QUESTION
        if piece.request is not None:
            self._waiting.append(piece)
        self._asked = self._now()
        self._transport.send(
            Packet(packet.opcode, packet.memory, packet.cluster, packet.payload, piece.tag).words()
        )

    # ----- receiving

    def _take(self, words: Sequence[int]) -> None:
        try:
            answer = Packet.from_words(words)
            if not answer.error and answer.opcode == Opcode.STATUS | RESPONSE:
                Status.from_packet(answer)
        except ValueError as error:
            raise DeviceError(
                f"the board at {self._name} answers in another form; does it hold a "
                f"bitstream of another version?"
            ) from error
        self._unanswered, self._answered_at = 0, self._now()
        piece = self._tags.pop(answer.tag, None)
        if answer.error and answer.error not in (ErrorCode.EMPTY_PROGRAM, ErrorCode.BAD_PROGRAM):
            self._refused += 1
        if piece is None:
            if answer.tag == 0 and answer.error:
                self._ready.append(words_of(answer))
            return
        if piece is self._run:
            self._end_run(answer)
        elif piece.request is None:
            self._ready.append(words_of(answer))
        elif piece in self._waiting:
            self._asked = self._now()
            self._answered(piece, answer)

    def _answered(self, piece: _Piece, answer: Packet) -> None:
        # Requests are answered in order: those before this one have lost their answers.
        lost = []
        while (first := self._waiting.popleft()) is not piece:
            lost.append(first)
        self._repeat(lost)
        piece.answer = answer
        request = piece.request
        assert request is not None
        if piece.packet.opcode == Opcode.STATUS and not answer.error:
            self._learn(Status.from_packet(answer), bool(self._waiting))
        while self._requests and self._requests[0].done:
            self._ready.append(self._whole(self._requests.popleft()))

    def _repeat(self, lost: list[_Piece]) -> None:
        for piece in reversed(lost):
            self._tags.pop(piece.tag, None)
            if piece.request is not None and piece.request.probe:
                continue
            piece.repeats += 1
            self.statistics.requests_repeated += 1
            if piece.repeats > REPEATS:
                raise DeviceError(
                    f"too little comes through at {self._name}: a request was "
                    f"repeated {REPEATS} times in vain; a lower baud rate may do"
                )
            self._todo.appendleft(piece)

    @staticmethod
    def _whole(request: _Request) -> list[int]:
        answers = [piece.answer for piece in request.pieces if piece.answer is not None]
        for answer in answers:
            if answer.error:
                return words_of(answer)
        first = answers[0]
        return Packet(
            first.opcode,
            0,
            first.cluster,
            tuple(word for answer in answers for word in answer.payload),
        ).words()

    def _end_run(self, answer: Packet) -> None:
        assert self._run is not None
        self._tags.pop(self._run.tag, None)
        self._run = None
        self._ready.append(words_of(answer))

    def _learn(self, state: Status, more: bool) -> None:
        """What the board says of itself: ends of runs and refusals whose answers were lost."""
        run = self._run
        if run is not None:
            ended = state.ended(run.tag)
            if ended is not None:
                self._end_run(Packet(Opcode.RUN | RESPONSE, ended))
            elif not state.running:
                raise DeviceError("RUN was refused, and the answer that says why was lost")
        if not more and (state.errors - self._refused) & 0xFFFF:
            raise DeviceError("a packet was refused, and the answer that says why was lost")

    def _ask(self) -> None:
        """Where an answer is due and everything has been taken: has it been lost?"""
        if (self._todo and not self._waiting) or self._transport.unanswered:
            return
        now = self._now()
        if self._waiting:
            due = 2 * self._transport.timeout
        elif self._run is not None:
            due = max(self._question, 2 * self._transport.timeout)
        elif not self._todo and not self._requests:
            due = max(MOST_QUESTION, 2 * self._transport.timeout)
        else:
            return
        if now < self._asked + due:
            return
        if self._waiting:
            self.statistics.timeouts += 1
        # A question behind all others: when it is answered, so have they been.
        for piece in [
            one for one in self._waiting if one.request is not None and one.request.probe
        ]:
            self._waiting.remove(piece)
            self._tags.pop(piece.tag, None)
        self._unanswered += 1
        if self._unanswered > MOST_UNANSWERED and now > self._answered_at + MOST_SILENCE:
            raise DeviceError(f"the board at {self._name} takes packets, but answers none")
        self._question = min(2 * self._question, MOST_QUESTION)
        request = _Request(probe=True)
        request.pieces = [_Piece(status(), request)]
        self._put(request.pieces[0])


def words_of(answer: Packet) -> list[int]:
    """An answer without its tag, as other links give it."""
    return Packet(answer.opcode, answer.memory, answer.cluster, answer.payload).words()
