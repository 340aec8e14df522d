"""Frames of the serial link: what both sides know of them, and the host's encoder and decoder.

::

    FLAG | first control byte | second | words, 4 bytes each, low byte first | CRC-32 | FLAG

Between flags a byte FLAG or ESCAPE is sent as ESCAPE and the byte with bit 5 inverted. The CRC is
that of Ethernet and zlib, over control bytes and words, low byte first. ``docs/boards.md`` has the
rules by which frames are acknowledged.
"""

import binascii
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "CRC_RESIDUE",
    "ESCAPE",
    "FLAG",
    "FLIP",
    "SESSIONS",
    "SYNC",
    "Decoder",
    "Reply",
    "frame",
    "reply_frame",
]

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
#: First control byte to the board: bit 7 starts a session, whose number is in bits 0 .. 5.
SYNC = 0x80
#: First control byte from the board: the session, and whether a frame was refused since the last
#: one that was taken, and whether that was for lack of room.
REFUSED, FULL = 0x40, 0x80
#: Numbers of sessions; 0 stands for none, as after a reset.
SESSIONS = 64
#: The CRC's register, not inverted, after a frame and its own CRC.
CRC_RESIDUE = 0xDEBB20E3
#: Bytes of a frame without words: control and CRC.
LEAST_BYTES = 6


def frame(first: int, second: int, words: Iterable[int] = ()) -> bytes:
    """The bytes of a frame, both flags included."""
    body = bytes((first, second)) + np.fromiter(words, np.uint32).astype("<u4").tobytes()
    body += binascii.crc32(body).to_bytes(4, "little")
    for byte in (ESCAPE, FLAG):
        body = body.replace(bytes((byte,)), bytes((ESCAPE, byte ^ FLIP)))
    return bytes((FLAG,)) + body + bytes((FLAG,))


@dataclass(frozen=True)
class Reply:
    """A frame from the board."""

    session: int
    expected: int  # number of the next frame that it takes
    refused: bool = False  # it has refused a frame since it took one
    full: bool = False  # for lack of room
    words: tuple[int, ...] = ()


def reply_frame(reply: Reply) -> bytes:
    """The bytes of a board's frame."""
    first = reply.session | REFUSED * reply.refused | FULL * reply.full
    return frame(first, reply.expected, reply.words)


class Decoder:
    """Finds frames in a stream of bytes.

    Members
    -------
    errors : int
        Frames so far that were damaged.
    """

    def __init__(self) -> None:
        self.errors = 0
        self._bytes = bytearray()

    def frames(self, received: bytes) -> list[bytes]:
        """Control bytes and words of the good frames that end in ``received``."""
        *ended, rest = received.split(bytes((FLAG,)))
        found = []
        for part in ended:
            whole = bytes(self._bytes) + part
            self._bytes.clear()
            if whole:
                body = self._checked(whole)
                self.errors += body is None
                if body is not None:
                    found.append(body)
        self._bytes += rest
        return found

    def replies(self, received: bytes) -> list[Reply]:
        """The same, of frames from a board."""
        return [
            Reply(
                body[0] & (SESSIONS - 1),
                body[1],
                bool(body[0] & REFUSED),
                bool(body[0] & FULL),
                tuple(np.frombuffer(body, "<u4", offset=2).tolist()),
            )
            for body in self.frames(received)
        ]

    @staticmethod
    def _checked(stuffed: bytes) -> bytes | None:
        parts = stuffed.split(bytes((ESCAPE,)))
        # Nothing escaped after an escape: not what any sender makes.
        if any(not part for part in parts[1:]):
            return None
        body = parts[0] + b"".join(bytes((part[0] ^ FLIP,)) + part[1:] for part in parts[1:])
        if len(body) < LEAST_BYTES or len(body) % 4 != LEAST_BYTES % 4:
            return None
        good = binascii.crc32(body[:-4]).to_bytes(4, "little") == body[-4:]
        return body[:-4] if good else None
