"""The compiled cycle model: ``simulation.cpp`` and its headers, made into a shared library."""

import ctypes
import functools
from pathlib import Path

from tritforge.common.cache import cached
from tritforge.sim.native import compiler, compiler_digest, run_tool

__all__ = ["load_library"]

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O2", "-march=native", "-fPIC", "-shared", "-fvisibility=hidden")

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
#: Results and arguments of its functions; ``simulation.cpp`` says what they do.
_FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "layer": (_INT, [_POINTER] * 6),
    "stream": (_INT, [_POINTER, _POINTER, _INT, _POINTER, _LONG, *[_POINTER] * 4]),
    "log_open": (_POINTER, []),
    "log_size": (_LONG, [_POINTER]),
    "log_close": (None, [_POINTER, _POINTER]),
    "counts": (None, [_POINTER, _LONG, _LONG, _INT, _INT, _INT, _POINTER]),
}


@functools.cache
def load_library(header: str) -> ctypes.CDLL:
    """The model with ``header`` as its ``machine.hpp``, from the cache or compiled now.

    Raises
    ------
    SimulatorError
        There is no compiler, or it failed.
    CacheError
        There is no room for the library.
    """
    sources = sorted([*_FOLDER.glob("*.hpp"), *_FOLDER.glob("*.cpp")])
    key = [header.encode(), " ".join(_FLAGS).encode(), compiler_digest()]
    key += [part for path in sources for part in (path.name.encode(), path.read_bytes())]
    target = cached("cycle_model", b"\0".join(key), lambda folder: _compile(header, folder))
    library = ctypes.CDLL(str(target))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, f"cycle_model_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _compile(header: str, folder: Path) -> Path:
    (folder / "machine.hpp").write_text(header, encoding="utf-8")
    built = folder / "cycle_model.so"
    run_tool(
        [compiler(), *_FLAGS, f"-I{folder}", str(_FOLDER / "simulation.cpp"), "-o", str(built)]
    )
    return built
