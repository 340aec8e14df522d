"""A compiled network: all that simulators, estimates and boards need of an image."""

from dataclasses import dataclass

from tritforge.hw.config import Config
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.network import Network

__all__ = ["CompiledNetwork"]


@dataclass(eq=False)
class CompiledNetwork:
    """A network and the memory contents that compute it on one configuration.

    Members
    -------
    network : Network
    memory : MemoryImage
        As :func:`tritforge.model_export.memory.streaming.fit` gives it for that network.
    """

    network: Network
    memory: MemoryImage

    @property
    def config(self) -> Config:
        """The configuration that the memory contents are for."""
        return self.memory.config
