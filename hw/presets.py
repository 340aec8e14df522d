"""Named configurations, and configurations from files."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from tritforge.hw.config import Config, ConfigError

__all__ = ["PRESETS", "load_config"]

#: For an LFE5U-85F: a queue, and both banks of accumulators together, in the 16 places of a
#: lookup-table RAM.
_ULX3S_85F = Config(
    name="ulx3s_85f_ternary",
    clusters=8,
    elements=16,
    rows=8,
    queue_depth=10,
    scan_width=4,
    coefficient_width=8,
    accumulator_width=27,
    drain_width=2,
    trit_depth=1024,
    activation_depth=4096,
    program_depth=2048,
    row_depth=512,
    result_depth=1024,
    layer_count=32,
    packet_words=254,
    window_count=3,
    unpack_trits=False,
    row_merges=True,
    write_back_sums=True,
    group_places=16,
)

PRESETS: dict[str, Config] = {
    config.name: config
    for config in (
        Config(name="tiny"),
        # For an UP5K: activations and program in one SPRAM each, trits in two, the rest in
        # 256 x 16 bits of block RAM each. Every bit of an address counts among 5 280 logic cells.
        Config(
            name="icebreaker",
            clusters=1,
            elements=4,
            rows=4,
            queue_depth=26,
            scan_width=2,
            coefficient_width=8,
            accumulator_width=20,
            multiplier_width=11,
            trit_depth=4096,
            activation_depth=4096,
            program_depth=1024,
            row_depth=256,
            result_depth=128,
            layer_count=8,
            packet_words=62,
            response_places=1,
            unpack_trits=False,
            window_count=3,
            memory_ports=1,
            register_stages="few",
            job_places=0,
            word_places=4,
            pixel_places=2,
            packet_places=2,
            shared_results=True,
        ),
        # This one is placed and routed; weights of several bits are planes.
        _ULX3S_85F,
        # As many elements with multipliers: faster on whole networks. It fits by count, but routing
        # does not come to an end (docs/decisions/ecp5.md).
        dataclasses.replace(
            _ULX3S_85F,
            name="ulx3s_85f",
            drain_width=8,
            trit_depth=512,
            activation_depth=7168,
            row_depth=256,
            result_depth=512,
            multipliers=True,
            logic_scalers=True,
            result_lanes=2,
        ),
        Config(
            name="alexnet",
            sets=4,
            clusters=8,
            elements=16,
            rows=16,
            queue_depth=26,
            scan_width=8,
            accumulator_width=28,
            banks=4,
            drain_width=16,
            trit_depth=10752,
            activation_depth=16384,
            program_depth=8192,
            row_depth=1024,
            result_depth=512,
            layer_count=32,
            packet_words=254,
            job_places=16,
            gate_clocks=True,
            multipliers=True,
            row_merges=True,
            write_back_sums=True,
            group_places=16,
        ),
    )
}


def load_config(name: str) -> Config:
    """A preset by name, or a configuration from a TOML file (``*.toml``).

    A file may start from a preset: ``preset = "tiny"`` plus the fields that differ.

    Raises
    ------
    ConfigError
        Unknown preset, unreadable file, unknown field or value outside its limits.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise ConfigError(
            f"configuration {name!r} is neither a preset ({', '.join(PRESETS)}) nor a .toml file"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also integers and nesting without end
        raise ConfigError(f"configuration file {name} is not TOML: {error}") from error
    base: dict[str, Any] = {}
    if "preset" in values:
        preset = values.pop("preset")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigError(
                f"configuration file {name} starts from unknown preset {preset!r}; "
                f"known are {', '.join(PRESETS)}"
            )
        base = PRESETS[preset].to_dict()
    base["name"] = path.stem
    return Config.from_dict(base | values, f"configuration file {name}")
