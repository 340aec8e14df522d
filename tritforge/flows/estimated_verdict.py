"""What an image is bound by before anything ran: from the compiler's estimate of its cycles."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.memory.cycles import estimate_cycles
from tritforge.model_export.memory.placement import place
from tritforge.sim.verdict import Verdict, cause_of_kind, verdict

__all__ = ["estimated_verdict"]

#: What :data:`tritforge.sim.verdict.CAUSES` has for the parts of
#: :mod:`tritforge.model_export.memory.cycles`.
_CAUSES = {
    "adders": "adders",
    "broadcasts": "broadcasts",
    "reads": "reads",
    "drain": "drain",
    "write-backs": "write-backs",
    "sequencer": "sequencer",
}


def estimated_verdict(
    compiled: CompiledNetwork, densities: Mapping[str, NDArray[np.float64]]
) -> Verdict | None:
    """The verdict on an image for activations of given densities; None where nothing is
    multiplied. A layer's cycles count whole for the part of the hardware that it needs most.

    Parameters
    ----------
    densities : dict
        Share of nonzero activations per channel, by tensor name of ``compiled.network``.
    """
    config, network = compiled.config, compiled.computed
    known = dict(densities)
    source = network.tensors[network.input]
    if network is not compiled.network and source.name in known and source.fold is not None:
        known[source.name] = np.repeat(
            known[source.name], source.channels // len(known[source.name])
        )
    estimates = estimate_cycles(network, place(network, config, known), config, known)
    spent: dict[str, float] = {}
    for layer in network.layers:
        one = estimates[layer.name]
        if not layer.mac_count:
            cause = cause_of_kind(layer.kind)
        elif not layer.is_ternary and not config.multipliers:
            cause = "planes"
        else:
            cause = _CAUSES[one.limit]
        spent[cause] = spent.get(cause, 0.0) + one.cycles
    schedule = compiled.memory.schedule
    if schedule is not None:
        words = max(schedule.port_words(config, range(len(schedule.passes))))
        waited = words - sum(spent.values())
        if waited > 0:
            spent["host port"] = waited
    dense = sum(layer.mac_count for layer in compiled.network.layers) / config.adders
    return verdict(spent, dense, config, estimated=True)
