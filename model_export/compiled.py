"""A compiled network: all that simulators, estimates and boards need of an image."""

import functools
from dataclasses import dataclass

from tritforge.hw.config import Config
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.network import Network
from tritforge.model_export.passes.blocks import in_blocks
from tritforge.model_export.passes.fold import fold_input

__all__ = ["CompiledNetwork"]


@dataclass(eq=False)
class CompiledNetwork:
    """A network and the memory contents that compute it on one configuration.

    Members
    -------
    network : Network
    memory : MemoryImage
        As :func:`tritforge.model_export.memory.streaming.fit` gives it for that network, or for
        the same one in another shape.
    """

    network: Network
    memory: MemoryImage

    @property
    def config(self) -> Config:
        """The configuration that the memory contents are for."""
        return self.memory.config

    @functools.cached_property
    def computed(self) -> Network:
        """The network in the shape in which the memory contents compute it; all its tensors have
        the integers that they have in :attr:`network`."""
        network = self.network
        blocks = {place.name: place.block for place in self.memory.layers if place.block != (1, 1)}
        if blocks:
            network = in_blocks(network, blocks)
        fold = self.memory.tensors[network.input].fold
        if fold is None or fold == network.tensors[network.input].fold:
            return network
        return fold_input(network, fold)
