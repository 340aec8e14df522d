"""Energy: counted events, each times what it moves, each of that times a published figure.

Every contribution is a :class:`~tritforge.cost.terms.term.Term`: an event that cycle model and RTL
count, the component and the block in which it spends energy, and the figures that one event takes.
Nothing is added that is not a term, so any picojoule can be traced to a count and a source.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tritforge.cost.area import Area
from tritforge.cost.band import Band, total
from tritforge.cost.components import COMPONENTS, LEAKAGE, OFF_CHIP
from tritforge.cost.technology import Technology
from tritforge.cost.terms.always import clock_and_leakage
from tritforge.cost.terms.array import ARRAY
from tritforge.cost.terms.drain import DRAIN
from tritforge.cost.terms.prices import Prices
from tritforge.cost.terms.surroundings import SURROUNDINGS
from tritforge.cost.terms.term import Term
from tritforge.hw.config import Config

__all__ = ["LayerEnergy", "energy_terms", "layer_energy", "sum_of"]


def energy_terms(
    config: Config, technology: Technology, area: Area, clock: float | None = None
) -> list[Term]:
    """All terms of a configuration.

    Parameters
    ----------
    area : Area
        Of this configuration: memories, flip-flops, lengths of wires.
    clock : float, optional
        MHz; the technology's where it is not given. Only leakage depends on it.
    """
    prices = Prices(config, technology, area)
    return [
        *(term for block in (*ARRAY, *DRAIN, *SURROUNDINGS) for term in block(prices)),
        *clock_and_leakage(prices, clock),
    ]


@dataclass(frozen=True)
class LayerEnergy:
    """Energy of one layer, pJ an image, by component."""

    name: str
    components: Mapping[str, Band]

    @property
    def on_chip(self) -> Band:
        return total(band for name, band in self.components.items() if name != OFF_CHIP)

    @property
    def dynamic(self) -> Band:
        """On the chip, without leakage."""
        return total(
            band for name, band in self.components.items() if name not in (OFF_CHIP, LEAKAGE)
        )

    @property
    def off_chip(self) -> Band:
        return self.components[OFF_CHIP]


def layer_energy(name: str, terms: Iterable[Term], events: Mapping[str, float]) -> LayerEnergy:
    """Energy of events.

    Parameters
    ----------
    events
        Counts by name, per image; events that are not there did not happen.
    """
    components = dict.fromkeys(COMPONENTS, Band(0.0, 0.0, 0.0))
    for term in terms:
        if count := events.get(term.event, 0):
            components[term.component] = components[term.component] + term.energy * count
    return LayerEnergy(name, components)


def sum_of(name: str, energies: Iterable[LayerEnergy]) -> LayerEnergy:
    """Energy of several layers."""
    chosen = list(energies)
    return LayerEnergy(
        name,
        {component: total(one.components[component] for one in chosen) for component in COMPONENTS},
    )
