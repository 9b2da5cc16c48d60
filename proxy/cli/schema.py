"""`weir schema`: the JSON Schema of the routes file, for editors that complete and check TOML.

Made from the structs that the loader binds, each rewritten into what a file's author writes: durations, sizes,
paths and secrets are text there.
"""

import types
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import typer
from msgspec import NODEFAULT, Meta

from proxy.config.discovery import find_plugin, installed_plugins
from proxy.config.schema import RoutesFile
from proxy.units import Bytes, Seconds, Secret

_WRITTEN: dict[Any, Any] = {
    Seconds: Annotated[str, Meta(pattern=r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$", examples=["250ms", "30s", "90d"])],
    Bytes: Annotated[str, Meta(pattern=r"^\d+(\.\d+)?\s*(B|KiB|MiB|GiB)$", examples=["64 KiB", "8 MiB"])],
    Secret: Annotated[str, Meta(pattern="^(env|file):.+", examples=["env:GEMINI_API_KEY"])],
    Path: Annotated[str, Meta(description="A path; a relative one starts at the folder of this file.")],
}
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))


def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of the routes file."""
    typer.echo(msgspec.json.format(msgspec.json.encode(routes_schema()), indent=2).decode())


def routes_schema() -> dict[str, Any]:
    """The routes file with the table of every installed plugin in its place."""
    names = installed_plugins()
    shapes = [as_written(RoutesFile), *(_named(name, find_plugin(name).Config) for name in names)]
    refs, components = msgspec.json.schema_components(shapes, ref_template="#/$defs/{name}")
    components["RoutesFile"]["properties"]["plugins"] = {
        "type": "object",
        "properties": dict(zip(names, refs[1:], strict=True)),
        "additionalProperties": {"type": "object", "required": ["use"], "properties": {"use": {"type": "string"}}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gemini-weir routes file",
        **refs[0],
        "$defs": components,
    }


def _named(name: str, config: type) -> type:
    """A plugin's Config under its plugin's name, with the key that every plugin's table may hold."""
    written = as_written(config)
    use = ("use", str, msgspec.field(default=name))
    return msgspec.defstruct(f"plugin_{name}", [use], bases=(written,), kw_only=True, forbid_unknown_fields=True)


@cache
def as_written(shape: Any) -> Any:
    """The same shape as text and tables; structs keep their name and documentation."""
    if shape in _WRITTEN:
        return _WRITTEN[shape]
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return msgspec.defstruct(
            shape.__name__,
            [(field.encode_name, as_written(field.type), _default(field)) for field in msgspec.structs.fields(shape)],
            kw_only=True,
            forbid_unknown_fields=True,
            namespace={"__doc__": shape.__doc__},
        )
    origin, arguments = get_origin(shape), tuple(map(as_written, get_args(shape)))
    if origin in (Union, types.UnionType):
        return Union[arguments]  # noqa: UP007  # built at run time
    return origin[arguments] if origin in (list, dict, tuple, set, frozenset) else shape


def _default(field: msgspec.structs.FieldInfo) -> Any:
    default = field.default
    if default is NODEFAULT:
        return msgspec.field() if field.default_factory is NODEFAULT else msgspec.field(default_factory=dict)
    if isinstance(default, Seconds):
        return f"{default:g}s"
    if isinstance(default, Bytes):
        unit, size = next((unit, size) for unit, size in _UNITS if default % size == 0)
        return f"{default // size} {unit}"
    return str(default) if isinstance(default, Path) else msgspec.field(default_factory=lambda: default)
