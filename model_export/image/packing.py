"""Trits at 1 + density bits each: for image folders, and for the way into trit memories.

*Groups.* Up to 16 trits are coded together: a mask with one bit per trit, 1 where it is not zero,
and one sign for every 1 of the mask, 1 where it is negative; first trit lowest in both. The mask of
the next group stands before the signs of a group, so that hardware knows in time how many signs
there are: ``mask 0, mask 1, signs 0, mask 2, signs 1, ..``. Bits follow one another in 32-bit
words, lowest first. A trit takes 1 bit, and one more if it is not
zero: 1.3 bits at a density of 30 % (entropy: 1.18), against 2 in plain form and 1.6 for five trits
a byte, which would be better above 60 % only.

Weights of wide column groups have no packed form.

*Flat arrays* (weights of the network): groups of 16 consecutive trits; a block of 1024 groups
starts with a new word. The words of each block (16 bits a number, filled up to whole words)
stand in front.

*Columns* (trit memories): a column holds R rows of each of P elements, of which only the first
``rows_used`` are coded; the rest is zero. With E = max(1, 16 // R), a group holds the rows of E
consecutive elements (those that are left, in the column's last); where R is above 16, an element
has two groups, rows 0..15 and 16..31. Where R is a power of two, there are as many groups as
32-bit chunks of the memory; ``hw/unpacker.py`` makes one of the other.

*Memories* (the file of all trit memories): the number of columns (32 bits), then a table, then the
words. A block is some 16 384 trits of consecutive columns of one memory, 64 columns at most. Its
entry in the table (by memory, then block):

====  ========================================================================================
bits  meaning
====  ========================================================================================
0-15  words of the block; the number of the memory for ``COPY``
16-23 ``rows_used``
24-31 form: ``PLAIN`` (columns as they are in memory), ``PACKED``, or ``COPY``: the contents of the
      same block of an earlier memory, and no words
====  ========================================================================================
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GROUP",
    "columns_per_block",
    "pack_columns",
    "pack_flat",
    "pack_memories",
    "pack_plain",
    "packable",
    "packets",
    "unpack_columns",
    "unpack_flat",
    "unpack_memories",
    "unpack_plain",
]

#: Trits of a group.
GROUP = 16
#: Trits of a block, and groups of a block of a flat array.
BLOCK_TRITS = 16_384
_BLOCK_GROUPS = BLOCK_TRITS // GROUP
#: Most columns of a block.
_BLOCK_COLUMNS = 64
#: Groups that are coded at a time, so that intermediate arrays stay in the cache.
_PIECE = 1 << 16
#: Forms of a block of columns.
PLAIN, PACKED, COPY = 0, 1, 2

Bits = NDArray[np.uint16]
Words = NDArray[np.uint32]


# ----- groups in words


@lru_cache
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """By mask and byte: the byte's bits where the mask is 1, moved together; and the inverse."""
    mask, value = np.divmod(np.arange(1 << 16), 256)
    gathered = np.zeros(1 << 16, np.int64)
    spread = np.zeros(1 << 16, np.int64)
    rank = np.zeros(1 << 16, np.int64)
    for bit in range(8):
        inside = mask >> bit & 1
        gathered |= (value >> bit & inside) << rank
        spread |= (value >> rank & inside) << bit
        rank += inside
    return gathered.astype(np.uint8), spread.astype(np.uint8)


def _gather(mask: Bits, value: Bits) -> Bits:
    """The bits of ``value`` where ``mask`` is 1, moved together."""
    table, _ = _tables()
    low, high = mask & 255, mask >> 8
    upper = table[high << 8 | value >> 8].astype(np.uint16)
    gathered: Bits = table[low << 8 | value & 255] | upper << np.bitwise_count(low)
    return gathered


def _spread(mask: Bits, signs: Bits) -> Bits:
    """The inverse of :func:`_gather`."""
    _, table = _tables()
    low, high = mask & 255, mask >> 8
    rest = signs >> np.bitwise_count(low)
    upper = table[high << 8 | rest & 255].astype(np.uint16)
    spread: Bits = table[low << 8 | signs & 255] | upper << 8
    return spread


def _encode(
    mask: Bits, negative: Bits, width: NDArray[np.integer]
) -> tuple[Words, NDArray[np.int64]]:
    """Words, and words per block, of groups (blocks, n); ``width`` mask bits each, broadcast."""
    blocks, count = mask.shape
    step = max(1, _PIECE // max(count, 1))
    sizes = np.broadcast_to(width.astype(np.uint8), mask.shape)
    parts = [
        _encode_piece(
            mask[start : start + step], negative[start : start + step], sizes[start : start + step]
        )
        for start in range(0, blocks, step)
    ]
    if not parts:
        return np.zeros(0, np.uint32), np.zeros(0, np.int64)
    return np.concatenate([part for part, _ in parts]), np.concatenate([n for _, n in parts])


def _encode_piece(
    mask: Bits, negative: Bits, width: NDArray[np.uint8]
) -> tuple[Words, NDArray[np.int64]]:
    # Unit n is the mask of group n and the signs of the group before it.
    signs = np.pad(_gather(mask, negative), ((0, 0), (1, 0)))
    nonzero = np.pad(np.bitwise_count(mask), ((0, 0), (1, 0)))
    sizes = np.pad(width, ((0, 0), (0, 1)))
    code = np.pad(mask, ((0, 0), (0, 1))) | signs.astype(np.uint64) << sizes
    length = (sizes + nonzero).astype(np.int64)
    ends = np.cumsum(length, axis=1)
    counts = (ends[:, -1] + 31) // np.int64(32)
    position = (32 * (np.cumsum(counts) - counts)[:, None] + ends - length).reshape(-1)
    shifted = code.reshape(-1) << (position & 31).astype(np.uint64)
    index = position >> 5
    # Groups that begin in the same word are neighbours, and their bits do not overlap.
    first = np.flatnonzero(np.diff(index, prepend=-1))
    words = np.zeros(int(counts.sum()) + 2, np.uint64)
    words[index[first]] += np.add.reduceat(shifted & 0xFFFF_FFFF, first)
    words[index[first] + 1] += np.add.reduceat(shifted >> 32, first)
    return words[:-2].astype(np.uint32), counts


def _decode(
    words: Words, counts: NDArray[np.integer], width: NDArray[np.integer]
) -> tuple[Bits, Bits]:
    """Masks and negatives (blocks, n) of blocks of ``counts`` words; ``width`` is (blocks, n).

    All blocks are walked side by side, a group at a time. ``ValueError`` if a block does not
    end in its last word.
    """
    counts = np.asarray(counts, np.int64)
    stops = np.cumsum(counts)
    if len(words) != (int(stops[-1]) if len(stops) else 0):
        raise ValueError(f"packed trits take {len(words)} words instead of {counts.sum()}")
    wide = np.append(words, (0, 0)).astype(np.uint64)
    wide = wide[:-1] | wide[1:] << np.uint64(32)
    position = 32 * (stops - counts)
    last = len(wide) - 1
    widths = np.pad(width.T.astype(np.uint8), ((0, 1), (0, 0)))
    masks = np.zeros(widths.shape, np.uint16)
    signs = np.zeros(widths.shape, np.uint16)  # of the group before
    ones = (1 << np.arange(GROUP + 1)).astype(np.uint64) - np.uint64(1)
    nonzero = np.zeros(len(counts), np.uint8)
    for number, size in enumerate(widths):
        window = wide[np.minimum(position >> 5, last)] >> (position & 31).astype(np.uint64)
        mask = window & ones[size]
        masks[number] = mask
        signs[number] = window >> size & ones[nonzero]
        position += size
        position += nonzero
        nonzero = np.bitwise_count(mask)
    rest = 32 * stops - position
    if ((rest < 0) | (rest >= 32)).any():
        raise ValueError("packed trits do not end where they should")
    open_ = np.flatnonzero(rest)
    if (words[stops[open_] - 1] >> (32 - rest[open_]).astype(np.uint32)).any():
        raise ValueError("packed trits have bits behind their end")
    masks, signs = masks[:-1].T, signs[1:].T
    return masks, _spread(masks, signs)


# ----- flat arrays


def pack_plain(trits: NDArray[np.integer]) -> bytes:
    """Four trits a byte, lowest bits first: 0, 1 for +, 3 for -."""
    flat = np.asarray(trits, np.int8).reshape(-1)
    padded = np.zeros(-(-len(flat) // 4) * 4, np.uint8)
    padded[: len(flat)] = flat.view(np.uint8) & 3
    quads = padded.reshape(-1, 4)
    return (quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).tobytes()


def unpack_plain(raw: bytes, count: int) -> NDArray[np.int8]:
    """``count`` trits (-1, 0, 1) from :func:`pack_plain`; ``ValueError`` if they are not."""
    packed = np.frombuffer(raw, np.uint8)
    if len(packed) != -(-count // 4):
        raise ValueError(f"{count} trits take {-(-count // 4)} bytes, not {len(packed)}")
    codes = (packed[:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(-1)
    if (codes == 2).any() or codes[count:].any():
        raise ValueError("a trit has the code 2, or there are more than stated")
    trits: NDArray[np.int8] = np.array([0, 1, 0, -1], np.int8)[codes[:count]]
    return trits


def pack_flat(trits: NDArray[np.integer]) -> bytes:
    """Packed form of an array of -1, 0, 1, in C order: 1 + density bits a trit."""
    flat = np.asarray(trits, np.int8).reshape(-1)
    blocks = -(-len(flat) // BLOCK_TRITS)
    groups = -(-len(flat) // GROUP)
    planes = []
    for plane in (flat != 0, flat < 0):
        bits = np.zeros(blocks * BLOCK_TRITS // 8, np.uint8)
        packed = np.packbits(plane, bitorder="little")
        bits[: len(packed)] = packed
        planes.append(bits.view("<u2").reshape(blocks, _BLOCK_GROUPS).astype(np.uint16))
    width = _flat_widths(blocks, groups)
    mask, negative = (plane[:, : width.shape[1]] for plane in planes)
    words, counts = _encode(mask, negative, width)
    table = np.zeros(blocks + blocks % 2, "<u2")
    table[:blocks] = counts
    return table.tobytes() + words.astype("<u4").tobytes()


def unpack_flat(raw: bytes, count: int) -> NDArray[np.int8]:
    """``count`` trits from :func:`pack_flat`; ``ValueError`` if ``raw`` is not exactly that."""
    blocks = -(-count // BLOCK_TRITS)
    table_size = 2 * (blocks + blocks % 2)
    if len(raw) < table_size or len(raw) % 4:
        raise ValueError(f"packed trits cannot take {len(raw)} bytes")
    table = np.frombuffer(raw[:table_size], "<u2")
    words = np.frombuffer(raw[table_size:], "<u4").astype(np.uint32)
    mask, negative = _decode(words, table[:blocks], _flat_widths(blocks, -(-count // GROUP)))
    planes = [
        np.unpackbits(
            np.ascontiguousarray(plane, "<u2").view(np.uint8).reshape(-1), bitorder="little"
        ).view(np.int8)
        for plane in (mask, negative)
    ]
    trits: NDArray[np.int8] = planes[0] - 2 * planes[1]
    if table[blocks:].any() or trits[count:].any():
        raise ValueError("packed trits hold more than stated")
    return trits[:count]


def _flat_widths(blocks: int, groups: int) -> NDArray[np.uint8]:
    """Mask bits of every group (blocks, n): none behind the array's end."""
    inside = np.arange(blocks * _BLOCK_GROUPS).reshape(blocks, _BLOCK_GROUPS) < groups
    return (GROUP * inside[:, : max(1, min(groups, _BLOCK_GROUPS))]).astype(np.uint8)


# ----- columns of trit memories


def _together(rows: int) -> int:
    """Elements of a group."""
    return max(1, GROUP // rows)


def _planes(trits: NDArray[np.uint8], elements: int, rows: int) -> Bits:
    """(2, n, parts) from columns (n, bytes): nonzero and negative; one part holds an element's
    rows, or 16 of them."""
    count = len(trits)
    parts = -(-rows // GROUP)
    if rows % GROUP == 0:
        halves = np.ascontiguousarray(trits).view("<u2").reshape(count, elements, 2, parts)
    else:
        bits = np.unpackbits(trits, axis=1, count=2 * elements * rows, bitorder="little")
        wide = np.zeros((count, elements, 2, parts * GROUP), np.uint8)
        wide[..., :rows] = bits.reshape(count, elements, 2, rows)
        halves = np.packbits(wide, axis=3, bitorder="little").view("<u2")
    return np.moveaxis(halves, 2, 0).reshape(2, count, elements * parts).astype(np.uint16)


def _from_planes(planes: Bits, elements: int, rows: int) -> NDArray[np.uint8]:
    """The inverse of :func:`_planes`."""
    _, count, _ = planes.shape
    halves = np.moveaxis(planes.reshape(2, count, elements, -1), 0, 2)
    raw = np.ascontiguousarray(halves, "<u2").view(np.uint8)
    if rows % GROUP == 0:
        return raw.reshape(count, -1)
    bits = np.unpackbits(raw, axis=3, bitorder="little")[..., :rows]
    return np.packbits(bits.reshape(count, -1), axis=1, bitorder="little")


def _squeeze(planes: Bits, rows: int, used: NDArray[np.integer]) -> Bits:
    """Groups (.., g) of parts (.., p): rows in use of neighbouring elements side by side.

    ``used`` broadcasts to the result.
    """
    together = _together(rows)
    if together == 1:
        return planes
    missing = -planes.shape[-1] % together
    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 1) + [(0, missing)])
    result = padded[..., ::together].copy()
    for index in range(1, together):
        result |= padded[..., index::together] << (index * used).astype(np.uint16)
    return result


def _stretch(groups: Bits, parts: int, rows: int, used: NDArray[np.integer]) -> Bits:
    """The inverse of :func:`_squeeze`, for ``parts`` parts."""
    together = _together(rows)
    if together == 1:
        return groups
    ones = ((1 << used) - 1).astype(np.uint16)
    single = [groups >> (index * used).astype(np.uint16) & ones for index in range(together)]
    return np.stack(single, axis=-1).reshape(*groups.shape[:-1], -1)[..., :parts]


def _group_widths(elements: int, rows: int, used: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Mask bits (.., groups of a column) for ``used`` rows (..)."""
    together, parts = _together(rows), -(-rows // GROUP)
    used = np.asarray(used, np.int64)[..., None]
    if parts > 1:
        low = np.minimum(used, GROUP)
        pair = np.concatenate([low, used - low], axis=-1)
        return np.tile(pair, elements).astype(np.uint8)
    sizes = np.full(-(-elements // together), together)
    sizes[-1] = elements - together * (len(sizes) - 1)
    return (sizes * used).astype(np.uint8)


def _rows_used(planes: Bits, rows: int) -> NDArray[np.int64]:
    """Highest row that is not zero, plus one, of every column (n,) of parts (n, p)."""
    parts = -(-rows // GROUP)
    any_set = np.bitwise_or.reduce(planes.reshape(len(planes), -1, parts), axis=1)
    heights = [
        np.where(any_set[:, part], GROUP * part + _bit_length(any_set[:, part]), 0)
        for part in range(parts)
    ]
    highest: NDArray[np.int64] = np.maximum.reduce(heights)
    return highest


def _bit_length(values: Bits) -> NDArray[np.int64]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def pack_columns(
    trits: NDArray[np.uint8], elements: int, rows: int, used: int | None = None
) -> tuple[int, Words]:
    """Columns of one trit memory as one packet carries them.

    Parameters
    ----------
    trits : uint8 array (n, bytes)
        Columns as in :class:`tritforge.model_export.memory.emit.MemoryImage`, at least one.
    elements, rows : int
        P and R of the configuration.
    used : int, optional
        Rows to code; as many as are in use where it is not given, at least 1.

    Returns
    -------
    (rows_used, uint32 words)
    """
    planes = _planes(trits, elements, rows)
    needed = max(1, int(_rows_used(planes[0], rows).max()))
    if used is None:
        used = needed
    elif not needed <= used <= rows:
        raise ValueError(f"{used} rows are to be coded; {needed} to {rows} can be")
    if (planes[1] & ~planes[0]).any():
        raise ValueError("a trit is zero and negative")
    groups = _squeeze(planes, rows, np.array(used)).reshape(2, 1, -1)
    width = np.tile(_group_widths(elements, rows, np.array(used)), len(trits))
    return used, _encode(groups[0], groups[1], width[None])[0]


def unpack_columns(
    words: Words, count: int, used: int, elements: int, rows: int
) -> NDArray[np.uint8]:
    """The inverse of :func:`pack_columns`: (count, bytes).

    Raises
    ------
    ValueError
        The words are not exactly those of ``count`` columns.
    """
    width = _group_widths(elements, rows, np.array(used))
    planes = np.stack(_decode(words, np.array([len(words)]), np.tile(width, count)[None]))
    parts = elements * -(-rows // GROUP)
    stretched = _stretch(planes.reshape(2, count, -1), parts, rows, np.array(used))
    return _from_planes(stretched, elements, rows)


def packable(trits: NDArray[np.uint8], elements: int, rows: int) -> NDArray[np.bool_]:
    """Which columns (n, bytes) have a packed form: not those of weights, most of which would be
    trits that are zero and negative."""
    nonzero, negative = _planes(trits, elements, rows)
    found: NDArray[np.bool_] = ~(negative & ~nonzero).any(axis=1)
    return found


def packets(
    trits: NDArray[np.uint8], elements: int, rows: int, longest: int
) -> Iterator[tuple[int, int, int, Words]]:
    """Cut columns (n, bytes) into packets of at most ``longest`` words.

    Yields
    ------
    (first column, columns, rows_used, words)

    Raises
    ------
    ValueError
        One column may take more than ``longest`` words.
    """
    if elements * rows * 2 > 32 * longest:
        raise ValueError(
            f"a column may take {elements * rows * 2} bits, a packet holds {32 * longest}"
        )
    planes = _planes(trits, elements, rows)
    used = np.maximum(_rows_used(planes[0], rows), 1)
    nonzero = np.bitwise_count(planes[0]).sum(axis=1, dtype=np.int64)
    reach = 32 * longest // elements
    start = 0
    while start < len(trits):
        most = np.maximum.accumulate(used[start : start + reach])
        bits = elements * most * np.arange(1, len(most) + 1) + np.cumsum(
            nonzero[start : start + reach]
        )
        count = int(np.searchsorted(bits, 32 * longest, side="right"))
        yield start, count, *pack_columns(trits[start : start + count], elements, rows)
        start += count


# ----- the file of all trit memories


def columns_per_block(elements: int, rows: int) -> int:
    """Columns of a block."""
    return max(1, min(_BLOCK_COLUMNS, BLOCK_TRITS // (elements * rows)))


def pack_memories(trits: NDArray[np.uint8], elements: int, rows: int) -> bytes:
    """All trit memories (memories, columns, bytes), each block in its smallest form."""
    memories, columns, _ = trits.shape
    step = columns_per_block(elements, rows)
    blocks = -(-columns // step)
    table = np.zeros((memories, blocks), "<u4")
    parts: list[bytes] = []
    known: list[dict[bytes, int]] = [{} for _ in range(blocks)]
    for number in range(memories if columns else 0):
        memory = trits[number]
        raw = [memory[step * block : step * (block + 1)].tobytes() for block in range(blocks)]
        first = [known[block].setdefault(raw[block], number) for block in range(blocks)]
        words, counts, used = _pack_memory(memory, elements, rows, step)
        starts = np.cumsum(counts) - counts
        for block in range(blocks):
            plain = -(-len(raw[block]) // 4)
            if first[block] != number:
                table[number, block] = first[block] | COPY << 24
            elif counts[block] < plain and used[block] >= 0:
                table[number, block] = counts[block] | used[block] << 16 | PACKED << 24
                parts.append(
                    words[starts[block] : starts[block] + counts[block]].astype("<u4").tobytes()
                )
            else:
                table[number, block] = plain | PLAIN << 24
                parts.append(raw[block].ljust(4 * plain, b"\0"))
    return b"".join([np.array([columns], "<u4").tobytes(), table.tobytes(), *parts])


def _pack_memory(
    memory: NDArray[np.uint8], elements: int, rows: int, step: int
) -> tuple[Words, NDArray[np.int64], NDArray[np.int64]]:
    """Words, words per block, rows used per block (-1: it cannot be packed) of one memory."""
    columns, size = memory.shape
    blocks = -(-columns // step)
    padded = np.zeros((blocks * step, size), np.uint8)
    padded[:columns] = memory
    planes = _planes(padded, elements, rows)
    used = _rows_used(planes[0], rows).reshape(blocks, step).max(axis=1, initial=0)
    groups = _squeeze(planes, rows, np.repeat(used, step)[:, None]).reshape(2, blocks, -1)
    words, counts = _encode(
        groups[0], groups[1], _block_widths(elements, rows, used, step, columns)
    )
    exact = (_from_planes(planes, elements, rows) == padded).all(axis=1) & ~(
        planes[1] & ~planes[0]
    ).any(axis=1)
    return words, counts, np.where(exact.reshape(blocks, step).all(axis=1), used, -1)


def _block_widths(
    elements: int, rows: int, used: NDArray[np.integer], step: int, columns: int
) -> NDArray[np.uint8]:
    """Mask bits of every group (blocks, n); none for columns behind the last."""
    width = _group_widths(elements, rows, used)[:, None, :]
    inside = np.arange(len(used) * step).reshape(len(used), step, 1) < columns
    return (width * inside).reshape(len(used), -1)


def unpack_memories(raw: bytes, memories: int, elements: int, rows: int) -> NDArray[np.uint8]:
    """The inverse of :func:`pack_memories`: (memories, columns, bytes).

    Raises
    ------
    ValueError
        ``raw`` is not the file of so many memories.
    """
    if len(raw) < 4 or len(raw) % 4:
        raise ValueError(f"a file of trit memories cannot have {len(raw)} bytes")
    contents = np.frombuffer(raw, "<u4").astype(np.uint32)
    columns, size = int(contents[0]), -(-2 * elements * rows // 8)
    step = columns_per_block(elements, rows)
    blocks = -(-columns // step)
    if len(contents) < 1 + memories * blocks:
        raise ValueError(
            f"a file of {memories} trit memories of {columns} columns ends in its table"
        )
    table = contents[1 : 1 + memories * blocks].reshape(memories, blocks).astype(np.int64)
    count, used, form = table & 0xFFFF, table >> 16 & 0xFF, table >> 24
    stored = np.where(form == COPY, 0, count)
    begin = 1 + table.size + (np.cumsum(stored) - stored.reshape(-1)).reshape(table.shape)
    if (
        1 + table.size + int(stored.sum()) != len(contents)
        or (form > COPY).any()
        or (used > rows).any()
    ):
        raise ValueError("the table of the trit memories is not one")
    result = np.zeros((memories, blocks * step, size), np.uint8)
    width = np.minimum(step, columns - step * np.arange(blocks))
    for number in range(memories):
        shaped = result[number].reshape(blocks, step, size)
        packed = np.flatnonzero(form[number] == PACKED)
        if len(packed):
            shaped[packed] = _unpack_blocks(
                contents,
                begin[number, packed],
                count[number, packed],
                used[number, packed],
                width[packed],
                elements,
                rows,
                step,
            )
        for block in np.flatnonzero(form[number] == PLAIN):
            there = int(width[block])
            start, words = int(begin[number, block]), int(count[number, block])
            if words != -(-there * size // 4):
                raise ValueError(f"a plain block of {there} columns cannot take {words} words")
            plain = contents[start : start + words].astype("<u4").view(np.uint8)
            shaped[block, :there] = plain[: there * size].reshape(there, size)
        copies = np.flatnonzero(form[number] == COPY)
        if (count[number, copies] >= number).any():
            raise ValueError("a copy is of a memory that comes later")
        source = result.reshape(memories, blocks, step, size)
        shaped[copies] = source[count[number, copies], copies]
    return result[:, :columns]


def _unpack_blocks(
    contents: Words,
    begin: NDArray[np.int64],
    count: NDArray[np.int64],
    used: NDArray[np.int64],
    width: NDArray[np.int64],
    elements: int,
    rows: int,
    step: int,
) -> NDArray[np.uint8]:
    """(blocks, step, bytes) of packed blocks of one memory, zero behind their ``width`` columns."""
    words = np.concatenate(
        [contents[start : start + size] for start, size in zip(begin, count, strict=True)]
    )
    inside = np.arange(step)[None, :, None] < width[:, None, None]
    widths = _group_widths(elements, rows, used)[:, None, :] * inside
    planes = np.stack(_decode(words, count, widths.reshape(len(used), -1)))
    parts = elements * -(-rows // GROUP)
    stretched = _stretch(
        planes.reshape(2, len(used) * step, -1), parts, rows, np.repeat(used, step)[:, None]
    )
    return _from_planes(stretched, elements, rows).reshape(len(used), step, -1)
