"""Dataclasses as JSON and back, with the type of every value checked.

A document is a dataclass that derives from :class:`JsonObject`. Its keys are its fields, in their
order. A field's annotation says what may be there:

================================  ================================================================
annotation                        JSON
================================  ================================================================
``bool``, ``str``, ``None``       that
``int``                           a whole number of at most 64 bits; ``true`` is none
``float``                         a finite number; a whole one is taken as it is, as an ``int``
``Literal[...]``                  one of these strings or numbers
``list[T]``, ``Sequence[T]``      a list
``tuple[T, ...]``                 a list; for ``tuple[T, U]`` of that length
``dict[str, T]``, ``Mapping``     an object with any keys
another dataclass                 an object with its fields
``T | U``                         either; at most one of them an object, one a list, one none of
                                  all these
:data:`Json`                      anything
================================  ================================================================

``field(metadata=named("key"))`` has another key, and one with ``metadata=SPARSE`` is left out where
it has its default. A key may be missing where its field has a default; keys that no field has are
ignored, so that a later version may add some.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Literal,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from tritforge.common.errors import TritforgeError

__all__ = [
    "SPARSE",
    "Json",
    "JsonError",
    "JsonObject",
    "dump",
    "from_json",
    "named",
    "parse",
    "to_json",
]

if TYPE_CHECKING:
    Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
else:
    Json = object

#: Metadata of a dataclass's field that is left out of JSON where it has its default.
SPARSE: Mapping[str, bool] = {"sparse": True}

T = TypeVar("T")
_SCALARS = {bool: "true or false", str: "a string", NoneType: "null"}
_SCALARS |= {int: "a whole number of at most 64 bits", float: "a number"}


class JsonError(TritforgeError, ValueError):
    """A document that is not what it should be; the message says where and what is wrong."""


class JsonObject:
    """Base of dataclasses that are JSON objects."""

    def to_json(self) -> dict[str, Json]:
        """JSON values, as :func:`to_json` gives them."""
        value = to_json(self)
        assert isinstance(value, dict)
        return value

    @classmethod
    def from_json(cls, value: object, where: str = "the document") -> Self:
        """Inverse of :meth:`to_json`; ``where`` and errors as for :func:`from_json`."""
        return from_json(cls, value, where)


def named(key: str) -> Mapping[str, str]:
    """Metadata of a dataclass's field whose key in JSON is ``key``."""
    return {"json": key}


def to_json(value: object, default: Callable[[object], object] | None = None) -> Json:
    """Dataclasses as objects, tuples as lists; the rest must be what JSON has.

    Parameters
    ----------
    default : callable, optional
        Gives something else for a value that JSON does not have, as for ``json.dumps``.

    Raises
    ------
    TypeError
        A value that JSON does not have.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value):
        parts = ((one, getattr(value, one.name)) for one in dataclasses.fields(value))
        return {_key(one): to_json(part, default) for one, part in parts if _is_shown(one, part)}
    if isinstance(value, Mapping):
        return {key: to_json(one, default) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one, default) for one in value]
    if default is None:
        raise TypeError(f"JSON has no {type(value).__name__}")
    return to_json(default(value))


def from_json(
    kind: type[T],
    value: object,
    where: str = "the document",
    other: Callable[[object, object, str], object] | None = None,
) -> T:
    """A value of type ``kind``, one of the annotations above, from JSON values.

    Parameters
    ----------
    where : str
        What messages call the document, for instance ``report.json``.
    other : callable, optional
        Inverse of ``default`` in :func:`to_json`: given an annotation that is not above, the value,
        and where it is ("report.json: layers[2].codes"), what stands for it.

    Raises
    ------
    JsonError
        "report.json: layers[2].cycles is 'x', not a whole number of at most 64 bits",
        "report.json: layers[2] lacks 'cycles'", and where a dataclass refuses its fields with a
        ``ValueError``: "report.json: layers[2]: " and its sentence.
    """
    return cast(T, _Reader(where, other).read(kind, value, ""))


def parse(text: str | bytes) -> object:
    """The JSON value that a text holds; NaN and infinities are refused.

    Raises
    ------
    JsonError
        The message begins with "is not JSON".
    """
    try:
        return json.loads(text, parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"is not JSON: {error}") from error


def dump(document: object) -> str:
    """JSON text of a document, as all commands print and write it."""
    return json.dumps(to_json(document), indent=2, allow_nan=False) + "\n"


def _not_finite(name: str) -> float:
    raise ValueError(f"{name} is no number that JSON has")


def _key(field: "dataclasses.Field[object]") -> str:
    return str(field.metadata.get("json", field.name))


def _is_shown(field: "dataclasses.Field[object]", value: object) -> bool:
    """Whether JSON has a field with this value."""
    if not field.metadata.get("sparse", False):
        return True
    return type(value) is not type(field.default) or value != field.default


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


class _Reader:
    """Reads parts of a document; ``path`` leads to them."""

    def __init__(self, where: str, other: Callable[[object, object, str], object] | None) -> None:
        self.where, self.other = where, other

    def read(self, kind: object, value: object, path: str) -> object:
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is object or _is_scalar(kind, value):
            return value
        if origin in (Union, UnionType):
            for one in arguments:
                if _is_scalar(one, value) or _container(one) is type(value):
                    return self.read(one, value, path)
            for one in arguments:
                if self.other is not None and not _is_known(one):
                    return self.other(one, value, self.at(path))
        elif isinstance(value, dict) and _container(kind) is dict:
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                return self.fields(kind, value, path)
            return {
                key: self.read(arguments[1], one, f"{path}.{key}") for key, one in value.items()
            }
        elif isinstance(value, list) and _container(kind) is list:
            fixed = origin is tuple and arguments[-1] is not ...
            kinds = arguments if fixed else arguments[:1] * len(value)
            if len(kinds) == len(value):
                pairs = enumerate(zip(kinds, value, strict=True))
                read = [self.read(*pair, f"{path}[{number}]") for number, pair in pairs]
                return tuple(read) if origin is tuple else read
        elif self.other is not None and not _is_known(kind):
            return self.other(kind, value, self.at(path))
        shown = f"a list of {len(value)}" if isinstance(value, list) else f"{value!r:.60}"
        shown = "an object" if isinstance(value, dict) else shown
        raise JsonError(f"{self.at(path)} is {shown}, not {_wanted(kind)}")

    def fields(self, kind: type, values: Mapping[str, object], path: str) -> object:
        found = {}
        for field in dataclasses.fields(kind):
            key = _key(field)
            if key in values:
                found[field.name] = self.read(
                    _hints(kind)[field.name], values[key], f"{path}.{key}"
                )
            elif field.default is field.default_factory:  # neither is there
                raise JsonError(f"{self.at(path)} lacks {key!r}")
        try:
            return kind(**found)
        except ValueError as error:
            raise JsonError(f"{self.at(path)}: {error}") from error

    def at(self, path: str) -> str:
        return f"{self.where}: {path.lstrip('.')}" if path else self.where


def _is_known(kind: object) -> bool:
    """Whether an annotation is one of those above."""
    return kind in _SCALARS or get_origin(kind) is Literal or _container(kind) is not None


def _is_scalar(kind: object, value: object) -> bool:
    """Whether ``value`` is of a type without parts."""
    if get_origin(kind) is Literal:
        return any(type(one) is type(value) and one == value for one in get_args(kind))
    if kind is int or (kind is float and type(value) is int):
        return type(value) is int and abs(value) < 1 << 63
    if isinstance(value, float):
        return kind is float and math.isfinite(value)
    return kind in (bool, str, NoneType) and type(value) is kind


def _container(kind: object) -> type | None:
    """``dict`` or ``list``, where JSON has one for a type."""
    origin = get_origin(kind)
    if origin in (dict, Mapping) or dataclasses.is_dataclass(kind):
        return dict
    return list if origin in (list, tuple, Sequence) else None


def _wanted(kind: object) -> str:
    """What an annotation asks for, in words."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, arguments))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_wanted, arguments))
    if get_origin(kind) is tuple and arguments[-1] is not ...:
        return f"a list of {len(arguments)}"
    if kind in _SCALARS:
        return _SCALARS[kind]
    container = _container(kind)
    return str(kind) if container is None else "an object" if container is dict else "a list"
