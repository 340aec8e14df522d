"""What a network is bound by, in one sentence: from counted cycles, or from estimated ones.

A layer without weights counts whole, by its kind; one whose weights are sums of ternary planes too.
The cycles of other layers are divided by what their clusters did: adders at work; broadcasts that
feed few adders; words of zeros; waiting for other elements and clusters, for the drain, for the
host port; and the rest, in which the sequencer had no job for them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.hw.config import Config

__all__ = ["CAUSES", "Verdict", "cause_of_kind", "verdict"]

#: Share of the cycles from which on the second cause is told of too, and from which on a network
#: is bound by its adders: less than that, whatever keeps them waiting binds it.
NOTED, BOUND = 0.2, 0.5


@dataclass(frozen=True)
class Cause:
    """What cycles are spent on: as it stands behind "bound by", and what would help on a
    configuration."""

    what: str
    remedy: Callable[[Config], str]


CAUSES: Mapping[str, Cause] = {
    "adders": Cause("adders at work", lambda config: "more elements"),
    "broadcasts": Cause(
        "broadcasts that meet few nonzero trits",
        lambda config: "more clusters or sets of fewer elements",
    ),
    "empty words": Cause(
        "reading words of zeros",
        lambda config: "layers whose channels fill all slices",
    ),
    "reads": Cause("reading activations", lambda config: f"a scan_width above {config.scan_width}"),
    "write-backs": Cause(
        "writing activations back", lambda config: "layers whose outputs fill all slices"
    ),
    "imbalance": Cause(
        "waiting for the busiest elements",
        lambda config: f"a queue_depth above {config.queue_depth}",
    ),
    "drain": Cause("the drain", lambda config: f"a drain_width above {config.drain_width}"),
    "host port": Cause(
        "waiting for the host port", lambda config: "a larger trit_depth or activation_depth"
    ),
    "sequencer": Cause(
        "handing out jobs", lambda config: "layers with more channels, or a smaller array"
    ),
    "planes": Cause(
        "weights of several bits, as sums of ternary planes",
        lambda config: "multipliers in the configuration",
    ),
    "residual sums": Cause(
        "residual sums",
        lambda config: (
            "sums that are added where a conv is written back"
            if config.write_back_sums
            else "write_back_sums in the configuration"
        ),
    ),
    "norms": Cause(
        "norms and copies that no conv takes in",
        lambda config: "batch norms behind convs, where they cost nothing",
    ),
    "pools": Cause("pools", lambda config: "max-pools, which cost nothing behind a conv"),
}
_OF_KIND = {"add": "residual sums", "pool": "pools", "avgpool": "pools", "maxpool": "pools"}


@dataclass(frozen=True)
class Verdict(JsonObject):
    """How fast a network is against dense multiply-accumulates, and why.

    Members
    -------
    cycles, dense_cycles
        Clock cycles an image; dense: MACs of layers with weights / adders.
    estimated
        From numbers of trits and activations, without a simulation; else counted.
    shares
        Of the cycles by cause, 0..1, the largest first.
    sentence
        All of it for a reader.
    """

    cycles: float
    dense_cycles: float
    estimated: bool
    shares: Mapping[str, float]
    sentence: str


def cause_of_kind(kind: str) -> str:
    """What the cycles of a layer without weights are spent on."""
    return _OF_KIND.get(kind, "norms")


def verdict(
    spent: Mapping[str, float], dense: float, config: Config, *, estimated: bool = False
) -> Verdict | None:
    """The verdict on cycles by cause, an image; None where nothing is multiplied.

    Parameters
    ----------
    spent
        Cycles by the names of :data:`CAUSES`.
    dense
        Dense cycles.
    """
    cycles = sum(spent.values())
    if not cycles or not dense:
        return None
    shares = dict(
        sorted(((name, value / cycles) for name, value in spent.items()), key=lambda one: -one[1])
    )
    (first, most), *others = sorted(shares.items(), key=_weight, reverse=True)
    speed, about = dense / cycles, "about " if estimated else ""
    head = (
        f"{about}{speed:.1f} times as fast as dense"
        if speed >= 1
        else f"slower than dense, {about}{speed:.2f} times as fast"
    )
    causes = f"{CAUSES[first].what} ({most:.0%} of the cycles)"
    if others and others[0][1] >= NOTED:
        causes += f", then {CAUSES[others[0][0]].what} ({others[0][1]:.0%})"
    sentence = f"{head}, bound by {causes}; {CAUSES[first].remedy(config)} would help"
    return Verdict(cycles, dense, estimated, shares, sentence)


def _weight(one: tuple[str, float]) -> float:
    """By which causes are told of: their shares, but adders at work last unless they bind."""
    name, share = one
    return share if name != "adders" or share >= BOUND else share - 1
