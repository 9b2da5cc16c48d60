"""The usage log record by record, for what needs each of them whole: one line in memory at a time.

`reprice.py` reads through it, and `query.py` has it look whether gzipped files are whole. A line that is no record is
handed out as None, to be counted: passing it over would hide money.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import typer
from isal import igzip
from isal.igzip_lib import IsalError

from proxy.cli.usage.progress import reading
from proxy.cli.usage.scope import Scope
from proxy.record import UsageRecord

_decoder = msgspec.json.Decoder(UsageRecord)
_LINES_A_STEP = 5000  # between two looks at how far the file is
_BLOCK_BYTES = 1 << 20
# EOFError: it was cut. isal declares its exception to be an instance.
_BROKEN = (OSError, EOFError, cast(type[Exception], IsalError))


def records_in(scope: Scope) -> Iterator[UsageRecord | None]:
    """Every record of the scope, file by file; None for each line that is none. May exit."""
    with reading(scope.size_bytes) as advance:
        for file in scope.files:
            try:
                for line in _lines(file, advance):
                    try:
                        record = _decoder.decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        yield None
                        continue
                    if wants(scope, record):
                        yield record
            except _BROKEN as error:
                raise _cannot_read(file, error) from None


def inflates_or_exit(file: Path) -> None:
    """Read a gzipped file to its end, by its checksum: DuckDB takes the first damage for the end. May exit."""
    try:
        with file.open("rb") as raw, closing(_inflated(raw, file)) as source:
            while source.read(_BLOCK_BYTES):
                pass
    except _BROKEN as error:
        raise _cannot_read(file, error) from None


def _cannot_read(file: Path, error: Exception) -> typer.Exit:
    typer.echo(f"cannot read {file}: {error}", err=True)
    return typer.Exit(1)


def wants(scope: Scope, record: UsageRecord) -> bool:
    """Whether a record counts, as `query.py` asks it of a table."""
    return (
        (scope.since is None or record.time >= scope.since)
        and (scope.until is None or record.time < scope.until)
        and (scope.team is None or record.team == scope.team)
        and (scope.model is None or fnmatchcase(record.model or "", scope.model))
    )


def _lines(file: Path, advance: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as raw, closing(_inflated(raw, file)) as source:
        before = 0
        for number, line in enumerate(source, start=1):
            if line.strip():
                yield line
            if number % _LINES_A_STEP == 0:
                advance(raw.tell() - before)
                before = raw.tell()
        advance(raw.tell() - before)


def _inflated(raw: BinaryIO, file: Path) -> BinaryIO:
    return cast(BinaryIO, igzip.open(raw)) if file.suffix == ".gz" else raw  # type: ignore[no-untyped-call]
