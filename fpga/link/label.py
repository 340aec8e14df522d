"""What a board is told of the contents of its memories."""

import hashlib

from tritforge.model_export.memory.emit import MemoryImage

__all__ = ["memory_label"]


def memory_label(memory: MemoryImage) -> int:
    """What LABEL says of a board that holds this image: 32 bits of a digest of the contents of
    trits, row memory, program and activation tables; never 0."""
    digest = hashlib.sha256(memory.config.identity.encode())
    parts = [("trits", cluster) for cluster in range(memory.config.cluster_count)]
    parts += [("rows", 0), ("program", 0)]
    if memory.config.activation_tables:
        parts.append(("tables", 0))
    for kind, number in parts:
        words = memory.port_words(kind, number)
        digest.update(f"{kind} {number} {words.shape}".encode() + words.astype("<u4").tobytes())
    return int.from_bytes(digest.digest()[:4], "big") or 1
