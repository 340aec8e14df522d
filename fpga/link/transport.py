"""Transport: words to a board in frames, each taken once and in order, and frames back.

This is the host's end of what :mod:`tritforge.fpga.link.frames` describes: numbers, a window,
resending.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from tritforge.common.extras import extra
from tritforge.fpga.link.frames import SESSIONS, SYNC, Decoder, Reply, frame
from tritforge.sim.device import DeviceError

with extra("fpga", "a serial port"):
    import serial

__all__ = ["Port", "Statistics", "Transport"]

#: Bytes of frames on their way, unless it is a single frame.
WINDOW = 2048
#: Numbers of frames on their way; well below half of their 256.
WINDOW_FRAMES = 64
#: Seconds without an answer after which frames are sent again: at first, least and most.
FIRST_TIMEOUT, LEAST_TIMEOUT, MOST_TIMEOUT = 0.5, 0.04, 2.0
#: Timeouts in a row without a word from the board, until it counts as not there.
SILENCES = 8
#: Times in a row that frames are sent again without one being taken, though there is an answer.
STALLS = 200
#: Seconds to wait where the board had no room: at first and most.
FIRST_PAUSE, MOST_PAUSE = 0.002, 0.1


class Port(Protocol):
    """What is needed of a serial port: that of pyserial, or one like it.

    ``read`` returns at least one byte, or none when its timeout, some 10 ms, has passed.
    """

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes, /) -> int | None: ...
    def close(self) -> None: ...


@dataclass
class Statistics:
    """What a link has done: frames sent for the first time and again, damaged frames received,
    times that the board refused a frame or had no room, timeouts, requests repeated because their
    answer was lost, and bytes in both directions."""

    frames_sent: int = 0
    frames_resent: int = 0
    crc_errors: int = 0
    refused: int = 0
    full: int = 0
    timeouts: int = 0
    requests_repeated: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass
class _Sent:
    data: bytes
    time: float = 0.0
    again: bool = False


class Transport:
    """A session with a board.

    Parameters
    ----------
    port : Port
    name : str
        What messages call it.
    clock : callable
        Seconds as they pass for the board: those of a simulated one are its own.

    Members
    -------
    statistics : Statistics
    taken : int
        Frames of the session that the board has taken; they are numbered from 0 on.

    Raises
    ------
    DeviceError
        From every method: the board does not answer, was reset, is gone, or too little comes
        through.
    """

    def __init__(
        self,
        port: Port,
        name: str = "the serial port",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port = port
        self._now = clock
        self._name = name
        self._decoder = Decoder()
        self.statistics = Statistics()
        self.taken = 0
        self._frames: deque[_Sent] = deque()  # not yet taken
        self._next = 0  # of these, the next to send
        self._round: int | None = None  # frame for whose sake all were sent again,
        self._behind = 0  # and how many behind it will be refused, too
        self._session = 0
        self._timeout, self._smooth, self._spread = FIRST_TIMEOUT, 0.0, 0.0
        self._silences = self._stalls = self._strangers = 0
        self._pause = FIRST_PAUSE
        self._not_before = self._heard = self._asked = 0.0
        self._begin()

    # ----- what the link uses

    @property
    def room(self) -> bool:
        """Whether one more frame may be sent."""
        return not self._frames or (
            len(self._frames) < WINDOW_FRAMES
            and sum(len(one.data) for one in self._frames) < WINDOW
        )

    @property
    def unanswered(self) -> int:
        """Frames that the board has not taken yet."""
        return len(self._frames)

    def send(self, words: Sequence[int]) -> int:
        """Put a packet on its way; the number of its frame."""
        number = self.taken + len(self._frames)
        self._frames.append(_Sent(frame(0, number & 0xFF, words)))
        return number

    @property
    def timeout(self) -> float:
        """Seconds in which the board normally answers."""
        return self._timeout

    def step(self) -> list[tuple[int, ...]]:
        """Send what is due, wait a moment for bytes; responses that have come, as words."""
        now = self._now()
        if now >= self._not_before:
            # Where a frame does not come through, no others are wasted behind it.
            end = min(1, len(self._frames)) if self._stalls else len(self._frames)
            while self._next < end:
                one = self._frames[self._next]
                self.statistics.frames_sent += not one.again
                self.statistics.frames_resent += one.again
                if one.time:
                    one.again = True
                one.time = now
                self._write(one.data)
                self._next += 1
                self._asked = now
        responses = []
        for reply in self._read():
            if reply.session != self._session:
                self._strangers += 1
                if self._strangers > 3:
                    raise DeviceError(
                        f"the board at {self._name} was reset, or answers another program"
                    )
                continue
            self._heard = self._now()
            self._silences = self._strangers = 0
            self._acknowledge(reply)
            if reply.words:
                responses.append(reply.words)
        if self._frames and self._now() > max(self._asked, self._heard) + self._timeout:
            self._expired()
        return responses

    def _silent(self) -> None:
        """Count a time in which nothing was heard that should have been."""
        self.statistics.timeouts += 1
        self._silences += 1
        if self._silences >= SILENCES:
            raise DeviceError(f"the board at {self._name} has stopped answering")

    # ----- a session

    def _begin(self) -> None:
        """Begin a session: twice, so that no frame of a former one can be taken for its answer."""
        for _ in range(2):
            number = self._session
            while number == self._session:
                number = 1 + secrets.randbelow(SESSIONS - 1)
            self._session = number
            if not any(self._greet(number) for _ in range(2 * SILENCES)):
                raise DeviceError(
                    f"the board at {self._name} does not answer; is it configured, and is this its "
                    f"port and baud rate?"
                )
        self._heard = self._now()

    def _greet(self, number: int) -> bool:
        began = self._now()
        self._write(frame(SYNC | number, 0))
        while self._now() < began + FIRST_TIMEOUT:
            if any(reply.session == number for reply in self._read()):
                return True
        self.statistics.timeouts += 1
        return False

    def _acknowledge(self, reply: Reply) -> None:
        step = reply.expected - self.taken & 0xFF
        if step > len(self._frames):
            return  # from before what has been heard since; cannot be in a good session
        if step:
            now = self._now()
            one = self._frames[step - 1]
            if not one.again:
                self._measure(now - one.time)
            for _ in range(step):
                self._frames.popleft()
            self.taken += step
            self._next = max(0, self._next - step)
            self._stalls, self._pause = 0, FIRST_PAUSE
        if reply.refused and self._next:
            if self._round == self.taken and self._behind:
                self._behind -= 1  # refused because it came behind the one that was refused
            else:
                self.statistics.refused += not reply.full
                self._again(reply.full)

    def _again(self, full: bool) -> None:
        """Send all that is not taken once more; later, where there was no room."""
        for one in self._frames:
            one.again = one.again or one.time > 0
        self._round, self._behind = self.taken, max(0, self._next - 1)
        self._next = 0
        if full:
            self.statistics.full += 1
            self._not_before = self._now() + self._pause
            self._pause = min(2 * self._pause, MOST_PAUSE)
            self._stalls = 0
        else:
            self._stalls += 1
            if self._stalls >= STALLS:
                raise DeviceError(
                    f"too little comes through at {self._name}: a frame was sent "
                    f"{STALLS} times in vain; a lower baud rate may do"
                )

    def _expired(self) -> None:
        """Nothing has been heard for a while."""
        if self._heard < self._asked:
            self._silent()
            self._timeout = min(2 * self._timeout, MOST_TIMEOUT)
        self._again(False)
        self._behind = 0

    def _measure(self, seconds: float) -> None:
        """Timeouts after RFC 6298: the mean delay and four times its mean deviation."""
        if not self._smooth:
            self._smooth, self._spread = seconds, seconds / 2
        else:
            self._spread += (abs(seconds - self._smooth) - self._spread) / 4
            self._smooth += (seconds - self._smooth) / 8
        self._timeout = min(MOST_TIMEOUT, max(LEAST_TIMEOUT, self._smooth + 4 * self._spread))

    # ----- bytes

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise DeviceError(f"{self._name} takes no more bytes") from error
        except OSError as error:
            raise DeviceError(f"{self._name} is gone; was the board unplugged?") from error
        self.statistics.bytes_sent += len(data)

    def _read(self) -> list[Reply]:
        try:
            data = self._port.read(max(1, self._port.in_waiting))
        except (OSError, TypeError) as error:
            raise DeviceError(f"{self._name} is gone; was the board unplugged?") from error
        self.statistics.bytes_received += len(data)
        replies = self._decoder.replies(data)
        self.statistics.crc_errors = self._decoder.errors
        return replies
