"""A board as a backend: an image loaded, if it is not there yet, and run."""

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from tritforge.fpga.link.serial_link import SerialLink
from tritforge.hw import protocol
from tritforge.hw.config import PRESETS
from tritforge.model_export.image.folder import Image
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.sim.backend import DeviceBackend, Loading, Simulation, port_word_count
from tritforge.sim.device import Device, DeviceError, Progress
from tritforge.sim.event_log import Record

__all__ = ["BoardBackend", "memory_label"]


def memory_label(memory: MemoryImage) -> int:
    """What LABEL says of a board that holds this image: 32 bits of a digest of the contents of
    trits, row memory and program; never 0."""
    digest = hashlib.sha256(memory.config.identity.encode())
    parts = [("trits", cluster) for cluster in range(memory.config.cluster_count)]
    for kind, number in [*parts, ("rows", 0), ("program", 0)]:
        words = memory.port_words(kind, number)
        digest.update(f"{kind} {number} {words.shape}".encode() + words.astype("<u4").tobytes())
    return int.from_bytes(digest.digest()[:4], "big") or 1


class BoardBackend(DeviceBackend):
    """An image on a board.

    Parameters
    ----------
    image : Image
    link : SerialLink
        Open; closed with the backend.

    Members
    -------
    kept : bool
        The board held the image already, so that it was not loaded.
    """

    name = "board"
    logs = False

    def __init__(self, image: Image, link: SerialLink) -> None:
        super().__init__(image, Device(link, fresh=False))
        self.kept = False

    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        """As :meth:`Backend.run`; a board without counters gives the cycles of whole images
        only."""
        simulation = super().run(codes, layer, progress, log)
        if not any(one.cycles for one in simulation.layers):
            for one in simulation.layers:
                one.cycles, one.cycles_per_image, one.counters = None, [], {}
        return simulation

    def _load(self) -> Loading:
        if self._loading is not None:
            return self._loading
        state = self.device.status()
        if state.identity != self.image.config.identity_word:
            held = next(
                (
                    config.name
                    for config in PRESETS.values()
                    if config.identity_word == state.identity
                ),
                f"{state.identity:08x}",
            )
            raise DeviceError(
                f"the board holds configuration {held}, the image is for "
                f"{self.image.config.name} ({self.image.config.identity_word:08x})"
            )
        if self._memory.schedule is not None:
            return super()._load()
        label = memory_label(self._memory)
        self.kept = state.contents == label
        if self.kept:
            self._loading = Loading("already there", port_word_count(self._memory))
        else:
            loading = super()._load()
            # the line's time, not the port's
            self._loading = dataclasses.replace(loading, cycles=None)
            self.device.link.exchange([protocol.label(label).words()], 0)
        assert self._loading is not None
        return self._loading
