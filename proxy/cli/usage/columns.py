"""The usage record as columns of a table: each field's type in DuckDB, read from the record's own struct.

`query.py` reads the log with these, so that no type is guessed from a sample: a field that is null in the first
thousand lines, or an amount that looks like a float, would be guessed wrong. It names no field itself.
"""

import types
from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

_SCALARS = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}


def columns_of(record: type[msgspec.Struct], names: Iterable[str]) -> dict[str, str]:
    """The type of each field named, as `read_json` takes them.

    `usage.images` is a part of a field: what nobody asks for is not read, which is most of the work.
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        field, _, part = name.partition(".")
        parts.setdefault(field, []).extend([part] if part else [])
    shapes = get_type_hints(record)
    return {field: column_type(shapes[field], only) for field, only in parts.items()}


def column_type(shape: Any, only: Collection[str] = ()) -> str:
    """The type of one field, with `only` these parts, or all. Raises TypeError for what has none."""
    if shape in _SCALARS:
        return _SCALARS[shape]
    origin, arguments = get_origin(shape), get_args(shape)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return column_type(inner, only)
    if origin in (list, tuple):
        return f"{column_type(arguments[0], only)}[]"
    if origin is dict:
        return f"MAP({column_type(arguments[0])}, {column_type(arguments[1])})"
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        hints = get_type_hints(shape)
        names = [name for name in shape.__struct_fields__ if not only or name in only]
        members = ", ".join(f'"{name}" {column_type(hints[name])}' for name in names)
        return f"STRUCT({members})"
    if isinstance(shape, type) and issubclass(shape, Enum):
        return "VARCHAR"
    raise TypeError(f"no column type for {shape}")
