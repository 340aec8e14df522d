"""Trained ternary networks on generated hardware.

>>> import tritforge
>>> model = tritforge.ternarize_model(float_model)        # then train it as usual
>>> made = tritforge.export(model.state_dict(), model, samples, "ulx3s_85f", "image")
>>> result = tritforge.simulate("image", images, backend="rtl")
>>> result.accuracy(labels), result.total_cycles, result.utilization

* :func:`~tritforge.flows.export.export`: network and calibration samples -> image folder
* :func:`~tritforge.model_export.image.folder.load_image`: image folder -> ``Image``, checksums
  verified
* :func:`~tritforge.flows.simulate.simulate`: image and inputs -> integers, cycles, counters
* :func:`~tritforge.flows.verify.verify`: every layer's integers on every backend
* :func:`~tritforge.sim.event_log.compare_logs`: the first difference between two event logs
* :func:`~tritforge.flows.generate.generate`: configuration -> Verilog and JSON side-car
* :func:`~tritforge.cost.estimate.estimate`: image and inputs -> energy, area, baselines
* :func:`~tritforge.hw.presets.load_config`, ``PRESETS``: configurations by name or TOML file
* ``Config``: a configuration, all parameters of an accelerator
* ``TernaryConv1d``, ``TernaryConv2d``, ``TernaryLinear``: TTQ as PyTorch modules to train with
* ``ternarize_model``, ``bake``: ordinary model -> ternary; ternary -> plain layers
* ``load_checkpoint``, ``load_into``: checkpoints, read without running code
* ``TritforgeError``: the base of all errors that a user can cause
* ``TritforgeWarning``: what was done as asked, but is probably not what was meant

The command ``tritforge`` offers the same. Names are imported when they are first used, so that
``import tritforge`` does not wait for PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tritforge.common.version import tritforge_version

if TYPE_CHECKING:
    from tritforge.common.errors import TritforgeError, TritforgeWarning
    from tritforge.cost.errors import CostError
    from tritforge.cost.estimate import estimate
    from tritforge.cost.technology import Technology
    from tritforge.cost.technology_file import load_technology
    from tritforge.flows.export import Export, export
    from tritforge.flows.generate import generate
    from tritforge.flows.simulate import simulate
    from tritforge.flows.verify import verify
    from tritforge.hw.config import Config, ConfigError
    from tritforge.hw.presets import PRESETS, load_config
    from tritforge.model_export.errors import ExportError, ImageError, ModelError
    from tritforge.model_export.formats.checkpoint import (
        CheckpointError,
        load_checkpoint,
        load_into,
    )
    from tritforge.model_export.image.folder import Image, load_image
    from tritforge.model_export.model_file import load_model
    from tritforge.model_export.training.ttq import (
        TernaryConv1d,
        TernaryConv2d,
        TernaryLinear,
        bake,
        ternarize_model,
    )
    from tritforge.sim.backend import SimulationError
    from tritforge.sim.device import DeviceError
    from tritforge.sim.event_log import EventLogError, compare_logs
    from tritforge.sim.native import SimulatorError
    from tritforge.sim.result import Simulation
    from tritforge.sim.verify import Verification

__all__ = [
    "PRESETS",
    "CheckpointError",
    "Config",
    "ConfigError",
    "CostError",
    "DeviceError",
    "EventLogError",
    "Export",
    "ExportError",
    "Image",
    "ImageError",
    "ModelError",
    "Simulation",
    "SimulationError",
    "SimulatorError",
    "Technology",
    "TernaryConv1d",
    "TernaryConv2d",
    "TernaryLinear",
    "TritforgeError",
    "TritforgeWarning",
    "Verification",
    "bake",
    "compare_logs",
    "estimate",
    "export",
    "generate",
    "load_checkpoint",
    "load_config",
    "load_image",
    "load_into",
    "load_model",
    "load_technology",
    "simulate",
    "ternarize_model",
    "verify",
]

_HOMES = {
    "tritforge.common.errors": ("TritforgeError", "TritforgeWarning"),
    "tritforge.hw.config": ("Config", "ConfigError"),
    "tritforge.hw.presets": ("PRESETS", "load_config"),
    "tritforge.model_export.formats.checkpoint": (
        "CheckpointError",
        "load_checkpoint",
        "load_into",
    ),
    "tritforge.model_export.errors": ("ExportError", "ImageError", "ModelError"),
    "tritforge.model_export.image.folder": ("Image", "load_image"),
    "tritforge.model_export.training.ttq": (
        "TernaryConv1d",
        "TernaryConv2d",
        "TernaryLinear",
        "bake",
        "ternarize_model",
    ),
    "tritforge.model_export.model_file": ("load_model",),
    "tritforge.sim.backend": ("SimulationError",),
    "tritforge.sim.result": ("Simulation",),
    "tritforge.sim.device": ("DeviceError",),
    "tritforge.sim.event_log": ("EventLogError", "compare_logs"),
    "tritforge.sim.native": ("SimulatorError",),
    "tritforge.sim.verify": ("Verification",),
    "tritforge.cost.errors": ("CostError",),
    "tritforge.cost.estimate": ("estimate",),
    "tritforge.cost.technology": ("Technology",),
    "tritforge.cost.technology_file": ("load_technology",),
    "tritforge.flows.export": ("Export", "export"),
    "tritforge.flows.generate": ("generate",),
    "tritforge.flows.simulate": ("simulate",),
    "tritforge.flows.verify": ("verify",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__version__ = tritforge_version()


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tritforge' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
