"""Options of the tests."""

import argparse


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
