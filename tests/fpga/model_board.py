"""A board in Python: frames by the rules, packets carried out at once, noise in between.

It has the methods of a serial port, so that a link can be opened on it.
"""

import dataclasses
import time
from collections import deque

from tritforge.fpga.link.frames import SESSIONS, SYNC, Decoder, Reply, reply_frame
from tritforge.hw.program import MEMORIES
from tritforge.hw.protocol import FINISHED, RESPONSE, ErrorCode, Opcode, Packet, Status
from tritforge.hw.widths import PORT_WIDTH

#: Bytes of a word.
WORD = PORT_WIDTH // 8


class ModelBoard:
    """``lose(words)`` says whether a response is lost on its way; ``room()`` whether a packet
    finds room; a run ends after ``run_seconds``."""

    def __init__(self, config, to_board=None, to_host=None):
        self.config = config
        self.noise = (to_board, to_host)
        self.decoder = Decoder()
        self.lose = lambda words: False
        self.room = lambda: True
        self.run_seconds, self.run_error = 0.0, ErrorCode.OK
        self.contents = 0
        self.executed = []  # packets, in order, without STATUS and READ
        self.silent = self.gone = False
        self.sessions = 0
        self.host = bytearray()
        self.reset(0)

    def reset(self, session):
        self.session, self.expected = session, 0
        self.refused = self.full = False
        self.errors = 0
        self.run = None  # tag, when it ends
        self.finished = 0
        self.memories = getattr(self, "memories", {})

    # ----- a serial port

    @property
    def in_waiting(self):
        if self.gone:
            raise OSError(5, "Input/output error")
        return len(self.host)

    def write(self, data):
        if self.gone:
            raise OSError(5, "Input/output error")
        data = self.noise[0].apply(data) if self.noise[0] else data
        before = self.decoder.errors
        for body in self.decoder.frames(data):
            self.frame(body)
        if self.decoder.errors > before:
            self.refused, self.full = True, False
            self.reply()
        return len(data)

    def read(self, size):
        self.poll()
        if not self.host:
            time.sleep(0.001)
        found, self.host = bytes(self.host[:size]), self.host[size:]
        return found

    def close(self):
        self.gone = True

    # ----- the board

    def reply(self, words=()):
        if self.silent or (words and self.lose(words)):
            return
        data = reply_frame(
            Reply(self.session, self.expected, self.refused, self.full, tuple(words))
        )
        self.host += self.noise[1].apply(data) if self.noise[1] else data

    def frame(self, body):
        words = [int.from_bytes(body[at : at + WORD], "little") for at in range(2, len(body), WORD)]
        if body[0] & SYNC and not words:
            self.sessions += 1
            self.reset(body[0] & (SESSIONS - 1))
        elif words and body[1] == self.expected:
            if self.room():
                self.expected = self.expected + 1 & 0xFF
                self.refused = self.full = False
                self.reply()
                self.execute(Packet.from_words(words))
                return
            self.refused = self.full = True
        self.reply()

    def poll(self):
        if self.run is not None and time.monotonic() >= self.run[1]:
            tag, self.run = self.run[0], None
            self.finished = FINISHED | tag << 8 | self.run_error
            self.reply(Packet(Opcode.RUN | RESPONSE, self.run_error, tag=tag).words())

    def execute(self, packet):
        self.poll()
        answer = Packet(packet.opcode | RESPONSE, 0, packet.memory, tag=packet.tag)
        kind = MEMORIES[packet.memory]
        if packet.opcode not in (Opcode.READ, Opcode.STATUS):
            self.executed.append(dataclasses.replace(packet, tag=0))
        match packet.opcode:
            case Opcode.STATUS:
                state = Status(
                    self.config.identity_word,
                    int(self.run is not None),
                    0,
                    77,
                    self.errors,
                    0,
                    self.finished,
                    self.contents,
                )
                self.reply(dataclasses.replace(answer, payload=dataclasses.astuple(state)).words())
            case Opcode.READ | Opcode.WRITE:
                address, count = packet.payload[:2]
                chunks = self.config.memory_chunks(kind)
                if address + count > self.config.memory_depth(kind):
                    self.errors += 1
                    self.reply(dataclasses.replace(answer, memory=ErrorCode.ADDRESS).words())
                    return
                place = self.memories.setdefault((kind, packet.cluster), {})
                where = range(address * chunks, (address + count) * chunks)
                if packet.opcode == Opcode.WRITE:
                    place.update(zip(where, packet.payload[2:], strict=True))
                else:
                    self.reply(
                        dataclasses.replace(
                            answer, payload=tuple(place.get(at, 0) for at in where)
                        ).words()
                    )
            case Opcode.RUN:
                if self.run is not None:
                    self.errors += 1
                    self.reply(dataclasses.replace(answer, memory=ErrorCode.BUSY).words())
                    return
                self.run, self.finished = (packet.tag, time.monotonic() + self.run_seconds), 0
            case Opcode.LABEL:
                self.contents = packet.payload[0]


class Queue(deque):
    """Answers of a function, one after the other; then always the default."""

    def __init__(self, values, default):
        super().__init__(values)
        self.default = default

    def __call__(self, *arguments):
        return self.popleft() if self else self.default
