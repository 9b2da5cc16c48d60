"""`weir usage report`: what was used and what it cost, by team, model, day and whatever else a record says.

Sums are exact decimals, and two currencies are never added. Below the table stands what the table cannot say: what has
no price, attempts that may have been billed without an answer, and lines that are no record.
"""

import sys
from typing import Annotated, Literal

import typer

from proxy.cli.settings import DEFAULT_CONFIG, Config
from proxy.cli.usage.query import records_of
from proxy.cli.usage.report_rows import FIELDS, GROUPS, report_of
from proxy.cli.usage.report_text import show_csv, show_json, show_table
from proxy.cli.usage.scope import In, Model, More, Since, Team, Until, scope_or_exit


def report(
    config: Config = DEFAULT_CONFIG,
    by: Annotated[str, typer.Option(help=f"What to group by, with commas: {', '.join(GROUPS)}.")] = "team,model",
    since: Since = None,
    until: Until = None,
    team: Team = None,
    model: Model = None,
    output: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")] = "table",
    paths: In = None,
    more: More = None,
) -> None:
    """Add up what was used and what it cost."""
    groups = groups_or_exit(by)
    scope = scope_or_exit(config, [*(paths or ()), *(more or ())], since=since, until=until, team=team, model=model)
    with records_of(scope, FIELDS) as (connection, read):
        made = report_of(connection, groups, read)
    for note in read.notes():
        typer.echo(f"warning: {note}", err=True)
    if not made.rows:
        typer.echo("no records of that time, team and model", err=True)
    {"table": show_table, "csv": show_csv, "json": show_json}[output](made, sys.stdout)


def groups_or_exit(by: str) -> list[str]:
    """The groups that `--by` names, each once, in its order."""
    names = list(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        typer.echo(f"--by: unknown {', '.join(map(repr, unknown))}; known are: {', '.join(GROUPS)}", err=True)
        raise typer.Exit(2)
    return names
