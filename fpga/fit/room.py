"""What of a configuration a board has room for, and which smaller one it would have room for."""

import dataclasses
import json
import math
from collections.abc import Mapping

from tritforge.fpga.fit.estimate import Estimate, estimate
from tritforge.fpga.fit.resources import EXACT, NAMES
from tritforge.fpga.fit.sizes import DEPTHS, changed, compiled
from tritforge.fpga.platform.board import Board
from tritforge.hw.config import Config, ConfigError
from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Network

__all__ = [
    "arrangement",
    "assignments",
    "beyond",
    "excess",
    "lacking",
    "nearest",
    "preset_fits",
    "refusal",
    "room",
    "sentence",
]

#: Words that a memory keeps when it is made smaller, at least.
_FEWEST_WORDS = 64
#: Words of a large single-port memory of an iCE40: fewer save none.
_SPRAM_WORDS = 1 << 14
#: Times what there is, beyond which no smaller configuration is looked for: the board's own is near
#: enough.
_FAR = 8
#: Steps towards a smaller configuration, at most.
_STEPS = 16


def room(board: Board) -> dict[str, int]:
    """What may be used of a board's chip: all of it, but of lookup tables only the share that
    place and route copes with, ``board.fill``."""
    has = dataclasses.asdict(board.resources)
    return {name: int(has[name] * board.fill) if name == "luts" else has[name] for name in NAMES}


def lacking(board: Board, found: Estimate, exact: bool = False) -> dict[str, tuple[int, int]]:
    """Of what a configuration needs more than there is room for: needed and available.

    With ``exact`` only of what the estimate knows exactly.
    """
    return beyond(
        {
            name: needed
            for name, needed in found.counts.items()
            if name in (EXACT if exact else NAMES)
        },
        room(board),
    )


def beyond(needs: Mapping[str, int], has: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Of what is needed more than there is: needed and available."""
    return {name: (needed, has[name]) for name, needed in needs.items() if needed > has[name]}


def excess(lacks: Mapping[str, tuple[int, int]]) -> tuple[str, float]:
    """What lacks most, and how many times what there is it is needed."""
    return max(
        ((name, needed / max(1, available)) for name, (needed, available) in lacks.items()),
        key=lambda one: one[1],
    )


def sentence(lacks: Mapping[str, tuple[int, int]]) -> str:
    """``lacks`` in words: "40 block RAMs of 30, .."."""
    return ", ".join(
        f"{needed:,} {NAMES[name]} of {available:,}" for name, (needed, available) in lacks.items()
    )


def arrangement(config: Config) -> str:
    """Sets x clusters x elements x rows."""
    return " x ".join(
        str(getattr(config, name)) for name in ("sets", "clusters", "elements", "rows")
    )


def assignments(fields: Mapping[str, bool | int | str]) -> list[str]:
    """Fields of a configuration as its TOML file has them."""
    return [f"{name} = {json.dumps(value)}" for name, value in fields.items()]


def preset_fits(board: Board) -> str:
    """The part of a sentence that is left where nothing nearer is known to fit."""
    return f"the nearest configuration that fits is preset {board.config}"


def refusal(
    board: Board,
    config: Config,
    lacks: Mapping[str, tuple[int, int]],
    network: Network | None = None,
) -> str:
    """That a configuration does not fit, what it lacks, and what would fit."""
    smaller = None if excess(lacks)[1] > _FAR else nearest(board, config, network)
    known = (
        preset_fits(board)
        if smaller is None
        else (
            "the nearest configuration that would fit has "
            + ", ".join(assignments(smaller.differences(config)))
        )
    )
    held = "" if network is None else f" with network {network.name}"
    return (
        f"configuration {config.name}{held} does not fit {board.title}: it needs "
        f"{sentence(lacks)}; {known}"
    )


def nearest(board: Board, config: Config, network: Network | None = None) -> Config | None:
    """A configuration that fits the board, by estimate, and is as near as a few steps lead: fewer
    elements, then fewer clusters, sets and rows; shallower memories where they are what lacks.

    With a network the memories are as deep as it needs. None if nothing was found.
    """
    current = config
    for _ in range(_STEPS):
        try:
            made = (
                current if network is None else compiled(network, current, family=board.family)[0]
            )
        except ExportError:
            return None
        lacks = lacking(board, estimate(board, made))
        if not lacks:
            return _grown(board, made, config) if network is None else made
        smaller = _reduced(current, lacks, network is not None)
        if smaller is None:
            return None
        current = smaller
    return None


def _grown(board: Board, config: Config, wanted: Config) -> Config:
    """With a few elements more, where they fit too."""
    for _ in range(4):
        if config.elements + config.drain_width > wanted.elements:
            break
        larger = dataclasses.replace(config, elements=config.elements + config.drain_width)
        if lacking(board, estimate(board, larger)):
            break
        config = larger
    return config


def _reduced(
    config: Config, lacks: Mapping[str, tuple[int, int]], keep_memories: bool
) -> Config | None:
    """Smaller by the ratio of the resource that lacks most."""
    name, ratio = excess(lacks)
    if name in ("block_rams", "sprams") and not keep_memories:
        least = _SPRAM_WORDS if name == "sprams" else _FEWEST_WORDS
        kinds = [depth for depth in DEPTHS if getattr(config, depth) > least]
        if kinds:
            depth = max(
                kinds,
                key=lambda one: (
                    config.memory_width(DEPTHS[one])
                    * getattr(config, one)
                    * config.memory_count(DEPTHS[one])
                ),
            )
            words = getattr(config, depth)
            fewer = max(least, 1 << max(0, math.ceil(math.log2(words / ratio)) - 1))
            return changed(config, {depth: min(fewer, words - 1)})
    lanes = config.drain_width
    steps = {"elements": lanes, "clusters": config.drain_classes, "sets": 1, "rows": 1}
    for field, step in steps.items():
        value = getattr(config, field)
        if value > step:
            fewer = max(step, int(value / ratio) // step * step)
            try:
                return changed(config, {field: min(fewer, value - step)})
            except ConfigError:
                continue
    return dataclasses.replace(config, drain_width=1) if lanes > 1 else None
