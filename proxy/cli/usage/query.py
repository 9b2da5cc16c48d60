"""The usage log as a table that SQL can be asked about: DuckDB reads the files, plain or gzipped, once.

The commands that sum and export call it. It keeps no line back in silence: what is no record is counted by file, what
repeats a charge is counted, and an amount that the table cannot hold exactly is counted. Nothing is installed or
fetched: DuckDB's own extensions stay as they came.
"""

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from proxy.cli.usage.columns import columns_of
from proxy.cli.usage.lines import printable
from proxy.cli.usage.progress import reading
from proxy.cli.usage.scope import Scope, size_of
from proxy.cli.usage.stream import inflates_or_exit
from proxy.record import UsageRecord

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# An amount may have any number of decimals: it is a count, a rate, a factor and a currency's rate multiplied out, and
# never rounded. A sum of the first 18 and a sum of the next 20 are exact together; 18 alone do for what Google charges.
AMOUNT = "DECIMAL(38, 18)"
_HEAD_PLACES = 18
_TAIL_PLACES = 20
_PLACES = _HEAD_PLACES + _TAIL_PLACES
_MACROS = f"""
    CREATE MACRO decimals(written) AS split_part(written, '.', 2);
    CREATE MACRO amount(written) AS try_cast(
        CASE WHEN length(decimals(written)) > {_HEAD_PLACES}
             THEN left(written, strpos(written, '.') + {_HEAD_PLACES}) ELSE written END AS {AMOUNT});
    CREATE MACRO amount_rest(written) AS
        CASE WHEN length(decimals(written)) > {_HEAD_PLACES}
             THEN try_cast(rpad(substr(decimals(written), {_HEAD_PLACES + 1}), {_TAIL_PLACES}, '0') AS HUGEINT)
             ELSE 0 END;
"""
_EXACT = Context(prec=80)
_ALWAYS = ("id", "time", "once", "usage_state", "team", "model")
# Which record of what is charged once counts: an interaction in the background has an estimate before it has counts,
# and results that were read in part must not make the rest free.
_CHARGED = ("id", "time", "once", "usage_state", "cost")
_BEST = (
    "(list_position(['final', 'partial', 'none'], usage_state),"
    " CASE usage_state WHEN 'final' THEN 0 ELSE -coalesce(try_cast(cost AS DOUBLE), -1) END, time, id)"
)
# Files read by one statement: gzip is inflated by one thread a file, and between statements progress is shown.
_BATCH_FILES = 8
_BATCH_BYTES = 256 << 20
# A machine of many cores would otherwise hold a read buffer for each, and sort by a large part of the memory.
_THREADS = 8
_MEMORY = "2GB"
_IS_RECORD = "id IS NOT NULL AND time IS NOT NULL"


class Reading(msgspec.Struct, frozen=True):
    """What was found beside the records that count."""

    malformed: dict[str, int]  # lines that are no record, by file
    repeated: int  # records of something that another one charges
    unreadable: int  # amounts that are no decimals, or have more places than any price makes

    def notes(self) -> Iterator[str]:
        """Each finding for a person; none when all is well."""
        for file, count in self.malformed.items():
            yield f"{file}: {_times(count, 'line')} that {'is' if count == 1 else 'are'} no usage record, not counted"
        if self.repeated:
            yield f"{_times(self.repeated, 'record')} of what another record charges, not counted"
        if self.unreadable:
            yield f"{_times(self.unreadable, 'amount')} that cannot be added: sums are too low"


@contextmanager
def records_of(scope: Scope, fields: Iterable[str]) -> Iterator[tuple["DuckDBPyConnection", Reading]]:
    """A connection whose table `records` has these fields of every record of the scope. May exit.

    `usage.images` is a part of a field, and the others of its parts are not there.
    """
    types = columns_of(UsageRecord, (*_ALWAYS, *fields))
    with TemporaryDirectory(prefix="weir-usage-") as folder, _engine(folder) as connection:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
        connection.execute(f"CREATE TABLE records ({columns}, filename VARCHAR)")
        conditions, values = _conditions(scope)
        # What is no record comes as a row of nulls, and is kept to be counted; what is charged once, to find the one.
        source = f"SELECT {', '.join(types)}, filename FROM {_read_json(types)}"
        wanted = f"NOT ({_IS_RECORD}) OR once IS NOT NULL OR ({conditions})"
        with reading(scope.size_bytes) as advance:
            for batch in _batches(scope.files):
                _look_whether_whole(batch)
                connection.execute(f"INSERT INTO records {source} WHERE {wanted}", [_patterns(batch), *values])
                advance(sum(size_of(file) for file in batch))
        malformed = connection.execute(
            f"SELECT filename, count(*) FROM records WHERE NOT ({_IS_RECORD}) GROUP BY filename ORDER BY filename"
        ).fetchall()
        connection.execute(f"DELETE FROM records WHERE NOT ({_IS_RECORD})")
        repeated = _forget_repeats(connection, scope, conditions, values)
        yield connection, Reading(dict(malformed), repeated, _unreadable(connection, types))


def sum_of(field: str) -> str:
    """Two columns whose values `exact` makes one sum of."""
    return f"sum(amount({field})), sum(amount_rest({field}))"


def exact(head: Decimal | None, rest: int | None) -> Decimal | None:
    """The sum of which `sum_of` gave two parts; None where there was nothing to add."""
    return None if head is None else _EXACT.add(head, Decimal(rest or 0).scaleb(-_PLACES, _EXACT))


def literal(text: str | Path) -> str:
    """A text in SQL, where a parameter cannot stand."""
    return "'" + str(text).replace("'", "''") + "'"


@contextmanager
def _engine(folder: str) -> Iterator["DuckDBPyConnection"]:
    try:
        import duckdb  # an optional extra
    except ImportError:
        typer.echo("this needs DuckDB, the extra `report`: pip install 'gemini-weir[report]'", err=True)
        raise typer.Exit(1) from None
    settings: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "memory_limit": _MEMORY,
        "preserve_insertion_order": False,
        "temp_directory": folder,
        "threads": min(_THREADS, os.cpu_count() or 1),
    }
    try:
        with duckdb.connect(config=settings) as connection:
            connection.execute(_MACROS)
            connection.execute("SET enable_progress_bar = false")
            yield connection
    except duckdb.Error as error:
        said = str(error).partition("\n")[0]  # then it quotes SQL
        typer.echo(f"cannot read or write it: {printable(said)}", err=True)
        raise typer.Exit(1) from None


def _read_json(types: Mapping[str, str]) -> str:
    columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in types.items())
    return (
        "read_json(?, format = 'newline_delimited', ignore_errors = true, filename = true, "
        f"maximum_object_size = {64 << 20}, columns = {{{columns}}})"
    )


def _conditions(scope: Scope) -> tuple[str, list[str]]:
    conditions = {
        "time >= ?": scope.since,
        "time < ?": scope.until,
        "team = ?": scope.team,
        "coalesce(model, '') GLOB ?": scope.model,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return " AND ".join(given) or "true", list(given.values())


def _forget_repeats(connection: "DuckDBPyConnection", scope: Scope, conditions: str, values: list[str]) -> int:
    """Keep one record of what is charged once, and of these only what the scope wants. How many went.

    It is the first of those whose counts are final; without any, the dearest of those whose counts are partial.
    """
    names = ", ".join(_CHARGED)
    connection.execute(f"CREATE TABLE charged AS SELECT {names} FROM records WHERE once IS NOT NULL")
    if scope.earlier and connection.execute("SELECT count(*) FROM charged").fetchall() != [(0,)]:
        source = f"SELECT {names} FROM {_read_json(columns_of(UsageRecord, _CHARGED))}"
        wanted = "once IN (SELECT once FROM charged)"
        for batch in _batches(scope.earlier):
            _look_whether_whole(batch)
            connection.execute(f"INSERT INTO charged {source} WHERE {wanted}", [_patterns(batch)])
    connection.execute(f"CREATE TABLE counting AS SELECT arg_min(id, {_BEST}) AS id FROM charged GROUP BY once")
    connection.execute(
        f"DELETE FROM records WHERE NOT coalesce({conditions}, false)",
        values,
    )
    repeats = "once IS NOT NULL AND id NOT IN (SELECT id FROM counting)"
    ((count,),) = connection.execute(f"SELECT count(*) FROM records WHERE {repeats}").fetchall()
    connection.execute(f"DELETE FROM records WHERE {repeats}")
    return int(count)


def _unreadable(connection: "DuckDBPyConnection", names: Collection[str]) -> int:
    amounts = [name for name in ("cost", "price") if name in names]
    counts = [
        f"count(*) FILTER ({name} IS NOT NULL AND "
        f"(amount({name}) IS NULL OR amount({name}) < 0 OR length(decimals({name})) > {_PLACES}))"
        for name in amounts
    ]
    if not counts:
        return 0
    ((count,),) = connection.execute(f"SELECT {' + '.join(counts)} FROM records").fetchall()
    return int(count)


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    for file in files:
        batch.append(file)
        if len(batch) == _BATCH_FILES or sum(size_of(member) for member in batch) >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _look_whether_whole(files: Iterable[Path]) -> None:
    for file in files:
        if file.suffix == ".gz":
            inflates_or_exit(file)


def _patterns(files: Iterable[Path]) -> list[str]:
    """Paths as DuckDB takes them: a `[` in one would be a pattern."""
    return [glob.escape(str(file)) for file in files]


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
