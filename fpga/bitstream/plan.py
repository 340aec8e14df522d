"""Everything that goes into a bitstream, before any tool runs, and its identity."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from tritforge.fpga.link.core import CORE_NAME, BoardCore
from tritforge.fpga.link.label import memory_label
from tritforge.fpga.platform.board import FAMILIES, Board, Clocking, Family
from tritforge.fpga.platform.board_top import TOP, top_files
from tritforge.fpga.toolchain.preload import Contents, contents_of, obstacle
from tritforge.fpga.toolchain.synthesis import script
from tritforge.fpga.toolchain.tools import Tool
from tritforge.hw.bodies import Target
from tritforge.hw.config import Config
from tritforge.hw.verilog import convert
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.network import Network

__all__ = ["BuildPlan", "make_plan"]

#: The place-and-route report.
PLACED = "placed.json"


@dataclass(frozen=True)
class BuildPlan:
    """Files and commands of a build.

    Members
    -------
    board, config, clocking : what is built
    network : Network or None
        Of the image, if there is one.
    contents : list of Contents
        What comes with the bitstream.
    label : int
        Of the image whose contents these are; 0 where the host must send them.
    host_sends : str
        What that is, in words.
    seed, tries : int
        Of placement, and how many from there on are tried: the next one where one finds no legal
        placement or misses the clock.
    files : dict[str, str]
        By name in the build folder.
    commands : list of (phase, tool, arguments)
    """

    board: Board
    config: Config
    clocking: Clocking
    network: Network | None
    contents: list[Contents]
    label: int
    host_sends: str
    seed: int
    tries: int
    files: dict[str, str]
    commands: list[tuple[str, str, tuple[str, ...]]]

    @property
    def family(self) -> Family:
        return FAMILIES[self.board.family]

    @property
    def bitstream(self) -> str:
        """Name of the file that configures the FPGA."""
        return self.board.name + self.family.bitstream

    def identity(self, tools: Sequence[Tool]) -> str:
        """Hexadecimal digest of files, commands and tool versions: equal ones, equal bitstreams."""
        document = {
            "files": {
                name: hashlib.sha256(text.encode()).hexdigest() for name, text in self.files.items()
            },
            "commands": [[name, *arguments] for _, name, arguments in self.commands],
            "tries": self.tries,
            "tools": {tool.name: tool.version for tool in tools},
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def make_plan(
    board: Board,
    config: Config,
    image: CompiledNetwork | None = None,
    *,
    clock_hz: float | None = None,
    seed: int = 1,
    tries: int = 1,
    hierarchical: bool | None = None,
) -> BuildPlan:
    """The plan for a board and a configuration, with an image's memory contents where possible.

    Raises
    ------
    BuildError
        The clock cannot be made, or a memory does not hold its contents.
    """
    clocking = board.clocking(clock_hz)
    family = FAMILIES[board.family]
    contents: list[Contents] = []
    number = 0
    sends = "program, trits and rows of an image, and inputs"
    if image is not None:
        why = obstacle(image)
        if why is None:
            contents, number, sends = contents_of(image), memory_label(image.memory), "inputs only"
        else:
            sends += f" ({why})"
    files = {
        f"{CORE_NAME}.v": convert(
            BoardCore(config, divisor=clocking.divisor, contents=number, counters=board.counters),
            CORE_NAME,
            Target(board.family),
        ),
        **top_files(board, clocking),
        f"{TOP}.ys": script(board.family, clocking.clock_hz, contents, hierarchical),
    }
    place = (
        *board.place_options,
        "--json",
        f"{TOP}.json",
        family.constraint_option,
        TOP + family.constraints,
        family.routed_option,
        TOP + family.routed,
        "--report",
        PLACED,
        "--seed",
        str(seed),
        "--timing-allow-fail",
        "--freq",
        f"{family.effort * clocking.clock_hz / 1e6:.6f}",
        *family.place_options,
    )
    packed = (*family.pack_options, TOP + family.routed, board.name + family.bitstream)
    commands = [
        ("synthesis", "yosys", (f"{TOP}.ys",)),
        ("place and route", family.place, place),
        ("packing", family.pack, packed),
    ]
    network = None if image is None else image.network
    return BuildPlan(
        board, config, clocking, network, contents, number, sends, seed, tries, files, commands
    )
