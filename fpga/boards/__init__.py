"""The boards, one file each; a new file with a ``BOARD`` is a new board."""

import importlib

from tritforge.common.extras import extra

with extra("fpga", "a board"):
    importlib.import_module("amaranth_boards")
