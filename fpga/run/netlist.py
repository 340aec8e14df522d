"""A build's synthesized netlist as a virtual board: what the bitstream consists of, simulated.

The netlist is what place and route gets, with the contents of its memories. Yosys puts models of
the cells in their place: its own, and those of :mod:`tritforge.fpga.run.models` for cells that it
only declares, for pins and the PLL, and for lookup tables as one expression. What comes out is flat
Verilog for Verilator. Placement, routing and timing are not in it.
"""

import json
import tempfile
from pathlib import Path

from tritforge.common.progress import Progress
from tritforge.fpga.bitstream.build import former_report
from tritforge.fpga.errors import BuildError
from tritforge.fpga.platform.board_top import TOP
from tritforge.fpga.run.virtual import VirtualBoard
from tritforge.fpga.toolchain.tools import run_aside
from tritforge.fpga.toolchain.yosys_json import Module, Port, read_modules

__all__ = ["bare", "netlist_board", "netlist_verilog", "with_models"]

_MODELS = Path(__file__).with_name("models")
#: Seconds of Yosys are few beside those of compiling; shares of the whole.
_CONVERTED = 0.1
_SCRIPT = """\
read_json netlist.json
read_verilog -overwrite -D EQUIV +/{family}/cells_sim.v
read_verilog -overwrite models.v
hierarchy -check -top {top}
proc
flatten -noscopeinfo
rename -hide
opt_expr
opt_muxtree
opt_reduce -full
opt_expr
opt_dff
opt_clean -purge
memory_collect
opt_mem
check -assert
write_verilog -noattr netlist.v
"""


def netlist_board(
    folder: Path, *, progress: Progress | None = None, optimize: bool = True
) -> VirtualBoard:
    """The netlist of the build in ``folder``, clocked.

    Raises
    ------
    BuildError
        There is no build, or Yosys is missing or fails.
    SimulatorError
        Verilator or the C++ compiler is missing or fails.
    """
    report = former_report(folder)
    if progress is not None:
        progress("models for the netlist's cells", 0.0)
    text = netlist_verilog(folder / f"{TOP}.json", report.board.family)
    return VirtualBoard([text], TOP, report.clock.divisor, progress=progress, optimize=optimize)


def netlist_verilog(netlist: Path, family: str) -> str:
    """Verilog of a netlist with models for its cells; its ports are clk, rst, rx and tx.

    Parameters
    ----------
    netlist : Path
        JSON as Yosys writes it.
    family : str
        Of :data:`tritforge.fpga.platform.board.FAMILIES`.

    Raises
    ------
    BuildError
        The file cannot be read, or Yosys is missing or fails.
    """
    try:
        module = read_modules(netlist)[TOP]
        module["ports"] = _ports(module)
        cells = bare(module)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BuildError(f"{netlist} is not a netlist of a board") from error
    return with_models(cells, family, TOP)


def bare(module: Module) -> dict[str, object]:
    """Cells and ports of a module.

    Without names every net is one bit, which keeps Verilator from seeing loops where there
    are none.
    """
    cells = {
        str(number): {
            "type": cell["type"],
            "parameters": cell["parameters"],
            "port_directions": cell["port_directions"],
            "connections": cell["connections"],
        }
        for number, cell in enumerate(module["cells"].values())
        if cell["type"] != "$scopeinfo"
    }
    return {"ports": module["ports"], "cells": cells, "netnames": {}}


def with_models(module: dict[str, object], family: str, top: str) -> str:
    """Verilog of a flat :func:`bare` module called ``top``, with models for its family's cells.

    Raises
    ------
    BuildError
        Yosys is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="tritforge-netlist-") as name:
        folder = Path(name)
        document = {"creator": "tritforge", "modules": {top: module}}
        (folder / "netlist.json").write_text(json.dumps(document), encoding="utf-8")
        (folder / "models.v").write_bytes((_MODELS / f"{family}.v").read_bytes())
        (folder / "netlist.ys").write_text(_SCRIPT.format(family=family, top=top), encoding="utf-8")
        run_aside("yosys", ("-q", "netlist.ys"), folder)
        return (folder / "netlist.v").read_text(encoding="utf-8")


def _ports(module: Module) -> dict[str, Port]:
    """Ports, with a direction and the names of a virtual board's pins."""
    ports: dict[str, Port] = {}
    for name, port in module["ports"].items():
        pin = next((pin for pin in ("rx", "tx") if f"__{pin}__" in name), "clk")
        direction = "output" if pin == "tx" else "input"
        ports[pin] = {"direction": direction, "bits": port["bits"]}
    used = [
        bit
        for cell in module["cells"].values()
        for bits in cell["connections"].values()
        for bit in bits
        if isinstance(bit, int)
    ]
    ports["rst"] = {"direction": "input", "bits": [max(used, default=1) + 1]}
    return ports
