"""Decoding of program and row memory: the inverse of :func:`tritforge.hw.program.encode`,
vectorised."""

from collections.abc import Mapping, Sequence

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from tritforge.common.errors import TritforgeError
from tritforge.hw.config import Config
from tritforge.hw.program import layer_format, record_words, row_layout, to_words
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["ProgramError", "Records", "decode", "visits_zeros", "writes_signed"]


class ProgramError(TritforgeError, ValueError):
    """A program that cannot be decoded."""


class Records:
    """Records of a program.

    Parameters
    ----------
    config : Config
    program : (words,) uint32
    lap : int, optional
        Addresses are taken modulo this, as hardware does where a memory is refilled.
    """

    def __init__(self, config: Config, program: NDArray[np.uint32], lap: int | None = None) -> None:
        self.config = config
        self.program = np.asarray(program, np.uint32)
        self.lap = lap

    def record(self, layout: data.StructLayout, address: int) -> dict[str, int]:
        """All fields of the record at a program address, by name.

        Raises
        ------
        ProgramError
            The program ends before.
        """
        names = [name for name, _ in layout]
        return dict(zip(names, self.table(layout, address, 1, names)[0].tolist(), strict=True))

    def layer(self, address: int) -> dict[str, int]:
        """:meth:`record` of a LAYER; without sums at write-back it has no ``add``."""
        return self.record(layer_format(self.config), address)

    def table(
        self, layout: data.StructLayout, address: int, count: int, names: Sequence[str]
    ) -> NDArray[np.int64]:
        """Fields ``names`` of ``count`` records that follow each other: (count, names) int64."""
        size = record_words(layout)
        places = address + np.arange(size * count)
        if self.lap is not None:
            places %= self.lap
        if count and places.max() >= len(self.program):
            raise ProgramError(
                f"the program ends inside a record at address {address}; export the image again"
            )
        words = self.program[places]
        return _fields(layout, words.reshape(count, size), names)

    def rows(self, rows: NDArray[np.uint32], names: Sequence[str]) -> NDArray[np.int64]:
        """Fields of row-memory entries (entries, port words): (entries, drain_width, names); 0
        where entries have no such field."""
        lane_words = self.config.row_entry_width // PORT_WIDTH
        lanes = rows.reshape(-1, lane_words)
        layout = row_layout(self.config)
        there = [number for number, name in enumerate(names) if name in layout.members]
        found = np.zeros((len(lanes), len(names)), np.int64)
        found[:, there] = _fields(layout, lanes, [names[number] for number in there])
        return found.reshape(len(rows), self.config.drain_width, len(names))


def decode(layout: data.StructLayout, packed: int) -> dict[str, int]:
    """Named fields of a packed record: the inverse of :func:`tritforge.hw.program.encode`."""
    names = [name for name, _ in layout]
    words = np.array([to_words(packed, record_words(layout))], np.uint32)
    return dict(zip(names, _fields(layout, words, names)[0].tolist(), strict=True))


def writes_signed(layer: Mapping[str, int]) -> bool:
    """Whether the activations that a layer writes are signed, from the fields of its LAYER."""
    if layer.get("add"):
        return bool(layer["sum_signed"])
    return bool(layer["table_signed"] if layer["look_up"] else layer["low"] < 0)


def visits_zeros(layer: Mapping[str, int]) -> bool:
    """Whether a zero that is merged may change what is there: it may be less than the maximum,
    or what is there not be in the range of a sum."""
    if layer.get("add"):
        return layer["sum_signed"] != layer["stored_signed"]
    return writes_signed(layer)


def _fields(
    layout: data.StructLayout, words: NDArray[np.uint32], names: Sequence[str]
) -> NDArray[np.int64]:
    """(records, names) of records (records, words); fields of up to 63 bits."""
    wide = np.concatenate([words, np.zeros((len(words), 2), np.uint32)], axis=1).astype(np.uint64)
    result = np.zeros((len(words), len(names)), np.int64)
    for index, name in enumerate(names):
        field = layout[name]
        first, shift = divmod(field.offset, PORT_WIDTH)
        low = wide[:, first] | wide[:, first + 1] << np.uint64(PORT_WIDTH)
        value = low >> np.uint64(shift)
        if shift:
            value |= wide[:, first + 2] << np.uint64(2 * PORT_WIDTH - shift)
        value &= np.uint64((1 << field.width) - 1)
        signed = value.astype(np.int64)
        if getattr(field.shape, "signed", False):
            signed -= (signed >> (field.width - 1)) << field.width
        result[:, index] = signed
    return result
