"""Contents of block RAM that come with the bitstream.

The clusters are one module, so what their memories hold cannot be in the Verilog; it is given to
each memory by its hierarchical name, in the flat design and before memories are mapped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritforge.fpga.errors import BuildError
from tritforge.hw.config import Config
from tritforge.hw.widths import PORT_WIDTH
from tritforge.model_export.compiled import CompiledNetwork

__all__ = ["Contents", "contents_of", "obstacle"]

#: Width of the chunks in which a word is written.
_CHUNK = PORT_WIDTH


@dataclass(frozen=True)
class Contents:
    """Contents of one memory.

    Members
    -------
    memory : str
        Kind, and for trits the cluster, as a report names it.
    cells : str
        Pattern of the hierarchical name of its Yosys cell.
    width, depth : int
        Bits of a word, padded to whole chunks, and words.
    value : int
        All words, the first one lowest.
    """

    memory: str
    cells: str
    width: int
    depth: int
    value: int

    @property
    def constant(self) -> str:
        """The value as Yosys reads it."""
        size = self.width * self.depth
        return f"{size}'h{self.value:0{-(-size // 4)}x}"

    @property
    def ones(self) -> int:
        """Bits that are 1, for a check that they have arrived."""
        return self.value.bit_count()


def obstacle(image: CompiledNetwork) -> str | None:
    """Why an image cannot come with the bitstream; None if it can."""
    if image.memory.schedule is not None:
        return "the image does not fit the memories and is streamed in every run"
    if image.config.memory_ports == 1:
        return "trits and program are in single-port memory, whose contents a bitstream cannot set"
    return None


def _value(words: NDArray[np.uint32], width: int) -> int:
    """Words (n, chunks) as one integer of ``width`` bits each, the first lowest."""
    raw = np.ascontiguousarray(words, "<u4").view(np.uint8)
    bits = np.unpackbits(raw, axis=1, bitorder="little")[:, :width]
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def _memory(
    config: Config, kind: str, name: str, cells: str, words: NDArray[np.uint32]
) -> Contents:
    bits = config.memory_width(kind)
    chunk = min(_CHUNK, bits)
    width, depth = -(-bits // chunk) * chunk, config.memory_depth(kind)
    if len(words) > depth:
        raise BuildError(
            f"memory {name} of configuration {config.name} has {depth} words, "
            f"the image {len(words)}"
        )
    return Contents(name, cells, width, depth, _value(words, width))


def contents_of(image: CompiledNetwork) -> list[Contents]:
    """Contents of all memories of an image for which :func:`obstacle` finds none."""
    config, memory = image.config, image.memory
    found = [
        _memory(config, kind, kind, f"*.{kind}.*storage", memory.port_words(kind))
        for kind in ("program", "rows")
    ]
    for cluster in range(config.cluster_count):
        found.append(
            _memory(
                config,
                "trits",
                f"trits of cluster {cluster}",
                f"*.cluster_{cluster}.*trit_memory.*storage",
                memory.port_words("trits", cluster),
            )
        )
    if config.activation_tables:
        found += [
            _memory(
                config,
                "tables",
                f"activation tables of lane {lane}",
                f"*.activation_table_{lane}.*storage",
                memory.port_words("tables"),
            )
            for lane in range(config.drain_width)
        ]
    return found
