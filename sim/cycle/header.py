"""``machine.hpp``: what the compiled cycle model shares with the hardware.

Latencies, limits, opcodes, counters, record sizes and structs are stated in ``hw`` and in
:mod:`tritforge.sim.cycle.structs`; the header is written from there whenever the model is compiled,
so that a change there changes the model too, or does not compile.
"""

import dataclasses
from collections.abc import Mapping
from enum import IntEnum

from tritforge.hw import config, payloads, program, protocol, timing
from tritforge.hw.widths import COUNTER_SLOTS
from tritforge.sim import event_log
from tritforge.sim.cycle import structs

__all__ = ["machine_header"]

#: Latencies and places that are the same in every configuration, of :mod:`tritforge.hw.timing`.
_TIMING = (
    "BROADCAST_LATENCY",
    "CLUSTERS_IDLE_LATENCY",
    "BEGIN_LATENCY",
    "COMPLETE_LATENCY",
    "DRAIN_IDLE_LATENCY",
    "DUMP_CYCLES",
    "FULL_LATENCY",
    "LOAD_LATENCY",
    "MEMORY_LATENCY",
    "MERGE_FULL_LATENCY",
    "MERGE_WRITE_LATENCY",
    "OLDEST_LATENCY",
    "QUEUE_LATENCY",
    "READ_AHEAD_PLACES",
    "RELEASE_LATENCY",
    "STOP_LATENCY",
    "WORD_LATENCY",
    "WRITE_PLACES",
)
#: Records that the sequencer fetches.
_RECORDS = ("LAYER", "TILE", "GROUP", "GEOMETRY", "DESTINATION")


def machine_header() -> str:
    """The text of ``machine.hpp``."""
    # The configuration with the most tags: no other field counts.
    tagged = dataclasses.replace(config.Config(), banks=config.LIMITS["banks"][1])
    parts = [
        "// Written by sim/cycle/header.py; see there.",
        "#pragma once\n\n#include <cstddef>\n#include <cstdint>",
        "namespace cycle_model {",
        "// Latencies and places, hw/timing.py",
        _constants({name: getattr(timing, name) for name in _TIMING}),
        "// Limits, hw/config.py",
        _constants(
            {f"MOST_{name.upper()}": high for name, (_, high) in config.LIMITS.items()}
            | {"MOST_TAGS": 1 << payloads.tag_width(tagged)}
        ),
        "// Words of packets and records, hw/protocol.py and hw/program.py",
        _constants(
            {"HEADER_WORDS": protocol.HEADER_WORDS}
            | {f"{name}_WORDS": program.record_words(getattr(program, name)) for name in _RECORDS}
        ),
        "// hw/program.py",
        f"enum Counter {{ {', '.join(program.COUNTERS).upper()}, COUNTERS }};",
        f"static_assert(COUNTERS == {COUNTER_SLOTS});",
        "// sim/event_log.py",
        f"enum Event {{ {', '.join(event_log.KINDS).upper()} }};",
        "// hw/protocol.py",
        f"enum class Opcode : int32_t {{ {_values(protocol.Opcode)} }};",
        "// sim/cycle/structs.py",
        f"enum Status : int32_t {{ {_values(structs.Status)} }};",
        f"using Lanes = {structs.LANES.name}_t;\nusing Count = {structs.COUNT.name}_t;",
        *(struct.cpp() for struct in structs.STRUCTS),
        "}  // namespace cycle_model",
    ]
    return "\n\n".join(parts) + "\n"


def _constants(values: Mapping[str, int]) -> str:
    return "\n".join(f"constexpr int32_t {name} = {value};" for name, value in values.items())


def _values(kind: type[IntEnum]) -> str:
    return ", ".join(f"{one.name} = {one.value}" for one in kind)
