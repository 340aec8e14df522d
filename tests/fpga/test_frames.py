"""Frames in Python, and the noise that tests them."""

import zlib

import numpy as np
import pytest

from tritforge.fpga.link.frames import ESCAPE, FLAG, SYNC, Decoder, Reply, frame, reply_frame
from tritforge.fpga.link.noise import Noise


def test_layout():
    assert frame(0, 5) == (
        b"\x7e\x00\x05" + zlib.crc32(b"\x00\x05").to_bytes(4, "little") + b"\x7e"
    )
    assert frame(1, 2, [0x04030201])[1:-5] == bytes((1, 2, 1, 2, 3, 4))
    inside = frame(SYNC | 3, FLAG, [0x7D7E_7D7E])[1:-1]
    assert FLAG not in inside
    assert inside.count(ESCAPE) >= 5
    assert Decoder().frames(frame(SYNC | 3, FLAG, [0x7D7E_7D7E])) == [
        bytes((SYNC | 3, FLAG, 0x7E, 0x7D, 0x7E, 0x7D))
    ]


def test_replies_in_pieces():
    """However the bytes are cut."""
    rng = np.random.default_rng(0)
    replies = [
        Reply(
            int(rng.integers(64)),
            int(rng.integers(256)),
            bool(rng.integers(2)),
            bool(rng.integers(2)),
            tuple(rng.integers(0, 1 << 32, rng.integers(4)).tolist()),
        )
        for _ in range(100)
    ]
    data = b"".join(map(reply_frame, replies))
    decoder, found = Decoder(), []
    while data:
        count = int(rng.integers(1, 20))
        found += decoder.replies(data[:count])
        data = data[count:]
    assert found == replies
    assert decoder.errors == 0


@pytest.mark.parametrize("kind", ["corrupt", "drop", "insert"])
def test_nothing_damaged_is_taken(kind):
    noise = Noise(**{kind: 0.02}, seed=1)
    sent = [
        Reply(1, number & 0xFF, words=(number, ~number & 0xFFFF_FFFF)) for number in range(2000)
    ]
    decoder = Decoder()
    got = decoder.replies(noise.apply(b"".join(map(reply_frame, sent))))
    assert set(got) <= set(sent)
    assert len(sent) * 0.6 < len(got) < len(sent) * 0.9
    assert decoder.errors >= 0.1 * len(sent)


def test_noise():
    data = bytes(range(256)) * 100
    assert Noise().apply(data) == data
    assert Noise(drop=1).apply(data) == b""
    assert all(a != b for a, b in zip(Noise(corrupt=1).apply(data), data, strict=True))
    noise = Noise(insert=1)
    assert noise.apply(data)[1::2] == data
    assert noise.inserted == len(data)
    some = Noise.of(0.3, 7)
    assert some.apply(data) == Noise.of(0.3, 7).apply(data) != Noise.of(0.3, 8).apply(data)
    assert all(
        0.08 * len(data) < count < 0.12 * len(data)
        for count in (some.corrupted, some.dropped, some.inserted)
    )
    with pytest.raises(ValueError, match=r"probability drop is 1\.5; it must be between 0 and 1"):
        Noise(drop=1.5)
