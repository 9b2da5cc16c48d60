"""Reads the price file, or says everything that is wrong with it; keeps a copy of each that was priced with.

`proxy/price_file.py` calls it and hands it the type to bind to: what a price means is not this room's to know.
The copies let any past record be priced again by the file of its own day.
"""

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_args

import msgspec

from proxy.config.bind import Binder, BindError, ConfigError

DEFAULT_NAME = "prices.toml"


class Prices(Protocol):
    """What a price file is bound to: a msgspec struct, too."""

    @property
    def date(self) -> date: ...

    def problems(self) -> Iterable[str]: ...


P = TypeVar("P", bound=Prices)


class Dated(msgspec.Struct, Generic[P], frozen=True):
    """A price file that passed every check, and its text."""

    prices: P
    version: str  # its date and the beginning of its SHA-256: two files never share one
    text: bytes

    def keep(self, folder: Path) -> Path:
        """Put a copy into `folder`, whole or not at all; nothing to do where there is one. Raises OSError."""
        copy = folder / f"{self.version}.toml"
        if copy.exists():
            return copy
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own: several workers keep the same file at the same moment.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".toml", delete=False) as draft:
            try:
                draft.write(self.text)
                draft.flush()
                os.fsync(draft.fileno())
                Path(draft.name).chmod(0o644)
                Path(draft.name).replace(copy)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
        return copy


def read_prices(file: Path, shape: type[P]) -> Dated[P]:
    """Raises ConfigError with every problem found."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(file, [f"cannot read it: {error.strerror}; name another as [server] prices"]) from error
    try:
        # Not floats: 0.1 would become 0.1000000000000000055, and a bill wrong in its last digit.
        document = tomllib.loads(text.decode(), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(file, [f"not valid TOML: {error}"]) from error
    prices, problems = _bind(document, shape)
    if prices is None or problems:
        raise ConfigError(file, problems)
    return Dated(prices, f"{prices.date.isoformat()}.{hashlib.sha256(text).hexdigest()[:8]}", text)


def _bind(document: dict[str, Any], shape: type[P]) -> tuple[P | None, list[str]]:
    """Table by table, because msgspec stops at the first problem and a file's author wants them all."""
    binder = Binder(Path())
    problems: list[str] = []
    fields = {field.name: field for field in msgspec.structs.fields(shape)}  # type: ignore[arg-type]  # a struct, too
    unknown = [key for key in document if key not in fields]
    problems += [f'unknown key "{key}"; known are: {", ".join(fields)}' for key in unknown]
    bound: dict[str, Any] = {}
    for key, field in fields.items():
        if key not in document:
            if field.required:
                problems.append(f'the key "{key}" is missing')
            continue
        inner = _entry_type(field.type)
        if inner is None or not isinstance(document[key], dict):
            bound[key] = _bound(binder, document[key], field.type, key, problems)
        else:
            bound[key] = {
                name: _bound(binder, table, inner, f'{key}."{name}"', problems) for name, table in document[key].items()
            }
    if problems:
        return None, problems
    prices = shape(**bound)
    return prices, list(prices.problems())


def _entry_type(shape: Any) -> Any:
    """Of a field that holds tables by name, the type of one."""
    args = get_args(shape)
    named = len(args) == 2 and isinstance(args[1], type) and issubclass(args[1], msgspec.Struct)
    return args[1] if named else None


def _bound(binder: Binder, value: Any, shape: Any, key: str, problems: list[str]) -> Any:
    try:
        return binder.bind(value, shape, key)
    except BindError as error:
        problems.append(error.problem)
        return None
