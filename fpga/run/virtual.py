"""Virtual board: the Verilog of a board, simulated, its UART on a pseudo-terminal.

The host opens :attr:`VirtualBoard.port` as it opens a serial port, and cannot tell the difference
but by the speed. The Verilog is compiled by Verilator, once, and kept in the cache.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tritforge.common.cache import cached
from tritforge.common.version import package_version
from tritforge.fpga.link.core import CORE_NAME, BoardCore
from tritforge.fpga.link.noise import Noise
from tritforge.hw.bodies import Target
from tritforge.hw.config import Config
from tritforge.hw.verilog import convert
from tritforge.sim.native import compile_library, compiler_digest, verilate

__all__ = ["VirtualBoard", "compile_board", "virtual_board"]

_HARNESS = Path(__file__).with_name("board_harness.cpp")
#: Clock cycles simulated between looks at the terminal.
_SLICE = 5_000
#: Clock cycles without a byte in either direction after which the clock stands still.
IDLE_CYCLES = 2_000_000
#: Baud rate at which a simulated second passes: least timeouts are then longer than a window of
#: frames takes.
_BAUD = 500_000
#: Bytes that wait for the host to read them; more are lost, as in a UART's buffer.
_WAITING = 1 << 16

Report = Callable[[str, float], None]


def compile_board(
    sources: Sequence[Path | str],
    top: str,
    progress: Report | None = None,
    *,
    optimize: bool = True,
    flags: Sequence[str] = (),
) -> Path:
    """The compiled simulator of a board, from the cache or built now.

    Parameters
    ----------
    sources : paths, or texts of Verilog
        Of module ``top`` with ports clk, rst, rx, tx and all that is below.
    optimize : bool
        False compiles several times faster, for runs of few cycles.
    flags : strings
        More arguments for Verilator.

    Raises
    ------
    SimulatorError
        A tool is missing or failed.
    """
    texts = [
        source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        for source in sources
    ]
    report = progress or (lambda message, fraction: None)

    def build(folder: Path) -> Path:
        report("Verilator, board", 0.1)
        paths = [folder / f"source_{number}.v" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
        made = folder / "board"
        made.mkdir()
        verilate(made, top, paths, "--prefix", "Vboard", *flags)
        jobs = [(path, [f"-I{made}"]) for path in (*made.glob("*.cpp"), _HARNESS)]
        return compile_library(jobs, folder, "board", report, optimize)

    digest = hashlib.sha256(repr((texts, top, optimize, list(flags))).encode())
    digest.update(_HARNESS.read_bytes() + Path(__file__).read_bytes() + compiler_digest())
    digest.update(str(package_version("verilator")).encode())
    return cached("board", digest.digest(), build)


def virtual_board(
    config: Config,
    divisor: int = 4,
    *,
    contents: int = 0,
    noise: float = 0.0,
    seed: int = 0,
    progress: Report | None = None,
    optimize: bool = True,
) -> "VirtualBoard":
    """The core of a board with this configuration; ``noise`` is the probability of an accident to
    a byte, in each direction."""
    if progress is not None:
        progress("generating Verilog", 0.0)
    return VirtualBoard(
        [_core(config, divisor, contents)],
        CORE_NAME,
        divisor,
        noise=(Noise.of(noise, 2 * seed), Noise.of(noise, 2 * seed + 1)) if noise else None,
        progress=progress,
        optimize=optimize,
    )


@functools.lru_cache(4)
def _core(config: Config, divisor: int, contents: int) -> str:
    return convert(
        BoardCore(config, divisor=divisor, contents=contents), CORE_NAME, Target.VERILATOR
    )


class VirtualBoard:
    """A simulated board at a pseudo-terminal, clocked by a thread of its own.

    The clock stands still when for ``IDLE_CYCLES`` cycles no byte has come or gone, and goes on
    with the host's next byte: a run that takes longer goes on as long as the host asks for it.

    Parameters
    ----------
    sources, top, progress, optimize, flags
        As for :func:`compile_board`.
    divisor : int
        Clock cycles per bit of the board's UART.
    noise : (Noise, Noise), optional
        On the way to the board, and back.

    Members
    -------
    port : str
        The terminal, to be opened as a serial port; any baud rate.
    """

    def __init__(
        self,
        sources: Sequence[Path | str],
        top: str,
        divisor: int,
        *,
        noise: tuple[Noise, Noise] | None = None,
        progress: Report | None = None,
        optimize: bool = True,
        flags: Sequence[str] = (),
    ) -> None:
        library = ctypes.CDLL(
            str(compile_board(sources, top, progress, optimize=optimize, flags=flags))
        )
        count = ctypes.POINTER(ctypes.c_uint64)
        library.board_open.restype = ctypes.c_void_p
        library.board_open.argtypes = [ctypes.c_uint32]
        library.board_close.argtypes = [ctypes.c_void_p]
        library.board_cycles.restype = ctypes.c_uint64
        library.board_cycles.argtypes = [ctypes.c_void_p]
        library.board_step.restype = ctypes.c_uint64
        library.board_step.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_uint64,
            count,
            ctypes.c_char_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
        ]
        self._library = library
        self._noise = noise
        self._handle = library.board_open(divisor)
        self._master, self._slave = pty.openpty()
        # The slave stays open here: the terminal outlives its hosts, as a board does.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._wake, self._waker = os.pipe()
        self._stop = False
        self._cycles_per_second = _BAUD * divisor
        # Seconds in which the clock stood still, and since when it does so again; 0: it goes.
        self._standing = 0.0, 0.0
        self._thread = threading.Thread(target=self._serve, name="virtual board", daemon=True)
        self._thread.start()

    @property
    def cycles(self) -> int:
        """Clock cycles since the power came."""
        return int(self._library.board_cycles(self._handle))

    def seconds(self) -> float:
        """Time as it passes for the board's host: with the clock, and, where that stands still,
        as everywhere. However slow the simulation is, the host waits long enough."""
        stood, since = self._standing
        if since:
            stood += time.monotonic() - since
        return self.cycles / self._cycles_per_second + stood

    def _serve(self) -> None:
        answer = ctypes.create_string_buffer(_SLICE)
        taken = ctypes.c_uint64()
        coming, going = b"", b""
        quiet = 0
        while not self._stop:
            idle = quiet > IDLE_CYCLES and not going
            stood = self._standing[0]
            began = time.monotonic()
            if idle:
                self._standing = stood, began
            select.select([self._master, self._wake], [], [], None if idle else 0)
            if idle:
                self._standing = stood + time.monotonic() - began, 0.0
            with contextlib.suppress(BlockingIOError, OSError):
                arrived = os.read(self._master, 4096) if len(coming) < 4096 else b""
                quiet = 0 if arrived else quiet
                coming += self._noise[0].apply(arrived) if self._noise else arrived
            got = self._library.board_step(
                self._handle, coming, len(coming), ctypes.byref(taken), answer, _SLICE, _SLICE
            )
            quiet = 0 if got or taken.value else quiet + _SLICE
            coming = coming[taken.value :]
            sent = answer.raw[:got]
            going = (going + (self._noise[1].apply(sent) if self._noise else sent))[:_WAITING]
            if going:
                with contextlib.suppress(BlockingIOError):
                    going = going[os.write(self._master, going) :]

    def close(self) -> None:
        """Stop the clock and take the terminal away."""
        if self._stop:
            return
        self._stop = True
        os.write(self._waker, b"\0")
        self._thread.join()
        self._library.board_close(self._handle)
        for descriptor in (self._master, self._slave, self._wake, self._waker):
            os.close(descriptor)

    def __enter__(self) -> "VirtualBoard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
