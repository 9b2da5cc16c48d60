"""`weir usage export`: the records, flattened, or the bill as FOCUS rows, for a spreadsheet, a warehouse, a cost tool.

DuckDB writes the file. Amounts keep every digit: as text in CSV and JSON, as decimals in Parquet.
"""

import types
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import typer

from proxy.cli.settings import DEFAULT_CONFIG, Config
from proxy.cli.usage.focus import FIELDS as FOCUS_FIELDS
from proxy.cli.usage.focus import focus_query
from proxy.cli.usage.query import AMOUNT, literal, records_of
from proxy.cli.usage.scope import In, Model, More, Since, Team, Until, scope_or_exit
from proxy.record import UsageRecord

Format = Literal["csv", "json", "parquet"]
_WRITTEN = {"csv": "FORMAT csv, HEADER true", "json": "FORMAT json", "parquet": "FORMAT parquet, COMPRESSION zstd"}
_AMOUNTS = ("cost", "price")


def export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    config: Config = DEFAULT_CONFIG,
    focus: Annotated[bool, typer.Option("--focus", help="FOCUS 1.2 rows instead of records.")] = False,
    account: Annotated[
        str | None,
        typer.Option("--billing-account", help="BillingAccountId of FOCUS rows; else the endpoint.", metavar="ID"),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to write it.")] = "csv",
    since: Since = None,
    until: Until = None,
    team: Team = None,
    model: Model = None,
    paths: In = None,
    more: More = None,
) -> None:
    """Write the records, or what they cost as FOCUS rows, to a file."""
    if out.exists() and not out.is_file():
        typer.echo(f"--out: {out} is no file", err=True)
        raise typer.Exit(2)
    scope = scope_or_exit(config, [*(paths or ()), *(more or ())], since=since, until=until, team=team, model=model)
    fields = FOCUS_FIELDS if focus else UsageRecord.__struct_fields__
    with records_of(scope, (*fields, *_AMOUNTS)) as (connection, read):
        query = focus_query(account) if focus else f"SELECT {flattened(output)} FROM records ORDER BY time, id"
        for note in read.notes():
            typer.echo(f"warning: {note}", err=True)
        if focus:
            sums = "SELECT count(*) FILTER (pricing = 'unpriced') FROM records"
            ((unpriced,),) = connection.execute(sums).fetchall()
            if unpriced:
                typer.echo(f"warning: {unpriced:,} exchanges without a price are not in it", err=True)
        if output == "csv":
            query = _as_cells(connection.execute(f"DESCRIBE {query}").fetchall(), query)
        ((count,),) = connection.execute(f"COPY ({query}) TO {literal(out)} ({_WRITTEN[output]})").fetchall()
    typer.echo(f"{count:,} {'rows' if focus else 'records'} in {out}", err=True)


def flattened(output: Format) -> str:
    """A record's columns, all of them plain: the counts of `usage` by themselves, lists and maps as JSON text."""
    columns = []
    for field in msgspec.structs.fields(UsageRecord):
        if field.name == "usage":
            columns += [_column(f"usage.{inner.name}", f"usage_{inner.name}", inner.type) for inner in _members(field)]
        elif field.name in _AMOUNTS and output == "parquet":
            columns.append(f"try_cast({field.name} AS {AMOUNT}) AS {field.name}")
        else:
            columns.append(_column(field.name, field.name, field.type))
    return ", ".join(columns)


def _column(place: str, name: str, shape: Any) -> str:
    return f"{place} AS {name}" if _is_plain(shape) else f"CAST(to_json({place}) AS VARCHAR) AS {name}"


def _members(field: msgspec.structs.FieldInfo) -> tuple[msgspec.structs.FieldInfo, ...]:
    (shape,) = (member for member in get_args(field.type) if member is not type(None))
    return msgspec.structs.fields(shape)


def _is_plain(shape: Any) -> bool:
    if get_origin(shape) in (Union, types.UnionType):
        return all(_is_plain(member) for member in get_args(shape) if member is not type(None))
    return shape in (str, int, float, bool) or (isinstance(shape, type) and issubclass(shape, Enum))


def _as_cells(columns: list[tuple[Any, ...]], query: str) -> str:
    """For spreadsheets: no zeros at an amount's end, and no text that begins like a formula (OWASP, CSV injection)."""
    cells = []
    for name, kind, *_ in columns:
        if kind.startswith("DECIMAL") and not kind.endswith(",0)"):
            cells.append(f"rtrim(rtrim(CAST(\"{name}\" AS VARCHAR), '0'), '.') AS \"{name}\"")
        elif kind == "VARCHAR":
            cells.append(
                f"CASE WHEN regexp_matches(\"{name}\", '^[=+@\\t\\r-]') THEN concat('''', \"{name}\") "
                f'ELSE "{name}" END AS "{name}"'
            )
        else:
            cells.append(f'"{name}"')
    return f"SELECT {', '.join(cells)} FROM ({query})"
