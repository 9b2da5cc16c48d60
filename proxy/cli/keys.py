"""`weir keys new|list|revoke`: the team keys of a gateway, in the key file that its routes file names.

Works on files only, whether the gateway runs or not; a running one notices. A key's secret is printed once
and never stored. Standard output has the result alone, so that scripts can take it; all else is on
standard error.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plugins.auth import Auth
from plugins.auth.keys import Key, edit, mint, read
from proxy.cli.settings import DEFAULT_CONFIG, Config, load_or_exit, plugin_configs
from proxy.units import Seconds

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke team keys.")

_STATE_COLOURS = {"live": "green", "expired": "yellow", "revoked": "red"}


@keys.command()
def new(
    team: Annotated[str, typer.Option(help="The team that pays for what the key does.")],
    expires: Annotated[str | None, typer.Option(help='How long it is good, such as "90d". Default: for ever.')] = None,
    note: Annotated[str | None, typer.Option(help="For whom or for what, in `weir keys list`.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make a key and print it: this once, since only its hash is kept."""
    path, teams = _key_file(config)
    if team not in teams:
        _fail(f'team "{team}" is not in {config}; its teams: {", ".join(sorted(teams)) or "none"}')
    now = _now()
    secret, key = mint(team, created=now, expires=_expiry(expires, now), note=note)
    _edit(path, lambda known: [*known, key])
    typer.echo(secret)
    typer.echo(f"key {key.id} of team {team}; send it as x-goog-api-key. It is not shown again.", err=True)


@keys.command(name="list")
def list_(
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show the keys: never a secret, for there is none to show."""
    path, _ = _key_file(config)
    try:
        known = read(path) if path.exists() else ()
    except (OSError, ValueError) as error:
        _fail(str(error))
    now = datetime.now(UTC)
    table = Table("id", "team", "created", "expires", "state", "note", box=None, pad_edge=False)
    for key in known:
        if team is None or key.team == team:
            state = key.state(now)
            shown = f"[{_STATE_COLOURS[state]}]{state}[/]"
            table.add_row(key.id, key.team, _day(key.created), _day(key.expires), shown, escape(key.note or ""))
    # Piped, rich would fold the columns into 80 letters: scripts want a line a key.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `weir keys list` shows it.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Refuse a key from now on. Its line stays, so that the log's key ids keep their meaning."""
    path, _ = _key_file(config)

    def mark(known: tuple[Key, ...]) -> list[Key]:
        if all(key.id != key_id for key in known):
            raise ValueError(f'no key "{key_id}" in {path}')
        return [
            msgspec.structs.replace(key, revoked=_now()) if key.id == key_id and key.revoked is None else key
            for key in known
        ]

    _edit(path, mark)
    typer.echo(f"key {key_id} is revoked", err=True)


def _key_file(config: Path) -> tuple[Path, frozenset[str]]:
    """The key file that the routes file names, and the teams it knows. Exits with a message if there is none."""
    settings = load_or_exit(config, with_secrets=False)
    tables = {name: auth.keys for name, auth in plugin_configs(settings, Auth).items() if auth.keys is not None}
    paths = set(tables.values())
    if not paths:
        _fail(f'{config}: no key file is named; write keys = "keys.toml" under [plugins.auth]')
    if len(paths) > 1:
        _fail(f"{config}: several key files are named, by {', '.join(sorted(tables))}; keep one")
    return paths.pop(), frozenset(settings.teams)


def _edit(path: Path, change: Callable[[tuple[Key, ...]], Sequence[Key]]) -> None:
    try:
        edit(path, change)
    except (OSError, ValueError) as error:
        _fail(str(error))


def _expiry(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        return now + timedelta(seconds=Seconds.parse(text))
    except (ValueError, OverflowError) as error:
        _fail(f"--expires: {error}")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment is not None else "never"


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
