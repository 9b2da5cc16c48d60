"""Binds one TOML table to its struct, with errors a file's author can act on.

Called by `load.py` table by table, so that every error can name the key in full. Secrets are resolved here,
and only here: `env:NAME` and `file:PATH`.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from proxy.units import Bytes, Seconds, Secret

T = TypeVar("T")
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]+)`")
_CHOSEN = re.compile(r"Invalid enum value '(?P<word>.*)'", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]+)`")


class ConfigError(Exception):
    """A routes file, or a price file, that cannot be used: every problem found, each with the key it is about."""

    def __init__(self, file: Path, problems: list[str]) -> None:
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))
        self.file = file
        self.problems = problems


class BindError(Exception):
    """One table that does not fit; `problem` starts with the key's full name."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Binder:
    """Turns tables of one file into structs.

    Args:
        folder: where relative paths start.
        with_secrets: False leaves secrets empty, for commands that need none (`weir keys`, `weir usage`).
    """

    def __init__(self, folder: Path, *, with_secrets: bool = True) -> None:
        self._folder = folder
        self._with_secrets = with_secrets

    def bind(self, table: Any, shape: type[T], key: str) -> T:
        """Raises BindError that names `key` and what below it is wrong."""
        try:
            return msgspec.convert(table, shape, dec_hook=self._value)
        except msgspec.ValidationError as error:
            raise BindError(_in_words(str(error), key, shape)) from None

    def _value(self, shape: type, value: Any) -> Any:
        parse: Callable[[str], Any] | None = {
            Seconds: Seconds.parse,
            Bytes: Bytes.parse,
            Path: self._path,
            Secret: self._secret,
        }.get(shape)
        if parse is None:
            raise NotImplementedError(f"a setting cannot be of type {shape.__name__}")
        if not isinstance(value, str):
            found = type(value).__name__ if shape is Secret else repr(value)
            raise ValueError(f"expected text, found {found}")  # noqa: TRY004  # msgspec reports ValueError with its place
        return parse(value)

    def _path(self, text: str) -> Path:
        # Not resolve(): a Kubernetes mount is a symbolic link that moves, and must be followed at each read.
        return Path(os.path.normpath(self._folder / Path(text).expanduser()))

    def _secret(self, text: str) -> Secret:
        kind, _, name = text.partition(":")
        if kind not in ("env", "file") or not name:
            raise ValueError('a secret is never written here: use "env:NAME" or "file:PATH"')
        if not self._with_secrets:
            return Secret("", text)
        if kind == "env":
            value = os.environ.get(name, "").strip()
            if not value:
                raise ValueError(f"the environment variable {name} is not set; export {name}=... and start again")
        else:
            try:
                value = self._path(name).read_text().strip()
            except OSError as error:
                raise ValueError(f"cannot read the secret's file {name}: {error.strerror}") from error
            if not value:
                raise ValueError(f"the secret's file {name} is empty")
        if not (value.isascii() and value.isprintable()):
            raise ValueError("the secret holds a line break or a character that no header can carry")
        return Secret(value, text)


def _in_words(message: str, key: str, shape: type) -> str:
    match = _AT.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    place = key + path
    if unknown := _UNKNOWN.match(what):
        known = _fields_at(shape, path)
        return f'{place}: unknown key "{unknown["key"]}"' + (f"; known are: {known}" if known else "")
    if missing := _MISSING.match(what):
        return f'{place}: the key "{missing["key"]}" is missing'
    if (chosen := _CHOSEN.match(what)) and (words := _words_at(shape, path)):
        return f'{place}: expected one of {words}, found "{chosen["word"]}"'
    return f"{place}: {what[:1].lower()}{what[1:]}".replace("`", '"')


def _fields_at(shape: Any, path: str) -> str:
    """The keys that a table may hold."""
    shape = _type_at(shape, path)
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return ", ".join(field.encode_name for field in msgspec.structs.fields(shape))
    return ""


def _words_at(shape: Any, path: str) -> str:
    """The words that a setting may be."""
    shape = _type_at(shape, path)
    literals = [shape, *get_args(shape)]  # itself, or one of a union
    return ", ".join(
        f'"{word}"' for literal in literals if get_origin(literal) is Literal for word in get_args(literal)
    )


def _type_at(shape: Any, path: str) -> Any:
    """Found by walking the struct along msgspec's path; of a list or a union, the struct in it if there is one."""
    for step in re.findall(r"\.(\w+)|\[[^\]]*\]", path):
        inner = {field.name: field.type for field in msgspec.structs.fields(shape)}.get(step) if step else None
        if step:
            shape = inner
        args = [arg for arg in getattr(shape, "__args__", ()) if isinstance(arg, type) and arg is not type(None)]
        shape = next((arg for arg in args if issubclass(arg, msgspec.Struct)), shape)
    return shape
