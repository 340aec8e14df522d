"""Options of the tests, and what those that are not marked ``compiles`` may not do."""

import argparse
import sys

import pytest

#: Parts of the names of programs that only tests marked ``compiles`` may start.
_COMPILERS = ("g++", "clang", "c++", "verilator", "iverilog", "yosys", "nextpnr")
_allowed = True


def seeds(text):
    """``3``, ``0-23`` or several of them with commas."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no seed and no range such as 0-23"
            ) from None
    return found


def pytest_addoption(parser):
    parser.addoption(
        "--seeds", type=seeds, help="seeds of the random networks, such as 7 or 100-200"
    )
    parser.addoption(
        "--no-compilers",
        action="store_true",
        help="tests that start a compiler, and are not marked 'compiles', fail; "
        "set TRITFORGE_CACHE to an empty folder with it",
    )


def watch(event, arguments):
    """Refuse to start compilers: `make check` would not be quick with an empty cache."""
    if event != "subprocess.Popen" or _allowed:
        return
    _, command, *_ = arguments
    words = [command] if isinstance(command, str) else [str(word) for word in command]
    if any(name in word.rpartition("/")[2] for word in words[:4] for name in _COMPILERS):
        if {"--version", "-V"} & set(words):
            return
        raise AssertionError(f"a test that starts {' '.join(words[:4])} is to be marked 'compiles'")


sys.addaudithook(watch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    global _allowed
    _allowed = (
        not item.config.getoption("no_compilers") or item.get_closest_marker("compiles") is not None
    )
    try:
        return (yield)
    finally:
        _allowed = True
