"""The image's network and layout: objects as JSON and arrays, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tritforge.common.json_types import Json, JsonError, from_json, parse, to_json
from tritforge.hw.config import Config
from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.image.arrays import ArrayEntry, ArrayReader, ArrayWriter
from tritforge.model_export.image.packing import unpack_memories
from tritforge.model_export.memory.emit import LayerPlace, MemoryImage, ResultPlace, TensorPlace
from tritforge.model_export.memory.schedule import Schedule
from tritforge.model_export.network import Layer, Network, Tensor

__all__ = ["dump", "layout_files", "memory_from_files", "network_files", "network_from_files"]


@dataclass(frozen=True)
class NetworkDocument:
    """``network.json``."""

    name: str
    input: str
    tensors: list[Tensor]
    layers: list[Layer]


@dataclass(frozen=True)
class LayoutDocument:
    """``layout.json``."""

    input: str
    activation_words: int
    stale_lanes: bool
    tensors: list[TensorPlace]
    layers: list[LayerPlace]
    results: ResultPlace | None
    schedule: Schedule | None


def dump(document: Json, indent: int | None = None) -> bytes:
    """JSON of an image's file."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace")  # as JSON has what UTF-8 has not


def network_files(network: Network) -> tuple[bytes, bytes, list[list[ArrayEntry]]]:
    """``network.json``, ``network.bin``, and where the trits of each layer's groups are in it."""
    arrays = ArrayWriter()
    trits = []
    layers: list[Json] = []
    for layer in network.layers:
        # in the file, a layer's own arrays stand before those of its groups
        alone = replace(layer, groups=[], pool=None, requantization=None)
        values = to_json(alone, arrays.to_json)
        assert isinstance(values, dict)
        before = len(arrays.entries)
        values["groups"] = to_json(layer.groups, arrays.to_json)
        trits.append(arrays.entries[before:])
        values["pool"] = to_json(layer.pool, arrays.to_json)
        values["requantization"] = to_json(layer.requantization, arrays.to_json)
        layers.append(values)
    document = {
        "name": network.name,
        "input": network.input,
        "tensors": to_json(list(network.tensors.values()), arrays.to_json),
        "layers": layers,
    }
    return dump(document), arrays.bytes(), trits


def network_from_files(document: bytes, raw: bytes) -> Network:
    """Inverse of :func:`network_files`.

    Raises
    ------
    ValueError
        The files are not those of a network.
    """
    arrays = ArrayReader(raw)
    read = from_json(
        NetworkDocument, _parsed(document, "network.json"), "network.json", arrays.from_json
    )
    arrays.finish()
    _check_folds(read.tensors)
    tensors = {tensor.name: tensor for tensor in read.tensors}
    return Network(read.name, read.input, tensors, read.layers)


def layout_files(memory: MemoryImage) -> tuple[bytes, bytes]:
    """``layout.json`` and ``layout.bin``."""
    arrays = ArrayWriter()
    document = LayoutDocument(
        memory.input,
        memory.activation_words,
        memory.stale_lanes,
        list(memory.tensors.values()),
        memory.layers,
        memory.results,
        memory.schedule,
    )
    return dump(to_json(document, arrays.to_json)), arrays.bytes()


def memory_from_files(config: Config, files: Mapping[str, bytes]) -> MemoryImage:
    """Memory contents from the files of a folder, by name.

    Raises
    ------
    ValueError
        The files are not those of an image for ``config``.
    """
    arrays = ArrayReader(files["layout.bin"])
    document = _parsed(files["layout.json"], "layout.json")
    layout = from_json(LayoutDocument, document, "layout.json", arrays.from_json)
    arrays.finish()
    _check_folds(layout.tensors)
    program = _words(files, "program.bin")
    trits = unpack_memories(
        files["trits.bin"], config.memory_count("trits"), config.elements, config.rows
    )
    rows = _words(files, "rows.bin", config.memory_chunks("rows"))
    tables = np.frombuffer(files.get("tables.bin", b""), np.uint8)
    if len(tables) % TABLE_ENTRIES:
        raise ValueError(f"activation tables cannot take {len(tables)} bytes")
    places = {place.name: place for place in layout.tensors}
    if layout.schedule is not None:
        layout.schedule.check(
            config,
            places,
            {place.name: place.output for place in layout.layers},
            {
                "program": len(program),
                "rows": len(rows),
                "trits": trits.shape[1],
                "tables": len(tables),
            },
        )
    return MemoryImage(
        config,
        program,
        trits,
        rows,
        layout.input,
        places,
        layout.layers,
        layout.results,
        layout.activation_words,
        layout.stale_lanes,
        layout.schedule,
        tables,
    )


def _words(files: Mapping[str, bytes], name: str, each: int | None = None) -> NDArray[np.uint32]:
    """A file's 32-bit words; (entries, each) where entries have ``each`` words."""
    raw, size = files[name], 4 * (each or 1)
    if len(raw) % size:
        raise ValueError(f"{name} cannot take {len(raw)} bytes, a multiple of {size} is right")
    words = np.frombuffer(raw, "<u4").astype(np.uint32)
    return words if each is None else words.reshape(-1, each)


def _parsed(document: bytes, name: str) -> object:
    try:
        return parse(document)
    except JsonError as error:
        raise JsonError(f"{name} {error}") from error


def _check_folds(tensors: Sequence[Tensor | TensorPlace]) -> None:
    """``ValueError`` if a folded tensor has another size than its fold gives."""
    for tensor in tensors:
        sizes = tensor.channels, tensor.height, tensor.width
        if tensor.fold is not None and tensor.fold.folded_shape != sizes:
            raise ValueError(
                f"tensor {tensor.name} is {sizes}, its fold gives {tensor.fold.folded_shape}"
            )
