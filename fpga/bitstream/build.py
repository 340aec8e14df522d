"""From a plan to a bitstream and a report, in a folder that appears when all is done."""

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tritforge.common.files import new_folder, obstacle
from tritforge.common.json_types import dump, parse
from tritforge.common.progress import Progress
from tritforge.fpga.bitstream.netlist_report import (
    blocks,
    check_contents,
    critical_path,
    read_cells,
    read_placed,
    sites,
    timing,
    totals,
)
from tritforge.fpga.bitstream.plan import PLACED, BuildPlan
from tritforge.fpga.bitstream.report import (
    FORMAT,
    FORMAT_VERSION,
    Attempt,
    Bitstream,
    BoardName,
    BuildReport,
    ClockReport,
    ContentsReport,
    File,
    Phase,
    Preloaded,
    digest,
)
from tritforge.fpga.errors import BuildError
from tritforge.fpga.fit.estimate import estimate
from tritforge.fpga.fit.resources import uses
from tritforge.fpga.fit.room import beyond, lacking, refusal
from tritforge.fpga.platform.board import FAMILIES, Board
from tritforge.fpga.platform.board_top import TOP
from tritforge.fpga.toolchain.tools import Tool, ToolError, find, run
from tritforge.fpga.toolchain.yosys_json import Cell

__all__ = ["Built", "build", "former_report", "load"]

REPORT = "report.json"
#: What openFPGALoader said last.
LOAD_LOG = "load.txt"
_LOGS = {"synthesis": "synthesis.txt", "place and route": "place.txt", "packing": "pack.txt"}
#: Files that tools leave beside those of the plan.
_OTHERS = {REPORT, PLACED, f"{TOP}.json", "blocks.json", LOAD_LOG, *_LOGS.values()}
#: What nextpnr says where cells have found no place, which another seed may find.
_NO_PLACE = re.compile(r"ERROR: .*\blegal\b")
#: Yosys' warning of a signal with two drivers.
_CONFLICT = re.compile(r"Warning: Driver-driver conflict for (.*?) between")
#: Lines of the tools' logs at which a phase begins, and how far the whole build then is.
_PHASES = (
    (r"[\d.]+ Executing TECHMAP pass", "synthesis, cells", 0.1),
    (r"[\d.]+ Executing ABC9? pass", "synthesis, lookup tables", 0.2),
    (r"[\d.]+ Executing MEMORY_LIBMAP pass", "synthesis, memories", 0.3),
    (r"[\d.]+ Executing JSON backend", "synthesis, netlist", 0.4),
    (r"Info: Packing IOs", "placement", 0.45),
    (r"Info: Running simulated annealing", "placement, refinement", 0.7),
    (r"Info: (Routing\.\.|Running router2|Setting up routing)", "routing", 0.8),
)


@dataclass(frozen=True)
class Built:
    """A finished build.

    Members
    -------
    folder : Path
    report : BuildReport
        As in ``report.json``.
    fresh : bool
        False where the folder held this build already.
    """

    folder: Path
    report: BuildReport
    fresh: bool

    @property
    def bitstream(self) -> Path:
        return self.folder / self.report.bitstream.file


def build(
    plan: BuildPlan, output: Path, *, force: bool = False, progress: Progress | None = None
) -> Built:
    """Run a plan's tools and write bitstream, report, logs and sources into ``output``.

    A former build there is replaced, unless it is this very one: then nothing is done, except
    with ``force``. A missed clock is not an error; the report says it.

    Raises
    ------
    BuildError
        A tool is missing or fails, the design does not fit, or ``output`` holds something else.
    """
    tools = [find(name) for _, name, _ in plan.commands]
    identity = plan.identity(tools)
    files = {*plan.files, plan.bitstream, TOP + plan.family.routed, *_OTHERS}
    former = _former(output)
    if not force and former is not None and former.identity == identity:
        return Built(output, former, False)
    if sentence := _in_the_way(output, files, former):
        raise BuildError(sentence)
    _check_exact(plan)
    try:
        with new_folder(output) as folder:
            try:
                report = _run(plan, tools, identity, folder, progress)
            except ToolError as error:
                # the unfinished folder goes, its log must not
                raise BuildError(_keep_log(error, output)) from error
            document = report.to_json()
            (folder / REPORT).write_text(
                dump(document | {"digest": digest(document)}), encoding="utf-8"
            )
    except OSError as error:
        raise BuildError(f"{output} cannot be written: {error.strerror}") from error
    return Built(output, report, True)


def load(
    built: Built, board: Board, loader: Tool, *, flash: bool, progress: Progress | None = None
) -> None:
    """Send a bitstream to a board: into its flash memory, or into the FPGA until power goes.

    Raises
    ------
    ToolError
        openFPGALoader fails, for instance because no board is connected.
    """
    if progress is not None:
        progress("openFPGALoader", 0.97)
    run(
        loader,
        ("-b", board.loader, "-f" if flash else "-m", built.bitstream.name),
        built.folder,
        LOAD_LOG,
    )


def former_report(folder: Path) -> BuildReport:
    """The report of the finished build in a folder.

    Raises
    ------
    BuildError
        There is none, or its bitstream is not the one that was reported.
    """
    try:
        document = parse((folder / REPORT).read_bytes())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BuildError(f"{folder} is not a {FORMAT}")
        if document.get("format_version") != FORMAT_VERSION:
            raise BuildError(f"{folder} is not a {FORMAT} of this version")
        said = document.pop("digest", None)
        if said is None:
            raise BuildError(f"{folder} is not a {FORMAT}")
        if said != digest(document):
            raise BuildError(f"{folder / REPORT} is not the one that was written there")
        report = BuildReport.from_json(document)
        for what, file in (("bitstream", report.bitstream), ("netlist", report.netlist)):
            if hashlib.sha256((folder / file.file).read_bytes()).hexdigest() != file.sha256:
                raise BuildError(f"the {what} in {folder} is not the one that was built there")
    except PermissionError as error:
        raise BuildError(f"{folder} cannot be read: {error.strerror}") from error
    except (OSError, ValueError) as error:  # also names that no file can have
        raise BuildError(f"{folder} is not a {FORMAT}") from error
    return report


def _former(output: Path) -> BuildReport | None:
    """The report of the finished build in ``output``, if there is one."""
    try:
        return former_report(output)
    except BuildError:
        return None


def _in_the_way(output: Path, files: set[str], former: BuildReport | None) -> str | None:
    """Why ``output`` must not be replaced; a former build of another board has other files."""
    if former is not None:
        family = FAMILIES[former.board.family]
        files = files | {TOP + family.constraints, TOP + family.routed, former.bitstream.file}
    if output.is_dir():
        files = files - {entry.name for entry in output.iterdir() if entry.is_dir()}
    return obstacle(output, REPORT, FORMAT, files)


def _keep_log(error: ToolError, output: Path) -> str:
    """The error's sentence, with the log where it outlives the unfinished folder."""
    kept = output.with_name(f"{output.name}.{error.log.stem}.failed.txt")
    try:
        shutil.copyfile(error.log, kept)
    except OSError:
        return error.sentence
    return f"{error.sentence} (log: {kept})"


def _run(
    plan: BuildPlan, tools: list[Tool], identity: str, folder: Path, progress: Progress | None
) -> BuildReport:
    """Write the plan's files, run its tools, and read what they wrote."""
    for name, text in plan.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    phases = []
    cells: dict[str, Cell] = {}
    attempts: list[Attempt] = []
    for (phase, _, arguments), tool in zip(plan.commands, tools, strict=True):
        started = time.monotonic()
        if phase == "place and route":
            attempts = _place(plan, tool, arguments, folder, progress)
        else:
            run(tool, arguments, folder, _LOGS[phase], _watch(phase, progress))
        phases.append(Phase(phase, round(time.monotonic() - started, 1)))
        if phase == "synthesis":
            _check_drivers(folder / _LOGS[phase])
            with _output_of(tool, folder / _LOGS[phase]):
                cells = read_cells(folder / f"{TOP}.json")
            check_contents(cells, plan.contents)
            _check_room(plan, cells)
    with _output_of(tools[1], folder / _LOGS["place and route"]):
        placed = read_placed(folder / PLACED)
        path = critical_path(placed, cells)
    with _output_of(tools[-1], folder / _LOGS["packing"]):
        raw = (folder / plan.bitstream).read_bytes()
        if not raw:
            raise ValueError("an empty bitstream")
    netlist = (folder / f"{TOP}.json").read_bytes()
    # of iCE40's flip-flops placement says nothing
    counts = totals(cells) | sites(plan.board.family, placed)
    return BuildReport(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        identity=identity,
        board=BoardName(plan.board.name, plan.board.title, plan.board.family),
        configuration=plan.config.to_dict(),
        configuration_identity=plan.config.identity,
        contents=_contents(plan),
        clock=_clock(plan),
        resources=uses(counts, plan.board.resources),
        blocks=blocks(cells),
        timing=timing(placed, plan.clocking.clock_hz / 1e6),
        critical_path=path,
        phases=tuple(phases),
        seed=max(attempts, key=lambda attempt: attempt.fmax_mhz or 0.0).seed,
        attempts=tuple(attempts),
        tools={tool.name: tool.version for tool in tools},
        netlist=File(f"{TOP}.json", hashlib.sha256(netlist).hexdigest()),
        bitstream=Bitstream(plan.bitstream, len(raw), hashlib.sha256(raw).hexdigest()),
    )


@contextmanager
def _output_of(tool: Tool, log: Path) -> Iterator[None]:
    """Around reading what a tool has written: what is wrong with that is the tool's failure."""
    try:
        yield
    except BuildError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ToolError(
            f"{tool.name} ended well, but did not write what it should have", log
        ) from error


def _place(
    plan: BuildPlan, tool: Tool, arguments: Sequence[str], folder: Path, progress: Progress | None
) -> list[Attempt]:
    """Place and route with one seed after the other until one reaches the clock; what the fastest
    one wrote stays. ``fmax_mhz`` of one without a legal placement is None."""
    phase = "place and route"
    files = (_LOGS[phase], PLACED, TOP + plan.family.routed)
    attempts: list[Attempt] = []
    option, fastest = arguments.index("--seed") + 1, 0.0
    with tempfile.TemporaryDirectory(prefix="best-", dir=folder) as aside:
        for number in range(plan.tries):
            seed = (plan.seed + number) % 2**31
            title = phase if not number else f"{phase}, seed {seed}"
            chosen = (*arguments[:option], str(seed), *arguments[option + 1 :])
            try:
                run(tool, chosen, folder, _LOGS[phase], _watch(phase, progress, title))
            except ToolError as error:
                in_vain = number == plan.tries - 1 and not fastest
                if in_vain or not _NO_PLACE.search(
                    error.log.read_text(encoding="utf-8", errors="replace")
                ):
                    raise
                attempts.append(Attempt(seed, None))
                continue
            with _output_of(tool, folder / _LOGS[phase]):
                reached = timing(read_placed(folder / PLACED), plan.clocking.clock_hz / 1e6)
                fmax = reached.fmax_mhz
                if fmax is None or not (folder / files[-1]).is_file():
                    raise ValueError("no clock or no result")
            attempts.append(Attempt(seed, fmax))
            if fmax > fastest:
                fastest = fmax
                for name in files:
                    (folder / name).replace(Path(aside) / name)
            if reached.met:
                break
        for name in files:
            (Path(aside) / name).replace(folder / name)
    return attempts


def _watch(
    phase: str, progress: Progress | None, title: str | None = None
) -> Callable[[str], None] | None:
    """What to do with each line of a tool's log."""
    if progress is None:
        return None
    begun = {"synthesis": 0.02, "place and route": 0.42, "packing": 0.95}[phase]
    progress(title or phase, begun)

    def seen(line: str) -> None:
        nonlocal begun
        for pattern, title, done in _PHASES:
            if done > begun and re.match(pattern, line):
                begun = done
                progress(title, done)

    return seen


def _contents(plan: BuildPlan) -> ContentsReport:
    preloaded = tuple(
        Preloaded(one.memory, one.width * one.depth, one.ones) for one in plan.contents
    )
    return ContentsReport(f"{plan.label:08x}", preloaded, plan.host_sends)


def _clock(plan: BuildPlan) -> ClockReport:
    clocking = plan.clocking
    return ClockReport(
        hz=clocking.clock_hz,
        pll=None if clocking.pll is None else asdict(clocking.pll),
        reset_cycles=clocking.reset_cycles,
        divisor=clocking.divisor,
        baud=clocking.baud,
        actual_baud=round(clocking.actual_baud, 1),
        baud_error=round(clocking.baud_error, 6),
    )


def _check_exact(plan: BuildPlan) -> None:
    """Refuse before synthesis what can never fit: memories and multipliers are known exactly."""
    try:
        found = estimate(plan.board, plan.config)
    except BuildError:  # synthesis will fail too, and keeps its log
        return
    if lacks := lacking(plan.board, found, exact=True):
        raise BuildError(refusal(plan.board, plan.config, lacks, plan.network))


def _check_drivers(log: Path) -> None:
    """Refuse a netlist in which Yosys put a constant in the place of a signal, as it has been seen
    to do with some registers behind multipliers of iCE40: it only warns of that."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if found := _CONFLICT.search(line):
                raise ToolError(
                    f"Yosys found two drivers of {found[1].strip()} and kept the wrong "
                    "one, so the netlist would compute something else; another "
                    "configuration may do",
                    log,
                )


def _check_room(plan: BuildPlan, cells: dict[str, Cell]) -> None:
    """Refuse before placement what can never fit."""
    if lacks := beyond(totals(cells), asdict(plan.board.resources)):
        raise BuildError(refusal(plan.board, plan.config, lacks, plan.network))
