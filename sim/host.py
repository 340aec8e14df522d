"""The host's side of a streamed network: tensors that do not stay on the chip, and its steps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tritforge.hw import protocol
from tritforge.hw.protocol import Opcode
from tritforge.hw.widths import COUNTER_SLOTS
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.schedule import (
    Await,
    Load,
    ReadCounters,
    Signal,
    Step,
    Store,
    Strip,
    Write,
)
from tritforge.sim.records import Records

__all__ = ["HostTensors", "Shape", "packet_shapes"]


class Shape(NamedTuple):
    """A packet without its contents."""

    opcode: int
    slice: int  # of the activation memory; -1: another memory
    words: int  # of the memory
    length: int  # words after the header
    answers: int  # that must come before the next packet is sent


class HostTensors:
    """External tensors of a memory image, as words of the activation memories.

    Parameters
    ----------
    memory : MemoryImage
        With a schedule.
    """

    def __init__(self, memory: MemoryImage) -> None:
        self.memory = memory
        config = memory.config
        self._words = {
            name: np.zeros((config.clusters, place.size, config.scan_width), np.uint8)
            for name, place in memory.tensors.items()
            if place.external
        }
        self._lanes: dict[tuple[int, int], NDArray[np.bool_]] = {}

    def write(self, name: str, codes: NDArray[np.integer]) -> None:
        """Set a tensor's codes (channels, height, width)."""
        self._words[name] = self.memory.tensor_words(name, codes)

    def read(self, name: str) -> NDArray[np.int16]:
        """A tensor's codes (channels, height, width)."""
        return self.memory.tensor_from_words(name, self._words[name])

    def strip(self, strip: Strip) -> NDArray[np.uint8]:
        """Words (slices, n, S) of a strip."""
        start = self._start(strip)
        return self._words[strip.tensor][:, start : start + strip.words]

    def merge(self, number: int, strip: Strip, words: NDArray[np.uint8]) -> None:
        """Take over what pass ``number`` has computed of a strip's words (slices, n, S)."""
        owned = self.lanes(number)
        start = self._start(strip)
        own = self._words[strip.tensor][:, start : start + strip.words]
        shape = (len(own), -1, *owned.shape[1:])
        target = own.reshape(shape)  # a copy: the slices do not follow each other
        np.copyto(target, words.reshape(shape), where=owned[:, None])
        own[:] = target.reshape(own.shape)

    def lanes(self, number: int) -> NDArray[np.bool_]:
        """Lanes of a pixel (slices, words, S) that the rows of pass ``number`` write."""
        memory = self.memory
        assert memory.schedule is not None
        one = memory.schedule.passes[number]
        assert one.output is not None
        key = (one.row_start, one.row_count)
        if key not in self._lanes:
            place = memory.tensors[one.output.tensor]
            fields = (
                Records(memory.config, memory.program)
                .rows(
                    memory.rows[one.row_start : one.row_start + one.row_count],
                    ("enable", "cluster", "word", "lane"),
                )
                .reshape(-1, 4)
            )
            used = fields[fields[:, 0] == 1]
            owned = np.zeros((memory.config.clusters, place.words, memory.config.scan_width), bool)
            # rows of a block of pixels go to several
            owned[used[:, 1], used[:, 2] % place.words, used[:, 3]] = True
            self._lanes[key] = owned
        return self._lanes[key]

    def _start(self, strip: Strip) -> int:
        place = self.memory.tensors[strip.tensor]
        return strip.first * place.width * place.words


def packet_shapes(memory: MemoryImage, numbers: range) -> list[Shape]:
    """The packets that :meth:`tritforge.sim.device.Device.run_schedule` sends for passes
    ``numbers``."""
    schedule, config = memory.schedule, memory.config
    assert schedule is not None

    def writes(kind: str, part: int, count: int) -> list[Shape]:
        return [
            Shape(
                Opcode.WRITE,
                part,
                words,
                protocol.WRITE_ARGUMENTS + words * config.memory_chunks(kind),
                0,
            )
            for words in protocol.write_counts(config, kind, count)
        ]

    def shapes(step: Step) -> list[Shape]:
        match step:
            case Write(kind, _, _, count):
                return writes(kind, -1, count)
            case Load(strip):
                one = [writes("activations", part, strip.words) for part in range(config.clusters)]
                return [shape for part in one for shape in part]
            case Signal():
                return [Shape(Opcode.SIGNAL, -1, 0, 0, 0)]
            case Await(count):
                return [Shape(Opcode.WAIT, -1, 0, 0, 0)] * count
            case ReadCounters(_, count, _):
                return [Shape(Opcode.READ, -1, count * COUNTER_SLOTS, 2, 1)]
            case Store(_, strip, parts):
                result: list[Shape] = []
                for first in range(0, len(parts), config.response_places):
                    own = parts[first : first + config.response_places]
                    result += [
                        Shape(Opcode.READ, part, strip.words, 2, len(own) * (part == own[-1]))
                        for part in own
                    ]
                return result

    packets: list[Shape] = [Shape(Opcode.RUN, -1, 0, 2, 0)]
    for step in schedule.steps(config, numbers):
        packets += shapes(step)
    return packets
