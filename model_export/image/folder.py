"""The image: a folder with a compiled network.

==================  ======================================================================
file                contents
==================  ======================================================================
``manifest.json``   what a reader wants to know, and a checksum of every file
``program.bin``     program memory, 32-bit words
``trits.bin``       trit memories, packed (:mod:`tritforge.model_export.image.packing`)
``rows.bin``        row memory, 32-bit words
``tables.bin``      activation tables, a byte an entry; where the configuration has any
``layout.json``     where tensors, layers and results are in the memories
``layout.bin``      arrays that ``layout.json`` points to
``network.json``    the network, independent of any configuration
``network.bin``     arrays that ``network.json`` points to; trits are packed
==================  ======================================================================

All numbers in binary files are little-endian. The same input gives the same bytes. Loading
parses JSON and copies arrays; it runs no code from the folder.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tritforge.common.files import new_folder, obstacle
from tritforge.common.json_types import Json, JsonError, parse
from tritforge.hw.config import Config, ConfigError
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ImageError
from tritforge.model_export.image.consistency import check_memory, check_network
from tritforge.model_export.image.contents import (
    dump,
    layout_files,
    memory_from_files,
    network_files,
    network_from_files,
)
from tritforge.model_export.image.manifest import (
    FORMAT,
    FORMAT_VERSION,
    MOST_FILES,
    Manifest,
    build_manifest,
    files_of,
    seal,
)
from tritforge.model_export.image.packing import pack_memories

__all__ = ["MANIFEST", "Image", "load_image", "write_image"]

MANIFEST = "manifest.json"


@dataclass(eq=False, repr=False)
class Image(CompiledNetwork):
    """A compiled network that was loaded from a folder.

    Members
    -------
    path : Path
        The folder.
    manifest : Manifest
    """

    path: Path
    manifest: Manifest

    def __repr__(self) -> str:
        return f"<Image of {self.network.name} for {self.config.name}: {self.path}>"

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


def write_image(
    path: str | os.PathLike[str], compiled: CompiledNetwork, extra: dict[str, Json] | None = None
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
    if sentence := obstacle(path, MANIFEST, FORMAT, {MANIFEST, *MOST_FILES}):
        raise ImageError(sentence)
    memory, config = compiled.memory, compiled.config
    with ThreadPoolExecutor(1) as pool:  # two large arrays to pack, on two cores
        packing = pool.submit(pack_memories, memory.trits, config.elements, config.rows)
        network_document, network_arrays, trits = network_files(compiled.network)
    layout_document, layout_arrays = layout_files(memory)
    files = {
        "layout.bin": layout_arrays,
        "layout.json": layout_document,
        "network.bin": network_arrays,
        "network.json": network_document,
        "program.bin": memory.program.astype("<u4").tobytes(),
        "rows.bin": memory.rows.astype("<u4").tobytes(),
        "trits.bin": packing.result(),
    }
    if config.activation_tables:
        files["tables.bin"] = memory.tables.tobytes()
    manifest = build_manifest(compiled, extra or {}, trits, files)
    try:
        with new_folder(path) as folder:
            for name, raw in files.items():
                (folder / name).write_bytes(raw)
            (folder / MANIFEST).write_bytes(dump(manifest.to_json(), indent=1))
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
    names = files_of(manifest.configuration)
    present = {entry.name for entry in path.iterdir()}
    for name in names:
        if name not in present:
            raise ImageError(f"image {path} is incomplete: {name} is missing")
    foreign = sorted(present - {MANIFEST, *names})
    if foreign:
        raise ImageError(f"image {path} holds {foreign[0]}, which is no part of an image")
    files: dict[str, bytes] = {}
    for name in names:
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise ImageError(f"{name} of image {path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(files[name]).hexdigest() != manifest.sha256.get(name):
            raise ImageError(f"image {path} is damaged: {name} does not match its checksum")
    try:
        config = Config.from_dict(manifest.configuration)
        if config.identity != manifest.configuration_identity:
            raise ImageError(
                f"image {path} is damaged: its configuration does not match its identity"
            )
        with ThreadPoolExecutor(1) as pool:
            unpacking = pool.submit(memory_from_files, config, files)
            network = network_from_files(files["network.json"], files["network.bin"])
        memory = unpacking.result()
        check_network(network)
        check_memory(memory, network)
    except ConfigError as error:
        raise ImageError(
            f"image {path} has no valid configuration: {error}; export it again"
        ) from error
    except ImageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ImageError(f"image {path} cannot be understood: {error}") from error
    return Image(network, memory, path, manifest)


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = (path / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} is not a tritforge image: it has no {MANIFEST}") from error
    except OSError as error:
        raise ImageError(f"{MANIFEST} of image {path} cannot be read: {error.strerror}") from error
    try:
        values = parse(raw)
    except JsonError as error:
        raise ImageError(f"image {path} is damaged: {MANIFEST} is not JSON") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ImageError(f"{path} is not a tritforge image: its {MANIFEST} is another program's")
    if values.get("format_version") != FORMAT_VERSION:
        raise ImageError(
            f"image {path} has format version {values.get('format_version')}; this tritforge "
            f"reads version {FORMAT_VERSION}, so export it again"
        )
    if values.get("manifest_sha256") != seal(values):
        raise ImageError(f"image {path} is damaged: {MANIFEST} does not match its checksum")
    try:
        return Manifest.from_json(values, MANIFEST)
    except JsonError as error:
        raise ImageError(f"image {path} cannot be understood: {error}") from error
