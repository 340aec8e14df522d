"""Packed trits: exact round trips, sizes as stated, bit by bit as the docstring has it."""

import numpy as np
import pytest

from tritforge.model_export.image import packing
from tritforge.model_export.image.packing import (
    columns_per_block,
    pack_columns,
    pack_flat,
    pack_memories,
    pack_plain,
    packets,
    unpack_columns,
    unpack_flat,
    unpack_memories,
    unpack_plain,
)

SHAPES = [
    (4, 4),
    (16, 16),
    (1, 1),
    (3, 5),
    (5, 3),
    (8, 8),
    (7, 8),
    (2, 32),
    (3, 20),
    (6, 2),
    (16, 12),
    (1, 17),
    (64, 1),
    (33, 4),
]


def random_trits(rng, shape, density):
    trits = rng.choice(np.array([-1, 1], np.int8), shape)
    trits[rng.random(shape) >= density] = 0
    return trits


def as_columns(trits):
    """(.., columns, P, R) trits as trit memories hold them: (.., columns, bytes)."""
    planes = np.stack([trits != 0, trits < 0], axis=-2)
    bits = planes.reshape(*trits.shape[:-2], 2 * trits.shape[-2] * trits.shape[-1])
    return np.packbits(bits, axis=-1, bitorder="little")


def plainly_packed(groups):
    """Words of groups of trits, bit by bit."""
    bits = []
    for group, before in zip([*groups, []], [[], *groups], strict=True):
        bits += [int(trit != 0) for trit in group] + [int(trit < 0) for trit in before if trit]
    bits += [0] * (-len(bits) % 32)
    return [
        sum(bit << place for place, bit in enumerate(bits[start : start + 32]))
        for start in range(0, len(bits), 32)
    ]


def column_groups(trits, used):
    """Groups of columns (n, P, R), as the docstring says."""
    groups = []
    together = max(1, 16 // trits.shape[2])
    for column in trits:
        for start in range(0, len(column), together):
            group = column[start : start + together, :used].reshape(-1).tolist()
            groups += [group] if trits.shape[2] <= 16 else [group[:16], group[16:]]
    return groups


# ----- flat arrays


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000, 16_384, 16_385, 50_001])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 0.7, 1.0])
def test_flat(count, density):
    rng = np.random.default_rng(count)
    trits = random_trits(rng, count, density)
    for pack, unpack in ((pack_flat, unpack_flat), (pack_plain, unpack_plain)):
        raw = pack(trits)
        found = unpack(raw, count)
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found, trits)
    blocks = -(-count // 16_384)
    bits = 16 * -(-count // 16) + np.count_nonzero(trits)
    assert bits <= 8 * len(pack_flat(trits)) <= bits + blocks * (31 + 16) + 16
    assert len(pack_plain(trits)) == -(-count // 4)


def test_flat_bits():
    rng = np.random.default_rng(0)
    trits = random_trits(rng, (7, 10), 0.4)
    padded = np.append(trits.reshape(-1), np.zeros(10, np.int8)).reshape(5, 16)
    words = plainly_packed(padded)
    raw = np.frombuffer(pack_flat(trits), "<u4").tolist()
    assert raw == [len(words), *words]


def test_flat_damage():
    trits = random_trits(np.random.default_rng(1), 100, 0.5)
    raw = pack_flat(trits)
    for wrong, count in (
        (raw[:-4], 100),
        (raw + b"\0\0\0\0", 100),
        (raw[:-1], 100),
        (b"", 100),
        (raw, 20_000),
        (raw, 0),
        (b"\xff" * len(raw), 100),
        (raw[:-1] + b"\x80", 100),
    ):
        with pytest.raises(ValueError, match="packed trits"):
            unpack_flat(wrong, count)
    last = pack_flat(np.ones(112, np.int8))
    with pytest.raises(ValueError, match="more than stated"):
        unpack_flat(last, 97)
    with pytest.raises(ValueError, match="code 2"):
        unpack_plain(b"\x02", 1)
    with pytest.raises(ValueError, match="code 2, or there are more"):
        unpack_plain(b"\x05", 1)
    with pytest.raises(ValueError, match="5 trits take 2 bytes, not 1"):
        unpack_plain(b"\x00", 5)


# ----- columns


@pytest.mark.parametrize(("elements", "rows"), SHAPES, ids=str)
def test_columns(elements, rows):
    rng = np.random.default_rng(elements * rows)
    for density in (0.0, 0.2, 0.6, 1.0):
        count, used = int(rng.integers(1, 20)), int(rng.integers(1, rows + 1))
        trits = random_trits(rng, (count, elements, rows), density)
        trits[:, :, used:] = 0
        columns = as_columns(trits)
        found, words = pack_columns(columns, elements, rows)
        assert 1 <= found <= used and words.dtype == np.uint32
        assert words.tolist() == plainly_packed(column_groups(trits, found))
        np.testing.assert_array_equal(unpack_columns(words, count, found, elements, rows), columns)
        same, more = pack_columns(columns, elements, rows, used)
        assert same == used and more.tolist() == plainly_packed(column_groups(trits, used))
        np.testing.assert_array_equal(unpack_columns(more, count, used, elements, rows), columns)
        bits = count * elements * used + np.count_nonzero(trits)
        assert len(more) == -(-bits // 32)


def test_columns_errors():
    columns = as_columns(np.full((2, 2, 4), -1, np.int8))
    with pytest.raises(ValueError, match="3 rows are to be coded; 4 to 4 can be"):
        pack_columns(columns, 2, 4, 3)
    with pytest.raises(ValueError, match="zero and negative"):
        pack_columns(np.array([[0xF0, 0]], np.uint8), 2, 4)
    used, words = pack_columns(columns, 2, 4)
    for wrong, count in ((words[:-1], 2), (np.append(words, 0).astype(np.uint32), 2), (words, 1)):
        with pytest.raises(ValueError, match="packed trits"):
            unpack_columns(wrong, count, used, 2, 4)


@pytest.mark.parametrize(("elements", "rows"), SHAPES, ids=str)
def test_packets(elements, rows):
    rng = np.random.default_rng(elements + rows)
    trits = random_trits(rng, (300, elements, rows), 0.3)
    trits[100:, :, rows // 2 :] = 0
    columns = as_columns(trits)
    longest = max(20, -(-2 * elements * rows // 32))
    following = 0
    for first, count, used, words in packets(columns, elements, rows, longest):
        assert first == following and count >= 1 and 1 <= len(words) <= longest
        np.testing.assert_array_equal(
            unpack_columns(words, count, used, elements, rows), columns[first : first + count]
        )
        following += count
        if following < 300:  # nothing more would have fitted
            _, more = pack_columns(columns[first : following + 1], elements, rows)
            assert len(more) > longest
    assert following == 300
    with pytest.raises(ValueError, match="a column may take"):
        next(packets(columns, elements, rows, -(-2 * elements * rows // 32) - 1))


# ----- memories


@pytest.mark.parametrize(("elements", "rows"), SHAPES, ids=str)
def test_memories(elements, rows):
    rng = np.random.default_rng(elements - rows + 100)
    step = columns_per_block(elements, rows)
    assert 1 <= step <= 64 and step * elements * rows <= 16_384 + elements * rows
    for columns in (0, 1, step, 2 * step + 3):
        for density in (0.3, 1.0):
            trits = random_trits(rng, (4, columns, elements, rows), density)
            trits[0, :step, :, rows // 2 :] = 0
            trits[3] = trits[1]
            memories = as_columns(trits)
            raw = pack_memories(memories, elements, rows)
            found = unpack_memories(raw, 4, elements, rows)
            assert found.dtype == np.uint8 and found.shape == memories.shape
            np.testing.assert_array_equal(found, memories)
            blocks = -(-columns // step)
            table = np.frombuffer(raw, "<u4")[1 : 1 + 4 * blocks].reshape(4, blocks)
            assert (table[3] >> 24 == packing.COPY).all()
            assert (table[3] & 0xFFFF == 1).all()
            # what a block takes is never more than in plain form
            assert len(raw) <= 4 + 16 * blocks + 3 * blocks * 4 + 3 * columns * memories.shape[2]


def test_memories_without_a_packed_form():
    """Bits that no trit has survive all the same."""
    rng = np.random.default_rng(4)
    for elements, rows in ((4, 4), (3, 5), (16, 16)):
        memories = rng.integers(0, 256, (2, 70, -(-elements * rows * 2 // 8)), dtype=np.uint8)
        raw = pack_memories(memories, elements, rows)
        np.testing.assert_array_equal(unpack_memories(raw, 2, elements, rows), memories)
        assert (np.frombuffer(raw, "<u4")[1:3] >> 24 == packing.PLAIN).all()


def test_memories_damage():
    rng = np.random.default_rng(5)
    memories = as_columns(random_trits(rng, (2, 100, 4, 4), 0.3))
    raw = pack_memories(memories, 4, 4)
    words = np.frombuffer(raw, "<u4")

    def changed(index, value):
        copy = words.copy()
        copy[index] = value
        return copy.tobytes()

    for wrong in (
        raw[:-4],
        raw[:-1],
        raw + b"\0\0\0\0",
        b"",
        raw[:8],
        changed(0, 101_000_000),
        changed(0, 64),
        changed(0, 101),
        changed(1, words[1] + 1),
        changed(1, words[1] | 5 << 16),
        changed(1, words[1] | 3 << 24),
        changed(1, packing.COPY << 24),
        changed(1, words[1] & 0xFFFF),
    ):
        with pytest.raises(ValueError, match=r"trit|block|copy"):
            unpack_memories(wrong, 2, 4, 4)


def test_sizes_of_a_layer_with_few_rows():
    """128 rows on 256 slots: rows that are not in use cost nothing."""
    rng = np.random.default_rng(6)
    trits = random_trits(rng, (8, 300, 16, 16), 0.23)
    trits[:, :, :, 8:] = 0
    raw = pack_memories(as_columns(trits), 16, 16)
    weights = trits[:, :, :, :8].size
    assert 8 * len(raw) / weights < 1.24
