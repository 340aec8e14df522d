"""The version of the package, and of what it is made with."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_version", "tritforge_version"]


def package_version(name: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def tritforge_version() -> str:
    """Version of this package, stated once, in ``pyproject.toml``; ``unknown`` for sources that
    are not installed."""
    return package_version("tritforge") or "unknown"
