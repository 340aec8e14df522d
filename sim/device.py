"""The accelerator behind its host port: one driver for every simulator and board.

A :class:`Link` carries packets; a :class:`Device` knows what to send. Only the link differs
between the native simulation, Amaranth's simulator and a board.
"""

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tritforge.common.errors import TritforgeError
from tritforge.hw import protocol
from tritforge.hw.config import Config
from tritforge.hw.program import COUNTERS
from tritforge.hw.protocol import (
    PACKED_ARGUMENTS,
    ErrorCode,
    Opcode,
    Packet,
    Status,
)
from tritforge.hw.unpacker import can_unpack
from tritforge.hw.widths import COUNTER_SLOTS, PORT_WIDTH
from tritforge.model_export.image import packing
from tritforge.model_export.memory.emit import MemoryImage, TensorPlace
from tritforge.model_export.memory.schedule import (
    Await,
    Load,
    ReadCounters,
    Signal,
    Store,
    Write,
    lap,
)
from tritforge.sim.host import HostTensors
from tritforge.sim.observer import Observer

__all__ = ["Device", "DeviceError", "Link"]


#: Port words of a streamed run that are handed to the link at a time.
_GATHERED = 1 << 15


class DeviceError(TritforgeError, RuntimeError):
    """The accelerator refused a packet, answered with something else, or not at all."""


class Link(ABC):
    """Carries packets, as lists of 32-bit words, to an accelerator and back."""

    #: What stands at the other end.
    config: Config

    @abstractmethod
    def exchange(self, packets: Sequence[Sequence[int]], answers: int) -> list[list[int]]:
        """Send packets in order and wait for ``answers`` response packets; more of them are
        returned if they have come meanwhile.

        Raises
        ------
        DeviceError
            The accelerator did not answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the link holds."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Clock cycles since reset, transfers included."""

    def poke(self, memory: str, number: int, address: int, words: NDArray[np.uint32]) -> bool:
        """Write memory words (count, ``memory_chunks``) at once, past the port; False where the
        link has no such back door, as on a board."""
        del memory, number, address, words
        return False

    def observe(self, observer: Observer | None) -> bool:
        """From now on tell ``observer`` what the port ``probe`` says, or nobody; False where the
        link has no such port, as on a board."""
        del observer
        return False

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Device:
    """Loads images, runs programs and reads memories.

    Parameters
    ----------
    link : Link
    fresh : bool
        Nothing has been written since power came, so that activations need not be cleared.

    Raises
    ------
    DeviceError
        From every method: a packet was refused (the error code is named) or not answered.
    """

    def __init__(self, link: Link, *, fresh: bool = True) -> None:
        self.link = link
        self.config = link.config
        self._loaded = not fresh

    def status(self) -> Status:
        return Status.from_packet(self._ask(protocol.status()))

    def check_identity(self) -> None:
        """Refuse to work with hardware of another configuration."""
        identity = self.status().identity
        if identity != self.config.identity_word:
            raise DeviceError(
                f"the accelerator has configuration {identity:08x}, "
                f"not {self.config.name} ({self.config.identity_word:08x})"
            )

    def write(self, memory: str, cluster: int, address: int, words: NDArray[np.uint32]) -> None:
        """Write memory words (count, ``memory_chunks``) from ``address`` on."""
        self._send(
            f"writing {len(words)} words to memory {memory} of cluster {cluster} at {address}",
            self._plain(memory, cluster, address, words),
        )

    def _plain(
        self, memory: str, cluster: int, address: int, words: NDArray[np.uint32]
    ) -> list[list[int]]:
        """WRITE packets of memory words."""
        chunks = self.config.memory_chunks(memory)
        words = np.asarray(words, np.uint32).reshape(-1, chunks)
        packets = []
        start = 0
        for count in protocol.write_counts(self.config, memory, len(words)):
            packets.append(
                protocol.write(
                    memory,
                    cluster,
                    address + start,
                    count,
                    words[start : start + count].ravel().tolist(),
                ).words()
            )
            start += count
        return packets

    def _packed(
        self, cluster: int, trits: NDArray[np.uint8], words: NDArray[np.uint32]
    ) -> list[list[int]] | None:
        """WRITE_PACKED packets of columns (n, bytes) from 0 on, and WRITE packets of those that
        have no packed form, their ``words``; None where no column has one."""
        config = self.config
        longest = config.packet_words - PACKED_ARGUMENTS
        if not len(trits) or not can_unpack(config) or 2 * config.slots > PORT_WIDTH * longest:
            return None
        shape = config.elements, config.rows
        size = packing.columns_per_block(*shape)
        exact = packing.packable(trits, *shape)
        blocks = [bool(exact[first : first + size].all()) for first in range(0, len(exact), size)]
        if not any(blocks):
            return None
        result: list[list[int]] = []
        for packed, run in itertools.groupby(range(len(blocks)), blocks.__getitem__):
            numbers = list(run)
            start, stop = numbers[0] * size, (numbers[-1] + 1) * size
            if not packed:
                result += self._plain("trits", cluster, start, words[start:stop])
                continue
            result += [
                protocol.write_packed(
                    cluster, start + first, count, used, contents.tolist()
                ).words()
                for first, count, used, contents in packing.packets(
                    trits[start:stop], *shape, longest
                )
            ]
        return result

    def _send(self, what: str, packets: list[list[int]]) -> int:
        """Send writes and see that none is refused; the number of port words."""
        count = sum(map(len, packets))
        # Writes are answered only when refused; the status that follows tells.
        packets = [*packets, protocol.status().words()]
        answer = self._response(self.link.exchange(packets, 1)[0])
        if answer.opcode != Opcode.STATUS | protocol.RESPONSE:
            raise DeviceError(f"{what} was refused: {answer.error.name}")
        return count

    def read(self, memory: str, cluster: int, address: int, count: int) -> NDArray[np.uint32]:
        """Read memory words as (count, ``memory_chunks``) uint32."""
        packet = self._ask(protocol.read(memory, cluster, address, count))
        chunks = self.config.memory_chunks(memory)
        if len(packet.payload) != count * chunks:
            raise DeviceError(
                f"READ of {count} words of {memory} was answered with "
                f"{len(packet.payload)} port words, not {count * chunks}"
            )
        return np.array(packet.payload, np.uint32).reshape(count, chunks)

    def load(self, image: MemoryImage, *, back_door: bool = False) -> int:
        """Write trits, row memory, program and activation tables; the number of port words that it
        took. Of a streamed image only what is resident: the rest is part of every run.

        Trits go packed, each memory of them where that is fewer words. With ``back_door`` all is
        put into the memories without a clock cycle and a port word, where the link can do that.
        """
        sent = 0
        contents = [
            ("trits", cluster, image.port_words("trits", cluster))
            for cluster in range(self.config.cluster_count)
        ]
        contents += [(kind, 0, image.port_words(kind)) for kind in ("rows", "program")]
        if self.config.activation_tables:
            contents.append(("tables", 0, image.port_words("tables")))
        if self._loaded:
            empty = np.zeros(
                (self.config.activation_depth, self.config.memory_chunks("activations")), np.uint32
            )
            contents += [("activations", part, empty) for part in range(self.config.clusters)]
        streamed = (
            set()
            if image.schedule is None
            else {"trits", "rows", "program", "tables"} - set(image.schedule.resident)
        )
        for memory, number, words in contents:
            if memory in streamed:
                continue
            if back_door and self.link.poke(memory, number, 0, words):
                continue
            packets = self._plain(memory, number, 0, words)
            packed = self._packed(number, image.trits[number], words) if memory == "trits" else None
            if packed is not None and sum(map(len, packed)) < sum(map(len, packets)):
                packets = packed
            sent += self._send(f"loading memory {memory} of cluster {number}", packets)
        self._loaded = True
        return sent

    def run(self, address: int, layers: int) -> list[dict[str, int]]:
        """Run layers and return their counters, by name."""
        self._ask(protocol.run(address, layers))
        kept = min(layers, self.config.layer_count)
        return _counters(self.read("counters", 0, 0, kept * COUNTER_SLOTS))

    def run_schedule(
        self,
        image: MemoryImage,
        host: HostTensors,
        numbers: range,
        progress: Callable[[float], None] | None = None,
    ) -> list[dict[str, int]]:
        """Run passes ``numbers`` of a streamed image and return their counters, by name.

        Parameters
        ----------
        host : HostTensors
            Tensors that are kept outside; those that the passes compute are set.
        numbers : range
            All passes, or those of one layer.
        progress : callable(fraction), optional
            Told of the share of what is sent.
        """
        schedule, config = image.schedule, self.config
        assert schedule is not None
        counters: list[dict[str, int]] = []
        address = schedule.passes[numbers.start].address % lap(config, "program")
        packets = [protocol.run(address, len(numbers), wait=True).words()]
        ended = False
        signals = 0
        signal_count = sum(len(schedule.passes[number].units) for number in numbers)

        def answers(count: int) -> list[Packet]:
            """Send what is gathered; ``count`` answers besides that to RUN."""
            nonlocal packets, ended
            found: list[Packet] = []
            while len(found) < count or packets:
                if progress is not None:
                    progress(signals / signal_count)
                for words in self.link.exchange(packets, count - len(found)):
                    answer = self._response(words)
                    if answer.error != ErrorCode.OK:
                        raise DeviceError(
                            f"pass {len(counters)} of the schedule failed: {answer.error.name}"
                        )
                    if answer.opcode == Opcode.RUN | protocol.RESPONSE:
                        ended = True
                    else:
                        found.append(answer)
                packets = []
            return found

        contents = functools.cache(image.port_words)  # whole memories: converted once
        for step in schedule.steps(config, numbers):
            if sum(map(len, packets)) >= _GATHERED:
                answers(0)
            if isinstance(step, Write):
                words = contents(step.memory, step.number)[step.start : step.start + step.count]
                packets += self._plain(
                    step.memory, step.number, step.start % lap(config, step.memory), words
                )
            elif isinstance(step, Load):
                for part, own in enumerate(host.strip(step.strip)):
                    packets += self._plain(
                        "activations", part, step.strip.base, image.activation_port_words(own)
                    )
            elif isinstance(step, Signal):
                packets.append(protocol.signal().words())
                signals += 1
            elif isinstance(step, Await):
                packets += [protocol.wait().words()] * step.count
            elif isinstance(step, ReadCounters):
                packets.append(
                    protocol.read(
                        "counters", 0, step.slot * COUNTER_SLOTS, step.count * COUNTER_SLOTS
                    ).words()
                )
                counters += _counters(np.array(answers(1)[0].payload, np.uint32))
            elif isinstance(step, Store):
                strip = step.strip
                back = np.zeros((config.clusters, strip.words, config.scan_width), np.uint8)
                for first in range(0, len(step.slices), config.response_places):
                    own = step.slices[first : first + config.response_places]
                    packets += [
                        protocol.read("activations", part, strip.base, strip.words).words()
                        for part in own
                    ]
                    for part, answer in zip(own, answers(len(own)), strict=True):
                        back[part] = image.activations_from_port_words(
                            np.array(answer.payload, np.uint32).reshape(strip.words, -1)
                        )
                host.merge(step.number, strip, back)
        answers(0)
        if not ended:
            answer = self._response(self.link.exchange([], 1)[0])
            if answer.opcode != Opcode.RUN | protocol.RESPONSE or answer.error != ErrorCode.OK:
                raise DeviceError(f"RUN was refused: {answer.error.name}")
        left = len(numbers) - len(counters)
        slot = len(counters) % config.layer_count
        words = self.read("counters", 0, 0, config.layer_count * COUNTER_SLOTS)
        kept = _counters(words)
        return counters + [kept[(slot + n) % config.layer_count] for n in range(left)]

    def write_tensor(self, image: MemoryImage, name: str, codes: NDArray[np.integer]) -> None:
        """Write activation codes (channels, height, width); what lies beside them becomes zero."""
        self.write_tensors(image, {name: codes})

    def write_tensors(self, image: MemoryImage, tensors: Mapping[str, NDArray[np.integer]]) -> None:
        """Write activation codes (channels, height, width) of tensors that are there at once.

        Clusters that own none of their channels get zeros, unless nothing else was ever there.
        """
        for place, words in image.words_by_place(tensors):
            self._write_place(image, place, words)

    def _write_place(
        self, image: MemoryImage, place: TensorPlace, words: NDArray[np.uint8]
    ) -> None:
        shared = image.schedule is not None or any(
            other is not place
            and other.base < place.base + place.size
            and place.base < other.base + other.size
            for other in image.tensors.values()
        )
        owners = range(self.config.clusters) if shared else sorted(set(place.cluster.tolist()))
        for cluster in owners:
            self.write(
                "activations", cluster, place.base, image.activation_port_words(words[cluster])
            )

    def read_tensor(self, image: MemoryImage, name: str) -> NDArray[np.int16]:
        """Activation codes (channels, height, width) of a tensor that is still in memory."""
        place = image.tensors[name]
        words = np.zeros((self.config.clusters, place.size, self.config.scan_width), np.uint8)
        for cluster in sorted(set(place.cluster.tolist())):
            words[cluster] = image.activations_from_port_words(
                self.read("activations", cluster, place.base, place.size)
            )
        return image.tensor_from_words(name, words)

    def read_results(self, image: MemoryImage) -> NDArray[np.int32]:
        """Results of the last layer (rows, height, width)."""
        place = image.results
        if place is None:
            raise DeviceError("the image has no final layer, so it writes no results")
        return image.results_from_entries(
            self.read("results", 0, place.base, place.entries).view(np.int32)
        )

    def _ask(self, packet: Packet) -> Packet:
        answer = self._response(self.link.exchange([packet.words()], 1)[0])
        if answer.error != ErrorCode.OK:
            raise DeviceError(f"{Opcode(packet.opcode).name} was refused: {answer.error.name}")
        if answer.opcode != packet.opcode | protocol.RESPONSE:
            raise DeviceError(
                f"{Opcode(packet.opcode).name} was answered with opcode {answer.opcode}"
            )
        return answer

    @staticmethod
    def _response(words: Sequence[int]) -> Packet:
        try:
            return Packet.from_words(words)
        except ValueError as error:
            raise DeviceError(f"malformed response: {error}") from error


def _counters(words: NDArray[np.uint32]) -> list[dict[str, int]]:
    """Counters of layers by name, from their words in the counter memory."""
    return [
        dict(zip(COUNTERS, map(int, row), strict=True)) for row in words.reshape(-1, COUNTER_SLOTS)
    ]
