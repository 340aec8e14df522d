"""Estimates, runs and images of networks that never were: any number of layers, in a millisecond.

Their numbers are drawn, but what must agree agrees: energies are sums of terms times events.
"""

import json
import math
import random

import numpy as np

from tritforge.cost.components import COMPONENTS, DERIVED_EVENTS, HOST_EVENTS, OFF_CHIP
from tritforge.cost.results import Estimate
from tritforge.cost.technology_file import load_technology
from tritforge.hw.presets import load_config
from tritforge.hw.program import COUNTERS
from tritforge.report.facts import ImageFacts, Kernels
from tritforge.sim.result import CLUSTER_CYCLES, RunReport

#: Adds of AlexNet's layers, roughly.
ALEXNET = {
    "conv0": 2.5e8,
    "conv1": 1.2e8,
    "conv2": 4.1e7,
    "conv3": 1.0e7,
    "conv4": 7.3e6,
    "fc0": 4.1e6,
    "fc1": 2.2e6,
    "fct": 2.7e6,
}
DIGITS = {"conv1": 10202, "conv2": 51260, "conv3": 67454, "fc": 5556}
#: Of a name that would be markup, and formulas, and paths.
HOSTILE = "<script>alert(1)</script>&\"'$x_1$.{{ 7*7 }}"

_EVENTS = {
    "trit memory": "broadcasts",
    "activation memory": "activation_reads",
    "adders": "adds",
    "accumulators": "adds",
    "queues": "queue_writes",
    "scalers": "broadcasts",
    "requantizers": "drain_steps",
    "drain": "drain_steps",
    "write-back": "write_backs",
    "host port": "read_words",
    OFF_CHIP: "read_words",
}


def band(typical, spread=2.0):
    return {"low": typical / spread, "typical": typical, "high": typical * spread}


def plus(bands):
    chosen = list(bands)
    return {key: math.fsum(one[key] for one in chosen) for key in ("low", "typical", "high")}


def times(one, factor):
    return {key: value * factor for key, value in one.items()}


def documents(
    adds,
    config="alexnet",
    images=1,
    streamed=False,
    baselines=True,
    checked=True,
    seed=0,
    network="network",
):
    """Estimate, run and image facts of layers with so many additions.

    Parameters
    ----------
    adds : dict[str, float]
        By layer's name; 0 for a layer that adds nothing.
    """
    draw = random.Random(seed)
    config = load_config(config)
    terms = [
        {
            "component": name,
            "block": "element",
            "event": _EVENTS.get(name, "cycles"),
            "what": f"what {name} does",
            "pj_per_event": band(draw.uniform(0.1, 9)),
            "parts": [
                {
                    "figure": "add_bit",
                    "factors": [],
                    "times": band(28.0, 1.0),
                    "what": "bits",
                    "pj": band(0.0875),
                },
                {
                    "figure": "memories.trits.read",
                    "factors": ["two_port_energy"],
                    "times": band(1.0, 1.5),
                    "what": "512 bits x 64 words",
                    "pj": band(0.5),
                },
            ],
        }
        for name in COMPONENTS
    ]

    def energy(events):
        found = {
            term["component"]: times(term["pj_per_event"], events.get(term["event"], 0.0))
            for term in terms
        }
        inside = [one for name, one in found.items() if name != OFF_CHIP]
        return {
            "components": found,
            "on_chip": plus(inside),
            "dynamic": plus(inside[:-1]),
            "off_chip": found[OFF_CHIP],
        }

    layers, run_layers, stored = [], [], []
    for name, count in adds.items():
        cycles = float(int(max(40, count / config.adders / draw.uniform(0.6, 0.98))))
        every = cycles * config.cluster_count
        shares = [draw.random() for _ in CLUSTER_CYCLES]
        spent = {
            cause: every * share / sum(shares)
            for cause, share in zip(CLUSTER_CYCLES, shares, strict=True)
        }
        broadcasts = count / draw.uniform(10, 60)
        events = dict.fromkeys((*COUNTERS, *DERIVED_EVENTS, *HOST_EVENTS), 0.0) | {
            "cycles": cycles,
            "adds": float(count),
            "broadcasts": broadcasts,
            "activation_reads": broadcasts / 6,
            "queue_writes": count / 2,
            "skipped_activations": broadcasts * draw.random(),
            "drain_steps": cycles / 14,
            "write_backs": cycles / 3,
            "stall_write_back": 12.0,
        }
        weights = int(max(64, count / 40))
        packed = weights * 1.3 / 8
        if streamed:
            events |= {
                "sent_trit_words": packed / 4,
                "sent_activation_words": cycles / 9,
                "read_words": cycles / 11,
            }
        spends = energy(events)
        macs = weights * 50
        layers.append(
            {
                "name": name,
                "kind": "conv",
                "rows": 64,
                "pixels": [7, 7],
                "ternary": True,
                "mac_count": macs,
                "weights": weights,
                "weight_density": draw.random(),
                "trits_per_weight": draw.random(),
                "activation_density": draw.random() if checked else None,
                "broadcast_density": draw.random() if count else None,
                "cycles": cycles,
                "utilization": count / cycles / config.adders,
                "lower_bound": cycles * 0.9,
                "microseconds": cycles / 800,
                "events": events,
                **spends,
                "pj_per_mac": times(spends["on_chip"], 1 / macs),
                "pj_per_add": times(spends["on_chip"], 1 / count) if count else None,
                "cluster_cycles": spent,
            }
        )
        run_layers.append(
            {
                "name": name,
                "kind": "conv",
                "rows": 64,
                "pixels": [7, 7],
                "mac_count": macs,
                "cycles": int(cycles) * images,
                "utilization": count / cycles / config.adders,
                "cycles_per_image": [int(cycles)] * images,
                "lower_bound": int(cycles * 0.9) * images,
                "dense_cycles": macs * images / config.adders,
                "speed_up": macs / config.adders / cycles,
                "passes": 2 * streamed,
                "sent_words": 10,
                "read_words": 10,
                "counters": {name: int(events[name]) * images for name in COUNTERS[1:]},
                "cluster_cycles": {cause: int(one) * images for cause, one in spent.items()},
            }
        )
        stored.append(
            {
                "name": name,
                "kind": "conv",
                "ternary": True,
                "weights": weights,
                "trits_bytes": weights // 4,
                "packed_bytes": int(packed),
                "bits_per_weight": 1.3,
                "density": 0.3,
                "note": "",
                "memory": dict.fromkeys(
                    ("tiles", "program_address", "trit_columns", "trit_bytes", "row_entries"), 7
                ),
                "float32_bytes": 4 * weights,
                "ratio": 24.6,
            }
        )
    host_events = {"sent_activation_words": 0.0 if streamed else 900.0, "read_words": 10.0}
    host = {
        "name": "input and results",
        "events": host_events,
        "port_words": sum(host_events.values()),
        **energy(host_events),
    }
    whole = {
        key: plus(layer[key] for layer in layers) for key in ("on_chip", "dynamic", "off_chip")
    }
    cycles = sum(layer["cycles"] for layer in layers)
    additions = sum(adds.values())
    area = [
        {
            "name": name,
            "count": number,
            "logic_um2": band(size, 1.2),
            "memory_um2": band(kept, 1.5),
            "cells_um2": band(size, 1.0),
            "area_um2": plus([band(size, 1.2), band(kept, 1.5)]),
            "flip_flops": 100,
            "gated_flip_flops": 20,
            "all_flip_flops": 120,
            "memories": []
            if not kept
            else [
                {
                    "holds": "trits",
                    "count": number,
                    "bits": 4096,
                    "width_bits": 64,
                    "depth": 64,
                    "composition": "1 x 1 macros of 64 x 64 bits",
                    "read_pj": band(2.0),
                    "write_pj": band(3.0),
                    "leakage_mw": band(0.1),
                    "area_um2": band(kept / number),
                    "total_um2": band(kept),
                }
            ],
        }
        for name, number, size, kept in (
            ("cluster", config.cluster_count, 6e5, 1e8),
            ("element", config.adders, 5e5, 5e6),
            ("sequencer", 1, 1.2e4, 0.0),
            ("host port", 1, 1.4e4, 600.0),
        )
    ]
    total = {
        "layers": list(adds),
        "mac_count": sum(one["mac_count"] for one in layers),
        "adds": additions,
        "cycles": cycles,
        "microseconds": cycles / 800,
        **whole,
        "components": {
            name: plus(layer["components"][name] for layer in layers) for name in COMPONENTS
        },
        "pj_per_mac": band(1.9),
        "pj_per_add": band(8.4) if additions else None,
        "dynamic_pj_per_mac": band(1.6),
        "dynamic_pj_per_add": band(7.2),
    }

    def baseline(factor):
        return {
            "title": f"{factor} times as much",
            "layers": [],
            "cycles": cycles * factor,
            "components": {name: times(one, factor) for name, one in total["components"].items()},
            **{key: times(one, factor) for key, one in whole.items()},
            "times_energy": band(factor, 1.1),
            "times_cycles": factor,
        }

    estimate = {
        "format": "tritforge estimate",
        "format_version": 1,
        "tritforge": "0.1.0",
        "network": network,
        "image": "image",
        "image_manifest_sha256": "0" * 64,
        "configuration": config.to_dict(),
        "configuration_identity": config.identity,
        "adders": config.adders,
        "backend": "cycle",
        "images": images,
        "adds_checked": checked,
        "clock_mhz": band(800.0, 1.0),
        "cycles": cycles,
        "microseconds": cycles / 800,
        "layers": layers,
        "host": host,
        "totals": {"all layers": total},
        "energy": {
            "components": {
                name: plus([total["components"][name], host["components"][name]])
                for name in COMPONENTS
            },
            **{key: plus([whole[key], host[key]]) for key in whole},
        },
        "loading": None
        if streamed
        else {"port_words": 900, "on_chip": band(1e6), "off_chip": band(9e7)},
        "average_power_mw": band(3000.0),
        "components": dict(COMPONENTS),
        "terms": terms,
        "area": {
            "configuration": config.name,
            "library": "45nm",
            **{
                f"{key}_um2": plus(one[f"{name}_um2"] for one in area)
                for key, name in (("total", "area"), ("logic", "logic"), ("memory", "memory"))
            },
            "element_um2": band(2e4),
            "cluster_um2": band(3e6),
            "blocks": area,
        },
        "baselines": {
            "without_skipping": baseline(4.3),
            "dense": baseline(2.2)
            | {
                "weight_memory": {
                    name: value
                    for name, value in area[0]["memories"][0].items()
                    if name not in ("holds", "count", "bits", "total_um2")
                },
                "weight_memories": config.cluster_count,
                "weight_memory_um2": band(3e6),
                "terms": terms[:2],
            },
            "dense_reused": baseline(2.1),
        }
        if baselines
        else {},
        "seconds": {"in all": 1.5},
        "technology": load_technology("45nm").report().to_json(),
        "units": {},
    }
    run = {
        "format": "tritforge report",
        "format_version": 1,
        "tritforge": "0.1.0",
        "network": network,
        "image": "image",
        "image_manifest_sha256": "0" * 64,
        "configuration": config.name,
        "configuration_identity": config.identity,
        "sets": config.sets,
        "clusters": config.clusters,
        "elements": config.elements,
        "adders": config.adders,
        "backend": "cycle",
        "images": images,
        "layer": None,
        "total_cycles": int(cycles) * images,
        "cycles_per_image": [int(cycles)] * images,
        "loading_cycles": None,
        "utilization": additions / cycles / config.adders,
        "wall_seconds": 2.382,
        "output": {
            "file": "output.npy",
            "layer": next(reversed(adds)),
            "shape": [images, 10],
            "dtype": "int32",
            "scale": 0.1,
            "meaning": "real value = scale * integer",
        },
        "units": {},
        "loading": {
            "how": "streamed" if streamed else "not modelled",
            "port_words": 900,
            "sent_words": None,
            "cycles": None,
        },
        "layers": run_layers,
    }
    weights = sum(one["weights"] for one in stored)
    sizes = {
        "weights": weights,
        "float32_bytes": 4 * weights,
        "trits_bytes": weights // 4,
        "packed_bytes": int(weights * 1.3 / 8),
        "memory_bytes": weights,
        "bits_per_weight": 1.3,
        "float32_over_trits": 16.0,
        "float32_over_packed": 24.6,
        "float32_over_memory": 4.0,
    }
    image = {
        "tritforge": "0.1.0",
        "format_version": 3,
        "manifest_sha256": "0" * 64,
        "sizes": {
            "program_bytes": 900,
            "trits_bytes": weights // 3,
            "rows_bytes": 800,
            "files": {},
            "whole": sizes,
            "ternary_layers": sizes,
        },
        "streaming": None,
        "extra": {},
        "layers": stored,
    }
    # as a reader of files has them
    estimate, run, image = (json.loads(json.dumps(one)) for one in (estimate, run, image))
    return (
        Estimate.from_json(estimate),
        RunReport.from_json(run),
        ImageFacts.from_json(image),
    )


def drawn_kernels(layer="conv1", shape=(16, 12, 3, 3), seed=0):
    trits = np.random.default_rng(seed).integers(-1, 2, shape).astype(np.int8)
    return Kernels(layer, trits, shape, float(np.mean(trits == 0)))
