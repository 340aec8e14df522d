"""The version of the package, and of what it is made with."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_version", "tritforge_version"]


def package_version(name: str) -> str:
    """Version of an installed package; ``unknown`` where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def tritforge_version() -> str:
    """Version of this package, stated once, in ``pyproject.toml``."""
    return package_version("tritforge")
