"""A mapped netlist, compiled, behind the host port: a device that counts its cells' changes."""

import ctypes
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritforge.common.cache import cached
from tritforge.common.version import package_version
from tritforge.cost import figures, mapping
from tritforge.cost.errors import CostError
from tritforge.cost.figures import CELL_KINDS
from tritforge.cost.library import built_in_library
from tritforge.cost.mapping import accelerator_verilog, mapping_script
from tritforge.cost.netlist.flat import MEMORY_MODELS, Group, Netlist, flat_netlist, map_netlist
from tritforge.cost.technology import Technology
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit import structure
from tritforge.fpga.toolchain.tools import find
from tritforge.hw.config import Config
from tritforge.hw.protocol import Opcode, Packet
from tritforge.hw.verilog import TOP_NAME
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.sim import native
from tritforge.sim.backend import DeviceBackend
from tritforge.sim.device import Device
from tritforge.sim.native import (
    NativeLink,
    SimulatorError,
    compile_library,
    compiler_digest,
    verilate,
)

__all__ = ["NetlistBackend", "NetlistLink", "compile_counting", "compile_netlist"]

_HARNESS = Path(__file__).with_name("counting_harness.cpp")
_SIM_HARNESS = Path(native.__file__).with_name("harness.cpp")
#: What decides on names of blocks and on the functions of cells.
_NAMING = tuple(
    Path(module.__file__) for module in (mapping, structure, figures) if module.__file__ is not None
)
#: Straight code of a million operations: optimizing takes longer than it ever runs, and its header
#: as long as its files, of which there had better be few.
_VERILATOR_FLAGS = ("--output-split", "100000")

Report = Callable[[str, float], None]


def compile_netlist(config: Config, process: Technology, progress: Report | None = None) -> Path:
    """The compiled netlist of a configuration, from the cache or built now, in minutes.

    Raises
    ------
    CostError
        Yosys, Verilator or the compiler is missing or fails.
    """
    report = progress or (lambda message, fraction: None)
    library = built_in_library(process)
    kinds = {process.cells[kind].cell: kind for kind in CELL_KINDS}

    def build(folder: Path) -> Path:
        report(f"mapping configuration {config.name} to cells", 0.05)
        gates, cells = map_netlist(verilog, library)
        return compile_counting(flat_netlist(gates, cells, kinds), folder, report)

    report("generating Verilog", 0.0)
    try:
        verilog = accelerator_verilog(config)
        digest = hashlib.sha256(
            "\0".join(
                (
                    find("yosys").version,
                    verilog,
                    library.text,
                    mapping_script(),
                    repr(kinds),
                    str(package_version("verilator")),
                )
            ).encode()
        )
        for path in (
            *sorted(Path(__file__).parent.glob("*.*")),
            *_NAMING,
            *MEMORY_MODELS,
            _SIM_HARNESS,
            Path(native.__file__),
        ):
            digest.update(path.read_bytes())
        digest.update(compiler_digest())
        return cached("activity", digest.digest(), build)
    except (BuildError, SimulatorError) as error:
        raise CostError(
            f"the netlist of configuration {config.name} cannot be simulated: {error}"
        ) from error


def compile_counting(netlist: Netlist, folder: Path, report: Report) -> Path:
    """The simulator of a netlist with the accelerator's ports, made in ``folder``.

    Raises
    ------
    SimulatorError
        Verilator or the compiler is missing or fails.
    """
    (folder / "netlist.v").write_text(netlist.verilog, encoding="utf-8")
    text = json.dumps([group.to_dict() for group in netlist.groups])
    (folder / "groups.h").write_text(f"#define GROUPS {json.dumps(text)}\n", encoding="utf-8")
    report("Verilator, netlist", 0.2)
    made = folder / "netlist"
    made.mkdir()
    verilate(made, TOP_NAME, [folder / "netlist.v"], *_VERILATOR_FLAGS)
    jobs = [(path, [f"-I{made}"]) for path in made.glob("*.cpp")]
    jobs.append((_HARNESS, [f"-I{made}", f"-I{folder}", f"-I{_SIM_HARNESS.parent}"]))
    return compile_library(jobs, folder, "netlist", report, optimize=False)


class NetlistLink(NativeLink):
    """Counts what happens between a RUN and its answer.

    Members
    -------
    groups : list of Group
    counts : array of int64
        As many.
    counted_cycles : int
    """

    def __init__(self, config: Config, library: Path) -> None:
        super().__init__(config, library=library)
        self._library.activity_groups.restype = ctypes.c_char_p
        described = json.loads(self._library.activity_groups())
        self.groups = [Group(**{**one, "pins": Counter(one["pins"])}) for one in described]
        self.counts = np.zeros(len(self.groups), np.int64)
        self.counted_cycles = 0
        self._read = self._library.activity_counts
        self._read.argtypes = [
            ctypes.c_void_p,
            np.ctypeslib.ndpointer(np.uint64, flags="C_CONTIGUOUS"),
            ctypes.c_uint64,
        ]
        self._read.restype = None

    def _totals(self) -> NDArray[np.int64]:
        counts = np.zeros(len(self.groups), np.uint64)
        self._read(self._handle, counts, len(counts))
        return counts.astype(np.int64)

    def exchange(
        self, packets: Sequence[Sequence[int]], answers: int, limit: int | None = None
    ) -> list[list[int]]:
        if [Packet.from_words(words).opcode for words in packets] != [Opcode.RUN]:
            return super().exchange(packets, answers, limit)
        counts, cycles = self._totals(), self.cycles
        found = super().exchange(packets, answers, limit)
        self.counts += self._totals() - counts
        self.counted_cycles += self.cycles - cycles
        return found


class NetlistBackend(DeviceBackend):
    """Runs images on a compiled netlist."""

    name = "netlist"

    def __init__(self, image: CompiledNetwork, library: Path) -> None:
        self.link = NetlistLink(image.config, library)
        super().__init__(image, Device(self.link))
