"""Frozen values as rows of JSON and back, in one place.

JSON knows neither NaN nor infinity. Both are written as null, and null is read as NaN where a field holds a float.
Tuples are written as lists, and read as the field's type says.
"""

import json
import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Row:
    """Base of a frozen dataclass that crosses borders: it gives `to_row` and `from_row`."""

    __slots__ = ()

    def to_row(self) -> dict[str, Any]:
        """Plain JSON values by the names of the fields."""
        return field_row(self)

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """The value that `to_row` wrote. Raises `ValueError` naming the field that is missing, unknown or wrong."""
        return from_row(cls, row)


def to_row(value: Any) -> Any:
    """`value` as JSON knows it: dataclasses are objects, tuples lists, keys text, NaN and infinity None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Row):
        return value.to_row()
    if is_dataclass(value) and not isinstance(value, type):
        return field_row(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): to_row(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_row(item) for item in value]
    return value


def field_row(value: Any) -> dict[str, Any]:
    """All fields of a dataclass as JSON knows them, in their order."""
    return {item.name: to_row(getattr(value, item.name)) for item in fields(value)}


def dump_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> bytes:
    """`to_row(value)` as JSON in UTF-8; text that is no Unicode (a lone surrogate) is escaped."""
    row = to_row(value)
    try:
        return json.dumps(row, indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(row, indent=indent, sort_keys=sort_keys, allow_nan=False).encode()


def load_json(data: bytes | str) -> Any:
    """What JSON text says. Raises `ValueError` for text that is none, and for one nested too deep to read."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def from_row(kind: type[T], row: Any) -> T:
    """The value of type `kind` that `to_row` wrote as `row`.

    Whole numbers stay whole in a field of floats, so that writing again gives the same bytes.
    Raises `ValueError` naming the field that is missing, unknown or of another type.
    """
    reader: _Reader = _reader(kind)  # type: ignore[arg-type]
    found: T = reader(row, "")
    return found


_MOST = 10**300  # larger whole numbers are no floats
_Reader = Callable[[Any, str], Any]


def _wrong(place: str, expected: str, found: Any) -> ValueError:
    try:
        shown = repr(found)
    except (RecursionError, ValueError):  # lists in lists in lists, a number of thousands of digits
        shown = f"a {type(found).__name__}"
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return ValueError(
        f"'{place}' should be {expected}, found {shown}" if place else f"expected {expected}, got {shown}"
    )


@cache
def _reader(hint: Any) -> _Reader:
    """A function that reads a JSON value (and the name of its place, for errors) as this type."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return lambda value, place: value
    if hint is float:
        return _read_float
    if hint in _PLAIN:
        return _plain_reader(hint)
    if origin is Literal:
        return _literal_reader(parts)
    if origin in (Union, types.UnionType):
        return _union_reader(parts)
    if origin is tuple:
        return _sequence_reader(parts[0], tuple) if parts[-1] is Ellipsis else _fixed_reader(parts)
    if origin is list:
        return _sequence_reader(parts[0], list)
    if origin is dict:
        return _dict_reader(parts[1])
    if is_dataclass(hint):
        return _dataclass_reader(hint)
    raise TypeError(f"rows cannot hold {hint}")


_PLAIN: dict[Any, str] = {int: "a whole number", bool: "true or false", str: "text", dict: "an object", list: "a list"}


def _read_float(value: Any, place: str) -> Any:
    if value is None:
        return math.nan
    if type(value) not in (float, int) or (type(value) is int and abs(value) > _MOST):
        raise _wrong(place, "a number or null", value)
    return value


def _plain_reader(kind: type) -> _Reader:
    def read(value: Any, place: str) -> Any:
        if type(value) is not kind or (type(value) is int and abs(value) > _MOST):
            raise _wrong(place, _PLAIN[kind], value)
        return value

    return read


def _literal_reader(words: tuple[Any, ...]) -> _Reader:
    def read(value: Any, place: str) -> Any:
        if value not in words:
            raise _wrong(place, f"one of {', '.join(map(str, words))}", value)
        return value

    return read


def _union_reader(parts: tuple[Any, ...]) -> _Reader:
    optional = type(None) in parts
    readers = [_reader(part) for part in parts if part is not type(None)]

    def read(value: Any, place: str) -> Any:
        if value is None and optional:
            return None
        for number, reader in enumerate(readers, 1):
            try:
                return reader(value, place)
            except ValueError:
                if number == len(readers):
                    raise
        return value

    return read


def _sequence_reader(part: Any, kind: type) -> _Reader:
    reader = _reader(part)

    def read(value: Any, place: str) -> Any:
        if type(value) not in (list, tuple):
            raise _wrong(place, "a list", value)
        if part in _PLAIN and {type(item) for item in value} <= {part}:
            return kind(value)
        return kind(reader(item, f"{place}[{number}]") for number, item in enumerate(value))

    return read


def _fixed_reader(parts: tuple[Any, ...]) -> _Reader:
    readers = [_reader(part) for part in parts]

    def read(value: Any, place: str) -> Any:
        if type(value) not in (list, tuple) or len(value) != len(readers):
            raise _wrong(place, f"a list of {len(readers)}", value)
        return tuple(one(item, f"{place}[{n}]") for n, (one, item) in enumerate(zip(readers, value, strict=True)))

    return read


def _dict_reader(part: Any) -> _Reader:
    reader = _reader(part)

    def read(value: Any, place: str) -> Any:
        if type(value) is not dict:
            raise _wrong(place, "an object", value)
        return {key: reader(item, f"{place}.{key}" if place else key) for key, item in value.items()}

    return read


def _dataclass_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = {item.name: _reader(hints[item.name]) for item in fields(kind) if item.init}
    needed = [f.name for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]

    def read(value: Any, place: str) -> Any:
        if type(value) is not dict:
            raise _wrong(place, f"an object ({kind.__name__})", value)
        at = f"{place}." if place else ""
        unknown = [name for name in value if name not in readers]
        if unknown:
            raise ValueError(f"'{at}{unknown[0]}' is no field of {kind.__name__}")
        lacking = [name for name in needed if name not in value]
        if lacking:
            raise ValueError(f"'{at}{lacking[0]}' is missing")
        return kind(**{name: readers[name](item, f"{at}{name}") for name, item in value.items()})

    return read
