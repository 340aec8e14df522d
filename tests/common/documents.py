"""Documents with one value wrong: everywhere in a document, in turn."""

from collections.abc import Iterator

from tritforge.common.json_types import Json

__all__ = ["broken", "every_place"]


class Wrong:
    """A value that JSON has not, so that no field may hold it."""

    def __repr__(self) -> str:
        return "wrong"


def every_place(document: Json) -> Iterator[tuple[str | int, ...]]:
    """Paths to all values in a document; of a list's items the first and the last are enough."""
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = sorted({0, len(document) - 1}) if document else []
    else:
        return
    for key in keys:
        yield (key,)
        for rest in every_place(document[key]):
            yield (key, *rest)


def broken(document: Json, path: tuple[str | int, ...]) -> Json:
    """A copy in which what stands at a path is of no type that JSON has."""
    if not path:
        return Wrong()
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = broken(copy[path[0]], path[1:])
    return copy
