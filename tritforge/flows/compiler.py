"""Which sources make an image: what is compiled once is valid until any of them changes."""

import functools
import hashlib
from pathlib import Path

from tritforge import hw, model_export

__all__ = ["compiler_digest"]


@functools.cache
def compiler_digest() -> str:
    """SHA-256 of the compiler's sources, and of the hardware's that it knows."""
    digest = hashlib.sha256()
    for package in (hw, model_export):
        for folder in package.__path__:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
