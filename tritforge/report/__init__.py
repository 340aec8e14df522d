"""One HTML file on a run: cycles, energy, area, roofline, compression, and their sources."""

import importlib

from tritforge.common.extras import extra

with extra("estimate", "a report"):
    importlib.import_module("matplotlib")
