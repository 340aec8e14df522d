"""The image: a folder with memory contents for one configuration, and the network beside them.

==================  ======================================================================
file                contents
==================  ======================================================================
``manifest.json``   what a reader wants to know, and a checksum of every file
``program.bin``     program memory, 32-bit words
``trits.bin``       trit memories, packed (:mod:`tritforge.model_export.image.packing`)
``rows.bin``        row memory, 32-bit words
``layout.json``     where tensors, layers and results are in the memories
``layout.bin``      arrays that ``layout.json`` points to
``network.json``    the network, independent of any configuration
``network.bin``     arrays that ``network.json`` points to; trits are packed
==================  ======================================================================

All numbers in binary files are little-endian. Integers take the fewest whole bytes, trits the
smaller of two forms, 2 bits or 1 + density. The same input gives the same bytes. Loading
parses JSON and copies arrays; it runs no code from the folder.
"""

import dataclasses
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritforge.common.files import new_folder, obstacle
from tritforge.common.version import tritforge_version
from tritforge.hw.config import Config, ConfigError
from tritforge.model_export.errors import ImageError
from tritforge.model_export.image.packing import (
    pack_flat,
    pack_memories,
    pack_plain,
    unpack_flat,
    unpack_memories,
    unpack_plain,
)
from tritforge.model_export.memory.emit import LayerPlace, MemoryImage, ResultPlace, TensorPlace
from tritforge.model_export.memory.schedule import Schedule
from tritforge.model_export.network import (
    ColumnGroup,
    Fold,
    Layer,
    Network,
    Pool,
    Requantization,
    Tensor,
)

__all__ = ["FORMAT", "FORMAT_VERSION", "Image", "is_ternary", "load_image", "write_image"]

#: What a manifest begins with.
FORMAT = "tritforge image"
#: Raised whenever an older reader would misunderstand the folder.
FORMAT_VERSION = 3

MANIFEST = "manifest.json"
FILES = (
    "layout.bin",
    "layout.json",
    "network.bin",
    "network.json",
    "program.bin",
    "rows.bin",
    "trits.bin",
)

_INTEGERS = ("|i1", "<i2", "<i4", "<i8")
#: Of arrays of trits: 2 bits each, and packed.
_TRITS = ("trit", "packed trit")
_DTYPES = {"<f8", *_INTEGERS, *_TRITS}


@dataclass(eq=False)
class Image:
    """A loaded image: configuration, memory contents, network, manifest."""

    path: Path
    manifest: dict[str, Any]
    config: Config
    memory: MemoryImage
    network: Network

    def require(self, config: Config) -> None:
        """Check that the image runs on hardware generated from ``config``.

        Raises
        ------
        ImageError
            It was compiled for another configuration.
        """
        if config.identity != self.config.identity:
            raise ImageError(
                f"image {self.path} was compiled for configuration {self.config.name} "
                f"({self.config.identity[:8]}), not for {config.name} ({config.identity[:8]}); "
                f"export it again with that configuration"
            )


# ----- arrays in a binary file, pointed to from JSON


class _ArrayWriter:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: NDArray[Any], trits: bool = False) -> dict[str, Any]:
        array = np.asarray(array)
        if trits:
            dtype, raw = min(
                zip(_TRITS, (pack_plain(array), pack_flat(array)), strict=True),
                key=lambda form: len(form[1]),
            )
        else:
            dtype = "<f8" if array.dtype.kind == "f" else _smallest(array)
            raw = np.ascontiguousarray(array, dtype).tobytes()
        entry = {"dtype": dtype, "shape": list(array.shape), "offset": self.size, "bytes": len(raw)}
        self.parts.append(raw)
        self.size += len(raw)
        return entry

    def bytes(self) -> bytes:
        return b"".join(self.parts)


class _ArrayReader:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.end = 0

    def finish(self) -> None:
        """``ValueError`` if the file holds more than the arrays read from it."""
        if self.end != len(self.raw):
            raise ValueError(f"arrays take {self.end} bytes of a file of {len(self.raw)}")

    def get(self, entry: dict[str, Any]) -> NDArray[Any]:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        offset, size = entry["offset"], entry["bytes"]
        if dtype not in _DTYPES or not all(
            type(n) is int and n >= 0 for n in (*shape, offset, size)
        ):
            raise ValueError(f"array entry {entry} is not one")
        count = 1
        for length in shape:
            count *= length
        if offset + size > len(self.raw):
            raise ValueError(f"array entry {entry} reaches beyond its file")
        self.end = max(self.end, offset + size)
        part = self.raw[offset : offset + size]
        if dtype in _TRITS:
            unpack = unpack_plain if dtype == "trit" else unpack_flat
            return unpack(part, count).reshape(shape)
        native = np.float64 if dtype == "<f8" else np.int64
        return np.frombuffer(part, dtype).astype(native).reshape(shape)


def _smallest(array: NDArray[Any]) -> str:
    """The narrowest integer type that holds all of an array."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    bits = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1
    return next(kind for kind in _INTEGERS if bits <= 8 * np.dtype(kind).itemsize)


# ----- objects as JSON


def _plain(value: Any) -> Any:
    """Tuples and NumPy numbers as JSON has them."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _to_json(item: Any, arrays: _ArrayWriter) -> dict[str, Any]:
    """Fields of a flat dataclass; arrays go to ``arrays``."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if isinstance(value, np.ndarray):
            trits = field.name == "trits"
            values[field.name] = arrays.add(value, trits)
        elif isinstance(value, Fold):
            values[field.name] = _to_json(value, arrays)
        else:
            values[field.name] = _plain(value)
    return values


def _from_json(kind: type, values: dict[str, Any], arrays: _ArrayReader) -> Any:
    """Inverse of :func:`_to_json`: exactly the fields of ``kind``."""
    names = {field.name for field in dataclasses.fields(kind)}
    if set(values) != names:
        raise ValueError(f"fields of {kind.__name__} are {sorted(names)}, not {sorted(values)}")
    result: dict[str, Any] = {}
    for name, value in values.items():
        if name == "fold" and value is not None:
            fold = result[name] = _from_json(Fold, value, arrays)
            sizes = tuple(values[key] for key in ("channels", "height", "width"))
            if fold.folded_shape != sizes:
                raise ValueError(
                    f"tensor {values['name']} is {sizes}, its fold gives {fold.folded_shape}"
                )
        elif isinstance(value, dict):
            result[name] = arrays.get(value)
        elif isinstance(value, list):
            result[name] = tuple(value)
        else:
            result[name] = value
    return kind(**result)


def _network_files(network: Network) -> tuple[dict[str, Any], bytes]:
    arrays = _ArrayWriter()
    layers = []
    for layer in network.layers:
        shallow = dataclasses.replace(layer, groups=[], pool=None, requantization=None)
        values = _to_json(shallow, arrays)
        values["groups"] = [_to_json(group, arrays) for group in layer.groups]
        values["pool"] = None if layer.pool is None else _to_json(layer.pool, arrays)
        values["requantization"] = (
            None if layer.requantization is None else _to_json(layer.requantization, arrays)
        )
        layers.append(values)
    document = {
        "name": network.name,
        "input": network.input,
        "tensors": [_to_json(tensor, arrays) for tensor in network.tensors.values()],
        "layers": layers,
    }
    return document, arrays.bytes()


def _network_from_files(document: dict[str, Any], raw: bytes) -> Network:
    arrays = _ArrayReader(raw)
    tensors = [_from_json(Tensor, values, arrays) for values in document["tensors"]]
    layers = []
    for values in document["layers"]:
        groups = [_from_json(ColumnGroup, group, arrays) for group in values["groups"]]
        pool = None if values["pool"] is None else _from_json(Pool, values["pool"], arrays)
        rule = (
            None
            if values["requantization"] is None
            else _from_json(Requantization, values["requantization"], arrays)
        )
        layer = _from_json(
            Layer, {**values, "groups": [], "pool": None, "requantization": None}, arrays
        )
        layers.append(dataclasses.replace(layer, groups=groups, pool=pool, requantization=rule))
    arrays.finish()
    return Network(
        document["name"], document["input"], {tensor.name: tensor for tensor in tensors}, layers
    )


def _layout_files(memory: MemoryImage) -> tuple[dict[str, Any], bytes]:
    arrays = _ArrayWriter()
    document = {
        "input": memory.input,
        "activation_words": memory.activation_words,
        "stale_lanes": memory.stale_lanes,
        "tensors": [_to_json(place, arrays) for place in memory.tensors.values()],
        "layers": [_to_json(place, arrays) for place in memory.layers],
        "results": None if memory.results is None else _to_json(memory.results, arrays),
        "schedule": None if memory.schedule is None else memory.schedule.to_json(),
    }
    return document, arrays.bytes()


def _memory_from_files(config: Config, files: dict[str, bytes]) -> MemoryImage:
    document = json.loads(files["layout.json"])
    arrays = _ArrayReader(files["layout.bin"])
    tensors = [_from_json(TensorPlace, values, arrays) for values in document["tensors"]]
    layers = [_from_json(LayerPlace, values, arrays) for values in document["layers"]]
    results = (
        None
        if document["results"] is None
        else _from_json(ResultPlace, document["results"], arrays)
    )
    arrays.finish()
    program = np.frombuffer(files["program.bin"], "<u4").astype(np.uint32)
    trits = unpack_memories(
        files["trits.bin"], config.memory_count("trits"), config.elements, config.rows
    )
    rows = (
        np.frombuffer(files["rows.bin"], "<u4")
        .astype(np.uint32)
        .reshape(-1, config.memory_chunks("rows"))
    )
    places = {place.name: place for place in tensors}
    schedule = None
    if document["schedule"] is not None:
        schedule = Schedule.from_json(document["schedule"])
        schedule.check(
            config,
            places,
            {place.name: place.output for place in layers},
            {"program": len(program), "rows": len(rows), "trits": trits.shape[1]},
        )
    return MemoryImage(
        config,
        program,
        trits,
        rows,
        document["input"],
        places,
        layers,
        results,
        document["activation_words"],
        document["stale_lanes"],
        schedule,
    )


# ----- the manifest


def _layer_entry(
    network: Network, layer: Layer, memory: MemoryImage, stored: dict[str, Any]
) -> dict[str, Any]:
    """``stored`` is the layer's in ``network.json``."""
    packed_bytes = sum(group["trits"]["bytes"] for group in stored["groups"])
    place = memory.layer(layer.name)
    bits = max((-place.accumulator_low - 1).bit_length(), place.accumulator_high.bit_length()) + 1
    trit_count = sum(group.trits.size for group in layer.groups)
    groups = [
        {
            "source": group.source,
            "channels": list(group.channels),
            "rows": list(group.rows),
            "kernel": list(group.kernel),
            "stride": list(group.stride),
            "padding": list(group.padding),
            "dilation": list(group.dilation),
            "shared": group.shared,
            "wp": float(group.wp),
            "wn": float(group.wn),
            "coefficient_plus": int(group.coefficient_plus),
            "coefficient_minus": int(group.coefficient_minus),
            "nonzero_trits": int(np.count_nonzero(group.trits)),
            "trits": group.trits.size,
            "packed_bytes": entry["trits"]["bytes"],
            "form": entry["trits"]["dtype"],
        }
        for group, entry in zip(layer.groups, stored["groups"], strict=True)
    ]
    pooled = (
        (layer.height, layer.width) if layer.pool is None else (layer.pool.height, layer.pool.width)
    )
    return {
        "name": layer.name,
        "kind": layer.kind,
        "output": layer.output,
        "output_shape": [layer.rows, *pooled],
        "rows": layer.rows,
        "pixels": [layer.height, layer.width],
        "pool": None if layer.pool is None else _to_json(layer.pool, _ArrayWriter()),
        "relu": layer.relu,
        "accumulator_scale": float(layer.accumulator_scale),
        "output_scale": float(
            layer.result_scale if layer.final else network.tensors[layer.output].scale
        ),
        "accumulator_low": place.accumulator_low,
        "accumulator_high": place.accumulator_high,
        "accumulator_bits": bits,
        "note": layer.note,
        "weights": int(layer.weight_count),
        "weight_error": float(layer.weight_error),
        "density": layer.nonzero_trits / trit_count if trit_count else 0.0,
        "ternary": is_ternary(layer),
        "trits_bytes": -(-trit_count // 4),
        "packed_bytes": packed_bytes,
        "bits_per_weight": _quotient(8 * packed_bytes, layer.weight_count),
        "memory": {
            "tiles": place.tiles,
            "program_address": place.address,
            "trit_columns": place.columns,
            # where a layer has one pixel, each tile's columns are in one set alone
            "trit_bytes": place.columns
            * memory.config.clusters
            * memory.trits.shape[2]
            * (memory.config.sets if place.pixels > 1 else 1),
            "row_entries": place.row_entries,
        },
        "groups": groups,
    }


def _streaming(memory: MemoryImage) -> dict[str, Any] | None:
    """How an image that does not fit the memories is run; port words are per image."""
    schedule = memory.schedule
    if schedule is None:
        return None
    sent, read = schedule.port_words(memory.config, range(len(schedule.passes)))
    return {
        "passes": len(schedule.passes),
        "resident_memories": list(schedule.resident),
        "external_tensors": [name for name, place in memory.tensors.items() if place.external],
        "sent_words": sent,
        "read_words": read,
    }


def is_ternary(layer: Layer) -> bool:
    """Trained weights, each of which is one trit."""
    seen = {(group.source, group.channels, group.rows) for group in layer.groups}
    return layer.weight_count > 0 and len(seen) == len(layer.groups)


def _sizes(
    layers: list[dict[str, Any]], memory: MemoryImage, files: dict[str, bytes]
) -> dict[str, Any]:
    def ratio(chosen: list[dict[str, Any]], with_overhead: bool) -> dict[str, Any]:
        weights = sum(entry["weights"] for entry in chosen)
        stored = sum(entry["memory"]["trit_bytes"] for entry in chosen)
        if with_overhead:
            stored = memory.program.nbytes + memory.trits.nbytes + memory.rows.nbytes
        trits_bytes, packed_bytes = (
            sum(entry[key] for entry in chosen) for key in ("trits_bytes", "packed_bytes")
        )
        return {
            "weights": weights,
            "float32_bytes": 4 * weights,
            "trits_bytes": trits_bytes,
            "packed_bytes": packed_bytes,
            "memory_bytes": stored,
            "bits_per_weight": _quotient(8 * packed_bytes, weights),
            "float32_over_trits": _quotient(4 * weights, trits_bytes),
            "float32_over_packed": _quotient(4 * weights, packed_bytes),
            "float32_over_memory": _quotient(4 * weights, stored),
        }

    # With all metadata: what describes the network, what the accelerator is loaded with, all.
    float32 = 4 * sum(entry["weights"] for entry in layers)
    parts = {
        "network": ("network.bin", "network.json"),
        "accelerator": ("program.bin", "rows.bin", "trits.bin"),
        "folder": FILES,
    }
    sizes = {part: sum(len(files[name]) for name in names) for part, names in parts.items()}
    return {
        "program_bytes": memory.program.nbytes,
        "trits_bytes": memory.trits.nbytes,
        "rows_bytes": memory.rows.nbytes,
        "files": {
            part: {"bytes": size, "float32_over_bytes": _quotient(float32, size)}
            for part, size in sizes.items()
        },
        "whole": ratio(layers, True),
        "ternary_layers": ratio([entry for entry in layers if entry["ternary"]], False),
    }


def _quotient(numerator: int, denominator: int) -> float | None:
    return round(numerator / denominator, 3) if denominator else None


def _manifest(
    network: Network,
    config: Config,
    memory: MemoryImage,
    extra: dict[str, Any],
    network_document: dict[str, Any],
    files: dict[str, bytes],
) -> dict[str, Any]:
    source = network.tensors[network.input]
    final = network.final
    layers = [
        _layer_entry(network, layer, memory, stored)
        for layer, stored in zip(network.layers, network_document["layers"], strict=True)
    ]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tritforge": tritforge_version(),
        "network": network.name,
        "configuration": config.to_dict(),
        "configuration_identity": config.identity,
        "input": {
            "name": source.name,
            "shape": list(source.shape),
            "scale": float(source.scale),
            "signed": source.signed,
            "fold": None if source.fold is None else _to_json(source.fold, _ArrayWriter()),
        },
        "output": {
            "layer": final.name,
            "shape": [final.rows, final.height, final.width],
            "result_scale": float(final.result_scale),
        },
        "sizes": _sizes(layers, memory, files),
        "streaming": _streaming(memory),
        "extra": extra,
        "layers": layers,
        "sha256": {name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()},
    }


def _dump(document: Any, indent: int | None = None) -> bytes:
    return (
        json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def _seal(manifest: dict[str, Any]) -> str:
    """Checksum of a manifest without its own checksum."""
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


# ----- writing and loading


def write_image(
    path: str | os.PathLike[str],
    network: Network,
    config: Config,
    memory: MemoryImage,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write an image folder; it appears under its name only when it is complete.

    Parameters
    ----------
    path : path
        The folder. An image (or an empty folder) that is there already is replaced.
    extra : dict, optional
        Further entries for the manifest (JSON values), under ``extra``.

    Raises
    ------
    ImageError
        Something that is not an image is in the way, or the folder cannot be written.
    """
    path = Path(path)
    if sentence := obstacle(path, MANIFEST, FORMAT, {MANIFEST, *FILES}):
        raise ImageError(sentence)
    with ThreadPoolExecutor(1) as pool:  # two large arrays to pack, on two cores
        trits = pool.submit(pack_memories, memory.trits, config.elements, config.rows)
        network_document, network_arrays = _network_files(network)
    layout_document, layout_arrays = _layout_files(memory)
    files = {
        "layout.bin": layout_arrays,
        "layout.json": _dump(layout_document),
        "network.bin": network_arrays,
        "network.json": _dump(network_document),
        "program.bin": memory.program.astype("<u4").tobytes(),
        "rows.bin": memory.rows.astype("<u4").tobytes(),
        "trits.bin": trits.result(),
    }
    manifest = _manifest(network, config, memory, extra or {}, network_document, files)
    manifest["manifest_sha256"] = _seal(json.loads(_dump(manifest)))
    try:
        with new_folder(path) as folder:
            for name, raw in files.items():
                (folder / name).write_bytes(raw)
            (folder / MANIFEST).write_bytes(_dump(manifest, indent=1))
    except OSError as error:
        raise ImageError(f"image {path} cannot be written: {error.strerror}") from error
    return path


def load_image(path: str | os.PathLike[str]) -> Image:
    """Read an image folder, verifying format, version, file set and every checksum.

    Raises
    ------
    ImageError
        The folder is missing, foreign, incomplete, truncated or altered.
    """
    path = Path(path)
    if not path.is_dir():
        raise ImageError(
            f"image {path} does not exist"
            if not path.exists()
            else f"{path} is not a folder, so it is no image"
        )
    manifest = _read_manifest(path)
    present = {entry.name for entry in path.iterdir()}
    for name in FILES:
        if name not in present:
            raise ImageError(f"image {path} is incomplete: {name} is missing")
    foreign = sorted(present - {MANIFEST, *FILES})
    if foreign:
        raise ImageError(f"image {path} holds {foreign[0]}, which is no part of an image")
    files: dict[str, bytes] = {}
    for name in FILES:
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise ImageError(f"{name} of image {path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(files[name]).hexdigest() != manifest["sha256"].get(name):
            raise ImageError(f"image {path} is damaged: {name} does not match its checksum")
    try:
        config = Config.from_dict(manifest["configuration"])
        if config.identity != manifest["configuration_identity"]:
            raise ImageError(
                f"image {path} is damaged: its configuration does not match its identity"
            )
        with ThreadPoolExecutor(1) as pool:
            unpacking = pool.submit(_memory_from_files, config, files)
            network = _network_from_files(json.loads(files["network.json"]), files["network.bin"])
        memory = unpacking.result()
    except ConfigError as error:
        raise ImageError(f"image {path} has no valid configuration: {error}") from error
    except ImageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ImageError(f"image {path} cannot be understood: {error}") from error
    return Image(path, manifest, config, memory, network)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        raw = (path / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} is not a tritforge image: it has no {MANIFEST}") from error
    except OSError as error:
        raise ImageError(f"{MANIFEST} of image {path} cannot be read: {error.strerror}") from error
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"image {path} is damaged: {MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ImageError(f"{path} is not a tritforge image: its {MANIFEST} is another program's")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ImageError(
            f"image {path} has format version {manifest.get('format_version')}; this tritforge "
            f"reads version {FORMAT_VERSION}, so export it again"
        )
    if manifest.get("manifest_sha256") != _seal(manifest) or not isinstance(
        manifest.get("sha256"), dict
    ):
        raise ImageError(f"image {path} is damaged: {MANIFEST} does not match its checksum")
    return manifest
