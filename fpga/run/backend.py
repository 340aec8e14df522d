"""A board as a backend: an image loaded, if it is not there yet, and run."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tritforge.common.progress import Progress
from tritforge.fpga.link.label import memory_label
from tritforge.fpga.link.serial_link import SerialLink
from tritforge.hw import protocol
from tritforge.hw.presets import PRESETS
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim.backend import DeviceBackend, port_word_count
from tritforge.sim.device import Device, DeviceError
from tritforge.sim.event_log import Record
from tritforge.sim.result import Loading, Simulation

__all__ = ["BoardBackend"]


class BoardBackend(DeviceBackend):
    """An image on a board.

    Parameters
    ----------
    compiled : CompiledNetwork
    link : SerialLink
        Open; closed with the backend.

    Members
    -------
    kept : bool
        The board held the image already, so that it was not loaded.
    """

    name = "board"
    logs = False

    def __init__(self, compiled: CompiledNetwork, link: SerialLink) -> None:
        super().__init__(compiled, Device(link, fresh=False))
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
        if state.identity != self.compiled.config.identity_word:
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
                f"{self.compiled.config.name} ({self.compiled.config.identity_word:08x})"
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
