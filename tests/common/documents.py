"""Documents with one value wrong: everywhere in a document, in turn."""

from collections.abc import Iterator

from tritforge.common.json_types import Json

__all__ = ["broken", "every_place", "other_types"]

#: By the type that a value has: others of which none can stand in its place. Where there is
#: nothing, a number, string or list might be meant, but neither of these.
_OTHERS: dict[type, tuple[Json, ...]] = {
    dict: (None, True, 7, 0.5, "x", []),
    list: (None, True, 7, 0.5, "x", {}),
    str: (None, True, 7, 0.5, [], {}),
    bool: (None, 7, 0.5, "x", [], {}),
    int: (None, True, 0.5, "x", [], {}),
    float: (None, True, "x", [], {}),
    type(None): (True, {}),
}


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


def other_types(document: Json, optional: set[str], path: str = "") -> Iterator[tuple[str, Json]]:
    """Where a value was replaced by one of another type, and the document with that.

    Of lists, the first item stands for all. Null is no replacement in fields called as one of
    ``optional``.
    """
    if isinstance(document, dict):
        for key, value in document.items():
            for where, other in other_types(value, optional, f"{path}.{key}".lstrip(".")):
                yield where, {**document, key: other}
    elif isinstance(document, list) and document:
        for where, other in other_types(document[0], optional, f"{path}[0]"):
            yield where, [other, *document[1:]]
    for other in _OTHERS[type(document)]:
        if other is not None or path.rpartition(".")[2] not in optional:
            yield path, other
